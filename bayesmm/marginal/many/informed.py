"""What the fixed effects' covariance and its derivatives are made of, at many θ of one design that is taken apart.

None of it depends on the response, so that it serves refits of any responses: each at its own θ, all in the same calls
of NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import Layout, stack_factors
from bayesmm.covariance.tangents import stack_tangents
from bayesmm.marginal.apart.few_effects import EffectRoots
from bayesmm.marginal.apart.one_factor import LevelRoots
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.many.side_by_side import root_levels
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts

NUMBERS = 2**21  # in the largest array of one go


class Informed(NamedTuple):
    """One design at m values of θ, on the conditioned columns and in units of σ.

    Attributes
    ----------
    covariance : array, shape (m, p, p)
        A⁻¹ with A = X'Ṽ⁻¹X.
    moves : list of arrays, shape (m, t_f, k, k)
        ∂ΛΛ'/∂θ of each grouping factor, by its own entries of θ.
    falls : array, shape (m, t, p, p)
        −∂A/∂θ = X'Ṽ⁻¹(∂Ṽ/∂θ)Ṽ⁻¹X.
    expected : list of arrays, shape (m, k, k)
        K = Σ Z'PZ of each factor.
    gram : array, shape (m, t, p, t, p)
        X'Ṽ⁻¹(∂_sṼ)Ṽ⁻¹(∂_tṼ)Ṽ⁻¹X; no numbers where it is not asked for.
    """

    covariance: Float[Array, "m p p"]
    moves: list[Float[Array, "m t k k"]]
    falls: Float[Array, "m t p p"]
    expected: list[Float[Array, "m k k"]]
    gram: Float[Array, "m t p t p"]

    def along(self, matrices: list[Float[Array, "m k k"]]) -> Float[Array, "m t"]:
        """⟨∂ΛΛ'/∂θ, M⟩ of each entry of θ, from symmetric M of each factor."""
        pairs = zip(self.moves, matrices, strict=True)
        return np.concatenate([np.einsum("mtab,mab->mt", move, M) for move, M in pairs], axis=1)


def inform_each(
    products: CrossProducts, thetas: Float[Array, "m t"], restriction: float, layout: Layout, *, with_gram: bool
) -> Informed:
    """Work out the parts of a fixed effects' covariance at many θ.

    Parameters
    ----------
    products : CrossProducts
        Of a design that is taken apart.
    thetas : array, shape (m, t)
        On the conditioned columns.
    restriction : float
        1 for REML, 0 for ML: whether P or Ṽ⁻¹ is in `expected`.
    layout : Layout
        Covariance pieces of each grouping factor.
    with_gram : bool
        Whether `gram` is wanted.
    """
    parts = list(_parts(products, thetas, restriction, layout, with_gram))
    if len(parts) == 1:
        return parts[0]
    return Informed(
        np.concatenate([part.covariance for part in parts]),
        [np.concatenate(each) for each in zip(*(part.moves for part in parts), strict=True)],
        np.concatenate([part.falls for part in parts]),
        [np.concatenate(each) for each in zip(*(part.expected for part in parts), strict=True)],
        np.concatenate([part.gram for part in parts]),
    )


