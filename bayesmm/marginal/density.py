"""The log density of the data in JAX, for the sampler, and exact draws of what it integrates out.

The legend is that of `bayesmm.marginal.likelihood`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jaxtyping import Array, Float

from bayesmm.marginal import traced
from bayesmm.marginal.crossproducts import CrossProducts
from bayesmm.marginal.effects import invert_on_pattern, solve_effects
from bayesmm.marginal.elimination import Reduced, eliminate
from bayesmm.marginal.likelihood import condition_factors, reduce_products
from bayesmm.marginal.linalg import batched_cholesky


class FixedPrior(NamedTuple):
    """A Gaussian prior on the fixed effects to be integrated out, seen from the conditioned columns.

    Of the user's p coefficients some are sampled, the others integrated: β_f ~ N(mean, precision⁻¹), a precision of
    zero being flat. With R the root of the user's columns and R[:, f] = E R_f, those are γ = R_f(β_f − β̂_f).

    Attributes
    ----------
    basis : array, shape (c − 1, f)
        E, padded with zero rows.
    root : array, shape (f, f)
        R_f.
    mean, precision : arrays, shapes (f,), (f, f)
        Of γ.
    log_normaliser : scalar
        ½ log|precision of β_f|₊ − ½ rank log 2π.
    sampled_root : array, shape (c − 1, s)
        R[:, s], padded with zero rows.
    origin, sampled_origin : arrays, shapes (f,), (s,)
        Least-squares coefficients β̂.
    free, sampled : integer arrays
        Positions of the integrated and of the sampled coefficients among the p.
    """

    basis: Float[Array, "r f"]
    root: Float[Array, "f f"]
    mean: Float[Array, " f"]
    precision: Float[Array, "f f"]
    log_normaliser: Float[Array, ""]
    sampled_root: Float[Array, "r s"]
    origin: Float[Array, " f"]
    sampled_origin: Float[Array, " s"]
    free: Array
    sampled: Array


class FixedPosterior(NamedTuple):
    """The conditional Gaussian of γ: N(Q⁻¹h, Q⁻¹), and the shift d of y by the sampled coefficients."""

    Q: Float[Array, "f f"]
    h: Float[Array, " f"]
    shift: Float[Array, " r"]
    s: Float[Array, ""]

    @property
    def mean(self) -> Float[Array, " f"]:
        """Mean of γ."""
        return self.drawn(0.0)

    @property
    def spread(self) -> Float[Array, "f f"]:
        """L⁻ᵀ with Q = LL': the covariance of γ is this times its transpose."""
        return traced.invert_root(self.Q).T

    def drawn(self, noise: Float[Array, " f"] | float) -> Float[Array, " f"]:
        """Draw γ by standard normal numbers."""
        spread = self.spread
        return spread @ (self.h @ spread + noise)

    def combination(self, prior: FixedPrior, gamma: Float[Array, " f"]) -> Float[Array, " c"]:
        """Combine [X y] into what is left of y once γ and the sampled coefficients are taken away."""
        return jnp.append(self.shift - prior.basis @ gamma, 1.0)


def fixed_posterior(
    reduced: Reduced, sigma: Float[Array, ""], prior: FixedPrior, sampled_beta: Float[Array, " s"] | None
) -> FixedPosterior:
    """Condition the fixed effects on the data, with the random effects integrated out."""
    A, c, s = reduced.gram[:-1, :-1], reduced.gram[:-1, -1], reduced.gram[-1, -1]
    shift = jnp.zeros_like(c)
    if sampled_beta is not None:
        shift = prior.sampled_root @ (prior.sampled_origin - sampled_beta)
        c, s = c + A @ shift, s + 2.0 * c @ shift + shift @ A @ shift
    E = prior.basis
    precision = traced.transform(E, traced.transform(E, A).T) / sigma**2 + prior.precision
    h = traced.transform(E, c) / sigma**2 + prior.precision @ prior.mean
    return FixedPosterior(precision, h, shift, s)


