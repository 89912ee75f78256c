import jax
import numpy as np
import pytest
from designs import RandomDesign, random_design
from programs import compiled, padded, prior_for

from bayesmm.marginal.in_jax.recovery import Moments, draw_effects, effect_moments

CLOSE = 1e-8  # the oracle inverts the covariance of all rows


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
