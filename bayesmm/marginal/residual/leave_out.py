"""What the rest of the data say about rows whose residuals hang together, in closed form for one draw; in JAX.

Whitened by R = LL', the rows of a residual group are those of an ordinary model that share all levels:
`bayesmm.marginal.leave_out.leave_out` has T and the conditional residual v of such a group, so that with P the
precision of y given the covariance parameters

    P_gg = L⁻ᵀTL⁻¹/σ²,    (Py)_g = L⁻ᵀv/σ²,    y_i | y_-i ~ N(y_i − (Py)_i/P_ii, 1/P_ii)

where the other rows of the group are among what is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.ops import segment_sum

from bayesmm.covariance.residual import Correlation
from bayesmm.marginal.in_jax.density import FixedPrior
from bayesmm.marginal.leave_out.leave_out import LeftOut, leave_apart, leave_together, read_groups
from bayesmm.marginal.leave_out.left_out import ApartGroups, Draw, RowGroups, TogetherGroups
from bayesmm.marginal.residual.in_jax import StackArrays, invert, products_at, stack_covariances, weighted_shares
from bayesmm.marginal.shapes import Array, Float, Int
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.related import Relating


def leave_residual_groups(
    products: CrossProducts,
    stacks: Sequence[StackArrays],
    relating: Relating | None,
    correlation: Correlation | None,
    prior: FixedPrior,
    draw: Draw,
) -> list[Float[Array, " G"]]:
    """Return log p(y_g | y_-g, draw) of each residual group, stack by stack."""
    each = (_leave_stack(*found, relating, prior, draw) for found in _whiten(products, stacks, correlation, draw))
    return [read_groups(left, groups.rows, draw.sigma) for left, groups, _ in each]


def leave_residual_rows(
    products: CrossProducts,
    stacks: Sequence[StackArrays],
    relating: Relating | None,
    correlation: Correlation | None,
    prior: FixedPrior,
    draw: Draw,
) -> list[tuple[Float[Array, "G o"], Float[Array, "G o"]]]:
    """Return the standard deviation of each row given all others, and the row's deviation in units of it."""
    found = []
    for whitened in _whiten(products, stacks, correlation, draw):
        left, _, back = _leave_stack(*whitened, relating, prior, draw)
        turned = jnp.einsum("gts,gtr->gsr", back, left.root)  # L⁻ᵀ times a root of T
        precision = (turned**2).sum(axis=2)
        moved = jnp.einsum("gts,gt->gs", back, left.residual)
        found.append((draw.sigma / jnp.sqrt(precision), moved / jnp.sqrt(precision)))
    return found


def _whiten(
    products: CrossProducts, stacks: Sequence[StackArrays], correlation: Correlation | None, draw: Draw
) -> list[tuple[CrossProducts, TogetherGroups, Float[Array, "G o o"]]]:
    """Whiten the rows of each stack; the third are L⁻¹."""
    assert draw.residual is not None
    found = []
    widths = np.cumsum([0, *(G.shape[0] for G in products.diagonal)])
    for stack, R in zip(stacks, stack_covariances(correlation, stacks, draw.residual), strict=True):
        assert stack.rows is not None
        L = jnp.linalg.cholesky(R)
        back = jnp.linalg.inv(L)[stack.pattern]
        log_det = 2.0 * jnp.log(jnp.diagonal(L, axis1=1, axis2=2)).sum(axis=1)[stack.pattern]
        columns = back @ stack.rows
        G, o = columns.shape[:2]
        leaves: dict[str, Any] = {
            "rows": RowGroups(columns[:, :, widths[-1] :], jnp.zeros(G), jnp.full(G, float(o)), -log_det),
            "effects": tuple((columns[:, :, a:b],) for a, b in pairwise(widths)),
            "levels": tuple((each,) for each in stack.levels),
            "pairs": tuple({(0, 0): each} for each in stack.pairs),
        }
        found.append((products, TogetherGroups(**leaves), back))
    return found


def _leave_stack(
    products: CrossProducts,
    groups: TogetherGroups,
    back: Array,
    relating: Relating | None,
    prior: FixedPrior,
    draw: Draw,
) -> tuple[LeftOut, TogetherGroups, Array]:
    return leave_together(products, prior, groups, draw, relating), groups, back


class GroupSets(NamedTuple):
    """K sets of residual groups, in which all grouping factors are nested.

    Attributes
    ----------
    of_groups : sequence of int arrays, shape (G,)
        Set of each group, by stack.
    of_levels : tuple of int arrays, shape (q,)
        Set of each level, by factor.
    n : array, shape (K,)
        Rows of each set.
    shares : sequence of arrays, shape (G,)
        How many groups each group stands for, by stack.
    """

    of_groups: Sequence[Int[Array, " G"]]
    of_levels: tuple[Int[Array, " q"], ...]
    n: Float[Array, " K"]
    shares: Sequence[Float[Array, " G"]]


def leave_levels_apart(
    products: CrossProducts,
    stacks: Sequence[StackArrays],
    correlation: Correlation | None,
    sets: GroupSets,
    prior: FixedPrior,
    draw: Draw,
) -> Float[Array, " K"]:
    """Return log p(y_k | y_-k, draw) of K sets of residual groups.

    Parameters
    ----------
    products : CrossProducts
        From `bayesmm.marginal.residual.in_jax.lay_out_products`, without sums.
    stacks : sequence of StackArrays
        Whole groups.
    correlation : Correlation or None
        Of the rows of a group.
    sets : GroupSets
        What is left out.
    prior, draw
        As of `leave_residual_groups`.
    """
    assert draw.residual is not None
    n, c = sets.n, products.gram.shape[0]
    gram, log_weights = jnp.zeros((len(n), c, c)), jnp.zeros(len(n))
    each = zip(stacks, stack_covariances(correlation, stacks, draw.residual), sets.of_groups, sets.shares, strict=True)
    for stack, R, parent, number in each:
        W, log_det = invert(R)
        shares = jnp.moveaxis(weighted_shares(W, stack)[-c:, -c:], -1, 0)
        gram = gram + segment_sum(shares, parent, len(n))
        log_weights = log_weights - segment_sum(number * log_det[stack.pattern], parent, len(n))
    whole = products_at(products, stacks, None, correlation, draw.residual)
    leaves: dict[str, Any] = {"gram": gram, "n": n, "log_weights": log_weights, "parents": sets.of_levels}
    return leave_apart(whole, prior, ApartGroups(**leaves), draw)
