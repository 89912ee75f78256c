"""Ranks of levels with their intervals, and beside them how likely each is the best."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    FIT,
    LINE,
    POSTERIOR,
    SMALL,
    WIDTH,
    hand_over,
    in_style_of_axes,
    literal,
    literals,
    opacity,
    open_figure,
    shade,
    tidy,
)
from bayesmm.presenting.intervals import interval_head

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS_NAMED = 50  # levels that have a row with a name
LINES = 400  # levels whose intervals are lines; of more they are a band
ROW, NAME, LONG = 0.2, 0.16, 6.0  # inches, of a row, of a name, and of a panel of more levels
MARKS = {"best": ("o", "-"), "top": ("s", "--"), "above": ("^", ":")}


@in_style_of_axes
def plot_ranking(
    table: pd.DataFrame,
    *,
    group: str,
    effect: str,
    level: float,
    words: dict[str, str],
    is_drawn: bool,
    ax: Axes | None = None,
) -> Figure:
    """Draw expected ranks with intervals, and probabilities beside them.

    Parameters
    ----------
    table : DataFrame
        As `bayesmm.Ranking.table`.
    group, effect : str
        Whose levels, and what is ranked.
    level : float
        Coverage of the intervals.
    words : dict of str to str
        What the columns of probabilities are called.
    is_drawn : bool
        Whether the numbers are of a posterior.
    ax : matplotlib.axes.Axes, optional
        To draw the ranks alone into.

    Returns
    -------
    matplotlib.figure.Figure
        Rank 1 is at the top. Of more than 50 levels some are named, evenly over the ranking.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    rows = table.iloc[np.argsort(table["expected_rank"].to_numpy(), kind="stable")]
    height = ROW * len(rows) if len(rows) <= ROWS_NAMED else LONG
    if ax is not None:
        figure, axes = open_figure(ax, size=(WIDTH, height))
    else:
        size = (WIDTH, height + 1.1)
        figure, axes = open_figure(columns=2, size=size, sharey=True, width_ratios=[3, 2])
    _draw_ranks(axes[0, 0], rows, FIT.colour if not is_drawn else POSTERIOR.colour, is_drawn)
    axes[0, 0].set_xlabel(f"expected rank, {interval_head(level)}")
    title = f"{literal(effect)} by {literal(group)}"
    axes[0, 0].set_title(title, loc="left", fontsize=SMALL, color=shade(0.6))
    _name_levels(axes[0, 0], rows)
    if ax is None:
        _draw_probabilities(axes[0, 1], rows, words)
    return hand_over(figure)


def _draw_ranks(axis: Axes, rows: pd.DataFrame, colour: str, is_drawn: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    places = np.arange(len(rows))
    clear = opacity(len(rows), 400)
    width = LINE if len(rows) <= ROWS_NAMED else 0.8
    if len(rows) <= LINES:
        axis.hlines(places, rows["rank_lower"], rows["rank_upper"], color=colour, linewidth=width, alpha=clear)
    else:
        axis.fill_betweenx(places, rows["rank_lower"], rows["rank_upper"], color=colour, linewidth=0.0, alpha=0.3)
    marker = POSTERIOR.marker if is_drawn else FIT.marker
    axis.plot(rows["expected_rank"], places, marker, color=colour, markersize=4 if width == LINE else 2)
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    tidy(axis)


def _name_levels(axis: Axes, rows: pd.DataFrame) -> None:
    n, names = len(rows), literals(rows.index, 24)
    axis.set_ylim(n - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    named = np.arange(0, n, 1 if n <= ROWS_NAMED else math.ceil(n * NAME / LONG))
    axis.set_yticks(named, labels=[names[i] for i in named], fontsize=SMALL)


def _draw_probabilities(axis: Axes, rows: pd.DataFrame, words: dict[str, str]) -> None:
    places = np.arange(len(rows))
    for name, text in words.items():
        marker, line = MARKS[name]
        axis.plot(
            rows[name], places, color=shade(0.75), marker=marker, linestyle=line, linewidth=0.7, markersize=3.5,
            label=text,
        )  # fmt: skip
    axis.set_xlim(-0.03, 1.03)
    axis.set_xlabel("probability")
    axis.tick_params(axis="y", length=0)
    axis.legend(loc="lower right", fontsize="x-small", frameon=False)
    tidy(axis)
