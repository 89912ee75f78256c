"""A covariance or correlation matrix of rows as an image, with the blocks of the levels that rows share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    SMALL,
    WHOLE,
    folded,
    hand_over,
    in_style_of_axes,
    literal,
    literals,
    open_figure,
    shade,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE, CELL, SMALLEST = 5.0, 0.24, 2.6  # inches: of a large matrix, of a row of a small one, at least
NUMBERED = 0.42  # inches: of a row with numbers
LETTER = 0.075  # inches, of a letter of a row's name
SHORT = 6  # letters that a name has room for at least: a layout is not found in less
MOST_NAMED = 40  # rows, beyond which levels are named and rows are not
MOST_NUMBERED = 12  # rows of a matrix whose cells have numbers
STRONG = 0.65  # correlation, from which on a dark text does not stand out from its colour
MOST_LEVELS = 40  # names of levels along an axis
OUTLINES = ("-", "--", ":")  # of the first grouping factor, the second, ...


@in_style_of_axes
def plot_matrix(
    table: pd.DataFrame,
    levels: Mapping[str, Sequence[str]],
    *,
    what: str,
    is_correlation: bool,
    has_numbers: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Draw a symmetric matrix of rows of data.

    Parameters
    ----------
    table : DataFrame
        Rows and columns by name.
    levels : mapping of str to sequence of str
        For each grouping factor the level of each row. Neighbouring rows of one level are outlined as a block.
    what : str
        What is drawn, for the colour bar.
    is_correlation : bool
        Whether colours go from −1 to 1.
    has_numbers : bool
        Whether correlations stand in their cells, where these are few.
    ax : matplotlib.axes.Axes, optional
        To draw into.

    Returns
    -------
    matplotlib.figure.Figure
        Positive values are warm and negative ones cold where both can be; otherwise light is much. Where rows are too
        many to be named, the blocks of the first grouping factor are.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    n = len(table)
    side = min(max((NUMBERED if has_numbers and n <= MOST_NUMBERED else CELL) * n, SMALLEST), SIDE)
    names = max(SHORT, *(len(str(name)) for name in table.index)) if n <= MOST_NAMED else 4
    figure, axes = open_figure(ax, size=(side + 1.4 + LETTER * names, side + 0.5))
    axis, values = axes[0, 0], table.to_numpy(dtype=float)
    image = axis.imshow(values, interpolation="nearest", **_colours(values, is_correlation))
    if has_numbers and n <= MOST_NUMBERED:
        _number(axis, values)
    bar = figure.colorbar(image, ax=axis, shrink=0.8)
    bar.set_label(folded(literal(what, WHOLE), 0.6 * axis.bbox.height / axis.figure.dpi, SMALL), fontsize=SMALL)
    bar.ax.tick_params(labelsize="x-small")
    bar.outline.set_visible(False)
    handles = [_outline(axis, own, OUTLINES[i % len(OUTLINES)], group) for i, (group, own) in enumerate(levels.items())]
    _name_rows(axis, table, levels)
    if has_numbers and table.index.name is not None:
        axis.set_ylabel(literal(table.index.name), fontsize=SMALL)
        if n <= MOST_NUMBERED and not levels:
            axis.set_xticks(range(n), labels=literals(table.columns, WHOLE), fontsize="x-small")
            axis.tick_params(axis="x", length=0)
    shown = [handle for handle in handles if handle is not None]
    if len(shown) > 1:
        legend = axis.legend(
            handles=shown, fontsize="x-small", loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(shown)
        )
        legend.set_frame_on(False)
    return hand_over(figure)


def _number(axis: Axes, values: np.ndarray) -> None:
    """Write correlations into their cells: white where the colour is strong."""
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if np.isfinite(value):
                text = f"{value:.2f}".replace("-", "−").replace("0.", ".").replace("1.00", "1")
                colour = "white" if abs(value) > STRONG else "#222222"
                axis.text(j, i, text, ha="center", va="center", fontsize="x-small", color=colour)


def _colours(values: np.ndarray, is_correlation: bool) -> dict[str, Any]:
    most = float(np.max(np.abs(values), initial=0.0)) or 1.0
    if is_correlation:
        return {"cmap": "RdBu_r", "vmin": -1.0, "vmax": 1.0}
    if (values < 0.0).any():
        return {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    return {"cmap": "cividis", "vmin": 0.0, "vmax": most}


def runs(levels: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield first position, number and level of neighbours of one level."""
    start = 0
    for i in range(1, len(levels) + 1):
        if i == len(levels) or levels[i] != levels[start]:
            yield start, i - start, levels[start]
            start = i


def _outline(axis: Axes, levels: Sequence[str], line: str, group: str) -> Any:
    """Draw a square around each block of more than one row; the first has the factor's name for the legend."""
    from matplotlib.patches import Rectangle

    first = None
    for start, count, level in runs(levels):
        if count < 2:
            continue
        square = Rectangle(
            (start - 0.5, start - 0.5),
            count,
            count,
            fill=False,
            edgecolor="#D55E00",
            linestyle=line,
            linewidth=1.2 if len(levels) <= MOST_NAMED else 0.8,
            label=literal(group),
            gid=f"{group}: {level}",
        )
        axis.add_patch(square)
        first = first or square
    return first


def _name_rows(axis: Axes, table: pd.DataFrame, levels: Mapping[str, Sequence[str]]) -> None:
    n = len(table)
    axis.set_xticks([])
    axis.spines[:].set_color(shade(0.4))
    if n <= MOST_NAMED:
        axis.set_yticks(range(n), labels=literals(table.index, WHOLE), fontsize="x-small")
        axis.tick_params(axis="y", length=0)
        return
    axis.set_yticks([])
    if not levels:
        return
    group = next(iter(levels))
    found = list(runs(levels[group]))
    if len(found) <= MOST_LEVELS:
        middles = [start + 0.5 * (count - 1) for start, count, _ in found]
        axis.set_yticks(middles, labels=literals([level for _, _, level in found], 20), fontsize="x-small")
        axis.tick_params(axis="y", length=0)
    axis.set_ylabel(literal(group), fontsize=SMALL)
