"""The best fit with one parameter held at a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from bayesmm.covariance.layout import Piece, piece_factor, scale_theta
from bayesmm.covariance.public_slopes import differentiate_correlations, differentiate_variances
from bayesmm.covariance.structure import Array, lower_triangular
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import evaluate
from bayesmm.marginal.likelihood.likelihood import FixedProfile, Held, hold_fixed
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.optimise import Evaluation, Minimum, minimise

DECREMENT = 1e-7  # of −2 log likelihood, that a further step may gain: its root is the error in standard errors
MOST_EVALUATIONS = 40
MOST_ROUNDS = 3  # of a search, each on a chart of its own
MOST_STEPS = 60  # back to where the parameter has its value
ROUNDING = 1e-10  # relative error of that value
TINY = 1e-30  # step of a complex-step derivative
VOID = 1e-3  # a standard deviation, over σ and on conditioned columns, whose square is next to nothing
LEAST = 1e-9  # of a slope, that is none: the parameter is at its limit


class At(NamedTuple):
    """−2 log likelihood at one point of θ and log σ, σ not profiled out.

    Attributes
    ----------
    value : float
    gradient : array, shape (m,)
    hessian : array, shape (m, m)
        Average information with the curvature of ΛΛ': near the Hessian.
    fixed : FixedProfile
        Fixed effects, those that are held not held.
    noise : float
        Rounding error of the value.
    """

    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    fixed: FixedProfile
    noise: float


@dataclass(frozen=True)
class Surface:
    """−2 log (restricted) likelihood as a function of θ and, unless σ is known, log σ."""

    criterion: Criterion

    @property
    def _df(self) -> float:
        products = self.criterion.products
        return float(products.n - self.criterion.restriction * products.p)

    def split(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """θ and σ."""
        return (x, self.criterion.sigma) if self.criterion.sigma is not None else (x[:-1], np.exp(x[-1]))

    def join(self, theta: np.ndarray, sigma: float) -> np.ndarray:
        """Put θ and σ into one array (m,)."""
        return theta if self.criterion.sigma is not None else np.append(theta, np.log(sigma))

    def absolute(self, x: np.ndarray) -> np.ndarray:
        """θ of the factors times σ, with log σ: what changes little where σ alone does."""
        theta, sigma = self.split(x)
        return self.join(scale_theta(theta, sigma, self.criterion.layout), sigma)

    def relative(self, x: np.ndarray) -> np.ndarray:
        """Undo `absolute`."""
        theta, sigma = self.split(x)
        return self.join(scale_theta(theta, 1.0 / sigma, self.criterion.layout), sigma)

    def sizes(self, x: np.ndarray) -> np.ndarray:
        """How large a change of each coordinate is small."""
        sizes = self.criterion.sizes(self.split(x)[0])
        return sizes if self.criterion.sigma is not None else np.append(sizes, 1.0)

    def __call__(self, x: np.ndarray, held: Held | None = None) -> At:
        """Evaluate, with a combination of the fixed effects held or not."""
        criterion, (theta, sigma) = self.criterion, self.split(x)
        with np.errstate(all="ignore"):  # a step too long overflows; the search takes a shorter one
            at = evaluate(
                host, theta, criterion.products, sigma, criterion.restriction, layout=criterion.layout, held=held
            )
            if criterion.sigma is not None:
                return At(float(at.value), at.gradient, at.curvature, at.fixed, criterion.noise(at))
            fixed = at.fixed if held is None else hold_fixed(at.fixed, held)
            square = float(fixed.residual_square) / sigma**2
            t = len(theta)
            hessian = np.empty((t + 1, t + 1))
            hessian[:t, :t] = at.curvature
            hessian[:t, t] = hessian[t, :t] = -2.0 * at.residual_square_gradient / sigma**2
            hessian[t, t] = 4.0 * square
            gradient = np.append(at.gradient, 2.0 * (self._df - square))
        return At(float(at.value), gradient, hessian, at.fixed, criterion.noise(at))


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
        θ and log σ.
    hessian : array, shape (m, m)
        Near that of the criterion at x.
    beta : array, shape (p,)
        Fixed effects of the conditioned columns.
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

    @cached_property
    def _direction(self) -> np.ndarray:
        root = self.surface.criterion.products.fixed_root
        return np.linalg.solve(root.T, np.eye(len(root))[self.index])

    def error(self, start: Point) -> float:
        """Root of its conditional variance."""
        _, sigma = self.surface.split(start.x)
        covariance = self.surface(start.x).fixed.covariance
        return sigma * float(np.sqrt(self._direction @ covariance @ self._direction))

    def step(self, value: float, by: float) -> float:
        """Add."""
        return value + by

    def solve(self, value: float, start: np.ndarray, hessian: np.ndarray) -> Point:
        """Search over θ and σ."""
        surface = self.surface
        held = Held(self._direction, value - surface.criterion.products.fixed_origin[self.index])
        W = _whiten(hessian, surface.sizes(start))

        def objective(s: np.ndarray) -> Evaluation:
            at = surface(start + W @ s, held)
            return _evaluation(at, W.T @ at.gradient, W.T @ at.hessian @ W, at)

        found = _minimise(objective, len(start))
        x, at = start + W @ found.x, found.evaluation.detail
        fixed = hold_fixed(at.fixed, held)
        short = held.value - held.direction @ at.fixed.beta
        variance = surface.split(x)[1] ** 2 * (held.direction @ at.fixed.covariance @ held.direction)
        return Point(value, at.value, float(2.0 * short / variance), x, at.hessian, fixed.beta, found.converged)


class Constraint(Protocol):
    """A function of θ and log σ that is held, on a scale of its own."""

    @property
    def limits(self) -> tuple[float, float]:
        """Between which values the parameter may lie."""
        ...

    @property
    def near(self) -> float:
        """Which part of the way from a limit is as good as the limit itself."""
        ...

    def scale(self, value: float) -> tuple[float, float]:
        """Put a value of the parameter on the scale of the function, with the derivative of that."""
        ...

    def unscale(self, at: float) -> float:
        """Undo `scale`."""
        ...

    def along(self, x: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Evaluate the function, and its derivative in a direction."""
        ...

    def slopes(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Evaluate the function, its gradient (m,) and its Hessian (m, m)."""
        ...

    def off_limit(self, x: np.ndarray) -> np.ndarray:
        """Find a point near x where the parameter is inside its limits."""
        ...

    def is_void(self, x: np.ndarray) -> bool:
        """Say whether the parameter has next to no meaning at x."""
        ...


@dataclass(frozen=True)
class Sigma:
    """The residual standard deviation: held as log σ."""

    surface: Surface

    @property
    def limits(self) -> tuple[float, float]:
        """Zero below."""
        return 0.0, np.inf

    @property
    def near(self) -> float:
        """A thousandth: the criterion is smooth in σ²."""
        return 1e-3

    def scale(self, value: float) -> tuple[float, float]:
        """Log."""
        return float(np.log(value)), 1.0 / value

    def unscale(self, at: float) -> float:
        """Exp."""
        return float(np.exp(at))

    def along(self, x: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Log σ."""
        return float(x[-1]), float(direction[-1])

    def slopes(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Log σ is a coordinate."""
        return float(x[-1]), np.eye(len(x))[-1], np.zeros((len(x), len(x)))

    def off_limit(self, x: np.ndarray) -> np.ndarray:
        """Stay: it is inside."""
        return x

    def is_void(self, x: np.ndarray) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class _OfPiece:
    """A parameter of the covariance matrix of some effects.

    Attributes
    ----------
    surface : Surface
        The criterion.
    factor, piece : int
        Which piece of which grouping factor.
    index : int
        Which of its standard deviations, or of its correlations.
    """

    surface: Surface
    factor: int
    piece: int
    index: int

    @property
    def near(self) -> float:
        """A millionth, by which the criterion changes at most linearly."""
        return 1e-6

    @cached_property
    def _piece(self) -> Piece:
        return self.surface.criterion.layout[self.factor][self.piece]

    @cached_property
    def _root(self) -> np.ndarray:
        return self.surface.criterion.products.effect_roots[self.factor][self._piece.inside, self._piece.inside]

    @cached_property
    def _back(self) -> np.ndarray:
        return np.linalg.inv(self._root)

    @cached_property
    def _own(self) -> slice:
        """Its entries of θ."""
        layout = self.surface.criterion.layout
        before = [piece for pieces in layout[: self.factor] for piece in pieces]
        start = sum(piece.n_theta for piece in [*before, *layout[self.factor][: self.piece]])
        return slice(start, start + self._piece.n_theta)

    def scale(self, value: float) -> tuple[float, float]:
        """As it is."""
        return value, 1.0

    def unscale(self, at: float) -> float:
        """As it is."""
        return at

    def _embed(self, gradient: np.ndarray, hessian: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
        first, second = np.zeros(m), np.zeros((m, m))
        first[self._own], second[self._own, self._own] = gradient, hessian
        return first, second

    def _read(self, x: np.ndarray, direction: np.ndarray) -> tuple[Array, Array]:
        """Read standard deviations over σ and correlations, with a complex step in a direction."""
        theta = x[self._own] + 1j * TINY * direction[self._own]
        M = self._back @ piece_factor(np, theta, self._piece)
        with np.errstate(all="ignore"):
            return self._piece.structure.read(np, M @ M.T)

    def _spread_out(self, x: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Add independent effects with these standard deviations (k,), as far as the structure has room for them."""
        piece, own = self._piece, self._own
        L = piece_factor(np, x[own], piece)
        wider = lower_triangular(np.hstack([L, self._root @ np.diag(spread)]))
        moved = x.copy()
        moved[own] = piece.structure.nearest(wider)
        return moved


@dataclass(frozen=True)
class StandardDeviation(_OfPiece):
    """A standard deviation of random effects."""

    @property
    def limits(self) -> tuple[float, float]:
        """Zero below."""
        return 0.0, np.inf

    def along(self, x: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Evaluate σ times that of the relative factor."""
        relative = self._read(x, direction)[0][self.index]
        _, sigma = self.surface.split(x)
        value, slope = sigma * relative.real, sigma * relative.imag / TINY
        return float(value), float(slope + (0.0 if len(x) == self._n_theta else value * direction[-1]))

    @cached_property
    def _n_theta(self) -> int:
        return sum(piece.n_theta for pieces in self.surface.criterion.layout for piece in pieces)

    def slopes(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Differentiate s by way of its square: s s' = ½(s²)', s s'' = ½(s²)'' − s's'."""
        at = differentiate_variances(x[self._own], self._piece, self._back)
        _, sigma = self.surface.split(x)
        square = sigma**2 * at.values[self.index]
        first, second = self._embed(sigma**2 * at.first[self.index], sigma**2 * at.second[self.index], len(x))
        if len(x) > self._n_theta:
            second[-1, :-1] = second[:-1, -1] = 2.0 * first[:-1]
            first[-1], second[-1, -1] = 2.0 * square, 4.0 * square
        value = np.sqrt(square)
        if value == 0.0:
            return 0.0, np.zeros_like(first), np.zeros_like(second)
        slope = 0.5 * first / value
        return float(value), slope, (0.5 * second - slope[:, None] * slope) / value

    def is_void(self, x: np.ndarray) -> bool:
        """Never."""
        return False

    def off_limit(self, x: np.ndarray) -> np.ndarray:
        """Give the effects that have it some variance."""
        piece = self._piece
        own = np.eye(piece.structure.n_sds(piece.k))[self.index]
        spread = piece.structure.effect_sds(own, piece.k)
        return self._spread_out(x, 0.1 * spread / np.linalg.norm(self._root @ np.diag(spread)))


@dataclass(frozen=True)
class Correlation(_OfPiece):
    """A correlation of random effects."""

    @property
    def limits(self) -> tuple[float, float]:
        """Of the structure."""
        return self._piece.structure.limits(self._piece.k)

    @property
    def vanishing(self) -> tuple[StandardDeviation, ...]:
        """Standard deviations that leave it without meaning where one of them is zero."""
        structure, k = self._piece.structure, self._piece.k
        ways = 1.0 - np.eye(structure.n_sds(k))
        return tuple(
            StandardDeviation(self.surface, self.factor, self.piece, s)
            for s, sd in enumerate(ways)
            if not structure.is_defined(structure.effect_sds(sd, k))[self.index]
        )

    def along(self, x: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
        """Evaluate that of the relative factor."""
        value = self._read(x, direction)[1][self.index]
        return float(value.real), float(value.imag / TINY)

    def slopes(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Differentiate in θ."""
        at = differentiate_correlations(x[self._own], self._piece, self._back)
        return float(at.values[self.index]), *self._embed(at.first[self.index], at.second[self.index], len(x))

    def is_void(self, x: np.ndarray) -> bool:
        """Where a standard deviation is next to zero, in units of what a factor of one gives."""
        sd, _ = self._read(x, np.zeros_like(x))
        small = sd.real < VOID * self._units
        return (
            bool(small.any())
            and not self._piece.structure.is_defined(
                self._piece.structure.effect_sds(np.where(small, 0.0, 1.0), self._piece.k)
            )[self.index]
        )

    @cached_property
    def _units(self) -> np.ndarray:
        spread = np.sqrt((self._back**2).sum(axis=1))
        return self._piece.structure.free_sds(np, spread)

    def off_limit(self, x: np.ndarray) -> np.ndarray:
        """Add independent effects, a tenth as large as those that are there."""
        sd, _ = self._read(x, np.zeros_like(x))
        return self._spread_out(x, 0.1 * self._piece.structure.effect_sds(sd.real, self._piece.k))


@dataclass(frozen=True)
class Spread:
    """A parameter of the covariance matrices, or σ.

    Attributes
    ----------
    surface : Surface
        The criterion.
    constraint : Constraint
        The parameter as a function of θ and log σ.

    Notes
    -----
    Points where the parameter has its value are a surface in θ and log σ. Around one of them it is the graph of a
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
            at, slope, x = found.evaluation.detail
            if found.escaped:
                return Point(value, at.value, 0.0, x, at.hessian, at.fixed.beta, True)
            if found.converged:
                return Point(value, at.value, slope * stretch, x, at.hessian, at.fixed.beta, True)
            if not np.isfinite(at.hessian).all():
                break
            W = _whiten(at.hessian, self.surface.sizes(x))
        return Point(value, np.nan, np.nan, start, hessian, np.full(self._p, np.nan), False)

    @property
    def _p(self) -> int:
        return int(self.surface.criterion.products.p)

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
        x = self.point(s)
        if not np.isfinite(x).all():
            return Evaluation(np.nan, np.zeros_like(s), np.zeros((len(s), len(s))))
        at = self._surface(x)
        _, gradient, hessian = self._constraint.slopes(x)
        along = gradient @ self._normal
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