def log_density(
    products: CrossProducts,
    factors: Sequence[Float[Array, "k k"]],
    sigma: Float[Array, ""],
    prior: FixedPrior,
    sampled_beta: Float[Array, " s"] | None = None,
) -> Float[Array, ""]:
    """Return log p(y | Λ, σ, sampled β), the remaining β and all random effects integrated out.

    Parameters
    ----------
    products : CrossProducts
        Cross-products of one design.
    factors : sequence of arrays, shapes (k, k)
        Λ of each grouping factor on the user's columns; any square factor.
    sigma : scalar
        Residual standard deviation.
    prior : FixedPrior
        From `bayesmm.marginal.fixed_prior.condition_prior`.
    sampled_beta : array, shape (s,), optional
        Values of the coefficients that are not integrated.

    Notes
    -----
    With precision P and mean m of γ: −½[log|H| − Σ log wᵢ + n log(2πσ²) + s/σ² + m'Pm − h'(A/σ² + P)⁻¹h
    + log|A/σ² + P|] plus the constants of the prior and of the change of columns.
    """
    reduced = _reduce(products, condition_factors(traced, products, factors))
    return read_density(reduced, sigma, prior, sampled_beta, n=products.n, log_weights=products.log_weights)


@jax.custom_vjp
def _reduce(products: CrossProducts, factors: list[Float[Array, "k k"]]) -> Reduced:
    """log|H| and S, with derivatives in closed form with respect to the factors."""
    return reduce_products(traced, products, factors)


class _Slopes(NamedTuple):
    """What the derivatives are made of: Z'Ṽ⁻¹[X y], Σ Z_i'Ṽ⁻¹Z_iΛ and Λ of each factor."""

    residual: list[Float[Array, "k c q"]]
    influence: list[Float[Array, "k k"]]
    factors: list[Float[Array, "k k"]]


def _reduce_forward(products: Any, factors: Any) -> tuple[Reduced, _Slopes]:
    """Evaluate; leaves come with whether they are differentiated."""
    if any(leaf.perturbed for leaf in jax.tree.leaves(products, is_leaf=_is_primal)):
        raise NotImplementedError("The log density is differentiated with respect to the parameters, not to the data.")
    products, factors = jax.tree.map(lambda leaf: leaf.value, (products, factors), is_leaf=_is_primal)
    elimination, absorbed = eliminate(traced, products, factors)
    residual = solve_effects(traced, products, elimination, absorbed).residual
    influence = invert_on_pattern(traced, products, elimination, factors).influence
    return absorbed.reduced, _Slopes(residual, influence, factors)


def _is_primal(leaf: Any) -> bool:
    return isinstance(leaf, CustomVJPPrimal)


def _reduce_backward(slopes: _Slopes, cotangent: Any) -> tuple[None, list[Float[Array, "k k"]]]:
    """Apply d log|H| = 2 tr Λ'Z'Ṽ⁻¹Z dΛ and dS = −R'(dΛ Λ' + Λ dΛ')R with R = Z'Ṽ⁻¹[X y]."""
    log_det, gram = (jnp.zeros(x.shape) if isinstance(x, SymbolicZero) else x for x in cotangent)
    weights = gram + gram.T
    return None, [
        2.0 * log_det * Q - traced.transform(traced.sum_outer(R, weights), L) for R, Q, L in zip(*slopes, strict=True)
    ]


_reduce.defvjp(_reduce_forward, _reduce_backward, symbolic_zeros=True)


