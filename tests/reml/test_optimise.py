import numpy as np
import pytest

from bayesmm.reml.optimise import Evaluation, minimise


def quadratic(x: np.ndarray) -> Evaluation:
    H = np.diag([1.0, 100.0, 1e4])
    return Evaluation(float(0.5 * x @ H @ x), H @ x, H)


def rosenbrock(x: np.ndarray) -> Evaluation:
    a, b = x
    value = (1 - a) ** 2 + 100 * (b - a**2) ** 2
    gradient = np.array([-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)])
    hessian = np.array([[2 - 400 * (b - 3 * a**2), -400 * a], [-400 * a, 200.0]])
    return Evaluation(float(value), gradient, hessian)


def double_well(x: np.ndarray) -> Evaluation:
    """Even in its argument, as the criterion is in a column of the factor: the slope vanishes at zero."""
    t = x[0]
    return Evaluation(float(t**4 - 2 * t**2), np.array([4 * t**3 - 4 * t]), np.array([[12 * t**2 - 4]]))


def test_quadratic_takes_few_steps() -> None:
    found = minimise(quadratic, np.array([1.0, -1.0, 0.5]), radius=10.0)
    assert found.converged
    assert found.n_evaluations <= 3
    np.testing.assert_allclose(found.x, 0.0, atol=1e-6)  # a decrement of 1e-13 leaves x that far


def test_curved_valley_is_followed() -> None:
    found = minimise(rosenbrock, np.array([-1.2, 1.0]))
    assert found.converged
    np.testing.assert_allclose(found.x, 1.0, atol=1e-6)


def test_saddle_is_left_along_its_descent() -> None:
    found = minimise(double_well, np.array([0.0]))
    assert found.converged
    assert abs(found.x[0]) == pytest.approx(1.0, abs=1e-6)


def test_running_out_of_evaluations_is_not_success() -> None:
    assert not minimise(rosenbrock, np.array([-1.2, 1.0]), max_evaluations=3).converged


def test_leaving_the_domain_shortens_the_step() -> None:
    def barrier(x: np.ndarray) -> Evaluation:
        t = x[0]
        if t <= 0:
            return Evaluation(np.nan, np.array([np.nan]), np.array([[np.nan]]))
        return Evaluation(float(t - np.log(t)), np.array([1 - 1 / t]), np.array([[1 / t**2]]))

    found = minimise(barrier, np.array([5.0]), radius=100.0)
    assert found.converged
    np.testing.assert_allclose(found.x, 1.0, atol=1e-6)
