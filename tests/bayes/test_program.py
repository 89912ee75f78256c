"""Both programs against a dense Gaussian, exactly: no sampling."""

import jax
import numpy as np
import pandas as pd
import pytest
import scipy.stats as st
from programs import density_of
from scipy.stats import multivariate_normal

from bayesmm.bayes.programs.binding import bind_conditional, bind_marginal
from bayesmm.bayes.programs.program import MarginalProgram
from bayesmm.covariance.public import effect_sds
from bayesmm.datasets import simulate_dyads
from bayesmm.specification.priors import (
    LKJ,
    Beta,
    BoxTiao,
    Cauchy,
    Exponential,
    Flat,
    Gamma,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    Laplace,
    LogNormal,
    Normal,
    Reciprocal,
    StudentT,
    Uniform,
)

RELATIVE = 1e-9  # of log densities of some hundreds; both sides are float64
CORRELATION = 0.3
DYADS = simulate_dyads(8, seed=1)
MODELS = {
    "slopes": ("Reaction ~ Days + (Days | Subject)", "sleepstudy", None),
    "slopes far from the origin": ("Reaction ~ I(Days + 10) + (I(Days + 10) | Subject)", "sleepstudy", None),
    "a slope beside cell means": ("distance ~ 0 + Sex + age + (0 + Sex + age | Subject)", "orthodont", None),
    "slopes of a user's intercepts": (
        "Reaction ~ Days + (Days | Subject)",
        "sleepstudy",
        {"sd(Intercept | Subject)": HalfNormal(9)},
    ),
    "diagonal slopes": ("Reaction ~ Days + (Days || Subject)", "sleepstudy", None),
    "two terms on one group": ("Reaction ~ Days + (Days | Subject) + (0 + I(Days**2) | Subject)", "sleepstudy", None),
    "one sd": ("Reaction ~ Days + homdiag(Days | Subject)", "sleepstudy", None),
    "compound symmetry": ("score ~ Machine + cs(0 + Machine | Worker)", "machines", {"cor": Uniform(0.0, 0.9)}),
    "compound symmetry of one sd, and more": (
        "score ~ Machine + homcs(0 + Machine | Worker) + (1 | Worker)",
        "machines",
        {"cor": LKJ(2)},
    ),
    "autoregressive": ("distance ~ age + ar1(0 + C(age) | Subject)", "orthodont", None),
    "Toeplitz": ("distance ~ age + toep(0 + C(age) | Subject)", "orthodont", None),
    "exponential": ("weight ~ Diet * Time + ou(0 + C(Time) | Rat)", "bodyweight", None),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", None),
    "dyads": (DYADS.formula, DYADS.data, None),
    "members": (
        "log_count ~ w + (w | mm(sender, receiver, weights=cbind(w, 1))) + (1 | sender)",
        DYADS.data.assign(w=0.5 + np.arange(56) % 5),
        None,
    ),
    "nested": ("strength ~ 1 + (1 | batch/cask)", "pastes", None),
    "sampled coefficient": ("Reaction ~ Days + (1 | Subject)", "sleepstudy", {"Days": StudentT(3, 5, 10)}),
    "no fixed effects": ("Yield ~ 0 + (1 | Batch)", "dyestuff", None),
    "mixed families": (
        "Reaction ~ Days + (Days | Subject)",
        "sleepstudy",
        {"sd(Days | Subject)": Gamma(2, 0.1, on="variance"), "Days": Normal(0, 50), "cor": LKJ(2)},
    ),
    "shares": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", {"sd": Beta(2, 3)}),
    "a share beside a variance and a deviation": (
        "Reaction ~ Days + (Days + I(Days**2) || Subject)",
        "sleepstudy",
        {
            "sd(Intercept | Subject)": Beta(2, 3),
            "sd(Days | Subject)": BoxTiao(10),
            "sd(I(Days**2) | Subject)": HalfNormal(2),
            "sigma": Reciprocal(),
        },
    ),
}


