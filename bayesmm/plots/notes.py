"""Names beside points, each written where there is room for it once the figure is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

BETWEEN = 1.0  # pixels, that are left between two names
MARK = 2.0  # points, from the middle of a mark to its edge


class Side(NamedTuple):
    """Where a name stands beside its point: offset in points, and which end of the text is there."""

    offset: tuple[float, float]
    ha: str
    va: str


SIDES = {
    "around": (
        Side((5.0, 2.0), "left", "baseline"),
        Side((-5.0, 2.0), "right", "baseline"),
        Side((5.0, -2.0), "left", "top"),
        Side((-5.0, -2.0), "right", "top"),
        Side((0.0, 5.0), "center", "bottom"),
        Side((0.0, -5.0), "center", "top"),
    ),
    "before": (Side((-6.0, 0.0), "right", "center"),),
    "above": (Side((0.0, 6.0), "center", "bottom"), Side((0.0, -6.0), "center", "top")),
}


class Note(Annotation):
    """A name that looks for its place each time it is drawn.

    It takes the first side of its point on which it lies inside the axes, neither on a name before it nor on the key,
    and on as few marks as on any other. Where there is no such side it is not drawn: what is known of sizes, limits
    and fonts before the figure is laid out would not tell.

    Parameters
    ----------
    name : str
        Ready to be shown.
    point : (float, float)
        In data of the axes.
    sides : sequence of Side
        In order of preference.
    earlier : sequence of Note
        Names that have their places before it.
    **options
        Of `matplotlib.text.Annotation`.

    Attributes
    ----------
    is_shown : bool
        Whether it had room when it was last drawn.
    """

    def __init__(
        self, name: str, point: tuple[float, float], *, sides: Sequence[Side], earlier: Sequence[Note], **options: Any
    ) -> None:
        super().__init__(name, point, xytext=sides[0].offset, textcoords="offset points", **options)
        self.sides, self.earlier, self.is_shown = tuple(sides), tuple(earlier), False
        self.place, self.marks = Bbox.null(), np.zeros((0, 2))  # in pixels: its own, and those of all marks, of a first
        self.set_in_layout(False)  # it stays inside the axes

    def draw(self, renderer: Any) -> None:
        """Draw the name if there is room for it."""
        self.is_shown = self.get_visible() and self._take_place(renderer)
        if self.is_shown:
            super().draw(renderer)

    def _take_place(self, renderer: Any) -> bool:
        axes = self.axes
        if not self.earlier and axes is not None:
            self.marks = marks_of(axes)
        if axes is None or not axes.bbox.contains(*axes.transData.transform(self.xy)):
            return False
        taken, key = [note.place for note in self.earlier if note.is_shown], axes.get_legend()
        if key is not None:
            taken.append(key.get_window_extent(renderer))
        marks, reach = (self.earlier or [self])[0].marks, renderer.points_to_pixels(MARK)
        frame, found = axes.get_window_extent(renderer), {}
        for side in self.sides:
            self._stand(side)
            box = self.get_window_extent(renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                found.setdefault(int(box.padded(reach).count_contains(marks)), (side, box))
        if found:
            side, box = found[min(found)]
            self._stand(side)
            self.place = box.padded(BETWEEN)
        return bool(found)

    def _stand(self, side: Side) -> None:
        self.set_position(side.offset)
        self.set(ha=side.ha, va=side.va)


def marks_of(axes: Any) -> np.ndarray:
    """Find where the marks in axes are, in pixels (m, 2)."""
    marked = [line for line in axes.lines if line.get_marker() not in ("None", "none", None, "", " ")]
    places = [line.get_transform().transform(np.asarray(line.get_xydata(), dtype=float)) for line in marked]
    return np.concatenate([np.zeros((0, 2)), *places])
