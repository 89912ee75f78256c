from dataclasses import replace

import jax
import numpy as np
import pytest
from designs import KINDS, Fill, RandomDesign, random_design
from programs import compiled

from bayesmm.marginal import traced
from bayesmm.marginal.crossproducts import CrossProducts
from bayesmm.marginal.density import FixedPrior, Moments, draw_effects, effect_moments, log_density, read_density
from bayesmm.marginal.fixed_prior import condition_prior
from bayesmm.marginal.likelihood import condition_factors, reduce_products
from bayesmm.marginal.padding import pad_products

RELATIVE = 1e-9  # the engine and the oracle agree to rounding of well-conditioned designs
CLOSE = 1e-8  # moments, of which the oracle inverts the covariance of all rows


def padded(design: RandomDesign) -> CrossProducts:
    return pad_products(design.products())


def prior_for(
    design: RandomDesign, kind: str, sampled: tuple[int, ...] = ()
) -> tuple[FixedPrior, np.ndarray, np.ndarray]:
    p = design.X.shape[1]
    root = np.random.default_rng(3).normal(size=(p, p)) + 2.0 * np.eye(p)
    mean, precision = (np.zeros(p), np.zeros((p, p))) if kind == "flat" else (np.linspace(-1, 2, p), root @ root.T)
    return condition_prior(padded(design), mean, precision, sampled), mean, precision


@pytest.mark.parametrize("kind", ["flat", "normal"])
@pytest.mark.parametrize("shape", ["one", "nested", "crossed", "partly"])
def test_log_density_equals_dense_marginal(shape: str, kind: str) -> None:
    design = random_design(shape, 5)
    theta, sigma = design.random_theta(4), 1.7
    prior, mean, precision = prior_for(design, kind)
    value = float(compiled(log_density, padded(design), design.factors(theta), sigma, prior))
    expected = design.dense.log_marginal_density(design.covariance(theta, sigma), sigma, mean, precision)
    assert value == pytest.approx(expected, rel=RELATIVE)


def test_log_density_with_every_coefficient_sampled_equals_dense_conditional() -> None:
    design = random_design("crossed", 5)
    theta, sigma = design.random_theta(4), 0.6
    p = design.X.shape[1]
    beta = np.linspace(4.0, 6.0, p)
    prior, _, _ = prior_for(design, "flat", tuple(range(p)))
    value = float(compiled(log_density, padded(design), design.factors(theta), sigma, prior, beta))
    expected = design.dense.log_conditional_density(beta, design.covariance(theta, sigma), sigma)
    assert value == pytest.approx(expected, rel=RELATIVE)


def wide_design(columns: int) -> RandomDesign:
    """Nested groups under more fixed effects than are factored without the library."""
    design = random_design("nested", 5)
    more = np.random.default_rng(8).normal(size=(len(design.y), columns - design.X.shape[1]))
    return RandomDesign(np.column_stack([design.X, more]), design.y, design.weights, design.blocks)


@pytest.mark.parametrize("columns", [5, 6, 9])
@pytest.mark.parametrize("kind", ["flat", "normal"])
def test_log_density_with_many_fixed_effects_equals_dense_marginal(kind: str, columns: int) -> None:
    design = wide_design(columns)
    theta, sigma = design.random_theta(4), 1.7
    prior, mean, precision = prior_for(design, kind)
    value = float(compiled(log_density, padded(design), design.factors(theta), sigma, prior))
    expected = design.dense.log_marginal_density(design.covariance(theta, sigma), sigma, mean, precision)
    assert value == pytest.approx(expected, rel=RELATIVE)


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


def test_sampling_one_coefficient_equals_moving_its_column_to_the_response() -> None:
    design = random_design("nested", 8)
    sampled = design.X.shape[1] - 1
    theta, sigma = design.random_theta(4), 0.9
    prior, _, _ = prior_for(design, "flat", (sampled,))
    value = float(compiled(log_density, padded(design), design.factors(theta), sigma, prior, np.array([1.3])))
    moved = RandomDesign(
        np.delete(design.X, sampled, axis=1), design.y - 1.3 * design.X[:, sampled], design.weights, design.blocks
    )
    expected = moved.dense.log_marginal_density(design.covariance(theta, sigma), sigma)
    assert value == pytest.approx(expected, rel=RELATIVE)


