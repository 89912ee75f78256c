"""Posteriors whose residual variance changes with the expected response: beside SciPy, a grid, and formulas by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
from made_posterior import SHAPE, make_posterior
from numpyro import handlers
from numpyro.infer.util import log_density
from programs import compile_whole, density_of
from residual_textbook import DATA
from scipy.stats import halfnorm, multivariate_normal, norm

import bayesmm as bmm
from bayesmm import Model
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.results.tables import stack_parameters
from bayesmm.bayes.sample import _divided
from bayesmm.errors import ArgumentError, DesignError, PredictionError
from bayesmm.specification.priors import HalfNormal, Normal

RELATIVE = 1e-9
EXPONENT = {"power": "power(fitted)", "exponential": "exponential(fitted)"}
CASES = [
    ("y ~ arm + x + (x | arm)", "power(fitted) * ar1(step | id)"),
    ("y ~ x + (1 | id) + (1 | visit)", "exponential(fitted) * het(arm)"),
]


def scales(kind: str, t: Any, mean: np.ndarray) -> np.ndarray:
    return np.abs(mean) ** t if kind == "power" else np.exp(t * mean)


def textbook(text: str, values: dict[str, float], mean: np.ndarray) -> np.ndarray:
    """Covariance of the residuals in full, from the values of parameters by name."""
    kind = "power" if "power" in text else "exponential"
    sd = values["sigma"] * scales(kind, values[EXPONENT[kind]], mean) / np.sqrt(DATA["w"].to_numpy())
    if "het" in text:
        sd = sd * np.where(DATA["arm"] == "b", values["sigma(arm[b])"] / values["sigma"], 1.0)
    same = DATA["id"].to_numpy()[:, None] == DATA["id"].to_numpy()
    C = np.eye(len(DATA))
    if "ar1" in text:
        step = DATA["step"].to_numpy()
        C = np.where(same, values["rho(step | id)"] ** np.abs(step[:, None] - step), 0.0)
    return C * np.outer(sd, sd)


@compile_whole
def draw_sites(program: Any, data: Any) -> dict[str, Any]:
    drawn = handlers.trace(handlers.seed(program, 1)).get_trace(data)
    return {name: site["value"] for name, site in drawn.items() if site["type"] == "sample" and name != "y"}


@compile_whole
def densities_and_values(program: Any, data: Any, sites: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Log density, that of all sites but the response, and what the program makes of them."""
    joint, trace = log_density(program, (data,), {}, sites)
    prior = sum(trace[name]["fn"].log_prob(value).sum() for name, value in sites.items())
    return joint, prior, {name: site["value"] for name, site in trace.items()}


@pytest.mark.parametrize(("formula", "text"), CASES)
def test_joint_density_is_that_of_the_textbook(formula: str, text: str) -> None:
    model = Model(formula, DATA, residual=text, weights="w")
    program, data = model.program(parameterisation="noncentred")
    with jax.enable_x64(True):
        sites = {name: np.asarray(value) for name, value in draw_sites(program, data).items()}
        sites |= {name: 0.1 * value for name, value in sites.items() if name.startswith("z_")}
        exponent = "residual_exponent" if "residual_exponent" in sites else "residual_sd"
        sites[exponent] = np.full_like(sites[exponent], 0.3)
        found, prior, at = jax.tree.map(np.asarray, densities_and_values(program, data, sites))
    columns = {"Intercept": np.ones(len(DATA)), "arm[T.b]": DATA["arm"] == "b", "x": DATA["x"]}
    mean = np.column_stack([columns[name] for name in model.labels.coefficients]) @ at["beta"]
    for block in model.labels.blocks:
        level = DATA[block.group].astype("category").cat.codes.to_numpy()
        mean = mean + sum(columns[effect] * at[f"b_{block.group}"][level, j] for j, effect in enumerate(block.effects))
    labels = model.labels
    values = {"sigma": float(at["sigma"])} | dict(zip(labels.residual_sds, at["residual_sd"], strict=True))
    values |= dict(zip(labels.residual_cors, at.get("residual_cor", ()), strict=True))
    dense = multivariate_normal(mean, textbook(text, values, mean))
    assert found == pytest.approx(prior + dense.logpdf(DATA["y"]), rel=RELATIVE)


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    x = np.linspace(1.0, 8.0, 20)
    return pd.DataFrame({"x": x, "y": 2.0 * x + 0.5 * (2.0 * x) ** 0.7 * rng.standard_normal(20)})


