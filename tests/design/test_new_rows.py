"""New rows are coded as the fit was, and come back in their own order."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayesmm as bmm
from bayesmm.design import build_design
from bayesmm.errors import DesignError, PredictionError
from bayesmm.specification import parse_formula

N = 30
RNG = np.random.default_rng(21)
DATA = pd.DataFrame(
    {
        "y": RNG.uniform(1, 2, N),
        "x": RNG.normal(size=N),
        "z": RNG.normal(size=N),
        "f": pd.Categorical(np.resize(["b", "a", "c"], N), categories=["b", "a", "c"]),
        "flag": np.resize([True, False], N),
        "g": pd.Categorical(np.repeat(["308", "309", "10"], 10)),
        "num": np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 6),
    }
)
FORMULA = "np.log(y) ~ poly(x, 2) * f + flag + scale(z) + C(num) + offset(z / 2) + (0 + f | g) + (x | g:num)"
DESIGN = build_design(parse_formula(FORMULA), DATA)


def test_rows_of_the_fit_give_the_columns_of_the_fit():
    rows = DESIGN.evaluate(DATA, response=True)
    assert_allclose(rows.X, DESIGN.X, atol=1e-12)
    assert_allclose(rows.offset, DESIGN.offset)
    assert_allclose(rows.y, DESIGN.y)
    for new, block in zip(rows.blocks, DESIGN.blocks, strict=True):
        assert new.group == block.group
        assert_array_equal(new.incidence.only.codes, block.incidence.only.codes)
        assert_array_equal(new.labels[0], np.array(block.levels)[block.incidence.only.codes])
        assert_allclose(new.incidence.only.columns, block.columns)


def test_response_is_not_needed():
    rows = DESIGN.evaluate(DATA.drop(columns="y"))
    assert rows.y is None
    with pytest.raises(DesignError, match="no column 'y'"):
        DESIGN.evaluate(DATA.drop(columns="y"), response=True)


def test_single_rows_keep_state_and_index():
    rows = DESIGN.evaluate(DATA.iloc[[7, 3]])
    assert rows.index.tolist() == [7, 3]
    assert_allclose(rows.X, DESIGN.X[[7, 3]], atol=1e-12)


def test_no_rows_give_no_rows():
    rows = DESIGN.evaluate(DATA.iloc[:0])
    assert rows.X.shape == (0, DESIGN.X.shape[1])
    assert rows.blocks[0].incidence.only.columns.shape == (0, 3)


@pytest.mark.parametrize("term", ["bs(x, df=4)", "cr(x, df=3)", "poly(x, 2)", "scale(x)", "center(x)", "I(x ** 2)"])
def test_no_complete_rows_are_as_good_as_some(term):
    data = bmm.datasets.load("sleepstudy").rename(columns={"Days": "x"})
    fit = bmm.Model(f"Reaction ~ {term} + (1 | Subject)", data).fit()
    assert fit.predict(data.iloc[:0], interval="prediction").empty
    assert fit.predict(data.iloc[:2].assign(x=np.nan), interval="prediction").isna().all(axis=None)


def test_rows_with_missing_values_come_back_as_nan():
    data = DATA.iloc[:6].copy()
    data.loc[0, "x"] = np.nan
    data.loc[1, "g"] = None
    data.loc[2, "z"] = np.nan
    data.loc[3, "f"] = None
    rows = DESIGN.evaluate(data)
    assert np.isnan(rows.X).any(axis=1).tolist() == [True, False, True, True, False, False]
    assert np.isnan(rows.offset).tolist() == [False, False, True, False, False, False]
    by_g, by_both = rows.blocks
    assert by_g.incidence.only.codes[1] == by_both.incidence.only.codes[1] == -1
    assert by_g.labels[0][1] is by_both.labels[0][1] is None
    assert np.isnan(by_g.incidence.only.columns).any(axis=1).tolist() == [False, False, False, True, False, False]
    assert np.isnan(by_both.incidence.only.columns).any(axis=1).tolist() == [True, False, False, False, False, False]
    assert_allclose(rows.X[4:], DESIGN.X[4:6], atol=1e-12)


def test_new_levels_have_code_minus_one_and_their_label():
    data = DATA.iloc[:3].assign(g=["308", "new", "309"], num=[1.0, 1.0, 1.0])
    by_g, by_both = DESIGN.evaluate(data).blocks
    assert by_g.incidence.only.codes.tolist() == [
        DESIGN.blocks[0].levels.index("308"),
        -1,
        DESIGN.blocks[0].levels.index("309"),
    ]
    assert by_g.labels[0].tolist() == ["308", "new", "309"]
    # 309 occurs with 2, 3 and 4 only
    assert by_both.labels[0].tolist() == ["308:1", "new:1", "309:1"]
    assert by_both.incidence.only.codes.tolist() == [DESIGN.blocks[1].levels.index("308:1"), -1, -1]


@pytest.mark.parametrize("g", [[308, 309], [308.0, 309.0], ["308", "309"], pd.Categorical([308, 309])])
def test_levels_are_matched_by_their_labels(g):
    assert (DESIGN.evaluate(DATA.iloc[:2].assign(g=g)).blocks[0].incidence.only.codes >= 0).all()


def test_factors_are_matched_by_their_labels_in_any_type():
    for f in (["a", "a"], pd.Categorical(["a", "a"]), pd.Categorical(["a", "a"], categories=["c", "a"])):
        rows = DESIGN.evaluate(DATA.iloc[:2].assign(f=f))
        assert_allclose(rows.blocks[0].incidence.only.columns, [[0, 1, 0], [0, 1, 0]])


def test_polars_rows_are_accepted():
    assert_allclose(DESIGN.evaluate(pl.from_pandas(DATA)).X, DESIGN.X, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"f": "z"}, r"'f' has the level\(s\) 'z' in the new data, which the fit did not see.*Known are b, a, c"),
        ({"num": 9.0}, r"'C\(num\)' has the level\(s\) '9'"),
        ({"x": "text"}, "Column 'x' holds texts or categories such as 'text', but was numeric"),
        ({"flag": "text"}, "was boolean in the fit"),
        ({"flag": 2}, "was boolean in the fit"),
    ],
)
def test_columns_that_do_not_fit_are_refused(change, part):
    with pytest.raises(PredictionError, match=part):
        DESIGN.evaluate(DATA.assign(**change))


def test_numbers_zero_and_one_stand_for_booleans():
    assert_allclose(DESIGN.evaluate(DATA.assign(flag=DATA["flag"].astype(int))).X, DESIGN.X, atol=1e-12)


def test_only_the_requested_groups_are_needed():
    rows = DESIGN.evaluate(DATA.drop(columns="g"), groups=[])
    assert rows.blocks == ()
    assert [block.group for block in DESIGN.evaluate(DATA, groups=["g:num"]).blocks] == ["g:num"]
    with pytest.raises(DesignError, match="no column 'g'"):
        DESIGN.evaluate(DATA.drop(columns="g"))
    with pytest.raises(PredictionError, match=r"no grouping factor 'h'. It has g, g:num"):
        DESIGN.evaluate(DATA, groups=["h"])


def test_column_of_nothing_gives_nan_rows():
    rows = DESIGN.evaluate(DATA.iloc[:2].assign(x=None))
    assert np.isnan(rows.X).any(axis=1).all()


def test_design_survives_pickling():
    again = pickle.loads(pickle.dumps(DESIGN))
    assert_allclose(again.evaluate(DATA.iloc[[4]]).X, DESIGN.X[[4]], atol=1e-12)
