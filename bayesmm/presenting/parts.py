"""What a report consists of: words, and tables whose cells are texts already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bayesmm.presenting.intervals import write_limits

type Role = Literal["facts", "warnings", "heading", "paragraph", "equations", "steps", "notes", "legend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Sentences or lines of one role.

    Attributes
    ----------
    role : str
        "facts": lines below the title. "warnings": what forbids to rely on the numbers. "heading": of what follows.
        "paragraph": sentences. "equations": lines that are not folded. "steps": numbered. "notes": remarks, each on its
        own. "legend": what the table before it means.
    texts : tuple of str
        One each.
    mathml : tuple of str
        Equations as HTML, each of them whole, for pages that show MathML: a notebook that is not trusted, or is shown
        by a server, would leave their letters without their places.
    """

    role: Role
    texts: tuple[str, ...]
    mathml: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Texts below each other.

    Attributes
    ----------
    head : str
        What stands above them.
    cells : sequence of str
        One a row.
    over : str
        What stands above the heads of this column and of its neighbours: the method.
    is_words : bool
        Whether they stand at the left, like names, rather than at the right, like numbers.
    """

    head: str
    cells: Sequence[str]
    over: str = ""
    is_words: bool = False

    @property
    def texts(self) -> tuple[str, ...]:
        """Each cell as one text."""
        return tuple(self.cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Limits of intervals; a terminal has both in one cell, a page in two.

    Attributes
    ----------
    head : str
        With the level: "95 % interval".
    cells : sequence of (str, str)
        Lower and upper limit.
    over : str
        As of `Column`.
    """

    head: str
    cells: Sequence[tuple[str, str]]
    over: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """Both limits as one text."""
        return tuple(write_limits(*limits) for limits in self.cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrinkage:
    """Small pictures of effects before and after pooling.

    Attributes
    ----------
    head : str
        What stands above them on a page.
    marks : sequence of (float, float)
        Where the effect from the level's own rows (○) and the pooled one (●) lie, zero in the middle, ±1 at the ends;
        NaN where there is none.
    labels : sequence of str
        The same in words, for those who do not see them.
    """

    head: str
    marks: Sequence[tuple[float, float]]
    labels: Sequence[str]


MOST_ROWS = 60  # of a table; of a longer one the first and the last are shown
FIRST_ROWS, LAST_ROWS = 40, 10

type AnyColumn = Column | Interval | Shrinkage


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows with names, and columns of texts.

    Attributes
    ----------
    names : sequence of str
        What stands at the left of each row.
    columns : sequence of Column, Interval or Shrinkage
        The cells.
    caption : str
        What stands above the table.
    head : str
        What stands above the names.
    headings : mapping of int to str
        Lines before some of the rows, by the position of the row.
    groups_rows : bool
        Whether a name that several rows in a run have in common is written once.
    where : str
        Where all rows are, should there be too many for a page: "posterior.parameters".
    is_whole : bool
        Whether a page shows all rows, however many.
    """

    names: Sequence[str]
    columns: Sequence[AnyColumn]
    caption: str = ""
    head: str = ""
    headings: Mapping[int, str] = field(default_factory=dict)
    groups_rows: bool = False
    where: str = ""
    is_whole: bool = False


type Part = Words | Table


def facts(texts: Iterable[str]) -> Words:
    """Return lines below the title."""
    return Words(role="facts", texts=tuple(texts))


def warnings(texts: Iterable[str]) -> Words:
    """Return what forbids to rely on the numbers."""
    return Words(role="warnings", texts=tuple(texts))


def notes(texts: Iterable[str]) -> Words:
    """Return remarks, each on its own."""
    return Words(role="notes", texts=tuple(texts))
