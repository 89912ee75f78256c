"""Z'WZ of all factors as sparse matrices: what is multiplied instead of a matrix that would be formed.

One factor whose levels do not touch each other comes first: it is eliminated level by level. All others are the rest,
whose effects lie end to end, one level after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.shapes import Array, Float, Int
from bayesmm.marginal.stochastic.levels import times_levels, transposed

TOGETHER = 2**22  # pairs of levels that are multiplied at a time


class Matrices(Protocol):
    """Z'WZ in parts, in NumPy or in JAX.

    N, M and T are matrices of levels, x and y columns of all effects of the rest and of the first factor.
    """

    @property
    def xp(self) -> Any:
        """The array library."""
        ...

    @property
    def layout(self) -> Arrangement:
        """Which factor is where."""
        ...

    @property
    def first(self) -> Float[Array, "q k k"]:
        """Z_i'WZ_i of the first factor."""
        ...

    @property
    def rest(self) -> list[Float[Array, "_r _l _l"]]:
        """The same of the rest, by factor."""
        ...

    def across(self, x: Float[Array, "N c"]) -> Float[Array, "F c"]:
        """From effects of the rest to the first factor."""
        ...

    def back(self, y: Float[Array, "F c"]) -> Float[Array, "N c"]:
        """From effects of the first factor to the rest."""
        ...

    def within(self, x: Float[Array, "N c"]) -> Float[Array, "N c"]:
        """Among the rest."""
        ...

    def shared_out(self, M: Float[Array, "q k k"]) -> list[Float[Array, "r l l"]]:
        """Σ A'MA over the levels of the first factor that each level of the rest shares rows with."""
        ...

    def gathered(self, T: Sequence[Float[Array, "r l l"]]) -> Float[Array, "q k k"]:
        """Σ ATA' over the levels of the rest that each level of the first factor shares rows with."""
        ...

    def schur(
        self,
        N: Float[Array, "q k k"],
        roots: Sequence[Float[Array, "r l l"]],
        own: Sequence[Float[Array, "r l l"]],
        x: Float[Array, "N c"],
    ) -> Float[Array, "N c"]:
        """Return what `schur_product` does, compiled where that helps."""
        ...


@dataclass(frozen=True)
class Arrangement:
    """Which factor is first, and where the others' effects lie.

    Attributes
    ----------
    first : int or None
        The factor that is eliminated level by level; None where the levels of every factor touch each other.
    rest : tuple of int
        The others.
    widths, sizes : tuple of int
        Effects per level and levels of every factor.
    """

    first: int | None
    rest: tuple[int, ...]
    widths: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def n_rest(self) -> int:
        """Effects of the rest (N)."""
        return sum(self.widths[f] * self.sizes[f] for f in self.rest)

    @property
    def width(self) -> int:
        """Effects per level of the first factor."""
        return 1 if self.first is None else self.widths[self.first]

    @property
    def size(self) -> int:
        """Levels of the first factor."""
        return 0 if self.first is None else self.sizes[self.first]

    @property
    def slices(self) -> list[slice]:
        """Where the effects of each of the rest lie."""
        ends = np.cumsum([0, *(self.widths[f] * self.sizes[f] for f in self.rest)])
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]

    def each(self, x: Float[Array, "N c"]) -> list[Float[Array, "_n c"]]:
        """Columns by factor of the rest."""
        return [x[part] for part in self.slices]


def arrange(pairs: Sequence[FactorPair], widths: Sequence[int], sizes: Sequence[int]) -> Arrangement:
    """Choose the factor to eliminate level by level: of those whose levels do not touch, the one with most effects."""
    touching = {f for f, g in pairs if f == g}
    free = [f for f in range(len(sizes)) if f not in touching]
    first = max(free, key=lambda f: (sizes[f] * widths[f], -f)) if free else None
    rest = tuple(f for f in range(len(sizes)) if f != first)
    return Arrangement(first, rest, tuple(widths), tuple(sizes))


