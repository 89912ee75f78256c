"""Making the elimination plan: which levels are eliminated when, and where what they leave behind goes.

The plan is made once per design, on the host, from the pattern of pairs of levels that occur together. Its static part
(`PlanShape`) is hashable and selects a compiled program; its index lists are arrays and arguments of it.

The graph has one node per level of each grouping factor and one edge per pair of levels that share a row. Factors are
taken from the most levels to the fewest. A factor without edges among its own levels is eliminated as one batch: level
i leaves behind an edge between each two of its neighbours (George & Liu 1981, Computer Solution of Large Sparse
Positive Definite Systems). Nested factors leave no new edges. What cannot be batched any more is split into connected
components, each one dense block. Levels of one factor that share a row, as in multi-membership, touch each other from
the start: such a factor is never batched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bayesmm.errors import DesignError
from bayesmm.marginal.plan.dense_layout import DenseLayout, FactorPair, lay_out_dense
from bayesmm.marginal.plan.neighbours import Neighbours, count_pairs, list_incidence, neighbour_pairs
from bayesmm.marginal.plan.plan import (
    Plan,
    PlanIndex,
    PlanShape,
    StepCost,
    StepKind,
    StepShape,
    Update,
    UpdateShape,
)

# Cost of one evaluation with derivatives, in nanoseconds on two cores: of a pair of neighbours that is gathered and
# scattered (a share of making the lists included), and of a multiply-add of a dense product.
SCATTER_NS = 15.0
PRODUCT_NS = 0.04
MAX_SCATTER = 20_000_000  # pairs of neighbours; their lists then take half a gigabyte
MAX_PRODUCT = 2e9  # bytes of the dense matrix of edges
MAX_DENSE = 25_000  # rows of one dense block: 5 GB a matrix, of which three are needed


def limits() -> tuple[float, ...]:
    """Return what a plan depends on besides levels and pairs: costs and limits, which tests change."""
    return SCATTER_NS, PRODUCT_NS, MAX_SCATTER, MAX_PRODUCT, MAX_DENSE


@dataclass
class _Step:
    factor: int
    sides: dict[int, Neighbours]
    kind: StepKind
    cost: StepCost
    updates: list[tuple[FactorPair, np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)


@dataclass
class _Work:
    """The state of plan making."""

    n_levels: Sequence[int]
    widths: Sequence[int]
    order: list[int]
    pairs: Mapping[FactorPair, np.ndarray]  # keys, as in `make_plan`
    steps: list[_Step] = field(default_factory=list)
    touching: set[int] = field(default_factory=set)  # factors with edges among their own levels

    def key(self, f: int, g: int) -> FactorPair:
        return (f, g) if self.order.index(f) <= self.order.index(g) else (g, f)

    def split(self, pair: FactorPair) -> tuple[np.ndarray, np.ndarray]:
        return np.divmod(self.pairs[pair], self.n_levels[pair[1]])

    def ends(self, f: int, g: int) -> tuple[np.ndarray, np.ndarray]:
        """Levels of f and of g along their pair list."""
        first, second = self.split(self.key(f, g))
        return (first, second) if self.key(f, g)[0] == f else (second, first)


def elimination_order(n_levels: Sequence[int], touching: Collection[int] = ()) -> list[int]:
    """Factors from the most levels to the fewest, ties in the order given; last those whose own levels touch."""
    return sorted(range(len(n_levels)), key=lambda f: (f in touching, -n_levels[f], f))


class TooLargeError(DesignError):
    """What elimination leaves of crossed factors is too large to be formed."""


def make_plan(pair_keys: Mapping[FactorPair, np.ndarray], n_levels: Sequence[int], widths: Sequence[int]) -> Plan:
    """Plan the elimination of all random effects.

    Parameters
    ----------
    pair_keys : mapping
        For each two factors (f, g), f before g in `elimination_order`, the sorted unique values of
        ``level_f * n_levels[g] + level_g`` over the rows. For a factor of which rows have several levels the pairs of
        those, (f, f), the lower level first.
    n_levels, widths : sequences of int
        Levels and effects per level of each factor.

    Raises
    ------
    TooLargeError
        If crossed factors are too large for a dense block.
    """
    touching = {f for f, g in pair_keys if f == g}
    order = elimination_order(n_levels, touching)
    work = _Work(n_levels, widths, order, pair_keys)
    remaining = list(order)
    work.touching.update(touching)
    while not (work.steps and work.steps[-1].kind == "product"):
        factor = next((f for f in remaining if f not in work.touching), None)
        if factor is None:
            break
        remaining.remove(factor)
        _eliminate(work, factor, remaining)
    return _finish(work, remaining)


def _eliminate(work: _Work, factor: int, remaining: list[int]) -> None:
    """Record one batch step, and where earlier steps add to the edges of its factor."""
    for step in work.steps:
        for g in remaining:
            _list_edges(work, step, work.key(factor, g))
    sides = {}
    for g in remaining:
        own, other = work.ends(factor, g)
        sides[g] = list_incidence(own, other, work.n_levels[factor])
    cost = _predict(work, factor, sides, remaining)
    if cost.n_pairs > MAX_SCATTER and cost.scatter > 0.0 and not np.isfinite(cost.product):
        raise TooLargeError(
            f"The crossed grouping factors leave {cost.n_pairs:,} pairs of levels to be joined, more than the "
            f"{MAX_SCATTER:,} that bayesmm lists, and a dense product would take more than "
            f"{1e-9 * MAX_PRODUCT:.0f} GB. Drop a crossed term, or fit parts of the data."
        )
    is_product = cost.product < cost.scatter or (np.isfinite(cost.product) and cost.n_pairs > MAX_SCATTER)
    work.steps.append(_Step(factor, sides, "product" if is_product else "scatter", cost))
    work.touching.update(g for g, side in sides.items() if side.degree.max(initial=0) > 1)


def _list_edges(work: _Work, step: _Step, pair: FactorPair) -> None:
    """Point the edges that a step leaves between two factors at their pair list.

    One of the two is about to go in a batch, so that a level of the step has one neighbour in it, in all its rows: the
    two ends of such an edge share a row, and the list has them already.
    """
    left, right = neighbour_pairs(step.sides[pair[0]], step.sides[pair[1]], same=False)
    keys = step.sides[pair[0]].level[left] * work.n_levels[pair[1]] + step.sides[pair[1]].level[right]
    step.updates.append((pair, left, right, np.searchsorted(work.pairs[pair], keys)))


def _predict(work: _Work, factor: int, sides: dict[int, Neighbours], remaining: list[int]) -> StepCost:
    """Predict what scattering every pair of neighbours costs, and what one dense product does."""
    n_pairs = count_pairs(list(sides.values()))
    if all(side.degree.max(initial=0) <= 1 for side in sides.values()):
        return StepCost(n_pairs, 0.0, np.inf)  # nested: nothing is shared out
    rows = sum(work.n_levels[g] * work.widths[g] for g in remaining)
    eliminated = work.n_levels[factor] * work.widths[factor]
    width = max(work.widths[g] for g in sides) * work.widths[factor]
    product = PRODUCT_NS * eliminated * float(rows) ** 2 if 8.0 * rows * eliminated < MAX_PRODUCT else np.inf
    return StepCost(n_pairs, 1e-9 * SCATTER_NS * n_pairs * width**2, 1e-9 * product)


def _finish(work: _Work, remainder: list[int]) -> Plan:
    """Lay out the dense remainder, and point at it."""
    inside = set(remainder)
    layout = _lay_out(work, remainder)
    names = tuple(sorted(work.pairs))
    rows, columns, pair_target, pair_stride = [], [], [], []
    for pair in names:
        first, second = work.split(pair)
        rows.append(first)
        columns.append(second)
        is_dense = set(pair) <= inside
        target, stride = layout.position(pair, first, second) if is_dense else (first[:0], first[:0])
        pair_target.append(target)
        pair_stride.append(stride)
    finished = [_finish_step(work, i, layout, inside) for i in range(len(work.steps))]
    steps, updates = tuple(step for step, _ in finished), tuple(lists for _, lists in finished)
    shape = PlanShape(tuple(work.widths), names, steps, tuple(remainder), layout.buckets)
    index = PlanIndex(
        tuple(rows),
        tuple(columns),
        updates,
        tuple(pair_target),
        tuple(pair_stride),
        tuple(layout.target[f] for f in remainder),
        tuple(layout.column[f] for f in remainder),
        tuple(layout.stride[f] for f in remainder),
        tuple(layout.row[f] for f in remainder),
        _bands(shape, layout),
    )
    costs = tuple(step.cost for step in work.steps)
    return Plan(shape, index, tuple(work.n_levels), layout.block_sizes, costs)


def _lay_out(work: _Work, remainder: list[int]) -> DenseLayout:
    if work.steps and work.steps[-1].kind == "product":
        layout = lay_out_dense(remainder, work.n_levels, work.widths, None)
    else:
        inside = set(remainder)
        edges = [
            (f, first, g, second) for (f, g) in work.pairs if {f, g} <= inside for first, second in [work.ends(f, g)]
        ]
        # neighbours of an eliminated level: those in one factor are joined to the first of them, those in two factors
        # share its rows and are joined already
        edges += [
            (g, side.sorted_level, g, side.sorted_level[np.repeat(side.start[:-1], side.degree)])
            for step in work.steps
            for g, side in step.sides.items()
            if g in inside
        ]
        layout = lay_out_dense(remainder, work.n_levels, work.widths, edges)
    largest = int(layout.block_sizes.max(initial=0))
    if largest > MAX_DENSE:
        raise TooLargeError(
            f"Crossed grouping factors, and levels that share rows, need a dense matrix of {largest:,} rows "
            f"({8e-9 * largest**2:.0f} GB), more than the {MAX_DENSE:,} that bayesmm handles. Drop a crossed term, or "
            "fit parts of the data."
        )
    return layout


def _bands(shape: PlanShape, layout: DenseLayout) -> tuple[np.ndarray, ...]:
    bands = [np.zeros(shape.dense_rows, np.int64) for _ in range(2 * shape.band + 1)]
    base = 1
    for f in shape.remainder:
        k = shape.widths[f]
        for i in range(k):
            for j in range(k):
                bands[j - i + shape.band][layout.row[f] + i] = base + j * k + i
        base += k * k
    return tuple(bands)


def _finish_step(
    work: _Work, position: int, layout: DenseLayout, inside: set[int]
) -> tuple[StepShape, tuple[Update, ...]]:
    step, shapes, lists = work.steps[position], [], []
    for pair, left, right, target in step.updates:
        shapes.append(UpdateShape(*pair, "pair"))
        lists.append(Update(left, right, target, target[:0]))
    if step.kind == "scatter" and position > 0:  # those of the first step become a fill map
        joined = _join([g for g in step.sides if g in inside], step.sides, layout.position)
        shapes += joined[0]
        lists += joined[1]
    return StepShape(step.factor, tuple(step.sides), tuple(shapes), step.kind), tuple(lists)


def _join(
    factors: Sequence[int],
    sides: Mapping[int, Neighbours],
    position: Callable[[FactorPair, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> tuple[list[UpdateShape], list[Update]]:
    """Edges between each two neighbours of an eliminated level in some factors; `position` says where they lie."""
    shapes, lists = [], []
    for a, g in enumerate(factors):
        for h in factors[a:]:
            left, right = neighbour_pairs(sides[g], sides[h], same=g == h)
            if len(left):
                shapes.append(UpdateShape(g, h, "dense"))
                lists.append(Update(left, right, *position((g, h), sides[g].level[left], sides[h].level[right])))
    return shapes, lists


def list_fill(shape: PlanShape, index: PlanIndex) -> tuple[list[UpdateShape], list[Update]]:
    """List the edges that the first step leaves in the dense blocks: those that a fill map stands for.

    There are as many as entries of the fill map; they are listed only when they are asked for.
    """
    first = shape.steps[0]
    within = [g for g in first.neighbours if g in shape.remainder]
    sides = {}
    for g in within:
        own, other = (ends[shape.pairs.index((first.factor, g))] for ends in (index.rows, index.columns))
        sides[g] = list_incidence(own, other, int(own.max()) + 1)

    def position(pair: FactorPair, one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        g, h = (shape.remainder.index(factor) for factor in pair)
        return index.node_start[g][one] + index.node_column[h][two], index.node_stride[g][one]

    return _join(within, sides, position)


def unfold_fill(plan: Plan) -> Plan:
    """Return the plan in which the first step adds to the dense blocks edge by edge, as later ones do.

    A fill map holds products of edges that do not change. Those of weighted sums do.
    """
    shape, index = plan.shape, plan.index
    if not shape.steps or shape.steps[0].kind == "product":
        return plan
    shapes, lists = list_fill(shape, index)
    first = replace(shape.steps[0], updates=(*shape.steps[0].updates, *shapes))
    updates = ((*index.updates[0], *lists), *index.updates[1:])
    return replace(
        plan,
        shape=replace(shape, steps=(first, *shape.steps[1:])),
        index=replace(index, updates=updates),
    )
