"""What all figures share: colours and marks of each kind of result, and how a figure is opened and handed over.

Colours are those of Okabe and Ito, which the colour-blind tell apart, and each goes with a mark of its own, so that a
figure reads in print too. Whatever is neither is a shade between the text and the ground that the user's style has: a
figure of a dark style is dark.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import numpy as np

from bayesmm.console import cells, visible
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
USUAL_FONT = 10.0  # points, for which sizes of figures are chosen
NAMES = 2.6  # inches, of a figure's usual width for names of rows
SHORTEST = 8  # characters, of a line of a text that is folded
ROUNDING = 1e-6  # relative, of differences that are not shown
NOTE = 20  # characters of a name beside a point
LETTER = 0.6  # of the size of a font, that a letter is wide
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
        Width and height in inches, of a new figure, with letters of the usual size; larger letters make it larger.
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
        larger = max(1.0, pyplot.rcParams["font.size"] / USUAL_FONT)
        figsize = (larger * size[0], larger * size[1])
        figure, axes = pyplot.subplots(rows, columns, figsize=figsize, layout="constrained", squeeze=False, **options)
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
    return _plain(cut(name, longest))


def literals(names: Iterable[object], longest: int = LONGEST) -> list[str]:
    """Write names that stand beside one another, as `literal` does; different ones stay different."""
    return [_plain(name) for name in cut_all(names, longest)]


def _plain(text: str) -> str:
    return text.replace("$", r"\$")


def cut(name: object, longest: int = LONGEST) -> str:
    """Leave out the middle of a long name: names of levels often differ at their end."""
    shown = visible(str(name))
    if len(shown) <= longest:
        return shown
    end = longest // 3
    return f"{shown[: longest - end - 1]}…{shown[-end:]}"


def cut_all(names: Iterable[object], longest: int = LONGEST) -> list[str]:
    """Cut names, those that would then be the same elsewhere: before and behind where they differ."""
    whole = [visible(str(name)) for name in names]
    short = {name: cut(name, longest) for name in whole}
    alike: dict[str, list[str]] = {}
    for name, shown in short.items():
        alike.setdefault(shown, []).append(name)
    for same in alike.values():
        if len(same) > 1:
            short |= _cut_apart(same, longest)
    return [short[name] for name in whole]


def _cut_apart(names: Sequence[str], longest: int) -> dict[str, str]:
    """Show of each name its beginning, and what follows from where these names differ."""
    start, head = _common(min(names), max(names)), longest // 3
    found: dict[str, list[str]] = {}
    for name in names:
        rest = name[start:]
        room = longest - head - 1
        shown = rest if len(rest) <= room else f"{rest[: room - 1]}…"
        found.setdefault(f"{name[:head]}…{shown}", []).append(name)
    apart: dict[str, str] = {}
    for shown, same in found.items():
        apart |= {same[0]: shown} if len(same) == 1 else _cut_apart(same, longest)
    return apart


def _common(one: str, other: str) -> int:
    """Count the characters with which both begin; of the first and last of many names, those of all."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def opacity(n: int, few: int = 60) -> float:
    """Say how opaque n marks are that lie on each other: fully up to a few, never less than a tenth."""
    return min(1.0, max(0.1, math.sqrt(few / max(n, 1))))


def show_key(
    figure: Figure, entries: Mapping[str, Artist], *, title: str | None = None, ax: Axes | None = None
) -> None:
    """Explain marks above all panels, once each, in as few full rows as the figure's width allows.

    Or in the user's axes, `ax`, on a ground of its own: marks may be everywhere.
    """
    if ax is not None:
        look: dict[str, Any] = {"facecolor": shade(0.0), "framealpha": 0.8, "edgecolor": "none"}
        ax.legend(list(entries.values()), list(entries), fontsize="x-small", fancybox=False, **look)
        return
    for rows in range(1, len(entries) + 1):
        legend = figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside upper center",
            ncols=math.ceil(len(entries) / rows),
            frameon=False,
            fontsize=SMALL,
            title=title,
        )
        if legend.get_window_extent().width <= figure.bbox.width or rows == len(entries):
            return
        legend.remove()


def line_of(look: Look, **options: Any) -> Line2D:
    """Make a line with a mark for a key."""
    from matplotlib.lines import Line2D

    given = {"color": look.colour, "marker": look.marker, "linestyle": look.line, "linewidth": LINE, "markersize": 5}
    return Line2D([], [], **(given | options))


def note_points(axis: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[object], *, where: str = "around") -> None:
    """Write names beside points in this order, each where it has room when the figure is drawn, or not at all.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        What is drawn into.
    x, y : arrays, shape (m,)
        The points, in data; one that is not finite has no name.
    names : sequence, length m
        As they are.
    where : {"around", "before", "above"}
        On which sides of their points names may stand: on any, at the left, or over and under them.
    """
    from bayesmm.plots.notes import SIDES, Note

    notes = [text for text in axis.texts if isinstance(text, Note)]
    for one, other, name in zip(x, y, literals(names, NOTE), strict=True):
        if np.isfinite(one) and np.isfinite(other):
            point = (float(one), float(other))
            note = Note(name, point, sides=SIDES[where], earlier=notes, fontsize="x-small", color=shade(0.8))
            axis.add_artist(note)
            notes.append(note)


def folded(text: str, inches: float, size: str = "medium") -> str:
    """Break a text that is ready to be shown into lines of at most this length: one along an axis, or over it."""
    return textwrap.fill(text, max(fitting(text, inches, size), SHORTEST)).replace("\\\n$", "\n\\$")


