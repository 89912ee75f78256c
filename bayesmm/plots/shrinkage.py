"""How far levels are pulled from their own estimates towards all others: arrows in a plane, or lines over columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    FIT,
    NOTE,
    POOLED,
    POSTERIOR,
    UNPOOLED,
    Look,
    folded,
    hand_over,
    in_style_of_axes,
    label_axes,
    length,
    line_of,
    literal,
    literals,
    note_points,
    opacity,
    open_figure,
    shade,
    show_key,
    tidy,
)
from bayesmm.presenting.intervals import interval_head

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARES = (0.5, 0.95)  # of the population
DEVIATES = {0.5: 0.6744897501960817, 0.95: 1.959963984540054}  # normal, that enclose these shares
ALL_NAMED, SOME_NAMED = 25, 5  # levels
WITH_INTERVALS = 60  # levels in the plane
COLUMNS = ("own rows", "partial pooling", "complete pooling")
OF_RELATIVES = "what relatives say"
PANEL = (5.4, 4.6)  # inches


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkagePanel:
    """What is drawn of one grouping factor.

    Attributes
    ----------
    group : str
        The factor.
    effects : tuple of str
        One of its effects, or two.
    tables : tuple of DataFrame
        One an effect; index: levels; columns: unpooled, complete, estimate, and of a posterior lower and upper.
    covariance : array, shape (k, k)
        Of these effects of a level, in the population.
    is_random : bool
        Whether they are random effects rather than coefficients.
    level : float
        Of the intervals.
    is_related : bool
        Whether levels are related, so that tables have what a level's relatives say, relatives.
    """

    group: str
    effects: tuple[str, ...]
    tables: tuple[pd.DataFrame, ...]
    covariance: np.ndarray
    is_random: bool
    level: float
    is_related: bool = False

    @property
    def has_relatives(self) -> bool:
        """Whether each level is drawn beside what its relatives say: of one effect."""
        return self.is_related and len(self.effects) == 1

    @property
    def look(self) -> Look:
        """Of partially pooled effects."""
        return POSTERIOR if "lower" in self.tables[0] else FIT

    def name(self, i: int) -> str:
        """Write an effect with its grouping factor."""
        what = "random effect " if self.is_random else ""
        return f"{what}{literal(self.effects[i])} by {literal(self.group)}"


@in_style_of_axes
def plot_shrinkage(panels: Sequence[ShrinkagePanel], *, ax: Axes | None = None) -> Figure:
    """Draw own, partially and completely pooled effects.

    Parameters
    ----------
    panels : sequence of ShrinkagePanel
        One a grouping factor.
    ax : matplotlib.axes.Axes, optional
        To draw into, of one panel.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    figure, axes = open_figure(ax, columns=len(panels), size=(PANEL[0] * len(panels), PANEL[1]))
    entries: dict[str, Artist] = {}
    for axis, panel in zip(axes.flat, panels, strict=True):
        (_draw_plane if len(panel.effects) == 2 else _draw_columns)(axis, panel)
        entries |= _key(panel)
    show_key(figure, entries, ax=ax)
    return hand_over(figure)


def _draw_plane(axis: Axes, panel: ShrinkagePanel) -> None:
    (x0, x1, x2), (y0, y1, y2) = (_values(table) for table in panel.tables)
    clear = opacity(len(x0))
    for share in SHARES:
        axis.plot(*_ellipse((x2[0], y2[0]), panel.covariance, share), color=shade(0.6), linewidth=1.0, zorder=3.5)
    axis.quiver(
        x0, y0, x1 - x0, y1 - y0,
        angles="xy", scale_units="xy", scale=1.0, color=shade(0.45), alpha=clear, width=0.003, zorder=2,
    )  # fmt: skip
    if "lower" in panel.tables[0] and len(x0) <= WITH_INTERVALS:
        horizontal, vertical = panel.tables
        options: Any = {"color": panel.look.colour, "alpha": 0.35, "linewidth": 1.0, "zorder": 2}
        axis.hlines(y1, horizontal["lower"], horizontal["upper"], **options)
        axis.vlines(x1, vertical["lower"], vertical["upper"], **options)
    for x, y, look in ((x0, y0, UNPOOLED), (x1, y1, panel.look)):
        axis.plot(x, y, look.marker, color=look.colour, markersize=5, alpha=clear, zorder=3)
    axis.plot(x2[:1], y2[:1], POOLED.marker, color=POOLED.colour, markersize=9, markeredgecolor=shade(1.0), zorder=4)
    named = _named(np.stack([x1 - x0, y1 - y0]), np.stack([x1, y1]))
    note_points(axis, x1[named], y1[named], list(panel.tables[0].index[named]))
    label_axes(axis, panel.name(0), panel.name(1))
    tidy(axis, grid="both")


