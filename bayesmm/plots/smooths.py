"""Smooth curves with their intervals, and where the rows are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import FIT, LINE, SMALL, hand_over, literal, open_panels, shade, tidy
from bayesmm.presenting.intervals import interval_head

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = (3.6, 2.8)  # inches
MOST_TICKS = 2000  # of values of x


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothPanel:
    """One curve.

    Attributes
    ----------
    term, x : str
        The term, and what it is a curve over.
    edf : float
        Effective degrees of freedom of its departures from a straight line.
    curve : DataFrame
        x, estimate, lower, upper.
    at : array, shape (m,)
        Distinct values of x in the rows used.
    """

    term: str
    x: str
    edf: float
    curve: pd.DataFrame
    at: np.ndarray


def plot_smooths(panels: Sequence[SmoothPanel], *, response: str, level: float, ax: Axes | None = None) -> Figure:
    """Draw one panel a curve.

    Parameters
    ----------
    panels : sequence of SmoothPanel
        What is drawn.
    response : str
        Whose units the curves have.
    level : float
        Coverage of the intervals.
    ax : matplotlib.axes.Axes, optional
        To draw one curve into.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    ArgumentError
        If several curves are to go into one axes.
    """
    figure, axes = open_panels(len(panels), ax, panel=PANEL)
    for axis, panel in zip(axes, panels, strict=True):
        curve = panel.curve
        axis.fill_between(curve["x"], curve["lower"], curve["upper"], color=FIT.colour, alpha=0.2, linewidth=0)
        axis.plot(curve["x"], curve["estimate"], color=FIT.colour, linewidth=LINE)
        axis.axhline(0.0, color=shade(0.4), linewidth=0.8, zorder=0)
        if len(panel.at) <= MOST_TICKS:
            axis.plot(panel.at, np.zeros(len(panel.at)), "|", color=shade(0.6), transform=axis.get_xaxis_transform())
        axis.set_title(f"{literal(panel.term)}, {panel.edf:.1f} edf", loc="left", fontsize=SMALL)
        axis.set_xlabel(literal(panel.x))
        axis.set_ylabel(f"{literal(response, 24)}, {interval_head(level)}", fontsize=SMALL)
        tidy(axis, grid="both")
    return hand_over(figure)
