"""Z'WZ as sparse matrices on JAX's default device, multiplied by sums over the pairs of levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from bayesmm.inside_jax import inside_jax
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.shapes import Array, Float, Int
from bayesmm.marginal.stochastic.levels import times_levels
from bayesmm.marginal.stochastic.matrices import Arrangement, PairList, schur_product, split_pairs

register_dataclass(PairList)


@register_dataclass
@dataclass(frozen=True)
class OnDevice:
    """Arrays of Z'WZ: what a compiled product takes as its argument.

    Attributes
    ----------
    first : array, shape (q, k, k)
        Of the levels of the first factor.
    rest : list of arrays, shape (r, l, l)
        Of the levels of the others.
    lists, inner : lists of PairList
        Pairs with the first factor, and among the rest.
    places : tuple of int
        To which of the rest each of the first belongs.
    ends : tuple of (int, int)
        Between which of the rest each of the second is.
    layout : Arrangement
        Which factor is where.
    """

    first: Float[Array, "q k k"]
    rest: list[Float[Array, "_r _l _l"]]
    lists: list[PairList]
    inner: list[PairList]
    places: tuple[int, ...] = field(metadata={"static": True})
    ends: tuple[tuple[int, int], ...] = field(metadata={"static": True})
    layout: Arrangement = field(metadata={"static": True})

    @property
    def xp(self) -> Any:
        """The array library."""
        return jnp

    def across(self, x: Float[Array, "N c"]) -> Float[Array, "F c"]:
        """From effects of the rest to the first factor."""
        each = self.layout.each(x)
        total = jnp.zeros((self.layout.width * self.layout.size, x.shape[1]))
        for place, one in zip(self.places, self.lists, strict=True):
            total = total + _product(one.blocks, one.own, one.other, each[place], self.layout.size)
        return total

    def back(self, y: Float[Array, "F c"]) -> Float[Array, "N c"]:
        """From effects of the first factor to the rest."""
        found = [jnp.zeros((len(G) * G.shape[1], y.shape[1])) for G in self.rest]
        for place, one in zip(self.places, self.lists, strict=True):
            turned = one.blocks.swapaxes(0, 1)
            found[place] = found[place] + _product(turned, one.other, one.own, y, len(self.rest[place]))
        return jnp.concatenate(found)

    def within(self, x: Float[Array, "N c"]) -> Float[Array, "N c"]:
        """Among the rest."""
        each = self.layout.each(x)
        found = [times_levels(G, part) for G, part in zip(self.rest, each, strict=True)]
        for (i, j), one in zip(self.ends, self.inner, strict=True):
            found[i] = found[i] + _product(one.blocks, one.own, one.other, each[j], len(self.rest[i]))
            turned = one.blocks.swapaxes(0, 1)
            found[j] = found[j] + _product(turned, one.other, one.own, each[i], len(self.rest[j]))
        return jnp.concatenate(found)

    def shared_out(self, M: Float[Array, "q k k"]) -> list[Float[Array, "_r _l _l"]]:
        """Σ A'MA over the levels of the first factor that each level of the rest shares rows with."""
        found = [jnp.zeros_like(G) for G in self.rest]
        last = jnp.moveaxis(M, 0, 2)
        for place, one in zip(self.places, self.lists, strict=True):
            terms = contract(one.blocks, contract(last[:, :, one.own].swapaxes(0, 1), one.blocks))
            found[place] = found[place].at[one.other].add(jnp.moveaxis(terms, 2, 0))
        return found

    def gathered(self, T: Sequence[Float[Array, "_r _l _l"]]) -> Float[Array, "q k k"]:
        """Σ ATA' over the levels of the rest that each level of the first factor shares rows with."""
        total = jnp.zeros_like(self.first)
        for place, one in zip(self.places, self.lists, strict=True):
            turned, last = one.blocks.swapaxes(0, 1), jnp.moveaxis(T[place], 0, 2)
            terms = contract(turned, contract(last[:, :, one.other].swapaxes(0, 1), turned))
            total = total.at[one.own].add(jnp.moveaxis(terms, 2, 0))
        return total

    def schur(self, N: Any, roots: Any, own: Any, x: Float[Array, "N c"]) -> Float[Array, "N c"]:
        """Return what `schur_product` does."""
        return schur_product(self, N, roots, own, x)


