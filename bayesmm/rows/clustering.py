"""Rows of clusters that are read chunk by chunk: each cluster once, when its last row is there.

How many rows each cluster has is counted first, as of groups of residuals (`bayesmm.rows.grouping`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmm.design.rows.sources import needed_columns
from bayesmm.errors import RowsError
from bayesmm.incidence import Incidence
from bayesmm.marginal.sums.totals import ChunkRows
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.rows.by_rows import Seen, check_same
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
    fixed : array, shape (n, p)
        Columns that are estimated.
    response, weights : arrays, shape (n,)
        Less its offset; prior weights.
    incidences : tuple of Incidence
        Of each grouping factor.
    groups : int array, shape (n,)
        Of their residuals, where these are correlated.
    marks : mapping of str to array or Categorical, shape (n,)
        Columns that the covariance of their residuals depends on.
    """

    clusters: np.ndarray
    fixed: np.ndarray
    response: np.ndarray
    weights: np.ndarray
    incidences: tuple[Incidence, ...]
    groups: np.ndarray
    marks: Mapping[str, Any]


class ClusterReader:
    """Reads the rows of a model by clusters.

    Parameters
    ----------
    summed : Summed
        The model, whose grouping factors have one level a row.
    source : Scan
        Where its rows are.
    factor : int or None
        The grouping factor whose levels are the clusters; None of groups of the residuals.
    bar : Bar
        What is told how many rows were read.

    Attributes
    ----------
    sizes : int array, shape (m,)
        Rows of each cluster.
    """

    def __init__(self, summed: Summed, source: Scan, factor: int | None, bar: Bar = SILENT) -> None:
        declared = summed.declared
        needed = needed_columns(declared.specification, declared.weights, source.columns, declared.names)
        self._summed, self._source, self._factor, self._bar = summed, source, factor, bar
        self._evaluation = Evaluation(declared, summed.found, needed, source.texts)
        groups = self._evaluation.groups
        self._groups = None if groups is None or not groups.factors else groups
        if factor is None:
            assert self._groups is not None
            n_clusters = len(self._groups.labels)
        else:
            n_clusters = summed.design.blocks[factor].q
        self.sizes, seen = np.zeros(n_clusters, np.int64), Seen()
        for _, rows, clusters in self._read():
            seen.add(rows)
            self.sizes += np.bincount(clusters, minlength=n_clusters)
        check_same(summed, source, seen)

    def __iter__(self) -> Iterator[ClusterRows]:
        """Yield the rows of clusters that are complete.

        Raises
        ------
        RowsError
            If too many rows wait for others of their clusters, or rows have changed.
        """
        waiting: list[Waiting] = []
        n_sorted = 0
        for complete, rows, clusters in self._read():
            ready, rest = self._settle(self._waiting(complete, rows, clusters))
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
        if waiting:
            raise RowsError(f"A cluster has another number of rows than in an earlier pass. {LATE}")

    def _read(self) -> Iterator[tuple[CompleteRows, ChunkRows, np.ndarray]]:
        for chunk in self._source.chunks(self._evaluation.names):
            complete, rows = self._evaluation.read_complete(chunk)
            self._bar.advance(chunk.table.num_rows)
            if rows is not None:
                yield complete, rows, self._clusters(complete, rows)

    def _clusters(self, complete: CompleteRows, rows: ChunkRows) -> np.ndarray:
        if self._factor is not None:
            return rows.incidences[self._factor].only.codes
        assert self._groups is not None
        return self._groups.places[self._groups.find(complete)]

    def _waiting(self, complete: CompleteRows, rows: ChunkRows, clusters: np.ndarray) -> Waiting:
        groups, marks = self._evaluation.groups, np.zeros((complete.n, 0))
        if groups is not None:
            marks = groups.mark(complete)
        own = np.zeros(complete.n, np.int64) if self._groups is None else self._groups.find(complete)
        levels = [incidence.only.codes for incidence in rows.incidences]
        columns = [rows.fixed[self._summed.design.kept], rows.y[None], rows.weights[None]]
        effects = [incidence.only.columns.T for incidence in rows.incidences]
        return Waiting(
            groups=clusters,
            marks=np.column_stack([marks, own, *levels]),
            columns=np.concatenate([*columns, *effects]).T,
        )

    def _settle(self, rows: Waiting) -> tuple[Waiting, list[Waiting]]:
        """Divide rows into those of complete clusters, and those that wait."""
        order = np.argsort(rows.groups, kind="stable")
        rows = rows.take(order)
        begins = np.flatnonzero(np.diff(rows.groups, prepend=-1))
        sizes = np.diff(np.append(begins, len(rows)))
        is_whole = np.repeat(sizes == self.sizes[rows.groups[begins]], sizes)
        return rows.take(is_whole), [] if is_whole.all() else [rows.take(~is_whole)]

    def _of(self, rows: Waiting) -> Iterator[ClusterRows]:
        if not len(rows):
            return
        blocks, p = self._summed.design.blocks, len(self._summed.design.kept)
        ends = np.cumsum([p, 1, 1, *(block.k for block in blocks)])
        fixed, response, weights, *effects = np.split(rows.columns, ends[:-1], axis=1)
        own, *levels = rows.marks.T[rows.marks.shape[1] - 1 - len(blocks) :].astype(np.int64)
        groups = self._evaluation.groups
        yield ClusterRows(
            clusters=rows.groups,
            fixed=fixed,
            response=response[:, 0],
            weights=weights[:, 0],
            incidences=tuple(
                Incidence.single(codes, Z, block.q) for codes, Z, block in zip(levels, effects, blocks, strict=True)
            ),
            groups=own,
            marks={} if groups is None else groups.unmark(rows.marks),
        )
