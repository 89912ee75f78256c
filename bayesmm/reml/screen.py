"""Where the likelihood has basins: a coarse look at it over all scales of all standard deviations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import copy
from functools import cached_property, lru_cache
from itertools import accumulate, combinations, pairwise, product
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import Piece, assemble_factors, n_theta, parts, scale_theta, start_theta, theta_of
from bayesmm.covariance.structure import Axes, lower_triangular
from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.elimination import Reduced
from bayesmm.marginal.likelihood.likelihood import FixedProfile, deviance, profile_fixed, reduce_products
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.start import moment_start

Place = tuple[int, ...]  # a level for each axis

# Standard deviations in units of σ on conditioned columns, evenly spaced in logarithms from the second on.
FINE = np.concatenate([[1e-3], 10.0 ** np.arange(-1.5, 5.1, 0.5)])
FINER = np.concatenate([[1e-3], 10.0 ** np.arange(-1.5, 5.1, 0.25)])
COARSE = np.concatenate([[1e-3], 10.0 ** np.arange(-1.5, 4.6, 1.5)])
LIGHT = 1e5  # multiplications up to which a value costs little beside the calls of an evaluation with derivatives
LIGHT_IF_MANY = 1e6  # the same where effects are nearly as many as rows, and maxima many
WHOLE = 1.2e6  # multiplications that looking at a whole grid may take
CHEAP = 5e5  # the same of finer levels, whose better starts spare an evaluation or two
DESCENT = 60  # values that are looked at instead, at least
FAR_OUT = 100.0  # standard deviations in units of σ
OUTER_LEVEL = 3  # coarse level from which on one axis of a heavy design is looked at alone
WAY = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, 13))  # shares of the way from a start to a minimum, denser at the ends
AROUND = np.array([[-1, 0], [1, 0], [0, -1], [0, 1], [-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=float)  # of two axes
NEAR_STEP = 0.1  # of logarithms, to places around a start, which spare one evaluation or two
FARTHEST = 3.0  # such steps from a start to the minimum of the quadratic near it
ALL_SUBSETS = 5  # axes up to which each subset of them gets a ray of its own
MOST_STARTS = 8
MOST_ELSEWHERE = 2
OUT = np.array([0.0, 1e3, 1e4, 1e5])
FALLING = 4.0  # from level to level of these: less than 2 log 10, which one missing rank gives
MOST_AXES = 8  # up to which each subset of them is tried there


def choose_starts(criterion: Criterion, moments: np.ndarray) -> tuple[list[np.ndarray], int]:
    """Choose one start in each basin that a coarse look at the likelihood shows.

    Parameters
    ----------
    criterion : Criterion
        The objective.
    moments : array, shape (t,)
        Start from moments: its principal axes are those along which standard deviations are varied.

    Returns
    -------
    starts : list of arrays, shape (t,)
        Best first.
    n_values : int
        How many values were looked at.

    Notes
    -----
    Where a design is light, whole batches of values cost less than one evaluation with derivatives. All combinations of
    levels are looked at where that is light. Otherwise the values along rays, on which the standard deviations of a
    subset of axes rise together while the others are near zero; from the minima along the rays the search goes down
    from level to level, one axis at a time, and where it ends is a basin. The rays of several axes matter where a
    covariate is far from its origin under a diagonal covariance matrix: its slopes then need both variances or none.
    A heavy design is looked at in few places.
    """
    if not len(moments):  # all covariances are known
        return [moments], 0
    screen = criterion.screen
    if not is_light(criterion):
        return _few_places(criterion, moments)
    grid = _light_grid(criterion, moments)
    basins = (grid.all_minima() if grid.is_light else grid.descend(grid.ray_minima()))[:MOST_STARTS]
    refined = [grid.refined(place) for place in basins]
    is_all = _has_all_sizes(grid, criterion) and not any(map(grid.is_far_out, basins))
    further = [] if is_all or grid.n_pieces == 1 else [_moments_far_out(criterion)]
    grids = [_Grid(criterion, theta, FINE) for theta in _elsewhere(criterion, moments)]
    further += [each.refined(place) for each in grids for place in each.descend(each.ray_minima())[:MOST_ELSEWHERE]]
    starts = [moments, *refined, *further]
    factors, near = _stack(criterion, starts), grid.near(basins[0]) if basins else None
    if near is not None:
        factors = [np.concatenate(pair) for pair in zip(factors, near.factors, strict=True)]
    at_moments, *values = screen.values(factors).tolist()
    values, beside = values[: len(starts) - 1], values[len(starts) - 1 :]
    found = list(zip(values, starts[1:], strict=True))
    if near is not None:
        found[0] = (values[0], grid.theta(basins[0], near.lowest(values[0], beside)))
    for i, place in enumerate(basins):
        if grid.value(place) < values[i]:
            found[i] = (grid.value(place), grid.theta(place))
    chosen = sorted((each for each in found if np.isfinite(each[0])), key=_first)
    if not chosen or at_moments <= chosen[0][0]:
        chosen[:1] = [(at_moments, moments)]
    return [theta for _, theta in chosen], sum(each.n_seen for each in [grid, *grids]) + len(starts) + len(beside)


def _first(pair: tuple[float, np.ndarray]) -> float:
    return pair[0]


def _elsewhere(criterion: Criterion, theta: np.ndarray) -> list[np.ndarray]:
    """θ with one piece at a time where its structure knows of other basins."""
    found, own = [], list(parts(theta, criterion.layout))
    for at, (piece, at_piece) in enumerate(own):
        for other in piece.structure.elsewhere(at_piece, piece.k):
            found.append(np.concatenate([other if i == at else each for i, (_, each) in enumerate(own)]))
    return found


def _moments_far_out(criterion: Criterion) -> np.ndarray:
    """Start from moments where σ is small beside the effects, whose directions may differ from those at one.

    In a model with several covariance matrices a maximum may lie where they explain nearly everything together, along
    directions that no look along the principal axes of other moments meets.
    """
    theta = scale_theta(start_theta(criterion.layout), FAR_OUT, criterion.layout)
    return moment_start(criterion.slopes(theta), theta, criterion.layout)


def _has_all_sizes(grid: _Grid, criterion: Criterion) -> bool:
    """Whether all of a model is on a grid of the finest levels: each factor has one effect, and no directions."""
    return grid.levels is FINER and 0 < n_theta(criterion.layout) == grid.n_axes == len(criterion.layout)


def is_seen_whole(criterion: Criterion) -> bool:
    """Whether `choose_starts` looks at all sizes of all effects, one of each factor: then it needs no start itself."""
    if n_theta(criterion.layout) != len(criterion.layout) or not is_light(criterion):  # spares the grid
        return False
    return _has_all_sizes(_light_grid(criterion, start_theta(criterion.layout)), criterion)


def is_light(criterion: Criterion) -> bool:
    """Whether many values may be looked at: they cost little beside evaluations with derivatives, or are needed."""
    if criterion.products.probing is not None:
        return False
    return criterion.screen.work <= (LIGHT_IF_MANY if criterion.has_many_effects else LIGHT)


def falling_rays(criterion: Criterion, moments: np.ndarray) -> tuple[list[np.ndarray], int]:
    """θ far out on rays along which the likelihood seems to rise without end, steepest first, and how many were tried.

    Where the random effects of some axes have rank r < n and the fixed effects explain what is left, r² goes to
    zero as 1/θ² while log|V| rises by 2r log θ only: −2 log likelihood falls by 2(n − r) log θ under ML.
    """
    grid = _Grid(criterion, moments, OUT)
    rays = [grid.ray(axes)[1:] for axes in (grid.subsets() if grid.n_axes > MOST_AXES else grid.all_subsets())]
    values = grid.values([place for ray in rays for place in ray]).reshape(len(rays), -1)
    with np.errstate(invalid="ignore"):
        falls = values[:, :-1] - values[:, 1:]
    order = [r for r in np.argsort(values[:, -1]) if (falls[r] > FALLING).all() and np.isfinite(falls[r]).all()]
    return [grid.theta(rays[r][-1]) for r in order[:MOST_STARTS]], grid.n_seen


def is_downhill(criterion: Criterion, start: np.ndarray, end: np.ndarray) -> bool:
    """Whether the criterion only falls from a start to a minimum as covariances, or else θ, go straight to the other.

    Then both lie in one basin, and a search from that start would find nothing new.
    """
    pieces = [piece for pieces in criterion.layout for piece in pieces]
    if not is_light(criterion) or not all(piece.structure.is_straight for piece in pieces):
        return False
    screen = criterion.screen
    if all(piece.structure.is_convex for piece in pieces):
        factors = [_between(first, last) for first, last in _stack(criterion, [start, end])]
    else:
        factors = _stack(criterion, [(1.0 - share) * start + share * end for share in WAY])
    values = screen.values(factors)
    return bool(((values[1:] <= values[:-1]) & np.isfinite(values[1:])).all())


class Look(NamedTuple):
    """Places where a basin may be.

    Attributes
    ----------
    factors : list of lists of arrays, shape (k, k)
        At each place, Λ of each grouping factor, not triangular.
    shape : tuple of int
        Of the grid that they are; empty where they are not a whole one.
    """

    factors: list[list[np.ndarray]]
    shape: tuple[int, ...]


def look_around(criterion: Criterion, start: np.ndarray) -> list[Look]:
    """Where `choose_starts` looks for basins, for responses that share the places.

    Parameters
    ----------
    criterion : Criterion
        Of one of the responses.
    start : array, shape (t,)
        Where its minimum is; standard deviations are varied along its principal axes.
    """
    light, found = is_light(criterion), []
    screen = criterion.screen
    for theta in [start, *_elsewhere(criterion, start)]:
        grid, shape = _Grid(criterion, theta, FINE if light else COARSE), ()
        if light and len(FINE) ** grid.n_axes * screen.work <= WHOLE:
            places, shape = list(map(tuple, _all_places(len(FINE), grid.n_axes).tolist())), (len(FINE),) * grid.n_axes
        elif light:
            places = [place for axes in grid.subsets() for place in grid.ray(axes)]
        else:
            places = _few_rays(grid)
        found.append(Look([grid.factors(place) for place in dict.fromkeys(places)], shape))
    return found


def has_further_basins(values: np.ndarray, look: Look, lowest: float) -> bool:
    """Whether values at places show a basin besides that of a minimum: a second one, or a lower one."""
    if look.shape and _is_minimum(values.reshape(look.shape)).sum() > 1:
        return True
    return bool(np.nanmin(values, initial=np.inf) < lowest)


def _between(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Factors whose ΛΛ' are on the straight line between two."""
    ends = [np.sqrt(1.0 - WAY)[:, None, None] * first, np.sqrt(WAY)[:, None, None] * last]
    return lower_triangular(np.concatenate(ends, axis=2))


