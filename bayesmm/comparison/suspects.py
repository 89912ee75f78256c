"""Which priors speak against a point estimate: the first suspects where a posterior is far from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.bayes.priors.quantities import prior_quantities
from bayesmm.bayes.priors.scales import measure_scales
from bayesmm.comparison.prior_pull import log_prior_densities
from bayesmm.covariance.layout import Piece
from bayesmm.covariance.public import assemble_covariance

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.bayes.priors.correlation_matrices import CorrelationPiece
    from bayesmm.bayes.priors.resolution import ResolvedPriors
    from bayesmm.fit.fit import Fit

SUSPICIOUS = 2.0  # log units by which a prior must prefer the posterior to the estimate
CHOSEN_BY = {"user": "yours", "default": "the default", "flat": "flat"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A prior that speaks against the estimate.

    Attributes
    ----------
    prior : str
        What it is, and who chose it.
    drop : float
        Its log density at the middle of the posterior, less that at the estimate.
    origin : str
        The term whose priors are about the origin of its covariates, far from the data; else empty.
    """

    prior: str
    drop: float
    origin: str = ""


def find_suspects(fit: Fit, posterior: Posterior, estimates: pd.Series, draws: np.ndarray) -> tuple[Suspect, ...]:
    """Find the priors whose density is much lower at the estimate than in the middle of the posterior.

    Parameters
    ----------
    fit, posterior
        Of one model.
    estimates : Series, shape (m,)
        Of all parameters.
    draws : array, shape (N, m)
        The same from the posterior.

    Returns
    -------
    tuple of Suspect
        The strongest first. Beside the prior of each row, those of a term's standard deviations and correlations
        together, where they are about the columns as labelled: seen from the means of the covariates, a density that
        is flat there is not.
    """
    priors, labels = posterior.priors, posterior.labels
    names = [row.name for row in priors.rows]
    quantities = prior_quantities(priors, labels, draws)
    middle = np.median(quantities, axis=0)
    at_estimate = prior_quantities(priors, labels, estimates.loc[names].to_numpy(dtype=float))
    there, here = log_prior_densities(priors, labels, np.stack([at_estimate, middle]))
    with np.errstate(invalid="ignore"):  # of a prior that rules both out nothing can be said
        drops = here - there
    suspects = [
        Suspect(prior=f"{row.prior} of {row.name} ({CHOSEN_BY[row.source]})", drop=float(drop))
        for row, drop in zip(priors.rows, drops, strict=True)
    ]
    suspects += _origins(fit, posterior, draws)
    suspicious = [each for each in suspects if each.drop > SUSPICIOUS]
    return tuple(sorted(suspicious, key=lambda each: -each.drop))


def _origins(fit: Fit, posterior: Posterior, draws: np.ndarray) -> list[Suspect]:
    """Priors of correlated effects on the columns as labelled, seen as densities of the effects at the means.

    A density p(sd, R) of V = Var(b) is one of Var(Tb) = TVT' too, and |∂(sd, R) / ∂(sd of Tb, R of Tb)| = Π (sd of Tb /
    sd of b)ᵏ, since |∂V / ∂(sd, R)| = 2ᵏ Π sdᵏ and |T| = 1. Far from the origin sd(Intercept) is about m sd(slope), so
    that this is a density ∝ 1 / sd(slope)ᵏ.
    """
    priors = posterior.priors
    at_means = measure_scales(posterior.design).effect_contrasts
    position = {row.name: j for j, row in enumerate(priors.rows)}
    suspects = []
    for piece in priors.pieces:
        if not piece.is_free:
            continue
        inside, identity = slice(piece.start, piece.stop), np.eye(piece.size)
        T = at_means[piece.block][inside, inside]
        if (priors.effect_contrasts[piece.block][inside, inside] - identity).any() or not (T - identity).any():
            continue
        sds, cors = (draws[:, [position[row] for row in rows]] for rows in (piece.sd_rows, piece.rows))
        covariances = assemble_covariance(np, sds, cors, (Piece(0, piece.size, piece.structure),))
        variances = np.diagonal(T @ covariances @ T.T, axis1=1, axis2=2)
        factor = fit.factors[piece.block][inside]
        with np.errstate(divide="ignore", invalid="ignore"):  # a standard deviation of zero
            middle = np.median((0.5 * np.log(variances) - np.log(sds)).sum(axis=1))
            norms = (np.log(np.linalg.norm(each, axis=1)).sum() for each in (T @ factor, factor))
            drop = piece.size * (middle - next(norms) + next(norms))
        suspects.append(Suspect(prior=_together(piece, priors), drop=float(drop), origin=piece.term))
    return [each for each in suspects if np.isfinite(each.drop)]


def _together(piece: CorrelationPiece, priors: ResolvedPriors) -> str:
    flat = any(row.source == "flat" for row in priors.rows)
    whose = "flat" if flat else "some of them yours"
    return f"the priors of {piece.term} together ({whose}), which are about the origin of its covariates"


def describe(suspect: Suspect) -> str:
    """Say what a prior does."""
    if not np.isfinite(suspect.drop):
        return f"{suspect.prior}, which rule{'' if suspect.origin else 's'} the estimate out"
    power = suspect.drop / np.log(10.0)
    times = f"{np.exp(suspect.drop):.0f}" if power < 3.0 else f"10^{power:.0f}"
    return f"{suspect.prior}, with a density {times} times as high in the posterior as at the estimate"
