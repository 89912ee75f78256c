"""The distinct values of a column, or combinations of several, numbered as they appear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayesmm.rows.values import Values

WIDEST = 2**26  # distance of whole numbers up to which a table of them is kept: 256 MiB
FREE = 2**16  # distance that is always allowed


class Dictionary:
    """Distinct values of one column; `learn` numbers new ones, `find` gives −1 for them."""

    def __init__(self) -> None:
        self._texts: dict[Any, int] = {}
        self._numbers = pd.Index(np.zeros(0))
        self._table, self._low = np.zeros(0, np.int32), 0
        self._count = 0
        self._is_spread = False

    def __len__(self) -> int:
        return self._count

    def learn(self, values: Values | np.ndarray) -> np.ndarray:
        """Give numbers to values (n,), those that were not there in order of their size after the others."""
        return self._codes(values, grow=True)

    def find(self, values: Values | np.ndarray) -> np.ndarray:
        """Return the numbers of values (n,)."""
        return self._codes(values, grow=False)

    def _codes(self, values: Values | np.ndarray, *, grow: bool) -> np.ndarray:
        if isinstance(values, Values) and values.has_categories:
            return self._of_categories(values, grow=grow)
        data = values.data if isinstance(values, Values) else values
        if data.dtype.kind == "b":
            data = data.astype(np.float64)
        if not len(data):
            return np.zeros(0, np.int64)
        return self._of_numbers(data, grow=grow)

    def _of_categories(self, values: Values, *, grow: bool) -> np.ndarray:
        place = np.full(len(values.categories) + 1, -1, np.int64)
        occurs = np.zeros(len(place), bool)
        occurs[values.data] = True  # the last of a missing value
        for code in np.flatnonzero(occurs[:-1]).tolist():
            text = values.categories[code]
            if grow and text not in self._texts:
                self._texts[text] = self._count
                self._count += 1
            place[code] = self._texts.get(text, -1)
        return place[values.data]

    def _of_numbers(self, data: np.ndarray, *, grow: bool) -> np.ndarray:
        codes = self._look_up(data)
        unknown = codes < 0
        if not grow or not unknown.any():
            return codes
        is_all = bool(unknown.all())
        unseen = data if is_all else data[unknown]
        self._add(_distinct(unseen))
        if is_all:
            return self._look_up(data)
        codes[unknown] = self._look_up(unseen)
        return codes

    def _look_up(self, data: np.ndarray) -> np.ndarray:
        if not self._count:
            return np.full(len(data), -1, np.int64)
        if self._is_spread or not len(self._table):
            return np.asarray(self._numbers.get_indexer(pd.Index(data)), dtype=np.int64)
        least, most = data.min(), data.max()
        if data.dtype.kind != "f" and least >= self._low and most < self._low + len(self._table):
            return self._table.take(data - self._low if self._low else data).astype(np.int64)
        offset = data - self._low if data.dtype.kind == "f" else data.astype(np.int64) - self._low
        place = np.clip(offset, 0, len(self._table) - 1).astype(np.int64)
        codes = self._table[place].astype(np.int64)
        codes[place != offset] = -1
        return codes

    def _add(self, fresh: np.ndarray) -> None:
        known = self._numbers.to_numpy()
        numbers = np.concatenate([known.astype(fresh.dtype) if not len(known) else known, fresh])
        self._numbers = pd.Index(numbers)
        self._count = len(numbers)
        if self._is_spread:
            return
        low, high = numbers.min(), numbers.max()
        are_whole = np.isfinite(low) and np.isfinite(high) and abs(float(low)) < 2**53 and abs(float(high)) < 2**53
        width = float(high) - float(low) + 1 if are_whole else np.inf
        if width > min(WIDEST, 16 * len(numbers) + FREE) or (fresh != np.floor(fresh)).any():
            self._is_spread, self._table = True, np.zeros(0, np.int32)
            return
        self._low = int(low)
        self._table = np.full(int(width), -1, np.int32)
        self._table[(numbers - self._low).astype(np.int64)] = np.arange(len(numbers), dtype=np.int32)


def _distinct(data: np.ndarray) -> np.ndarray:
    """Distinct numbers (m,) in order; whole ones that lie close together are ticked off, without sorting them."""
    if data.dtype.kind in "iu":
        low, width = data.min(), int(data.max()) - int(data.min()) + 1
        if width <= FREE + len(data):
            occurs = np.zeros(width, bool)
            occurs[data - low] = True
            return np.flatnonzero(occurs).astype(data.dtype) + low
    return np.unique(data)


class Combinations:
    """Distinct combinations of several columns, likewise; of one column, its values."""

    def __init__(self, n_columns: int) -> None:
        self.parts = [Dictionary() for _ in range(n_columns)]
        self._joined = [Dictionary() for _ in range(n_columns - 1)]

    def __len__(self) -> int:
        return len(self._joined[-1] if self._joined else self.parts[0])

    def learn(self, columns: list[Values]) -> np.ndarray:
        """Give numbers to combinations (n,), new ones after the others."""
        return self._codes(columns, "learn")

    def find(self, columns: list[Values]) -> np.ndarray:
        """Return the numbers of combinations (n,), −1 for new ones."""
        return self._codes(columns, "find")

    def _codes(self, columns: list[Values], how: str) -> np.ndarray:
        first, *others = [getattr(part, how)(values) for part, values in zip(self.parts, columns, strict=True)]
        for joined, codes in zip(self._joined, others, strict=True):
            unknown = (first < 0) | (codes < 0)
            first = getattr(joined, how)(first * 2**31 + codes)
            first[unknown] = -1
        return first


def first_rows(codes: np.ndarray, known: int) -> np.ndarray:
    """First row (m,) of each number that is not below `known`."""
    fresh = np.flatnonzero(codes >= known)
    if not len(fresh):
        return fresh
    own = codes[fresh] - known
    first = np.full(int(own.max()) + 1, -1)
    first[own[::-1]] = fresh[::-1]  # of several rows the last that is written stays
    return first[first >= 0]
