"""Exact draws and moments, in JAX, of what the density of the data integrates out.

The legend is that of `bayesmm.marginal.likelihood.likelihood`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import eliminate
from bayesmm.marginal.elimination.inverse import invert_on_pattern
from bayesmm.marginal.elimination.levels import related_covariances
from bayesmm.marginal.in_jax import traced
from bayesmm.marginal.in_jax.density import FixedPrior, fixed_posterior
from bayesmm.marginal.in_jax.hosted import HostedProducts, draw_on_host, moments_on_host, reduce_on_host
from bayesmm.marginal.likelihood.likelihood import condition_factors
from bayesmm.marginal.sums.crossproducts import CrossProducts


class Effects(NamedTuple):
    """Fixed and random effects: β (p,) and b per grouping factor, (q, k) with padded levels."""

    beta: Float[Array, " p"]
    b: tuple[Float[Array, "q k"], ...]


def draw_effects(
    products: CrossProducts | HostedProducts,
    factors: Sequence[Float[Array, "k k"]],
    sigma: Float[Array, ""],
    prior: FixedPrior,
    key: Array | None,
    sampled_beta: Float[Array, " s"] | None = None,
) -> Effects:
    """Draw β and all random effects exactly from their conditional Gaussian; their means where `key` is None."""
    conditioned = condition_factors(traced, products, factors)
    if isinstance(products, HostedProducts):
        return _draw_hosted(products, conditioned, sigma, prior, key, sampled_beta)
    elimination, absorbed = eliminate(traced, products, conditioned)
    fixed = fixed_posterior(absorbed.reduced, sigma, prior, sampled_beta)
    fixed_noise, noise = _noise(products, sigma, prior.mean.shape[0], key)
    gamma = fixed.drawn(fixed_noise)
    combination = fixed.combination(prior, gamma)[:, None]
    effects = solve_effects(traced, products, elimination, absorbed, combination, noise).effects
    effects = products.at_levels(effects)
    b = (traced.solve_upper(T, bf[:, 0]).T for T, bf in zip(products.effect_roots, effects, strict=True))
    return Effects(_coefficients_at(prior, gamma, sampled_beta), tuple(b))


def _draw_hosted(
    products: HostedProducts,
    conditioned: Sequence[Float[Array, "k k"]],
    sigma: Float[Array, ""],
    prior: FixedPrior,
    key: Array | None,
    sampled_beta: Float[Array, " s"] | None,
) -> Effects:
    fixed = fixed_posterior(reduce_on_host(products, conditioned), sigma, prior, sampled_beta)
    own, others = (None, None) if key is None else jax.random.split(key)
    gamma = fixed.drawn(0.0 if own is None else jax.random.normal(own, prior.mean.shape))
    b = draw_on_host(products, conditioned, sigma, fixed.combination(prior, gamma), others)
    return Effects(_coefficients_at(prior, gamma, sampled_beta), b)


def _coefficients_at(
    prior: FixedPrior, gamma: Float[Array, " f"], sampled: Float[Array, " s"] | None
) -> Float[Array, " p"]:
    return all_coefficients(prior, prior.origin + traced.solve_upper(prior.root, gamma), sampled)


def all_coefficients(
    prior: FixedPrior, free: Float[Array, " f"], sampled: Float[Array, " s"] | None
) -> Float[Array, " p"]:
    """Put integrated and sampled coefficients in their places; zeros where nothing is sampled."""
    every = jnp.zeros(prior.free.shape[0] + prior.sampled.shape[0]).at[prior.free].set(free)
    return every if sampled is None else every.at[prior.sampled].set(sampled)


def _noise(
    products: CrossProducts, sigma: Float[Array, ""], n_free: int, key: Array | None
) -> tuple[Array, list[Array] | None]:
    if key is None:
        return jnp.zeros(n_free), None
    shapes = [(K.shape[0], 1, K.shape[2]) for K in products.cross]
    keys = jax.random.split(key, len(shapes) + 1)
    noise = [sigma * jax.random.normal(k, shape) for k, shape in zip(keys[1:], shapes, strict=True)]
    # compilers would make each number anew wherever it is used
    return jax.lax.optimization_barrier((jax.random.normal(keys[0], (n_free,)), noise))


class Moments(NamedTuple):
    """Means and variances of β (p,) and of b per grouping factor, (q, k) with padded levels."""

    beta_mean: Float[Array, " p"]
    beta_variance: Float[Array, " p"]
    b_mean: tuple[Float[Array, "q k"], ...]
    b_variance: tuple[Float[Array, "q k"], ...]


def effect_moments(
    products: CrossProducts | HostedProducts,
    factors: Sequence[Float[Array, "k k"]],
    sigma: Float[Array, ""],
    prior: FixedPrior,
    sampled_beta: Float[Array, " s"] | None = None,
) -> Moments:
    """Return the moments of the conditional Gaussian that `draw_effects` draws from.

    Notes
    -----
    With B = ΛH⁻¹Λ'Z'W[X y] and γ ~ N(m, (LL')⁻¹): E b = B(d − Em, 1) and Var b = σ²ΛH⁻¹Λ' + (B_X E)(LL')⁻¹(B_X E)'.
    """
    conditioned = condition_factors(traced, products, factors)
    if isinstance(products, HostedProducts):
        fixed = fixed_posterior(reduce_on_host(products, conditioned), sigma, prior, sampled_beta)
        gamma, inverse_root = fixed.mean, fixed.inverse_root
        combination, spread = fixed.combination(prior, gamma), prior.basis @ inverse_root
        b = moments_on_host(products, conditioned, sigma, combination, spread)
        return Moments(
            *_coefficient_moments(prior, gamma, inverse_root, sampled_beta), tuple(b.mean), tuple(b.variance)
        )
    elimination, absorbed = eliminate(traced, products, conditioned)
    fixed = fixed_posterior(absorbed.reduced, sigma, prior, sampled_beta)
    gamma, inverse_root = fixed.mean, fixed.inverse_root
    combination = fixed.combination(prior, gamma)
    solved = products.at_levels(solve_effects(traced, products, elimination, absorbed).effects)
    inverse = invert_on_pattern(traced, products, elimination, conditioned).diagonal
    for f, V in enumerate(products.level_roots):
        if V is not None:
            inverse[f] = related_covariances(traced, products, elimination, f)
    means, variances = [], []
    for T, B, C in zip(products.effect_roots, solved, inverse, strict=True):
        back = traced.solve_upper(T, jnp.eye(len(T)))  # b = T⁻¹ on the conditioned columns
        means.append((back @ jnp.tensordot(B, combination, axes=(1, 0))).T)
        moved = jnp.einsum("ij,jcq,cf->ifq", back, B[:, :-1], prior.basis @ inverse_root)
        own = jnp.einsum("ij,jlq,il->iq", back, C, back)
        variances.append((sigma**2 * own + (moved**2).sum(axis=1)).T)
    return Moments(*_coefficient_moments(prior, gamma, inverse_root, sampled_beta), tuple(means), tuple(variances))


def _coefficient_moments(
    prior: FixedPrior, gamma: Float[Array, " f"], inverse_root: Float[Array, "f f"], sampled: Float[Array, " s"] | None
) -> tuple[Float[Array, " p"], Float[Array, " p"]]:
    """Mean and variance of β."""
    free = traced.solve_upper(prior.root, jnp.column_stack([gamma, inverse_root]))
    beta = all_coefficients(prior, prior.origin + free[:, 0], sampled)
    return beta, all_coefficients(prior, (free[:, 1:] ** 2).sum(axis=1), None)
