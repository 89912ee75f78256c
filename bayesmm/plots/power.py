"""Power against the size of a design."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    BOOTSTRAP,
    FIT,
    LINE,
    POOLED,
    POSTERIOR,
    PROFILE,
    UNPOOLED,
    WHOLE,
    WIDTH,
    hand_over,
    in_style_of_axes,
    literal,
    open_figure,
    shade,
    show_key,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = (FIT, POSTERIOR, BOOTSTRAP, UNPOOLED, POOLED, PROFILE)
HEIGHT = 3.2  # inches
APART = 0.006  # of the width, between the curves' intervals at one size


@in_style_of_axes
def plot_power(
    table: pd.DataFrame, *, sizes: Sequence[str], aim: float, alpha: float, ax: Axes | None = None
) -> Figure:
    """Draw a curve for each effect, and for each size of what else differs between designs.

    Parameters
    ----------
    table : DataFrame
        One row a design and effect, with columns effect, power, lower, upper, rows, and those of `sizes`.
    sizes : sequence of str
        Columns that differ between designs; the first is along the horizontal axis, rows if there is none.
    aim : float
        Where a line is drawn.
    alpha : float
        Level of the tests, for the words at the axis.
    ax : matplotlib.axes.Axes, optional
        To draw into.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    figure, axes = open_figure(ax, size=(WIDTH, HEIGHT))
    axis = axes[0, 0]
    along, others = (sizes[0] if sizes else "rows"), list(sizes[1:])
    curves = list(table.groupby(["effect", *others], sort=False))
    reach = float(np.ptp(table[along].to_numpy())) or 1.0
    axis.axhline(aim, color=shade(0.5), linewidth=1.0, linestyle=":")
    axis.text(
        1.0, aim, f"{100 * aim:g} % ", color=shade(0.6), ha="right", va="bottom", transform=axis.get_yaxis_transform()
    )
    drawn: dict[str, Any] = {}
    for number, (key, rows) in enumerate(curves):
        look = LOOKS[number % len(LOOKS)]
        rows = rows.sort_values(along)
        x = rows[along].to_numpy(dtype=float) + APART * reach * (number - (len(curves) - 1) / 2.0)
        share, low, high = (rows[name].to_numpy(dtype=float) for name in ("power", "lower", "upper"))
        values = key if isinstance(key, tuple) else (key,)
        words = [f"{_words(name)} {value}" for name, value in zip(others, values[1:], strict=True)]
        drawn[literal(", ".join([str(values[0]), *words]), WHOLE)] = axis.errorbar(
            x,
            share,
            yerr=[share - low, high - share],
            color=look.colour,
            marker=look.marker,
            linestyle=look.line,
            linewidth=LINE,
            markersize=5,
        )
    axis.set_ylim(0.0, 1.02)
    axis.set_yticks([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], labels=["0", "20 %", "40 %", "60 %", "80 %", "100 %"])
    axis.set_xticks(sorted(set(table[along])))
    axis.set_xlabel(literal(_words(along)))
    axis.set_ylabel(f"share found (p ≤ {alpha:g})")
    if len(curves) > 1 or ax is None:
        show_key(figure, drawn, ax=ax)
    tidy(axis, grid="y")
    return hand_over(figure)


def _words(name: str) -> str:
    """Say a column of sizes in words."""
    if name.startswith("n("):
        return f"levels of {name[2:-1]}"
    return f"rows for each {name[5:-1]}" if name.startswith("rows(") else name
