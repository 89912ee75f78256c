"""Groups of rows to leave out, as the numerics take them; on the host, once per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmm.errors import PredictionError
from bayesmm.incidence import Incidence
from bayesmm.marginal.leave_out.left_out import ApartGroups, CrossedGroups, RowGroups, TogetherGroups
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.pairs import locate_pairs
from bayesmm.marginal.sums.rows import BlockArrays

MOST_EFFECTS = 1000  # of all crossed factors together: a dense matrix of their square for each draw
MOST_NUMBERS = 20_000_000  # in the columns of all groups together, 160 MB


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one design on the conditioned columns of its cross-products.

    Attributes
    ----------
    fixed : array, shape (n, p + 1)
        [X y], weighted by the roots of the weights.
    incidences : tuple of Incidence
        Levels of each factor, and its effect columns, weighted likewise.
    log_weights : array, shape (n,)
    """

    fixed: np.ndarray
    incidences: tuple[Incidence, ...]
    log_weights: np.ndarray


def condition_rows(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray, blocks: Sequence[BlockArrays], products: CrossProducts
) -> Rows:
    """Put the rows of a design on the columns that its cross-products are sums over."""
    root = np.sqrt(weights)[:, None]
    residual = y - X @ np.asarray(products.fixed_origin)
    basis = np.linalg.solve(np.asarray(products.fixed_root).T, X.T).T if X.shape[1] else X
    return Rows(
        fixed=np.column_stack([basis, residual]) * root,
        incidences=tuple(
            _condition_effects(block.incidence.ordered, np.asarray(T), root)
            for T, block in zip(products.effect_roots, blocks, strict=True)
        ),
        log_weights=np.log(weights),
    )


def _condition_effects(incidence: Incidence, T: np.ndarray, root: np.ndarray) -> Incidence:
    return incidence.map(lambda codes: codes, lambda columns: np.linalg.solve(T.T, columns.T).T * root)


def group_rows(
    rows: Rows, groups: Sequence[np.ndarray], products: CrossProducts
) -> TogetherGroups | ApartGroups | CrossedGroups:
    """Choose how to leave groups of rows out, by how the grouping factors lie in the groups.

    Parameters
    ----------
    rows : Rows
        All rows.
    groups : sequence of int array
        Rows of each group, ascending; a row may be in several.
    products : CrossProducts
        Padded.

    Raises
    ------
    PredictionError
        If crossed factors have too many effects for a dense matrix.
    """
    codes = _partition(groups, len(rows.fixed))
    independent = products.sparse is None and not products.shape.remainder
    if codes is not None and independent and all(_lies_in(each, codes) for each in rows.incidences):
        return _apart(rows, codes, len(groups), products)
    if share_levels(rows, groups):
        return _together(rows, groups, products)
    return _crossed(rows, groups, products)


def share_levels(rows: Rows, groups: Sequence[np.ndarray]) -> bool:
    """Whether the rows of each group have the same level of every grouping factor."""
    return all(_shares_levels(each, which) for each in rows.incidences for which in groups)


def single_rows(
    rows: Rows, products: CrossProducts, positions: Mapping[FactorPair, Mapping[FactorPair, np.ndarray]] | None = None
) -> TogetherGroups:
    """Make every row a group of its own.

    Parameters
    ----------
    rows : Rows
        All rows, or some of them.
    products : CrossProducts
        Padded.
    positions : mapping, optional
        Where rows that are some of all are in the lists of pairs, as `locate_among` says.
    """
    n, padded = len(rows.fixed), products.gram.shape[0]
    _check_numbers(n, n * (sum(each.k * len(each.memberships) for each in rows.incidences) + padded))
    if positions is None:
        positions = {pair: where.positions for pair, where in locate_pairs(rows.incidences).items()}
    fixed = np.zeros((n, 1, padded))
    fixed[:, 0, _kept(rows.fixed.shape[1], padded)] = rows.fixed
    own: dict[str, Any] = {  # NumPy arrays in the place of JAX ones
        "fixed": fixed,
        "rest": np.zeros(n),
        "n": np.ones(n),
        "log_weights": rows.log_weights,
    }
    leaves: dict[str, Any] = {
        "rows": RowGroups(**own),
        "effects": tuple(tuple(each.columns[:, None] for each in one.memberships) for one in rows.incidences),
        "levels": tuple(tuple(each.codes for each in one.memberships) for one in rows.incidences),
        "pairs": tuple(dict(positions[pair]) for pair in products.shape.pairs),
    }
    return TogetherGroups(**leaves)


