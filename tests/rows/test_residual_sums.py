"""Sums of rows whose residuals have a covariance, at several sites: saved, read, and added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scanned_visits import MODELS, assert_same, make_visits, scanned

import bayesmm as bmm
from bayesmm.errors import RowsError
from bayesmm.marginal.residual import group_totals


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make few rows of many again and again."""
    monkeypatch.setattr(group_totals, "WAITING", 100)


def sites(data: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide patients between two sites."""
    number = data["id"].str[1:].astype(int)
    return data.loc[number % 3 > 0], data.loc[number % 3 == 0]


def sums(formula: str, rows: pd.DataFrame, residual: str, **how: Any) -> Any:
    return bmm.Model(formula, scanned(rows, 1, 31, 1), residual=residual, **how).problem.sums


@pytest.mark.parametrize(("formula", "residual", "how"), [MODELS[i] for i in (0, 1, 2, 4, 6, 9, 11)])
def test_sums_of_two_sites_give_the_model_of_all_rows(formula: str, residual: str, how: dict) -> None:
    data = make_visits()
    one, other = (sums(formula, rows, residual, **how) for rows in sites(data))
    assert_same(bmm.Model.from_sums(other, one).fit(), bmm.Model(formula, data, residual=residual, **how).fit())


@pytest.mark.parametrize("residual", ["us(visit | id)", "ar1(week | id) * het(visit)"])
def test_a_site_may_lack_visits_and_sums_come_from_files(residual: str, tmp_path: Path) -> None:
    data, formula = make_visits(120, seed=2), "y ~ week + x + (1 | site)"
    first, second = sites(data)
    begins = np.flatnonzero(first["id"].to_numpy()[1:] != first["id"].to_numpy()[:-1]) + 1
    cut = begins[(np.diff(begins) > 1).nonzero()[0][60]]
    parts = [second.loc[second["week"] > 0], first.iloc[:cut], first.iloc[cut:]]
    paths = [sums(formula, rows, residual).save(tmp_path / f"{i}.zarr") for i, rows in enumerate(parts)]
    with pytest.raises(RowsError, match=r"1 group\(s\) by 'id' have rows in both sums"):
        bmm.Model.from_sums(paths[1], sums(formula, first.iloc[cut - 1 :], residual).save(tmp_path / "divided.zarr"))
    added = bmm.Model.from_sums(*paths)
    assert_same(added.fit(), bmm.Model(formula, pd.concat(parts), residual=residual).fit())
    again = bmm.Model.from_sums(added.problem.save(tmp_path / "all.zarr"))
    assert_same(again.fit(), added.fit())
    with pytest.raises(RowsError, match="would count twice"):
        _ = again.problem.sums + bmm.Model.from_sums(paths[1]).problem.sums


def test_levels_of_random_effects_may_be_at_both_sites() -> None:
    data, (formula, residual, _) = make_visits(), MODELS[8]
    halves = [data.loc[(data["week"] + np.arange(len(data))) % 2 == i] for i in (0, 1)]
    one, other = (sums(formula, rows, residual) for rows in halves)
    assert_same(bmm.Model.from_sums(one + other).fit(), bmm.Model(formula, data, residual=residual).fit())


def test_other_residuals_are_not_added() -> None:
    one, other = sites(make_visits())
    with pytest.raises(RowsError, match="different residuals"):
        _ = sums("y ~ x", one, "ar1(week | id)") + sums("y ~ x", other, "us(visit | id)")
