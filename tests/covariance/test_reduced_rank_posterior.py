"""The posterior of effects that vary along a few directions, beside sums over loadings drawn from their prior."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from cli_commands import run_json
from numpy.testing import assert_allclose
from programs import QUICK, compiled
from scipy import stats
from scipy.special import gammaln, logsumexp

import bayesmm as bmm
from bayesmm.covariance.table import find_structure
from bayesmm.errors import ArgumentError, PriorError
from bayesmm.priors import LKJ, Beta, HalfNormal, HalfStudentT, InverseGamma, Normal, Uniform

SIGMA = 0.7
PRIORS = {"Intercept": Normal(0.0, 5.0), "sd": HalfNormal(1.5)}


def cells(loadings: np.ndarray, q: int, repeats: int = 2, seed: int = 0) -> pd.DataFrame:
    """Rows of q levels, `repeats` a level and effect, effects by loadings (k, d)."""
    rng, k = np.random.default_rng(seed), len(loadings)
    b = 1.0 + rng.normal(size=(q, loadings.shape[1])) @ loadings.T
    level, effect = np.repeat(np.arange(q), k * repeats), np.tile(np.repeat(np.arange(k), repeats), q)
    y = b[level, effect] + SIGMA * rng.normal(size=len(level))
    return pd.DataFrame({"y": y, "g": [f"g{i}" for i in level], "f": [f"e{i}" for i in effect]})


LOADINGS = {1: np.array([[0.9], [-0.7], [0.4]]), 2: np.array([[0.9, 0.0], [0.5, 0.6], [-0.3, 0.8]])}
DATA = {d: cells(loadings, q=6) for d, loadings in LOADINGS.items()}


def model_of(d: int, data: pd.DataFrame | None = None, **how) -> bmm.Model:
    how = {"sigma": SIGMA, "priors": PRIORS} | how
    return bmm.Model(f"y ~ 1 + rr(0 + f | g, d={d})", DATA[d] if data is None else data, **how)


@pytest.fixture(scope="module", params=[1, 2])
def posterior(request):
    return model_of(request.param).sample(method="importance", draws=2000, chains=4, seed=1)


def log_density(data: pd.DataFrame, S: np.ndarray) -> np.ndarray:
    """Of levels with the same two rows an effect at covariances (m, k, k), an intercept ~ N(0, 25) integrated out."""
    k, q = S.shape[-1], data["g"].nunique()
    y = data["y"].to_numpy().reshape(q, -1).T
    rows = np.arange(k).repeat(2)
    V = S[:, rows][:, :, rows] + SIGMA**2 * np.eye(len(rows))
    both = np.concatenate([np.ones((len(y), 1)), y], axis=1)
    products = both.T @ np.linalg.solve(V, np.broadcast_to(both, (len(V), *both.shape)))
    a, c = q * products[:, 0, 0], products[:, 0, 1:].sum(1)
    r = np.trace(products[:, 1:, 1:], axis1=1, axis2=2)
    log_det = q * np.linalg.slogdet(V)[1] + np.log1p(25.0 * a)
    return -0.5 * (log_det + r - 25.0 * c**2 / (1.0 + 25.0 * a) + y.size * np.log(2.0 * np.pi))


def test_posterior_is_that_of_directions_drawn_from_their_prior(posterior) -> None:
    """Sums over uniform directions and half-normal standard deviations: no triangle, no pivots, no programs."""
    k = 3
    d = posterior.problem.layout[0][0].structure.rank(k)
    uniform = np.clip(stats.qmc.Sobol(k + k * d, seed=1).random(2**17), 1e-12, 1.0 - 1e-12)
    sd = stats.halfnorm.ppf(uniform[:, :k], scale=1.5)
    u = stats.norm.ppf(uniform[:, k:]).reshape(-1, k, d)
    u /= np.linalg.norm(u, axis=2, keepdims=True)
    R = u @ u.swapaxes(1, 2)
    log_weights = log_density(DATA[d], R * sd[:, :, None] * sd[:, None])
    log_evidence = logsumexp(log_weights) - np.log(len(sd))
    assert posterior.log_evidence == pytest.approx(log_evidence, abs=0.04)
    weights = np.exp(log_weights - logsumexp(log_weights))
    assert 1.0 / (weights**2).sum() > 500
    values = {f"sd(f[e{j}] | g)": sd[:, j] for j in range(k)}
    values |= {f"cor(f[e{i}], f[e{j}] | g)": R[:, i, j] for i, j in ((0, 1), (0, 2), (1, 2))}
    for row, own in values.items():
        mean = weights @ own
        spread = np.sqrt(weights @ (own - mean) ** 2)
        assert posterior.parameters.loc[row, "mean"] == pytest.approx(mean, abs=0.1 * spread), row
        assert posterior.parameters.loc[row, "sd"] == pytest.approx(spread, rel=0.1), row


@pytest.mark.parametrize(("k", "d"), [(3, 1), (4, 2), (5, 3)])
def test_density_of_the_program_is_the_dense_one(k, d) -> None:
    """At loadings in any frame, whose triangle has this Jacobian: ∏ t_jj^(d − j) ∏ |l|^(1 − d), by W with |l| = |w|^r."""
    import jax
    from numpyro.infer.util import log_density as of_program

    from bayesmm.inside_jax import inside_jax

    rng = np.random.default_rng(k)
    data = cells(rng.normal(size=(k, d)), q=8)
    model = model_of(d, data)
    program, numbers = model.program("marginal")
    given = numbers.covariances.loadings[0][0]
    order = np.argsort(np.asarray(given.places))
    density = jax.jit(lambda sites: of_program(program, (numbers,), {}, sites)[0], compiler_options=QUICK)
    for _ in range(3):
        L = rng.normal(size=(k, d))
        T = np.linalg.qr(L[order].T, mode="r").T
        T = T * np.sign(np.diag(T))
        sd = np.linalg.norm(T, axis=1)
        r = np.minimum(np.arange(k) + 1, d)
        W = T * (sd ** (1.0 / r - 1.0))[:, None]
        below = [(i, j) for j in range(d) for i in range(j + 1, k)]
        sites = {"pivots_g": np.diag(W).copy(), "loadings_g": np.array([W[i, j] for i, j in below])}
        with inside_jax():
            found = float(density(sites))
        # L = TQ: the entries of Q have the volume of all frames of d dimensions
        log_spheres = np.log(2.0) + 0.5 * np.arange(1, d + 1) * np.log(np.pi) - gammaln(0.5 * np.arange(1, d + 1))
        expected = log_density(data, (L @ L.T)[None])[0]
        expected += (stats.halfnorm.logpdf(sd, scale=1.5) - (d - 1.0) * np.log(sd)).sum() - k * log_spheres[-1]
        expected += ((d - 1.0 - np.arange(d)) * np.log(np.diag(T))).sum() + log_spheres.sum()
        expected += sum(_log_stretch(W[i, : r[i]], r[i]) for i in range(k)) - d * np.log(2.0)  # pivots of both signs
        assert found == pytest.approx(expected, abs=1e-9)


def _log_stretch(w: np.ndarray, r: int) -> float:
    """Log determinant of the derivative of w |w|^(r − 1), by its columns."""
    size = np.linalg.norm(w)
    J = size ** (r - 1.0) * np.eye(r) + (r - 1.0) * size ** (r - 3.0) * np.outer(w, w)
    return float(np.linalg.slogdet(J)[1])


@pytest.mark.parametrize(("k", "d"), [(3, 1), (4, 2), (5, 3)])
def test_drawn_correlations_are_those_of_uniform_directions(k, d) -> None:
    model = model_of(d, cells(np.ones((k, d)), q=4))
    drawn = np.asarray(model.prior_predictive(10_000, seed=1).prior["cor_g"])[0]
    if d == 1:
        assert set(np.unique(drawn)) == {-1.0, 1.0}
        assert_allclose(drawn.mean(axis=0), 0.0, atol=0.03)
        return
    expected = stats.arcsine(-1.0, 2.0) if d == 2 else stats.uniform(-1.0, 2.0)
    assert stats.kstest(drawn[:, 0], expected.cdf).pvalue > 1e-3
    x = np.linspace(-0.9, 0.9, 7)
    assert_allclose(find_structure(f"rr, d={d}").cor_density(x, 0, 1.0, k), expected.pdf(x), rtol=1e-9)


def test_many_levels_agree_with_reml_in_any_order_and_unit() -> None:
    loadings = np.array([[0.4, 0.1], [-0.9, 0.5], [0.5, 0.8], [1.1, 0.3]])
    data = cells(loadings, q=150)
    fit = bmm.Model("y ~ 1 + rr(0 + f | g, d=2)", data).fit().parameters
    posterior = bmm.Model("y ~ 1 + rr(0 + f | g, d=2)", data).sample(method="importance", seed=1).parameters
    z = (posterior["mean"] - fit["estimate"]) / posterior["sd"]
    assert (z.abs() < 0.5).all()  # the farthest next to its limit
    names = {"e0": "e3", "e1": "e2", "e2": "e1", "e3": "e0"}
    other = data.assign(y=1e6 * data["y"], f=data["f"].map(names))
    turned = bmm.Model("y ~ 1 + rr(0 + f | g, d=2)", other).sample(method="importance", seed=1).parameters
    for row in ("sd(f[e{}] | g)", "cor(f[e{}], f[e{}] | g)"):
        for i, j in ((0, 1), (1, 3), (0, 3)):
            own = row.format(i, j)
            mapped = row.format(*(sorted((3 - i, 3 - j)) if row.count("{}") == 2 else (3 - i,)))
            unit = 1.0 if row.count("{}") == 2 else 1e6
            assert turned.loc[mapped, "mean"] == pytest.approx(
                unit * posterior.loc[own, "mean"], abs=0.1 * unit * posterior.loc[own, "sd"]
            )


def test_chains_pass_through_loadings_of_zero() -> None:
    """Of weak data, whose signs are open: also those of the pivot, whose images are one covariance."""
    model = bmm.Model("y ~ 1 + rr(0 + f | g, d=1)", cells(0.15 * np.array([[1.0], [-0.8], [0.9]]), q=8), sigma=0.6)
    chains = model.sample(seed=1, tune=500).parameters
    exact = model.sample(method="importance", seed=1).parameters
    rows = exact.index.str.startswith("cor")
    assert_allclose(chains.loc[rows, "mean"], exact.loc[rows, "mean"], atol=0.06)
    assert (exact.loc[rows, "mean"].abs() < 0.98).all()


def test_effects_may_be_sampled_too() -> None:
    """In as many directions as they have, of the sign that their loadings are of."""
    data = cells(np.array([[1.0], [-0.9], [0.8]]), q=30)
    model = model_of(1, data)
    program, _ = model.program("conditional")
    assert "z_g[30, 1] ~ Normal (noncentred)" in str(program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bmm.errors.BayesmmWarning)  # few draws
        found = model.sample(program="conditional", draws=400, tune=400, seed=1)
    exact = model.sample(method="quadrature", seed=1).parameters
    assert "g: non-centred: its effects vary along fewer directions" in " ".join(found.notes)
    for row in exact.index:
        reach = max(0.35 * exact.loc[row, "sd"], 1e-12)
        assert found.parameters.loc[row, "mean"] == pytest.approx(exact.loc[row, "mean"], abs=reach), row
    for wish in ("centred", 0.5, {"g": "centred"}):
        with pytest.raises(ArgumentError, match=r"parameterisation of 'g' is .*fewer directions"):
            model.program("conditional", parameterisation=wish)


def test_correlations_of_one_direction_are_exact_and_not_diagnosed(tmp_path) -> None:
    data = cells(np.array([[1.0], [-0.9], [0.8]]), q=30)
    model = model_of(1, data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        posterior = model.sample(tune=500, seed=1)
        table, sensitivity = posterior.parameters, posterior.sensitivity()
    signs = table.filter(like="cor(", axis=0)
    assert signs["mean"].tolist() == [-1.0, 1.0, -1.0]
    assert (signs["sd"] == 0.0).all()
    assert signs["r_hat"].isna().all()
    assert posterior.diagnostics.is_good
    assert (sensitivity.filter(like="cor(", axis=0)[["prior", "likelihood"]] == 0.0).all(axis=None)
    assert posterior.plot_priors() is not None
    text = str(bmm.compare(model.fit(), posterior))
    assert "cor(f[e0], f[e1])" in text
    assert max(map(len, text.splitlines())) <= 80
    again = bmm.load(posterior.save(tmp_path / "posterior.nc"))
    pd.testing.assert_frame_equal(again.parameters, table)
    rows = model.marginal_covariance([0, 2], at=posterior)
    assert rows.iloc[0, 1] != ""
    for of in ("row", "g"):
        assert np.isfinite(np.asarray(posterior.loo(of).elpd))
    new = pd.DataFrame({"g": ["g1", "new"], "f": ["e0", "e2"]})
    assert np.isfinite(posterior.predict(new, new_levels="sample")["mean"]).all()
    effects = posterior.random_effects().pivot(index="level", columns="effect", values="mean")
    assert_allclose(np.linalg.svd(effects)[1][1:], 0.0, atol=0.1)  # along one direction, but for what varies in it


@pytest.mark.parametrize(
    ("prior", "mean"),
    [
        (Uniform(0.0, 3.0), 1.5),
        (Uniform(0.2, 2.0), 1.1),
        (InverseGamma(3.0, 4.0, on="variance"), 2.0 * np.exp(gammaln(2.5) - gammaln(3.0))),
        (Beta(2.0, 3.0), None),
        (Uniform(0.1, 0.9, on="share"), None),
    ],
    ids=str,
)
def test_priors_of_standard_deviations_are_kept_to(prior, mean) -> None:
    """The density less the likelihood, summed over the loadings of two effects."""
    import jax
    import jax.numpy as jnp
    from numpyro.infer.util import log_density as of_program

    from bayesmm.inside_jax import inside_jax

    model = model_of(1, cells(np.ones((2, 1)), q=3), sigma=SIGMA, priors={"sd": prior, "Intercept": Normal(0.0, 5.0)})
    program, numbers = model.program("marginal")

    def values(pivot, other):
        total, trace = of_program(
            program, (numbers,), {}, {"pivots_g": jnp.array([pivot]), "loadings_g": jnp.array([other])}
        )
        sd = trace["sd_g"]["value"]
        sites = {"pivots_g": jnp.array([pivot]), "loadings_g": jnp.array([other]), "sd_g": sd}
        factors, sigma, _ = program.covariances.factors(sites, numbers.covariances)
        return total - program.log_likelihood(numbers, factors, sigma), sd

    u = np.linspace(-9.0, 9.0, 601)
    with inside_jax():
        grid = jax.jit(jax.vmap(jax.vmap(values, (None, 0)), (0, None)))
        log_prior, sd = grid(jnp.exp(u), jnp.exp(u))  # of other signs it is the same
        mass = np.exp(np.asarray(log_prior) + u[:, None] + u) * (u[1] - u[0]) ** 2
    assert 4.0 * mass.sum() == pytest.approx(1.0, abs=2e-3)
    if mean is not None:
        assert 4.0 * (mass[:, :, None] * np.asarray(sd)).sum(axis=(0, 1)) == pytest.approx(mean, rel=0.01)


def test_flat_priors_need_levels_for_all_loadings() -> None:
    """Loadings as large as t all together have the density t^(k − 1), and a likelihood that falls as t^(d − qd)."""
    data = cells(np.ones((4, 1)), q=5)
    with pytest.raises(PriorError, match=r"'g' has 5 levels and 6 are needed"):
        _ = bmm.Model("y ~ 1 + rr(0 + f | g, d=1)", data, priors="flat").priors
    assert bmm.Model("y ~ 1 + rr(0 + f | g, d=2)", data, priors="flat").priors.rows


def test_what_a_prior_may_be_is_said() -> None:
    with pytest.raises(PriorError, match=r"correlations that follow from loadings.* have no such prior"):
        model_of(1, priors={"cor": LKJ(2.0)})
    with pytest.raises(PriorError, match="Suitable: Flat, LKJ"):
        model_of(1, priors={"cor": Uniform(0, 1)})
    own = model_of(2, priors={"sd(f[e0] | g)": HalfNormal(1.0)}).priors.table()
    assert str(own.loc["sd(f[e0] | g)", "prior"]) == "HalfNormal(1)"
    assert str(own.loc["cor(f[e0], f[e1] | g)", "prior"]) == "LKJ(1)"


def test_priors_of_several_families_and_other_terms_of_the_group() -> None:
    """Sites of their own, and one vector of standard deviations; effects at the means of a covariate."""
    from numpyro.infer.util import log_density as of_program

    rng = np.random.default_rng(0)
    data = cells(np.array([[1.0], [-0.8], [0.5]]), q=12).assign(x=lambda frame: rng.normal(3.0, 1.0, len(frame)))
    model = bmm.Model(
        "y ~ x + rr(0 + f | g, d=1) + (0 + x | g)",
        data,
        priors={"sd(f[e0] | g)": HalfNormal(1.0), "sd(f[e1] | g)": HalfStudentT(4.0, 1.0)},
    )
    posterior = model.sample(method="importance", draws=500, seed=1)
    assert posterior.data.posterior["sd_g"].shape == (4, 500, 4)
    assert posterior.parameters.loc["sd(f[e0] | g)", "mean"] == pytest.approx(
        model.fit().parameters.loc["sd(f[e0] | g)", "estimate"], rel=0.3
    )
    assert set(np.unique(posterior.draws("cor_g"))) <= {-1.0, 1.0}
    at_means = bmm.Model("y ~ x + rr(1 + x | g, d=1)", data)
    program, numbers = at_means.program("marginal")
    assert program.covariances.blocks[0].sd_name == "at_means_sd_g"
    sites = {"pivots_g": np.array([-1.3]), "loadings_g": np.array([0.7]), "sigma": np.array(1.1)}
    cor = compiled(lambda sites: of_program(program, (numbers,), {}, sites)[1]["cor_g"]["value"], sites)
    assert abs(float(cor[0])) == 1.0


def test_command_line_samples_it(tmp_path) -> None:
    DATA[1].to_csv(tmp_path / "cells.csv", index=False)
    how = ("--data", tmp_path / "cells.csv", "--by", "importance", "--draws", "200", "--seed", "1")
    rows = run_json("sample", "y ~ 1 + rr(0 + f | g, d=1)", *how)["posterior"]["parameters"]
    assert {row["parameter"] for row in rows} >= {"cor(f[e0], f[e1] | g)", "sd(f[e2] | g)"}