def _few_places(criterion: Criterion, moments: np.ndarray) -> tuple[list[np.ndarray], int]:
    """Look along few rays and start where a value is lower than at the moments, or else at those alone."""
    if criterion.engine != "numpy" or criterion.products.probing is not None:
        return [moments], 0
    others = [moments, *_elsewhere(criterion, moments)]
    values = [_look_at(criterion, theta).value for theta in others]
    best = int(np.argmin(values))
    grid = _Grid(criterion, moments, COARSE)
    lowest, n_values = _lowest_place(criterion, grid, values[best])
    return [*([] if lowest is None else [grid.theta(lowest)]), others[best]], len(others) + n_values


class _Seen(NamedTuple):
    """The criterion at one place, infinite where it is no number, and what it is made of."""

    value: float
    reduced: Reduced
    fixed: FixedProfile
    log_det: float  # of V and of X'V⁻¹X, as far as the criterion has them


def _look_at(criterion: Criterion, theta: np.ndarray) -> _Seen:
    factors = assemble_factors(np, theta, criterion.layout)
    with np.errstate(all="ignore"):
        return _read(criterion, reduce_products(host, criterion.products, factors))


def _read(criterion: Criterion, reduced: Reduced) -> _Seen:
    fixed = profile_fixed(host, reduced, criterion.products)
    log_det = float(reduced.log_det + criterion.restriction * fixed.log_det)
    return _Seen(_deviance(criterion, reduced, fixed), reduced, fixed, log_det)


