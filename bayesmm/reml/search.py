"""The minima of the criterion: one search in each basin, and the lowest of what they find."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bayesmm.errors import EstimationError
from bayesmm.reml.boundary import leave_saddle, snap_to_boundary
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.optimise import Minimum, minimise
from bayesmm.reml.screen import choose_starts, is_downhill

SAME = 1e-5  # of −2 log likelihood: two searches that end this near ended in one minimum
FIRST = 200  # evaluations of the search from the best start at most
FURTHER = 60  # evaluations of each search but the first


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
    """The likelihood rises for ever as σ falls: fixed and random effects explain every row."""


def find_minima(criterion: Criterion, moments: np.ndarray) -> Minima:
    """Search from one start in each basin.

    Parameters
    ----------
    criterion : Criterion
        The objective.
    moments : array, shape (t,)
        Start from moments.

    Raises
    ------
    SaturatedError
        If the criterion falls below all that was found as σ goes to zero.
    """
    starts, n_screened = choose_starts(criterion, moments)
    found = [find_minimum(criterion, starts[0], FIRST)]
    for start in starts[1:]:
        if not any(is_downhill(criterion, start, each.x) for each in found if each.converged):
            found.append(find_minimum(criterion, start, FURTHER))
    inside = sorted((each for each in found if not each.escaped), key=lambda each: each.evaluation.value)
    floor = inside[0].evaluation.value if inside else np.inf
    if any(each.escaped and criterion.limit(each.x) < floor for each in found):
        raise SaturatedError
    n_evaluations = sum(each.n_evaluations for each in found)
    others: list[Minimum] = []
    for each in inside[1:]:
        if each.converged and each.evaluation.value > floor + SAME:
            floor = each.evaluation.value
            others.append(each)
    return Minima(replace(inside[0], n_evaluations=n_evaluations), tuple(others), n_screened)


def find_minimum(criterion: Criterion, start: np.ndarray, max_evaluations: int = FIRST) -> Minimum:
    """Search from one start, to a minimum that may be on the boundary."""
    found = minimise(
        criterion, start, sizes=criterion.sizes, escapes=criterion.escapes, max_evaluations=max_evaluations
    )
    return leave_saddle(criterion, snap_to_boundary(criterion, found))
