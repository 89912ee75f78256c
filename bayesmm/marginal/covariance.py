"""θ ↔ Λ: the relative covariance factor of each grouping factor, from its free entries and back."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Piece = tuple[int, int, str]
Layout = tuple[tuple[Piece, ...], ...]  # per grouping factor, its pieces (start, stop, structure); hashable


def n_theta(layout: Layout) -> int:
    """Count the free entries of all factors together."""
    return sum(_n_entries(piece) for pieces in layout for piece in pieces)


def _n_entries(piece: Piece) -> int:
    start, stop, structure = piece
    k = stop - start
    return k if structure == "diagonal" else k * (k + 1) // 2


def start_theta(layout: Layout) -> np.ndarray:
    """θ of unit diagonal factors."""
    return np.concatenate([_entries(np.eye(piece[1] - piece[0]), piece[2]) for pieces in layout for piece in pieces])


def assemble_factors(theta: Float[Array, " t"], layout: Layout) -> list[Float[Array, "_ _"]]:
    """Λ of each grouping factor from θ: lower triangles column by column, or diagonals."""
    factors, position = [], 0
    for pieces in layout:
        width = pieces[-1][1]
        factor = jnp.zeros((width, width))
        for start, stop, structure in pieces:
            row, column = _positions(stop - start, structure)
            factor = factor.at[start + row, start + column].set(theta[position : position + len(row)])
            position += len(row)
        factors.append(factor)
    return factors


def _positions(k: int, structure: str) -> tuple[np.ndarray, np.ndarray]:
    if structure == "diagonal":
        return np.arange(k), np.arange(k)
    column, row = np.triu_indices(k)  # column-wise lower triangle
    return row, column


def _entries(factor: np.ndarray, structure: str) -> np.ndarray:
    return factor[_positions(len(factor), structure)]


def host_factors(theta: np.ndarray, layout: Layout) -> list[np.ndarray]:
    """Do the same on the host, in the precision of `theta` (complex for complex-step derivatives)."""
    factors, position = [], 0
    for pieces in layout:
        factor = np.zeros((pieces[-1][1],) * 2, dtype=theta.dtype)
        for start, stop, structure in pieces:
            row, column = _positions(stop - start, structure)
            factor[start + row, start + column] = theta[position : position + len(row)]
            position += len(row)
        factors.append(factor)
    return factors


def raw_factor(conditioned: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Lower-triangular Λ on the user's columns, of non-negative diagonal, from the factor on conditioned columns.

    ΛΛ' = T⁻¹Λ_cΛ_c'T⁻ᵀ, by a QR of the factor itself: singular matrices are ordinary.
    """
    if len(root) == 0:
        return conditioned
    R = np.linalg.qr(np.linalg.solve(root, conditioned).T, mode="r")
    return (R * np.where(np.diag(R) < 0, -1.0, 1.0)[:, None]).T


def theta_of(factors: Sequence[np.ndarray], layout: Layout) -> np.ndarray:
    """Free entries of given factors, in the order of `assemble_factors`."""
    return np.concatenate(
        [
            _entries(factor[start:stop, start:stop], structure)
            for factor, pieces in zip(factors, layout, strict=True)
            for start, stop, structure in pieces
        ]
    )
