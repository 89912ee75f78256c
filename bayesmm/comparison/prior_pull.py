"""How far the priors move the posterior means, to first order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from bayesmm.bayes.distributions import distribution, log_spread_density
from bayesmm.specification.prior import Prior, Scale
from bayesmm.specification.priors import LKJ, Flat

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.bayes.resolution import ResolvedPriors
    from bayesmm.design.labels import Labels


def prior_pull(posterior: Posterior, values: pd.Series, draws: np.ndarray) -> np.ndarray:
    """Say how far the priors move the posterior means away from those of flat priors.

    Parameters
    ----------
    posterior : Posterior
        For the priors in force.
    values : Series, shape (m,)
        Where the priors' slopes are taken: the point estimates, or posterior means where those are on the boundary.
    draws : array, shape (N, m)
        Draws of the parameters.

    Returns
    -------
    array, shape (m, m)
        Entry (i, j): what the prior of parameter j does to the mean of parameter i, in posterior standard deviations of
        i; negative is downwards. A row's sum is what all priors do.

    Notes
    -----
    C J, with C the posterior covariance of the parameters and J from `prior_jacobian`. Exact where likelihood and
    priors are normal, since then the posterior mean is θ̂ + C ∇log prior(θ̂); else the first-order answer.
    """
    covariance = np.atleast_2d(np.cov(draws, rowvar=False))
    sd = np.sqrt(np.diag(covariance))
    jacobian = prior_jacobian(posterior.priors, posterior.labels, values)
    return covariance @ jacobian / np.where(sd > 0, sd, 1.0)[:, None]


def prior_slopes(priors: ResolvedPriors, labels: Labels, values: pd.Series) -> np.ndarray:
    """Differentiate the log prior density of all parameters together by each of them; shape (m,)."""
    return prior_jacobian(priors, labels, values).sum(axis=1)


def prior_jacobian(priors: ResolvedPriors, labels: Labels, values: pd.Series) -> np.ndarray:
    """Differentiate the log prior density of every row of the table by every parameter.

    Parameters
    ----------
    priors : ResolvedPriors
        The priors in force.
    labels : Labels
        For the correlation matrices.
    values : Series, shape (m,)
        Where; indexed by the names of the parameters.

    Returns
    -------
    array, shape (m, m)
        Entry (i, j): the log prior of row j differentiated by parameter i. A prior of a coefficient may be about a
        combination of coefficients, and one of a standard deviation may depend on sigma. Those of correlations, which
        have one prior together, are on the diagonal.
    """
    kinds = np.array([row.kind for row in priors.rows])
    x = values.loc[[row.name for row in priors.rows]].to_numpy()
    fixed, spreads = np.flatnonzero(kinds == "fixed"), np.flatnonzero((kinds == "sd") | (kinds == "sigma"))
    jacobian = np.zeros((len(x), len(x)))
    slopes = _slopes([priors.rows[j].prior for j in fixed], priors.contrast @ x[fixed])
    jacobian[np.ix_(fixed, fixed)] = priors.contrast.T * slopes
    is_sigma = np.flatnonzero(kinds == "sigma")
    sigma = x[is_sigma[0]] if len(is_sigma) else priors.fixed_sigma or 1.0  # without spreads nothing depends on it
    by_own, by_sigma = _spread_slopes([priors.rows[j].prior for j in spreads], x[spreads], sigma)
    jacobian[spreads, spreads] = by_own
    jacobian[np.ix_(is_sigma, spreads)] += by_sigma
    correlations = np.flatnonzero(kinds == "cor")
    jacobian[correlations, correlations] = _correlation_slopes(priors, labels, values)
    return jacobian


def _slopes(priors: Sequence[Prior], x: np.ndarray) -> np.ndarray:
    """Return d log p(x) / dx of independent priors; one evaluation for each family."""
    slopes = np.zeros(len(x))
    for family in dict.fromkeys(prior.family for prior in priors if not isinstance(prior, Flat)):
        members = [i for i, prior in enumerate(priors) if prior.family == family]
        numbers = {name: np.array([priors[i].numbers[name] for i in members]) for name in priors[members[0]].numbers}
        with jax.enable_x64(True):
            slopes[members] = np.asarray(_family_slopes(family, numbers, x[members]))
    return slopes


@partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
def _family_slopes(family: str, numbers: Mapping[str, Any], x: Any) -> jax.Array:
    def log_density(at: jax.Array) -> jax.Array:
        return jnp.sum(distribution(family, numbers, (), "real line").log_prob(at))

    return jax.grad(log_density)(x)


def _spread_slopes(priors: Sequence[Prior], sd: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """By the standard deviation, and by sigma where the prior is one given sigma."""
    by_own, by_sigma = np.zeros(len(sd)), np.zeros(len(sd))
    for family, scale in dict.fromkeys((prior.family, prior.stated_for) for prior in priors):
        members = [i for i, prior in enumerate(priors) if (prior.family, prior.stated_for) == (family, scale)]
        numbers = {name: np.array([priors[i].numbers[name] for i in members]) for name in priors[members[0]].numbers}
        with jax.enable_x64(True):
            slopes = _family_spread_slopes(family, scale, numbers, sd[members], np.float64(sigma))
        by_own[members], by_sigma[members] = map(np.asarray, slopes)
    return by_own, by_sigma


@partial(jax.jit, static_argnums=(0, 1), compiler_options={"xla_backend_optimization_level": 0})
def _family_spread_slopes(
    family: str, scale: Scale, numbers: Mapping[str, Any], sd: Any, sigma: Any
) -> tuple[jax.Array, jax.Array]:
    def log_density(at: jax.Array, given: jax.Array) -> jax.Array:
        return jnp.sum(log_spread_density(family, scale, numbers, at, given))

    # One sigma for each entry, so that each has a derivative of its own.
    return jax.grad(log_density, argnums=(0, 1))(sd, jnp.full_like(sd, sigma))


def _correlation_slopes(priors: ResolvedPriors, labels: Labels, values: pd.Series) -> np.ndarray:
    """Of LKJ densities ∝ det(R)^(η − 1): ∂ log det R / ∂ρᵢⱼ = 2 (R⁻¹)ᵢⱼ."""
    chosen = {row.name: row.prior for row in priors.rows}
    slopes = {row.name: 0.0 for row in priors.rows if row.kind == "cor"}
    for piece in priors.pieces:
        prior = chosen[piece.rows[0]]
        if not isinstance(prior, LKJ) or prior.concentration == 1.0:
            continue
        pairs = [pair for pair in labels.blocks[piece.block].pairs if piece.start <= pair[0] and pair[1] < piece.stop]
        R = np.eye(piece.size)
        for name, (i, j) in zip(piece.rows, pairs, strict=True):
            R[i - piece.start, j - piece.start] = R[j - piece.start, i - piece.start] = values[name]
        inverse = np.linalg.inv(R)
        for name, (i, j) in zip(piece.rows, pairs, strict=True):
            slopes[name] = 2.0 * (prior.concentration - 1.0) * inverse[i - piece.start, j - piece.start]
    return np.array(list(slopes.values()))
