"""Groups of rows to leave out, as the numerics take them; on the host, once per model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmm.errors import PredictionError
from bayesmm.marginal.crossproducts import CrossProducts
from bayesmm.marginal.left_out import ApartGroups, CrossedGroups, RowGroups, TogetherGroups
from bayesmm.marginal.neighbours import lookup_pairs
from bayesmm.marginal.rows import BlockArrays

MOST_EFFECTS = 1000  # of all crossed factors together: a dense matrix of their square for each draw
MOST_NUMBERS = 20_000_000  # in the columns of all groups together, 160 MB


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one design on the conditioned columns of its cross-products.

    Attributes
    ----------
    fixed : array, shape (n, p + 1)
        [X y], weighted by the roots of the weights.
    effects : tuple of arrays, shapes (n, k)
        Effect columns of each factor, weighted likewise.
    codes : tuple of int arrays, shape (n,)
        Levels.
    n_levels : tuple of int
    log_weights : array, shape (n,)
    """

    fixed: np.ndarray
    effects: tuple[np.ndarray, ...]
    codes: tuple[np.ndarray, ...]
    n_levels: tuple[int, ...]
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
        effects=tuple(
            np.linalg.solve(np.asarray(T).T, block.columns.T).T * root
            for T, block in zip(products.effect_roots, blocks, strict=True)
        ),
        codes=tuple(block.codes for block in blocks),
        n_levels=tuple(block.n_levels for block in blocks),
        log_weights=np.log(weights),
    )


def group_rows(
    rows: Rows, codes: np.ndarray, n_groups: int, products: CrossProducts
) -> TogetherGroups | ApartGroups | CrossedGroups:
    """Choose how to leave groups of rows out, by how the grouping factors lie in the groups.

    Parameters
    ----------
    rows : Rows
        All rows.
    codes : int array, shape (n,)
        Group of each row, each group having some.
    n_groups : int
        G.
    products : CrossProducts
        Padded.

    Raises
    ------
    PredictionError
        If crossed factors have too many effects for a dense matrix.
    """
    if all(_is_nested(own, codes, q) for own, q in zip(rows.codes, rows.n_levels, strict=True)) and not (
        products.shape.remainder
    ):
        return _apart(rows, codes, n_groups, products)
    if all(_is_nested(codes, own, n_groups) for own in rows.codes):
        return _together(rows, codes, n_groups, products)
    return _crossed(rows, codes, n_groups, products)


def single_rows(rows: Rows, products: CrossProducts) -> TogetherGroups:
    """Every row as a group of its own."""
    n = len(rows.fixed)
    return _together(rows, np.arange(n), n, products)


def _is_nested(fine: np.ndarray, coarse: np.ndarray, n_fine: int) -> bool:
    """Whether all rows of a level of one factor share their level of the other."""
    parent = np.zeros(n_fine, coarse.dtype)
    parent[fine] = coarse
    return bool((parent[fine] == coarse).all())


def _apart(rows: Rows, codes: np.ndarray, n_groups: int, products: CrossProducts) -> ApartGroups:
    gram = np.zeros((n_groups, rows.fixed.shape[1], rows.fixed.shape[1]))
    for i, column in enumerate(rows.fixed.T):
        for j, other in enumerate(rows.fixed.T):
            gram[:, i, j] = np.bincount(codes, weights=column * other, minlength=n_groups)
    wide = np.zeros((n_groups, *products.gram.shape))
    kept = _kept(rows.fixed.shape[1], wide.shape[1])
    wide[:, kept[:, None], kept] = gram
    parents = []
    for own, q, K in zip(rows.codes, rows.n_levels, products.cross, strict=True):
        parent = np.full(K.shape[2], n_groups)
        parent[:q][own] = codes
        parents.append(parent)
    leaves: dict[str, Any] = {  # NumPy arrays in the place of JAX ones
        "gram": wide,
        "n": np.bincount(codes, minlength=n_groups).astype(float),
        "log_weights": np.bincount(codes, weights=rows.log_weights, minlength=n_groups),
        "parents": tuple(parents),
    }
    return ApartGroups(**leaves)


