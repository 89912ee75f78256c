"""Factor analytic covariances, ``fa(... | g, d=1)``, through the public interface."""

from __future__ import annotations

import warnings
from functools import partial

import arviz as az
import numpy as np
import pandas as pd
import pytest
from cli_commands import run_json
from numpy.testing import assert_allclose
from oracle import DenseModel, level_covariance, random_columns
from programs import QUICK
from scipy import stats
from scipy.optimize import minimize

import bayesmm as bmm
from bayesmm.covariance.factor_analytic import decompose
from bayesmm.covariance.table import find_structure
from bayesmm.errors import DesignError, PriorError, SpecificationError
from bayesmm.priors import LKJ, HalfNormal, Normal

BOYS = bmm.datasets.load("oxboys")
GROWTH = bmm.datasets.load("orthodont")
FORMULA = "distance ~ age * Sex + {name}(0 + C(age) | Subject)"
NEARLY = 0.001  # a residual next to nothing: the structure is that of the measurements

# glmmTMB 1.1.5: height ~ age + I(age^2) + rr(0 + factor(Occasion) | Subject, d) + diag(0 + factor(Occasion) | Subject),
# dispformula = ~0, and distance ~ age * Sex + rr(0 + factor(age) | Subject, 1) + diag(...), REML too.
OF_BOYS = {1: 778.99620, 2: 606.92411}
OF_GROWTH = {"ml": 424.52478, "reml": 429.84824}


@pytest.mark.parametrize("d", OF_BOYS)
def test_likelihood_is_that_of_reduced_rank_and_diagonal_in_glmmtmb(d) -> None:
    fit = bmm.Model(f"height ~ age + I(age**2) + fa(0 + C(Occasion) | Subject, d={d})", BOYS, sigma=0.05).fit("ml")
    assert -2.0 * fit.loglik == pytest.approx(OF_BOYS[d], abs=1e-4)
    assert fit.n_parameters == 3 + 9 * d - d * (d - 1) // 2 + 9
    table = fit.loadings().loc["Subject"]
    S = table.filter(like="loading").to_numpy()
    covariance = S @ S.T + np.diag(table["sd_specific"] ** 2)
    sds = fit.parameters["estimate"].filter(like="sd(").to_numpy()
    assert_allclose(np.sqrt(np.diag(covariance)), sds, rtol=1e-6)
    assert fit.parameters["estimate"]["cor(C(Occasion)[1], C(Occasion)[9] | Subject)"] == pytest.approx(
        covariance[0, 8] / sds[0] / sds[8], rel=1e-6
    )
    assert_allclose(S.T @ S, np.diag(np.diag(S.T @ S)), atol=1e-6)  # principal axes
    assert (S.sum(axis=0) >= 0.0).all()


@pytest.mark.parametrize("method", OF_GROWTH)
def test_likelihood_of_growth_is_that_of_glmmtmb(method) -> None:
    fit = bmm.Model(FORMULA.format(name="fa"), GROWTH, sigma=NEARLY).fit(method)
    assert -2.0 * fit.loglik == pytest.approx(OF_GROWTH[method], abs=1e-4)


def test_as_many_parameters_as_without_a_structure_are_the_same_model() -> None:
    machines = bmm.datasets.load("machines")
    one, other = (bmm.Model(f"score ~ Machine + {s}(0 + Machine | Worker)", machines).fit() for s in ("fa", "us"))
    assert one.n_parameters == other.n_parameters == 10
    assert one.loglik == pytest.approx(other.loglik, abs=1e-8)
    names = other.parameters.index
    for column in ("estimate", "std_error"):
        assert_allclose(one.parameters.loc[names, column], other.parameters.loc[names, column], rtol=1e-4)
    ours, theirs = (fit.fixed_effects["df"] for fit in (one, other))
    assert_allclose(ours, theirs, rtol=1e-4)


