"""Profile likelihood: intervals and curves of every parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.design.blocks.labels import ParameterRow
from bayesmm.errors import ArgumentError
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.profile.constraints import (
    Correlation,
    ResidualCorrelation,
    ResidualSpread,
    StandardDeviation,
)
from bayesmm.inference.profile.held import Coefficient, CovarianceParameter, Parameter, Point
from bayesmm.inference.profile.path import Curve, Side, trace_side
from bayesmm.inference.profile.report import METHODS, build_report, write_notes
from bayesmm.inference.profile.surface import Surface, open_surface
from bayesmm.presenting.intervals import check_level
from bayesmm.presenting.progress import watched
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from bayesmm.inference.profile.drawn import PairCurves
    from bayesmm.plots.canvas import Axes, Figure
    from bayesmm.plots.densities import Density

FAR = 1e5  # sizes of an estimate or of its standard error, from which on it is called unbounded
USUAL = 0.95
DRAWN = (0.5, 0.8, 0.95, 0.99)  # coverages of the intervals in a figure


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Profile:
    """Profiles of the (restricted) likelihood of a fit, parameter by parameter.

    Made by `bayesmm.Fit.profile`. Prints as a report; a notebook shows it as a page.

    Attributes
    ----------
    fit : Fit
        What is profiled.
    level : float
        How far: all intervals up to this coverage.
    curves : tuple of Curve
        One a parameter.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> profile = fit.profile("sigma", progress=False)
    >>> profile.intervals(0.95)[["lower", "upper"]].round(1).values.tolist()
    [[22.9, 28.9]]
    """

    fit: Fitted
    level: float
    curves: tuple[Curve, ...]
    _known: dict[float, pd.DataFrame] = field(default_factory=dict)

    def intervals(self, level: float = 0.95) -> pd.DataFrame:
        """Tabulate profile intervals.

        Parameters
        ----------
        level : float
            Coverage; at most that of the profile.

        Returns
        -------
        DataFrame
            Index: names of the parameters. Columns: estimate, lower, upper; at_boundary, which ends are limits of the
            parameter at which the likelihood has not fallen far enough ("lower", "upper", "both" or ""); is_monotone,
            whether it only falls from the estimate outwards.

        Raises
        ------
        ArgumentError
            If the profile does not reach so far.

        Notes
        -----
        Ends are roots of ζ = ±z, each found by fitting the model with the parameter held there, not read off an
        interpolation. Where ζ falls again on the way, the outermost root counts.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.profile("sigma", progress=False).intervals(0.9)[["lower", "upper"]].round(1).to_numpy().tolist()
        [[23.3, 28.3]]
        """
        level = check_level(level)
        if level > self.level:
            raise ArgumentError(
                f"level is {level:g}, and the profile goes as far as {self.level:g}: make it with "
                f"fit.profile(level={level:g})."
            )
        if level not in self._known:
            self._known[level] = self._find_intervals(level)
        return self._known[level].copy()

    def _find_intervals(self, level: float) -> pd.DataFrame:
        zeta, rows = _cutoff(level), []
        for each in self.curves:
            (lower, low), (upper, high) = (
                (side.end(zeta) for side in each.sides)
                if each.sides
                else ((limit, limit == limit) for limit in each.limits)
            )
            where = ("both" if high else "lower") if low else ("upper" if high else "")
            rows.append((each.estimate, lower, upper, where, not any(side.falls for side in each.sides)))
        index = pd.Index([each.name for each in self.curves], name="parameter")
        return pd.DataFrame(rows, index=index, columns=["estimate", "lower", "upper", "at_boundary", "is_monotone"])

    @cached_property
    def table(self) -> pd.DataFrame:
        """The curves: one row a point.

        Columns: parameter; value; zeta, the signed root of twice the log-likelihood that is lost; density, the slope
        of ζ times the normal density at ζ (a density over values that has the intervals' ends as its quantiles).
        """
        rows = [
            (each.name, point.value, zeta, each.density(point, zeta))
            for each in self.curves
            for point, zeta in each.points
        ]
        return pd.DataFrame(rows, columns=["parameter", "value", "zeta", "density"])

    @cached_property
    def traces(self) -> pd.DataFrame:
        """All parameters at each point of `table`: what the others are where one is held. One column a parameter."""
        names = [row.name for row in self.fit.labels.parameter_rows()]
        rows = [_all_values(self.fit, point)[: len(names)] for each in self.curves for point, _ in each.points]
        frame = pd.DataFrame(np.array(rows).reshape(-1, len(names)), columns=pd.Index(names))
        for each in self.curves:  # a limit is a limit, though what was fitted is next to it
            held = (self.table["parameter"] == each.name).to_numpy()
            frame.loc[held, each.name] = self.table.loc[held, "value"].to_numpy()
        return frame

    def plot(self, *, levels: Sequence[float] | None = None, ax: Axes | None = None) -> Figure:
        """Draw ζ of every parameter, with the ends of intervals.

        Parameters
        ----------
        levels : sequence of float, optional
            Coverages of the intervals; by default 0.5, 0.8, 0.95 and 0.99, as far as the profile goes.
        ax : matplotlib.axes.Axes, optional
            To draw into, where one parameter was profiled.

        Returns
        -------
        matplotlib.figure.Figure
            One panel a parameter: ζ, the straight line that it would be if the likelihood were a parabola with the
            same standard error, and the ends of each interval where ζ is plus or minus that of its level.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.
        ArgumentError
            If the profile does not reach so far.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.profile("sigma", progress=False).plot()
        """
        from bayesmm.inference.profile.drawn import draw_zeta
        from bayesmm.plots.profile import plot_zeta

        chosen = self._levels(levels)
        errors = self.fit.parameter_table()["std_error"].to_dict()
        ends = {level: self.intervals(level) for level in chosen}
        cutoffs = {level: _cutoff(level) for level in chosen}
        return plot_zeta(draw_zeta(self.curves, errors), ends, cutoffs, ax=ax)

    def plot_density(self, *, level: float | None = None, ax: Axes | None = None) -> Figure:
        """Draw the density over values that a profile gives, whose quantiles are the ends of its intervals.

        Parameters
        ----------
        level : float, optional
            Coverage of the interval that is marked; 0.95 by default, or that of the profile if it is less.
        ax : matplotlib.axes.Axes, optional
            To draw into, where one parameter was profiled.

        Returns
        -------
        matplotlib.figure.Figure
            One panel a parameter. What is left at a limit of the parameter, such as a standard deviation of zero, is a
            thick line with its share beside it.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.
        ArgumentError
            If the profile does not reach so far.

        Notes
        -----
        The slope of ζ times the normal density at ζ: no posterior, and no density of replicates.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.profile("sigma", progress=False).plot_density()
        """
        from bayesmm.plots.canvas import PROFILE
        from bayesmm.plots.densities import plot_densities

        level = self._usual if level is None else check_level(level)
        table = self.intervals(level)
        return plot_densities(
            table, self.densities, PROFILE, what=f"profile of the {METHODS[self.fit.method]}", level=level, ax=ax
        )

    @cached_property
    def densities(self) -> Mapping[str, Density]:
        """Density of each parameter as `plot_density` shows it: ``x``, ``density`` and ``atoms`` by name."""
        from bayesmm.inference.profile.drawn import density_of

        found = {curve.name: density_of(curve) for curve in self.curves}
        return {name: density for name, density in found.items() if density is not None}

    def plot_pairs(self, *, levels: Sequence[float] = (0.5, 0.8, 0.95)) -> Figure:
        """Draw profiles of pairs of parameters: traces and contours of the likelihood.

        Parameters
        ----------
        levels : sequence of float
            Of joint regions of two parameters.

        Returns
        -------
        matplotlib.figure.Figure
            Above the diagonal in units of the parameters, below it in ζ, as lme4's ``splom`` of a profile. Two lines:
            where the other parameter is as the first is held, and the other way round. A contour that the profiles do
            not reach is left out: of a parameter near its boundary, or of a level whose √χ²₂ is beyond ``level`` of the
            profile.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.
        ArgumentError
            If there are not two parameters, or a level is no coverage.

        References
        ----------
        Bates & Watts (1988), Nonlinear Regression Analysis and Its Applications, section 6.1 and appendix A.6.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.profile(["Days", "sigma"], progress=False).plot_pairs()
        """
        from bayesmm.plots.profile import plot_pairs

        pairs = self.pairs(levels=levels)
        return plot_pairs([curve.name for curve in self._drawable], pairs)

    def pairs(self, *, levels: Sequence[float] = (0.5, 0.8, 0.95)) -> tuple[PairCurves, ...]:
        """Work out what `plot_pairs` draws: traces and contours of every pair of parameters.

        Parameters
        ----------
        levels : sequence of float
            Of joint regions of two parameters: 2(ℓ̂ − ℓ) is that quantile of χ² with two degrees of freedom.

        Returns
        -------
        tuple of PairCurves
            ``first``, ``second``, ``first_trace``, ``second_trace`` and ``contours`` by level: arrays with the columns
            value of the first, value of the second, ζ of the first, ζ of the second.

        Raises
        ------
        ArgumentError
            If there are not two parameters, or a level is no coverage.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> len(fit.profile(["Days", "sigma"], progress=False).pairs())
        1
        """
        from bayesmm.inference.profile.drawn import draw_pair

        chosen, curves = check_levels(levels), self._drawable
        if len(curves) < 2:
            raise ArgumentError(
                f"{len(curves)} parameter has a profile here, and a pair needs two: profile several, as fit.profile()."
            )
        held = self.table["parameter"]
        traces = {curve.name: self.traces.loc[np.flatnonzero(held == curve.name)] for curve in curves}
        return tuple(
            draw_pair((one, two), (traces[one.name], traces[two.name]), chosen)
            for i, one in enumerate(curves)
            for two in curves[i + 1 :]
        )

    @property
    def _drawable(self) -> list[Curve]:
        """Curves of more than one point."""
        return [curve for curve in self.curves if len(curve.points) > 1]

    def _levels(self, levels: Sequence[float] | None) -> tuple[float, ...]:
        if levels is not None:
            return check_levels(levels)
        return tuple(level for level in DRAWN if level <= self.level) or (self.level,)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the curves, in plain sentences."""
        return write_notes(self.fit, self.curves, self._usual)

    def summary(self, *, level: float = 0.95) -> Report:
        """Summarise the intervals for a terminal or a notebook.

        Parameters
        ----------
        level : float
            Coverage; at most that of the profile.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.profile("sigma", progress=False).summary()).splitlines()[0])
        Profile of the restricted likelihood: Reaction ~ Days + (Days | Subject)
        """
        return build_report(self.fit, self.intervals(level), level, write_notes(self.fit, self.curves, level))

    @property
    def _usual(self) -> float:
        return min(USUAL, self.level)

    def __str__(self) -> str:
        return str(self.summary(level=self._usual))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.summary(level=self._usual)._repr_html_()


def check_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Return several coverages, upwards; refuse what is none."""
    if isinstance(levels, (str, bytes)) or not isinstance(levels, Iterable):
        raise ArgumentError(f"levels is {shorten(levels)}: give several coverages, such as (0.5, 0.95).")
    found = sorted({check_level(level) for level in levels})
    if not found:
        raise ArgumentError("levels is empty: give coverages, such as (0.5, 0.95).")
    return tuple(found)


def build_profile(
    fit: Fitted, parameters: str | Sequence[str] | None, *, level: float, progress: bool | None
) -> Profile:
    """Profile a fit; see `bayesmm.Fit.profile`."""
    level = check_level(level)
    rows = fit.labels.parameter_rows()
    chosen = _choose(rows, parameters)
    surface = open_surface(fit.estimate)
    x = surface.locate(fit.estimate)
    at = surface(x)
    start = Point(np.nan, at.value, 0.0, x, at.hessian, at.beta(), True)
    follow = _Follower(
        rows=rows,
        held=_parameters(surface, fit.design.p),
        estimates=_all_values(fit, start),
        on_edge=np.concatenate([np.zeros(fit.design.p, dtype=bool), fit.estimate.public_parameters.on_boundary]),
        start=start,
        zeta=_cutoff(level),
    )
    return Profile(fit=fit, level=level, curves=tuple(follow(i) for i in watched(chosen, "profiling", progress)))


def _choose(rows: Sequence[ParameterRow], parameters: str | Sequence[str] | None) -> list[int]:
    """Positions of the parameters that are asked for, in the order of all tables."""
    if parameters is None:
        return list(range(len(rows)))
    asked = [parameters] if isinstance(parameters, str) else parameters
    if not isinstance(asked, Iterable):
        raise ArgumentError(f"parameters is {shorten(parameters)}: give a name or several, such as 'sigma'.")
    places = {name: i for i, row in enumerate(rows) for name in (row.alias, row.name) if name}
    chosen = set()
    for name in asked:
        if not isinstance(name, str) or name not in places:
            raise ArgumentError(
                f"parameters has {shorten(name)}, which is no parameter of the model: give some of "
                f"{listing([row.name for row in rows])}."
            )
        chosen.add(places[name])
    return sorted(chosen)


def _parameters(surface: Surface, p: int) -> list[Parameter]:
    """List what can be held, in the order of all tables; σ last, whether it is known or not."""
    held: list[Parameter] = [Coefficient(surface, j) for j in range(p)]
    for f, pieces in enumerate(surface.criterion.layout):
        for kind, count in ((StandardDeviation, "n_sds"), (Correlation, "n_cors")):
            held += [
                CovarianceParameter(surface, kind(surface, f, number, j))
                for number, piece in enumerate(pieces)
                for j in range(getattr(piece.structure, count)(piece.k))
            ]
    if surface.residual is not None:
        layout = surface.residual.rows.layout
        held += [CovarianceParameter(surface, ResidualSpread(surface, j)) for j in range(layout.n_spreads)]
        held += [
            CovarianceParameter(surface, ResidualCorrelation(surface, j))
            for j in range(layout.n_phi - layout.n_spreads)
        ]
    return [*held, CovarianceParameter(surface, ResidualSpread(surface))]


@dataclass(frozen=True, kw_only=True)
class _Follower:
    """Follows parameters both ways, each once.

    Attributes
    ----------
    rows, held, estimates, on_edge
        Of each parameter its names, how it is held, its estimate and whether that is on the boundary.
    start : Point
        The maximum.
    zeta : float
        How far.
    """

    rows: Sequence[ParameterRow]
    held: Sequence[Parameter]
    estimates: np.ndarray
    on_edge: np.ndarray
    start: Point
    zeta: float
    _known: dict[int, Curve] = field(default_factory=dict)

    def __call__(self, i: int) -> Curve:
        if i not in self._known:
            self._known[i] = self._follow(i)
        return self._known[i]

    def _follow(self, i: int) -> Curve:
        row, parameter, estimate = self.rows[i], self.held[i], float(self.estimates[i])
        limits = parameter.limits
        if self.on_edge[i] and not math.isnan(estimate):
            estimate = min(limits, key=lambda limit: abs(limit - estimate))
        sides: tuple[Side, ...] = ()
        if not math.isnan(estimate):
            start, ceiling = self.start._replace(value=estimate), self._ceiling(i)
            error = parameter.error(start)
            if error == 0.0:  # a correlation of effects along one direction, which nothing moves
                return Curve(name=row.name, kind=row.kind, estimate=estimate, limits=(np.nan, np.nan), sides=sides)
            size = FAR * max(error, abs(estimate))
            sides = tuple(trace_side(parameter, start, sign, self.zeta, error, size, ceiling) for sign in (-1, 1))
        return Curve(name=row.name, kind=row.kind, estimate=estimate, limits=limits, sides=sides)

    def _ceiling(self, i: int) -> Point | None:
        """Find the best fit in which a correlation has no meaning, if that is not too bad."""
        constraint = getattr(self.held[i], "constraint", None)
        if not isinstance(constraint, Correlation):
            return None
        lows = [self(self.held.index(CovarianceParameter(constraint.surface, sd))).sides for sd in constraint.vanishing]
        ends = [low.points[-1] for low, _ in lows if low.ends_at_limit]
        return min(ends, key=lambda point: point.criterion, default=None)


def _all_values(fit: Fitted, point: Point) -> np.ndarray:
    """Values of all rows of the tables, and of σ if it is known."""
    psi, sigma = open_surface(fit.estimate).split(point.x)
    return np.concatenate([point.beta, fit.estimate.public_values(np.append(psi, math.log(sigma)))])


def _cutoff(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + 0.5 * level)
