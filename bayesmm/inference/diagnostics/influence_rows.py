"""Standardised residuals and influence of rows that are read chunk by chunk, written as they come."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from bayesmm.inference.diagnostics.deletion import delete_rows
from bayesmm.inference.diagnostics.influence import measures, user_changes
from bayesmm.inference.diagnostics.residuals import standardise
from bayesmm.inference.diagnostics.row_view import RowView
from bayesmm.inference.eliminated import eliminate_fit
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.leave_out.row_groups import condition_rows
from bayesmm.marginal.residual.through_rows import Eliminated
from bayesmm.marginal.sums.rows import BlockArrays
from bayesmm.marginal.sums.totals import ChunkRows
from bayesmm.presenting.progress import Bar
from bayesmm.rows.by_rows import RowsOf
from bayesmm.rows.predicting import beside, writing
from bayesmm.rows.scan import scan

AT_ONCE = 4_000_000  # numbers in the covariances of the coefficients without each row: 32 MB, of which some copies
NAMES = (
    *("standardised", "leverage", "cooks_distance", "mdffits", "covariance_ratio", "covariance_trace"),
    *("statistic", "p_value"),
)


def write_influence(fit: Fitted, rows: Any, to: str | os.PathLike[str], bar: Bar) -> Path:
    """Leave out each row of those that are read chunk by chunk; see `bayesmm.fit.fit.Fit.influence_rows`."""
    source = scan(rows)
    every, at = RowsOf(fit.problem.sums.summed, source), eliminate_fit(fit)
    names = [*(f".{name}" for name in NAMES), *(f".dfbetas({name})" for name in fit.labels.coefficients)]
    size = max(AT_ONCE // max(at.p, 1) ** 2, 1)
    with writing(to, source) as write:
        for chunk, complete, part in every.chunks(size, beside=True):
            found = np.full((len(names), chunk.table.num_rows), np.nan)
            if part is not None:
                own = [
                    _measure(fit, at, part.rows(slice(start, start + size))) for start in range(0, len(part.y), size)
                ]
                found[:, complete] = np.concatenate(own, axis=1)
                bar.advance(len(part.y))
            write(beside(chunk, dict(zip(names, found, strict=True))))
        every.check()
    return Path(to)


def _measure(fit: Fitted, at: Eliminated, part: ChunkRows) -> np.ndarray:
    """Return all columns (c, n) of some rows."""
    blocks = [BlockArrays(incidence=each, pieces=()) for each in part.incidences]
    kept = fit.design.kept
    rows = condition_rows(part.fixed[kept].T, part.y, part.weights, blocks, at.products)
    view = RowView(at=at.of_rows(rows), stacks=(), roots=(), weights=part.weights)
    deleted = delete_rows(view)
    change, variance = user_changes(fit, at, deleted)
    of_row = measures(fit, at, deleted, change, variance)
    of_row["standardised"] = standardise(view.residual, fit.sigma**2 * view.left, fit.sigma**2)
    dfbetas = change / np.sqrt(np.einsum("gii->gi", variance))
    return np.concatenate([np.stack([of_row[name] for name in NAMES]), dfbetas.T])
