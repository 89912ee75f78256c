"""Responses drawn for rows that are read chunk by chunk, written as they come."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bayesmm.marginal.sums.totals import ChunkRows
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.rows.by_rows import RowsOf
from bayesmm.rows.predicting import beside, writing
from bayesmm.rows.scan import scan
from bayesmm.rows.summing import Summed

AT_ONCE = 4_000_000  # drawn numbers: 32 MB, of which some copies


def simulate_rows(
    summed: Summed,
    rows: Any,
    to: str | os.PathLike[str],
    beta: np.ndarray,
    effects: Sequence[np.ndarray],
    sigma: np.ndarray,
    streams: Sequence[np.random.Generator],
    bar: Bar = SILENT,
    hidden: str | None = None,
) -> Path:
    """Draw residuals around Xβ + offset + Zb for all rows of a model, and write them beside these to Parquet.

    Parameters
    ----------
    summed : Summed
        The model, of independent residuals.
    rows : path, list, or data frame
        Where its rows are.
    to : path
        Ends in ``.parquet``. It is complete, or not there.
    beta : array, shape (m, p)
        Fixed effects that are estimated, of each simulation.
    effects : sequence of arrays, shapes (m, q, k)
        Random effects likewise.
    sigma : array, shape (m,)
        Residual standard deviations of a row of weight one.
    streams : sequence of numpy.random.Generator
        One for each simulation, whose numbers are taken row after row, however rows are read.
    bar : Bar
        What is told how many rows were written.
    hidden : str, optional
        A column of the rows that is not written.

    Returns
    -------
    pathlib.Path
        Where they are: all columns of the rows, then ``simulated_0``, ``simulated_1``, ...; missing where a row is not
        complete.

    Raises
    ------
    RowsError
        If the rows cannot be read, or are not those of the model.
    """
    source, m = scan(rows), len(streams)
    every, kept = RowsOf(summed, source), summed.design.kept
    with writing(to, source) as write:
        for chunk, complete, part in every.chunks(max(AT_ONCE // m, 1), beside=True):
            found = np.full((m, len(complete)), np.nan)
            if part is not None:
                noise = np.stack([stream.standard_normal(len(part.y)) for stream in streams])
                mean = _mean(part, kept, beta, effects)
                found[:, complete] = mean + sigma[:, None] / np.sqrt(part.weights) * noise
                bar.advance(len(part.y))
            table = beside(chunk, {f"simulated_{i}": own for i, own in enumerate(found)})
            write(table if hidden is None else table.drop_columns([hidden]))
        every.check()
    return Path(to)


def _mean(part: ChunkRows, kept: np.ndarray, beta: np.ndarray, effects: Sequence[np.ndarray]) -> np.ndarray:
    """Xβ + offset + Zb (m, n)."""
    total = beta @ part.fixed[kept] + part.offset
    for incidence, b in zip(part.incidences, effects, strict=True):
        incidence.add_to(total, b)
    return total