def schur_product(
    m: Matrices,
    N: Float[Array, "q k k"],
    roots: Sequence[Float[Array, "r l l"]],
    own: Sequence[Float[Array, "r l l"]],
    x: Float[Array, "N c"],
) -> Float[Array, "N c"]:
    """Ax with A = R⁻¹SR⁻ᵀ, of which ΛR⁻ᵀ and R⁻¹R⁻ᵀ of every level are given."""
    xp, each = m.xp, m.layout.each
    b = xp.concatenate([times_levels(B, part) for B, part in zip(roots, each(x), strict=True)])
    core = m.within(b) - m.back(times_levels(N, m.across(b)))
    return xp.concatenate(
        [
            times_levels(each_own, part) + times_levels(transposed(B), through)
            for each_own, B, part, through in zip(own, roots, each(x), each(core), strict=True)
        ]
    )


@dataclass(frozen=True)
class PairList:
    """Pairs of a level of the first factor with levels of one of the rest.

    Attributes
    ----------
    blocks : array, shape (k, l, P)
        Z_i'WZ_j.
    own, other : arrays, shape (P,)
        Levels of the first factor and of the other.
    """

    blocks: Float[Array, "k l P"]
    own: Int[Array, " P"]
    other: Int[Array, " P"]


@dataclass(frozen=True)
class Split:
    """Z'WZ by what each part is for.

    Attributes
    ----------
    layout : Arrangement
        Which factor is where.
    first, rest : array, list of arrays
        As `Matrices` has them.
    lists : dict of int to PairList
        Pairs with the first factor, by position among the rest.
    inner : list of (int, int, PairList)
        Pairs among the rest.
    """

    layout: Arrangement
    first: Float[Array, "q k k"]
    rest: list[Float[Array, "_r _l _l"]]
    lists: dict[int, PairList]
    inner: list[tuple[int, int, PairList]]


def split_pairs(
    names: Sequence[FactorPair],
    diagonal: Sequence[Float[Array, "_k _k _q"]],
    pairs: Sequence[Float[Array, "_k _l _P"]],
    rows: Sequence[Int[Array, " _P"]],
    columns: Sequence[Int[Array, " _P"]],
) -> Split:
    """Tell pairs with the first factor from those among the rest.

    Parameters
    ----------
    names : sequence of (int, int)
        Factors of each list of pairs.
    diagonal, pairs, rows, columns : sequences of arrays
        As `bayesmm.marginal.sums.crossproducts.CrossProducts` and its index have them.
    """
    layout = arrange(names, [len(G) for G in diagonal], [G.shape[2] for G in diagonal])
    by_level = [np.ascontiguousarray(np.moveaxis(G, 2, 0)) for G in diagonal]
    first, place = layout.first, {f: i for i, f in enumerate(layout.rest)}
    lists: dict[int, PairList] = {}
    inner: list[tuple[int, int, PairList]] = []
    for (f, g), B, own, other in zip(names, pairs, rows, columns, strict=True):
        if first == f:
            lists[place[g]] = PairList(B, own, other)
        elif first == g:
            lists[place[f]] = PairList(B.swapaxes(0, 1), other, own)
        else:
            inner.append((place[f], place[g], PairList(B, own, other)))
    alone = np.zeros((0, 1, 1)) if first is None else by_level[first]
    return Split(layout, alone, [by_level[f] for f in layout.rest], lists, inner)


