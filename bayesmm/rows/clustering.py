"""Rows of clusters that are read chunk by chunk: each cluster once, when its last row is there.

How many rows each cluster has is counted first, as of groups of residuals (`bayesmm.rows.grouping`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bayesmm.design.rows.sources import needed_columns
from bayesmm.errors import RowsError
from bayesmm.incidence import Incidence
from bayesmm.marginal.sums.totals import ChunkRows, Recipe, condition_rows
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.rows.by_rows import Seen, check_same
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.evaluating import LATE
from bayesmm.rows.gathering import CompleteRows
from bayesmm.rows.grouping import MOST_WAITING, Waiting, join_waiting
from bayesmm.rows.source import Scan
from bayesmm.rows.summing import Evaluation, Summed


@dataclass(frozen=True, kw_only=True, eq=False)
class ClusterRows:
    """All rows of some clusters, those of each side by side.

    Attributes
    ----------
    clusters : int array, shape (n,)
        Which cluster each is in, ascending.
    rows : int array, shape (n,)
        Which row each is of all that were read, incomplete ones counted.
    fixed : array, shape (n, p) or (n, p + 1)
        Columns that are estimated; conditioned, with the response after them, if a recipe was given.
    response, weights : arrays, shape (n,)
        Less its offset; prior weights.
    incidences : tuple of Incidence
        Of each grouping factor; their columns conditioned likewise.
    groups : int array, shape (n,)
        Of their residuals, where these are correlated.
    marks : mapping of str to array or Categorical, shape (n,)
        Columns that the covariance of their residuals depends on.
    """

    clusters: np.ndarray
    rows: np.ndarray
    fixed: np.ndarray
    response: np.ndarray
    weights: np.ndarray
    incidences: tuple[Incidence, ...]
    groups: np.ndarray
    marks: Mapping[str, Any]


class _Read(NamedTuple):
    """Rows of a chunk, the cluster of each, and its number among all rows."""

    complete: CompleteRows
    rows: ChunkRows
    clusters: np.ndarray
    numbers: np.ndarray


class ClusterReader:
    """Reads the rows of a model by clusters.

    Parameters
    ----------
    summed : Summed
        The model, whose grouping factors have one level a row.
    source : Scan
        Where its rows are.
    factor : int or None
        The grouping factor whose levels are the clusters; None of groups of the residuals, or of rows where these are
        independent.
    bar : Bar
        What is told how many rows were read.
    recipe : Recipe, optional
        How columns are conditioned; by default they are those of the formula.
    beside : bool
        Whether columns that the model does not use are read too, when clusters are.

    Attributes
    ----------
    sizes : int array, shape (m,)
        Rows of each cluster; none where each row is one.
    """

    def __init__(
        self,
        summed: Summed,
        source: Scan,
        factor: int | None,
        bar: Bar = SILENT,
        *,
        recipe: Recipe | None = None,
        beside: bool = False,
    ) -> None:
        declared = summed.declared
        needed = needed_columns(declared.specification, declared.weights, source.columns, declared.names)
        self._summed, self._source, self._factor, self._bar = summed, source, factor, bar
        self._recipe, self._beside = recipe, beside
        self._evaluation = Evaluation(declared, summed.found, needed, source.texts)
        groups = self._evaluation.groups
        self._groups = None if groups is None or not groups.factors else groups
        self._are_rows = factor is None and self._groups is None
        self.sizes = np.zeros(0, np.int64)
        if not self._are_rows:
            n_clusters = summed.design.blocks[factor].q if factor is not None else len(self._labels)
            self.sizes, seen = np.zeros(n_clusters, np.int64), Seen()
            for read in self._read(self._evaluation.names):
                seen.add(read.rows)
                self.sizes += np.bincount(read.clusters, minlength=n_clusters)
            check_same(summed, source, seen)

    @property
    def _labels(self) -> tuple[str, ...]:
        assert self._groups is not None
        return self._groups.labels

    def __iter__(self) -> Iterator[ClusterRows]:
        """Yield the rows of clusters that are complete; see `read`."""
        return self.read(lambda chunk, complete: None)

    def read(self, see: Callable[[Chunk, np.ndarray], None]) -> Iterator[ClusterRows]:
        """Yield the rows of clusters that are complete.

        Parameters
        ----------
        see : callable
            Is told of every chunk before its rows are there, and which of these are complete.

        Raises
        ------
        RowsError
            If too many rows wait for others of their clusters, or rows have changed.
        """
        waiting: list[Waiting] = []
        n_sorted, seen = 0, Seen()
        for read in self._read(self._source.columns if self._beside else self._evaluation.names, see):
            seen.add(read.rows)
            ready, rest = self._settle(self._waiting(read))
            yield from self._of(ready)
            waiting += rest
            n_waiting = sum(map(len, waiting))
            if n_waiting > max(2 * n_sorted, MOST_WAITING // 4):
                ready, waiting = self._settle(join_waiting(waiting))
                yield from self._of(ready)
                n_sorted = sum(map(len, waiting))
                if n_sorted > MOST_WAITING:
                    raise RowsError(
                        f"{n_sorted:,} rows wait for others of their clusters, which lie far apart in the files: sort "
                        "the rows by cluster, so that few wait."
                    )
        if waiting:
            ready, waiting = self._settle(join_waiting(waiting))
            yield from self._of(ready)
        check_same(self._summed, self._source, seen)
        if waiting:
            raise RowsError(f"A cluster has another number of rows than in an earlier pass. {LATE}")

    def _read(self, names: Sequence[str], see: Callable[[Chunk, np.ndarray], None] | None = None) -> Iterator[_Read]:
        start = 0
        for chunk in self._source.chunks(names):
            complete, rows = self._evaluation.read_complete(chunk)
            if see is not None:
                see(chunk, complete.complete)
            self._bar.advance(chunk.table.num_rows)
            if rows is not None:
                clusters = self._clusters(complete, rows)
                yield _Read(complete, rows, clusters, start + np.flatnonzero(complete.complete))
            start += chunk.table.num_rows

    def _clusters(self, complete: CompleteRows, rows: ChunkRows) -> np.ndarray:
        if self._factor is not None:
            return rows.incidences[self._factor].only.codes
        if self._are_rows:
            return np.arange(complete.n)
        assert self._groups is not None
        return self._groups.places[self._groups.find(complete)]

    def _waiting(self, read: _Read) -> Waiting:
        complete, rows = read.complete, read.rows
        groups, marks = self._evaluation.groups, np.zeros((complete.n, 0))
        if groups is not None:
            marks = groups.mark(complete)
        own = np.arange(complete.n) if self._groups is None else self._groups.find(complete)
        levels = [incidence.only.codes for incidence in rows.incidences]
        if self._recipe is None:
            fixed, effects = rows.fixed[self._summed.design.kept], [each.only.columns.T for each in rows.incidences]
        else:
            conditioned = condition_rows(rows, self._recipe)
            fixed, effects = conditioned.fixed, [own[0] for own in conditioned.effects]
        return Waiting(
            groups=read.clusters,
            marks=np.column_stack([marks, read.numbers, own, *levels]),
            columns=np.concatenate([rows.y[None], rows.weights[None], *effects, fixed]).T,
        )

    def _settle(self, rows: Waiting) -> tuple[Waiting, list[Waiting]]:
        """Divide rows into those of complete clusters, and those that wait."""
        if self._are_rows:
            return rows, []
        rows = rows.take(np.argsort(rows.groups, kind="stable"))
        begins = np.flatnonzero(np.diff(rows.groups, prepend=-1))
        sizes = np.diff(np.append(begins, len(rows)))
        is_whole = np.repeat(sizes == self.sizes[rows.groups[begins]], sizes)
        return rows.take(is_whole), [] if is_whole.all() else [rows.take(~is_whole)]

    def _of(self, rows: Waiting) -> Iterator[ClusterRows]:
        if not len(rows):
            return
        blocks = self._summed.design.blocks
        response, weights, *effects, fixed = np.split(
            rows.columns, np.cumsum([1, 1, *(block.k for block in blocks)]), axis=1
        )
        numbers, own, *levels = rows.marks.T[rows.marks.shape[1] - 2 - len(blocks) :].astype(np.int64)
        groups = self._evaluation.groups
        yield ClusterRows(
            clusters=rows.groups,
            rows=numbers,
            fixed=fixed,
            response=response[:, 0],
            weights=weights[:, 0],
            incidences=tuple(
                Incidence.single(codes, Z, block.q) for codes, Z, block in zip(levels, effects, blocks, strict=True)
            ),
            groups=own,
            marks={} if groups is None else groups.unmark(rows.marks),
        )
