"""What all figures share: colours and marks of each kind of result, and how a figure is opened and handed over.

Colours are those of Okabe and Ito, which the colour-blind tell apart, and each goes with a mark of its own, so that a
figure reads in print too. Whatever is neither is a shade between the text and the ground that the user's style has: a
figure of a dark style is dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import numpy as np

from bayesmm.console import visible
from bayesmm.errors import ArgumentError, BayesmmError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure  # results name the types of matplotlib from here
    from matplotlib.lines import Line2D


class Look(NamedTuple):
    """How one kind of result is drawn.

    Attributes
    ----------
    colour : str
    marker : str
        matplotlib's.
    line : str
        Style of its lines, matplotlib's.
    """

    colour: str
    marker: str
    line: str


FIT = Look("#0072B2", "s", "-")
POSTERIOR = Look("#D55E00", "o", "-")
BOOTSTRAP = Look("#009E73", "^", "-.")
PROFILE = Look("#56B4E9", "D", ":")
UNPOOLED = Look("#CC79A7", "x", "--")  # a group's own estimate
POOLED = Look("#E69F00", "d", "-.")  # that of all groups together

WIDTH = 7.5  # inches, of a figure of one column
ROW = 0.28  # inches, of a row of a forest
LINE = 1.8  # points, of an interval
SMALL = "small"  # of titles of panels
NAME_ROOM = (24.0, 8.0)  # points, that a name beside a point takes
CHARACTER = 0.07  # inches, the width of a character of a key
LONGEST = 40  # characters of a name in a figure
WHOLE = 60  # characters of a parameter's name, whose end tells what it is of
MOST_COLUMNS = 3  # of panels
PANEL = (2.9, 2.0)  # inches, width and height of one of many


_OPENED: WeakSet[Figure] = WeakSet()  # figures that were opened here


def import_pyplot() -> Any:
    """Import matplotlib, or say that it is not there."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise BayesmmError(
            f"Plots need matplotlib, which cannot be imported ({error}). Install it: pip install matplotlib."
        ) from error
    return pyplot


def open_figure(
    ax: Axes | None = None, *, rows: int = 1, columns: int = 1, size: tuple[float, float], **options: Any
) -> tuple[Figure, Any]:
    """Open a figure of some axes, or take the user's axes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, optional
        To draw into; `rows` and `columns` must be one.
    rows, columns : int
        Of axes.
    size : (float, float)
        Width and height in inches, of a new figure.
    **options
        Of `matplotlib.pyplot.subplots`.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : array of matplotlib.axes.Axes, shape (rows, columns)

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    ArgumentError
        If `ax` is no axes of matplotlib.
    """
    pyplot = import_pyplot()
    if ax is None:
        figure, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)
        _OPENED.add(figure)
        return figure, axes
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise ArgumentError(f"ax is {ax!r}, but must be axes of matplotlib, as from matplotlib.pyplot.subplots().")
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ArgumentError("ax has been taken out of its figure: give axes that are in one.")
    return figure, np.array([[ax]], dtype=object)


def open_panels(
    n: int, ax: Axes | None = None, *, panel: tuple[float, float] = PANEL, most_columns: int = MOST_COLUMNS
) -> tuple[Figure, list[Axes]]:
    """Open a figure of n panels side by side and in rows, or take the user's axes for a single one.

    Parameters
    ----------
    n : int
        How many.
    ax : matplotlib.axes.Axes, optional
        To draw into.
    panel : (float, float)
        Width and height of a panel in inches.
    most_columns : int
        Of a row.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    ArgumentError
        If `ax` is no axes of matplotlib, or there is more than one panel.
    """
    if n < 1:
        raise ArgumentError("There is nothing to draw: no parameter has a curve.")
    if ax is not None and n > 1:
        raise ArgumentError(f"ax is one axes, but the figure has {n} panels: leave ax out, or choose one parameter.")
    columns = min(n, most_columns)
    rows = math.ceil(n / columns)
    size = (max(panel[0] * columns, 4.0), 0.5 + panel[1] * rows)
    figure, axes = open_figure(ax, rows=rows, columns=columns, size=size)
    for axis in axes.flat[n:]:
        axis.remove()
    return figure, list(axes.flat[:n])


