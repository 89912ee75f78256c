"""What the number of probes of a log-determinant leaves open of estimates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayesmm.covariance.layout import assemble_factors, held_theta
from bayesmm.covariance.tangents import tangents
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import Evaluated, keep_off_zero
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.optimise import Minimum

if TYPE_CHECKING:
    from bayesmm.marginal.stochastic.probing import Probed


@dataclass(frozen=True, kw_only=True, eq=False)
class MonteCarlo:
    """Standard errors among other probes, given the data.

    Attributes
    ----------
    n_probes : int
        Random vectors.
    seed : int
        What they were made from.
    loglik : float
        Standard error of the log-likelihood.
    beta : array, shape (p,)
        Standard errors of the fixed effects of the kept columns.
    parameters : array, shape (m,)
        Standard errors of standard deviations, correlations and σ, in the order of `PublicParameters`.
    """

    n_probes: int
    seed: int
    loglik: float
    beta: np.ndarray
    parameters: np.ndarray


def probed(criterion: Criterion, theta: np.ndarray) -> Probed:
    """Return what the probes say at θ; worked out anew only where that is not the last place they were asked."""
    products = criterion.products
    assert products.probing is not None
    factors = keep_off_zero(host, assemble_factors(np, theta, criterion.layout))
    return products.probing.solve(factors, products.cross, products.gram)


def gradient_covariance(criterion: Criterion, theta: np.ndarray) -> np.ndarray:
    """Covariance (t, t) of the criterion's gradient among other probes, from their spread; zero where θ is held."""
    shares = probed(criterion, theta).shares
    m = len(shares.values)
    if m < 2:
        return np.zeros((len(theta), len(theta)))
    ways = tangents(np, theta, criterion.layout)
    each = [[way.along(own[..., i]) for i in range(m)] for way, own in zip(ways, shares.influence, strict=True)]
    slopes = 2.0 * np.concatenate([np.array(own) for own in each], axis=1)  # (m, t)
    slopes[:, held_theta(theta, criterion.layout)] = 0.0
    return np.cov(slopes.T).reshape(len(theta), len(theta)) * _of_mean(m)


def _of_mean(m: int) -> float:
    """Variance of a mean of m over theirs, with what it is more for being estimated from few (that of Student's t)."""
    return (m - 1) / (m - 3) / m if m > 3 else 1.0


def read_monte_carlo(
    criterion: Criterion, minimum: Minimum, parameter_covariance: np.ndarray, jacobian: np.ndarray
) -> MonteCarlo:
    """Carry the spread among probes to the estimates.

    Parameters
    ----------
    criterion : Criterion
        By probes.
    minimum : Minimum
        Of it.
    parameter_covariance : array, shape (t + 1, t + 1)
        Of (θ, log σ) given the probes.
    jacobian : array, shape (m, t + 1)
        Derivatives of standard deviations, correlations and σ by (θ, log σ).

    Notes
    -----
    Where the mean gradient of m probes is off by δ, the minimum is off by −H⁻¹δ: a sandwich of half the parameters'
    covariance and the covariance of δ. What follows θ (σ, fixed effects) is off with it.
    """
    theta = minimum.x
    t, shares = len(theta), probed(criterion, theta).shares
    probing = criterion.products.probing
    assert probing is not None
    moved = 0.5 * parameter_covariance[:, :t]
    coordinates = moved @ gradient_covariance(criterion, theta) @ moved.T
    variances = np.einsum("ms,st,mt->m", jacobian, coordinates, jacobian)
    slopes = _fixed_slopes(criterion, minimum)
    beta = np.einsum("ps,st,pt->p", slopes, coordinates[:t, :t], slopes)
    m = len(shares.values)
    return MonteCarlo(
        n_probes=m,
        seed=probing.seed,
        loglik=0.5 * float(np.std(shares.values, ddof=1) * np.sqrt(_of_mean(m))) if m > 1 else 0.0,
        beta=np.sqrt(np.maximum(beta, 0.0)),
        parameters=np.sqrt(np.maximum(variances, 0.0)),
    )


def _fixed_slopes(criterion: Criterion, minimum: Minimum) -> np.ndarray:
    """∂β̂ (p, t): −A⁻¹ Σ R'∂(ΛΛ')Z'e, with R = Z'Ṽ⁻¹X."""
    at: Evaluated = minimum.evaluation.detail
    products, theta = criterion.products, minimum.x
    residual = probed(criterion, theta).residual
    factors = keep_off_zero(host, assemble_factors(np, theta, criterion.layout))
    v = np.append(-at.fixed.beta, 1.0)
    towards = []
    for way, Lambda, R in zip(tangents(np, theta, criterion.layout), factors, residual, strict=True):
        moved = way.move(np, Lambda, np.einsum("kcq,c->kq", R, v))  # (k, t, q)
        towards.append(np.einsum("ktq,kpq->pt", moved, R[:, :-1], optimize=True))
    return -np.linalg.solve(products.fixed_root, at.fixed.covariance @ np.concatenate(towards, axis=1))