def _deviance(criterion: Criterion, reduced: Reduced, fixed: FixedProfile) -> float:
    with np.errstate(all="ignore"):
        value = float(deviance(host, reduced, fixed, criterion.products, criterion.sigma, criterion.restriction))
    return value if math.isfinite(value) else math.inf


def _lowest_place(criterion: Criterion, grid: _Grid, floor: float) -> tuple[Place | None, int]:
    """Find the lowest of the places on few rays if it is below a value, and say how many were looked at.

    As covariances grow, log|V| + log|X'V⁻¹X| can only rise and r² only fall. What they are at a place below and at one
    above bounds the criterion in between, so that most places need no elimination.
    """
    seen: dict[Place, _Seen] = {}
    lowest = None
    without = _read(criterion, Reduced(np.float64(0.0), criterion.products.gram))  # effects
    for place in _few_rays(grid):
        known = [(other, at) for other, at in seen.items() if math.isfinite(at.value)]
        below = [without, *(at for other, at in known if grid.is_below(other, place))]
        above = [at.fixed.residual_square for other, at in known if grid.is_below(place, other)]
        least = max(below, key=lambda at: at.log_det)
        if above and _deviance(criterion, least.reduced, least.fixed._replace(residual_square=max(above))) > floor:
            continue
        seen[place] = at = _look_at(criterion, grid.theta(place))
        if at.value < floor:
            lowest, floor = place, at.value
    return lowest, len(seen)