def cells(loadings, specific, seed: int = 0, q: int = 20, repeats: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    k = len(specific)
    S = np.outer(loadings, loadings) + np.diag(specific)
    b = rng.multivariate_normal(np.zeros(k), S, size=q)
    level, effect = (each.ravel().repeat(repeats) for each in np.indices((q, k)))
    y = b[level, effect] + 0.7 * rng.normal(size=len(level))
    return pd.DataFrame({"g": [f"g{i}" for i in level], "f": [f"e{i}" for i in effect], "y": y})


HEYWOOD = cells([1.0, 0.9, 1.2, 0.7], [0.0, 0.0, 0.0, 0.3], q=30)


@pytest.mark.parametrize(
    ("data", "method"),
    [
        (cells([1.0, -0.8, 0.9, 0.6], [0.5, 0.3, 0.2, 0.4]), "reml"),
        (HEYWOOD, "ml"),
        (cells([0.9, 0.5, 0.9, 0.0], [0.0, 0.3, 0.2, 0.0], seed=3), "reml"),
    ],
    ids=["inside", "heywood", "one"],
)
def test_fit_is_at_the_best_of_the_maxima_of_the_dense_likelihood(data, method) -> None:
    fit = bmm.Model("y ~ 1 + fa(0 + f | g)", data).fit(method)
    codes, columns = pd.factorize(data["g"])[0], pd.get_dummies(data["f"]).to_numpy(dtype=float)
    q, k = codes.max() + 1, columns.shape[1]
    dense = DenseModel(y=data["y"].to_numpy(), X=np.ones((len(data), 1)), Z=random_columns(codes, columns, q))

    def loss(x: np.ndarray) -> float:
        S = np.outer(x[:k], x[:k]) + np.diag(x[k:] ** 2)
        return -2.0 * dense.profiled_log_likelihood(level_covariance(S, q), method)

    rng = np.random.default_rng(1)
    found = min(
        minimize(loss, rng.normal(size=2 * k), method="L-BFGS-B", options={"maxiter": 40}).fun for _ in range(2)
    )
    assert -2.0 * fit.loglik < found + 1e-4


def test_specific_variances_of_zero_are_a_boundary() -> None:
    fit = bmm.Model("y ~ 1 + fa(0 + f | g)", HEYWOOD).fit()
    assert fit.status.name == "BOUNDARY"
    table = fit.loadings().loc["g"]
    assert (table["sd_specific"].iloc[1:3] == 0.0).all()
    assert_allclose(table["communality"].iloc[1:3], 1.0)
    estimates, errors = fit.parameters["estimate"], fit.parameters["std_error"]
    assert_allclose(estimates["cor(f[e1], f[e2] | g)"], 1.0)
    assert np.isnan(errors["cor(f[e1], f[e2] | g)"])
    assert errors["sd(f[e1] | g)"] > 0.0
    profile = fit.profile(["sd(f[e1] | g)"]).intervals()
    assert profile.loc["sd(f[e1] | g)", "lower"] < estimates["sd(f[e1] | g)"] < profile.loc["sd(f[e1] | g)", "upper"]
    limits = fit.bootstrap(20, seed=1).intervals().loc["cor(f[e1], f[e2] | g)"]
    assert -1.0 <= limits["lower"] < limits["upper"] <= 1.0
    one = bmm.Model("y ~ 1 + rr(0 + f | g, d=1)", HEYWOOD).fit()
    assert fit.loglik > one.loglik


def test_units_order_and_names_of_effects_do_not_matter() -> None:
    data = cells([1.0, -0.8, 0.9, 0.6], [0.5, 0.3, 0.2, 0.4])
    fit = bmm.Model("y ~ 1 + fa(0 + f | g)", data).fit()
    turned = data.assign(f=data["f"].map({"e0": "z", "e1": "y", "e2": "x", "e3": "a"}))
    other = bmm.Model("y ~ 1 + fa(0 + f | g)", turned).fit()
    assert other.loglik == pytest.approx(fit.loglik, abs=1e-8)
    assert_allclose(other.loadings()["sd_specific"].to_numpy()[::-1], fit.loadings()["sd_specific"], atol=1e-4)
    columns = pd.get_dummies(data["f"]).astype(float) * [1.0, 100.0, 0.01, 1.0]
    scaled = bmm.Model("y ~ 1 + fa(0 + e0 + e1 + e2 + e3 | g)", data.join(columns)).fit()
    assert scaled.loglik == pytest.approx(fit.loglik, abs=1e-7)
    assert_allclose(
        scaled.loadings()["sd_specific"].to_numpy() * [1.0, 100.0, 0.01, 1.0],
        fit.loadings()["sd_specific"],
        atol=1e-4,
    )


def test_a_covariance_matrix_is_taken_apart_exactly() -> None:
    rng = np.random.default_rng(2)
    for k, d in ((3, 1), (5, 2), (9, 3)):
        for zeros in (0, 1):
            L, specific = rng.normal(size=(k, d)) * rng.uniform(0.1, 10.0, (k, 1)), rng.uniform(0.2, 1.0, k)
            specific[:zeros] = 0.0
            S = L @ L.T + np.diag(specific**2)
            loadings, own = decompose(S, d)
            scale = np.sqrt(np.outer(np.diag(S), np.diag(S)))
            assert_allclose((loadings @ loadings.T + np.diag(own**2)) / scale, S / scale, atol=1e-9)


def test_comparison_knows_what_is_nested_and_that_loadings_may_be_open() -> None:
    fits = [bmm.Model(FORMULA.format(name=name), GROWTH, sigma=NEARLY).fit("ml") for name in ("diag", "fa", "us")]
    text = " ".join(str(bmm.anova(*fits)).split())
    assert "model 1 leaves loadings of model 2 open" in text
    assert "was not seen" not in text
    assert "model 2 leaves" not in text
    larger = " ".join(str(bmm.anova(fits[2], fits[1])).split())
    assert "was not seen" not in larger


def test_written_saved_and_on_the_command_line(tmp_path) -> None:
    data = cells([1.0, -0.8, 0.9, 0.6], [0.5, 0.3, 0.2, 0.4])
    model = bmm.Model("y ~ 1 + fa(0 + f | g, d=1)", data)
    assert "factor analytic, 1 factor" in " ".join(str(model).split())
    assert model.marginal_covariance([0, 2]).iloc[1, 0] == "σ(f[e0], f[e1] | g)"
    fit = model.fit()
    assert_allclose(
        model.marginal_covariance([0, 2], at=fit).iloc[1, 0], (fit.sigma**2) * (fit.factors[0] @ fit.factors[0].T)[0, 1]
    )
    again = bmm.load(fit.save(tmp_path / "fit.nc"))
    pd.testing.assert_frame_equal(again.loadings(), fit.loadings())
    data.to_csv(tmp_path / "cells.csv", index=False)
    rows = run_json("fit", "y ~ 1 + fa(0 + f | g)", "--data", tmp_path / "cells.csv")["fit"]["parameters"]
    found = {row["parameter"]: row["estimate"] for row in rows}
    assert found["cor(f[e0], f[e1] | g)"] == pytest.approx(
        fit.parameters["estimate"]["cor(f[e0], f[e1] | g)"], rel=1e-4
    )
    predicted = fit.predict(pd.DataFrame({"g": ["g1", "new"], "f": ["e0", "e3"]}), new_levels="population")
    assert np.isfinite(predicted).all()


def test_factor_of_three_traits_may_be_the_first_of_a_product() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        [(g, trait, week) for g in range(12) for trait in "abc" for week in (1, 2, 3) for _ in range(2)],
        columns=["g", "trait", "week"],
    )
    S = np.outer([1.0, 0.8, 0.6], [1.0, 0.8, 0.6]) + np.diag([0.2, 0.3, 0.4])
    R = 0.6 ** np.abs(np.subtract.outer(range(3), range(3)))
    b = rng.multivariate_normal(np.zeros(9), np.kron(S, R), size=12)
    frame["y"] = b.ravel().repeat(2) + 0.5 * rng.normal(size=len(frame))
    formula = "y ~ trait + kron({name}(trait), ar1(C(week)) | g)"
    one, other = (bmm.Model(formula.format(name=name), frame).fit() for name in ("fa", "us"))
    assert one.loglik == pytest.approx(other.loglik, abs=1e-6)  # three effects of one factor: as many parameters
    assert one.n_parameters == other.n_parameters


