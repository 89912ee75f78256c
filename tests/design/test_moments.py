"""E[Y|X] and Var[Y|X]: numbers against the dense formula, texts against the numbers."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from oracle import block_diagonal, level_covariance, random_columns

from bayesmm.design import build_design
from bayesmm.design.words.moments import marginal_covariance, marginal_mean
from bayesmm.errors import DesignError
from bayesmm.specification.formula import parse_formula

RNG = np.random.default_rng(20261122)
N = 24
DATA = pd.DataFrame(
    {
        "y": RNG.normal(size=N),
        "x": np.resize([0.0, 1.0, 3.0, 6.0, -2.5], N),
        "z": RNG.normal(size=N).round(2),
        "f": np.resize(["u", "v", "w"], N),
        "school": np.repeat(["A", "B", "C"], 8),
        "room": np.tile(np.repeat(["1", "2"], 4), 3),
        "rater": np.resize(["p", "q", "r", "s", "t"], N),
        "w": RNG.uniform(0.5, 2.0, N).round(2),
        "o": np.resize([0.0, 2.0], N),
    },
    index=pd.Index(range(100, 100 + N)),
)
FORMULAS = [
    "y ~ x + (x | school)",
    "y ~ x + (x || school)",
    "y ~ x + f + (1 | school/room)",
    "y ~ 0 + x + (0 + f | school) + (1 | rater)",
    "y ~ x * z + offset(o) + (x + z | rater) + (1 | school:room)",
    "y ~ x + (1 | school) + (0 + x + z | school) + (z | rater)",
]
WEIGHTS = [None, "w"]


def model(formula, weights=None, data=DATA, **options):
    return build_design(parse_formula(formula), data, weights=weights, **options)


def some_values(design):
    """Values of all parameters; correlations of the equicorrelated kind, so that any number of effects will do."""
    rng = np.random.default_rng(1)
    kinds = {"fixed": lambda: rng.normal(), "sd": lambda: rng.uniform(0.5, 2), "cor": lambda: 0.3, "sigma": lambda: 0.7}
    return {row.name: float(kinds[row.kind]()) for row in design.labels.parameter_rows()}


def dense_covariance(design, values):
    Z, G = [], []
    for block, names in zip(design.blocks, design.labels.blocks, strict=True):
        cov = np.diag([values[f"sd({effect} | {names.group})"] ** 2 for effect in block.effects])
        for cor in names.cors:
            i, j = map(block.effects.index, cor.split(", "))
            cov[i, j] = cov[j, i] = values[f"cor({cor} | {names.group})"] * np.sqrt(cov[i, i] * cov[j, j])
        Z.append(random_columns(block.incidence.only.codes, block.columns, block.q))
        G.append(level_covariance(cov, block.q))
    stacked = np.hstack(Z)
    return stacked @ block_diagonal(G) @ stacked.T + values["sigma"] ** 2 * np.diag(1 / design.weights)


def number_of(text, design, values):
    """Put numbers for the symbols of a text, and compute it."""
    symbols = {"σ²(": {}, "σ(": {}, "β(": {}}
    for row, name in zip(design.labels.parameter_rows(), design.labels.coefficients, strict=False):
        symbols["β("][f"β({name})"] = values[row.name]
    for block in design.labels.blocks:
        for effect in block.effects:
            variance = values[f"sd({effect} | {block.group})"] ** 2
            symbols["σ²("][f"σ²({effect} | {block.group})"] = variance
            symbols["σ²("][f"σ²({block.group})"] = variance
        for cor in block.cors:
            sds = math.prod(values[f"sd({effect} | {block.group})"] for effect in cor.split(", "))
            symbols["σ("][f"σ({cor} | {block.group})"] = values[f"cor({cor} | {block.group})"] * sds
    for table in symbols.values():
        for symbol in sorted(table, key=len, reverse=True):
            text = text.replace(symbol, f"({table[symbol]!r})")
    text = re.sub("σ²", f"({values['sigma'] ** 2!r})", text)
    return eval(text.replace("·", "*").replace("²", "**2").replace("−", "-"), {"__builtins__": {}})


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("formula", FORMULAS)
def test_covariance_equals_dense_formula(formula, weights):
    design = model(formula, weights)
    values = some_values(design)
    computed = marginal_covariance(design, at=values)
    assert_allclose(computed.to_numpy(), dense_covariance(design, values), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("formula", FORMULAS)
def test_symbols_say_what_the_numbers_are(formula, weights):
    design = model(formula, weights)
    values = some_values(design)
    rows = DATA.index[::3]
    texts = marginal_covariance(design, rows=rows)
    numbers = marginal_covariance(design, rows=rows, at=values)
    assert texts.index.equals(numbers.index)
    assert texts.columns.equals(numbers.columns)
    back = texts.map(lambda text: number_of(text, design, values))
    assert_allclose(back.to_numpy(dtype=float), numbers.to_numpy(), rtol=1e-4, atol=1e-12)
    means = marginal_mean(design, rows=rows)["mean"].map(lambda text: number_of(text, design, values))
    assert_allclose(
        means.to_numpy(dtype=float), marginal_mean(design, rows=rows, at=values)["mean"], rtol=1e-4, atol=1e-12
    )


def test_slope_covariance_is_written_as_in_textbooks():
    texts = marginal_covariance(model("y ~ x + (x | school)"), rows=[100, 102, 103, 108])
    first, second, third = ("school A · row 100", "school A · row 102", "school A · row 103")
    assert texts.loc[first, first] == "σ²(Intercept | school) + σ²"
    assert texts.loc[first, second] == "σ²(Intercept | school) + 3·σ(Intercept, x | school)"
    assert texts.loc[second, third] == "σ²(Intercept | school) + 3·6·σ²(x | school) + (3 + 6)·σ(Intercept, x | school)"
    assert texts.loc[third, third] == "σ²(Intercept | school) + 6²·σ²(x | school) + 2·6·σ(Intercept, x | school) + σ²"
    assert texts.loc[first, "school B · row 108"] == "0"


def test_nested_levels_show_in_labels_and_cells():
    texts = marginal_covariance(model("y ~ 1 + (1 | school/room)"), rows=[100, 101, 104, 108])
    labels = ["school A · room 1 · row 100", "school A · room 1 · row 101", "school A · room 2 · row 104"]
    assert list(texts.index[:3]) == labels
    assert texts.iloc[0].tolist() == [
        "σ²(school) + σ²(school:room) + σ²",
        "σ²(school) + σ²(school:room)",
        "σ²(school)",
        "0",
    ]


def test_signs_and_opposite_numbers_are_simplified():
    data = DATA.assign(x=np.resize([-1.0, 1.0, -2.0], N))
    texts = marginal_covariance(model("y ~ x + (x | school)", data=data), rows=[100, 101, 102]).to_numpy()
    assert texts[0, 1] == "σ²(Intercept | school) − σ²(x | school)"
    assert texts[1, 2] == "σ²(Intercept | school) − 2·σ²(x | school) − (2 − 1)·σ(Intercept, x | school)"
    assert texts[0, 0] == "σ²(Intercept | school) + σ²(x | school) − 2·σ(Intercept, x | school) + σ²"


def test_weights_divide_the_residual_variance():
    texts = marginal_covariance(model("y ~ 1 + (1 | school)", "w"), rows=[100])
    assert texts.iloc[0, 0] == f"σ²(school) + σ²/{DATA['w'].iloc[0]:g}"


def test_mean_is_written_with_coefficients_and_offset():
    design = model("y ~ x + f + offset(o) + (1 | school)")
    assert marginal_mean(design, rows=[104, 101])["mean"].tolist() == [
        "β(Intercept) − 2.5·β(x) + β(f[T.v])",
        "β(Intercept) + β(x) + β(f[T.v]) + 2",
    ]


def test_many_rows_ask_for_a_choice():
    data = pd.concat([DATA] * 9, ignore_index=True)
    design = model("y ~ x + (x | school)", data=data)
    with pytest.raises(DesignError, match=r"216 rows.*Choose some"):
        marginal_covariance(design)
    assert marginal_covariance(design, at=some_values(design)).shape == (216, 216)


def test_a_fit_is_read_by_its_tables():
    class Fitted:
        def __init__(self, values):
            self.parameters = pd.DataFrame({"estimate": values})
            self.sigma = values["sigma"]

    design = model("y ~ x + (x | school)")
    values = some_values(design)
    by_fit = marginal_covariance(design, at=Fitted(values))
    pd.testing.assert_frame_equal(by_fit, marginal_covariance(design, at=values))
    pd.testing.assert_frame_equal(by_fit, marginal_covariance(design, at=pd.Series(values)))


def test_known_sigma_need_not_be_given():
    design = model("y ~ 1 + (1 | school)", "w", known_sigma=3.0)
    values = {"Intercept": 0.0, "sd(Intercept | school)": 2.0}
    with pytest.raises(DesignError, match="no value of 'sigma'"):
        marginal_covariance(model("y ~ 1 + (1 | school)", "w"), at=values)
    known = marginal_covariance(design, at=values)
    pd.testing.assert_frame_equal(known, marginal_covariance(design, at={**values, "sigma": 3.0}))


def test_undefined_correlation_of_a_zero_sd_does_not_matter():
    design = model("y ~ x + (x | school)")
    values = some_values(design) | {"sd(x | school)": 0.0, "cor(Intercept, x | school)": np.nan}
    without = some_values(design) | {"sd(x | school)": 0.0, "cor(Intercept, x | school)": 0.0}
    pd.testing.assert_frame_equal(marginal_covariance(design, at=values), marginal_covariance(design, at=without))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sd(x | school)": -1.0}, "'sd.x | school.' is -1"),
        ({"cor(Intercept, x | school)": 1.5}, "is 1.5 in at: a correlation"),
        ({"cor(Intercept, x | school)": np.nan}, "is nan in at: a correlation"),
        ({"sigma": -2.0}, "'sigma' is -2"),
        ({"sd(x|school)": 1.0}, "Did you mean 'sd.x | school.'"),
    ],
)
def test_impossible_values_are_refused(change, message):
    design = model("y ~ x + (x | school)")
    with pytest.raises(DesignError, match=message):
        marginal_covariance(design, at=some_values(design) | change)


def test_something_else_as_values_is_refused():
    with pytest.raises(DesignError, match="at is of type int"):
        marginal_mean(model("y ~ 1 + (1 | school)"), at=3)


def test_texts_are_shown_in_full():
    texts = marginal_covariance(model("y ~ x + (x | school)"), rows=[102, 103])
    assert "..." not in repr(texts)
    assert "(3 + 6)·σ(Intercept, x | school)" in repr(texts)
    assert "(3 + 6)·σ(Intercept, x | school)" in texts._repr_html_()
    assert "..." not in repr(texts.loc[["school A · row 102"]])
