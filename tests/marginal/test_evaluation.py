import numpy as np
import pytest
from designs import A_FEW, KINDS, METHODS, SEEDS, SIGMAS, Case
from hypothesis import given

from bayesmm.covariance.layout import assemble_factors
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import Evaluated, conditional_covariances, evaluate

RELATIVE = 1e-9  # of the largest entry: rounding of well-conditioned designs, some hundred times over
NEAR_ZERO = 1e-6  # the same of second derivatives where Λ is singular, which is evaluated with singular values of 1e-8


def evaluate_case(case: Case, theta: np.ndarray | None = None) -> Evaluated:
    at = case.theta if theta is None else theta
    return evaluate(host, at, case.products, case.sigma, case.restriction, layout=case.design.layout)


def covariances_of(case: Case, found: Evaluated, theta: np.ndarray) -> list[np.ndarray]:
    if found.covariances is not None:
        return found.covariances
    factors = assemble_factors(np, theta, case.design.layout)
    return conditional_covariances(host, case.products, factors)


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = RELATIVE) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max(initial=0.0)))


@pytest.mark.parametrize(("shape", "fill"), KINDS)
@given(seed=SEEDS, method=METHODS, sigma=SIGMAS)
@A_FEW
def test_value_slopes_and_curvature_equal_dense_ones(shape, fill, seed, method, sigma) -> None:
    case = Case(shape, fill, seed, method, sigma)
    found, dense = evaluate_case(case), case.dense()
    assert found.value == pytest.approx(dense.value, rel=RELATIVE)
    assert_close(found.gradient, dense.gradient)
    assert_close(found.residual_square_gradient, dense.residual_square_gradient)
    assert_close(found.curvature, dense.average_information + dense.bend)
    assert (found.lacking is not None) == case.products.is_apart  # of few effects a level
    if found.lacking is not None:
        assert_close(found.curvature + found.lacking(), dense.hessian)


@pytest.mark.parametrize(("shape", "fill"), KINDS)
@given(seed=SEEDS, method=METHODS, sigma=SIGMAS)
@A_FEW
def test_moments_are_sums_over_levels_of_dense_ones(shape, fill, seed, method, sigma) -> None:
    case = Case(shape, fill, seed, method, sigma)
    found, dense = evaluate_case(case), case.dense()
    for f in range(len(case.design.blocks)):
        assert_close(found.expected[f], case.design.diagonal_blocks(dense.expected, f).sum(-1))
        assert_close(found.observed[f], case.design.diagonal_blocks(dense.observed, f).sum(-1))


@pytest.mark.parametrize(("shape", "fill"), KINDS)
@given(seed=SEEDS)
@A_FEW
def test_modes_and_conditional_covariances_equal_dense_ones(shape, fill, seed) -> None:
    case = Case(shape, fill, seed)
    found = evaluate_case(case)
    design, G = case.conditioned, case.design.covariance(case.theta)
    modes, covariance = design.dense.random_effects(G, 1.0), design.dense.random_effects_covariance(G, 1.0)
    for f, block in enumerate(design.blocks):
        of_factor = modes[design.offsets[f] : design.offsets[f + 1]]
        assert_close(found.modes[f], of_factor.reshape(block.n_levels, -1).T)
        assert_close(covariances_of(case, found, case.theta)[f], design.diagonal_blocks(covariance, f))


@pytest.mark.parametrize(("shape", "fill"), KINDS)
def test_zero_factors_have_the_value_moments_and_curvature_of_least_squares(shape, fill) -> None:
    case = Case(shape, fill, 11)
    zero = np.zeros(len(case.theta))
    found, dense = evaluate_case(case, zero), case.dense(zero)
    assert found.value == pytest.approx(dense.value, rel=RELATIVE)
    assert not found.gradient.any()
    assert_close(found.curvature, dense.bend)
    for f in range(len(case.design.blocks)):
        assert_close(found.expected[f], case.design.diagonal_blocks(dense.expected, f).sum(-1))
        assert_close(found.modes[f], np.zeros_like(found.modes[f]))
        covariances = covariances_of(case, found, zero)[f]
        assert_close(covariances, np.zeros_like(covariances))


@pytest.mark.parametrize(("shape", "fill"), KINDS)
def test_zeros_on_the_diagonal_are_ordinary_points(shape, fill) -> None:
    """One after the other, and every second one together: then columns of Λ are dependent."""
    case = Case(shape, fill, 12)
    for entries in (*case.diagonal, case.diagonal[::2], case.diagonal):
        theta = case.theta.copy()
        theta[entries] = 0.0
        found, dense = evaluate_case(case, theta), case.dense(theta)
        assert found.value == pytest.approx(dense.value, rel=RELATIVE)
        assert_close(found.gradient, dense.gradient)
        assert_close(found.curvature, dense.average_information + dense.bend, NEAR_ZERO)
        if found.lacking is not None:
            assert_close(found.curvature + found.lacking(), dense.hessian)