SIGMA = 0.7
PRIORS = {"Intercept": Normal(0.0, 5.0), "sd": HalfNormal(2.0)}
SMALL = cells([1.0, -0.8, 0.9], [0.5, 0.3, 0.2], q=8)


@pytest.fixture(scope="module")
def posterior():
    return bmm.Model("y ~ 1 + fa(0 + f | g)", SMALL, sigma=SIGMA, priors=PRIORS).sample(
        method="importance", draws=2000, chains=4, seed=1
    )


def log_density(y: np.ndarray, S: np.ndarray, repeats: int) -> np.ndarray:
    """Of levels with the same rows (rows, levels) at covariances (m, k, k), an intercept ~ N(0, 25) integrated out."""
    k = S.shape[-1]
    rows = np.arange(k).repeat(repeats)
    V = S[:, rows][:, :, rows] + SIGMA**2 * np.eye(len(rows))
    both = np.concatenate([np.ones((len(y), 1)), y], axis=1)
    products = both.T @ np.linalg.solve(V, np.broadcast_to(both, (len(V), *both.shape)))
    q = y.shape[1]
    a, c = q * products[:, 0, 0], products[:, 0, 1:].sum(1)
    r = np.trace(products[:, 1:, 1:], axis1=1, axis2=2)
    log_det = q * np.linalg.slogdet(V)[1] + np.log1p(25.0 * a)
    return -0.5 * (log_det + r - 25.0 * c**2 / (1.0 + 25.0 * a) + y.size * np.log(2.0 * np.pi))


