"""A posterior as a person wants to read it, in a terminal and in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesmm.presenting.intervals import check_level, interval_head
from bayesmm.presenting.numbers import decimals_for, write_column
from bayesmm.presenting.parts import AnyColumn, Column, Interval, Table, facts, notes, warnings
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior

PLACES = {"r_hat": 3, "ess_bulk": 0, "ess_tail": 0}  # decimals


def build_summary(posterior: Posterior, level: float) -> Report:
    """Summarise a posterior; see `Posterior.summary`."""
    level = check_level(level)
    diagnostics = posterior.diagnostics
    good = diagnostics.is_good
    return Report(
        title=f"Posterior of {posterior.design.specification.shown}",
        parts=(
            facts(_facts(posterior)),
            warnings(() if good else (diagnostics.advice,)),
            _parameter_table(posterior, level),
            notes((diagnostics.advice, *posterior.notes) if good else posterior.notes),
        ),
    )


def _facts(posterior: Posterior) -> list[str]:
    groups = ", ".join(f"{block.group} {len(block.levels)}" for block in posterior.labels.blocks)
    sources = sorted({row.source for row in posterior.priors.rows})
    lines = [f"{posterior.n} rows; levels: {groups}", f"{posterior.origin}; priors: {' and '.join(sources)}"]
    if posterior.priors.fixed_sigma is not None:
        lines.append(f"sigma is fixed at {posterior.priors.fixed_sigma:g}")
    return lines


def _parameter_table(posterior: Posterior, level: float) -> Table:
    """Show the parameter table without columns that are unknown, such as the R̂ of independent draws."""
    table = posterior.parameter_table(level=level)
    decimals = [decimals_for(sd) for sd in table["sd"]]
    known = set(table.dropna(axis="columns", how="all"))
    columns: list[AnyColumn] = [Column(head=name, cells=write_column(table[name], decimals)) for name in ("mean", "sd")]
    lower, upper = (write_column(table[end], decimals) for end in ("lower", "upper"))
    columns.append(Interval(head=interval_head(level), cells=list(zip(lower, upper, strict=True))))
    columns += [
        Column(head=name, cells=write_column(table[name], places)) for name, places in PLACES.items() if name in known
    ]
    return Table(names=[str(name) for name in table.index], columns=columns, where="posterior.parameters")
