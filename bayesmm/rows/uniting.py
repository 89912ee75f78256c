"""Sums of one model over different rows, added: levels are united, and one set brought to the columns of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.console import listing
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.columns.rank import independent_columns
from bayesmm.errors import RowsError
from bayesmm.marginal.apart.one_factor import root_levels
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.residual.group_totals import FewRows, join_few
from bayesmm.marginal.sums.rows import Conditioning
from bayesmm.marginal.sums.totals import Recipe, Totals, fixed_root, taken_off
from bayesmm.rows.gathering import FEW, Gathered
from bayesmm.rows.orders import Order
from bayesmm.rows.summing import Declared, Kept, Summed, put_together


def unite(one: Summed, other: Summed) -> Summed:
    """Add the sums of one model over different rows.

    Parameters
    ----------
    one, other : Summed
        Of the same formula, with the same columns.

    Returns
    -------
    Summed
        As if all rows had been read together.

    Raises
    ------
    RowsError
        If the models or their columns differ, or rows, or a group of residuals, are in both.
    """
    _check_same_model(one, other)
    twice = set(one.parts) & set(other.parts)
    if twice:
        raise RowsError(
            f"{len(twice)} part(s) of the rows are in both sums, by path, size and time of files or by what tables "
            "hold: their rows would count twice. Add sums of different rows."
        )
    found = _join(one.found, other.found)
    kept, before = Kept.of(one.declared, found), [Kept.of(each.declared, each.found) for each in (one, other)]
    _check_same_columns(before, kept)
    _check_groups(before)
    recipe = _common_recipe([one.totals, other.totals], kept)
    totals, lefts, few = Totals(recipe), [], []
    for each, own in zip((one, other), before, strict=True):
        maps = [_places(old, new) for old, new in zip(own.blocks, kept.blocks, strict=True)]
        moved = _moved(each.totals, recipe, maps)
        lefts.append((moved, None if each.left is None else _change(each.totals.recipe, recipe), each.left))
        totals.merge(moved.packed())
        if each.few is not None:
            few.append(_moved_rows(each.few, each.totals.recipe, recipe, maps, own, kept))
    left = _join_left(lefts) if len(kept.blocks) == 1 and all(each is not None for *_, each in lefts) else None
    return put_together(
        one.declared,
        kept,
        found,
        totals,
        left,
        (*one.parts, *other.parts),
        f"{one.where} and {other.where}",
        join_few(few) if few else None,
    )


def _check_same_model(one: Summed, other: Summed) -> None:
    a, b = one.declared, other.declared
    pairs = {
        "formulas": (a.specification.normalised(), b.specification.normalised()),
        "residuals": tuple(_residual_text(each) for each in (a, b)),
        "weights": (a.weights, b.weights),
        "sigma": (a.known_sigma, b.known_sigma),
        "types of the columns": tuple(
            {name: kind for name, kind in each.found.kinds.items() if kind != "nothing"} for each in (one, other)
        ),
    }
    for what, (mine, theirs) in pairs.items():
        if mine != theirs:
            raise RowsError(f"Sums of different {what} cannot be added: {mine} and {theirs}.")
    for text, state in a.states.items():
        if state != b.states[text]:
            raise RowsError(
                f"{text} remembers other numbers (means, knots, limits) in one of the sums than in the other: their "
                "rows differ. Write the numbers that it takes into the formula."
            )


def _residual_text(declared: Declared) -> str | None:
    residual = declared.specification.residual
    return None if residual is None else residual.write()


def _check_groups(before: Sequence[Kept]) -> None:
    """Refuse rows of one group of residuals in both sums: what they have in common with each other is in neither."""
    one, other = (each.groups for each in before)
    if one is None or other is None:
        return
    both = sorted(set(one.labels) & set(other.labels))
    if both:
        name = ":".join(one.factors)
        raise RowsError(
            f"{len(both)} group(s) by {name!r} have rows in both sums, {listing(both)}: residuals of one group hang "
            "together, and products of rows here with rows there are in neither. Read all rows of a group for one of "
            "the sums; groups that only have the same name need one that tells them apart (site:id)."
        )


def _join(one: Gathered, other: Gathered) -> Gathered:
    """Put together what both first passes found."""
    orders = {name: Order(name) for name in {**one.categories, **other.categories}}
    for each, which in ((one, "the first sums"), (other, "the second sums")):
        for name, values in each.categories.items():
            orders[name].learn(values, which)
    categories = {name: order.listed() for name, order in orders.items()}
    n = one.n + other.n
    missing = {name: one.missing.get(name, 0) + other.missing.get(name, 0) for name in {**one.missing, **other.missing}}
    return Gathered(
        n_read=one.n_read + other.n_read,
        n=n,
        missing=missing,
        kinds=dict(one.kinds),
        categories=categories,
        means={name: (one.means[name] * one.n + other.means[name] * other.n) / n for name in one.means},
        low={name: min(one.low[name], other.low[name]) for name in one.low},
        high={name: max(one.high[name], other.high[name]) for name in one.high},
        few={name: _few(one.few[name], other.few[name]) for name in one.few},
        rows={
            name: [
                *one.rows[name][: one.n_new],
                *other.rows[name][: other.n_new],
                *one.rows[name][one.n_new :],
                *other.rows[name][other.n_new :],
            ]
            for name in one.rows
        },
        n_chunks=one.n_chunks + other.n_chunks,
        n_new=one.n_new + other.n_new,
        levels=one.levels,
    )


def _few(one: list[float], other: list[float]) -> list[float]:
    """Distinct values of both, if these are few."""
    both = sorted({*one, *other})
    return both if one and other and len(both) <= FEW else []


def _check_same_columns(before: Sequence[Kept], kept: Kept) -> None:
    names = [each.sources.fixed.names for each in (*before, kept)]
    effects = [tuple(block.effects for block in each.blocks) for each in (*before, kept)]
    for which in (names, effects):
        if which[0] != which[1] or which[0] != which[2]:
            flat = [{name for own in each for name in (own if which is effects else [own])} for each in which[:2]]
            only = sorted(flat[0] ^ flat[1]) or sorted(flat[0])
            raise RowsError(
                f"The columns of both sums differ, by {listing(only)}: a factor among the predictors does not have the "
                "same levels everywhere. Sum rows in which each of its levels occurs, or make it a grouping factor."
            )


def _places(old: RandomBlock, new: RandomBlock) -> np.ndarray:
    """Where each level (q,) of a block is among those of another."""
    place = {label: i for i, label in enumerate(new.levels)}
    return np.array([place[label] for label in old.levels], dtype=np.int64)


def _common_recipe(parts: Sequence[Totals], kept: Kept) -> Recipe:
    """Condition by both sums together."""
    first = parts[0].recipe
    rows = np.concatenate([fixed_root(each) for each in parts if len(each.recipe.kept)] or [np.zeros((0, 0))])
    columns = kept.columns
    own = (
        independent_columns(rows, np.ones(len(rows)), has_intercept=columns.has_intercept) if len(rows) else first.kept
    )
    aliased = np.setdiff1d(np.arange(columns.X.shape[1]), own)
    root = np.linalg.qr(rows[:, own], mode="r") if len(rows) else np.zeros((0, 0))
    combination = np.linalg.lstsq(rows[:, own], rows[:, aliased], rcond=None)[0] if len(own) else first.combination
    is_same = np.array_equal(own, first.kept)
    beta = taken_off(first)[own]
    shift = first.shift if is_same else np.zeros(len(own))
    return Recipe(
        conditioning=Conditioning(root, root @ (beta - shift), list(first.conditioning.effect_roots)),
        kept=own,
        aliased=aliased,
        combination=combination,
        centre=first.centre if is_same else 0.0,
        shift=shift,
        sizes=tuple(block.q for block in kept.blocks),
        widths=tuple(block.k for block in kept.blocks),
        variances=tuple(None if each.relation is None else each.relation.variances for each in kept.blocks),
    )


def _change(old: Recipe, new: Recipe) -> np.ndarray:
    """N, with [Q e] by the new recipe = [Q e] by the old one times N, where aliased columns leave nothing."""
    p, r = len(old.kept), len(new.kept)
    every = np.zeros((p, p + len(old.aliased)))  # all columns, from the kept ones
    every[:, old.kept], every[:, old.aliased] = np.eye(p), old.combination
    N = np.zeros((p + 1, r + 1))
    N[:p, :r] = np.linalg.solve(new.conditioning.root.T, (old.conditioning.root @ every[:, new.kept]).T).T
    beta = every @ (taken_off(old) - taken_off(new))
    N[:p, r], N[p, r] = old.conditioning.root @ beta, 1.0
    return N


def _moved(totals: Totals, recipe: Recipe, maps: Sequence[np.ndarray]) -> Totals:
    """Return the same sums by another recipe, whose levels are at the places of `maps`."""
    old, moved = totals.recipe, Totals(recipe)
    N = _change(old, recipe)
    changes = [
        T @ np.linalg.inv(new)
        for T, new in zip(old.conditioning.effect_roots, recipe.conditioning.effect_roots, strict=True)
    ]
    for f, (M, place) in enumerate(zip(changes, maps, strict=True)):
        moved.sums.diagonal[f][:, :, place] = np.einsum("ia,ijq,jb->abq", M, totals.sums.diagonal[f], M)
        moved.sums.cross[f][:, :, place] = np.einsum("ia,icq,cd->adq", M, totals.sums.cross[f], N)
        moved.counts[f][place] = totals.counts[f]
        moved.stacked[f] = M.T @ totals.stacked[f] @ M
    moved.sums.gram[:] = N.T @ totals.sums.gram @ N
    to_new = np.linalg.solve(recipe.to_user, old.to_user)
    moved.plain, moved.weighted = (to_new @ each @ to_new.T for each in (totals.plain, totals.weighted))
    for (f, g), (keys, sums) in totals.pairs().items():
        first, second = np.divmod(keys, old.sizes[g])
        own = np.einsum("ia,ijP,jb->abP", changes[f], sums, changes[g])
        moved.put_pairs(f, g, maps[f][first], maps[g][second], own)
    moved.low, moved.high = totals.low.copy(), totals.high.copy()
    moved.touching, moved.variances = list(totals.touching), list(totals.variances)
    moved.n, moved.log_weights, moved.inverse_weights = totals.n, totals.log_weights, totals.inverse_weights
    return moved


def _moved_rows(
    few: FewRows, old: Recipe, new: Recipe, maps: Sequence[np.ndarray], before: Kept, kept: Kept
) -> FewRows:
    """Return few rows with the columns of another recipe, and marks as these kept rows have them."""
    assert before.groups is not None
    assert kept.groups is not None
    roots = zip(old.conditioning.effect_roots, new.conditioning.effect_roots, strict=True)
    changes = [_change(old, new), *(T @ np.linalg.inv(own) for T, own in roots)]
    ends = np.cumsum([len(each) for each in changes])
    parts = np.split(few.columns, ends[:-1], axis=1)
    marks = kept.groups.recode(few.marks, before.groups)
    for place, level in zip(maps, marks.T[marks.shape[1] - len(maps) :], strict=True):
        level[:] = place[level.astype(np.int64)]
    return replace(few, marks=marks, columns=np.hstack([own @ M for own, M in zip(parts, changes, strict=True)]))


def _join_left(parts: Sequence[tuple[Totals, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Sum what the levels of the only factor leave of [Q e] in all rows: a level of both parts is fitted to both."""
    (one, N, mine), (other, P, theirs) = parts
    left = N.T @ mine @ N + P.T @ theirs @ P
    roots, coefficients, present = [], [], []
    for each in (one, other):
        root, back = root_levels(each.sums.diagonal[0])
        roots.append(np.moveaxis(root, -1, 0))  # (q, k, k)
        coefficients.append(np.moveaxis(contract(back.swapaxes(0, 1), each.sums.cross[0]), -1, 0))  # (q, k, c)
        present.append(np.einsum("iiq->q", each.sums.diagonal[0]) > 0)
    both = present[0] & present[1]
    if both.any():
        R = np.concatenate([root[both] for root in roots], axis=1)
        C = np.concatenate([own[both] for own in coefficients], axis=1)
        rest = C - R @ (np.linalg.pinv(R, rcond=1e-12) @ C)
        left = left + np.einsum("qic,qid->cd", rest, rest)
    return left
