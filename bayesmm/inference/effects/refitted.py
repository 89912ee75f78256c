"""How far predicted effects move when the variances are estimated anew: the parametric bootstrap of a BLUP's error."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesmm.inference.fitted import Fitted
from bayesmm.inference.simulated_responses import simulate_responses
from bayesmm.marginal.sums.responses import Responses
from bayesmm.presenting.progress import watched
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.refits import refit

NUMBERS = 2**22  # in the rows of the responses that are drawn together
MOST = 100  # responses at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Moved:
    """What refits moved.

    Attributes
    ----------
    squares : list of arrays, shapes (q, k)
        Mean square of b̂(θ*) − b̂(θ̂) of each factor, on the user's columns.
    n, n_failed : int
        Refits, and how many of them found no maximum and are left out.
    """

    squares: list[np.ndarray]
    n: int
    n_failed: int


def move_effects(fit: Fitted, n: int, seed: int, progress: bool | None) -> Moved:
    """Draw data from the estimates, refit, and see how far the predictions are from those by the true variances.

    Notes
    -----
    b̂(θ̂) − b is independent of all error contrasts, and θ* with b̂(θ*) − b̂(θ̂) is a function of these (Kackar &
    Harville 1984): the mean squared error is g₁ + g₂, which is known, plus this mean square. So the effects that were
    drawn need not be kept, and what remains to be simulated is the small part.
    """
    criterion, theta = fit.estimate.criterion_function, fit.estimate.minimum.x
    backs = [np.linalg.inv(T) for T in criterion.products.effect_roots]
    squares, failed = [np.zeros((block.q, block.k)) for block in fit.design.blocks], 0
    at_once = int(np.clip(NUMBERS // fit.n, 1, MOST))
    streams: list[np.random.Generator] = []
    for number in watched(range(n), "bootstrap of predicted effects", progress):
        streams.append(np.random.default_rng([seed, number]))
        if len(streams) < at_once and number < n - 1:
            continue
        drawn = simulate_responses(fit.design, fit.estimate.beta, fit.estimate.factors, fit.sigma, streams)
        responses = fit.problem.sum_responses(drawn)
        refits = refit(criterion, responses, theta)
        failed += int((~refits.converged).sum())
        for i in np.flatnonzero(refits.converged).tolist():
            new, old = (_modes(criterion, responses, i, at) for at in (refits.theta[i], theta))
            for total, back, after, before in zip(squares, backs, new, old, strict=True):
                total += (back @ (after - before)).T ** 2
        streams = []
    done = n - failed
    return Moved(squares=[total / done if done else total * np.nan for total in squares], n=n, n_failed=failed)


def _modes(criterion: Criterion, responses: Responses, i: int, theta: np.ndarray) -> list[np.ndarray]:
    """Predicted effects (k, q) of each factor, on the conditioned columns."""
    return replace(criterion, products=responses[i]).evaluate(theta).modes
