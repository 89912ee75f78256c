"""What a fit says does not depend on the units of columns and weights, and hardly on where a column has its origin."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_posterior import SHAPE, make_posterior

import bayesmm as bmm
from bayesmm.fit.fit import Fit

TOLERANCE = 1e-6  # standard errors are made of differences
FORMULAS = [
    "y ~ x + (x | g)",
    "y ~ x + (x || g)",
    "y ~ 1 + (0 + x | g)",
    "y ~ x + (1 | g) + (0 + x | h)",
    "y ~ x + (x | g) + (1 | h)",
]


def data_of(slope_sd: float) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    g, h = np.repeat(np.arange(12), 10), np.tile(np.arange(8), 15)
    x = rng.normal(size=120)
    y = 3.0 + rng.normal(size=12)[g] + slope_sd * rng.normal(size=12)[g] * x + rng.normal(size=8)[h]
    return pd.DataFrame({"y": y + rng.normal(size=120), "x": x, "g": g, "h": h, "w": rng.uniform(0.5, 2.0, 120)})


def table_of(fit: Fit, scale: float) -> pd.DataFrame:
    """Parameters with what belongs to x put back into its old unit."""
    table = fit.parameters[["estimate", "std_error", "lower", "upper"]].copy()
    names = [name for name in table.index if name == "x" or name.startswith("sd(x")]
    table.loc[names] *= scale
    return table


@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("slope_sd", [0.8, 0.0])
@pytest.mark.parametrize("formula", FORMULAS)
def test_everything_a_fit_says_is_free_of_the_unit_of_a_slope(formula: str, slope_sd: float, scale: float) -> None:
    data = data_of(slope_sd)
    usual, other = bmm.Model(formula, data).fit(), bmm.Model(formula, data.assign(x=scale * data["x"])).fit()
    assert other.status is usual.status
    assert len(other.singular_directions) == len(usual.singular_directions)
    pd.testing.assert_frame_equal(table_of(other, scale), table_of(usual, 1.0), rtol=TOLERANCE, atol=1e-9)
    np.testing.assert_allclose(other.fitted, usual.fitted, rtol=TOLERANCE)
    np.testing.assert_array_equal(
        other.estimate.public_parameters.on_boundary, usual.estimate.public_parameters.on_boundary
    )


@pytest.mark.parametrize("scale", [1e-12, 1e12])
@pytest.mark.parametrize("formula", FORMULAS)
def test_weights_in_another_unit_change_nothing_but_sigma(formula: str, scale: float) -> None:
    data = data_of(0.8)
    usual, other = (bmm.Model(formula, data, weights=factor * data["w"]).fit() for factor in (1.0, scale))
    pd.testing.assert_frame_equal(
        other.parameters.drop("sigma"), usual.parameters.drop("sigma"), rtol=TOLERANCE, atol=1e-9
    )
    assert other.sigma == pytest.approx(np.sqrt(scale) * usual.sigma, rel=TOLERANCE)
    assert other.status is usual.status


def test_origin_of_1e7_leaves_slopes_and_their_uncertainty_alone() -> None:
    data = data_of(0.8)
    usual, far = (bmm.Model("y ~ x + (x | g)", data.assign(x=shift + data["x"])).fit() for shift in (0.0, 1e7))
    assert far.loglik == pytest.approx(usual.loglik, abs=1e-5)
    names = ["x", "sd(x | g)", "sigma"]
    columns = ["estimate", "std_error"]
    pd.testing.assert_frame_equal(far.parameters.loc[names, columns], usual.parameters.loc[names, columns], rtol=1e-5)
    assert not far.estimate.public_parameters.on_boundary.any()  # the correlation is nearly −1 for its origin alone


def test_comparison_does_not_call_a_small_unit_zero() -> None:
    data = data_of(0.8)
    model = bmm.Model("y ~ x + (x | g)", data.assign(x=1e8 * data["x"]))
    fit = model.fit()
    estimate = float(fit.parameters.loc["sd(x | g)", "estimate"])
    draws = {"sd(x | g)": estimate * np.linspace(0.8, 1.3, 4000).reshape(SHAPE)}
    notes = bmm.compare(fit, make_posterior(model, draws)).notes
    assert not any("exactly zero" in note for note in notes)


def test_a_singular_fit_of_a_column_far_from_zero_has_a_summary() -> None:
    """Its columns are alike to rounding, so that every part of a direction without variance is small beside them."""
    rng = np.random.default_rng(2)
    near, y = rng.normal(size=120), rng.normal(size=120)
    frame = pd.DataFrame({"y": y, "near": near, "far": 1e7 + near, "g": np.repeat(list("abcdef"), 20)})
    fit = bmm.Model("y ~ near + (1 + far | g)", frame).fit()
    assert len(fit.singular_directions) == 2
    assert not any("nan" in direction for direction in fit.singular_directions)
    assert "Singular" in str(fit.summary())
