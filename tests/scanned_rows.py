"""Rows with columns of all kinds, formulas of them, and tables held to each other."""

from __future__ import annotations

import numpy as np
import pandas as pd

FORMULAS = [
    "y ~ t * h + z + (t | a) + (1 | b)",
    "y ~ year + (year | a) + (1 | s)",
    "y ~ year + (year || a)",
    "y ~ 0 + f:h + t + (1 | inner) + (1 | a)",
    "y ~ t + twice + f + (1 | a:b)",
    "y ~ t + (1 | mm(s, q, weights=cbind(w, count)))",
    "y ~ t + (1 | dyad(s, q))",
    "y ~ t + cs(h | a)",
    "y ~ I(t**2) + np.exp(t / 3) + offset(w) + (1 | long)",
    "y ~ C(count) + f + I(h == 'low') + (1 | a) + (0 + h | b)",
    "y ~ f + ar1(0 + C(count) | a)",
]
SAME = 1e-4  # of estimates, relative: a search ends where the criterion is flat


def make_rows(n: int = 500, seed: int = 1) -> pd.DataFrame:
    r = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "a": r.integers(0, 25, n),
            "b": r.integers(0, 12, n),
            "t": r.normal(size=n),
            "year": 2000 + r.integers(0, 9, n),
            "f": r.choice(list("uvw"), n),
            "h": pd.Categorical(r.choice(["low", "mid", "high"], n), categories=["low", "mid", "high"]),
            "z": r.random(n) < 0.4,
            "w": r.uniform(0.5, 2.0, n),
            "s": r.choice([f"p{i}" for i in range(30)], n),
            "q": r.choice([f"p{i}" for i in range(30)], n),
            "count": r.integers(1, 5, n),
        }
    )
    people = {f"p{i}": x for i, x in enumerate(r.normal(size=30))}
    of_a, of_b = r.normal(size=25), r.normal(size=12)
    data["inner"] = data["a"].astype(str) + "_" + (data["b"] % 3).astype(str)
    data["twice"], data["long"] = 2.0 * data["t"], data["a"] * 10**17 + 1
    data["y"] = 3.0 + data["t"] + 0.7 * (data["f"] == "v") + 0.1 * (data["year"] - 2004) + r.normal(size=n)
    data["y"] += of_a[data["a"]] + of_b[data["b"]] * data["t"]
    data["y"] += 0.5 * data["s"].map(people) + 0.5 * data["q"].map(people)
    return data


def with_gaps(data: pd.DataFrame) -> pd.DataFrame:
    r, data = np.random.default_rng(2), data.copy()
    data.loc[r.choice(len(data), 40, replace=False), "t"] = np.nan
    data.loc[r.choice(len(data), 20, replace=False), "f"] = None
    data.loc[r.choice(len(data), 20, replace=False), "a"] = np.nan
    return data


def close(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Hold two tables to each other: labels exactly, numbers nearly."""
    assert list(one.index) == list(other.index)
    assert list(one.columns) == list(other.columns)
    for name in one:
        if one[name].dtype.kind == "f":
            size = np.nanmax(np.abs(one[name]), initial=0.0)
            np.testing.assert_allclose(other[name], one[name], rtol=SAME, atol=SAME * size, err_msg=name)
        else:
            assert one[name].fillna("").equals(other[name].fillna("")), name
