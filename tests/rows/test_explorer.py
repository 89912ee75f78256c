"""The explorer of a model of rows in files has the sums that it has of rows in memory."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from scanned_rows import make_rows

import bayesmm as bmm
from bayesmm.errors import RowsError
from bayesmm.explorer.data import why_not, write_data

ROUNDING = 1e-9  # of the greatest number: sums in another order
DATA = make_rows(260)
ROOTS = ("levelRoot", "cross")  # of the same products, but for signs
SUMS = ("rest", "allRest", "root", "back", "fixedBack", "origin")
CASES = [("y ~ t + f + (t | a)", "w"), ("y ~ t * h + (t | a) + (1 | b)", None), ("y ~ t + (1 | inner) + (1 | a)", "w")]


def unpack(text: str | None) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text or ""))


def close(one: np.ndarray, other: np.ndarray, name: str) -> None:
    np.testing.assert_allclose(other, one, rtol=0, atol=ROUNDING * np.abs(one).max(initial=1.0), err_msg=name)


@pytest.mark.parametrize(("formula", "weights"), CASES)
def test_the_explorer_has_the_sums_of_rows_in_memory(formula: str, weights: str | None) -> None:
    here, there = (bmm.Model(formula, rows, weights=weights).fit() for rows in (DATA, bmm.scan(DATA, chunk_rows=60)))
    for group in here.labels.n_levels:
        assert why_not(there, group) is None
        one, other = write_data(here, group=group), write_data(there, group=group, rows=bmm.scan(DATA, chunk_rows=50))
        K = one["q"] * one["k"] if one["tied"] else one["k"]
        for name in SUMS:
            close(unpack(one[name]), unpack(other[name]), name)
        products = []
        for data in (one, other):
            R, C = (
                unpack(data[name]).reshape(-1, K, width) for name, width in zip(ROOTS, (K, one["p"] + 1), strict=True)
            )
            products.append(np.concatenate([R.swapaxes(1, 2) @ R, R.swapaxes(1, 2) @ C], axis=2))
        close(products[0], products[1], "products")
        for name in one.keys() - {*ROOTS, *SUMS}:
            expected, found = one[name], other[name]
            if np.asarray(expected).dtype.kind == "f":
                np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7, err_msg=name)
            else:
                assert found == expected, name


def test_the_explorer_asks_for_rows_and_writes_its_page(tmp_path: Path) -> None:
    fit = bmm.Model("y ~ t + (t | a)", bmm.scan(DATA, chunk_rows=60)).fit()
    with pytest.raises(RowsError, match=r"fit.explore\(path, rows="):
        fit.explore(tmp_path / "explorer.html")
    assert list(tmp_path.iterdir()) == []
    path = fit.explore(tmp_path / "explorer.html", rows=DATA)
    assert "<main>" in path.read_text(encoding="utf-8")
