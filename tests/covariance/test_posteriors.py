"""Posteriors of models with covariance structures, against sums over dense likelihoods, and all that is read off them."""

from __future__ import annotations

import pickle
import warnings

import arviz as az
import numpy as np
import pandas as pd
import pytest
import scipy.stats as st
import xarray as xr
from cli_commands import run, run_json
from oracle import DenseModel, random_columns

import bayesmm as bmm
from bayesmm.covariance.structure import Structure
from bayesmm.covariance.table import STRUCTURES
from bayesmm.errors import PriorError
from bayesmm.priors import LKJ, HalfNormal, Normal, Uniform

SIGMA = 0.5
LEVELS, TIMES, REPEATS = 8, 3, 2
EXACTLY = 2e-3  # posterior standard deviations: the sum below is over some thousand cells, quantiles are not compared
DISTANCE = np.abs(np.subtract.outer(np.arange(TIMES), np.arange(TIMES)))
MODELS = {  # prior of the correlation, its log density and limits, and R
    "homcs": (
        Uniform(-0.4, 1.0),
        lambda rho: st.uniform.logpdf(rho, -0.4, 1.4),
        (-0.4, 1.0),
        lambda rho: np.where(DISTANCE == 0, 1.0, rho),
    ),
    "ar1": (
        LKJ(2.0),
        lambda rho: st.beta.logpdf((rho + 1.0) / 2.0, 3.0, 3.0) - np.log(2.0),  # ∝ det(R) = (1 − ρ²)²
        (-1.0, 1.0),
        lambda rho: rho**DISTANCE,
    ),
}


def simulated() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    level, time = (each.ravel() for each in np.indices((LEVELS, TIMES)).repeat(REPEATS, axis=1).reshape(2, -1))
    b = rng.multivariate_normal(np.zeros(TIMES), 0.6**DISTANCE, size=LEVELS)
    y = 1.0 + b[level, time] + SIGMA * rng.normal(size=len(level))
    return pd.DataFrame({"g": [f"g{i}" for i in level], "f": [f"t{i}" for i in time], "t": time, "y": y})


def effects_of(name: str) -> str:
    """Effects of the three times, by names or by numbers."""
    return "f" if type(STRUCTURES[name]).bound is Structure.bound else "C(t)"


@pytest.fixture(scope="module", params=MODELS)
def fitted(request):
    name = request.param
    priors = {"Intercept": Normal(0.0, 5.0), "sd(0 + f | g)": HalfNormal(2.0), "cor(0 + f | g)": MODELS[name][0]}
    model = bmm.Model(f"y ~ 1 + {name}(0 + f | g)", simulated(), sigma=SIGMA, priors=priors)
    return name, model, model.sample(method="quadrature", draws=500, seed=3)


def test_posterior_is_the_sum_over_a_dense_likelihood(fitted) -> None:
    name, model, posterior = fitted
    _, log_prior, (low, high), R = MODELS[name]
    design = model.design
    codes, columns = pd.factorize(simulated()["g"])[0], pd.get_dummies(simulated()["f"]).to_numpy(dtype=float)
    Z = random_columns(codes, columns, LEVELS)
    dense = DenseModel(y=simulated()["y"].to_numpy(), X=np.ones((design.n, 1)), Z=Z)
    log_sd = np.linspace(-2.5, 2.5, 60)
    share = (np.arange(80) + 0.5) / 80.0
    share = share**2 * (3.0 - 2.0 * share)  # denser at the limits
    weight = np.gradient(share)
    rho = low + (high - low) * share
    log_density = np.empty((len(log_sd), len(rho)))
    for i, s in enumerate(log_sd):
        for j, r in enumerate(rho):
            G = np.kron(np.eye(LEVELS), np.exp(2.0 * s) * R(r))
            value = dense.log_marginal_density(G, SIGMA, np.zeros(1), np.eye(1) / 25.0)
            value += st.halfnorm.logpdf(np.exp(s), scale=2.0) + s
            log_density[i, j] = value + log_prior(r) + np.log(weight[j])
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    for row, values in (("sd(0 + f | g)", np.exp(log_sd)[:, None]), ("cor(0 + f | g)", rho[None, :])):
        values = np.broadcast_to(values, weights.shape)
        mean = (weights * values).sum()
        sd = np.sqrt((weights * (values - mean) ** 2).sum())
        found = posterior.parameters.loc[row]
        assert found["mean"] == pytest.approx(mean, abs=EXACTLY * sd)
        assert found["sd"] == pytest.approx(sd, rel=2 * EXACTLY)


