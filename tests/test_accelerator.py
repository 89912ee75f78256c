"""On JAX's accelerator, where there is one: the numbers are those of the processor."""

import jax
import numpy as np
import pytest

from bayesmm import Model, datasets
from bayesmm.priors import LKJ, HalfNormal

pytestmark = pytest.mark.skipif(jax.default_backend() == "cpu", reason="JAX finds no accelerator")

MODELS = {
    "one factor": ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    "nested": ("strength ~ 1 + (1 | batch/cask)", "Pastes"),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin"),
}
RELATIVE = 1e-9  # float64 on both


def model_of(name: str) -> Model:
    formula, data = MODELS[name]
    return Model(formula, datasets.load(data))


@pytest.mark.parametrize("name", MODELS)
def test_point_estimates_are_those_of_numpy(name: str) -> None:
    model = model_of(name)
    ours, theirs = model.fit(engine="jax"), model.fit()
    assert ours.loglik == pytest.approx(theirs.loglik, rel=RELATIVE)
    np.testing.assert_allclose(ours.parameters["estimate"], theirs.parameters["estimate"], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_the_log_density_and_its_gradient_are_those_of_the_processor(name: str) -> None:
    from numpyro.infer.util import initialize_model

    program, data = model_of(name).program("marginal")
    found = []
    for device in (jax.devices("cpu")[0], jax.devices()[0]):
        with jax.default_device(device), jax.enable_x64(True):
            begun = initialize_model(jax.random.key(0), program, model_args=(data,), dynamic_args=True)
            at = jax.tree.map(lambda x: 0.3 * np.ones_like(np.asarray(x)), begun.param_info.z)
            evaluate = jax.jit(jax.value_and_grad(begun.potential_fn(data)))
            found.append(jax.tree.map(np.asarray, evaluate(at)))
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, other, rtol=RELATIVE, atol=RELATIVE)


@pytest.mark.parametrize("options", [{}, {"method": "importance"}, {"program": "conditional"}], ids=str)
def test_draws_are_from_the_exact_posterior(options: dict) -> None:
    priors = {"sd": HalfNormal(30), "sigma": HalfNormal(50), "cor": LKJ(2)}
    model = Model("Reaction ~ Days + (Days | Subject)", datasets.load("sleepstudy"), priors=priors)
    exact = model.sample(method="quadrature", progress=False, random_effects="moments").parameters
    drawn = model.sample(seed=3, progress=False, tune=500, draws=1000, **options).parameters
    error = drawn["sd"] / np.sqrt(drawn["ess_bulk"])
    assert (np.abs(drawn["mean"] - exact["mean"]) < 5.0 * error).all()
    np.testing.assert_allclose(drawn["sd"], exact["sd"], rtol=0.15)
