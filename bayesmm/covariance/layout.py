"""θ ↔ Λ of whole models: the relative covariance factor of each grouping factor, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from bayesmm.covariance.structure import Array, Structure, lower_triangular


class Piece(NamedTuple):
    """Contiguous effects ``start:stop`` of a grouping factor that share a covariance matrix of one structure."""

    start: int
    stop: int
    structure: Structure

    @property
    def k(self) -> int:
        """How many effects."""
        return self.stop - self.start

    @property
    def inside(self) -> slice:
        """Its effects among those of the factor."""
        return slice(self.start, self.stop)

    @property
    def n_theta(self) -> int:
        """Entries of θ."""
        return _count(self.structure, self.k)


@lru_cache(maxsize=256)
def _count(structure: Structure, k: int) -> int:
    return structure.n_theta(k)


Layout = tuple[tuple[Piece, ...], ...]  # per grouping factor, its pieces; hashable


def n_theta(layout: Layout) -> int:
    """Count the entries of θ of all factors together."""
    return sum(piece.n_theta for pieces in layout for piece in pieces)


def start_theta(layout: Layout) -> np.ndarray:
    """θ of unit factors."""
    return np.concatenate([np.zeros(0), *(piece.structure.start(piece.k) for pieces in layout for piece in pieces)])


def parts(theta: Any, layout: Layout) -> Iterator[tuple[Piece, Any]]:
    """Each piece with its own entries of θ."""
    start = 0
    for pieces in layout:
        for piece in pieces:
            stop = start + piece.n_theta
            yield piece, theta[start:stop]
            start = stop


def map_theta(function: Callable[[Piece, np.ndarray], np.ndarray], theta: np.ndarray, layout: Layout) -> np.ndarray:
    """Apply a function to each piece's θ, and join what it returns."""
    found = [function(piece, own) for piece, own in parts(theta, layout)]
    return np.concatenate(found) if found else theta


def assemble_factors(xp: Any, theta: Array, layout: Layout) -> list[Array]:
    """Λ of each grouping factor from θ, lower triangular.

    `xp` is ``numpy`` (θ may be complex, for complex-step derivatives) or ``jax.numpy``.
    """
    places = _places(layout)
    if places is not None:
        entries = xp.concatenate([theta, xp.zeros(1, dtype=theta.dtype)])
        return [entries[place] for place in places]
    factors, own = [], parts(theta, layout)
    for pieces in layout:
        found = [piece_factor(xp, theta_p, piece) for piece, theta_p in (next(own) for _ in pieces)]
        factors.append(block_diagonal(xp, found, pieces))
    return factors


def stack_factors(thetas: np.ndarray, layout: Layout) -> list[np.ndarray]:
    """Λ (m, k, k) of each grouping factor, of several θ (m, t)."""
    places = _places(layout)
    if places is not None:
        entries = np.concatenate([thetas, np.zeros((len(thetas), 1))], axis=1)
        return [entries[:, place] for place in places]
    return [np.stack(each) for each in zip(*(assemble_factors(np, own, layout) for own in thetas), strict=True)]


def piece_factor(xp: Any, theta: Array, piece: Piece) -> Array:
    """Λ (k, k) of one piece."""
    positions = piece.structure.positions(piece.k)
    if positions is None:
        return piece.structure.factor(xp, theta, piece.k)
    entries = xp.concatenate([theta, xp.zeros(1, dtype=theta.dtype)])
    place = np.full((piece.k, piece.k), len(theta))
    place[positions] = np.arange(len(theta))
    return entries[place]


def block_diagonal(xp: Any, blocks: Sequence[Array], pieces: Sequence[Piece]) -> Array:
    """Put the matrices (..., k, k) of the pieces of a factor into one, with zeros beside them."""
    if len(blocks) == 1:
        return blocks[0]
    k, rows = pieces[-1].stop, []
    for block, (start, stop, _) in zip(blocks, pieces, strict=True):
        left, right = (xp.zeros((*block.shape[:-1], width), dtype=block.dtype) for width in (start, k - stop))
        rows.append(xp.concatenate([left, block, right], axis=-1))
    return xp.concatenate(rows, axis=-2)


@lru_cache(maxsize=256)
def _places(layout: Layout) -> tuple[np.ndarray, ...] | None:
    """Which entry of θ, or the zero after them, goes to each entry of each factor; None where that is not all."""
    positions = [entry_positions(pieces) for pieces in layout]
    places, start, end = [], 0, n_theta(layout)
    for pieces, found in zip(layout, positions, strict=True):
        if found is None:
            return None
        rows, columns = found
        place = np.full((pieces[-1].stop,) * 2, end)
        place[rows, columns] = np.arange(start, start + len(rows))
        places.append(place)
        start += len(rows)
    return tuple(places)


@lru_cache(maxsize=256)
def entry_positions(pieces: tuple[Piece, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows and columns of a factor's entries that θ consists of, in its order; None where it consists of others."""
    found = [(piece.start, piece.structure.positions(piece.k)) for piece in pieces]
    if any(positions is None for _, positions in found):
        return None
    rows, columns = (
        np.concatenate([start + positions[axis] for start, positions in found if positions is not None])
        for axis in (0, 1)
    )
    return rows, columns


def theta_of(factors: Sequence[np.ndarray], layout: Layout) -> np.ndarray:
    """θ of given factors, lower triangular, in the order of `assemble_factors`."""
    return np.concatenate(
        [
            piece.structure.nearest(factor[piece.inside, piece.inside])
            for factor, pieces in zip(factors, layout, strict=True)
            for piece in pieces
        ]
    )


def scale_theta(theta: np.ndarray, by: float, layout: Layout) -> np.ndarray:
    """θ of all factors times a number."""
    return map_theta(lambda piece, own: piece.structure.scaled(own, by, piece.k), theta, layout)


def held_theta(theta: np.ndarray, layout: Layout) -> np.ndarray:
    """Which entries of θ are exactly on a boundary: a variance of zero, a correlation at its limit."""
    return map_theta(lambda piece, own: piece.structure.held(own, piece.k), theta, layout).astype(bool)


def to_edges(theta: np.ndarray, layout: Layout) -> np.ndarray:
    """θ with what is near an edge of the factors, where they have two slopes, exactly on it."""
    return map_theta(lambda piece, own: piece.structure.to_edges(own, piece.k), theta, layout)


def raw_factor(conditioned: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Lower-triangular Λ on the user's columns, of non-negative diagonal, from the factor on conditioned columns.

    ΛΛ' = T⁻¹Λ_cΛ_c'T⁻ᵀ, by a QR of the factor itself: singular matrices are ordinary.
    """
    if len(root) == 0:
        return conditioned
    return lower_triangular(np.linalg.solve(root, conditioned))