THREE = {"x": Normal(0, 5), "power(fitted)": Normal(0, 1), "sigma": HalfNormal(3)}


def by_hand(data: pd.DataFrame, beta: Any, t: Any, sigma: Any) -> Any:
    """Log posterior density of slope, exponent and σ, with the priors `THREE`."""
    beta, t, sigma = np.broadcast_arrays(beta, t, sigma)
    mean = beta[..., None] * data["x"].to_numpy()
    sd = sigma[..., None] * np.abs(mean) ** t[..., None]
    prior = norm.logpdf(beta, 0, 5) + norm.logpdf(t, 0, 1) + halfnorm.logpdf(sigma, 0, 3)
    return prior + norm.logpdf(data["y"].to_numpy(), mean, sd).sum(axis=-1)


def test_density_with_its_priors_is_the_one_by_hand(small: pd.DataFrame) -> None:
    model = Model("y ~ 0 + x", small, residual="power(fitted)", priors=THREE)
    program, data = model.program()
    at = {"beta": np.array([1.9]), "residual_sd": np.array([0.6]), "sigma": np.array(0.4)}
    assert density_of(program, data, at) == pytest.approx(float(by_hand(small, 1.9, 0.6, 0.4)), rel=RELATIVE)
    assert not np.isfinite(density_of(program, data, at | {"beta": np.zeros(1)}))  # a mean of zero has no variance
    assert "its standard deviation by its own mean" in str(program)


def test_draws_have_the_moments_of_an_integral_over_a_grid(small: pd.DataFrame) -> None:
    posterior = Model("y ~ 0 + x", small, residual="power(fitted)", priors=THREE).sample(seed=3, progress=False)
    assert posterior.program == "conditional"
    beta, t, log_sigma = np.linspace(1.2, 2.9, 45), np.linspace(-1.2, 2.4, 51), np.linspace(-4.5, 2.5, 61)
    B, T, S = np.meshgrid(beta, t, np.exp(log_sigma), indexing="ij")
    density = by_hand(small, B, T, S) + np.log(S)
    p = np.exp(density - density.max())
    p /= p.sum()
    assert max(p[0].sum(), p[-1].sum(), p[:, 0].sum(), p[:, -1].sum(), p[..., 0].sum(), p[..., -1].sum()) < 1e-4
    table = posterior.parameters
    for name, values in (("x", B), ("power(fitted)", T), ("sigma", S)):
        mean = (p * values).sum()
        sd = np.sqrt((p * (values - mean) ** 2).sum())
        ess = table.loc[name, "ess_bulk"]
        assert table.loc[name, "mean"] == pytest.approx(mean, abs=4 * sd / np.sqrt(ess))
        assert table.loc[name, "sd"] == pytest.approx(sd, rel=0.12)


def drawn(text: str, formula: str = "y ~ arm + x + (1 | id)") -> Posterior:
    rng = np.random.default_rng(5)
    limits = {
        "power(fitted)": (0.1, 0.6),
        "sigma": (0.3, 0.6),
        "rho(step | id)": (0.1, 0.7),
        "sd(Intercept | id)": (0.2, 1.0),
    }
    chosen = {name: rng.uniform(*ends, SHAPE) for name, ends in limits.items()}
    return make_posterior(Model(formula, DATA, residual=text, weights="w"), chosen)


