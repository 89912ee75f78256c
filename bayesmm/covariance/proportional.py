"""A covariance matrix that is known but for one factor: Σ = σ²V."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from bayesmm.console import listing
from bayesmm.covariance.structure import DOWN, LEAST, SNAP, STEP, Array, Axes, Structure, diagonal, lower_triangular
from bayesmm.errors import DesignError

LABEL = re.compile(r"\[([^\[\]]*)\]$")  # what an effect's name says of its level: "trait[a]"
NOTHING = 1e-12  # of the largest eigenvalue of V, below which one is zero


@dataclass(frozen=True)
class Proportional(Structure):
    """Λ = θL with LL' = V; the one standard deviation is that of an effect whose variance in V is one.

    Attributes
    ----------
    matrix : str
        Name of V.
    levels : tuple of str
        Labels of its rows.
    values : bytes
        V as float64, row by row; an identity matrix if there are none. Bytes are hashed once.
    """

    matrix: str = ""
    levels: tuple[str, ...] = ()
    values: bytes = b""

    freedom = "with a known covariance but for its scale"
    invariance = "scale"
    is_divisible = False
    correlations = "known"

    @property
    def words(self) -> str:  # type: ignore[override]
        """What it is a multiple of."""
        return f"proportional to {self.matrix or 'a known matrix'}"

    @property
    def has_inverse(self) -> bool:  # type: ignore[override]
        """Whether V has one in floating point."""
        return np.linalg.cond(self._known(len(self.levels))) < 1.0 / NOTHING if self.values else True

    def given(self, levels: tuple[str, ...], covariance: np.ndarray) -> Proportional:
        """Take the matrix, and the labels of its rows."""
        return replace(self, levels=levels, values=np.ascontiguousarray(covariance, dtype=np.float64).tobytes())

    def bound(self, effects: Sequence[str], term: str) -> Proportional:
        """Bring V into the order of the effects, by their names or by the levels in these.

        Raises
        ------
        DesignError
            If it has no row for an effect.
        """
        place = {label: i for i, label in enumerate(self.levels)}
        found = [place.get(effect, place.get(_level_of(effect))) for effect in effects]
        lacking = [effect for effect, i in zip(effects, found, strict=True) if i is None]
        if lacking:
            raise DesignError(
                f"The matrix {self.matrix!r} of {term} has no row for {len(lacking)} effect(s): "
                f"{listing(lacking, 5, quoted=True)}. It has {listing(list(self.levels), 5, quoted=True)}. Name its "
                "rows and columns by the levels of the factor left of the bar, or by the effects."
            )
        order = np.array(found, dtype=int)
        V = self._known(len(self.levels))[np.ix_(order, order)]
        if not (np.diag(V) > 0.0).all():
            without = effects[int(np.diag(V).argmin())]
            raise DesignError(
                f"The matrix {self.matrix!r} of {term} has a variance of zero for {without!r}: leave that effect out."
            )
        return replace(self, levels=tuple(effects), values=V.tobytes())

    def rank(self, k: int) -> int:
        """Take that of V."""
        return _rank(self.values, k)

    # -- θ and Λ ------------------------------------------------------------------------------------------------------

    def start(self, k: int) -> np.ndarray:
        """θ of Λ = L, with mean variance one."""
        return 1.0 / np.sqrt(np.diag(self._known(k)).mean(keepdims=True))

    def factor(self, xp: Any, theta: Array, k: int) -> Array:
        """Λ = θL."""
        return theta[0] * self._root(k)

    def derivatives(self, xp: Any, theta: Array, k: int) -> tuple[Array, Array]:
        """Λ is linear in θ."""
        return xp.asarray(self._root(k))[None], xp.zeros((1, 1, k, k))

    def nearest(self, Lambda: np.ndarray) -> np.ndarray:
        """Root of the mean variance over that of V."""
        return self.read(np, Lambda @ Lambda.T)[0]

    def sizes(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Its own size, that of the start at least."""
        return np.maximum(np.abs(theta), self.start(k))

    def moments(self, Lambda: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """ψ ← ψ⟨V, O⟩/⟨V, E⟩."""
        k, theta = len(Lambda), self.nearest(Lambda)
        ratio = (self._known(k) * observed).sum() / (self._known(k) * expected).sum()
        return np.maximum(theta * np.sqrt(ratio), LEAST * self.start(k)) if 0.0 <= ratio < np.inf else theta

    def axes(self, Lambda: np.ndarray) -> Axes:
        """One, of all effects."""
        k = len(Lambda)
        return Axes(self._root(k) * self.start(k), np.zeros((k, k), dtype=int))

    def separate(self, M: np.ndarray) -> np.ndarray:
        """Its part along V, as a multiple of the identity."""
        k = len(M)
        return (M * self._known(k)).sum() / np.trace(self._known(k)) * np.eye(k)

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Whether the standard deviation is zero."""
        return theta == 0.0

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Put a small standard deviation to zero."""
        return np.where(np.abs(theta) < SNAP * self.start(k), 0.0, theta)

    def way_down(self, theta: np.ndarray, k: int, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
        """Let the variance leave zero where ⟨V, Γ⟩ is negative."""
        V = self._known(k)
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
        return sd * np.sqrt(np.diag(self._known(k)))

    def free_sds(self, xp: Any, sds: Array) -> Array:
        """Root of the mean variance over that of V."""
        mean = np.diag(self._known(sds.shape[-1])).mean()
        return xp.sqrt((sds**2).mean(axis=-1, keepdims=True) / mean)

    def variance_symbol(self, i: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Write the entry of V before the square of the standard deviation."""
        return self._multiple(i, i, len(effects), expression, group)

    def symbol(self, i: int, j: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Likewise."""
        return self._multiple(i, j, len(effects), expression, group)

    def correlation(self, xp: Any, cor: Array, k: int) -> Array:
        """Take that of V."""
        V = self._known(k)
        R = V / np.sqrt(np.outer(np.diag(V), np.diag(V)))
        return xp.broadcast_to(R, (*cor.shape[:-1], k, k))

    def unit_factor(self, xp: Any, shares: Array, k: int) -> Array:
        """L with rows of norm one."""
        return xp.asarray(self._root(k) / np.sqrt(np.diag(self._known(k)))[:, None])

    def read(self, xp: Any, covariance: Array) -> tuple[Array, Array]:
        """Root of the mean variance over that of V."""
        mean = np.diag(self._known(covariance.shape[-1])).mean()
        return xp.sqrt(diagonal(xp, covariance).mean(axis=-1, keepdims=True) / mean), covariance[..., 0, :0]

    # -- inside -------------------------------------------------------------------------------------------------------

    def _known(self, k: int) -> np.ndarray:
        return _matrix(self.values, k)

    def _root(self, k: int) -> np.ndarray:
        return _root(self.values, k)

    def _multiple(self, i: int, j: int, k: int, expression: str, group: str) -> str:
        value = self._known(k)[i, j]
        if value == 0.0:
            return ""
        return f"{'' if value == 1.0 else f'{value:.6g}·'}σ²({expression} | {group})"


@lru_cache(maxsize=64)
def _matrix(values: bytes, k: int) -> np.ndarray:
    return np.frombuffer(values).reshape(k, k) if values else np.eye(k)


@lru_cache(maxsize=64)
def _root(values: bytes, k: int) -> np.ndarray:
    """L, lower triangular; of a V without inverse too."""
    V = _matrix(values, k)
    try:
        return np.linalg.cholesky(V)
    except np.linalg.LinAlgError:
        sizes, vectors = np.linalg.eigh(V)
        return lower_triangular(vectors * np.sqrt(np.where(sizes > NOTHING * sizes[-1], sizes, 0.0)))


@lru_cache(maxsize=64)
def _rank(values: bytes, k: int) -> int:
    sizes = np.linalg.eigvalsh(_matrix(values, k))
    return int((sizes > NOTHING * sizes[-1]).sum())


def _level_of(effect: str) -> str:
    found = LABEL.search(effect)
    return found[1] if found else effect
