"""Covariances of the effects of the user's levels, where these are combinations of the levels that are eliminated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bayesmm.marginal.arrays.operations import Operations
from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import AnyElimination, absorb
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts

NUMBERS = 2**23  # in the columns that are solved for together, 64 MB


class Combined(NamedTuple):
    """Combinations K (N, c) of all random effects: C K by factor, (k, c, q), and the diagonal of K'CK, (c,)."""

    solved: list[Float[Array, "k c q"]]
    squares: Float[Array, " c"]


def combine(
    ops: Operations, products: CrossProducts, elimination: AnyElimination, combinations: Sequence[Float[Array, "k c q"]]
) -> Combined:
    """Solve for combinations of the effects: C = ΛH⁻¹Λ' times them.

    Parameters
    ----------
    ops, products, elimination
        As in `bayesmm.marginal.elimination.elimination.absorb`.
    combinations : sequence of arrays, shape (k, c, q)
        Of the effects of the levels that are eliminated, by factor.
    """
    c = combinations[0].shape[1]
    absorbed = absorb(ops, products, elimination, combinations, ops.xp.zeros((c, c)))
    solved = solve_effects(ops, products, elimination, absorbed).effects
    squares = sum(((K * b).sum(axis=(0, 2)) for K, b in zip(combinations, solved, strict=True)), ops.xp.zeros(c))
    return Combined(solved, squares)


def level_combinations(
    ops: Operations, products: CrossProducts, factor: int, some: slice
) -> list[Float[Array, "k c q"]]:
    """Write the effects of some of the user's levels as combinations: the first effect of all of them, then the second.

    Parameters
    ----------
    ops : module
        The operations.
    products : CrossProducts
        Of the design.
    factor : int
        Whose levels are related.
    some : slice
        Levels.
    """
    V = products.level_roots[factor]
    assert V is not None
    own = V[some]
    c, k, xp = own.shape[0], products.diagonal[factor].shape[0], ops.xp
    found = [xp.zeros((G.shape[0], k * c, G.shape[2])) for G in products.diagonal]
    found[factor] = xp.stack(
        [xp.concatenate([own if j == e else xp.zeros_like(own) for j in range(k)]) for e in range(k)]
    )
    return found


def related_covariances(
    ops: Operations, products: CrossProducts, elimination: AnyElimination, factor: int
) -> Float[Array, "k k q"]:
    """C of each of the user's levels, (k, k, q), of a factor whose levels are related."""
    k, q = products.diagonal[factor].shape[0], products.diagonal[factor].shape[2]
    width = max(NUMBERS // (k * sum(G.shape[0] * G.shape[2] for G in products.diagonal)), 1)
    parts = []
    for start in range(0, q, width):
        some = slice(start, min(start + width, q))
        combinations = level_combinations(ops, products, factor, some)
        solved = combine(ops, products, elimination, combinations).solved[factor].reshape(k, k, some.stop - start, q)
        V = products.level_roots[factor]
        assert V is not None
        parts.append((solved * V[some]).sum(axis=-1))
    return ops.xp.concatenate(parts, axis=2)