def locate_among(
    incidences: Sequence[Incidence], products: CrossProducts
) -> dict[FactorPair, dict[tuple[int, int], np.ndarray]]:
    """Find where some rows are in the lists of pairs of levels of all rows.

    Parameters
    ----------
    incidences : sequence of Incidence
        Of each factor in these rows, ordered.
    products : CrossProducts
        Sums over all rows.

    Returns
    -------
    dict of (int, int) to dict of (int, int) to int array, shape (n,)
        Positions by factors and memberships; of pairs that do not occur, any.
    """
    found = {}
    lists = zip(products.shape.pairs, products.index.rows, products.index.columns, strict=True)
    for (f, g), first, second in lists:
        one, other, n_levels = incidences[f].memberships, incidences[g].memberships, incidences[g].n_levels
        keys = first.astype(np.int64) * n_levels + second
        order = np.argsort(keys, kind="stable")
        sides = [(a, b) for a in range(len(one)) for b in range(len(other)) if f != g or a < b]
        found[f, g] = {
            (a, b): order[
                np.clip(
                    np.searchsorted(keys, one[a].codes.astype(np.int64) * n_levels + other[b].codes, sorter=order),
                    0,
                    max(len(keys) - 1, 0),
                )
            ]
            for a, b in sides
        }
    return found


def _partition(groups: Sequence[np.ndarray], n: int) -> np.ndarray | None:
    """Group of each row, or None where rows are in several or in none."""
    every = np.concatenate(groups)
    if len(every) != n or len(np.unique(every)) != n:
        return None
    codes = np.empty(n, np.int64)
    codes[every] = np.repeat(np.arange(len(groups)), list(map(len, groups)))
    return codes


def _lies_in(incidence: Incidence, codes: np.ndarray) -> bool:
    """Whether all rows of a level are in one group."""
    parent = np.zeros(incidence.n_levels, codes.dtype)
    for membership in incidence.memberships:
        parent[membership.codes] = codes
    return all(bool((parent[membership.codes] == codes).all()) for membership in incidence.memberships)


def _shares_levels(incidence: Incidence, which: np.ndarray) -> bool:
    """Whether all rows of a group have the same levels."""
    codes = (membership.codes[which] for membership in incidence.memberships)
    return all(bool((own == own[:1]).all()) for own in codes)  # of no rows, too


def _apart(rows: Rows, codes: np.ndarray, n_groups: int, products: CrossProducts) -> ApartGroups:
    gram = np.zeros((n_groups, rows.fixed.shape[1], rows.fixed.shape[1]))
    for i, column in enumerate(rows.fixed.T):
        for j, other in enumerate(rows.fixed.T):
            gram[:, i, j] = np.bincount(codes, weights=column * other, minlength=n_groups)
    wide = np.zeros((n_groups, *products.gram.shape))
    kept = _kept(rows.fixed.shape[1], wide.shape[1])
    wide[:, kept[:, None], kept] = gram
    parents = []
    for incidence, K in zip(rows.incidences, products.cross, strict=True):
        parent = np.full(K.shape[2], n_groups)
        for membership in incidence.memberships:
            parent[membership.codes] = codes
        parents.append(parent)
    leaves: dict[str, Any] = {  # NumPy arrays in the place of JAX ones
        "gram": wide,
        "n": np.bincount(codes, minlength=n_groups).astype(float),
        "log_weights": np.bincount(codes, weights=rows.log_weights, minlength=n_groups),
        "parents": tuple(parents),
    }
    return ApartGroups(**leaves)


def _together(rows: Rows, groups: Sequence[np.ndarray], products: CrossProducts) -> TogetherGroups:
    first = np.array([which[0] for which in groups])
    effects = np.hstack([membership.columns for each in rows.incidences for membership in each.memberships])
    turned = _turn(rows, [effects[which] for which in groups], groups, products)
    ends = np.cumsum([each.k for each in rows.incidences for _ in each.memberships])[:-1]
    parts = iter(np.split(turned.effects, ends, axis=2))
    located = locate_pairs(rows.incidences)
    leaves: dict[str, Any] = {
        "rows": turned.rows,
        "effects": tuple(tuple(next(parts) for _ in each.memberships) for each in rows.incidences),
        "levels": tuple(tuple(own.codes[first] for own in each.memberships) for each in rows.incidences),
        "pairs": tuple(
            {sides: position[first] for sides, position in located[pair].positions.items()}
            for pair in products.shape.pairs
        ),
    }
    return TogetherGroups(**leaves)


