"""Residual precisions as weights on fixed sums: cross-products at any φ without a visit to the rows.

With fixed sums over the pairs of rows s ≤ t of a class (`weights.py`) within each level,

    [Z X y]'R⁻¹[Z X y] = Σ_m w_m(φ) Σ_(s,t) in m (r_s r_t' + r_t r_s'),    w_m = (R⁻¹)_st,

(half of it where s = t), so that an evaluation costs as much as there are levels and classes in each, whatever the
rows. Groups of rows that hang together must have one level of every grouping factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, reduce
from typing import NamedTuple

import numpy as np

from bayesmm.marginal.arrays import host
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.plan.plan import Plan
from bayesmm.marginal.plan.planning import unfold_fill
from bayesmm.marginal.residual.layout import ResidualLayout, Stack
from bayesmm.marginal.residual.pattern_sums import keeps_rows, sum_patterns, times
from bayesmm.marginal.residual.weights import by_stack, in_place, orders, upper, weigh
from bayesmm.marginal.residual.whitened import ResidualRows
from bayesmm.marginal.shapes import Array, Float, Int
from bayesmm.marginal.sums.crossproducts import CrossProducts, locate_block_pairs
from bayesmm.marginal.sums.related import Relating, related_factors, relating

MOST_NUMBERS = 40_000_000  # in all sums together, 320 MB
MOST_COLUMNS = 16  # of neighbours that share no pattern, up to which products of theirs take less time than they
MOST_PRODUCTS = 2_000_000  # such products
FEW = 3  # weights that a library multiplies by sums one at a time in less time than together
DEARER = 12.0  # times the numbers of the rows, up to which sums take less time: rows are gone through several times


class ClassSums(NamedTuple):
    """Products of columns, a left and b right ones, by target (a level, or a pair of levels) and class.

    A target has a slot for each class that occurs in it; the class of an empty slot is the one after the last, whose
    weight is zero.

    Attributes
    ----------
    classes : int array, shape (S, T)
        Class of each slot of each target.
    values : array, shape (S, a, b, T)
    """

    classes: Int[Array, "S T"]
    values: Float[Array, "S a b T"]

    def at(self, weights: Float[Array, " m"]) -> Float[Array, "a b T"]:
        """Add the classes up, by their weights with a zero after the last."""
        if not isinstance(weights, np.ndarray):
            return (weights[self.classes][:, None, None] * self.values).sum(0)  # a compiler makes one loop of it
        return np.einsum("st,sabt->abt", weights.take(self.classes), self.values)

    def contract(self, M: Float[Array, "a b T"], n_classes: int) -> Float[Array, " m"]:
        """⟨M, ∂/∂w⟩ of what `at` gives, for each class."""
        found = np.einsum("abt,sabt->st", M, self.values)
        return np.bincount(self.classes.ravel(), weights=found.ravel(), minlength=n_classes + 1)[:n_classes]


type UserPair = tuple[FactorPair, np.ndarray, np.ndarray]  # two factors, and the levels at the ends of their pairs


@dataclass(frozen=True, kw_only=True, eq=False)
class StackGram:
    """Products of columns r (c) of the pairs of rows of one stack, e entries and m patterns.

    Attributes
    ----------
    stack : Stack
        The groups.
    c : int
        Number of columns.
    sums : array, shape (c (c + 1) / 2, e, m), or None
        Σ r_s r_t' + r_t r_s' (half of it where s = t) of each class.
    rows : array, shape (G, o, c), or None
        The columns themselves, where sums would be more numbers.
    """

    stack: Stack
    c: int
    sums: Float[Array, "S e m"] | None
    rows: Float[Array, "G o c"] | None

    def weighted(self, w: Float[Array, "k e m"]) -> Float[Array, "k s"]:
        """Entries i ≤ j of Σ w r r' over classes, for several weights."""
        if self.sums is not None:
            flat, sums = w.reshape(len(w), -1), self.sums.reshape(len(self.sums), -1)
            return flat @ sums.T if len(w) > FEW else np.stack([sums @ each for each in flat])
        assert self.rows is not None
        flat, found = self.rows.reshape(-1, self.c), []
        for each in w:
            halves = each * orders(self.rows.shape[1])[:, None]
            found.append(flat.T @ times(in_place(halves)[self.stack.pattern], self.rows).reshape(-1, self.c))
        i, j = upper(self.c)
        return np.stack(found)[:, i, j]

    def contract(self, M: Float[Array, "c c"]) -> Float[Array, "e m"]:
        """⟨M, ∂/∂w⟩ of what `weighted` gives, for symmetric M."""
        if self.sums is not None:
            each = M[upper(self.c)] * orders(self.c)
            return (each @ self.sums.reshape(len(self.sums), -1)).reshape(self.sums.shape[1:])
        assert self.rows is not None
        moved = (self.rows.reshape(-1, self.c) @ M).reshape(self.rows.shape)
        i, j = upper(self.rows.shape[1])
        each = orders(self.rows.shape[1]) * (moved[:, i] * self.rows[:, j]).sum(axis=-1)
        m = len(self.stack.positions)
        return np.stack([np.bincount(self.stack.pattern, weights=column, minlength=m) for column in each.T])


