"""Minima on the boundary: variances of exactly zero, and combinations of effects that do not vary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayesmm.marginal.covariance import Piece, assemble_factors, lower_triangular, start_theta, theta_of
from bayesmm.marginal.evaluation import Evaluated
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.optimise import Minimum, minimise

SNAP = 1e-4  # entries of the factor on conditioned columns, in units of σ, that are tried at exactly zero
ROUNDING = 1e-9  # the same for entries below the diagonal, where small is not special
SNAP_COST = 1e-8  # what the criterion may rise by when they are
SINGULAR = 1e-4  # smallest singular value of a factor that still counts as positive; lme4's default for θ
INVISIBLE = 1e-6  # part of an effect in a combination, on columns of norm √n, that is rounding
DOWN = 1e-5  # slope of the criterion relative to its expected part that is not what the search leaves over
STEP = 0.1  # standard deviation, in units of σ on conditioned columns, from which the search goes on then


def snap_to_boundary(criterion: Criterion, minimum: Minimum) -> Minimum:
    """Put entries that rounding keeps from zero exactly there, where the criterion agrees."""
    diagonal = start_theta(criterion.layout) == 1.0
    small = np.abs(minimum.x) < np.where(diagonal, SNAP, ROUNDING)
    if not minimum.converged or not small.any():
        return minimum
    x = np.where(small, 0.0, minimum.x)
    evaluation = criterion(x)
    if evaluation.value > minimum.evaluation.value + SNAP_COST:
        return minimum
    return replace(minimum, x=x, evaluation=evaluation, n_evaluations=minimum.n_evaluations + 1)


def leave_saddle(criterion: Criterion, minimum: Minimum) -> Minimum:
    """Search on where the criterion falls as soon as a variance leaves zero.

    The criterion is even in each column of a factor, so that its slope in θ vanishes wherever a diagonal entry is zero,
    whatever lies beyond. Its slope Γ in ΛΛ' does not. At a minimum ΓΛ = 0, in all entries and not only those that θ
    has, and Γ is not negative along the null directions of Λ.
    """
    on_boundary = (start_theta(criterion.layout) == 1.0) & (minimum.x == 0.0)
    if not minimum.converged or not on_boundary.any():
        return minimum
    start = _way_down(criterion, minimum)
    if start is None:
        return minimum
    found = snap_to_boundary(criterion, minimise(criterion, start, sizes=criterion.sizes, escapes=criterion.escapes))
    return replace(found, n_evaluations=found.n_evaluations + minimum.n_evaluations)


def _way_down(criterion: Criterion, minimum: Minimum) -> np.ndarray | None:
    """θ a step off a saddle; None if this is a minimum."""
    at: Evaluated = minimum.evaluation.detail
    factors = [L.copy() for L in assemble_factors(np, minimum.x, criterion.layout)]
    is_saddle = False
    for L, expected, observed, pieces in zip(factors, at.expected, at.observed, criterion.layout, strict=True):
        for start, stop, structure in pieces:
            part = slice(start, stop), slice(start, stop)
            step = _diagonal_step if structure == "diagonal" else _unstructured_step
            moved = step(L[part], expected[part], observed[part])
            if moved is not None:
                L[part], is_saddle = moved, True
    return theta_of(factors, criterion.layout) if is_saddle else None


def _diagonal_step(L: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
    slope = np.diag(expected) - np.diag(observed)
    down = (np.diag(L) == 0.0) & (slope < -DOWN * np.diag(expected))
    return L + STEP * np.diag(down) if down.any() else None


def _unstructured_step(L: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
    if np.diag(L).all():
        return None
    slope = expected - observed
    along = slope @ L
    size = np.abs(along).max()
    if size > DOWN * np.abs(expected @ L).max():
        return lower_triangular(L - STEP * along / size)
    left, values, _ = np.linalg.svd(L)
    basis = left[:, values <= np.finfo(float).eps * max(values[0], 1.0)]
    slopes, directions = np.linalg.eigh(basis.T @ slope @ basis)
    down = slopes < -DOWN * np.abs(expected).max()
    return lower_triangular(np.hstack([L, STEP * basis @ directions[:, down]])) if down.any() else None


def project(factor: np.ndarray) -> np.ndarray:
    """Project on the columns of Λ: what has no variance has no effects, not ones of the size of rounding."""
    if np.diag(factor).all():
        return np.eye(len(factor))
    left, values, _ = np.linalg.svd(factor)
    return left[:, values > 0] @ left[:, values > 0].T


def null_directions(conditioned: np.ndarray, root: np.ndarray, pieces: tuple[Piece, ...]) -> np.ndarray:
    """Find combinations a of the user's effects with a'ΛΛ'a = 0, scaled to a largest entry of one; shape (k, d)."""
    directions = []
    for start, stop, _ in pieces:
        T = root[start:stop, start:stop]
        left, values, _ = np.linalg.svd(conditioned[start:stop, start:stop])
        for vector in (T.T @ left[:, values < SINGULAR]).T:
            vector = np.where(np.abs(vector) < INVISIBLE * np.linalg.norm(T, axis=0), 0.0, vector)
            direction = np.zeros(len(root))
            direction[start:stop] = vector / vector[np.argmax(np.abs(vector))]
            directions.append(direction)
    return np.array(directions).reshape(-1, len(root)).T
