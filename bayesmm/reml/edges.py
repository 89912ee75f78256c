"""Minima on an edge of the criterion, where a search by slopes cannot come to rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bayesmm.reml.optimise import Evaluation, Minimum, minimise

BESIDE = 1e-4  # of a parameter: so far beside an edge the criterion is looked at
SAME = 1e-5  # of −2 log likelihood


def stop_on_edge(
    criterion: Callable[[np.ndarray], Evaluation],
    found: Minimum,
    edge: np.ndarray,
    sizes: Callable[[np.ndarray], np.ndarray],
) -> Minimum:
    """End on an edge from which the criterion rises on either side; what converged stays as it is.

    Parameters
    ----------
    criterion : callable
        The objective.
    found : Minimum
        Where a search ended.
    edge : array, shape (k,)
        The same with parameters that have an edge near exactly on it.
    sizes : callable
        Units (k,) of the entries at a point.

    Returns
    -------
    Minimum
        The minimum over all other parameters, if it is one.
    """
    free = edge == found.x
    if found.converged or free.all() or not np.isfinite(found.evaluation.value):
        return found

    def whole(some: np.ndarray) -> np.ndarray:
        every = edge.copy()
        every[free] = some
        return every

    def along(some: np.ndarray) -> Evaluation:
        here, inside = criterion(whole(some)), np.ix_(free, free)
        lacking = here.lacking
        return replace(
            here,
            gradient=here.gradient[free],
            hessian=here.hessian[inside],
            lacking=None if lacking is None else lambda: lacking()[inside],
        )

    end = edge
    if free.any():
        inner = minimise(along, edge[free], sizes=lambda some: sizes(whole(some))[free])
        if not inner.converged:
            return found
        end = whole(inner.x)
    there = criterion(end)
    beside = [criterion(end + sign * BESIDE * each).value for each in np.eye(len(end))[~free] for sign in (1.0, -1.0)]
    if there.value > found.evaluation.value + SAME or min(beside) < there.value:
        return found
    return replace(found, x=end, evaluation=there, converged=True)