def test_posterior_is_that_of_loadings_drawn_from_their_prior(posterior) -> None:
    """Loadings uniform in (−1, 1), sums weighted by the likelihood: no shares, no programs.

    Drawn more often where they are likely: large, and of the signs + − +.
    """
    uniform = stats.qmc.Sobol(7, seed=1).random(2**15)
    z, size = stats.norm.ppf(uniform[:, :3]), uniform[:, 3:6] ** 0.25
    sd = np.exp(0.1 + 0.5 * z)
    pattern = np.minimum((uniform[:, 6] - 0.7) // 0.1 + 1.0, 3.0).clip(0.0).astype(int)
    signs = np.array([[1, -1, 1], [1, 1, 1], [1, 1, -1], [1, -1, -1]])[pattern]
    u = signs * size
    R = u[:, :, None] * u[:, None]
    R[:, range(3), range(3)] = 1.0
    y = SMALL["y"].to_numpy().reshape(8, -1).T
    log_weights = log_density(y, R * sd[:, :, None] * sd[:, None], 2)
    log_weights += (stats.halfnorm.logpdf(sd, scale=2.0) + np.log(sd) - stats.norm.logpdf(z)).sum(axis=1)
    log_weights -= 3.0 * np.log(size).sum(axis=1) + np.log(np.where(pattern == 0, 0.7, 0.1))
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    assert 1.0 / (weights**2).sum() > 300
    found = posterior.parameters
    values = {f"sd(f[e{j}] | g)": sd[:, j] for j in range(3)}
    values |= {f"cor(f[e{i}], f[e{j}] | g)": R[:, i, j] for i, j in ((0, 1), (0, 2), (1, 2))}
    for row, own in values.items():
        mean = weights @ own
        spread = np.sqrt(weights @ (own - mean) ** 2)
        assert found.loc[row, "mean"] == pytest.approx(mean, abs=0.12 * spread), row
        assert found.loc[row, "sd"] == pytest.approx(spread, rel=0.12), row


@pytest.mark.parametrize(("k", "d"), [(3, 1), (5, 2)])
def test_density_of_the_program_is_the_dense_one(k, d) -> None:
    import jax
    from numpyro.infer.util import log_density as of_program

    from bayesmm.inside_jax import inside_jax

    data = cells(np.linspace(0.5, 1.0, k), np.full(k, 0.3), q=8)
    model = bmm.Model(f"y ~ 1 + fa(0 + f | g, d={d})", data, sigma=SIGMA, priors=PRIORS)
    program, numbers = model.program("marginal")
    structure = find_structure(f"fa, d={d}")
    rng = np.random.default_rng(k)
    a, b = structure.lkj_shapes(1.0, k)
    density = jax.jit(lambda sites: of_program(program, (numbers,), {}, sites)[0], compiler_options=QUICK)
    for _ in range(3):
        sd, shares = rng.uniform(0.5, 2.0, k), rng.uniform(0.1, 0.9, structure.n_shares(k))
        with inside_jax():
            found = float(density({"sd_g": sd, "correlation_g": shares}))
        F = structure.unit_factor(np, shares, k)
        expected = log_density(data["y"].to_numpy().reshape(8, -1).T, (F @ F.T * np.outer(sd, sd))[None], 2)[0]
        expected += stats.halfnorm.logpdf(sd, scale=2.0).sum() + stats.beta.logpdf(shares, a, b).sum()
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("k", "d"), [(3, 1), (5, 2), (6, 3)])
def test_prior_is_uniform_in_standardised_loadings(k, d) -> None:
    """Whatever the rotation: rows uniform in the unit ball."""
    structure, rng = find_structure(f"fa, d={d}"), np.random.default_rng(0)
    a, b = structure.lkj_shapes(1.0, k)
    factors = np.array([structure.unit_factor(np, rng.beta(a, b), k) for _ in range(3000)])
    R = factors @ factors.swapaxes(1, 2)
    u = rng.normal(size=(20_000, k, d))
    u *= rng.uniform(size=(len(u), k, 1)) ** (1.0 / d) / np.linalg.norm(u, axis=2, keepdims=True)
    same = u @ u.swapaxes(1, 2)
    for i, j in ((0, 1), (k - 2, k - 1)):
        assert stats.ks_2samp(R[:, i, j], same[:, i, j]).pvalue > 1e-3
        x = np.linspace(-1.0, 1.0, 2001)[1:-1]
        cumulative = np.cumsum(structure.cor_density(x, 0, 1.0, k))
        assert cumulative[-1] * 1e-3 == pytest.approx(1.0, abs=5e-3)
        expected = partial(np.interp, xp=x, fp=cumulative / cumulative[-1])
        assert stats.kstest(R[:, i, j], expected).pvalue > 1e-3
    triple = R[:, 0, 1] * R[:, 1, 2] * R[:, 0, 2], same[:, 0, 1] * same[:, 1, 2] * same[:, 0, 2]
    assert stats.ks_2samp(*triple).pvalue > 1e-3


