"""One parameter's profile: points from the estimate outwards, and where ζ has a value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from bayesmm.inference.profile.held import Parameter, Point

STEPS = 4.75  # to the outermost ζ
GROWTH = 3.0  # of a step, over the one before
WIDE = 1.6  # steps in ζ: farther apart, a point is put between two
DEGREE = 3  # of the polynomial that leads to the next point
MOST_STEPS = 4  # each a quarter of the one before, where a search fails
MOST_POINTS = 60  # each way
SAME = 1e-4  # of ζ: so near to a ceiling a profile is at it
FALL = 1e-6  # of −2 log likelihood, that is more than rounding
TOLERANCE = 1e-7  # of ζ at an end
MOST_TRIALS = 30


class End(NamedTuple):
    """Where a profile has a value of ζ.

    Attributes
    ----------
    value : float
        Of the parameter; its limit, if the profile ends there, or infinite.
    is_boundary : bool
        Whether ζ at the limit is less than asked for.
    """

    value: float
    is_boundary: bool


@dataclass(frozen=True)
class Side:
    """A profile on one side of the estimate.

    Attributes
    ----------
    parameter : Parameter
        What is held.
    sign : 1 or -1
        Upwards or downwards.
    points : tuple of Point
        From the estimate outwards; the last is beyond the outermost ζ, or at the limit.
    floor : float
        −2 log likelihood at the estimate.
    limit : float
        Of the parameter, this way.
    stopped : {"", "far", "lost", "flat"}
        Whether it was given up before ζ was reached: since there seems to be no end, since a search failed, or since
        the parameter has no meaning where the likelihood is higher.
    """

    parameter: Parameter
    sign: int
    points: tuple[Point, ...]
    floor: float
    limit: float
    stopped: Literal["", "far", "lost", "flat"] = ""

    def zeta(self, point: Point) -> float:
        """|ζ|, the root of twice the log likelihood that is lost."""
        return float(np.sqrt(max(point.criterion - self.floor, 0.0)))

    @property
    def zetas(self) -> np.ndarray:
        """|ζ| of all points."""
        return np.array([self.zeta(point) for point in self.points])

    @property
    def ends_at_limit(self) -> bool:
        """Whether the last point is the limit."""
        return self.points[-1].value == self.limit

    @property
    def maxima(self) -> tuple[float, ...]:
        """Where the likelihood has further maxima on the way outwards."""
        falls = np.append(np.diff([point.criterion for point in self.points]) < -FALL, False)
        return tuple(self.points[i].value for i in range(1, len(falls)) if falls[i - 1] and not falls[i])

    @property
    def falls(self) -> bool:
        """Whether ζ falls somewhere on the way outwards."""
        return bool(self.maxima)

    def end(self, zeta: float) -> End:
        """Find where |ζ| has a value: the outermost place, if there are several."""
        zetas = self.zetas
        inside = np.flatnonzero(zetas < zeta)
        if not inside.size:
            return End(self.points[0].value, False)
        last = int(inside[-1])
        if last + 1 == len(self.points):
            if self.ends_at_limit:
                return End(self.limit, True)
            return End(self.sign * np.inf if self.stopped == "far" else np.nan, False)
        return End(self._root(self.points[last], self.points[last + 1], zeta), False)

    def _root(self, low: Point, high: Point, zeta: float) -> float:
        """Search between two points, by Newton steps that are kept inside; as interpolated, should a search fail."""
        value = first = self._between(low, high, zeta)
        for _ in range(MOST_TRIALS):
            found = _solve_between(self.parameter, low, high, value)
            if not found.converged:
                return first
            miss = self.zeta(found) - zeta
            low, high = (found, high) if miss < 0.0 else (low, found)
            slope = self.slope(found)
            step = value - self.sign * miss / slope if slope > 0.0 else np.nan
            if abs(miss) < TOLERANCE or low.value == high.value:
                break
            inner = min(low.value, high.value) < step < max(low.value, high.value)
            value = step if inner else 0.5 * (low.value + high.value)
        return value

    def slope(self, point: Point) -> float:
        """d|ζ| a unit of the parameter outwards; at the estimate by the neighbour."""
        zeta = self.zeta(point)
        if zeta > 0.0:
            return self.sign * point.slope / (2.0 * zeta)
        if point is not self.points[0] or len(self.points) < 2:
            return np.nan
        # of the parabola of ζ/Δ through the neighbour's value and slope
        apart = abs(self.points[1].value - point.value)
        return 2.0 * self.zeta(self.points[1]) / apart - self.slope(self.points[1])

    def _between(self, low: Point, high: Point, zeta: float) -> float:
        """Interpolate the parameter as a cubic function of ζ, by values and slopes of both points; or else straight."""
        (a, b), (x, y) = (self.zeta(low), self.zeta(high)), (low.value, high.value)
        width, share = b - a, (zeta - a) / (b - a)
        straight = x + share * (y - x)
        slopes = self.slope(low), self.slope(high)
        u, v = (self.sign * width / slope if slope else np.nan for slope in slopes)
        if not math.isfinite(u + v):
            return straight
        bent = (
            x * (1.0 + 2.0 * share) * (1.0 - share) ** 2
            + u * share * (1.0 - share) ** 2
            + y * share**2 * (3.0 - 2.0 * share)
            - v * share**2 * (1.0 - share)
        )
        return bent if min(x, y) < bent < max(x, y) else straight


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The profile of one parameter.

    Attributes
    ----------
    name, kind : str
        As in `Fit.parameters`.
    estimate : float
        The maximum; NaN for a correlation that is undefined.
    limits : (float, float)
        Between which values it may lie; NaN where effects vary along one direction, which leaves it no other value.
    sides : tuple of Side
        Downwards and upwards; empty where nothing can be profiled.
    """

    name: str
    kind: str
    estimate: float
    limits: tuple[float, float]
    sides: tuple[Side, ...]

    @property
    def points(self) -> tuple[tuple[Point, float], ...]:
        """All points with their signed ζ, upwards."""
        if not self.sides:
            return ()
        lower, upper = self.sides
        below = [(point, -lower.zeta(point)) for point in lower.points[:0:-1]]
        return (*below, *((point, upper.zeta(point)) for point in upper.points))

    def density(self, point: Point, zeta: float) -> float:
        """dζ/dvalue times the normal density at ζ."""
        slopes = [side.slope(point) for side in self.sides if any(each is point for each in side.points)]
        return float(np.nanmean(slopes)) * math.exp(-0.5 * zeta**2) / math.sqrt(2.0 * math.pi)