def fitting(text: str, inches: float, size: str = "medium") -> int:
    """Say how many characters of a text have room: all of them, or a share."""
    long = length(text, size)
    return len(text) if long <= inches else int(len(text) * inches / long)


def label_axes(axis: Axes, x: str | None = None, y: str | None = None, *, size: str = "medium") -> None:
    """Say what is along axes, in texts that are ready to be shown, folded where they are longer than the axes are."""
    dpi, place = axis.figure.dpi, axis.bbox
    if x is not None:
        axis.set_xlabel(folded(x, place.width / dpi, size), fontsize=size)
    if y is not None:
        axis.set_ylabel(folded(y, place.height / dpi, size), fontsize=size)


def title_axes(axis: Axes, text: str, **options: Any) -> None:
    """Say what is drawn over axes, at the left, in lines that are no longer than the axes are wide."""
    room = axis.bbox.width if axis.get_aspect() == "auto" else min(axis.bbox.width, axis.bbox.height)
    lines = [folded(line, room / axis.figure.dpi, SMALL) for line in text.split("\n")]
    axis.set_title("\n".join(lines), loc="left", fontsize=SMALL, **options)


def wide_enough(names: Iterable[object], longest: int = WHOLE) -> float:
    """Say how wide a figure is, in inches, whose rows have these names."""
    most = max((cells(cut(name, longest)) for name in names), default=0)
    return WIDTH + max(0.0, LETTER * USUAL_FONT * most / 72.0 - NAMES)


def show_no_rounding(axis: Axes, values: np.ndarray) -> None:
    """Leave a horizontal axis along which values differ by rounding alone a scale on which they are the same."""
    known = values[np.isfinite(values)]
    if len(known) and np.ptp(known) <= ROUNDING * np.max(np.abs(known)):
        middle = float(np.median(known))
        axis.set_xlim(middle - 0.05 * abs(middle), middle + 0.05 * abs(middle))


def length(text: str, size: str = "medium") -> float:
    """Measure a text that is ready to be shown, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said when it is drawn
        shown, font = text.replace("\\$", "$"), FontProperties(size=size)  # pyright: ignore[reportArgumentType]
        width, _, _ = text_to_path.get_text_width_height_descent(shown, font, False)
    return width / 72.0


def shade(strength: float) -> tuple[float, float, float]:
    """Mix the text's colour, at 1, with the ground's, at 0, of the style that is in force."""
    from matplotlib import rcParams
    from matplotlib.colors import to_rgb

    text, below = to_rgb(rcParams["text.color"]), ground(rcParams["figure.facecolor"], rcParams["axes.facecolor"])
    mixed = [strength * t + (1.0 - strength) * g for t, g in zip(text, below, strict=True)]
    return mixed[0], mixed[1], mixed[2]


def ground(*colours: Any) -> tuple[float, float, float]:
    """Lay colours on white paper, one over the other: "none" lets what is below it be seen."""
    from matplotlib.colors import to_rgba

    seen = np.ones(3)
    for colour in colours:
        *own, opaque = to_rgba(colour)
        seen = opaque * np.array(own) + (1.0 - opaque) * seen
    return float(seen[0]), float(seen[1]), float(seen[2])


def in_style_of_axes[**P](draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function draw into the user's axes, `ax`, in the colours that these have, whatever style is in force."""

    @wraps(draw)
    def drawn(*arguments: P.args, **options: P.kwargs) -> Figure:
        ax = options.get("ax")
        if ax is None:
            return draw(*arguments, **options)
        with import_pyplot().rc_context(_style_of(ax)):
            return draw(*arguments, **options)

    return drawn


def _style_of(ax: Any) -> dict[Any, Any]:
    """Read the colours of texts and of the ground off axes; what is none is refused where a figure is opened."""
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes) or ax.figure is None:
        return {}
    text, scale = ax.title.get_color(), ax.xaxis.get_major_ticks(1)[0].label1.get_color()
    colours: dict[Any, Any] = dict.fromkeys(
        ("xtick.color", "xtick.labelcolor", "ytick.color", "ytick.labelcolor"), scale
    )
    below = ground(ax.figure.get_facecolor(), ax.get_facecolor())
    colours |= {"text.color": text, "axes.labelcolor": ax.xaxis.label.get_color(), "axes.facecolor": below}
    return {**colours, "axes.titlecolor": "auto"}


def tidy(axis: Axes, *, grid: str | None = "x") -> None:
    """Leave the axis of numbers, and a grid behind what is drawn."""
    if grid is not None:
        axis.grid(axis=grid, color=shade(0.1))  # pyright: ignore[reportArgumentType]
        axis.set_axisbelow(True)
    axis.spines[["left", "right", "top"] if grid == "x" else ["right", "top"]].set_visible(False)


def draw_interval(
    axis: Axes, height: float, value: float, lower: float, upper: float, look: Look, *, label: str | None = None
) -> None:
    """Draw a value with its interval along the horizontal axis; open, without an interval, where there is none.

    An interval of which one end is not known runs from the value to the other; the figure draws one without an end.
    """
    ends = [value if math.isnan(end) else end for end in (lower, upper)]
    is_known = not (math.isnan(lower) and math.isnan(upper))
    if is_known and all(map(math.isfinite, ends)):
        axis.plot(ends, [height, height], color=look.colour, linewidth=LINE, solid_capstyle="round")
    face = look.colour if is_known else shade(0.0)
    axis.plot(value, height, look.marker, color=look.colour, markersize=5, markerfacecolor=face, label=label)
