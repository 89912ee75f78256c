"""The rows of some levels, out of rows that are read chunk by chunk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.design.design import Design
from bayesmm.design.reading.frame import read_table
from bayesmm.errors import RowsError
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.rows.by_rows import RowsOf
from bayesmm.rows.scan import scan
from bayesmm.rows.source import CHUNK_ROWS
from bayesmm.rows.summing import Summed

MOST_ROWS = 2_000_000  # of all levels that are looked at, with their columns


class RowsOfLevels:
    """Reads the rows of a model once more, and keeps those of some levels.

    Parameters
    ----------
    summed : Summed
        The model.
    rows : path, list, or data frame
        What `bayesmm.scan` takes.
    bar : Bar
        What is told how many rows were read.
    """

    def __init__(self, summed: Summed, rows: Any, bar: Bar = SILENT) -> None:
        self._summed, self._source, self._bar = summed, scan(rows), bar

    def heights(self, f: int, effects: np.ndarray) -> np.ndarray:
        """Return the mean of the random part of a factor over the rows of each of its levels, (q,).

        It is read off the effects where their columns are constant.
        """
        block = self._summed.design.blocks[f]
        assert block.moments is not None
        if (block.moments.low == block.moments.high).all():
            return effects @ block.moments.low
        sums, counts = np.zeros(block.q), np.zeros(block.q)
        every = RowsOf(self._summed, self._source)
        for _, _, part in every.chunks(CHUNK_ROWS, beside=False):
            if part is not None:
                own = part.incidences[f].only
                sums += np.bincount(own.codes, (own.columns * effects[own.codes]).sum(axis=1), block.q)
                counts += np.bincount(own.codes, minlength=block.q)
                self._bar.advance(len(part.y))
        every.check()
        return sums / np.maximum(counts, 1)

    def take(self, f: int, codes: np.ndarray) -> Design:
        """Return the model with the rows of some levels of a factor, in their order.

        Raises
        ------
        RowsError
            If they are too many, or all rows are not those of the model.
        """
        design = self._summed.design
        block = design.blocks[f]
        n = int(block.incidence.row_counts()[codes].sum())
        if n > MOST_ROWS:
            raise RowsError(
                f"{len(codes)} levels of {block.group} have {n:,} rows, which would be held in memory, and "
                f"{MOST_ROWS:,} are the most. Name fewer levels, levels=[...], or fit a sample of the rows."
            )
        every, parts, places, n_before = RowsOf(self._summed, self._source), [], [], 0
        for chunk, complete, part in every.chunks(CHUNK_ROWS, beside=False):
            if part is not None:
                inside = np.zeros(len(complete), bool)
                inside[complete] = np.isin(part.incidences[f].only.codes, codes)
                if inside.any():
                    parts.append(chunk.table.filter(inside).to_pandas())
                    places.append(n_before + np.flatnonzero(inside))
                self._bar.advance(len(part.y))
            n_before += len(complete)
        every.check()
        return _design_of(design, pd.concat(parts, ignore_index=True), np.concatenate(places))


def _design_of(design: Design, frame: pd.DataFrame, places: np.ndarray) -> Design:
    """Return a model with some complete rows, which are in memory; places are their labels."""
    table = read_table(frame, list(frame.columns))
    found = design.evaluate(frame, response=True)
    weights = design.evaluate_weights(frame) if design.has_weights else None
    assert found.y is not None
    blocks = [
        replace(block, incidence=new.incidence, columns=new.incidence.total, moments=None)
        for block, new in zip(design.blocks, found.blocks, strict=True)
    ]
    used = table.rows(np.ones(table.n_rows, bool))
    return replace(
        design,
        y=found.y,
        offset=found.offset,
        weights=np.ones(len(frame)) if weights is None else weights,
        X=found.X,
        blocks=tuple(blocks),
        rows=pd.Index(places),
        used=replace(used, index=pd.Index(places)),
        elsewhere=None,
    )
