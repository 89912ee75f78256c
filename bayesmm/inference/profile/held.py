"""The best fit with one parameter held at a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from bayesmm.inference.profile.constraints import Constraint
from bayesmm.inference.profile.surface import At, Surface
from bayesmm.marginal.likelihood.likelihood import HeldCoefficient
from bayesmm.reml.optimise import Evaluation, Minimum, minimise

DECREMENT = 1e-7  # of −2 log likelihood, that a further step may gain: its root is the error in standard errors
MOST_EVALUATIONS = 40
MOST_ROUNDS = 3  # of a search, each on a chart of its own
MOST_STEPS = 60  # back to where the parameter has its value
ROUNDING = 1e-10  # relative error of that value
LEAST = 1e-9  # of a slope, that is none: the parameter is at its limit


class Point(NamedTuple):
    """The best fit with one parameter at a value.

    Attributes
    ----------
    value : float
        Of the parameter.
    criterion : float
        −2 log likelihood.
    slope : float
        Its derivative in the value.
    x : array, shape (m,)
        ψ and log σ.
    hessian : array, shape (m, m)
        Near that of the criterion at x.
    beta : array, shape (p,)
        Fixed effects.
    converged : bool
        Whether the search ended in a minimum.
    """

    value: float
    criterion: float
    slope: float
    x: np.ndarray
    hessian: np.ndarray
    beta: np.ndarray
    converged: bool


class Parameter(Protocol):
    """One parameter that can be held."""

    @property
    def surface(self) -> Surface:
        """The criterion."""
        ...

    @property
    def limits(self) -> tuple[float, float]:
        """Between which values it may lie."""
        ...

    @property
    def near(self) -> float:
        """Which part of the way from a limit to the estimate is as good as the limit itself."""
        ...

    def error(self, start: Point) -> float:
        """Give its standard error at the estimate; where that is at a limit, how far from it a first step may be."""
        ...

    def step(self, value: float, by: float) -> float:
        """Value a step farther, on the scale that suits it."""
        ...

    def solve(self, value: float, start: np.ndarray, hessian: np.ndarray) -> Point:
        """Fit with it at a value, from a start with a matrix near its Hessian."""
        ...


@dataclass(frozen=True)
class Coefficient:
    """A fixed effect.

    Attributes
    ----------
    surface : Surface
        The criterion.
    index : int
        Which.

    Notes
    -----
    What is minimised is the criterion plus (b − β̂_j(θ))² / Var β̂_j(θ). With ML that is −2 log likelihood, all other
    coefficients profiled out. With REML log|X'V⁻¹X| is that of all columns wherever b is: the fixed effects do not move
    the penalty for having estimated them, the minimum over b is the REML estimate, and without random effects the
    profile is the monotone function (n − p) log(1 + t²/(n − p)) of the t statistic.
    """

    surface: Surface
    index: int

    @property
    def limits(self) -> tuple[float, float]:
        """None."""
        return -np.inf, np.inf

    @property
    def near(self) -> float:
        """None: there are no limits."""
        return 0.0

    def error(self, start: Point) -> float:
        """Root of its conditional variance."""
        at = self.surface(start.x)
        direction = at.on_conditioned(HeldCoefficient(self.index, 0.0)).direction
        return self.surface.split(start.x)[1] * float(np.sqrt(direction @ at.fixed.covariance @ direction))

    def step(self, value: float, by: float) -> float:
        """Add."""
        return value + by

    def solve(self, value: float, start: np.ndarray, hessian: np.ndarray) -> Point:
        """Search over ψ and σ."""
        surface, held = self.surface, HeldCoefficient(self.index, value)
        W = _whiten(hessian, surface.sizes(start))

        def objective(s: np.ndarray) -> Evaluation:
            at = surface(start + W @ s, held)
            return _evaluation(at, W.T @ at.gradient, W.T @ at.hessian @ W, at)

        found = _minimise(objective, len(start))
        x, at = start + W @ found.x, found.evaluation.detail
        if not np.isfinite(at.value):
            return _lost(value, start, hessian, surface.criterion.products.p)
        here = at.on_conditioned(held)
        short = here.value - here.direction @ at.fixed.beta
        variance = surface.split(x)[1] ** 2 * (here.direction @ at.fixed.covariance @ here.direction)
        return Point(value, at.value, float(2.0 * short / variance), x, at.hessian, at.beta(held), found.converged)


@dataclass(frozen=True)
class CovarianceParameter:
    """A parameter of the covariance matrices, or σ.

    Attributes
    ----------
    surface : Surface
        The criterion.
    constraint : Constraint
        The parameter as a function of ψ and log σ.

    Notes
    -----
    Points where the parameter has its value are a surface in ψ and log σ. Around one of them it is the graph of a
    function over its tangent plane, in coordinates in which the Hessian is the unit matrix; on that chart the search is
    unbounded, and has exact slopes of the constraint, of second order too.
    """

    surface: Surface
    constraint: Constraint

    @property
    def limits(self) -> tuple[float, float]:
        """Between which values it may lie."""
        return self.constraint.limits

    @property
    def near(self) -> float:
        """Which part of the way from a limit to the estimate is as good as the limit itself."""
        return self.constraint.near

    def error(self, start: Point) -> float:
        """Root of g'(H/2)⁻¹g."""
        if start.value in self.limits:
            return abs(self.constraint.slopes(self.constraint.off_limit(start.x))[0] - start.value)
        _, gradient, _ = self.constraint.slopes(start.x)
        W = _whiten(start.hessian, self.surface.sizes(start.x))
        return float(np.sqrt(2.0) * np.linalg.norm(W.T @ gradient)) / self.constraint.scale(start.value)[1]

    def step(self, value: float, by: float) -> float:
        """Add on the scale of the constraint."""
        at, stretch = self.constraint.scale(value)
        return self.constraint.unscale(at + stretch * by)

    def solve(self, value: float, start: np.ndarray, hessian: np.ndarray) -> Point:
        """Search over the points where it has the value."""
        target, stretch = self.constraint.scale(value)
        x, W = start, _whiten(hessian, self.surface.sizes(start))
        for _ in range(MOST_ROUNDS):
            chart = _Chart(self.surface, self.constraint, target, x, W)
            if not chart.is_defined:
                chart = _Chart(self.surface, self.constraint, target, self._reach(target, x, W), W)
            if not chart.is_defined:
                break
            found = _minimise(chart, len(x) - 1, chart.is_void)
            if found.evaluation.detail is None:  # no likelihood over the origin
                break
            at, slope, x = found.evaluation.detail
            if found.escaped:
                return Point(value, at.value, 0.0, x, at.hessian, at.beta(), True)
            if found.converged:
                return Point(value, at.value, slope * stretch, x, at.hessian, at.beta(), True)
            if not np.isfinite(at.hessian).all():
                break
            W = _whiten(at.hessian, self.surface.sizes(x))
        return _lost(value, start, hessian, self.surface.criterion.products.p)

    def _reach(self, target: float, x: np.ndarray, W: np.ndarray) -> np.ndarray:
        """Go to where the parameter has its value, by the shortest way in the metric of the Hessian."""
        for _ in range(MOST_STEPS):
            value, gradient, _ = self.constraint.slopes(x)
            steepest = W.T @ gradient
            square = float(steepest @ steepest)
            if abs(value - target) <= ROUNDING * max(abs(target), abs(value)):
                break
            if not square > LEAST**2:
                x = self.constraint.off_limit(x)
                continue
            x = x + W @ steepest * ((target - value) / square)
        return x


