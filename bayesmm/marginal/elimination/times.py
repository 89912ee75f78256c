"""Z'WZ as it stands, times effects; in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts


def times_effects(products: CrossProducts, effects: Sequence[Float[Array, "k m q"]]) -> list[Float[Array, "k m q"]]:
    """Z'WZ times effects."""
    total = [contract(G, b) for G, b in zip(products.diagonal, effects, strict=True)]
    for position, (f, g) in enumerate(products.shape.pairs):
        B, first, second = products.pairs[position], products.index.rows[position], products.index.columns[position]
        total[g] = host.add_levels(total[g], second, contract(B, host.take_levels(effects[f], first)))
        total[f] = host.add_levels(total[f], first, contract(B.swapaxes(0, 1), host.take_levels(effects[g], second)))
    return total
