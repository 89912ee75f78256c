"""A posterior as the numerics take it: draws flat over chains, thinned, covariances as factors; sums over the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from bayesmm.bayes.residual_draws import read_residual
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.covariance.public import assemble_covariance
from bayesmm.design.blocks.labels import RESIDUAL_COR, RESIDUAL_SD, Labels
from bayesmm.errors import ArgumentError
from bayesmm.inside_jax import inside_jax
from bayesmm.marginal.in_jax.density import FixedPrior
from bayesmm.marginal.in_jax.hosted import is_hosted
from bayesmm.marginal.leave_out.left_out import Draw
from bayesmm.presenting.progress import SILENT, Bar

BATCH = 4_000_000  # numbers held at once, 32 MB
MOST_CALLS = 50  # of the compiled program: between two a person sees how far it is; 200 took no longer than one


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
    residual : array, shape (D, f), or None
        Of the covariance of the residuals: logarithms of ratios of standard deviations to σ and exponents, then
        correlations.
    """

    chosen: np.ndarray | slice
    shape: tuple[int, int]
    beta: np.ndarray
    covariances: tuple[np.ndarray, ...]
    sigma: np.ndarray
    residual: np.ndarray | None = None

    def factors(self) -> tuple[np.ndarray, ...]:
        """F of each grouping factor with Var(b) = FF', shapes (D, k, k); singular covariances are ordinary."""
        factors = []
        for covariance in self.covariances:
            values, vectors = np.linalg.eigh(covariance)
            factors.append(vectors * np.sqrt(np.maximum(values, 0.0))[:, None])
        return tuple(factors)

    def sampled_factors(self, to_columns: Sequence[Any]) -> tuple[np.ndarray, ...]:
        """Return the factors T⁻¹L that the sampler has, L lower triangular of Var(Tb), also where that is singular.

        Parameters
        ----------
        to_columns : sequence of array, shapes (k, k)
            T⁻¹ of each grouping factor, see `bayesmm.bayes.programs.covariances.CovarianceData`.
        """
        factors = []
        for factor, back in zip(self.factors(), map(np.asarray, to_columns), strict=True):
            upper = np.linalg.qr(np.linalg.solve(back, factor).swapaxes(1, 2), mode="r")
            signs = np.where(np.diagonal(upper, axis1=1, axis2=2) < 0, -1.0, 1.0)
            factors.append(back @ (signs[:, :, None] * upper).swapaxes(1, 2))
        return tuple(factors)


def read_draws(posterior: DrawnModel, draws: int | None = None) -> ParameterDraws:
    """Read the parameters off a posterior.

    Parameters
    ----------
    posterior : DrawnModel
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
    known = posterior.data["posterior"].data_vars
    sites = {name: _flat(posterior.draws(name), chosen) for name in (RESIDUAL_SD, RESIDUAL_COR) if name in known}
    return ParameterDraws(
        chosen=chosen,
        shape=sigma[:, chosen].shape,
        beta=_flat(posterior.beta, chosen),
        covariances=read_covariances(posterior, posterior.labels, chosen),
        sigma=_flat(sigma, chosen),
        residual=read_residual(posterior.design, sites, _flat(sigma, chosen)),
    )


def read_covariances(posterior: DrawnModel, labels: Labels, chosen: np.ndarray | slice) -> tuple[np.ndarray, ...]:
    """Make the covariance matrices (D, k, k) of each grouping factor, of its own effects or of more."""
    covariances, none = [], np.zeros((len(_flat(posterior.sigma, chosen)), 0))
    for block in labels.blocks:
        sd = _flat(posterior.draws(block.sd_variable), chosen) if block.sds else none
        cor = _flat(posterior.draws(block.cor_variable), chosen) if block.cors else none
        covariances.append(assemble_covariance(np, sd, cor, block.pieces))
    return tuple(covariances)


def _flat(values: np.ndarray, chosen: np.ndarray | slice) -> np.ndarray:
    kept = values[:, chosen]
    return kept.reshape(kept.shape[0] * kept.shape[1], *kept.shape[2:])  # also of no coefficients


def _choose(draws: int | None, chains: int, length: int) -> np.ndarray | slice:
    if draws is None:
        return slice(None)
    if isinstance(draws, bool) or not isinstance(draws, (int, np.integer)) or draws < 1:
        raise ArgumentError(f"draws is {draws!r}: give a whole number of at least 1, or None for all.")
    count = min(max(int(draws) // chains, 1), length)
    return np.linspace(0, length - 1, count).round().astype(int)


def stack_draws(draws: ParameterDraws, prior: FixedPrior) -> Draw:
    """Return the draws as the marginal likelihood takes them, with the coefficients that it does not integrate out."""
    leaves: dict[str, Any] = {  # NumPy arrays in the place of JAX ones
        "factors": draws.factors(),
        "sigma": draws.sigma,
        "beta": draws.beta[:, np.asarray(prior.sampled)],
        "residual": draws.residual,
    }
    return Draw(**leaves)


def map_draws(
    evaluate: Callable[..., Any],
    arguments: tuple[Any, ...],
    draws: Any,
    *,
    bar: Bar = SILENT,
    whole: int | None = None,
) -> Any:
    """Evaluate every draw, as many at a time as fit.

    Parameters
    ----------
    evaluate : callable
        Compiled; takes the arguments, draws, and how many at a time.
    arguments : tuple
        The same for all draws.
    draws : Draw, or another named tuple with ``sigma``
        First axis that of the draws.
    bar : Bar, optional
        Told of every draw that is evaluated.
    whole : int, optional
        Of how many draws this is a part, perhaps the last and shorter: one compiled program then serves all parts.

    Returns
    -------
    pytree of NumPy arrays
        Draws first.
    """
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(arguments))
    n_draws = len(draws.sigma)
    total = whole or n_draws
    batch = 1 if is_hosted(arguments) else min(max(BATCH // size, 1), total)
    n_batches = -(-total // batch)
    n_calls = -(-n_batches // -(-n_batches // MOST_CALLS))
    length = batch * -(-n_batches // n_calls)  # all calls have as many: a shorter one would be compiled once more
    values: Any = None
    with inside_jax():
        held = jax.device_put(arguments)
        for start in range(0, n_draws, length):
            some = jax.tree.map(lambda x, start=start: _fill(x[start : start + length], length), draws)
            own = slice(start, min(start + length, n_draws))
            found = jax.tree.map(lambda x, n=own.stop - start: np.asarray(x)[:n], evaluate(*held, some, batch))
            bar.advance(own.stop - start)
            if length >= n_draws:
                return found
            if values is None:
                values = jax.tree.map(lambda x: np.empty((n_draws, *x.shape[1:]), x.dtype), found)
            for filled, part in zip(jax.tree.leaves(values), jax.tree.leaves(found), strict=True):
                filled[own] = part
    return values


def _fill(values: np.ndarray, length: int) -> np.ndarray:
    """Repeat the last of too few draws."""
    lacking = length - len(values)
    return np.concatenate([values, np.repeat(values[-1:], lacking, axis=0)]) if lacking else values
