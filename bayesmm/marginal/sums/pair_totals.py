"""Sums over pairs of levels that are listed as they appear, chunk by chunk."""

from __future__ import annotations

import numpy as np

from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.rows import add_products

DENSE = 2**20  # combinations of levels up to which all of them have a place in a table
WAITING = 2**20  # pairs of chunks that wait to be put in order, at least


class PairTotals:
    """Z_f'WZ_g of the pairs of levels of two factors, or of one, that share a row.

    Parameters
    ----------
    widths : (int, int)
        Effects per level of both.
    sizes : (int, int)
        Levels of both.

    Notes
    -----
    Where each level of the first factor has been seen with one level of the second, its place is that of the first;
    where there are few combinations, each has a place in a table; else chunks wait until they are as many pairs as are
    known, and are then put in order together, so that each pair is sorted a few times only.
    """

    def __init__(self, widths: tuple[int, int], sizes: tuple[int, int]) -> None:
        self.widths, self.sizes = widths, sizes
        self._parent: np.ndarray | None = np.full(sizes[0], -1, np.int64)
        self._table: np.ndarray | None = None
        self._present = np.zeros(0, bool)
        self._by_first = np.zeros((*widths, sizes[0]))
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, first: np.ndarray, second: np.ndarray, left: Float[Array, "k n"], right: Float[Array, "l n"]) -> None:
        """Add rows that have these levels (n,), and columns."""
        if self._parent is not None:
            parent = self._parent.copy()
            parent[first] = second
            known = self._parent >= 0
            if (parent[first] == second).all() and (parent[known] == self._parent[known]).all():
                self._parent = parent
                add_products(self._by_first, left, right, first)
                return
            self._leave_nesting()
        keys = first.astype(np.int64) * self.sizes[1] + second
        if self._table is not None:
            self._present[keys] = True
            add_products(self._table, left, right, keys)
            return
        found, position = np.unique(keys, return_inverse=True)
        sums = np.zeros((*self.widths, len(found)))
        add_products(sums, left, right, position.reshape(-1))
        self._wait(found, sums)

    def add_pairs(self, keys: np.ndarray, sums: Float[Array, "k l P"]) -> None:
        """Add sums of pairs (P,), by ``first * sizes[1] + second``."""
        if self._parent is not None:
            self._leave_nesting()
        if self._table is not None:
            self._present[keys] = True
            self._table[:, :, keys] += sums
        else:
            self._wait(keys, sums)

    def read(self) -> tuple[np.ndarray, Float[Array, "k l P"]]:
        """Return the sorted keys (P,) of all pairs, and their sums."""
        if self._parent is not None:
            seen = np.flatnonzero(self._parent >= 0)
            return seen * self.sizes[1] + self._parent[seen], self._by_first[:, :, seen]
        if self._table is not None:
            keys = np.flatnonzero(self._present)
            return keys, self._table[:, :, keys]
        self._put_in_order()
        return self._parts[0]

    def _leave_nesting(self) -> None:
        keys, sums = self.read()
        self._parent, self._by_first = None, np.zeros(0)
        if self.sizes[0] * self.sizes[1] <= DENSE:
            self._present = np.zeros(self.sizes[0] * self.sizes[1], bool)
            self._table = np.zeros((*self.widths, len(self._present)))
        self.add_pairs(keys, sums)

    def _wait(self, keys: np.ndarray, sums: np.ndarray) -> None:
        self._parts.append((keys, sums))
        if sum(len(part[0]) for part in self._parts[1:]) > max(len(self._parts[0][0]), WAITING):
            self._put_in_order()

    def _put_in_order(self) -> None:
        if not self._parts:
            self._parts = [(np.zeros(0, np.int64), np.zeros((*self.widths, 0)))]
        if len(self._parts) > 1:
            keys, position = np.unique(np.concatenate([keys for keys, _ in self._parts]), return_inverse=True)
            total = np.zeros((*self.widths, len(keys)))
            parts = np.concatenate([sums for _, sums in self._parts], axis=2)
            for i, j in np.ndindex(*self.widths):
                total[i, j] = np.bincount(position.reshape(-1), weights=parts[i, j], minlength=len(keys))
            self._parts = [(keys, total)]
