"""The operations in NumPy, with LAPACK for large dense blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmm.marginal.shapes import Array, Float, Int

if TYPE_CHECKING:
    from bayesmm.marginal.plan.plan import FillMap

xp = np

LAPACK_FROM = 100  # rows of a single block; below, importing SciPy would cost more than it gains
TILE = 128  # rows and columns that are transposed at a time, so that both fit the cache


def add_levels(blocks: Float[Array, "k l q"], where: Int[Array, " P"], terms: Float[Array, "k l P"]) -> Array:
    """Add terms to the levels that they belong to."""
    q = blocks.shape[2]
    sums = [[np.bincount(where, weights=term, minlength=q) for term in row] for row in terms]
    return blocks + np.reshape(sums, blocks.shape)  # l may be zero


def take_levels(blocks: Float[Array, "k l q"], where: Int[Array, " P"]) -> Float[Array, "k l P"]:
    """Read levels."""
    return blocks.take(where, axis=2)


def add_flat(flat: Float[Array, " d"], where: Int[Array, " ..."], terms: Float[Array, " ..."]) -> Array:
    """Add terms at flat positions, in place."""
    np.add.at(flat, where.reshape(-1), terms.reshape(-1))
    return flat


def take_flat(flat: Float[Array, " d"], where: Int[Array, " ..."]) -> Array:
    """Read flat positions."""
    return flat[where]


def transform(T: Float[Array, "r a"], A: Float[Array, "r ..."]) -> Float[Array, "a ..."]:
    """T'A for every level, with the same T."""
    return (T.T @ A.reshape(A.shape[0], prod(A.shape[1:]))).reshape(T.shape[1], *A.shape[1:])


def sum_gram(A: Float[Array, "k c q"]) -> Float[Array, "c c"]:
    """ΣA'A over levels."""
    k, c, q = A.shape  # c may be zero
    flat = A.swapaxes(0, 1).reshape(c, k * q)
    return flat @ flat.T


def sum_outer(A: Float[Array, "k c q"], weights: Float[Array, "c c"]) -> Float[Array, "k k"]:
    """ΣA weights A' over levels, for symmetric weights."""
    weighted = transform(weights, A.swapaxes(0, 1)).swapaxes(0, 1)
    return A.reshape(len(A), -1) @ weighted.reshape(len(A), -1).T


def rescale(A: Float[Array, " ..."], factor: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Multiply entry by entry, in place."""
    return np.multiply(A, factor, out=A)


def add_identity(blocks: Float[Array, "B m m"]) -> Float[Array, "B m m"]:
    """Add I, in place."""
    i = np.arange(blocks.shape[1])
    blocks[:, i, i] += 1.0
    return blocks


def times(A: Float[Array, "B r m"], B: Float[Array, "B m c"]) -> Float[Array, "B r c"]:
    """AB; a large one by the library that also factors, since the idle threads of another would be in its way."""
    if _is_single(A):
        return _blas().dgemm(1.0, B[0].T, A[0].T).T[None]
    return A @ B


def gram(A: Float[Array, "B r m"]) -> Float[Array, "B m m"]:
    """A'A."""
    if _is_single(A):
        return _reflect(_blas().dsyrk(1.0, A[0].T, lower=1).T)[None]
    return A.swapaxes(1, 2) @ A


def fold(upper: Float[Array, "B m m"]) -> Float[Array, "B m m"]:
    """U + U'."""
    return upper + upper.swapaxes(1, 2)


@dataclass(frozen=True)
class Factor:
    """Cholesky factors of a batch of matrices.

    Attributes
    ----------
    L : array, shape (B, m, m)
        Lower triangular; what is above the diagonal is not read.
    """

    L: Float[Array, "B m m"]

    @property
    def is_single(self) -> bool:
        """Whether this is one matrix of a size that LAPACK itself should be called for."""
        return _is_single(self.L)

    @cached_property
    def log_det(self) -> Float[Array, " B"]:
        """log|M|."""
        return 2.0 * np.log(np.diagonal(self.L, axis1=1, axis2=2)).sum(axis=1)


def _is_single(M: Float[Array, "B m m"]) -> bool:
    return M.shape[0] == 1 and M.shape[1] >= LAPACK_FROM


def _lapack() -> Any:
    from scipy.linalg import lapack  # 0.2 seconds that small models need not spend

    return lapack


def _blas() -> Any:
    from scipy.linalg import blas

    return blas


def factor(M: Float[Array, "B m m"]) -> Factor:
    """Factor, in place; a matrix that is not positive definite, or not finite, gives NaN."""
    if _is_single(M):
        # A symmetric matrix in C order is itself in Fortran order: no copy is made.
        L, failed = _lapack().dpotrf(M[0].T, lower=1, clean=0, overwrite_a=1)
        return Factor(np.full_like(M, np.nan) if failed else L[None])
    try:
        return Factor(np.linalg.cholesky(M))
    except np.linalg.LinAlgError:
        return Factor(np.full_like(M, np.nan))


def reduce(factor: Factor, B: Float[Array, "B m c"]) -> tuple[Array, Array]:
    """log|M| and B'M⁻¹B."""
    W = _forward(factor, B)
    return factor.log_det, W.swapaxes(1, 2) @ W


def _forward(factor: Factor, B: Float[Array, "B m c"]) -> Float[Array, "B m c"]:
    if factor.is_single:
        return _blas().dtrsm(1.0, factor.L[0], B[0], lower=1)[None]
    return np.linalg.solve(factor.L, B)


def solve_root(factor: Factor, z: Float[Array, "B m c"]) -> Float[Array, "B m c"]:
    """L⁻ᵀz."""
    if factor.is_single:
        return _blas().dtrsm(1.0, factor.L[0], z[0], lower=1, trans_a=1)[None]
    return np.linalg.solve(factor.L.swapaxes(1, 2), z)


def solve(factor: Factor, B: Float[Array, "B m c"]) -> Float[Array, "B m c"]:
    """M⁻¹B."""
    return solve_root(factor, _forward(factor, B))


def invert(factor: Factor) -> Float[Array, "B m m"]:
    """M⁻¹."""
    if factor.is_single:
        inverse, failed = _lapack().dpotri(factor.L[0], lower=1)
        if failed:
            return np.full_like(factor.L, np.nan)
        return _reflect(inverse.T)[None]  # its upper triangle, in C order
    W = np.linalg.solve(factor.L, np.broadcast_to(np.eye(factor.L.shape[1]), factor.L.shape))
    return W.swapaxes(1, 2) @ W


def _reflect(upper: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """Copy the upper triangle into the lower one, in place."""
    m = len(upper)
    for i in range(0, m, TILE):
        for j in range(0, i + 1, TILE):
            a, b = slice(i, min(i + TILE, m)), slice(j, min(j + TILE, m))
            if i == j:
                tile = upper[a, a]
                lower = np.tril_indices(len(tile), -1)
                tile[lower] = tile.T[lower]
            else:
                upper[a, b] = upper[b, a].T
    return upper


def fill(fill: FillMap, blocks: Float[Array, " t"], length: int) -> Float[Array, " d"]:
    """Apply the fill map, a sparse matrix."""
    return fill.matrix(length, fill.copies * blocks.size) @ np.tile(blocks, fill.copies)


def fill_transposed(fill: FillMap, covariance: Float[Array, " d"], length: int) -> Float[Array, " t"]:
    """Apply its transpose."""
    through = fill.matrix(covariance.size, fill.copies * length).T @ covariance
    return through.reshape(fill.copies, length).sum(axis=0)
