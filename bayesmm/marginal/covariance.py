"""θ ↔ Λ: the relative covariance factor of each grouping factor, from its free entries and back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from bayesmm.marginal.shapes import Array, Inexact

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


def assemble_factors(xp: Any, theta: Inexact[Array, " t"], layout: Layout) -> list[Inexact[Array, "_ _"]]:
    """Λ of each grouping factor from θ: lower triangles column by column, or diagonals.

    `xp` is ``numpy`` (θ may be complex, for complex-step derivatives) or ``jax.numpy``.
    """
    entries = xp.concatenate([theta, xp.zeros(1, dtype=theta.dtype)])
    return [entries[place] for place in _places(layout)]


@lru_cache(maxsize=256)
def _places(layout: Layout) -> tuple[np.ndarray, ...]:
    """Which entry of θ, or the zero after them, goes to each entry of each factor."""
    places, start, end = [], 0, n_theta(layout)
    for pieces, (rows, columns) in zip(layout, entry_positions(layout), strict=True):
        place = np.full((pieces[-1][1],) * 2, end)
        place[rows, columns] = np.arange(start, start + len(rows))
        places.append(place)
        start += len(rows)
    return tuple(places)


@lru_cache(maxsize=256)
def entry_positions(layout: Layout) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Rows and columns of the free entries of each factor, in the order of θ."""
    positions = []
    for pieces in layout:
        parts = [(start, _positions(stop - start, structure)) for start, stop, structure in pieces]
        rows, columns = (np.concatenate([start + part[axis] for start, part in parts]) for axis in (0, 1))
        positions.append((rows, columns))
    return tuple(positions)


@lru_cache(maxsize=256)
def _positions(k: int, structure: str) -> tuple[np.ndarray, np.ndarray]:
    if structure == "diagonal":
        return np.arange(k), np.arange(k)
    column, row = np.triu_indices(k)  # column-wise lower triangle
    return row, column


def _entries(factor: np.ndarray, structure: str) -> np.ndarray:
    return factor[_positions(len(factor), structure)]


def raw_factor(conditioned: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Lower-triangular Λ on the user's columns, of non-negative diagonal, from the factor on conditioned columns.

    ΛΛ' = T⁻¹Λ_cΛ_c'T⁻ᵀ, by a QR of the factor itself: singular matrices are ordinary.
    """
    if len(root) == 0:
        return conditioned
    return lower_triangular(np.linalg.solve(root, conditioned))


def lower_triangular(factor: np.ndarray) -> np.ndarray:
    """L, lower triangular and of non-negative diagonal, with LL' = FF' for any factor F, singular ones too."""
    R = np.linalg.qr(factor.swapaxes(-1, -2), mode="r")
    signs = np.where(np.diagonal(R, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return (R * signs[..., None]).swapaxes(-1, -2)


def theta_of(factors: Sequence[np.ndarray], layout: Layout) -> np.ndarray:
    """Free entries of given factors, in the order of `assemble_factors`."""
    return np.concatenate(
        [
            _entries(factor[start:stop, start:stop], structure)
            for factor, pieces in zip(factors, layout, strict=True)
            for start, stop, structure in pieces
        ]
    )
