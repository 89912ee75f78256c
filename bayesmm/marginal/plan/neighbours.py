"""Lists of neighbours of the levels that are eliminated, and all pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesmm.incidence import find_parents


@dataclass(frozen=True)
class Neighbours:
    """The neighbours in one factor of each level being eliminated.

    Attributes
    ----------
    position : array, shape (P,)
        Into the pair list, sorted by eliminated level.
    start : array, shape (q + 1,)
        Where the neighbours of each eliminated level start.
    level : array, shape (P,)
        Neighbour level, by position in the pair list.
    """

    position: np.ndarray
    start: np.ndarray
    level: np.ndarray

    @cached_property
    def degree(self) -> np.ndarray:
        """Neighbours of each eliminated level (q,)."""
        return np.diff(self.start)

    @cached_property
    def sorted_level(self) -> np.ndarray:
        """Neighbour levels, sorted by eliminated level."""
        return self.level[self.position]


def list_incidence(own: np.ndarray, other: np.ndarray, n_own: int) -> Neighbours:
    """List neighbours by eliminated level.

    Parameters
    ----------
    own, other : arrays, shape (P,)
        Eliminated level and its neighbour, along a pair list.
    n_own : int
        Number of levels that are eliminated.
    """
    is_sorted = bool((own[1:] >= own[:-1]).all())
    position = np.arange(len(own)) if is_sorted else np.argsort(own, kind="stable")
    start = np.zeros(n_own + 1, np.int64)
    np.cumsum(np.bincount(own, minlength=n_own), out=start[1:])
    return Neighbours(position, start, other)


def count_pairs(sides: Sequence[Neighbours]) -> int:
    """Count the pairs of neighbours of all eliminated levels together."""
    if not sides:
        return 0
    total = np.sum([side.degree for side in sides], axis=0).astype(float)
    return int((total * (total - 1.0) / 2.0).sum())


def neighbour_pairs(a: Neighbours, b: Neighbours, *, same: bool) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of a neighbour in `a` and one in `b` of the same eliminated level, as positions in two pair lists.

    Parameters
    ----------
    a, b : Neighbours
        Of the same eliminated levels.
    same : bool
        Whether both are one, and each pair is to be listed once and none with itself.

    Notes
    -----
    The partners of one neighbour are a run of consecutive ones, so that all runs are written by one `repeat`.
    """
    own = np.repeat(np.arange(len(a.degree)), a.degree)
    if same:
        first = np.arange(1, len(own) + 1)
        length = a.start[own + 1] - first
    else:
        first = b.start[own]
        length = b.degree[own]
    left = np.repeat(np.arange(len(own)), length)
    offset = first - (np.cumsum(length) - length)
    right = np.arange(len(left)) + np.repeat(offset, length)
    return a.position[left], b.position[right]


def lookup_pairs(first: np.ndarray, second: np.ndarray, n_first: int, n_second: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of levels that occur together.

    Parameters
    ----------
    first, second : arrays of int, shape (n,)
        Levels of each row.
    n_first, n_second : int
        Numbers of levels.

    Returns
    -------
    keys : array, shape (P,)
        Sorted unique values of ``first * n_second + second``.
    position : array, shape (n,)
        Which of them each row has.

    Notes
    -----
    Three ways, from the cheapest: where the first factor is nested in the second, each of its levels has one key; where
    the table of all combinations is not much larger than the data, it is marked; else the codes are sorted.
    """
    parents = find_parents(first, second, n_first)
    if parents is not None:
        return np.arange(n_first) * n_second + parents, first
    return _lookup_keys(first.astype(np.int64) * n_second + second, n_first * n_second)


def lookup_own_pairs(first: np.ndarray, second: np.ndarray, n_levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of different levels of one factor that occur together.

    Parameters
    ----------
    first, second : arrays of int, shape (n,)
        Two levels of each row, the first not above the second; where they are equal they are no pair.
    n_levels : int
        Number of levels.

    Returns
    -------
    keys : array, shape (P,)
        Sorted unique values of ``first * n_levels + second``.
    position : array, shape (n,)
        Which of them each row has; zero where it has none.
    """
    differ = first != second
    keys, found = _lookup_keys(first[differ].astype(np.int64) * n_levels + second[differ], n_levels**2)
    position = np.zeros(len(first), np.int64)
    position[differ] = found
    return keys, position


def _lookup_keys(code: np.ndarray, n_possible: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted unique codes, and which of them each one is: marked in a table unless that were much larger than they."""
    if n_possible > 8 * len(code):
        return np.unique(code, return_inverse=True)
    present = np.zeros(n_possible, bool)
    present[code] = True
    keys = np.flatnonzero(present)
    where = np.empty(len(present), np.int64)
    where[keys] = np.arange(len(keys))
    return keys, where[code]
