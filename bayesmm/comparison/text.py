"""A comparison in a terminal of a hundred columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from bayesmm.comparison.report import Report, Section

WIDTH = 100
STRIP = 25  # characters of a line that shows shrinkage, odd so that zero has a place
NAME = 30  # longer names stand on a line of their own
INDENT = 2
GAP = "  "  # before a group of columns; within one it is a blank
EFFECT_HEADS = ("alone", "BLUP", "sd", "mean", "sd", "shift")


def write_text(report: Report) -> str:
    """Write a report as plain text.

    Parameters
    ----------
    report : Report
        What to say.

    Returns
    -------
    str
        Lines of at most a hundred characters, unless names or numbers are very long.
    """
    lines = [report.title, *(f"  {fact}" for fact in report.facts), "", *_parameters(report), ""]
    for note in report.notes:
        lines += textwrap.wrap(note, WIDTH, initial_indent="• ", subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join([*lines, *_effects(report)])


def _parameters(report: Report) -> list[str]:
    interval = f"{report.level * 100:g} % interval"
    columns = _Columns(
        heads=("estimate", "s.e.", interval, "mean", "sd", interval, "shift", "R-hat", "ESS"),
        spans=((report.method, 3), ("posterior", 3), ("", 3)),
        rows=[(row.name, _join_intervals(row.cells)) for section in report.parameters for row in section.rows],
    )
    lines = columns.head()
    for section in report.parameters:
        lines.append(section.heading)
        for row in section.rows:
            lines += columns.row(row.name, _join_intervals(row.cells))
    return [*lines, "shift: (posterior mean − estimate) / posterior sd;  ESS: effective draws, bulk"]


def _join_intervals(cells: Sequence[str]) -> tuple[str, ...]:
    """Put the limits of both intervals into one cell each."""
    estimate, error, *fit, mean, sd, lower, upper, shift, r_hat, ess = cells
    return estimate, error, _interval(*fit), mean, sd, _interval(lower, upper), shift, r_hat, ess


def _interval(lower: str, upper: str) -> str:
    return "–" if lower == upper == "–" else f"{lower}, {upper}"


def _effects(report: Report) -> list[str]:
    lines: list[str] = []
    for section in report.effects:
        lines += ["", *_excerpt(section, report.method)]
    if lines:
        lines.append(
            "alone: from the level's own rows, all else as fitted (○);  BLUP: partially pooled (●);  │ average"
        )
    return lines


def _excerpt(section: Section, method: str) -> list[str]:
    columns = _Columns(
        heads=EFFECT_HEADS,
        spans=((method, 3), ("posterior", 2), ("", 1)),
        rows=[(row.name, row.cells) for row in section.rows],
    )
    lines = [section.heading, *columns.head()]
    for row in section.rows:
        *name, numbers = columns.row(row.name, row.cells)
        lines += [*name, f"{numbers}   {strip(*row.marks)}".rstrip()]
    return lines


class _Columns:
    """Right-aligned columns under heads, in groups that have a name and stand a little apart."""

    def __init__(
        self,
        *,
        heads: Sequence[str],
        spans: Sequence[tuple[str, int]],
        rows: Sequence[tuple[str, Sequence[str]]],
    ) -> None:
        self._heads = heads
        self._spans = spans
        self._left = INDENT + max((len(name) for name, _ in rows if len(name) <= NAME), default=0)
        self._widths = [max(len(head), *(len(cells[i]) for _, cells in rows)) for i, head in enumerate(heads)]
        self._starts = [sum(size for _, size in spans[:i]) for i in range(len(spans))]
        for start, (name, size) in zip(self._starts, spans, strict=True):
            self._widths[start] += max(0, len(name) + 4 - self._span(start, size))

    def _span(self, start: int, size: int) -> int:
        return sum(self._widths[start : start + size]) + size - 1

    def head(self) -> list[str]:
        """Return the names of the groups over rules, and the heads of the columns."""
        line = " " * self._left
        for start, (name, size) in zip(self._starts, self._spans, strict=True):
            line += GAP + (f" {name} ".center(self._span(start, size), "─") if name else "")
        return [line.rstrip(), self._line("", self._heads)]

    def row(self, name: str, cells: Sequence[str]) -> list[str]:
        """Return a line; two if the name is long."""
        return [self._line(name, cells)] if len(name) <= NAME else [f"{' ' * INDENT}{name}", self._line("", cells)]

    def _line(self, name: str, cells: Sequence[str]) -> str:
        line = f"{' ' * INDENT}{name}".ljust(self._left)
        for i, (cell, width) in enumerate(zip(cells, self._widths, strict=True)):
            line += (GAP if i in self._starts else " ") + cell.rjust(width)
        return line


def strip(alone: float, pooled: float) -> str:
    """Draw where an effect lies before (○) and after (●) pooling; zero is in the middle, ±1 at the ends.

    Parameters
    ----------
    alone, pooled : float
        Positions between −1 and 1; NaN draws nothing.

    Returns
    -------
    str
        Of 25 characters.
    """
    half = STRIP // 2

    def place(value: float) -> int:
        return half + round(half * min(max(value, -1.0), 1.0))

    characters = [" "] * STRIP
    characters[half] = "│"
    if not (math.isnan(alone) or math.isnan(pooled)):
        low, high = sorted((place(alone), place(pooled)))
        characters[low:high] = "─" * (high - low)
        characters[place(alone)] = "○"
    if not math.isnan(pooled):
        characters[place(pooled)] = "●"
    return "".join(characters)
