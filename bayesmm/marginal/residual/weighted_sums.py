"""Residual precisions as weights on fixed sums: cross-products at any φ without a visit to the rows.

R⁻¹ has one number for each two rows s ≤ t of a pattern: a *class* of pairs of rows. With fixed sums over the pairs of a
class within each level,

    [Z X y]'R⁻¹[Z X y] = Σ_m w_m(φ) Σ_(s,t) in m (r_s r_t' + r_t r_s'),    w_m = (R⁻¹)_st,

(half of it where s = t), so that an evaluation costs as much as there are levels and classes in each, whatever the
rows. Groups of rows that hang together must have one level of every grouping factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from bayesmm.marginal.plan.plan import Plan
from bayesmm.marginal.plan.planning import unfold_fill
from bayesmm.marginal.residual.layout import ResidualLayout, Stack
from bayesmm.marginal.residual.pattern_sums import StackSums, invert, keeps_rows, sum_patterns, total_weighted
from bayesmm.marginal.residual.whitened import ResidualRows
from bayesmm.marginal.shapes import Array, Float, Int
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.pairs import locate_pairs

MOST_NUMBERS = 40_000_000  # in all sums together, 320 MB
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
        own = weights[self.classes]
        if not isinstance(own, np.ndarray):
            return (own[:, None, None] * self.values).sum(0)  # a compiler makes one loop of it
        total = own[0] * self.values[0]
        for each, value in zip(own[1:], self.values[1:], strict=True):
            total = total + each * value
        return total

    def contract(self, M: Float[Array, "a b T"], n_classes: int) -> Float[Array, " m"]:
        """⟨M, ∂/∂w⟩ of what `at` gives, for each class."""
        found = np.einsum("abt,sabt->st", M, self.values)
        return np.bincount(self.classes.ravel(), weights=found.ravel(), minlength=n_classes + 1)[:n_classes]


class Weights(NamedTuple):
    """The precision of the residuals at one φ.

    Attributes
    ----------
    precisions : list of arrays, shape (m, o, o)
        R⁻¹ of the patterns of each stack.
    by_class : array, shape (m + 1,)
        Their entries s ≤ t, and a zero.
    log_det : scalar
        log|R| over all groups.
    """

    precisions: list[Float[Array, "m o o"]]
    by_class: Float[Array, " m"]
    log_det: Float[Array, ""]


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedSums:
    """Cross-products of one design as a function of φ; of the rows nothing else is needed.

    Attributes
    ----------
    layout : ResidualLayout
        Patterns of pieces, without their rows.
    gram : tuple of StackSums
        Of [X y], by pattern; its rows, where these are fewer numbers.
    own : tuple of ClassSums
        Z_f'(·)[Z_f X y] of each factor, by level.
    pairs : tuple of ClassSums
        Z_f'(·)Z_g, by pair of levels that occur together, in the plan's order.
    template : CrossProducts
        What does not depend on φ.
    """

    layout: ResidualLayout
    gram: tuple[StackSums, ...]
    own: tuple[ClassSums, ...]
    pairs: tuple[ClassSums, ...]
    template: CrossProducts

    @property
    def n_classes(self) -> int:
        """Number of classes (m)."""
        return sum(m * o * (o + 1) // 2 for m, o in (stack.positions.shape for stack in self.layout.stacks))

    def weights(self, xp: Any, phi: Array) -> Weights:
        """Invert R at φ; `xp` is ``numpy`` or ``jax.numpy``, and all of it is differentiable.

        Raises
        ------
        numpy.linalg.LinAlgError
            If R is not positive definite there; in JAX the numbers are then not finite.
        """
        precisions, flat, log_det = [], [], 0.0
        for stack, R in zip(self.layout.stacks, self.layout.covariances(xp, phi), strict=True):
            W, own = invert(xp, R)
            precisions.append(W)
            flat.append(entries(W).reshape(-1))
            log_det = log_det + stack.counts @ own
        return Weights(precisions, xp.concatenate([*flat, np.zeros(1)]), log_det)

    def products(self, xp: Any, phi: Array) -> CrossProducts:
        """Return the cross-products at φ on columns that do not depend on it, `log_weights` being −log|R|.

        `xp` is ``numpy`` or ``jax.numpy``. X is orthonormal in the prior weights, not in R⁻¹.
        """
        return self.products_of(xp, self.weights(xp, phi))

    def products_of(self, xp: Any, weights: Weights) -> CrossProducts:
        """Return the same for weights that are known."""
        w, template = weights.by_class, self.template
        own = [sums.at(w) for sums in self.own]
        return replace(
            template,
            diagonal=tuple(each[:, : len(each)] for each in own),
            cross=tuple(each[:, len(each) :] for each in own),
            pairs=tuple(sums.at(w) for sums in self.pairs),
            gram=total_weighted(self.gram, weights.precisions),
            log_weights=-weights.log_det,
        )

    def in_place(self, by_class: Float[Array, " m"]) -> list[Float[Array, "m o o"]]:
        """Matrices of the patterns, from sums over pairs s ≤ t of which those of s < t have both orders."""
        found, start = [], 0
        for stack in self.layout.stacks:
            m, o = stack.positions.shape
            i, j = upper(o)
            part = by_class[start : start + m * len(i)].reshape(m, len(i)) * np.where(i == j, 1.0, 0.5)
            M = np.empty((m, o, o))
            M[:, i, j] = M[:, j, i] = part
            found.append(M)
            start += m * len(i)
        return found

    def both_orders(self, matrices: Sequence[Float[Array, "m o o"]]) -> Float[Array, " m"]:
        """Do the reverse: add (s, t) and (t, s) of symmetric matrices up."""
        parts = []
        for M in matrices:
            i, j = upper(M.shape[-1])
            parts.append((M[:, i, j] * np.where(i == j, 1.0, 2.0)).ravel())
        return np.concatenate(parts)

    def by_class(self, matrices: Sequence[Float[Array, "*f m o o"]]) -> Float[Array, "*f m"]:
        """Entries s ≤ t of matrices of the patterns, with a zero after the last."""
        flat = [entries(M).reshape(*M.shape[:-3], -1) for M in matrices]
        return np.concatenate([*flat, np.zeros((*flat[0].shape[:-1], 1))], axis=-1)


@lru_cache(maxsize=256)
def upper(o: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of entries s ≤ t."""
    return np.triu_indices(o)


