"""Dense blocks: what elimination leaves of crossed factors, as matrices of the levels that remain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bayesmm.marginal.arrays.operations import Operations
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.plan.plan import PlanIndex, PlanShape
from bayesmm.marginal.shapes import Array, Float, Int
from bayesmm.marginal.sums.crossproducts import CrossProducts


@dataclass(frozen=True)
class DenseBlocks:
    """Dense blocks of one size.

    Attributes
    ----------
    products : array, shape (B, m, m)
        G of what remains.
    factor
        Of M = I + Λ'GΛ, as the operations make it.
    bands : list of arrays, shape (B, m)
        Entries of Λ by offset from the diagonal, see `PlanIndex.bands`.
    """

    products: Float[Array, "B m m"]
    factor: object
    bands: list[Float[Array, "B m"]]


def block_positions(ops: Operations, start: Array, stride: Array, shape: tuple[int, ...]) -> Int[Array, "a b l"]:
    """Flat positions of blocks (a, b, l) whose entry (0, 0) lies at `start`."""
    a, b = ops.xp.arange(shape[0]), ops.xp.arange(shape[1])
    return start + a[:, None, None] * stride + b[:, None]


def assemble_blocks(
    ops: Operations,
    shape: PlanShape,
    index: PlanIndex,
    diagonal: Sequence[Array],
    pairs: Mapping[FactorPair, Array],
    dense: Float[Array, " d"],
) -> list[Float[Array, "B m m"]]:
    """Gather what batch steps left of the remaining factors into dense blocks, one array per size."""
    if not shape.remainder:
        return []
    for pair, B in pairs.items():
        position = shape.pairs.index(pair)
        where = block_positions(ops, index.pair_target[position], index.pair_stride[position], B.shape)
        dense = ops.add_flat(dense, where, B)
    blocks = [ops.fold(upper) for upper in split_blocks(shape, dense)]
    flat = ops.xp.concatenate([block.reshape(-1) for block in blocks]) if len(blocks) > 1 else blocks[0].reshape(-1)
    for slot, g in enumerate(shape.remainder):
        start = index.node_start[slot] + index.node_column[slot]
        where = block_positions(ops, start, index.node_stride[slot], diagonal[g].shape)
        flat = ops.add_flat(flat, where, diagonal[g])
    return split_blocks(shape, flat)


def split_blocks(shape: PlanShape, flat: Float[Array, " d"]) -> list[Float[Array, "B m m"]]:
    """Dense blocks from their entries laid end to end."""
    parts, start = [], 0
    for count, size in shape.buckets:
        parts.append(flat[start : start + count * size * size].reshape(count, size, size))
        start += count * size * size
    return parts


def split_rows(shape: PlanShape, rows: Float[Array, "m ..."]) -> list[Float[Array, "B m ..."]]:
    """Rows of dense blocks from those laid end to end."""
    parts, start = [], 0
    for count, size in shape.buckets:
        parts.append(rows[start : start + count * size].reshape(count, size, *rows.shape[1:]))
        start += count * size
    return parts


def scale_blocks(
    ops: Operations,
    shape: PlanShape,
    index: PlanIndex,
    blocks: Sequence[Float[Array, "B m m"]],
    factors: Sequence[Float[Array, "k k"]],
) -> list[DenseBlocks]:
    """M = I + Λ'GΛ, factored."""
    # entries of the remaining factors' Λ, end to end after a zero
    entries = ops.xp.concatenate([ops.xp.zeros(1), *(factors[f].reshape(-1) for f in shape.remainder)])
    bands = [split_rows(shape, entries[band]) for band in index.bands]
    return [_scale(ops, G, [band[b] for band in bands]) for b, G in enumerate(blocks)]


def _scale(ops: Operations, G: Float[Array, "B m m"], bands: list[Float[Array, "B m"]]) -> DenseBlocks:
    M = times_factor(ops, times_factor(ops, G, bands, axis=2), bands, axis=1, reuse=True)
    return DenseBlocks(G, ops.factor(ops.add_identity(M)), bands)


def times_factor(
    ops: Operations, A: Float[Array, "B r m"], bands: list[Float[Array, "B m"]], *, axis: int, reuse: bool = False
) -> Float[Array, "B r m"]:
    """AΛ (axis 2) or Λ'A (axis 1), with the block-diagonal Λ of the dense rows given by its bands.

    `reuse` says that A is not needed any more.
    """
    half = len(bands) // 2
    along = [band[:, None, :] if axis == 2 else band[:, :, None] for band in bands]
    if half == 0 and reuse:
        return ops.rescale(A, along[0])
    total = A * along[half]
    for d in range(1, half + 1):
        total = total + ops.xp.roll(A, -d, axis=axis) * along[half + d]
        total = total + ops.xp.roll(A, d, axis=axis) * along[half - d]
    return total


def times_transpose(
    ops: Operations, A: Float[Array, "B r m"], bands: list[Float[Array, "B m"]], *, axis: int, reuse: bool = False
) -> Float[Array, "B r m"]:
    """AΛ' (axis 2) or ΛA (axis 1)."""
    half = len(bands) // 2
    transposed = [ops.xp.roll(bands[half - d], -d, axis=1) for d in range(-half, half + 1)]
    return times_factor(ops, A, transposed, axis=axis, reuse=reuse)


def dense_rows(
    ops: Operations, products: CrossProducts, blocks: Sequence[Float[Array, "k c q"]]
) -> list[Float[Array, "B m c"]]:
    """Lay out what the remaining factors' levels have as rows of the dense blocks."""
    shape, index = products.shape, products.index
    if not shape.remainder:
        return []
    c = blocks[0].shape[1]
    rows = ops.xp.zeros(shape.dense_rows * c)
    for slot, g in enumerate(shape.remainder):
        row = index.node_row[slot] + ops.xp.arange(shape.widths[g])[:, None]  # (k, q)
        rows = ops.add_flat(rows, row[:, None] * c + ops.xp.arange(c)[:, None], blocks[g])
    return split_rows(shape, rows.reshape(shape.dense_rows, c))  # c may be zero


def level_blocks(
    ops: Operations, products: CrossProducts, rows: Sequence[Float[Array, "B m c"]]
) -> dict[int, Float[Array, "k c q"]]:
    """Read what the remaining factors' levels have off rows of the dense blocks."""
    shape, index = products.shape, products.index
    if not shape.remainder:
        return {}
    c = rows[0].shape[2]
    flat = ops.xp.concatenate([part.reshape(-1) for part in rows])
    blocks = {}
    for slot, g in enumerate(shape.remainder):
        row = index.node_row[slot] + ops.xp.arange(shape.widths[g])[:, None]
        blocks[g] = ops.take_flat(flat, row[:, None] * c + ops.xp.arange(c)[:, None])
    return blocks
