import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import uniform

from bayesmm import Model, datasets
from bayesmm.bayes.checks.calibration import DOUBTFUL, calibrate, uniformity_p_value
from bayesmm.errors import PriorError
from bayesmm.priors import Flat, HalfNormal, Normal

FORMULA = "Yield ~ 1 + (1 | Batch)"
PRIORS = {"Intercept": Normal(1500, 250), "sd": HalfNormal(100), "sigma": HalfNormal(100)}
SIMULATIONS = 40


@pytest.fixture(scope="module")
def model():
    return Model(FORMULA, datasets.load("dyestuff"), priors=PRIORS)


@pytest.fixture(scope="module")
def calibration(model):
    return model.calibrate(SIMULATIONS, method="importance", seed=1)


def test_p_values_of_uniform_samples_are_roughly_uniform():
    rng = np.random.default_rng(5)
    p_values = np.array([uniformity_p_value(rng.random(60)) for _ in range(400)])
    levels = np.linspace(0.05, 0.95, 19)
    shares = (p_values[:, None] <= levels).mean(axis=0)
    band = 4.0 * np.sqrt(levels * (1.0 - levels) / len(p_values))
    assert (np.abs(shares - uniform.cdf(levels)) < band).all()


@pytest.mark.parametrize("bend", [lambda u: u**2, np.sqrt, lambda u: 0.25 + u / 2.0])
def test_samples_that_are_not_uniform_have_tiny_p_values(bend):
    assert uniformity_p_value(bend(np.random.default_rng(7).random(100))) < 0.001


def test_p_value_does_not_depend_on_the_order():
    values = np.random.default_rng(8).random(50)
    assert uniformity_p_value(values) == uniformity_p_value(values[::-1])


def test_right_sampler_is_calibrated(calibration):
    assert calibration.is_calibrated
    assert calibration.untrusted <= SIMULATIONS // 10
    assert "uniform as far as" in str(calibration)


def test_every_parameter_one_effect_and_the_likelihood_are_ranked(calibration):
    quantities = ["Intercept", "sd(Intercept | Batch)", "sigma", "b(Intercept | Batch)", "log-likelihood"]
    assert list(calibration.ranks) == quantities
    assert list(calibration.p_values.index) == quantities
    assert len(calibration.ranks) == SIMULATIONS
    assert ((calibration.ranks > 0) & (calibration.ranks < 1)).to_numpy().all()


def test_ranks_are_given_to_arviz(calibration):
    group = calibration.to_datatree()["prior_sbc"]
    assert list(group.data_vars) == list(calibration.ranks)
    assert group["sigma"].dims == ("chain", "draw")
    np.testing.assert_array_equal(group["sigma"].to_numpy()[0], calibration.ranks["sigma"])


def test_posterior_under_other_priors_than_simulated_is_found_out(model):
    data = datasets.load("dyestuff")

    def sample_otherwise(problem, seed, times):
        wrong = Model(FORMULA, data.assign(Yield=problem.design.y), priors=PRIORS | {"sigma": HalfNormal(15)})
        return wrong.sample(draws=250, seed=seed, method="importance")

    found = calibrate(model.problem, model.priors, sample_otherwise, simulations=SIMULATIONS, seed=1, way="wrong")
    assert not found.is_calibrated
    assert found.p_values["sigma"] < DOUBTFUL / len(found.p_values)
    assert found.ranks["sigma"].mean() > 0.6  # true values lie above draws that are too small
    assert "not uniform" in str(found)


def test_runs_too_short_to_rank_go_on_until_they_are_not(model):
    asked, lengths = 12, []  # 4 x 12 and 4 x 48 draws are fewer than are ranked, 4 x 192 are enough
    data = datasets.load("dyestuff")

    def sample_briefly(problem, seed, times):
        lengths.append(times)
        again = Model(FORMULA, data.assign(Yield=problem.design.y), priors=PRIORS)
        with warnings.catch_warnings(action="ignore"):
            return again.sample(draws=times * asked, seed=seed, method="importance")

    found = calibrate(model.problem, model.priors, sample_briefly, simulations=10, seed=1, way="short")
    assert lengths == [1, 4, 16] * 10
    assert (found.continued, found.untrusted) == (10, 0)
    assert "10 of 10 posteriors needed more draws" in str(found)


def test_what_more_draws_do_not_mend_is_not_drawn_again(model, monkeypatch):
    posterior, seen = model.sample(draws=250, seed=1, method="importance"), []
    bad = replace(posterior.diagnostics, divergences=3, ess=10.0)
    monkeypatch.setitem(vars(posterior), "diagnostics", bad)

    def sample_badly(problem, seed, times):
        seen.append(times)
        return posterior

    found = calibrate(model.problem, model.priors, sample_badly, simulations=10, seed=1, way="divergent")
    assert seen == [1] * 10
    assert (found.continued, found.untrusted) == (0, 10)


@pytest.mark.parametrize("simulations", [5, 20.0, True])
def test_too_few_simulations_are_refused(model, simulations):
    with pytest.raises(ValueError, match="whole number of at least 10"):
        model.calibrate(simulations, method="importance")


def test_improper_priors_cannot_be_calibrated():
    model = Model(FORMULA, datasets.load("dyestuff"), priors=PRIORS | {"Intercept": Flat()})
    with pytest.raises(PriorError, match="Intercept"):
        model.calibrate(10, method="importance")
