"""Draws from the prior: their distributions, their names, and what cannot be drawn from."""

from functools import partial

import jax
import numpy as np
import pytest
import scipy.stats as st
from made_posterior import make_posterior
from numpyro import handlers

import bayesmm as bmm
from bayesmm.bayes.priors.prior_simulation import simulate_prior
from bayesmm.errors import PriorError
from bayesmm.priors import LKJ, Beta, BoxTiao, Flat, HalfNormal, InverseGamma, Normal, Reciprocal, StudentT

DRAWS = 4000
SURE = 1e-4  # p-value below which a distribution is another; about twenty tests, fixed seed


@pytest.fixture(scope="module")
def model():
    """Offset, weights, correlations, a share, and coefficients of two families."""
    sleep = bmm.datasets.load("sleepstudy").assign(w=lambda d: 1.0 + d["Days"], shift=lambda d: 10.0 * d["Days"])
    priors = {
        "Intercept": Normal(250, 50),
        "Days": StudentT(4, 5, 10),
        "sd(Intercept | Subject)": Beta(2, 3),
        "sd(Days | Subject)": HalfNormal(5),
        "cor": LKJ(2),
        "sigma": HalfNormal(30, on="variance"),
    }
    return bmm.Model("Reaction ~ Days + offset(shift) + (Days | Subject)", sleep, weights="w", priors=priors)


@pytest.fixture(scope="module")
def drawn(model):
    return simulate_prior(model.design, model.priors, draws=DRAWS, seed=5)


def agrees(values, distribution):
    return st.kstest(values, distribution.cdf).pvalue > SURE


def test_parameters_have_the_distributions_that_were_declared(drawn):
    sd, sigma = drawn["sd_Subject"], drawn["sigma"]
    assert agrees(drawn["beta"][:, 0], st.norm(250, 50))
    assert agrees(drawn["beta"][:, 1], st.t(4, 5, 10))
    assert agrees(sd[:, 0] ** 2 / (sd[:, 0] ** 2 + sigma**2), st.beta(2, 3))
    assert agrees(sd[:, 1], st.halfnorm(scale=5))
    assert agrees(sigma**2, st.halfnorm(scale=30))
    assert agrees(0.5 * (drawn["cor_Subject"][:, 0] + 1.0), st.beta(2, 2))


@pytest.mark.parametrize(
    "priors", [None, {"cor": LKJ(2), "sd": HalfNormal(30, on="variance")}], ids=["means", "columns"]
)
def test_draws_are_those_of_the_numpyro_program(priors):
    """Correlated effects of three columns, whose default priors are about the effects at the means."""
    sleep = bmm.datasets.load("sleepstudy")
    model = bmm.Model("Reaction ~ Days + (Days + I(Days**2) | Subject)", sleep, priors=priors)
    drawn = simulate_prior(model.design, model.priors, draws=1000, seed=2)
    program, data = model.program("conditional", parameterisation="noncentred")
    names = ("beta", "sd_Subject", "cor_Subject", "sigma", "b_Subject", "y")

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def sample(keys, data):
        def one(key):
            trace = handlers.trace(handlers.seed(program, key)).get_trace(data)
            return {name: trace[name]["value"] for name in names}

        return jax.lax.map(one, keys, batch_size=200)

    with jax.enable_x64(True):
        others = sample(jax.random.split(jax.random.key(3), 1000), data._replace(y=None))
    assert (model.priors.effect_contrasts[0] == np.eye(3)).all() == (priors is not None)
    for name in names:
        mine, other = (np.asarray(values).reshape(1000, -1) for values in (drawn[name], others[name]))
        for j in range(mine.shape[1])[:20]:
            assert st.ks_2samp(mine[:, j], other[:, j]).pvalue > SURE, (name, j)
    for pair in ((0, 1), (1, 2)):  # and together
        products = [np.prod(np.asarray(values["b_Subject"])[:, 0, pair], axis=1) for values in (drawn, others)]
        assert st.ks_2samp(*products).pvalue > SURE


def test_random_effects_have_the_drawn_covariances(drawn):
    b, sd, cor = drawn["b_Subject"], drawn["sd_Subject"][:, None, :], drawn["cor_Subject"]
    first = b[..., 0] / sd[..., 0]
    second = (b[..., 1] / sd[..., 1] - cor * first) / np.sqrt(1.0 - cor**2)
    assert b.shape == (DRAWS, 18, 2)
    for values in (first, second):
        assert agrees(values.ravel(), st.norm)
        assert agrees(np.sqrt(18) * values.mean(axis=1), st.norm)  # levels are independent
    assert abs((first * second).mean()) < 5.0 / np.sqrt(first.size)


def test_responses_have_offset_weights_and_residuals(drawn, model):
    design, block = model.design, model.design.blocks[0]
    effects = (block.columns * drawn["b_Subject"][:, block.incidence.only.codes]).sum(axis=2)
    residual = drawn["y"] - design.offset - drawn["beta"] @ design.X.T - effects
    z = residual * np.sqrt(design.weights) / drawn["sigma"][:, None]
    assert design.offset.any()
    assert agrees(z[:200].ravel(), st.norm)
    assert agrees(np.sqrt(design.n) * z.mean(axis=1), st.norm)