def read_density(
    reduced: Reduced,
    sigma: Float[Array, ""],
    prior: FixedPrior,
    sampled_beta: Float[Array, " s"] | None,
    *,
    n: Float[Array, ""],
    log_weights: Float[Array, ""],
) -> Float[Array, ""]:
    """Read log p(y | Λ, σ, sampled β) off a reduction of n rows, whose logarithms of weights have this sum."""
    Q, h, _, s = fixed_posterior(reduced, sigma, prior, sampled_beta)
    log_det, square = _complete_square(Q, h)
    n_free = prior.mean.shape[0]
    quadratic = s / sigma**2 + prior.mean @ prior.precision @ prior.mean - square
    log_dets = reduced.log_det - log_weights + log_det
    log_dets += 2.0 * jnp.log(jnp.abs(jnp.diag(prior.root))).sum()
    scale = n * jnp.log(2.0 * jnp.pi * sigma**2) - n_free * jnp.log(2.0 * jnp.pi)
    return prior.log_normaliser - 0.5 * (log_dets + scale + quadratic)


def _complete_square(Q: Float[Array, "f f"], h: Float[Array, " f"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """log|Q| and h'Q⁻¹h."""
    if traced.is_written_out(Q):
        diagonal, w = batched_cholesky(jnp, Q[..., None], h[:, None, None])
        return 2.0 * jnp.log(diagonal).sum(), (w**2).sum()
    log_det, square = traced.reduce(Q[None], h[None, :, None])
    return log_det[0], square[0, 0, 0]


class Effects(NamedTuple):
    """Fixed and random effects: β (p,) and b per grouping factor, (q, k) with padded levels."""

    beta: Float[Array, " p"]
    b: tuple[Float[Array, "q k"], ...]


def draw_effects(
    products: CrossProducts,
    factors: Sequence[Float[Array, "k k"]],
    sigma: Float[Array, ""],
    prior: FixedPrior,
    key: Array | None,
    sampled_beta: Float[Array, " s"] | None = None,
) -> Effects:
    """Draw β and all random effects exactly from their conditional Gaussian; their means where `key` is None."""
    elimination, absorbed = eliminate(traced, products, condition_factors(traced, products, factors))
    fixed = fixed_posterior(absorbed.reduced, sigma, prior, sampled_beta)
    fixed_noise, noise = _noise(products, sigma, prior.mean.shape[0], key)
    gamma = fixed.drawn(fixed_noise)
    combination = fixed.combination(prior, gamma)[:, None]
    effects = solve_effects(traced, products, elimination, absorbed, combination, noise).effects
    b = (traced.solve_upper(T, bf[:, 0]).T for T, bf in zip(products.effect_roots, effects, strict=True))
    return Effects(
        _all_coefficients(prior, prior.origin + traced.solve_upper(prior.root, gamma), sampled_beta), tuple(b)
    )


def _all_coefficients(
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
    products: CrossProducts,
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
    elimination, absorbed = eliminate(traced, products, conditioned)
    fixed = fixed_posterior(absorbed.reduced, sigma, prior, sampled_beta)
    gamma, spread = fixed.mean, fixed.spread
    combination = fixed.combination(prior, gamma)
    solved = solve_effects(traced, products, elimination, absorbed).effects
    inverse = invert_on_pattern(traced, products, elimination, conditioned).diagonal
    means, variances = [], []
    for T, B, C in zip(products.effect_roots, solved, inverse, strict=True):
        back = traced.solve_upper(T, jnp.eye(len(T)))  # b = T⁻¹ on the conditioned columns
        means.append((back @ jnp.tensordot(B, combination, axes=(1, 0))).T)
        moved = jnp.einsum("ij,jcq,cf->ifq", back, B[:, :-1], prior.basis @ spread)
        own = jnp.einsum("ij,jlq,il->iq", back, C, back)
        variances.append((sigma**2 * own + (moved**2).sum(axis=1)).T)
    free = traced.solve_upper(prior.root, jnp.column_stack([gamma, spread]))
    beta = _all_coefficients(prior, prior.origin + free[:, 0], sampled_beta)
    variance = _all_coefficients(prior, (free[:, 1:] ** 2).sum(axis=1), None)
    return Moments(beta, variance, tuple(means), tuple(variances))
