"""Rows and groups whose residuals hang together are left out of rows from files: from sums, or group by group."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scanned_visits import make_visits, scanned

import bayesmm as bmm
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.results import loo_rows, streamed_leave_out
from bayesmm.errors import ArgumentError, RowsError
from bayesmm.marginal.residual import group_totals

pytest.importorskip("pyarrow")
NEAR = 1e-8  # of log densities, absolute


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make few rows of many again and again; evaluate few groups together."""
    monkeypatch.setattr(group_totals, "WAITING", 100)
    monkeypatch.setattr(streamed_leave_out, "AT_ONCE", 30 * 23)


def make_data() -> pd.DataFrame:
    """Visits of patients who have two or all five, some without the response."""
    data = make_visits(24, seed=4)
    number = data.groupby("id").cumcount()
    few = data["id"].str[1:].astype(int) % 3 == 0
    data = data.loc[(number < 2) | (~few & (data.groupby("id")["id"].transform("size") == 5))]
    data = pd.DataFrame(data).reset_index(drop=True)
    return data.assign(y=np.where(data.index != len(data) - 1, data["y"], np.nan))


def both(formula: str, residual: str, rows: Any, data: pd.DataFrame, **how: Any) -> list[Posterior]:
    """One set of draws, with the rows in memory and elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws, a row that is dropped
        here, there = (bmm.Model(formula, each, residual=residual, **how) for each in (data, rows))
        found = there.sample(method="importance", draws=30, chains=1, seed=1, progress=False)
    kept = {"data": found.data, "program": found.program, "notes": found.notes}
    return [Posterior(problem=here.problem, priors=here.priors, **kept), found]


def ask(function: Any, *arguments: Any, **how: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws
        return function(*arguments, progress=False, **how)


MODELS = {"rows": ("y ~ week + (1 | site)", "het(arm)"), "groups": ("y ~ week", "ar1(week | id)")}


@pytest.fixture(scope="module", params=MODELS)
def posteriors(request: pytest.FixtureRequest) -> list[Posterior]:
    return both(*MODELS[request.param], scanned(make_data(), 1, 31, 1), make_data())


@pytest.mark.parametrize("kind", ["marginal", "conditional"])
def test_leaving_rows_out_is_that_of_rows_in_memory(posteriors: list[Posterior], kind: Any, tmp_path: Path) -> None:
    data = make_data()
    order = np.random.default_rng(1).permutation(len(data))
    here, there = posteriors
    expected = ask(here.loo, predictive=kind)
    found = ask(there.loo_rows, scanned(data, 1, 31, 1), tmp_path / "loo.parquet", predictive=kind)
    for name in ("elpd", "se", "p", "n_data_points"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-8), name
    written = pd.read_parquet(found.path)
    pd.testing.assert_frame_equal(pd.DataFrame(written[data.columns]), data.iloc[order].reset_index(drop=True))
    own = written["elpd_loo"].to_numpy()[np.argsort(order)]
    assert np.isnan(own[-1])
    np.testing.assert_allclose(own[:-1], expected.elpd_i, rtol=0, atol=NEAR)


@pytest.mark.parametrize("kind", ["marginal", "conditional"])
def test_leaving_groups_out_is_that_of_rows_in_memory(posteriors: list[Posterior], kind: Any) -> None:
    here, there = posteriors
    of, rows = ("site", None) if here.design.blocks else ("id", scanned(make_data(), 1, 31, 1))
    one, other = ask(here.loo, of, kind), ask(there.loo, of, kind, rows=rows)
    np.testing.assert_allclose(other.elpd_i, one.elpd_i, rtol=0, atol=NEAR)
    np.testing.assert_array_equal(other.elpd_i[of], one.elpd_i[of])


def test_what_cannot_be_left_out_says_why(
    posteriors: list[Posterior], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data()
    rows = scanned(data, 1, 31, 1)
    here, there = posteriors
    with pytest.raises(RowsError, match="levels of a grouping factor"):
        ask(there.loo, "week")
    with pytest.raises(RowsError, match="loo_rows"):
        ask(there.loo)
    with pytest.raises(ArgumentError, match="its rows in memory"):
        ask(here.loo, "id", rows=rows)
    with pytest.raises(RowsError, match="are not the rows"):
        ask(there.loo_rows, data.iloc[:-5], tmp_path / "loo.parquet", predictive="conditional")
    monkeypatch.setattr(loo_rows, "MOST_WAITING", 40)
    with pytest.raises(RowsError, match="or leave `to` out"):
        ask(there.loo_rows, rows, tmp_path / "loo.parquet", predictive="conditional")
    if not here.design.blocks:
        with pytest.raises(RowsError, match=r"give them once more, posterior\.loo\('id', rows="):
            ask(there.loo, "id")
    assert list(tmp_path.iterdir()) == []
