"""Draw the pictures of docs/gallery.md, all or those that are named: python docs/pictures/gallery.py [NAME ...].

The page says what is drawn: each picture is the `figure` of the lines above it. A new figure is a block of Python on
the page and its picture below it.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import pyplot
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
COLOURS = 256  # of a palette, which makes files small
PAGE = Path(__file__).parents[1] / "gallery.md"
FOLDER = Path(__file__).parent / "gallery"
LINES_OR_PICTURE = re.compile(
    r"```python\n(?P<lines>.*?)```|!\[.*?\]\(pictures/gallery/(?P<name>\w+)\.png\)", re.DOTALL
)
DRAWN_WITH = ("linux", "3.11")  # platform and matplotlib of these pictures; others draw text otherwise


def names() -> list[str]:
    """List the pictures of the page."""
    return [match["name"] for match in LINES_OR_PICTURE.finditer(PAGE.read_text(encoding="utf-8")) if match["name"]]


def figures() -> Iterator[tuple[str, Figure]]:
    """Run the lines of the page, and yield the figure of each picture."""
    namespace: dict[str, Any] = {}
    for match in LINES_OR_PICTURE.finditer(PAGE.read_text(encoding="utf-8")):
        if match["name"]:
            drawn = namespace.pop("figure")
            yield match["name"], figure_of(drawn)
        else:
            exec(match["lines"], namespace)


def figure_of(drawn: Any) -> Figure:
    """Take matplotlib's figure out of what ArviZ has drawn; others are figures."""
    return drawn.viz["figure"].item() if hasattr(drawn, "viz") else drawn


def picture_of(figure: Figure) -> Image.Image:
    """Draw a figure."""
    written = io.BytesIO()
    figure.savefig(written, dpi=DPI)
    return Image.open(written).convert("RGB")


def main(chosen: list[str]) -> None:
    """Draw and save."""
    mpl.use("agg")
    FOLDER.mkdir(exist_ok=True)
    for name, figure in figures():
        if not chosen or name in chosen:
            picture = picture_of(figure).quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            picture.save(FOLDER / f"{name}.png", optimize=True)
        pyplot.close(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
