"""Covariance matrices of effects that follow from a known matrix V, whose rows are named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np

from bayesmm.console import listing
from bayesmm.covariance.structure import Array, Structure, lower_triangular
from bayesmm.errors import DesignError

LABEL = re.compile(r"\[([^\[\]]*)\]$")  # what an effect's name says of its level: "trait[a]"
NOTHING = 1e-12  # of the largest eigenvalue of V, below which one is zero


@dataclass(frozen=True)
class KnownMatrix(Structure):
    """LL' = V, in the order of the effects; what Λ is of L is left open.

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

    is_divisible = False
    correlations = "known"

    @property
    def has_inverse(self) -> bool:  # type: ignore[override]
        """Whether V has one in floating point."""
        return np.linalg.cond(self.known(len(self.levels))) < 1.0 / NOTHING if self.values else True

    def given(self, levels: tuple[str, ...], covariance: np.ndarray) -> Self:
        """Take the matrix, and the labels of its rows."""
        return replace(self, levels=levels, values=np.ascontiguousarray(covariance, dtype=np.float64).tobytes())

    def bound(self, effects: Sequence[str], term: object) -> Self:
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
        V = self.known(len(self.levels))[np.ix_(order, order)]
        if not (np.diag(V) > 0.0).all():
            without = effects[int(np.diag(V).argmin())]
            raise DesignError(
                f"The matrix {self.matrix!r} of {term} has a variance of zero for {without!r}: leave that effect out."
            )
        return replace(self, levels=tuple(effects), values=V.tobytes())

    def rank(self, k: int) -> int:
        """Take that of V."""
        return _rank(self.values, k)

    def correlation(self, xp: Any, cor: Array, k: int) -> Array:
        """Take that of V."""
        V = self.known(k)
        R = V / np.sqrt(np.outer(np.diag(V), np.diag(V)))
        return xp.broadcast_to(R, (*cor.shape[:-1], k, k))

    def unit_factor(self, xp: Any, shares: Array, k: int) -> Array:
        """L with rows of norm one."""
        return xp.asarray(self.root(k) / np.sqrt(np.diag(self.known(k)))[:, None])

    def known(self, k: int) -> np.ndarray:
        """V (k, k)."""
        return _matrix(self.values, k)

    def root(self, k: int) -> np.ndarray:
        """L (k, k), lower triangular; of a V without inverse too."""
        return _root(self.values, k)


@lru_cache(maxsize=64)
def _matrix(values: bytes, k: int) -> np.ndarray:
    return np.frombuffer(values).reshape(k, k) if values else np.eye(k)


@lru_cache(maxsize=64)
def _root(values: bytes, k: int) -> np.ndarray:
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
