"""A standard deviation estimated away from zero: where the likelihood times it is highest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmm.errors import ArgumentError
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.profile.constraints import StandardDeviation
from bayesmm.inference.profile.surface import Surface, open_surface
from bayesmm.reml.optimise import Evaluation, Minimum, minimise

FAR = 1e3  # times the estimates, from where a search does not come back if there is no maximum
SAME = 1e-3  # of log sd
TOLERANCE = 1e-10  # of the penalised criterion, that a further step may gain


class Avoiding(NamedTuple):
    """Where the penalised likelihood is highest.

    Attributes
    ----------
    sd : float
        There, in units of the response per unit of the effect's column; NaN if there is no maximum.
    deviance : float
        −2 log likelihood there, without the penalty.
    """

    sd: float
    deviance: float


def avoid_boundary(fit: Fitted, name: str) -> Avoiding:
    """Maximise log likelihood + log sd over all parameters, for one standard deviation.

    Parameters
    ----------
    fit : Fit
        REML or ML estimates.
    name : str
        The standard deviation's row in the table of parameters.

    Raises
    ------
    ArgumentError
        If there is no such standard deviation.

    Notes
    -----
    The penalty is a gamma density of shape 2 and a rate that goes to zero: it is zero only at zero, and has no scale of
    its own, so that the estimate follows a change of units. Of very few levels the likelihood falls no faster than the
    penalty grows, and there is no maximum.

    References
    ----------
    Chung, Rabe-Hesketh, Dorie, Gelman & Liu (2013), Psychometrika 78.
    """
    surface = open_surface(fit.estimate)
    sd = _locate(fit, surface, name)
    near, far = (_search(fit, sd, scale) for scale in (1.0, FAR))
    values = [sd.slopes(each.x)[0] for each in (near, far)]
    if not abs(np.log(values[0] / values[1])) < SAME:
        return Avoiding(np.nan, np.nan)
    return Avoiding(values[0], surface(near.x).value)


def _search(fit: Fitted, sd: StandardDeviation, scale: float) -> Minimum:
    """Search from where the effects are so many times as large as estimated."""
    surface = sd.surface
    start = surface.locate(fit.estimate)
    if sd.slopes(start)[0] == 0.0:
        start = sd.off_limit(start)

    def objective(x: np.ndarray) -> Evaluation:
        at, (value, slope, bend) = surface(x), sd.slopes(x)
        if not value > 0.0:
            return Evaluation(np.inf, at.gradient, at.hessian)
        slope = slope / value
        hessian = at.hessian - 2.0 * (bend / value - slope[:, None] * slope)
        penalised = at.value - 2.0 * np.log(value)
        return Evaluation(penalised, at.gradient - 2.0 * slope, hessian, is_exact=False, noise=at.noise)

    return minimise(objective, surface.scaled(start, scale), sizes=surface.sizes, tolerance=TOLERANCE)


def _locate(fit: Fitted, surface: Surface, name: str) -> StandardDeviation:
    for factor, labels in enumerate(fit.labels.blocks):
        names = iter(labels.sd_rows)
        for number, piece in enumerate(labels.pieces):
            for index in range(piece.structure.n_sds(piece.k)):
                if next(names) == name:
                    return StandardDeviation(surface, factor, number, index)
    rows = [row for labels in fit.labels.blocks for row in labels.sd_rows]
    raise ArgumentError(f"There is no standard deviation {name!r}: give one of {', '.join(rows)}.")
