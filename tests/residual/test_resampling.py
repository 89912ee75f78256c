"""Groups that are resampled where residuals have a covariance: each replicate is a fit of the resampled data."""

import numpy as np
import pandas as pd
import pytest

from bayesmm import Model
from bayesmm.datasets import load
from bayesmm.design.words.moments import marginal_covariance
from bayesmm.errors import ArgumentError
from bayesmm.fit import Fit
from bayesmm.inference.bootstrap.resampling import residual_rows

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
    with pytest.raises(ArgumentError, match="No grouping factor holds"):
        Model("distance ~ age", ORTHODONT, residual="het(Sex)").fit().bootstrap(2, kind="case")


@pytest.mark.parametrize(
    ("formula", "residual"),
    [
        ("distance ~ age", "us(age | Subject)"),
        ("distance ~ age", "ar1(age | Subject) * het(Sex)"),
        ("distance ~ age + (1 | Subject)", "het(age)"),
        ("distance ~ age", "power(age)"),
    ],
)
def test_resampled_residuals_have_the_estimated_covariance(formula: str, residual: str) -> None:
    data = ORTHODONT.drop(index=[5, 17, 18]).sample(frac=1.0, random_state=3)  # visits are missing, in any order
    fit = Model(formula, data, residual=residual).fit()
    n = 4000
    streams = [np.random.default_rng([5, i]) for i in range(n)]
    rows = residual_rows(fit)(streams)
    V = fit_covariance(fit)
    z = np.linalg.solve(np.linalg.cholesky(V), rows - (fit.design.X @ fit.estimate.beta)[:, None])
    assert np.abs(z.mean(axis=1)).max() < 5.0 / np.sqrt(n)
    assert np.abs(z @ z.T / n - np.eye(len(z))).max() < 6.0 * np.sqrt(np.mean(z**4) / n)


def fit_covariance(fit: Fit) -> np.ndarray:
    return marginal_covariance(fit.design, None, fit).to_numpy()


def test_residual_replicates_are_fits_of_the_resampled_rows() -> None:
    fit = Model("distance ~ age", ORTHODONT, residual="homtoep(age | Subject)").fit()
    found = fit.bootstrap(3, kind="residual", seed=9, progress=False)
    rows = residual_rows(fit)([np.random.default_rng([9, i]) for i in range(3)])
    for number in range(3):
        again = Model("distance ~ age", ORTHODONT.assign(distance=rows[:, number]), residual="homtoep(age | Subject)")
        assert found.draws.iloc[number].to_numpy() == pytest.approx(
            again.fit().parameters["estimate"].to_numpy(), rel=1e-4, abs=1e-6
        )
    assert "made uncorrelated" in " ".join(str(found).split())
    assert fit.bootstrap(2, kind="residual", statistic=lambda each: each.loglik, progress=False).statistics.shape == (
        2,
        1,
    )


def test_one_outlier_is_drawn_as_often_as_any_residual() -> None:
    data = ORTHODONT.copy()
    data.loc[40, "distance"] += 60.0
    fit = Model("distance ~ age", data, residual="homcs(age | Subject)").fit()
    rows = residual_rows(fit)([np.random.default_rng([1, i]) for i in range(200)])
    e = fit.estimate.whiten(rows - (fit.design.X @ fit.estimate.beta)[:, None])
    assert ((e > 6.0 * fit.sigma).sum(axis=0)).mean() == pytest.approx(1.0, abs=0.3)


def test_cases_give_accelerated_intervals() -> None:
    fit = Model("distance ~ age", ORTHODONT, residual="homcs(age | Subject)").fit()
    table = fit.bootstrap(60, kind="case", seed=1, progress=False).intervals(kind="bca")
    assert (table["lower"] < table["estimate"]).all()
    assert (table["upper"] > table["estimate"]).all()
