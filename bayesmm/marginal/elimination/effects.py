"""Putting back what was eliminated: conditional modes, draws, residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.arrays.operations import Operations
from bayesmm.marginal.elimination.dense import dense_rows, level_blocks, times_factor, times_transpose
from bayesmm.marginal.elimination.elimination import Absorbed, AnyElimination, Elimination
from bayesmm.marginal.elimination.sparse import SparseElimination
from bayesmm.marginal.elimination.times import times_effects
from bayesmm.marginal.plan.sparse import join
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts


class Solved(NamedTuple):
    """Solutions for some right-hand sides, per factor.

    Attributes
    ----------
    effects : list of arrays, shape (k, j, q)
        ΛH⁻¹Λ'Z'WK.
    residual : list of arrays, shape (k, j, q)
        Z'Ṽ⁻¹K.
    """

    effects: list[Float[Array, "k j q"]]
    residual: list[Float[Array, "k j q"]]


def solve_effects(
    ops: Operations,
    products: CrossProducts,
    elimination: AnyElimination,
    absorbed: Absorbed,
    combination: Float[Array, "c j"] | None = None,
    noise: Sequence[Float[Array, "k j q"]] | None = None,
) -> Solved:
    """Solve for the random effects b, factor by factor in reverse.

    Parameters
    ----------
    ops, products, elimination
        As in `bayesmm.marginal.elimination.elimination.absorb`.
    absorbed : Absorbed
        The columns K.
    combination : array, shape (c, j), optional
        Combinations of the columns to solve for; each column by itself where there is none. With (−β, 1) the effects
        are the conditional modes.
    noise : sequence of arrays, shape (k, j, q), optional
        ``ΛL⁻ᵀ·noise`` is added: with standard normal numbers times σ the effects are a draw from their conditional
        distribution N(modes, σ²ΛH⁻¹Λ'). The residual then has no meaning.
    """
    if isinstance(elimination, SparseElimination):
        return _solve_sparse(products, elimination, absorbed, combination, noise)
    effects, residual = _solve_dense(ops, products, elimination, absorbed, combination, noise)
    for step, done in zip(reversed(products.shape.steps), reversed(elimination.steps), strict=True):
        f = step.factor
        right = absorbed.cross[f]
        if combination is not None:
            right = ops.transform(combination, right.swapaxes(0, 1)).swapaxes(0, 1)  # (k, j, q)
        for g, edge in done.edges.items():
            A = edge.blocks.swapaxes(0, 1)
            right = ops.add_levels(right, edge.own, -contract(A, ops.take_levels(effects[g], edge.other)))
        effects[f] = contract(done.covariance, right)
        residual[f] = right - contract(done.products, effects[f])
        if noise is not None:
            effects[f] = effects[f] + contract(done.root, noise[f])
    order = range(len(products.shape.widths))
    return Solved([effects[f] for f in order], [residual[f] for f in order])


def _solve_sparse(
    products: CrossProducts,
    elimination: SparseElimination,
    absorbed: Absorbed,
    combination: Float[Array, "c j"] | None,
    noise: Sequence[Float[Array, "k j q"]] | None,
) -> Solved:
    cross, (rooted,) = absorbed.cross, absorbed.dense
    if combination is not None:
        cross = [host.transform(combination, K.swapaxes(0, 1)).swapaxes(0, 1) for K in cross]
        rooted = combination.T @ rooted
    effects = elimination.back(rooted if noise is None else rooted + join(noise))
    return Solved(effects, [K - taken for K, taken in zip(cross, times_effects(products, effects), strict=True)])


def _solve_dense(
    ops: Operations,
    products: CrossProducts,
    elimination: Elimination,
    absorbed: Absorbed,
    combination: Float[Array, "c j"] | None,
    noise: Sequence[Float[Array, "k j q"]] | None,
) -> tuple[dict[int, Array], dict[int, Array]]:
    """Solve for effects and residual of the dense remainder, by factor."""
    noise_rows = None if noise is None else dense_rows(ops, products, noise)
    b_rows, r_rows = [], []
    for position, (block, K) in enumerate(zip(elimination.blocks, absorbed.dense, strict=True)):
        right = K if combination is None else K @ combination
        u = ops.solve(block.factor, times_factor(ops, right, block.bands, axis=1))
        b = times_transpose(ops, u, block.bands, axis=1)
        r_rows.append(right - ops.times(block.products, b))
        if noise_rows is not None:
            white = ops.solve_root(block.factor, noise_rows[position])
            b = b + times_transpose(ops, white, block.bands, axis=1)
        b_rows.append(b)
    return level_blocks(ops, products, b_rows), level_blocks(ops, products, r_rows)
