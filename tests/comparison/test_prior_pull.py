"""How far priors move posterior means."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
from made_posterior import SHAPE, make_posterior

import bayesmm as bmm
from bayesmm.bayes.programs.distributions import distribution
from bayesmm.comparison.prior_pull import prior_jacobian, prior_pull
from bayesmm.specification import priors

STEP = 1e-5  # of central differences in float64; their error is far below TOLERANCE
TOLERANCE = 1e-6

ON_COEFFICIENTS = [
    priors.Normal(1.0, 2.0),
    priors.StudentT(4.0, 1.0, 2.0),
    priors.Cauchy(1.0, 2.0),
    priors.Laplace(1.0, 2.0),
    priors.Flat(),
]
ON_SPREADS = [
    priors.HalfNormal(20.0),
    priors.HalfStudentT(3.0, 20.0),
    priors.HalfCauchy(20.0),
    priors.Exponential(0.1),
    priors.Gamma(2.0, 0.1),
    priors.InverseGamma(2.0, 30.0),
    priors.LogNormal(3.0, 1.0),
    priors.Uniform(0.0, 100.0),
    priors.InverseGamma(2.0, 300.0, on="variance"),
    priors.Flat(on="variance"),
    priors.Flat(),
]


@pytest.fixture(scope="module")
def sleep():
    return bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))


def log_density(prior, x):
    """log p(x), constants and all, of the quantity in the table."""
    if isinstance(prior, priors.Flat):
        return 0.0 if prior.stated_for == "sd" else np.log(2.0 * x)
    at = x if prior.stated_for == "sd" else x**2
    with jax.enable_x64(True):
        value = float(distribution(prior.family, prior.numbers, (), "real line").log_prob(np.float64(at)))
    return value if prior.stated_for == "sd" else value + np.log(2.0 * x)


def difference(prior, x):
    return (log_density(prior, x + STEP) - log_density(prior, x - STEP)) / (2.0 * STEP)


@pytest.mark.parametrize("prior", ON_COEFFICIENTS, ids=str)
def test_slope_of_a_coefficients_prior_is_that_of_its_log_density(sleep, prior):
    posterior = make_posterior(sleep, priors={"fixed": priors.Normal(0.0, 3.0), "Days": prior})
    values = sleep.fit().parameters["estimate"]
    slopes = pd.Series(prior_jacobian(posterior.priors, posterior.labels, values).sum(axis=1), index=values.index)
    assert slopes["Days"] == pytest.approx(difference(prior, values["Days"]), abs=TOLERANCE)
    assert slopes["Intercept"] == pytest.approx(-values["Intercept"] / 9.0)


@pytest.mark.parametrize("prior", ON_SPREADS, ids=str)
def test_slope_of_a_spreads_prior_is_that_of_its_log_density(sleep, prior):
    posterior = make_posterior(sleep, priors={"sd": prior, "sigma": prior})
    values = sleep.fit().parameters["estimate"]
    slopes = pd.Series(prior_jacobian(posterior.priors, posterior.labels, values).sum(axis=1), index=values.index)
    for name in ("sd(Intercept | Subject)", "sd(Days | Subject)", "sigma"):
        assert slopes[name] == pytest.approx(difference(prior, values[name]), abs=TOLERANCE)


GIVEN_SIGMA = {
    priors.Beta(2.0, 3.0): lambda sd, sigma: (
        np.log(sd**2 / (sd**2 + sigma**2))
        + 2.0 * np.log(sigma**2 / (sd**2 + sigma**2))
        + np.log(2.0 * sd * sigma**2 / (sd**2 + sigma**2) ** 2)
    ),
    priors.BoxTiao(10.0): lambda sd, sigma: np.log(2.0 * sd) - np.log(sigma**2 + 10.0 * sd**2),
}


@pytest.mark.parametrize("prior", GIVEN_SIGMA, ids=str)
def test_slope_of_a_prior_given_sigma_is_taken_by_both(sleep, prior):
    posterior = make_posterior(
        sleep,
        priors={"sd(Days | Subject)": prior, "sd(Intercept | Subject)": priors.Flat(), "sigma": priors.Reciprocal()},
    )
    values = sleep.fit().parameters["estimate"]
    slopes = pd.Series(prior_jacobian(posterior.priors, posterior.labels, values).sum(axis=1), index=values.index)
    sd, sigma, log = values["sd(Days | Subject)"], values["sigma"], GIVEN_SIGMA[prior]
    by_sd = (log(sd + STEP, sigma) - log(sd - STEP, sigma)) / (2.0 * STEP)
    by_sigma = (log(sd, sigma + STEP) - log(sd, sigma - STEP)) / (2.0 * STEP)
    assert slopes["sd(Days | Subject)"] == pytest.approx(by_sd, abs=TOLERANCE)
    assert slopes["sigma"] == pytest.approx(by_sigma - 1.0 / sigma, abs=TOLERANCE)


def test_every_family_of_priors_is_covered_here():
    covered = {type(prior) for prior in [*ON_COEFFICIENTS, *ON_SPREADS, *GIVEN_SIGMA]} | {priors.LKJ, priors.Reciprocal}
    assert covered == set(priors.PRIORS)


def test_default_prior_of_the_intercept_is_about_the_mean_response(sleep):
    posterior = make_posterior(sleep)
    values = sleep.fit().parameters["estimate"]
    slopes = prior_jacobian(posterior.priors, posterior.labels, values).sum(axis=1)
    rows = {row.name: row.prior for row in posterior.priors.rows}
    at_mean = values["Intercept"] + sleep.design.frame["Days"].mean() * values["Days"]
    on_mean = -(at_mean - rows["Intercept"].mean) / rows["Intercept"].sd ** 2
    on_days = -(values["Days"] - rows["Days"].mean) / rows["Days"].sd ** 2
    np.testing.assert_allclose(slopes[:2], [on_mean, on_days + 4.5 * on_mean], rtol=1e-9)


def test_slopes_of_lkj_are_those_of_the_log_determinant():
    data = bmm.datasets.load("sleepstudy").assign(late=lambda d: (d["Days"] > 4) * 1.0)
    model = bmm.Model("Reaction ~ Days + (Days + late | Subject)", data)
    posterior = make_posterior(model, priors={"cor": priors.LKJ(4.0)})
    cors = [row.name for row in model.labels.parameter_rows() if row.kind == "cor"]
    values = model.fit().parameters["estimate"].copy()
    values[cors] = [0.3, -0.2, 0.4]

    def log_prior(r):
        R = np.array([[1.0, r[0], r[1]], [r[0], 1.0, r[2]], [r[1], r[2], 1.0]])
        return 3.0 * np.linalg.slogdet(R)[1]

    steps = STEP * np.eye(3)
    at = values[cors].to_numpy()
    expected = [(log_prior(at + step) - log_prior(at - step)) / (2.0 * STEP) for step in steps]
    slopes = pd.Series(prior_jacobian(posterior.priors, posterior.labels, values).sum(axis=1), index=values.index)
    np.testing.assert_allclose(slopes[cors], expected, atol=TOLERANCE)


def test_pull_is_exact_where_likelihood_and_priors_are_normal(sleep):
    declared = {"Intercept": priors.Normal(200.0, 5.0), "Days": priors.Normal(0.0, 2.0)}
    fit = sleep.fit()
    covariance, estimate = fit.estimate.beta_covariance, fit.estimate.beta
    prior_mean, prior_precision = np.array([200.0, 0.0]), np.diag([1 / 25.0, 1 / 4.0])
    posterior_covariance = np.linalg.inv(np.linalg.inv(covariance) + prior_precision)
    mean = posterior_covariance @ (np.linalg.inv(covariance) @ estimate + prior_precision @ prior_mean)
    z = np.random.default_rng(3).standard_normal((SHAPE[0] * SHAPE[1], 2))
    z -= z.mean(axis=0)
    z = np.linalg.solve(np.linalg.cholesky(np.cov(z, rowvar=False)), z.T).T
    draws = mean + z @ np.linalg.cholesky(posterior_covariance).T
    model = bmm.Model(sleep.specification.formula, bmm.datasets.load("sleepstudy"))
    posterior = make_posterior(model, priors=declared)
    only_fixed = dataclasses.replace(
        posterior.priors, rows=posterior.priors.of_kind("fixed"), pieces=(), contrast=posterior.priors.contrast
    )
    pulls = prior_pull(dataclasses.replace(posterior, priors=only_fixed), fit.parameters["estimate"].iloc[:2], draws)
    np.testing.assert_allclose(pulls.sum(axis=1), (mean - estimate) / np.sqrt(np.diag(posterior_covariance)), rtol=1e-9)
