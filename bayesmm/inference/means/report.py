"""Margins as a person wants to read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesmm.design.reading.dtypes import level_text
from bayesmm.presenting.intervals import interval_head
from bayesmm.presenting.numbers import decimals_for, write_column, write_intervals, write_like, write_number, write_p
from bayesmm.presenting.parts import AnyColumn, Column, Interval, Table, facts, notes
from bayesmm.presenting.report import Report

PLACES = {"r_hat": 3, "ess_bulk": 0, "ess_tail": 0}  # decimals


def build_report(
    *,
    title: str,
    lines: Sequence[str],
    labels: pd.DataFrame,
    by: Sequence[str],
    groups: Sequence[slice],
    table: pd.DataFrame,
    level: float,
    remarks: Sequence[str],
) -> Report:
    """Write a table of margins, one section a group."""
    inside = [name for name in labels if name not in by]
    first, *others = inside or [labels.columns[0]]
    words = [
        Column(head=str(name), cells=[write_label(value) for value in labels[name]], is_words=True) for name in others
    ]
    numbers = _draw_columns(table, level) if "mean" in table else _estimate_columns(table, level)
    headings = {
        group.start: ", ".join(f"{name} = {write_label(labels[name].iloc[group.start])}" for name in by)
        for group in groups
        if by
    }
    return Report(
        title=title,
        parts=(
            facts(lines),
            Table(
                names=[write_label(value) for value in labels[first]],
                columns=[*words, *numbers],
                head=str(first),
                headings=headings,
                where="its table",
            ),
            notes(remarks),
        ),
    )


def write_label(value: object) -> str:
    """Write a level or a number."""
    return f"{value:.6g}" if isinstance(value, float) else level_text(value)


def _estimate_columns(table: pd.DataFrame, level: float) -> list[AnyColumn]:
    spreads = table["std_error"].to_list()
    columns: list[AnyColumn] = [
        Column(head=name, cells=[write_like(value, spread) for value, spread in zip(table[name], spreads, strict=True)])
        for name in ("estimate", "std_error")
    ]
    is_normal = bool(np.isinf(table["df"]).any())
    if not is_normal:
        columns.append(Column(head="df", cells=[write_number(value, 1) for value in table["df"]]))
    if "statistic" in table:
        columns.append(
            Column(head="z" if is_normal else "t", cells=[write_number(value, 2) for value in table["statistic"]])
        )
        columns.append(Column(head="p", cells=[write_p(value) for value in table["p_value"]]))
    return [*columns, _interval(table, "estimate", "std_error", level)]


def _draw_columns(table: pd.DataFrame, level: float) -> list[AnyColumn]:
    decimals = [decimals_for(sd) for sd in table["sd"]]
    columns: list[AnyColumn] = [Column(head=name, cells=write_column(table[name], decimals)) for name in ("mean", "sd")]
    columns.append(_interval(table, "mean", "sd", level))
    known = set(table.dropna(axis="columns", how="all"))
    return columns + [
        Column(head=name, cells=write_column(table[name], places)) for name, places in PLACES.items() if name in known
    ]


def _interval(table: pd.DataFrame, centre: str, spread: str, level: float) -> Interval:
    limits = write_intervals(*(table[name] for name in ("lower", "upper", centre, spread)))
    return Interval(head=interval_head(level), cells=limits)