def test_posterior_of_several_correlations_is_the_sum_over_a_dense_likelihood() -> None:
    """Toeplitz of one sd: uniform over the (ρ₁, ρ₂) whose matrix is one of correlations, or ∝ det R."""
    data = simulated()
    y = data["y"].to_numpy().reshape(LEVELS, -1).T  # (rows of a level, levels)
    both = np.concatenate([np.ones((len(y), 1)), y], axis=1)
    log_sd, first, second = np.meshgrid(
        np.linspace(-2.6, 2.2, 33), *[np.sin(np.linspace(-np.pi / 2, np.pi / 2, 62)[1:-1])] * 2, indexing="ij"
    )
    log_sd, first, share = log_sd.ravel(), first.ravel(), second.ravel()
    second = first**2 + (1.0 - first**2) * share  # from 2ρ₁² − 1 to 1
    R = np.stack([np.ones_like(first), first, second], axis=-1)[:, DISTANCE]
    times = np.tile(np.arange(TIMES), REPEATS)
    V = np.exp(2.0 * log_sd)[:, None, None] * R[:, times][:, :, times] + SIGMA**2 * np.eye(len(times))
    solved = np.linalg.solve(V, np.broadcast_to(both, (len(V), *both.shape)))
    products = both.T @ solved
    a, c, q = LEVELS * products[:, 0, 0], products[:, 0, 1:].sum(1), np.trace(products[:, 1:, 1:], axis1=1, axis2=2)
    log_det = LEVELS * np.linalg.slogdet(V)[1] + np.log1p(25.0 * a)  # the intercept ~ N(0, 25) integrated out
    log_density = -0.5 * (log_det + q - 25.0 * c**2 / (1.0 + 25.0 * a))
    log_density += st.halfnorm.logpdf(np.exp(log_sd), scale=2.0) + log_sd
    log_density += 0.5 * np.log1p(-(first**2)) + 0.5 * np.log1p(-(share**2)) + np.log1p(-(first**2))  # widths of cells
    names = ["sd(0 + f | g)", "cor(0 + f, lag 1 | g)", "cor(0 + f, lag 2 | g)"]
    for concentration in (1.0, 2.0):
        weights = np.linalg.det(R) ** (concentration - 1.0) * np.exp(log_density - log_density.max())
        weights /= weights.sum()
        priors = {"Intercept": Normal(0.0, 5.0), "sd": HalfNormal(2.0), "cor": LKJ(concentration)}
        model = bmm.Model("y ~ 1 + homtoep(0 + f | g)", data, sigma=SIGMA, priors=priors)
        found = model.sample(method="quadrature", draws=200, seed=3).parameters
        for row, values in zip(names, (np.exp(log_sd), first, second), strict=True):
            mean = (weights * values).sum()
            sd = np.sqrt((weights * (values - mean) ** 2).sum())
            assert found.loc[row, "mean"] == pytest.approx(mean, abs=FEW_CELLS * sd), row
            assert found.loc[row, "sd"] == pytest.approx(sd, rel=2 * FEW_CELLS), row


OWN = {  # R, by the correlation
    "homdiag": lambda rho: np.eye(TIMES),
    "cs": lambda rho: np.where(DISTANCE == 0, 1.0, rho),
    "hetar1": lambda rho: float(rho) ** DISTANCE,
}
FEW_CELLS = 5e-3  # of a sum over fewer cells, in four dimensions


