"""Selected entries of the inverse, without forming it: covariances of random effects, derivatives of log|H|."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.arrays.operations import Operations
from bayesmm.marginal.elimination.dense import block_positions, times_transpose
from bayesmm.marginal.elimination.elimination import AnyElimination, Elimination, pair_name
from bayesmm.marginal.elimination.sparse import SparseElimination, invert_sparse
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.plan.plan import StepShape
from bayesmm.marginal.plan.planning import list_fill
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts


class Inverse(NamedTuple):
    """Selected entries of C = ΛH⁻¹Λ', the conditional covariance of the random effects over σ².

    Attributes
    ----------
    diagonal : list of arrays, shape (k, k, q)
        Of each level, per factor.
    pairs : dict of (int, int) to array, shape (k, l, P)
        Of pairs of levels that occur together, by pair list; see `invert_on_pattern`.
    weights : list of arrays, shape (k, k)
        Σ Z_i'Ṽ⁻¹Z_i over the levels i of each factor: the derivative of log|H| with respect to ΛΛ'.
    influence : list of arrays, shape (k, k)
        The same times Λ, exact where Λ is singular: half the derivative of log|H| with respect to Λ.
    """

    diagonal: list[Float[Array, "k k q"]]
    pairs: dict[FactorPair, Float[Array, "k l P"]]
    weights: list[Float[Array, "k k"]]
    influence: list[Float[Array, "k k"]]


def invert_on_pattern(
    ops: Operations,
    products: CrossProducts,
    elimination: AnyElimination,
    factors: Sequence[Float[Array, "k k"]],
    *,
    neighbours: bool = False,
) -> Inverse:
    """Compute the entries of ΛH⁻¹Λ' on the pattern of Z'WZ, forming no more of it than the dense blocks.

    Parameters
    ----------
    ops, products, elimination
        As in `bayesmm.marginal.elimination.elimination.absorb`.
    factors : sequence of arrays, shape (k, k)
        Λ on the conditioned columns.
    neighbours : bool
        Whether pairs with levels of the first factor, which nothing else needs, are wanted too.

    Notes
    -----
    With N, A and G as in `bayesmm.marginal.elimination.elimination` and the covariances C of what remained, a level has

        C_ii = N + N X N,    C_ij = −N (A C)_j,    Z_i'Ṽ⁻¹Z_i = (I − GN)(G − X(I − NG)),    X = A C A'.

    References
    ----------
    Takahashi, Fagan & Chen (1973), Formation of a sparse bus impedance matrix and its application to short circuit
    study.
    """
    shape, index = products.shape, products.index
    if isinstance(elimination, SparseElimination):
        own, between, influence = invert_sparse(products, elimination)
        weights = [Q @ np.linalg.inv(L) for Q, L in zip(influence, factors, strict=True)]
        return Inverse(own, dict(zip(shape.pairs, between, strict=True)), weights, influence)
    flat, diagonal, influence = _read_dense(ops, products, elimination)
    weights = {f: Q @ ops.xp.linalg.inv(factors[f]) for f, Q in influence.items()}
    pairs: dict[FactorPair, Array] = {}
    for position, pair in enumerate(shape.pairs):
        if set(pair) <= set(shape.remainder):
            size = (shape.widths[pair[0]], shape.widths[pair[1]])
            where = block_positions(ops, index.pair_target[position], index.pair_stride[position], size)
            pairs[pair] = ops.take_flat(flat, where)
    for position in reversed(range(len(shape.steps))):
        step, done = shape.steps[position], elimination.steps[position]
        wanted = neighbours or position > 0
        through, X = _through_edges(ops, products, elimination, position, _Known(flat, diagonal, pairs), wanted)
        for g, V in through.items():
            block = -contract(ops.take_levels(done.covariance, done.edges[g].own), V)
            pair = pair_name(shape, step.factor, g)
            pairs[pair] = block if pair[0] == step.factor else block.swapaxes(0, 1)
        N, G = done.covariance, done.products
        kept = ops.xp.eye(G.shape[0])[:, :, None] - contract(N, G)  # I − NG
        if X is None:
            diagonal[step.factor], marginal = N, contract(kept, G)
        else:
            diagonal[step.factor] = N + contract(N, contract(X, N))
            marginal = contract(kept, G - contract(X, kept))
        weights[step.factor] = marginal.sum(-1)
        influence[step.factor] = ops.transform(weights[step.factor], factors[step.factor])
    order = range(len(shape.widths))
    return Inverse([diagonal[f] for f in order], pairs, [weights[f] for f in order], [influence[f] for f in order])


class _Known(NamedTuple):
    """Entries of C among what remained after a step: dense ones laid end to end, levels, pairs."""

    flat: Float[Array, " d"]
    diagonal: dict[int, Array]
    pairs: dict[FactorPair, Array]


def _read_dense(
    ops: Operations, products: CrossProducts, elimination: Elimination
) -> tuple[Float[Array, " d"], dict[int, Array], dict[int, Array]]:
    """C of the dense blocks laid end to end; of each level there; and the influence of their factors."""
    shape, index = products.shape, products.index
    if not shape.remainder:
        return ops.xp.zeros(0), {}, {}
    covariances, sums = [], []
    for block in elimination.blocks:
        half = times_transpose(ops, ops.invert(block.factor), block.bands, axis=2, reuse=True)
        # diagonal blocks of GΛF alone: one pass over G for each offset within a level
        shifted = [ops.xp.roll(half, -d, axis=1) if d else half for d in range(-shape.band, shape.band + 1)]
        sums.append([ops.xp.einsum("bij,bij->bi", block.products, S).reshape(-1) for S in shifted])
        covariances.append(times_transpose(ops, half, block.bands, axis=1, reuse=True).reshape(-1))
    flat = ops.xp.concatenate(covariances) if len(covariances) > 1 else covariances[0]
    rows = [ops.xp.concatenate(parts) for parts in zip(*sums, strict=True)]  # by offset
    diagonal, influence = {}, {}
    for slot, g in enumerate(shape.remainder):
        k, row = shape.widths[g], index.node_row[slot]
        start = index.node_start[slot] + index.node_column[slot]
        where = block_positions(ops, start, index.node_stride[slot], (k, k))
        diagonal[g] = ops.take_flat(flat, where)
        entries = [[ops.take_flat(rows[j - i + shape.band], row + i).sum() for j in range(k)] for i in range(k)]
        influence[g] = ops.xp.stack([ops.xp.stack(line) for line in entries])
    return flat, diagonal, influence


def _through_edges(
    ops: Operations,
    products: CrossProducts,
    elimination: Elimination,
    position: int,
    known: _Known,
    wanted: bool,
) -> tuple[dict[int, Float[Array, "k l P"]], Float[Array, "k k q"] | None]:
    """Compute A C for every edge of one step (nothing where not wanted), and X = A C A' for every level, if any."""
    step, done = products.shape.steps[position], elimination.steps[position]
    if not done.edges:
        return {}, None
    X = ops.xp.zeros_like(done.products)
    if step.kind == "product":
        return _through_product(ops, products, elimination, step, known, wanted)
    through = {}
    for g, edge in done.edges.items():
        through[g] = contract(edge.blocks.swapaxes(0, 1), ops.take_levels(known.diagonal[g], edge.other))
    shapes, lists = step.updates, products.index.updates[position]
    if position == 0 and products.fill is not None:
        if wanted:
            fill_shapes, fill_lists = list_fill(products.shape, products.index)
            shapes, lists = (*shapes, *fill_shapes), (*lists, *fill_lists)
        else:
            half = ops.fill_transposed(products.fill, known.flat, X.size).reshape(X.shape)
            X = X - half - half.swapaxes(0, 1)
    for update, where in zip(shapes, lists, strict=True):
        left, right = done.edges[update.left], done.edges[update.right]
        size = (left.blocks.shape[1], right.blocks.shape[1])
        if update.target == "dense":
            C = ops.take_flat(known.flat, block_positions(ops, where.target, where.stride, size))
        else:
            C = ops.take_levels(known.pairs[(update.left, update.right)], where.target)
        A_left = ops.take_levels(left.blocks, where.left)
        A_right = ops.take_levels(right.blocks, where.right)
        to_right = contract(A_left.swapaxes(0, 1), C)
        to_left = contract(A_right.swapaxes(0, 1), C.swapaxes(0, 1))
        through[update.right] = ops.add_levels(through[update.right], where.right, to_right)
        through[update.left] = ops.add_levels(through[update.left], where.left, to_left)
    for g, edge in done.edges.items():
        X = ops.add_levels(X, edge.own, contract(through[g].swapaxes(0, 1), edge.blocks.swapaxes(0, 1)))
    return through if wanted else {}, X


def _through_product(
    ops: Operations,
    products: CrossProducts,
    elimination: Elimination,
    step: StepShape,
    known: _Known,
    wanted: bool,
) -> tuple[dict[int, Float[Array, "k l P"]], Float[Array, "k k q"]]:
    """Do the same where the edges are one dense matrix."""
    B = elimination.dense_edges
    assert B is not None
    m = B.shape[-1]
    V = ops.times(B.reshape(1, -1, m), known.flat.reshape(1, m, m)).reshape(B.shape)
    X = ops.xp.einsum("aqm,bqm->abq", V, B)
    through = {}
    if wanted:
        for g, edge in elimination.steps[-1].edges.items():
            row = products.index.node_row[products.shape.remainder.index(g)][edge.other]
            j = ops.xp.arange(edge.blocks.shape[1])[:, None]
            through[g] = V[:, edge.own[None], row + j]
    return through, X
