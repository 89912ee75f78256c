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