@pytest.mark.parametrize("name", OWN)
def test_posterior_of_own_or_one_standard_deviation_is_the_sum_over_a_dense_likelihood(name) -> None:
    """All levels have the same rows, so that the density of a level's rows is that of one matrix."""
    data, has_own = simulated(), name != "homdiag"
    effects = [f"f[t{t}]" for t in range(TIMES)]
    sds = [f"sd({effect} | g)" for effect in effects] if has_own else ["sd(0 + f | g)"]
    correlation = {"cor(0 + f | g)": Uniform(-0.4, 1.0)} if has_own else {}
    priors = {"Intercept": Normal(0.0, 5.0), "sd": HalfNormal(2.0)} | correlation
    model = bmm.Model(f"y ~ 1 + {name}(0 + f | g)", data, sigma=SIGMA, priors=priors)
    found = model.sample(method="quadrature", draws=200, seed=3).parameters
    log_sd = np.linspace(-2.6, 1.9, 19)
    share = (np.arange(32) + 0.5) / 32.0
    share, weight = share**2 * (3.0 - 2.0 * share), 6.0 * share * (1.0 - share)  # denser at the limits
    rho, log_weight = (-0.4 + 1.4 * share, np.log(weight)) if has_own else (np.zeros(1), np.zeros(1))
    axes = np.meshgrid(*([log_sd] * len(sds)), np.arange(len(rho)), indexing="ij")
    s = np.stack([np.exp(axis.ravel()) for axis in axes[:-1]], axis=-1)
    which = axes[-1].ravel()
    R = np.array([OWN[name](r) for r in rho])[which]
    wide = np.broadcast_to(s, (len(s), TIMES))
    V = np.tile(wide[:, :, None] * R * wide[:, None, :], (1, REPEATS, REPEATS)) + SIGMA**2 * np.eye(TIMES * REPEATS)
    y = data["y"].to_numpy().reshape(LEVELS, -1).T  # (rows of a level, levels)
    both = np.concatenate([np.ones((len(y), 1)), y], axis=1)
    solved = np.linalg.solve(V, np.broadcast_to(both, (len(V), *both.shape)))
    products = both.T @ solved
    a, c, q = LEVELS * products[:, 0, 0], products[:, 0, 1:].sum(1), np.trace(products[:, 1:, 1:], axis1=1, axis2=2)
    log_det = LEVELS * np.linalg.slogdet(V)[1] + np.log1p(25.0 * a)  # the intercept ~ N(0, 25) integrated out
    log_density = -0.5 * (log_det + q - 25.0 * c**2 / (1.0 + 25.0 * a))
    log_density += (st.halfnorm.logpdf(s, scale=2.0) + np.log(s)).sum(axis=1) + log_weight[which]
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    for row, values in [*zip(sds, s.T, strict=True), *([("cor(0 + f | g)", rho[which])] if has_own else [])]:
        mean = (weights * values).sum()
        sd = np.sqrt((weights * (values - mean) ** 2).sum())
        assert found.loc[row, "mean"] == pytest.approx(mean, abs=FEW_CELLS * sd), row
        assert found.loc[row, "sd"] == pytest.approx(sd, rel=2 * FEW_CELLS), row


def test_arviz_labels_stand_beside_their_numbers(fitted) -> None:
    _, _, posterior = fitted
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ's of its diagnostics
        table = az.summary(posterior.data, round_to="none")
    tree = posterior.data.posterior
    assert table.loc["sd_g[0 + f]", "mean"] == pytest.approx(float(tree["sd_g"].mean()))
    assert table.loc["cor_g[0 + f]", "mean"] == pytest.approx(float(tree["cor_g"].mean()))
    for level in tree["g"].to_numpy():
        for effect in ("f[t0]", "f[t1]", "f[t2]"):
            expected = float(tree["b_g"].sel(g=level, g_effect=effect).mean())
            assert table.loc[f"b_g[{level}, {effect}]", "mean"] == pytest.approx(expected)


