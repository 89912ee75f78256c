"""A comparison in a terminal: side by side in a hundred columns, with the intervals below where there are fewer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bayesmm.comparison.report import Report, Section
from bayesmm.console import INDENT, LONGEST_NAME, Column, cells, columns, fold, name_width, pad, row

STRIP = 25  # characters of a line that shows shrinkage, odd so that zero has a place
SHORTEST_STRIP = 9
GAP = 2  # blanks before a group of columns; within one it is one
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
        Lines as wide as the terminal.
    """
    lines = fold(report.title, then="    ")
    lines += [line for fact in report.facts for line in fold(fact, first="  ", then="    ")]
    lines += ["", *_parameters(report), ""]
    lines += [line for note in report.notes for line in fold(note, first="• ", then="  ")]
    return "\n".join([*lines, *_effects(report)])


def _parameters(report: Report) -> list[str]:
    """Write the table of the parameters, or two where one is too wide: the intervals come below."""
    interval = f"{report.level * 100:g} % interval"
    heads = ("estimate", "s.e.", interval, "mean", "sd", interval, "shift", "R-hat", "ESS")
    rows = [_join_intervals(row.cells) for section in report.parameters for row in section.rows]
    whole = _Table(report, heads, rows, (("method", (0, 1, 2)), ("posterior", (3, 4, 5)), ("", (6, 7, 8))))
    if whole.fits:
        lines = whole.write()
    else:
        numbers = _Table(report, heads, rows, (("method", (0, 1)), ("posterior", (3, 4)), ("", (6, 7, 8))))
        intervals = _Table(report, heads, rows, (("method", (2,)), ("posterior", (5,))))
        lines = [*numbers.write(), "", *intervals.write()]
    return [*lines, *fold("shift: (posterior mean − estimate) / posterior sd;  ESS: effective draws, bulk", then="  ")]


def _join_intervals(cells: Sequence[str]) -> tuple[str, ...]:
    """Put the limits of both intervals into one cell each."""
    estimate, error, *fit, mean, sd, lower, upper, shift, r_hat, ess = cells
    return estimate, error, _interval(*fit), mean, sd, _interval(lower, upper), shift, r_hat, ess


def _interval(lower: str, upper: str) -> str:
    return "–" if lower == upper == "–" else f"{lower}, {upper}"


class _Table:
    """Some columns of the table of the parameters, under the names of their groups."""

    def __init__(
        self,
        report: Report,
        heads: Sequence[str],
        rows: Sequence[Sequence[str]],
        groups: Sequence[tuple[str, Sequence[int]]],
    ) -> None:
        self._sections = report.parameters
        self._columns = _Columns(
            names=[row.name for section in report.parameters for row in section.rows],
            groups=[(report.method if name == "method" else name, positions) for name, positions in groups],
            heads=heads,
            rows=rows,
        )

    @property
    def fits(self) -> bool:
        """Whether names of usual length stand beside their numbers."""
        return self._columns.fits

    def write(self) -> list[str]:
        """Return the heads, and each section under its heading."""
        lines, i = self._columns.head(), 0
        for section in self._sections:
            lines += fold(section.heading)
            for _ in section.rows:
                lines += self._columns.row(i)
                i += 1
        return lines


def _effects(report: Report) -> list[str]:
    lines: list[str] = []
    drawn = False
    for section in report.effects:
        excerpt, drawn = _excerpt(section, report.method)
        lines += ["", *excerpt]
    legend = ("alone: from the level's own rows, all else as fitted", "BLUP: partially pooled")
    if drawn:
        legend = (f"{legend[0]} (○)", f"{legend[1]} (●)", "│ average")
    return lines + (fold(";  ".join(legend), then="  ") if lines else [])


def _excerpt(section: Section, method: str) -> tuple[list[str], bool]:
    """Return the lines of one grouping factor, and whether shrinkage is drawn in them."""
    table = _Columns(
        names=[row.name for row in section.rows],
        groups=((method, (0, 1, 2)), ("posterior", (3, 4)), ("", (5,))),
        heads=EFFECT_HEADS,
        rows=[row.cells for row in section.rows],
    )
    room = min(columns() - table.width - 3, STRIP)
    size = room if room % 2 else room - 1
    drawn = size >= SHORTEST_STRIP
    lines = [*fold(section.heading), *table.head()]
    for i, each in enumerate(section.rows):
        *name, numbers = table.row(i)
        lines += [*name, f"{pad(numbers, table.width)}   {strip(*each.marks, size)}".rstrip() if drawn else numbers]
    return lines, drawn


class _Columns:
    """Right-aligned columns under heads, in groups that have a name and stand a little apart."""

    def __init__(
        self,
        *,
        names: Sequence[str],
        groups: Sequence[tuple[str, Sequence[int]]],
        heads: Sequence[str],
        rows: Sequence[Sequence[str]],
    ) -> None:
        self._names = names
        self._groups: list[tuple[str, list[Column]]] = []
        for name, positions in groups:
            group = [
                Column(head=heads[i], cells=[each[i] for each in rows], gap=1 if i > positions[0] else GAP)
                for i in positions
            ]
            lacking = len(name) + 4 - _size(group) + GAP if name else 0
            first = group[0]
            self._groups.append(
                (name, [Column(head=first.head.rjust(first.width + lacking), cells=first.cells, gap=GAP), *group[1:]])
            )
        others = sum(_size(group) for _, group in self._groups)
        self._width = columns()
        self._left = name_width(names, others, self._width)
        self.width = INDENT + self._left + others

    @property
    def fits(self) -> bool:
        """Whether all names of at most thirty characters stand beside their numbers."""
        usual = [cells(name) for name in self._names if cells(name) <= LONGEST_NAME]
        return self.width <= self._width and self._left >= max(usual, default=0)

    def head(self) -> list[str]:
        """Return the names of the groups over rules, and the heads of the columns."""
        over, heads = " " * (INDENT + self._left), " " * (INDENT + self._left)
        for name, group in self._groups:
            over += " " * GAP + (f" {name} ".center(_size(group) - GAP, "─") if name else "")
            heads += "".join(each.write(each.head) for each in group)
        return [over.rstrip(), heads]

    def row(self, i: int) -> list[str]:
        """Return the lines of one row: one, unless its name is long."""
        numbers = "".join(each.write(each.cells[i]) for _, group in self._groups for each in group)
        return row(self._names[i], numbers, self._left, self._width)


def _size(group: Sequence[Column]) -> int:
    return sum(each.gap + each.width for each in group)


def strip(alone: float, pooled: float, size: int = STRIP) -> str:
    """Draw where an effect lies before (○) and after (●) pooling; zero is in the middle, ±1 at the ends.

    Parameters
    ----------
    alone, pooled : float
        Positions between −1 and 1; NaN draws nothing.
    size : int
        Characters, an odd number.

    Returns
    -------
    str
        Of that many characters.
    """
    half = size // 2

    def place(value: float) -> int:
        return half + round(half * min(max(value, -1.0), 1.0))

    characters = [" "] * size
    characters[half] = "│"
    if not (math.isnan(alone) or math.isnan(pooled)):
        low, high = sorted((place(alone), place(pooled)))
        characters[low:high] = "─" * (high - low)
        characters[place(alone)] = "○"
    if not math.isnan(pooled):
        characters[place(pooled)] = "●"
    return "".join(characters)
