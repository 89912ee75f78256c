"""Correlations of the residuals of a group, by few parameters.

The covariance of a group's rows is σ²·DCD with D the standard deviations of the rows over σ. What is here is C: from
free parameters z to the public ones ρ, and from those to the matrix at the positions of some rows. Positions are
levels, counted from zero, or times. C is never singular: no density is left where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from bayesmm.covariance.structure import Array, Statement, beta_density
from bayesmm.covariance.toeplitz import Toeplitz as ToeplitzOfEffects
from bayesmm.covariance.unstructured import pairs

TINY = 1e-30  # step of a complex-step derivative
APART = 1e-5  # step of a central difference of such derivatives
MOST_START = 0.98  # of a correlation or a partial one where a search begins
SHRINK = 0.95  # of sample correlations, until their matrix is positive definite
LEAST_LIKE = 1e-3  # smallest eigenvalue of a correlation matrix to begin at
UNCORRELATED = 1e-8  # correlation of the nearest neighbours, below which it is zero
LEAST_FREE = -25.0  # free parameter, from which on downwards it counts as zero though some are very near
DIGITS = 11  # of a usual gap, in which times are told apart
TINY_START = 1e-3  # least positive correlation to begin at
LEAST_OWN = -18.0  # free parameter of a nugget, below which that is zero
NO_START = -2.0  # free parameter of a nugget that nothing says anything of
FARTHEST_GAPS = 8.0  # usual gaps, up to which products say how a nugget begins
EXACT = 1e-9  # of logarithms: products that a curve goes through
MOST_EXACT = 10_000  # products, up to which it is looked whether a curve goes through them
FARTHEST_RANGE = 50.0  # in distances g, at which another maximum is looked for
FINER = 12  # times that a grid of correlations is made nine times finer
OWN_PART = 1e-12  # of each row's variance, times their number, that it shares with no other
AMONG_EFFECTS = ToeplitzOfEffects()  # of a level, whose partial autocorrelations are those of rows


class PairProducts(NamedTuple):
    """Products of two residuals of one group, over their standard deviations.

    Attributes
    ----------
    first, second : arrays, shape (P,)
        Positions of the two.
    product : array, shape (P,)
    """

    first: np.ndarray
    second: np.ndarray
    product: np.ndarray

    def mean(self, which: np.ndarray) -> float:
        """Mean product of some pairs; zero of none."""
        return float(self.product[which].mean()) if which.any() else 0.0


class Neighbours(NamedTuple):
    """Correlations of pairs of neighbours, and how they change.

    Attributes
    ----------
    values : array, shape (m,)
    slopes : array, shape (c, m)
        By free parameter.
    bends : array, shape (c, c, m), or None
        Second derivatives, where they are in closed form.
    """

    values: np.ndarray
    slopes: np.ndarray
    bends: np.ndarray | None = None


class GroupedRows(NamedTuple):
    """Rows with what their residuals depend on.

    Attributes
    ----------
    groups : int array, shape (n,)
        Number of the group.
    positions : array, shape (n,)
        Place in it.
    spreads : array, shape (n, s)
        What the parameters of the standard deviations are multiplied by, in their logarithms.
    weights : array, shape (n,)
        Prior weights.
    """

    groups: np.ndarray
    positions: np.ndarray
    spreads: np.ndarray
    weights: np.ndarray


class Correlation:
    """A correlation matrix of the residuals of one group.

    Attributes
    ----------
    words : str
        The structure in a sentence.
    kind : {"one", "several", "matrix"}
        Whether one correlation gives all, or those of a pattern, or every correlation is a parameter.
    has_lkj : bool
        Whether a density ∝ det(R)^(η − 1) is one of betas, other than for η = 1; see `lkj_shapes`.
    is_over_gap : bool
        Whether priors are about the correlation over a usual gap, rather than over one unit of time.
    is_linear : bool
        Whether all matrices σ²C, for one standard deviation, are those that fulfil some linear equations.
    is_linear_with_own : bool
        The same where each position has a standard deviation of its own.
    is_markov : bool
        Whether a row depends on those before it through the last of them alone: C⁻¹ is then tridiagonal.
    has_mirror : bool
        Whether the opposite correlations may be nearly as likely, so that posteriors have a second peak there.
    """

    words: ClassVar[str]
    kind: ClassVar[Literal["one", "several", "matrix"]] = "one"
    has_lkj: ClassVar[bool] = True
    is_over_gap: ClassVar[bool] = False
    is_linear: ClassVar[bool] = False
    is_linear_with_own: ClassVar[bool] = False
    is_markov: ClassVar[bool] = False
    has_mirror: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Name the public correlations, as between the brackets of ``rho(... | id)``."""
        raise NotImplementedError

    @property
    def conditions(self) -> tuple[str, ...]:
        """Whose parameter each of them is, ``arm[A]``; empty where all groups share it."""
        return ("",) * len(self.names)

    @property
    def heads(self) -> tuple[str, ...]:
        """What each of them is called before the brackets of its name."""
        return ("rho",) * len(self.names)

    @property
    def limits(self) -> tuple[float, float]:
        """Between which values each of them is."""
        return -1.0, 1.0

    def part_of(self, positions: np.ndarray) -> np.ndarray:
        """Tell rows at some positions from those whose groups have other parameters: here none has."""
        return np.zeros(np.shape(positions), dtype=np.int64)

    @property
    def near(self) -> float:
        """Which part of the way from a limit is as good as the limit itself."""
        return 1e-6

    def public(self, xp: Any, z: Array) -> Array:
        """Public correlations (c,) of free parameters (c,); analytic."""
        raise NotImplementedError

    def matrix(self, xp: Any, rho: Array, positions: Array) -> Array:
        """C (..., o, o) of rows at positions (..., o), from public correlations; analytic."""
        raise NotImplementedError

    def neighbours(self, z: np.ndarray, positions: np.ndarray) -> Neighbours:
        """Correlations of pairs of rows at positions (m, 2), from free parameters."""
        values = self._of_pairs(z, positions)
        ways = [np.imag(self._of_pairs(z + way, positions)) / TINY for way in np.eye(len(z)) * (1j * TINY)]
        return Neighbours(values, np.array(ways).reshape(len(z), len(positions)))

    def bend_neighbours(self, z: np.ndarray, positions: np.ndarray, along: np.ndarray) -> np.ndarray:
        """Second derivatives (c, c) of Σ along (m,) times them: central differences of slopes."""
        ends = [
            [self.neighbours(z + sign * way, positions).slopes @ along for sign in (1.0, -1.0)]
            for way in np.eye(len(z)) * APART
        ]
        bent = np.array([(up - down) / (2.0 * APART) for up, down in ends])
        return 0.5 * (bent + bent.T)

    def _of_pairs(self, z: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return self.matrix(np, self.public(np, z), positions)[:, 0, 1]

    def anchor(self, positions: np.ndarray) -> np.ndarray:
        """Positions (G, o) that are equal where C is: here as they are."""
        return positions

    def start(self, found: PairProducts) -> np.ndarray:
        """Free parameters (c,) near products of residuals."""
        raise NotImplementedError

    def elsewhere(self, z: np.ndarray) -> list[np.ndarray]:
        """Free parameters (m, c) along lines through z on which other maxima may be, each line in its order."""
        return []

    # -- for priors ---------------------------------------------------------------------------------------------------

    @property
    def parts(self) -> tuple[Correlation, ...]:
        """Structures with a prior each, whose correlations follow on each other."""
        return (self,)

    @property
    def size(self) -> int:
        """Rows k of the matrix that LKJ priors are about."""
        return 2

    def whole(self, xp: Any, rho: Array) -> Array:
        """Return the matrix (..., k, k) that LKJ priors are about, of public correlations (..., c); analytic."""
        raise NotImplementedError

    def shares(self, rho: np.ndarray) -> np.ndarray:
        """Shares (..., c) between 0 and 1 that are independent under LKJ priors, of public correlations."""
        low, high = self.limits
        return (rho - low) / (high - low)

    def from_shares(self, xp: Any, shares: Array) -> Array:
        """Public correlations (c,) of shares: the inverse."""
        low, high = self.limits
        return low + (high - low) * shares

    @property
    def own_prior(self) -> tuple[Statement, ...]:
        """What a prior of each correlation alone may be stated for, whatever the others are."""
        return ("correlation",) if self.kind == "one" else ()

    def at_range(self, xp: Any, r: Array) -> Array:
        """Public correlation of a range, in the unit of the positions, where priors may be of that."""
        raise NotImplementedError

    def range_of(self, xp: Any, rho: Array) -> Array:
        """Range of a public correlation: the inverse."""
        raise NotImplementedError

    def lkj_shapes(self, concentration: float) -> tuple[np.ndarray, np.ndarray]:
        """Shapes (c,) of the beta densities of the shares if R has a density ∝ det(R)^(concentration − 1)."""
        shapes = np.full(len(self.names), concentration)
        return shapes, shapes

    def cor_density(self, x: np.ndarray, which: int, concentration: float) -> np.ndarray:
        """Marginal density of one of the public correlations, at x (m,) inside its limits, of that density of R."""
        a, b = self.lkj_shapes(concentration)
        low, high = self.limits
        share = (x - low) / (high - low)
        return beta_density(share, a[which], b[which]) / (high - low)

    def held(self, z: np.ndarray) -> np.ndarray:
        """Which free parameters (c,) are at an end that is not singular, where there is no standard error."""
        return np.zeros(len(z), dtype=bool)

    def edges(self, z: np.ndarray) -> np.ndarray:
        """Distances (c,) at which correlations have an edge there, on which there may be a maximum; NaN of none."""
        return np.full(len(z), np.nan)

    def with_edges(self, z: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Free parameters (c,) with edges at these distances (c,), as they are where one is NaN."""
        return z


@dataclass(frozen=True)
class Exchangeable(Correlation):
    """One correlation of any two rows, down to −1/(k − 1) with k rows in the largest group.

    Attributes
    ----------
    expression : str
        What the term has left of its bar.
    size : int
        Rows of the largest group.
    """

    expression: str
    size: int = 2
    words = "compound symmetry"
    is_linear = True

    @property
    def names(self) -> tuple[str, ...]:
        """One, of the term."""
        return (self.expression,)

    @property
    def limits(self) -> tuple[float, float]:
        """From where the matrix of the largest group is singular."""
        return -1.0 / max(self.size - 1, 1), 1.0

    def public(self, xp: Any, z: Array) -> Array:
        """Take a logistic curve between the limits."""
        low, high = self.limits
        return low + (high - low) / (1.0 + xp.exp(-z))

    def whole(self, xp: Any, rho: Array) -> Array:
        """Of the largest group."""
        return xp.where(np.eye(self.size, dtype=bool), 1.0, rho[..., None])

    def lkj_shapes(self, concentration: float) -> tuple[np.ndarray, np.ndarray]:
        """Det R = (1 + (k − 1)ρ)(1 − ρ)^(k − 1)."""
        return np.array([concentration]), np.array([(self.size - 1) * (concentration - 1.0) + 1.0])

    def matrix(self, xp: Any, rho: Array, positions: Array) -> Array:
        """Ones on the diagonal, ρ beside it."""
        o = positions.shape[-1]
        return xp.broadcast_to(rho[0] + (1.0 - rho[0]) * xp.eye(o), (*positions.shape, o))

    def anchor(self, positions: np.ndarray) -> np.ndarray:
        """None counts."""
        return np.zeros_like(positions)

    def start(self, found: PairProducts) -> np.ndarray:
        """Of the mean product."""
        low, high = self.limits
        share = np.clip((found.mean(np.ones(len(found.product), bool)) - low) / (high - low), 0.05, 0.95)
        return np.array([np.log(share / (1.0 - share))])


@dataclass(frozen=True)
class Serial(Correlation):
    """ρ to the power of the number of steps between two rows, −1 < ρ < 1.

    Attributes
    ----------
    expression : str
        What the term has left of its bar.
    has_mirror : bool
        Whether most neighbours are an even number of steps apart, so that −ρ is nearly as likely as ρ.
    """

    expression: str
    has_mirror: bool = False
    words = "AR(1)"
    is_markov = True

    @property
    def names(self) -> tuple[str, ...]:
        """One, of the term."""
        return (self.expression,)

    def public(self, xp: Any, z: Array) -> Array:
        """Tanh z."""
        return xp.tanh(z)

    def whole(self, xp: Any, rho: Array) -> Array:
        """Of two rows one step apart: there may be any number."""
        return xp.where(np.eye(2, dtype=bool), 1.0, rho[..., None])

    def matrix(self, xp: Any, rho: Array, positions: Array) -> Array:
        """Powers of whole numbers, without a logarithm of what may be negative."""
        steps = xp.abs(positions[..., :, None] - positions[..., None, :])
        odd = steps % 2.0
        return (rho[0] * rho[0]) ** ((steps - odd) / 2.0) * (1.0 - odd + odd * rho[0])

    def neighbours(self, z: np.ndarray, positions: np.ndarray) -> Neighbours:
        """Powers of tanh z."""
        steps, rho = np.abs(positions[:, 1] - positions[:, 0]), np.tanh(z[0])
        by_rho = steps * rho ** (steps - 1.0)
        bend = steps * (steps - 1.0) * rho ** np.maximum(steps - 2.0, 0.0)
        left = 1.0 - rho**2
        bends = left**2 * bend - 2.0 * rho * left * by_rho
        return Neighbours(rho**steps, (left * by_rho)[None], bends[None, None])

    def anchor(self, positions: np.ndarray) -> np.ndarray:
        """Count steps from the first."""
        return positions - positions[:, :1]

    def start(self, found: PairProducts) -> np.ndarray:
        """Of the pairs that are nearest to each other."""
        steps = np.abs(found.first - found.second)
        least = steps.min(initial=np.inf)
        near = found.mean(steps == least)
        if not np.isfinite(least) or (least % 2 == 0 and near < 0.0):
            return np.zeros(1)
        root = np.sign(near) * np.abs(near) ** (1.0 / least)
        return np.arctanh(np.clip([root], -MOST_START, MOST_START))


@dataclass(frozen=True)
class Fading(Correlation):
    """Correlations that fall to nothing with time, by one parameter between zero and one.

    Attributes
    ----------
    expression : str
        What the term has left of its bar.
    span : float
        A usual time between neighbours.
    least : float
        The least time between neighbours.
    """

    expression: str
    span: float
    least: float
    has_lkj = False

    @property
    def names(self) -> tuple[str, ...]:
        """One, of the term."""
        return (self.expression,)

    @property
    def limits(self) -> tuple[float, float]:
        """None below zero."""
        return 0.0, 1.0

    @property
    def floor(self) -> float:
        """Free parameter below which the nearest neighbours are uncorrelated but for rounding."""
        raise NotImplementedError

    @property
    def own_prior(self) -> tuple[Statement, ...]:
        """Of the correlation, or of the range."""
        return "correlation", "range"

    def held(self, z: np.ndarray) -> np.ndarray:
        """Where it is zero."""
        return z < self.floor

    def anchor(self, positions: np.ndarray) -> np.ndarray:
        """Take times from the first, to the digits that differences of decimal numbers have."""
        return np.round(positions - positions[:, :1], DIGITS - int(np.floor(np.log10(self.span))))


@dataclass(frozen=True)
class Decay(Fading):
    """ρ to the power of the time between two rows, 0 < ρ < 1.

    Attributes
    ----------
    expression : str
        What the term has left of its bar.
    span : float
        A usual time between neighbours: the search is for ρ to the power of this, which has no unit.
    least : float
        The least time between neighbours.
    """

    words = "correlations that fall exponentially with time"
    is_markov = True
    is_over_gap = True

    @property
    def near(self) -> float:
        """Half of the way to the floor, of the free parameter."""
        return float(np.exp(0.5 * self.floor / self.span))

    @property
    def floor(self) -> float:
        """Free parameter below which neighbours are uncorrelated but for rounding."""
        return max(float(np.log(UNCORRELATED)) * self.span / self.least, LEAST_FREE)

    def public(self, xp: Any, z: Array) -> Array:
        """Take a logistic curve over the usual gap, and its power for one unit of time; zero from its floor on."""
        is_zero = xp.real(z) < self.floor
        return xp.where(is_zero, 0.0, xp.exp(-xp.log(1.0 + xp.exp(-xp.where(is_zero, self.floor, z))) / self.span))

    def at_range(self, xp: Any, r: Array) -> Array:
        """exp(−1/r)."""
        return xp.exp(-1.0 / r)

    def range_of(self, xp: Any, rho: Array) -> Array:
        """−1/log ρ."""
        return xp.where(rho >= 1.0, np.inf, -1.0 / xp.log(xp.where((rho > 0.0) & (rho < 1.0), rho, 1e-300)))

    def shares(self, rho: np.ndarray) -> np.ndarray:
        """Take the correlation over the usual gap, whatever the unit of time."""
        return rho**self.span

    def from_shares(self, xp: Any, shares: Array) -> Array:
        """Take its power for one unit of time."""
        return xp.exp(xp.log(shares) / self.span)

    def cor_density(self, x: np.ndarray, which: int, concentration: float) -> np.ndarray:
        """Uniform over the usual gap."""
        return self.span * x ** (self.span - 1.0)

    def matrix(self, xp: Any, rho: Array, positions: Array) -> Array:
        """ρ to the power of distances."""
        return rho[0] ** xp.abs(positions[..., :, None] - positions[..., None, :])

    def neighbours(self, z: np.ndarray, positions: np.ndarray) -> Neighbours:
        """Exponentials of times."""
        gaps = np.abs(positions[:, 1] - positions[:, 0]) / self.span
        if z[0] < self.floor:
            nothing = np.zeros(len(gaps))
            return Neighbours(nothing, nothing[None], nothing[None, None])
        left = 1.0 / (1.0 + np.exp(z[0]))
        values = np.exp(-np.log1p(np.exp(-z[0])) * gaps)
        slopes = left * gaps * values
        return Neighbours(values, slopes[None], (slopes * (left * gaps - (1.0 - left)))[None, None])

    def start(self, found: PairProducts) -> np.ndarray:
        """Of the pairs that are nearest to each other."""
        apart = np.abs(found.first - found.second)
        near = apart <= 1.5 * max(self.span, apart.min(initial=np.inf))
        mean = max(found.mean(near), TINY_START)
        share = np.clip(mean ** (self.span / apart[near].mean()) if near.any() else 0.5, 0.05, 0.95)
        return np.array([np.log(share / (1.0 - share))])

    def start_beside(self, found: PairProducts) -> np.ndarray:
        """Its own and that of a nugget, of a line through logarithms of mean products by distance."""
        gaps = np.abs(found.first - found.second) / self.span
        if len(gaps) and (found.product > 0.0).all():
            level, slope, error = _line(gaps, np.log(found.product), np.ones(len(gaps)))
            if error < EXACT and slope < 0.0:
                own = np.log(np.expm1(-level)) if level < -EXACT else 2.0 * LEAST_OWN
                return np.array([-np.log(np.expm1(-slope)), own])
        seen, means, counts = _means_by_gap(found, gaps)
        if len(seen) < 2:
            return np.array([0.0, NO_START])
        level, slope, _ = _line(seen, np.log(means), counts)
        share, own = np.clip([np.exp(slope), 1.0 - np.exp(level)], 0.05, 0.95)
        return np.log([share / (1.0 - share), own / (1.0 - own)])


@dataclass(frozen=True)
class Curve(Fading):
    """f(h / r) of two rows h apart, with a range r and a curve f that falls from one; ρ = f(g / r) at one distance g.

    Attributes
    ----------
    expression : str
        What the term has left of its bar.
    span : float
        A usual time between neighbours, which g is.
    least : float
        The least time between neighbours.
    """

    @property
    def gap(self) -> float:
        """The distance g whose correlation is the parameter."""
        return self.span

    def fall(self, xp: Any, s: Array) -> Array:
        """f(s); analytic."""
        raise NotImplementedError

    def reach(self, xp: Any, rho: Array) -> Array:
        """Give the s of f(s) = ρ, inside; analytic."""
        raise NotImplementedError

    def at_range(self, xp: Any, r: Array) -> Array:
        """f(g / r)."""
        return self.fall(xp, self.gap / r)

    def range_of(self, xp: Any, rho: Array) -> Array:
        """Divide g by the distance of such a correlation, in ranges."""
        inside = (rho > 0.0) & (rho < 1.0)
        found = self.gap / self.reach(xp, xp.where(inside, rho, 0.5))
        return xp.where(inside, found, xp.where(rho >= 1.0, np.inf, 0.0))

    @property
    def near(self) -> float:
        """Half of the way to the floor, of the free parameter."""
        return float(np.exp(0.5 * self.floor))

    @property
    def floor(self) -> float:
        """Free parameter below which the nearest neighbours are uncorrelated but for rounding."""
        farthest = self.reach(np, np.array(UNCORRELATED)) * self.gap / self.least
        return max(float(np.log(np.maximum(self.fall(np, farthest), np.exp(LEAST_FREE)))), LEAST_FREE)

    def public(self, xp: Any, z: Array) -> Array:
        """Take a logistic curve; zero from its floor on."""
        is_zero = xp.real(z) < self.floor
        return xp.where(is_zero, 0.0, 1.0 / (1.0 + xp.exp(-xp.where(is_zero, self.floor, z))))

    def whole(self, xp: Any, rho: Array) -> Array:
        """Of two rows at the distance g: there may be any number."""
        return xp.where(np.eye(2, dtype=bool), 1.0, rho[..., None])

    def cor_density(self, x: np.ndarray, which: int, concentration: float) -> np.ndarray:
        """Uniform."""
        return np.ones_like(x)

    def matrix(self, xp: Any, rho: Array, positions: Array) -> Array:
        """Of distances over g, as if each of o rows had 10⁻¹²o of its variance alone, for Cholesky's factor."""
        apart = xp.abs(positions[..., :, None] - positions[..., None, :]) / self.gap
        is_zero = xp.real(rho[0]) <= 0.0
        found = self.fall(xp, apart * self.reach(xp, xp.where(is_zero, 0.5, rho[0])))
        part = 1.0 - OWN_PART * positions.shape[-1]
        return xp.where(apart == 0.0, 1.0, xp.where(is_zero, 0.0, part * found))

    @property
    def ranges(self) -> np.ndarray:
        """Ranges over g at which other maxima are looked for."""
        return np.geomspace(0.3, FARTHEST_RANGE, 16)

    def elsewhere(self, z: np.ndarray) -> list[np.ndarray]:
        """At ranges short and long."""
        return [_logit(self.fall(np, 1.0 / self.ranges))[:, None]]

    def start(self, found: PairProducts) -> np.ndarray:
        """Of the pairs that are nearest to each other; of a curve that goes through all as it is."""
        exact = self._exactly(found)
        if exact is not None:
            return exact
        apart = np.abs(found.first - found.second)
        near = apart <= 1.5 * max(self.gap, apart.min(initial=np.inf))
        mean = float(np.clip(found.mean(near), TINY_START, MOST_START))
        if not near.any():
            return np.zeros(1)
        share = self.fall(np, self.reach(np, np.array(mean)) * self.gap / apart[near].mean())
        return _logit(np.clip([share], 0.05, 0.95))

    def start_beside(self, found: PairProducts) -> np.ndarray:
        """Its own and that of a nugget: of the curve that is nearest to mean products by distance."""
        alone = self._exactly(found)
        if alone is not None:
            return np.append(alone, 2.0 * LEAST_OWN)
        gaps = np.abs(found.first - found.second) / self.gap
        seen, means, counts = _means_by_gap(found, gaps, decimals=DIGITS)
        if len(seen) < 2:
            return np.array([0.0, NO_START])

        def fit(rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            f = self.fall(np, seen * self.reach(np, rho)[:, None])
            size = np.maximum((counts * f * f).sum(axis=1), TINY_START)
            level = np.clip((counts * f * means).sum(axis=1) / size, TINY_START, 1.0)
            return level, (counts * (level[:, None] * f - means) ** 2).sum(axis=1)

        rho, width = np.linspace(0.05, 0.95, 19), 0.05
        for _ in range(FINER):
            level, error = fit(rho)
            best = int(error.argmin())
            low, high = np.clip([rho[best] - width, rho[best] + width], 1e-6, 1.0 - 1e-6)
            rho, width = np.linspace(low, high, 19), (high - low) / 18.0
        own = np.clip(1.0 - level[best], 1e-6, 0.95)
        return np.append(_logit(np.clip(rho[9:10], 0.05, 0.95)), _logit(own))

    def _exactly(self, found: PairProducts) -> np.ndarray | None:
        """Of products that a curve goes through."""
        apart, product = np.abs(found.first - found.second) / self.gap, found.product
        inside = (product > UNCORRELATED) & (product < 1.0)
        if not inside.any() or len(product) > MOST_EXACT:
            return None
        nearest = int(np.where(inside, apart, np.inf).argmin())
        rho = self.fall(np, self.reach(np, product[nearest]) / apart[nearest])
        if not 0.0 < rho < 1.0 or np.abs(self.fall(np, apart * self.reach(np, rho)) - product).max() > EXACT:
            return None
        return _logit(np.array([rho]))


class GaussianCurve(Curve):
    """exp(−s²): nlme's corGaus, glmmTMB's gau."""

    words = "correlations that fall along a Gaussian curve"

    def fall(self, xp: Any, s: Array) -> Array:
        """exp(−s²)."""
        return xp.exp(-(s * s))

    def reach(self, xp: Any, rho: Array) -> Array:
        """√(−log ρ)."""
        return xp.sqrt(-xp.log(rho))


class RationalCurve(Curve):
    """1/(1 + s²): nlme's corRatio."""

    words = "correlations that fall along a rational quadratic curve"

    def fall(self, xp: Any, s: Array) -> Array:
        """1/(1 + s²)."""
        return 1.0 / (1.0 + s * s)

    def reach(self, xp: Any, rho: Array) -> Array:
        """√((1 − ρ)/ρ)."""
        return xp.sqrt((1.0 - rho) / rho)


class SphericalCurve(Curve):
    """1 − 3s/2 + s³/2 up to s = 1, zero from there on: nlme's corSpher.

    The least distance is what ρ is at: a range of less makes all rows independent.
    """

    words = "correlations that fall along a spherical curve"

    @property
    def gap(self) -> float:
        """The least time."""
        return self.least

    @property
    def ranges(self) -> np.ndarray:
        """As many that there are some between two distances, at each of which the likelihood bends anew."""
        return np.geomspace(1.02, FARTHEST_RANGE, 48)

    def fall(self, xp: Any, s: Array) -> Array:
        """Divide the volume that two spheres of diameter one share, s apart, by their own."""
        s = xp.where(xp.real(s) < 1.0, s, 1.0)
        return 1.0 - 1.5 * s + 0.5 * s * s * s

    def reach(self, xp: Any, rho: Array) -> Array:
        """2 sin(arcsin(1 − ρ)/3), since 3 sin x − 4 sin³x = sin 3x."""
        return 2.0 * xp.sin(xp.arcsin(1.0 - rho) / 3.0)


class LinearCurve(SphericalCurve):
    """1 − s up to s = 1, zero from there on: nlme's corLin. The least distance is what ρ is at."""

    words = "correlations that fall along a line"

    def fall(self, xp: Any, s: Array) -> Array:
        """1 − s, where that is positive."""
        return 1.0 - xp.where(xp.real(s) < 1.0, s, 1.0)

    def reach(self, xp: Any, rho: Array) -> Array:
        """1 − ρ."""
        return 1.0 - rho

    def edges(self, z: np.ndarray) -> np.ndarray:
        """At the range."""
        return np.where(self.held(z), np.nan, self.range_of(np, self.public(np, z)))

    def with_edges(self, z: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Take the distance for the range, unless it is the least, where ρ ends."""
        inside = at > self.gap
        return np.where(inside, _logit(1.0 - self.gap / np.where(inside, at, 2.0 * self.gap)), z)


@dataclass(frozen=True)
class EvenSteps(Decay):
    """AR(1) where all rows of a group are even numbers of steps apart.

    The likelihood is then that of ρ², and does not tell ρ from −ρ, which would be a second peak of every posterior: ρ
    is taken to be positive.
    """

    words = "AR(1)"

    @property
    def own_prior(self) -> tuple[Statement, ...]:
        """Of the correlation of neighbours: distances are counted, not measured."""
        return ("correlation",)


@dataclass(frozen=True)
class OwnPart(Correlation):
    """The part of a row's variance that it shares with no other row; a structure beside another one.

    Attributes
    ----------
    expression : str
        What the term has left of its bar.
    """

    expression: str
    words = "a nugget"
    has_lkj = False

    @property
    def names(self) -> tuple[str, ...]:
        """One, of the term."""
        return (self.expression,)

    @property
    def heads(self) -> tuple[str, ...]:
        """No correlation."""
        return ("nugget",)

    @property
    def limits(self) -> tuple[float, float]:
        """None, or all."""
        return 0.0, 1.0

    def held(self, z: np.ndarray) -> np.ndarray:
        """Where it is zero."""
        return z < LEAST_OWN

    def public(self, xp: Any, z: Array) -> Array:
        """Take a logistic curve, and zero from its floor on."""
        is_zero = xp.real(z) < LEAST_OWN
        return xp.where(is_zero, 0.0, 1.0 / (1.0 + xp.exp(-xp.where(is_zero, LEAST_OWN, z))))

    def whole(self, xp: Any, rho: Array) -> Array:
        """Of two rows with all else in common."""
        return xp.where(np.eye(2, dtype=bool), 1.0, 1.0 - rho[..., None])

    def cor_density(self, x: np.ndarray, which: int, concentration: float) -> np.ndarray:
        """Uniform."""
        return np.ones_like(x)


@dataclass(frozen=True)
class Nugget(Correlation):
    """Correlations that fall with time from 1 − ν on: a part ν of the variance is of each row alone.

    Attributes
    ----------
    within : Decay or Curve
        How the rest is correlated.
    """

    within: Decay | Curve

    @property
    def words(self) -> str:  # type: ignore[override]
        """As within."""
        return f"{self.within.words}, with a nugget"

    @property
    def parts(self) -> tuple[Correlation, ...]:
        """Two, with a prior each."""
        return self.within, OwnPart(self.within.expression)

    @property
    def names(self) -> tuple[str, ...]:
        """That within, and the nugget's."""
        return self.within.names * 2

    @property
    def heads(self) -> tuple[str, ...]:
        """The correlation of what is left, and the nugget."""
        return "rho", "nugget"

    @property
    def limits(self) -> tuple[float, float]:
        """Of both."""
        return 0.0, 1.0

    @property
    def near(self) -> float:
        """As within."""
        return self.within.near

    def public(self, xp: Any, z: Array) -> Array:
        """One by the other."""
        rest, own = self.parts
        return xp.concatenate([rest.public(xp, z[:1]), own.public(xp, z[1:])])

    def matrix(self, xp: Any, rho: Array, positions: Array) -> Array:
        """1 − ν times the correlations within, ones on the diagonal."""
        alone = xp.eye(positions.shape[-1])
        return alone + (1.0 - rho[1]) * (1.0 - alone) * self.within.matrix(xp, rho[:1], positions)

    def anchor(self, positions: np.ndarray) -> np.ndarray:
        """As within."""
        return self.within.anchor(positions)

    def held(self, z: np.ndarray) -> np.ndarray:
        """Where either is zero."""
        rest, own = self.parts
        return np.concatenate([rest.held(z[:1]), own.held(z[1:])])

    def edges(self, z: np.ndarray) -> np.ndarray:
        """As within."""
        return np.append(self.within.edges(z[:1]), np.nan)

    def with_edges(self, z: np.ndarray, at: np.ndarray) -> np.ndarray:
        """As within."""
        return np.append(self.within.with_edges(z[:1], at[:1]), z[1:])

    def start(self, found: PairProducts) -> np.ndarray:
        """Of a curve through mean products by distance; one that goes through all as it is."""
        return self.within.start_beside(found)

    def elsewhere(self, z: np.ndarray) -> list[np.ndarray]:
        """As within, at this nugget."""
        return [np.column_stack([each, np.full(len(each), z[1])]) for each in self.within.elsewhere(z[:1])]


@dataclass(frozen=True)
class _OfLevels(Correlation):
    """A structure of the levels of a factor, of which a group may lack some.

    Attributes
    ----------
    levels : tuple of str
        All of them (k,), in their order.
    """

    levels: tuple[str, ...]
    kind = "several"

    @property
    def size(self) -> int:
        """All levels."""
        return len(self.levels)

    def whole(self, xp: Any, rho: Array) -> Array:
        """C (..., k, k) of all levels, from public correlations (..., c); analytic."""
        raise NotImplementedError

    def matrix(self, xp: Any, rho: Array, positions: Array) -> Array:
        """Rows and columns of the levels that are there."""
        levels = xp.asarray(positions).astype(np.int64)
        return self.whole(xp, rho)[levels[..., :, None], levels[..., None, :]]


@dataclass(frozen=True)
class Free(_OfLevels):
    """Any correlation matrix.

    Row i of its Cholesky factor is (z_i1, ..., z_i,i−1, 1) over its length (Pinheiro & Bates 1996, Stat. Comput. 6,
    after a change of scale; as in glmmTMB).
    """

    words = "unstructured"
    kind = "matrix"
    is_linear_with_own = True

    @property
    def names(self) -> tuple[str, ...]:
        """Pairs (0, 1), (0, 2), (1, 2), ..."""
        return tuple(f"{self.levels[i]}, {self.levels[j]}" for i, j in zip(*pairs(len(self.levels)), strict=True))

    def public(self, xp: Any, z: Array) -> Array:
        """Correlations of the matrix of this Cholesky factor."""
        k = len(self.levels)
        padded = xp.concatenate([z, xp.zeros(1, dtype=z.dtype), xp.ones(1, dtype=z.dtype)])
        L = padded[_triangle(k)]
        L = L / xp.sqrt((L * L).sum(axis=-1, keepdims=True))
        i, j = pairs(k)
        return (L @ L.T)[i, j]

    def whole(self, xp: Any, rho: Array) -> Array:
        """Each in its two places."""
        padded = xp.concatenate([rho, xp.ones((*rho.shape[:-1], 1), dtype=rho.dtype)], axis=-1)
        return padded[..., _places(len(self.levels))]

    def from_factor(self, factor: Array) -> Array:
        """Public correlations (..., c) of a Cholesky factor (..., k, k)."""
        i, j = pairs(len(self.levels))
        return (factor[..., i, :] * factor[..., j, :]).sum(axis=-1)

    def lkj_shapes(self, concentration: float) -> tuple[np.ndarray, np.ndarray]:
        """Marginally, (ρ + 1)/2 is beta with η − 1 + k/2 twice (Lewandowski, Kurowicka & Joe 2009)."""
        shapes = np.full(len(self.names), concentration - 1.0 + 0.5 * len(self.levels))
        return shapes, shapes

    def start(self, found: PairProducts) -> np.ndarray:
        """Of each pair's mean product, drawn to zero until the matrix is positive definite."""
        k = len(self.levels)
        R = np.eye(k)
        for i, j in zip(*pairs(k), strict=True):
            own = (found.first == i) & (found.second == j)
            R[i, j] = R[j, i] = np.clip(found.mean(own), -MOST_START, MOST_START)
        while np.linalg.eigvalsh(R)[0] < LEAST_LIKE:
            R = SHRINK * R + (1.0 - SHRINK) * np.eye(k)
        L = np.linalg.cholesky(R)
        j, i = pairs(k)[::-1]
        return (L / np.diag(L)[:, None])[j, i]


@dataclass(frozen=True)
class Toeplitz(_OfLevels):
    """One correlation for each distance in levels.

    Free are the partial autocorrelations, each between −1 and 1 (Barndorff-Nielsen & Schou 1973, J. Multivar. Anal. 3).
    """

    words = "Toeplitz"
    is_linear = True

    def anchor(self, positions: np.ndarray) -> np.ndarray:
        """Levels since the first."""
        return positions - positions[:, :1]

    @property
    def names(self) -> tuple[str, ...]:
        """Distances."""
        return tuple(f"lag {lag}" for lag in range(1, len(self.levels)))

    def public(self, xp: Any, z: Array) -> Array:
        """Autocorrelations by Levinson and Durbin's recursion."""
        return self._from_partial(xp, xp.tanh(z))

    def _from_partial(self, xp: Any, partial: Array) -> Array:
        rho, coefficients, left = [], [], 1.0
        for t in range(len(self.levels) - 1):
            ahead = sum((a * r for a, r in zip(coefficients, reversed(rho), strict=True)), 0.0)
            rho.append(ahead + partial[t] * left)
            turned = [a - partial[t] * b for a, b in zip(coefficients, reversed(coefficients), strict=True)]
            coefficients = [*turned, partial[t]]
            left = left * (1.0 - partial[t] ** 2)
        return xp.stack(rho) if rho else partial

    def whole(self, xp: Any, rho: Array) -> Array:
        """By distance."""
        k = len(self.levels)
        row, column = np.indices((k, k))
        padded = xp.concatenate([xp.ones((*rho.shape[:-1], 1), dtype=rho.dtype), rho], axis=-1)
        return padded[..., np.abs(row - column)]

    def shares(self, rho: np.ndarray) -> np.ndarray:
        """Of partial autocorrelations, from −1 to 1."""
        flat = rho.reshape(-1, rho.shape[-1])
        return np.array([AMONG_EFFECTS.shares(each, len(self.levels)) for each in flat]).reshape(rho.shape)

    @property
    def own_prior(self) -> tuple[Statement, ...]:
        """Of partial autocorrelations, as of random effects."""
        return ("partial",)

    def from_shares(self, xp: Any, shares: Array) -> Array:
        """Autocorrelations of shares of partial ones."""
        return self._from_partial(xp, 2.0 * shares - 1.0)

    def lkj_shapes(self, concentration: float) -> tuple[np.ndarray, np.ndarray]:
        """(k − h)η, twice."""
        return AMONG_EFFECTS.lkj_shapes(concentration, len(self.levels))

    def cor_density(self, x: np.ndarray, which: int, concentration: float) -> np.ndarray:
        """As of Toeplitz structures of random effects."""
        return AMONG_EFFECTS.cor_density(x, which, concentration, len(self.levels))

    def start(self, found: PairProducts) -> np.ndarray:
        """Of the mean product at each distance, drawn to zero the more the farther where that is no correlation."""
        lags = np.abs(found.first - found.second)
        means = [found.mean(lags == lag) for lag in range(1, len(self.levels))]
        partial = _partial(means)
        if np.abs(partial).max(initial=0.0) > MOST_START:
            partial = _partial([rho * SHRINK**lag for lag, rho in enumerate(means, 1)])
        return np.arctanh(np.clip(partial, -MOST_START, MOST_START))


@dataclass(frozen=True)
class Antedependence(_OfLevels):
    """A correlation for each two neighbouring levels; of others the product of those between (Gabriel 1962)."""

    words = "antedependence of first order"
    is_markov = True

    @property
    def names(self) -> tuple[str, ...]:
        """Neighbours."""
        return tuple(f"{self.levels[i]}, {self.levels[i + 1]}" for i in range(len(self.levels) - 1))

    @property
    def own_prior(self) -> tuple[Statement, ...]:
        """Of the correlations of neighbours, each of which may be anything between −1 and 1."""
        return ("correlation",)

    def public(self, xp: Any, z: Array) -> Array:
        """Tanh z."""
        return xp.tanh(z)

    def whole(self, xp: Any, rho: Array) -> Array:
        """Products along the way."""
        k = len(self.levels)
        one = xp.ones(rho.shape[:-1], dtype=rho.dtype)
        rows = [[one] * k for _ in range(k)]
        for i in range(k):
            for j in range(i + 1, k):
                rows[i][j] = rows[j][i] = rows[i][j - 1] * rho[..., j - 1]
        return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)

    def start(self, found: PairProducts) -> np.ndarray:
        """Of the mean product of neighbours."""
        lowest, highest = np.minimum(found.first, found.second), np.maximum(found.first, found.second)
        rho = [found.mean((lowest == i) & (highest == i + 1)) for i in range(len(self.levels) - 1)]
        return np.arctanh(np.clip(rho, -MOST_START, MOST_START))


@dataclass(frozen=True)
class Parted(Correlation):
    """A structure with parameters of its own for each level of a factor, of which a group has one.

    Attributes
    ----------
    within : Correlation
        The structure.
    labels : tuple of str
        Levels, ``arm[A]``.
    stride : float
        A power of two beyond all positions: those of level l are l times it further on.
    """

    within: Correlation
    labels: tuple[str, ...]
    stride: float

    @property
    def words(self) -> str:  # type: ignore[override]
        """As within."""
        return self.within.words

    @property
    def is_linear(self) -> bool:  # type: ignore[override]
        """As within."""
        return self.within.is_linear

    @property
    def is_linear_with_own(self) -> bool:  # type: ignore[override]
        """As within."""
        return self.within.is_linear_with_own

    @property
    def is_markov(self) -> bool:  # type: ignore[override]
        """As within."""
        return self.within.is_markov

    @property
    def names(self) -> tuple[str, ...]:
        """Those within, level by level."""
        return self.within.names * len(self.labels)

    @property
    def heads(self) -> tuple[str, ...]:
        """Those within, level by level."""
        return self.within.heads * len(self.labels)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Level by level."""
        return tuple(label for label in self.labels for _ in self.within.names)

    @property
    def limits(self) -> tuple[float, float]:
        """As within."""
        return self.within.limits

    @property
    def near(self) -> float:
        """As within."""
        return self.within.near

    def place(self, positions: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """Positions of rows of some levels."""
        return positions + self.stride * levels

    @property
    def parts(self) -> tuple[Correlation, ...]:
        """Those within, level by level."""
        return self.within.parts * len(self.labels)

    def part_of(self, positions: Array, xp: Any = np) -> Array:
        """Levels."""
        return xp.floor(positions / self.stride).astype(np.int64)

    def _inside(self, positions: Array, xp: Any = np) -> Array:
        return positions - self.stride * self.part_of(positions, xp)

    def _each(self, values: Array) -> list[Array]:
        c = len(self.within.names)
        return [values[c * level : c * (level + 1)] for level in range(len(self.labels))]

    def public(self, xp: Any, z: Array) -> Array:
        """As within, level by level."""
        return xp.concatenate([self.within.public(xp, own) for own in self._each(z)])

    def matrix(self, xp: Any, rho: Array, positions: Array) -> Array:
        """As within; zero between levels."""
        level, inside = self.part_of(positions, xp), self._inside(positions, xp)
        same = level[..., :, None] == level[..., None, :]
        found = same * 0.0
        for part, own in enumerate(self._each(rho)):
            here = same & (level == part)[..., None]
            found = xp.where(here, self.within.matrix(xp, own, inside), found)
        return found

    def anchor(self, positions: np.ndarray) -> np.ndarray:
        """As within."""
        return self.place(self.within.anchor(self._inside(positions)), self.part_of(positions))

    def start(self, found: PairProducts) -> np.ndarray:
        """As within, from the pairs of each level."""
        level, starts = self.part_of(found.first), []
        for part in range(len(self.labels)):
            own = level == part
            inside = self._inside(found.first[own]), self._inside(found.second[own])
            starts.append(self.within.start(PairProducts(*inside, found.product[own])))
        return np.concatenate(starts)

    def elsewhere(self, z: np.ndarray) -> list[np.ndarray]:
        """As within, of one level at a time."""
        own = self._each(z)
        return [
            np.hstack([np.tile(part, (len(line), 1)) if i != level else line for i, part in enumerate(own)])
            for level, at in enumerate(own)
            for line in self.within.elsewhere(at)
        ]

    def held(self, z: np.ndarray) -> np.ndarray:
        """As within."""
        return np.concatenate([self.within.held(own) for own in self._each(z)])

    def edges(self, z: np.ndarray) -> np.ndarray:
        """As within."""
        return np.concatenate([self.within.edges(own) for own in self._each(z)])

    def with_edges(self, z: np.ndarray, at: np.ndarray) -> np.ndarray:
        """As within."""
        each = zip(self._each(z), self._each(at), strict=True)
        return np.concatenate([self.within.with_edges(own, distances) for own, distances in each])


def bind_correlation(
    structure: str, expression: str, levels: Sequence[str], size: int, gaps: np.ndarray, *, nugget: bool = False
) -> Correlation:
    """Return a correlation structure of the data's levels, or times.

    Parameters
    ----------
    structure : str
        A name in `RESIDUAL`.
    expression : str
        What the term has left of its bar.
    levels : sequence of str
        Of the factor there.
    size : int
        Rows of the largest group.
    gaps : array, shape (m,)
        Times between neighbours in a group.
    nugget : bool
        Whether a part of the variance is of each row alone.
    """
    kind = RESIDUAL[structure].kind
    times = float(gaps.mean()), float(gaps.min())
    if kind is Exchangeable:
        return Exchangeable(expression, size)
    if kind is Serial:
        is_even = gaps % 2.0 == 0.0
        return EvenSteps(expression, *times) if is_even.all() else Serial(expression, bool(is_even.mean() > 0.5))
    if issubclass(kind, Decay | Curve):
        within = kind(expression, *times)
        return Nugget(within) if nugget else within
    return kind(tuple(levels))


class Entry(NamedTuple):
    """What a name stands for: a correlation structure, and whether every position has a variance of its own."""

    kind: Any
    has_own: bool


# The names, and which of them have one variance, are those of random effects.
RESIDUAL: dict[str, Entry] = {
    "us": Entry(Free, True),
    "homus": Entry(Free, False),
    "cs": Entry(Exchangeable, True),
    "homcs": Entry(Exchangeable, False),
    "ar1": Entry(Serial, False),
    "hetar1": Entry(Serial, True),
    "car1": Entry(Decay, False),
    "exp": Entry(Decay, False),
    "ou": Entry(Decay, False),
    "hetexp": Entry(Decay, True),
    "gau": Entry(GaussianCurve, False),
    "ratio": Entry(RationalCurve, False),
    "sph": Entry(SphericalCurve, False),
    "lin": Entry(LinearCurve, False),
    "toep": Entry(Toeplitz, True),
    "homtoep": Entry(Toeplitz, False),
    "ad": Entry(Antedependence, True),
    "homad": Entry(Antedependence, False),
}
RESIDUAL_HOMOGENEOUS = {
    "us": {True: "homus", False: "us"},
    "cs": {True: "homcs", False: "cs"},
    "ar1": {True: "ar1", False: "hetar1"},
    "car1": {True: "car1", False: "hetexp"},
    "exp": {True: "exp", False: "hetexp"},
    "ou": {True: "ou", False: "hetexp"},
    "toep": {True: "homtoep", False: "toep"},
    "ad": {True: "homad", False: "ad"},
}


def is_by_level(structure: str) -> bool:
    """Whether positions are levels of a factor, whatever their distances."""
    return issubclass(RESIDUAL[structure].kind, _OfLevels | Exchangeable)


def may_have_nugget(structure: str) -> bool:
    """Whether a part of the variance may be of each row alone."""
    return issubclass(RESIDUAL[structure].kind, Decay | Curve)


def is_by_step(structure: str) -> bool:
    """Whether positions are whole numbers, of which distances count."""
    return RESIDUAL[structure].kind is Serial


def sees_pairs(structure: str) -> str:
    """Say of which pairs of levels a parameter is: "all", "lags", "neighbours", or "none" in particular."""
    kind = RESIDUAL[structure].kind
    return {Free: "all", Toeplitz: "lags", Antedependence: "neighbours"}.get(kind, "none")


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """Fit a line by least squares: its level at zero, its slope, and how far it is from a point at most."""
    columns, root = np.column_stack([np.ones(len(x)), x]), np.sqrt(weights)
    (level, slope), *_ = np.linalg.lstsq(columns * root[:, None], y * root, rcond=None)
    return float(level), float(slope), float(np.abs(level + slope * x - y).max())


def _means_by_gap(
    found: PairProducts, gaps: np.ndarray, decimals: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean products that are positive, by distance in usual gaps, and of how many pairs."""
    bins = np.round(gaps, decimals if len(gaps) <= MOST_EXACT else 1)
    near = gaps <= max(FARTHEST_GAPS, gaps.min(initial=np.inf))
    at, which = np.unique(bins[near], return_inverse=True)
    counts = np.bincount(which, minlength=len(at)).astype(float)
    means = np.bincount(which, weights=found.product[near], minlength=len(at)) / np.maximum(counts, 1.0)
    seen = means > TINY_START
    return at[seen], means[seen], counts[seen]


def _logit(share: np.ndarray) -> np.ndarray:
    return np.log(share / (1.0 - share))


def _partial(rho: Sequence[float]) -> np.ndarray:
    """Partial autocorrelations of autocorrelations from lag 1 on, each cut off next to ±1."""
    partial, coefficients, left = [], [], 1.0
    for t, target in enumerate(rho):
        ahead = sum((a * r for a, r in zip(coefficients, reversed(rho[:t]), strict=True)), 0.0)
        own = float(np.clip((target - ahead) / left, -1.0 + TINY_START, 1.0 - TINY_START))
        turned = [a - own * b for a, b in zip(coefficients, reversed(coefficients), strict=True)]
        coefficients = [*turned, own]
        left *= 1.0 - own**2
        partial.append(own)
    return np.array(partial)


@lru_cache(maxsize=256)
def _triangle(k: int) -> np.ndarray:
    """Which entry of (z, 0, 1) is at each place of the factor, before its rows are scaled."""
    i, j = pairs(k)
    places = np.full((k, k), len(i))
    places[j, i] = np.arange(len(i))
    np.fill_diagonal(places, len(i) + 1)
    return places


@lru_cache(maxsize=256)
def _places(k: int) -> np.ndarray:
    """Which correlation, or the one after them, is at each place of the matrix."""
    i, j = pairs(k)
    places = np.full((k, k), len(i))
    places[i, j] = places[j, i] = np.arange(len(i))
    return places
