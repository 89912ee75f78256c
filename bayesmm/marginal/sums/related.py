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
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.operations import Operations
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.shapes import Array, Float, Int
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
    return len(blocks) == 1 and blocks[0].incidence.k == 1 and blocks[0].is_weighted_once


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Relating:
    """What brings sums over the user's levels to independent effects, and covariances of these back (in JAX, a pytree).

    Attributes
    ----------
    roots : tuple of arrays, shapes (q, q), or None
        V of each factor.
    first, second : tuples of int arrays, shape (P,)
        Levels of each pair of the user's that share a row, by pair list.
    pairs : tuple of (int, int)
        Pair lists of the user's levels.
    order : tuple of (int, int)
        Pair lists of the plan.
    n_levels : tuple of int
        Levels of each factor; arrays may be padded beyond.
    """

    roots: tuple[Float[Array, "q q"] | None, ...]
    first: tuple[Int[Array, " P"], ...]
    second: tuple[Int[Array, " P"], ...]
    pairs: tuple[FactorPair, ...] = field(metadata={"static": True})
    order: tuple[FactorPair, ...] = field(metadata={"static": True})
    n_levels: tuple[int, ...] = field(metadata={"static": True})

    def relate(
        self,
        ops: Operations,
        diagonal: Sequence[Float[Array, "k k q"]],
        cross: Sequence[Float[Array, "k c q"]],
        pairs: Sequence[Float[Array, "k l P"]],
    ) -> tuple[list[Array], list[Array], list[Array]]:
        """Multiply sums over the user's levels by V: Z'WZ, Z'W[X y], and Z'WZ of pairs in the plan's order."""
        found = dict(zip(self.pairs, pairs, strict=True))
        diagonal, cross = list(diagonal), list(cross)
        for (f, g), first, second in zip(self.pairs, self.first, self.second, strict=True):
            if self.roots[f] is not None or self.roots[g] is not None:
                q, r = diagonal[f].shape[2], diagonal[g].shape[2]
                full = _between(self.roots[f], _spread(ops, found[f, g], first, second, q, r), self.roots[g])
                own = full[:, :, : self.n_levels[f], : self.n_levels[g]]
                found[f, g] = own.reshape(*own.shape[:2], -1)
        for f, V in enumerate(self.roots):
            if V is not None:
                full = V.T @ (diagonal[f][..., None] * V)  # (k, k, q, q)
                levels = np.arange(V.shape[0])
                i, j = np.triu_indices(self.n_levels[f], 1)
                diagonal[f], found[f, f] = full[:, :, levels, levels], full[:, :, i, j]
                cross[f] = cross[f] @ V
        return diagonal, cross, [found[pair] for pair in self.order]

    def covariances(
        self,
        ops: Operations,
        diagonal: Sequence[Float[Array, "k k q"]],
        pairs: Mapping[FactorPair, Float[Array, "k l P"]],
    ) -> tuple[list[Float[Array, "k k q"]], dict[FactorPair, Float[Array, "k l P"]]]:
        """Bring covariances of independent effects to the user's levels, and to the pairs of them that share a row."""
        own, found = list(diagonal), dict(pairs)
        for f, V in enumerate(self.roots):
            if V is None:
                continue
            if (f, f) in found:
                moved = V @ _unfold(ops, diagonal[f], found.pop((f, f)), self.n_levels[f])
            else:  # V has made them independent
                moved = V * diagonal[f][:, :, None]
            own[f] = (moved * V).sum(axis=-1)
        for (f, g), first, second in zip(self.pairs, self.first, self.second, strict=True):
            q, r = self.n_levels[f], self.n_levels[g]
            V, U = (None if V is None else V[:n, :n].T for V, n in ((self.roots[f], q), (self.roots[g], r)))
            if V is not None or U is not None:
                full = found[f, g][:, :, : q * r].reshape(*found[f, g].shape[:2], q, r)
                found[f, g] = _between(V, full, U)[:, :, first, second]
        return own, found


def relating(
    roots: Sequence[Float[Array, "q q"] | None],
    n_levels: Sequence[int],
    positions: Mapping[FactorPair, PairRows],
    order: Sequence[FactorPair],
) -> Relating:
    """Lay out what brings sums by V, their pairs in the order of `positions`, to pairs in the order of a plan."""
    ends = [np.divmod(where.keys, n_levels[g]) for (_, g), where in positions.items()]
    return Relating(
        roots=tuple(roots),
        first=tuple(first for first, _ in ends),
        second=tuple(second for _, second in ends),
        pairs=tuple(positions),
        order=tuple(order),
        n_levels=tuple(n_levels),
    )


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
    roots, n_levels = [block.root for block in blocks], [block.n_levels for block in blocks]
    related = relating(roots, n_levels, positions, order)
    diagonal, cross, pairs = related.relate(host, sums.diagonal, sums.cross, sums.pairs)
    own = [np.ascontiguousarray(each) for each in diagonal], cross, [np.ascontiguousarray(each) for each in pairs]
    return Related(RowSums(*own, sums.gram), related.roots)


def _rotate(sums: RowSums, block: BlockArrays) -> Related:
    """V = CU with C'Z'WZC = UDU'."""
    root = block.root
    assert root is not None
    G = root.T @ (sums.diagonal[0][0, 0][:, None] * root)
    values, vectors = np.linalg.eigh(0.5 * (G + G.T))
    values = np.where(values > ROUNDING * values[-1], values, 0.0)
    V = root @ vectors
    return Related(RowSums([values[None, None]], [sums.cross[0] @ V], [], sums.gram), (V,))


def _spread(
    ops: Operations, B: Float[Array, "k l P"], first: np.ndarray, second: np.ndarray, q: int, r: int
) -> Float[Array, "k l q r"]:
    size = B.shape[:2]
    blocks = np.arange(size[0] * size[1]).reshape(*size, 1)
    where = blocks * (q * r) + (first * r + second)
    return ops.add_flat(ops.xp.zeros(blocks.size * q * r), where, B).reshape(*size, q, r)


def _unfold(
    ops: Operations, diagonal: Float[Array, "k k q"], above: Float[Array, "k k P"], n_levels: int
) -> Float[Array, "k k q q"]:
    """Write a symmetric matrix in full, from its levels and its pairs of levels, the lower one first."""
    q, levels = diagonal.shape[2], np.arange(diagonal.shape[2])
    i, j = np.triu_indices(n_levels, 1)
    above = above[:, :, : len(i)]
    entries = ops.xp.concatenate([diagonal, above, above.swapaxes(0, 1)], axis=2)
    first, second = np.concatenate([levels, i, j]), np.concatenate([levels, j, i])
    return _spread(ops, entries, first, second, q, q)


def _between(left: Array | None, B: Float[Array, "k l q r"], right: Array | None) -> Float[Array, "k l q r"]:
    if left is not None:
        B = left.T @ B
    return B if right is None else B @ right
