"""Reduced rank: many effects that vary along a few directions, a factor analysis without specific variances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import lgamma, log, pi
from typing import Any

import numpy as np

from bayesmm.covariance.structure import (
    DOWN,
    SNAP,
    STEP,
    Array,
    Axes,
    is_finite_step,
    lower_triangular,
    symmetric_beta,
)
from bayesmm.covariance.unstructured import Unstructured, move
from bayesmm.errors import DesignError

MOST_ELSEWHERE = 4  # directions beside those of a start that are tried in the place of its last
LEAST_OWN = 0.1  # of a unit row: what an effect that tells a direction has of it where sampling starts


@dataclass(frozen=True)
class ReducedRank(Unstructured):
    """Σ = σ²ΛΛ' with Λ (k, d), zero above its diagonal, which leaves no rotation: θ are its entries, column by column.

    Any of the k(k + 1)/2 variances and covariances may be asked for; kd − d(d − 1)/2 of them determine the others.
    The criterion is even in each column of Λ. Where Λ has rank d, a zero on its diagonal is nothing special.

    Attributes
    ----------
    d : int
        Rank; of fewer effects than that, their number.
    """

    d: int = 2

    freedom = "correlated along a few directions"
    is_convex = False
    is_linear = False
    is_divisible = False
    has_inverse = False
    has_lkj = False
    has_shares = False
    correlations = "rank"

    @property
    def words(self) -> str:  # type: ignore[override]
        """Its rank."""
        return f"of rank {self.d}"

    def rank(self, k: int) -> int:
        """D."""
        return min(self.d, k)

    def bound(self, effects: Sequence[str], term: object) -> ReducedRank:
        """Refuse as many directions as effects.

        Raises
        ------
        DesignError
            With both numbers.
        """
        if len(effects) <= self.d:
            raise DesignError(
                f"The term {term} has {len(effects)} effect(s), which have no more than {len(effects)} directions: "
                f"rank {self.d} leaves them free. Write us() for it, or a smaller d."
            )
        return self

    # -- θ and Λ ------------------------------------------------------------------------------------------------------

    def start(self, k: int) -> np.ndarray:
        """θ of directions that no effect is left out of, of mean variance one."""
        d = self.rank(k)
        waves = np.cos(np.pi * np.outer(np.arange(k) + 0.5, np.arange(d)) / k)
        return self.nearest(waves * np.sqrt(k / d) / np.linalg.norm(waves, axis=0)) if d < k else np.eye(k)[below(k, k)]

    def positions(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the first d columns of the lower triangle."""
        return below(k, self.rank(k))

    def nearest(self, Lambda: np.ndarray) -> np.ndarray:
        """Entries of the d largest principal axes, rotated."""
        k, d = len(Lambda), self.rank(len(Lambda))
        left, values, _ = np.linalg.svd(Lambda, full_matrices=False)
        return self._entries(left[:, :d] * values[:d], k)

    def sizes(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Norm of the column of Λ that each entry is in, one at least."""
        _, columns = self.positions(k)
        return np.maximum(np.sqrt(np.bincount(columns, theta**2, k)), 1.0)[columns]

    def moments(self, Lambda: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """Take the largest axes of an unstructured step, from effects of the same mean variance in all directions."""
        k = len(Lambda)
        everywhere = np.eye(k) * np.sqrt((Lambda**2).sum() / k)
        D, U = everywhere @ expected @ everywhere, everywhere @ observed @ everywhere
        return self.nearest(move(everywhere, D, U) if is_finite_step(D, U) and Lambda.any() else Lambda)

    def axes(self, Lambda: np.ndarray) -> Axes:
        """Principal axes of ΛΛ', d of them."""
        k, d = len(Lambda), self.rank(len(Lambda))
        base = np.where(np.arange(k) < d, np.linalg.svd(Lambda)[0], 0.0)
        return Axes(base, np.tile(np.minimum(np.arange(k), d - 1), (k, 1)))

    def elsewhere(self, theta: np.ndarray, k: int) -> list[np.ndarray]:
        """Put other directions in the place of the last principal axis."""
        d = self.rank(k)
        left, values, _ = np.linalg.svd(self._matrix(theta, k))
        kept = left[:, : d - 1] * values[: d - 1]
        return [
            self._entries(np.column_stack([kept, values[d - 1] * other]), k) for other in left[:, d:].T[:MOST_ELSEWHERE]
        ]

    def loadings(self, Lambda: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take its columns."""
        return Lambda[:, : self.rank(len(Lambda))], np.zeros(len(Lambda))

    # -- the boundary -------------------------------------------------------------------------------------------------

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Columns of zeros: fewer directions."""
        rows, columns = self.positions(k)
        if self.rank(k) == k:
            return (rows == columns) & (theta == 0.0)
        return np.bincount(columns, theta != 0.0, k)[columns] == 0

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """θ of rank below d where the last axes are small."""
        L = self._matrix(theta, k)
        left, values, _ = np.linalg.svd(L, full_matrices=False)
        kept = values >= SNAP
        is_there = not L[:, int(kept.sum()) :].any()
        return theta if is_there else self._entries(left[:, kept] * values[kept], k)

    def way_down(self, theta: np.ndarray, k: int, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
        """As without a structure, with the steepest of the directions that are left."""
        Lambda = self._matrix(theta, k)
        left, values, _ = np.linalg.svd(Lambda)
        r = int((values > np.finfo(float).eps * max(values[0], 1.0)).sum())
        if r == self.rank(k):
            return None
        slope = expected - observed
        along = slope @ Lambda
        size = np.abs(along).max()
        if size > DOWN * np.abs(expected @ Lambda).max():
            return self.nearest(Lambda - STEP * along / size)
        basis = left[:, r:]
        slopes, directions = np.linalg.eigh(basis.T @ slope @ basis)
        steepest = np.flatnonzero(slopes < -DOWN * np.abs(expected).max())[: self.rank(k) - r]
        if not len(steepest):
            return None
        return self.nearest(np.hstack([Lambda, STEP * basis @ directions[:, steepest]]))

    # -- the prior ----------------------------------------------------------------------------------------------------

    def spread(self, xp: Any, pivots: Array, others: Array, places: Array, k: int) -> tuple[Array, Array, Array]:
        """Take loadings to what stands for standard deviations, to directions, and to the log density of these.

        Parameters
        ----------
        xp : module
            NumPy or JAX.
        pivots, others : arrays, shapes (d,), (m − d,)
            The entries on the diagonal and those below it, column by column, of W (k, d), zero above.
        places : int array, shape (k,)
            The row of W that each effect has, see `frame`.
        k : int
            How many effects there are.

        Returns
        -------
        volume : array, shape (k,)
            |w|^r of each row w of r entries: flat where the entries are, whatever the direction.
        unit : array, shape (k, d)
            Directions w / |w|. Their inner products are the correlations.
        log_density : scalar
            Of the volumes flat and the directions uniform on the sphere of d dimensions, seen in the frame of the first
            rows, by the entries of W with positive pivots.

        Notes
        -----
        Rows of r < d entries are those of a uniform u in the frame of the rows before: the density of the direction is
        ∝ (u_r)^(d − r). Of one direction W are the loadings themselves, which change their signs at zero, where nothing
        happens to the density; of more a row that is zero has no direction, and |w|^r leaves no pole there.
        """
        d = self.rank(k)
        W = xp.concatenate([pivots, others, xp.zeros(1)])[_frame_places(k, d)]
        size = xp.sqrt((W**2).sum(axis=1))
        unit = W / size[:, None]
        beside = d - 1.0 - np.arange(d)  # the first has its own direction only
        log_density = _log_constant(k, d) + (beside[1:] * xp.log(xp.abs(xp.diagonal(unit)[1:]))).sum()
        return (size ** _widths(k, d))[places], unit[places], log_density

    def gathered(self, volume: np.ndarray, unit: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the pivots and other entries of volumes (k,) and directions (k, d), turned; no pivot is zero."""
        k, d = unit.shape
        order = np.argsort(places)
        T = lower_triangular(unit[order])
        own = np.arange(d)
        T[own, own] = np.maximum(T[own, own], LEAST_OWN)
        T /= np.linalg.norm(T, axis=1, keepdims=True)
        W = T * (volume[order] ** (1.0 / _widths(k, d)))[:, None]
        return np.diag(W).copy(), W[self.below_pivots(k)]

    def below_pivots(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the entries of W below the pivots, column by column."""
        return _below_pivots(k, self.rank(k))

    def directions(self, factor: np.ndarray) -> np.ndarray:
        """Find unit rows (k, d) by the d largest axes of a factor of a correlation matrix; any for rows of zeros."""
        d = self.rank(len(factor))
        left, values, _ = np.linalg.svd(factor, full_matrices=False)
        found = left[:, :d] * values[:d]
        size = np.linalg.norm(found, axis=1, keepdims=True)
        return np.where(size > 0.0, found / np.where(size > 0.0, size, 1.0), np.eye(1, d))

    def frame(self, factor: np.ndarray) -> np.ndarray:
        """Give effects their rows (k,) of W: those first whose loadings, rows of a factor (k, k), span most.

        A direction told by an effect that hardly has it has no sign and no place.
        """
        left, order = np.array(factor), []
        for _ in range(self.rank(len(factor))):
            size = np.linalg.norm(left, axis=1)
            size[order] = -1.0
            order.append(int(np.argmax(size)))
            along = left[order[-1]] / (size[order[-1]] or 1.0)
            left = left - np.outer(left @ along, along)
        others = np.setdiff1d(np.arange(len(factor)), order)
        return np.argsort([*order, *others])

    def cor_density(self, x: np.ndarray, which: int, concentration: float, k: int) -> np.ndarray:
        """Of the inner product of two uniform directions; of one direction, of which it is ±1, drawn as bars."""
        if self.rank(k) > 1:
            return symmetric_beta(x, 0.5 * (self.rank(k) - 1.0))
        return np.where(np.abs(x) == np.abs(x).max(), 0.5 / (x[1] - x[0]), 0.0)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _matrix(self, theta: np.ndarray, k: int) -> np.ndarray:
        Lambda = np.zeros((k, k))
        Lambda[self.positions(k)] = theta
        return Lambda

    def _entries(self, factor: np.ndarray, k: int) -> np.ndarray:
        """θ of a factor (k, r) of independent columns, r ≤ d."""
        found = np.zeros((k, k))
        if factor.shape[1]:
            L = lower_triangular(factor)
            found[:, : L.shape[1]] = L
        return found[self.positions(k)]


@lru_cache(maxsize=256)
def below(k: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the entries on and below the diagonal in the first d columns, column by column."""
    column, row = np.triu_indices(d, 0, k)
    return row, column


@lru_cache(maxsize=256)
def _below_pivots(k: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = below(k, d)
    return rows[rows > columns], columns[rows > columns]


@lru_cache(maxsize=256)
def _frame_places(k: int, d: int) -> np.ndarray:
    """Which of pivots, other entries and the zero after them is at each place of W (k, d)."""
    rows, columns = _below_pivots(k, d)
    places = np.full((k, d), d + len(rows))
    places[np.arange(d), np.arange(d)] = np.arange(d)
    places[rows, columns] = d + np.arange(len(rows))
    return places


@lru_cache(maxsize=256)
def _widths(k: int, d: int) -> np.ndarray:
    """Entries r of each row of W."""
    return np.minimum(np.arange(k) + 1.0, d)


@lru_cache(maxsize=256)
def _log_constant(k: int, d: int) -> float:
    """Log density by W where all directions stand upright: r over the mass of their densities, row by row."""
    rows = [min(i + 1, d) for i in range(k)]
    halves = [log(r) - _log_mass(r, d - r) for r in rows]
    return sum(halves) - (k - d) * log(2.0)


def _log_mass(r: int, power: int) -> float:
    """Log integral of u_r^power over the half sphere of r dimensions where u_r is positive."""
    return 0.5 * (r - 1) * log(pi) + lgamma(0.5 * (power + 1)) - lgamma(0.5 * (power + r))
