"""From sums over chunks to the cross-products that the likelihood takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bayesmm.marginal.apart.one_factor import LevelRoots, root_levels
from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.plan.plan import Plan
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import (
    MOST_LEVELS,
    RANK_TOLERANCE,
    CrossProducts,
    assemble_products,
    make_plan_of,
    orthonormalise,
)
from bayesmm.marginal.sums.related import relate_sums, related_factors
from bayesmm.marginal.sums.rows import BlockArrays, Conditioning, PairRows, RowSums
from bayesmm.marginal.sums.totals import Totals, changed


def finish(
    totals: Totals, blocks: Sequence[BlockArrays], left: Float[Array, "c c"] | None
) -> tuple[CrossProducts, Plan]:
    """Make cross-products of sums over all rows, and plan their elimination.

    Parameters
    ----------
    totals : Totals
        Over all rows.
    blocks : sequence of BlockArrays
        One per grouping factor; of their incidences only the sizes are read.
    left : array, shape (c, c), optional
        Where one factor is alone, [Q e]'W[Q e] of what its levels leave of [Q e], summed row by row.
    """
    recipe = totals.recipe
    own, roots = recipe.conditioning, effect_roots(totals, blocks)
    changes = [T @ np.linalg.inv(new) for T, new in zip(own.effect_roots, roots, strict=True)]
    conditioning = Conditioning(own.root, own.coefficients, roots)
    pairs = totals.pairs()
    positions = {pair: PairRows(keys, {}) for pair, (keys, _) in pairs.items()}
    sums = changed(replace(totals.sums, pairs=[sums for _, sums in pairs.values()]), changes, list(pairs))
    plan = make_plan_of(blocks, positions)
    level_roots = ()
    if related_factors(blocks):
        sums, level_roots = relate_sums(sums, blocks, positions, plan.shape.pairs)
    fixed = orthonormalise(sums, conditioning)
    products = assemble_products(
        sums,
        fixed,
        conditioning,
        plan,
        n=totals.n,
        log_weights=totals.log_weights,
        shift=recipe.shift,
        levels=None if left is None else _take_apart(sums, fixed.change, left),
        level_roots=level_roots,
    )
    return products, plan


def is_alone(blocks: Sequence[BlockArrays], totals: Totals) -> bool:
    """Whether one factor is alone, of independent levels that are not too many, so that it is taken apart."""
    if len(blocks) != 1 or blocks[0].root is not None or blocks[0].precision is not None:
        return False
    return not totals.touching[0] and blocks[0].n_levels <= MOST_LEVELS


def _take_apart(sums: RowSums, change: Float[Array, "c c"], left: Float[Array, "c c"]) -> LevelRoots:
    root, back = root_levels(sums.diagonal[0])
    coefficients = contract(back.swapaxes(0, 1), sums.cross[0])  # (k, c, q)
    of_all = host.transform(change, coefficients.swapaxes(0, 1)).swapaxes(0, 1)
    return LevelRoots(root, np.ascontiguousarray(of_all), change.T @ left @ change)


def gather_effects(products: CrossProducts) -> tuple[Any, Float[Array, "m p"]]:
    """Z'WZ as a sparse matrix, and Z'WX, of all factors side by side, within one the first effect of all levels first.

    Parameters
    ----------
    products : CrossProducts
        Sums over all rows.
    """
    from scipy import sparse  # seldom needed, and 50 ms to import

    p = products.gram.shape[0] - 1
    sizes = [(G.shape[0], G.shape[2]) for G in products.diagonal]
    starts = np.cumsum([0, *(k * q for k, q in sizes)])
    values, rows, columns = [], [], []

    def put(block: np.ndarray, left: np.ndarray, right: np.ndarray, f: int, g: int) -> None:
        for i, j in np.ndindex(*block.shape[:2]):
            values.append(block[i, j])
            rows.append(starts[f] + i * sizes[f][1] + left)
            columns.append(starts[g] + j * sizes[g][1] + right)

    for f, G in enumerate(products.diagonal):
        levels = np.arange(sizes[f][1])
        put(G, levels, levels, f, f)
    lists = zip(products.shape.pairs, products.pairs, products.index.rows, products.index.columns, strict=True)
    for (f, g), B, left, right in lists:
        put(B, left, right, f, g)
        put(B.swapaxes(0, 1), right, left, g, f)
    parts = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    effects = [K[:, :p].swapaxes(1, 2).reshape(-1, p) for K in products.cross]
    return sparse.csr_array(parts, shape=(starts[-1], starts[-1])), np.concatenate(effects)


def effect_roots(totals: Totals, blocks: Sequence[BlockArrays]) -> list[Float[Array, "k k"]]:
    """T of each factor, as `bayesmm.marginal.sums.crossproducts.effect_root` finds it in rows."""
    roots = totals.recipe.conditioning.effect_roots
    return [
        _effect_root(block, sums, T, totals.n)
        for block, sums, T in zip(blocks, totals.sums.diagonal, roots, strict=True)
    ]


def _effect_root(block: BlockArrays, diagonal: Float[Array, "k k q"], T: Float[Array, "k k"], n: int) -> np.ndarray:
    shares = np.ones(block.n_levels) if block.root is None else (block.root**2).sum(axis=1)
    gram = diagonal @ shares / n
    user = T.T @ gram @ T
    root = np.zeros_like(T)
    for start, stop, structure in block.pieces:
        inside = slice(start, stop)
        norms = np.sqrt(np.diag(user)[inside])
        norms = np.where(norms > 0, norms, 1.0)
        if structure.invariance == "scale":
            norms = np.full_like(norms, np.sqrt((norms**2).mean()))
        elif structure.invariance == "none":
            norms = np.ones_like(norms)
        piece = np.diag(norms)
        if structure.invariance == "linear" and 1 < stop - start <= n:
            try:
                R = np.linalg.cholesky(gram[inside, inside]).T @ T[inside, inside]
            except np.linalg.LinAlgError:
                R = np.zeros_like(piece)
            if (np.abs(np.diag(R)) > RANK_TOLERANCE * norms).all():
                piece = R * np.where(np.diag(R) < 0, -1.0, 1.0)[:, None]
        root[inside, inside] = piece
    return root