def test_moments_are_those_of_the_structure(fitted) -> None:
    name, model, _ = fitted
    at = {"sd(0 + f | g)": 1.3, "cor(0 + f | g)": 0.4, "Intercept": 1.0}
    first = [0, 1, 2]  # one of each time
    found = model.marginal_covariance(first, at=at)
    expected = 1.69 * MODELS[name][3](0.4) + SIGMA**2 * np.eye(TIMES)
    np.testing.assert_allclose(found.to_numpy(dtype=float), expected, rtol=1e-12)
    symbols = model.marginal_covariance(first).to_numpy()
    power = "^2" if name == "ar1" else ""
    assert "ρ(0 + f | g)·σ²(0 + f | g)" in str(symbols[0, 1])
    assert f"ρ(0 + f | g){power}·σ²(0 + f | g)" in str(symbols[0, 2])


def test_what_is_read_off_a_posterior_works(fitted, tmp_path) -> None:
    _, model, posterior = fitted
    new = pd.DataFrame({"g": ["g1", "new"], "f": ["t0", "t2"]})
    predicted = posterior.predict(new, new_levels="population")
    assert len(predicted) == 2
    assert np.isfinite(np.asarray(posterior.loo().elpd))
    assert {"sd(0 + f | g)", "cor(0 + f | g)"} <= set(posterior.sensitivity().index)
    comparison = bmm.compare(model.fit(), posterior)
    assert "cor(0 + f | g)" in str(comparison)
    again = bmm.load(posterior.save(tmp_path / "posterior.nc"))
    pd.testing.assert_frame_equal(again.parameters, posterior.parameters)
    xr.testing.assert_identical(again.data.posterior.to_dataset(), posterior.data.posterior.to_dataset())
    copied = pickle.loads(pickle.dumps(model))
    assert copied.fit().loglik == model.fit().loglik


# propto, equalto and kron take more than effects, and have tests of their own.
@pytest.mark.parametrize("name", [name for name in STRUCTURES if name not in ("propto", "equalto", "kron")])
def test_restricted_likelihood_is_the_posterior_under_flat_priors(name) -> None:
    """The program that is sampled, beside the fit; the modes of both are one."""
    found = bmm.Model(f"y ~ 1 + {name}(0 + {effects_of(name)} | g)", simulated()).check_identity()
    assert abs(found.gap) < 1e-8
    assert (found.slopes.abs() < 1e-3).all()


ONE = [name for name, structure in STRUCTURES.items() if structure.correlations == "one"]


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("prior", [None, LKJ(3.0), Uniform(0.1, 0.7)], ids=str)
def test_drawn_correlations_have_the_declared_distribution(name, prior) -> None:
    if isinstance(prior, LKJ) and not STRUCTURES[name].has_lkj:
        pytest.skip("has no such prior")
    low, high = STRUCTURES[name].limits(TIMES)
    model = bmm.Model(
        f"y ~ 1 + {name}(0 + {effects_of(name)} | g)",
        simulated(),
        priors={"Intercept": Normal(0, 5), "sd": HalfNormal(1), "sigma": HalfNormal(1)}
        | ({"cor(g)": prior} if prior else {}),
    )
    drawn = np.ravel(model.prior_predictive(4000, seed=1).prior["cor_g"])
    if isinstance(prior, Uniform):
        expected = st.uniform(0.1, 0.6).cdf
    else:  # density ∝ det(R)^(η − 1), summed over a fine grid
        rho = np.linspace(low, high, 4001)[1:-1]
        R = np.array([MODELS["homcs" if "cs" in name else "ar1"][3](r) for r in rho])
        density = np.linalg.det(R) ** (prior.concentration - 1.0 if prior else 0.0)
        cumulative = np.cumsum(density) / density.sum()
        expected = lambda values: np.interp(values, rho, cumulative)  # noqa: E731
    assert st.kstest(drawn, expected).pvalue > 1e-3


