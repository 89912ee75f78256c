"""Smooth terms: against mgcv, against the integrated Wiener process, and as columns of one's own."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmWarning, DesignError, SpecificationError
from bayesmm.specification.formula import parse_formula

MGCV = json.loads(Path(__file__).with_name("mgcv.json").read_text(encoding="utf-8"))
CONVERGED = 1e-5  # relative: what mgcv's search for a smoothing parameter leaves over
SAME = 1e-7  # relative: two ways to the same maximum
FLAT = 2e-4  # the same of edf, which move while its criterion hardly does


def curve_data(n: int = 120, groups: int = 8, seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, g = rng.uniform(2.0, 9.0, n), rng.integers(0, groups, n)
    y = np.sin(x) + 0.2 * x + rng.normal(0.0, 0.4, groups)[g] + rng.normal(0.0, 0.3, n)
    return pd.DataFrame({"x": x, "g": g, "y": y})


# -- another program ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", ["cr", "bs"])
def test_curve_beside_a_random_intercept_is_that_of_mgcv(basis: str) -> None:
    expected = MGCV[f"dietox {basis}"]
    fit = bmm.Model(f"Weight ~ s(Time, k=8, bs='{basis}') + (1 | Pig)", bmm.datasets.load("dietox")).fit()
    table = fit.smooths().table
    assert fit.sigma == pytest.approx(expected["sigma"], rel=CONVERGED)
    assert fit.parameters.loc["sd(Intercept | Pig)", "estimate"] == pytest.approx(expected["group_sd"], rel=CONVERGED)
    assert 1.0 + table["edf"].iloc[0] == pytest.approx(expected["edf"][0], rel=FLAT)
    times = [1.0, 4.5, 9.0, 12.0, 14.0][: len(expected["predicted"])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)  # beyond the last week
        found = fit.predict(pd.DataFrame({"Time": times}), random=["1"], interval="confidence", uncertainty="fixed")
    np.testing.assert_allclose(found["estimate"], expected["predicted"], rtol=CONVERGED)
    np.testing.assert_allclose(found["std_error"], expected["conditional_se"], rtol=1e-4)


def test_curve_beside_serial_residuals_is_that_of_gamm() -> None:
    expected = MGCV["dietox ar1"]
    data = bmm.datasets.load("dietox")
    fit = bmm.Model("Weight ~ s(Time, k=8)", data, residual="ar1(Time | Pig)").fit()
    assert fit.sigma == pytest.approx(expected["sigma"], rel=CONVERGED)
    assert fit.parameters.loc["rho(Time | Pig)", "estimate"] == pytest.approx(expected["rho"], rel=CONVERGED)
    smooths = fit.smooths()
    assert 1.0 + smooths.table["edf"].iloc[0] == pytest.approx(expected["edf"][0], rel=FLAT)
    new = pd.DataFrame({"Time": [1.0, 4.5, 9.0, 12.0]})
    found = fit.predict(new, random=["1"], interval="confidence", uncertainty="fixed")
    np.testing.assert_allclose(found["estimate"], expected["predicted"], rtol=CONVERGED)
    np.testing.assert_allclose(found["std_error"], expected["conditional_se"], rtol=1e-4)
    curve = smooths.curves(points=3)
    line = data["Time"].mean() * fit.fixed_effects.loc["Time", "estimate"]
    whole = fit.predict(pd.DataFrame({"Time": [1.0, 6.5, 12.0]}), random=["1"])
    shifted = whole - fit.fixed_effects.loc["Intercept", "estimate"] - line
    np.testing.assert_allclose(curve["estimate"], shifted, rtol=1e-9)
    assert (curve["std_error"] > 0.0).all()
    assert smooths.plot().axes[0].get_xlabel() == "Time"


def test_exchangeable_residuals_are_a_random_intercept_beside_a_curve() -> None:
    data = bmm.datasets.load("orthodont")
    data["distance"] += np.sin(data["age"])  # some departure
    one = bmm.Model("distance ~ Sex + s(age, k=4)", data, residual="homcs(age | Subject)").fit()
    other = bmm.Model("distance ~ Sex + s(age, k=4) + (1 | Subject)", data).fit()
    assert one.loglik == pytest.approx(other.loglik, abs=1e-7)
    np.testing.assert_allclose(one.smooths().table["edf"], other.smooths().table["edf"], rtol=FLAT)
    ours, theirs = (each.smooths().curves(points=4) for each in (one, other))
    for column in ("estimate", "std_error"):
        np.testing.assert_allclose(ours[column], theirs[column], rtol=1e-4)


def test_curve_that_is_straight_has_no_departures() -> None:
    expected = MGCV["oxboys cr"]
    fit = bmm.Model("height ~ s(age)", bmm.datasets.load("oxboys")).fit()
    assert fit.parameters.loc["sd(s(age) | 1)", "estimate"] == pytest.approx(0.0, abs=1e-6)
    assert fit.smooths().table["edf"].iloc[0] == 0.0
    new = pd.DataFrame({"age": [-1.0, -0.3, 0.2, 0.9]})
    np.testing.assert_allclose(fit.predict(new), expected["predicted"], rtol=1e-4)  # mgcv stops near the boundary


# -- the textbook ---------------------------------------------------------------------------------------------------------


def test_knots_at_all_values_are_the_smoothing_spline() -> None:
    """Wahba (1978): y = α + βx + τ∫Wiener + ε, whose covariance over [0, 1] is s²(3t − s)/6 for s ≤ t."""
    rng = np.random.default_rng(7)
    x = np.sort(rng.uniform(0.0, 1.0, 25))
    y = np.cos(7.0 * x) + rng.normal(0.0, 0.2, 25)
    low, high = np.minimum.outer(x, x), np.maximum.outer(x, x)
    kernel, X = low**2 * (3.0 * high - low) / 6.0, np.column_stack([np.ones(25), x])

    def at(ratio: float) -> tuple[float, float, np.ndarray]:
        V = np.eye(25) + ratio * kernel
        inverse = np.linalg.inv(V)
        A = X.T @ inverse @ X
        beta = np.linalg.solve(A, X.T @ inverse @ y)
        e = y - X @ beta
        square = float(e @ inverse @ e)
        value = np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1] + 23 * (1.0 + np.log(2.0 * np.pi * square / 23))
        return value, np.sqrt(square / 23), X @ beta + ratio * kernel @ inverse @ e

    best = minimize_scalar(
        lambda log: at(np.exp(log))[0], bounds=(-5.0, 25.0), method="bounded", options={"xatol": 1e-9}
    )
    value, sigma, fitted = at(float(np.exp(best["x"])))
    fit = bmm.Model("y ~ s(x, k=25)", pd.DataFrame({"x": x, "y": y})).fit()
    assert fit.loglik == pytest.approx(-0.5 * value, rel=SAME)
    assert fit.sigma == pytest.approx(sigma, rel=1e-5)
    np.testing.assert_allclose(fit.fitted, fitted, atol=1e-5)


def test_curves_by_group_are_columns_with_one_standard_deviation() -> None:
    data = curve_data()
    model = bmm.Model("y ~ x + (s(x, k=5) | g)", data)
    (block,) = model.design.blocks
    for j, name in enumerate(block.effects):
        if name.startswith("s("):
            data[f"c{j}"] = block.columns[:, j]
    columns = " + ".join(name for name in data if name.startswith("c"))
    written = bmm.Model(f"y ~ x + (x | g) + homdiag(0 + {columns} | g)", data)
    one, other = model.fit(), written.fit()
    assert one.loglik == pytest.approx(other.loglik, rel=SAME)
    np.testing.assert_allclose(one.parameters["estimate"], other.parameters["estimate"], rtol=1e-5)


def test_departures_are_free_of_lines_and_of_size_one() -> None:
    data = curve_data()
    for term in ("s(x)", "s(x, bs='bs')", "s(np.log(x), k=6)"):
        (block,) = bmm.Model(f"y ~ {term}", data).design.blocks
        x = np.log(data["x"]) if "log" in term else data["x"]
        np.testing.assert_allclose(block.columns.T @ np.column_stack([np.ones(len(x)), x]), 0.0, atol=1e-9)
        assert (block.columns**2).sum() / len(x) == pytest.approx(1.0)


# -- invariance -------------------------------------------------------------------------------------------------------------


def test_units_origin_and_order_change_nothing() -> None:
    data = curve_data()
    fit = bmm.Model("y ~ s(x) + (s(x, k=5) | g)", data).fit()
    order = np.random.default_rng(1).permutation(len(data))
    other = data.assign(x=1e5 * data["x"] - 3e6, y=1e3 * data["y"] + 7.0).iloc[order]
    moved = bmm.Model("y ~ s(x) + (s(x, k=5) | g)", other).fit()
    np.testing.assert_allclose(np.asarray(moved.fitted), 1e3 * np.asarray(fit.fitted)[order] + 7.0, rtol=1e-7)
    for name in ("sd(s(x) | 1)", "sd(s(x, k=5) | g)", "sigma"):
        ours, its = fit.parameters.loc[name, "estimate"], moved.parameters.loc[name, "estimate"]
        assert its == pytest.approx(1e3 * ours, rel=1e-5)
    np.testing.assert_allclose(moved.smooths().table["edf"], fit.smooths().table["edf"], rtol=1e-5)
    old, new = (
        next(row.prior for row in bmm.Model("y ~ s(x) + (1 | g)", each).priors.rows if row.name == "sd(s(x) | 1)")
        for each in (data, other)
    )
    assert isinstance(old, bmm.priors.HalfStudentT)
    assert isinstance(new, bmm.priors.HalfStudentT)
    assert new.scale == pytest.approx(1e3 * old.scale)


# -- what follows from a fit --------------------------------------------------------------------------------------------------


def test_rows_of_the_fit_are_predicted_from_new_data_as_they_are_fitted(tmp_path: Path) -> None:
    data = curve_data()
    fit = bmm.Model("y ~ s(x) + (s(x, k=5, bs='bs') | g)", data).fit()
    np.testing.assert_allclose(fit.predict(data), fit.fitted, rtol=1e-10)
    stored = bmm.load(fit.save(tmp_path / "fit.nc"))
    assert isinstance(stored, type(fit))
    np.testing.assert_allclose(stored.predict(data), fit.fitted, rtol=1e-10)
    pd.testing.assert_frame_equal(stored.smooths().table, fit.smooths().table)


def test_curve_goes_on_as_a_line_beyond_the_data_and_says_so() -> None:
    fit = bmm.Model("y ~ s(x)", curve_data()).fit()
    with pytest.warns(BayesmmWarning, match="straight line"):
        beyond = fit.predict(pd.DataFrame({"x": [10.0, 11.0, 12.0]})).to_numpy()
    assert np.diff(beyond, 2) == pytest.approx(0.0, abs=1e-9)


def test_curves_are_predictions_less_their_line_at_the_mean() -> None:
    data = curve_data()
    fit = bmm.Model("y ~ s(x) + (1 | g)", data).fit()
    curve = fit.smooths().curves(points=7)
    predicted = fit.predict(pd.DataFrame({"x": curve["x"]}), random=["1"], interval="confidence")
    shift = predicted["estimate"] - curve["estimate"]
    line = fit.parameters.loc["Intercept", "estimate"] + fit.parameters.loc["x", "estimate"] * data["x"].mean()
    np.testing.assert_allclose(shift, line, rtol=1e-10)
    over_rows = fit.predict(data, random=["1"]) - line
    assert over_rows.mean() == pytest.approx(0.0, abs=1e-10)
    lower, estimate, upper = curve[["lower", "estimate", "upper"]].to_numpy().T
    assert (lower < estimate).all()
    assert (estimate < upper).all()


def test_figure_draws_the_curve_and_where_the_rows_are() -> None:
    fit = bmm.Model("y ~ s(x) + (1 | g)", curve_data()).fit()
    smooths = fit.smooths()
    (axis,) = smooths.plot().axes
    curve = smooths.curves()
    np.testing.assert_allclose(np.asarray(axis.lines[0].get_ydata()), curve["estimate"])
    np.testing.assert_allclose(np.asarray(axis.lines[-1].get_xdata()), np.unique(fit.design.frame["x"]))
    assert axis.get_title(loc="left").startswith("s(x), ")


def test_posterior_of_a_curve_agrees_with_its_fit() -> None:
    model = bmm.Model("y ~ s(x, k=6)", curve_data())
    fit = model.fit()
    posterior = model.sample(method="quadrature", seed=1, progress=False)
    comparison = bmm.compare(fit, posterior)
    shift = comparison.table.loc[["Intercept", "x", "sigma"], "shift"].abs()
    assert (shift < 0.3).all()
    assert "levels of 1" not in str(comparison)
    new = pd.DataFrame({"x": [3.0, 5.0, 8.0]})
    sd = fit.predict(new, interval="confidence")["std_error"].to_numpy(dtype=float)
    np.testing.assert_allclose(posterior.predict(new)["mean"], fit.predict(new), atol=0.5 * sd.min())


def test_what_asks_for_levels_leaves_the_curve_of_all_rows_out() -> None:
    fit = bmm.Model("y ~ s(x) + (1 | g)", curve_data()).fit()
    assert "levels: g 8\n" in str(fit)
    assert "1 has 1 levels" not in str(fit.check(n=50, progress=False))
    with pytest.raises(ArgumentError, match="'rows', or a grouping factor of the model: 'g'"):
        fit.influence(by="1")
    with pytest.raises(ArgumentError, match="No grouping factor holds all others"):
        fit.bootstrap(n=10, kind="case", progress=False)


# -- formulas -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "normal"),
    [
        ("y ~ s(x)", "y ~ 1 + x + homdiag(0 + s(x) | 1)"),
        ("y ~ x + s(x, k=5)", "y ~ 1 + x + x + homdiag(0 + s(x, k=5) | 1)"),
        ("y ~ (s(x) | g)", "y ~ 1 + (1 + x | g) + homdiag(0 + s(x) | g)"),
        ("y ~ x + (0 + s(x) || g)", "y ~ 1 + x + (0 + x || g) + homdiag(0 + s(x) | g)"),
        ("y ~ f * x + homdiag(0 + s(x) | f)", "y ~ 1 + f * x + homdiag(0 + s(x) | f)"),
    ],
)
def test_smooth_is_its_line_and_its_departures(formula: str, normal: str) -> None:
    assert parse_formula(formula).normalised() == normal
    assert parse_formula(normal).normalised() == normal


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("y ~ s(x):f", "only be added"),
        ("y ~ s(x, by=f)", "no by="),
        ("y ~ s(x, w)", "2 arguments"),
        ("y ~ s(x, k=2)", "from 3"),
        ("y ~ s(x, bs='tp')", "quantile knots"),
        ("y ~ s()", "one column"),
        ("y ~ np.log(s(x))", "only be added"),
        ("y ~ x - s(x) + (1 | g)", "subtracted"),
        ("y ~ homdiag(0 + s(x, k=1) | g)", "from 3"),
        ("y ~ s(x, q=3)", "no argument 'q'"),
    ],
)
def test_what_is_no_smooth_is_refused_with_advice(formula: str, words: str) -> None:
    with pytest.raises(SpecificationError, match=words):
        parse_formula(formula)


def test_too_few_values_for_the_basis_say_which_would_do() -> None:
    data = curve_data().assign(t=lambda frame: frame["g"] % 5, u=lambda frame: frame["g"] % 2)
    with pytest.raises(DesignError, match="Write k=5"):
        bmm.Model("y ~ s(t)", data)
    with pytest.raises(DesignError, match="show no curve"):
        bmm.Model("y ~ s(u)", data)
    with pytest.raises(SpecificationError, match="not a grouping factor"):
        bmm.Model("y ~ x + (1 | 1)", data)
