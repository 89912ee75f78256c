"""Eliminating the random effects: the numbers pushed through the plan.

Each step replaces the cross-products [Z X y]'W[Z X y] of what remains by [Z X y]'Ṽ_f⁻¹[Z X y], with the effects of one
more factor f in the covariance Ṽ_f. For a level with cross-products G = Z_i'WZ_i and edges A to the levels that remain,

    M = I + Λ'GΛ,    N = ΛM⁻¹Λ',    log|H| += log|M|,    what remains −= A'NA.

Λ is never inverted. The same in one stroke for the dense blocks at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bayesmm.errors import ArgumentError, DesignError
from bayesmm.marginal.arrays.linalg import batched_cholesky, contract, sandwich, sum_logarithms
from bayesmm.marginal.arrays.operations import Operations
from bayesmm.marginal.elimination.dense import (
    DenseBlocks,
    assemble_blocks,
    block_positions,
    dense_rows,
    scale_blocks,
    times_factor,
)
from bayesmm.marginal.elimination.sparse import SparseElimination, factorise_sparse
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.plan.plan import PlanIndex, PlanShape, StepShape
from bayesmm.marginal.shapes import Array, Float, Int
from bayesmm.marginal.sums.crossproducts import CrossProducts


class Reduced(NamedTuple):
    """What the likelihood needs from the data, for given relative factors.

    Attributes
    ----------
    log_det : scalar
        log|H| with H = Λ'Z'WZΛ + I.
    gram : array, shape (c, c)
        S = [X y]'Ṽ⁻¹[X y].
    """

    log_det: Float[Array, ""]
    gram: Float[Array, "c c"]


class Edges(NamedTuple):
    """Edges from the levels of one factor to those of another: blocks A, and the levels at their ends."""

    blocks: Float[Array, "k l P"]
    own: Int[Array, " P"]
    other: Int[Array, " P"]


@dataclass(frozen=True)
class BatchStep:
    """One factor eliminated as a batch.

    Attributes
    ----------
    products : array, shape (k, k, q)
        G of each level when its turn came.
    root : array, shape (k, k, q)
        L⁻¹Λ' with M = LL', so that N = root'root.
    covariance : array, shape (k, k, q)
        N.
    edges : dict of int to Edges
        By neighbouring factor.
    """

    products: Float[Array, "k k q"]
    root: Float[Array, "k k q"]
    covariance: Float[Array, "k k q"]
    edges: dict[int, Edges]


@dataclass(frozen=True)
class Elimination:
    """A finished elimination of Z'WZ, ready to take in columns.

    Attributes
    ----------
    log_det : scalar
        Share of the batch steps in log|H|.
    steps : list of BatchStep
        In order.
    dense_edges : array, shape (k q, m), or None
        Edges of a last step that was made as one dense product.
    blocks : list of DenseBlocks
        By size.
    """

    log_det: Float[Array, ""]
    steps: list[BatchStep]
    dense_edges: Array | None
    blocks: list[DenseBlocks]


type AnyElimination = Elimination | SparseElimination


class Absorbed(NamedTuple):
    """Columns after elimination.

    Attributes
    ----------
    reduced : Reduced
        log|H| and S.
    cross : list of arrays, shape (k, c, q)
        Z'Ṽ_f⁻¹[X y] of each factor when its turn came.
    dense : list of arrays, shape (B, m, c)
        The same in the dense blocks, by size. Of a sparse elimination, one array (c, N): what its root leaves.
    """

    reduced: Reduced
    cross: list[Float[Array, "k c q"]]
    dense: list[Float[Array, "B m c"]]


def eliminate(
    ops: Operations, products: CrossProducts, factors: Sequence[Float[Array, "k k"]]
) -> tuple[AnyElimination, Absorbed]:
    """Eliminate all random effects from [Z X y]'W[Z X y], for factors on the conditioned columns."""
    elimination = factorise(ops, products, factors)
    return elimination, absorb(ops, products, elimination, products.cross, products.gram)


def factorise(ops: Operations, products: CrossProducts, factors: Sequence[Float[Array, "k k"]]) -> AnyElimination:
    """Eliminate all random effects from Z'WZ, for factors on the conditioned columns."""
    require_exact(products)
    if products.sparse is not None:
        return factorise_sparse(products, factors)
    shape, index = products.shape, products.index
    diagonal, pairs = list(products.diagonal), dict(zip(shape.pairs, products.pairs, strict=True))
    dense, log_det, steps = None, 0.0, []
    for step, updates in zip(shape.steps, index.updates, strict=True):
        done, step_log_det = _eliminate_batch(ops, shape, index, step, factors[step.factor], diagonal, pairs)
        log_det = log_det + step_log_det
        steps.append(done)
        if dense is None:
            fill, length = products.fill, shape.dense_length
            dense = ops.xp.zeros(length) if fill is None else ops.fill(fill, done.covariance.reshape(-1), length)
        for update, where in zip(step.updates, updates, strict=True):
            left, right = done.edges[update.left], done.edges[update.right]
            covariance = ops.take_levels(done.covariance, left.own[where.left])
            solved = contract(covariance, ops.take_levels(right.blocks, where.right))
            term = contract(ops.take_levels(left.blocks, where.left), solved)
            if update.target == "dense":
                dense = ops.add_flat(dense, block_positions(ops, where.target, where.stride, term.shape), -term)
            else:
                pair = (update.left, update.right)
                pairs[pair] = ops.add_levels(pairs[pair], where.target, -term)
    dense = ops.xp.zeros(shape.dense_length) if dense is None else dense
    blocks = assemble_blocks(ops, shape, index, diagonal, pairs, dense)
    dense_edges = None
    if shape.steps and shape.steps[-1].kind == "product":
        dense_edges = _dense_edges(ops, shape, index, shape.steps[-1], steps[-1])
        rooted = contract(steps[-1].root.swapaxes(0, 1)[..., None], dense_edges[:, None])  # (k, 1, q, m)
        blocks = [blocks[0] - ops.gram(rooted.reshape(1, -1, rooted.shape[-1]))]
    return Elimination(log_det, steps, dense_edges, scale_blocks(ops, shape, index, blocks, factors))


