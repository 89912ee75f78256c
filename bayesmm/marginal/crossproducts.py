"""Cross-products of one design: all that the likelihood ever sees of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float
from scipy.linalg import solve_triangular

from bayesmm.marginal.plan import FactorPair, Plan, PlanIndex, PlanShape, elimination_order, make_plan

RANK_TOLERANCE = 1e-7  # of a column's norm; below it a random term's columns are only scaled, not orthogonalised


@dataclass(frozen=True, kw_only=True)
class BlockArrays:
    """The random effects of one grouping factor, row by row.

    Attributes
    ----------
    codes : array of int, shape (n,)
        Level of each row.
    columns : array, shape (n, k)
        Effect columns.
    n_levels : int
        Number of levels.
    pieces : tuple of (start, stop, structure)
        Which contiguous columns share a covariance matrix, and its structure.
    """

    codes: np.ndarray
    columns: np.ndarray
    n_levels: int
    pieces: tuple[tuple[int, int, str], ...]


@register_dataclass
@dataclass(frozen=True)
class CrossProducts:
    """[Z X y]'W[Z X y] in blocks, on conditioned columns; a pytree, the argument of every compiled program.

    X stands for an orthonormal basis of the fixed effects' columns, y for its least-squares residual, and effect
    columns are orthonormalised within each covariance matrix; `fixed_root`, `fixed_origin` and `effect_roots` lead
    back.
    The number of fixed effects and of levels is padded with zeros (and ones on the diagonal), which add log 1 = 0.

    Attributes
    ----------
    shape : PlanShape
        Static part of the elimination plan.
    diagonal : tuple of arrays, shapes (k, k, q)
        Z_f'WZ_f, one k × k matrix per level.
    cross : tuple of arrays, shapes (k, c, q)
        Z_f'W[X y].
    pairs : tuple of arrays, shapes (k_f, k_g, P)
        Z_f'WZ_g per pair of levels that occur together.
    gram : array, shape (c, c)
        [X y]'W[X y], y last.
    index : PlanIndex
        Index lists of the elimination plan.
    fixed_root : array, shape (p, p)
        R, upper triangular: the user's columns are X R.
    fixed_origin : array, shape (p,)
        Least-squares coefficients of the user's columns; the y here is what they leave over.
    effect_roots : tuple of arrays, shapes (k, k)
        T, upper triangular: the user's effect columns are those here times T, so the factor here is TΛ.
    n, p : scalars
        Rows and fixed effects.
    log_weights : scalar
        Σ log wᵢ.
    """

    diagonal: tuple[Float[Array, "k k q"], ...]
    cross: tuple[Float[Array, "k c q"], ...]
    pairs: tuple[Float[Array, "k l P"], ...]
    gram: Float[Array, "c c"]
    index: PlanIndex
    fixed_root: Float[Array, "p p"]
    fixed_origin: Float[Array, " p"]
    effect_roots: tuple[Float[Array, "k k"], ...]
    n: Float[Array, ""]
    p: Float[Array, ""]
    log_weights: Float[Array, ""]
    shape: PlanShape = field(metadata={"static": True})


def pad_columns(p: int) -> int:
    """Round the columns of [X y] up to one of a few numbers, so that designs share programs."""
    for small in (4, 8, 16, 32):
        if p < small:
            return small
    return -(-(p + 1) // 16) * 16


def build_products(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray, blocks: Sequence[BlockArrays]
) -> tuple[CrossProducts, Plan]:
    """Sum the cross-products of one design and plan their elimination.

    Parameters
    ----------
    X : array, shape (n, p)
        Fixed-effect columns of full rank.
    y : array, shape (n,)
        Response less offset.
    weights : array, shape (n,)
        Prior weights, positive.
    blocks : sequence of BlockArrays
        One per grouping factor.

    Returns
    -------
    products : CrossProducts
        With NumPy leaves; they become JAX arrays inside a compiled program.
    plan : Plan
        The elimination plan, with what people ask about it.
    """
    n, p = X.shape
    Q, R, origin, residual = condition_fixed(X, y, weights)
    right = np.zeros((n, pad_columns(p)))
    right[:, :p] = Q
    right[:, -1] = residual
    weighted = right * weights[:, None]
    gram: Any = right.T @ weighted
    padding = np.arange(p, gram.shape[0] - 1)
    gram[padding, padding] = 1.0
    roots: list[Any] = [effect_root(block, weights) for block in blocks]
    columns = [_solve_right(block.columns, T) for block, T in zip(blocks, roots, strict=True)]
    keys = _pair_keys(blocks)
    plan = make_plan(
        {pair: unique for pair, (unique, _) in keys.items()},
        [block.n_levels for block in blocks],
        [block.columns.shape[1] for block in blocks],
    )
    sizes = plan.shape.sizes
    products = CrossProducts(
        diagonal=tuple(
            _sum_products(Z, Z * weights[:, None], block.codes, size)
            for Z, block, size in zip(columns, blocks, sizes, strict=True)
        ),
        cross=tuple(
            _sum_products(Z, weighted, block.codes, size) for Z, block, size in zip(columns, blocks, sizes, strict=True)
        ),
        pairs=tuple(
            _sum_pair(columns, weights, keys, plan, position, pair) for position, pair in enumerate(plan.shape.pairs)
        ),
        gram=gram,
        index=plan.index,
        fixed_root=R,
        fixed_origin=origin,
        effect_roots=tuple(roots),
        n=_scalar(n),
        p=_scalar(p),
        log_weights=_scalar(np.log(weights).sum()),
        shape=plan.shape,
    )
    return products, plan


def condition_fixed(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, Any, Any, np.ndarray]:
    """Orthonormal basis Q of X in the inner product of the weights, R with X = QR, and y's coefficients and residual.

    A second pass over Q removes what the first left of the condition number of X, and a second projection what the
    first left of y (a mean of 1e9 loses no digits of the residual).
    """
    root = np.sqrt(weights)[:, None]
    if X.shape[1] == 0:
        return X, np.zeros((0, 0)), np.zeros(0), y
    R = np.linalg.qr(X * root, mode="r")
    Q = _solve_right(X, R)
    R_again = np.linalg.qr(Q * root, mode="r")
    Q, R = _solve_right(Q, R_again), R_again @ R
    first = Q.T @ (weights * y)
    residual = y - Q @ first
    second = Q.T @ (weights * residual)
    return Q, R, solve_triangular(R, first + second), residual - Q @ second


def effect_root(block: BlockArrays, weights: np.ndarray) -> np.ndarray:
    """T, such that columns T⁻¹ have unit mean square and are uncorrelated within each unstructured piece.

    An unstructured covariance matrix keeps its meaning under any linear change of columns, so θ is optimised where
    the columns are tame and calendar years as a random slope do no harm.
    """
    k = block.columns.shape[1]
    root = np.sqrt(weights / weights.sum())[:, None]
    T = np.zeros((k, k))
    for start, stop, structure in block.pieces:
        columns = block.columns[:, start:stop] * root
        norms = np.linalg.norm(columns, axis=0)
        norms = np.where(norms > 0, norms, 1.0)
        piece = np.diag(norms)
        if structure == "unstructured":
            R = np.linalg.qr(columns, mode="r") if len(columns) >= stop - start else piece
            if R.shape == piece.shape and (np.abs(np.diag(R)) > RANK_TOLERANCE * norms).all():
                piece = R * np.where(np.diag(R) < 0, -1.0, 1.0)[:, None]
        T[start:stop, start:stop] = piece
    return T


def _solve_right(columns: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Columns R⁻¹ for upper triangular R."""
    return solve_triangular(R, columns.T, trans=1).T


