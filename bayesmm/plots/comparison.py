"""Both intervals of every parameter, one above the other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.errors import BayesmmError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALES = {"fixed": "fixed effects", "sd": "standard deviations", "sigma": "standard deviations", "cor": "correlations"}
LEGIBLE = 0.1  # of a panel's width; a shorter interval gets a panel of its own
ROW_HEIGHT, PANEL_HEIGHT, WIDTH = 0.5, 0.55, 7.5  # inches
OFFSET = 0.14  # rows, between the two intervals of a parameter
FIT_COLOUR, POSTERIOR_COLOUR = "#1f4e79", "#d9822b"


def plot_comparison(table: pd.DataFrame, *, method: str, level: float) -> Figure:
    """Draw estimates and posterior means with their intervals.

    Parameters
    ----------
    table : DataFrame
        As `bayesmm.Comparison.table`.
    method : {"REML", "ML"}
        What the estimates are called.
    level : float
        Coverage of the intervals, for the legend.

    Returns
    -------
    matplotlib.figure.Figure
        Parameters whose intervals can be read on one scale share a panel. An estimate on the boundary has no interval
        and an open marker.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    pyplot = import_pyplot()
    panels = _panels(table)
    sizes = [len(names) for _, names in panels]
    figure, axes = pyplot.subplots(
        nrows=len(panels),
        figsize=(WIDTH, 0.6 + ROW_HEIGHT * sum(sizes) + PANEL_HEIGHT * len(panels)),
        height_ratios=[0.5 + size for size in sizes],
        layout="constrained",
        squeeze=False,
    )
    titled: set[str] = set()
    for axis, (kind, names) in zip(axes[:, 0], panels, strict=True):
        _draw_panel(axis, table.loc[names], "" if kind in titled else kind)
        titled.add(kind)
    figure.legend(*_handles(axes[0, 0], method, level), loc="outside upper center", ncols=2, frameon=False)
    if "inline" in pyplot.get_backend():
        pyplot.close(figure)  # a notebook shows the returned figure, and would show an open one once more
    return figure


def import_pyplot() -> Any:
    """Import matplotlib, or say that it is not there."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise BayesmmError(
            f"Plots need matplotlib, which cannot be imported ({error}). Install it: pip install matplotlib."
        ) from error
    return pyplot


def _panels(table: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Put parameters into the first panel of their kind on whose scale all intervals can be read."""
    panels: list[tuple[str, list[str]]] = []
    for name, kind in zip(map(str, table.index), table["kind"], strict=True):
        scale = SCALES[kind]
        homes = (names for other, names in panels if other == scale and _is_legible(table.loc[[*names, name]]))
        home = next(homes, None)
        if home is None:
            panels.append((scale, [name]))
        else:
            home.append(name)
    return panels


def _is_legible(rows: pd.DataFrame) -> bool:
    if set(rows["kind"]) == {"cor"}:
        return True
    ends = rows[["fit_lower", "fit_upper", "posterior_lower", "posterior_upper", "estimate"]].to_numpy(dtype=float)
    shortest = (rows["posterior_upper"] - rows["posterior_lower"]).min()
    return bool(shortest >= LEGIBLE * (np.nanmax(ends) - np.nanmin(ends)))


def _draw_panel(axis: Axes, rows: pd.DataFrame, title: str) -> None:
    for position, row in enumerate(rows.to_dict("records")):
        fit = (row["estimate"], row["fit_lower"], row["fit_upper"])
        posterior = (row["mean"], row["posterior_lower"], row["posterior_upper"])
        _draw_interval(axis, position - OFFSET, *fit, colour=FIT_COLOUR, marker="s")
        _draw_interval(axis, position + OFFSET, *posterior, colour=POSTERIOR_COLOUR, marker="o")
    axis.set_yticks(range(len(rows)), labels=list(rows.index))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_title(title, loc="left", fontsize="small", color="0.4")
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)
    axis.spines[["left", "right", "top"]].set_visible(False)
    low, high = axis.get_xlim()
    if low < 0 < high:
        axis.axvline(0.0, color="0.6", linewidth=0.8, zorder=0)


def _draw_interval(
    axis: Axes, height: float, value: float, lower: float, upper: float, *, colour: str, marker: str
) -> None:
    known = math.isfinite(lower) and math.isfinite(upper)
    if known:
        axis.plot([lower, upper], [height, height], color=colour, linewidth=2.2, solid_capstyle="round")
    axis.plot(value, height, marker, color=colour, markersize=6, markerfacecolor=colour if known else "white")


def _handles(axis: Axes, method: str, level: float) -> tuple[list[Any], list[str]]:
    looks = ((FIT_COLOUR, "s"), (POSTERIOR_COLOUR, "o"))
    handles = [axis.plot([], [], color=colour, marker=marker, linewidth=2.2)[0] for colour, marker in looks]
    return handles, [f"{method}, {level * 100:g} % interval", f"posterior mean, {level * 100:g} % interval"]
