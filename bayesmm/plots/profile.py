"""Profiles: ζ of every parameter, and pairs of parameters."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from bayesmm.plots.canvas import (
    BOOTSTRAP,
    FIT,
    POSTERIOR,
    WHOLE,
    hand_over,
    in_style_of_axes,
    literal,
    open_figure,
    open_panels,
    shade,
    show_key,
    title_axes,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = 1.6  # inches, of a pair
MARGIN = 0.06  # of a panel's width
ACROSS = slice(0, 2)  # columns of a trace or contour: in units of the parameters
IN_ZETA = slice(2, 4)


class Pair(Protocol):
    """Traces and contours of two parameters; see `bayesmm.inference.profile.drawn.PairCurves`."""

    @property
    def first(self) -> str:
        """Name of the parameter of the horizontal axis."""
        ...

    @property
    def second(self) -> str:
        """Name of that of the vertical axis."""
        ...

    @property
    def first_trace(self) -> np.ndarray:
        """Values and ζ of both where the first is held (m, 4)."""
        ...

    @property
    def second_trace(self) -> np.ndarray:
        """The same where the second is held."""
        ...

    @property
    def contours(self) -> dict[float, np.ndarray]:
        """The same along contours, by level."""
        ...


@in_style_of_axes
def plot_zeta(
    curves: pd.DataFrame, ends: Mapping[float, pd.DataFrame], cutoffs: Mapping[float, float], *, ax: Axes | None = None
) -> Figure:
    """Draw ζ of parameters with the ends of intervals.

    Parameters
    ----------
    curves : DataFrame
        Columns parameter, value, zeta, straight: close points of each curve, upwards.
    ends : mapping of float to DataFrame
        By level. Index: parameters. Columns: lower, upper.
    cutoffs : mapping of float to float
        |ζ| at the ends of the interval of each level.
    ax : matplotlib.axes.Axes, optional
        To draw into, where there is one parameter.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    parameters = list(dict.fromkeys(curves["parameter"]))
    figure, axes = open_panels(len(parameters), ax)
    reach = 1.08 * max([*cutoffs.values(), np.max(np.abs(curves["zeta"].to_numpy()))])
    for axis, name in zip(axes, parameters, strict=True):
        own = curves.loc[np.flatnonzero(curves["parameter"] == name)]
        limits = {level: table.loc[name, ["lower", "upper"]].to_numpy(dtype=float) for level, table in ends.items()}
        _draw_zeta(axis, own, limits, cutoffs, reach)
        title_axes(axis, literal(name, WHOLE))
    entries: list[tuple[Any, str]] = [
        (axes[0].plot([], [], color=FIT.colour)[0], "ζ of the profile"),
        (axes[0].plot([], [], color=POSTERIOR.colour, linestyle="--", linewidth=1.0)[0], "by the standard error"),
    ]
    said = ", ".join(f"{100 * level:g}" for level in cutoffs)
    entries.append((axes[0].plot([], [], color=shade(0.5), linewidth=0.8)[0], f"intervals, {said} %"))
    show_key(figure, {text: handle for handle, text in entries}, ax=ax)
    return hand_over(figure)


def _draw_zeta(
    axis: Axes, own: pd.DataFrame, limits: Mapping[float, np.ndarray], cutoffs: Mapping[float, float], reach: float
) -> None:
    value, zeta = own["value"].to_numpy(), own["zeta"].to_numpy()
    for level, cutoff in cutoffs.items():
        for end, sign in zip(limits[level], (-1.0, 1.0), strict=True):
            if np.isfinite(end):
                height = sign * min(cutoff, float(np.abs(np.interp(end, value, zeta))))
                axis.plot([end, end], [0.0, height], color=shade(0.5), linewidth=0.8, gid="end")
    axis.axhline(0.0, color=shade(0.5), linewidth=0.8, zorder=1)
    axis.plot(value, own["straight"], color=POSTERIOR.colour, linestyle="--", linewidth=1.0)
    axis.plot(value, zeta, color=FIT.colour)
    axis.set_ylim(-reach, reach)
    margin = MARGIN * (value[-1] - value[0])
    axis.set_xlim(value[0] - margin, value[-1] + margin)
    axis.tick_params(labelsize="x-small")
    axis.spines[["right", "top"]].set_visible(False)


