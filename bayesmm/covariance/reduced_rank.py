"""Reduced rank: many effects that vary along a few directions, a factor analysis without specific variances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bayesmm.covariance.structure import DOWN, SNAP, STEP, Axes, is_finite_step, lower_triangular
from bayesmm.covariance.unstructured import Unstructured, move
from bayesmm.errors import DesignError

MOST_ELSEWHERE = 4  # directions beside those of a start that are tried in the place of its last


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
    has_prior = False
    correlations = "rank"

    @property
    def words(self) -> str:  # type: ignore[override]
        """Its rank."""
        return f"of rank {self.d}"

    def rank(self, k: int) -> int:
        """D."""
        return min(self.d, k)

    def bound(self, effects: Sequence[str], term: str) -> ReducedRank:
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
