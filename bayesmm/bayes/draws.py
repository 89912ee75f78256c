"""Draws of a posterior as the numerics take them: flat over chains, thinned, covariances as factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayesmm.bayes.quantities import assemble_covariance
from bayesmm.errors import ArgumentError

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior


@dataclass(frozen=True, kw_only=True)
class ParameterDraws:
    """Draws of all parameters but the random effects, chains one after the other.

    Attributes
    ----------
    chosen : int array, shape (d,), or slice
        Which draws of each chain; all as a slice, so that nothing is copied.
    shape : (int, int)
        Chains, and draws of each.
    beta : array, shape (D, p)
        Coefficients.
    covariances : tuple of arrays, shapes (D, k, k)
        Of the effects of one level of each grouping factor.
    sigma : array, shape (D,)
        Residual standard deviation.
    """

    chosen: np.ndarray | slice
    shape: tuple[int, int]
    beta: np.ndarray
    covariances: tuple[np.ndarray, ...]
    sigma: np.ndarray

    def factors(self) -> tuple[np.ndarray, ...]:
        """F of each grouping factor with Var(b) = FF', shapes (D, k, k); singular covariances are ordinary."""
        factors = []
        for covariance in self.covariances:
            values, vectors = np.linalg.eigh(covariance)
            factors.append(vectors * np.sqrt(np.maximum(values, 0.0))[:, None])
        return tuple(factors)


def read_draws(posterior: Posterior, draws: int | None = None) -> ParameterDraws:
    """Read the parameters off a posterior.

    Parameters
    ----------
    posterior : Posterior
        The draws.
    draws : int, optional
        How many to read at most, equally spaced in every chain; all by default.

    Raises
    ------
    ArgumentError
        If that is no positive whole number.
    """
    sigma = posterior.sigma
    chosen = _choose(draws, *sigma.shape)

    def flat(values: np.ndarray) -> np.ndarray:
        return values[:, chosen].reshape(-1, *values.shape[2:])

    covariances = []
    for block in posterior.labels.blocks:
        sd = flat(posterior.draws(block.sd_variable))
        cor = flat(posterior.draws(block.cor_variable)) if block.pairs else np.zeros((len(sd), 0))
        covariances.append(assemble_covariance(sd, cor, block.pairs))
    return ParameterDraws(
        chosen=chosen,
        shape=sigma[:, chosen].shape,
        beta=flat(posterior.beta),
        covariances=tuple(covariances),
        sigma=flat(sigma),
    )


def _choose(draws: int | None, chains: int, length: int) -> np.ndarray | slice:
    if draws is None:
        return slice(None)
    if isinstance(draws, bool) or not isinstance(draws, (int, np.integer)) or draws < 1:
        raise ArgumentError(f"draws is {draws!r}: give a whole number of at least 1, or None for all.")
    count = min(max(int(draws) // chains, 1), length)
    return np.linspace(0, length - 1, count).round().astype(int)
