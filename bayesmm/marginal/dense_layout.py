"""Where the levels that cannot be eliminated in batches lie in dense blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bayesmm.marginal.padding import pad_dense, pad_size

FactorPair = tuple[int, int]
Edges = tuple[np.ndarray, np.ndarray]


@dataclass
class DenseLayout:
    """Where each remaining level lies in the dense blocks."""

    buckets: tuple[tuple[int, int], ...]
    row: dict[int, np.ndarray]  # first dense row of each level, over all blocks
    target: dict[int, np.ndarray]  # flat position of (first row, column 0 of its block)
    column: dict[int, np.ndarray]  # its first column within the block
    stride: dict[int, np.ndarray]
    padding: np.ndarray
    n_blocks: int


def lay_out_dense(
    remainder: Sequence[int], n_levels: Sequence[int], widths: Sequence[int], edges: Mapping[FactorPair, Edges] | None
) -> DenseLayout:
    """Place the levels of the remaining factors in dense blocks, one for each connected component.

    Parameters
    ----------
    remainder : sequence of int
        The factors.
    n_levels, widths : sequences of int
        Levels and effects per level of every factor.
    edges : mapping or None
        Levels joined, by pair of factors; None puts all levels into one block.
    """
    if not remainder:
        empty = np.empty(0, np.int64)
        return DenseLayout((), {}, {}, {}, {}, empty, 0)
    sizes = [n_levels[f] for f in remainder]
    base = dict(zip(remainder, np.concatenate([[0], np.cumsum(sizes)]), strict=False))
    width = np.repeat([widths[f] for f in remainder], sizes)
    component = np.zeros(len(width), int) if edges is None else _components(edges, base, len(width))
    block_rows = np.bincount(component, weights=width).astype(int)
    padded = np.array([pad_dense(size) for size in block_rows])
    bucket_sizes, bucket = np.unique(padded, return_inverse=True)
    counts = np.bincount(bucket)
    padded_counts = [1 if count == 1 else pad_size(int(count)) for count in counts]
    slot = _rank_within(bucket)
    flat_start = np.concatenate([[0], np.cumsum([c * s * s for c, s in zip(padded_counts, bucket_sizes, strict=True)])])
    row_start = np.concatenate([[0], np.cumsum([c * s for c, s in zip(padded_counts, bucket_sizes, strict=True)])])
    stride = padded[component]
    by_component = np.argsort(component, kind="stable")
    inner = np.empty(len(width), int)  # first row within the block
    running = np.cumsum(width[by_component]) - width[by_component]
    first_of_block = np.concatenate([[0], np.cumsum(block_rows)])[:-1]
    inner[by_component] = running - first_of_block[component[by_component]]
    row = row_start[bucket[component]] + slot[component] * stride + inner
    target = flat_start[bucket[component]] + slot[component] * stride**2 + inner * stride
    used = np.zeros(row_start[-1], bool)
    for extra in range(max(widths[f] for f in remainder)):
        used[row[width > extra] + extra] = True
    diagonal = np.concatenate(
        [
            start + (np.arange(c * s) // s) * s * s + (np.arange(c * s) % s) * (s + 1)
            for start, c, s in zip(flat_start[:-1], padded_counts, bucket_sizes, strict=True)
        ]
    )
    parts = {f: slice(base[f], base[f] + n_levels[f]) for f in remainder}
    return DenseLayout(
        tuple((int(c), int(s)) for c, s in zip(padded_counts, bucket_sizes, strict=True)),
        {f: row[part] for f, part in parts.items()},
        {f: target[part] for f, part in parts.items()},
        {f: inner[part] for f, part in parts.items()},
        {f: stride[part] for f, part in parts.items()},
        diagonal[~used],
        len(block_rows),
    )


def _components(edges: Mapping[FactorPair, Edges], base: Mapping[int, int], n_nodes: int) -> np.ndarray:
    ends = [np.empty((2, 0), np.int64)]
    ends += [np.stack([first + base[f], second + base[g]]) for (f, g), (first, second) in edges.items()]
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