def _lost(value: float, start: np.ndarray, hessian: np.ndarray, p: float) -> Point:
    """Where a search failed."""
    return Point(value, np.nan, np.nan, start, hessian, np.full(int(p), np.nan), False)


class _Chart:
    """The criterion on the tangent plane at a point where a parameter has its value."""

    def __init__(
        self, surface: Surface, constraint: Constraint, target: float, origin: np.ndarray, W: np.ndarray
    ) -> None:
        self._surface, self._constraint, self._target, self._origin = surface, constraint, target, origin
        _, gradient, _ = constraint.slopes(origin)
        steepest = W.T @ gradient
        size = float(np.linalg.norm(steepest))
        frame = np.linalg.qr(np.column_stack([steepest, np.eye(len(steepest))]))[0]
        self._plane = W @ frame[:, 1:]
        self._normal = W @ steepest / size if size > 0.0 else np.full(len(origin), np.nan)

    @property
    def is_defined(self) -> bool:
        """Whether the parameter has its value somewhere over the origin."""
        return bool(np.isfinite(self.point(np.zeros(self._plane.shape[1]))).all())

    def point(self, s: np.ndarray) -> np.ndarray:
        """Point over a place of the plane; NaN where there is none near it."""
        x = self._origin + self._plane @ s
        for _ in range(MOST_STEPS):
            value, slope = self._constraint.along(x, self._normal)
            miss = value - self._target
            if abs(miss) <= ROUNDING * max(abs(self._target), abs(value)):
                return x
            if slope == 0.0 or not np.isfinite(miss):
                break
            x = x - self._normal * (miss / slope)
        return np.full_like(x, np.nan)

    def is_void(self, s: np.ndarray, at: Evaluation) -> bool:
        """Say whether the search has come to where the parameter has no meaning."""
        return self._constraint.is_void(at.detail[-1])

    def __call__(self, s: np.ndarray) -> Evaluation:
        x, nowhere = self.point(s), Evaluation(np.nan, np.zeros_like(s), np.zeros((len(s), len(s))))
        if not np.isfinite(x).all():
            return nowhere
        at = self._surface(x)
        _, gradient, hessian = self._constraint.slopes(x)
        along = gradient @ self._normal
        if along == 0.0 or not np.isfinite(at.gradient).all():  # beyond an end of the parameter, or too far
            return nowhere
        slope = float(at.gradient @ self._normal / along)
        tangent = self._plane - self._normal[:, None] * (gradient @ self._plane / along)
        curved = tangent.T @ (at.hessian - slope * hessian) @ tangent
        return _evaluation(at, tangent.T @ at.gradient, curved, (at, slope, x))


def _evaluation(at: At, gradient: np.ndarray, hessian: np.ndarray, detail: object) -> Evaluation:
    return Evaluation(at.value, gradient, hessian, is_exact=False, noise=at.noise, detail=detail)


def _minimise(
    objective: Callable[[np.ndarray], Evaluation],
    m: int,
    escapes: Callable[[np.ndarray, Evaluation], bool] | None = None,
) -> Minimum:
    return minimise(objective, np.zeros(m), escapes=escapes, tolerance=DECREMENT, max_evaluations=MOST_EVALUATIONS)


def _whiten(hessian: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """W with W'HW = I; flat and falling directions as if the criterion bent by one over their size."""
    values, vectors = np.linalg.eigh(hessian * (sizes[:, None] * sizes))
    return sizes[:, None] * vectors / np.sqrt(np.maximum(np.abs(values), 1.0))
