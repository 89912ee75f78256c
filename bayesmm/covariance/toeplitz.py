"""Toeplitz: effects as many steps apart are equally correlated, each lag with a correlation of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from bayesmm.covariance.scaled_correlation import RIGHT_ANGLE, ScaledCorrelation
from bayesmm.covariance.structure import OF_OTHERS, Array, Statement, Structure, divide, symmetric_beta, unseen

MIDDLE = RIGHT_ANGLE / 2  # angle of a partial correlation of zero
ELSEWHERE = RIGHT_ANGLE * np.array([0.15, 0.85])
EFFECTS_ELSEWHERE = 12  # times lags of which other partial correlations are tried: each costs a look along all effects
EXHAUSTED = 1e-14  # innovation variance that is rounding: what is before determines what comes
POINTS = 4096  # over which the earlier partial correlations are averaged


@dataclass(frozen=True)
class Toeplitz(ScaledCorrelation):
    """R_ij = ρ_|i − j|; neighbours in the order of the effects are one step apart.

    Notes
    -----
    The partial autocorrelations π_1, ..., π_(k−1) of any R lie between −1 and 1, each whatever the others are, and give
    every R (Barndorff-Nielsen & Schou 1973). With π_h = sin²φ_h − cos²φ_h all entries of the Cholesky factor are sums
    of products of sines and cosines: at each time the lattice of prediction errors f of the past and b of the future,

        f_(h−1)(t) = √(1 − π_h²) f_h(t) + π_h b_(h−1)(t − 1),
        b_h(t) = √(1 − π_h²) b_(h−1)(t − 1) − π_h f_h(t),

    starts from an innovation f_t(t) and ends in row t, f_0(t) (Makhoul 1978). Where some π_h is −1 or 1 those of larger
    lags have no meaning.

    With v_h = Π_{j≤h} (1 − π_j²), ∂ρ_h/∂π_h = v_(h−1) and det R = Π_h (1 − π_h²)^(k−h): a density ∝ det(R)^(η−1) of the
    correlations is one of independent (π_h + 1)/2 ~ Beta((k−h)η, (k−h)η).

    References
    ----------
    Barndorff-Nielsen & Schou (1973). J. Multivar. Anal. 3. Makhoul (1978). IEEE Trans. ASSP 26. Joe (2006).
    J. Multivar. Anal. 97.
    """

    pattern = "Toeplitz"
    freedom = "correlated by their distance"
    correlations = "several"

    @property
    def is_convex(self) -> bool:  # type: ignore[override]
        """With one standard deviation."""
        return self.equal

    @property
    def is_linear(self) -> bool:  # type: ignore[override]
        """With one standard deviation."""
        return self.equal

    def _widened(self, effects: Sequence[str], k: int, term: str) -> Structure:
        """Refuse them: they are at lags of which there is no correlation, or between levels."""
        why = f"there is a correlation for each lag up to {k - 1}, between the levels that occur, and none for others."
        raise unseen(effects[k:], term, f"{why} {OF_OTHERS}")

    # -- θ and Λ ------------------------------------------------------------------------------------------------------

    def angles(self, cor: np.ndarray, k: int) -> np.ndarray:
        """φ of the partial autocorrelations."""
        return np.arcsin(np.sqrt(self.shares(cor, k)))

    def units(self, xp: Any, angles: Array, k: int) -> Array:
        """C at each φ; sin(π/2 − φ) is exactly zero at a right angle, cos φ is not."""
        return self._unit(xp, xp.sin(angles), xp.sin(RIGHT_ANGLE - angles), k)

    def _unit(self, xp: Any, low: Array, high: Array, k: int) -> Array:
        """C (..., k, k) from √((1 + π)/2) and √((1 − π)/2), (..., c), of either sign."""
        partial, rest = low**2 - high**2, 2.0 * low * high
        axes = np.eye(k) + xp.zeros_like(partial[..., :1, None])  # (..., k, k)
        rows = behind = [axes[..., 0, :]]
        for t in range(1, k):
            forward, own = axes[..., t, :], []
            for h in range(t, 0, -1):
                p, r, before = partial[..., h - 1, None], rest[..., h - 1, None], behind[h - 1]
                own.append(r * before - p * forward)
                forward = r * forward + p * before
            rows, behind = [*rows, forward], [forward, *reversed(own)]
        return xp.stack(rows, axis=-2)

    def separate(self, M: np.ndarray) -> np.ndarray:
        """With one standard deviation, the mean of each diagonal."""
        if not self.equal:
            return ScaledCorrelation.separate(self, M)
        lags = _lags(len(M))
        return (np.bincount(lags.ravel(), M.ravel()) / np.bincount(lags.ravel()))[lags]

    def elsewhere(self, theta: np.ndarray, k: int) -> list[np.ndarray]:
        """Without correlations, and at a large partial one of either sign at each of the first lags."""
        scales, angles = self._split(theta, k)
        found = [np.full_like(angles, MIDDLE)]
        for h in range(min(len(angles), max(1, EFFECTS_ELSEWHERE // k))):
            found += [np.where(np.arange(len(angles)) == h, angle, MIDDLE) for angle in ELSEWHERE]
        return [np.append(scales, other) for other in found]

    # -- the boundary -------------------------------------------------------------------------------------------------

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Scales of zero, angles at a limit, and all after one, which have no meaning."""
        scales, at_limit = self._split(super().held(theta, k), k)
        return np.append(scales, np.logical_or.accumulate(at_limit))

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Put partial correlations that have no meaning to zero."""
        scales, angles = self._split(super().snapped(theta, k), k)
        at_limit = np.isin(angles, (0.0, RIGHT_ANGLE))
        is_void = np.append(False, np.logical_or.accumulate(at_limit)[:-1])
        return np.append(scales, np.where(is_void, MIDDLE, angles))

    def same_angles(self, angles: np.ndarray, k: int) -> list[np.ndarray]:
        """Return these, those of the other sign, each alone all over, and those of cos(ωh), of the extreme matrices."""
        sign = np.where(np.arange(len(angles)) % 2, angles, RIGHT_ANGLE - angles)
        found = [angles, sign]
        for omega in np.linspace(0.0, np.pi, 17):
            found.append(self.angles(np.cos(omega * np.arange(1, k)), k))
            found += [np.where(np.arange(k - 1) == h, 0.5 * omega, angles) for h in range(k - 1)]
        return found

    def inward(self, angles: np.ndarray, at: int, by: float) -> list[np.ndarray]:
        """At any of the partial correlations that get a meaning: some at the next lags, and zero after."""
        (moved,) = super().inward(angles, at, by)
        if angles[at] not in (0.0, RIGHT_ANGLE):
            return []  # has no meaning itself
        found, following = [], len(angles) - at - 1
        for some in product((MIDDLE, 0.0, RIGHT_ANGLE), repeat=min(following, 2)):
            found.append(np.concatenate([moved[: at + 1], some, np.full(following - len(some), MIDDLE)]))
        return found

    # -- the public scale ---------------------------------------------------------------------------------------------

    def cor_names(self, effects: Sequence[str], expression: str) -> tuple[tuple[str, ...], ...]:
        """By their lag."""
        return tuple((f"{expression}, lag {h}", f"lag {h}") for h in range(1, len(effects)))

    def n_cors(self, k: int) -> int:
        """One for each lag."""
        return k - 1

    def own_priors(self, k: int) -> tuple[tuple[Statement, ...], ...]:
        """Of partial autocorrelations: each is anything between −1 and 1, where a lag's limits depend on the others."""
        return tuple(("partial",) for _ in range(k - 1))

    def symbol(self, i: int, j: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Write the correlation of their lag times standard deviations."""
        covariance = (
            f"σ²({expression} | {group})" if self.equal else f"σ({effects[i]} | {group})·σ({effects[j]} | {group})"
        )
        return f"ρ({expression}, lag {j - i} | {group})·{covariance}"

    def is_defined(self, sds: np.ndarray) -> list[bool]:
        """Where two effects that far apart vary."""
        return [bool((sds[:-h] * sds[h:] > 0.0).any()) for h in range(1, len(sds))]

    def cor_cells(self, effects: Sequence[str]) -> list[tuple[int, str]]:
        """Beside the one standard deviation by lag, or beside each effect that with the first."""
        if self.equal:
            return [(0, f"cor lag {h}") for h in range(1, len(effects))]
        return [(h, f"cor {effects[0]}") for h in range(1, len(effects))]

    def correlation(self, xp: Any, cor: Array, k: int) -> Array:
        """R."""
        return xp.concatenate([xp.ones((*cor.shape[:-1], 1)), cor], axis=-1)[..., _lags(k)]

    def mean_correlations(self, xp: Any, covariance: Array, sd: Array) -> Array:
        """Mean over the effects at each lag."""
        found = []
        for h in range(1, covariance.shape[-1]):
            i = np.arange(covariance.shape[-1] - h)
            products = (sd[..., i] * sd[..., i + h]).sum(axis=-1)
            found.append(divide(xp, covariance[..., i, i + h].sum(axis=-1), products))
        return xp.stack(found, axis=-1)

    def shares(self, cor: np.ndarray, k: int) -> np.ndarray:
        """(1 + π)/2 by the recursion of Levinson and Durbin; zero partial ones where a correlation is undefined."""
        rho, weights, variance, partial = list(cor), np.zeros(0), 1.0, np.zeros(k - 1)
        for h in range(k - 1):
            expected = float(weights @ rho[:h][::-1])
            if not np.isnan(rho[h]) and variance > EXHAUSTED:
                partial[h] = np.clip((rho[h] - expected) / variance, -1.0, 1.0)
            rho[h] = expected + variance * partial[h]
            weights = np.append(weights - partial[h] * weights[::-1], partial[h])
            variance *= 1.0 - partial[h] ** 2
        return 0.5 * (1.0 + partial)

    def unit_factor(self, xp: Any, shares: Array, k: int) -> Array:
        """Cholesky factor of the correlation matrix."""
        return self._unit(xp, xp.sqrt(shares), xp.sqrt(1.0 - shares), k)

    def lkj_shapes(self, concentration: float, k: int) -> tuple[Array, Array]:
        """(k − h)η, twice."""
        shapes = concentration * np.arange(k - 1.0, 0.0, -1.0)
        return shapes, shapes

    def cor_density(self, x: np.ndarray, which: int, concentration: float, k: int) -> np.ndarray:
        """Mean, over the earlier partial correlations, of the density of ρ_h = its expectation + v_(h−1) π_h."""
        shapes, _ = self.lkj_shapes(concentration, k)
        if which == 0:
            return symmetric_beta(x, shapes[0])
        expected, variance = _predicted(tuple(shapes[:which]))
        total = np.zeros_like(x)
        for m, v in zip(expected, variance, strict=True):
            inside = np.abs(x - m) < v
            total[inside] += symmetric_beta((x[inside] - m) / v, shapes[which]) / v
        return total / len(expected)


@lru_cache(maxsize=64)
def _lags(k: int) -> np.ndarray:
    """|i − j| (k, k)."""
    row, column = np.indices((k, k))
    return np.abs(row - column)


@lru_cache(maxsize=16)
def _predicted(shapes: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Predict the next correlation from those before it, with v, (m,) each, at evenly spread partial ones.

    The points are a Kronecker sequence of the generalised golden ratio, taken through the quantiles of the betas.
    """
    from scipy.special import betaincinv

    d = len(shapes)
    ratio = 2.0
    for _ in range(64):
        ratio = (1.0 + ratio) ** (1.0 / (d + 1.0))
    uniform = (0.5 + np.outer(np.arange(POINTS), ratio ** -np.arange(1.0, d + 1.0))) % 1.0
    partial = 2.0 * betaincinv(np.array(shapes), np.array(shapes), uniform) - 1.0  # (m, d)
    rho, weights, variance = np.zeros((POINTS, d)), np.zeros((POINTS, 0)), np.ones(POINTS)
    for h in range(d):
        own = partial[:, h]
        rho[:, h] = (weights * rho[:, :h][:, ::-1]).sum(axis=1) + variance * own
        weights = np.column_stack([weights - own[:, None] * weights[:, ::-1], own])
        variance = variance * (1.0 - own**2)
    return (weights * rho[:, ::-1]).sum(axis=1), variance
