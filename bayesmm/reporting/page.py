"""Sections put into the page's template, and kept below its size."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Any, NamedTuple

from bayesmm.console import visible
from bayesmm.errors import BayesmmError
from bayesmm.explorer.pages import write_policy
from bayesmm.limits import PAGE_BYTES
from bayesmm.presenting.page import STYLE
from bayesmm.reporting.pieces import Section, words
from bayesmm.version import __version__


class Page(NamedTuple):
    """A page as a text.

    Attributes
    ----------
    title : str
    sections : tuple of str
    html : str
    left_out : tuple of str
    """

    title: str
    sections: tuple[str, ...]
    html: str
    left_out: tuple[str, ...]


def import_jinja() -> Any:
    """Import jinja2, or say that it is not there."""
    try:
        import jinja2
    except ImportError as error:
        raise BayesmmError(
            f"Reports need jinja2, which cannot be imported ({error}). Install it: pip install 'bayesmm[report]'."
        ) from error
    return jinja2


def fill_page(title: str, sections: Iterable[Section]) -> Page:
    """Fill the template; leave out figures, the largest first, until the page is small enough.

    Parameters
    ----------
    title : str
        What stands on top.
    sections : iterable of Section
        What follows.
    """
    jinja2 = import_jinja()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = visible
    template = environment.from_string(_read("page.html"))
    kept, left_out = list(sections), []
    while True:
        html = template.render(
            title=title,
            sections=kept,
            policy=write_policy(*(piece.key for section in kept for piece in section.pieces if piece.key)),
            style=_read("page.css"),
            table_style=STYLE,
            version=__version__,
        )
        large = [
            (len(piece.content), i, j)
            for i, section in enumerate(kept)
            for j, piece in enumerate(section.pieces)
            if piece.kind in ("figure", "explorer")
        ]
        if len(html.encode()) <= PAGE_BYTES or not large:
            return Page(title, tuple(section.title for section in kept), html, tuple(left_out))
        _, i, j = max(large)
        what = kept[i].pieces[j].caption or "the explorer"
        left_out.append(what)
        said = f"Left out, so that the page has no more than {PAGE_BYTES / 1e6:g} MB: {what}"
        kept[i] = kept[i].with_piece(j, words(said))


def _read(name: str) -> str:
    return files("bayesmm.reporting").joinpath("templates", name).read_text(encoding="utf-8")
