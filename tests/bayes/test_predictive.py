import arviz as az
import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior, normal_draws

from bayesmm import Model, datasets
from bayesmm.bayes.results.draws import read_draws
from bayesmm.design.predictors import build_predictors
from bayesmm.errors import PredictionError

ROUGHLY = 0.1  # relative error of a standard deviation from 4000 draws, with a wide margin


@pytest.fixture(scope="module")
def sleep():
    return make_posterior(Model("Reaction ~ Days + (Days | Subject)", datasets.load("sleepstudy")))


@pytest.fixture(scope="module")
def weighted():
    data = datasets.load("sleepstudy")
    data["w"] = np.where(data["Days"] < 5, 1.0, 4.0)
    return make_posterior(Model("Reaction ~ Days + (1 | Subject)", data, weights="w"))


def test_observations_are_the_expected_response_and_a_residual(sleep):
    tree = sleep.posterior_predictive(seed=4)
    drawn = tree["posterior_predictive"]["y"]
    assert drawn.dims == ("chain", "draw", "obs")
    mean = build_predictors(sleep.design).mean(sleep.beta, sleep.effects)
    z = (drawn.to_numpy() - mean) / sleep.sigma[..., None]
    assert abs(z.mean()) < 0.01
    assert z.std() == pytest.approx(1.0, abs=0.01)
    assert abs(np.corrcoef(z[..., 0].ravel(), z[..., 1].ravel())[0, 1]) < 0.1
    np.testing.assert_array_equal(tree["observed_data"]["y"], sleep.design.y)


def test_a_seed_reproduces_observations_and_another_does_not(sleep):
    one, same, other = (sleep.posterior_predictive(seed=seed, draws=40) for seed in (1, 1, 2))
    assert one["posterior_predictive"].equals(same["posterior_predictive"])
    assert not one["posterior_predictive"].equals(other["posterior_predictive"])
    assert dict(one["posterior_predictive"].sizes) == {"chain": 4, "draw": 10, "obs": 180}


def test_with_predictive_leaves_the_posterior_as_it_was(sleep):
    full = sleep.with_predictive(seed=1)
    assert "posterior_predictive" not in sleep.data
    assert {*sleep.data.children, "posterior_predictive"} == {*full.data.children}
    assert full.data["posterior"].equals(sleep.data["posterior"])
    assert full.parameters.equals(sleep.parameters)


def test_arviz_plots_predictive_checks(sleep):
    import matplotlib.pyplot as plt

    az.plot_ppc_dist(sleep.posterior_predictive(draws=40), num_samples=10, backend="matplotlib")
    plt.close("all")


def test_residuals_follow_the_weights(weighted):
    z = weighted.posterior_predictive()["posterior_predictive"]["y"].to_numpy()
    z = (z - build_predictors(weighted.design).mean(weighted.beta, weighted.effects)) / weighted.sigma[..., None]
    assert z[..., weighted.design.weights == 1].std() == pytest.approx(1.0, abs=0.01)
    assert z[..., weighted.design.weights == 4].std() == pytest.approx(0.5, abs=0.01)


def test_intervals_of_observations_hold_the_residual(sleep):
    new = pd.DataFrame({"Days": [1.0, 4.0, np.nan], "Subject": ["308", "309", "310"]})
    mean, observed = sleep.predict(new), sleep.predict(new, kind="observation")
    np.testing.assert_allclose(observed["mean"][:2], mean["mean"][:2], atol=2.0)
    expected = np.sqrt(mean["sd"] ** 2 + (sleep.sigma**2).mean())
    np.testing.assert_allclose(observed["sd"][:2], expected[:2], rtol=ROUGHLY)
    assert observed.iloc[2].isna().all()
    assert mean.iloc[2].isna().all()


def test_effects_of_new_levels_are_drawn_from_their_distribution(sleep):
    new = pd.DataFrame({"Days": [0.0, 5.0], "Subject": ["somebody", "somebody"]})
    drawn = sleep.predict(new, new_levels="sample")
    population = sleep.predict(new, new_levels="population")
    z = np.array([[1.0, 0.0], [1.0, 5.0]])
    (covariance,) = read_draws(sleep).covariances
    variance = np.einsum("ri,dij,rj->dr", z, covariance, z).mean(axis=0)
    np.testing.assert_allclose(drawn["mean"], population["mean"], atol=5.0)
    np.testing.assert_allclose(drawn["sd"], np.sqrt(population["sd"] ** 2 + variance), rtol=ROUGHLY)


