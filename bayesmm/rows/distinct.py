"""Distinct values of a number in rows that come chunk by chunk, and how often each occurs."""

from __future__ import annotations

import numpy as np

from bayesmm.design.columns.remembered import Occurrences
from bayesmm.errors import RowsError

MOST = 2**24  # distinct values of one number: 256 MiB with their counts, and as much again while they are put in order
WAITING = 2**20  # values that wait to be put in order, at least


class DistinctValues:
    """Distinct values with their counts, exactly.

    Those of other rows are merged in any order and grouping: the result is the same to the bit.

    Parameters
    ----------
    text : str
        What needs them, for messages.
    of : str
        What they are values of.
    """

    def __init__(self, text: str, of: str) -> None:
        self._text, self._of = text, of
        self._known = Occurrences(np.zeros(0), np.zeros(0, np.int64))
        self._waiting: list[Occurrences] = []

    def add(self, values: np.ndarray) -> None:
        """Add values (n,) of some rows."""
        self._wait(Occurrences.of(values))

    def merge(self, other: DistinctValues) -> None:
        """Add those of other rows."""
        for each in (other._known, *other._waiting):
            self._wait(each)

    def occurrences(self) -> Occurrences:
        """Return them."""
        self._put_in_order()
        return self._known

    def _wait(self, some: Occurrences) -> None:
        self._waiting.append(some)
        if sum(len(each.values) for each in self._waiting) > max(len(self._known.values), WAITING):
            self._put_in_order()

    def _put_in_order(self) -> None:
        every = [self._known, *self._waiting]
        self._waiting = []
        values = np.concatenate([each.values for each in every])
        counts = np.concatenate([each.counts for each in every])
        order = np.argsort(values, kind="stable")
        values, counts = values[order], counts[order]
        first = np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])
        if len(first) > MOST:
            raise RowsError(
                f"{self._text} depends on how all values of {self._of} lie, and there are more than {MOST:,} distinct "
                f"ones. Round them, np.round({self._of}, 3) in the place of {self._of}, or write knots and limits: "
                "bs(x, knots=k, lower_bound=0, upper_bound=1, center=False), with k in namespace."
            )
        self._known = Occurrences(values[first], np.add.reduceat(counts, first) if len(first) else counts)
