"""What rows or levels decide: Cook's distances, leverages beside distances from the rest, DFBETAS."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    FIT,
    SMALL,
    hand_over,
    label_axes,
    literal,
    literals,
    note_points,
    opacity,
    open_figure,
    shade,
    show_no_rounding,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 5  # that are most influential
SIZE = (11.0, 3.9)  # inches
ROW = 0.32  # inches, of a coefficient with names over and under it
MOST_COEFFICIENTS = 30


def plot_influence(table: pd.DataFrame, dfbetas: pd.DataFrame, *, by: str, title: str) -> Figure:
    """Draw what changes where a row or a level is left out.

    Parameters
    ----------
    table, dfbetas : DataFrame
        As of `Influence`, one row each.
    by : str
        What is left out.
    title : str
        How.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels. The five with the largest Cook's distances are named in each, and those furthest from the others.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    cooks = table["cooks_distance"].to_numpy(dtype=float)
    known = np.isfinite(cooks)
    named = np.argsort(np.where(known, -cooks, np.inf), kind="stable")[: min(NAMED, int(known.sum()))]
    rows = min(dfbetas.shape[1], MOST_COEFFICIENTS)
    figure, axes = open_figure(columns=3, size=(SIZE[0], max(SIZE[1], 1.0 + ROW * rows)))
    _draw_distances(axes[0, 0], cooks, table.index, named, by)
    _draw_leverages(axes[0, 1], table, named)
    _draw_changes(axes[0, 2], dfbetas, named)
    figure.suptitle(literal(title, 120), fontsize="medium")
    return hand_over(figure)


def _draw_distances(axis: Axes, cooks: np.ndarray, labels: pd.Index, named: np.ndarray, by: str) -> None:
    from matplotlib.ticker import MaxNLocator

    places = np.arange(1, len(cooks) + 1)
    clear = opacity(len(cooks), 400)
    axis.vlines(places, 0.0, cooks, color=FIT.colour, linewidth=1.0, alpha=clear)
    axis.plot(places, cooks, FIT.marker, color=FIT.colour, markersize=3, alpha=clear)
    note_points(axis, places[named], cooks[named], list(labels[named]))
    axis.set_ylim(bottom=0.0)
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    label_axes(axis, f"{'row' if by == 'rows' else literal(by)}, in the order of the data", "Cook's distance")
    tidy(axis, grid="y")


def _draw_leverages(axis: Axes, table: pd.DataFrame, named: np.ndarray) -> None:
    leverage = table["leverage"].to_numpy(dtype=float)
    apart = np.sqrt(table["statistic"].to_numpy(dtype=float))
    axis.plot(leverage, apart, FIT.marker, color=FIT.colour, markersize=4, alpha=opacity(len(leverage), 200))
    far = np.argsort(-np.nan_to_num(apart), kind="stable")[:NAMED]
    both = np.array(list(dict.fromkeys([*named, *far])), dtype=int)
    note_points(axis, leverage[both], apart[both], list(table.index[both]))
    axis.set_ylim(bottom=0.0)
    show_no_rounding(axis, leverage)
    label_axes(axis, "leverage", "distance from what the others predict, sd")
    tidy(axis, grid="both")


def _draw_changes(axis: Axes, dfbetas: pd.DataFrame, named: np.ndarray) -> None:
    shown = list(dfbetas)[:MOST_COEFFICIENTS]
    for i, name in enumerate(shown):
        values = dfbetas[name].to_numpy(dtype=float)
        places = np.full(len(values), float(i))
        axis.plot(values, places, "|", color=FIT.colour, markersize=9, alpha=opacity(len(values), 200))
        note_points(axis, values[named], places[named], list(dfbetas.index[named]), where="above")
    cut = 2.0 / math.sqrt(max(len(dfbetas), 1))
    for x in (-cut, cut):
        axis.axvline(x, color=shade(0.5), linewidth=0.8, linestyle=":", zorder=0)
    axis.axvline(0.0, color=shade(0.4), linewidth=0.8, zorder=0)
    axis.set_yticks(range(len(shown)), labels=literals(shown, 24))
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("DFBETAS, dotted at ±2/√n")
    if len(shown) < dfbetas.shape[1]:
        title = f"the first {len(shown)} of {dfbetas.shape[1]} coefficients"
        axis.set_title(title, loc="left", fontsize=SMALL, color=shade(0.6))
    tidy(axis)
