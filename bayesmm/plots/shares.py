"""Shares of the variance: one bar that they divide, and each with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    FIT,
    POOLED,
    POSTERIOR,
    PROFILE,
    SMALL,
    UNPOOLED,
    WHOLE,
    draw_interval,
    fitting,
    hand_over,
    literal,
    literals,
    open_figure,
    shade,
    tidy,
    wide_enough,
)
from bayesmm.plots.densities import Density, draw_density

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR, SIMPLE, HIGH, REST = 0.7, 0.3, 0.55, 0.7  # inches: the bar, a row, a row with a density, title and scale
PARTS = (FIT.colour, POOLED.colour, "#009E73", UNPOOLED.colour, PROFILE.colour, "#F0E442", POSTERIOR.colour)
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++")
LEGIBLE = 0.06  # of the bar; a smaller share is written in the rows only
WIDTH_OF_BAR = 0.75  # of its axes as they are opened, where names of rows take some of it
SHORT = 6  # characters; a name with less room is not written
FACE = 0.55  # opacity, so that black and white texts can be read


def plot_shares(
    shares: pd.DataFrame,
    quantities: pd.DataFrame | None = None,
    *,
    title: str,
    level: float,
    densities: Mapping[str, Density] | None = None,
) -> Figure:
    """Draw shares as parts of one bar, and below it each with its interval.

    Parameters
    ----------
    shares : DataFrame
        Index: names of the shares, which add up to one. Columns: estimate or mean; lower, upper.
    quantities : DataFrame, optional
        Further rows of the same columns, between 0 and 1 too: R², ICC.
    title : str
        Of what the shares are.
    level : float
        Coverage of the intervals, for the title.
    densities : mapping of str to Density, optional
        By name, of draws.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    rows = shares if quantities is None else pd.concat([quantities, shares])
    height = (SIMPLE if densities is None else HIGH) * len(rows) + 0.35
    size = (wide_enough(rows.index), BAR + height + REST)
    figure, axes = open_figure(rows=2, size=size, height_ratios=[BAR, height], sharex=True)
    _draw_bar(axes[0, 0], shares, title)
    _draw_rows(axes[1, 0], rows, densities or {}, level)
    return hand_over(figure)


def _draw_bar(axis: Axes, shares: pd.DataFrame, title: str) -> None:
    left = 0.0
    for i, (name, value) in enumerate(zip(map(str, shares.index), _values(shares), strict=True)):
        axis.barh(
            0.0,
            value,
            left=left,
            color=(PARTS[i % len(PARTS)], FACE),
            hatch=HATCHES[i % len(HATCHES)],
            edgecolor=shade(0.0),
            linewidth=1.0,
            gid=name,
        )
        room = fitting(name, value * WIDTH_OF_BAR * axis.bbox.width / axis.figure.dpi, "x-small")
        if value >= LEGIBLE:
            text = f"{literal(name, room)}\n" if room >= min(SHORT, len(name)) else ""
            text += f"{100.0 * value:.0f} %"
            box = {"facecolor": shade(0.0), "edgecolor": "none", "pad": 1.0, "alpha": 0.75}
            axis.text(left + 0.5 * value, 0.0, text, ha="center", va="center", fontsize="x-small", bbox=box)
        left += value
    axis.set_title(title, loc="left", fontsize=SMALL, color=shade(0.6))
    axis.set_yticks([])
    axis.set_ylim(-0.5, 0.5)
    axis.tick_params(axis="x", labelbottom=False, length=0)
    axis.spines[:].set_visible(False)


def _draw_rows(axis: Axes, rows: pd.DataFrame, densities: Mapping[str, Density], level: float) -> None:
    look = FIT if "estimate" in rows else POSTERIOR
    for position, (name, value, lower, upper) in enumerate(
        zip(map(str, rows.index), _values(rows), rows["lower"], rows["upper"], strict=True)
    ):
        down = 0.25 if densities else 0.0
        if name in densities:
            draw_density(axis, densities[name], look, base=position + 0.12, height=-0.55, percent=False)
        draw_interval(axis, position + down, value, float(lower), float(upper), look)
    names = literals(rows.index, WHOLE)
    axis.set_yticks(range(len(rows)), labels=names)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(0.0, 1.0)
    axis.set_xticks(np.linspace(0.0, 1.0, 6), labels=[f"{value:.0f} %" for value in np.linspace(0.0, 100.0, 6)])
    axis.tick_params(axis="y", length=0)
    axis.set_title(f"with {level * 100:g} % intervals", loc="left", fontsize=SMALL, color=shade(0.6))
    tidy(axis)


def _values(table: pd.DataFrame) -> Any:
    return table["estimate" if "estimate" in table else "mean"].to_numpy(dtype=float)
