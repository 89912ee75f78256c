"""Residuals with a covariance, of rows that are read chunk by chunk: groups are put together, and made few rows.

How many rows each group has is counted first, so that a group is known to be complete when its last row is there,
wherever that is: the rows of a group that straddles chunks, files or parts wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.blocks.residual import ResidualBlock, ResidualMoments, build_residual
from bayesmm.design.columns.columns import build_arithmetic
from bayesmm.design.elsewhere import Distant
from bayesmm.design.reading.frame import UsedRows
from bayesmm.design.reading.levels import read_levels
from bayesmm.design.reading.names import Names
from bayesmm.errors import DesignError, RowsError
from bayesmm.incidence import Incidence
from bayesmm.marginal.residual.group_totals import FewRows, GroupTotals, few_rows
from bayesmm.marginal.residual.layout import lay_out_residuals
from bayesmm.marginal.residual.whitened import ResidualRows
from bayesmm.marginal.sums.crossproducts import CrossProducts, orthonormalise
from bayesmm.marginal.sums.totals import Recipe, Totals, condition_rows
from bayesmm.rows.blocks import as_arrays
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.dictionary import Combinations
from bayesmm.rows.evaluating import LATE, ColumnReader, as_values
from bayesmm.rows.gathering import CompleteRows, read_chunk
from bayesmm.specification.terms import ResidualSpecification

MOST_WAITING = 2**22  # rows that wait for others of their group


@dataclass(frozen=True, kw_only=True, eq=False)
class Waiting:
    """Rows, one by one.

    Attributes
    ----------
    groups : int array, shape (n,)
        Group of each.
    marks : array, shape (n, w)
        Position, what its residual's covariance depends on, weight, and levels.
    columns : array, shape (n, c)
        What is summed.
    """

    groups: np.ndarray
    marks: np.ndarray
    columns: np.ndarray

    def __len__(self) -> int:
        return len(self.groups)

    def take(self, part: np.ndarray) -> Waiting:
        """Take some rows."""
        return Waiting(groups=self.groups[part], marks=self.marks[part], columns=self.columns[part])


def join_waiting(parts: Sequence[Waiting]) -> Waiting:
    """Put rows together."""
    if len(parts) == 1:
        return parts[0]
    return Waiting(
        groups=np.concatenate([each.groups for each in parts]),
        marks=np.concatenate([each.marks for each in parts]),
        columns=np.concatenate([each.columns for each in parts]),
    )


class Groups:
    """The groups of residuals that the first pass found, and what their rows are marked by.

    Parameters
    ----------
    specification : ResidualSpecification
        What was asked.
    kept : UsedRows
        Rows in which all groups occur.
    names : Names
        What expressions may use besides columns.
    known_sigma : float or None
        Residual standard deviation, where it is known.

    Raises
    ------
    RowsError
        If standard deviations change with fitted values.
    """

    def __init__(
        self, specification: ResidualSpecification, kept: UsedRows, names: Names, known_sigma: float | None
    ) -> None:
        self.specification, self._kept, self._names, self._known_sigma = specification, kept, names, known_sigma
        if any(each.of_fitted for each in specification.spreads):
            raise RowsError(
                f"residual={specification.text!r} needs the fitted value of every row, again and again: read the rows "
                "into a data frame, or take a covariate."
            )
        term = specification.correlation
        self.factors = () if term is None else tuple(term.grouping.factors)
        marks = [] if term is None else [term.position, *term.by]
        marks += [name for each in specification.spreads for name in each.factors]
        numbers = kept.as_floats()
        for each in specification.spreads:
            if each.expression:
                marks += build_arithmetic(each.expression, numbers, names, what="variance covariate").uses
        self.marks = tuple(dict.fromkeys(marks))
        self._reader = ColumnReader(kept)
        self._seen: Combinations | None = None
        self.labels: tuple[str, ...] = ()
        self.places = self.of_kept = np.zeros(0, np.int64)  # of each group among the labels, and of each kept row
        if self.factors:
            self._seen = Combinations(len(self.factors))
            of_kept = self._seen.learn([as_values(kept.columns[name]) for name in self.factors])
            read = read_levels(self.factors, [kept.columns[name] for name in self.factors], len(kept))
            self._first = np.zeros(len(self._seen), np.int64)
            self._first[of_kept[::-1]] = np.arange(len(kept))[::-1]  # a row of each group
            self.labels, self.places, self.of_kept = read.labels, read.codes[self._first], read.codes

    @property
    def n_groups(self) -> int:
        """How many there are; none where rows are independent."""
        return 0 if self._seen is None else len(self._seen)

    def find(self, rows: CompleteRows) -> np.ndarray:
        """Return the group of each row (n,)."""
        assert self._seen is not None
        found = self._seen.find([rows.columns[name] for name in self.factors])
        if (found < 0).any():
            raise RowsError(f"{':'.join(self.factors)!r} has a new level in {rows.chunk}. {LATE}")
        return found

    def mark(self, rows: CompleteRows) -> np.ndarray:
        """Return what rows are marked by (n, w): numbers, and codes of categories."""
        frame = self._reader.frame(rows)
        parts = [
            frame[name].cat.codes if isinstance(frame[name].dtype, pd.CategoricalDtype) else frame[name]
            for name in self.marks
        ]
        return np.column_stack([np.zeros((rows.n, 0)), *(np.asarray(part, dtype=float) for part in parts)])

    def unmark(self, marks: np.ndarray) -> dict[str, Any]:
        """Return the columns that rows are marked by, of marks (n, w) of which more are not looked at."""
        columns: dict[str, Any] = {}
        for name, values in zip(self.marks, marks.T, strict=False):
            own = self._kept.columns[name]
            if isinstance(own, pd.Categorical):
                columns[name] = pd.Categorical.from_codes(values.astype(int), dtype=own.dtype)  # pyright: ignore
            else:
                columns[name] = values.astype(own.dtype)
        return columns

    def recode(self, marks: np.ndarray, old: Groups) -> np.ndarray:
        """Return marks (n, w) with the codes of categories that these rows have, not those of others."""
        marks = marks.copy()
        for j, name in enumerate(self.marks):
            own, before = self._kept.columns[name], old._kept.columns[name]
            if isinstance(own, pd.Categorical) and isinstance(before, pd.Categorical):
                places = own.categories.get_indexer(before.categories)
                marks[:, j] = places[marks[:, j].astype(np.int64)]
        return marks

    def label(self, group: int) -> str:
        """Name a group."""
        row = int(self._first[group])
        return ":".join(str(np.asarray(self._kept.columns[name])[row]) for name in self.factors)

    def rows(self, few: FewRows) -> UsedRows:
        """Return few rows as those of a data frame, in columns that residuals depend on."""
        columns: dict[str, Any] = {}
        for name in self.factors:  # groups of the same marks and sums: which of them they are called does not matter
            columns[name] = self._kept.columns[name][self._first[few.groups]]
        columns |= self.unmark(few.marks)
        return UsedRows(columns=columns, index=pd.RangeIndex(len(few.groups)))

    def block(self, few: FewRows) -> ResidualBlock:
        """Read the covariance of the residuals off few rows."""
        used = self.rows(few)
        numbers = used.as_floats()
        return build_residual(
            self.specification, used, numbers, self._names, (), lambda: np.zeros(0), self._known_sigma
        )


class GroupCounts:
    """How many rows each group has."""

    def __init__(self, n_groups: int) -> None:
        self.rows = np.zeros(n_groups, np.int64)

    def packed(self) -> GroupCounts:
        """Return itself."""
        return self

    def merge(self, other: GroupCounts) -> None:
        """Add those of other rows."""
        self.rows += other.rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Counting:
    """The pass that counts the rows of groups; `evaluation` computes columns, and knows the groups."""

    evaluation: Any
    rows: int | None
    text: str = "groups"

    @property
    def names(self) -> Sequence[str]:
        """The columns that are read."""
        return self.evaluation.names

    def begin(self) -> GroupCounts:
        """Begin with nothing."""
        return GroupCounts(self.evaluation.groups.n_groups)

    def add(self, so_far: GroupCounts, chunk: Chunk) -> None:
        """Count the rows of a chunk."""
        complete = read_chunk(chunk, self.evaluation.names, self.evaluation.texts)
        if complete.n:
            found = self.evaluation.groups.find(complete)
            so_far.rows += np.bincount(found, minlength=len(so_far.rows))


class GroupedRows:
    """Groups so far: those that are complete, by size, and rows that wait for others of their group.

    Parameters
    ----------
    groups : Groups
        All there are.
    counts : int array, shape (g,)
        Rows of each.
    """

    def __init__(self, groups: Groups, counts: np.ndarray) -> None:
        self._groups, self._counts = groups, counts
        self._totals: dict[int, GroupTotals] = {}
        self._waiting: list[Waiting] = []
        self._sorted = 0  # rows that waited when they were last looked at together
        self.n = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what every process has."""
        return self.__dict__ | {"_groups": None, "_counts": None}

    def add(self, rows: Waiting, n_factors: int) -> None:
        """Take in rows whose last `n_factors` marks are levels.

        Raises
        ------
        DesignError
            If two rows of a group are at one position, or have different levels of a grouping factor.
        """
        self.n += len(rows)
        if not self._groups.factors:
            self._sizes(1).add(rows.marks[:, None], rows.columns[:, None])
            return
        self._settle(rows, n_factors)
        waiting = sum(map(len, self._waiting))
        if waiting > max(2 * self._sorted, MOST_WAITING // 4):
            self.settle(n_factors)

    def packed(self) -> GroupedRows:
        """Return itself, with few rows."""
        for each in self._totals.values():
            each.make_few()
        return self

    def merge(self, other: GroupedRows) -> None:
        """Take in groups of other rows, and complete those that are parted."""
        self.n += other.n
        for o, totals in other._totals.items():
            self._sizes(o).merge(totals)
        self._waiting += other._waiting

    def settle(self, n_factors: int) -> None:
        """Put together what waits.

        Raises
        ------
        RowsError
            If too many rows wait for others of their groups.
        """
        if self._waiting:
            waiting, self._waiting = join_waiting(self._waiting), []
            self._settle(waiting, n_factors)
        self._sorted = sum(map(len, self._waiting))
        if self._sorted > MOST_WAITING:
            name = ":".join(self._groups.factors)
            raise RowsError(
                f"{self._sorted:,} rows wait for others of their groups by {name!r}, which lie far apart in the files: "
                f"sort the rows by {name}, so that few wait."
            )

    def finish(self, n_factors: int) -> FewRows:
        """Return few rows that have the sums of all.

        Raises
        ------
        RowsError
            If a group is not complete.
        """
        self.settle(n_factors)
        if self._waiting:
            group = self._groups.label(int(self._waiting[0].groups[0]))
            raise RowsError(f"Group {group!r} has fewer rows than it had in an earlier pass. {LATE}")
        return few_rows([self._totals[o] for o in sorted(self._totals)])

    def _settle(self, rows: Waiting, n_factors: int) -> None:
        """Put rows of complete groups into the totals, others to those that wait."""
        order = np.lexsort((rows.marks[:, 0], rows.groups))
        rows = rows.take(order)
        begins = np.flatnonzero(np.diff(rows.groups, prepend=-1))
        sizes = np.diff(np.append(begins, len(rows)))
        is_whole = sizes == self._counts[rows.groups[begins]]
        for o in np.unique(sizes[is_whole]).tolist():
            at = begins[is_whole & (sizes == o)][:, None] + np.arange(o)
            self._check(rows, at, n_factors)
            self._sizes(o).add(rows.marks[at], rows.columns[at])
        if not is_whole.all():
            self._waiting.append(rows.take(np.repeat(~is_whole, sizes)))

    def _check(self, rows: Waiting, at: np.ndarray, n_factors: int) -> None:
        term = self._groups.specification.correlation
        assert term is not None
        places = rows.marks[at, 0]
        twice = (places[:, 1:] == places[:, :-1]).any(axis=1)
        if twice.any():
            group = self._groups.label(int(rows.groups[at[twice.argmax(), 0]]))
            raise DesignError(
                f"Group {group!r} of {term.grouping.name!r} has several rows at one {term.position}, of which "
                f"{term.write()} can have one. Correct the data, take a finer position, or group by a combination "
                f"({term.grouping.name}:f) that tells these rows apart."
            )
        levels = rows.marks[at][:, :, rows.marks.shape[1] - n_factors :]
        apart = (levels != levels[:, :1]).any(axis=(1, 2))
        if apart.any():
            group = self._groups.label(int(rows.groups[at[apart.argmax(), 0]]))
            raise DesignError(
                f"The rows of group {group!r} of {term.grouping.name!r} have several levels of a grouping factor, "
                f"whose effects then cross the correlations of {term.write()}: such a model is not available. "
                "Residuals may be correlated within groups that have one level of every grouping factor."
            )

    def _sizes(self, o: int) -> GroupTotals:
        return self._totals.setdefault(o, GroupTotals(o))


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupingPass:
    """The pass that puts groups together; `evaluation` computes columns, and knows the groups."""

    evaluation: Any
    recipe: Recipe
    counts: np.ndarray
    rows: int | None
    text: str = "groups of residuals"

    @property
    def names(self) -> Sequence[str]:
        """The columns that are read."""
        return self.evaluation.names

    @property
    def n_factors(self) -> int:
        """Grouping factors of random effects."""
        return len(self.recipe.sizes)

    def begin(self) -> GroupedRows:
        """Begin with nothing."""
        return GroupedRows(self.evaluation.groups, self.counts)

    def add(self, so_far: GroupedRows, chunk: Chunk) -> None:
        """Take in a chunk."""
        complete, rows = self.evaluation.read_complete(chunk)
        if rows is None:
            return
        groups = self.evaluation.groups
        conditioned = condition_rows(rows, self.recipe)
        levels = [incidence.only.codes for incidence in rows.incidences]
        so_far.add(
            Waiting(
                groups=groups.find(complete) if groups.factors else np.zeros(complete.n, np.int64),
                marks=np.column_stack([groups.mark(complete), rows.weights, *levels]),
                columns=np.concatenate([conditioned.fixed, *(own[0] for own in conditioned.effects)]).T,
            ),
            self.n_factors,
        )


def residual_of(
    groups: Groups, few: FewRows, totals: Totals, products: CrossProducts, blocks: Sequence[RandomBlock], where: str
) -> tuple[ResidualBlock, ResidualRows]:
    """Make a likelihood's rows of few rows.

    Parameters
    ----------
    groups : Groups
        Of the residuals.
    few : FewRows
        With the sums of all rows.
    totals : Totals
        Other sums over all rows.
    products : CrossProducts
        The same as if residuals were independent.
    blocks : sequence of RandomBlock
        Random effects, of other rows.
    where : str
        Where they are.

    Returns
    -------
    ResidualBlock
        Names; without rows.
    ResidualRows
    """
    block = groups.block(few)
    at, f = len(groups.marks), len(blocks)
    layout = lay_out_residuals(
        block.correlation, block.codes, block.positions, block.columns, block.are_sds, few.marks[:, at], few.shares
    )
    own, c = totals.recipe.conditioning, len(totals.sums.gram)
    change = orthonormalise(replace(totals.sums, cross=[]), own).change
    start, arrays = c, []
    for j, (each, T) in enumerate(zip(as_arrays(blocks), own.effect_roots, strict=True)):
        Z = few.columns[:, start : start + len(T)] @ T
        codes = few.marks[:, few.marks.shape[1] - f + j].astype(np.int64)
        arrays.append(replace(each, incidence=Incidence.single(codes, Z, each.n_levels)))
        start += len(T)

    def distant(what: str) -> Any:
        return Distant(what, where)

    names = replace(
        block,
        levels=groups.labels,
        codes=distant("the groups of the residuals"),
        positions=distant("the places of rows in their groups"),
        spreads=tuple(replace(each, columns=distant("what variances change with")) for each in block.spreads),
        elsewhere=ResidualMoments(
            sizes=block.sizes,
            positions=block.positions,
            values=groups.rows(few).columns.get(groups.marks[0], block.positions) if groups.marks else block.positions,
            columns=block.columns,
            weights=few.marks[:, at],
            shares=few.shares,
        ),
    )
    rows = ResidualRows(
        fixed=few.columns[:, :c] @ change,
        root=products.fixed_root,
        origin=products.fixed_origin,
        blocks=tuple(arrays),
        effect_roots=tuple(products.effect_roots),
        layout=layout,
        n_rows=totals.n,
    )
    return names, rows
