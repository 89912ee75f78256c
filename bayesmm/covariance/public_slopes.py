"""How the standard deviations and correlations of one piece change with its entries of θ."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import Piece, piece_factor
from bayesmm.covariance.structure import Array
from bayesmm.covariance.tangents import piece_derivatives

TINY = 1e-30  # step of a complex-step derivative
APART = 1e-5  # relative change of a correlation matrix over which such derivatives are compared


class Slopes(NamedTuple):
    """Public values with their derivatives.

    Attributes
    ----------
    values : array, shape (m,)
    first : array, shape (m, t)
    second : array, shape (m, t, t)
    """

    values: np.ndarray
    first: np.ndarray
    second: np.ndarray


def differentiate_variances(theta: np.ndarray, piece: Piece, back: np.ndarray) -> Slopes:
    """Squares of the free standard deviations of a piece, over σ², and their derivatives in θ.

    Parameters
    ----------
    theta : array, shape (t,)
        Entries of θ of the piece, on conditioned columns.
    piece : Piece
        Effects and structure.
    back : array, shape (k, k)
        Change of columns: Λ on the user's columns is this times that of θ.

    Notes
    -----
    They are linear in the covariance matrix, also at zero, so that one complex step in each of ∂ΛΛ' and ∂²ΛΛ' is exact.
    """
    at = _covariance(theta, piece, back)
    squares = _read(piece, at.values + 1j * TINY * _stack(at.first, at.second))[0] ** 2
    return _unstack(squares[0].real, squares.imag / TINY)


def differentiate_correlations(theta: np.ndarray, piece: Piece, back: np.ndarray) -> Slopes:
    """Free correlations of a piece, and their derivatives in θ; arguments as of `differentiate_variances`.

    Notes
    -----
    First derivatives along ∂ΛΛ' and ∂²ΛΛ' are complex steps; the second derivative along two ∂ΛΛ' is a central
    difference of such, on covariances over the standard deviations.
    """
    at = _covariance(theta, piece, back)
    spread = np.sqrt(np.diag(at.values))
    spread = np.where(spread > 0.0, spread, 1.0)
    scale = spread[:, None] * spread
    R, first, second = (each / scale for each in at)
    t = len(theta)
    steps = APART / np.maximum(np.abs(first).max(axis=(1, 2)), 1.0)
    shift = steps[:, None, None] * first
    ends = np.concatenate([R + shift, R - shift]).repeat(t, axis=0) + 1j * TINY * np.tile(first, (2 * t, 1, 1))
    found = _read(piece, np.concatenate([R + 1j * TINY * _stack(first, second), ends]))[1]
    along = found.imag / TINY
    up, down = along[t + t * t :].reshape(2, t, t, -1)
    bent = np.moveaxis((up - down) / (2.0 * steps[:, None, None]), -1, 0)
    straight = _unstack(found[0].real, along[: t + t * t])
    return straight._replace(second=straight.second + 0.5 * (bent + bent.swapaxes(1, 2)))


def _covariance(theta: np.ndarray, piece: Piece, back: np.ndarray) -> Slopes:
    """ΛΛ' (k, k) on the user's columns, and its derivatives (t, k, k) and (t, t, k, k)."""
    first, second = piece_derivatives(np, theta, piece)
    M, dM, ddM = (back @ each for each in (piece_factor(np, theta, piece), first, second))
    half, bent = dM[..., : piece.k] @ M.T, dM[:, None] @ dM.swapaxes(1, 2)[None] + ddM @ M.T
    return Slopes(M @ M.T, half + half.swapaxes(1, 2), bent + bent.swapaxes(2, 3))


def _stack(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Put (t, k, k) and (t, t, k, k) below each other."""
    return np.concatenate([first, second.reshape(-1, *first.shape[1:])])


def _unstack(values: np.ndarray, along: np.ndarray) -> Slopes:
    """Take (t + t², m) apart."""
    m = len(values)
    t = (math.isqrt(1 + 4 * len(along)) - 1) // 2
    return Slopes(values, along[:t].T, along[t:].T.reshape(m, t, t))


def _read(piece: Piece, covariance: np.ndarray) -> tuple[Array, Array]:
    with np.errstate(all="ignore"):  # a standard deviation of zero has no correlation
        return piece.structure.read(np, covariance)