def _few_rays(grid: _Grid) -> list[Place]:
    """Places where all axes go together, and the outer ones of each alone; of each ray the outermost first.

    The middle comes next, and what lies near it: what two places say of those between them tells most so.
    """
    d = grid.n_axes
    rays = [grid.ray(range(d)), *(grid.ray([j])[OUTER_LEVEL:] for j in range(d) if d > 1)]
    return [
        ray[i]
        for ray in rays
        for i in sorted(range(-1, len(ray) - 1), key=lambda i: (i >= 0, abs(i - len(ray) // 2 + 1)))
    ]


def _stack(criterion: Criterion, thetas: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [
        np.stack(each)
        for each in zip(*(assemble_factors(np, theta, criterion.layout) for theta in thetas), strict=True)
    ]


def _light_grid(criterion: Criterion, start: np.ndarray) -> _Grid:
    """Grid of the finest levels whose places may all be looked at, or else one to go down on.

    Where effects are many, basins are narrow at any levels, and each of them is searched anyway.
    """
    finer = _Grid(criterion, start, FINER)
    return finer if finer.work <= CHEAP and not criterion.has_many_effects else finer.at_levels(FINE)


class _Near(NamedTuple):
    """Places near a start on one or two axes: a step of the logarithms below and above it, and on the diagonals."""

    shift: np.ndarray  # of the start
    factors: list[np.ndarray]

    def lowest(self, here: float, beside: Sequence[float]) -> np.ndarray:
        """Shift at the minimum of the quadratic through all values; that of the start where that is none, or far."""
        (low, high), *further = zip(beside[:4:2], beside[1:4:2], strict=True)
        slope, bend = 0.5 * (high - low), low - 2.0 * here + high
        other_slope, other_bend, cross = 0.0, 1.0, 0.0
        if further:
            low, high = further[0]
            other_slope, other_bend = 0.5 * (high - low), low - 2.0 * here + high
            cross = 0.25 * (beside[4] - beside[5] - beside[6] + beside[7])
        size = bend * other_bend - cross**2
        if not (bend > 0.0 and size > 0.0):
            return self.shift
        moved = [(cross * other_slope - other_bend * slope) / size, (cross * slope - bend * other_slope) / size]
        if not max(map(abs, moved)) < FARTHEST:
            return self.shift
        return self.shift + NEAR_STEP * np.array(moved[: len(self.shift)])


class _Grid:
    """The criterion on levels of the standard deviations along the principal axes of a start."""

    def __init__(self, criterion: Criterion, start: np.ndarray, levels: np.ndarray) -> None:
        self._layout, self._screen, self.levels = criterion.layout, criterion.screen, levels
        start_factors = assemble_factors(np, start, self._layout)
        axes = [_axes(Lambda, pieces) for Lambda, pieces in zip(start_factors, self._layout, strict=True)]
        ends = [0, *accumulate(each.n for each in axes)]
        self._own = [range(*pair) for pair in pairwise(ends)]  # of the axes, those of each factor
        self.n_axes = ends[-1]
        # base, and which of all sizes multiplies it: the one after the last, of what does not grow, is one
        self._axes = [
            (each.base, np.where(each.which < 0, self.n_axes, first + each.which))
            for each, first in zip(axes, ends, strict=False)
        ]
        self.n_pieces = sum(map(len, self._layout))
        self._seen: dict[Place, float] = {}
        self._whole: np.ndarray | None = None  # values at all places, where all were looked at

    def at_levels(self, levels: np.ndarray) -> _Grid:
        """Take other levels of the same axes."""
        other = copy(self)
        other.levels, other._seen, other._whole = levels, {}, None
        return other

    @property
    def work(self) -> float:
        """Multiplications that looking at all places takes, about."""
        n = len(self.levels)
        if self._last is None:
            return n**self.n_axes * self._screen.work
        beside, along = self._screen.work_along
        return n ** (self.n_axes - 1) * (beside + n * along)

    @property
    def is_light(self) -> bool:
        """Whether all places may be looked at."""
        return self.work <= max(WHOLE, DESCENT * self._screen.work)

    @cached_property
    def _last(self) -> int | None:
        """The axis that multiplies the column along which `Screen.values_along` goes, and nothing else, if one does."""
        factor = self._screen.last
        if factor is None or not self._own[factor]:
            return None
        (base, which), axis = self._axes[factor], self._own[factor][-1]
        is_last = np.arange(len(base)) == len(base) - 1
        return axis if (((which == axis) == is_last) | (base == 0.0)).all() else None

    def is_far_out(self, place: Place) -> bool:
        """Whether σ is small there beside some standard deviation."""
        return bool(self.levels[max(place)] >= FAR_OUT)

    @property
    def n_seen(self) -> int:
        """How many places were looked at."""
        return len(self._seen) if self._whole is None else self._whole.size

    def value(self, place: Place) -> float:
        """Value at a place that was looked at."""
        return self._seen[place] if self._whole is None else float(self._whole[place])

    def values(self, places: Sequence[Place]) -> np.ndarray:
        """Values at some places, computed at once where they are not known."""
        new = [place for place in dict.fromkeys(places) if place not in self._seen]
        if new:
            sizes = self.levels.take(new)
            self._seen.update(zip(new, self._screen.values(self._factors(sizes)).tolist(), strict=True))
        return np.array([self._seen[place] for place in places])

    def _factors(self, sizes: np.ndarray) -> list[np.ndarray]:
        """Factors (b, k, k) of sizes (b, d) along the axes, not triangular: values depend on ΛΛ' alone."""
        padded = np.ones((len(sizes), self.n_axes + 1))
        padded[:, :-1] = sizes
        return [base * padded[:, which] for base, which in self._axes]

    def theta(self, place: Place, shift: np.ndarray | float = 0.0) -> np.ndarray:
        """θ at a place, or at a shift of the logarithms from there."""
        sizes = self.levels[np.array(place)] * np.exp(shift)
        return theta_of([lower_triangular(Lambda[0]) for Lambda in self._factors(sizes[None])], self._layout)

    def is_below(self, place: Place, other: Place) -> bool:
        """Whether covariances at a place are known to be no larger than at another, in the order of matrices."""
        if not self._is_ordered and not len(set(place)) == len(set(other)) == 1:
            return False
        return all(level <= higher for level, higher in zip(place, other, strict=True))

    @cached_property
    def _is_ordered(self) -> bool:
        """Whether each axis multiplies whole columns of the factors; of rows, other covariances could fall."""
        for base, which in self._axes:
            column = np.where(base != 0.0, which, -1).max(axis=0, initial=-1)
            if ((which != column) & (base != 0.0)).any():
                return False
        return True

    def factors(self, place: Place) -> list[np.ndarray]:
        """Factors (k, k) at a place, not triangular."""
        return [F[0] for F in self._factors(self.levels[np.array(place, dtype=int)][None])]

    def ray(self, axes: Sequence[int]) -> list[Place]:
        """Places where some axes go through all levels together and the others stay near zero."""
        return [tuple(i if j in axes else 0 for j in range(self.n_axes)) for i in range(len(self.levels))]

    def ray_minima(self) -> list[Place]:
        """Places that are minima along the ray of some subset of axes."""
        rays = [self.ray(axes) for axes in self.subsets()]
        values = self.values([place for ray in rays for place in ray]).reshape(len(rays), -1)
        is_minimum = np.stack([_is_minimum(each) for each in values])
        return [rays[r][i] for r, i in zip(*np.nonzero(is_minimum), strict=True)]

    def all_subsets(self) -> list[Place]:
        """Every subset of axes but the empty one."""
        d = self.n_axes
        return [axes for size in range(1, d + 1) for axes in combinations(range(d), size)]

    def subsets(self) -> list[Place]:
        """Subsets of axes that rise together: all where these are few."""
        d = self.n_axes
        if d <= ALL_SUBSETS:
            return self.all_subsets()
        inside = [set(own) for own in self._own]
        subsets: list[Iterable[int]] = [axes for size in (1, 2) for axes in combinations(range(d), size)]
        subsets += [*inside, *(set(range(d)) - each for each in inside), *(set(range(d)) - {j} for j in range(d))]
        return list(dict.fromkeys(tuple(sorted(axes)) for axes in [*subsets, range(d)]))

    def all_minima(self) -> list[Place]:
        """All places without a lower neighbour, best first."""
        axis, shape = self._last, (len(self.levels),) * self.n_axes
        sizes = np.append(self.levels, 1.0)[_all_places(len(self.levels), self.n_axes, axis)]
        if axis is None:
            whole = self._screen.values(self._factors(sizes)).reshape(shape)
        else:
            values = self._screen.values_along(self._factors(sizes), self.levels).reshape(shape)
            whole = values.transpose([*range(axis), self.n_axes - 1, *range(axis, self.n_axes - 1)])
        self._whole = whole
        lowest = zip(*(each.tolist() for each in _is_minimum(whole).nonzero()), strict=True)
        return sorted(lowest, key=self.value)

    def descend(self, places: Iterable[Place]) -> list[Place]:
        """Go from each place to its lowest neighbour until there is none; the ends, best first.

        Of many axes all go at once that lead down alone, where that is lower still: the way is as long as it has axes.
        """
        moves = [(j, by) for j in range(self.n_axes) for by in (-1, 1)]
        ends, going = set(), set(places)
        while going:
            around = {place: [place, *(_moved(place, *move, len(self.levels)) for move in moves)] for place in going}
            self.values([neighbour for each in around.values() for neighbour in each])
            if self.n_axes > ALL_SUBSETS:
                for place, each in around.items():
                    each.append(self._together(place, each[1:]))
                self.values([each[-1] for each in around.values()])
            lowest = {place: min(each, key=self.value) for place, each in around.items()}
            ends |= {place for place in going if lowest[place] == place}
            going = {lowest[place] for place in going} - ends
        return sorted((place for place in ends if np.isfinite(self._seen[place])), key=self.value)

    def _together(self, place: Place, neighbours: Sequence[Place]) -> Place:
        """Move along every axis to the lower of its two neighbours (2d of them, axis by axis), where that is lower."""
        here, moved = self._seen[place], list(place)
        for j in range(self.n_axes):
            lower = min(neighbours[2 * j : 2 * j + 2], key=self.value)
            if self._seen[lower] < here:
                moved[j] = lower[j]
        return tuple(moved)

    def refined(self, place: Place) -> np.ndarray:
        """θ at the minimum of the parabolas through the values at a place and at its neighbours."""
        return self.theta(place, self._shift(place))

    def near(self, place: Place) -> _Near | None:
        """Places for a closer look, near the minimum of the parabolas; None where that is on an edge of the grid."""
        if self.n_axes > 2 or not all(1 < level < len(self.levels) - 1 for level in place):
            return None
        shift = self._shift(place)
        sizes = self.levels[np.array(place)] * np.exp(
            shift + NEAR_STEP * (AROUND if self.n_axes == 2 else AROUND[:2, :1])
        )
        return _Near(shift, self._factors(sizes))

    def _shift(self, place: Place) -> np.ndarray:
        shift, last = np.zeros(self.n_axes), len(self.levels) - 1
        for j, level in enumerate(place):
            if 1 < level < last:
                below, here, above = (self.value(_moved(place, j, by, last + 1)) for by in (-1, 0, 1))
                bend = below - 2.0 * here + above
                if math.isfinite(bend) and bend > 0.0:
                    shift[j] = 0.5 * (below - above) / bend * math.log(self.levels[level] / self.levels[level - 1])
        return shift


@lru_cache(maxsize=16)
def _all_places(n_levels: int, n_axes: int, but: int | None = None) -> np.ndarray:
    """Every combination of levels, of one axis that is named only the one after the last; not to be written to."""
    levels = [[n_levels] if j == but else range(n_levels) for j in range(n_axes)]
    return np.array(list(product(*levels)), dtype=int).reshape(-1, n_axes)


def _axes(Lambda: np.ndarray, pieces: Sequence[Piece]) -> Axes:
    """Axes of all pieces of a factor, one after the other."""
    if len(pieces) == 1:
        return pieces[0].structure.axes(Lambda)
    base, which, n = np.zeros_like(Lambda), np.zeros(Lambda.shape, dtype=int), 0
    for piece in pieces:
        inside = piece.inside, piece.inside
        own = piece.structure.axes(Lambda[inside])
        base[inside], which[inside] = own.base, np.where(own.which < 0, -1, n + own.which)
        n += own.n
    return Axes(base, which)


def _moved(place: Place, axis: int, by: int, n_levels: int) -> Place:
    """Go to the neighbour along an axis; stay where there is none."""
    level = min(max(place[axis] + by, 0), n_levels - 1)
    return (*place[:axis], level, *place[axis + 1 :])


def _is_minimum(values: np.ndarray) -> np.ndarray:
    """Which finite entries have no lower neighbour along any axis or diagonal."""
    around = values.copy()  # the lowest of an entry and of its neighbours, one axis after the other
    for axis in range(values.ndim):
        wider = around.copy()
        here, lowest = around.swapaxes(0, axis), wider.swapaxes(0, axis)
        np.minimum(lowest[1:], here[:-1], out=lowest[1:])
        np.minimum(lowest[:-1], here[1:], out=lowest[:-1])
        around = wider
    return (values <= around) & np.isfinite(values)
