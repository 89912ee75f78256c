"""AR(1): correlations fall with the distance in the order of the effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from bayesmm.console import listing
from bayesmm.covariance.one_correlation import OneCorrelation
from bayesmm.covariance.places import Neighbours, neighbours_before, read_times
from bayesmm.covariance.structure import Array, divide, unseen

EVEN = 1e-6  # of a step, to which steps are equal and whole


@dataclass(frozen=True)
class Autoregressive(OneCorrelation):
    """R_ij = ρ^|i − j|, with −1 ≤ ρ ≤ 1; neighbours in the order of the effects are one step apart.

    Attributes
    ----------
    steps : tuple of int
        Where each effect is, in steps from the first, none twice; 0, 1, 2, ... if there are none.
    """

    steps: tuple[int, ...] = ()

    pattern = "first-order autoregressive"
    freedom = "correlated by their distance"

    def _widened(self, effects: Sequence[str], k: int, term: str) -> Autoregressive:
        """Count the steps of other times from the first, where those of the fit are evenly spaced."""
        times = read_times(effects)
        if times is None:
            why = (
                "its levels are no numbers, which would say how many steps others are away. Make the time a column of "
                "whole numbers, ar1(0 + C(time) | g)."
            )
            raise unseen(effects[k:], term, why)
        gaps = np.diff(times[:k])
        if np.ptp(gaps) > EVEN * np.abs(gaps).max():
            why = (
                f"a step is from one level that occurs to the next, and these are not evenly spaced "
                f"({listing([f'{t:g}' for t in times[:k]])}), so that no number of steps leads to another time. exp() "
                "goes by distances in time."
            )
            raise unseen(effects[k:], term, why)
        steps = (times - times[0]) / gaps[0]
        if (np.abs(steps - np.round(steps)) > EVEN).any():
            why = (
                f"a step is {abs(gaps[0]):g} long, and no whole number of them leads there. exp() knows times between."
            )
            raise unseen(effects[k:], term, why)
        return replace(self, steps=tuple(np.round(steps).astype(int).tolist()))

    def unit(self, xp: Any, low: Array, high: Array, k: int) -> Array:
        """Cholesky factor: ρ^(i − j), from the second column on times √(1 − ρ²)."""
        rho, innovation = low**2 - high**2, 2.0 * low * high
        if self.steps:
            return self._bridged(xp, rho, innovation)
        powers = xp.cumprod(xp.stack([rho * 0.0 + 1.0, *[rho] * (k - 1)]))
        row, column = np.indices((k, k))
        first = xp.where(column == 0, 1.0, innovation)
        return xp.where(row >= column, powers[np.maximum(row - column, 0)] * first, 0.0)

    def _bridged(self, xp: Any, rho: Array, innovation: Array) -> Array:
        """Cholesky factor in any order: an effect depends on those before it through its nearest neighbours alone.

        Between neighbours m and r steps away its mean is that of a bridge. With q(m) = 1 + ρ² + ... + ρ^2(m − 1), so
        that 1 − ρ^2m = (1 − ρ²)q(m), nothing is divided by zero.
        """

        def q(steps: int) -> Array:
            return sum((rho ** (2 * i) for i in range(1, steps)), rho * 0.0 + 1.0)

        axes = np.eye(len(self.steps))
        rows = [rho * 0.0 + axes[0]]
        for i, own in enumerate(_neighbours(self.steps), start=1):
            near = [(rows[j], int(steps)) for j, steps in own]
            if len(near) == 1:
                ((row, steps),) = near
                mean, left = rho**steps * row, q(steps)
            else:
                (before, m), (after, r) = near
                mean = (rho**m * q(r) * before + rho**r * q(m) * after) / q(m + r)
                left = q(m) * q(r) / q(m + r)
            rows.append(mean + innovation * xp.sqrt(left) * axes[i])
        return xp.stack(rows)

    def mean_correlation(self, xp: Any, covariance: Array, sd: Array) -> Array:
        """Mean over neighbours; where no two of them vary, a root of the mean over effects further apart.

        Of an even root the positive one: without neighbours that vary, the sign changes no covariance.
        """
        distances = self._distances(covariance.shape[-1])
        rho = covariance[..., 0, 0] * np.nan
        for apart in np.unique(distances[distances > 0]).tolist():
            i, j = np.nonzero(np.triu(distances == apart))
            power = divide(xp, covariance[..., i, j].sum(axis=-1), (sd[..., i] * sd[..., j]).sum(axis=-1))
            sign = xp.where(power.real < 0.0, -1.0, 1.0)
            base = xp.where(xp.isnan(rho), sign * power, 1.0)
            rho = xp.where(xp.isnan(rho), (sign if apart % 2 else 1.0) * base ** (1.0 / apart), rho)
        return rho

    def lkj_shapes(self, concentration: float, k: int) -> tuple[float, float]:
        """Det R = (1 − ρ²)^(k − 1)."""
        shape = (k - 1) * (concentration - 1.0) + 1.0
        return shape, shape

    def power(self, i: int, j: int) -> int:
        """Their distance."""
        return int(self._distances(max(i, j) + 1)[i, j])

    def correlation(self, xp: Any, cor: Array, k: int) -> Array:
        """R."""
        return cor[..., None] ** self._distances(k)

    def _distances(self, k: int) -> np.ndarray:
        steps = np.array(self.steps or range(k))
        return np.abs(steps[:, None] - steps)


@lru_cache(maxsize=256)
def _neighbours(steps: tuple[int, ...]) -> Neighbours:
    return neighbours_before(np.array(steps))
