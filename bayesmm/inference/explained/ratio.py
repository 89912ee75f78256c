"""An exact interval for the ratio of two variances, where a model has no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import evaluate
from bayesmm.presenting.intervals import tails

FAR = 1e5  # relative standard deviation on conditioned columns that is as good as infinite
FAR_BY_STEPS = 1e4  # the same where the elimination loses digits far out
NEAR = 1e-4  # one that is as good as zero
UNCLEAR = 0.01  # of a rank: a relation may have variances that are nearly zero


def ratio_interval(fit: Fitted, level: float) -> tuple[float, float] | None:
    """Limits of σ_b²/σ² in a model with one random effect and its residual.

    Parameters
    ----------
    fit : Fitted
        Estimates; the interval does not depend on the method.
    level : float
        Coverage, exact if effects and residuals are normal.

    Returns
    -------
    (float, float) or None
        Zero below or infinity above where no smaller or larger ratio is rejected; both zero where even zero is too
        large. None for a model with more variances.

    Notes
    -----
    With r²(λ) = y'Py at the ratio λ, r²(∞) what least squares on X and Z leave, with f degrees of freedom, and r the
    rank that Z adds to X, F(λ) = [(r²(λ) − r²(∞))/r] / [r²(∞)/f] has the F distribution with r and f degrees of
    freedom, and falls in λ. Where σ is known, (r²(λ) − r²(∞))/σ² has χ² with r (the Q profile of meta-analysis). In a
    balanced one-way layout it is the interval from the analysis of variance.

    References
    ----------
    Wald (1940), Ann. Math. Stat. 11. Harville & Fenech (1985), Biometrics 41. Viechtbauer (2007), Stat. Med. 26.
    """
    design = fit.design
    if len(design.blocks) != 1 or design.blocks[0].k != 1:
        return None
    criterion = fit.estimate.criterion_function
    products, n, p = criterion.products, design.n, design.p
    root = products.effect_roots[0]
    scale = float(root[0, 0]) if len(root) else 1.0  # from the user's column to the conditioned one

    def at(theta: float) -> tuple[float, float]:
        with np.errstate(all="ignore"):
            here = evaluate(host, np.array([theta]), products, criterion.sigma, 1.0, layout=criterion.layout)
        return float(here.fixed.residual_square), float(here.expected[0][0, 0])

    far = FAR if products.is_apart else FAR_BY_STEPS
    least, trace = at(far)
    rank = round(far**2 * trace)
    if products.is_related and abs(far**2 * trace - rank) > UNCLEAR:
        return None
    rest = n - p - rank
    if rank < 1 or (fit.known_sigma is None and rest < 1):
        return None
    unit = rank * least / rest if fit.known_sigma is None else fit.known_sigma**2
    law = stats.f(rank, rest) if fit.known_sigma is None else stats.chi2(rank)

    def statistic(theta: float) -> float:
        return (at(theta)[0] - least) / unit

    below, above = tails(level)
    lower, upper = (_crossing(statistic, float(law.ppf(probability)), far) for probability in (above, below))
    return (lower / scale) ** 2, (upper / scale) ** 2


def _crossing(statistic: Callable[[float], float], value: float, far: float) -> float:
    """Where a falling function has a value; zero if it never is so large, infinity if never so small."""
    if statistic(0.0) <= value:
        return 0.0
    if statistic(far) >= value:
        return np.inf
    low, high = np.log(NEAR), np.log(far)
    if statistic(NEAR) <= value:
        return NEAR
    found: Any = brentq(lambda log_theta: statistic(np.exp(log_theta)) - value, low, high, xtol=1e-9)
    return float(np.exp(found))
