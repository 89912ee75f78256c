import numpy as np
import pytest

from bayesmm import Model, datasets
from bayesmm.bayes.exploring.explorers import MOST_DRAWN, choose_effects
from bayesmm.bayes.exploring.moments import MomentSum
from bayesmm.priors import HalfNormal, Normal

FORMULA = "Yield ~ 1 + (1 | Batch)"
PRIORS = {"Intercept": Normal(1500, 250), "sd": HalfNormal(100), "sigma": HalfNormal(100)}
ERRORS = 5.0  # Monte Carlo standard errors; six effects, fixed seed


@pytest.fixture(scope="module")
def model():
    return Model(FORMULA, datasets.load("dyestuff"), priors=PRIORS)


@pytest.fixture(scope="module")
def summarised(model):
    return model.sample(draws=1500, chains=2, seed=4, method="importance", random_effects="moments")


@pytest.mark.parametrize("cuts", [(), (1,), (10, 11, 39), (20,)])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moment_sum_equals_the_moments_of_the_mixture_for_any_partition(cuts, offset):
    rng = np.random.default_rng(2)
    weights, means = rng.exponential(size=40), offset + rng.normal(size=(40, 3, 2))
    variances = rng.exponential(size=means.shape)
    total = MomentSum()
    for part in np.split(np.arange(40), cuts):
        total.add(weights[part], means[part], variances[part])
    mean = np.average(means, axis=0, weights=weights)
    second = np.average(variances + (means - mean) ** 2, axis=0, weights=weights)
    np.testing.assert_allclose(total.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(total.sd, np.sqrt(second), rtol=1e-9)


def test_moments_are_the_average_of_dense_conditional_moments(build, summarised):
    case = build(FORMULA, "dyestuff", priors=PRIORS)
    sd, sigma = summarised.draws("sd_Batch")[..., 0].ravel(), summarised.sigma.ravel()
    total = MomentSum()
    for sd_b, s in zip(sd, sigma, strict=True):
        G = case.dense_covariance([np.array([[sd_b]])])
        mean, covariance = case.dense.joint_moments(G, s, np.array([1500.0]), np.array([[1.0 / 250**2]]))
        total.add(np.ones(1), mean[None, 1:], np.diag(covariance)[None, 1:])
    table = summarised.random_effects()
    np.testing.assert_allclose(table["mean"], total.mean, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(table["sd"], total.sd, rtol=1e-7)


def test_moments_equal_those_of_many_draws(model, summarised):
    drawn = model.sample(draws=1500, chains=2, seed=4, method="importance", random_effects="draws")
    np.testing.assert_array_equal(drawn.sigma, summarised.sigma)  # the same draws of everything else
    table, expected = summarised.random_effects(), drawn.random_effects()
    assert list(table["level"]) == list(expected["level"])
    n = drawn.sigma.size
    error = (table["mean"] - expected["mean"]) / (expected["sd"] / np.sqrt(n))
    assert np.abs(error).max() < ERRORS
    np.testing.assert_allclose(table["sd"], expected["sd"], rtol=0.1)
    assert "b_Batch" not in summarised.data["posterior"]


def test_effects_are_drawn_unless_they_would_fill_the_memory(model):
    most = MOST_DRAWN // 6  # Dyestuff has six batches
    assert choose_effects("auto", model.labels, most) == "draws"
    assert choose_effects("auto", model.labels, most + 1) == "moments"
    assert choose_effects("draws", model.labels, most + 1) == "draws"
    assert choose_effects(None, model.labels, 1) is None


@pytest.mark.parametrize("wrong", ["all", "none", True])
def test_unknown_choice_of_effects_lists_the_choices(model, wrong):
    with pytest.raises(ValueError, match="give 'auto', 'draws', 'moments' or None"):
        model.sample(method="importance", random_effects=wrong)


def test_moments_chosen_for_the_user_are_told_in_a_note(model, monkeypatch):
    monkeypatch.setattr("bayesmm.bayes.exploring.explorers.MOST_DRAWN", 100)
    posterior = model.sample(draws=1500, chains=2, seed=4, method="importance")
    assert "b_Batch" not in posterior.data["posterior"]
    assert any("random_effects='draws'" in note for note in posterior.notes)
    assert len(posterior.random_effects()) == 6