def _scalar(value: float) -> Any:
    return np.float64(value)


def _pair_keys(blocks: Sequence[BlockArrays]) -> dict[FactorPair, tuple[np.ndarray, np.ndarray]]:
    """Pairs of levels that occur together, and the pair of each row."""
    order = elimination_order([block.n_levels for block in blocks])
    keys = {}
    for i, f in enumerate(order):
        for g in order[i + 1 :]:
            code = blocks[f].codes.astype(np.int64) * blocks[g].n_levels + blocks[g].codes
            keys[(f, g)] = np.unique(code, return_inverse=True)
    return keys


def _sum_products(left: np.ndarray, right: np.ndarray, codes: np.ndarray, size: int) -> Any:
    """Sum of outer products of rows, per level; shape (k, c, size)."""
    sums = np.empty((left.shape[1], right.shape[1], size))
    for a in range(left.shape[1]):
        for b in range(right.shape[1]):
            sums[a, b] = np.bincount(codes, weights=left[:, a] * right[:, b], minlength=size)
    return sums


def _sum_pair(
    columns: Sequence[np.ndarray],
    weights: np.ndarray,
    keys: dict[FactorPair, tuple[np.ndarray, np.ndarray]],
    plan: Plan,
    position: int,
    pair: FactorPair,
) -> Any:
    """Z_f'WZ_g over one pair list, padded; edges that elimination adds start at zero."""
    f, g = pair
    size = len(plan.index.rows[position])
    return _sum_products(columns[f], columns[g] * weights[:, None], keys[pair][1], size)
