"""The density of every prior in force, one small panel each."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bayesmm.plots.comparison import FIT_COLOUR, POSTERIOR_COLOUR, import_pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesmm.bayes.priors.prior_curves import PriorCurve

MOST_COLUMNS = 3
PANEL_WIDTH, PANEL_HEIGHT = 3.2, 2.0  # inches
TITLE_WIDTH = 40  # characters
HEADROOM = 1.15  # of the highest density; a pole is cut at CUT times the median
CUT = 20.0


def plot_priors(curves: Sequence[PriorCurve]) -> Figure:
    """Draw the densities of priors.

    Parameters
    ----------
    curves : sequence of PriorCurve
        As from `bayesmm.bayes.priors.prior_curves.build_curves`.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a row of the parameter table. Proper priors are filled; improper ones are dashed, and of no height
        that means anything. An estimate is a vertical line.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    pyplot = import_pyplot()
    n_columns = min(MOST_COLUMNS, len(curves))
    n_rows = math.ceil(len(curves) / n_columns)
    figure, axes = pyplot.subplots(
        nrows=n_rows,
        ncols=n_columns,
        figsize=(PANEL_WIDTH * n_columns, 0.4 + PANEL_HEIGHT * n_rows),
        layout="constrained",
        squeeze=False,
    )
    for axis, curve in zip(axes.flat, curves, strict=False):
        _draw_curve(axis, curve)
    for axis in axes.flat[len(curves) :]:
        axis.remove()
    handles, texts = _legend(axes[0, 0], curves)
    figure.legend(handles, texts, loc="outside upper center", ncols=len(texts), frameon=False, fontsize="small")
    if "inline" in pyplot.get_backend():
        pyplot.close(figure)  # a notebook shows the returned figure, and would show an open one once more
    return figure


def _draw_curve(axis: Axes, curve: PriorCurve) -> None:
    top = HEADROOM * _highest(curve)
    if curve.is_proper:
        axis.fill_between(curve.x, curve.density, color=POSTERIOR_COLOUR, alpha=0.3, linewidth=0.0)
    axis.plot(curve.x, curve.density, color=POSTERIOR_COLOUR, linestyle="-" if curve.is_proper else "--")
    if math.isfinite(curve.estimate):
        axis.axvline(curve.estimate, color=FIT_COLOUR, linewidth=1.5)
    axis.set_ylim(0.0, top)
    axis.set_xlim(_edge(curve.x[0], curve), curve.x[-1])
    axis.set_yticks([])
    axis.set_title(f"{curve.name}\n{_subtitle(curve)}", loc="left", fontsize="small")
    axis.set_xlabel(textwrap.fill(curve.about, TITLE_WIDTH), fontsize="x-small", color="0.4")
    axis.tick_params(axis="x", labelsize="x-small")
    axis.spines[["left", "right", "top"]].set_visible(False)


def _edge(first: float, curve: PriorCurve) -> float:
    """Begin at zero where the grid begins half a step above it."""
    return 0.0 if 0.0 < first < curve.x[1] - curve.x[0] else first


def _highest(curve: PriorCurve) -> float:
    highest, middle = float(curve.density.max()), float(sorted(curve.density)[len(curve.density) // 2])
    return min(highest, CUT * middle) if middle > 0.0 else highest


def _subtitle(curve: PriorCurve) -> str:
    said = [curve.prior, *([] if curve.source == "user" else [curve.source])]
    if not curve.is_proper:
        said.append("improper")
    if curve.given_sigma is not None:
        said.append(f"sigma {curve.given_sigma:.4g}")
    return ", ".join(said)


def _legend(axis: Axes, curves: Sequence[PriorCurve]) -> tuple[list[Any], list[str]]:
    entries: list[tuple[Any, str]] = []
    if any(curve.is_proper for curve in curves):
        entries.append((axis.plot([], [], color=POSTERIOR_COLOUR)[0], "prior"))
    if not all(curve.is_proper for curve in curves):
        improper = axis.plot([], [], color=POSTERIOR_COLOUR, linestyle="--")[0]
        entries.append((improper, "improper prior, of arbitrary height"))
    if any(math.isfinite(curve.estimate) for curve in curves):
        entries.append((axis.plot([], [], color=FIT_COLOUR)[0], "REML estimate"))
    return [handle for handle, _ in entries], [text for _, text in entries]
