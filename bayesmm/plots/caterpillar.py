"""Predicted effects of all levels, sorted, with the intervals of every layer of uncertainty beside one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    BOOTSTRAP,
    FIT,
    LINE,
    POSTERIOR,
    PROFILE,
    ROW,
    SMALL,
    UNPOOLED,
    WIDTH,
    Look,
    cut_all,
    hand_over,
    in_style_of_axes,
    open_figure,
    shade,
    show_key,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {
    "conditional": Look(PROFILE.colour, "D", ":"),
    "fixed": Look(UNPOOLED.colour, "v", "--"),
    "full": FIT,
    "bootstrap": BOOTSTRAP,
    "posterior": POSTERIOR,
}
NAMED = 60  # levels up to which each has a row with its name
ROOMY = 20  # up to which a row grows with its layers
ROW_SHARE = 0.7  # of a row that its layers take
LAYER = 0.075  # inches
BAND_HEIGHT = 4.5  # inches
STEPS = 240  # points of a band; of more levels than that neighbours share one
EXTREME = 3  # levels named at either end of a band
NAME_WIDTH = 18  # characters


@in_style_of_axes
def plot_caterpillar(table: pd.DataFrame, *, title: str, coverage: float, ax: Axes | None = None) -> Figure:
    """Draw the effects of all levels, sorted by size, once with each layer's interval.

    Parameters
    ----------
    table : DataFrame
        Of one effect: level, layer, estimate, lower, upper; a row a level and layer.
    title : str
        Which effect it is.
    coverage : float
        Of the intervals, for the legend.
    ax : matplotlib.axes.Axes, optional
        To draw into.

    Returns
    -------
    matplotlib.figure.Figure
        Up to `NAMED` levels a row each, from the lowest below to the highest above; the layers of a level lie below one
        another in the order of the legend. Of more levels a band for each layer between its limits, from the lowest
        level on the left to the highest on the right; where there are more than `STEPS`, a limit is as far from the
        effect as the median of some neighbours'. The most extreme levels are named.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    ArgumentError
        If `ax` is no axes of matplotlib.
    """
    parts = {str(layer): own.reset_index(drop=True) for layer, own in table.groupby("layer", sort=False)}
    first = next(iter(parts.values()))
    order = np.argsort(first["estimate"].to_numpy(), kind="stable")
    names = cut_all(first["level"].to_numpy()[order], NAME_WIDTH)
    sorted_parts = {layer: own.iloc[order].reset_index(drop=True) for layer, own in parts.items()}
    q = len(names)
    row = max(ROW, LAYER * (len(parts) + 1)) if q <= ROOMY else ROW
    height = 1.0 + row * q if q <= NAMED else BAND_HEIGHT
    figure, axes = open_figure(ax, size=(WIDTH, height))
    axis = axes[0, 0]
    draw = _draw_rows if q <= NAMED else _draw_bands
    handles = draw(axis, sorted_parts, names)
    axis.set_title(title, loc="left", fontsize=SMALL, color=shade(0.6), parse_math=False)
    texts = [f"{layer}, {coverage * 100:g} %" if i == 0 else layer for i, layer in enumerate(parts)]
    show_key(figure, dict(zip(texts, handles, strict=True)), ax=ax)
    return hand_over(figure)


def _draw_rows(axis: Axes, parts: dict[str, pd.DataFrame], names: Sequence[str]) -> list[Any]:
    """Draw each level as a row, its layers below one another."""
    q, m = len(names), len(parts)
    spread = ROW_SHARE * (0.5 - (np.arange(m) + 0.5) / m)  # the first layer above
    width = LINE if q <= ROOMY else 0.7 * LINE
    handles = []
    for (layer, own), offset in zip(parts.items(), spread, strict=True):
        look, rows = LOOKS[layer], np.arange(q) + offset
        centre, lower, upper = (own[name].to_numpy() for name in ("estimate", "lower", "upper"))
        axis.hlines(rows, lower, upper, color=look.colour, linewidth=width)
        axis.plot(centre, rows, look.marker, color=look.colour, markersize=2.0 * width)
        handles.append(axis.plot([], [], look.marker, color=look.colour, linestyle="-", linewidth=width)[0])
    axis.set_yticks(range(q), labels=list(names))
    for label in axis.get_yticklabels():
        label.set_parse_math(False)
    axis.tick_params(axis="y", length=0, labelsize=SMALL if q <= ROOMY else "x-small")
    axis.set_ylim(-0.6, q - 0.4)
    tidy(axis)
    axis.axvline(0.0, color=shade(0.4), linewidth=0.8, zorder=0)
    return handles


def _draw_bands(axis: Axes, parts: dict[str, pd.DataFrame], names: Sequence[str]) -> list[Any]:
    """Draw each layer as a band over the sorted levels, the widest behind."""
    q = len(names)
    starts = np.unique(np.linspace(0, q, min(STEPS, q), endpoint=False).astype(int))
    ends = np.append(starts[1:], q)
    places = np.array([0.5 * (start + end - 1) for start, end in zip(starts, ends, strict=True)])
    handles = {}
    for layer in sorted(parts, key=lambda name: -_width(parts[name])):
        look, own = LOOKS[layer], parts[layer]
        centre, lower, upper = (own[name].to_numpy() for name in ("estimate", "lower", "upper"))
        below, above, middle = (_medians(each, starts, ends) for each in (lower - centre, upper - centre, centre))
        axis.fill_between(places, middle + below, middle + above, color=look.colour, alpha=0.15, linewidth=0.0)
        for limit in (middle + below, middle + above):
            axis.plot(places, limit, color=look.colour, linestyle=look.line, linewidth=0.7 * LINE)
        handles[layer] = axis.plot([], [], color=look.colour, linestyle=look.line, linewidth=LINE)[0]
    first = next(iter(parts.values()))
    axis.plot(np.arange(q), first["estimate"], color=axis.xaxis.label.get_color(), linewidth=LINE)
    _name_extremes(axis, first["estimate"].to_numpy(), names)
    neighbours = f"; limits: medians of {int(np.ceil(q / STEPS))} neighbours" if q > STEPS else ""
    axis.set_xlabel(f"{q:,} levels, sorted{neighbours}", fontsize=SMALL)
    axis.margins(x=0.01)
    tidy(axis, grid="y")
    axis.axhline(0.0, color=shade(0.4), linewidth=0.8, zorder=0)
    return [handles[layer] for layer in parts]


def _width(own: pd.DataFrame) -> float:
    return float(np.median(own["upper"] - own["lower"]))


def _medians(values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.array([np.median(values[start:end]) for start, end in zip(starts, ends, strict=True)])


def _name_extremes(axis: Axes, estimates: np.ndarray, names: Sequence[str]) -> None:
    """Mark the lowest and the highest levels, and name them in their order."""
    q = len(names)
    for own, at, shift, alignment in (
        (list(range(EXTREME)), 0, (14, -2), "left"),
        (list(range(q - 1, q - 1 - EXTREME, -1)), q - 1, (-14, -2), "right"),
    ):
        axis.plot(own, estimates[own], "o", color=axis.xaxis.label.get_color(), markersize=3)
        axis.annotate(
            ", ".join(names[i] for i in own),
            (at, estimates[at]),
            xytext=shift,
            textcoords="offset points",
            ha=alignment,
            va="center",
            fontsize="x-small",
            parse_math=False,
            bbox={"facecolor": shade(0.0), "alpha": 0.7, "linewidth": 0.0, "pad": 1.0},
        )
