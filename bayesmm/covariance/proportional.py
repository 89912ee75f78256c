"""A covariance matrix that is known but for one factor: Σ = σ²V."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmm.covariance.known_matrix import KnownMatrix
from bayesmm.covariance.structure import DOWN, LEAST, SNAP, STEP, Array, Axes, diagonal


@dataclass(frozen=True)
class Proportional(KnownMatrix):
    """Λ = θL with LL' = V; the one standard deviation is that of an effect whose variance in V is one."""

    freedom = "with a known covariance but for its scale"
    invariance = "scale"

    @property
    def words(self) -> str:  # type: ignore[override]
        """What it is a multiple of."""
        return f"proportional to {self.matrix or 'a known matrix'}"

    # -- θ and Λ ------------------------------------------------------------------------------------------------------

    def start(self, k: int) -> np.ndarray:
        """θ of Λ = L, with mean variance one."""
        return 1.0 / np.sqrt(np.diag(self.known(k)).mean(keepdims=True))

    def factor(self, xp: Any, theta: Array, k: int) -> Array:
        """Λ = θL."""
        return theta[0] * self.root(k)

    def derivatives(self, xp: Any, theta: Array, k: int) -> tuple[Array, Array]:
        """Λ is linear in θ."""
        return xp.asarray(self.root(k))[None], xp.zeros((1, 1, k, k))

    def nearest(self, Lambda: np.ndarray) -> np.ndarray:
        """Root of the mean variance over that of V."""
        return self.read(np, Lambda @ Lambda.T)[0]

    def sizes(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Its own size, that of the start at least."""
        return np.maximum(np.abs(theta), self.start(k))

    def moments(self, Lambda: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """ψ ← ψ⟨V, O⟩/⟨V, E⟩."""
        k, theta = len(Lambda), self.nearest(Lambda)
        ratio = (self.known(k) * observed).sum() / (self.known(k) * expected).sum()
        return np.maximum(theta * np.sqrt(ratio), LEAST * self.start(k)) if 0.0 <= ratio < np.inf else theta

    def axes(self, Lambda: np.ndarray) -> Axes:
        """One, of all effects."""
        k = len(Lambda)
        return Axes(self.root(k) * self.start(k), np.zeros((k, k), dtype=int))

    def separate(self, M: np.ndarray) -> np.ndarray:
        """Its part along V, as a multiple of the identity."""
        k = len(M)
        return (M * self.known(k)).sum() / np.trace(self.known(k)) * np.eye(k)

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Whether the standard deviation is zero."""
        return theta == 0.0

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Put a small standard deviation to zero."""
        return np.where(np.abs(theta) < SNAP * self.start(k), 0.0, theta)

    def way_down(self, theta: np.ndarray, k: int, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
        """Let the variance leave zero where ⟨V, Γ⟩ is negative."""
        V = self.known(k)
        is_down = theta[0] == 0.0 and ((expected - observed) * V).sum() < -DOWN * (expected * V).sum()
        return STEP * self.start(k) if is_down else None

    # -- the public scale ---------------------------------------------------------------------------------------------

    def sd_names(self, effects: Sequence[str], expression: str) -> tuple[str, ...]:
        """One, of the term."""
        return (expression,)

    def n_sds(self, k: int) -> int:
        """One."""
        return 1

    def effect_sds(self, sd: Array, k: int) -> Array:
        """Multiply it by the roots of the variances in V."""
        return sd * np.sqrt(np.diag(self.known(k)))

    def free_sds(self, xp: Any, sds: Array) -> Array:
        """Root of the mean variance over that of V."""
        mean = np.diag(self.known(sds.shape[-1])).mean()
        return xp.sqrt((sds**2).mean(axis=-1, keepdims=True) / mean)

    def variance_symbol(self, i: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Write the entry of V before the square of the standard deviation."""
        return self._multiple(i, i, len(effects), expression, group)

    def symbol(self, i: int, j: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Likewise."""
        return self._multiple(i, j, len(effects), expression, group)

    def read(self, xp: Any, covariance: Array) -> tuple[Array, Array]:
        """Root of the mean variance over that of V."""
        mean = np.diag(self.known(covariance.shape[-1])).mean()
        return xp.sqrt(diagonal(xp, covariance).mean(axis=-1, keepdims=True) / mean), covariance[..., 0, :0]

    def _multiple(self, i: int, j: int, k: int, expression: str, group: str) -> str:
        value = self.known(k)[i, j]
        if value == 0.0:
            return ""
        return f"{'' if value == 1.0 else f'{value:.6g}·'}σ²({expression} | {group})"