@pytest.fixture(scope="module")
def alone() -> Posterior:
    return drawn("power(fitted)")


@pytest.fixture(scope="module")
def serial() -> Posterior:
    return drawn("power(fitted) * ar1(step | id)", "y ~ arm + x")


def means(posterior: Posterior) -> np.ndarray:
    """Xβ + Zb (D, n), from columns of the data."""
    level = DATA["id"].astype("category").cat.codes.to_numpy()
    X = np.column_stack([np.ones(len(DATA)), DATA["arm"] == "b", DATA["x"]])
    mean = posterior.beta.reshape(-1, 3) @ X.T
    return mean + (posterior.effects[0].reshape(len(mean), -1)[:, level] if posterior.effects else 0.0)


def values_of(posterior: Posterior, draw: int) -> dict[str, float]:
    names = [row.name for row in posterior.labels.parameter_rows()]
    table = stack_parameters(posterior.data, posterior.labels).reshape(-1, len(names))
    return dict(zip(names, table[draw], strict=True))


def sds(posterior: Posterior, mean: np.ndarray) -> np.ndarray:
    t, sigma = posterior.draws("residual_sd").reshape(-1, 1), posterior.sigma.reshape(-1, 1)
    return sigma * np.abs(mean) ** t


def test_rows_are_left_out_given_effects_and_the_others_of_their_group(alone: Posterior, serial: Posterior) -> None:
    y = DATA["y"].to_numpy()
    mean = means(alone)
    expected = norm.logpdf(y, mean, sds(alone, mean) / np.sqrt(DATA["w"].to_numpy()))
    found = alone.log_likelihood(progress=False)["log_likelihood"]["y"].to_numpy().reshape(expected.shape)
    assert found == pytest.approx(expected, abs=1e-9)
    mean, draw = means(serial), 7
    R = textbook("power(fitted) * ar1(step | id)", values_of(serial, draw), mean[draw])
    P = np.linalg.inv(R)
    given = norm.logpdf(P @ (y - mean[draw]) / np.diag(P), 0, np.diag(P) ** -0.5)
    by_row = serial.log_likelihood(progress=False)["log_likelihood"]["y"].to_numpy().reshape(len(mean), -1)
    assert by_row[draw] == pytest.approx(given, abs=1e-8)
    by_group = serial.log_likelihood("id", progress=False)["log_likelihood"]["y"].to_numpy().reshape(len(mean), -1)
    assert by_group[draw].sum() == pytest.approx(multivariate_normal(mean[draw], R).logpdf(y), abs=1e-8)
    across = serial.log_likelihood("step", draws=4, progress=False)
    some = int(np.flatnonzero(serial.sigma.ravel() == across["posterior"]["sigma"].to_numpy().ravel()[1])[0])
    R = textbook("power(fitted) * ar1(step | id)", values_of(serial, some), mean[some])
    own = np.flatnonzero(DATA["step"].to_numpy() == 1)
    rest = np.setdiff1d(np.arange(len(y)), own)
    dense, others = (multivariate_normal(mean[some, w], R[np.ix_(w, w)]) for w in (np.arange(len(y)), rest))
    found = across["log_likelihood"]["y"].to_numpy().reshape(4, -1)[1, 1]
    assert found == pytest.approx(dense.logpdf(y) - others.logpdf(y[rest]), abs=1e-8)


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
def test_left_out_rows_are_weighed_and_whole_levels_are_not(alone: Posterior) -> None:
    assert np.isfinite(alone.loo(progress=False).elpd)
    pit = alone.loo_pit(draws=400, progress=False)["loo_pit"]["y"].to_numpy()
    assert ((pit > -1e-9) & (pit < 1 + 1e-9)).all()
    assert np.ptp(pit) > 0.5
    for of, predictive in (("id", "auto"), ("row", "marginal")):
        with pytest.raises(PredictionError, match="effects make the residual variance"):
            alone.loo(of, predictive, progress=False)  # type: ignore[arg-type]


