"""Standard deviations, equal or of each effect, times a correlation matrix of one parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bayesmm.covariance.structure import (
    DOWN,
    LEAST,
    SNAP,
    STEP,
    Array,
    Axes,
    Structure,
    diagonal,
    is_finite_step,
)
from bayesmm.covariance.unstructured import move

RIGHT_ANGLE = np.pi / 2
NEAR_LIMIT = 1e-3  # angle from a limit of the correlation, which is tried exactly there
INSIDE = 0.3  # angle from it where the search goes on, if the criterion falls that way
ELSEWHERE = RIGHT_ANGLE * np.array([0.15, 0.5, 0.85])
SMALL = 1e-3  # step of a slope at the boundary
SAME = 1e-12  # relative difference of equal covariances
TINY = 1e-30  # step of a complex-step derivative
APART = 1e-5  # step of a central difference of such derivatives


@dataclass(frozen=True)
class OneCorrelation(Structure):
    """Λ = diag(s)·C(ρ), C the Cholesky factor of the correlation matrix.

    θ = (scales, φ), with ρ = l + (u − l) sin²φ between its limits l and u: smooth everywhere, and at its limits where φ
    is a multiple of a right angle. An equal standard deviation is its scale, of either sign; standard deviations of
    each effect are the squares of their scales, since another sign would change the correlations.

    Attributes
    ----------
    equal : bool
        Whether all effects have one standard deviation.
    """

    equal: bool = False
    pattern: ClassVar[str]  # of the correlations, in words
    correlations = "one"

    def unit(self, xp: Any, low: Array, high: Array, k: int) -> Array:
        """C (k, k) from √((ρ − l)/(u − l)) and √((u − ρ)/(u − l)), of either sign; analytic in both."""
        raise NotImplementedError

    def mean_correlation(self, xp: Any, covariance: Array, sd: Array) -> Array:
        """ρ, a sum of covariances over one of products of standard deviations; NaN where that is zero."""
        raise NotImplementedError

    @property
    def words(self) -> str:  # type: ignore[override]
        """Pattern of the correlations, and whether there is one standard deviation."""
        return f"{self.pattern}, one standard deviation" if self.equal else self.pattern

    @property
    def invariance(self) -> str:  # type: ignore[override]
        """One scale for all columns, or one for each."""
        return "scale" if self.equal else "column"

    @property
    def is_convex(self) -> bool:  # type: ignore[override]
        """Not in general."""
        return False

    @property
    def is_linear(self) -> bool:  # type: ignore[override]
        """Not in general."""
        return False

    # -- θ and Λ ------------------------------------------------------------------------------------------------------

    def start(self, k: int) -> np.ndarray:
        """θ of Λ = I."""
        return np.append(np.ones(self.n_sds(k)), self._angle(0.0, k))

    def factor(self, xp: Any, theta: Array, k: int) -> Array:
        """Λ = diag(s)·C(ρ)."""
        return self._sd(theta)[:, None] * self._unit_at(xp, theta[-1], k)

    def derivatives(self, xp: Any, theta: Array, k: int) -> tuple[Array, Array]:
        """∂Λ and ∂²Λ; those of C by a complex step and differences of such."""
        scales, angle = theta[:-1], theta[-1]
        C, first = self._unit_at(xp, angle, k), self._slope(xp, angle, k)
        second = (self._slope(xp, angle + APART, k) - self._slope(xp, angle - APART, k)) / (2.0 * APART)
        sd = self._sd(theta)[:, None]
        if self.equal:
            by_scale, twice, mixed = C[None], xp.zeros((1, 1, k, k)), first[None]
        else:
            own = xp.eye(k)[:, :, None]  # effect, row, column
            by_scale, mixed = 2.0 * scales[:, None, None] * own * C, 2.0 * scales[:, None, None] * own * first
            twice = xp.eye(k)[:, :, None, None] * (2.0 * own * C)[:, None]
        rows = xp.concatenate([twice, mixed[:, None]], axis=1)
        last = xp.concatenate([mixed, (sd * second)[None]])[None]
        return xp.concatenate([by_scale, (sd * first)[None]]), xp.concatenate([rows, last])

    def nearest(self, Lambda: np.ndarray) -> np.ndarray:
        """θ with its variances and its mean correlation."""
        k, covariance = len(Lambda), Lambda @ Lambda.T
        sd, (rho,) = self.read(np, covariance)
        rho = np.clip(np.nan_to_num(rho), *self.limits(k))
        return np.append(sd if self.equal else np.sqrt(sd), self._angle(float(rho), k))

    def scaled(self, theta: np.ndarray, by: float, k: int) -> np.ndarray:
        """θ of the factor `by` · Λ."""
        return np.append((by if self.equal else np.sqrt(by)) * theta[:-1], theta[-1])

    def sizes(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Each scale's own size, one at least; one of the angle."""
        return np.append(np.maximum(np.abs(theta[:-1]), 1.0), 1.0)

    def moments(self, Lambda: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """θ near the covariance matrix of an unstructured step."""
        D, U = Lambda.T @ expected @ Lambda, Lambda.T @ observed @ Lambda
        moved = self.nearest(move(Lambda, D, U) if is_finite_step(D, U) else Lambda)
        least = LEAST if self.equal else np.sqrt(LEAST)
        inside = np.clip(moved[-1], INSIDE / 2, RIGHT_ANGLE - INSIDE / 2)
        return np.append(np.maximum(moved[:-1], least), inside)

    def axes(self, Lambda: np.ndarray) -> Axes:
        """Take the standard deviations, at the correlation that is there."""
        k = len(Lambda)
        theta = self.nearest(Lambda)
        which = np.zeros((k, k), dtype=int) if self.equal else np.tile(np.arange(k)[:, None], (1, k))
        return Axes(self._unit_at(np, theta[-1], k), which)

    def elsewhere(self, theta: np.ndarray, k: int) -> list[np.ndarray]:
        """At correlations all over their range."""
        return [np.append(theta[:-1], angle) for angle in ELSEWHERE]

    def separate(self, M: np.ndarray) -> np.ndarray:
        """Its diagonal, or the mean of that."""
        k = len(M)
        return np.trace(M) / k * np.eye(k) if self.equal else np.diag(np.diag(M))

    # -- the boundary -------------------------------------------------------------------------------------------------

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Scales of zero, and an angle at a limit of the correlation."""
        return np.append(theta[:-1] == 0.0, theta[-1] in (0.0, RIGHT_ANGLE))

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Small standard deviations put to zero, the angle taken back to [0, π/2] and to an end that is near."""
        angle = abs((theta[-1] + RIGHT_ANGLE) % np.pi - RIGHT_ANGLE)
        if abs(angle - round(angle / RIGHT_ANGLE) * RIGHT_ANGLE) < NEAR_LIMIT:
            angle = round(angle / RIGHT_ANGLE) * RIGHT_ANGLE
        scales = np.abs(theta[:-1])
        return np.append(np.where((scales if self.equal else scales**2) < SNAP, 0.0, scales), angle)

    def way_down(self, theta: np.ndarray, k: int, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
        """Move what is on the boundary inside, where ⟨Γ, ΛΛ'⟩ falls that way."""
        slope = expected - observed
        best, start = 0.0, None
        for small, large in self._moves(theta, k):
            here, there = self.factor(np, theta, k), self.factor(np, small, k)
            change = there @ there.T - here @ here.T
            size = np.abs(expected * change).sum()
            fall = (slope * change).sum() / size if size > 0.0 else 0.0
            if fall < min(best, -DOWN):
                best, start = fall, large
        return start

    def _moves(self, theta: np.ndarray, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """θ a small and a large step off each boundary that it is on."""
        small, large = (SMALL, STEP) if self.equal else (np.sqrt(SMALL), np.sqrt(STEP))
        held, moves = self.held(theta, k), []
        off = [held[:-1]] if held[:-1].all() else []
        off += [np.arange(len(held) - 1) == i for i in np.flatnonzero(held[:-1])]
        for which in off:
            for angle in self._same(theta, k):
                moves.append(tuple(np.append(np.where(which, by, theta[:-1]), angle) for by in (small, large)))
        if held[-1]:
            inward = 1.0 if theta[-1] == 0.0 else -1.0
            moves.append(tuple(np.append(theta[:-1], theta[-1] + inward * by) for by in (10.0 * SMALL, INSIDE)))
        return moves  # type: ignore[return-value]

    def _same(self, theta: np.ndarray, k: int) -> list[float]:
        """Angles of the same matrix: where standard deviations are zero, its correlation may be open, or its sign."""
        here = self.factor(np, theta, k)
        covariance = here @ here.T
        size = np.abs(covariance).max()
        found = []
        for angle in (theta[-1], RIGHT_ANGLE - theta[-1], *np.linspace(0.0, RIGHT_ANGLE, 17)):
            there = self.factor(np, np.append(theta[:-1], angle), k)
            if np.abs(there @ there.T - covariance).max() <= SAME * size:
                found.append(float(angle))
        return found

    # -- the public scale ---------------------------------------------------------------------------------------------

    def sd_names(self, effects: Sequence[str], expression: str) -> tuple[str, ...]:
        """Name the effects, or the term."""
        return (expression,) if self.equal else tuple(effects)

    def cor_names(self, effects: Sequence[str], expression: str) -> tuple[tuple[str, ...], ...]:
        """One, of the term."""
        return ((expression,),)

    def n_sds(self, k: int) -> int:
        """One, or one for each effect."""
        return 1 if self.equal else k

    def n_cors(self, k: int) -> int:
        """One."""
        return 1

    def effect_sds(self, sd: Array, k: int) -> Array:
        """Give each effect its standard deviation."""
        return sd.repeat(k, axis=-1) if self.equal else sd

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

    def free_sds(self, xp: Any, sds: Array) -> Array:
        """Root of the mean variance, or each."""
        return xp.sqrt((sds**2).mean(axis=-1, keepdims=True)) if self.equal else sds

    def unit_factor(self, xp: Any, share: Array, k: int) -> Array:
        """Cholesky factor of the correlation matrix."""
        return self.unit(xp, xp.sqrt(share), xp.sqrt(1.0 - share), k)

    def read(self, xp: Any, covariance: Array) -> tuple[Array, Array]:
        """Read standard deviations, and the mean correlation."""
        variances = diagonal(xp, covariance)
        sd = xp.sqrt(variances.mean(axis=-1, keepdims=True) if self.equal else variances)
        return sd, self.mean_correlation(xp, covariance, self.effect_sds(sd, covariance.shape[-1]))[..., None]

    # -- inside -------------------------------------------------------------------------------------------------------

    def _sd(self, theta: Array) -> Array:
        return theta[:-1] if self.equal else theta[:-1] ** 2

    def _angle(self, rho: float, k: int) -> float:
        low, high = self.limits(k)
        return float(np.arcsin(np.sqrt(np.clip((rho - low) / (high - low), 0.0, 1.0))))

    def _unit_at(self, xp: Any, angle: Array, k: int) -> Array:
        """C at an angle; sin(π/2 − φ) is exactly zero at a right angle, cos φ is not."""
        return self.unit(xp, xp.sin(angle), xp.sin(RIGHT_ANGLE - angle), k)

    def _slope(self, xp: Any, angle: Array, k: int) -> Array:
        return xp.imag(self._unit_at(xp, angle + 1j * TINY, k)) / TINY
