"""Independent effects with one standard deviation for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmm.covariance.structure import DOWN, LEAST, SNAP, STEP, Array, Axes, Structure, diagonal


@dataclass(frozen=True)
class Identity(Structure):
    """Λ = θI: nlme's pdIdent."""

    words = "identity, one standard deviation"
    freedom = "uncorrelated, with one standard deviation"
    invariance = "scale"

    def widened(self, effects: Sequence[str], k: int, term: str) -> Identity:
        """Take others as independent of these, with the one standard deviation."""
        return self

    def start(self, k: int) -> np.ndarray:
        """θ of Λ = I."""
        return np.ones(1)

    def factor(self, xp: Any, theta: Array, k: int) -> Array:
        """Λ = θI."""
        return theta[0] * xp.eye(k)

    def derivatives(self, xp: Any, theta: Array, k: int) -> tuple[Array, Array]:
        """Λ is linear in θ."""
        return xp.eye(k)[None], xp.zeros((1, 1, k, k))

    def nearest(self, Lambda: np.ndarray) -> np.ndarray:
        """Root of the mean variance."""
        return np.array([np.sqrt((Lambda**2).sum() / len(Lambda))])

    def sizes(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Its own size, one at least."""
        return np.maximum(np.abs(theta), 1.0)

    def moments(self, Lambda: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """ψ ← ψ tr O / tr E."""
        theta = self.nearest(Lambda)
        ratio = np.trace(observed) / np.trace(expected)
        return np.maximum(theta * np.sqrt(ratio), LEAST) if 0.0 <= ratio < np.inf else theta

    def axes(self, Lambda: np.ndarray) -> Axes:
        """One, of all effects."""
        k = len(Lambda)
        return Axes(np.eye(k), np.zeros((k, k), dtype=int))

    def separate(self, M: np.ndarray) -> np.ndarray:
        """Its mean diagonal."""
        return np.trace(M) / len(M) * np.eye(len(M))

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Whether the standard deviation is zero."""
        return theta == 0.0

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Put a small standard deviation to zero."""
        return np.where(np.abs(theta) < SNAP, 0.0, theta)

    def way_down(self, theta: np.ndarray, k: int, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
        """Let the variance leave zero where tr Γ is negative."""
        is_down = theta[0] == 0.0 and np.trace(expected) - np.trace(observed) < -DOWN * np.trace(expected)
        return np.array([STEP]) if is_down else None

    def sd_names(self, effects: Sequence[str], expression: str) -> tuple[str, ...]:
        """One, of the term."""
        return (expression,)

    def n_sds(self, k: int) -> int:
        """One."""
        return 1

    def effect_sds(self, sd: Array, k: int) -> Array:
        """Give all effects the same one."""
        return sd.repeat(k, axis=-1)

    def free_sds(self, xp: Any, sds: Array) -> Array:
        """Root of the mean variance."""
        return xp.sqrt((sds**2).mean(axis=-1, keepdims=True))

    def read(self, xp: Any, covariance: Array) -> tuple[Array, Array]:
        """Root of the mean variance."""
        return xp.sqrt(diagonal(xp, covariance).mean(axis=-1, keepdims=True)), covariance[..., 0, :0]
