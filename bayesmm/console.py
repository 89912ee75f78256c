r"""Text for a terminal: names that it does not obey, paragraphs and tables as wide as it is, messages of a screen.

Names of columns and levels, and notes in files, come from strangers. What they hold besides characters that can be
seen is written as Python would write it, ``\x1b`` or ``\u202e``, and never sent.
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from bayesmm.limits import MESSAGE_COLUMNS, MESSAGE_LINES, NAME_COLUMNS, NAMES_LISTED

USUAL_COLUMNS = 80  # where no terminal can be asked: pipes, files, notebooks
MOST_COLUMNS = 100
LEAST_COLUMNS = 40
LONGEST_NAME = 30  # at the left of a table; longer names stand on a line of their own if there is not room enough
SHORTEST_NAME = 12
INDENT = 2  # of a table
WORDS = re.compile(r"(?:\S| (?=%))+")  # a number and its "%" stay together
# Letters and marks that are drawn as nothing: fillers of Hangul, selectors of variants, the grapheme joiner.
UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
JOINERS = "\u200c\u200d"
HEAD, TAIL = 560, 280  # characters of a message that is too long, each of up to two columns


def visible(text: str) -> str:
    r"""Return a text with everything that a terminal obeys or does not draw written as an escape.

    Parameters
    ----------
    text : str
        A name, a cell or a paragraph; a line break in it is one of somebody's name.

    Returns
    -------
    str
        Control characters (C0, C1, the escape character), line and paragraph separators, marks of direction,
        characters of no width and halves of surrogate pairs are written ``\x1b``, ``\u2028``, ``\u202e``; all others
        stay. Joiners stay where a script or an emoji needs them: after Arabic letters, viramas and pictures.
    """
    if text.isprintable() and not UNSEEN.search(text):
        return text
    return "".join(map(_shown, text, " " + text))


def _shown(character: str, before: str) -> str:
    category = unicodedata.category(character)
    if UNSEEN.match(character):
        of_picture = unicodedata.category(before) in ("So", "Sm", "Lo") and unicodedata.category(character) == "Mn"
        stays = of_picture and character != "\u034f"  # a selector chooses how the character before it is drawn
    elif character in JOINERS:
        stays = (
            unicodedata.bidirectional(before) == "AL"
            or unicodedata.combining(before) == 9  # virama
            or unicodedata.category(before) in ("So", "Sk")
            or before == "\ufe0f"
        )
    else:
        stays = category == "Zs" or character.isprintable()
    return character if stays else character.encode("unicode_escape").decode("ascii")


def listing(names: Collection[object], most: int = NAMES_LISTED, *, quoted: bool = False) -> str:
    """List names in a sentence: the first of them, and how many more there are.

    Parameters
    ----------
    names : collection
        What is listed, each as `str` writes it.
    most : int
        How many are written out.
    quoted : bool
        Whether they stand in quotation marks.

    Returns
    -------
    str
        ``"a, b and 15,990 more"``; long names are cut.
    """
    shown = ", ".join(brief((repr if quoted else str)(name)) for name in islice(names, most))
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def brief(name: str, most: int = NAME_COLUMNS) -> str:
    """Return a name as a terminal may have it, its middle left out if it is long."""
    if len(name) > 2 * most:
        name = f"{name[:most]} ... {name[-most:]}"
    text = visible(name)
    return text if len(text) <= most else f"{text[: most * 2 // 3]} ... {text[-(most // 4) :]}"


def quoted(name: str) -> str:
    """Return a name in quotation marks, cut if it is long."""
    return brief(repr(name))


def screenful(text: str) -> str:
    """Return a message as a terminal may have it, its middle left out where it is longer than a screen.

    Parameters
    ----------
    text : str
        Lines.

    Returns
    -------
    str
        The same lines, or one paragraph: the beginning, and the end, where the advice is.
    """
    size = len(text)
    if size > 2 * MESSAGE_LINES * MESSAGE_COLUMNS:  # before time is spent on what is not shown
        text = f"{text[: MESSAGE_LINES * MESSAGE_COLUMNS]} {text[-MESSAGE_LINES * MESSAGE_COLUMNS :]}"
    lines = [visible(line) for line in text.split("\n")]
    if size == len(text) and sum(max(-(-cells(line) // MESSAGE_COLUMNS), 1) for line in lines) <= MESSAGE_LINES:
        return "\n".join(lines)
    whole = " ".join(lines)
    return f"{whole[:HEAD].rstrip()} ... ({size:,} characters in all) ... {whole[-TAIL:].lstrip()}"


def columns() -> int:
    """Return the width that text is written for: that of the terminal, or what ``COLUMNS`` says, from 40 to 100."""
    found = shutil.get_terminal_size((USUAL_COLUMNS, 24)).columns
    return min(max(found, LEAST_COLUMNS), MOST_COLUMNS)


def cells(text: str) -> int:
    """Count the columns of a terminal that a text takes: wide characters two, those drawn over others none."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def fold(
    text: str, width: int | None = None, *, first: str = "", then: str = "", break_words: bool = True
) -> list[str]:
    """Break a paragraph into lines.

    Parameters
    ----------
    text : str
        One paragraph; what a terminal would obey in it is made visible, line breaks too.
    width : int, optional
        Columns of a line; those of the terminal by default.
    first, then : str
        What the first line and the others start with.
    break_words : bool
        Whether words that are longer than a line are broken.

    Returns
    -------
    list of str
        Broken at blanks.
    """
    width = columns() if width is None else width
    lines, line, empty = [], first, True
    for word in WORDS.findall(visible(text)):
        if not empty and cells(line) + 1 + cells(word) > width:
            lines.append(line)
            line, empty = then, True
        while break_words and cells(line) + (not empty) + cells(word) > width:
            head = _head(word, max(width - cells(line), 2))
            lines.append(line + head)
            line, word = then, word.removeprefix(head)
        line += word if empty else f" {word}"
        empty = empty and not word
    return [*lines, line]


