"""What a page consists of: sections of pieces, each a text, a table, a figure or code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from bayesmm.errors import BayesmmError
from bayesmm.presenting.page import STYLE, write_page
from bayesmm.presenting.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One thing below a heading.

    Attributes
    ----------
    kind : {"words", "warning", "html", "figure", "code", "explorer"}
        How it is shown. "html", "figure" and "explorer" are elements already, in which every text is escaped.
    content : str
        A text, or such an element.
    caption : str
        Of a figure.
    key : str
        Of an explorer, by which the page lets its script run.
    """

    kind: Literal["words", "warning", "html", "figure", "code", "explorer"]
    content: str
    caption: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with what is below it.

    Attributes
    ----------
    key : str
        Its id.
    title : str
    pieces : tuple of Piece
    """

    key: str
    title: str
    pieces: tuple[Piece, ...]

    def with_piece(self, i: int, piece: Piece) -> Section:
        """Return the section with another piece at one place."""
        return replace(self, pieces=(*self.pieces[:i], piece, *self.pieces[i + 1 :]))


def words(text: str) -> Piece:
    """Return a paragraph."""
    return Piece(kind="words", content=text)


def shown(result: Any) -> Piece:
    """Return what a result shows of itself in a notebook, without the style sheet that the page has once."""
    return Piece(kind="html", content=result._repr_html_().replace(f"<style>{STYLE}</style>", ""))


def written(report: Report) -> Piece:
    """Return a report with its equations as MathML."""
    page = write_page(report.title, report.parts, mathematics=True)
    return Piece(kind="html", content=page.replace(f"<style>{STYLE}</style>", ""))


def table(title: str, *parts: Any) -> Piece:
    """Return tables and words below a small title."""
    return shown(Report(title=title, parts=parts))


def attempt(what: str, make: Callable[[], Piece]) -> Piece:
    """Make a piece; where a model has none, say why."""
    try:
        return make()
    except BayesmmError as error:
        return words(f"{what}: {error}")
