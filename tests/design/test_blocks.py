"""Levels, codes and effect columns of random effects."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bayesmm.design import build_design
from bayesmm.specification import parse_formula

N = 36
RNG = np.random.default_rng(8)
DATA = pd.DataFrame(
    {
        "y": RNG.normal(size=N),
        "x": RNG.normal(size=N),
        "w": RNG.normal(size=N),
        "f": pd.Categorical(np.resize(["b", "a"], N), categories=["b", "a"]),
        "h": np.resize(["p", "q", "r"], N),
        "g": np.repeat(["s10", "s2", "s1", "t"], 9),
        "num": np.repeat([10.0, 9.0, 308.0], 12),
        "cat": pd.Categorical(np.repeat(["hi", "lo", "mid"], 12), categories=["lo", "mid", "hi", "never"]),
        "flag": np.repeat([True, False], 18),
    }
)


def blocks(random, data=DATA, **options):
    return build_design(parse_formula(f"y ~ x + {random}"), data, **options).blocks


@pytest.mark.parametrize(
    ("group", "levels"),
    [
        ("g", ("s1", "s10", "s2", "t")),
        ("num", ("9", "10", "308")),
        ("cat", ("lo", "mid", "hi")),
        ("flag", ("False", "True")),
    ],
)
def test_levels_are_in_the_order_of_categories_or_sorted(group, levels):
    (block,) = blocks(f"(1 | {group})")
    assert block.levels == levels
    texts = np.array([str(int(v)) if isinstance(v, float) else str(v) for v in DATA[group]])
    assert_array_equal(np.array(levels)[block.incidence.only.codes], texts)


def test_only_observed_combinations_are_levels_in_lexicographic_order():
    (block,) = blocks("(1 | cat:flag)")
    assert block.levels == ("lo:False", "lo:True", "mid:False", "hi:True")
    assert_array_equal(
        np.array(block.levels)[block.incidence.only.codes],
        [f"{c}:{f}" for c, f in zip(DATA["cat"], DATA["flag"], strict=True)],
    )


def test_three_factors_combine():
    (block,) = blocks("(1 | cat:flag:h)")
    assert block.q == 12
    assert block.levels[:2] == ("lo:False:p", "lo:False:q")


EFFECTS = {
    "(1 | g)": ["Intercept"],
    "(x | g)": ["Intercept", "x"],
    "(0 + x | g)": ["x"],
    "(x || g)": ["Intercept", "x"],
    "(x * w | g)": ["Intercept", "x", "w", "x:w"],
    "(poly(x, 2) | g)": ["Intercept", "poly(x, 2)[0]", "poly(x, 2)[1]"],
    "(f | g)": ["Intercept", "f[T.a]"],
    "(0 + f | g)": ["f[b]", "f[a]"],
    "(0 + C(f) | g)": ["C(f)[b]", "C(f)[a]"],
    "(0 + f + h | g)": ["f[b]", "f[a]", "h[T.q]", "h[T.r]"],
    "(f || g)": ["Intercept", "f[T.a]"],
    "(flag | h)": ["Intercept", "flag[T.True]"],
}


@pytest.mark.parametrize("random", EFFECTS)
def test_effect_columns_are_coded_as_in_lme4(random):
    (block,) = blocks(random)
    assert list(block.effects) == EFFECTS[random]
    assert block.columns.shape == (N, len(EFFECTS[random]))
    fixed = build_design(parse_formula(f"y ~ {random[1:].split('|')[0]} + (1 | cat)"), DATA)
    assert_allclose(block.columns, fixed.X)


def test_each_term_is_coded_on_its_own():
    (block,) = blocks("(1 | g) + (0 + f | g)")
    assert block.effects == ("Intercept", "f[b]", "f[a]")
    assert [(piece.start, piece.stop) for piece in block.pieces] == [(0, 1), (1, 3)]
    assert [str(piece.term) for piece in block.pieces] == ["(1 | g)", "(0 + f | g)"]


def test_terms_of_one_group_share_a_block_in_order_of_appearance():
    found = blocks("(0 + x | g) + (1 | h) + (1 | g) + (1 | cat:flag) + (0 + w || flag:cat)")
    assert [block.group for block in found] == ["g", "h", "cat:flag"]
    assert [block.effects for block in found] == [("x", "Intercept"), ("Intercept",), ("Intercept", "w")]


def test_nested_term_makes_a_block_for_each_depth():
    found = blocks("(x | flag/cat/h)")
    assert [block.group for block in found] == ["flag", "flag:cat", "flag:cat:h"]
    assert all(block.effects == ("Intercept", "x") for block in found)


def to_polars(data):
    # a polars Categorical has no order of its own, an Enum has
    return pl.from_pandas(data).with_columns(pl.col("f").cast(pl.Enum(["b", "a"])))


def to_arrow_backed(data):
    return data.convert_dtypes(dtype_backend="pyarrow")


@pytest.mark.parametrize("convert", [to_polars, pa.Table.from_pandas, to_arrow_backed])
def test_every_library_gives_the_same_design(convert):
    formula = parse_formula("y ~ x * f + flag + (x | g) + (1 | num) + (1 | cat:h)")
    data = DATA.assign(cat=DATA["cat"].astype(str))
    one, other = build_design(formula, data), build_design(formula, convert(data))
    assert one.coefficients == other.coefficients
    assert_allclose(one.X, other.X)
    for here, there in zip(one.blocks, other.blocks, strict=True):
        assert here.levels == there.levels
        assert_array_equal(here.incidence.only.codes, there.incidence.only.codes)
        assert_allclose(here.columns, there.columns)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(N)))
def test_permuted_rows_give_permuted_arrays(order):
    formula = parse_formula("y ~ x * f + (x | g) + (1 | cat:flag)")
    one, other = build_design(formula, DATA), build_design(formula, DATA.iloc[order])
    assert_allclose(other.X, one.X[order])
    assert_allclose(other.y, one.y[order])
    for here, there in zip(one.blocks, other.blocks, strict=True):
        assert here.levels == there.levels
        assert_array_equal(there.incidence.only.codes, here.incidence.only.codes[order])
        assert_allclose(there.columns, here.columns[order])


def test_random_effects_matrix_equals_dense_khatri_rao():
    (block,) = blocks("(x * f | g)")
    indicator = (np.array(block.levels)[None, :] == DATA["g"].to_numpy()[:, None]).astype(float)
    dense = (indicator[:, :, None] * block.columns[:, None, :]).reshape(N, -1)
    ours = np.zeros((N, block.q, block.k))
    ours[np.arange(N), block.incidence.only.codes] = block.columns
    assert_allclose(ours.reshape(N, -1), dense)


def test_long_identifiers_are_not_confused():
    data = DATA.assign(id=np.repeat([2**60, 2**60 + 1, 2**60 + 2], 12))
    (block,) = blocks("(1 | id)", data)
    assert block.levels == (str(2**60), str(2**60 + 1), str(2**60 + 2))
