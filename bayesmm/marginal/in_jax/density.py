"""The log density of the data in JAX, for the sampler.

The legend is that of `bayesmm.marginal.likelihood.likelihood`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayesmm.marginal.arrays.linalg import batched_cholesky
from bayesmm.marginal.elimination.elimination import Reduced
from bayesmm.marginal.in_jax import traced
from bayesmm.marginal.in_jax.hosted import HostedProducts
from bayesmm.marginal.in_jax.reduction import reduce_by_sums, reduce_with_derivatives
from bayesmm.marginal.likelihood.likelihood import condition_factors
from bayesmm.marginal.sums.crossproducts import CrossProducts


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
        ½ log|precision of β_f|₊ − ½ rank log 2π + ½ f log 2π − log|R_f|: of the prior, and of integrating γ.
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
    def inverse_root(self) -> Float[Array, "f f"]:
        """L⁻ᵀ with Q = LL': the covariance of γ is this times its transpose."""
        return traced.invert_root(self.Q).T

    def drawn(self, noise: Float[Array, " f"] | float) -> Float[Array, " f"]:
        """Draw γ by standard normal numbers."""
        inverse_root = self.inverse_root
        return inverse_root @ (self.h @ inverse_root + noise)

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
    products: CrossProducts | HostedProducts,
    factors: Sequence[Float[Array, "k k"]],
    sigma: Float[Array, ""],
    prior: FixedPrior,
    sampled_beta: Float[Array, " s"] | None = None,
    *,
    by_sums: bool = False,
) -> Float[Array, ""]:
    """Return log p(y | Λ, σ, sampled β), the remaining β and all random effects integrated out.

    Parameters
    ----------
    products : CrossProducts or HostedProducts
        Cross-products of one design.
    factors : sequence of arrays, shapes (k, k)
        Λ of each grouping factor on the user's columns; any square factor.
    sigma : scalar
        Residual standard deviation.
    prior : FixedPrior
        From `bayesmm.marginal.in_jax.fixed_prior.condition_prior`.
    sampled_beta : array, shape (s,), optional
        Values of the coefficients that are not integrated.
    by_sums : bool
        Whether it is to have derivatives by the sums over the rows too, which then are functions of parameters.

    Notes
    -----
    With precision P and mean m of γ: −½[log|H| − Σ log wᵢ + n log(2πσ²) + s/σ² + m'Pm − h'(A/σ² + P)⁻¹h
    + log|A/σ² + P|] plus the constants of the prior and of the change of columns.
    """
    conditioned = condition_factors(traced, products, factors)
    if by_sums and isinstance(products, CrossProducts):
        reduced = reduce_by_sums(products, conditioned)
    else:
        reduced = reduce_with_derivatives(products, conditioned)
    return read_density(reduced, sigma, prior, sampled_beta, n=products.n, log_weights=products.log_weights)


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
    quadratic = s / sigma**2 + prior.mean @ prior.precision @ prior.mean - square
    scale = n * jnp.log(2.0 * jnp.pi * sigma**2)
    return prior.log_normaliser - 0.5 * (reduced.log_det - log_weights + log_det + scale + quadratic)


@jax.custom_jvp
def _complete_square(Q: Float[Array, "f f"], h: Float[Array, " f"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """log|Q| and h'Q⁻¹h."""
    if traced.is_written_out(Q):
        diagonal, root = _inverse_root(Q)
        return 2.0 * jnp.log(diagonal).sum(), ((root * h).sum(1) ** 2).sum()
    log_det, square = traced.reduce(Q[None], h[None, :, None])
    return log_det[0], square[0, 0, 0]


@_complete_square.defjvp
def _complete_square_jvp(primals, tangents):
    """Apply d log|Q| = ⟨Q⁻¹, dQ⟩ and d(h'Q⁻¹h) = 2m'dh − m'dQ m, m = Q⁻¹h: derivatives of the steps compile longer."""
    (Q, h), (dQ, dh) = primals, tangents
    if traced.is_written_out(Q):
        root = _inverse_root(Q)[1]
        inverse = (root[:, :, None] * root[:, None]).sum(0)
    else:
        inverse = traced.invert(Q)
    m = (inverse * h).sum(1)
    return _complete_square(Q, h), ((inverse * dQ).sum(), 2.0 * (m * dh).sum() - (m[:, None] * m * dQ).sum())


def _inverse_root(Q: Float[Array, "f f"]) -> tuple[Float[Array, " f"], Float[Array, "f f"]]:
    """Diagonal of L, and L⁻¹."""
    diagonal, root = batched_cholesky(jnp, Q[..., None], np.eye(len(Q))[..., None])
    return diagonal[:, 0], root[..., 0]
