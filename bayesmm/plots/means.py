"""Means, slopes and contrasts: as a forest, or means of two columns as lines of an interaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    FIT,
    LINE,
    POSTERIOR,
    SMALL,
    Look,
    hand_over,
    in_style_of_axes,
    label_axes,
    literal,
    literals,
    open_figure,
    shade,
    show_key,
    tidy,
    title_axes,
    wide_enough,
)
from bayesmm.presenting.intervals import interval_head
from bayesmm.presenting.numbers import write_p

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's, each with a mark and a line of its own; more lines than this repeat colours with other marks.
SERIES = (
    ("#0072B2", "s", "-"), ("#D55E00", "o", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":"),
    ("#E69F00", "v", "-"), ("#56B4E9", "P", "--"),
)  # fmt: skip
MARKS = "soDv^P<>X*"
ROW = 0.3  # inches
LONGEST = 12.0  # inches, of a forest
SPREAD = 0.25  # of the step between two positions, that lines share


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanRows:
    """What is drawn.

    Attributes
    ----------
    table : DataFrame
        As `bayesmm.Margins.table`: estimate or mean, lower, upper, and of tests p_value.
    labels : DataFrame
        One column a level of its index.
    by : tuple of str
        Columns that make groups.
    title, scale : str
        What the rows are, and what their axis is called.
    level : float
        Coverage of the intervals.
    note : str
        How intervals are adjusted, if they are.
    """

    table: pd.DataFrame
    labels: pd.DataFrame
    by: tuple[str, ...]
    title: str
    scale: str
    level: float
    note: str

    @property
    def look(self) -> Look:
        """Of estimates, or of draws."""
        return POSTERIOR if "mean" in self.table else FIT

    @property
    def values(self) -> np.ndarray:
        """Estimates or posterior means (r,)."""
        return self.table["mean" if "mean" in self.table else "estimate"].to_numpy(dtype=float)

    @property
    def axis_label(self) -> str:
        """What is on the axis of numbers, and how sure it is."""
        return f"{literal(self.scale, 60)}, {interval_head(self.level)}{self.note}"


@in_style_of_axes
def plot_forest(rows: MeanRows, *, has_zero: bool, ax: Axes | None = None) -> Figure:
    """Draw one row a combination, in groups, with p-values where there are tests.

    Parameters
    ----------
    rows : MeanRows
        What is drawn.
    has_zero : bool
        Whether zero is a value to compare with.
    ax : matplotlib.axes.Axes, optional
        To draw into.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    keys = list(rows.labels[list(rows.by)].itertuples(index=False, name=None))
    places, heads, at = [], [], 0.0
    for i, key in enumerate(keys):
        if rows.by and (i == 0 or key != keys[i - 1]):
            heads.append((at, ", ".join(_named(rows.by, key))))
            at += 1.0
        places.append(at)
        at += 1.0
    inside = [name for name in rows.labels if name not in rows.by]
    names = literals(" ".join(map(_text, row)) for row in rows.labels[inside].itertuples(index=False, name=None))
    size = (wide_enough([*names, *(head for _, head in heads)]), min(1.0 + ROW * at, LONGEST))
    figure, axes = open_figure(ax, size=size)
    axis = axes[0, 0]
    y, (lower, upper) = np.array(places), (rows.table[name].to_numpy(dtype=float) for name in ("lower", "upper"))
    axis.hlines(y, lower, upper, color=rows.look.colour, linewidth=LINE)
    axis.plot(rows.values, y, rows.look.marker, color=rows.look.colour, markersize=5)
    if has_zero:
        axis.axvline(0.0, color=shade(0.4), linewidth=0.8, zorder=0)
    axis.set_yticks([*y, *(place for place, _ in heads)], labels=[*names, *(text for _, text in heads)])
    for label in axis.get_yticklabels()[len(y) :]:
        label.set_fontweight("bold")
    axis.set_ylim(at - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    label_axes(axis, rows.axis_label)
    title_axes(axis, literal(rows.title, 90), color=shade(0.6))
    if "p_value" in rows.table:
        for place, p in zip(y, rows.table["p_value"], strict=True):
            text = write_p(p) if np.isfinite(p) else ""
            axis.text(1.01, place, text, transform=axis.get_yaxis_transform(), va="center", fontsize=SMALL)
        axis.text(1.01, -0.5, "p", transform=axis.get_yaxis_transform(), va="bottom", fontsize=SMALL)
    tidy(axis)
    return hand_over(figure)


@in_style_of_axes
def plot_interaction(rows: MeanRows, x: str, *, ax: Axes | None = None) -> Figure:
    """Draw means over one column, one line for each combination of the others.

    Parameters
    ----------
    rows : MeanRows
        What is drawn.
    x : str
        A column of the labels.
    ax : matplotlib.axes.Axes, optional
        To draw into.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    figure, axes = open_figure(ax, size=(6.2, 4.2))
    axis = axes[0, 0]
    others = [str(name) for name in rows.labels if name != x]
    keys = list(rows.labels[others].itertuples(index=False, name=None)) if others else [()] * len(rows.labels)
    values = list(dict.fromkeys(rows.labels[x]))
    is_number = all(isinstance(value, float) for value in values)
    positions = np.array(values, dtype=float) if is_number else np.arange(len(values), dtype=float)
    place = dict(zip(values, positions, strict=True))
    step = float(np.diff(np.sort(positions)).min()) if len(positions) > 1 else 1.0
    lines, drawn = list(dict.fromkeys(keys)), {}
    for i, key in enumerate(lines):
        own = np.array([other == key for other in keys])
        colour, marker, line = _series(i, rows.look, len(lines))
        apart = step * SPREAD * ((i + 0.5) / len(lines) - 0.5)
        at = np.array([place[value] for value in rows.labels[x][own]]) + apart
        table = rows.table[own]
        axis.vlines(at, table["lower"], table["upper"], color=colour, linewidth=LINE)
        (shown,) = axis.plot(at, rows.values[own], color=colour, marker=marker, linestyle=line, markersize=5)
        drawn[", ".join(_named(others, key))] = shown
    if not is_number:
        axis.set_xticks(positions, labels=literals(values, 20))
        axis.set_xlim(positions[0] - 0.5, positions[-1] + 0.5)
    title_axes(axis, literal(rows.title, 90), color=shade(0.6))
    label_axes(axis, literal(x), rows.axis_label)
    if others:
        show_key(figure, drawn, ax=ax)
    tidy(axis, grid="y")
    return hand_over(figure)


def _series(i: int, look: Look, n: int) -> tuple[str, str, str]:
    if n == 1:
        return look
    colour, marker, line = SERIES[i % len(SERIES)]
    return colour, marker if i < len(SERIES) else MARKS[i % len(MARKS)], line


def _named(names: Sequence[str], key: Sequence[Any]) -> list[str]:
    return [f"{literal(name, 20)} {literal(_text(value), 24)}" for name, value in zip(names, key, strict=True)]


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
