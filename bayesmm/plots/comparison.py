"""Both intervals of every parameter, one above the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import FIT, LINE, POSTERIOR, SMALL, WIDTH, draw_interval, hand_over, open_figure, shade, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALES = {"fixed": "fixed effects", "sd": "standard deviations", "sigma": "standard deviations", "cor": "correlations"}
LEGIBLE = 0.1  # of a panel's width; a shorter interval gets a panel of its own
ROW_HEIGHT, PANEL_HEIGHT = 0.5, 0.55  # inches
OFFSET = 0.14  # rows, between the two intervals of a parameter


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
    panels = _panels(table)
    sizes = [len(names) for _, names in panels]
    figure, axes = open_figure(
        rows=len(panels),
        size=(WIDTH, 0.6 + ROW_HEIGHT * sum(sizes) + PANEL_HEIGHT * len(panels)),
        height_ratios=[0.5 + size for size in sizes],
    )
    titled: set[str] = set()
    for axis, (kind, names) in zip(axes[:, 0], panels, strict=True):
        _draw_panel(axis, table.loc[names], "" if kind in titled else kind)
        titled.add(kind)
    figure.legend(*_handles(axes[0, 0], method, level), loc="outside upper center", ncols=2, frameon=False)
    return hand_over(figure)


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
        draw_interval(axis, position - OFFSET, *fit, FIT)
        draw_interval(axis, position + OFFSET, *posterior, POSTERIOR)
    axis.set_yticks(range(len(rows)), labels=list(rows.index))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_title(title, loc="left", fontsize=SMALL, color=shade(0.6))
    axis.tick_params(axis="y", length=0)
    tidy(axis)
    low, high = axis.get_xlim()
    if low < 0 < high:
        axis.axvline(0.0, color=shade(0.4), linewidth=0.8, zorder=0)


def _handles(axis: Axes, method: str, level: float) -> tuple[list[Any], list[str]]:
    looks = (FIT, POSTERIOR)
    handles = [axis.plot([], [], color=look.colour, marker=look.marker, linewidth=LINE)[0] for look in looks]
    return handles, [f"{method}, {level * 100:g} % interval", f"posterior mean, {level * 100:g} % interval"]
