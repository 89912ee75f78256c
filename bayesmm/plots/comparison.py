"""All intervals of every parameter, one above the other, with the densities behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    BOOTSTRAP,
    FIT,
    LINE,
    POSTERIOR,
    PROFILE,
    SMALL,
    WHOLE,
    Look,
    draw_interval,
    hand_over,
    line_of,
    literals,
    open_figure,
    shade,
    show_key,
    tidy,
    wide_enough,
)
from bayesmm.plots.densities import Density, draw_density

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALES = {
    "fixed": "fixed effects",
    "sd": "standard deviations",
    "sigma": "standard deviations",
    "exponent": "exponents",
    "cor": "correlations",
}
LEGIBLE = 0.1  # of a panel's width; a shorter interval gets a panel of its own
LANE, GAP, PANEL_HEIGHT = 0.15, 0.2, 0.5  # inches: of an interval, between parameters, of a panel's scale and title
HIGH = 2.2  # lanes, of an interval with its density above it


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One kind of result in a comparison.

    Attributes
    ----------
    label : str
        In the legend.
    look : Look
        How it is drawn.
    value, lower, upper : str
        Columns of the table.
    densities : mapping of str to Density, optional
        By parameter.
    """

    label: str
    look: Look
    value: str
    lower: str
    upper: str
    densities: Mapping[str, Density] | None = None

    @property
    def lanes(self) -> float:
        """Height in a row."""
        return 1.0 if self.densities is None else HIGH


def plot_comparison(
    table: pd.DataFrame,
    *,
    method: str,
    level: float,
    posterior: Mapping[str, Density] | None = None,
    bootstrap: Mapping[str, Density] | None = None,
) -> Figure:
    """Draw estimates and posterior means with their intervals, and densities of draws and of replicates.

    Parameters
    ----------
    table : DataFrame
        As `bayesmm.Comparison.table`; with columns profile_lower and profile_upper profile intervals are drawn too.
    method : str
        What the estimates and their intervals are called: "REML (Satterthwaite)".
    level : float
        Coverage of the intervals, for the legend.
    posterior, bootstrap : mapping of str to Density, optional
        By parameter.

    Returns
    -------
    matplotlib.figure.Figure
        Parameters whose intervals can be read on one scale share a panel. An estimate on the boundary has no interval
        and an open marker. An interval without an end runs to the edge of its panel.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    sources = _sources(table, method, f"{level * 100:g} % interval", posterior, bootstrap)
    panels = _panels(table)
    sizes = [len(names) for _, names in panels]
    row = LANE * sum(source.lanes for source in sources) + GAP
    heights = [PANEL_HEIGHT + row * size for size in sizes]
    size = (wide_enough(table.index), 0.5 + sum(heights))
    figure, axes = open_figure(rows=len(panels), size=size, height_ratios=heights)
    titled: set[str] = set()
    for axis, (kind, names) in zip(axes[:, 0], panels, strict=True):
        _draw_panel(axis, table.loc[names], sources, "" if kind in titled else kind)
        titled.add(kind)
    show_key(figure, {source.label: line_of(source.look, linestyle="-") for source in sources})
    return hand_over(figure)


def _sources(
    table: pd.DataFrame,
    method: str,
    interval: str,
    posterior: Mapping[str, Density] | None,
    bootstrap: Mapping[str, Density] | None,
) -> list[Source]:
    """List what there is to draw of each parameter, downwards."""
    found = [Source(label=f"{method}, {interval}", look=FIT, value="estimate", lower="fit_lower", upper="fit_upper")]
    ends = {"profile": ("profile_lower", "profile_upper"), "bootstrap": ("bootstrap_lower", "bootstrap_upper")}
    for name, look, densities in (("profile", PROFILE, None), ("bootstrap", BOOTSTRAP, bootstrap)):
        lower, upper = ends[name]
        if lower in table:
            label = f"{name}, {interval}"
            found.append(
                Source(label=label, look=look, value="estimate", lower=lower, upper=upper, densities=densities)
            )
    draws = Source(
        label=f"posterior mean, {interval}",
        look=POSTERIOR,
        value="mean",
        lower="posterior_lower",
        upper="posterior_upper",
        densities=posterior,
    )
    return [*found, draws]


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
    columns = [name for name in rows if str(name).endswith(("lower", "upper")) or name == "estimate"]
    ends = rows[columns].to_numpy(dtype=float)
    ends = ends[np.isfinite(ends)]
    shortest = (rows["posterior_upper"] - rows["posterior_lower"]).min()
    return bool(shortest >= LEGIBLE * (ends.max() - ends.min()))


def _draw_panel(axis: Axes, rows: pd.DataFrame, sources: Sequence[Source], title: str) -> None:
    lanes = sum(source.lanes for source in sources)
    lane = LANE / (LANE * lanes + GAP)  # in rows
    open_ends: list[tuple[float, float, float, Look]] = []
    for position, (name, row) in enumerate(zip(map(str, rows.index), rows.to_dict("records"), strict=True)):
        top = position - 0.5 * lane * lanes
        for source in sources:
            bottom = top + lane * source.lanes
            height = bottom - 0.5 * lane
            value, lower, upper = (float(row[column]) for column in (source.value, source.lower, source.upper))
            density = (source.densities or {}).get(name)
            if density is not None:
                base = height - 0.15 * lane
                draw_density(axis, density, source.look, base=base, height=-(base - top) * 0.95, percent=False)
            draw_interval(axis, height, value, lower, upper, source.look)
            if math.isinf(lower) or math.isinf(upper):
                open_ends.append((height, lower, upper, source.look))
            top = bottom
    _finish(axis, rows, title)
    _run_to_the_edge(axis, open_ends)


def _finish(axis: Axes, rows: pd.DataFrame, title: str) -> None:
    axis.set_yticks(range(len(rows)), labels=literals(rows.index, WHOLE))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_title(title, loc="left", fontsize=SMALL, color=shade(0.6))
    axis.tick_params(axis="y", length=0)
    tidy(axis)
    low, high = axis.get_xlim()
    if low < 0 < high:
        axis.axvline(0.0, color=shade(0.4), linewidth=0.8, zorder=0)


def _run_to_the_edge(axis: Axes, open_ends: Sequence[tuple[float, float, float, Look]]) -> None:
    """Draw intervals that have no end up to the edge of the panel, with an arrow there."""
    limits = axis.get_xlim()
    for height, lower, upper, look in open_ends:
        low, high = max(lower, limits[0]), min(upper, limits[1])
        axis.plot([low, high], [height, height], color=look.colour, linewidth=LINE)
        for end, edge, marker in ((lower, low, "<"), (upper, high, ">")):
            if math.isinf(end):
                axis.plot(edge, height, marker, color=look.colour, markersize=5, clip_on=False)
    axis.set_xlim(limits)
