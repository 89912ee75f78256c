"""The minima of the criterion: one search in each basin, and the lowest of what they find."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import assemble_factors, scale_theta, to_edges
from bayesmm.errors import EstimationError
from bayesmm.reml.boundary import leave_saddle, snap_to_boundary
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.edges import stop_on_edge
from bayesmm.reml.optimise import DECREMENT_TOLERANCE, Minimum, minimise
from bayesmm.reml.screen import choose_starts, falling_rays, is_downhill, is_light
from bayesmm.reml.start import moment_start

SAME = 1e-5  # of −2 log likelihood: two searches that end this near ended in one minimum
FIRST = 200  # evaluations of the search from the best start at most
FURTHER = 60  # evaluations of each search but the first
MOST = 100  # of a search with exact second derivatives, each of which takes two evaluations for each entry of θ
FINISHED = 3  # searches that go on so, the lowest, where the lowest of all came to no end
FAR_START = 30.0  # standard deviations in units of σ from which on moments lead the way
MUCH = 0.1  # of −2 log likelihood
MOST_MOMENTS = 8
LOW = 0.01  # times σ at the lowest minimum: where a crowded model is searched as if σ were known


class Minima(NamedTuple):
    """What the searches found.

    Attributes
    ----------
    lowest : Minimum
        Its evaluations are those of all searches.
    others : tuple of Minimum
        Higher ones, best first.
    n_screened : int
        Values that were looked at to find where to start.
    """

    lowest: Minimum
    others: tuple[Minimum, ...]
    n_screened: int


class SaturatedError(EstimationError):
    """The likelihood rises as σ falls to zero: fixed and random effects explain every row.

    Attributes
    ----------
    is_bounded : bool
        Whether it rises to a limit: at σ = 0 the effects alone have a density of the rows.
    """

    def __init__(self, *, is_bounded: bool = False) -> None:
        super().__init__()
        self.is_bounded = is_bounded


def find_minima(criterion: Criterion, moments: np.ndarray, tolerance: float = DECREMENT_TOLERANCE) -> Minima:
    """Search from one start in each basin.

    Parameters
    ----------
    criterion : Criterion
        The objective.
    moments : array, shape (t,)
        Start from moments.
    tolerance : float
        That of `minimise`.

    Raises
    ------
    SaturatedError
        If the criterion falls below all that was found as σ goes to zero.
    """
    starts, n_screened = choose_starts(criterion, moments)
    found = [find_minimum(criterion, starts[0], FIRST, tolerance)]
    for start in starts[1:]:
        known = [each for each in found if each.converged and not criterion.is_crowded]  # else basins are too narrow
        if not any(is_downhill(criterion, start, each.x) for each in known):
            found.append(find_minimum(criterion, start, FURTHER, tolerance))
    if criterion.is_crowded and is_light(criterion):
        rays, n_values = falling_rays(criterion, moments)
        if any(criterion.escapes(ray, criterion(ray)) and criterion.limit(ray) == -np.inf for ray in rays):
            raise SaturatedError
        n_screened += n_values
    if criterion.sigma is None and criterion.has_many_effects and is_light(criterion):
        further, n_more = _search_at_low_sigma(criterion, moments, found)
        found, n_screened = [*found, *further], n_screened + n_more
    inside = [each for each in found if not each.escaped and np.isfinite(each.evaluation.value)]
    inside = sorted(inside or found[:1], key=_value)
    n_evaluations = sum(each.n_evaluations for each in found)
    if not inside[0].converged and is_light(criterion):
        further = [_finish(criterion, each) for each in inside[:FINISHED]]
        n_evaluations += sum(new.n_evaluations for new, old in zip(further, inside, strict=False) if new is not old)
        inside = sorted([*further, *inside[FINISHED:]], key=_value)
    floor = inside[0].evaluation.value
    limits = [criterion.limit(each.x) for each in found if each.escaped]
    if min(limits, default=np.inf) < floor:
        raise SaturatedError(is_bounded=min(limits) > -np.inf)
    others: list[Minimum] = []
    for each in inside[1:]:
        if each.converged and each.evaluation.value > floor + SAME:
            floor = each.evaluation.value
            others.append(each)
    return Minima(replace(inside[0], n_evaluations=n_evaluations), tuple(others), n_screened)


def _value(minimum: Minimum) -> float:
    return minimum.evaluation.value


def _finish(criterion: Criterion, found: Minimum) -> Minimum:
    """Go on with exact second derivatives from where a search came to its end without arriving.

    What the average information lacks does not vanish at the maximum of a model whose covariances are of lower rank.
    """
    if found.converged or found.escaped or not np.isfinite(found.evaluation.value):
        return found
    further = minimise(
        criterion.exactly, found.x, sizes=criterion.sizes, escapes=criterion.escapes, max_evaluations=MOST
    )
    further = leave_saddle(criterion, snap_to_boundary(criterion, further))
    return replace(further, n_evaluations=further.n_evaluations * 2 * (len(found.x) + 1))


def _search_at_low_sigma(criterion: Criterion, moments: np.ndarray, found: list[Minimum]) -> tuple[list[Minimum], int]:
    """Search from the covariances that are best where σ is far below what was found, and how many values that took.

    Where effects are many, they alone may explain the rows in several ways, each with a maximum of its own; the
    ratios among their covariances that do so are found at a σ so small that the residual cannot stand in for them.
    """
    inside = [each for each in found if not each.escaped]
    if not inside:
        return [], 0
    residual_square = min(inside, key=lambda each: each.evaluation.value).evaluation.detail.fixed.residual_square
    sigma = LOW * float(np.sqrt(residual_square / criterion.products.n))
    low = replace(criterion, sigma=sigma)
    starts, n_values = choose_starts(low, scale_theta(moments, 1.0 / LOW, criterion.layout))
    at_low = find_minimum(low, starts[0], FURTHER)
    further = find_minimum(criterion, at_low.x, FURTHER)
    return [replace(further, n_evaluations=further.n_evaluations + at_low.n_evaluations)], n_values


def find_minimum(
    criterion: Criterion,
    start: np.ndarray,
    max_evaluations: int = FIRST,
    tolerance: float = DECREMENT_TOLERANCE,
) -> Minimum:
    """Search from one start, to a minimum that may be on the boundary; `tolerance` is that of `minimise`."""
    near, n_evaluations = _approach(criterion, start)
    found = minimise(
        criterion,
        near,
        sizes=criterion.sizes,
        escapes=criterion.escapes,
        max_evaluations=max_evaluations,
        tolerance=tolerance,
    )
    found = leave_saddle(criterion, snap_to_boundary(criterion, found))
    found = stop_on_edge(criterion, found, to_edges(found.x, criterion.layout), criterion.sizes)
    return replace(found, n_evaluations=found.n_evaluations + n_evaluations)


def _approach(criterion: Criterion, theta: np.ndarray) -> tuple[np.ndarray, int]:
    """Go by moment steps where σ is small beside the effects, as long as they gain much; and after how many.

    There the data all but show the effects, so that moments are nearly right whatever the directions, while the valley
    that Newton's steps would follow is narrow and bent.
    """
    if max(np.abs(Lambda).max() for Lambda in assemble_factors(np, theta, criterion.layout)) < FAR_START:
        return theta, 0
    value, moved = np.inf, theta
    for n in range(MOST_MOMENTS):
        if not np.isfinite(moved).all():
            return theta, n
        at = criterion.evaluate(moved)
        if not at.value < value - MUCH:
            return theta, n + 1
        theta, value = moved, at.value
        moved = moment_start(at, theta, criterion.layout)
    return theta, MOST_MOMENTS
