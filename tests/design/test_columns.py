"""Columns and their names, against columns written out by hand."""

from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from formulae import design_matrices
from numpy.testing import assert_allclose

from bayesmm.design.columns.columns import build_columns
from bayesmm.design.reading.frame import read_table
from bayesmm.design.reading.names import Names
from bayesmm.errors import DesignError, SpecificationError

FORMULAE = tuple(int(part) for part in version("formulae").split(".")[:2])
NEW = pytest.mark.skipif(FORMULAE < (0, 8), reason="cr, cc and tp came with formulae 0.8")
N = 24
RNG = np.random.default_rng(20261122)
X, W = RNG.normal(size=N), RNG.uniform(1, 2, N)
F = np.resize(["b", "c", "a"], N)  # in the order of the categories, which is not alphabetical
G = np.resize(["p", "q", "q", "p", "q"], N)
DATA = pd.DataFrame(
    {
        "x": X,
        "w": W,
        "f": pd.Categorical(F, categories=["b", "c", "a", "never"]),
        "g": G,
        "flag": G == "q",
        "k": np.resize([3, 1, 2], N),
        "half": np.resize([0.5, 1.0], N),
        "big": np.resize([3_000_000_000, 4_000_000_000], N),
    }
)


def build(text, namespace=None, data=DATA):
    rows = read_table(data, list(data.columns)).rows(np.ones(len(data), dtype=bool))
    columns = build_columns(text, rows, Names(namespace))
    return columns, columns.fitted(len(data)), rows.frame


def is_f(level):
    return (level == F).astype(float)


def is_g(level):
    return (level == G).astype(float)


ONE = np.ones(N)
BY_HAND = {
    "1": {"Intercept": ONE},
    "1 + x": {"Intercept": ONE, "x": X},
    "0 + x + w": {"x": X, "w": W},
    "1 + f": {"Intercept": ONE, "f[T.c]": is_f("c"), "f[T.a]": is_f("a")},
    "0 + f": {"f[b]": is_f("b"), "f[c]": is_f("c"), "f[a]": is_f("a")},
    "0 + f + g": {"f[b]": is_f("b"), "f[c]": is_f("c"), "f[a]": is_f("a"), "g[T.q]": is_g("q")},
    "1 + flag": {"Intercept": ONE, "flag[T.True]": is_g("q")},
    "0 + flag": {"flag[False]": is_g("p"), "flag[True]": is_g("q")},
    "1 + x * g": {"Intercept": ONE, "x": X, "g[T.q]": is_g("q"), "x:g[T.q]": X * is_g("q")},
    "1 + g:x": {"Intercept": ONE, "g[p]:x": is_g("p") * X, "g[q]:x": is_g("q") * X},
    "1 + x:w": {"Intercept": ONE, "x:w": X * W},
    "1 + x * f + w": {
        "Intercept": ONE, "x": X, "f[T.c]": is_f("c"), "f[T.a]": is_f("a"), "w": W,
        "x:f[T.c]": X * is_f("c"), "x:f[T.a]": X * is_f("a"),
    },
    "1 + g / f": {
        "Intercept": ONE, "g[T.q]": is_g("q"),
        **{f"g[{g}]:f[T.{f}]": is_g(g) * is_f(f) for g in "pq" for f in "ca"},
    },
    "1 + C(k)": {"Intercept": ONE, "C(k)[T.2]": DATA["k"] == 2, "C(k)[T.3]": DATA["k"] == 3},
    "1 + C(half)": {"Intercept": ONE, "C(half)[T.1]": DATA["half"] == 1},
    "1 + C(f, Sum)": {
        "Intercept": ONE, "C(f, Sum)[S.b]": is_f("b") - is_f("a"), "C(f, Sum)[S.c]": is_f("c") - is_f("a")
    },
    "1 + C(f, Treatment('a'))": {
        "Intercept": ONE, "C(f, Treatment('a'))[T.b]": is_f("b"), "C(f, Treatment('a'))[T.c]": is_f("c")
    },
    "0 + I(-x**2)": {"I(-x**2)": -(X**2)},
    "0 + I(x^2)": {"I(x**2)": X**2},
    "0 + I((x + w) * 2) + I(x + w * 2)": {"I((x + w) * 2)": (X + W) * 2, "I(x + w * 2)": X + W * 2},
    "0 + I(2**3**2 * x)": {"I(2**3**2 * x)": 512 * X},
    "0 + I(x - (w - 1))": {"I(x - (w - 1))": X - (W - 1)},
    "0 + {x > 0}": {"I(x > 0)": X > 0},
    "0 + I(f == 'a')": {"I(f == 'a')": is_f("a")},
    "0 + I(flag * x)": {"I(flag * x)": is_g("q") * X},
    "0 + I(1e-3 * x)": {"I(1e-3 * x)": 1e-3 * X},
    "0 + I(np.pi * x)": {"I(np.pi * x)": np.pi * X},
    "0 + np.log(w)": {"np.log(w)": np.log(W)},
    "0 + np.where(x > 0, x, 0)": {"np.where(x > 0, x, 0)": np.where(X > 0, X, 0)},
    "0 + center(x) + scale(x)": {"center(x)": X - X.mean(), "scale(x)": (X - X.mean()) / X.std()},
    "0 + I(big**2)": {"I(big**2)": DATA["big"].astype(float) ** 2},
    "0 + I(3)": {"I(3)": 3 * ONE},
}  # fmt: skip