def test_rows_of_one_new_level_share_its_effects_and_of_two_do_not(sleep):
    new = pd.DataFrame({"Days": [0.0] * 4, "Subject": ["x", "x", "y", None]})
    posterior = make_posterior(
        Model("Reaction ~ 1 + (1 | Subject)", datasets.load("sleepstudy")),
        {"sigma": normal_draws(1e-6, 1e-9, np.random.default_rng(0))},
    )
    tree = posterior.posterior_predictive(new, new_levels="sample")
    y = tree["posterior_predictive"]["y"].to_numpy().reshape(-1, 4) - posterior.beta.reshape(-1, 1)
    correlation = np.corrcoef(y.T)
    assert correlation[0, 1] > 0.999
    assert np.abs(correlation[[0, 0, 2], [2, 3, 3]]).max() < 0.1
    np.testing.assert_allclose(y.std(axis=0), posterior.draws("sd_Subject").mean(), rtol=ROUGHLY)
    assert "observed_data" not in tree


def test_known_levels_keep_their_effects_beside_new_ones(sleep):
    new = pd.DataFrame({"Days": [3.0, 3.0], "Subject": ["308", "z"]})
    known = sleep.predict(new.iloc[:1])
    pd.testing.assert_frame_equal(sleep.predict(new, new_levels="sample").iloc[:1], known)
    assert sleep.predict(new, random="none", new_levels="sample").loc[1, "sd"] < known["sd"][0]


def test_the_words_of_a_fit_say_which_interval(sleep):
    new = pd.DataFrame({"Days": [1.0], "Subject": ["308"]})
    for interval, kind in (("confidence", "mean"), ("prediction", "observation")):
        pd.testing.assert_frame_equal(sleep.predict(new, interval=interval), sleep.predict(new, kind=kind))
    with pytest.raises(ValueError, match="interval='confidence' is of the expected response"):
        sleep.predict(new, interval="confidence", kind="observation")
    with pytest.raises(PredictionError, match="interval is 'credible': give 'confidence'"):
        sleep.predict(new, interval="credible")


def test_weights_of_new_rows_are_read_where_their_column_is(weighted):
    new = pd.DataFrame({"Days": [1.0, 2.0], "Subject": ["308", "309"], "w": [1.0, 100.0]})
    read = weighted.predict(new, interval="prediction")
    pd.testing.assert_frame_equal(read, weighted.predict(new, interval="prediction", weights=[1.0, 100.0]))


def test_wrong_arguments_are_answered(sleep, weighted):
    new = pd.DataFrame({"Days": [1.0, 2.0], "Subject": ["308", "309"]})
    with pytest.raises(ValueError, match="kind is 'response': give 'mean' or 'observation'"):
        sleep.predict(new, kind="response")
    with pytest.raises(PredictionError, match="new_levels is 'new'"):
        sleep.predict(new, new_levels="new")
    with pytest.raises(PredictionError, match="The model has prior weights: say what the weights of the new rows are"):
        weighted.predict(new, kind="observation")
    with pytest.raises(PredictionError, match="weights must be positive numbers, one or 2"):
        weighted.predict(new, kind="observation", weights=[1.0, 2.0, 3.0])
    with pytest.raises(PredictionError, match="weights are for new data"):
        weighted.predict(kind="observation", weights=1.0)
    heavy = weighted.predict(new, kind="observation", weights=100.0)["sd"]
    light = weighted.predict(new, kind="observation", weights=[1.0, 1.0])["sd"]
    assert (heavy < light / 1.5).all()
    assert weighted.predict(new)["sd"].notna().all()


def test_simulated_levels_are_related_as_those_of_the_model():
    names = [f"g{i}" for i in range(8)]
    A = pd.DataFrame(np.kron(np.eye(4), [[1.0, 0.999], [0.999, 1.0]]), names, names)
    data = pd.DataFrame({"g": np.repeat(names, 40), "y": np.random.default_rng(1).normal(size=320)})
    posterior = make_posterior(Model("y ~ 1 + (1 | rel(g, A))", data, relations={"A": A}, sigma=0.01))
    means = posterior.simulate(100, seed=1).to_numpy().reshape(8, 40, 100).mean(axis=1)
    assert (means[0] - means[1]).std() < 0.1 * (means[0] - means[2]).std()
