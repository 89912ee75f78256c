"""Categories of one column as parts of the rows have them, in an order that keeps those of all parts."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from bayesmm.console import listing
from bayesmm.errors import RowsError


class Order:
    """What comes before what; categories between which no part decides are sorted, whichever part came first.

    Parameters
    ----------
    name : str
        The column, for error messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._first: tuple[Any, ...] = ()  # as long as there is one order, it says all
        self._place = ""  # where it was seen
        self._after: dict[Any, dict[Any, str]] = {}  # else what comes next to a category somewhere, and where
        self._last: tuple[Any, ...] | None = None

    def learn(self, values: Sequence[Any], place: str) -> None:
        """Take in the categories of a part.

        Raises
        ------
        RowsError
            If they contradict what is known.
        """
        own = tuple(value for value in values if value is not None)
        if not self._after and own[: len(self._first)] == self._first:
            self._first, self._place, self._last = own, place, own
        if own in (self._first, self._last):
            return
        before = self.listed()
        self._link(self._first, self._place)
        self._link(own, place)
        self._check(before, own, place)
        self._last = own

    def merge(self, other: Order) -> None:
        """Take in what is known of other parts; errors as of `learn`."""
        if not other._after:
            self.learn(other._first, other._place)
            return
        before = self.listed()
        self._link(self._first, self._place)
        for one, after in other._after.items():
            self._link([one], "")
            for two, place in after.items():
                self._link([one, two], place)
        self._check(before, other.listed(), other._place)

    def _link(self, values: Sequence[Any], place: str) -> None:
        for value in values:
            self._after.setdefault(value, {})
        for one, other in itertools.pairwise(values):
            self._after[one].setdefault(other, place)

    def _check(self, before: Sequence[Any], own: Sequence[Any], place: str) -> None:
        if len(self.listed()) == len(self._after):
            return
        place_of = {value: i for i, value in enumerate(own)}  # where the contradiction was met, of what is known
        others = (
            where
            for one, after in self._after.items()
            for two, where in after.items()
            if place_of.get(one, -1) > place_of.get(two, len(own)) and where != place
        )
        raise RowsError(
            f"The categories of column {self._name!r} are in another order in {place} than in "
            f"{next(others, self._place)}: {listing(own, 6)} after {listing(before, 6)}. Write the same categories in "
            "all parts, or the column as texts, which are sorted."
        )

    def listed(self) -> list[Any]:
        """Return the categories in order; those of a contradiction are left out."""
        if not self._after:
            return list(self._first)
        waits = dict.fromkeys(self._after, 0)
        for after in self._after.values():
            for value in after:
                waits[value] += 1
        ready = _Sorted(value for value, count in waits.items() if not count)
        found = []
        while ready:
            found.append(value := ready.pop())
            for other in self._after[value]:
                waits[other] -= 1
                if not waits[other]:
                    ready.push(other)
        return found


class _Sorted:
    """Values of any types, the least first: numbers by size, others by their texts."""

    def __init__(self, values: Iterable[Any]) -> None:
        self._heap: list[tuple[bool, float, str, int, Any]] = []
        for value in values:
            self.push(value)

    def __bool__(self) -> bool:
        return bool(self._heap)

    def push(self, value: Any) -> None:
        is_number = isinstance(value, (int, float))
        heapq.heappush(self._heap, (not is_number, float(value) if is_number else 0.0, str(value), id(value), value))

    def pop(self) -> Any:
        return heapq.heappop(self._heap)[-1]