@pytest.mark.parametrize("text", BY_HAND)
def test_columns_equal_those_written_by_hand(text):
    columns, matrix, _ = build(text)
    assert columns.names == tuple(BY_HAND[text])
    assert_allclose(matrix, np.column_stack([np.asarray(column, float) for column in BY_HAND[text].values()]))
    assert matrix.dtype == np.float64


@pytest.mark.parametrize(
    "text",
    [
        *BY_HAND,
        "1 + poly(x, 3)",
        "1 + bs(x, df=4)",
        pytest.param("1 + cr(x, df=4)", marks=NEW),
        "1 + x * poly(w, 2) + f",
        "0 + S(f) + T(g, 'q')",
    ],
)
def test_new_rows_are_coded_as_in_the_fit(text):
    columns, matrix, frame = build(text)
    assert_allclose(columns.evaluate(frame), matrix)
    some = [5, 2, 2]
    assert_allclose(columns.evaluate(frame.iloc[some]), matrix[some], atol=1e-12)


def test_polynomial_is_orthonormal():
    _, matrix, _ = build("0 + poly(x, 3)")
    assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-12)
    assert_allclose(matrix.sum(axis=0), 0, atol=1e-12)


def test_interaction_without_main_effects_spans_all_cells():
    _, matrix, _ = build("1 + f:g")
    assert np.linalg.matrix_rank(matrix) == matrix.shape[1] == 6


def test_no_columns_are_an_empty_matrix():
    columns, matrix, _ = build("0")
    assert (columns.names, matrix.shape) == ((), (N, 0))


def test_functions_and_values_of_the_namespace_are_used():
    _, matrix, _ = build("0 + twice(x) + I(x + shift)", {"twice": lambda values: 2 * values, "shift": 3.0})
    assert_allclose(matrix, np.column_stack([2 * X, X + 3]))


def test_stateful_transforms_of_the_namespace_keep_their_state():
    class Ratio:
        __stateful_transform__ = True

        def __init__(self):
            self.first = None

        def __call__(self, x):
            self.first = np.max(x) if self.first is None else self.first
            return x / self.first

    columns, matrix, frame = build("0 + ratio(x)", {"ratio": Ratio})
    assert_allclose(columns.evaluate(frame.iloc[[3]]), matrix[[3]])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("1 + np.log(x)", "'np.log(x)' is not a finite number in"),
        ("1 + I(1 / (x - x))", "'I(1 / (x - x))' is not a finite number in 24 of the 24 rows"),
        ("1 + x:np.log(I(x - 100))", "is not a finite number in 24"),
        ("1 + np.log(f)", "'np.log(f)' could not be computed"),
        ("1 + poly(x, 'a')", "could not be computed"),
        ("1 + C(f, Treatment('z'))", "could not be computed: ValueError: reference not in levels"),
        ("1 + I(9**9**9**9)", "could not be computed: OverflowError"),
        ("1 + total(x)", "must give one value, or one row of values, for each row"),
        ("1 + C(one)", "single level '1'"),
    ],
)
def test_failing_expression_is_named(text, part, capsys):
    with pytest.raises(DesignError) as caught:
        build(text, {"total": lambda x: x[:3]}, DATA.assign(one=1))
    assert part in str(caught.value)
    assert capsys.readouterr().out == ""


def test_what_versions_of_formulae_do_differently_is_refused_or_right():
    """Products with a basis are refused since 0.9; splines other than bs() came with 0.8."""
    if FORMULAE >= (0, 9):
        with pytest.raises(DesignError, match="Interaction with 'bs' is not supported"):
            build("1 + bs(x, df=4):w")
    else:
        basis, product = build("0 + bs(x, df=4)")[1], build("0 + bs(x, df=4):w")[1]
        assert_allclose(product, basis * DATA["w"].to_numpy()[:, None])
    if FORMULAE < (0, 8):
        with pytest.raises(SpecificationError, match=r"came with formulae 0\.8: pip install --upgrade formulae"):
            build("0 + cr(x, df=4)")


def test_factor_with_one_level_is_refused():
    with pytest.raises(DesignError, match="single level 'b'"):
        build("1 + f", data=DATA.iloc[[0, 3]])


def test_building_leaves_the_data_as_they_were():
    before = DATA.copy()
    build("1 + np.abs(x) + center(x) * f + C(k)")
    pd.testing.assert_frame_equal(DATA, before)


@pytest.mark.parametrize(
    "text",
    [
        "x * w + k",
        "h * g * x",
        "h + g + h:g",
        "0 + h * x",
        "(x + w + k)**2",
        pytest.param("bs(x, df=5) + cr(w, df=4)", marks=NEW),
        pytest.param("cc(x, 6, df=4) + tp(w, df=5)", marks=NEW),
        "poly(x, 3) * h",
        "center(x):h + scale(w)",
        "C(k) * x",
        "C(h, Sum) * C(k, Sum)",
        "S(h) + T(g, 'q')",
        "I(x / w) + np.exp(x) + np.sqrt(w)",
        "x:w + {x + w}",
    ],
)
def test_columns_span_the_space_that_formulae_finds(text):
    # formulae alone is trusted where none of its known bugs is in the way: no '/', no bars, sorted categories
    data = DATA.drop(columns=["f"]).assign(h=F)
    _, matrix, _ = build(text, data=data)
    theirs = np.asarray(design_matrices(text, data).common.design_matrix, dtype=float)
    assert matrix.shape == theirs.shape
    assert_allclose(
        np.array(sorted(matrix.T.round(9).tolist())), np.array(sorted(theirs.T.round(9).tolist())), atol=1e-8
    )