def test_predictions_have_the_variance_of_their_own_mean_draw_by_draw(alone: Posterior, serial: Posterior) -> None:
    mean = means(alone)
    own = sds(alone, mean) / np.sqrt(DATA["w"].to_numpy())
    expected = np.sqrt(mean.var(axis=0) + (own**2).mean(axis=0))
    for rows, weights in ((None, None), (DATA, DATA["w"])):
        table = alone.predict(rows, interval="prediction", weights=weights, seed=1)
        assert table["sd"].to_numpy() == pytest.approx(expected, rel=0.08)
    together = alone.posterior_predictive(seed=1)["posterior_predictive"]["y"].to_numpy().reshape(mean.shape)
    assert ((together - mean) / own).std(axis=0) == pytest.approx(1.0, abs=0.06)
    simulated = alone.simulate(4000, random="kept", seed=2).to_numpy()
    assert simulated.std(axis=1) == pytest.approx(expected, rel=0.08)
    redrawn = alone.simulate(2000, seed=2).to_numpy()
    fixed = mean - alone.effects[0].reshape(len(mean), -1)[:, DATA["id"].astype("category").cat.codes]
    rest = (sds(alone, fixed) ** 2).mean(axis=0) / DATA["w"].to_numpy() + (alone.draws("sd_id") ** 2).mean()
    assert redrawn.std(axis=1) == pytest.approx(np.sqrt(fixed.var(axis=0) + rest), rel=0.1)
    mean = means(serial)
    own = sds(serial, mean) / np.sqrt(DATA["w"].to_numpy())
    z = (serial.posterior_predictive(seed=1)["posterior_predictive"]["y"].to_numpy().reshape(mean.shape) - mean) / own
    first, second = (
        np.flatnonzero((DATA["id"] == "g0") & (DATA["step"] == s))[0]
        for s in sorted(DATA.loc[DATA["id"] == "g0", "step"])[:2]
    )
    gap = abs(DATA["step"][first] - DATA["step"][second])
    rho = (serial.draws("residual_cor").ravel() ** gap).mean()
    assert np.corrcoef(z[:, first], z[:, second])[0, 1] == pytest.approx(rho, abs=0.06)


def test_residuals_of_known_groups_carry_over_in_units_of_their_standard_deviations(serial: Posterior) -> None:
    group = DATA[DATA["id"] == "g0"].sort_values("step")
    new = group.tail(1).assign(step=group["step"].max() + 1, x=2.0)
    given, plain = (serial.predict(new, residuals=how, weights=1.0) for how in ("conditional", "none"))
    y, mean = DATA["y"].to_numpy(), means(serial)
    last = group.index[-1]
    w = DATA["w"].to_numpy()[last]
    arm = float(new["arm"].iloc[0] == "b")
    ahead = serial.beta.reshape(-1, 3) @ np.array([1.0, arm, 2.0])
    t, rho = serial.draws("residual_sd").ravel(), serial.draws("residual_cor").ravel()
    z = (y[last] - mean[:, last]) * np.sqrt(w) / np.abs(mean[:, last]) ** t
    assert plain["mean"].iloc[0] == pytest.approx(ahead.mean())
    assert given["mean"].iloc[0] == pytest.approx((ahead + rho * np.abs(ahead) ** t * z).mean(), rel=1e-9)


def test_what_explains_the_variance_counts_the_mean_over_the_rows(alone: Posterior) -> None:
    mean = means(alone)
    own = (sds(alone, mean) ** 2 / DATA["w"].to_numpy()).mean(axis=1)
    fitted = mean.var(axis=1, ddof=1)
    assert alone.r2(progress=False)["conditional"].to_numpy().ravel() == pytest.approx(fitted / (fitted + own))