class HostMatrices:
    """`Matrices` in NumPy, with SciPy's sparse products.

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
        diagonal: Sequence[Float[Array, "k k q"]],
        pairs: Sequence[Float[Array, "k l P"]],
        rows: Sequence[Int[Array, " P"]],
        columns: Sequence[Int[Array, " P"]],
    ) -> None:
        split = split_pairs(names, diagonal, pairs, rows, columns)
        self.layout, self.first, self.rest, self.lists = split.layout, split.first, split.rest, split.lists
        self._across, self._back = self._edges()
        self._within = self._inner(split.inner)

    @property
    def xp(self) -> Any:
        """The array library."""
        return np

    def _edges(self) -> tuple[Any, Any]:
        layout = self.layout
        shape = (layout.width * layout.size, layout.n_rest)
        entries = [
            self._entries(one.blocks, one.own, one.other, 0, layout.slices[i].start) for i, one in self.lists.items()
        ]
        return _sparse(entries, shape), _sparse([(v, c, r) for v, r, c in entries], (shape[1], shape[0]))

    def _inner(self, inner: Sequence[tuple[int, int, PairList]]) -> Any:
        layout, entries = self.layout, []
        starts = [part.start for part in layout.slices]
        for start, G in zip(starts, self.rest, strict=True):
            levels = np.arange(len(G))
            entries.append(self._entries(np.moveaxis(G, 0, 2), levels, levels, start, start))
        for i, j, one in inner:
            v, r, c = self._entries(one.blocks, one.own, one.other, starts[i], starts[j])
            entries += [(v, r, c), (v, c, r)]
        return _sparse(entries, (layout.n_rest, layout.n_rest))

    @staticmethod
    def _entries(
        B: Float[Array, "k l P"], own: np.ndarray, other: np.ndarray, row: int, column: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        k, width, _ = B.shape
        rows = (row + own * k)[None] + np.arange(k)[:, None]
        columns = (column + other * width)[None] + np.arange(width)[:, None]
        rows, columns = np.broadcast_arrays(rows[:, None], columns[None])
        return B.reshape(-1), rows.reshape(-1).astype(np.int32), columns.reshape(-1).astype(np.int32)

    def across(self, x: Float[Array, "N c"]) -> Float[Array, "F c"]:
        """From effects of the rest to the first factor."""
        return self._across @ x

    def back(self, y: Float[Array, "F c"]) -> Float[Array, "N c"]:
        """From effects of the first factor to the rest."""
        return self._back @ y

    def within(self, x: Float[Array, "N c"]) -> Float[Array, "N c"]:
        """Among the rest."""
        return self._within @ x

    def shared_out(self, M: Float[Array, "q k k"]) -> list[Float[Array, "r l l"]]:
        """Σ A'MA over the levels of the first factor that each level of the rest shares rows with."""
        last, found = np.moveaxis(M, 0, 2), []
        for i, G in enumerate(self.rest):
            total = np.zeros((*G.shape[1:], len(G)))
            if i in self.lists:
                for A, own, other in _some(self.lists[i]):
                    total = host.add_levels(total, other, contract(A, contract(last[:, :, own].swapaxes(0, 1), A)))
            found.append(np.moveaxis(total, 2, 0))
        return found

    def gathered(self, T: Sequence[Float[Array, "r l l"]]) -> Float[Array, "q k k"]:
        """Σ ATA' over the levels of the rest that each level of the first factor shares rows with."""
        total = np.zeros((*self.first.shape[1:], len(self.first)))
        for i, each in enumerate(T):
            last = np.moveaxis(each, 0, 2)
            if i in self.lists:
                for A, own, other in _some(self.lists[i]):
                    turned = A.swapaxes(0, 1)
                    total = host.add_levels(
                        total, own, contract(turned, contract(last[:, :, other].swapaxes(0, 1), turned))
                    )
        return np.moveaxis(total, 2, 0)

    def schur(
        self,
        N: Float[Array, "q k k"],
        roots: Sequence[Float[Array, "r l l"]],
        own: Sequence[Float[Array, "r l l"]],
        x: Float[Array, "N c"],
    ) -> Float[Array, "N c"]:
        """Return what `schur_product` does."""
        return schur_product(self, N, roots, own, x)


def _some(pairs: PairList) -> Any:
    """Pairs of levels some at a time, so that what is made of them stays small."""
    for start in range(0, len(pairs.own), TOGETHER):
        part = slice(start, start + TOGETHER)
        yield pairs.blocks[:, :, part], pairs.own[part], pairs.other[part]


def _sparse(entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]], shape: tuple[int, int]) -> Any:
    from scipy import sparse  # not needed by most fits, and 50 ms to import

    if not entries:
        return sparse.csr_array(shape)
    values, rows, columns = (
        np.concatenate(each) if len(entries) > 1 else each[0] for each in zip(*entries, strict=True)
    )
    return sparse.csr_array((values, (rows, columns)), shape=shape)
