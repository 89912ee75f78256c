"""Independent effects, each with a standard deviation of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesmm.covariance.structure import DOWN, LEAST, SNAP, STEP, Axes, Structure, is_finite_step


@dataclass(frozen=True)
class Diagonal(Structure):
    """θ are the diagonal of Λ."""

    words = "diagonal"
    freedom = "uncorrelated"
    invariance = "column"

    def start(self, k: int) -> np.ndarray:
        """θ of Λ = I."""
        return np.ones(k)

    def positions(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the diagonal."""
        return np.arange(k), np.arange(k)

    def nearest(self, Lambda: np.ndarray) -> np.ndarray:
        """Diagonal of Λ, which has nothing beside it where ΛΛ' is diagonal."""
        return np.diag(Lambda).copy()

    def sizes(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Each entry's own size, one at least."""
        return np.maximum(np.abs(theta), 1.0)

    def moments(self, Lambda: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """ψ ← ψO/E for each variance."""
        D, U = Lambda.T @ expected @ Lambda, Lambda.T @ observed @ Lambda
        if not is_finite_step(D, U):
            return self.nearest(Lambda)
        return np.maximum(np.abs(np.diag(Lambda)) * np.sqrt(np.diag(U) / np.diag(D)), LEAST)

    def axes(self, Lambda: np.ndarray) -> Axes:
        """Take the effects."""
        k = len(Lambda)
        return Axes(np.eye(k), np.tile(np.arange(k), (k, 1)))

    def separate(self, M: np.ndarray) -> np.ndarray:
        """Its diagonal."""
        return np.diag(np.diag(M))

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Entries of zero."""
        return theta == 0.0

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Put small entries to zero."""
        return np.where(np.abs(theta) < SNAP, 0.0, theta)

    def way_down(self, theta: np.ndarray, k: int, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
        """Let those variances leave zero for which Γ is negative."""
        slope = np.diag(expected) - np.diag(observed)
        down = (theta == 0.0) & (slope < -DOWN * np.diag(expected))
        return theta + STEP * down if down.any() else None
