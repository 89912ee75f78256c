"""AR(1): correlations fall with the distance in the order of the effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmm.covariance.one_correlation import OneCorrelation
from bayesmm.covariance.structure import Array, divide


@dataclass(frozen=True)
class Autoregressive(OneCorrelation):
    """R_ij = ρ^|i − j|, with −1 ≤ ρ ≤ 1; neighbours in the order of the effects are one step apart."""

    pattern = "first-order autoregressive"
    freedom = "correlated by their distance"

    def unit(self, xp: Any, low: Array, high: Array, k: int) -> Array:
        """Cholesky factor: ρ^(i − j), from the second column on times √(1 − ρ²)."""
        rho, innovation = low**2 - high**2, 2.0 * low * high
        powers = xp.cumprod(xp.stack([rho * 0.0 + 1.0, *[rho] * (k - 1)]))
        row, column = np.indices((k, k))
        first = xp.where(column == 0, 1.0, innovation)
        return xp.where(row >= column, powers[np.maximum(row - column, 0)] * first, 0.0)

    def mean_correlation(self, xp: Any, covariance: Array, sd: Array) -> Array:
        """Mean over neighbours; where no two of them vary, a root of the mean over effects further apart.

        Of an even root the positive one: without neighbours that vary, the sign changes no covariance.
        """
        k = covariance.shape[-1]
        rho = covariance[..., 0, 0] * np.nan
        for apart in range(1, k):
            i = np.arange(k - apart)
            power = divide(
                xp, covariance[..., i, i + apart].sum(axis=-1), (sd[..., i] * sd[..., i + apart]).sum(axis=-1)
            )
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
        return abs(i - j)

    def correlation(self, xp: Any, cor: Array, k: int) -> Array:
        """R."""
        row, column = np.indices((k, k))
        return cor[..., None] ** np.abs(row - column)
