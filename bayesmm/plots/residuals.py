"""Residuals of a fit: against fitted values, as normal or uniform quantiles with envelopes, by level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    FIT,
    hand_over,
    in_style_of_axes,
    label_axes,
    line_of,
    literal,
    literals,
    note_points,
    opacity,
    open_figure,
    shade,
    show_key,
    show_no_rounding,
    tidy,
    title_axes,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = (3.6, 3.1)  # inches
COLUMNS = 3
LEVELS_SHOWN = 60  # by residuals; of more levels some are shown
NAMED = 3  # points outside an envelope, or the most extreme


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualPage:
    """What is drawn.

    Attributes
    ----------
    rows : DataFrame
        One row each: fitted, standardised.
    envelope : DataFrame
        As `Fit.envelopes` of residuals.
    effects : sequence of (str, DataFrame)
        Likewise of random effects, by name.
    levels : sequence of (str, array)
        By grouping factor, the level of each row; of a row with several levels the first.
    response, level
        What is fitted, and the share that envelopes hold.
    sample : str or None
        Which rows these are, where it is some of them.
    """

    rows: pd.DataFrame
    envelope: pd.DataFrame
    effects: Sequence[tuple[str, pd.DataFrame]]
    levels: Sequence[tuple[str, np.ndarray]]
    response: str
    level: float
    sample: str | None = None


def plot_residual_page(page: ResidualPage) -> Figure:
    """Draw residuals against fitted values, their spread, quantiles of residuals and effects, residuals by level.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    n = 3 + len(page.effects) + len(page.levels)
    n_rows = math.ceil(n / COLUMNS)
    size = (PANEL[0] * COLUMNS, 0.4 + PANEL[1] * n_rows)
    figure, axes = open_figure(rows=n_rows, columns=COLUMNS, size=size)
    panels = iter(axes.flat)
    _draw_scatter(next(panels), page)
    _draw_spread(next(panels), page)
    _draw_quantiles(next(panels), page.envelope, "standardised residuals")
    for name, table in page.effects:
        _draw_quantiles(next(panels), table, literal(name, 40))
    for group, levels in page.levels:
        _draw_levels(next(panels), pd.Series(page.rows["standardised"]), group, levels)
    for axis in panels:
        axis.remove()
    show_key(figure, _key(page.level, page.sample))
    return hand_over(figure)


@in_style_of_axes
def plot_envelopes(
    panels: Sequence[tuple[str, pd.DataFrame]], *, level: float, ax: Axes | None = None, sample: str | None = None
) -> Figure:
    """Draw normal quantile plots with envelopes.

    Parameters
    ----------
    panels : sequence of (str, DataFrame)
        By name, tables as `Fit.envelopes` makes them.
    level : float
        Share of simulated sets that envelopes hold.
    ax : matplotlib.axes.Axes, optional
        To draw one panel into.
    sample : str, optional
        Which rows these are, where it is some of them.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    n_columns = min(COLUMNS, len(panels))
    n_rows = math.ceil(len(panels) / n_columns)
    size = (max(4.6, PANEL[0] * n_columns), 0.9 + PANEL[1] * n_rows)
    figure, axes = open_figure(ax, rows=n_rows, columns=n_columns, size=size)
    for axis, (name, table) in zip(axes.flat, panels, strict=False):
        _draw_quantiles(axis, table, literal(name, 40))
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    if ax is None:
        show_key(figure, _key(level, sample))
    return hand_over(figure)


@in_style_of_axes
def plot_uniform(residuals: pd.Series, *, title: str, ax: Axes | None = None) -> Figure:
    """Draw scaled residuals beside uniform quantiles.

    Parameters
    ----------
    residuals : Series
        Between 0 and 1.
    title : str
        What tests say of them.
    ax : matplotlib.axes.Axes, optional
        To draw into.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    figure, axes = open_figure(ax, size=(4.6, 4.4))
    axis, n = axes[0, 0], len(residuals)
    axis.plot([0.0, 1.0], [0.0, 1.0], color=shade(0.5), linewidth=1.0)
    expected, values = (np.arange(1, n + 1) - 0.5) / n, np.sort(residuals.to_numpy(dtype=float))
    axis.plot(expected, values, FIT.marker, color=FIT.colour, markersize=3, alpha=opacity(n, 400))
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axis.set_xlabel("uniform quantiles")
    axis.set_ylabel("scaled residuals, sorted")
    title_axes(axis, literal(title, 120))
    tidy(axis, grid="both")
    return hand_over(figure)


