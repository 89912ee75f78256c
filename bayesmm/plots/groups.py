"""Small multiples of levels: their data, and the lines of no, of partial and of complete pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    FIT,
    LINE,
    POOLED,
    POSTERIOR,
    SMALL,
    UNPOOLED,
    WIDTH,
    Look,
    folded,
    hand_over,
    line_of,
    literal,
    literals,
    opacity,
    open_figure,
    shade,
    show_key,
    tidy,
)
from bayesmm.presenting.intervals import interval_head

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 5
PANEL_WIDTH, LOW, TALL = 1.9, 1.6, 2.2  # inches, of a panel among many or few
OFFSET = 0.08  # of a category, between what is drawn at it


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPanels:
    """What is drawn.

    Attributes
    ----------
    group, x, response : str
        Grouping factor, what lines are over, and the response; `x` is None where rows are counted.
    categories : tuple of str or None
        Of a factor x, in order.
    title : str
        Which levels are shown, if not all of them.
    rows : DataFrame
        Data: level, x, y.
    tables : sequence of (kind, DataFrame)
        Lines of a "fit", of a "posterior", or of both: level, x, unpooled, complete, estimate, lower, upper. Own and
        pooled lines are those of the first.
    level : float
        Of the intervals.
    """

    group: str
    x: str | None
    response: str
    categories: tuple[str, ...] | None
    title: str
    rows: pd.DataFrame
    tables: Sequence[tuple[str, pd.DataFrame]]
    level: float


def plot_groups(panels: GroupPanels) -> Figure:
    """Draw the data of each level with its lines, one small panel a level.

    Parameters
    ----------
    panels : GroupPanels
        Data and lines.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    names = list(dict.fromkeys(panels.rows["level"]))
    n_columns = min(MOST_COLUMNS, math.ceil(math.sqrt(len(names))) if len(names) < 2 * MOST_COLUMNS else MOST_COLUMNS)
    n_rows = math.ceil(len(names) / n_columns)
    height = LOW if n_rows > 2 else TALL
    size = (max(WIDTH, PANEL_WIDTH * n_columns), 1.1 + height * n_rows)
    figure, axes = open_figure(rows=n_rows, columns=n_columns, size=size, sharex=True, sharey=True)
    rows = dict(iter(panels.rows.groupby("level", sort=False)))
    tables = [(kind, dict(iter(table.groupby("level", sort=False)))) for kind, table in panels.tables]
    for axis, name, title in zip(axes.flat, names, literals(names, 24), strict=False):
        _draw_level(axis, rows[name], [(kind, table[name]) for kind, table in tables], panels)
        axis.set_title(title, loc="left", fontsize=SMALL)
        tidy(axis, grid="both")
    for axis in axes.flat[len(names) :]:
        axis.remove()
    for i in range(len(names) - n_columns, len(names)):  # the lowest of each column, as the last row may be short
        if i >= 0:
            axes.flat[i].tick_params(labelbottom=True)
    _set_limits(axes.flat[0], panels)
    figure.supxlabel(literal(panels.x) if panels.x else "row of the level", fontsize="medium")
    figure.supylabel(folded(literal(panels.response), 0.8 * figure.get_figheight()), fontsize="medium")
    show_key(figure, _key(panels), title=literal(panels.title, 120))
    return hand_over(figure)


def _draw_level(
    axis: Axes, rows: pd.DataFrame, tables: Sequence[tuple[str, pd.DataFrame]], panels: GroupPanels
) -> None:
    axis.plot(rows["x"], rows["y"], "o", color=shade(0.55), markersize=3, alpha=opacity(len(rows)), zorder=1)
    first = tables[0][1]
    apart = 0.0 if panels.categories is None else OFFSET
    for name, look, place in (("complete", POOLED, -2.0), ("unpooled", UNPOOLED, -1.0)):
        _draw_line(axis, first["x"] + place * apart, first[name], look, has_marks=panels.categories is not None)
    for i, (kind, table) in enumerate(tables):
        look, x = _look(kind, is_second=i > 0), table["x"] + (i + 1.0) * apart
        if panels.categories is None:
            _draw_band(axis, x, table, look, is_filled=i == 0)
        else:
            axis.vlines(x, table["lower"], table["upper"], color=look.colour, linewidth=LINE, zorder=2)
        _draw_line(axis, x, table["estimate"], look, has_marks=panels.categories is not None)
    if panels.categories is not None:
        axis.set_xticks(range(len(panels.categories)), labels=literals(panels.categories, 10))


def _draw_line(axis: Axes, x: Any, y: Any, look: Look, *, has_marks: bool) -> None:
    alone = np.isfinite(y).sum() == 1
    marker = look.marker if has_marks or alone else None
    width = LINE if look.colour in (FIT.colour, POSTERIOR.colour) else 1.2
    axis.plot(
        x, y, color=look.colour, linestyle=look.line, linewidth=width, marker=marker, markersize=4, zorder=3
    )  # fmt: skip


def _look(kind: str, *, is_second: bool) -> Look:
    """Let the first line be seen through the gaps of a second one."""
    look = FIT if kind == "fit" else POSTERIOR
    return look._replace(line="--") if is_second else look


def _draw_band(axis: Axes, x: Any, table: pd.DataFrame, look: Look, *, is_filled: bool) -> None:
    """Fill the first band, and draw the limits of a second one, so that both can be seen."""
    if is_filled:
        axis.fill_between(x, table["lower"], table["upper"], color=look.colour, alpha=0.22, linewidth=0.0, zorder=2)
        return
    for name in ("lower", "upper"):
        axis.plot(x, table[name], color=look.colour, linewidth=0.8, linestyle=":", zorder=2)


def _set_limits(axis: Axes, panels: GroupPanels) -> None:
    """Show all data and bands; own lines of few rows may leave the panel."""
    shown = [panels.rows["y"].to_numpy(dtype=float)]
    for _, table in panels.tables:
        shown += [table[name].to_numpy(dtype=float) for name in ("lower", "upper", "complete")]
    values = np.concatenate(shown)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.04 * (high - low) or 1.0
    axis.set_ylim(low - room, high + room)
    if panels.categories is not None:
        axis.set_xlim(-0.5, len(panels.categories) - 0.5)


def _key(panels: GroupPanels) -> dict[str, Artist]:
    from matplotlib.lines import Line2D

    marks = panels.categories is not None

    def line(look: Look, width: float) -> Artist:
        return line_of(look, linewidth=width, marker=look.marker if marks else None, markersize=4)

    head = interval_head(panels.level)
    words = {"fit": f"partial pooling, fit, {head}", "posterior": f"partial pooling, posterior, {head}"}
    return {
        "data": Line2D([], [], color=shade(0.55), marker="o", markersize=3, linestyle="none"),
        "own rows alone": line(UNPOOLED, 1.2),
        "complete pooling": line(POOLED, 1.2),
        **{words[kind]: line(_look(kind, is_second=i > 0), LINE) for i, (kind, _) in enumerate(panels.tables)},
    }
