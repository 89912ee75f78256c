"""What a result shows: a title, tables and words, as they will stand in a terminal and in a notebook."""

from __future__ import annotations

from dataclasses import dataclass

from bayesmm.presenting.page import write_page
from bayesmm.presenting.parts import Part, Table, Words
from bayesmm.presenting.text import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A result to be read: prints as text as wide as the terminal, and shows itself as HTML in a notebook.

    Attributes
    ----------
    title : str
        What it is about.
    parts : tuple of Words and Table
        What is said of it, in order.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> type(fit.summary()).__name__
    'Report'
    """

    title: str
    parts: tuple[Part, ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables alone."""
        return tuple(part for part in self.parts if isinstance(part, Table))

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings, verdicts and remarks: the sentences beside the tables."""
        words = (part for part in self.parts if isinstance(part, Words) and part.role in ("warnings", "notes"))
        return tuple(text for part in words for text in part.texts)

    def __str__(self) -> str:
        return write_text(self.title, self.parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return write_page(self.title, self.parts)
