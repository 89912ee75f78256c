"""Cross-products padded to a few sizes, so that one compiled program serves many data sets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bayesmm.marginal.elimination.elimination import require_exact
from bayesmm.marginal.plan.plan import FillMap, PlanIndex, Update
from bayesmm.marginal.plan.sizes import pad_columns, pad_size
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.related import Relating


def pad_products(products: CrossProducts) -> CrossProducts:
    """Pad fixed effects, levels, pairs and index lists with what adds nothing.

    Parameters
    ----------
    products : CrossProducts
        NumPy leaves.

    Returns
    -------
    CrossProducts
        Levels and pairs are padded with zero blocks, fixed effects with zero columns and ones in the Gram matrix: they
        add log 1 = 0 to every determinant. Indices of padded levels lie beyond the end of what they point to, where
        scatters drop them.
    """
    require_exact(products)
    c = products.gram.shape[0]
    kept = np.append(np.arange(c - 1), pad_columns(c - 1) - 1)
    gram = np.eye(pad_columns(c - 1))
    gram[np.ix_(kept, kept)] = products.gram
    cross = []
    for K in products.cross:
        wide = np.zeros((K.shape[0], len(gram), pad_size(K.shape[2])))
        wide[:, kept, : K.shape[2]] = K
        cross.append(wide)
    return replace(
        products,
        diagonal=tuple(_pad_last(G, pad_size(G.shape[2])) for G in products.diagonal),
        cross=tuple(cross),
        pairs=tuple(_pad_last(B, pad_size(B.shape[2] + 1)) for B in products.pairs),
        gram=gram,
        fill=None if products.fill is None else _pad_fill(products),
        index=_pad_index(products),
        levels=None,
        effects=None,
        level_roots=tuple(None if V is None else _pad_square(V) for V in products.level_roots),
    )


def pad_relating(relating: Relating) -> Relating:
    """Pad what relates levels likewise: to the sizes of padded sums of the user's levels."""
    sizes = [pad_size(len(first) + 1) for first in relating.first]
    return replace(
        relating,
        roots=tuple(None if V is None else _pad_square(V) for V in relating.roots),
        first=_pad_all(relating.first, sizes),
        second=_pad_all(relating.second, sizes),
    )


def _pad_index(products: CrossProducts) -> PlanIndex:
    shape, index = products.shape, products.index
    levels = [pad_size(products.diagonal[f].shape[2]) for f in shape.remainder]
    pairs = [pad_size(B.shape[2] + 1) for B in products.pairs]
    ends = {pair: B.shape[2] for pair, B in zip(shape.pairs, products.pairs, strict=True)}  # position of a zero block

    def end(f: int, g: int) -> int:
        return ends[(f, g) if (f, g) in ends else (g, f)]

    return PlanIndex(
        rows=_pad_all(index.rows, pairs),
        columns=_pad_all(index.columns, pairs),
        updates=tuple(
            tuple(
                _pad_update(lists, end(step.factor, update.left), end(step.factor, update.right))
                for update, lists in zip(step.updates, of_step, strict=True)
            )
            for step, of_step in zip(shape.steps, index.updates, strict=True)
        ),
        pair_target=_pad_all(
            index.pair_target, [n if len(t) else 0 for t, n in zip(index.pair_target, pairs, strict=True)]
        ),
        pair_stride=_pad_all(
            index.pair_stride, [n if len(t) else 0 for t, n in zip(index.pair_stride, pairs, strict=True)]
        ),
        node_start=_pad_all(index.node_start, levels, shape.dense_length),
        node_column=_pad_all(index.node_column, levels),
        node_stride=_pad_all(index.node_stride, levels),
        node_row=_pad_all(index.node_row, levels, shape.dense_rows),
        bands=_pad_all(index.bands, [shape.dense_rows] * len(index.bands)),
    )


def _pad_update(lists: Update, left_end: int, right_end: int) -> Update:
    size = pad_size(len(lists.left))
    return Update(
        _pad_list(lists.left, size, left_end),
        _pad_list(lists.right, size, right_end),
        _pad_list(lists.target, size),
        _pad_list(lists.stride, size if len(lists.stride) else 0),
    )


def _pad_fill(products: CrossProducts) -> FillMap:
    """Pad the map's entries, and move its columns to where the padded N has them."""
    fill, diagonal = products.fill, products.diagonal[products.shape.steps[0].factor]
    assert fill is not None
    block, level = np.divmod(fill.column, diagonal.shape[2])
    size = pad_size(len(fill.row))
    column = block.astype(np.int64) * pad_size(diagonal.shape[2]) + level
    return FillMap(_pad_last(fill.coefficient, size), _pad_list(fill.row, size), _pad_list(column, size), fill.copies)


def _pad_all(lists: tuple[np.ndarray, ...], sizes: list[int], fill: int = 0) -> tuple[Any, ...]:
    return tuple(_pad_list(values, size, fill) for values, size in zip(lists, sizes, strict=True))


def _pad_list(values: np.ndarray, size: int, fill: int = 0) -> Any:
    padded = np.full(size, fill, np.int32)
    padded[: len(values)] = values
    return padded


def _pad_square(V: Any) -> Any:
    size = pad_size(len(V))
    padded = np.zeros((size, size))
    padded[: len(V), : len(V)] = V
    return padded


def _pad_last(array: Any, size: int) -> Any:
    padded = np.zeros((*array.shape[:-1], size))
    padded[..., : array.shape[-1]] = array
    return padded