@pytest.mark.parametrize("prior", [None, LKJ(3.0)], ids=str)
def test_drawn_correlations_of_lags_have_the_declared_distribution(prior) -> None:
    """Each by its marginal density, which is summed over the others in test_structures.py."""
    chosen = {"Intercept": Normal(0, 5), "sd": HalfNormal(1), "sigma": HalfNormal(1)} | (
        {"cor": prior} if prior else {}
    )
    model = bmm.Model("y ~ 1 + toep(0 + f | g)", simulated(), priors=chosen)
    drawn = np.asarray(model.prior_predictive(2000, seed=1).prior["cor_g"])[0]
    rho = np.linspace(-1.0, 1.0, 4001)[1:-1]
    for which in range(TIMES - 1):
        density = STRUCTURES["toep"].cor_density(rho, which, prior.concentration if prior else 1.0, TIMES)
        cumulative = np.cumsum(density) / density.sum()
        expected = lambda values, total=cumulative: np.interp(values, rho, total)  # noqa: E731
        assert st.kstest(drawn[:, which], expected).pvalue > 1e-3
    assert model.plot_priors() is not None


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ({"cor(0 + f | g)": Uniform(-1, 1)}, r"between -0.5 and 1: give limits inside"),
        ({"cor(f[t0], f[t1] | g)": LKJ(2)}, r"Did you mean 'cor\(0 \+ f \| g\)'"),
        ({"sd(f[t0] | g)": HalfNormal(1)}, r"Did you mean 'sd\(0 \+ f \| g\)'"),
    ],
)
def test_prior_of_what_the_structure_does_not_have_names_what_it_has(priors, message) -> None:
    with pytest.raises(PriorError, match=message):
        bmm.Model("y ~ 1 + homcs(0 + f | g)", simulated(), priors=priors)


def test_short_name_of_a_lag_is_understood_where_it_is_of_one_term() -> None:
    data = simulated().assign(h=lambda frame: [f"h{i // 5 % 3}" for i in range(len(frame))])
    one = bmm.Model("y ~ 1 + toep(0 + f | g)", data, priors={"cor(lag 1 | g)": LKJ(2.0), "cor(lag 2 | g)": LKJ(2.0)})
    assert str(one.priors.table().loc["cor(0 + f, lag 2 | g)", "prior"]) == "LKJ(2)"
    formula = "y ~ 1 + toep(0 + f | g) + homtoep(0 + h | g)"
    with pytest.raises(PriorError, match="the model has no such parameter"):
        bmm.Model(formula, data, priors={"cor(lag 1 | g)": LKJ(2.0)})


@pytest.mark.parametrize(
    ("key", "prior", "message"),
    [
        ("cor(lag 1 | g)", LKJ(2.0), "one prior together; 2 were given 2 different ones"),
        ("cor", Uniform(0, 1), "no density of its own is one of a correlation matrix"),
    ],
)
def test_correlations_of_lags_have_one_prior_together(key, prior, message) -> None:
    with pytest.raises(PriorError, match=message):
        bmm.Model("y ~ 1 + toep(0 + f | g)", simulated(), priors={key: prior})


def test_command_line_takes_structures(tmp_path) -> None:
    data = tmp_path / "cells.csv"
    simulated().to_csv(data, index=False)
    formula = "y ~ 1 + cs(0 + f | g, hom=TRUE)"
    fit = bmm.Model(formula, simulated()).fit()
    rows = run_json("fit", formula, "--data", data)["fit"]["parameters"]
    found = {row["parameter"]: row["estimate"] for row in rows}
    assert found["cor(0 + f | g)"] == pytest.approx(fit.parameters["estimate"]["cor(0 + f | g)"], rel=1e-4)
    assert "0 + f" in run("fit", formula, "--data", data).stdout


@pytest.mark.parametrize("name", ["homdiag", "homcs", "hetar1"])
def test_priors_are_drawn_where_effects_share_a_standard_deviation(name) -> None:
    model = bmm.Model(f"y ~ 1 + {name}(0 + f | g)", simulated())
    assert model.plot_priors() is not None