def entries(M: Float[Array, "*f o o"]) -> Float[Array, "*f u"]:
    """Entries s ≤ t."""
    i, j = upper(M.shape[-1])
    return M[..., i, j]


def weigh_rows(rows: ResidualRows, plan: Plan) -> WeightedSums:
    """Sum the rows of one design by class and level, for the plan of the elimination of its random effects."""
    layout = rows.layout.pieces
    own, pairs = targets_of(rows, plan)
    effects = rows.effects
    return WeightedSums(
        layout=replace(layout, stacks=tuple(_without_rows(stack) for stack in layout.stacks)),
        gram=sum_patterns(layout, rows.fixed),
        own=tuple(
            sum_classes(layout.stacks, target, Z, np.hstack([Z, rows.fixed]))
            for target, Z in zip(own, effects, strict=True)
        ),
        pairs=tuple(
            sum_classes(layout.stacks, target, effects[f], effects[g])
            for target, (f, g) in zip(pairs, plan.shape.pairs, strict=True)
        ),
        template=_template(rows, unfold_fill(plan)),
    )


def takes_less(rows: ResidualRows, plan: Plan, *, all_sums: bool = False) -> bool:
    """Whether weights on sums take less time at each φ than whitening the rows, and the sums fit into memory.

    With `all_sums` [X y] must be summed by pattern too, where its rows may else stay.
    """
    c, stacks = rows.p + 1, rows.layout.pieces.stacks
    widths = [block.incidence.k for block in rows.blocks]
    own, pairs = targets_of(rows, plan)
    numbers = 0
    for stack in stacks:
        m, o = stack.positions.shape
        stays = not all_sums and keeps_rows(stack, c)
        numbers += stack.rows.size * c if stays else m * o * (o + 1) // 2 * c**2
    for k, target in zip(widths, own, strict=True):
        numbers += k * (k + c) * _join(rows.layout.pieces.stacks, target).n_slots * target.count
    for (f, g), target in zip(plan.shape.pairs, pairs, strict=True):
        numbers += widths[f] * widths[g] * _join(rows.layout.pieces.stacks, target).n_slots * target.count
    return numbers <= min(MOST_NUMBERS, DEARER * rows.n * (c + sum(widths)))