def _crossed(rows: Rows, groups: Sequence[np.ndarray], products: CrossProducts) -> CrossedGroups:
    widths, n_levels = [each.k for each in rows.incidences], [each.n_levels for each in rows.incidences]
    starts = np.cumsum([0, *(q * k for q, k in zip(n_levels, widths, strict=True))])
    if starts[-1] > MOST_EFFECTS:
        raise PredictionError(
            f"These groups are crossed with other grouping factors, of {starts[-1]:,} random effects in all; leaving "
            f"them out takes a dense matrix of that size for each draw, and {MOST_EFFECTS:,} effects are the most. "
            "Leave out rows, or a factor that all others are nested in, or the finest of nested ones."
        )
    n = len(rows.fixed)
    Z = np.zeros((n, starts[-1]))
    for incidence, start, k in zip(rows.incidences, starts, widths, strict=False):
        for each in incidence.memberships:
            Z[np.arange(n)[:, None], start + each.codes[:, None] * k + np.arange(k)] += each.columns
    touching = [_touched(rows, which, starts) for which in groups]
    touched = np.zeros((len(groups), max(map(len, touching))), int)
    dense = [np.zeros((len(which), touched.shape[1])) for which in groups]
    for g, (which, effects) in enumerate(zip(groups, touching, strict=True)):
        touched[g, : len(effects)] = effects
        dense[g][:, : len(effects)] = Z[np.ix_(which, effects)]
    turned = _turn(rows, dense, groups, products)
    cross = np.zeros((starts[-1], products.gram.shape[0]))
    cross[:, _kept(rows.fixed.shape[1], cross.shape[1])] = Z.T @ rows.fixed
    level = np.repeat(np.arange(sum(n_levels)), np.repeat(widths, n_levels))
    ends = np.cumsum([0, *widths])
    effect = [np.tile(np.arange(a, b), q) for a, b, q in zip(ends, ends[1:], n_levels, strict=False)]
    leaves: dict[str, Any] = {
        "rows": turned.rows,
        "effects": turned.effects,
        "touched": touched,
        "level": level,
        "effect": np.concatenate(effect),
        "products": Z.T @ Z,
        "cross": cross,
    }
    return CrossedGroups(**leaves)


def _touched(rows: Rows, which: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Effects of the levels that some rows have, in their place among all."""
    parts = []
    for incidence, start in zip(rows.incidences, starts, strict=False):
        levels = np.unique(incidence.rows(which).stacked().codes)
        parts.append((start + levels[:, None] * incidence.k + np.arange(incidence.k)).ravel())
    return np.concatenate(parts)


def _kept(columns: int, padded: int) -> np.ndarray:
    """Places of [X y] among padded columns, of which y is the last."""
    return np.append(np.arange(columns - 1), padded - 1)


@dataclass(frozen=True)
class _Turned:
    rows: RowGroups
    effects: np.ndarray  # (G, r, m)


def _turn(rows: Rows, effects: Sequence[np.ndarray], groups: Sequence[np.ndarray], products: CrossProducts) -> _Turned:
    """Reduce each group's rows to as many as it has columns, without a change of their sums of products (QR)."""
    m, p = effects[0].shape[1], rows.fixed.shape[1] - 1
    n_groups, counts = len(groups), np.array(list(map(len, groups)))
    r, padded = min(int(counts.max()), m + p), products.gram.shape[0]
    _check_numbers(n_groups, n_groups * r * (m + padded))
    fixed, turned = np.zeros((n_groups, r, padded)), np.zeros((n_groups, r, m))
    rest, kept = np.zeros(n_groups), _kept(p + 1, padded)
    for g, which in enumerate(groups):
        columns = np.hstack([rows.fixed[which, :p], effects[g], rows.fixed[which, p:]])
        R = columns if len(which) == 1 else np.linalg.qr(columns, mode="r")
        own = min(len(R), m + p)
        fixed[g, :own, kept] = R[:own, [*range(p), m + p]].T
        turned[g, :own] = R[:own, p : p + m]
        rest[g] = (R[own:, -1] ** 2).sum()
    leaves: dict[str, Any] = {
        "fixed": fixed,
        "rest": rest,
        "n": counts.astype(float),
        "log_weights": np.add.reduceat(rows.log_weights[np.concatenate(groups)], np.cumsum([0, *counts[:-1]])),
    }
    return _Turned(RowGroups(**leaves), turned)


def _check_numbers(n_groups: int, numbers: int) -> None:
    if numbers > MOST_NUMBERS:
        raise PredictionError(
            f"The columns of all {n_groups:,} groups together would be {numbers:,} numbers, more than the "
            f"{MOST_NUMBERS:,} that are kept. Leave out groups of fewer levels, or single rows chunk by chunk: "
            "posterior.loo_rows(data)."
        )
