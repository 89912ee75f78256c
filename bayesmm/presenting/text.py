"""A report in a terminal: paragraphs and tables as wide as it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from bayesmm.console import INDENT, LONGEST_NAME, cells, columns, fold, name_width, pad, row, table, visible
from bayesmm.console import Column as TextColumn
from bayesmm.presenting.parts import (
    FIRST_ROWS,
    LAST_ROWS,
    MOST_ROWS,
    AnyColumn,
    Column,
    Interval,
    Part,
    Shrinkage,
    Table,
    Words,
)

STRIP = 25  # characters of a line that shows shrinkage, odd so that zero has a place
SHORTEST_STRIP = 9
GAP = 2  # blanks before a group of columns; within one it is one
CLOSE = ("facts", "legend")  # stand directly below what is before them


def write_text(title: str, parts: Sequence[Part]) -> str:
    """Write a report as plain text.

    Parameters
    ----------
    title : str
        What it is about.
    parts : sequence of Words and Table
        What is said of it.

    Returns
    -------
    str
        Lines as wide as the terminal.
    """
    lines, before = fold(title, then="    "), "title"
    for part in parts:
        if isinstance(part, Words) and not part.texts:
            continue
        role = part.role if isinstance(part, Words) else "table"
        lines += [] if role in CLOSE or before == "heading" else [""]
        lines += _words(part) if isinstance(part, Words) else write_table(part)
        before = role
    return "\n".join(lines)


def _words(words: Words) -> list[str]:
    match words.role:
        case "facts":
            return _folded(words.texts, first="  ", then="    ")
        case "warnings":
            return _folded((f"Warning: {text}" for text in words.texts), then="  ")
        case "notes":
            return _folded(words.texts, first="• ", then="  ")
        case "steps":
            starts = [f"  {number}. " for number in range(1, len(words.texts) + 1)]
            return [
                line
                for start, text in zip(starts, words.texts, strict=True)
                for line in fold(text, first=start, then=" " * len(start))
            ]
        case "equations":
            return [visible(text) for text in words.texts]
        case "heading":
            return _folded(words.texts)
        case "paragraph":
            return _folded(words.texts, first="  ", then="  ")
        case "legend":
            return _folded(words.texts, then="  ")


def _folded(texts: Iterable[str], *, first: str = "", then: str = "") -> list[str]:
    return [line for text in texts for line in fold(text, first=first, then=then)]


def write_table(each: Table) -> list[str]:
    """Write one table as lines, its caption first; of a long one the first rows and the last, as a page has them."""
    n = len(each.names)
    if n > MOST_ROWS and not each.is_whole:
        where = f": all are in {each.where}" if each.where else ""
        said = (
            f"{n - FIRST_ROWS - LAST_ROWS:,} rows between the first {FIRST_ROWS} and the last {LAST_ROWS} are not shown"
        )
        return [*write_table(_shorten(each)), *fold(f"… {said}{where} …", first="  ", then="  ")]
    lines = fold(each.caption) if each.caption else []
    if not each.names:
        return [*lines, "  (none)"]
    if each.headings or any(_over(column) or isinstance(column, Shrinkage) for column in each.columns):
        return [*lines, *_grouped(each)]
    return [*lines, *_plain(each)]


def _shorten(each: Table) -> Table:
    """Keep the first rows and the last, and the headings that the rows shown stand under."""
    n = len(each.names)
    kept = [*range(FIRST_ROWS), *range(n - LAST_ROWS, n)]
    headings = {}
    for start, text in sorted(each.headings.items()):
        new = next((i for i, row in enumerate(kept) if row >= start), None)
        if new is not None:
            headings[new] = text  # of several headings between, the last is that of the row
    return replace(
        each, names=[each.names[i] for i in kept], columns=[_at(c, kept) for c in each.columns], headings=headings
    )


def _at(column: AnyColumn, kept: Sequence[int]) -> AnyColumn:
    if isinstance(column, Shrinkage):
        return replace(column, marks=[column.marks[i] for i in kept], labels=[column.labels[i] for i in kept])
    if isinstance(column, Interval):
        return replace(column, cells=[column.cells[i] for i in kept])
    return replace(column, cells=[column.cells[i] for i in kept])


def _plain(each: Table) -> list[str]:
    """Write columns side by side, closer together where that lets names stand beside their numbers."""
    texts = [
        TextColumn(head=column.head, cells=column.texts, is_words=isinstance(column, Column) and column.is_words)
        for column in each.columns
        if not isinstance(column, Shrinkage)
    ]
    left = [*each.names]
    if each.groups_rows:
        left = [name if i == 0 or name != left[i - 1] else "" for i, name in enumerate(left)]
    names = max(cells(visible(name)) for name in (each.head, *each.names))
    if INDENT + names + _size(texts) > columns():
        return table(left, [replace(text, gap=1) for text in texts], head=visible(each.head), indent=0)
    return table(left, texts, head=visible(each.head))


def _over(column: AnyColumn) -> str:
    return "" if isinstance(column, Shrinkage) else column.over


def _grouped(each: Table) -> list[str]:
    """Write columns under the names of their groups; in two parts where they are too wide, the intervals below."""
    numbers = [column for column in each.columns if not isinstance(column, Shrinkage)]
    intervals = [column for column in numbers if isinstance(column, Interval)]
    if _Columns(each.names, numbers).fits or not intervals:
        divided = [numbers]
    else:
        divided = [[column for column in numbers if not isinstance(column, Interval)], intervals]
    lines: list[str] = []
    for part in (narrow for wide in divided for narrow in _narrow(each.names, wide)):
        lines += [*([""] if lines else []), *_rows(each, _Columns(each.names, part))]
    return lines


def _narrow(names: Sequence[str], numbers: Sequence[Column | Interval]) -> list[list[Column | Interval]]:
    """Divide columns into parts that are no wider than the terminal, where it is a narrow one."""
    parts: list[list[Column | Interval]] = [[]]
    for column in numbers:
        if parts[-1] and _Columns(names, [*parts[-1], column]).width > columns():
            parts.append([])
        parts[-1].append(column)
    return parts


def _rows(each: Table, written: _Columns) -> list[str]:
    """Write the heads, and each row below its heading, with a picture where there is room for one."""
    pictures = next((column for column in each.columns if isinstance(column, Shrinkage)), None)
    room = min(columns() - written.width - 3, STRIP)
    size = room if room % 2 else room - 1
    lines = written.head()
    for i in range(len(each.names)):
        lines += fold(each.headings[i]) if i in each.headings else []
        *name, numbers = written.row(i)
        if pictures is not None and size >= SHORTEST_STRIP:
            numbers = f"{pad(numbers, written.width)}   {strip(*pictures.marks[i], size)}".rstrip()
        lines += [*name, numbers]
    return lines


class _Columns:
    """Right-aligned columns under heads, in groups that have a name and stand a little apart."""

    def __init__(self, names: Sequence[str], columns_: Sequence[Column | Interval]) -> None:
        self._names = names
        self._groups: list[tuple[str, list[TextColumn]]] = []
        for name, members in _neighbours(columns_):
            group = [
                TextColumn(head=member.head, cells=member.texts, gap=1 if i else GAP)
                for i, member in enumerate(members)
            ]
            lacking = len(name) + 4 - _size(group) + GAP if name else 0
            wide = TextColumn(head=group[0].head.rjust(group[0].width + lacking), cells=group[0].cells, gap=GAP)
            self._groups.append((name, [wide, *group[1:]]))
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


def _neighbours(columns_: Sequence[Column | Interval]) -> list[tuple[str, list[Column | Interval]]]:
    """Columns in a row that have the same name over them."""
    groups: list[tuple[str, list[Column | Interval]]] = []
    for column in columns_:
        if not groups or groups[-1][0] != column.over:
            groups.append((column.over, []))
        groups[-1][1].append(column)
    return groups


def _size(group: Sequence[TextColumn]) -> int:
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