def hand_over(figure: Figure) -> Figure:
    """Return a finished figure: a notebook shows what is returned, and would show an open one once more.

    A figure of the user's own stays open: more may be drawn into it.
    """
    pyplot = import_pyplot()
    if figure in _OPENED and "inline" in pyplot.get_backend():
        pyplot.close(figure)
    return figure


def literal(name: object, longest: int = LONGEST) -> str:
    """Write a user's name so that it shows as itself: a dollar sign starts no mathematics, and it is not too long."""
    return cut(name, longest).replace("$", r"\$")


def cut(name: object, longest: int = LONGEST) -> str:
    """Leave out the middle of a long name: names of levels often differ at their end."""
    shown = visible(str(name))
    if len(shown) <= longest:
        return shown
    end = longest // 3
    return f"{shown[: longest - end - 1]}…{shown[-end:]}"


def opacity(n: int, few: int = 60) -> float:
    """Say how opaque n marks are that lie on each other: fully up to a few, never less than a tenth."""
    return min(1.0, max(0.1, math.sqrt(few / max(n, 1))))


def show_key(figure: Figure, entries: Mapping[str, Artist], *, title: str | None = None) -> None:
    """Explain marks above all panels, once each, below what the figure is about."""
    longest = max(map(len, entries), default=1) + 6
    n = max(1, min(len(entries), int(figure.get_figwidth() / (CHARACTER * longest))))
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside upper center",
        ncols=n,
        frameon=False,
        fontsize=SMALL,
        title=title,
    )


def line_of(look: Look, **options: Any) -> Line2D:
    """Make a line with a mark for a key."""
    from matplotlib.lines import Line2D

    given = {"color": look.colour, "marker": look.marker, "linestyle": look.line, "linewidth": LINE, "markersize": 5}
    return Line2D([], [], **(given | options))


def note_points(axis: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[object], *, before: bool = False) -> None:
    """Write names behind points, or before them, in this order; one that would lie on an earlier one is left out."""
    width, height = NAME_ROOM
    scale = 72.0 / axis.figure.dpi
    places = scale * axis.transData.transform(np.column_stack([x, y]))  # points
    written: list[np.ndarray] = []
    for one, other, place, name in zip(x, y, places, names, strict=True):
        if any(abs(place[0] - w[0]) < width and abs(place[1] - w[1]) < height for w in written):
            continue
        if not np.isfinite(place).all():
            continue
        written.append(place)
        axis.annotate(
            literal(name, 20),
            (one, other),
            xytext=(-6, -3) if before else (5, 2),
            ha="right" if before else "left",
            textcoords="offset points",
            fontsize="x-small",
            color=shade(0.8),
        )


def shade(strength: float) -> tuple[float, float, float]:
    """Mix the text's colour, at 1, with the ground's, at 0, of the style that is in force."""
    from matplotlib import rcParams
    from matplotlib.colors import to_rgb

    ground = to_rgb("white") if rcParams["axes.facecolor"] == "none" else to_rgb(rcParams["axes.facecolor"])
    text = to_rgb(rcParams["text.color"])
    mixed = [strength * t + (1.0 - strength) * g for t, g in zip(text, ground, strict=True)]
    return mixed[0], mixed[1], mixed[2]


def tidy(axis: Axes, *, grid: str | None = "x") -> None:
    """Leave the axis of numbers, and a grid behind what is drawn."""
    if grid is not None:
        axis.grid(axis=grid, color=shade(0.1))  # pyright: ignore[reportArgumentType]
        axis.set_axisbelow(True)
    axis.spines[["left", "right", "top"] if grid == "x" else ["right", "top"]].set_visible(False)


def draw_interval(
    axis: Axes, height: float, value: float, lower: float, upper: float, look: Look, *, label: str | None = None
) -> None:
    """Draw a value with its interval along the horizontal axis; open, without an interval, where there is none."""
    known = math.isfinite(lower) and math.isfinite(upper)
    if known:
        axis.plot([lower, upper], [height, height], color=look.colour, linewidth=LINE, solid_capstyle="round")
    face = look.colour if known else axis.get_facecolor()
    axis.plot(value, height, look.marker, color=look.colour, markersize=5, markerfacecolor=face, label=label)
