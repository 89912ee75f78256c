"""Many objectives minimised side by side by Newton steps, each as `bayesmm.reml.optimise` does one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bayesmm.reml.optimise import DECREMENT_TOLERANCE, LACKING, MAX_RADIUS, NEAR, SMALL

MOST = 30  # evaluations; what takes more is searched by itself
HALVINGS = 60  # of the interval that a multiplier of a trust region is in


class Points(NamedTuple):
    """Objectives at points of their own.

    Attributes
    ----------
    value : array, shape (m,)
        The objectives.
    gradient, hessian : arrays, shapes (m, t), (m, t, t)
        Their gradients, and matrices near their Hessians.
    noise : array, shape (m,)
        Rounding errors of the values.
    """

    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    noise: np.ndarray


class Ends(NamedTuple):
    """Where the searches ended: points (m, t), and which of them are minima beyond doubt."""

    x: np.ndarray
    value: np.ndarray
    is_minimum: np.ndarray


def minimise_side_by_side(objective: Callable[[np.ndarray, np.ndarray], Points], starts: np.ndarray) -> Ends:
    """Minimise m objectives of t arguments.

    Parameters
    ----------
    objective : callable
        Of points (b, t) and of the indices (b,) of the objectives that are asked for.
    starts : array, shape (m, t)
        One each.

    Returns
    -------
    Ends
        What is no minimum, or not yet, is left to a search of its own.
    """
    x, m = starts.copy(), len(starts)
    here = objective(x, np.arange(m))
    value, gradient, hessian, noise = (each.copy() for each in here)
    correction, radius, last = np.zeros_like(hessian), np.ones(m), np.full(m, np.inf)
    is_minimum, active = np.zeros(m, bool), np.flatnonzero(_is_finite(here))
    for _ in range(MOST):
        curved, unit = hessian[active] + correction[active], np.maximum(np.abs(x[active]), 1.0)
        curvatures, directions = np.linalg.eigh(curved * unit[:, :, None] * unit[:, None])
        slopes = (directions.swapaxes(1, 2) @ (unit * gradient[active])[..., None])[..., 0]
        decrement = _decrement(slopes, curvatures)
        is_up = (curvatures[:, :1] > 0.0).all(axis=1)
        done = is_up & (decrement < DECREMENT_TOLERANCE)
        done |= is_up & (decrement < SMALL) & (decrement > 0.1 * last[active])
        last[active], is_minimum[active[done]] = decrement, True
        keep = ~done
        active, curved, unit, decrement = active[keep], curved[keep], unit[keep], decrement[keep]
        if not len(active):
            break
        scaled = _steps(slopes[keep], curvatures[keep], radius[active])
        length = np.sqrt((scaled**2).sum(axis=1))
        step = unit * (directions[keep] @ scaled[..., None])[..., 0]
        predicted = -((gradient[active] * step).sum(axis=1) + 0.5 * np.einsum("mi,mij,mj->m", step, curved, step))
        there = objective(x[active] + step, active)
        is_finite = _is_finite(there)
        learns = is_finite & (decrement < NEAR)
        correction[active] = _learn(hessian[active], gradient[active], there, correction[active], step, unit, learns)
        with np.errstate(invalid="ignore", divide="ignore"):
            gain, rounding = value[active] - there.value, np.maximum(noise[active], there.noise)
            agreement = np.where((np.abs(gain) > rounding) | (predicted > rounding), gain / predicted, 1.0)
        is_poor = ~is_finite | ~(agreement >= 0.25)
        is_good = ~is_poor & (agreement > 0.75) & (length > 0.9 * radius[active])
        radius[active] = np.where(
            is_poor, 0.25 * length, np.where(is_good, np.minimum(2.0 * radius[active], MAX_RADIUS), radius[active])
        )
        taken = is_finite & (agreement > 1e-4)
        own = active[taken]
        x[own] += step[taken]
        for mine, new in zip((value, gradient, hessian, noise), there, strict=True):
            mine[own] = new[taken]
    return Ends(x, value, is_minimum)


def _is_finite(at: Points) -> np.ndarray:
    return np.isfinite(at.value) & np.isfinite(at.gradient).all(axis=1) & np.isfinite(at.hessian).all(axis=(1, 2))


def _decrement(slopes: np.ndarray, curvatures: np.ndarray) -> np.ndarray:
    """½ g'|H|⁻¹g over directions that are not flat to rounding."""
    sizes = np.abs(curvatures)
    curved = sizes > 1e-12 * sizes.max(axis=1, keepdims=True, initial=0.0)
    return 0.5 * np.where(curved, slopes**2 / np.where(curved, sizes, 1.0), 0.0).sum(axis=1)


def _learn(
    hessian: np.ndarray,
    gradient: np.ndarray,
    there: Points,
    correction: np.ndarray,
    step: np.ndarray,
    unit: np.ndarray,
    learns: np.ndarray,
) -> np.ndarray:
    """Learn what the Hessian lacks by symmetric rank-one updates, as `bayesmm.reml.optimise` does."""
    with np.errstate(all="ignore"):
        known = 0.5 * (hessian + there.hessian)
        rest = there.gradient - gradient - ((known + correction) @ step[..., None])[..., 0]
        along = (rest * step).sum(axis=1)
        norm = np.sqrt(((unit * rest) ** 2).sum(axis=1) * ((step / unit) ** 2).sum(axis=1))
        learns = learns & np.isfinite(along) & (np.abs(along) >= 1e-8 * norm) & (along != 0.0)
        learnt = correction + rest[:, :, None] * rest[:, None] / along[:, None, None]
        units = unit[:, :, None] * unit[:, None]
        is_too_much = np.abs(learnt * units).max(axis=(1, 2)) > LACKING * np.abs(known * units).max(axis=(1, 2))
    learnt = np.where(is_too_much[:, None, None], 0.0, learnt)
    return np.where(learns[:, None, None], learnt, correction)


def _steps(slopes: np.ndarray, curvatures: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Minimise each slopes·s + ½ s'diag(curvatures)s within |s| ≤ radius, in the eigenbases."""
    lowest, highest = curvatures[:, 0], curvatures[:, -1]
    scale = np.maximum(np.maximum(-lowest, highest), 1e-300)
    floor = np.maximum(0.0, -lowest) + 1e-12 * scale
    steps = -slopes / (curvatures + floor[:, None])
    long = np.sqrt((steps**2).sum(axis=1)) > radius
    saddle = ~long & (lowest < -1e-12 * scale)
    rest = radius[saddle] ** 2 - (steps[saddle, 1:] ** 2).sum(axis=1)
    steps[saddle, 0] = np.where(slopes[saddle, 0] > 0.0, -1.0, 1.0) * np.sqrt(np.maximum(rest, 0.0))
    slopes, curvatures, radius, low = slopes[long], curvatures[long], radius[long], floor[long]
    high = low + np.sqrt((slopes**2).sum(axis=1)) / radius + scale[long]
    for _ in range(HALVINGS if long.any() else 0):
        middle = 0.5 * (low + high)
        is_long = ((slopes / (curvatures + middle[:, None])) ** 2).sum(axis=1) > radius**2
        low, high = np.where(is_long, middle, low), np.where(is_long, high, middle)
    steps[long] = -slopes / (curvatures + high[:, None])
    return steps