@pytest.mark.parametrize("kind", ["flat", "normal"])
@pytest.mark.parametrize("shape", ["nested", "partly"])
def test_draws_have_the_moments_of_the_dense_conditional(shape: str, kind: str) -> None:
    design = random_design(shape, 9, n=60)
    theta, sigma = 0.5 * design.random_theta(6), 1.4
    prior, mean, precision = prior_for(design, kind)
    products, factors = padded(design), design.factors(theta)

    def draw(key):
        effects = draw_effects(products, factors, sigma, prior, key)
        b = [b[: block.n_levels].ravel() for b, block in zip(effects.b, design.blocks, strict=True)]
        return jax.numpy.concatenate([effects.beta, *b])

    with jax.enable_x64(True):
        draws = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 40_000)))
    centre = compiled(lambda: draw_effects(products, factors, sigma, prior, None))
    expected, covariance = design.dense.joint_moments(design.covariance(theta, sigma), sigma, mean, precision)
    p = design.X.shape[1]
    np.testing.assert_allclose(np.asarray(centre.beta), expected[:p], rtol=1e-8, atol=1e-8)
    sd = np.sqrt(np.diag(covariance))
    assert np.abs((draws.mean(0) - expected) / sd).max() < 5.0 / np.sqrt(len(draws))
    correlation_error = (np.cov(draws.T) - covariance) / np.outer(sd, sd)
    assert np.abs(correlation_error).max() < 7.0 / np.sqrt(len(draws))


def levels_of(design: RandomDesign, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of all b as the columns of the dense Z are ordered."""
    means, variances = [], []
    for mean, variance, block in zip(moments.b_mean, moments.b_variance, design.blocks, strict=True):
        means.append(mean[: block.n_levels].ravel())
        variances.append(variance[: block.n_levels].ravel())
    return np.concatenate(means), np.concatenate(variances)


@pytest.mark.parametrize("kind", ["flat", "normal"])
@pytest.mark.parametrize("shape", ["one", "nested", "crossed", "partly"])
def test_effect_moments_equal_those_of_the_dense_conditional(shape: str, kind: str) -> None:
    design = random_design(shape, 9)
    theta, sigma = design.random_theta(6), 1.4
    prior, mean, precision = prior_for(design, kind)
    moments = compiled(effect_moments, padded(design), design.factors(theta), sigma, prior)
    expected, covariance = design.dense.joint_moments(design.covariance(theta, sigma), sigma, mean, precision)
    b_mean, b_variance = levels_of(design, moments)
    np.testing.assert_allclose(np.concatenate([moments.beta_mean, b_mean]), expected, rtol=CLOSE, atol=CLOSE)
    found = np.concatenate([moments.beta_variance, b_variance])
    np.testing.assert_allclose(found, np.diag(covariance), rtol=CLOSE, atol=CLOSE)


def test_effect_moments_given_a_sampled_coefficient_are_those_with_its_column_moved_to_the_response() -> None:
    design = random_design("nested", 8)
    sampled = design.X.shape[1] - 1
    theta, sigma = design.random_theta(4), 0.9
    prior, _, _ = prior_for(design, "flat", (sampled,))
    factors = design.factors(theta)
    moments = compiled(effect_moments, padded(design), factors, sigma, prior, np.array([1.3]))
    moved = RandomDesign(
        np.delete(design.X, sampled, axis=1), design.y - 1.3 * design.X[:, sampled], design.weights, design.blocks
    )
    expected, covariance = moved.dense.joint_moments(design.covariance(theta, sigma), sigma)
    b_mean, b_variance = levels_of(design, moments)
    mean = np.concatenate([np.delete(moments.beta_mean, sampled), b_mean])
    variance = np.concatenate([np.delete(moments.beta_variance, sampled), b_variance])
    np.testing.assert_allclose(mean, expected, rtol=CLOSE, atol=CLOSE)
    np.testing.assert_allclose(variance, np.diag(covariance), rtol=CLOSE, atol=CLOSE)
    assert moments.beta_mean[sampled] == pytest.approx(1.3)
    assert moments.beta_variance[sampled] == 0.0
