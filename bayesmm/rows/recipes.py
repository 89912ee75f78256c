"""How rows are conditioned: by those that were kept, and anew where sums over all rows say that this will not do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.columns.columns import Columns, distinct_names
from bayesmm.design.columns.rank import independent_columns
from bayesmm.design.columns.terms import INTERCEPT
from bayesmm.marginal.sums.crossproducts import constant_part, effect_root
from bayesmm.marginal.sums.finished import effect_roots
from bayesmm.marginal.sums.rows import BlockArrays, Conditioning, triangular_root
from bayesmm.marginal.sums.totals import Recipe, Totals, fixed_root
from bayesmm.rows.blocks import as_arrays

WORST = 1e6  # condition number of a Gram matrix of conditioned columns, beyond which they are conditioned anew


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptColumns:
    """Columns of the rows that were kept.

    Attributes
    ----------
    X, y, weights : array
        Of the fixed effects; response less its offset; prior weights.
    blocks : tuple of RandomBlock
        Random effects.
    fixed : Columns
        Names of the columns of X.
    """

    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    blocks: tuple[RandomBlock, ...]
    fixed: Columns

    @property
    def arrays(self) -> tuple[BlockArrays, ...]:
        """Random effects as the numerics take them."""
        return as_arrays(self.blocks)

    @property
    def has_intercept(self) -> bool:
        """Whether the first column of X is the intercept."""
        return distinct_names([self.fixed])[:1] == (INTERCEPT,)


def first_recipe(columns: KeptColumns) -> Recipe:
    """Condition by the rows that were kept."""
    X, y, weights = columns.X, columns.y, columns.weights
    kept = independent_columns(X, weights, has_intercept=columns.has_intercept)
    aliased = np.setdiff1d(np.arange(X.shape[1]), kept)
    own = X[:, kept]
    centre, shift = constant_part(own, y)
    root, coefficients = np.zeros((0, 0)), np.zeros(0)
    combination = np.zeros((0, len(aliased)))
    if len(kept):
        root = triangular_root(own, weights)
        coefficients = np.linalg.solve(root.T, own.T @ (weights * (y - centre)))
        scale, rows = np.linalg.norm(own, axis=0), np.sqrt(weights)[:, None]
        combination = np.linalg.lstsq(own / scale * rows, X[:, aliased] * rows, rcond=None)[0] / scale[:, None]
    return Recipe(
        conditioning=Conditioning(root, coefficients, [effect_root(each, weights) for each in columns.arrays]),
        kept=kept,
        aliased=aliased,
        combination=combination,
        centre=float(centre[0]),
        shift=shift,
        sizes=tuple(block.q for block in columns.blocks),
        widths=tuple(block.k for block in columns.blocks),
        variances=tuple(None if block.relation is None else block.relation.variances for block in columns.blocks),
    )


def better_recipe(totals: Totals, columns: KeptColumns) -> Recipe | None:
    """Condition by the sums over all rows, if what some rows said will not do for all of them."""
    recipe = totals.recipe
    M = fixed_root(totals) if len(recipe.kept) else np.zeros((0, columns.X.shape[1]))
    kept = independent_columns(M, np.ones(len(M)), has_intercept=columns.has_intercept) if len(M) else recipe.kept
    constant = _constant_column(totals, kept)
    is_centred = bool(recipe.shift.any())
    p = len(recipe.kept)
    fixed_fits = np.array_equal(kept, recipe.kept) and _condition(totals.weighted[1 : 1 + p, 1 : 1 + p]) < WORST
    effects_fit = all(_condition(G.sum(axis=2)) < WORST for G in totals.sums.diagonal)
    if fixed_fits and effects_fit and (not is_centred or constant is not None):
        return None
    own = M[:, kept]
    root = np.linalg.qr(own, mode="r")
    aliased = np.setdiff1d(np.arange(M.shape[1]), kept)
    L = recipe.to_user
    user = L @ totals.weighted @ L.T
    at = 1 + M.shape[1]
    beta = np.linalg.lstsq(own, M, rcond=None)[0]  # all columns from the kept ones
    centre, shift = 0.0, np.zeros(len(kept))
    if constant is not None:
        value = totals.low[1 + kept[constant]]
        centre = float(user[1 + kept[constant], at] / user[1 + kept[constant], 0])  # weighted mean: as good as any
        shift[constant] = centre / value
    right = user[1 + kept, at] - user[1 + kept, 0] * centre
    return replace(
        recipe,
        conditioning=Conditioning(root, np.linalg.solve(root.T, right), effect_roots(totals, columns.arrays)),
        kept=kept,
        aliased=aliased,
        combination=beta[:, aliased],
        centre=centre,
        shift=shift,
    )


def _constant_column(totals: Totals, kept: np.ndarray) -> int | None:
    low, high = totals.low[1 + kept], totals.high[1 + kept]
    found = np.flatnonzero((low == high) & (low != 0))
    return int(found[0]) if len(found) else None


def _condition(gram: np.ndarray) -> float:
    if not len(gram):
        return 1.0
    scale = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
    values = np.linalg.eigvalsh(gram / np.outer(scale, scale))
    spread = float(np.ptp(np.log(scale)))  # columns of very different size lose digits of each other
    ratio = values[-1] / max(values[0], np.finfo(float).tiny)
    return float(np.exp(min(np.log(ratio) + 2.0 * spread, 700.0)))
