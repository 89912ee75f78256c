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


MISSING = np.array([[2.0, 1.0, 0.0, 0.5], [1.0, -0.4, 0.3, 0.0], [0.0, 0.3, 1.5, 0.2], [0.5, 0.0, 0.2, -0.5]])


def partly_known(x: np.ndarray) -> Evaluation:
    """Its Hessian lacks a part, indefinite and as large as what is known."""
    known = np.diag([1.0, 2.0, 3.0, 4.0])
    H = known + MISSING
    quartic = (x**4).sum() / 12.0
    return Evaluation(float(0.5 * x @ H @ x + quartic), H @ x + x**3 / 3.0, known + np.diag(x**2), is_exact=False)


def distances(start: np.ndarray) -> list[float]:
    """From the minimum at zero, evaluation by evaluation."""
    seen: list[float] = []

    def watched(x: np.ndarray) -> Evaluation:
        seen.append(float(np.linalg.norm(x)))
        return partly_known(x)

    assert minimise(watched, start).converged
    return seen


def test_what_the_hessian_lacks_is_learnt_within_few_evaluations() -> None:
    assert np.linalg.eigvalsh(np.diag([1.0, 2.0, 3.0, 4.0]) + MISSING).min() > 0
    for start in (np.ones(4), np.array([0.3, -2.0, 0.1, 1.0]), np.array([-0.1, 0.1, -0.1, 0.1])):
        assert len(distances(start)) <= 15


def test_search_with_a_partly_known_hessian_ends_faster_than_linearly() -> None:
    seen = distances(np.array([0.3, -0.2, 0.4, -0.1]))
    ratios = np.array(seen[1:]) / np.array(seen[:-1])
    assert ratios[-1] < 0.01
    assert ratios[-2:].max() < 0.2


@pytest.mark.parametrize("shown", [-1.0, 1.0])
def test_saddle_is_left_whether_the_approximate_hessian_shows_the_way_down_or_hides_it(shown: float) -> None:
    def valley(x: np.ndarray) -> Evaluation:
        t, s = x
        value = t**4 - 2.0 * t**2 + 0.5 * s**2 + 0.3 * s * t**2
        gradient = np.array([4.0 * t**3 - 4.0 * t + 0.6 * s * t, s + 0.3 * t**2])
        return Evaluation(float(value), gradient, np.diag([12.0 * t**2 + shown, 1.5]), is_exact=False)

    start = np.array([0.0 if shown < 0 else 1e-3, 0.5])  # where it is hidden, only slopes can tell
    found = minimise(valley, start)
    t, s = found.x
    assert found.converged
    assert s == pytest.approx(-0.3 * t**2, abs=1e-5)
    assert t**2 == pytest.approx(4.0 / (4.0 - 0.18), abs=1e-5)


def test_hessian_at_the_minimum_has_learnt_what_was_lacking() -> None:
    found = minimise(partly_known, np.array([0.5, -0.4, 0.3, 0.6]))
    step = np.array([1.0, -1.0, 0.5, 0.5])
    expected = step @ (np.diag([1.0, 2.0, 3.0, 4.0]) + MISSING) @ step
    assert step @ found.evaluation.hessian @ step == pytest.approx(expected, rel=0.05)


def test_a_start_from_which_the_objective_falls_for_ever_is_told_at_once() -> None:
    """Where all is flat no step would be made that shows it."""
    flat = Evaluation(0.0, np.zeros(2), np.zeros((2, 2)))
    found = minimise(lambda _: flat, np.ones(2), escapes=lambda _x, _at: True)
    assert (found.escaped, found.converged, found.n_evaluations) == (True, False, 1)


def test_what_a_matrix_lacks_is_asked_for_near_a_minimum_alone_and_not_again_where_steps_are_short() -> None:
    asked: list[float] = []

    def objective(x: np.ndarray) -> Evaluation:
        def lacking() -> np.ndarray:
            asked.append(float(x[0]))
            return np.array([[np.cosh(x[0]) - 1.0]])

        return Evaluation(float(np.cosh(x[0])), np.sinh(x), np.eye(1), is_exact=False, lacking=lacking)

    found = minimise(objective, np.array([3.0]))
    assert found.converged
    assert abs(found.x[0]) < 1e-8
    assert 0 < len(asked) < found.n_evaluations - 1
    assert max(map(abs, asked)) < 2.5