def covariance_sites(program, data):
    """Sites of all covariance parameters at plain values, with the factors F of Var(b) = FF' and sigma."""
    sites, factors = {}, []
    for block, numbers, back in zip(
        program.covariances.blocks, data.covariances.sds, data.covariances.to_columns, strict=True
    ):
        free = np.linspace(8.0, 3.0, block.sd.size)
        sites |= block.sd.start(free, numbers, 12.0)
        sd, F = effect_sds(np, free, block.pieces), np.eye(block.n_effects)
        for matrix in block.matrices:
            inside, size = slice(matrix.start, matrix.stop), matrix.stop - matrix.start
            if matrix.structure.correlations == "matrix":
                sites[matrix.sites[0].name] = np.linalg.cholesky((1.0 - CORRELATION) * np.eye(size) + CORRELATION)
                F[inside, inside] = sites[matrix.sites[0].name]
                continue
            cor = CORRELATION ** np.arange(1.0, matrix.structure.n_cors(size) + 1.0)
            sites[matrix.sites[0].name] = matrix.structure.shares(cor, size)
            F[inside, inside] = np.linalg.cholesky(matrix.structure.correlation(np, cor, size))
        factors.append(back @ (sd[:, None] * F))
    return sites | {"sigma": 12.0}, factors, 12.0


def effect_sites(program, data, factors, beta, effects):
    """Sites of random effects, and the log Jacobian of the effects with respect to them."""
    sites, log_jacobian, sums = {}, 0.0, {}
    for f in program.order:
        block, T = program.covariances.blocks[f], np.linalg.inv(data.covariances.to_columns[f])  # |T| = 1
        b = effects[f] @ T.T
        if program.parameterisations[f] == "noncentred":
            sites[f"z_{block.label}"] = np.linalg.solve(factors[f], effects[f].T).T
            log_jacobian += len(b) * np.linalg.slogdet(factors[f])[1]
            sums[f] = b
            continue
        sums[f] = b + data.means[f] @ beta
        if program.parents[f] is not None:
            sums[f] = sums[f] + sums[program.parents[f]][data.parent_codes[f]] @ data.links[f].T
        sites[f"r_{block.label}"] = sums[f]
    return sites, log_jacobian


@pytest.mark.parametrize("how", ["centred", "noncentred"])
@pytest.mark.parametrize("name", MODELS)
def test_marginal_is_conditional_with_the_effects_integrated_out(build, name, how):
    formula, data_name, priors = MODELS[name]
    case = build(formula, data_name, priors=priors)
    marginal, marginal_data = bind_marginal(case.problem, case.priors)
    conditional, data = bind_conditional(case.design, case.priors, (how,) * len(case.design.blocks))
    sites, factors, sigma = covariance_sites(conditional, data)
    rng = np.random.default_rng(1)
    beta = case.dense.fixed_effects(case.dense_covariance(factors), sigma) + rng.normal(size=case.design.p)
    effects = [rng.normal(size=(block.q, block.k)) @ F.T for block, F in zip(case.design.blocks, factors, strict=True)]
    own, log_jacobian = effect_sites(conditional, data, factors, beta, effects)
    joint = density_of(conditional, data, sites | own | coefficient_sites(conditional, data, case, beta)) - log_jacobian
    sampled = np.asarray(marginal_data.prior.sampled)
    if len(sampled):
        sites |= marginal.coefficients.start(beta[sampled], marginal_data.coefficients)
    expected = joint - log_conditional(case, factors, sigma, beta, effects, sampled)
    assert density_of(marginal, marginal_data, sites) == pytest.approx(expected, rel=RELATIVE)


def coefficient_sites(program, data, case, beta):
    return program.coefficients.start(case.priors.contrast @ beta, data.coefficients) if program.coefficients else {}