def test_posterior_is_read_as_others_are(posterior, tmp_path) -> None:
    """Loadings of the other sign are the same correlations: one mode, and the labels of ArviZ."""
    assert "modes" not in posterior.data.children
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ's of its diagnostics
        table = az.summary(posterior.data, round_to="none")
    tree = posterior.data.posterior
    assert table.loc["cor_g[f[e0], f[e2]]", "mean"] == pytest.approx(float(tree["cor_g"][..., 1].mean()))
    assert {"cor(f[e0], f[e1] | g)", "sd(f[e2] | g)"} <= set(posterior.sensitivity().index)
    comparison = str(bmm.compare(bmm.Model("y ~ 1 + fa(0 + f | g)", SMALL, sigma=SIGMA).fit(), posterior))
    assert "cor(f[e0], f[e1])" in comparison
    again = bmm.load(posterior.save(tmp_path / "posterior.nc"))
    pd.testing.assert_frame_equal(again.parameters, posterior.parameters)
    assert np.isfinite(posterior.predict(pd.DataFrame({"g": ["g1"], "f": ["e0"]}))["mean"]).all()


def test_priors_of_correlations_are_the_default_one() -> None:
    model = bmm.Model("y ~ 1 + fa(0 + f | g)", SMALL, priors={"sigma": HalfNormal(1.0)})
    assert str(model.priors.table().loc["cor(f[e0], f[e1] | g)", "prior"]) == "LKJ(1)"
    drawn = model.prior_predictive(500, seed=1).prior
    assert np.isfinite(drawn["cor_g"]).all()
    assert model.plot_priors() is not None
    with pytest.raises(PriorError, match=r"correlations that follow from loadings.* have no such prior"):
        bmm.Model("y ~ 1 + fa(0 + f | g)", SMALL, priors={"cor": LKJ(2.0)})


@pytest.mark.parametrize(
    ("formula", "error", "problem"),
    [
        ("distance ~ age + fa(0 + C(age) | Subject, d=2)", DesignError, "has 4 effects and d=2: 11 loadings.*d=1"),
        ("distance ~ age + fa(0 + Sex | Subject)", DesignError, "fa"),
        ("distance ~ age + fa(0 + C(age) | Subject, d=0)", SpecificationError, "d=0"),
        ("distance ~ age + fa(0 + C(age) | Subject, nu=1)", SpecificationError, r"fa\(0 \+ f \| g, d=1\)"),
    ],
)
def test_what_it_does_not_take_is_said(formula, error, problem) -> None:
    with pytest.raises(error, match=problem):
        bmm.Model(formula, GROWTH)


def test_loadings_need_factors() -> None:
    assert not len(bmm.Model("distance ~ age + (1 | Subject)", GROWTH).fit().loadings())
    boys = bmm.Model("height ~ age + rr(0 + C(Occasion) | Subject, d=2)", BOYS).fit("ml")
    table = boys.loadings()
    assert (table["sd_specific"] == 0.0).all()
    assert_allclose(table["communality"], 1.0)
    S = table[["loading_1", "loading_2"]].to_numpy()
    assert_allclose(S @ S.T, boys.sigma**2 * boys.factors[0] @ boys.factors[0].T, atol=1e-8)


def test_number_of_factors_is_said_in_words() -> None:
    assert find_structure("fa, d=2").words == "factor analytic, 2 factors"
