"""Levels that are related: sums on effects of their own that are independent, and back.

Where the effects of a factor's levels have the covariance A ⊗ Σ, A = VV', they are b = (V ⊗ I)v, and v has independent
levels: with ZV in the place of Z everything that the likelihood needs is as for any factor. ZV is never formed. Z'WZ,
Z'W[X y] and Z'WZ_g, summed as if levels were independent, are multiplied by V. What was one block a level is then full,
so that each two levels of v touch each other, unless one factor with one effect is alone: there V is chosen such that
V'Z'WZV is diagonal, and an evaluation costs as much as for independent levels.

References
----------
Kang et al. (2008), Genetics 178 (EMMA): the rotation that diagonalises. Harville & Callanan (1989), in: Advances in
Statistical Methods for Genetic Improvement of Livestock: the root of A in the columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.rows import BlockArrays, PairRows, RowSums

ROUNDING = 1e-13  # of the largest eigenvalue of V'Z'WZV, below which one is zero


class Related(NamedTuple):
    """Sums on independent effects, and what leads from these to those of the user's levels: V of each factor."""

    sums: RowSums
    level_roots: tuple[Float[Array, "q q"] | None, ...]


def related_factors(blocks: Sequence[BlockArrays]) -> list[int]:
    """Which factors have related levels, by a dense matrix."""
    return [f for f, block in enumerate(blocks) if block.root is not None]


def is_diagonal(blocks: Sequence[BlockArrays]) -> bool:
    """Whether one factor with one effect is alone, so that related levels can be made independent in the sums, too."""
    return len(blocks) == 1 and blocks[0].incidence.k == 1


def relate_keys(
    blocks: Sequence[BlockArrays], positions: Mapping[FactorPair, PairRows]
) -> dict[FactorPair, np.ndarray]:
    """Pairs of levels that touch each other, as `bayesmm.marginal.plan.planning.make_plan` takes them."""
    related = related_factors(blocks)
    keys = {pair: where.keys for pair, where in positions.items()}
    if is_diagonal(blocks):
        return keys
    for f, g in keys:
        if f in related or g in related:
            keys[f, g] = np.arange(blocks[f].n_levels * blocks[g].n_levels)
    for f in related:
        q = blocks[f].n_levels
        first, second = np.triu_indices(q, 1)
        keys[f, f] = first * q + second
    return keys


def relate_sums(
    sums: RowSums, blocks: Sequence[BlockArrays], positions: Mapping[FactorPair, PairRows], order: Sequence[FactorPair]
) -> Related:
    """Bring sums to independent effects.

    Parameters
    ----------
    sums : RowSums
        As if all levels were independent, their pairs in the order of `positions`.
    blocks : sequence of BlockArrays
        One per grouping factor.
    positions : mapping
        The pairs of levels that share a row.
    order : sequence of (int, int)
        Pair lists of the plan.
    """
    if is_diagonal(blocks):
        return _rotate(sums, blocks[0])
    pairs = dict(zip(positions, sums.pairs, strict=True))
    roots = [block.root for block in blocks]
    diagonal, cross = list(sums.diagonal), list(sums.cross)
    for (f, g), B in list(pairs.items()):
        if roots[f] is not None or roots[g] is not None:
            full = _spread(B, positions[f, g].keys, blocks[f].n_levels, blocks[g].n_levels)
            pairs[f, g] = _between(roots[f], full, roots[g]).reshape(*B.shape[:2], -1)
    for f in related_factors(blocks):
        root, q = blocks[f].root, blocks[f].n_levels
        assert root is not None
        full = np.stack([[root.T @ (each[:, None] * root) for each in row] for row in sums.diagonal[f]])  # (k, k, q, q)
        first, second = np.triu_indices(q, 1)
        diagonal[f] = np.ascontiguousarray(full[:, :, np.arange(q), np.arange(q)])
        pairs[f, f] = np.ascontiguousarray(full[:, :, first, second])
        cross[f] = sums.cross[f] @ root
    return Related(RowSums(diagonal, cross, [pairs[pair] for pair in order], sums.gram), tuple(roots))


def _rotate(sums: RowSums, block: BlockArrays) -> Related:
    """V = CU with C'Z'WZC = UDU'."""
    root = block.root
    assert root is not None
    G = root.T @ (sums.diagonal[0][0, 0][:, None] * root)
    values, vectors = np.linalg.eigh(0.5 * (G + G.T))
    values = np.where(values > ROUNDING * values[-1], values, 0.0)
    V = root @ vectors
    return Related(RowSums([values[None, None]], [sums.cross[0] @ V], [], sums.gram), (V,))


def _spread(B: Float[Array, "k l P"], keys: np.ndarray, n_first: int, n_second: int) -> Float[Array, "k l q r"]:
    full = np.zeros((*B.shape[:2], n_first * n_second))
    full[:, :, keys] = B
    return full.reshape(*B.shape[:2], n_first, n_second)


def _between(left: np.ndarray | None, B: Float[Array, "k l q r"], right: np.ndarray | None) -> Float[Array, "k l q r"]:
    if left is not None:
        B = left.T @ B
    return B if right is None else B @ right
