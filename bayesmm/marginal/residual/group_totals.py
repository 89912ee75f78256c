"""Groups of rows whose residuals hang together, chunk by chunk: as few rows as have the same sums of products.

All that a likelihood sees of groups that share a covariance matrix and their levels of every grouping factor are the
sums Σ_g v_g v_g' of their rows' columns side by side, v_g (oc,). With v' the lines of a matrix V and V'V = R'R: where
there are more groups than columns, the lines of R are groups that have the same sums, of which each stands for several.
They come from singular values of V, which lose no digits that the rows had, as those of a sum of squares would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.errors import RowsError
from bayesmm.marginal.residual.layout import find_patterns
from bayesmm.marginal.shapes import Array, Float, Int

WAITING = 2**21  # numbers that wait to be taken together, at least: 16 MiB
ROUNDING = 1e-15  # of the largest singular value: those of columns that others make up
MOST_NUMBERS = 40_000_000  # that are left, 320 MB


@dataclass(frozen=True, kw_only=True, eq=False)
class FewRows:
    """Rows with the same sums of products as all of them.

    Attributes
    ----------
    groups : int array, shape (N,)
        Group of each row: 0, 1, ..., a group's rows side by side.
    marks : array, shape (N, w)
        What the covariance matrix depends on, and levels.
    columns : array, shape (N, c)
    shares : array, shape (N,)
        How many groups each row's group stands for; no whole number.
    """

    groups: Int[Array, " N"]
    marks: Float[Array, "N w"]
    columns: Float[Array, "N c"]
    shares: Float[Array, " N"]


class GroupTotals:
    """Groups of o rows, by what their covariance matrix depends on and their levels.

    Parameters
    ----------
    o : int
        Rows of each group.
    """

    def __init__(self, o: int) -> None:
        self.o = o
        self._place: dict[bytes, int] = {}
        self._marks: list[np.ndarray] = []
        self._counts: list[int] = []
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._settled = 0  # numbers after the rows were last made few

    @property
    def n_numbers(self) -> int:
        """Numbers that are held."""
        return sum(columns.size for _, columns in self._parts)

    def add(
        self, marks: Float[Array, "G o w"], columns: Float[Array, "G o c"], shares: Float[Array, " G"] | None = None
    ) -> None:
        """Add groups, each of which stands for itself, or for several."""
        flat = np.ascontiguousarray(marks.reshape(len(marks), -1)) + 0.0
        example, pattern = find_patterns(flat) if flat.size else (np.zeros(1, int), np.zeros(len(flat), int))
        counts = np.rint(np.bincount(pattern, weights=shares, minlength=len(example)))
        places = np.array(
            [self._place_of(mark, int(count)) for mark, count in zip(flat[example], counts, strict=True)], dtype=int
        )
        self._parts.append((places[pattern], columns.reshape(len(columns), -1)))
        if self.n_numbers > max(2 * self._settled, WAITING):
            self.make_few()

    def merge(self, other: GroupTotals) -> None:
        """Take in groups of as many rows."""
        pairs = zip(other._marks, other._counts, strict=True)
        places = np.array([self._place_of(mark, count) for mark, count in pairs], dtype=int)
        self._parts += [(places[place], columns) for place, columns in other._parts]
        self.make_few()

    def make_few(self) -> None:
        """Put groups of the same marks in the place of more of them."""
        if not self._parts:
            return
        place = np.concatenate([place for place, _ in self._parts])
        columns = np.concatenate([columns for _, columns in self._parts])
        order = np.argsort(place, kind="stable")
        place, columns = place[order], columns[order]
        counts = np.bincount(place, minlength=len(self._marks))
        ends = np.cumsum(counts)
        most = columns.shape[1]
        left, rows, start = [], [], 0
        for own in np.flatnonzero(counts > most):
            end = ends[own]
            before = end - counts[own]
            left.append(place[start:before])
            rows.append(columns[start:before])
            root = root_lines(columns[before:end])
            left.append(np.full(len(root), own))
            rows.append(root)
            start = end
        left.append(place[start:])
        rows.append(columns[start:])
        self._parts = [(np.concatenate(left), np.concatenate(rows))]
        self._settled = self.n_numbers
        if self._settled > MOST_NUMBERS:
            raise RowsError(
                f"Groups of {self.o} rows make {len(self._marks):,} combinations of their levels and of what their "
                f"residuals' covariance depends on: {self._settled:,} numbers to hold, more than {MOST_NUMBERS:,}. "
                "Where times are each group's own nothing adds up: read the rows into a data frame, round the times, "
                "or leave terms of random effects out whose levels are the groups themselves."
            )

    def read(self) -> tuple[Float[Array, "G o w"], Float[Array, "G o c"], Float[Array, " G"]]:
        """Return marks and columns of few groups, and how many each stands for."""
        self.make_few()
        ((place, columns),) = self._parts
        few = np.bincount(place, minlength=len(self._marks))
        shares = np.array(self._counts) / few
        marks = np.array(self._marks)[place]
        G = len(place)
        return marks.reshape(G, self.o, -1), columns.reshape(G, self.o, -1), shares[place]

    def _place_of(self, mark: np.ndarray, count: int) -> int:
        place = self._place.setdefault(mark.tobytes(), len(self._marks))
        if place == len(self._marks):
            self._marks.append(mark)
            self._counts.append(0)
        self._counts[place] += count
        return place


def root_lines(V: Float[Array, "G c"]) -> Float[Array, "r c"]:
    """Return as few lines R with R'R = V'V as there are columns that are independent."""
    _, sizes, directions = np.linalg.svd(np.linalg.qr(V, mode="r"), full_matrices=False)
    is_some = sizes > ROUNDING * sizes[0]
    is_some[0] = True
    return sizes[is_some, None] * directions[is_some]


def join_few(parts: Sequence[FewRows]) -> FewRows:
    """Put few rows of different groups in the place of those of each part."""
    totals: dict[int, GroupTotals] = {}
    for few in parts:
        sizes = np.bincount(few.groups)
        for o in np.unique(sizes).tolist():
            at = (np.cumsum(sizes) - sizes)[sizes == o, None] + np.arange(o)
            own = totals.setdefault(o, GroupTotals(o))
            own.add(few.marks[at], few.columns[at], few.shares[at[:, 0]])
    return few_rows([totals[o] for o in sorted(totals)])


def few_rows(totals: Sequence[GroupTotals]) -> FewRows:
    """Put groups of all sizes one after another."""
    groups, marks, columns, shares, start = [], [], [], [], 0
    for each in totals:
        of_marks, of_columns, of_shares = each.read()
        G, o = of_marks.shape[:2]
        groups.append(np.repeat(np.arange(start, start + G), o))
        marks.append(of_marks.reshape(G * o, -1))
        columns.append(of_columns.reshape(G * o, -1))
        shares.append(np.repeat(of_shares, o))
        start += G
    return FewRows(
        groups=np.concatenate(groups),
        marks=np.concatenate(marks),
        columns=np.concatenate(columns),
        shares=np.concatenate(shares),
    )