def _draw_columns(axis: Axes, panel: ShrinkagePanel) -> None:
    from matplotlib.collections import LineCollection

    (table,) = panel.tables
    own, partial, complete = _values(table)
    clear, sd = opacity(len(own)), math.sqrt(max(float(panel.covariance[0, 0]), 0.0))
    for share in SHARES[::-1]:
        reach = DEVIATES[share] * sd
        axis.axhspan(complete[0] - reach, complete[0] + reach, color=shade(0.6), alpha=0.12, linewidth=0.0)
    if panel.has_relatives:
        complete = table["relatives"].to_numpy(dtype=float)
    ways = np.stack([np.stack([np.full(len(own), float(i)), each], axis=1) for i, each in enumerate((own, partial))])
    both = np.isfinite(own)
    axis.add_collection(LineCollection(list(ways[:, both].swapaxes(0, 1)), colors=[shade(0.5)], alpha=clear, lw=0.8))
    ends = np.stack([np.stack([np.ones(len(own)), partial], axis=1), np.stack([2.0 + np.zeros(len(own)), complete], 1)])
    axis.add_collection(LineCollection(list(ends.swapaxes(0, 1)), colors=[shade(0.5)], alpha=0.4 * clear, lw=0.8))
    if "lower" in table:
        axis.vlines(np.ones(len(own)), table["lower"], table["upper"], color=panel.look.colour, alpha=0.3 * clear)
    last = complete if panel.has_relatives else complete[:1]
    for x, y, look in ((0.0, own, UNPOOLED), (1.0, partial, panel.look), (2.0, last, POOLED)):
        axis.plot(np.full(len(y), x), y, look.marker, color=look.colour, alpha=clear if x < 2 else 1.0, markersize=5)
    named = _named((partial - own)[None], partial[None])
    starts = np.where(both, own, partial)
    names = list(table.index[named])
    note_points(axis, np.where(both, 0.0, 1.0)[named], starts[named], names, where="before")
    third = axis.bbox.width / axis.figure.dpi / 3.0
    heads = (*COLUMNS[:2], OF_RELATIVES) if panel.has_relatives else COLUMNS
    axis.set_xticks([0.0, 1.0, 2.0], labels=[folded(name, third) for name in heads])
    axis.set_xlim(_before_names(axis, names), 2.3)
    label_axes(axis, y=panel.name(0))
    tidy(axis, grid="y")


def _before_names(axis: Axes, names: Sequence[Any]) -> float:
    """Say where the axis begins, so that names before zero have room; two units and some follow."""
    longest = max((length(name, "x-small") for name in literals(names, NOTE)), default=0.0) + 0.15  # inches
    share = longest * axis.figure.dpi / axis.bbox.width
    return -max(0.3, 2.3 * share / (1.0 - share)) if share < 0.5 else -0.3


def _values(table: pd.DataFrame) -> list[np.ndarray]:
    return [table[name].to_numpy(dtype=float) for name in ("unpooled", "estimate", "complete")]


def _named(moves: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Choose levels to name: all of few, otherwise those that are moved furthest."""
    n = places.shape[1]
    if n <= ALL_NAMED:
        return np.arange(n)
    sizes = np.ptp(places, axis=1, keepdims=True)
    distance = np.nan_to_num(np.linalg.norm(moves / np.where(sizes > 0, sizes, 1.0), axis=0))
    return np.argsort(-distance, kind="stable")[:SOME_NAMED]


def _ellipse(centre: tuple[float, float], covariance: np.ndarray, share: float) -> np.ndarray:
    """Points (2, m) of the ellipse that holds this share of a normal distribution of two effects."""
    values, vectors = np.linalg.eigh(covariance)
    reach = vectors * np.sqrt(np.maximum(values, 0.0) * -2.0 * math.log(1.0 - share))
    angles = np.linspace(0.0, 2.0 * math.pi, 121)
    return np.array(centre)[:, None] + reach @ np.stack([np.cos(angles), np.sin(angles)])


def _key(panel: ShrinkagePanel) -> dict[str, Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    is_drawn, alone = "lower" in panel.tables[0], {"linestyle": "none"}
    pooled = f"partial pooling, {interval_head(panel.level)}" if is_drawn else "partial pooling"
    among: Any
    if len(panel.effects) == 2:
        among = Line2D([], [], color=shade(0.6), linewidth=1.0)
    else:
        among = Patch(color=shade(0.6), alpha=0.2)
    return {
        "own rows alone": line_of(UNPOOLED, **alone),
        pooled: line_of(panel.look, **({} if is_drawn else alone)),
        OF_RELATIVES if panel.has_relatives else COLUMNS[2]: line_of(POOLED, **alone),
        "population, 50 and 95 %": among,
    }
