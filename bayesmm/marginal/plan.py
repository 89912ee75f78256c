"""The elimination plan: which levels are eliminated when, and where what they leave behind goes.

The plan is made once per design, on the host, from the pattern of pairs of levels that occur together. Its static part
(`PlanShape`) is hashable and selects a compiled program; its index lists are padded arrays and arguments of it, so that
one program serves every design of the same shape.

The graph has one node per level of each grouping factor and one edge per pair of levels that share a row. Factors are
taken from the most levels to the fewest. A factor without edges among its own levels is eliminated as one batch: level
i leaves behind an edge between each two of its neighbours (George & Liu 1981, Computer Solution of Large Sparse
Positive Definite Systems). Nested factors leave no new edges. What cannot be batched any more is split into connected
components, each one dense block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Int

from bayesmm.marginal.dense_layout import DenseLayout, FactorPair, lay_out_dense
from bayesmm.marginal.padding import pad_size

Target = Literal["pair", "dense"]

# Cost model of one step, from measurements on two cores: a gathered and scattered entry against a multiply-add of a
# dense product, in nanoseconds.
SCATTER_NS = 10.0
PRODUCT_NS = 0.04
MAX_SCATTER = 40_000_000  # index entries of one update list; beyond, three int32 lists no longer fit comfortably


@dataclass(frozen=True, slots=True)
class UpdateShape:
    """One kind of edge that a batch step leaves behind: between neighbours in factors `left` and `right`."""

    left: int
    right: int
    target: Target


@dataclass(frozen=True, slots=True)
class StepShape:
    """Elimination of one factor as a batch."""

    factor: int
    neighbours: tuple[int, ...]
    updates: tuple[UpdateShape, ...]
    dense_product: bool


@dataclass(frozen=True, slots=True)
class PlanShape:
    """The static part of a plan; equal shapes share a compiled program."""

    widths: tuple[int, ...]
    sizes: tuple[int, ...]
    pairs: tuple[FactorPair, ...]
    steps: tuple[StepShape, ...]
    remainder: tuple[int, ...]
    buckets: tuple[tuple[int, int], ...]

    @property
    def dense_length(self) -> int:
        """Entries of all dense blocks together."""
        return sum(count * size * size for count, size in self.buckets)

    @property
    def dense_rows(self) -> int:
        """Rows of all dense blocks together."""
        return sum(count * size for count, size in self.buckets)


@register_dataclass
@dataclass(frozen=True)
class Update:
    """Index lists of one `UpdateShape`: positions in two pair lists, and where their product is added."""

    left: Int[Array, " u"]
    right: Int[Array, " u"]
    target: Int[Array, " u"]
    stride: Int[Array, " u"]


@register_dataclass
@dataclass(frozen=True)
class PlanIndex:
    """The index lists of a plan (int32, padded)."""

    rows: tuple[Int[Array, " P"], ...]  # level of the first factor, per pair list
    columns: tuple[Int[Array, " P"], ...]  # level of the second factor
    updates: tuple[tuple[Update, ...], ...]  # per step
    pair_target: tuple[Int[Array, " P"], ...]  # dense position of pairs within the remainder, else empty
    pair_stride: tuple[Int[Array, " P"], ...]
    node_target: tuple[Int[Array, " q"], ...]  # dense position of a level's diagonal block, remainder factors only
    node_stride: tuple[Int[Array, " q"], ...]
    node_row: tuple[Int[Array, " q"], ...]  # its first row among all dense rows
    padding: Int[Array, " d"]  # diagonal positions of dense rows that hold no level


@dataclass(frozen=True)
class Plan:
    """A plan with the facts that people ask about."""

    shape: PlanShape
    index: PlanIndex
    n_levels: tuple[int, ...]
    n_blocks: int  # connected components of the remainder


@dataclass
class _PairList:
    """The levels of two factors that are joined, growing at the end as elimination adds edges."""

    keys: np.ndarray
    n_original: int


@dataclass
class _Work:
    """The state of plan making."""

    n_levels: Sequence[int]
    widths: Sequence[int]
    order: list[int]
    pairs: dict[FactorPair, _PairList]
    steps: list[StepShape] = field(default_factory=list)
    updates: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = field(default_factory=list)

    def key(self, f: int, g: int) -> FactorPair:
        return (f, g) if self.order.index(f) <= self.order.index(g) else (g, f)

    def split(self, pair: FactorPair) -> tuple[np.ndarray, np.ndarray]:
        keys = self.pairs[pair].keys
        return keys // self.n_levels[pair[1]], keys % self.n_levels[pair[1]]


def elimination_order(n_levels: Sequence[int]) -> list[int]:
    """Factors from the most levels to the fewest; ties in the order given."""
    return sorted(range(len(n_levels)), key=lambda f: (-n_levels[f], f))


def make_plan(pair_keys: Mapping[FactorPair, np.ndarray], n_levels: Sequence[int], widths: Sequence[int]) -> Plan:
    """Plan the elimination of all random effects.

    Parameters
    ----------
    pair_keys : mapping
        For each two factors (f, g), f before g in `elimination_order`, the sorted unique values of
        ``level_f * n_levels[g] + level_g`` over the rows.
    n_levels, widths : sequences of int
        Levels and effects per level of each factor.
    """
    order = elimination_order(n_levels)
    pairs = {pair: _PairList(np.asarray(keys, np.int64), len(keys)) for pair, keys in pair_keys.items()}
    work = _Work(n_levels, widths, order, pairs)
    remaining = list(order)
    while remaining:
        factor = next((f for f in remaining if (f, f) not in work.pairs), None)
        if factor is None or (work.steps and work.steps[-1].dense_product):
            break
        remaining.remove(factor)
        _eliminate(work, factor, remaining)
    return _finish(work, remaining)


def _eliminate(work: _Work, factor: int, remaining: list[int]) -> None:
    """Record one batch step, with the edges that it leaves among the remaining factors."""
    neighbours = [g for g in remaining if work.key(factor, g) in work.pairs]
    sides = {g: _incidence(work, factor, g) for g in neighbours}
    if _is_dense_cheaper(work, factor, sides, remaining):
        work.steps.append(StepShape(factor, tuple(neighbours), (), True))
        work.updates.append([])
        return
    shapes, lists = [], []
    for a, g in enumerate(neighbours):
        for h in neighbours[a:]:
            left, right = _neighbour_pairs(sides[g], sides[h], same=g == h)
            if len(left) == 0:
                continue
            level_g, level_h = sides[g].level[left], sides[h].level[right]
            if g == h:  # an edge within a factor is stored once, the smaller level first
                left, right = np.where(level_g < level_h, (left, right), (right, left))
                level_g, level_h = np.minimum(level_g, level_h), np.maximum(level_g, level_h)
            shapes.append(UpdateShape(g, h, "pair"))
            lists.append((left, right, _add_edges(work, (g, h), level_g * work.n_levels[h] + level_h)))
    work.steps.append(StepShape(factor, tuple(neighbours), tuple(shapes), False))
    work.updates.append(lists)


@dataclass
class _Incidence:
    """The neighbours in one factor of each level being eliminated, as a compressed list."""

    position: np.ndarray  # into the pair list, sorted by eliminated level
    start: np.ndarray  # (q_f + 1,)
    level: np.ndarray  # neighbour level, by position in the pair list


def _incidence(work: _Work, factor: int, g: int) -> _Incidence:
    pair = work.key(factor, g)
    first, second = work.split(pair)
    own, other = (first, second) if pair[0] == factor else (second, first)
    position = np.argsort(own, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=work.n_levels[factor]))])
    return _Incidence(position, start, other)


def _is_dense_cheaper(work: _Work, factor: int, sides: dict[int, _Incidence], remaining: list[int]) -> bool:
    """Whether one dense product costs less than scattering every pair of neighbours."""
    degrees = [np.diff(side.start) for side in sides.values()]
    if all(degree.max(initial=0) <= 1 for degree in degrees):
        return False
    n_pairs = float((sum(degrees).astype(float) ** 2).sum()) / 2  # type: ignore[union-attr]
    rows = sum(work.n_levels[g] * work.widths[g] for g in remaining)
    dense = PRODUCT_NS * work.n_levels[factor] * work.widths[factor] * float(rows) ** 2
    width = max(work.widths[g] for g in sides)
    fits = 8.0 * rows * work.n_levels[factor] * work.widths[factor] < 2e9
    return n_pairs > MAX_SCATTER or (fits and dense < SCATTER_NS * n_pairs * width**2)


def _neighbour_pairs(a: _Incidence, b: _Incidence, *, same: bool) -> tuple[np.ndarray, np.ndarray]:
    """All combinations of a neighbour in `a` with one in `b` of the same level; strictly ordered ones if `same`."""
    n_a, n_b = np.diff(a.start), np.diff(b.start)
    counts = n_a * n_b
    level = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(level)) - np.repeat(np.cumsum(counts) - counts, counts)
    i, j = within // n_b[level], within % n_b[level]
    if same:
        level, i, j = (part[i < j] for part in (level, i, j))
    return a.position[a.start[level] + i], b.position[b.start[level] + j]


def _add_edges(work: _Work, pair: FactorPair, keys: np.ndarray) -> np.ndarray:
    """Positions of edges in their pair list, which grows at the end by those that are new."""
    present = work.pairs.get(pair, _PairList(np.empty(0, np.int64), 0))
    fresh = np.setdiff1d(keys, present.keys)
    grown = _PairList(np.concatenate([present.keys, fresh]), present.n_original)
    work.pairs[pair] = grown
    by_key = np.argsort(grown.keys, kind="stable")
    return by_key[np.searchsorted(grown.keys, keys, sorter=by_key)]


def _pad(values: np.ndarray, size: int, fill: int = 0) -> Any:
    """Pad a list of indices; a NumPy array in the place of the JAX one that it becomes in a compiled program."""
    padded = np.full(size, fill, np.int32)
    padded[: len(values)] = values
    return padded


def _finish(work: _Work, remainder: list[int]) -> Plan:
    """Lay out the dense remainder, point the updates at it, and pad everything."""
    single = bool(work.steps) and work.steps[-1].dense_product
    inside = set(remainder)
    edges = {pair: work.split(pair) for pair in work.pairs if set(pair) <= inside}
    layout = lay_out_dense(remainder, work.n_levels, work.widths, None if single else edges)
    # pair lists within the remainder hold only the data's own pairs: what elimination adds goes straight to the blocks
    listed = {
        pair: pair_list.n_original if set(pair) <= inside else len(pair_list.keys)
        for pair, pair_list in work.pairs.items()
        if pair[0] != pair[1] and (pair_list.n_original or not set(pair) <= inside)
    }
    names = tuple(sorted(listed))
    padded_length = {pair: pad_size(length + 1) for pair, length in listed.items()}
    rows, columns, pair_target, pair_stride = [], [], [], []
    for pair in names:
        first, second = (part[: listed[pair]] for part in work.split(pair))
        rows.append(_pad(first, padded_length[pair]))
        columns.append(_pad(second, padded_length[pair]))
        target, stride = _dense_position(layout, pair, first, second) if set(pair) <= inside else (first[:0], first[:0])
        pair_target.append(_pad(target, padded_length[pair]) if len(target) else np.empty(0, np.int32))
        pair_stride.append(_pad(stride, padded_length[pair]) if len(stride) else np.empty(0, np.int32))
    sizes = tuple(pad_size(n) for n in work.n_levels)
    steps, updates = _finish_steps(work, layout, inside, listed)
    shape = PlanShape(tuple(work.widths), sizes, names, steps, tuple(remainder), layout.buckets)
    index = PlanIndex(
        tuple(rows),
        tuple(columns),
        updates,
        tuple(pair_target),
        tuple(pair_stride),
        tuple(_node(layout.target[f] + layout.column[f], sizes[f], shape.dense_length) for f in remainder),
        tuple(_pad(layout.stride[f], sizes[f]) for f in remainder),
        tuple(_node(layout.row[f], sizes[f], shape.dense_rows) for f in remainder),
        _pad(layout.padding, pad_size(len(layout.padding)), shape.dense_length),
    )
    return Plan(shape, index, tuple(work.n_levels), layout.n_blocks)


def _node(values: np.ndarray, size: int, outside: int) -> Any:
    """Positions of levels; padded levels point outside, where scatters drop them."""
    return _pad(values, size, outside)


def _dense_position(
    layout: DenseLayout, pair: FactorPair, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    f, g = pair
    return layout.target[f][first] + layout.column[g][second], layout.stride[f][first]


def _finish_steps(
    work: _Work, layout: DenseLayout, inside: set[int], listed: Mapping[FactorPair, int]
) -> tuple[tuple[StepShape, ...], tuple[tuple[Update, ...], ...]]:
    steps, updates = [], []
    for step, lists in zip(work.steps, work.updates, strict=True):
        shapes, padded = [], []
        for shape, (left, right, position) in zip(step.updates, lists, strict=True):
            pair = (shape.left, shape.right)
            dense = set(pair) <= inside
            target, stride = position, position[:0]
            if dense:
                first, second = work.split(pair)
                target, stride = _dense_position(layout, pair, first[position], second[position])
            size = pad_size(len(left))
            # padded entries multiply the guaranteed zero at the end of a pair list
            ends = (listed[work.key(step.factor, g)] for g in pair)
            padded.append(
                Update(
                    _pad(left, size, next(ends)),
                    _pad(right, size, next(ends)),
                    _pad(target, size),
                    _pad(stride, size if dense else 0),
                )
            )
            shapes.append(UpdateShape(*pair, "dense" if dense else "pair"))
        steps.append(StepShape(step.factor, step.neighbours, tuple(shapes), step.dense_product))
        updates.append(tuple(padded))
    return tuple(steps), tuple(updates)