def trace_side(
    parameter: Parameter, start: Point, sign: int, zeta: float, error: float, size: float, ceiling: Point | None = None
) -> Side:
    """Go outwards from the estimate until ζ is beyond a value, or the parameter at its limit.

    Parameters
    ----------
    parameter : Parameter
        What is held.
    start : Point
        The estimate.
    sign : 1 or -1
        Upwards or downwards.
    zeta : float
        How far.
    error : float
        Standard error of the parameter: what a step of one in ζ is at first.
    size : float
        Beyond so far from the estimate it is not followed.
    ceiling : Point, optional
        A fit that has any value of the parameter: where a standard deviation is zero, its correlations are what one
        likes. The profile is nowhere higher.
    """
    limit = parameter.limits[0 if sign < 0 else 1]
    side = Side(parameter, sign, (start,), start.criterion, limit)
    step_zeta, points, stopped = zeta / STEPS, [start], ""
    slope, step = 1.0 / error, np.inf
    reach = zeta if ceiling is None else min(zeta, side.zeta(ceiling) - SAME)
    while side.zeta(points[-1]) <= reach and points[-1].value != limit:
        if len(points) == MOST_POINTS or abs(points[-1].value - start.value) > size:
            stopped = "far"
            break
        wanted = step_zeta / slope if slope > 0.0 else np.inf
        step = min(wanted, GROWTH * step) if len(points) > 1 else wanted
        left = abs(limit - points[-1].value)
        is_last = len(points) > 1 and side.zeta(points[-1]) + abs(slope) * left < reach
        found = _solve(parameter, points, sign * (left if is_last else step), limit)
        if found is None:
            stopped = "lost"
            break
        points.append(found)
        slope = side.slope(found)
    last = points[-1]
    if (
        ceiling is not None
        and side.zeta(ceiling) < zeta
        and (last.value != limit or side.zeta(last) > side.zeta(ceiling))
    ):
        points, stopped = [*_below(side, points, ceiling), ceiling._replace(value=limit, slope=0.0)], "flat"
    return replace(side, points=tuple(_fill(side, points, step_zeta, reach)), stopped=stopped)


