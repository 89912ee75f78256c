"""Densities with what mass they have at single values, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    FIT,
    WHOLE,
    Look,
    hand_over,
    in_style_of_axes,
    literal,
    open_panels,
    shade,
    show_key,
    title_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADROOM = 1.18  # of the highest density
FILL = 0.3  # opacity
CUT = 20.0  # times the median density: a pole is cut there
LEAST = 0.0005  # of mass at a value, below which it is not shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Density:
    """A density as a curve, and probabilities of single values.

    Attributes
    ----------
    x, density : arrays, shape (m,)
        In units of the parameter; empty where all mass is at single values.
    atoms : tuple of (float, float)
        Values that have a probability of their own, such as a standard deviation of zero, and that probability.
    """

    x: np.ndarray
    density: np.ndarray
    atoms: tuple[tuple[float, float], ...] = ()

    @property
    def top(self) -> float:
        """The highest density that is to be seen; 1 where there is none."""
        if not len(self.x):
            return 1.0
        highest, middle = float(np.max(self.density)), float(np.median(self.density))
        return (min(highest, CUT * middle) if middle > 0.0 else highest) or 1.0


def draw_density(
    axis: Axes, density: Density, look: Look, *, base: float = 0.0, height: float | None = None, percent: bool = True
) -> None:
    """Draw a density upwards from a base line.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        To draw into.
    density : Density
        What is drawn.
    look : Look
        How.
    base : float
        Where the axis of heights has density zero.
    height : float, optional
        How far the highest density rises from there, negative on an axis that runs downwards; by default densities are
        drawn in their own units.
    percent : bool
        Whether the probability of a single value is written beside its spike.
    """
    top = density.top
    factor = 1.0 if height is None else height / top
    if len(density.x):
        curve = base + factor * np.minimum(density.density, 1e3 * top)
        axis.fill_between(density.x, base, curve, color=look.colour, alpha=FILL, linewidth=0.0)
        axis.plot(density.x, curve, color=look.colour, linewidth=1.0, linestyle=look.line)
    for value, share in density.atoms:
        if share < LEAST:
            continue
        end = base + factor * top * share  # a share of one is as high as the density's highest
        axis.plot([value, value], [base, end], color=look.colour, linewidth=3.5, solid_capstyle="butt", gid="atom")
        if percent:
            right = value > 0.0 and len(density.x) > 0
            axis.annotate(
                f"{100.0 * share:.3g} %",
                (value, end),
                xytext=(-4 if right else 4, 2),
                textcoords="offset points",
                ha="right" if right else "left",
                va="bottom",
                fontsize="x-small",
                color=shade(0.8),
            )


@in_style_of_axes
def plot_densities(
    table: pd.DataFrame,
    densities: Mapping[str, Density],
    look: Look,
    *,
    what: str,
    level: float,
    ax: Axes | None = None,
) -> Figure:
    """Draw densities, one small panel each, with their intervals and the estimates.

    Parameters
    ----------
    table : DataFrame
        Index: names; columns estimate, lower, upper.
    densities : mapping of str to Density
        By name; one without has its interval only.
    look : Look
        How densities are drawn.
    what : str
        What the densities are called in the legend.
    level : float
        Coverage of the intervals, for the legend.
    ax : matplotlib.axes.Axes, optional
        To draw into, where there is one row.

    Returns
    -------
    matplotlib.figure.Figure
        A thick line at a single value is its probability: one of 100 % would be as high as the density.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    figure, axes = open_panels(len(table), ax)
    rows = table[["estimate", "lower", "upper"]].to_numpy(dtype=float)
    for axis, name, row in zip(axes, table.index, rows, strict=True):
        density = densities.get(str(name))
        if density is not None:
            draw_density(axis, density, look)
        top = 1.0 if density is None else density.top
        _draw_marks(axis, row[0], row[1], row[2], look)
        axis.set_ylim(-0.08 * top, HEADROOM * top)
        finish_panel(axis, literal(name, WHOLE))
    entries = [(_sample(axes[0], look), what), (_interval_sample(axes[0], look), f"{level * 100:g} % interval")]
    if np.isfinite(rows[:, 0]).any():
        entries.append((axes[0].plot([], [], FIT.marker, color=FIT.colour, markersize=5)[0], "estimate"))
    show_key(figure, {text: handle for handle, text in entries}, ax=ax)
    return hand_over(figure)


def _draw_marks(axis: Axes, estimate: float, lower: float, upper: float, look: Look) -> None:
    """Draw the interval under the density with ticks at its ends, and the estimate on it."""
    if np.isfinite([lower, upper]).all():
        axis.plot(
            [lower, upper], [0.0, 0.0], color=look.colour, linewidth=2.0, marker="|", markersize=9, gid="interval"
        )
    if np.isfinite(estimate):
        axis.plot([estimate], [0.0], FIT.marker, color=FIT.colour, markersize=5, clip_on=False, gid="estimate")


def _sample(axis: Axes, look: Look) -> Any:
    return axis.plot([], [], color=look.colour, linestyle=look.line, linewidth=1.0)[0]


def _interval_sample(axis: Axes, look: Look) -> Any:
    return axis.plot([], [], color=look.colour, linewidth=2.0, marker="|", markersize=9)[0]


def finish_panel(axis: Axes, name: str) -> None:
    """Title a panel with a text that is ready to be shown, and leave it the axis of numbers."""
    axis.set_yticks([])
    title_axes(axis, name)
    axis.tick_params(axis="x", labelsize="x-small")
    axis.spines[["left", "right", "top"]].set_visible(False)