@lru_cache(maxsize=256)
def _places(c: int) -> np.ndarray:
    """Which entry i ≤ j is at each place of a symmetric matrix (c, c)."""
    i, j = upper(c)
    places = np.empty((c, c), dtype=np.int64)
    places[i, j] = places[j, i] = np.arange(len(i))
    return places


def gram_of(stack: Stack, columns: Float[Array, "n c"]) -> StackGram:
    """Sum products of columns over the pairs of rows of each class; where rows are fewer numbers they stay."""
    (G, o), c, m = stack.rows.shape, columns.shape[1], len(stack.positions)
    i, j = upper(c)
    is_fast = o <= 2 and c <= MOST_COLUMNS and len(i) * o * (o + 1) // 2 * m <= MOST_PRODUCTS
    if keeps_rows(stack, c) and not is_fast:
        return StackGram(stack=stack, c=c, sums=None, rows=stack.take(columns).swapaxes(0, 1))
    sums = np.empty((len(i), o * (o + 1) // 2, m))
    if m == G:
        by_row = np.ascontiguousarray(stack.take(columns).swapaxes(1, 2))
        for x, own in enumerate(np.split(sums, np.flatnonzero(i == j)[1:])):
            for e, (s, t) in enumerate(zip(*upper(o), strict=True)):
                np.multiply(by_row[s][x], by_row[t][x:], out=own[:, e])
                if s != t:
                    own[:, e] += by_row[t][x] * by_row[s][x:]
    else:
        (whole,) = sum_patterns([stack], columns, always=True)
        assert whole.sums is not None
        each = whole.sums.reshape(m, o, o, c, c)[..., i, j].T  # (S, o, o, m)
        for e, (s, t) in enumerate(zip(*upper(o), strict=True)):
            sums[:, e] = each[:, s, t] if s == t else each[:, s, t] + each[:, t, s]
    return StackGram(stack=stack, c=c, sums=sums, rows=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedSums:
    """Cross-products of one design as a function of φ; of the rows nothing else is needed.

    Attributes
    ----------
    layout : ResidualLayout
        Patterns of pieces.
    gram : tuple of StackGram
        Of [X y], of each stack.
    own : tuple of ClassSums
        Z_f'(·)[Z_f X y] of each factor, by level.
    pairs : tuple of ClassSums
        Z_f'(·)Z_g, by pair of levels that occur together, in the plan's order.
    template : CrossProducts or None
        What does not depend on φ, with the plan of the elimination; None without random effects.
    relating : Relating or None
        Where levels are related by dense matrices: what brings the sums, which are those of the user's levels, to the
        levels that are eliminated.
    """

    layout: ResidualLayout
    gram: tuple[StackGram, ...]
    own: tuple[ClassSums, ...]
    pairs: tuple[ClassSums, ...]
    template: CrossProducts | None
    relating: Relating | None = None

    @cached_property
    def _shapes(self) -> list[tuple[int, int]]:
        """Entries and patterns of each stack."""
        shapes = (stack.positions.shape for stack in self.layout.pieces)
        return [(o * (o + 1) // 2, m) for m, o in shapes]

    @cached_property
    def n_classes(self) -> int:
        """Number of classes (m)."""
        return sum(e * m for e, m in self._shapes)

    def products(self, phi: np.ndarray) -> CrossProducts:
        """Return the cross-products at φ on columns that do not depend on it, `log_weights` being −log|R|.

        X is orthonormal in the prior weights, not in R⁻¹.

        Raises
        ------
        numpy.linalg.LinAlgError
            If R is not positive definite there.
        """
        weights = weigh(self.layout, phi)
        return self.products_of(weights.values, weights.log_det)

    def products_of(self, values: Float[Array, " m"], log_det: float) -> CrossProducts:
        """Return the same for weights that are known."""
        assert self.template is not None
        w = np.append(values, 0.0)
        own, pairs = [sums.at(w) for sums in self.own], [sums.at(w) for sums in self.pairs]
        diagonal, cross = [each[:, : len(each)] for each in own], [each[:, len(each) :] for each in own]
        if self.relating is not None:
            diagonal, cross, pairs = self.relating.relate(host, diagonal, cross, pairs)
        return replace(
            self.template,
            diagonal=tuple(diagonal),
            cross=tuple(cross),
            pairs=tuple(pairs),
            gram=self.weigh_gram(values[None])[0],
            log_weights=np.float64(-log_det),
        )

    @property
    def user_pairs(self) -> list[UserPair]:
        """Pair lists of the sums: of levels as the user has them."""
        if self.relating is not None:
            known = self.relating
            return list(zip(known.pairs, known.first, known.second, strict=True))
        assert self.template is not None
        shape, index = self.template.shape, self.template.index
        return list(zip(shape.pairs, index.rows, index.columns, strict=True))

    def weigh_gram(self, w: Float[Array, "k m"]) -> Float[Array, "k c c"]:
        """[X y]'(·)[X y] for several weights."""
        parts = zip(self.gram, by_stack(w, self._shapes), strict=True)
        packed: np.ndarray = reduce(np.add, (own.weighted(part) for own, part in parts))
        return packed[:, _places(self.gram[0].c)]

    def contract_gram(self, M: Float[Array, "c c"]) -> Float[Array, " m"]:
        """⟨M, ∂/∂w⟩ of [X y]'(·)[X y] for each class, for symmetric M."""
        return np.concatenate([own.contract(M).ravel() for own in self.gram])


def sum_pieces(rows: ResidualRows) -> WeightedSums:
    """Sum the rows of one design without random effects by class."""
    gram = tuple(gram_of(stack, rows.fixed) for stack in rows.layout.pieces)
    return WeightedSums(layout=rows.layout, gram=gram, own=(), pairs=(), template=None)


def weigh_rows(rows: ResidualRows, plan: Plan) -> WeightedSums:
    """Sum the rows of one design by class and level, for the plan of the elimination of its random effects."""
    stacks = rows.layout.pieces
    targets, effects = targets_of(rows), rows.effects
    return WeightedSums(
        layout=rows.layout,
        gram=tuple(gram_of(stack, rows.fixed) for stack in stacks),
        own=tuple(
            sum_classes(stacks, target, Z, np.hstack([Z, rows.fixed]))
            for target, Z in zip(targets.own, effects, strict=True)
        ),
        pairs=tuple(sum_classes(stacks, target, effects[f], effects[g]) for (f, g), target in targets.pairs.items()),
        template=make_template(rows, unfold_fill(plan)),
        relating=relating_of(rows, plan),
    )


def relating_of(rows: ResidualRows, plan: Plan) -> Relating | None:
    """Lay out what brings sums of the user's levels to those that are eliminated, where these are others."""
    if not related_factors(rows.blocks):
        return None
    roots, n_levels = [block.root for block in rows.blocks], [block.n_levels for block in rows.blocks]
    return relating(roots, n_levels, locate_block_pairs(rows.blocks), plan.shape.pairs)


def takes_less(rows: ResidualRows, *, all_sums: bool = False) -> bool:
    """Whether weights on sums take less time at each φ than whitening the rows, and the sums fit into memory.

    With `all_sums` [X y] must be summed by pattern too, where its rows may else stay.
    """
    c, stacks = rows.p + 1, rows.layout.pieces
    widths = [block.incidence.k for block in rows.blocks]
    targets, fixed = targets_of(rows), 0
    for stack in stacks:
        m, o = stack.positions.shape
        stays = not all_sums and keeps_rows(stack, c)
        fixed += stack.rows.size * c if stays else m * o * (o + 1) // 2 * c**2

    def numbers(*, by_pattern: bool) -> int:
        sized = [(k * (k + c), target) for k, target in zip(widths, targets.own, strict=True)]
        sized += [(widths[f] * widths[g], target) for (f, g), target in targets.pairs.items()]
        slots = (size * target.count * _most_slots(stacks, target, by_pattern=by_pattern) for size, target in sized)
        return fixed + sum(slots)

    most = min(MOST_NUMBERS, DEARER * rows.n * (c + sum(widths)))
    return numbers(by_pattern=False) <= most or numbers(by_pattern=True) <= most


class Target(NamedTuple):
    """What is summed over: of each row its level, or its pair of levels, and their number."""

    rows: Int[Array, " n"]
    count: int


class Targets(NamedTuple):
    """Levels of each factor, and pairs of levels that share a row by list, in the order of plans."""

    own: list[Target]
    pairs: dict[FactorPair, Target]


def targets_of(rows: ResidualRows) -> Targets:
    """Say what is summed over, of the user's levels."""
    incidences = [block.incidence for block in rows.blocks]
    located = locate_block_pairs(rows.blocks)
    return Targets(
        [Target(incidence.only.codes, incidence.n_levels) for incidence in incidences],
        {pair: Target(found.positions[(0, 0)], found.size) for pair, found in located.items()},
    )


def make_template(rows: ResidualRows, plan: Plan) -> CrossProducts:
    """Return cross-products without their sums, for a plan without a fill map."""
    return CrossProducts(
        diagonal=(),
        cross=(),
        pairs=(),
        gram=np.zeros((rows.p + 1,) * 2),
        fill=None,
        index=plan.index,
        fixed_root=rows.root,
        log_det_root=np.float64(2.0 * np.log(np.abs(np.diag(rows.root))).sum()),
        fixed_origin=rows.origin,
        effect_roots=rows.effect_roots,
        n=np.float64(rows.n),
        p=np.float64(rows.p),
        log_weights=np.float64(0.0),
        shape=plan.shape,
        sparse=plan.sparse,
        level_roots=tuple(block.root for block in rows.blocks) if related_factors(rows.blocks) else (),
    )


class _Joined(NamedTuple):
    """Groups of one stack in the order of (target, pattern): where each such pair begins, and both of it."""

    order: Int[Array, " G"]
    first: Int[Array, " N"]
    target: Int[Array, " N"]
    pattern: Int[Array, " N"]


def _join(stack: Stack, target: Target) -> _Joined:
    m = len(stack.positions)
    keys = target.rows[stack.rows[:, 0]] * m + stack.pattern
    order = np.argsort(keys, kind="stable")
    first = np.flatnonzero(np.diff(keys[order], prepend=-1))
    own = keys[order[first]]
    return _Joined(order, first, own // m, own % m)


def _most_slots(stacks: Sequence[Stack], target: Target, *, by_pattern: bool) -> int:
    """Count the slots of the target that has most; as if no groups shared a pattern if not `by_pattern`: no fewer."""
    slots = np.zeros(target.count, dtype=np.int64)
    for stack in stacks:
        (m, o), own = stack.positions.shape, target.rows[stack.rows[:, 0]]
        if by_pattern:
            own = np.unique(own * m + stack.pattern) // m
        slots += np.bincount(own, minlength=target.count) * (o * (o + 1) // 2)
    return int(slots.max(initial=1))


def sum_classes(
    stacks: Sequence[Stack], target: Target, left: Float[Array, "n a"], right: Float[Array, "n b"]
) -> ClassSums:
    """Sum products of columns by target and class of these stacks.

    Entries whose left columns are zero in all rows, as of effects that do not change along a chain, take no slot.
    """
    count, a, b = target.count, left.shape[1], right.shape[1]
    parts, slots = [], np.zeros(count, dtype=np.int64)
    for stack in stacks:
        joined = _join(stack, target)
        ordered = replace(stack, rows=stack.rows.take(joined.order, axis=0))
        one = ordered.take(left)
        matters = np.any(one, axis=(1, 2))
        i, j = upper(len(one))
        kept = np.flatnonzero(matters[i] | matters[j])
        parts.append((joined, one, ordered.take(right), kept))
        slots += len(kept) * np.bincount(joined.target, minlength=count)
    n_slots = int(slots.max(initial=1))
    n_classes = sum(m * o * (o + 1) // 2 for m, o in (stack.positions.shape for stack in stacks))
    classes = np.full((n_slots, count), n_classes)
    values = np.zeros((n_slots, a, b, count))
    start, used = 0, np.zeros(count, dtype=np.int64)
    for stack, (joined, one, other, kept) in zip(stacks, parts, strict=True):
        m, o = stack.positions.shape
        i, j = upper(o)
        # a target's pairs of (target, pattern) follow on each other: which of them each is
        begins = np.flatnonzero(np.diff(joined.target, prepend=-1))
        rank = np.arange(len(joined.target)) - np.repeat(begins, np.diff(np.append(begins, len(joined.target))))
        slot = used[joined.target] + len(kept) * rank
        for place, e in enumerate(kept):
            s, t = i[e], j[e]
            classes[slot + place, joined.target] = start + m * e + joined.pattern
            for x in range(a):
                product = one[s, :, x, None] * other[t]
                if s != t:
                    product += one[t, :, x, None] * other[s]
                if len(joined.first) < len(joined.order):
                    product = np.add.reduceat(product, joined.first, axis=0)
                values[slot + place, x, :, joined.target] = product
        used += len(kept) * np.bincount(joined.target, minlength=count)
        start += len(i) * m
    return ClassSums(classes, values)
