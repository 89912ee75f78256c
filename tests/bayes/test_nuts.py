"""The driver on plain NumPyro models with known posteriors."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats as st

from bayesmm.bayes.exploring.nuts import run_nuts
from bayesmm.bayes.exploring.run import Settings
from bayesmm.errors import BayesmmError

ERRORS = 4.5  # Monte Carlo standard errors, with a third of the draws counted as independent


def normal_model(data):
    """Conjugate: known noise, normal prior; and a positive site with nothing to learn about."""
    mean = numpyro.sample("mean", dist.Normal(jnp.zeros(2), 1e6).to_event(1))
    numpyro.sample("positive", dist.HalfNormal(3.0))
    numpyro.sample("y", dist.Normal(mean[0] + mean[1] * data["x"], 0.5), obs=data["y"])


@pytest.fixture(scope="module")
def line():
    rng = np.random.default_rng(1)
    x = np.linspace(1000.0, 1010.0, 40)  # far from its origin, so that intercept and slope are nearly collinear
    return {"x": x, "y": 5.0 + 2.0 * x + rng.normal(scale=0.5, size=40)}


@pytest.fixture(scope="module")
def run(line):
    return run_nuts(normal_model, line, settings=Settings(draws=1000, tune=500, seed=4), small={"positive": 1.0})


def test_draws_have_the_moments_of_a_conjugate_posterior(run, line):
    X = np.column_stack([np.ones(40), line["x"]])
    covariance = 0.25 * np.linalg.inv(X.T @ X)
    mean, sd = np.linalg.solve(X.T @ X, X.T @ line["y"]), np.sqrt(np.diag(covariance))
    draws = run.sites["mean"].reshape(-1, 2)
    bound = ERRORS / np.sqrt(len(draws) / 3)
    np.testing.assert_allclose((draws.mean(0) - mean) / sd, 0.0, atol=bound)
    np.testing.assert_allclose(draws.std(0) / sd, 1.0, atol=bound)


def test_a_positive_site_bent_near_zero_keeps_its_distribution(run):
    """At zero the density is highest: where bending the coordinate could go wrong."""
    u = st.halfnorm(scale=3.0).cdf(run.sites["positive"].ravel()[::4])
    assert st.kstest(u, "uniform").pvalue > 0.01
    assert run.sites["positive"].min() < 0.01


def test_statistics_have_arviz_names_and_shapes(run):
    assert set(run.stats) == {
        "diverging",
        "energy",
        "lp",
        "n_steps",
        "tree_depth",
        "reached_max_tree_depth",
        "acceptance_rate",
        "step_size",
    }
    assert {values.shape for values in run.stats.values()} == {(4, 1000)}
    assert (2 ** run.stats["tree_depth"] > run.stats["n_steps"]).all()
    assert not run.stats["diverging"].any()


def test_draws_are_numpy_doubles_and_the_global_flag_is_untouched(run):
    assert {type(values) for values in run.sites.values()} == {np.ndarray}
    assert {values.dtype for values in run.sites.values()} == {np.dtype(np.float64)}
    assert not jax.config.jax_enable_x64


def test_the_global_flag_makes_no_difference(run, line):
    with jax.enable_x64(True):
        again = run_nuts(normal_model, line, settings=Settings(draws=1000, tune=500, seed=4), small={"positive": 1.0})
    np.testing.assert_array_equal(again.sites["mean"], run.sites["mean"])


def test_the_watcher_hears_of_every_chunk(line):
    heard = []
    settings = Settings(draws=60, tune=100, chains=2, seed=1)
    run = run_nuts(normal_model, line, settings=settings, watch=lambda done, divergences: heard.append(done))
    assert heard == [50, 100, 150, 160]
    assert run.sites["mean"].shape == (2, 60, 2)


def test_generated_quantities_come_with_the_sites(line):
    def generate(model, sites, data, key):
        return {"noise": jax.random.normal(key), "at_x": sites["mean"][0] + sites["mean"][1] * data["x"][0]}

    run = run_nuts(normal_model, line, settings=Settings(draws=100, tune=100, chains=2, seed=1), generate=generate)
    expected = run.sites["mean"][..., 0] + run.sites["mean"][..., 1] * line["x"][0]
    np.testing.assert_allclose(run.sites["at_x"], expected, rtol=1e-12)
    assert len(np.unique(run.sites["noise"])) == 200


def test_a_start_outside_the_posterior_is_refused():
    def impossible(data):
        x = numpyro.sample("x", dist.Normal(0.0, 1.0))
        numpyro.factor("nowhere", jnp.where(x < jnp.inf, -jnp.inf, 0.0) + data["x"][0])

    with pytest.raises(BayesmmError, match="no density at the start"):
        run_nuts(impossible, {"x": np.zeros(1)}, settings=Settings(draws=10, tune=10, chains=2))
