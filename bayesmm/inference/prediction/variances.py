"""Variances of predictions, how they change with the covariance parameters, and what the estimates of these add.

With v(Ψ) = Var/σ² of the error of η̂ = x'β̂ + z'b̂ at known Ψ = ΛΛ' (`bayesmm.inference.prediction.joint`), W the
covariance of the estimated (θ, log σ), and h = z − Z'λ for η̂ = λ'y,

    ∂_iv = h'∂_iΨ h,    Cov(∂_iη̂, ∂_jη̂) = h'∂_iΨ Z'PZ ∂_jΨ h = −½ ∂²v along (∂_iΨ, ∂_jΨ),

the first since λ is the best of all λ. So both are differences of v along straight lines of Ψ, in the directions F of
W = FF': two values of v for each, at whatever rows are asked for, and nothing of rows by rows, or of levels by levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import assemble_factors
from bayesmm.covariance.structure import lower_triangular
from bayesmm.covariance.tangents import jacobians
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.fixed.information import root_directions
from bayesmm.inference.prediction.joint import RowEffects

STEP = 5e-3  # of the differences of v, in standard errors of θ: g₃ is good to some 1e-5, beside rounding of 1e-8 v
FARTHEST = 1e-2  # the same in sizes of θ, where standard errors are larger
SHORTEST = 1.0 / 64.0  # of the step that is taken to stay within what Ψ may be: rounding grows as 1 / s²
ALONG = 1.0 / 16.0  # of the step, of differences along FF'
SINGULAR = 1e-8  # share of the largest singular value of Λ
NEGATIVE = 1e-13  # share of the largest eigenvalue of Ψ that is only rounding


class RowVariances(NamedTuple):
    """What is known of the variance of each row's prediction.

    Attributes
    ----------
    value : array, shape (m,)
        v.
    of_variances : array, shape (m,)
        g₃ over σ²: what the error of θ adds, to second order.
    slopes : array, shape (m, r)
        ∂v in the directions in which the estimate of θ varies by one.
    """

    value: np.ndarray
    of_variances: np.ndarray
    slopes: np.ndarray


def differentiate_variances(
    fit: Fitted, rows: RowEffects, W: np.ndarray, *, of_fixed: bool, second_order: bool
) -> tuple[RowVariances, np.ndarray]:
    """Work out v of every row and its derivatives.

    Parameters
    ----------
    fit : Fit
        At its estimate.
    rows : RowEffects
        The rows.
    W : array, shape (t + 1, t + 1)
        Covariance of (θ, log σ); zero where a parameter is held on a boundary.
    of_fixed : bool
        Whether the error of β̂ counts.
    second_order : bool
        Whether g₃ is wanted; zero otherwise.

    Returns
    -------
    RowVariances
    towards : array, shape (r,)
        Covariance of log σ with the estimate in each of the directions.
    """
    theta, layout = fit.estimate.minimum.x, fit.problem.layout
    factors = assemble_factors(np, theta, layout)
    first = jacobians(np, theta, layout)
    bounds = np.cumsum([len(own) for own in first])[:-1]
    F = root_directions(W[:-1, :-1])  # (t, r)
    sizes = fit.estimate.criterion_function.sizes(theta)
    value = rows.variances(factors, of_fixed=of_fixed)
    slopes, third = np.zeros((len(value), F.shape[1])), np.zeros(len(value))
    for r, direction in enumerate(F.T):
        ways = [
            np.tensordot(own, each, axes=(0, 0)) for own, each in zip(np.split(direction, bounds), first, strict=True)
        ]
        step = min(STEP, FARTHEST / float(np.max(np.abs(direction) / sizes)))
        step = _shorten(factors, ways, step)
        ends, straight = _ends(factors, ways, step)
        up, down = (rows.variances(each, of_fixed=of_fixed) for each in ends)
        slopes[:, r] = (up - down) / (2.0 * step)
        if second_order:
            bent = (up - 2.0 * value + down) / step**2
            third -= 0.5 * (
                bent if straight else bent - 2.0 * _along_square(rows, factors, ways, step, value, of_fixed)
            )
    towards = np.linalg.pinv(F) @ W[:-1, -1]
    return RowVariances(value, np.maximum(third, 0.0), slopes), towards


def _ends(
    factors: Sequence[np.ndarray], ways: Sequence[np.ndarray], step: float
) -> tuple[list[list[np.ndarray]], bool]:
    """Λ a step up and down the straight line Ψ ± sD with D = FΛ' + ΛF'; if that leaves what Ψ may be, Λ ± sF.

    The second happens where Ψ is singular and its null directions turn: then Ψ ± sD + s²FF'.
    """
    lines = [
        [_factor_of(L @ L.T + sign * step * (F @ L.T + L @ F.T)) for L, F in zip(factors, ways, strict=True)]
        for sign in (1.0, -1.0)
    ]
    straight = [[each for each in line if each is not None] for line in lines]
    if all(len(line) == len(factors) for line in straight):
        return straight, True
    curved = [[L + sign * step * F for L, F in zip(factors, ways, strict=True)] for sign in (1.0, -1.0)]
    return [list(map(lower_triangular, each)) for each in curved], False


def _shorten(factors: Sequence[np.ndarray], ways: Sequence[np.ndarray], step: float) -> float:
    """Halve the way to where a Ψ near the boundary leaves what it may be, if that is not too short."""
    room = step
    for L, F in zip(factors, ways, strict=True):
        sizes = np.linalg.svd(L, compute_uv=False)
        if sizes[-1] > SINGULAR * sizes[0]:
            inner = np.linalg.solve(L, F)
            room = min(room, 0.5 / max(float(np.abs(np.linalg.eigvalsh(inner + inner.T)).max()), 0.5 / step))
    return room if room >= SHORTEST * step else step


def _factor_of(Psi: np.ndarray) -> np.ndarray | None:
    """Λ, lower triangular, with ΛΛ' = Ψ; None where there is none."""
    values, vectors = np.linalg.eigh(Psi)
    if values[0] < -NEGATIVE * max(values[-1], 0.0):
        return None
    return lower_triangular(vectors * np.sqrt(np.maximum(values, 0.0)))


def _along_square(
    rows: RowEffects,
    factors: Sequence[np.ndarray],
    ways: Sequence[np.ndarray],
    step: float,
    value: np.ndarray,
    of_fixed: bool,
) -> np.ndarray:
    """∂v along FF', forwards, since backwards Ψ would not be a covariance; exact to second order."""
    step *= ALONG
    near, far = (
        rows.variances(
            [lower_triangular(np.hstack([L, np.sqrt(s * step) * F])) for L, F in zip(factors, ways, strict=True)],
            of_fixed=of_fixed,
        )
        for s in (1.0, 2.0)
    )
    return (4.0 * near - far - 3.0 * value) / (2.0 * step)