def _draw_scatter(axis: Axes, page: ResidualPage) -> None:
    fitted, values = (page.rows[name].to_numpy(dtype=float) for name in ("fitted", "standardised"))
    axis.plot(fitted, values, "o", color=FIT.colour, markersize=3, alpha=opacity(len(values), 300))
    axis.axhline(0.0, color=shade(0.4), linewidth=0.8, zorder=0)
    extreme = np.argsort(-np.nan_to_num(np.abs(values)), kind="stable")[:NAMED]
    note_points(axis, fitted[extreme], values[extreme], list(page.rows.index[extreme]))
    show_no_rounding(axis, fitted)
    label_axes(axis, f"fitted {literal(page.response, 24)}", "standardised residual")
    tidy(axis, grid="y")


def _draw_spread(axis: Axes, page: ResidualPage) -> None:
    fitted, values = (page.rows[name].to_numpy(dtype=float) for name in ("fitted", "standardised"))
    axis.plot(fitted, np.sqrt(np.abs(values)), "o", color=FIT.colour, markersize=3, alpha=opacity(len(values), 300))
    axis.set_ylim(bottom=0.0)
    show_no_rounding(axis, fitted)
    label_axes(axis, f"fitted {literal(page.response, 24)}", "√|standardised residual|")
    tidy(axis, grid="y")


def _draw_quantiles(axis: Axes, table: pd.DataFrame, name: str) -> None:
    x = table["expected"].to_numpy(dtype=float)
    wide, narrow = ("lower_simultaneous", "upper_simultaneous"), ("lower", "upper")
    for (lower, upper), alpha in ((wide, 0.18), (narrow, 0.28)):
        axis.fill_between(x, table[lower], table[upper], color=shade(0.5), alpha=alpha, linewidth=0.0)
    y = table["observed"].to_numpy(dtype=float)
    axis.plot(x, y, FIT.marker, color=FIT.colour, markersize=3, alpha=opacity(len(y), 300))
    outside = np.flatnonzero((y < table[wide[0]].to_numpy()) | (y > table[wide[1]].to_numpy()))
    far = outside[np.argsort(-np.abs(y[outside]), kind="stable")][:NAMED]
    note_points(axis, x[far], y[far], list(table.index[far]))
    label_axes(axis, "normal quantiles", name)
    tidy(axis, grid="both")


def _draw_levels(axis: Axes, values: pd.Series, group: str, levels: np.ndarray) -> None:
    """Show the residuals of each level, levels ascending by their median."""
    own = values.groupby(np.asarray(levels, dtype=object), sort=False)
    middles = own.median().sort_values(kind="stable")
    chosen = np.linspace(0, len(middles) - 1, min(LEVELS_SHOWN, len(middles))).round().astype(int)
    names = middles.index[chosen]
    parts = [own.get_group(name).dropna().to_numpy() for name in names]
    axis.plot(
        np.repeat(np.arange(len(parts)), [len(part) for part in parts]), np.concatenate(parts), "o",
        color=FIT.colour, markersize=2.5, alpha=0.7 * opacity(sum(map(len, parts)), 300),
    )  # fmt: skip
    axis.plot(range(len(parts)), middles.iloc[chosen], "_", color=shade(1.0), markersize=8)
    axis.axhline(0.0, color=shade(0.4), linewidth=0.8, zorder=0)
    axis.set_ylabel("standardised residual")
    shown = f"{len(names)} of {len(middles):,} levels of" if len(names) < len(middles) else "levels of"
    label_axes(axis, f"{shown} {literal(group, 24)}, by median (–)")
    if len(names) <= 20:
        axis.set_xticks(range(len(names)), labels=literals(names, 10), rotation=90, fontsize="x-small")
    else:
        axis.set_xticks([])
    tidy(axis, grid="y")


def _key(level: float, sample: str | None) -> dict[str, Artist]:
    from matplotlib.patches import Patch

    share = f"{100.0 * level:.12g} %"
    return {
        (f"observed, {sample}" if sample else "observed"): line_of(FIT, linestyle="none", markersize=4),
        f"{share} of simulated sets, at each place": Patch(color=shade(0.5), alpha=0.45, linewidth=0.0),
        "as a whole": Patch(color=shade(0.5), alpha=0.18, linewidth=0.0),
    }
