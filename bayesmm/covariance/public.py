"""Covariance matrices of the effects of a level ⇄ their free standard deviations and correlations."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

from bayesmm.covariance.layout import Piece, block_diagonal
from bayesmm.covariance.structure import Array

ROUNDING = 1e-14  # of a correlation


def read_covariance(xp: Any, covariance: Array, pieces: tuple[Piece, ...]) -> tuple[Array, Array]:
    """Read standard deviations (..., m) and correlations (..., c), piece by piece, off matrices (..., k, k).

    Analytic where no variance is zero. A correlation with a standard deviation of zero is NaN.
    """
    found = [piece.structure.read(xp, covariance[..., piece.inside, piece.inside]) for piece in pieces]
    sds, cors = zip(*found, strict=True)
    return _join(xp, sds), _join(xp, cors)


def exact_signs(xp: Any, cor: Array) -> Array:
    """Put correlations that are ±1 but for rounding, as those of effects along one direction, to exactly that."""
    return xp.where(xp.abs(cor) > 1.0 - ROUNDING, xp.sign(cor), cor)


def assemble_covariance(xp: Any, sd: Array, cor: Array, pieces: tuple[Piece, ...]) -> Array:
    """Make matrices (..., k, k) of standard deviations (..., m) and correlations (..., c).

    An undefined correlation, NaN, is one with a standard deviation of zero, whatever is put for it.
    """
    sds = effect_sds(xp, sd, pieces)
    return assemble_correlation(xp, cor, pieces) * sds[..., :, None] * sds[..., None, :]


def assemble_correlation(xp: Any, cor: Array, pieces: tuple[Piece, ...]) -> Array:
    """Make correlation matrices (..., k, k) of the free correlations (..., c); undefined ones count as zero."""
    cor = xp.nan_to_num(cor)
    ends = cor_ends(pieces)
    blocks = [
        piece.structure.correlation(xp, cor[..., start:stop], piece.k)
        for piece, (start, stop) in zip(pieces, pairwise(ends), strict=True)
    ]
    return block_diagonal(xp, blocks, pieces)


def effect_sds(xp: Any, sd: Array, pieces: tuple[Piece, ...]) -> Array:
    """Give each effect (..., k) its standard deviation, from the free ones (..., m)."""
    ends = sd_ends(pieces)
    return _join(
        xp,
        [
            piece.structure.effect_sds(sd[..., start:stop], piece.k)
            for piece, (start, stop) in zip(pieces, pairwise(ends), strict=True)
        ],
    )


def free_sds(xp: Any, sds: Array, pieces: tuple[Piece, ...]) -> Array:
    """Find the free standard deviations (..., m) nearest to those of the effects (..., k)."""
    return _join(xp, [piece.structure.free_sds(xp, sds[..., piece.inside]) for piece in pieces])


def sd_ends(pieces: tuple[Piece, ...]) -> list[int]:
    """Where the free standard deviations of each piece begin among those of the factor, and how many there are."""
    return [0, *accumulate(piece.structure.n_sds(piece.k) for piece in pieces)]


def cor_ends(pieces: tuple[Piece, ...]) -> list[int]:
    """Where the free correlations of each piece begin among those of the factor, and how many there are."""
    return [0, *accumulate(piece.structure.n_cors(piece.k) for piece in pieces)]


def _join(xp: Any, parts: Any) -> Array:
    return parts[0] if len(parts) == 1 else xp.concatenate(parts, axis=-1)
