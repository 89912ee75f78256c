"""Curves that are predicted where no data were come with a warning; scale() has the factor that the pages say."""

import warnings

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.errors import BayesmmWarning

N = 80
CURVES = ["bs(x, df=5)", "cr(x, df=4)", "tp(x, df=4)", "poly(x, 2)", "poly(x, degree=3)", "bs(np.log(x), df=4)", "f:poly(x, 2)",
          "bs(x=x, df=4)"]  # fmt: skip
NO_CURVES = ["x", "scale(x)", "poly(x, 1)", "poly(x)", "I(x**2)", "cc(x, period=10, df=4)", "np.log(x)"]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "y": rng.normal(size=N),
            "x": rng.uniform(1, 9, N),
            "f": np.resize(["a", "b"], N),
            "g": np.repeat(list("abcdefgh"), N // 8),
        }
    )


def told(predict, *arguments, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BayesmmWarning)
        predict(*arguments, **options)
    return [warning for warning in caught if issubclass(warning.category, BayesmmWarning)]


@pytest.mark.parametrize("formula", ["y ~ {} + (1 | g)", "y ~ 1 + ({} | g)"])
@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_outside_its_data_is_told_of(data, formula, curve):
    if curve.startswith("f:") and "| g)" in formula and "1 + (" in formula:
        formula = "y ~ 1 + (0 + {} || g)"
    fit = bmm.Model(formula.format(curve), data, sigma=1.0).fit()
    assert told(fit.predict) == []
    assert told(fit.predict, data.iloc[:5]) == []
    inside = data.iloc[:4].assign(x=[data["x"].min(), data["x"].max(), 5.0, np.nan])
    assert told(fit.predict, inside) == []
    (warning,) = told(fit.predict, data.iloc[:4].assign(x=[2.0, 30.0, 40.0, np.nan]))
    message = str(warning.message)
    assert "'x' is 2 to 40 in the new rows, 2 of 3 beyond" in message
    assert f"{data['x'].min():g} to {data['x'].max():g}" in message
    assert warning.filename == __file__
    if "(1 | g)" not in formula:
        assert told(fit.predict, data.iloc[:4].assign(x=30.0), random="none") == []


@pytest.mark.parametrize("term", NO_CURVES)
def test_what_is_no_curve_is_not_told_of(data, term):
    fit = bmm.Model(f"y ~ {term} + (1 | g)", data).fit()
    assert told(fit.predict, data.iloc[:4].assign(x=30.0)) == []


def test_a_posterior_tells_too(data):
    posterior = make_posterior(bmm.Model("y ~ bs(x, df=4) + (1 | g)", data))
    new = data.iloc[:4].assign(x=30.0)
    assert len(told(posterior.predict, new)) == 1
    assert len(told(posterior.posterior_predictive, new)) == 1
    assert told(posterior.predict) == []


def test_scale_divides_by_the_standard_deviation_with_n(data):
    ours = bmm.Model("y ~ scale(x) + (scale(x) || g)", data).fit().parameters
    theirs = data.assign(x=(data["x"] - data["x"].mean()) / data["x"].std(ddof=1))  # R's scale()
    theirs = bmm.Model("y ~ x + (x || g)", theirs).fit().parameters
    factor = np.sqrt((N - 1) / N)
    assert ours.loc["scale(x)", "estimate"] == pytest.approx(factor * theirs.loc["x", "estimate"], rel=1e-6)
    assert ours.loc["sigma", "estimate"] == pytest.approx(theirs.loc["sigma", "estimate"], rel=1e-6)
