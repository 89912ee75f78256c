"""Which rows are used, and what is said about the others."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from bayesmm.design import build_design
from bayesmm.errors import BayesmmWarning, DesignError
from bayesmm.specification import parse_formula

N = 20
RNG = np.random.default_rng(5)
DATA = pd.DataFrame(
    {
        "y": RNG.normal(size=N),
        "x": RNG.normal(size=N),
        "w": RNG.uniform(1, 2, N),
        "z": RNG.normal(size=N),
        "g": np.resize(list("abcd"), N),
        "unused": np.nan,
    },
    index=[f"row{i}" for i in range(N)],
)
FORMULA = parse_formula("y ~ x + offset(z) + (1 | g)")


def holes(*places):
    data = DATA.copy()
    for row, name in places:
        data.iloc[row, data.columns.get_loc(name)] = None if name == "g" else np.nan
    return data


def test_rows_with_missing_values_are_dropped_counted_and_reported_once():
    data = holes((0, "y"), (1, "x"), (1, "z"), (2, "g"), (3, "g"))
    with pytest.warns(BayesmmWarning) as caught:
        design = build_design(FORMULA, data)
    assert len(caught) == 1
    assert str(caught[0].message) == "4 of 20 rows dropped because of missing values: y (1), x (1), z (1), g (2)."
    assert (design.n, design.n_dropped) == (16, 4)
    assert dict(design.dropped_by) == {"y": 1, "x": 1, "z": 1, "g": 2}
    assert list(design.rows) == [f"row{i}" for i in range(4, N)]
    np.testing.assert_array_equal(design.y, DATA["y"].to_numpy()[4:])
    assert list(design.frame.columns) == ["y", "x", "z", "g"]


def test_warning_points_at_the_caller():
    with pytest.warns(BayesmmWarning) as caught:
        build_design(FORMULA, holes((0, "y")))
    assert caught[0].filename == __file__


def test_complete_data_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        design = build_design(FORMULA, DATA)
    assert (design.n_dropped, dict(design.dropped_by)) == (0, {})


def test_missing_values_can_be_refused():
    with pytest.raises(DesignError, match=r"2 of 20 rows have missing values: x \(2\)"):
        build_design(FORMULA, holes((0, "x"), (5, "x")), missing="raise")


def test_unknown_policy_is_refused():
    with pytest.raises(DesignError, match="missing='pass' is not known"):
        build_design(FORMULA, DATA, missing="pass")


def test_no_row_left_is_refused():
    with pytest.raises(DesignError, match="No row is left"):
        build_design(FORMULA, DATA.assign(x=np.nan))


def test_infinite_values_are_refused_with_their_place():
    data = DATA.copy()
    data.loc["row7", "x"] = np.inf
    with pytest.raises(DesignError, match=r"Column 'x' has 1 infinite value\(s\), the first in row 'row7'"):
        build_design(FORMULA, data)


def test_levels_that_only_dropped_rows_have_are_gone():
    data = DATA.assign(g=pd.Categorical(DATA["g"], categories=list("dcba"))).copy()
    data.loc[data["g"] == "b", "x"] = np.nan
    with pytest.warns(BayesmmWarning):
        design = build_design(FORMULA, data)
    assert design.blocks[0].levels == ("d", "c", "a")


def test_missing_value_made_by_a_transformation_is_an_error():
    with pytest.raises(DesignError, match=r"'np.log\(x\)' is not a finite number in \d+ of the 20 rows"):
        build_design(parse_formula("y ~ np.log(x) + (1 | g)"), DATA)
    with pytest.raises(DesignError, match=r"'np.log\(y\)' is not a finite number"):
        build_design(parse_formula("np.log(y) ~ x + (1 | g)"), DATA)


WEIGHTS = DATA["w"].to_numpy()


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("w", WEIGHTS),
        ("1 / w**2", 1 / WEIGHTS**2),
        ("np.exp(x)", np.exp(DATA["x"].to_numpy())),
        (WEIGHTS, WEIGHTS),
        (list(WEIGHTS), WEIGHTS),
        (DATA["w"], WEIGHTS),
        (pl.Series(WEIGHTS), WEIGHTS),
        (np.arange(1, N + 1), np.arange(1.0, N + 1)),
    ],
)
def test_weights_are_an_array_a_column_or_an_expression(weights, expected):
    design = build_design(FORMULA, DATA, weights=weights)
    np.testing.assert_allclose(design.weights, expected)
    assert design.weights.dtype == np.float64
    assert design.has_weights


def test_without_weights_they_are_one():
    design = build_design(FORMULA, DATA)
    assert not design.has_weights
    assert design.weights.tolist() == [1.0] * N


def test_rows_with_missing_weights_are_dropped():
    weights = np.where(np.arange(N) < 3, np.nan, 2.0)
    for given, data, name in [(weights, DATA, "weights"), ("w", DATA.assign(w=weights), "w")]:
        with pytest.warns(BayesmmWarning, match=rf"{name} \(3\)"):
            design = build_design(FORMULA, data, weights=given)
        assert (design.n, len(design.weights)) == (N - 3, N - 3)


@pytest.mark.parametrize(
    ("weights", "part"),
    [
        (np.where(np.arange(N) == 4, 0.0, 1.0), "1 of the 20 weights are not positive and finite, the first is 0 in row 'row4'"),
        (np.where(np.arange(N) == 4, -1.0, 1.0), "the first is -1 in row 'row4'"),
        (np.where(np.arange(N) == 4, np.inf, 1.0), "the first is inf"),
        ("1 / (w - w)", "20 of the 20 weights are not positive"),
        (np.ones(N - 1), "There are 19 weights for 20 rows"),
        (2.0, "array of shape ()"),
        (np.ones((N, 2)), "array of shape (20, 2)"),
        (["a"] * N, "weights are not numbers"),
        (np.ones(N, dtype=bool), "weights are not numbers"),
        ("g", "The weights 'g' is not one number for each row: it is categorical"),
        ("nosuch", "no column 'nosuch'"),
        ("w +", "ends where a term is expected"),
        ("", "empty"),
        (pd.Series(WEIGHTS), "another index"),
    ],
)  # fmt: skip
def test_unusable_weights_are_refused(weights, part):
    with pytest.raises(ValueError) as caught:
        build_design(FORMULA, DATA, weights=weights)
    assert part in str(caught.value)


def test_design_does_not_share_memory_with_the_data():
    data = DATA.copy()
    design = build_design(FORMULA, data)
    before = design.y.copy(), design.frame.copy()
    data.loc[:, "y"] = 0.0
    data.iloc[0, 1] = 99.0
    np.testing.assert_array_equal(design.y, before[0])
    pd.testing.assert_frame_equal(design.frame, before[1])