def _ends(text: str, width: int) -> str:
    """Leave the middle of a text out, so that it fits."""
    start = _head(text, width // 2)
    end = _head(text[::-1], width - cells(start) - 1)[::-1]
    return f"{start}…{end}"


def _head(word: str, width: int) -> str:
    """Return the longest beginning of a word that fits, and at least a character."""
    for stop in range(len(word), 1, -1):
        if cells(word[:stop]) <= width:
            return word[:stop]
    return word[:1]


def pad(text: str, width: int, side: str = "<") -> str:
    """Fill a text with blanks at the right ("<"), at the left (">") or at both sides ("^")."""
    room = max(width - cells(text), 0)
    left = {"<": 0, ">": room, "^": room // 2}[side]
    return " " * left + text + " " * (room - left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    head : str
        What stands above it.
    cells : sequence of str
        One text for each row.
    gap : int
        Blanks before it.
    is_words : bool
        Whether its cells stand at the left, and again in every part of a table that is divided.
    """

    head: str
    cells: Sequence[str]
    gap: int = 2
    is_words: bool = False

    @property
    def width(self) -> int:
        """Columns of a terminal, without the gap."""
        return max(cells(visible(text)) for text in (self.head, *self.cells))

    def cut(self, room: int) -> Column:
        """Return the same column with a head that fits into so many columns of a terminal, both ends of it."""
        most = max(room - self.gap, max(map(cells, map(visible, self.cells)), default=0), SHORTEST_NAME)
        return self if cells(visible(self.head)) <= most else replace(self, head=_ends(visible(self.head), most))

    def write(self, text: str) -> str:
        """Write a cell or the head with the gap before it."""
        return " " * self.gap + pad(visible(text), self.width, "<" if self.is_words else ">")


def table(
    names: Sequence[str], columns_: Sequence[Column], width: int | None = None, *, head: str = "", indent: int = INDENT
) -> list[str]:
    """Write a table, in several parts below each other if it is wider than the terminal.

    Parameters
    ----------
    names : sequence of str
        What stands at the left of each row.
    columns_ : sequence of Column
        The columns.
    width : int, optional
        Columns of a line; those of the terminal by default.
    head : str
        What stands above the names.
    indent : int
        Blanks at the left.

    Returns
    -------
    list of str
        The heads and the rows; long names stand on lines of their own.
    """
    width = columns() if width is None else width
    names = [visible(name) for name in names]
    words, numbers = [each for each in columns_ if each.is_words], [each for each in columns_ if not each.is_words]
    widest = max((each.gap + each.width for each in numbers), default=0)
    lines: list[str] = []
    taken = indent + name_width(names, 0, width, head=head, indent=indent) + _size(words)
    if words and taken + max(widest, width // 3) > width:  # words that need the line for themselves
        names = ["  ".join(filter(None, parts)) for parts in zip(names, *(each.cells for each in words), strict=True)]
        heads = "  ".join(filter(None, (head, *(each.head for each in words))))
        lines += fold(heads, width, first=" " * indent, then=" " * (indent + 2)) if heads else []
        head, words = "", []
    n_above = len(lines)
    left = name_width(names, _size(words) + _size(numbers), width, head=head, indent=indent)
    numbers = [each.cut(width - indent - left - _size(words)) for each in numbers]
    for part in _parts(numbers, width - indent - left - _size(words)):
        shown = [*words, *part]
        lines += [""] if len(lines) > n_above else []
        lines.append((" " * indent + pad(head, left) + "".join(each.write(each.head) for each in shown)).rstrip())
        for i, name in enumerate(names):
            lines += row(name, "".join(each.write(each.cells[i]) for each in shown), left, width, indent=indent)
    return lines


def name_width(names: Sequence[str], others: int, width: int, *, head: str = "", indent: int = INDENT) -> int:
    """Return how wide the names at the left of a table are, if the others take so many columns.

    Names of up to thirty characters stand beside their numbers if there is room, those of more than twelve above
    them otherwise.
    """
    sizes = [cells(visible(name)) for name in names]
    room = max(width - indent - others, SHORTEST_NAME)
    for most in (max(sizes, default=0), LONGEST_NAME, room):
        left = max([cells(head), *(size for size in sizes if size <= most)])
        if left <= room:
            return left
    return max([cells(head), *(size for size in sizes if size <= SHORTEST_NAME)])


def row(name: str, numbers: str, left: int, width: int, *, indent: int = INDENT) -> list[str]:
    """Write one line, or more if the name is longer than its place."""
    margin, name = " " * indent, visible(name)
    if cells(name) <= left:
        return [f"{margin}{pad(name, left)}{numbers}".rstrip()]
    return [*fold(name, width, first=margin, then=f"{margin}  "), f"{margin}{' ' * left}{numbers}".rstrip()]


def _parts(columns_: Sequence[Column], room: int) -> list[list[Column]]:
    """Divide columns into parts that fit into a line; a column that does not fit stands alone."""
    parts: list[list[Column]] = [[]]
    for each in columns_:
        if parts[-1] and _size([*parts[-1], each]) > room:
            parts.append([])
        parts[-1].append(each)
    return parts


def _size(columns_: Sequence[Column]) -> int:
    return sum(each.gap + each.width for each in columns_)
