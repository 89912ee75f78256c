"""Where the levels that cannot be eliminated in batches lie in dense blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.marginal.plan.sizes import pad_dense

FactorPair = tuple[int, int]
Edges = Sequence[tuple[int, np.ndarray, int, np.ndarray]]  # factor and levels, factor and levels


@dataclass
class DenseLayout:
    """Where each remaining level lies in the dense blocks.

    Attributes
    ----------
    buckets : tuple of (int, int)
        Number and padded size of blocks; those of one size lie together.
    row : dict of int to array
        First row of each level, over all blocks.
    target : dict of int to array
        Flat position of column 0 in that row.
    column : dict of int to array
        First column of each level within its block.
    stride : dict of int to array
        Size of its block.
    block_sizes : array of int
        Rows of each block, without padding.
    """

    buckets: tuple[tuple[int, int], ...]
    row: dict[int, np.ndarray]
    target: dict[int, np.ndarray]
    column: dict[int, np.ndarray]
    stride: dict[int, np.ndarray]
    block_sizes: np.ndarray

    def position(self, pair: FactorPair, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat positions of pairs of levels, and the strides of their blocks."""
        f, g = pair
        return self.target[f][first] + self.column[g][second], self.stride[f][first]


def lay_out_dense(
    remainder: Sequence[int], n_levels: Sequence[int], widths: Sequence[int], edges: Edges | None
) -> DenseLayout:
    """Place the levels of the remaining factors in dense blocks, one for each connected component.

    Parameters
    ----------
    remainder : sequence of int
        The factors.
    n_levels, widths : sequences of int
        Levels and effects per level of every factor.
    edges : sequence or None
        Levels that are joined; None puts all levels into one block.
    """
    if not remainder:
        return DenseLayout((), {}, {}, {}, {}, np.empty(0, np.int64))
    sizes = [n_levels[f] for f in remainder]
    base = dict(zip(remainder, np.concatenate([[0], np.cumsum(sizes)]), strict=False))
    width = np.repeat([widths[f] for f in remainder], sizes)
    component = np.zeros(len(width), int) if edges is None else _components(edges, base, len(width))
    block_rows = np.bincount(component, weights=width).astype(int)
    padded = np.array([pad_dense(size) for size in block_rows])
    bucket_sizes, bucket = np.unique(padded, return_inverse=True)
    counts = np.bincount(bucket)
    slot = _rank_within(bucket)
    flat_start = np.concatenate([[0], np.cumsum(counts * bucket_sizes**2)])
    row_start = np.concatenate([[0], np.cumsum(counts * bucket_sizes)])
    stride = padded[component]
    by_component = np.argsort(component, kind="stable")
    inner = np.empty(len(width), int)  # first row within the block
    running = np.cumsum(width[by_component]) - width[by_component]
    first_of_block = np.concatenate([[0], np.cumsum(block_rows)])[:-1]
    inner[by_component] = running - first_of_block[component[by_component]]
    row = row_start[bucket[component]] + slot[component] * stride + inner
    target = flat_start[bucket[component]] + slot[component] * stride**2 + inner * stride
    parts = {f: slice(base[f], base[f] + n_levels[f]) for f in remainder}
    return DenseLayout(
        tuple((int(c), int(s)) for c, s in zip(counts, bucket_sizes, strict=True)),
        {f: row[part] for f, part in parts.items()},
        {f: target[part] for f, part in parts.items()},
        {f: inner[part] for f, part in parts.items()},
        {f: stride[part] for f, part in parts.items()},
        block_rows,
    )


def _components(edges: Edges, base: Mapping[int, int], n_nodes: int) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = [np.empty((2, 0), np.int64)]
    ends += [np.stack([first + base[f], second + base[g]]) for f, first, g, second in edges]
    joined = np.concatenate(ends, axis=1)
    graph = coo_array((np.ones(joined.shape[1], np.int8), (joined[0], joined[1])), shape=(n_nodes, n_nodes))
    return connected_components(graph, directed=False)[1]


def _rank_within(labels: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each label, in order of appearance."""
    order = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))])[:-1]
    rank = np.empty(len(labels), int)
    rank[order] = np.arange(len(labels)) - starts[labels[order]]
    return rank
