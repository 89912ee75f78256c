"""Curves of a profile with points in between, for figures: ζ, its density, and contours of pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from scipy.interpolate import CubicHermiteSpline, CubicSpline, PchipInterpolator

from bayesmm.inference.profile.path import Curve
from bayesmm.plots.densities import Density

BETWEEN = 12  # points on each stretch of a curve
AROUND = 121  # points of a contour
FEWEST = 4  # points of a trace


@dataclass(frozen=True, kw_only=True, eq=False)
class Smooth:
    """ζ as a smooth function of the parameter, through all points of a profile and with their slopes.

    Attributes
    ----------
    values, zetas : arrays, shape (m,)
        Points of the profile.
    function : callable
        ζ of a value, with its derivatives.
    """

    values: np.ndarray
    zetas: np.ndarray
    function: CubicHermiteSpline | PchipInterpolator

    @property
    def grid(self) -> np.ndarray:
        """Values close together, those of the profile among them."""
        shares = np.linspace(0.0, 1.0, BETWEEN, endpoint=False)
        between = self.values[:-1, None] + shares * np.diff(self.values)[:, None]
        return np.append(between.ravel(), self.values[-1])

    def value_at(self, zetas: np.ndarray) -> np.ndarray:
        """Find values by their ζ, where ζ rises."""
        grid = self.grid
        return np.interp(zetas, np.maximum.accumulate(self.function(grid)), grid)


def smooth_curve(curve: Curve) -> Smooth | None:
    """Interpolate a profile; None where it has no more than one point."""
    points = sorted(curve.points, key=lambda each: each[0].value)
    values, first = np.unique([point.value for point, _ in points], return_index=True)
    if len(values) < 2:
        return None
    kept = [points[i] for i in first]
    zetas = np.array([zeta for _, zeta in kept])
    normal = NormalDist()
    slopes = np.array([curve.density(point, zeta) / normal.pdf(zeta) for point, zeta in kept])
    if np.isfinite(slopes).all() and not any(side.stopped == "flat" for side in curve.sides):
        return Smooth(values=values, zetas=zetas, function=CubicHermiteSpline(values, zetas, slopes))
    return Smooth(values=values, zetas=zetas, function=PchipInterpolator(values, zetas))


def draw_zeta(curves: Sequence[Curve], errors: Mapping[str, float]) -> pd.DataFrame:
    """Tabulate ζ at many values, with the straight line that it would be were the likelihood a parabola.

    Parameters
    ----------
    curves : sequence of Curve
        Of a profile.
    errors : mapping of str to float
        Standard errors by name.
    """
    parts = []
    for curve in curves:
        smooth = smooth_curve(curve)
        if smooth is not None:
            x = smooth.grid
            straight = (x - curve.estimate) / errors[curve.name]
            parts.append(
                pd.DataFrame({"parameter": curve.name, "value": x, "zeta": smooth.function(x), "straight": straight})
            )
    columns = ["parameter", "value", "zeta", "straight"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def density_of(curve: Curve) -> Density | None:
    """Slope of ζ times the normal density at ζ, with what is left at a limit of the parameter.

    At a limit that the profile reaches, Φ(ζ) is left below, or 1 − Φ(ζ) above.
    """
    smooth = smooth_curve(curve)
    if smooth is None:
        return None
    x, normal = smooth.grid, NormalDist()
    zeta, slope = smooth.function(x), smooth.function(x, 1)
    density = np.maximum(slope, 0.0) * np.exp(-0.5 * zeta**2) / math.sqrt(2.0 * math.pi)
    lower, upper = curve.sides
    atoms = []
    if lower.ends_at_limit:
        atoms.append((lower.limit, normal.cdf(-lower.zeta(lower.points[-1]))))
    if upper.ends_at_limit:
        atoms.append((upper.limit, normal.cdf(-upper.zeta(upper.points[-1]))))
    return Density(x=x, density=density, atoms=tuple(atoms))


def relative_likelihood(curve: Curve) -> pd.DataFrame:
    """Tabulate exp(−ζ²/2), the likelihood over its highest value: columns value, likelihood."""
    smooth = smooth_curve(curve)
    x = np.array([curve.estimate]) if smooth is None else smooth.grid
    zeta = np.zeros(1) if smooth is None else smooth.function(x)
    return pd.DataFrame({"value": x, "likelihood": np.exp(-0.5 * zeta**2)})


@dataclass(frozen=True, kw_only=True, eq=False)
class PairCurves:
    """What is drawn of two parameters.

    Attributes
    ----------
    first, second : str
        Their names: of the horizontal and of the vertical axis.
    first_trace, second_trace : arrays, shape (m, 4)
        Where the first is held, and where the second is: values of both, and ζ of both.
    contours : dict of float to array, shape (k, 4)
        By their level; of the same columns. A level that the profiles do not reach has none.
    """

    first: str
    second: str
    first_trace: np.ndarray
    second_trace: np.ndarray
    contours: dict[float, np.ndarray]


def draw_pair(
    curves: tuple[Curve, Curve], traces: tuple[pd.DataFrame, pd.DataFrame], levels: Sequence[float]
) -> PairCurves:
    """Work out the traces of two parameters on each other, and contours of their common profile.

    Parameters
    ----------
    curves : (Curve, Curve)
        Of the two.
    traces : (DataFrame, DataFrame)
        All parameters at the points of each curve, upwards.
    levels : sequence of float
        Of joint regions; a contour is where 2(ℓ̂ − ℓ) is that quantile of χ² with two degrees of freedom.

    Returns
    -------
    PairCurves

    Notes
    -----
    Contours are those of Bates & Watts (1988, Nonlinear Regression Analysis, section A.6): with ζ₁ = τ cos(a + d/2) and
    ζ₂ = τ cos(a − d/2), d is a periodic function of a, known at the four points where a contour is vertical or
    horizontal, which are on the traces, and interpolated between them. For a likelihood that is a parabola they are
    exact.
    """
    one, two = (smooth_curve(curve) for curve in curves)
    assert one is not None, f"the curve of {curves[0].name} has one point"
    assert two is not None, f"the curve of {curves[1].name} has one point"
    names = curves[0].name, curves[1].name
    found = []
    for trace in traces:
        values = trace[list(names)].to_numpy(dtype=float)
        values = values[np.isfinite(values).all(axis=1)]
        zetas = np.column_stack([_zeta_of(one, values[:, 0]), _zeta_of(two, values[:, 1])])
        found.append(np.column_stack([values, zetas]))
    contours = {}
    for level in levels:
        tau = math.sqrt(-2.0 * math.log1p(-level))  # the quantile of χ²₂ in closed form
        contour = _contour(found[0][:, 2:], found[1][:, 3:1:-1], tau)
        if contour is not None:
            values = np.column_stack([one.value_at(contour[:, 0]), two.value_at(contour[:, 1])])
            contours[level] = np.column_stack([values, contour])
    return PairCurves(first=names[0], second=names[1], first_trace=found[0], second_trace=found[1], contours=contours)


def _zeta_of(smooth: Smooth, values: np.ndarray) -> np.ndarray:
    """ζ of values; beyond the profile that of its end."""
    return smooth.function(np.clip(values, smooth.values[0], smooth.values[-1]))


def _contour(first: np.ndarray, second: np.ndarray, tau: float) -> np.ndarray | None:
    """Close a contour of ζ₁ and ζ₂ (k, 2) through its four tangents; None where the traces do not reach so far.

    `first` has ζ₁ held and ζ₂, `second` ζ₂ held and ζ₁. With ζ₁ = τ cos α and ζ₂ = τ cos β, a = (α + β)/2 and
    d = α − β between 0 and π.
    """
    others = [_at(trace, sign * tau) for trace in (first, second) for sign in (1.0, -1.0)]
    if any(other is None or abs(other) > tau for other in others):
        return None
    right, left, above, below = (math.acos(float(other) / tau) for other in others if other is not None)
    a = np.array([-right / 2.0, above / 2.0, (math.pi + left) / 2.0, (3.0 * math.pi - below) / 2.0])
    d = np.array([right, above, math.pi - left, math.pi - below])
    if np.min(np.diff(a)) <= 0.0 or a[-1] - a[0] >= 2.0 * math.pi:
        return None
    turn = CubicSpline(np.append(a, a[0] + 2.0 * math.pi), np.append(d, d[0]), bc_type="periodic")
    angle = np.linspace(a[0], a[0] + 2.0 * math.pi, AROUND)
    return tau * np.column_stack([np.cos(angle + 0.5 * turn(angle)), np.cos(angle - 0.5 * turn(angle))])


def _at(trace: np.ndarray, zeta: float) -> float | None:
    """Find the other ζ where one is held at a value; None beyond the trace."""
    held, first = np.unique(trace[:, 0], return_index=True)
    if len(held) < FEWEST or not held[0] <= zeta <= held[-1]:
        return None
    return float(PchipInterpolator(held, trace[first, 1])(zeta))