def _below(side: Side, points: list[Point], ceiling: Point) -> list[Point]:
    """Points that are below a ceiling, and where the profile meets it."""
    whole, zeta = replace(side, points=tuple(points)), side.zeta(ceiling)
    if whole.zetas[-1] <= zeta:
        return points
    first = int(np.flatnonzero(whole.zetas > zeta)[0])
    meets = replace(whole, points=whole.points[: first + 1]).end(zeta).value
    return [*points[:first], ceiling._replace(value=meets, slope=0.0)]


def _solve(parameter: Parameter, points: list[Point], step: float, limit: float) -> Point | None:
    """Fit a step away, or next to the limit if that is not farther; a smaller step where the search fails."""
    here, start = points[-1], points[0]
    for _ in range(MOST_STEPS):
        value = parameter.step(here.value, step)
        is_limit = abs(limit - here.value) <= abs(step) or abs(limit - value) <= 0.05 * abs(value - here.value)
        if is_limit:
            value = limit + parameter.near * (start.value - limit)
        for x in (_lead(parameter, points[-DEGREE - 1 :], value), here.x):
            found = parameter.solve(value, x, here.hessian)
            if found.converged:
                return found._replace(value=limit) if is_limit else found
        step = 0.25 * (value - here.value if is_limit else step)
    return None


def _solve_between(parameter: Parameter, low: Point, high: Point, value: float) -> Point:
    """Fit between two points: from the straight line, or else from either, where that bends much as next to a limit."""
    near, far = sorted((low, high), key=lambda point: abs(point.value - value))
    found = parameter.solve(value, _lead(parameter, (low, high), value), near.hessian)
    for point in (near, far):
        if found.converged:
            break
        found = parameter.solve(value, point.x, point.hessian)
    return found


def _lead(parameter: Parameter, points: Sequence[Point], value: float) -> np.ndarray:
    """Go on along the polynomial through some points (Lagrange)."""
    at = np.array([point.value for point in points])
    apart = at[:, None] - at
    shares = np.where(np.eye(len(at), dtype=bool), 1.0, (value - at) / np.where(apart == 0.0, 1.0, apart)).prod(axis=1)
    surface = parameter.surface
    return surface.relative(shares @ np.array([surface.absolute(point.x) for point in points]))


def _fill(side: Side, points: list[Point], step: float, zeta: float) -> list[Point]:
    """Put points between those that are far apart in ζ, as long as they are not beyond the outermost."""
    done, rest = [points[0]], points[:0:-1]
    while rest:
        low, high = done[-1], rest[-1]
        a, b = side.zeta(low), side.zeta(high)
        if b - a > WIDE * step and a < zeta and len(done) + len(rest) < MOST_POINTS:
            value = 0.5 * (low.value + high.value)
            found = _solve_between(side.parameter, low, high, value)
            if found.converged:
                rest.append(found)
                continue
        done.append(rest.pop())
    return done