def require_exact(products: CrossProducts) -> None:
    """Refuse to eliminate what was not planned to be, or was not asked to be.

    Raises
    ------
    ArgumentError
        If the sums are those of a fit by probes.
    DesignError
        If what remains of crossed factors is too large.
    """
    if products.probing is not None:
        exact = products.shape.too_large or "Fit with determinant='exact' for it."
        raise ArgumentError(
            "This takes all random effects eliminated exactly, and the fit is by determinant='stochastic', which forms "
            "nothing of what remains of crossed factors. It has estimates, standard errors, tests of coefficients, "
            f"effects of levels and predictions without intervals. {exact}"
        )
    if products.shape.too_large:
        raise DesignError(f"{products.shape.too_large} model.fit() does without that matrix.")


def _eliminate_batch(
    ops: Operations,
    shape: PlanShape,
    index: PlanIndex,
    step: StepShape,
    factor: Float[Array, "k k"],
    diagonal: list[Float[Array, "k k q"]],
    pairs: dict[FactorPair, Float[Array, "k l P"]],
) -> tuple[BatchStep, Float[Array, ""]]:
    """Eliminate one factor; the neighbours' own blocks, in `diagonal`, lose its share."""
    xp, G, k = ops.xp, diagonal[step.factor], factor.shape[0]
    M = xp.eye(k)[:, :, None] + sandwich(ops, factor, G)
    pivots, root = batched_cholesky(xp, M, factor.T[:, :, None])
    covariance = contract(root, root)
    edges = {}
    for g in step.neighbours:
        pair = pair_name(shape, step.factor, g)
        A = pairs.pop(pair)
        own, other = _ends(shape, index, step.factor, g)
        edges[g] = Edges(A if pair[0] == step.factor else A.swapaxes(0, 1), own, other)
        if step.kind == "scatter":  # a dense product holds these too
            A = edges[g].blocks
            diagonal[g] = ops.add_levels(
                diagonal[g], other, -contract(A, contract(ops.take_levels(covariance, own), A))
            )
    return BatchStep(G, root, covariance, edges), 2.0 * sum_logarithms(xp, pivots)


def pair_name(shape: PlanShape, f: int, g: int) -> FactorPair:
    """Return the name of the list of pairs of two factors."""
    return (f, g) if (f, g) in shape.pairs else (g, f)


def _ends(shape: PlanShape, index: PlanIndex, f: int, g: int) -> tuple[Array, Array]:
    """Levels of f and of g along their pair list."""
    pair = pair_name(shape, f, g)
    position = shape.pairs.index(pair)
    first, second = index.rows[position], index.columns[position]
    return (first, second) if pair[0] == f else (second, first)


def _dense_edges(
    ops: Operations, shape: PlanShape, index: PlanIndex, step: StepShape, done: BatchStep
) -> Float[Array, "k q m"]:
    """All edges of one step as a dense matrix."""
    (_, size), (k, _, q) = shape.buckets[0], done.products.shape
    B = ops.xp.zeros(k * q * size)
    for g, edge in done.edges.items():
        row = index.node_row[shape.remainder.index(g)][edge.other]
        i, j = ops.xp.arange(k)[:, None, None], ops.xp.arange(edge.blocks.shape[1])[:, None]
        B = ops.add_flat(B, (i * q + edge.own) * size + row + j, edge.blocks)
    return B.reshape(k, q, size)


def absorb(
    ops: Operations,
    products: CrossProducts,
    elimination: AnyElimination,
    cross: Sequence[Float[Array, "k c q"]],
    gram: Float[Array, "c c"],
) -> Absorbed:
    """Eliminate all random effects from Z'WK and K'WK, for any columns K.

    Parameters
    ----------
    ops : module
        The operations.
    products : CrossProducts
        Of the design.
    elimination : Elimination
        From `factorise`.
    cross : sequence of arrays, shape (k, c, q)
        Z_f'WK.
    gram : array, shape (c, c)
        K'WK.
    """
    shape, cross = products.shape, list(cross)
    if isinstance(elimination, SparseElimination):
        rooted = elimination.root(cross)
        return Absorbed(Reduced(elimination.log_det, gram - rooted @ rooted.T), cross, [rooted])
    for step, done in zip(shape.steps, elimination.steps, strict=True):
        rooted = contract(done.root.swapaxes(0, 1), cross[step.factor])  # (k, c, q)
        gram = gram - ops.sum_gram(rooted)
        solved = contract(done.root, rooted)  # NK
        for g, edge in done.edges.items():
            cross[g] = ops.add_levels(cross[g], edge.other, -contract(edge.blocks, ops.take_levels(solved, edge.own)))
    log_det, dense = elimination.log_det, dense_rows(ops, products, cross)
    for block, K in zip(elimination.blocks, dense, strict=True):
        scaled = times_factor(ops, K, block.bands, axis=1)  # Λ'K
        block_log_det, explained = ops.reduce(block.factor, scaled)
        log_det = log_det + block_log_det.sum()
        gram = gram - explained.sum(0)
    return Absorbed(Reduced(log_det, gram), cross, dense)
