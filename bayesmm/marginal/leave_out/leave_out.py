"""What the rest of the data say about rows that are left out, in closed form for one draw of the covariances; in JAX.

For rows g with U'U = [X Z]_g'W_g[X Z]_g, and σ²M the conditional covariance of fixed and random effects given all of y,

    T = I − UMU',    v = the conditional residual, turned as U is,
    log p(y_g | y_-g) = −½[n_g log 2πσ² − Σ log wᵢ − log|T| + (rest + v'T⁻¹v)/σ²]

where rest is the part of y_g'W_gy_g that no effect can reach. For one row 1 − T is its leverage h, and
y_i | y_-i ~ N(y_i − r_i/(1 − h), σ²/(w_i(1 − h))), the textbook's deleted residual: nothing is refitted, and no matrix
of rows by rows is formed.

The legend is that of `bayesmm.marginal.likelihood.likelihood`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ops import segment_sum
from jax.scipy.linalg import block_diag, cho_factor, cho_solve, solve_triangular
from jaxtyping import Array, Float

from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import batched_cholesky, contract, sandwich
from bayesmm.marginal.elimination.elimination import Elimination, Reduced, eliminate
from bayesmm.marginal.in_jax import traced
from bayesmm.marginal.in_jax.density import FixedPosterior, FixedPrior, fixed_posterior, read_density
from bayesmm.marginal.in_jax.hosted import Host, HostedProducts, call_host, of_shape
from bayesmm.marginal.leave_out.explained import Explained, explain_rows
from bayesmm.marginal.leave_out.left_out import ApartGroups, CrossedGroups, Draw, RowGroups, TogetherGroups
from bayesmm.marginal.likelihood.likelihood import condition_factors
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.related import Relating


class LeftOut(NamedTuple):
    """What all other rows say about each group: Cholesky factors of T, and v/σ."""

    root: Float[Array, "G r r"]
    residual: Float[Array, "G r"]


def leave_together(
    products: CrossProducts | HostedProducts,
    prior: FixedPrior,
    groups: TogetherGroups,
    draw: Draw,
    relating: Relating | None = None,
) -> LeftOut:
    """Leave out each group of rows that share their levels; C is needed on the pattern of Z'WZ only."""
    conditioned = _relative(products, draw)
    if isinstance(products, HostedProducts):
        size = groups.rows.fixed.shape[:2]
        reduced = Reduced(of_shape(), of_shape(*products.gram.shape))
        shapes = Explained(reduced, of_shape(*groups.rows.fixed.shape), of_shape(*size, size[1]))
        found = call_host(_explain, shapes, products, conditioned)
    else:
        found = explain_rows(traced, products, conditioned, groups, relating)
    fixed = fixed_posterior(found.reduced, draw.sigma, prior, draw.beta)
    return _leave_out(found.columns, found.known, fixed, prior, draw)


def _explain(at: Host, factors: list[Any]) -> Explained:
    return explain_rows(host, at.products, factors, at.groups)


def leave_crossed(products: CrossProducts, prior: FixedPrior, groups: CrossedGroups, draw: Draw) -> LeftOut:
    """Leave out any groups of rows, with C in full."""
    conditioned = _relative(products, draw)
    entries = block_diag(*conditioned)[groups.effect[:, None], groups.effect]
    Lambda = jnp.where(groups.level[:, None] == groups.level, entries, 0.0)
    H = jnp.eye(len(Lambda)) + Lambda.T @ groups.products @ Lambda
    C = Lambda @ cho_solve(cho_factor(H, lower=True), Lambda.T)
    solved = C @ groups.cross  # (q, c)
    reduced = Reduced(jnp.zeros(()), products.gram - groups.cross.T @ solved)
    columns = groups.rows.fixed - groups.effects @ solved[groups.touched]
    between = C[groups.touched[:, :, None], groups.touched[:, None, :]]
    known = groups.effects @ between @ groups.effects.swapaxes(1, 2)
    return _leave_out(columns, known, fixed_posterior(reduced, draw.sigma, prior, draw.beta), prior, draw)


