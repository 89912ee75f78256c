"""Columns that are combinations of earlier ones are left out, and only those."""

import numpy as np
import pandas as pd
import pytest

from bayesmm.design import build_design
from bayesmm.design.columns.rank import independent_columns
from bayesmm.design.words.describe import describe
from bayesmm.specification import parse_formula

N = 60
RNG = np.random.default_rng(11)
X = RNG.normal(size=N)
YEAR = 1990.0 + np.resize(np.arange(30), N)
ONE = np.ones(N)


def kept(*columns, weights=None, has_intercept=True):
    matrix = np.column_stack(columns)
    return independent_columns(matrix, ONE if weights is None else weights, has_intercept=has_intercept).tolist()


def test_full_rank_keeps_everything():
    assert kept(ONE, X, X**2, RNG.normal(size=N)) == [0, 1, 2, 3]


@pytest.mark.parametrize("copy", [X, 2 * X + 1, X + 1e-15, -1e9 * X, 0 * X, ONE * 7])
def test_combination_of_earlier_columns_is_dropped(copy):
    w = RNG.normal(size=N)
    assert kept(ONE, X, copy, w) == [0, 1, 3]


def test_earliest_columns_win():
    a, b = RNG.normal(size=(2, N))
    assert kept(ONE, a + b, a, b) == [0, 1, 2]


@pytest.mark.parametrize("degree", [2, 3])
def test_powers_of_calendar_years_are_kept(degree):
    assert kept(ONE, *(YEAR**k for k in range(1, degree + 1))) == list(range(degree + 1))


def test_tiny_and_huge_units_are_kept():
    assert kept(ONE, 1e-12 * X, 1e12 * RNG.normal(size=N)) == [0, 1, 2]


def test_without_intercept_the_full_factor_stays():
    f = np.resize([0, 1, 2], N)
    dummies = [(f == level).astype(float) for level in range(3)]
    assert kept(*dummies, X, has_intercept=False) == [0, 1, 2, 3]
    assert kept(ONE, *dummies) == [0, 1, 2]


def test_more_columns_than_rows_keep_at_most_the_rows():
    matrix = RNG.normal(size=(5, 9))
    assert independent_columns(matrix, np.ones(5), has_intercept=False).tolist() == [0, 1, 2, 3, 4]


def test_no_columns_are_no_columns():
    assert independent_columns(np.empty((5, 0)), np.ones(5), has_intercept=False).tolist() == []


def test_weights_do_not_change_which_columns_are_kept():
    w = RNG.uniform(1e-4, 1e4, N)
    assert kept(ONE, X, 2 * X - 3, YEAR, weights=w) == [0, 1, 3]


def test_agrees_with_the_rank_that_svd_finds():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        basis = rng.normal(size=(N, 4))
        matrix = np.column_stack([ONE, basis @ rng.integers(-2, 3, size=(4, 8))])
        found = kept(matrix)
        assert len(found) == np.linalg.matrix_rank(matrix)
        assert np.linalg.matrix_rank(matrix[:, found]) == len(found)


def test_aliased_columns_are_named_and_shown():
    data = pd.DataFrame(
        {"y": RNG.normal(size=N), "x": X, "twice": 2 * X + 1, "w": RNG.normal(size=N), "g": np.resize(list("abcd"), N)}
    )
    design = build_design(parse_formula("y ~ x + twice + w + (1 | g)"), data)
    assert design.aliased == ("twice",)
    assert design.kept.tolist() == [0, 1, 3]
    assert (design.p, design.X.shape[1]) == (3, 4)
    assert "Aliased       twice" in describe(design)


def test_cells_that_do_not_occur_are_aliased():
    f, h = np.resize(list("aabb"), N), np.resize(list("pqpp"), N)
    data = pd.DataFrame({"y": RNG.normal(size=N), "f": f, "h": h, "g": np.resize(list("abcde"), N)})
    design = build_design(parse_formula("y ~ f * h + (1 | g)"), data)
    assert design.aliased == ("f[T.b]:h[T.q]",)
