"""One grouping factor alone: solved within and between its levels, without a difference of large numbers.

What the elimination takes off the cross-products leaves nothing but rounding where a standard deviation is 10⁵ times σ.
Here the levels' own least squares are taken off first, row by row. With a root R of Z_i'WZ_i = R'R, the coefficients c
of K on it, and what all levels leave of K,

    M = I + RΛΛ'R',    [X y]'Ṽ⁻¹[X y] = what is left + Σ c'M⁻¹c,    Z_i'Ṽ⁻¹K = R'M⁻¹c,    Z_i'Ṽ⁻¹Z_i = R'M⁻¹R:

sums of squares, for any Λ and for levels of any rank. Searle, Casella & McCulloch (1992), Variance Components,
section 3.4, call the two parts within and between.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmm.marginal.arrays.linalg import batched_cholesky, contract, identity, sum_logarithms
from bayesmm.marginal.arrays.operations import Operations
from bayesmm.marginal.shapes import Array, Float

RANK = 1e-14  # share of a level's largest eigenvalue that is only rounding


class LevelRoots(NamedTuple):
    """Cross-products of one factor, taken apart.

    Attributes
    ----------
    root : array, shape (k, k, q)
        R.
    coefficients : array, shape (k, c, q)
        c, for K = [X y]: R'c is Z_i'WK.
    gram : array, shape (c, c)
        K'WK of what the levels leave of K.
    """

    root: Float[Array, "k k q"]
    coefficients: Float[Array, "k c q"]
    gram: Float[Array, "c c"]

    def of_columns(self, own: np.ndarray) -> LevelRoots:
        """Return those of some columns of K alone."""
        return LevelRoots(self.root, np.ascontiguousarray(self.coefficients[:, own]), self.gram[np.ix_(own, own)])


class OneFactor(NamedTuple):
    """What an evaluation of the criterion needs, at one Λ.

    Attributes
    ----------
    log_det : scalar
        log|H|.
    gram : array, shape (c, c)
        S = [X y]'Ṽ⁻¹[X y].
    residual : array, shape (k, c, q)
        Z'Ṽ⁻¹[X y]; ΛΛ' times it are effects.
    marginal : array, shape (k, k, q)
        Z_i'Ṽ⁻¹Z_i.
    """

    log_det: Float[Array, ""]
    gram: Float[Array, "c c"]
    residual: Float[Array, "k c q"]
    marginal: Float[Array, "k k q"]


def root_levels(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root R (k, k, q) of each level's Z_i'WZ_i, and a generalised inverse of R' of the same shape."""
    values, vectors = np.linalg.eigh(products.transpose(2, 0, 1))  # (q, k), (q, k, k)
    positive = values > RANK * values[:, -1:]
    size = np.sqrt(np.where(positive, values, 0.0))
    inverse = np.where(positive, 1.0 / np.where(positive, size, 1.0), 0.0)
    root, back = ((scale[:, :, None] * vectors.swapaxes(1, 2)).transpose(1, 2, 0) for scale in (size, inverse))
    return np.ascontiguousarray(root), np.ascontiguousarray(back)


def invert_roots(root: np.ndarray) -> np.ndarray:
    """Return the generalised inverse (k, k, q) of R' that `root_levels` gave beside R, whose rows are orthogonal."""
    squares = (root**2).sum(axis=1, keepdims=True)
    return np.divide(root, squares, out=np.zeros_like(root), where=squares > 0)


def solve_one_factor(ops: Operations, levels: LevelRoots, factor: Float[Array, "k k"]) -> OneFactor:
    """Solve at one Λ, on the conditioned columns."""
    xp, k, c = ops.xp, factor.shape[0], levels.gram.shape[0]
    B = factor.T @ levels.root  # RΛ
    right = xp.concatenate([levels.coefficients, levels.root], axis=1)
    pivots, solved = batched_cholesky(xp, identity(k)[:, :, None] + contract(B.swapaxes(0, 1), B.swapaxes(0, 1)), right)
    rooted, between = solved[:, :c], solved[:, c:]
    weighed = contract(between, solved)  # (k, c + k, q)
    return OneFactor(
        log_det=2.0 * sum_logarithms(xp, pivots),
        gram=levels.gram + ops.sum_gram(rooted),
        residual=weighed[:, :c],
        marginal=weighed[:, c:],
    )


def paired_traces(
    marginal: np.ndarray, residual: np.ndarray, weight: np.ndarray, ways: np.ndarray
) -> Float[Array, "t t"]:
    """tr(PV_sPV_t) with V_t = ZA_tZ' and P = Ṽ⁻¹ − Ṽ⁻¹XCX'Ṽ⁻¹.

    Parameters
    ----------
    marginal : array, shape (k, k, q)
        M_i = Z_i'Ṽ⁻¹Z_i.
    residual : array, shape (k, p, q)
        R_i = Z_i'Ṽ⁻¹X.
    weight : array, shape (p, p)
        C.
    ways : array, shape (k, t, k)
        A_t, symmetric, beside each other.

    Notes
    -----
    Σ_i tr A_sM_iA_t(M_i − 2R_iCR_i') + tr G_sCG_tC with G_t = Σ_i R_i'A_tR_i: what the fixed effects tie together
    between levels needs no pairs of these.
    """
    (k, p, q), t = residual.shape, ways.shape[1]
    flat = ways.swapaxes(0, 1).reshape(t, k * k)
    taken = np.einsum("apq,bpq->abq", weight @ residual, residual)
    within = marginal.reshape(k * k, q) @ (marginal - 2.0 * taken).reshape(k * k, q).T  # [bc, da] of A_s[ab], A_t[cd]
    paired = within.reshape(k, k, k, k).transpose(3, 0, 1, 2).reshape(k * k, k * k)
    rows = residual.reshape(k * p, q)
    grams = flat @ (rows @ rows.T).reshape(k, p, k, p).swapaxes(1, 2).reshape(k * k, p * p)
    between = grams.reshape(t, p, p) @ weight
    return flat @ paired @ flat.T + between.reshape(t, p * p) @ between.swapaxes(1, 2).reshape(t, p * p).T


def level_covariances(ops: Operations, levels: LevelRoots, factor: Float[Array, "k k"]) -> Float[Array, "k k q"]:
    """ΛH⁻¹Λ' of each level: the conditional covariance of its effects over σ², given β."""
    B = contract(levels.root.swapaxes(0, 1), factor[:, :, None])  # RΛ
    H = identity(factor.shape[0])[:, :, None] + contract(B, B)
    root = batched_cholesky(ops.xp, H, factor.T[:, :, None])[1]
    return contract(root, root)
