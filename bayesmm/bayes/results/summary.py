"""A posterior as a person wants to read it, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bayesmm.bayes.results.diagnostics import Diagnostics
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.presenting.intervals import interval_head
from bayesmm.presenting.numbers import decimals_for, write_column, write_intervals
from bayesmm.presenting.parts import AnyColumn, Column, Interval, Table, facts, notes, warnings
from bayesmm.presenting.report import Report

PLACES = {"r_hat": 3, "ess_bulk": 0, "ess_tail": 0}  # decimals


def build_summary(
    drawn: DrawnModel,
    table: pd.DataFrame,
    diagnostics: Diagnostics,
    *,
    origin: str,
    remarks: Sequence[str],
    level: float,
) -> Report:
    """Summarise a posterior, from its table of parameters with intervals of that level; see `Posterior.summary`."""
    good = diagnostics.is_good
    return Report(
        title=f"Posterior of {drawn.design.specification.shown}",
        parts=(
            facts(_facts(drawn, origin)),
            warnings(() if good else (diagnostics.advice,)),
            _parameter_table(table, level),
            notes((diagnostics.advice, *remarks) if good else remarks),
        ),
    )


def _facts(drawn: DrawnModel, origin: str) -> list[str]:
    levels = ", ".join(f"{group} {n}" for group, n in drawn.labels.n_levels.items())
    sources = sorted({row.source for row in drawn.priors.rows})
    rows = f"{drawn.design.n} rows"
    lines = [f"{rows}; levels: {levels}" if levels else rows, f"{origin}; priors: {' and '.join(sources)}"]
    if drawn.priors.on_sigma:
        lines.append(drawn.priors.on_sigma)
    lines += [f"the covariance of {term} is known" for term in drawn.design.known_terms]
    return lines


def _parameter_table(table: pd.DataFrame, level: float) -> Table:
    """Show the parameter table without columns that are unknown, such as the R̂ of independent draws."""
    decimals = [decimals_for(sd) for sd in table["sd"]]
    known = set(table.dropna(axis="columns", how="all"))
    columns: list[AnyColumn] = [Column(head=name, cells=write_column(table[name], decimals)) for name in ("mean", "sd")]
    limits = write_intervals(*(table[name] for name in ("lower", "upper", "mean", "sd")))
    columns.append(Interval(head=interval_head(level), cells=limits))
    columns += [
        Column(head=name, cells=write_column(table[name], places)) for name, places in PLACES.items() if name in known
    ]
    return Table(names=[str(name) for name in table.index], columns=columns, where="posterior.parameters")
