"""Which levels of a grouping factor each row belongs to, and what their effects are multiplied by there.

Usually a row has one level. Of several, as in multi-membership and between senders and receivers, each is a membership
with codes and columns of its own, and row i of Zb is the sum over memberships m of columns[m][i] · b[codes[m][i]]. All
that depends on it goes through `Incidence`, so that nothing else counts on one level a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np


def find_parents(inner: np.ndarray, outer: np.ndarray, n_inner: int, *, without_rows: int = 0) -> np.ndarray | None:
    """Outer level of each inner one, where each has one.

    Parameters
    ----------
    inner, outer : arrays of int, shape (n,)
        Levels of each row.
    n_inner : int
        Number of inner levels.
    without_rows : int
        The parent of levels that no row has.

    Returns
    -------
    array of int, shape (n_inner,), or None
        None if the rows of an inner level differ in their outer one: it is not nested.
    """
    parents = np.full(n_inner, without_rows, outer.dtype)
    parents[inner] = outer
    return parents if (parents[inner] == outer).all() else None


def order_rows(codes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Order rows by group, and by position within it: `np.lexsort`, in a fifth of the time."""
    order = np.argsort(positions)
    own = codes.take(order)
    if own.max(initial=0) <= np.iinfo(np.uint16).max:
        own = own.astype(np.uint16)  # NumPy sorts these digit by digit
    return order.take(np.argsort(own, kind="stable"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Membership:
    """One level of each row.

    Attributes
    ----------
    codes : array of int64, shape (n,)
        Index of the level; −1, in rows to be predicted, for one that has no effects.
    columns : array, shape (n, k)
        What each of its effects is multiplied by.
    """

    codes: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Incidence:
    """All levels of each row.

    Attributes
    ----------
    memberships : tuple of Membership
        One or several.
    n_levels : int
        Number of levels (q).
    """

    memberships: tuple[Membership, ...]
    n_levels: int

    @classmethod
    def single(cls, codes: np.ndarray, columns: np.ndarray, n_levels: int) -> Incidence:
        """One level a row."""
        return cls(memberships=(Membership(codes=codes, columns=columns),), n_levels=n_levels)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.memberships[0].codes)

    @property
    def k(self) -> int:
        """Number of effects per level."""
        return self.memberships[0].columns.shape[1]

    @property
    def is_single(self) -> bool:
        """Whether each row has one level."""
        return len(self.memberships) == 1

    @property
    def only(self) -> Membership:
        """The membership of a factor that has one level a row."""
        (membership,) = self.memberships
        return membership

    @cached_property
    def total(self) -> np.ndarray:
        """What each effect would be multiplied by if all levels of a row had the same effects, (n, k)."""
        first, *others = (membership.columns for membership in self.memberships)
        return sum(others, first)

    @property
    def ordered(self) -> Incidence:
        """The same with the levels of each row ascending, those that it has twice added up.

        Of a level that a row has twice, only the first membership has columns that are not zero there. A membership
        that adds nothing anywhere is left out.
        """
        return self if self.is_single else self._in_order  # one that held itself would be freed late

    @cached_property
    def _in_order(self) -> Incidence:
        codes = np.stack([membership.codes for membership in self.memberships])  # (m, n)
        columns = np.stack([membership.columns for membership in self.memberships])  # (m, n, k)
        order = np.argsort(codes, axis=0, kind="stable")
        codes = np.take_along_axis(codes, order, axis=0)
        columns = np.take_along_axis(columns, order[:, :, None], axis=0)
        for later in range(len(codes) - 1, 0, -1):
            twice = codes[later] == codes[later - 1]
            columns[later - 1, twice] += columns[later, twice]
            columns[later, twice] = 0.0
        kept = [0, *(m for m in range(1, len(codes)) if (codes[m] != codes[m - 1]).any())]
        return Incidence(
            memberships=tuple(Membership(codes=codes[m], columns=columns[m]) for m in kept), n_levels=self.n_levels
        )

    @property
    def touches_itself(self) -> bool:
        """Whether some row has two levels of this factor."""
        return len(self.ordered.memberships) > 1

    def stacked(self) -> Membership:
        """Memberships one after the other, as if each were rows of its own."""
        if len(self.memberships) == 1:
            return self.memberships[0]
        return Membership(
            codes=np.concatenate([membership.codes for membership in self.memberships]),
            columns=np.concatenate([membership.columns for membership in self.memberships]),
        )

    def repeat(self, values: np.ndarray) -> np.ndarray:
        """Repeat values of the rows (n, ...) for each membership, as `stacked` lays them out."""
        m = len(self.memberships)
        return values if m == 1 else np.concatenate([values] * m)

    def sum_by_level(self, evaluate: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Sum what `evaluate` makes of each membership's columns (n, k), one number a row, over the rows of each level.

        Levels that a row has twice count as `ordered` has them.
        """
        total = np.zeros(self.n_levels)
        for each in self.ordered.memberships:
            total += np.bincount(each.codes, weights=evaluate(each.columns), minlength=self.n_levels)
        return total

    def of_effects(self, kept: list[int]) -> Incidence:
        """Return the same with some of the columns."""
        return self.map(lambda codes: codes, lambda columns: columns[:, kept])

    def times(self, T: np.ndarray) -> Incidence:
        """Return the same with columns ZT."""
        return self.map(lambda codes: codes, lambda columns: columns @ T)

    def rows(self, part: Any) -> Incidence:
        """Take some of the rows."""
        return self.map(lambda codes: codes[part], lambda columns: columns[part])

    def map(
        self,
        codes: Callable[[np.ndarray], np.ndarray],
        columns: Callable[[np.ndarray], np.ndarray] = lambda columns: columns,
    ) -> Incidence:
        """Return the same with other codes and columns."""
        return Incidence(
            memberships=tuple(Membership(codes=codes(m.codes), columns=columns(m.columns)) for m in self.memberships),
            n_levels=self.n_levels,
        )

    def members(self) -> list[np.ndarray]:
        """Rows of each level, ascending; a row with several levels is among those of each."""
        stacked, n = self.ordered.stacked().codes, self.n
        order = np.argsort(stacked, kind="stable")
        found = np.split(order, np.cumsum(np.bincount(stacked, minlength=self.n_levels))[:-1])
        return found if len(stacked) == n else [np.unique(rows % n) for rows in found]

    def n_reached(self) -> np.ndarray:
        """Count the levels of each effect (k,) whose column is not zero in all their rows."""
        rows = [self.sum_by_level(lambda Z, j=j: (Z[:, j] != 0).astype(float)) for j in range(self.k)]
        return np.array([int((own > 0).sum()) for own in rows])

    def levels_present(self) -> np.ndarray:
        """Levels that some row has, ascending."""
        codes = self.stacked().codes
        return np.unique(codes[codes >= 0])

    def row_counts(self) -> np.ndarray:
        """Count the rows of each level (q,) in which one of its columns is not zero."""
        total = np.zeros(self.n_levels, dtype=np.int64)
        for m in self.memberships:
            total += np.bincount(m.codes[(m.codes >= 0) & m.columns.any(axis=1)], minlength=self.n_levels)
        return total

    def add_to(self, total: np.ndarray, effects: np.ndarray) -> None:
        """Add Zb of effects (..., q, k) to a predictor (..., n); a code of −1 adds nothing, or NaN as its column."""
        for membership in self.memberships:
            codes, columns = membership.codes, membership.columns
            known = np.where(codes[:, None] >= 0, columns, np.where(np.isnan(columns), np.nan, 0.0))
            for j in range(known.shape[1]):
                total += known[:, j] * np.take(effects[..., j], codes, axis=-1)

    def equals(self, other: Incidence) -> bool:
        """Whether both have the same levels and columns, row by row."""
        return len(self.memberships) == len(other.memberships) and all(
            np.array_equal(one.codes, two.codes) and np.array_equal(one.columns, two.columns)
            for one, two in zip(self.memberships, other.memberships, strict=True)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class DistantIncidence(Incidence):
    """Levels of rows that are not in memory: what is known of them without looking at a row.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    width : int
        Number of effects per level.
    touches : bool
        Whether some row has two levels.
    present : array of int
        Levels that some row has, ascending.
    counts : array of int, shape (q,)
        Rows of each level in which one of its columns is not zero.
    reached : array of int, shape (k,)
        Levels of each effect whose column is not zero in all their rows.
    """

    n_rows: int
    width: int
    touches: bool
    present: np.ndarray
    counts: np.ndarray
    reached: np.ndarray

    def levels_present(self) -> np.ndarray:
        """Levels that some row has, ascending."""
        return self.present

    def row_counts(self) -> np.ndarray:
        """Count the rows of each level (q,) in which one of its columns is not zero."""
        return self.counts

    def n_reached(self) -> np.ndarray:
        """Count the levels of each effect (k,) whose column is not zero in all their rows."""
        return self.reached

    def of_effects(self, kept: list[int]) -> Incidence:
        """Return the same with some of the columns."""
        return replace(self, width=len(kept), reached=self.reached[kept])

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.n_rows

    @property
    def k(self) -> int:
        """Number of effects per level."""
        return self.width

    @property
    def touches_itself(self) -> bool:
        """Whether some row has two levels of this factor."""
        return self.touches
