"""Responses drawn for rows in files are, number by number, those that are drawn for rows in memory."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
import pytest
from scanned_rows import make_rows, with_gaps

import bayesmm as bmm
from bayesmm.bayes.posterior import Posterior
from bayesmm.errors import ArgumentError, RowsError
from bayesmm.rows import simulating

DATA = with_gaps(make_rows(260))
CASES = [("y ~ t + offset(w) + (t | a) + (1 | b)", "count"), ("y ~ f + (1 | mm(s, q))", None)]


def both(formula: str, weights: str | None = None) -> list[bmm.Model]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows are dropped
        return [bmm.Model(formula, rows, weights=weights) for rows in (DATA, bmm.scan(DATA, chunk_rows=60))]


def read(path: Path, expected: pd.DataFrame) -> pd.DataFrame:
    written = pd.read_parquet(path).set_index(DATA.index)
    names = [f"simulated_{i}" for i in expected]
    assert list(written) == [*DATA, *names]
    drawn = written[names].dropna()
    return pd.DataFrame(drawn).set_axis(expected.columns, axis=1)


@pytest.mark.parametrize("random", ["redrawn", "kept"])
@pytest.mark.parametrize(("formula", "weights"), CASES)
def test_a_fit_draws_the_same_numbers(formula, weights, random, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(simulating, "AT_ONCE", 3 * 40)  # rows at a time
    here, there = (model.fit() for model in both(formula, weights))
    expected = here.simulate(3, random=random, seed=5)
    path = there.simulate_rows(bmm.scan(DATA, chunk_rows=50), tmp_path / "drawn.parquet", 3, random=random, seed=5)
    pd.testing.assert_frame_equal(read(path, expected), expected, rtol=1e-7)


def test_a_posterior_draws_the_same_numbers(tmp_path: Path) -> None:
    here, there = both("y ~ t + (1 | a)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws
        found = there.sample(method="quadrature", draws=60, chains=2, progress=False)
    of_here = Posterior(
        problem=here.problem, priors=here.priors, data=found.data, program=found.program, notes=found.notes
    )
    for random in ("redrawn", "kept"):
        expected = of_here.simulate(4, random=random, seed=2)
        path = found.simulate_rows(DATA, tmp_path / "drawn.parquet", 4, random=random, seed=2)
        pd.testing.assert_frame_equal(read(path, expected), expected, rtol=1e-6)
    with pytest.raises(ArgumentError, match="has 120 draws"):
        found.simulate_rows(DATA, tmp_path / "more.parquet", 121)


@pytest.mark.parametrize("random", ["redrawn", "kept"])
def test_stated_parameters_draw_the_same_numbers(random: str, tmp_path: Path) -> None:
    formula = "response ~ t * h + offset(w) + (t | a) + (1 | mm(s, q))"
    names = bmm.Model(formula, DATA.dropna().rename(columns={"y": "response"})).labels.parameter_rows()
    values = {row.name: 0.3 + 0.05 * i for i, row in enumerate(names)}
    how: dict = {"random": random, "seed": 7, "weights": "count"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows are dropped
        expected = bmm.simulate(formula, DATA, values, 3, **how)
        path = bmm.simulate_rows(formula, bmm.scan(DATA, chunk_rows=50), values, tmp_path / "drawn.parquet", 3, **how)
    pd.testing.assert_frame_equal(read(path, expected), expected, rtol=1e-9)


def test_rows_of_the_model_alone_are_drawn(tmp_path: Path) -> None:
    _, there = both("y ~ t + (1 | a)")
    fit = there.fit()
    with pytest.raises(RowsError, match="not the rows that the model was made of"):
        fit.simulate_rows(DATA[:200], tmp_path / "drawn.parquet")
    with pytest.raises(ArgumentError, match="as Parquet"):
        fit.simulate_rows(DATA, tmp_path / "drawn.csv")
    with pytest.raises(ArgumentError, match="n is 0"):
        fit.simulate_rows(DATA, tmp_path / "drawn.parquet", 0)
    assert list(tmp_path.iterdir()) == []