def _relative(products: CrossProducts | HostedProducts, draw: Draw) -> list[Float[Array, "k k"]]:
    """Λ on the conditioned columns."""
    return condition_factors(traced, products, [F / draw.sigma for F in draw.factors])


def _leave_out(
    columns: Float[Array, "G r c"],
    known: Float[Array, "G r r"],
    posterior: FixedPosterior,
    prior: FixedPrior,
    draw: Draw,
) -> LeftOut:
    """Put T and v together.

    Parameters
    ----------
    columns, known : arrays, shapes (G, r, c), (G, r, r)
        See `bayesmm.marginal.leave_out.explained.Explained`.
    posterior : FixedPosterior
        Of the coefficients that are integrated out.
    """
    v = columns @ posterior.combination(prior, posterior.mean)
    turned = columns[:, :, :-1] @ (prior.basis @ posterior.inverse_root)
    T = jnp.eye(known.shape[1]) - known - turned @ turned.swapaxes(1, 2) / draw.sigma**2
    root = jnp.sqrt(T) if T.shape[1] == 1 else jnp.linalg.cholesky(T)
    return LeftOut(root, v / draw.sigma)


def read_groups(left: LeftOut, rows: RowGroups, sigma: Float[Array, ""]) -> Float[Array, " G"]:
    """Return log p(y_g | y_-g, draw) of each group."""
    z = jax.vmap(lambda root, v: solve_triangular(root, v, lower=True))(left.root, left.residual)
    log_det = 2.0 * jnp.log(jnp.diagonal(left.root, axis1=1, axis2=2)).sum(axis=1)
    quadratic = rows.rest / sigma**2 + (z * z).sum(axis=1)
    return -0.5 * (rows.n * jnp.log(2.0 * jnp.pi * sigma**2) - rows.log_weights - log_det + quadratic)


def read_rows(left: LeftOut, rows: RowGroups, sigma: Float[Array, ""]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Return the standard deviation of each single row given the others, and the row's deviation in units of it."""
    root = left.root[:, 0, 0]
    return sigma / (root * jnp.exp(0.5 * rows.log_weights)), left.residual[:, 0] / root


def leave_apart(products: CrossProducts, prior: FixedPrior, groups: ApartGroups, draw: Draw) -> Float[Array, " G"]:
    """Return log p(y_g | y_-g, draw) of independent groups.

    Notes
    -----
    log|H| and S are sums over independent groups. Without a group they are less its share, and log p(y) and log p(y_-g)
    are both read off, for all groups from one elimination.
    """
    conditioned = _relative(products, draw)
    elimination, absorbed = eliminate(traced, products, conditioned)
    assert isinstance(elimination, Elimination)
    n_groups = len(groups.n)
    log_det, gram = jnp.zeros(n_groups), groups.gram
    for step, done in zip(products.shape.steps, elimination.steps, strict=True):
        parent = groups.parents[step.factor]
        Lambda = conditioned[step.factor]
        M = jnp.eye(len(Lambda))[:, :, None] + sandwich(traced, Lambda, done.products)
        pivots, _ = batched_cholesky(jnp, M, Lambda.T[:, :, None])
        log_det = log_det + segment_sum(2.0 * jnp.log(pivots).sum(axis=0), parent, n_groups)
        rooted = contract(done.root.swapaxes(0, 1), absorbed.cross[step.factor])  # (k, c, q)
        gram = gram - segment_sum(jnp.einsum("kcq,kdq->qcd", rooted, rooted), parent, n_groups)

    def density(reduced: Reduced, n: Array, log_weights: Array) -> Array:
        return read_density(reduced, draw.sigma, prior, draw.beta, n=n, log_weights=log_weights)

    total_log_det, total = absorbed.reduced
    without = jax.vmap(density)(
        Reduced(total_log_det - log_det, total - gram), products.n - groups.n, products.log_weights - groups.log_weights
    )
    return density(absorbed.reduced, products.n, products.log_weights) - without