def plot_pairs(names: Sequence[str], pairs: Sequence[Pair]) -> Figure:
    """Draw pairs of parameters: above the diagonal in their units, below it in ζ.

    Parameters
    ----------
    names : sequence of str
        Of the parameters, in their order.
    pairs : sequence of Pair
        Each pair once, the first parameter before the second.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    m, place = len(names), {name: i for i, name in enumerate(names)}
    figure, axes = open_figure(rows=m, columns=m, size=(CELL * m, CELL * m + 0.4))
    for axis in axes.flat:
        axis.tick_params(labelsize="xx-small")
        axis.set_xticks([])
        axis.set_yticks([])
    for name, i in place.items():
        _name(axes[i, i], name)
    for pair in pairs:
        i, j = place[pair.first], place[pair.second]
        _draw_pair(axes[i, j], pair, ACROSS, turned=True)
        _draw_pair(axes[j, i], pair, IN_ZETA, turned=False)
    reach = max(np.abs(trace[:, IN_ZETA]).max() for pair in pairs for trace in (pair.first_trace, pair.second_trace))
    for i, j in itertools.product(range(m), repeat=2):
        if j < i:
            axes[i, j].set(xlim=(-1.05 * reach, 1.05 * reach), ylim=(-1.05 * reach, 1.05 * reach))
        _show_scales(axes[i, j], i, j, m)
    show_key(figure, _pair_key(pairs))
    return hand_over(figure)


def _name(axis: Axes, name: str) -> None:
    """Write a parameter's name on the diagonal, over two lines where it is long."""
    text = literal(name, WHOLE)
    text = text.replace("(", "(\n", 1).replace(" | ", "\n| ") if len(text) > 12 else text
    axis.text(0.5, 0.5, text, ha="center", va="center", fontsize="x-small", transform=axis.transAxes)
    axis.spines[:].set_color(shade(0.3))


def _draw_pair(axis: Axes, pair: Pair, columns: slice, *, turned: bool) -> None:
    """Draw traces and contours; turned, the second parameter is on the horizontal axis."""
    way = slice(None, None, -1 if turned else 1)
    for contour in pair.contours.values():
        axis.plot(*contour[:, columns][:, way].T, color=FIT.colour, linewidth=1.0, gid="contour")
    first, second = (trace[:, columns][:, way] for trace in (pair.first_trace, pair.second_trace))
    axis.plot(*first.T, color=POSTERIOR.colour, linewidth=1.2, gid="first")
    axis.plot(*second.T, color=BOOTSTRAP.colour, linestyle="--", linewidth=1.2, gid="second")
    axis.spines[:].set_color(shade(0.3))


def _show_scales(axis: Axes, i: int, j: int, m: int) -> None:
    """Leave scales at the edges of the figure: of ζ left and below, of the parameters right and above."""
    if j < i:
        if j == 0:
            axis.set_yticks([-2, 0, 2])
            axis.set_ylabel("ζ", fontsize="x-small")
        if i == m - 1:
            axis.set_xticks([-2, 0, 2])
            axis.set_xlabel("ζ", fontsize="x-small")
    elif j > i:
        from matplotlib.ticker import MaxNLocator

        if j == m - 1:
            axis.yaxis.set_major_locator(MaxNLocator(3))
            axis.yaxis.tick_right()
        if i == 0:
            axis.xaxis.set_major_locator(MaxNLocator(3))
            axis.xaxis.tick_top()


def _pair_key(pairs: Sequence[Pair]) -> dict[str, Artist]:
    from matplotlib.lines import Line2D

    levels = sorted({level for pair in pairs for level in pair.contours})
    entries: dict[str, Artist] = {
        "trace, earlier parameter held": Line2D([], [], color=POSTERIOR.colour, linewidth=1.2),
        "trace, later parameter held": Line2D([], [], color=BOOTSTRAP.colour, linestyle="--", linewidth=1.2),
    }
    if levels:
        said = ", ".join(f"{100 * level:g}" for level in levels)
        entries[f"joint regions, {said} %"] = Line2D([], [], color=FIT.colour, linewidth=1.0)
    return entries
