"""A standard deviation near zero: its relative likelihood, and what every method says of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    BOOTSTRAP,
    FIT,
    POOLED,
    POSTERIOR,
    PROFILE,
    SMALL,
    WHOLE,
    WIDTH,
    Look,
    draw_interval,
    hand_over,
    literal,
    open_figure,
    shade,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVE, ROW, REST = 2.0, 0.3, 0.9  # inches: the upper panel, a row of the lower one, titles and scales
LOOKS = {"profile likelihood": PROFILE, "bootstrap": BOOTSTRAP, "posterior": POSTERIOR, "boundary-avoiding": POOLED}


def plot_boundary(
    parameter: str,
    table: pd.DataFrame,
    curve: pd.DataFrame,
    *,
    cutoff: float,
    level: float,
    remark: str,
) -> Figure:
    """Draw the relative likelihood of a standard deviation, and below it estimates and intervals.

    Parameters
    ----------
    parameter : str
        Its name.
    table : DataFrame
        Index: methods. Columns: estimate, lower, upper, at_zero. Rows without a value are left out.
    curve : DataFrame
        Columns value, likelihood: relative to the highest.
    cutoff : float
        Relative likelihood at the ends of the profile interval.
    level : float
        Coverage of the intervals.
    remark : str
        What the test says, over the curve.

    Returns
    -------
    matplotlib.figure.Figure
        In the upper panel a thick line at zero is the share of bootstrap estimates that are zero. In the lower one an
        estimate of zero without an interval has an open marker.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    known = table[["estimate", "lower", "upper"]].notna().any(axis=1)
    shown = table.loc[known]
    height = ROW * len(shown) + 0.2
    figure, axes = open_figure(rows=2, size=(WIDTH, CURVE + height + REST), height_ratios=[CURVE, height], sharex=True)
    _draw_curve(axes[0, 0], table, curve, cutoff, level)
    axes[0, 0].set_title(f"{literal(parameter, WHOLE)}: {remark}", loc="left", fontsize=SMALL)
    _draw_rows(axes[1, 0], shown, level)
    ends = table[["estimate", "lower", "upper"]].to_numpy(dtype=float)
    most = max(np.max(ends[np.isfinite(ends)]), np.max(curve["value"].to_numpy()))
    axes[1, 0].set_xlim(-0.03 * most, 1.02 * most)
    return hand_over(figure)


def _draw_curve(axis: Axes, table: pd.DataFrame, curve: pd.DataFrame, cutoff: float, level: float) -> None:
    axis.plot(curve["value"], curve["likelihood"], color=FIT.colour, label="relative likelihood")
    axis.axhline(cutoff, color=shade(0.5), linestyle="--", linewidth=0.9, label=f"{level * 100:g} % profile interval")
    share = float(table["at_zero"].get("bootstrap", math.nan))  # pyright: ignore[reportArgumentType]
    if share > 0.0:
        label = f"bootstrap estimates of zero, {100.0 * share:.0f} %"
        axis.plot([0.0, 0.0], [0.0, share], color=BOOTSTRAP.colour, linewidth=4, solid_capstyle="butt", label=label)
    axis.set_ylim(0.0, 1.05)
    axis.set_yticks([0.0, 0.5, 1.0])
    axis.tick_params(axis="x", labelbottom=False, length=0)
    axis.legend(frameon=False, fontsize="x-small")
    tidy(axis, grid=None)


def _draw_rows(axis: Axes, table: pd.DataFrame, level: float) -> None:
    rows = table[["estimate", "lower", "upper"]].to_numpy(dtype=float).tolist()
    for position, (method, (value, lower, upper)) in enumerate(zip(table.index, rows, strict=True)):
        look = LOOKS.get(str(method), FIT)
        if math.isfinite(value) and (math.isfinite(lower) or value == 0.0):
            draw_interval(axis, position, value, lower, upper, look)
        elif math.isfinite(value):
            axis.plot(value, position, look.marker, color=look.colour, markersize=5)
        else:
            _draw_ends(axis, position, lower, upper, look)
    axis.set_yticks(range(len(table)), labels=[str(name) for name in table.index])
    axis.set_ylim(len(table) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.set_title(f"estimates and {level * 100:g} % intervals", loc="left", fontsize=SMALL, color=shade(0.6))
    tidy(axis)


def _draw_ends(axis: Axes, height: float, lower: float, upper: float, look: Look) -> None:
    """Draw an interval that is about no value of its own."""
    axis.plot([lower, upper], [height, height], color=look.colour, marker="|", markersize=8)
