"""Student's t without SciPy: beside SciPy's, tables, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

import bayesmm as bmm
from bayesmm.inference.fixed.fixed_effects import infer_fixed_effects
from bayesmm.inference.fixed.student import MOST, t_quantile, two_sided

DF = np.array([0.3, 0.7, 1.0, 1.7, 2.0, 3.0, 4.4, 10.0, 29.3, 59.9, 60.1, 444.0, 9.9e3])
SCIPY = 1e-12  # what SciPy itself is good to, as closed forms show


@pytest.mark.parametrize("probability", [0.025, 0.3, 0.5001, 0.75, 0.975, 0.995, 1.0 - 1e-9])
def test_quantiles_are_scipys(probability: float) -> None:
    np.testing.assert_allclose(t_quantile(probability, DF), special.stdtrit(DF, probability), rtol=2 * SCIPY)


@pytest.mark.parametrize("t", [-3.0, 1e-3, 0.4, 1.0, 2.0, 7.5, 40.0, 1e6])
def test_tails_are_scipys(t: float) -> None:
    np.testing.assert_allclose(two_sided(np.array(t), DF), 2.0 * special.stdtr(DF, -abs(t)), rtol=SCIPY)


def test_one_and_two_degrees_of_freedom_have_closed_forms() -> None:
    t = np.array([1e-8, 0.1, 1.0, 3.0, 1e5])
    np.testing.assert_allclose(two_sided(t, np.array(1.0)), 2.0 / math.pi * np.arctan2(1.0, t), rtol=1e-14)
    root = np.sqrt(2.0 + t**2)
    np.testing.assert_allclose(two_sided(t, np.array(2.0)), 2.0 / (root * (root + t)), rtol=1e-14)
    assert t_quantile(0.975, np.array([1.0]))[0] == pytest.approx(math.tan(0.475 * math.pi), rel=1e-14)


def test_a_printed_table() -> None:
    """Student (1908) as every textbook has it."""
    found = t_quantile(0.975, np.array([1.0, 5.0, 17.0, 30.0, 120.0, np.inf]))
    np.testing.assert_allclose(found, [12.706, 2.571, 2.110, 2.042, 1.980, 1.960], atol=5e-4)


def test_what_has_no_degrees_of_freedom_has_no_quantile() -> None:
    assert np.isnan(t_quantile(0.975, np.array([np.nan, 0.0, -1.0]))).all()
    assert np.isnan(two_sided(np.array([np.nan, 1.0]), np.array([3.0, np.nan]))).all()
    np.testing.assert_array_equal(two_sided(np.array([0.0, np.inf, np.inf]), np.array([3.0, 3.0, np.inf])), [1, 0, 0])


def test_many_numbers_and_many_degrees_of_freedom_are_as_few() -> None:
    few, many = DF[3:6], np.tile(DF[3:6], 50)
    np.testing.assert_allclose(t_quantile(0.9, many), np.tile(t_quantile(0.9, few), 50), rtol=2 * SCIPY)
    np.testing.assert_allclose(two_sided(np.full(150, 2.3), many)[:3], two_sided(np.full(3, 2.3), few), rtol=SCIPY)
    assert t_quantile(0.975, np.array([MOST * 1e6, np.inf])) == pytest.approx([1.959963985, 1.959963985], rel=1e-8)


def test_variance_that_depends_on_no_parameter_has_infinite_degrees_of_freedom() -> None:
    """With a known sigma differences within balanced groups are normal: z, and χ² over its rank."""
    data = bmm.datasets.load("sleepstudy")
    fit = bmm.Model("Reaction ~ Days + I(Days**2) + (1 | Subject)", data, sigma=30.0).fit()
    within = ["Days", "I(Days**2)"]
    for df in ("satterthwaite", "kenward-roger"):
        table = fit.coefficients(df=df)
        assert np.isinf(table.loc[within, "df"]).all()
        assert np.isfinite(table.loc["Intercept", "df"])
        np.testing.assert_allclose(
            table.loc[within, "p_value"], 2.0 * stats.norm.sf(table.loc[within, "statistic"].abs())
        )
        z = stats.norm.ppf(0.975)
        np.testing.assert_allclose(table["upper"][within], (table["estimate"] + z * table["std_error"])[within])
        of = infer_fixed_effects(fit, df)  # type: ignore[arg-type]
        both = of.f_test(np.eye(3)[1:])
        assert np.isinf(both.den_df)
        assert both.p_value == pytest.approx(stats.chi2.sf(2.0 * both.statistic, 2))
        assert np.isfinite(of.f_test(np.eye(3)[:2]).den_df)  # with one that has finitely many
    assert "∞" in str(fit)
