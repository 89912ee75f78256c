"""The oracle against textbook identities that it does not use itself."""

import numpy as np
import pytest
from oracle import DenseModel, block_diagonal, level_covariance, random_columns


@pytest.fixture
def model():
    rng = np.random.default_rng(1)
    n, x = 40, rng.normal(size=40)
    g, h = rng.integers(0, 6, n), rng.integers(0, 4, n)
    Z = np.hstack([random_columns(g, np.column_stack([np.ones(n), x]), 6), random_columns(h, np.ones(n), 4)])
    X = np.column_stack([np.ones(n), x, rng.normal(size=n)])
    return DenseModel(y=rng.normal(size=n) + x, X=X, Z=Z, weights=rng.uniform(0.5, 2, n))


@pytest.fixture(name="G")
def random_covariance():
    return block_diagonal([level_covariance(np.array([[1.0, 0.3], [0.3, 0.5]]), 6), level_covariance(np.array(0.7), 4)])


def log_normal(x, mean, covariance):
    return -0.5 * (np.linalg.slogdet(2 * np.pi * covariance)[1] + (x - mean) @ np.linalg.solve(covariance, x - mean))


def test_random_columns_put_each_row_into_its_level():
    Z = random_columns(np.array([1, 0, -1]), np.array([[1.0, 5.0], [1.0, 6.0], [1.0, 7.0]]), 2)
    assert Z.tolist() == [[0, 0, 1, 5], [1, 6, 0, 0], [0, 0, 0, 0]]


def test_proper_prior_integrates_to_one_normal(model, G):
    mean, D = np.array([1.0, -1.0, 0.5]), np.diag([2.0, 0.3, 1.0])
    V = model.covariance(G, 0.8)
    assert model.log_marginal_density(G, 0.8, mean, np.linalg.inv(D)) == pytest.approx(
        log_normal(model.y, model.X @ mean, V + model.X @ D @ model.X.T), rel=1e-12
    )


def test_flat_prior_is_the_restricted_likelihood(model, G):
    assert model.log_marginal_density(G, 0.8) == pytest.approx(model.log_likelihood(G, 0.8, "reml"), rel=1e-12)


def test_profiled_sigma_maximises_the_likelihood(model, G):
    for method in ("reml", "ml"):
        best = model.profiled_log_likelihood(G, method)
        sigma = model.profiled_sigma(G, method)
        for factor in (0.99, 1.01):
            assert model.log_likelihood((factor * sigma) ** 2 * G, factor * sigma, method) < best


