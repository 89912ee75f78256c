"""Visits whose residuals hang together, models of them, and rows of a data frame as those of several tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm

SAME = 1e-9  # of estimates and standard errors, relative: both searches take the same steps


def make_visits(n_groups: int = 60, seed: int = 0) -> pd.DataFrame:
    """Visits that some miss, with correlated residuals whose variance grows, of two arms at seven sites."""
    r, rows = np.random.default_rng(seed), []
    of_site = r.normal(size=7)
    for i in range(n_groups):
        arm, site, e, u = "AB"[i % 2], i % 7, 0.0, 0.5 * r.normal()
        for week in range(5):
            e = 0.6 * e + r.normal() * (1.0 + 0.3 * week) * (1.0 + 0.5 * (arm == "B"))
            if r.random() < 0.85:
                rows.append((f"p{i}", f"s{site}", arm, week, f"v{week}", r.normal(), r.uniform(0.5, 2.0), u + e))
                rows[-1] += (2.0 + 0.5 * week + rows[-1][5] + rows[-1][7] + 0.5 * of_site[site],)
    return pd.DataFrame(rows, columns=["id", "site", "arm", "week", "visit", "x", "w", "e", "y"])


MODELS = [
    ("y ~ arm * visit + x", "het(arm)", {}),
    ("y ~ arm * visit", "us(visit | id)", {}),
    ("y ~ arm * week", "ar1(week | id)", {"weights": "w"}),
    ("y ~ arm * visit", "ar1(week | id) * het(arm)", {}),
    ("y ~ visit", "toep(visit | id, by=arm)", {}),
    ("y ~ week", "car1(week | id)", {}),
    ("y ~ week", "het(visit) * power(w)", {}),
    ("y ~ week + (1 | site)", "us(visit | id)", {}),
    ("y ~ week + (week | id)", "het(arm)", {}),
    ("y ~ week + (1 | id)", "ar1(week | id)", {"weights": "w"}),
    ("y ~ week + (1 | site) + (1 | id)", "het(visit)", {}),
    ("y ~ week + (1 | site)", "het(1)", {"sigma": 1.0}),
]


def scanned(data: pd.DataFrame, seed: int, chunk_rows: int, threads: int) -> Any:
    """Take rows in another order, in three tables."""
    order = np.random.default_rng(seed).permutation(len(data)) if seed else np.arange(len(data))
    parts = np.array_split(order, 3)
    return bmm.scan([data.iloc[part].reset_index(drop=True) for part in parts], chunk_rows=chunk_rows, threads=threads)


def assert_same(one: bmm.Fit, other: bmm.Fit) -> None:
    assert one.loglik == pytest.approx(other.loglik, abs=1e-8)
    assert list(one.parameters.index) == list(other.parameters.index)
    for name in ("estimate", "std_error"):
        np.testing.assert_allclose(one.parameters[name], other.parameters[name], rtol=SAME, atol=1e-9)
