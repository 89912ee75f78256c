"""A bootstrap as a person wants to read it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesmm.inference.bootstrap.intervals import IntervalKind
from bayesmm.inference.bootstrap.tree import Replicated
from bayesmm.presenting.intervals import interval_head
from bayesmm.presenting.numbers import write_intervals, write_like
from bayesmm.presenting.parts import Column, Interval, Table, facts, notes, warnings
from bayesmm.presenting.report import Report

METHODS = {"reml": "REML", "ml": "maximum likelihood"}
WHAT = {
    "parametric": "effects and residuals drawn from the estimates",
    "residual": "predicted effects and residuals resampled",
}
WHITENED = "residuals resampled once they were made uncorrelated, with their covariance given back"
MANY_AT_ZERO = 0.02  # share of replicates with a variance of zero from which on intervals for it are not to be trusted
FEW = 200  # replicates, below which tail quantiles are noise
FEW_LEVELS = 15


def build_report(found: Replicated, table: pd.DataFrame, kind: IntervalKind, level: float) -> Report:
    """Summarise a bootstrap; see `Bootstrap.summary`."""
    n, failed = len(found.replicates), int(found.failed.sum())
    whole = "families" if found.problem.design.relations else "levels"
    what = WHAT.get(found.kind, f"{whole} of {found.group} resampled with all their rows")
    if found.kind == "residual" and found.problem.design.residual is not None:
        what = WHITENED if not found.problem.design.blocks else f"predicted effects and {WHITENED}"
    return Report(
        title=f"{found.kind.capitalize()} bootstrap of {found.problem.design.specification.shown}",
        parts=(
            facts((f"{n} replicates fitted by {METHODS[found.method]}, {what}; seed {found.seed}",)),
            warnings((f"{failed} of {n} refits failed; all numbers are those of the others.",) if failed else ()),
            _table(table, kind, level),
            notes(_notes(found, table, kind)),
        ),
    )


def _table(table: pd.DataFrame, kind: IntervalKind, level: float) -> Table:
    rows = table.to_dict("records")
    name = {"percentile": "percentile", "basic": "basic", "bca": "BCa"}[kind]
    return Table(
        names=[str(each) for each in table.index],
        columns=(
            *(
                Column(head=column, cells=[write_like(row[column], row["std_error"]) for row in rows])
                for column in ("estimate", "bias", "std_error")
            ),
            Interval(
                head=interval_head(level),
                cells=write_intervals(*(table[column] for column in ("lower", "upper", "estimate", "std_error"))),
            ),
        ),
        caption=f"Estimates of the data, with {name} intervals",
        where="bootstrap.parameters",
    )


def _notes(found: Replicated, table: pd.DataFrame, kind: IntervalKind) -> Sequence[str]:
    said, values = [], found.replicates[~found.failed]
    rows, n = found.labels.parameter_rows(), len(values)
    for row, own in zip(rows, values.T, strict=True):
        undefined = int(np.isnan(own).sum())
        zero = int((own <= ZERO * np.nanmax(own, initial=0.0)).sum()) if row.kind == "sd" else 0
        if undefined:
            said.append(
                f"{row.name} is not defined in {undefined} of {n} replicates, where a standard deviation is zero; its "
                "numbers are those of the others."
            )
        if zero > MANY_AT_ZERO * n:
            said.append(
                f"{row.name} is zero in {zero} of {n} replicates: near the boundary bootstrap intervals for it do not "
                "have their coverage."
            )
    if kind == "bca" and table["lower"].isna().to_numpy().any():
        said.append("No BCa interval where an estimate is on the boundary, or its acceleration cannot be found.")
    if n < FEW:
        said.append(f"{n} replicates are few for the limits of intervals; 1000 are usual.")
    if found.kind != "parametric":
        blocks = found.problem.design.blocks
        few = [block for block in blocks if block.q < FEW_LEVELS and (found.group in (None, block.group))]
        said += [
            f"{block.group} has {block.q} levels only: what is resampled from so few is too narrow; prefer "
            "kind='parametric'."
            for block in few
        ]
    return said


ZERO = 1e-6
