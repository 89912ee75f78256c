"""How far the priors move the posterior means, to first order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from bayesmm.bayes.priors.quantities import prior_quantities
from bayesmm.bayes.programs.distributions import distribution, log_spread_density
from bayesmm.inside_jax import inside_jax
from bayesmm.specification.prior import Prior, Scale
from bayesmm.specification.priors import Flat

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.bayes.priors.resolution import ResolvedPriors
    from bayesmm.design.blocks.labels import Labels


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
    C J, with C the posterior covariance of the parameters with the quantities that priors are about, and J from
    `prior_jacobian`. To first order in a function g of those quantities, multiplying a density by exp(g) moves the mean
    of a parameter by its covariance with g. Exact where likelihood and priors are normal, since then the posterior mean
    is θ̂ + C ∇log prior(θ̂).
    """
    priors, labels = posterior.priors, posterior.labels
    quantities = prior_quantities(priors, labels, draws)
    together = np.cov(np.hstack([draws, quantities]), rowvar=False)
    covariance = together[: draws.shape[1], draws.shape[1] :]
    sd = np.sqrt(np.diag(together)[: draws.shape[1]])
    return covariance @ prior_jacobian(priors, labels, values) / np.where(sd > 0, sd, 1.0)[:, None]


def prior_jacobian(priors: ResolvedPriors, labels: Labels, values: pd.Series) -> np.ndarray:
    """Differentiate the log prior density of every row of the table by every quantity that a prior is about.

    Parameters
    ----------
    priors : ResolvedPriors
        The priors in force.
    labels : Labels
        For the correlation matrices.
    values : Series, shape (m,)
        Where: parameters, indexed by their names.

    Returns
    -------
    array, shape (m, m)
        Entry (i, j): the log prior of row j differentiated by the quantity of row i, from `prior_quantities`. The prior
        of a standard deviation may depend on sigma. Those of correlations, which have one prior together, are on the
        diagonal.
    """
    kinds = np.array([row.kind for row in priors.rows])
    x = prior_quantities(priors, labels, values.loc[[row.name for row in priors.rows]].to_numpy())
    fixed = np.flatnonzero((kinds == "fixed") | (kinds == "exponent"))
    spreads = np.flatnonzero((kinds == "sd") | (kinds == "sigma"))
    jacobian = np.zeros((len(x), len(x)))
    jacobian[fixed, fixed] = _slopes([priors.rows[j].prior for j in fixed], x[fixed])
    is_sigma = np.flatnonzero(np.array([row.name for row in priors.rows]) == "sigma")
    sigma = (
        float(x[is_sigma[0]]) if len(is_sigma) else priors.known_sigma or 1.0
    )  # without spreads nothing depends on it
    by_own, by_sigma = _spread_slopes([priors.rows[j].prior for j in spreads], x[spreads], sigma)
    jacobian[spreads, spreads] = by_own
    jacobian[np.ix_(is_sigma, spreads)] += by_sigma
    correlations = np.flatnonzero(kinds == "cor")
    jacobian[correlations, correlations] = _correlation_slopes(priors, labels, x[correlations])
    return jacobian


def _slopes(priors: Sequence[Prior], x: np.ndarray) -> np.ndarray:
    """Return d log p(x) / dx of independent priors; one evaluation for each family."""
    slopes = np.zeros(len(x))
    for family in dict.fromkeys(prior.family for prior in priors if not isinstance(prior, Flat)):
        members = [i for i, prior in enumerate(priors) if prior.family == family]
        numbers = {name: np.array([priors[i].numbers[name] for i in members]) for name in priors[members[0]].numbers}
        with inside_jax():
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
        with inside_jax():
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


def log_prior_densities(priors: ResolvedPriors, labels: Labels, quantities: np.ndarray) -> np.ndarray:
    """Evaluate the log prior density of every row of the table.

    Parameters
    ----------
    priors, labels
        The priors in force.
    quantities : array, shape (s, m)
        What they are about, from `prior_quantities`.

    Returns
    -------
    array, shape (s, m)
        Densities of standard deviations, whatever a prior is stated for; up to a constant each. That of a correlation
        matrix is with its first correlation, and zero where the matrix is not defined.
    """
    densities = np.zeros(quantities.shape)
    names = [row.name for row in priors.rows]
    sigma = quantities[:, names.index("sigma")] if "sigma" in names else np.full(len(quantities), priors.known_sigma)
    with inside_jax():
        for j, row in enumerate(priors.rows):
            if row.kind != "cor":
                numbers = {name: np.float64(value) for name, value in row.prior.numbers.items()}
                scale = None if row.kind in ("fixed", "exponent") else row.prior.stated_for
                found = _log_density(row.prior.family, scale, numbers, quantities[:, j], sigma)
                densities[:, j] = np.broadcast_to(np.asarray(found), densities[:, j].shape)
    for piece in priors.matrices:
        own = [names.index(name) for name in piece.rows]
        found = piece.log_density(priors.of_matrix(piece), quantities[:, own])
        densities[:, own[0]] = np.where(np.isnan(found), 0.0, found)
    return densities


@partial(jax.jit, static_argnums=(0, 1), compiler_options={"xla_backend_optimization_level": 0})
def _log_density(family: str, scale: Scale | None, numbers: Mapping[str, Any], x: Any, sigma: Any) -> jax.Array:
    if scale is None:
        return jnp.asarray(distribution(family, numbers, (), "real line").log_prob(x))
    inside = jnp.maximum(x, jnp.finfo(x.dtype).tiny)  # an sd of zero has the density next to it
    return log_spread_density(family, scale, numbers, inside, sigma)


def _correlation_slopes(priors: ResolvedPriors, labels: Labels, values: np.ndarray) -> np.ndarray:
    """Of the densities of correlation matrices."""
    names = [row.name for row in priors.rows if row.kind == "cor"]
    slopes = np.zeros(len(names))
    for piece in priors.matrices:
        own = [names.index(name) for name in piece.rows]
        slopes[own] = piece.log_slopes(priors.of_matrix(piece), values[own])
    return slopes
