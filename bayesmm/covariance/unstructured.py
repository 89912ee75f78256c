"""Any covariance matrix: all standard deviations and correlations are free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from bayesmm.covariance.structure import (
    DOWN,
    LEAST,
    ROUNDING,
    SNAP,
    STEP,
    Array,
    Axes,
    Structure,
    diagonal,
    divide,
    is_finite_step,
    lower_triangular,
    symmetric_beta,
)


@dataclass(frozen=True)
class Unstructured(Structure):
    """θ are the entries of the lower triangle of Λ, column by column, as in lme4."""

    words = "unstructured"
    freedom = "correlated"
    invariance = "linear"
    correlations = "matrix"

    def start(self, k: int) -> np.ndarray:
        """θ of Λ = I."""
        return np.eye(k)[_triangle(k)]

    def positions(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the lower triangle."""
        return _triangle(k)

    def nearest(self, Lambda: np.ndarray) -> np.ndarray:
        """Entries of Λ."""
        return Lambda[_triangle(len(Lambda))]

    def sizes(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Norm of the column of Λ that each entry is in, one at least."""
        _, columns = _triangle(k)
        squares = np.bincount(columns, theta**2, k)
        return np.maximum(np.sqrt(squares), 1.0)[columns]

    def moments(self, Lambda: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """ΛΛ' ← ΛD⁻½(Λ'OΛ)D⁻½Λ' with D = Λ'EΛ."""
        D, U = Lambda.T @ expected @ Lambda, Lambda.T @ observed @ Lambda
        return self.nearest(move(Lambda, D, U) if is_finite_step(D, U) else Lambda)

    def axes(self, Lambda: np.ndarray) -> Axes:
        """Principal axes of ΛΛ'."""
        k = len(Lambda)
        base = np.linalg.svd(Lambda)[0] if k > 1 else np.eye(1)
        return Axes(base, np.tile(np.arange(k), (k, 1)))

    def separate(self, M: np.ndarray) -> np.ndarray:
        """All of it: every combination of effects has a variance of its own."""
        return M

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Diagonal entries of zero."""
        rows, columns = _triangle(k)
        return (rows == columns) & (theta == 0.0)

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Small entries put to zero, on the diagonal sooner than below."""
        rows, columns = _triangle(k)
        return np.where(np.abs(theta) < np.where(rows == columns, SNAP, ROUNDING), 0.0, theta)

    def way_down(self, theta: np.ndarray, k: int, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
        """Look at Γ once more: at a minimum ΓΛ = 0 in all entries, and Γ is not negative where ΛΛ' is null."""
        Lambda = np.zeros((k, k))
        Lambda[_triangle(k)] = theta
        if np.diag(Lambda).all():
            return None
        slope = expected - observed
        along = slope @ Lambda
        size = np.abs(along).max()
        if size > DOWN * np.abs(expected @ Lambda).max():
            return self.nearest(lower_triangular(Lambda - STEP * along / size))
        left, values, _ = np.linalg.svd(Lambda)
        basis = left[:, values <= np.finfo(float).eps * max(values[0], 1.0)]
        slopes, directions = np.linalg.eigh(basis.T @ slope @ basis)
        down = slopes < -DOWN * np.abs(expected).max()
        if not down.any():
            return None
        return self.nearest(lower_triangular(np.hstack([Lambda, STEP * basis @ directions[:, down]])))

    def n_cors(self, k: int) -> int:
        """One for each pair of effects."""
        return k * (k - 1) // 2

    def cor_names(self, effects: Sequence[str], expression: str) -> tuple[tuple[str, ...], ...]:
        """Pairs (0, 1), (0, 2), (1, 2), ..."""
        return tuple(
            (f"{effects[i]}, {effects[j]}", f"{effects[j]}, {effects[i]}")
            for i, j in zip(*pairs(len(effects)), strict=True)
        )

    def symbol(self, i: int, j: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Each covariance has a symbol."""
        return f"σ({effects[i]}, {effects[j]} | {group})"

    def is_defined(self, sds: np.ndarray) -> list[bool]:
        """Those of two effects that vary."""
        i, j = pairs(len(sds))
        return (sds[i] * sds[j] > 0.0).tolist()

    def cor_cells(self, effects: Sequence[str]) -> list[tuple[int, str]]:
        """Beside the later effect, under the earlier one."""
        return [(int(j), f"cor {effects[i]}") for i, j in zip(*pairs(len(effects)), strict=True)]

    def correlation(self, xp: Any, cor: Array, k: int) -> Array:
        """Put each correlation in its two places."""
        padded = xp.concatenate([cor, xp.ones((*cor.shape[:-1], 1))], axis=-1)
        return padded[..., _places(k)]

    def shares(self, cor: np.ndarray, k: int) -> np.ndarray:
        """(1 + p)/2 of the partial correlation p of each pair given the effects before both."""
        L = np.linalg.cholesky(self.correlation(np, cor, k))
        i, j = pairs(k)
        left = np.sqrt(np.cumsum(L[:, ::-1] ** 2, axis=1)[:, ::-1])  # norm of what is left from each column on
        return 0.5 * (1.0 + L[j, i] / left[j, i])

    def unit_factor(self, xp: Any, shares: Array, k: int) -> Array:
        """Cholesky factor of the correlation matrix of such shares (Lewandowski, Kurowicka & Joe 2009)."""
        partial, rows, at = 2.0 * shares - 1.0, [], 0
        for row in range(k):
            left, own = xp.ones(()), []
            for _ in range(row):
                own.append(partial[at] * left)
                left, at = left * xp.sqrt(1.0 - partial[at] ** 2), at + 1
            rows.append(xp.stack([*own, left, *[0.0 * left] * (k - row - 1)]))
        return xp.stack(rows)

    def lkj_shapes(self, concentration: float, k: int) -> tuple[Array, Array]:
        """η + (k − 2 − i)/2 of a pair (i, j), twice."""
        shapes = concentration + 0.5 * (k - 2.0 - pairs(k)[0])
        return shapes, shapes

    def cor_density(self, x: np.ndarray, which: int, concentration: float, k: int) -> np.ndarray:
        """Of (ρ + 1)/2 ~ Beta(a, a) with a = η − 1 + k/2."""
        return symmetric_beta(x, concentration - 1.0 + 0.5 * k)

    def read(self, xp: Any, covariance: Array) -> tuple[Array, Array]:
        """Read standard deviations, and covariances over their products."""
        sd = xp.sqrt(diagonal(xp, covariance))
        i, j = pairs(covariance.shape[-1])
        return sd, divide(xp, covariance[..., i, j], sd[..., i] * sd[..., j])


def move(Lambda: np.ndarray, D: np.ndarray, U: np.ndarray) -> np.ndarray:
    """Factor after a moment step, from the moments on the columns of Λ."""
    if len(Lambda) == 1:
        return np.abs(Lambda) * np.maximum(np.sqrt(np.maximum(U / D, 0.0)), LEAST)
    values, vectors = np.linalg.eigh(D)
    root = vectors / np.sqrt(np.maximum(values, 1e-12 * values.max())) @ vectors.T
    values, vectors = np.linalg.eigh(root @ U @ root)
    return lower_triangular(Lambda @ vectors * np.maximum(np.sqrt(np.maximum(values, 0.0)), LEAST))


@lru_cache(maxsize=256)
def pairs(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Effects i < j of each correlation: (0, 1), (0, 2), (1, 2), ..."""
    j, i = np.tril_indices(k, -1)
    return i, j


@lru_cache(maxsize=256)
def _triangle(k: int) -> tuple[np.ndarray, np.ndarray]:
    column, row = np.triu_indices(k)  # column-wise lower triangle
    return row, column


@lru_cache(maxsize=256)
def _places(k: int) -> np.ndarray:
    """Which correlation, or the one after them, is at each place of the matrix."""
    i, j = pairs(k)
    places = np.full((k, k), len(i))
    places[i, j] = places[j, i] = np.arange(len(i))
    return places
