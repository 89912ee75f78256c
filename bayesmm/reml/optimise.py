"""Unbounded minimisation with second derivatives; knows nothing of mixed models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

DECREMENT_TOLERANCE = 1e-17  # half of g'H⁻¹g, in the objective's units: its root is the error of x in standard errors
SMALL = 1e-10  # the same, from which on only slopes tell steps apart, and the search ends once they gain nothing more
ACCEPTED = 1e-7  # the same for calling a search that came no further converged
MAX_RADIUS = 4.0  # of the trust region, in sizes of the point: five times as far out, or through zero, in one step
NEAR = 1.0  # decrement from which on the correction learns: farther away, what is missing changes from step to step
STALE = 1e-6  # decrement from which on it need not learn again what it was told: the step changes that no more
NEARLY = 0.999  # of its radius, that a step within the trust region has at least where it is cut short
LACKING = 3.0  # times the known curvature that may be lacking: more was learnt from a step too long, or from rounding


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An objective at one point.

    Attributes
    ----------
    value : float
        The objective.
    gradient : array, shape (k,)
        Its gradient.
    hessian : array, shape (k, k)
        Its Hessian, or a matrix near it.
    is_exact : bool
        Which of the two.
    lacking : callable, or None
        What that matrix lacks of the Hessian, where it can be had for some more work.
    noise : float
        Rounding error of the value, below which a decrease cannot be told.
    detail
        Whatever else the objective found out at this point.
    """

    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    is_exact: bool = True
    noise: float = 1e-14
    detail: Any = None
    lacking: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True, slots=True)
class Minimum:
    """Where the search ended, and how sure it is.

    Attributes
    ----------
    x : array, shape (k,)
        The point.
    evaluation : Evaluation
        The objective there, with an exact or corrected Hessian.
    converged : bool
        Whether no further Newton step would gain more than rounding error, and no direction leads down; not where the
        objective is no number at the start.
    escaped : bool
        Whether the objective falls for ever.
    decrement : float
        ½ g'H⁺g: what one more Newton step would gain, by the quadratic model.
    smallest_curvature : float
        Smallest eigenvalue of the Hessian.
    n_evaluations : int
        Evaluations of the objective with its derivatives.
    """

    x: np.ndarray
    evaluation: Evaluation
    converged: bool
    escaped: bool
    decrement: float
    smallest_curvature: float
    n_evaluations: int


def minimise(
    objective: Callable[[np.ndarray], Evaluation],
    start: np.ndarray,
    *,
    sizes: Callable[[np.ndarray], np.ndarray] = np.ones_like,
    escapes: Callable[[np.ndarray, Evaluation], bool] | None = None,
    max_evaluations: int = 200,
    radius: float = 1.0,
    tolerance: float = DECREMENT_TOLERANCE,
) -> Minimum:
    """Find a minimum by Newton steps within a trust region.

    Parameters
    ----------
    objective : callable
        Value, gradient and Hessian at a point; may return non-finite values outside its domain.
    start : array, shape (k,)
        Where to begin.
    sizes : callable
        Units (k,) of the entries at a point, in which the trust region is a ball; ones by default.
    escapes : callable, optional
        Whether the objective falls for ever from a point on; the search then ends there.
    max_evaluations : int
        Give up (with ``converged=False``) after so many.
    radius : float
        First radius of the trust region, in units of `sizes`.
    tolerance : float
        What a further step may gain, by the quadratic model, where the search ends.

    Returns
    -------
    Minimum
        A point where the gradient vanishes and the Hessian has no negative eigenvalue, if `converged`.

    Notes
    -----
    Where the objective offers only a matrix near its Hessian, it is asked for what that lacks once a minimum is near:
    farther away the Hessian itself makes worse steps. An objective that does not know is watched, and what its matrix
    lacks is learnt from the gradients by symmetric rank-one updates (a structured secant method: Dennis, Gay & Welsch
    1981, ACM Trans. Math. Softw. 7; Conn, Gould & Toint 1991, Math. Program. 50), which may turn indefinite as the
    objective does. The trust-region subproblem is solved exactly through the eigenvalues of the Hessian, so that a
    saddle is left along its direction of descent (Conn, Gould & Toint 2000, Trust Region Methods, ch. 7). Written here
    and not taken from ``scipy.optimize`` because nothing there takes a Hessian that is partly known, "trust-exact" asks
    for value, gradient and Hessian in separate calls and stops on an absolute gradient norm, and importing it costs 0.3
    seconds of a fit that takes milliseconds.
    """
    x = np.asarray(start, dtype=float)
    here = objective(x)
    n_evaluations = 1
    if not _is_finite(here):
        return Minimum(x, here, False, False, np.inf, -np.inf, n_evaluations)
    correction = np.zeros_like(here.hessian)
    escaped = escapes is not None and escapes(x, here)
    is_stuck, is_known, last_decrement = False, False, np.inf
    while True:
        hessian = here.hessian + correction
        unit = sizes(x)
        curvatures, directions, slopes = _decompose(hessian, here.gradient, unit)
        decrement = _decrement(slopes, curvatures)
        if n_evaluations >= max_evaluations or escaped or is_stuck:
            break
        if _is_minimum(here, curvatures, decrement, tolerance):
            break
        if SMALL > decrement > 0.1 * last_decrement and curvatures[0] > 0.0:
            break
        last_decrement = decrement
        scaled = _trust_region_step(slopes, curvatures, radius)
        step, length = unit * (directions @ scaled), _length(scaled)
        predicted = -(here.gradient @ step + 0.5 * step @ hessian @ step)
        there = objective(x + step)
        n_evaluations += 1
        is_finite = _is_finite(there)
        if is_finite and not here.is_exact and there.lacking is None and decrement < NEAR:
            correction = _correct(here, there, correction, step, unit)
        gain = here.value - there.value
        noise = max(here.noise, there.noise)
        agreement = gain / predicted if abs(gain) > noise or predicted > noise else 1.0
        if not is_finite or agreement < 0.25:
            radius = 0.25 * length
        elif agreement > 0.75 and length > 0.9 * radius:
            radius = min(2.0 * radius, MAX_RADIUS)
        if is_finite and agreement > 1e-4:
            x, here = x + step, there
            escaped = escapes is not None and escapes(x, here)
            if here.lacking is not None and decrement < NEAR and not (is_known and decrement < STALE):
                correction, is_known = here.lacking(), True
        else:
            is_stuck = radius < 1e-14
    return Minimum(
        x=x,
        evaluation=replace(here, hessian=hessian),
        converged=not escaped and _is_minimum(here, curvatures, decrement, max(ACCEPTED, here.noise)),
        escaped=escaped,
        decrement=decrement,
        smallest_curvature=float(curvatures.min(initial=np.inf)),
        n_evaluations=n_evaluations,
    )