class Target(NamedTuple):
    """What is summed over: of each row its level, or its pair of levels, and their number."""

    rows: Int[Array, " n"]
    count: int


def targets_of(rows: ResidualRows, plan: Plan) -> tuple[list[Target], list[Target]]:
    """Levels of each factor, and pairs of levels in the order of the plan."""
    incidences = [block.incidence for block in rows.blocks]
    located = locate_pairs(incidences)
    return (
        [Target(incidence.only.codes, incidence.n_levels) for incidence in incidences],
        [Target(located[pair].positions[(0, 0)], located[pair].size) for pair in plan.shape.pairs],
    )


def _template(rows: ResidualRows, plan: Plan) -> CrossProducts:
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
    )


def _without_rows(stack: Stack) -> Stack:
    return replace(stack, rows=stack.rows[:0], pattern=stack.pattern[:0])


class _Join(NamedTuple):
    """Which groups of each stack have one target and one pattern, and the slots of a target that this takes.

    Attributes
    ----------
    stacks : list of _Joined
        By stack.
    n_slots : int
        Of the target that has most.
    """

    stacks: list[_Joined]
    n_slots: int


class _Joined(NamedTuple):
    """Groups of one stack in the order of (target, pattern): where each such pair begins, and both of it."""

    order: Int[Array, " G"]
    first: Int[Array, " N"]
    target: Int[Array, " N"]
    pattern: Int[Array, " N"]


def _join(stacks: Sequence[Stack], target: Target) -> _Join:
    found, slots = [], np.zeros(target.count, dtype=np.int64)
    for stack in stacks:
        m, o = stack.positions.shape
        keys = target.rows[stack.rows[:, 0]] * m + stack.pattern
        order = np.argsort(keys, kind="stable")
        first = np.flatnonzero(np.diff(keys[order], prepend=-1))
        own = keys[order[first]]
        found.append(_Joined(order, first, own // m, own % m))
        slots += np.bincount(own // m, minlength=target.count) * (o * (o + 1) // 2)
    return _Join(found, int(slots.max(initial=1)))


def sum_classes(
    stacks: Sequence[Stack], target: Target, left: Float[Array, "n a"], right: Float[Array, "n b"]
) -> ClassSums:
    """Sum products of columns by target and class of these stacks."""
    join, count = _join(stacks, target), target.count
    a, b = left.shape[1], right.shape[1]
    n_classes = sum(m * o * (o + 1) // 2 for m, o in (stack.positions.shape for stack in stacks))
    classes = np.full((join.n_slots, count), n_classes)
    values = np.zeros((join.n_slots, a, b, count))
    start, used = 0, np.zeros(count, dtype=np.int64)
    for stack, joined in zip(stacks, join.stacks, strict=True):
        o = stack.positions.shape[1]
        i, j = upper(o)
        u, rows = len(i), stack.rows[joined.order]
        # a target's pairs of (target, pattern) follow on each other: which of them each is
        begins = np.flatnonzero(np.diff(joined.target, prepend=-1))
        rank = np.arange(len(joined.target)) - np.repeat(begins, np.diff(np.append(begins, len(joined.target))))
        slot = used[joined.target] + u * rank
        for e, (s, t) in enumerate(zip(i, j, strict=True)):
            classes[slot + e, joined.target] = start + joined.pattern * u + e
            for x in range(a):
                product = left[rows[:, s], x, None] * right[rows[:, t]]
                if s != t:
                    product += left[rows[:, t], x, None] * right[rows[:, s]]
                if len(joined.first) < len(rows):
                    product = np.add.reduceat(product, joined.first, axis=0)
                values[slot + e, x, :, joined.target] = stack.sign * product
        used += u * np.bincount(joined.target, minlength=count)
        start += u * len(stack.positions)
    return ClassSums(classes, values)
