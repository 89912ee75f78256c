"""Separable effects: those of every combination of two factors, with the product of two covariances."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesmm.covariance.layout import Piece, block_diagonal, piece_factor
from bayesmm.covariance.scaled_correlation import ScaledCorrelation
from bayesmm.covariance.structure import Array, Axes, Statement, Structure, diagonal, lower_triangular
from bayesmm.covariance.tangents import piece_derivatives
from bayesmm.errors import DesignError


@dataclass(frozen=True)
class Kronecker(Structure):
    """Σ = Σ₁ ⊗ Σ₂, Λ = Λ₁ ⊗ Λ₂: the effect of levels (a, t) is number a·k₂ + t.

    The first variance in Σ₂ is one, so that both are determined, as in ASReml: Σ₁ is the covariance at the first level
    of the second factor. With one standard deviation Σ₂ is a correlation matrix. θ is that of Σ₁, then that of Σ₂
    without its first entry, the root of that variance.

    Free standard deviations are those of Σ₁, and of the other levels of the second factor at the first level of the
    first factor: what Σ₂ has is the ratio of these to the first.

    Attributes
    ----------
    left : Structure
        Of Σ₁.
    right : Structure
        Of Σ₂, the first entry of whose θ is the root of its first variance, or a scale that grows with it.
    first, second : str
        The factors as they are written.
    left_effects, right_effects : tuple of str
        Their levels, as effects are named: "trait[a]", "C(week)[1]"; by number where they are not bound.
    """

    left: Structure
    right: Structure
    first: str = ""
    second: str = ""
    left_effects: tuple[str, ...] = ()
    right_effects: tuple[str, ...] = ()

    freedom = "with a product of two covariances"
    invariance = "scale"
    is_convex = False
    is_linear = False
    is_divisible = False
    fewest_effects = 2

    @property
    def words(self) -> str:  # type: ignore[override]
        """Both, as a product."""
        if isinstance(self.right, ScaledCorrelation) and self.right.equal:
            return f"{self.left.words} ⊗ {self.right.pattern} correlations"
        return f"{self.left.words} ⊗ {self.right.words}"

    @property
    def correlations(self) -> str:  # type: ignore[override]
        """By a pattern, where there are any and the first are not of lower rank."""
        if self.left.correlations == "rank":
            return "rank"
        return "none" if self.left.correlations == self.right.correlations == "none" else "several"

    @property
    def is_straight(self) -> bool:  # type: ignore[override]
        """Where both are."""
        return self.left.is_straight and self.right.is_straight

    @property
    def has_lkj(self) -> bool:  # type: ignore[override]
        """Where both matrices have such densities."""
        return self.left.has_lkj and self.right.has_lkj

    @property
    def has_prior(self) -> bool:  # type: ignore[override]
        """Where those of the first have one of shares."""
        return self.left.has_prior and self.left.has_shares

    @property
    def has_inverse(self) -> bool:  # type: ignore[override]
        """Where both have one."""
        return self.left.has_inverse and self.right.has_inverse

    def bound(self, effects: Sequence[str], term: object) -> Kronecker:
        """Read the levels of both factors off the names of the effects.

        Raises
        ------
        DesignError
            If they are not combinations of levels.
        """
        pattern = re.compile(rf"({re.escape(self.first)}\[.*\]):({re.escape(self.second)}\[.*\])")
        found = [pattern.fullmatch(effect) for effect in effects]
        pairs = [(match[1], match[2]) for match in found if match]
        one, two = (tuple(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
        if len(pairs) < len(effects) or [(a, b) for a in one for b in two] != pairs:
            raise DesignError(
                f"The term {term} needs two factors, and {effects[0]!r} is no combination of their levels. A column of "
                f"numbers becomes a factor by C(): kron(us({self.first}), ar1(C({self.second})) | g)."
            )
        for side, factor, structure in ((one, self.first, self.left), (two, self.second, self.right)):
            if len(side) < structure.fewest_effects:
                raise DesignError(f"The term {term} has the single level {side[0]!r} of {factor!r}: nothing covaries.")
        return replace(
            self,
            left=self.left.bound(one, term),
            right=self.right.bound(two, term),
            left_effects=one,
            right_effects=two,
        )

    def rank(self, k: int) -> int:
        """Multiply that of the first."""
        k1, k2 = self._shape(k)
        return self.left.rank(k1) * k2

    def scale_groups(self, k: int) -> np.ndarray:
        """Levels of the first factor, where each may have its scale."""
        k1, k2 = self._shape(k)
        return np.repeat(np.arange(k1), k2) if self.left.invariance != "scale" else np.zeros(k, dtype=int)

    # -- θ and Λ ------------------------------------------------------------------------------------------------------

    def start(self, k: int) -> np.ndarray:
        """θ of Λ = I."""
        k1, k2 = self._shape(k)
        return np.append(self.left.start(k1), self.right.start(k2)[1:])

    def generic(self, k: int) -> np.ndarray:
        """Both in general."""
        k1, k2 = self._shape(k)
        return self._join(self.left.generic(k1), self.right.generic(k2), k)

    def factor(self, xp: Any, theta: Array, k: int) -> Array:
        """Λ₁ ⊗ Λ₂."""
        return _kron(*self._factors(xp, theta, k))

    def derivatives(self, xp: Any, theta: Array, k: int) -> tuple[Array, Array]:
        """∂Λ and ∂²Λ by the product rule."""
        k1, k2 = self._shape(k)
        own, angles = self._split(theta, k)
        L, C = self._factors(xp, theta, k)
        dL, ddL = piece_derivatives(xp, own, Piece(0, k1, self.left))  # columns of a wider factor are the last ones
        first, second = piece_derivatives(xp, xp.concatenate([xp.ones(1), angles]), Piece(0, k2, self.right))
        dC, ddC = first[1:], second[1:, 1:]
        mixed = _kron(dL[:, None, :, :k1], dC[None])
        wide = dL.shape[2] - k1
        rows = xp.concatenate([_kron(ddL, C), mixed], axis=1)
        last = xp.concatenate([mixed.swapaxes(0, 1), _kron(L, ddC)], axis=1)
        turned = xp.pad(_kron(L, dC), ((0, 0), (0, 0), (0, wide * k2)))
        return xp.concatenate([_kron(dL, C), turned]), xp.concatenate([rows, last])

    def nearest(self, Lambda: np.ndarray) -> np.ndarray:
        """θ of the mean over levels of the second factor, and of that over all of the first."""
        S, R = self._means(np, Lambda @ Lambda.T)
        R = R if np.isfinite(R).all() and R[0, 0] > 0.0 else np.eye(len(R))
        return self._join(self.left.nearest(_root(S)), self.right.nearest(_root(R)), len(Lambda))

    def scaled(self, theta: np.ndarray, by: float, k: int) -> np.ndarray:
        """Scale Λ₁."""
        own, angles = self._split(theta, k)
        return np.append(self.left.scaled(own, by, self._shape(k)[0]), angles)

    def sizes(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Of both."""
        return self._apart(theta, k, "sizes")

    def moments(self, Lambda: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """One step of each at the other."""
        k, at = len(Lambda), self.nearest(Lambda)
        L, C = self._factors(np, at, k)
        moved = self.left.moments(L, *(self._along_first(M, C) for M in (expected, observed)))
        if not L.any():
            return np.append(moved, self._split(at, k)[1])
        turned = self.right.moments(C, *(self._along_second(M, L) for M in (expected, observed)))
        return self._join(moved, turned, k)

    def axes(self, Lambda: np.ndarray) -> Axes:
        """Those of the first, at the correlations that are there."""
        L, C = self._factors(np, self.nearest(Lambda), len(Lambda))
        own, k2 = self.left.axes(L), len(C)
        return Axes(_kron(own.base, C), own.which.repeat(k2, axis=0).repeat(k2, axis=1))

    def elsewhere(self, theta: np.ndarray, k: int) -> list[np.ndarray]:
        """Those of each at the other."""
        k1, k2 = self._shape(k)
        own, angles = self._split(theta, k)
        others = [other[1:] for other in self.right.elsewhere(np.append(1.0, angles), k2)]
        return [np.append(other, angles) for other in self.left.elsewhere(own, k1)] + [
            np.append(own, other) for other in others
        ]

    def separate(self, M: np.ndarray) -> np.ndarray:
        """Take what the first leaves of its mean over levels of the second factor."""
        _, k2 = self._shape(len(M))
        return _kron(self.left.separate(self._along_first(M, np.eye(k2)) / k2), np.eye(k2))

    # -- the boundary -------------------------------------------------------------------------------------------------

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Of either."""
        return self._apart(theta, k, "held")

    def to_edges(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Of either."""
        return self._apart(theta, k, "to_edges")

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Both."""
        return self._apart(theta, k, "snapped")

    def way_down(self, theta: np.ndarray, k: int, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
        """Step with either at the other, whose slope is that in the product."""
        k1, k2 = self._shape(k)
        own, angles = self._split(theta, k)
        L, C = self._factors(np, theta, k)
        moved = self.left.way_down(own, k1, *(self._along_first(M, C) for M in (expected, observed)))
        if moved is not None:
            return np.append(moved, angles)
        turned = self.right.way_down(
            np.append(1.0, angles), k2, *(self._along_second(M, L) for M in (expected, observed))
        )
        return None if turned is None else self._join(own, turned, k)

    # -- the public scale ---------------------------------------------------------------------------------------------

    def sd_names(self, effects: Sequence[str], expression: str) -> tuple[str, ...]:
        """Those of the first, and of all but the first level of the second, where each has its own."""
        one, two = self._names(effects)
        others = self.right.sd_names(two, self.second or f"{expression}, second")[1:]
        return *self.left.sd_names(one, self.first or expression), *others

    def cor_names(self, effects: Sequence[str], expression: str) -> tuple[tuple[str, ...], ...]:
        """Those of the first, then of the second."""
        one, two = self._names(effects)
        return (
            *self.left.cor_names(one, self.first or expression),
            *self.right.cor_names(two, self.second or f"{expression}, second"),
        )

    def cor_cells(self, effects: Sequence[str]) -> list[tuple[int, str]]:
        """Beside their standard deviations, those of the second's first level beside the very first."""
        one, two = self._names(effects)
        before = self.left.n_sds(len(one)) - 1
        return [
            *self.left.cor_cells(one),
            *((before + at if at else 0, f"{head} {self.second}".strip()) for at, head in self.right.cor_cells(two)),
        ]

    def n_sds(self, k: int) -> int:
        """Those of the first, and of the second without its first."""
        k1, k2 = self._shape(k)
        return self.left.n_sds(k1) + self.right.n_sds(k2) - 1

    def n_cors(self, k: int) -> int:
        """Those of both."""
        k1, k2 = self._shape(k)
        return self.left.n_cors(k1) + self.right.n_cors(k2)

    def limits(self, k: int) -> tuple[float, float]:
        """Take the wider ones."""
        k1, k2 = self._shape(k)
        limits = [part.limits(n) for part, n in ((self.left, k1), (self.right, k2)) if part.n_cors(n)] or [(-1.0, 1.0)]
        return min(low for low, _ in limits), max(high for _, high in limits)

    def effect_sds(self, sd: Array, k: int) -> Array:
        """Multiply those of the first by those of the second over its first."""
        k1, k2 = self._shape(k)
        m = self.left.n_sds(k1)
        first = self.left.effect_sds(sd[..., :m], k1)
        if m == sd.shape[-1]:
            return first.repeat(k2, axis=-1)
        xp = sd.__array_namespace__()
        whole = first[..., :1]
        is_zero = whole == 0.0
        ratios = xp.where(is_zero, 0.0, sd[..., m:] / xp.where(is_zero, 1.0, whole))
        second = xp.concatenate([xp.ones_like(whole), ratios], axis=-1)
        return (first[..., :, None] * second[..., None, :]).reshape(*sd.shape[:-1], k)

    def sd_slices(self, k: int) -> list[slice]:
        """All levels of the second factor of each, and the first of the first factor of each other."""
        k1, k2 = self._shape(k)
        of_first = [slice(own.start * k2, own.stop * k2) for own in self.left.sd_slices(k1)]
        return of_first + [slice(t, t + 1) for t in range(1, self.right.n_sds(k2))]

    def free_sds(self, xp: Any, sds: Array) -> Array:
        """Of roots of mean variances along each factor."""
        k1, k2 = self._shape(sds.shape[-1])
        variances = sds.reshape(*sds.shape[:-1], k1, k2) ** 2
        own = self.left.free_sds(xp, xp.sqrt(variances.mean(axis=-1)))
        if not self._has_own(k2):
            return own
        along = variances.mean(axis=-2)
        along = along / xp.where(along[..., :1] == 0.0, 1.0, along[..., :1])
        own = self.left.free_sds(xp, xp.sqrt(variances.mean(axis=-1) / along.mean(axis=-1, keepdims=True)))
        first = self.left.effect_sds(own, k1)[..., :1]
        return xp.concatenate([own, first * xp.sqrt(along[..., 1:])], axis=-1)

    def variance_symbol(self, i: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Write that of the level of the first factor, times a ratio of those of the second."""
        return self._symbol(i, i, effects, expression, group)

    def symbol(self, i: int, j: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Write a covariance of the first factor times a correlation, or covariance, of the second."""
        return self._symbol(i, j, effects, expression, group)

    def _symbol(self, i: int, j: int, effects: Sequence[str], expression: str, group: str) -> str:
        one, two = self._names(effects)
        (a, t), (b, u) = divmod(i, len(two)), divmod(j, len(two))
        own, other = self.first or expression, self.second or f"{expression}, second"
        variance = self.left.variance_symbol(0, one, own, group)
        covariance = (
            self.left.variance_symbol(a, one, own, group)
            if a == b
            else self.left.symbol(min(a, b), max(a, b), one, own, group)
        )
        if not covariance or t == u == 0 or (t == u and not self._has_own(len(two))):
            return covariance
        if not self._has_own(len(two)):
            correlation, _, _ = self.right.symbol(min(t, u), max(t, u), two, other, group).rpartition("·")
            return f"{correlation}·{covariance}" if correlation else ""
        two = (self.left.sd_names(one, own)[0], *two[1:])  # at the first level of the first factor
        second = (
            self.right.variance_symbol(t, two, other, group)
            if t == u
            else self.right.symbol(min(t, u), max(t, u), two, other, group)
        )
        if not second or a == b == 0:
            return second
        return f"{covariance}·{second}/{variance}"

    def is_defined(self, sds: np.ndarray) -> list[bool]:
        """Those of effects that vary."""
        k1, k2 = self._shape(len(sds))
        varies = sds.reshape(k1, k2)
        return [*self.left.is_defined(varies.max(axis=1)), *self.right.is_defined(varies.max(axis=0))]

    def correlation(self, xp: Any, cor: Array, k: int) -> Array:
        """R₁ ⊗ R₂."""
        k1, k2 = self._shape(k)
        c = self.left.n_cors(k1)
        return _kron(self.left.correlation(xp, cor[..., :c], k1), self.right.correlation(xp, cor[..., c:], k2))

    def read(self, xp: Any, covariance: Array) -> tuple[Array, Array]:
        """Read the mean covariance over levels of the second factor, and the mean of these over the first."""
        S, R = self._means(xp, covariance)
        others, correlations = self.right.read(xp, R)
        k1, k2 = self._shape(covariance.shape[-1])
        if not self._has_own(k2):
            sd, cor = self.left.read(xp, S)
            return sd, xp.concatenate([cor, correlations], axis=-1)
        variance = diagonal(xp, R)
        ratio = variance[..., :1] / variance.mean(axis=-1, keepdims=True)  # of the first to the mean
        sd, cor = self.left.read(xp, S * xp.where(xp.isnan(ratio), 0.0, ratio)[..., None])
        first = self.left.effect_sds(sd, k1)[..., :1]
        others = others[..., 1:] * first / others[..., :1]
        sd = xp.concatenate([sd, xp.where(xp.isnan(others), 0.0, others)], axis=-1)
        return sd, xp.concatenate([cor, correlations], axis=-1)

    def lkj_matrix(self, xp: Any, cor: Array, k: int) -> Array:
        """R₁ and R₂ beside each other: their densities are independent, each a power of its own determinant."""
        k1, k2 = self._shape(k)
        c = self.left.n_cors(k1)
        both = self.left.lkj_matrix(xp, cor[..., :c], k1), self.right.lkj_matrix(xp, cor[..., c:], k2)
        return block_diagonal(xp, both, (Piece(0, k1, self.left), Piece(k1, k1 + k2, self.right)))

    def n_shares(self, k: int) -> int:
        """Those of both."""
        k1, k2 = self._shape(k)
        return self.left.n_shares(k1) + self.right.n_shares(k2)

    def shares(self, cor: np.ndarray, k: int) -> np.ndarray:
        """Those of both."""
        k1, k2 = self._shape(k)
        c = self.left.n_cors(k1)
        own = self.left.shares(cor[:c], k1) if c else cor[:0]
        return np.append(own, self.right.shares(cor[c:], k2) if self.right.n_cors(k2) else cor[:0])

    def unit_factor(self, xp: Any, shares: Array, k: int) -> Array:
        """Multiply those of both."""
        k1, k2 = self._shape(k)
        c = self.left.n_shares(k1)
        own = self.left.unit_factor(xp, shares[:c], k1) if c else xp.eye(k1)
        return _kron(own, self.right.unit_factor(xp, shares[c:], k2) if self.right.n_cors(k2) else xp.eye(k2))

    def own_priors(self, k: int) -> tuple[tuple[Statement, ...], ...]:
        """Those of both, where all that is sampled is correlations."""
        k1, k2 = self._shape(k)
        if self.n_shares(k) != self.n_cors(k):
            return super().own_priors(k)
        return self.left.own_priors(k1) + self.right.own_priors(k2)

    def own_limits(self, k: int) -> tuple[tuple[float, float], ...]:
        """Those of both."""
        k1, k2 = self._shape(k)
        return self.left.own_limits(k1) + self.right.own_limits(k2)

    def at_range(self, xp: Any, r: Array, k: int, which: int = 0) -> Array:
        """Of the structure whose correlation it is."""
        part, n, own = self._part(k, which)
        return part.at_range(xp, r, n, own)

    def range_of(self, xp: Any, cor: Array, k: int, which: int = 0) -> Array:
        """Of the structure whose correlation it is."""
        part, n, own = self._part(k, which)
        return part.range_of(xp, cor, n, own)

    def lkj_shapes(self, concentration: float, k: int) -> tuple[Array, Array]:
        """Those of both, of the same concentration."""
        k1, k2 = self._shape(k)
        parts = [(part, n) for part, n in ((self.left, k1), (self.right, k2)) if part.n_cors(n)]
        found = [
            np.broadcast_arrays(*part.lkj_shapes(concentration, n), np.zeros(part.n_shares(n)))[:2] for part, n in parts
        ]
        first, second = zip(*found, strict=True)
        return np.concatenate(first), np.concatenate(second)

    def cor_density(self, x: np.ndarray, which: int, concentration: float, k: int) -> np.ndarray:
        """Take that of its own matrix; of a single correlation that of its share."""
        part, n, own = self._part(k, which)
        if part.correlations != "one":
            return part.cor_density(x, own, concentration, n)
        low, high = part.limits(n)
        a, b = part.lkj_shapes(concentration, n)
        from scipy.stats import beta  # seldom needed, and 50 ms to import

        return beta.pdf((x - low) / (high - low), a, b) / (high - low)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _shape(self, k: int) -> tuple[int, int]:
        """k₁ and k₂; of a structure that is not bound, k₂ is the least factor of k."""
        if self.left_effects:
            return len(self.left_effects), len(self.right_effects)
        k2 = next((n for n in range(2, k) if k % n == 0), k)
        return k // k2, k2

    def _part(self, k: int, which: int) -> tuple[Structure, int, int]:
        """Structure of a correlation, of how many effects, and which of its own it is."""
        k1, k2 = self._shape(k)
        c = self.left.n_cors(k1)
        return (self.left, k1, which) if which < c else (self.right, k2, which - c)

    def _names(self, effects: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if self.left_effects:
            return self.left_effects, self.right_effects
        k1, k2 = self._shape(len(effects))
        return tuple(f"{i}" for i in range(k1)), tuple(f"{j}" for j in range(k2))

    def _split(self, theta: Array, k: int) -> tuple[Array, Array]:
        """θ of the first, and the angles."""
        t = self.left.n_theta(self._shape(k)[0])
        return theta[:t], theta[t:]

    def _factors(self, xp: Any, theta: Array, k: int) -> tuple[Array, Array]:
        """Λ₁ and Λ₂."""
        k1, k2 = self._shape(k)
        own, others = self._split(theta, k)
        second = xp.concatenate([xp.ones(1, dtype=theta.dtype), others])
        return piece_factor(xp, own, Piece(0, k1, self.left)), piece_factor(xp, second, Piece(0, k2, self.right))

    def _join(self, own: np.ndarray, second: np.ndarray, k: int) -> np.ndarray:
        """θ of both factors, the first variance of the second taken to the first."""
        k1, k2 = self._shape(k)
        size = float(np.abs(piece_factor(np, second, Piece(0, k2, self.right))[0, 0]))
        if size == 0.0 or not self._has_own(k2):
            return np.append(own, second[1:])
        return np.append(self.left.scaled(own, size, k1), self.right.scaled(second, 1.0 / size, k2)[1:])

    def _has_own(self, k2: int) -> bool:
        """Whether levels of the second factor have standard deviations of their own."""
        return self.right.n_sds(k2) > 1

    def _apart(self, theta: np.ndarray, k: int, what: str) -> np.ndarray:
        """Ask both for the same."""
        k1, k2 = self._shape(k)
        own, angles = self._split(theta, k)
        return np.append(getattr(self.left, what)(own, k1), getattr(self.right, what)(np.append(1.0, angles), k2)[1:])

    def _means(self, xp: Any, covariance: Array) -> tuple[Array, Array]:
        """Mean of Σ₁ (..., k₁, k₁), and Σ₂ (..., k₂, k₂) over its mean variance, NaN where nothing varies."""
        k1, k2 = self._shape(covariance.shape[-1])
        whole = covariance.reshape(*covariance.shape[:-2], k1, k2, k1, k2)
        S = xp.einsum("...atbt->...ab", whole) / k2
        R = xp.einsum("...atau->...tu", whole)
        total = diagonal(xp, S).sum(axis=-1)[..., None, None]
        return S, R / xp.where(total == 0.0, xp.nan, total)

    def _along_first(self, M: np.ndarray, C: np.ndarray) -> np.ndarray:
        """⟨M, E_ab ⊗ CC'⟩: what of a slope in Σ the first factor sees."""
        k1, k2 = self._shape(len(M))
        return np.einsum("atbu,tu->ab", M.reshape(k1, k2, k1, k2), C @ C.T)

    def _along_second(self, M: np.ndarray, L: np.ndarray) -> np.ndarray:
        """⟨M, LL' ⊗ E_tu⟩."""
        k1, k2 = self._shape(len(M))
        return np.einsum("atbu,ab->tu", M.reshape(k1, k2, k1, k2), L @ L.T)


def _kron(A: Array, B: Array) -> Array:
    """Multiply matrices (..., m, l) and (..., n, n) out, A ⊗ B, along the axes before them too."""
    product = A[..., :, None, :, None] * B[..., None, :, None, :]
    rows, columns = (A.shape[axis] * B.shape[axis] for axis in (-2, -1))
    return product.reshape(*product.shape[:-4], rows, columns)


def _root(M: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(M)
    return lower_triangular(vectors * np.sqrt(np.maximum(values, 0.0)))
