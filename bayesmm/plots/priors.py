"""The density of every prior in force, one small panel each."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmm.plots.canvas import FIT, POSTERIOR, WHOLE, hand_over, literal, open_panels, shade, show_key
from bayesmm.plots.densities import CUT, Density, draw_density, finish_panel

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 3
PANEL_WIDTH, PANEL_HEIGHT = 3.2, 2.0  # inches
TITLE_WIDTH = 40  # characters
HEADROOM = 1.15  # of the highest density; a pole is cut at CUT times the median
LOW = 0.3  # of the posterior's highest density: where an improper prior is drawn


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
    posterior : Density, optional
        Of x, where there are draws.
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
    posterior: Density | None = None


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
        that means anything. An estimate is a vertical line. With a posterior, both densities are on one scale.

    Raises
    ------
    BayesmmError
        If matplotlib is not installed.
    """
    figure, axes = open_panels(len(curves), panel=(PANEL_WIDTH, PANEL_HEIGHT), most_columns=MOST_COLUMNS)
    for axis, curve in zip(axes, curves, strict=True):
        _draw_curve(axis, curve)
    show_key(figure, _key(curves))
    return hand_over(figure)


def _draw_curve(axis: Axes, curve: PriorCurve) -> None:
    top, density, colour = _highest(curve), curve.density, _colour(curve)
    if curve.posterior is not None:
        if not curve.is_proper:
            density = density * (LOW * curve.posterior.top / top)
        top = curve.posterior.top if not curve.is_proper else max(curve.posterior.top, top)
    if curve.is_proper:
        axis.fill_between(curve.x, density, color=colour, alpha=0.3, linewidth=0.0)
    axis.plot(curve.x, density, color=colour, linestyle="-" if curve.is_proper else "--", gid="prior")
    if curve.posterior is not None:
        draw_density(axis, curve.posterior, POSTERIOR)
    if math.isfinite(curve.estimate):
        axis.axvline(curve.estimate, color=FIT.colour, linewidth=1.5)
    axis.set_ylim(0.0, HEADROOM * top)
    axis.set_xlim(_edge(curve.x[0], curve), curve.x[-1])
    finish_panel(axis, f"{literal(curve.name, WHOLE)}\n{literal(_subtitle(curve), WHOLE)}")
    about = textwrap.fill(literal(curve.about, 3 * TITLE_WIDTH), TITLE_WIDTH)
    axis.set_xlabel(about, fontsize="x-small", color=shade(0.6))


def _colour(curve: PriorCurve) -> Any:
    """Say how the prior is coloured: beside a posterior, as what it is the ground of."""
    return POSTERIOR.colour if curve.posterior is None else shade(0.5)


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


def _key(curves: Sequence[PriorCurve]) -> dict[str, Artist]:
    from matplotlib.lines import Line2D

    entries: dict[str, Artist] = {}
    if any(curve.is_proper for curve in curves):
        entries["prior"] = Line2D([], [], color=_colour(curves[0]))
    if not all(curve.is_proper for curve in curves):
        entries["improper prior, of arbitrary height"] = Line2D([], [], color=_colour(curves[0]), linestyle="--")
    if any(math.isfinite(curve.estimate) for curve in curves):
        entries["REML estimate"] = Line2D([], [], color=FIT.colour)
    if curves[0].posterior is not None:
        entries["posterior"] = Line2D([], [], color=POSTERIOR.colour)
    return entries