def _is_finite(at: Evaluation) -> bool:
    return all(map(math.isfinite, [at.value, *at.gradient.tolist(), *at.hessian.ravel().tolist()]))


def _decompose(
    hessian: np.ndarray, gradient: np.ndarray, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and eigenvectors of the Hessian, and the gradient along them, in units of each entry."""
    curvatures, directions = np.linalg.eigh(hessian * (unit[:, None] * unit))
    return curvatures, directions, directions.T @ (unit * gradient)


def _correct(
    here: Evaluation, there: Evaluation, correction: np.ndarray, step: np.ndarray, unit: np.ndarray
) -> np.ndarray:
    """Teach the correction what the gradient really changed along a step; skipped where that is not safe."""
    known = 0.5 * (here.hessian + there.hessian)  # of the two ends: third derivatives along the step cancel
    rest = there.gradient - here.gradient - (known + correction) @ step
    along = rest @ step
    if not np.isfinite(along) or abs(along) < 1e-8 * _length(unit * rest) * _length(step / unit):
        return correction
    learnt, units = correction + rest[:, None] * rest / along, unit[:, None] * unit
    is_too_much = np.abs(learnt * units).max() > LACKING * np.abs(known * units).max()
    return np.zeros_like(learnt) if is_too_much else learnt


def _decrement(slopes: np.ndarray, curvatures: np.ndarray) -> float:
    """½ g'|H|⁻¹g over directions that are not flat to rounding; in numbers, since a call of NumPy's takes longer."""
    sizes = [abs(curvature) for curvature in curvatures.tolist()]
    flat = 1e-12 * max(sizes, default=0.0)
    return 0.5 * sum(slope * slope / size for slope, size in zip(slopes.tolist(), sizes, strict=True) if size > flat)


def _length(step: np.ndarray) -> float:
    """Norm; a call of NumPy's takes three times as long for few entries."""
    return math.sqrt(step @ step)


def _is_minimum(here: Evaluation, curvatures: np.ndarray, decrement: float, tolerance: float) -> bool:
    is_down = len(curvatures) > 0 and curvatures[0] < -1e-7 * max(-curvatures[0], curvatures[-1])
    return bool(math.isfinite(here.value) and not is_down and decrement < tolerance)


def _trust_region_step(slopes: np.ndarray, curvatures: np.ndarray, radius: float) -> np.ndarray:
    """Minimise slopes·s + ½ s'diag(curvatures)s within |s| ≤ radius, in the eigenbasis."""
    lowest = float(curvatures[0])
    scale = max(-lowest, float(curvatures[-1]), 1e-300)
    floor = max(0.0, -lowest) + 1e-12 * scale
    with np.errstate(over="ignore"):
        step = -slopes / (curvatures + floor)
    if _length(step) <= radius:
        if lowest < -1e-12 * scale:  # a saddle with no slope along its descent: go to the rim, either way
            rest = step[1:]
            sign = -1.0 if slopes[0] > 0 else 1.0
            step[0] = sign * np.sqrt(max(radius**2 - rest @ rest, 0.0))
        return step
    return -slopes / (curvatures + _shift(slopes, curvatures, radius, floor, floor + _length(slopes) / radius + scale))


def _shift(slopes: np.ndarray, curvatures: np.ndarray, radius: float, low: float, high: float) -> float:
    """Find the least multiplier between two bounds, the upper one among them, whose step is no longer than the radius.

    By Newton's method for 1/|s|, which is nearly linear in the multiplier (Conn, Gould & Toint 2000, section 7.3), with
    bisection where it leaves the bounds.
    """
    shift = high
    for _ in range(100):
        step = slopes / (curvatures + shift)
        length = _length(step)
        if length > radius:
            low = shift
        else:
            high = shift
            if length > NEARLY * radius:
                break
        shift += (length / radius - 1.0) * length**2 / max(float(step @ (step / (curvatures + shift))), 1e-300)
        if not low < shift < high:
            shift = 0.5 * (low + high)
        if not low < shift < high:  # neighbouring numbers
            break
    return high
