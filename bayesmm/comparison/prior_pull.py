"""How far the priors move the posterior means, to first order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from bayesmm.bayes.distributions import distribution
from bayesmm.specification.priors import LKJ, Flat, Prior

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
    C ∇log prior, with C the posterior covariance of the parameters. Exact where likelihood and priors are normal, since
    then the posterior mean is θ̂ + C ∇log prior(θ̂); else the first-order answer.
    """
    covariance = np.atleast_2d(np.cov(draws, rowvar=False))
    sd = np.sqrt(np.diag(covariance))
    slopes = prior_slopes(posterior.priors, posterior.labels, values)
    return covariance * slopes / np.where(sd > 0, sd, 1.0)[:, None]


def prior_slopes(priors: ResolvedPriors, labels: Labels, values: pd.Series) -> np.ndarray:
    """Differentiate the log prior density by every parameter of the table.

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
    array, shape (m,)
    """
    kinds = np.array([row.kind for row in priors.rows])
    x = values.loc[[row.name for row in priors.rows]].to_numpy()
    is_fixed, is_spread = kinds == "fixed", (kinds == "sd") | (kinds == "sigma")
    slopes = np.zeros(len(x))
    fixed = [row.prior for row in priors.rows if row.kind == "fixed"]
    slopes[is_fixed] = priors.contrast.T @ _slopes(fixed, priors.contrast @ x[is_fixed])
    spreads = [row.prior for row in priors.rows if row.kind in ("sd", "sigma")]
    slopes[is_spread] = _spread_slopes(spreads, x[is_spread])
    slopes[kinds == "cor"] = _correlation_slopes(priors, labels, values)
    return slopes


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


def _spread_slopes(priors: Sequence[Prior], sd: np.ndarray) -> np.ndarray:
    """By the standard deviation, where the prior may be stated for its square: p(sd) = p(sd²) 2 sd."""
    squared = np.array([prior.stated_for == "variance" for prior in priors], dtype=bool)
    slopes = _slopes(priors, np.where(squared, sd**2, sd))
    return np.where(squared, 2.0 * sd * slopes + 1.0 / sd, slopes)


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
