"""Cluster-robust errors of rows from files: clusters are read whole, wherever their rows are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scanned_visits import MODELS, make_visits, scanned

import bayesmm as bmm
from bayesmm.errors import ArgumentError, RowsError
from bayesmm.inference.fixed import streamed_clusters
from bayesmm.rows import clustering

OTHERS = [
    ("y ~ x + (1 | site)", None, {"weights": "w"}),
    ("y ~ x + (1 | site) + (1 | site:id)", None, {}),
    ("y ~ week + (1 | id)", "ar1(week | id)", {}),
]


@pytest.mark.parametrize(("formula", "residual", "how"), [*(MODELS[i] for i in (1, 2, 3, 4, 5, 7, 8, 10, 11)), *OTHERS])
def test_robust_errors_are_those_of_rows_in_memory(formula: str, residual: str | None, how: dict[str, Any]) -> None:
    data = make_visits(40, seed=4)
    rows = scanned(data, 1, 61, 1)
    here, there = (bmm.Model(formula, each, residual=residual, **how).fit() for each in (data, rows))
    for kind in ("CR0", "CR1", "CR2"):
        one, other = here.robust(kind=kind), there.robust(kind=kind, rows=rows)
        np.testing.assert_allclose(other.covariance, one.covariance, rtol=1e-7, atol=1e-9 * one.covariance.max())
        np.testing.assert_allclose(other.table, one.table, rtol=1e-7)
        assert str(other) == str(one)
    contrasts = np.eye(here.design.p)[1:]
    np.testing.assert_allclose(other.f_test(contrasts), one.f_test(contrasts), rtol=1e-6)
    named = there.robust(one.clusters.name, kind="CR2", rows=data)
    np.testing.assert_allclose(named.table, one.table, rtol=1e-7)


def test_rows_of_a_cluster_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_visits(40, seed=4)
    rows, formula = scanned(data, 1, 20, 1), "y ~ week"
    here, there = (bmm.Model(formula, each, residual="ar1(week | id)").fit() for each in (data, rows))
    monkeypatch.setattr(clustering, "MOST_WAITING", 100)
    np.testing.assert_allclose(there.robust(rows=rows).table, here.robust().table, rtol=1e-7)
    monkeypatch.setattr(clustering, "MOST_WAITING", 30)
    with pytest.raises(RowsError, match="sort the rows by cluster"):
        there.robust(rows=rows)
    monkeypatch.setattr(streamed_clusters, "MOST_NUMBERS", 100)
    with pytest.raises(RowsError, match="numbers to hold"):
        there.robust(rows=rows)


def test_what_is_no_cluster_is_refused() -> None:
    data = make_visits(40, seed=4)
    rows = scanned(data, 1, 61, 1)
    fit = bmm.Model("y ~ week + (1 | site)", rows, residual="ar1(week | id)").fit()
    with pytest.raises(RowsError, match=r"give them once more, fit\.robust\(rows="):
        fit.robust()
    with pytest.raises(ArgumentError, match="rows with level 's0' of 'site' are in several"):
        fit.robust("id", rows=rows)
    with pytest.raises(RowsError, match="those of a grouping factor"):
        fit.robust("week", rows=rows)
    with pytest.raises(RowsError, match="are not the rows"):
        fit.robust(rows=data.iloc[1:])
    alone = bmm.Model("y ~ week", scanned(data, 1, 61, 1), residual="het(arm)").fit()
    with pytest.raises(ArgumentError, match="no groups of rows"):
        alone.robust(rows=rows)
    with pytest.raises(ArgumentError, match="its rows in memory"):
        bmm.Model("y ~ week", data, residual="ar1(week | id)").fit().robust(rows=rows)
    crossed = bmm.Model("y ~ x + (1 | site) + (1 | visit)", rows).fit()
    with pytest.raises(ArgumentError, match="all others nested"):
        crossed.robust(rows=rows)
    related = bmm.Model("y ~ x + (1 | mm(site, arm))", rows).fit()
    with pytest.raises(RowsError, match="one level of every factor"):
        related.robust(rows=rows)
