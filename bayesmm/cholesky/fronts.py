"""Fronts: what of a sparse Cholesky factorisation depends on the pattern alone.

Rows are eliminated in an order of little fill (minimum degree). Those with the same rows below them are one *front*: a
dense matrix of its own rows J and the rows R that it reaches, all later. What a front leaves is added to the front of
its parent, in whose rows all of R lie (the multifrontal method). Fronts of one shape that do not wait for each other
are one batch, so that a pedigree of fifty thousand animals is some hundred calls of NumPy.

References
----------
Duff & Reid (1983), ACM Trans. Math. Softw. 9. Liu (1990), SIAM J. Matrix Anal. Appl. 11; (1992), SIAM Review 34.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bayesmm.errors import DesignError
from bayesmm.limits import NUMBERS

WASTED = 0.3  # zeros for each entry that a front may take over with its child
ONE_BY_ONE = 24  # rows of a front, from which on one alone in its batch is added by row and column


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Fronts of one shape that are factored together, in the order of the arrays.

    Attributes
    ----------
    start : int
        Where the first one begins among the numbers of all fronts; each has (j + r)² of them.
    own, reached : arrays of int, shapes (n, j), (n, r)
        Rows J that each eliminates, and rows R that these reach, as the matrix numbers them.
    parent_start, parent_size : arrays of int, shape (n,)
        Where the parent's numbers begin, and how many rows it has.
    places : array of int, shape (n, r)
        Which rows of the parent R are.
    """

    start: int
    own: np.ndarray
    reached: np.ndarray
    parent_start: np.ndarray
    parent_size: np.ndarray
    places: np.ndarray

    @property
    def n(self) -> int:
        """Number of fronts."""
        return len(self.own)

    @property
    def j(self) -> int:
        """Rows that each eliminates."""
        return self.own.shape[1]

    @property
    def size(self) -> int:
        """Rows of each front."""
        return self.own.shape[1] + self.reached.shape[1]

    def view(self, numbers: np.ndarray) -> np.ndarray:
        """Return the fronts (n, j + r, j + r) among the numbers of all."""
        return numbers[self.start : self.start + self.n * self.size**2].reshape(self.n, self.size, self.size)

    def parent(self, numbers: np.ndarray) -> np.ndarray:
        """Return the parent's front of the only one."""
        start, size = int(self.parent_start[0]), int(self.parent_size[0])
        return numbers[start : start + size**2].reshape(size, size)

    @property
    def is_alone(self) -> bool:
        """Whether it is one large front, that is added to its parent by rows and columns."""
        return self.n == 1 and self.size >= ONE_BY_ONE

    @cached_property
    def targets(self) -> np.ndarray:
        """Where the parents have R by R, among the numbers of all fronts: (n r r,)."""
        rows = self.parent_start[:, None] + self.places * self.parent_size[:, None]
        return (rows[:, :, None] + self.places[:, None, :]).reshape(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fronts:
    """All fronts of a pattern.

    Attributes
    ----------
    batches : tuple of Batch
        In the order of elimination.
    rank : array of int, shape (N,)
        When each row is eliminated.
    starts, sizes : arrays of int, shape (m,)
        Where the numbers of each front begin, and its rows.
    front : array of int, shape (N,)
        In which front each row is eliminated, by rank.
    keys : array of int
        Front times N plus rank, of all rows of all fronts, ascending.
    first : array of int, shape (m,)
        Where each front begins among the keys.
    n_numbers : int
        Of all fronts together.
    """

    batches: tuple[Batch, ...]
    rank: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    front: np.ndarray
    keys: np.ndarray
    first: np.ndarray
    n_numbers: int

    @property
    def n(self) -> int:
        """Rows of the matrix."""
        return len(self.rank)

    @property
    def n_entries(self) -> int:
        """Entries of the Cholesky factor, zeros inside of fronts included."""
        return sum(
            batch.n * (batch.j * (batch.j + 1) // 2 + batch.j * (batch.size - batch.j)) for batch in self.batches
        )

    def positions(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Where entries of the matrix lie among the numbers of all fronts; they must be in the pattern."""
        first, second = self.rank[rows], self.rank[columns]
        low, high = np.minimum(first, second), np.maximum(first, second)
        front = self.front[low]
        across, down = (self._place(front, each) for each in (low, high))
        return self.starts[front] + down * self.sizes[front] + across

    def _place(self, front: np.ndarray, rank: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.keys, front * self.n + rank) - self.first[front]


def lay_out_fronts(n: int, rows: np.ndarray, columns: np.ndarray) -> Fronts:
    """Order the rows of a symmetric matrix, and lay out the fronts of its Cholesky factor.

    Parameters
    ----------
    n : int
        Rows of the matrix.
    rows, columns : arrays of int
        Entries that are not zero, each on one side of the diagonal at least; the diagonal is taken for granted.

    Raises
    ------
    DesignError
        If the fronts would not fit into memory.
    """
    rank = _order(n, rows, columns)
    first, second = rank[rows], rank[columns]
    low, high = np.minimum(first, second), np.maximum(first, second)
    off = low < high
    own, reached, parents = _merge(*_find_fronts(n, low[off], high[off]))
    return _batch(rank, own, reached, parents)


def _order(n: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """When each row is eliminated, by minimum degree: SuperLU's ordering, from a factorisation that keeps nothing."""
    from scipy import sparse  # where a relation is sparse
    from scipy.sparse.linalg import spilu

    pattern: Any = sparse.csc_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    pattern = pattern + pattern.T
    pattern.data[:] = -1.0
    degree = np.asarray(np.abs(pattern).sum(axis=0)).ravel()
    matrix = (pattern + sparse.diags_array(degree + 2.0)).tocsc()
    options = {"SymmetricMode": True}
    ordered = spilu(
        matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, drop_tol=1.0, fill_factor=1.0, options=options
    )
    return np.asarray(ordered.perm_c).astype(np.int64)


def _find_fronts(n: int, low: np.ndarray, high: np.ndarray) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Rows of each front that it eliminates and that it reaches, by rank, and its parent (−1: none).

    Row i reaches what the matrix has below it and what its children reach, i itself excepted; its parent is the first
    of these. Where a child reaches i and what i reaches, both are in one front.
    """
    order = np.argsort(low, kind="stable")
    ends = np.searchsorted(low[order], np.arange(n + 1)).tolist()
    below = high[order].tolist()
    children: list[list[int]] = [[] for _ in range(n)]  # fronts whose parent row is i
    own: list[list[int]] = []
    reached: list[Any] = []
    parents: list[int] = []
    for i in range(n):
        mine, waiting = set(below[ends[i] : ends[i + 1]]), children[i]
        for child in waiting:
            mine |= reached[child]
        mine.discard(i)
        front = next((child for child in waiting if len(reached[child]) == len(mine) + 1), -1)
        if front < 0:
            front = len(own)
            own.append([])
            reached.append(mine)
            parents.append(-1)
        own[front].append(i)
        for child in waiting:
            parents[child] = front if child != front else -1
            if child != front:
                reached[child] = sorted(reached[child])
        reached[front] = mine
        children[i] = []
        if mine:
            children[min(mine)].append(front)
    return own, [sorted(each) for each in reached], parents


def _merge(
    own: list[list[int]], reached: list[list[int]], parents: list[int]
) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Take fronts into their parents where both together have fewer numbers so; what comes out is in order."""
    into = list(range(len(own)))
    by_end = sorted(into, key=lambda front: own[front][-1])
    for child in by_end:
        parent = parents[child]
        if parent < 0:
            continue
        j, size = len(own[child]), len(own[parent]) + len(reached[parent])
        r, above = len(reached[child]), len(own[parent])
        is_small = (j + size) ** 2 < (j + r) ** 2 + size**2
        if is_small and j * (size - r) <= WASTED * (j * (j + r) + above * size):
            own[parent] += own[child]
            into[child] = parent
    kept = [front for front in by_end if into[front] == front]
    place = {front: i for i, front in enumerate(kept)}
    place[-1] = -1
    for child in reversed(by_end):
        into[child] = into[into[child]]
    above = [place[into[parents[front]] if parents[front] >= 0 else -1] for front in kept]
    return [sorted(own[front]) for front in kept], [reached[front] for front in kept], above


def _batch(rank: np.ndarray, own: list[list[int]], reached: list[list[int]], parents: list[int]) -> Fronts:
    """Put fronts of one height and shape together, and point at their parents."""
    n, m = len(rank), len(own)
    j, r = np.array(list(map(len, own))), np.array(list(map(len, reached)))
    height = [0] * m
    for i, parent in enumerate(parents):
        if parent >= 0:
            height[parent] = max(height[parent], height[i] + 1)
    order = np.lexsort((r, j, np.array(height)))
    new = np.empty(m, np.int64)
    new[order] = np.arange(m)
    j, r, heights = j[order], r[order], np.array(height)[order]
    above = np.array(parents)[order]
    above = np.where(above >= 0, new[above], -1)
    sizes = j + r
    starts = np.concatenate([[0], np.cumsum(sizes**2)])
    if starts[-1] > NUMBERS:
        raise DesignError(
            f"A sparse matrix of {n:,} effects fills up when it is factored, to blocks of {sizes.max():,} rows and "
            f"{starts[-1]:,} numbers in all; {NUMBERS:,} are the most. Leave out levels that are related to none with "
            "data, as pedigree.prune(animals) does, or terms that tie all levels together."
        )
    first = np.concatenate([[0], np.cumsum(sizes)])
    everything = np.fromiter((i for f in order for part in (own[f], reached[f]) for i in part), np.int64, first[-1])
    keys = np.repeat(np.arange(m), sizes) * n + everything
    front = np.empty(n, np.int64)
    is_own = np.arange(len(everything)) - np.repeat(first[:-1], sizes) < np.repeat(j, sizes)
    front[everything[is_own]] = np.repeat(np.arange(m), j)
    back = np.empty(n, np.int64)
    back[rank] = np.arange(n)
    batches = []
    change = np.flatnonzero(np.diff(heights) | np.diff(j) | np.diff(r)) + 1
    for some in np.split(np.arange(m), change):
        size, width = int(sizes[some[0]]), int(j[some[0]])
        ranks = everything[first[some[0]] : first[some[-1] + 1]].reshape(len(some), size)
        parent = above[some]
        wanted = parent[:, None] * n + ranks[:, width:]
        places = np.searchsorted(keys, wanted) - first[parent][:, None]
        batches.append(
            Batch(
                start=int(starts[some[0]]),
                own=back[ranks[:, :width]],
                reached=back[ranks[:, width:]],
                parent_start=starts[parent],
                parent_size=np.append(sizes, 0)[parent],
                places=places,
            )
        )
    return Fronts(
        batches=tuple(batches),
        rank=rank,
        starts=starts[:-1],
        sizes=sizes,
        front=front,
        keys=keys,
        first=first[:-1],
        n_numbers=int(starts[-1]),
    )