def _together(rows: Rows, codes: np.ndarray, n_groups: int, products: CrossProducts) -> TogetherGroups:
    first = np.zeros(n_groups, int)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    effects = np.hstack(rows.effects)
    turned = _turn(rows, [effects[members] for members in list_members(codes, n_groups)], codes, n_groups, products)
    ends = np.cumsum([columns.shape[1] for columns in rows.effects])[:-1]
    positions = [
        lookup_pairs(rows.codes[f], rows.codes[g], rows.n_levels[f], rows.n_levels[g])[1][first]
        for f, g in products.shape.pairs
    ]
    leaves: dict[str, Any] = {
        "rows": turned.rows,
        "effects": tuple(np.split(turned.effects, ends, axis=2)),
        "levels": tuple(own[first] for own in rows.codes),
        "pairs": tuple(positions),
    }
    return TogetherGroups(**leaves)


def _crossed(rows: Rows, codes: np.ndarray, n_groups: int, products: CrossProducts) -> CrossedGroups:
    widths = [columns.shape[1] for columns in rows.effects]
    starts = np.cumsum([0, *(q * k for q, k in zip(rows.n_levels, widths, strict=True))])
    if starts[-1] > MOST_EFFECTS:
        raise PredictionError(
            f"These groups are crossed with other grouping factors, of {starts[-1]:,} random effects in all; leaving "
            f"them out takes a dense matrix of that size for each draw, and {MOST_EFFECTS:,} effects are the most. "
            "Leave out rows, or a factor that all others are nested in, or the finest of nested ones."
        )
    Z = np.zeros((len(codes), starts[-1]))
    for own, columns, start, k in zip(rows.codes, rows.effects, starts, widths, strict=False):
        Z[np.arange(len(codes))[:, None], start + own[:, None] * k + np.arange(k)] = columns
    members = list_members(codes, n_groups)
    touching = [_touched(rows, which, starts, widths) for which in members]
    touched = np.zeros((n_groups, max(map(len, touching))), int)
    dense = [np.zeros((len(which), touched.shape[1])) for which in members]
    for g, (which, effects) in enumerate(zip(members, touching, strict=True)):
        touched[g, : len(effects)] = effects
        dense[g][:, : len(effects)] = Z[np.ix_(which, effects)]
    turned = _turn(rows, dense, codes, n_groups, products)
    cross = np.zeros((starts[-1], products.gram.shape[0]))
    cross[:, _kept(rows.fixed.shape[1], cross.shape[1])] = Z.T @ rows.fixed
    level = np.repeat(np.arange(sum(rows.n_levels)), np.repeat(widths, rows.n_levels))
    ends = np.cumsum([0, *widths])
    effect = [np.tile(np.arange(a, b), q) for a, b, q in zip(ends, ends[1:], rows.n_levels, strict=False)]
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


def _touched(rows: Rows, which: np.ndarray, starts: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """Effects of the levels that some rows have, in their place among all."""
    parts = [
        (start + np.unique(own[which])[:, None] * k + np.arange(k)).ravel()
        for own, start, k in zip(rows.codes, starts, widths, strict=False)
    ]
    return np.concatenate(parts)


def list_members(codes: np.ndarray, n_groups: int) -> list[np.ndarray]:
    """List the rows of each group."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(codes, minlength=n_groups))[:-1])


def _kept(columns: int, padded: int) -> np.ndarray:
    """Places of [X y] among padded columns, of which y is the last."""
    return np.append(np.arange(columns - 1), padded - 1)


@dataclass(frozen=True)
class _Turned:
    rows: RowGroups
    effects: np.ndarray  # (G, r, m)


def _turn(
    rows: Rows, effects: Sequence[np.ndarray], codes: np.ndarray, n_groups: int, products: CrossProducts
) -> _Turned:
    """Reduce each group's rows to as many as it has columns, without a change of their sums of products (QR)."""
    m, p = effects[0].shape[1], rows.fixed.shape[1] - 1
    counts = np.bincount(codes, minlength=n_groups)
    r, padded = min(int(counts.max()), m + p), products.gram.shape[0]
    if n_groups * r * (m + padded) > MOST_NUMBERS:
        raise PredictionError(
            f"The columns of all {n_groups:,} groups together would be {n_groups * r * (m + padded):,} numbers, more "
            f"than the {MOST_NUMBERS:,} that are kept. Leave out groups of fewer levels."
        )
    fixed, turned = np.zeros((n_groups, r, padded)), np.zeros((n_groups, r, m))
    rest, kept = np.zeros(n_groups), _kept(p + 1, padded)
    for g, which in enumerate(list_members(codes, n_groups)):
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
        "log_weights": np.bincount(codes, weights=rows.log_weights, minlength=n_groups),
    }
    return _Turned(RowGroups(**leaves), turned)
