"""Standard deviations, equal or of each effect, times a correlation matrix of some angles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bayesmm.covariance.structure import (
    DOWN,
    LEAST,
    OF_OTHERS,
    SNAP,
    STEP,
    Array,
    Axes,
    Structure,
    diagonal,
    is_finite_step,
    unseen,
)
from bayesmm.covariance.unstructured import move

RIGHT_ANGLE = np.pi / 2
NEAR_LIMIT = 1e-3  # angle from a limit of a correlation, which is tried exactly there
INSIDE = 0.3  # angle from it where the search goes on, if the criterion falls that way
SMALL = 1e-3  # step of a slope at the boundary
SAME = 1e-12  # relative difference of equal covariances
TINY = 1e-30  # step of a complex-step derivative
APART = 1e-5  # step of a central difference of such derivatives


@dataclass(frozen=True)
class ScaledCorrelation(Structure):
    """Λ = diag(s)·C(φ), C the Cholesky factor of a correlation matrix.

    θ = (scales, φ), an angle φ for each free correlation, which lies between its limits as sin²φ between zero and one:
    smooth everywhere, and at a limit where φ is a multiple of a right angle. An equal standard deviation is its scale,
    of either sign; standard deviations of each effect are the squares of their scales, since another sign would change
    the correlations.

    Attributes
    ----------
    equal : bool
        Whether all effects have one standard deviation.
    """

    equal: bool = False
    pattern: ClassVar[str]  # of the correlations, in words
    fewest_effects = 2
    is_divisible = False

    def angles(self, cor: np.ndarray, k: int) -> np.ndarray:
        """φ (c,) of free correlations, or of ones near them; undefined ones are NaN."""
        raise NotImplementedError

    def units(self, xp: Any, angles: Array, k: int) -> Array:
        """C (m, k, k) at several φ (m, c), which may be complex in NumPy."""
        raise NotImplementedError

    def unit_slopes(self, xp: Any, angles: Array, k: int) -> tuple[Array, Array, Array]:
        """C (k, k), ∂C (c, k, k) and ∂²C (c, c, k, k) at φ (c,), by complex steps and differences of such."""
        c = angles.shape[0]
        ends = xp.concatenate([angles[None], angles + APART * np.eye(c), angles - APART * np.eye(c)])
        steps = (ends[:, None] + 1j * TINY * np.eye(c)).reshape(-1, c)
        first, up, down = xp.split((xp.imag(self.units(xp, steps, k)) / TINY).reshape(-1, c, k, k), (1, 1 + c))
        second = (up - down) / (2.0 * APART)
        return self.units(xp, angles[None], k)[0], first[0], 0.5 * (second + second.swapaxes(0, 1))

    def mean_correlations(self, xp: Any, covariance: Array, sd: Array) -> Array:
        """Free correlations (..., c): sums of covariances over sums of products of sds (..., k); NaN where 0."""
        raise NotImplementedError

    def same_angles(self, angles: np.ndarray, k: int) -> list[np.ndarray]:
        """φ all over, that may give the same matrix where standard deviations are zero; these come first."""
        raise NotImplementedError

    def inward(self, angles: np.ndarray, at: int, by: float) -> list[np.ndarray]:
        """φ a step from a limit that one of them is at."""
        moved = angles.copy()
        moved[at] += by if angles[at] == 0.0 else -by
        return [moved]

    def widened(self, effects: Sequence[str], k: int, term: str) -> Structure:
        """Refuse effects of standard deviations that are unknown, and leave others to `_widened`."""
        if not self.equal:
            why = f"each effect has a standard deviation of its own, and that of another is unknown. {OF_OTHERS}"
            raise unseen(effects[k:], term, why)
        return self._widened(effects, k, term)

    def _widened(self, effects: Sequence[str], k: int, term: str) -> Structure:
        return super().widened(effects, k, term)

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
        return np.append(np.ones(self.n_sds(k)), self.angles(np.zeros(self.n_cors(k)), k))

    def factor(self, xp: Any, theta: Array, k: int) -> Array:
        """Λ = diag(s)·C(φ)."""
        scales, angles = self._split(theta, k)
        return self._sd(scales)[:, None] * self.units(xp, angles[None], k)[0]

    def derivatives(self, xp: Any, theta: Array, k: int) -> tuple[Array, Array]:
        """∂Λ and ∂²Λ."""
        scales, angles = self._split(theta, k)
        C, first, second = self.unit_slopes(xp, angles, k)
        sd = self._sd(scales)[:, None]
        if self.equal:
            by_scale, twice, mixed = C[None], xp.zeros((1, 1, k, k)), first[None]
        else:
            own = 2.0 * scales[:, None, None] * xp.eye(k)[:, :, None]  # effect, row, column
            by_scale, mixed = own * C, own[:, None] * first
            twice = xp.eye(k)[:, :, None, None] * (2.0 * xp.eye(k)[:, :, None] * C)[:, None]
        rows = xp.concatenate([twice, mixed], axis=1)
        last = xp.concatenate([mixed.swapaxes(0, 1), sd * second], axis=1)
        return xp.concatenate([by_scale, sd * first]), xp.concatenate([rows, last])

    def nearest(self, Lambda: np.ndarray) -> np.ndarray:
        """θ with its variances and its mean correlations."""
        sd, cor = self.read(np, Lambda @ Lambda.T)
        return np.append(sd if self.equal else np.sqrt(sd), self.angles(cor, len(Lambda)))

    def scaled(self, theta: np.ndarray, by: float, k: int) -> np.ndarray:
        """θ of the factor `by` · Λ."""
        scales, angles = self._split(theta, k)
        return np.append((by if self.equal else np.sqrt(by)) * scales, angles)

    def sizes(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Each scale's own size, one at least; one of an angle."""
        scales, angles = self._split(theta, k)
        return np.append(np.maximum(np.abs(scales), 1.0), np.ones_like(angles))

    def moments(self, Lambda: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """θ near the covariance matrix of an unstructured step."""
        D, U = Lambda.T @ expected @ Lambda, Lambda.T @ observed @ Lambda
        moved = self.nearest(move(Lambda, D, U) if is_finite_step(D, U) else Lambda)
        scales, angles = self._split(moved, len(Lambda))
        least = LEAST if self.equal else np.sqrt(LEAST)
        return np.append(np.maximum(scales, least), np.clip(angles, INSIDE / 2, RIGHT_ANGLE - INSIDE / 2))

    def axes(self, Lambda: np.ndarray) -> Axes:
        """Take the standard deviations, at the correlations that are there."""
        k = len(Lambda)
        _, angles = self._split(self.nearest(Lambda), k)
        which = np.zeros((k, k), dtype=int) if self.equal else np.tile(np.arange(k)[:, None], (1, k))
        return Axes(self.units(np, angles[None], k)[0], which)

    def separate(self, M: np.ndarray) -> np.ndarray:
        """Its diagonal, or the mean of that."""
        k = len(M)
        return np.trace(M) / k * np.eye(k) if self.equal else np.diag(np.diag(M))

    # -- the boundary -------------------------------------------------------------------------------------------------

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Scales of zero, and angles at a limit of their correlation."""
        scales, angles = self._split(theta, k)
        return np.append(scales == 0.0, np.isin(angles, (0.0, RIGHT_ANGLE)))

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Small standard deviations put to zero, angles taken back to [0, π/2] and to an end that is near."""
        scales, angles = self._split(theta, k)
        angles = np.abs((angles + RIGHT_ANGLE) % np.pi - RIGHT_ANGLE)
        ends = np.round(angles / RIGHT_ANGLE) * RIGHT_ANGLE
        scales = np.abs(scales)
        scales = np.where((scales if self.equal else scales**2) < SNAP, 0.0, scales)
        return np.append(scales, np.where(np.abs(angles - ends) < NEAR_LIMIT, ends, angles))

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
        scales, angles = self._split(theta, k)
        is_zero, at_limit = self._split(self.held(theta, k), k)
        moves: list[tuple[np.ndarray, np.ndarray]] = []
        off = [is_zero] if is_zero.all() else []
        off += [np.arange(len(scales)) == i for i in np.flatnonzero(is_zero)]
        same = self._same(theta, k) if off else []
        for which in off:
            for other in same:
                near, far = (np.append(np.where(which, by, scales), other) for by in (small, large))
                moves.append((near, far))
        for at in np.flatnonzero(at_limit).tolist():
            for near, far in zip(*(self.inward(angles, at, by) for by in (10.0 * SMALL, INSIDE)), strict=True):
                moves.append((np.append(scales, near), np.append(scales, far)))
        return moves

    def _same(self, theta: np.ndarray, k: int) -> list[np.ndarray]:
        """Angles of the same matrix: where standard deviations are zero correlations may be open, or their signs."""
        scales, angles = self._split(theta, k)
        here = self.factor(np, theta, k)
        covariance = here @ here.T
        size = np.abs(covariance).max()
        found = []
        for other in self.same_angles(angles, k):
            there = self.factor(np, np.append(scales, other), k)
            if np.abs(there @ there.T - covariance).max() <= SAME * size:
                found.append(other)
        return found

    # -- the public scale ---------------------------------------------------------------------------------------------

    def sd_names(self, effects: Sequence[str], expression: str) -> tuple[str, ...]:
        """Name the effects, or the term."""
        return (expression,) if self.equal else tuple(effects)

    def n_sds(self, k: int) -> int:
        """One, or one for each effect."""
        return 1 if self.equal else k

    def effect_sds(self, sd: Array, k: int) -> Array:
        """Give each effect its standard deviation."""
        return sd.repeat(k, axis=-1) if self.equal else sd

    def free_sds(self, xp: Any, sds: Array) -> Array:
        """Root of the mean variance, or each."""
        return xp.sqrt((sds**2).mean(axis=-1, keepdims=True)) if self.equal else sds

    def read(self, xp: Any, covariance: Array) -> tuple[Array, Array]:
        """Read standard deviations, and mean correlations."""
        variances = diagonal(xp, covariance)
        sd = xp.sqrt(variances.mean(axis=-1, keepdims=True) if self.equal else variances)
        return sd, self.mean_correlations(xp, covariance, self.effect_sds(sd, covariance.shape[-1]))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _split(self, theta: Array, k: int) -> tuple[Array, Array]:
        """Scales and angles."""
        m = self.n_sds(k)
        return theta[:m], theta[m:]

    def _sd(self, scales: Array) -> Array:
        return scales if self.equal else scales**2
