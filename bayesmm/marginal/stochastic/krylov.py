"""Krylov methods for a symmetric positive definite matrix near the identity, for several columns at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bayesmm.marginal.shapes import Array, Float

MOST_STEPS = 300
EXHAUSTED = 1e-12  # what is left of a unit vector, below which a Krylov space is the whole of what it can be
FINE = 1e-9  # share of a positive semidefinite matrix's trace that is left out

type Apply = Callable[[Float[Array, "N c"]], Float[Array, "N c"]]


class Tridiagonal(NamedTuple):
    """Lanczos's matrices T of several columns, and the bases V in which they are V'AV.

    Attributes
    ----------
    basis : list of arrays, shape (N, c)
        The j-th vectors of all columns.
    diagonal : array, shape (s, c)
    beside : array, shape (s − 1, c)
    norms : array, shape (c,)
        Of the columns.
    residual : float
        Largest relative residual of A⁻¹ times a column in these spaces.
    """

    basis: list[Float[Array, "N c"]]
    diagonal: Float[Array, "s c"]
    beside: Float[Array, "_r c"]
    norms: Float[Array, " c"]
    residual: float

    @property
    def matrices(self) -> Float[Array, "c s s"]:
        """T of each column."""
        s = len(self.diagonal)
        T = np.zeros((self.diagonal.shape[1], s, s))
        i = np.arange(s)
        T[:, i, i] = self.diagonal.T
        T[:, i[1:], i[:-1]] = T[:, i[:-1], i[1:]] = self.beside.T
        return T


def tridiagonalise(xp: Any, apply: Apply, columns: Float[Array, "N c"], tolerance: float) -> Tridiagonal:
    """Run Lanczos's recursion from each column, until A⁻¹ times it is known to a tolerance.

    Notes
    -----
    Vectors are orthogonalised against all earlier ones, which costs little beside the products.

    References
    ----------
    Golub & Meurant (2010), Matrices, Moments and Quadrature with Applications.
    """
    norms = xp.sqrt((columns * columns).sum(axis=0))
    v, basis, diagonal, beside = columns / norms, [], [], []
    alive = np.ones(columns.shape[1], bool)
    along, pivot, residual = np.ones(columns.shape[1]), None, np.inf
    for _ in range(MOST_STEPS):
        basis.append(v)
        w = apply(v)
        a = (v * w).sum(axis=0)
        for u in reversed(basis):
            w = w - u * (u * w).sum(axis=0)
        b = np.asarray(xp.sqrt((w * w).sum(axis=0)))
        diagonal.append(np.where(alive, np.asarray(a), 1.0))
        pivot = diagonal[-1] if pivot is None else diagonal[-1] - beside[-1] ** 2 / pivot
        residual = float(np.abs(b * along / pivot).max())  # of the last entry of T⁻¹e₁
        if not residual > tolerance:  # NaN too
            break
        alive = alive & (b > EXHAUSTED)
        b = np.where(alive, b, 0.0)
        beside.append(b)
        along = along * -b / pivot
        v = w * xp.asarray(np.where(alive, 1.0, 0.0) / np.where(alive, b, 1.0))
    diagonal = np.array(diagonal)
    return Tridiagonal(
        basis, diagonal, np.array(beside).reshape(-1, v.shape[1])[: len(diagonal) - 1], np.asarray(norms), residual
    )


class Logarithm(NamedTuple):
    """z'(log A − A + I)z of several columns z, and vectors x with Σ x'∂Ax − z'∂Az its derivative.

    Attributes
    ----------
    values : array, shape (c,)
    vectors : list of arrays, shape (N, c)
        The x of all columns.
    """

    values: Float[Array, " c"]
    vectors: list[Float[Array, "N c"]]


def quadrature(xp: Any, T: Tridiagonal) -> Logarithm:
    """Read the logarithm off Lanczos's matrices, by Gauss's quadrature.

    Notes
    -----
    The derivative of z'log(A)z is ∫ x_t'∂Ax_t dt with x_t = (A + tI)⁻¹z. In the eigenvectors of T that is a sum over
    pairs of eigenvalues with the divided differences of the logarithm (Daletskii & Krein): a positive semidefinite
    matrix, of which few eigenvectors matter.

    References
    ----------
    Ubaru, Chen & Saad (2017), SIAM J. Matrix Anal. Appl. 38. Higham (2008), Functions of Matrices, ch. 3.
    """
    lam, Y = np.linalg.eigh(T.matrices)
    first = Y[:, 0, :] * T.norms[:, None]
    values = (first**2 * (np.log(lam) - lam + 1.0)).sum(axis=1)
    kernel = _divided_differences(lam) * first[:, :, None] * first[:, None, :]
    sizes, U = np.linalg.eigh(Y @ kernel @ Y.swapaxes(1, 2))
    left_out = np.cumsum(np.maximum(sizes, 0.0), axis=1)
    kept = int((left_out > FINE * left_out[:, -1:]).sum(axis=1).max())
    F = (U * np.sqrt(np.maximum(sizes, 0.0))[:, None])[:, :, -kept:]  # (c, s, r)
    vectors = []
    for r in range(kept):
        total = T.basis[0] * xp.asarray(F[:, 0, r])
        for j in range(1, len(T.basis)):
            total = total + T.basis[j] * xp.asarray(F[:, j, r])
        vectors.append(total)
    return Logarithm(values, vectors)


def _divided_differences(lam: Float[Array, "c s"]) -> Float[Array, "c s s"]:
    """(log a − log b) / (a − b) of each two eigenvalues; 1/a where they are the same."""
    a, b = lam[:, :, None], lam[:, None, :]
    ratio = a / b - 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.abs(ratio) < 1e-6, (1.0 - 0.5 * ratio) / b, np.log1p(ratio) / (a - b))


class Solutions(NamedTuple):
    """A⁻¹ times columns, and the largest relative residual."""

    columns: Float[Array, "N c"]
    residual: float


def conjugate_gradients(xp: Any, apply: Apply, right: Float[Array, "N c"], tolerance: float) -> Solutions:
    """Solve for each column."""
    size = xp.sqrt((right * right).sum(axis=0))
    x, r = xp.zeros_like(right), right
    p, rr = r, (r * r).sum(axis=0)
    unit = xp.where(size > 0.0, size, 1.0)
    residual = 0.0
    for _ in range(MOST_STEPS):
        residual = float((xp.sqrt(rr) / unit).max(initial=0.0))
        if not residual > tolerance:
            break
        Ap = apply(p)
        pAp = (p * Ap).sum(axis=0)
        step = xp.where(pAp > 0.0, rr / xp.where(pAp > 0.0, pAp, 1.0), 0.0)
        x, r = x + step * p, r - step * Ap
        new = (r * r).sum(axis=0)
        p = r + xp.where(rr > 0.0, new / xp.where(rr > 0.0, rr, 1.0), 0.0) * p
        rr = new
    return Solutions(x, residual)