def log_conditional(case, factors, sigma, beta, effects, sampled):
    """log p(integrated β, b | y, sampled β) of the dense Gaussian; priors as the declarations state them."""
    free = [j for j in range(case.design.p) if j not in sampled]
    T = case.priors.contrast
    numbers = [row.prior.numbers for row in case.priors.of_kind("fixed")]
    precision = sum(
        (np.outer(T[j, free], T[j, free]) / numbers[j]["sd"] ** 2 for j in free), np.zeros((len(free), len(free)))
    )
    shift = sum(
        (T[j, free] * (numbers[j]["mean"] - T[j, sampled] @ beta[sampled]) / numbers[j]["sd"] ** 2 for j in free),
        np.zeros(len(free)),
    )
    dense, G = case.dense, case.dense_covariance(factors)
    less = type(dense)(
        y=dense.y - dense.X[:, sampled] @ beta[sampled], X=dense.X[:, free], Z=dense.Z, weights=dense.weights
    )
    mean, covariance = less.joint_moments(G, sigma, np.linalg.solve(precision, shift) if free else None, precision)
    value = np.concatenate([beta[free], *(b.ravel() for b in effects)])
    return multivariate_normal(mean, covariance, allow_singular=False).logpdf(value)


def test_flat_priors_have_their_mode_at_the_reml_estimate(build):
    """Golden values: lme4's REML fit of sleepstudy; uniform density in sds, correlation and sigma."""
    case = build("Reaction ~ Days + (Days | Subject)", "sleepstudy", priors="flat")
    program, data = bind_marginal(case.problem, case.priors)
    estimate = np.array([24.740658, 5.922138, 0.065552, 25.591796])

    def at(x):
        cholesky = np.array([[1.0, 0.0], [x[2], np.sqrt(1.0 - x[2] ** 2)]])
        return density_of(program, data, {"sd_Subject": x[:2], "cholesky_Subject": cholesky, "sigma": x[3]})

    steps = np.diag([0.5, 0.1, 0.02, 0.2])
    gradient = np.array([at(estimate + h) - at(estimate - h) for h in steps * 0.01])
    curvature = np.array([at(estimate + h) - 2 * at(estimate) + at(estimate - h) for h in steps])
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)
    assert (curvature < 0).all()
    assert at(estimate) == pytest.approx(-1743.628 / 2 + np.log(0.5), abs=1e-3)  # LKJ(1): 1/2 on (-1, 1)


def test_recovered_effects_have_the_moments_of_their_conditional(build):
    case = build("Reaction ~ Days + (Days | Subject)", "sleepstudy", priors={"Days": StudentT(3, 5, 10)})
    program, data = bind_marginal(case.problem, case.priors)
    sites, factors, sigma = covariance_sites(program, data)
    sites = {name: np.asarray(value) for name, value in sites.items()} | {"beta_sampled": np.array([9.0])}
    n = 20_000
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), n)
        drawn = jax.jit(jax.vmap(lambda key: MarginalProgram.recover(program, sites, data, key)))(keys)
        drawn = {name: np.asarray(value) for name, value in drawn.items()}
    y, X = case.dense.y - 9.0 * case.dense.X[:, 1], case.dense.X[:, :1]
    less = type(case.dense)(y=y, X=X, Z=case.dense.Z, weights=case.dense.weights)
    prior = case.priors.rows[0].prior  # of the response at 4.5 days
    mean, covariance = less.joint_moments(
        case.dense_covariance(factors), sigma, np.array([prior.mean - 4.5 * 9.0]), np.array([[prior.sd**-2.0]])
    )
    draws = np.column_stack([drawn["beta"][:, 0], drawn["b_Subject"].reshape(n, -1)])
    scale = np.sqrt(np.diag(covariance))
    assert (drawn["beta"][:, 1] == 9.0).all()
    np.testing.assert_allclose((draws.mean(0) - mean) / scale, 0.0, atol=4.5 / np.sqrt(n))
    np.testing.assert_allclose((np.cov(draws.T) - covariance) / np.outer(scale, scale), 0.0, atol=5.5 / np.sqrt(n))


