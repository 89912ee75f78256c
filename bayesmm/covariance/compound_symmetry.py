"""Compound symmetry: all pairs of effects have one correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesmm.covariance.one_correlation import OneCorrelation
from bayesmm.covariance.structure import Array, divide
from bayesmm.covariance.unstructured import pairs


@dataclass(frozen=True)
class CompoundSymmetry(OneCorrelation):
    """R = (1 − ρ)I + ρ11', with −1/(k − 1) ≤ ρ ≤ 1.

    Attributes
    ----------
    size : int
        Of how many effects the limits are, where there are others; of all by default.
    """

    size: int = 0

    pattern = "compound symmetry"
    freedom = "equally correlated"

    @property
    def is_linear(self) -> bool:  # type: ignore[override]
        """With one standard deviation: aI + b11'."""
        return self.equal

    def _widened(self, effects: Sequence[str], k: int, term: str) -> CompoundSymmetry:
        """Take others as equally correlated."""
        return replace(self, size=self.size or k)

    def is_possible(self, covariance: np.ndarray) -> np.ndarray:
        """Correlations of more effects may not lie as far below zero: the sum of all has a variance."""
        return covariance.sum(axis=(-1, -2)) >= 0.0

    def limits(self, k: int) -> tuple[float, float]:
        """Where R is positive semi-definite."""
        return -1.0 / ((self.size or k) - 1), 1.0

    def unit(self, xp: Any, low: Array, high: Array, k: int) -> Array:
        """Cholesky factor, from 1 + (m − 1)ρ = m·low² and λ = 1 − ρ = m/(m − 1)·high², the eigenvalues of R for k = m.

        Its diagonal has d_j² = λ(λ + (j + 1)ρ)/(λ + jρ), in whose numerator for j = m − 1 is the other eigenvalue.
        Rows beyond m have no covariance where ρ is below the limit of so many effects; there they have no variance.
        """
        m = self.size or k
        root = np.sqrt(m / (m - 1)) * high
        rho = (m * low**2 - 1.0) / (m - 1)
        before = root**2 + np.arange(k) * rho  # λ + jρ: positive, but the first where ρ is one
        diagonal, below = [rho * 0.0 + 1.0], [rho]
        for j in range(1, m - 1):
            diagonal.append(root * xp.sqrt((before[j] + rho) / before[j]))
            below.append(rho * root / xp.sqrt(before[j] * (before[j] + rho)))
        diagonal.append(root * np.sqrt(m) * low / xp.sqrt(before[m - 1]))
        for j in range(m, k):
            last, own, after = before[j - 1], before[j], before[j] + rho
            is_there = (own.real > 0.0) & (after.real > 0.0)
            last, own, after = (xp.where(is_there, each, 1.0) for each in (last, own, after))
            sign = xp.where(low.real < 0.0, -1.0, 1.0) if j == m else 1.0  # of the diagonal above
            below.append(xp.where(is_there, sign * rho * root / xp.sqrt(last * own), 0.0))
            diagonal.append(xp.where(is_there, root * xp.sqrt(after / own), 0.0))
        entries = xp.stack([*diagonal, *below, rho * 0.0])
        return entries[_places(k)]

    def mean_correlation(self, xp: Any, covariance: Array, sd: Array) -> Array:
        """Mean over all pairs."""
        i, j = pairs(covariance.shape[-1])
        return divide(xp, covariance[..., i, j].sum(axis=-1), (sd[..., i] * sd[..., j]).sum(axis=-1))

    def lkj_shapes(self, concentration: float, k: int) -> tuple[float, float]:
        """Det R = (1 + (k − 1)ρ)(1 − ρ)^(k − 1)."""
        return concentration, (k - 1) * (concentration - 1.0) + 1.0

    def power(self, i: int, j: int) -> int:
        """One."""
        return 1

    def correlation(self, xp: Any, cor: Array, k: int) -> Array:
        """R."""
        return xp.where(np.eye(k, dtype=bool), 1.0, cor[..., None])

    def separate(self, M: np.ndarray) -> np.ndarray:
        """With one variance, its parts along the mean of the effects and beside it."""
        if not self.equal:
            return OneCorrelation.separate(self, M)
        k = len(M)
        mean = np.full((k, k), 1.0 / k)
        along = (M * mean).sum()
        return along * mean + (np.trace(M) - along) / (k - 1) * (np.eye(k) - mean)


def _places(k: int) -> np.ndarray:
    """Which of k diagonal entries, k − 1 entries below them, and zero, is at each place."""
    row, column = np.indices((k, k))
    return np.where(row == column, row, np.where(row > column, k + column, 2 * k - 1))