def test_covariances_of_rows_are_at_the_mean_of_each_draw(alone: Posterior) -> None:
    model = Model("y ~ arm + x + (1 | id)", DATA, residual="power(fitted)", weights="w")
    found = model.marginal_covariance([0, 1], at=alone).to_numpy()
    chosen = np.linspace(0, 3999, 1000).round().astype(int)
    own = (sds(alone, means(alone))[chosen][:, :2] ** 2 / DATA["w"].to_numpy()[:2]).mean(axis=0)
    between = (alone.draws("sd_id").ravel()[chosen] ** 2).mean()
    assert np.diag(found) == pytest.approx(own + between)


def test_what_else_reads_a_posterior_works(alone: Posterior, tmp_path: Path) -> None:
    assert alone.sensitivity()["likelihood"].gt(0).all()
    assert np.isfinite(alone.group_lines()["estimate"]).all()
    assert np.isfinite(bmm.shrinkage(alone).table["weight"]).all()
    fit = Model("y ~ arm + x + (1 | id)", DATA, residual="power(fitted)", weights="w").fit()
    assert "power(fitted)" in str(bmm.compare(fit, alone))
    again: Any = bmm.load(alone.save(tmp_path / "posterior.nc"))
    ask: dict[str, Any] = {"interval": "prediction", "seed": 1}
    pd.testing.assert_frame_equal(again.predict(**ask), alone.predict(**ask))
    assert again.data["posterior"]["residual_sd"].coords["residual_sd_name"].to_numpy().tolist() == ["power(fitted)"]


def test_what_needs_effects_integrated_out_is_refused(small: pd.DataFrame) -> None:
    model = Model("y ~ x", small, residual="power(fitted)")
    for ask in (
        lambda: model.sample(program="marginal"),
        lambda: model.sample(method="importance"),
        lambda: model.sample(method="quadrature"),
        lambda: model.program("marginal"),
    ):
        with pytest.raises(ArgumentError, match="cannot be integrated out in closed form"):
            ask()
    with pytest.raises(ArgumentError, match="no two have one likelihood"):
        model.check_identity()
    levels = sorted(DATA["id"].unique())
    A = pd.DataFrame(np.eye(len(levels)), index=levels, columns=levels)
    related = Model("y ~ x + (1 | rel(id, A))", DATA, residual="power(fitted)", relations={"A": A})
    with pytest.raises(ArgumentError, match="A variance by the fitted value is sampled with independent levels"):
        related.program()


def test_prior_predictions_have_the_variance_of_their_own_means(small: pd.DataFrame) -> None:
    priors = {"Intercept": Normal(20, 1), "x": Normal(2, 0.1), "power(fitted)": Normal(1, 0.01), "sigma": HalfNormal(1)}
    tree = Model("y ~ x", small, residual="power(fitted)", priors=priors).prior_predictive(4000, seed=1)
    prior, y = tree["prior"], tree["prior_predictive"]["y"].to_numpy()[0]
    x = small["x"].to_numpy()
    mean = prior["beta"].to_numpy()[0] @ np.stack([np.ones(20), x])
    t, sigma = prior["residual_sd"].to_numpy()[0], prior["sigma"].to_numpy().reshape(-1, 1)
    assert ((y - mean) / (sigma * mean**t)).std() == pytest.approx(1.0, abs=0.02)


def test_responses_of_zero_and_of_both_signs_are_spoken_of(small: pd.DataFrame) -> None:
    zero = small.assign(y=small["y"].where(small.index != 3, 0.0))
    with pytest.raises(DesignError, match="y is 0 in row 3, where"):
        Model("y ~ x", zero, residual="power(fitted)").program()
    Model("y ~ x", zero, residual="exponential(fitted)").program()
    both = small.assign(y=small["y"].where(small.index != 3, -1.0))
    model = Model("y ~ x", both, residual="power(fitted)")
    assert not _divided(Model("y ~ x", small, residual="power(fitted)").problem)
    said = _divided(model.problem)
    assert "no chain takes the expected response of a row from one sign to the other" in said[0]