SPREAD_PRIORS = {
    HalfNormal(2): st.halfnorm(scale=2),
    HalfCauchy(2): st.halfcauchy(scale=2),
    Exponential(2): st.expon(scale=0.5),
    Gamma(2, 3): st.gamma(2, scale=1 / 3),
    InverseGamma(2, 3): st.invgamma(2, scale=3),
    LogNormal(1, 2): st.lognorm(2, scale=np.e),
    Uniform(1, 4): st.uniform(1, 3),
}
COEFFICIENT_PRIORS = {
    StudentT(3, 1, 2): st.t(3, 1, 2),
    Cauchy(1, 2): st.cauchy(1, 2),
    Laplace(1, 2): st.laplace(1, 2),
    HalfNormal(2): st.halfnorm(scale=2),
    Uniform(1, 4): st.uniform(1, 3),
}


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(3)
    x = np.arange(12.0)
    return pd.DataFrame({"y": rng.normal(size=12), "x": x, "g": np.repeat(list("abcd"), 3)})


@pytest.mark.parametrize("prior", SPREAD_PRIORS, ids=str)
def test_a_prior_of_a_spread_has_its_textbook_density(build, small, prior):
    """Differences between two values of the spread, to cancel the likelihood of the flat model."""
    flat, with_prior = (
        build("y ~ 1 + (1 | g)", small, priors="flat"),
        build("y ~ 1 + (1 | g)", small, priors={"fixed": Flat(), "sd": prior, "sigma": Flat()}),
    )
    values = [{"sd_g": [1.5], "sigma": 1.0}, {"sd_g": [2.5], "sigma": 1.0}]
    plain, informed = (
        [density_of(*bind_marginal(case.problem, case.priors), at) for at in values] for case in (flat, with_prior)
    )
    expected = SPREAD_PRIORS[prior].logpdf([1.5, 2.5])
    np.testing.assert_allclose(np.subtract(informed, plain), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prior", COEFFICIENT_PRIORS, ids=str)
def test_a_prior_of_a_coefficient_has_its_textbook_density(build, small, prior):
    case = build("y ~ x + (1 | g)", small, priors={"fixed": Flat(), "x": prior, "sd": Flat(), "sigma": Flat()})
    program, data = bind_marginal(case.problem, case.priors)
    flat = build("y ~ 1 + offset(1.5 * x) + (1 | g)", small, priors="flat")
    at = {"sd_g": [1.5], "sigma": 1.0}
    plain = density_of(*bind_marginal(flat.problem, flat.priors), at)
    informed = density_of(program, data, at | {"beta_sampled": [1.5]})
    assert informed - plain == pytest.approx(COEFFICIENT_PRIORS[prior].logpdf(1.5), rel=1e-9)


def test_a_prior_on_the_variance_is_one_of_the_square(build, small):
    case = build("y ~ 1 + (1 | g)", small, priors={"sd": InverseGamma(2, 3, on="variance"), "sigma": Flat()})
    program, data = bind_marginal(case.problem, case.priors)
    flat = build("y ~ 1 + (1 | g)", small, priors={"sd": Flat(), "sigma": Flat()})
    plain = density_of(*bind_marginal(flat.problem, flat.priors), {"sd_g": [1.5], "sigma": 1.0})
    informed = density_of(program, data, {"variance_g": [1.5**2], "sigma": 1.0})
    assert informed - plain == pytest.approx(st.invgamma(2, scale=3).logpdf(1.5**2), rel=1e-9)


SIGMA = 1.3
GIVEN_SIGMA = {
    Beta(2, 3): lambda sd: st.beta(2, 3).logpdf(sd**2 / (sd**2 + SIGMA**2)),
    Uniform(0.1, 0.9, on="share"): lambda sd: st.uniform(0.1, 0.8).logpdf(sd**2 / (sd**2 + SIGMA**2)),
    BoxTiao(3): lambda sd: -np.log(SIGMA**2 + 3 * sd**2),
}


@pytest.mark.parametrize("known", [True, False], ids=["sigma known", "sigma sampled"])
@pytest.mark.parametrize("prior", GIVEN_SIGMA, ids=str)
def test_a_prior_given_sigma_has_its_density_whether_sigma_is_known_or_sampled(build, small, prior, known):
    sigma = {"sigma": SIGMA} if known else {}
    flat = {} if known else {"sigma": Flat()}
    case, plain = (
        build("y ~ 1 + (1 | g)", small, priors={"fixed": Flat(), "sd": one} | flat, **sigma) for one in (prior, Flat())
    )
    site = "variance_g" if isinstance(prior, BoxTiao) else "share_g"
    stated = (lambda sd: sd**2) if isinstance(prior, BoxTiao) else (lambda sd: sd**2 / (sd**2 + SIGMA**2))
    others = {} if known else {"sigma": SIGMA}
    found = [
        density_of(*bind_marginal(case.problem, case.priors), {site: [stated(sd)]} | others)
        - density_of(*bind_marginal(plain.problem, plain.priors), {"sd_g": [sd]} | others)
        for sd in (0.8, 1.5)
    ]
    np.testing.assert_allclose(found, [GIVEN_SIGMA[prior](sd) for sd in (0.8, 1.5)], rtol=1e-9, atol=1e-9)


def test_a_reciprocal_prior_is_flat_in_the_logarithm_of_sigma(build, small):
    case, plain = (build("y ~ 1 + (1 | g)", small, priors={"sigma": prior}) for prior in (Reciprocal(), Flat()))
    at = {"sd_g": [1.5], "sigma": SIGMA}
    found, flat = (density_of(*bind_marginal(each.problem, each.priors), at) for each in (case, plain))
    assert found - flat == pytest.approx(-np.log(SIGMA), rel=1e-9)


def test_a_uniform_share_is_beta_1_1(build, small):
    beta, uniform = (
        build("y ~ 1 + (1 | g)", small, priors={"sd": prior}) for prior in (Beta(1, 1), Uniform(0, 1, on="share"))
    )
    at = {"share_g": [0.3], "sigma": SIGMA}
    found = [density_of(*bind_marginal(each.problem, each.priors), at) for each in (beta, uniform)]
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_equal_structure_makes_equal_programs(build):
    one = build("Yield ~ 1 + (1 | Batch)", "dyestuff", priors={"sd": HalfNormal(1)})
    other = build("Yield ~ 1 + (1 | Batch)", "dyestuff2", priors={"sd": HalfNormal(2)})
    programs = [bind_marginal(case.problem, case.priors)[0] for case in (one, other)]
    assert programs[0] == programs[1]
    assert hash(programs[0]) == hash(programs[1])


def test_programs_print_their_sites(build):
    case = build(
        "Reaction ~ Days + (Days | Subject)", "sleepstudy", priors={"sigma": InverseGamma(2, 3, on="variance")}
    )
    marginal, _ = bind_marginal(case.problem, case.priors)
    conditional, _ = bind_conditional(case.design, case.priors, ("centred",))
    assert "sd_Subject[0, 1] ~ HalfStudentT\n  cholesky_Subject ~ LKJCholesky(2)\n  variance ~ Inverse" in str(marginal)
    assert "beta_at_means[0, 1] ~ Normal\n  r_Subject[18, 2] ~ Normal (centred)" in str(conditional)


def test_without_fixed_effects_there_is_no_beta_to_recover(build):
    case = build("Yield ~ 0 + (1 | Batch)", "dyestuff")
    program, data = bind_marginal(case.problem, case.priors)
    sites, _, _ = covariance_sites(program, data)
    with jax.enable_x64(True):
        shapes = jax.eval_shape(lambda key: program.recover(sites, data, key), jax.random.key(0))
    assert {name: value.shape for name, value in shapes.items()} == {"b_Batch": (6, 1)}