def _product(
    B: Float[Array, "k l P"], own: Int[Array, " P"], other: Int[Array, " P"], x: Float[Array, "_n c"], q: int
) -> Float[Array, "_m c"]:
    """Sum B times the effects of the other levels into q levels, column by column: memory is that of the pairs."""
    k, width, _ = B.shape
    levels = x.reshape(-1, width, x.shape[1])

    def column(effects: Float[Array, "r l"]) -> Float[Array, "q k"]:
        taken = effects[other]  # (P, l)
        terms = jnp.stack([sum(B[a, e] * taken[:, e] for e in range(width)) for a in range(k)], axis=1)
        return jax.ops.segment_sum(terms, own, num_segments=q)

    found = jax.lax.map(column, jnp.moveaxis(levels, 2, 0))  # (c, q, k)
    return jnp.moveaxis(found, 0, 2).reshape(q * k, x.shape[1])


_across, _back, _within, _shared_out, _gathered, _schur = (
    jax.jit(method)
    for method in (
        OnDevice.across, OnDevice.back, OnDevice.within, OnDevice.shared_out, OnDevice.gathered, OnDevice.schur
    )
)  # fmt: skip


class DeviceMatrices:
    """`bayesmm.marginal.stochastic.matrices.Matrices` in JAX; to be used inside `bayesmm.inside_jax.inside_jax`.

    Parameters
    ----------
    names : sequence of (int, int)
        Factors of each list of pairs.
    diagonal, pairs, rows, columns : sequences of arrays
        As `bayesmm.marginal.sums.crossproducts.CrossProducts` and its index have them.
    """

    def __init__(
        self,
        names: Sequence[FactorPair],
        diagonal: Sequence[Float[Array, "_k _k _q"]],
        pairs: Sequence[Float[Array, "_k _l _P"]],
        rows: Sequence[Int[Array, " _P"]],
        columns: Sequence[Int[Array, " _P"]],
    ) -> None:
        split = split_pairs(names, diagonal, pairs, rows, columns)
        parts = OnDevice(
            first=split.first,
            rest=split.rest,
            lists=list(split.lists.values()),
            inner=[one for _, _, one in split.inner],
            places=tuple(split.lists),
            ends=tuple((i, j) for i, j, _ in split.inner),
            layout=split.layout,
        )
        with inside_jax():
            self._parts: OnDevice = jax.device_put(parts)
        self.layout, self.first, self.rest = split.layout, self._parts.first, self._parts.rest

    def __getstate__(self) -> dict[str, Any]:
        """Pickle arrays of the host, on whatever device they are."""
        return {"parts": jax.tree.map(np.asarray, self._parts)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        with inside_jax():
            self._parts = jax.device_put(state["parts"])
        self.layout, self.first, self.rest = self._parts.layout, self._parts.first, self._parts.rest

    @property
    def xp(self) -> Any:
        """The array library."""
        return jnp

    def across(self, x: Float[Array, "N c"]) -> Float[Array, "F c"]:
        """From effects of the rest to the first factor."""
        return _across(self._parts, x)

    def back(self, y: Float[Array, "F c"]) -> Float[Array, "N c"]:
        """From effects of the first factor to the rest."""
        return _back(self._parts, y)

    def within(self, x: Float[Array, "N c"]) -> Float[Array, "N c"]:
        """Among the rest."""
        return _within(self._parts, x)

    def shared_out(self, M: Float[Array, "q k k"]) -> list[Float[Array, "_r _l _l"]]:
        """Σ A'MA over the levels of the first factor that each level of the rest shares rows with."""
        return _shared_out(self._parts, M)

    def gathered(self, T: Sequence[Float[Array, "_r _l _l"]]) -> Float[Array, "q k k"]:
        """Σ ATA' over the levels of the rest that each level of the first factor shares rows with."""
        return _gathered(self._parts, list(T))

    def schur(
        self,
        N: Float[Array, "q k k"],
        roots: Sequence[Float[Array, "_r _l _l"]],
        own: Sequence[Float[Array, "_r _l _l"]],
        x: Float[Array, "N c"],
    ) -> Float[Array, "N c"]:
        """Return what `schur_product` does."""
        return _schur(self._parts, N, list(roots), list(own), x)
