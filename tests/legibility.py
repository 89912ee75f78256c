"""What a reader would not like about a drawn figure: texts on texts, texts cut off, axes without room."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

EDGE = 1.5  # pixels, by which a text may stand over the border of its figure: boxes are larger than letters
TOUCH = (1.5, 2.5)  # pixels, by which boxes of texts may overlap: they leave room for letters that hang down
SMALLEST = 40.0  # pixels, of axes


def complaints(figure: Figure) -> list[str]:
    """Draw a figure and say which texts overlap, which leave the figure, and which axes have no room."""
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown_texts(figure)]
    found = [
        f"{name!r} leaves the figure"
        for name, box in boxes
        if min(box.x0, box.y0) < -EDGE or box.x1 > width + EDGE or box.y1 > height + EDGE
    ]
    for (name, box), (other, its) in combinations(boxes, 2):
        across, down = min(box.x1, its.x1) - max(box.x0, its.x0), min(box.y1, its.y1) - max(box.y0, its.y0)
        if across > TOUCH[0] and down > TOUCH[1]:
            found.append(f"{name!r} lies on {other!r}")
    bars = [axis for axis in figure.axes if axis.get_label() == "<colorbar>"]
    sizes = [axis.get_window_extent() for axis in figure.axes if axis not in bars]
    return found + ["axes without room" for box in sizes if min(box.width, box.height) < SMALLEST]


def shown_texts(figure: Figure) -> list[Text]:
    """List the texts that are seen: of the scales those between the limits, of names those with room."""
    scales: set[int] = set()
    found: list[Text] = []
    for axis in (each for axes in figure.axes for each in (axes.xaxis, axes.yaxis)):
        scales |= {id(text) for tick in _ticks(axis, every=True) for text in (tick.label1, tick.label2)}
        if axis.get_visible() and axis.axes.axison:
            found += [text for tick in _ticks(axis) for text in (tick.label1, tick.label2)]
            scales |= {id(axis.offsetText)}
            found.append(axis.offsetText)
    found += [text for text in figure.findobj(Text) if id(text) not in scales]
    return [
        each for each in found if each.get_visible() and each.get_text().strip() and getattr(each, "is_shown", True)
    ]


def _ticks(axis: Any, *, every: bool = False) -> list[Any]:
    low, high = sorted(axis.get_view_interval())
    room = 1e-9 * (high - low)
    return [tick for tick in axis.get_major_ticks() if every or low - room <= tick.get_loc() <= high + room]
