"""Figures as SVG that stands in a page: their text is text, and their blacks and greys are those of the page.

The page says what the ground is, as the custom property ``--ground``; lines and letters take the colour of its text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from bayesmm.plots.canvas import import_pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_MARKS = 1500  # of one artist; more are painted, since each would be an element of the page
DPI = 130  # of what is painted
GREY = re.compile(r"#([0-9a-f]{2})\1\1\b")
FONT = re.compile(r"font: ((?:\w+ )*?[\d.]+px) [^;]*")
LONG = re.compile(r"-?\d+\.\d{3,}")  # a hundredth of a point is not seen
ASKED = re.compile(r"(?:href=\"|url\()#([^\")]+)")
ADDRESS = re.compile(r"url\(#")
STYLE: dict[
    Any, Any
] = {  # whatever the user's own style is: the page follows the reader's, and mends blacks, whites and greys alone
    "svg.fonttype": "none",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "auto",
    "savefig.bbox": None,
    "savefig.dpi": DPI,
    "text.color": "black",
    "axes.labelcolor": "black",
    "axes.edgecolor": "black",
    "axes.titlecolor": "auto",
    "xtick.color": "black",
    "ytick.color": "black",
    "text.usetex": False,
}


def write_svg(draw: Callable[[], Figure], *, key: str) -> str:
    """Draw a figure, and write it as an element of a page.

    Parameters
    ----------
    draw : callable
        Draws and returns the figure.
    key : str
        What its ids begin with; another one for each figure of a page.

    Returns
    -------
    str
        One ``svg`` without prolog, name spaces, metadata or style sheet, as wide as its place up to its own width.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    pyplot = import_pyplot()
    from matplotlib import rc_context

    style: dict[Any, Any] = {**STYLE, "svg.hashsalt": key}
    with rc_context(style), warnings.catch_warnings():
        # The reader's browser has fonts of its own; what this machine's lack is nothing to warn of.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = draw()
        try:
            _paint_the_many(figure)
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        finally:
            pyplot.close(figure)
    return _stand_in_page(text.getvalue(), key)


def _paint_the_many(figure: Figure) -> None:
    from matplotlib.collections import Collection
    from matplotlib.lines import Line2D

    def size(artist: Any) -> int:
        if isinstance(artist, Line2D):
            return len(artist.get_xydata())  # pyright: ignore[reportArgumentType]
        return max(len(artist.get_offsets()), sum(len(path.vertices) for path in artist.get_paths()))

    for artist in figure.findobj(lambda artist: isinstance(artist, (Line2D, Collection))):
        if size(artist) > MOST_MARKS:
            artist.set_rasterized(True)


def _stand_in_page(text: str, key: str) -> str:
    root = ElementTree.fromstring(text)
    asked_for = set(ASKED.findall(text))
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        own = dict(element.attrib)
        element.attrib.clear()
        for name, value in own.items():
            if _local(name) != "id" or value in asked_for:
                element.set(_local(name), _own(_local(name), value, key))
    _, _, width, height = (float(number) for number in root.attrib["viewBox"].split())
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("style", f"--width:{width * 4 / 3:.0f}px;aspect-ratio:{width:.4g}/{height:.4g}")
    root.set("class", "figure")
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _own(name: str, value: str, key: str) -> str:
    if name == "id":
        return f"{key}-{value}"
    if name == "href" and value.startswith("#"):
        return f"#{key}-{value[1:]}"
    value = ADDRESS.sub(f"url(#{key}-", value)
    if name in ("d", "x", "y", "points"):
        return LONG.sub(lambda found: f"{float(found.group()):.2f}".rstrip("0").rstrip("."), value)
    if name in ("style", "fill", "stroke"):
        value = FONT.sub(r"font: \1 var(--figure-font, sans-serif)", GREY.sub(_grey, value))
    return value


def _grey(found: re.Match[str]) -> str:
    """Mix the page's text and ground as the grey was mixed of black and white."""
    share = 100.0 * (1.0 - int(found.group(1), 16) / 255.0)
    if share > 99.9:
        return "currentColor"
    if share < 0.1:
        return "var(--ground, Canvas)"
    return f"color-mix(in srgb, currentColor {share:.0f}%, var(--ground, Canvas))"