def _parts(
    products: CrossProducts, thetas: np.ndarray, restriction: float, layout: Layout, with_gram: bool
) -> Iterator[Informed]:
    m, t = thetas.shape
    p = int(products.p)
    if products.levels is not None:
        k, _, q = products.levels.root.shape
        size = k * q * (p * (t + 1) + 2 * k)
    else:
        assert products.effects is not None
        r = sum(R.shape[0] * R.shape[1] for R in products.effects.roots)
        size = r * (r + p * (t + 1))
    at_once = max(1, NUMBERS // size)
    for first in range(0, max(m, 1), at_once):
        some = thetas[first : first + at_once]
        factors, moves = stack_factors(some, layout), []
        for L, way in zip(factors, stack_tangents(some, layout), strict=True):
            half = way.first @ L[:, None].swapaxes(2, 3)
            moves.append(half + half.swapaxes(2, 3))
        if products.levels is not None:
            yield _of_levels(products.levels, factors[0], moves, p, restriction, with_gram)
        else:
            assert products.effects is not None
            yield _of_few(products.effects, factors, moves, p, restriction, with_gram)


def _of_levels(
    levels: LevelRoots,
    factor: np.ndarray,
    moves: list[np.ndarray],
    p: int,
    restriction: float,
    with_gram: bool,
) -> Informed:
    """One factor alone, its levels apart."""
    m, (k, _, q) = len(factor), levels.root.shape
    right = np.empty((k, p + k, m, q))
    right[:, :p], right[:, p:] = levels.coefficients[:, :p, None], levels.root[:, :, None]
    _, rooted = root_levels(levels, np.moveaxis(factor, 0, -1)[..., None], right)
    X, between = rooted[:, :p], rooted[:, p:]
    A = levels.gram[:p, :p] + np.einsum("kimq,kjmq->mij", X, X, optimize=True)
    covariance = np.linalg.inv(A)
    R, marginal = contract(between, X), contract(between, between)  # (k, p, m, q), (k, k, m, q)
    moved = np.einsum("mtab,bpmq->mtapq", moves[0], R, optimize=True)
    fixed = np.einsum("aimq,mij,bjmq->mab", R, covariance, R, optimize=True)
    gram = np.zeros((m, 0, p, 0, p))
    if with_gram:
        gram = np.einsum("mscaq,abmq,mtdbq->msctd", moved.swapaxes(2, 3), marginal, moved.swapaxes(2, 3), optimize=True)
    return Informed(
        covariance,
        moves,
        np.einsum("acmq,mtadq->mtcd", R, moved, optimize=True),
        [np.einsum("abmq->mab", marginal) - restriction * fixed],
        gram,
    )


def _of_few(
    roots: EffectRoots,
    factors: list[np.ndarray],
    moves: list[np.ndarray],
    p: int,
    restriction: float,
    with_gram: bool,
) -> Informed:
    """Several factors of few effects, as one dense matrix a θ."""
    m, sizes = len(factors[0]), [R.shape[:2] for R in roots.roots]
    B = np.concatenate(
        [
            (L.swapaxes(1, 2) @ R.reshape(len(R), -1)).reshape(m, -1, R.shape[2])
            for L, R in zip(factors, roots.roots, strict=True)
        ],
        axis=1,
    )  # Λ'R'
    C = np.linalg.cholesky(np.eye(B.shape[2]) + B.swapaxes(1, 2) @ B)
    flat = np.concatenate([R.reshape(-1, R.shape[2]) for R in roots.roots]).T
    right = np.concatenate([roots.coefficients[:, :p], flat], axis=1)
    rooted = np.linalg.solve(C, np.broadcast_to(right, (m, *right.shape)))
    S = rooted.swapaxes(1, 2) @ rooted
    covariance = np.linalg.inv(S[:, :p, :p] + roots.gram[:p, :p])
    R, marginal = S[:, p:, :p], S[:, p:, p:]
    moved, falls, expected, end = [], [], [], 0
    for move, (k, q) in zip(moves, sizes, strict=True):
        start, end = end, end + k * q
        own, block = R[:, start:end].reshape(m, k, q, p), marginal[:, start:end, start:end].reshape(m, k, q, k, q)
        fixed = np.einsum("maqi,mij,mbqj->mab", own, covariance, own, optimize=True)
        expected.append(np.einsum("maqbq->mab", block) - restriction * fixed)
        a = np.einsum("mtab,mbqp->mtaqp", move, own)
        falls.append(np.einsum("maqc,mtaqd->mtcd", own, a, optimize=True))
        whole = np.zeros((m, move.shape[1], R.shape[1], p))
        whole[:, :, start:end] = a.reshape(m, move.shape[1], k * q, p)
        moved.append(whole)
    gram = np.zeros((m, 0, p, 0, p))
    if with_gram:
        a = np.concatenate(moved, axis=1)
        gram = np.einsum("msrc,mru,mtud->msctd", a, marginal, a, optimize=True)
    return Informed(covariance, moves, np.concatenate(falls, axis=1), expected, gram)
