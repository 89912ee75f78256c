"""How the factors change with θ: what gradient and curvature of the criterion are made of."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from bayesmm.covariance.layout import Layout, Piece, entry_positions, parts
from bayesmm.covariance.structure import Array


class Tangent(Protocol):
    """∂Λ of one grouping factor with respect to its t entries of θ."""

    def along(self, M: Array) -> Array:
        """⟨M, ∂Λ⟩ (t,) of a matrix (k, k)."""
        ...

    def move(self, xp: Any, Lambda: Array, r: Array) -> Array:
        """(∂Λ Λ' + Λ ∂Λ')r, shape (k, t, q), of vectors r (k, q)."""
        ...

    def bend(self, Gamma: Array, along: Array) -> Array:
        """⟨Γ, ∂²(ΛΛ')⟩ (t, t) of a symmetric matrix Γ, with `along` = ΓΛ."""
        ...


class Placed(NamedTuple):
    """θ are entries of Λ, at these rows and columns.

    In `unit` (k, t, 1) there is a one at each row, in `beside` (t, t) a two at entries of one column.
    """

    rows: np.ndarray
    columns: np.ndarray
    unit: np.ndarray
    beside: np.ndarray

    def along(self, M: Array) -> Array:
        """Entries of M there."""
        return M[self.rows, self.columns]

    def move(self, xp: Any, Lambda: Array, r: Array) -> Array:
        """Each entry moves one effect by one column of Λ, and one column by one effect."""
        scaled = Lambda.T @ r  # Λ'r
        return self.unit * scaled[self.columns] + Lambda[:, self.columns, None] * r[self.rows]

    def bend(self, Gamma: Array, along: Array) -> Array:
        """2G_ii' for entries in rows i and i' of one column."""
        return Gamma[self.rows[:, None], self.rows] * self.beside


class Curved(NamedTuple):
    """∂Λ (t, k, k) and ∂²Λ (t, t, k, k).

    In `beside` (t, k, e) are the derivatives of further columns of the factor that are zero here, where it has some:
    ∂²(ΛΛ') has their products.
    """

    first: Array
    second: Array
    beside: Array

    def along(self, M: Array) -> Array:
        """Sum over all entries."""
        return (self.first * M).sum(axis=(1, 2))

    def move(self, xp: Any, Lambda: Array, r: Array) -> Array:
        """Multiply out."""
        return (self.first @ (Lambda.T @ r) + Lambda @ (self.first.swapaxes(1, 2) @ r)).swapaxes(0, 1)

    def bend(self, Gamma: Array, along: Array) -> Array:
        """2⟨Γ∂Λ, ∂Λ⟩ + 2⟨ΓΛ, ∂²Λ⟩."""
        t, inner = len(self.first), 0.0
        for first in (self.first, self.beside) if self.beside.shape[2] else (self.first,):
            size = first.shape[1] * first.shape[2]  # t may be zero
            inner = inner + (Gamma @ first).reshape(t, size) @ first.reshape(t, size).T
        return 2.0 * (inner + (self.second * along).sum(axis=(2, 3)))


def jacobians(xp: Any, theta: Array, layout: Layout) -> list[Array]:
    """∂Λ (t, k, k) of each grouping factor; of a triangular Λ, or one that is turned: ∂ΛΛ' + Λ∂Λ' is ∂(ΛΛ')."""
    own = parts(theta, layout)
    return [_curved(xp, [next(own) for _ in pieces]).first for pieces in layout]


def tangents(xp: Any, theta: Array, layout: Layout) -> list[Tangent]:
    """Differentiate the factor of each grouping factor."""
    placed = _placed(layout)
    if placed is not None:
        return placed
    found: list[Tangent] = []
    own = parts(theta, layout)
    for pieces in layout:
        of_pieces = [next(own) for _ in pieces]
        positions = entry_positions(pieces)
        found.append(_place(pieces, *positions) if positions is not None else _curved(xp, of_pieces))
    return found


class Stacked(NamedTuple):
    """∂Λ (m, t, k, k), ∂²Λ (m, t, t, k, k) and `beside` (m, t, k, e) of one grouping factor, of several θ (m, t).

    Where θ are entries of Λ, the first are the same for all, (1, t, k, k), and there are no others.
    """

    first: np.ndarray
    second: np.ndarray | None
    beside: np.ndarray | None


def stack_tangents(thetas: np.ndarray, layout: Layout) -> list[Stacked]:
    """Differentiate the factor of each grouping factor at several θ (m, t)."""
    placed = _placed(layout)
    if placed is not None:
        return [Stacked(first[None], None, None) for first in jacobians(np, thetas[0], layout)]
    found = []
    for own in thetas:
        each = parts(own, layout)
        found.append([_curved(np, [next(each) for _ in pieces]) for pieces in layout])
    return [Stacked(*(np.stack(each) for each in zip(*own, strict=True))) for own in zip(*found, strict=True)]


@lru_cache(maxsize=256)
def _placed(layout: Layout) -> list[Tangent] | None:
    """Differentiate where every factor consists of entries of θ: the same at any θ."""
    found = [(pieces, entry_positions(pieces)) for pieces in layout]
    if any(positions is None for _, positions in found):
        return None
    return [_place(pieces, *positions) for pieces, positions in found if positions is not None]


def _place(pieces: tuple[Piece, ...], rows: np.ndarray, columns: np.ndarray) -> Placed:
    unit = np.eye(pieces[-1].stop)[:, rows, None]
    return Placed(rows, columns, unit, 2.0 * (columns[:, None] == columns))


def _curved(xp: Any, of_pieces: list[tuple[Piece, Array]]) -> Curved:
    """Put the derivatives of the pieces side by side."""
    k, t = of_pieces[-1][0].stop, sum(piece.n_theta for piece, _ in of_pieces)
    first, second, beside, start = [], [], [], 0
    for piece, theta in of_pieces:
        own_first, own_second = piece_derivatives(xp, theta, piece)
        n, around = piece.n_theta, (piece.start, k - piece.stop)
        first.append(xp.pad(own_first[..., : piece.k], ((0, 0), around, around)))
        second.append(xp.pad(own_second, ((0, 0), (start, t - start - n), around, around)))
        beside.append(own_first[..., piece.k :])
        start += n
    most = max(each.shape[2] for each in beside)
    wide = [
        xp.pad(each, ((0, 0), (piece.start, k - piece.stop), (0, most - each.shape[2])))
        for (piece, _), each in zip(of_pieces, beside, strict=True)
    ]
    return Curved(xp.concatenate(first), xp.concatenate(second), xp.concatenate(wide))


def piece_derivatives(xp: Any, theta: Array, piece: Piece) -> tuple[Array, Array]:
    """∂Λ (t, k, k + e), its last e columns `Curved.beside`, and ∂²Λ (t, t, k, k) of one piece."""
    k, positions = piece.k, piece.structure.positions(piece.k)
    if positions is None:
        return piece.structure.derivatives(xp, theta, k)
    t = len(positions[0])
    first = np.zeros((t, k, k))
    first[np.arange(t), *positions] = 1.0
    return xp.asarray(first), xp.zeros((t, t, k, k))
