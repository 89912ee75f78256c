"""Minima on the boundary: variances of exactly zero, and combinations of effects that do not vary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayesmm.covariance.layout import Layout, Piece, held_theta, map_theta, parts
from bayesmm.marginal.likelihood.evaluation import Evaluated
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.optimise import Minimum, minimise

SNAP_COST = 1e-8  # what the criterion may rise by when they are
SINGULAR = 1e-4  # smallest singular value of a factor that still counts as positive; lme4's default for θ
ROUNDING = 1e-10  # the same over the largest, where a structure has factors nearly singular inside its limits
INVISIBLE = 1e-6  # part of an effect in a combination, on columns of norm √n, that is rounding


def snap_to_boundary(criterion: Criterion, minimum: Minimum) -> Minimum:
    """Put what rounding keeps from the boundary exactly there, where the criterion agrees."""
    if not minimum.converged:
        return minimum
    x = _snapped(minimum.x, criterion.layout)
    if (x == minimum.x).all():
        return minimum
    evaluation = criterion(x)
    if evaluation.value > minimum.evaluation.value + SNAP_COST:
        return minimum
    return replace(minimum, x=x, evaluation=evaluation, n_evaluations=minimum.n_evaluations + 1)


def is_inside(theta: np.ndarray, layout: Layout) -> bool:
    """Whether θ is on no boundary, nor so near that it would be put there."""
    return not held_theta(theta, layout).any() and bool((_snapped(theta, layout) == theta).all())


def _snapped(theta: np.ndarray, layout: Layout) -> np.ndarray:
    return map_theta(lambda piece, own: piece.structure.snapped(own, piece.k), theta, layout)


def leave_saddle(criterion: Criterion, minimum: Minimum) -> Minimum:
    """Search on where the criterion falls as soon as a variance leaves zero, or a correlation its limit.

    The criterion is even in each column of a factor, so that its slope in θ vanishes wherever a diagonal entry is zero,
    whatever lies beyond. Its slope Γ in ΛΛ' does not. At a minimum ΓΛ = 0, in all entries and not only those that θ
    has, and Γ is not negative along the null directions of Λ.
    """
    if not minimum.converged or not held_theta(minimum.x, criterion.layout).any():
        return minimum
    start = _way_down(criterion, minimum)
    if start is None:
        return minimum
    found = snap_to_boundary(criterion, minimise(criterion, start, sizes=criterion.sizes, escapes=criterion.escapes))
    return replace(found, n_evaluations=found.n_evaluations + minimum.n_evaluations)


def _way_down(criterion: Criterion, minimum: Minimum) -> np.ndarray | None:
    """θ a step off a saddle; None if this is a minimum."""
    at: Evaluated = minimum.evaluation.detail
    moments = iter(
        (expected[piece.inside, piece.inside], observed[piece.inside, piece.inside])
        for expected, observed, pieces in zip(at.expected, at.observed, criterion.layout, strict=True)
        for piece in pieces
    )
    moved, is_saddle = [], False
    for piece, theta in parts(minimum.x, criterion.layout):
        off = piece.structure.way_down(theta, piece.k, *next(moments))
        moved.append(theta if off is None else off)
        is_saddle |= off is not None
    return np.concatenate(moved) if is_saddle else None


def project(factor: np.ndarray) -> np.ndarray:
    """Project on the columns of Λ: what has no variance has no effects, not ones of the size of rounding."""
    if np.diag(factor).all():
        return np.eye(len(factor))
    left, values, _ = np.linalg.svd(factor)
    return left[:, values > 0] @ left[:, values > 0].T


def null_directions(conditioned: np.ndarray, root: np.ndarray, pieces: tuple[Piece, ...]) -> np.ndarray:
    """Find combinations a of the user's effects with a'ΛΛ'a = 0, scaled to a largest entry of one; shape (k, d)."""
    directions = []
    for start, stop, structure in pieces:
        T = root[start:stop, start:stop]
        left, values, _ = np.linalg.svd(conditioned[start:stop, start:stop])
        least = SINGULAR if structure.has_inverse else ROUNDING * values[0]
        if values[structure.rank(stop - start) - 1] > least:
            continue
        for vector in (T.T @ left[:, values <= least]).T:
            seen = np.abs(vector) >= INVISIBLE * np.linalg.norm(T, axis=0)
            if seen.any():  # columns alike to rounding leave a direction whose parts are all small beside them
                vector = np.where(seen, vector, 0.0)
            direction = np.zeros(len(root))
            direction[start:stop] = vector / vector[np.argmax(np.abs(vector))]
            directions.append(direction)
    return np.array(directions).reshape(-1, len(root)).T