def test_joint_moments_are_those_of_conditioning_one_big_normal(model, G):
    mean, D, sigma = np.array([1.0, -1.0, 0.5]), np.diag([2.0, 0.3, 1.0]), 0.8
    A, P = np.column_stack([model.X, model.Z]), block_diagonal([D, G])
    prior_mean = np.concatenate([mean, np.zeros(len(G))])
    gain = np.linalg.solve(A @ P @ A.T + sigma**2 * np.diag(1 / model.weights), A @ P).T
    expected_mean = prior_mean + gain @ (model.y - A @ prior_mean)
    moments = model.joint_moments(G, sigma, mean, np.linalg.inv(D))
    np.testing.assert_allclose(moments[0], expected_mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(moments[1], P - gain @ A @ P, rtol=1e-9, atol=1e-12)


def test_flat_joint_moments_solve_hendersons_equations(model, G):
    A, R_inverse = np.column_stack([model.X, model.Z]), np.diag(model.weights / 0.64)
    C = A.T @ R_inverse @ A + block_diagonal([np.zeros((3, 3)), np.linalg.inv(G)])
    mean, covariance = model.joint_moments(G, 0.8)
    np.testing.assert_allclose(mean, np.linalg.solve(C, A.T @ R_inverse @ model.y), rtol=1e-9)
    np.testing.assert_allclose(covariance, np.linalg.inv(C), rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(model.random_effects(G, 0.8), mean[3:], rtol=1e-9)


def test_zero_variance_leaves_least_squares(model, G):
    beta = np.linalg.lstsq(model.X * np.sqrt(model.weights)[:, None], model.y * np.sqrt(model.weights), rcond=None)[0]
    np.testing.assert_allclose(model.fixed_effects(0 * G, 0.8), beta, rtol=1e-9)
    assert not model.random_effects(0 * G, 0.8).any()


def test_no_fixed_effects_are_a_model_too(model, G):
    bare = DenseModel(y=model.y, X=model.X[:, :0], Z=model.Z, weights=model.weights)
    expected = log_normal(model.y, np.zeros(40), bare.covariance(G, 0.8))
    assert bare.log_likelihood(G, 0.8, "ml") == pytest.approx(expected, rel=1e-12)
    assert bare.log_marginal_density(G, 0.8) == pytest.approx(expected, rel=1e-12)


def at_theta(theta):
    """G of the model above, from a factor and a standard deviation, with its derivatives: quadratic in θ."""
    entries = [
        np.array([[1.0, 0.0], [0.0, 0.0]]),
        np.array([[0.0, 0.0], [1.0, 0.0]]),
        np.array([[0.0, 0.0], [0.0, 1.0]]),
    ]
    units = [(E, 0.0) for E in entries] + [(np.zeros((2, 2)), 1.0)]
    L, s = sum(t * E for t, E in zip(theta, entries, strict=False)), theta[3]

    def spread(C, v):
        return block_diagonal([level_covariance(C, 6), level_covariance(np.array(v), 4)])

    first = np.array([spread(E @ L.T + L @ E.T, 2.0 * e * s) for E, e in units])
    second = {
        (i, j): spread(E @ F.T + F @ E.T, 2.0 * e * f)
        for i, (E, e) in enumerate(units)
        for j, (F, f) in enumerate(units)
    }
    return spread(L @ L.T, s**2), first, second


def richardson(function, x, step):
    """∂f/∂x from central differences, their error of second order extrapolated away."""

    def differences(h):
        return np.array([(function(x + h * e) - function(x - h * e)) / (2.0 * h) for e in np.eye(len(x))])

    return (4.0 * differences(step / 2.0) - differences(step)) / 3.0


THETA = np.array([0.9, 0.3, 0.6, 0.8])


@pytest.mark.parametrize("sigma", [None, 0.8])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_derivatives_equal_differences(model, method, sigma):
    def value(theta):
        G = at_theta(theta)[0]
        used = sigma or model.profiled_sigma(G, method)
        return -2.0 * model.log_likelihood(used**2 * G, used, method)

    def derivatives(theta):
        return model.derivatives(*at_theta(theta), method, sigma)

    def residual_square(theta):
        G = at_theta(theta)[0]
        residual = model.y - model.X @ model.fixed_effects(G, 1.0)
        return residual @ np.linalg.solve(model.covariance(G, 1.0), residual)

    found = derivatives(THETA)
    assert found.value == pytest.approx(value(THETA), rel=1e-12)
    np.testing.assert_allclose(found.gradient, richardson(value, THETA, 1e-2), rtol=1e-6)
    hessian = richardson(lambda theta: derivatives(theta).gradient, THETA, 1e-2)
    np.testing.assert_allclose(found.hessian, hessian, rtol=1e-6, atol=1e-6)
    slopes = richardson(residual_square, THETA, 1e-2)
    np.testing.assert_allclose(found.residual_square_gradient, slopes, rtol=1e-6)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_average_information_is_the_mean_of_observed_and_expected_for_covariances_linear_in_parameters(model, method):
    G, first, _ = at_theta(THETA)
    found = model.derivatives(G, first, {}, method, 0.8)  # as if G were linear: no second derivatives
    V_inverse = np.linalg.inv(model.covariance(G, 1.0))
    solved = V_inverse @ model.X
    P = V_inverse - (solved @ np.linalg.inv(model.X.T @ solved) @ solved.T if method == "reml" else 0.0)
    moved = [P @ model.Z @ D @ model.Z.T for D in first]
    expected = np.array([[np.trace(A @ B) for B in moved] for A in moved])
    np.testing.assert_allclose(found.average_information, (found.hessian + expected) / 2.0, rtol=1e-9)


def test_profiling_sigma_takes_its_share_off_the_average_information(model):
    """The Schur complement in σ² of y'P V_i P V_j P y / σ², with ∂V/∂σ² = V."""
    G, first, _ = at_theta(THETA)
    sigma = model.profiled_sigma(G, "reml")
    known, profiled = (model.derivatives(G, first, {}, "reml", s).average_information for s in (sigma, None))
    V = model.covariance(G, 1.0)
    solved = np.linalg.solve(V, model.X)
    P = np.linalg.inv(V) - solved @ np.linalg.inv(model.X.T @ solved) @ solved.T
    e = P @ model.y
    with_sigma = np.array([e @ model.Z @ D @ model.Z.T @ P @ V @ e for D in first]) / sigma**4
    of_sigma = e @ V @ P @ V @ e / sigma**6
    np.testing.assert_allclose(profiled, known - np.outer(with_sigma, with_sigma) / of_sigma, rtol=1e-9)
