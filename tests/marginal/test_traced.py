from dataclasses import replace

import jax
import numpy as np
import pytest
from designs import Fill, random_design
from programs import compiled, traced_criterion

from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.likelihood import criterion

RELATIVE = 1e-9  # of the largest entry


@pytest.mark.parametrize(
    ("shape", "fill", "sigma"), [("nested", "chosen", None), ("crossed", "product", 1.7), ("cells", "scatter", None)]
)
def test_automatic_hessian_equals_the_dense_one(shape: str, fill: Fill, sigma: float | None) -> None:
    """Through the derivative rules of our own for the Schur step, twice."""
    design = random_design(shape, 8, n=40, most_effects=2)
    theta, products = design.random_theta(2), design.products(fill)
    program = jax.hessian(traced_criterion(design.layout, sigma))
    for method in ("reml", "ml"):
        hessian = compiled(program, theta, products, float(method == "reml"))
        expected = design.conditioned(products).derivatives(theta, method, sigma).hessian
        np.testing.assert_allclose(hessian, expected, rtol=0, atol=RELATIVE * np.abs(expected).max())


@pytest.mark.parametrize(("shape", "fill"), [("clustered", "scatter"), ("three", "product")])
def test_a_batch_of_parameters_equals_one_after_the_other(shape: str, fill: Fill) -> None:
    design = random_design(shape, 8, n=40, most_effects=2)
    thetas, products = np.array([design.random_theta(seed) for seed in range(3)]), design.products(fill)
    batched = jax.vmap(traced_criterion(design.layout), in_axes=(0, None, None))
    values = compiled(batched, thetas, products, 1.0)
    expected = [criterion(host, theta, products, None, 1.0, layout=design.layout) for theta in thetas]
    np.testing.assert_allclose(values, expected, rtol=RELATIVE)


@pytest.mark.parametrize(("shape", "fill"), [("deep", "chosen"), ("islands", "scatter"), ("senders", "product")])
def test_a_batch_of_responses_equals_one_after_the_other(shape: str, fill: Fill) -> None:
    """As in a bootstrap: only the response's part of the cross-products changes."""
    design = random_design(shape, 8, n=40, most_effects=2)
    theta, products = design.random_theta(2), design.products(fill)
    rng = np.random.default_rng(1)
    replicates = [replace(design, y=rng.normal(size=40)).products(fill) for _ in range(3)]
    crosses = [np.array([each.cross[f] for each in replicates]) for f in range(len(design.blocks))]
    grams = np.array([each.gram for each in replicates])
    value = traced_criterion(design.layout)
    batched = jax.vmap(lambda cross, gram: value(theta, replace(products, cross=cross, gram=gram), 1.0))
    expected = [criterion(host, theta, each, None, 1.0, layout=design.layout) for each in replicates]
    np.testing.assert_allclose(compiled(batched, tuple(crosses), grams), expected, rtol=RELATIVE)
