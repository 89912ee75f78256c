from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from designs import KINDS, Fill, random_design
from programs import compiled, padded, prior_for

from bayesmm.marginal.in_jax import traced
from bayesmm.marginal.in_jax.density import _complete_square, log_density, read_density
from bayesmm.marginal.in_jax.fixed_prior import condition_prior
from bayesmm.marginal.in_jax.padding import pad_products
from bayesmm.marginal.likelihood.likelihood import condition_factors, reduce_products

RELATIVE = 1e-9  # two ways to differentiate one function agree to rounding


@pytest.mark.parametrize(("shape", "fill", "sampled"), [*((*kind, ()) for kind in KINDS), ("crossed", "chosen", (0,))])
def test_gradient_in_closed_form_equals_automatic_differentiation(
    shape: str, fill: Fill, sampled: tuple[int, ...]
) -> None:
    """Also where factors are singular, or zero; the elimination itself is held to the dense oracle elsewhere."""
    design = random_design(shape, 12, n=50, most_effects=2)
    products, p = pad_products(design.products(fill)), design.X.shape[1]
    prior = condition_prior(products, np.zeros(p), np.eye(p), sampled)
    beta = np.linspace(1.0, 2.0, len(sampled)) if sampled else None

    def through_steps(factors, sigma):
        reduced = reduce_products(traced, products, condition_factors(traced, products, factors))
        return read_density(reduced, sigma, prior, beta, n=products.n, log_weights=products.log_weights)

    def closed_form(factors, sigma):
        return log_density(products, factors, sigma, prior, beta)

    theta = design.random_theta(2)
    factors = [design.factors(at) for at in (theta, theta * (np.arange(len(theta)) % 2), np.zeros_like(theta))]
    stacked = [np.stack(of_factor) for of_factor in zip(*factors, strict=True)]
    gradients = [jax.vmap(jax.grad(f, argnums=(0, 1)), in_axes=(0, None)) for f in (closed_form, through_steps)]
    found, expected = (compiled(gradient, stacked, 1.3) for gradient in gradients)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=RELATIVE * max(np.abs(other).max(), 1.0))


def test_second_derivatives_go_through_the_closed_form() -> None:
    design = random_design("crossed", 12, n=50, most_effects=2)
    products, p = padded(design), design.X.shape[1]
    prior = condition_prior(products, np.zeros(p), np.eye(p), ())
    factors = design.factors(design.random_theta(2))

    def closed_form(factors):
        return log_density(products, factors, 1.3, prior)

    def through_steps(factors):
        reduced = reduce_products(traced, products, condition_factors(traced, products, factors))
        return read_density(reduced, 1.3, prior, None, n=products.n, log_weights=products.log_weights)

    found, expected = (compiled(jax.hessian(f), factors) for f in (closed_form, through_steps))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=RELATIVE * max(np.abs(other).max(), 1.0))


def test_derivatives_with_respect_to_the_data_are_refused() -> None:
    design = random_design("one", 5)
    prior, _, _ = prior_for(design, "flat")
    products, factors = padded(design), design.factors(design.random_theta(4))
    with pytest.raises(NotImplementedError, match="not to the data"):
        jax.grad(lambda gram: log_density(replace(products, gram=gram), factors, 1.0, prior))(products.gram)


@pytest.mark.parametrize("size", [2, 7])  # written out, and by the library
def test_squares_are_completed_with_their_derivatives(size: int) -> None:
    root = np.random.default_rng(size).normal(size=(size, size + 2))
    Q, h = root @ root.T, root.sum(axis=1)

    def textbook(Q, h):
        return jnp.linalg.slogdet(Q)[1], h @ jnp.linalg.solve(Q, h)

    def both(complete):
        return lambda Q, h: (complete(Q, h), *jax.jacrev(complete, argnums=(0, 1))(Q, h))

    found, expected = (compiled(both(complete), Q, h) for complete in (_complete_square, textbook))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=RELATIVE, atol=RELATIVE)
