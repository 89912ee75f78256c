"""Groups that are resampled where residuals have a covariance: each replicate is a fit of the resampled data."""

import numpy as np
import pandas as pd
import pytest

from bayesmm import Model
from bayesmm.datasets import load
from bayesmm.errors import ArgumentError

ORTHODONT = load("orthodont")
CASES = [
    ("distance ~ age", "homcs(age | Subject) * het(Sex)"),
    ("distance ~ age + (1 | Subject)", "het(Sex)"),
]


@pytest.mark.parametrize(("formula", "residual"), CASES)
def test_replicates_are_fits_of_groups_drawn_with_replacement(formula: str, residual: str) -> None:
    fit = Model(formula, ORTHODONT, residual=residual).fit()
    found = fit.bootstrap(3, kind="case", seed=4, progress=False)
    assert found.group == "Subject"
    levels = sorted(ORTHODONT["Subject"].unique())
    for number in (0, 2):
        chosen = np.sort(np.random.default_rng([4, number]).integers(len(levels), size=len(levels)))
        parts = []
        for copy, level in enumerate(chosen):
            own = ORTHODONT[ORTHODONT["Subject"] == levels[level]]
            parts.append(own.assign(Subject=own["Subject"].astype(str) + f"_{copy}"))
        again = Model(formula, pd.concat(parts, ignore_index=True), residual=residual).fit()
        expected = again.parameters["estimate"].to_numpy()
        assert found.draws.iloc[number].to_numpy() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_groups_that_no_residual_has_are_refused() -> None:
    fit = Model("distance ~ age", ORTHODONT, residual="homcs(age | Subject)").fit()
    with pytest.raises(ArgumentError, match="no grouping factor: give one of"):
        fit.bootstrap(2, kind="case", group="Sex")
    with pytest.raises(ArgumentError, match="residual="):
        fit.bootstrap(2, kind="residual")
    with pytest.raises(ArgumentError, match="No grouping factor holds"):
        Model("distance ~ age", ORTHODONT, residual="het(Sex)").fit().bootstrap(2, kind="case")


def test_cases_give_accelerated_intervals() -> None:
    fit = Model("distance ~ age", ORTHODONT, residual="homcs(age | Subject)").fit()
    table = fit.bootstrap(60, kind="case", seed=1, progress=False).intervals(kind="bca")
    assert (table["lower"] < table["estimate"]).all()
    assert (table["upper"] > table["estimate"]).all()
