"""The density of every prior in force, one small panel each."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmm.plots.canvas import FIT, POSTERIOR, SMALL, hand_over, open_figure, shade

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 3
PANEL_WIDTH, PANEL_HEIGHT = 3.2, 2.0  # inches
TITLE_WIDTH = 40  # characters
HEADROOM = 1.15  # of the highest density; a pole is cut at CUT times the median
CUT = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorCurve:
    """The density of one prior.

    Attributes
    ----------
    name : str
        Row of the parameter table.
    prior, source : str
        The declaration, and who chose it.
    about : str
        What `x` is, where it is not the parameter itself: a share, or what is at the means of the covariates.
    x, density : arrays, shape (m,)
        In units of the data; the density of an improper prior is up to a constant.
    is_proper : bool
    given_sigma : float or None
        The residual standard deviation that the density is drawn for, where it depends on it.
    estimate : float
        REML estimate of x; NaN if there is none.
    """

    name: str
    prior: str
    source: str
    about: str
    x: np.ndarray
    density: np.ndarray
    is_proper: bool
    given_sigma: float | None
    estimate: float


def plot_priors(curves: Sequence[PriorCurve]) -> Figure:
    """Draw the densities of priors.

    Parameters
    ----------
    curves : sequence of PriorCurve
        As from `build_curves` of the posterior's floor.

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
    n_columns = min(MOST_COLUMNS, len(curves))
    n_rows = math.ceil(len(curves) / n_columns)
    size = (PANEL_WIDTH * n_columns, 0.4 + PANEL_HEIGHT * n_rows)
    figure, axes = open_figure(rows=n_rows, columns=n_columns, size=size)
    for axis, curve in zip(axes.flat, curves, strict=False):
        _draw_curve(axis, curve)
    for axis in axes.flat[len(curves) :]:
        axis.remove()
    handles, texts = _legend(axes[0, 0], curves)
    figure.legend(handles, texts, loc="outside upper center", ncols=len(texts), frameon=False, fontsize=SMALL)
    return hand_over(figure)


def _draw_curve(axis: Axes, curve: PriorCurve) -> None:
    top = HEADROOM * _highest(curve)
    if curve.is_proper:
        axis.fill_between(curve.x, curve.density, color=POSTERIOR.colour, alpha=0.3, linewidth=0.0)
    axis.plot(curve.x, curve.density, color=POSTERIOR.colour, linestyle="-" if curve.is_proper else "--")
    if math.isfinite(curve.estimate):
        axis.axvline(curve.estimate, color=FIT.colour, linewidth=1.5)
    axis.set_ylim(0.0, top)
    axis.set_xlim(_edge(curve.x[0], curve), curve.x[-1])
    axis.set_yticks([])
    axis.set_title(f"{curve.name}\n{_subtitle(curve)}", loc="left", fontsize=SMALL)
    axis.set_xlabel(textwrap.fill(curve.about, TITLE_WIDTH), fontsize="x-small", color=shade(0.6))
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
        entries.append((axis.plot([], [], color=POSTERIOR.colour)[0], "prior"))
    if not all(curve.is_proper for curve in curves):
        improper = axis.plot([], [], color=POSTERIOR.colour, linestyle="--")[0]
        entries.append((improper, "improper prior, of arbitrary height"))
    if any(math.isfinite(curve.estimate) for curve in curves):
        entries.append((axis.plot([], [], color=FIT.colour)[0], "REML estimate"))
    return [handle for handle, _ in entries], [text for _, text in entries]
