"""Standard deviations, equal or of each effect, times a correlation matrix of one parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmm.covariance.scaled_correlation import APART, RIGHT_ANGLE, TINY, ScaledCorrelation
from bayesmm.covariance.structure import Array, Statement

ELSEWHERE = RIGHT_ANGLE * np.array([0.15, 0.5, 0.85])


@dataclass(frozen=True)
class OneCorrelation(ScaledCorrelation):
    """Λ = diag(s)·C(ρ), with ρ = l + (u − l) sin²φ between its limits l and u."""

    correlations = "one"

    def unit(self, xp: Any, low: Array, high: Array, k: int) -> Array:
        """C (k, k) from √((ρ − l)/(u − l)) and √((u − ρ)/(u − l)), of either sign; analytic in both."""
        raise NotImplementedError

    def unit_derivatives(self, xp: Any, angle: Array, k: int) -> tuple[Array, Array, Array]:
        """C and its first two derivatives by the angle, by a complex step and differences of such."""
        second = (self._slope(xp, angle + APART, k) - self._slope(xp, angle - APART, k)) / (2.0 * APART)
        return self._unit_at(xp, angle, k), self._slope(xp, angle, k), second

    def mean_correlation(self, xp: Any, covariance: Array, sd: Array) -> Array:
        """ρ, a sum of covariances over one of products of standard deviations; NaN where that is zero."""
        raise NotImplementedError

    # -- θ and Λ ------------------------------------------------------------------------------------------------------

    def angles(self, cor: np.ndarray, k: int) -> np.ndarray:
        """φ of the correlation; of one beyond its limits, that of the limit."""
        return np.array([self._angle(float(np.clip(np.nan_to_num(cor[0]), *self.limits(k))), k)])

    def units(self, xp: Any, angles: Array, k: int) -> Array:
        """C at each angle."""
        return xp.stack([self._unit_at(xp, angle, k) for (angle,) in angles])

    def unit_slopes(self, xp: Any, angles: Array, k: int) -> tuple[Array, Array, Array]:
        """Of the only angle."""
        C, first, second = self.unit_derivatives(xp, angles[0], k)
        return C, first[None], second[None, None]

    def same_angles(self, angles: np.ndarray, k: int) -> list[np.ndarray]:
        """Return this one, that of the other sign, and angles all over."""
        return [angles, RIGHT_ANGLE - angles, *np.linspace(0.0, RIGHT_ANGLE, 17)[:, None]]

    def elsewhere(self, theta: np.ndarray, k: int) -> list[np.ndarray]:
        """At correlations all over their range."""
        return [np.append(theta[:-1], angle) for angle in ELSEWHERE]

    # -- the public scale ---------------------------------------------------------------------------------------------

    def cor_names(self, effects: Sequence[str], expression: str) -> tuple[tuple[str, ...], ...]:
        """One, of the term."""
        return ((expression,),)

    def n_cors(self, k: int) -> int:
        """One."""
        return 1

    def own_priors(self, k: int) -> tuple[tuple[Statement, ...], ...]:
        """Of the correlation."""
        return (("correlation",),)

    def power(self, i: int, j: int) -> float:
        """Say which power of ρ correlates two effects."""
        raise NotImplementedError

    def symbol(self, i: int, j: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Write a power of the correlation times standard deviations."""
        power = self.power(i, j)
        covariance = (
            f"σ²({expression} | {group})" if self.equal else f"σ({effects[i]} | {group})·σ({effects[j]} | {group})"
        )
        return f"ρ({expression} | {group}){f'^{power:g}' if power != 1 else ''}·{covariance}"

    def is_defined(self, sds: np.ndarray) -> list[bool]:
        """Where two effects vary."""
        return [bool((sds > 0.0).sum() > 1)]

    def cor_cells(self, effects: Sequence[str]) -> list[tuple[int, str]]:
        """Beside the first standard deviation."""
        return [(0, "cor")]

    def unit_factor(self, xp: Any, share: Array, k: int) -> Array:
        """Cholesky factor of the correlation matrix."""
        (share,) = share
        return self.unit(xp, xp.sqrt(share), xp.sqrt(1.0 - share), k)

    def mean_correlations(self, xp: Any, covariance: Array, sd: Array) -> Array:
        """Only the one."""
        return self.mean_correlation(xp, covariance, sd)[..., None]

    # -- inside -------------------------------------------------------------------------------------------------------

    def _angle(self, rho: float, k: int) -> float:
        low, high = self.limits(k)
        return float(np.arcsin(np.sqrt(np.clip((rho - low) / (high - low), 0.0, 1.0))))

    def _unit_at(self, xp: Any, angle: Array, k: int) -> Array:
        """C at an angle; sin(π/2 − φ) is exactly zero at a right angle, cos φ is not."""
        return self.unit(xp, xp.sin(angle), xp.sin(RIGHT_ANGLE - angle), k)

    def _slope(self, xp: Any, angle: Array, k: int) -> Array:
        return xp.imag(self._unit_at(xp, angle + 1j * TINY, k)) / TINY
