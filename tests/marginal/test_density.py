import numpy as np
import pytest
from designs import RandomDesign, random_design
from programs import compiled, padded, prior_for

from bayesmm.marginal.in_jax.density import log_density

RELATIVE = 1e-9  # the engine and the oracle agree to rounding of well-conditioned designs


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
