"""Variances by the fitted value: nlme's figures, what makes them a fixed point, and what stands on a fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reference_data import REFERENCE, load_data
from scipy.stats import norm

import bayesmm as bmm
from bayesmm import Model
from bayesmm.errors import ArgumentError, DesignError, EstimationError
from bayesmm.fit import Fit
from bayesmm.inference.diagnostics.without_rows import parameter_values, refit_without

NLME = json.loads((REFERENCE / "residual" / "nlme_fitted_and_nugget.json").read_text(encoding="utf-8"))["models"]
LOGLIK = (
    1e-5  # nlme stops where no parameter moves by 1e-11 or the optimiser says so: fitted values move a little still
)
BODY = load_data("bodyweight")
FORMULA = "weight ~ Time * Diet + (Time | Rat)"


@pytest.fixture(scope="module")
def fit() -> Fit:
    return Model(FORMULA, BODY, residual="power(fitted)").fit()


def ours(entry: dict[str, Any]) -> Fit:
    formula = " + ".join(filter(None, [entry["fixed"], entry.get("random")]))
    return Model(formula, load_data(entry["dataset"]), residual=entry["residual"]).fit(entry["method"])


@pytest.mark.parametrize("entry", [each for each in NLME if "nugget" not in each["id"]], ids=lambda each: each["id"])
def test_nlme_has_the_same_fit(entry: dict[str, Any]) -> None:
    found = ours(entry)
    assert found.loglik == pytest.approx(entry["loglik"], abs=LOGLIK)
    table = found.fixed_effects.loc[list(entry["estimate"])]
    assert table["estimate"].to_numpy() == pytest.approx(list(entry["estimate"].values()), rel=1e-4, abs=1e-6)
    assert table["std_error"].to_numpy() == pytest.approx(list(entry["se"].values()), rel=1e-4)
    exponent = next(name for name in found.parameters.index if "fitted" in name)
    assert found.parameters.loc[exponent, "estimate"] == pytest.approx(entry["variance"], rel=2e-4)
    if entry["correlation"]:
        rho = next(name for name in found.parameters.index if name.startswith("rho"))
        assert found.parameters.loc[rho, "estimate"] == pytest.approx(entry["correlation"]["Phi"], rel=1e-3)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_what_is_found_is_best_for_its_own_fitted_values(method: Any) -> None:
    found = Model(FORMULA, BODY, residual="power(fitted)").fit(method)
    known = BODY.assign(v=found.fitted)
    again = Model(FORMULA, known, residual="power(v)").fit(method)
    assert again.loglik == pytest.approx(found.loglik, abs=1e-8)
    assert again.fitted == pytest.approx(found.fitted, rel=1e-7)
    pd.testing.assert_frame_equal(
        again.parameters.rename(index={"power(v)": "power(fitted)"}), found.parameters, rtol=1e-4
    )
    tables = [
        each.coefficients(df="kenward-roger") if method == "reml" else each.coefficients() for each in (again, found)
    ]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4)


def test_the_unit_of_the_response_and_the_order_of_rows_do_not_count(fit: Fit) -> None:
    moved = BODY.assign(weight=1000.0 * BODY["weight"]).sample(frac=1.0, random_state=1)
    other = Model(FORMULA, moved, residual="power(fitted)").fit()
    df = fit.n - fit.design.p
    assert other.loglik + df * np.log(1000.0) == pytest.approx(fit.loglik, abs=1e-6)
    one, two = (each.parameters.loc["power(fitted)", "estimate"] for each in (fit, other))
    assert two == pytest.approx(one, rel=1e-5)
    exponential = [
        Model(FORMULA, each, residual="exponential(fitted)").fit().parameters.loc["exponential(fitted)", "estimate"]
        for each in (BODY, moved)
    ]
    assert exponential[0] == pytest.approx(1000.0 * exponential[1], rel=1e-5)


def test_new_rows_have_the_variance_of_their_own_fitted_value(fit: Fit) -> None:
    rows = BODY.head(4)
    mean, new = (fit.predict(rows, interval=kind)["std_error"] for kind in ("confidence", "prediction"))
    t = fit.parameters.loc["power(fitted)", "estimate"]
    sds = fit.sigma * np.abs(fit.fitted[:4]) ** t
    assert np.sqrt(new**2 - mean**2).to_numpy() == pytest.approx(sds, rel=1e-6)
    own = fit.predict(interval="prediction").head(4)
    assert fit.predict(rows, interval="prediction").to_numpy() == pytest.approx(own.to_numpy(), rel=1e-6)
    later = BODY.head(1).assign(Time=[400])
    far = [fit.predict(later, interval=kind)["std_error"].iloc[0] for kind in ("confidence", "prediction")]
    assert np.sqrt(far[1] ** 2 - far[0] ** 2) == pytest.approx(fit.sigma * fit.predict(later).iloc[0] ** t, rel=1e-6)
    drawn = fit.simulate(2000, random="kept", seed=1)
    assert drawn.std(axis=1).to_numpy() == pytest.approx(fit.sigma * np.abs(fit.fitted) ** t, rel=0.1)


def test_standardised_residuals_lose_what_changed_with_the_fitted_value(fit: Fit) -> None:
    pearson = fit.residuals("pearson")
    t = fit.parameters.loc["power(fitted)", "estimate"]
    expected = fit.residuals("response") / (fit.sigma * np.abs(fit.fitted) ** t)
    assert pearson == pytest.approx(expected, rel=1e-9)


def test_refits_take_fitted_values_of_their_own(fit: Fit) -> None:
    made = fit.bootstrap(6, seed=1, progress=False)
    assert np.isfinite(made.replicates).all()
    exponents = fit.bootstrap(2, statistic=exponent_and_first_value, seed=1, progress=False)
    t = fit.parameters.index.get_loc("power(fitted)")
    assert exponents.statistics["t"].to_numpy() == pytest.approx(exponents.replicates[:, t])
    cases = fit.bootstrap(3, kind="case", progress=False)
    assert np.isfinite(cases.replicates[:, t]).all()


def exponent_and_first_value(fit: Any) -> dict[str, float]:
    return {"t": fit.parameters.loc["power(fitted)", "estimate"], "first": fit.fitted[0]}


def test_a_refit_without_a_row_is_the_fit_of_the_other_rows() -> None:
    data = load_data("orthodont")
    formula = "distance ~ age + (1 | Subject)"
    fit = Model(formula, data, residual="power(fitted)").fit()
    less = Model(formula, data.drop(index=5), residual="power(fitted)").fit()
    refitted = parameter_values(fit, [refit_without(fit, np.array([5]))])[0]
    assert refitted == pytest.approx(less.parameters["estimate"].to_numpy(), rel=1e-5)
    whole = fit.parameters["estimate"].to_numpy()
    assert np.abs(refitted / whole - 1.0).max() > 1e-3


def test_a_saved_fit_is_read_with_its_fitted_values(fit: Fit, tmp_path: Path) -> None:
    again: Any = bmm.load(fit.save(tmp_path / "fit.nc"))
    assert again.loglik == fit.loglik
    pd.testing.assert_frame_equal(again.parameters, fit.parameters, rtol=1e-6)
    rows = BODY.tail(3)
    ask: dict[str, Any] = {"interval": "prediction"}
    pd.testing.assert_frame_equal(again.predict(rows, **ask), fit.predict(rows, **ask), rtol=1e-6)
    assert fit.problem.design.residual is not None


def test_covariances_at_a_fit_have_its_fitted_values(fit: Fit) -> None:
    model = Model(FORMULA, BODY, residual="power(fitted)")
    V = model.marginal_covariance([0, 1], at=model.fit()).to_numpy()
    t, sds = fit.parameters.loc["power(fitted)", "estimate"], np.abs(fit.fitted[:2])
    random = Model(FORMULA, BODY).marginal_covariance([0, 1], at=fit.parameters["estimate"].drop("power(fitted)"))
    expected = random.to_numpy() - np.eye(2) * fit.sigma**2 + np.diag((fit.sigma * sds**t) ** 2)
    assert pytest.approx(expected, rel=1e-6) == V
    with pytest.raises(DesignError, match="at= has none: give a fit"):
        model.marginal_covariance([0, 1], at=fit.parameters["estimate"])


def test_models_are_compared_with_what_is_to_be_known_of_them(fit: Fit) -> None:
    constant = Model(FORMULA, BODY).fit()
    table = bmm.anova(constant, fit)
    assert any("own fitted values" in each for each in table.remarks)
    assert table.table["chisq"].iloc[-1] == pytest.approx(2.0 * (fit.loglik - constant.loglik))
    by_diet = Model(FORMULA, BODY, residual="power(fitted) * het(Diet)").fit()
    assert np.isfinite(bmm.anova(fit, by_diet).table["chisq"].iloc[-1])
    grown = Model(FORMULA, BODY, residual="exponential(fitted) * het(Diet)").fit()
    assert any("not seen to be a special case" in each for each in bmm.anova(fit, grown).remarks)


def test_simulated_rows_have_the_variance_of_their_own_means() -> None:
    rng = np.random.default_rng(8)
    data = pd.DataFrame({"g": np.repeat(np.arange(30), 4), "x": np.tile(np.arange(4.0), 30)})
    truth = {"Intercept": 6.0, "x": 1.0, "sd(Intercept | g)": 1.5, "power(fitted)": 1.3, "sigma": 0.2}
    y = bmm.simulate("y ~ x + (1 | g)", data, truth, 3000, residual="power(fitted)", seed=1).to_numpy()
    fixed = 6.0 + data["x"].to_numpy()
    b = 1.5 * rng.standard_normal(200_000)
    expected = [1.5**2 + 0.04 * (np.abs(each + b) ** 2.6).mean() for each in fixed[:4]]
    assert ((y - fixed[:, None]) ** 2).mean(axis=1).reshape(30, 4).mean(axis=0) == pytest.approx(expected, rel=0.02)
    kept = bmm.simulate("y ~ x + (1 | g)", data, truth, 3000, residual="power(fitted)", random="kept").to_numpy()
    assert kept.std(axis=1) == pytest.approx(0.2 * np.abs(kept.mean(axis=1)) ** 1.3, rel=0.08)
    with pytest.raises(DesignError, match="is 0 in row 0, where there is no variance"):
        bmm.simulate("y ~ 0 + x", data, {"x": 1.0, "power(fitted)": 1, "sigma": 1}, residual="power(fitted)")
    again = Model("y ~ x + (1 | g)", data.assign(y=y[:, 0]), residual="power(fitted)").fit()
    redrawn = again.simulate(1500, seed=3).to_numpy() - again.predict(random="none").to_numpy()[:, None]
    e, fixed = again.parameters["estimate"], again.predict(random="none").to_numpy()[:4]
    b = e["sd(Intercept | g)"] * rng.standard_normal(200_000)
    spread = [b.var() + again.sigma**2 * (np.abs(v + b) ** (2 * e["power(fitted)"])).mean() for v in fixed]
    assert (redrawn**2).mean(axis=1).reshape(30, 4).mean(axis=0) == pytest.approx(spread, rel=0.03)


def test_variances_are_tested_by_refits_of_what_the_null_draws(fit: Fit) -> None:
    constant = Model(FORMULA, BODY).fit()
    found = fit.variance_tests("power(fitted)", n=19, seed=1, progress=False)
    test = found.tests[0]
    assert test.kind == "bootstrap"
    assert test.statistic == pytest.approx(2.0 * (fit.loglik - constant.loglik))
    assert test.p_value == (1 + (test.draws >= test.statistic).sum()) / (1 + len(test.draws))
    assert 0.2 < test.draws.mean() < 3.0  # about that of χ²₁
    rough = fit.variance_tests("power(fitted)", kind="mixture")
    assert "its mixture is rough" in " ".join(str(rough).split())
    slope = fit.variance_tests("sd(Time | Rat)", n=3, progress=False).tests[0]
    small = Model("weight ~ Time * Diet + (1 | Rat)", BODY, residual="power(fitted)").fit()
    assert slope.statistic == pytest.approx(2.0 * (fit.loglik - small.loglik), abs=1e-6)
    with pytest.raises(ArgumentError, match="which coefficients make, change the variances"):
        fit.variance_tests("power(fitted)", kind="exact")


def test_power_is_that_of_data_with_variances_by_their_own_means() -> None:
    plan = pd.DataFrame({"g": np.repeat(np.arange(12), 4), "z": np.tile(np.arange(4.0), 12)})
    plan["x"] = (np.arange(48) % 4 % 3 == 0).astype(float)
    truth = {"Intercept": 4.0, "x": 0.6, "z": 4.0, "sd(Intercept | g)": 0.5, "power(fitted)": 1.0, "sigma": 0.12}
    ask: dict[str, Any] = {"residual": "power(fitted)", "progress": False, "seed": 1}
    table = bmm.power("y ~ x + z + (1 | g)", plan, truth, test="x", n=20, **ask).table
    assert table["failed"].iloc[0] == 0
    X = np.column_stack([np.ones(48), plan["x"], plan["z"]])
    D = np.diag((0.12 * X @ [4.0, 0.6, 4.0]) ** 2)
    V = D + 0.25 * (plan["g"].to_numpy()[:, None] == plan["g"].to_numpy())
    expected = norm.sf(1.96 - 0.6 / np.sqrt(np.linalg.inv(X.T @ np.linalg.solve(V, X))[1, 1]))
    assert 0.3 < expected < 0.9
    assert table["power"].iloc[0] == pytest.approx(expected, abs=0.25)
    for wrong, words in (({"test": "power(fitted)"}, "known from refits alone"), ({"interval": "posterior"}, "closed")):
        with pytest.raises(ArgumentError, match=words):
            bmm.power("y ~ x + z + (1 | g)", plan, truth, n=2, **ask, **wrong)


def test_what_is_no_fitted_value_is_refused() -> None:
    with pytest.raises(DesignError, match="have a column 'fitted', too: rename it"):
        Model("weight ~ Time", BODY.assign(fitted=1.0), residual="power(fitted)")
    with pytest.raises(DesignError, match="same in all rows"):
        Model("weight ~ 1", BODY, residual="power(fitted)")


def test_fitted_values_that_do_not_settle_are_no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesmm.reml.residual_search.MOST_UPDATES", 2)
    with pytest.raises(EstimationError, match="do not settle"):
        Model(FORMULA, BODY, residual="power(fitted)").fit()


TWO_POINTS = pd.DataFrame({"x": [2.96, 2.14, 1.01, 9.09, 9.91, 8.36], "y": [7.02, 5.33, 3.49, 13.28, 16.18, 14.1]})


def at_known_means(t: float, v: np.ndarray) -> tuple[float, np.ndarray]:
    """Log-likelihood with σ at its best where standard deviations are σ|v|^t, and weighted least squares."""
    X, y = np.column_stack([np.ones(6), TWO_POINTS["x"]]), TWO_POINTS["y"].to_numpy()
    weights = np.abs(v) ** (-2.0 * t)
    beta = np.linalg.solve(X.T @ (weights[:, None] * X), X.T @ (weights * y))
    sigma = np.sqrt((weights * (y - X @ beta) ** 2).mean())
    return float(norm.logpdf(y, X @ beta, sigma * np.abs(v) ** t).sum()), X @ beta


def test_of_several_points_the_most_likely_is_taken_and_the_others_are_told(tmp_path: Path) -> None:
    fit = Model("y ~ x", TWO_POINTS, residual="power(fitted)").fit("ml")
    t = fit.parameters.loc["power(fitted)", "estimate"]
    (other,) = fit.other_maxima
    assert other.residual is not None
    second = other.residual[0]
    assert (t, second) == pytest.approx((3.336, 1.058), abs=1e-3)
    for exponent, loglik in ((t, fit.loglik), (second, other.log_likelihood)):
        v = TWO_POINTS["y"].to_numpy()
        for _ in range(2000):  # to the fitted values that this exponent makes
            v = at_known_means(exponent, v)[1]
        assert at_known_means(exponent, v)[0] == pytest.approx(loglik, abs=1e-6)
        near = [at_known_means(exponent + step, v)[0] for step in (-0.05, 0.05)]
        assert loglik > max(near)
        slope = (at_known_means(exponent + 1e-4, v)[0] - at_known_means(exponent - 1e-4, v)[0]) / 2e-4
        assert slope == pytest.approx(0.0, abs=1e-4)
    assert fit.loglik > other.log_likelihood + 1.0
    assert "settle elsewhere too, at power(fitted) = 1.06, where the likelihood is lower by 1.73" in str(fit).replace(
        "\n  ", " "
    )
    again: Any = bmm.load(fit.save(tmp_path / "fit.nc"))
    assert again.other_maxima[0].residual == pytest.approx(other.residual)
    assert not Model(FORMULA, BODY, residual="power(fitted)").fit().other_maxima


def test_intercepts_alone_have_fitted_values_of_their_levels() -> None:
    fit = Model("weight ~ 1 + (1 | Rat)", BODY, residual="power(fitted)").fit()
    again = Model("weight ~ 1 + (1 | Rat)", BODY.assign(v=fit.fitted), residual="power(v)").fit()
    assert again.loglik == pytest.approx(fit.loglik, abs=1e-7)


def test_variances_by_fitted_values_are_found_where_data_have_them() -> None:
    rng, n = np.random.default_rng(2), 600
    x = rng.uniform(1.0, 9.0, n)
    mean = 3.0 + 2.0 * x
    data = pd.DataFrame({"x": x, "y": mean + 0.2 * mean**0.8 * rng.standard_normal(n)})
    table = Model("y ~ x", data, residual="power(fitted)").fit().parameters
    assert table.loc["power(fitted)", "lower"] < 0.8 < table.loc["power(fitted)", "upper"]
    assert table.loc["x", "estimate"] == pytest.approx(2.0, abs=4 * table.loc["x", "std_error"])