def test_default_priors_are_about_the_response_at_the_means(build):
    case = build("Reaction ~ Days + (1 | Subject)", "sleepstudy")
    drawn = simulate_prior(case.design, case.priors, draws=DRAWS, seed=1)
    prior = case.priors.rows[0].prior
    assert agrees(drawn["beta"] @ [1.0, 4.5], st.norm(prior.mean, prior.sd))


def test_a_known_sigma_is_used_and_not_drawn(build):
    case = build("y ~ 1 + (1 | school)", "eight_schools", weights="1 / sigma**2", sigma=1.0)
    drawn = simulate_prior(case.design, case.priors, draws=DRAWS)
    residual = drawn["y"] - drawn["beta"] - drawn["b_school"][..., 0]
    assert "sigma" not in drawn
    assert agrees((residual * np.sqrt(case.design.weights)).ravel(), st.norm)


def test_without_fixed_effects_and_with_two_groups_there_is_what_there_is(build):
    case = build("diameter ~ 0 + (1 | plate) + (1 | sample)", "penicillin", priors={"sd": Beta(1, 1)})
    drawn = simulate_prior(case.design, case.priors, draws=3)
    shapes = {name: values.shape for name, values in drawn.items()}
    # ArviZ has a dim called sample, so the group's is sample_.
    sites = {"sd_plate": (3, 1), "b_plate": (3, 24, 1), "sd_sample_": (3, 1), "b_sample_": (3, 6, 1)}
    assert shapes == {**sites, "sigma": (3,), "y": (3, 144)}


def test_draws_are_doubles_and_jax_keeps_its_setting(drawn):
    assert {values.dtype for values in drawn.values()} == {np.dtype(np.float64)}
    assert not jax.config.jax_enable_x64


def test_the_same_seed_gives_the_same_draws(model):
    one, same, other = (model.prior_predictive(3, seed=seed)["prior_predictive"]["y"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()


def test_batches_do_not_change_the_draws(model, monkeypatch):
    whole = model.prior_predictive(3, seed=1)["prior"]["sigma"].to_numpy()
    monkeypatch.setattr("bayesmm.bayes.priors.prior_simulation.BATCH_ENTRIES", 1)
    np.testing.assert_allclose(model.prior_predictive(3, seed=1)["prior"]["sigma"].to_numpy(), whole, rtol=1e-12)


def test_a_prior_has_the_variables_dims_and_coordinates_of_a_posterior(model):
    prior = model.prior_predictive(10)["prior"].to_dataset()
    posterior = make_posterior(model).data["posterior"].to_dataset()
    assert list(prior.data_vars) == list(posterior.data_vars)
    for name in prior.data_vars:
        assert prior[name].dims == posterior[name].dims
    for name in ("coef", "Subject", "Subject_effect", "Subject_sd", "Subject_pair"):
        assert prior[name].equals(posterior[name])


def test_arviz_draws_prior_predictive_checks_and_priors_beside_posteriors(model):
    import arviz as az
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    tree = model.prior_predictive(50)
    assert set(tree.children) == {"prior", "prior_predictive", "observed_data", "constant_data"}
    az.plot_ppc_dist(tree, group="prior_predictive")
    both = make_posterior(model).data.copy()
    both["prior"] = tree["prior"]
    az.plot_prior_posterior(both, var_names=["sigma"])
    pyplot.close("all")


IMPROPER = {"fixed": Flat(), "sd": BoxTiao(5), "sigma": Reciprocal()}


def test_improper_priors_are_named_with_what_to_give_instead():
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"), priors=IMPROPER)
    with pytest.raises(PriorError) as caught:
        model.prior_predictive()
    assert str(caught.value) == (
        "Nothing can be drawn from an improper prior, and there are 3: 'Intercept' (Flat()), 'sd(Intercept | Batch)' "
        "(BoxTiao(5) on the variance), 'sigma' (Reciprocal()). Give proper ones, for example priors={'Intercept': "
        "Normal(mean, sd), 'sd(Intercept | Batch)': HalfStudentT(3, scale), 'sigma': HalfStudentT(3, scale)}, or leave "
        "them out for the defaults, which are proper."
    )


def test_a_prior_too_wide_for_doubles_is_named():
    wide = InverseGamma(0.001, 0.001, on="variance")
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"), priors={"sd": wide})
    with pytest.raises(PriorError, match=r"draws of 'sd\(Intercept \| Batch\)' are beyond .* is nearly improper"):
        model.prior_predictive()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"draws": 0}, "draws is 0: give a whole number of at least 1"),
        ({"draws": 2.5}, "draws is 2.5"),
        ({"seed": -1}, "seed is -1: give a whole number of at least 0"),
        ({"draws": 10**8}, "with 180 rows that is 175.2 GB. Ask for at most"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.prior_predictive(**arguments)
