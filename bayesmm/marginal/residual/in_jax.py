"""Cross-products at a covariance of the residuals, in JAX, with derivatives in closed form.

Residual groups lie inside one level of every grouping factor. So the products [Z X y]_g'R_g⁻¹[Z X y]_g of a group are a
share of one level of each factor and of one pair of levels of each two, and what is summed has the plan that it always
had. Without random effects only the sums of r_s r_t' over the groups of a pattern are there, and no rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve

from bayesmm.covariance.residual import Correlation
from bayesmm.marginal.in_jax import traced
from bayesmm.marginal.in_jax.padding import pad_products, pad_relating
from bayesmm.marginal.plan.plan import Plan
from bayesmm.marginal.plan.planning import unfold_fill
from bayesmm.marginal.plan.sizes import pad_size
from bayesmm.marginal.residual.layout import Stack, pattern_covariances
from bayesmm.marginal.residual.pattern_sums import sum_patterns
from bayesmm.marginal.residual.weighted_sums import (
    ClassSums,
    Target,
    make_template,
    relating_of,
    sum_classes,
    targets_of,
)
from bayesmm.marginal.residual.weights import entries
from bayesmm.marginal.residual.whitened import ResidualRows
from bayesmm.marginal.shapes import Array, Float, Int
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.related import Relating


class StackArrays(NamedTuple):
    """Groups or pieces of them of o rows, as `bayesmm.marginal.residual.layout.Stack` has them.

    Attributes
    ----------
    positions, log_weights : arrays, shape (m, o)
    spreads : array, shape (m, o, s)
    counts : array, shape (m,)
        Groups of each pattern.
    pattern : int array, shape (G,)
    link : scalar, or None
        One where these are two neighbours, of which only the second counts, given the first: see `Stack`.
    rows : array, shape (G, o, k + c), or None
        [Z X y] of each group, on columns that do not depend on the covariance; None where only sums are there.
    sums : array, shape (m, o o, c c), or None
        Σ r_s r_t' of [X y] in each two rows of a pattern, where only sums are there.
    levels : tuple of int arrays, shape (G,)
        Level of each group, by factor.
    pairs : tuple of int arrays, shape (G,)
        Place of each group in the lists of pairs of the user's levels.
    by_level, by_pair : tuples of ClassSums
        Beside random effects, where only sums are there: Z_f'(·)[Z_f X y] by level of each factor, and Z_f'(·)Z_g by
        pair of levels.
    """

    positions: Float[Array, "m o"]
    log_weights: Float[Array, "m o"]
    spreads: Float[Array, "m o s"]
    counts: Float[Array, " m"]
    pattern: Int[Array, " G"]
    link: Float[Array, ""] | None
    rows: Float[Array, "G o c"] | None
    sums: Float[Array, "m r s"] | None
    levels: tuple[Int[Array, " G"], ...]
    pairs: tuple[Int[Array, " G"], ...]
    by_level: tuple[ClassSums, ...] = ()
    by_pair: tuple[ClassSums, ...] = ()


class PaddedSums(NamedTuple):
    """Everything that `products_at` sums, on the host.

    Attributes
    ----------
    products : CrossProducts
        Padded, with zeros in the place of all sums over the rows.
    stacks : tuple of StackArrays
        NumPy leaves.
    relating : Relating or None
        Where levels are related: what brings the sums to the levels that are eliminated, padded.
    """

    products: CrossProducts
    stacks: tuple[StackArrays, ...]
    relating: Relating | None


def weigh_products(rows: ResidualRows, plan: Plan) -> PaddedSums:
    """Lay out the same as sums, which take the less time the more rows a level has; see `lay_out_products`."""
    products, fixed = _pad(rows, plan)
    effects, targets = rows.effects, targets_of(rows)
    levels = [Target(each.rows, G.shape[-1]) for each, G in zip(targets.own, products.diagonal, strict=True)]
    pairs = {pair: Target(each.rows, pad_size(each.count + 1)) for pair, each in targets.pairs.items()}
    pieces = rows.layout.pieces
    by_pattern = sum_patterns(pieces, fixed, always=True)
    stacks = tuple(
        _lay_out_stack(stack, fixed, own.sums, (), ())._replace(
            pattern=np.zeros(0, dtype=np.int64),
            by_level=tuple(
                sum_classes([stack], target, Z, np.hstack([Z, fixed]))
                for target, Z in zip(levels, effects, strict=True)
            ),
            by_pair=tuple(sum_classes([stack], target, effects[f], effects[g]) for (f, g), target in pairs.items()),
        )
        for stack, own in zip(pieces, by_pattern, strict=True)
    )
    return PaddedSums(products, stacks, _pad_relating(rows, plan))


def lay_out_products(rows: ResidualRows, plan: Plan, *, whole: bool = False) -> PaddedSums:
    """Lay out what `products_at` sums; on the host, once per model.

    Parameters
    ----------
    rows : ResidualRows
        Of the design.
    plan : Plan
        Of its random effects.
    whole : bool
        Whether rows of whole groups are wanted, rather than what takes the least time.
    """
    products, fixed = _pad(rows, plan)
    targets = targets_of(rows)
    columns = np.hstack([*rows.effects, fixed])
    codes, places = [each.rows for each in targets.own], [each.rows for each in targets.pairs.values()]
    pieces = rows.layout.stacks if whole else rows.layout.pieces
    sums = [None] * len(pieces) if rows.blocks or whole else [each.sums for each in sum_patterns(pieces, fixed)]
    stacks = tuple(_lay_out_stack(stack, columns, own, codes, places) for stack, own in zip(pieces, sums, strict=True))
    return PaddedSums(products, stacks, _pad_relating(rows, plan))


def _pad_relating(rows: ResidualRows, plan: Plan) -> Relating | None:
    relating = relating_of(rows, plan)
    return None if relating is None else pad_relating(relating)


def _pad(rows: ResidualRows, plan: Plan) -> tuple[CrossProducts, np.ndarray]:
    """Return padded products, with zeros in the place of all sums over the rows, and [X y] on their columns."""
    blocks, p = rows.blocks, rows.p
    plan = unfold_fill(plan)
    sizes, widths = [block.n_levels for block in blocks], [block.incidence.k for block in blocks]
    leaves: dict[str, Any] = {  # NumPy arrays in the place of JAX ones
        "diagonal": tuple(np.zeros((k, k, q)) for k, q in zip(widths, sizes, strict=True)),
        "cross": tuple(np.zeros((k, p + 1, q)) for k, q in zip(widths, sizes, strict=True)),
        "pairs": tuple(
            np.zeros((widths[f], widths[g], len(first)))
            for (f, g), first in zip(plan.shape.pairs, plan.index.rows, strict=True)
        ),
        "gram": np.zeros((p + 1, p + 1)),
    }
    products = pad_products(replace(make_template(rows, plan), **leaves))
    c = products.gram.shape[0]
    fixed = np.zeros((len(rows.fixed), c))
    fixed[:, [*range(p), c - 1]] = rows.fixed
    return products, fixed


def _lay_out_stack(
    stack: Stack,
    columns: np.ndarray,
    sums: np.ndarray | None,
    codes: Sequence[np.ndarray],
    places: Sequence[np.ndarray],
) -> StackArrays:
    first = stack.rows[:, 0]
    leaves: dict[str, Any] = {
        "positions": stack.positions,
        "log_weights": stack.log_weights,
        "spreads": stack.spreads,
        "counts": stack.counts.astype(float),
        "pattern": stack.pattern,
        "link": np.float64(1.0) if stack.is_link else None,
        "rows": stack.take(columns).swapaxes(0, 1) if sums is None else None,
        "sums": sums,
        "levels": tuple(each[first] for each in codes),
        "pairs": tuple(each[first] for each in places),
    }
    return StackArrays(**leaves)


@jax.custom_vjp
def invert(R: Float[Array, "m o o"]) -> tuple[Float[Array, "m o o"], Float[Array, " m"]]:
    """R⁻¹ and log|R| of positive definite matrices."""
    L = jnp.linalg.cholesky(R)
    identity = jnp.broadcast_to(jnp.eye(R.shape[-1]), R.shape)
    return cho_solve((L, True), identity), 2.0 * jnp.log(jnp.diagonal(L, axis1=1, axis2=2)).sum(axis=1)


def _invert_forward(R: Array) -> tuple[tuple[Array, Array], Array]:
    found = invert(R)
    return found, found[0]


def _invert_backward(W: Array, cotangent: tuple[Array, Array]) -> tuple[Array]:
    inverse, log_det = cotangent
    return (log_det[:, None, None] * W - W @ inverse @ W,)


invert.defvjp(_invert_forward, _invert_backward)


def _invert_links(R: Float[Array, "m o o"]) -> tuple[Float[Array, "m o o"], Float[Array, " m"]]:
    """Weigh first rows and what second rows have more, for the second given the first; see `weights.py`."""
    said = R[:, 0, 1] / R[:, 0, 0]
    left = R[:, 1, 1] - said * R[:, 0, 1]
    k = 1.0 - said
    W = jnp.stack([jnp.stack([k * k, k], axis=-1), jnp.stack([k, jnp.ones_like(k)], axis=-1)], axis=-2)
    return W / left[:, None, None], jnp.log(left)


def stack_covariances(
    correlation: Correlation | None, stacks: Sequence[StackArrays], public: Float[Array, " f"]
) -> list[Float[Array, "m o o"]]:
    """R of the patterns of each stack, over σ², from logarithms of standard deviations and public correlations."""
    return [pattern_covariances(jnp, correlation, public, each) for each in stacks]


def products_at(
    products: CrossProducts,
    stacks: Sequence[StackArrays],
    relating: Relating | None,
    correlation: Correlation | None,
    public: Float[Array, " f"],
) -> CrossProducts:
    """Sum the rows, weighted by the inverse covariance of the residuals.

    Parameters
    ----------
    products, stacks, relating
        From `lay_out_products`.
    correlation : Correlation or None
        Of the rows of a group.
    public : array, shape (f,)
        Logarithms of ratios of standard deviations and exponents (s), then correlations.
    """
    diagonal, cross, pairs = (list(each) for each in (products.diagonal, products.cross, products.pairs))
    lists = products.shape.pairs
    if relating is not None:  # rows are summed by the user's levels
        lists, sizes = relating.pairs, [G.shape[0] for G in diagonal]
        ends = zip(lists, relating.first, strict=True)
        pairs = [jnp.zeros((sizes[f], sizes[g], len(first))) for (f, g), first in ends]
    c = products.gram.shape[0]
    gram = jnp.diag(jnp.where(jnp.arange(c) < products.fixed_root.shape[0], 0.0, 1.0).at[c - 1].set(0.0))  # of padding
    widths = [G.shape[0] for G in diagonal]
    log_det = jnp.zeros(())
    for stack, R in zip(stacks, stack_covariances(correlation, stacks, public), strict=True):
        W, own = invert(R) if stack.link is None else _invert_links(R)
        log_det = log_det + stack.counts @ own
        if stack.sums is not None:
            gram = gram + (W.reshape(1, -1) @ stack.sums.reshape(-1, c * c)).reshape(c, c)
            by_class = jnp.append(entries(W).reshape(-1), 0.0)
            for f, each in enumerate(stack.by_level):
                share = each.at(by_class)
                diagonal[f] = diagonal[f] + share[:, : widths[f]]
                cross[f] = cross[f] + share[:, widths[f] :]
            for at, each in enumerate(stack.by_pair):
                pairs[at] = pairs[at] + each.at(by_class)
            continue
        assert stack.rows is not None
        shares = weighted_shares(W, stack)  # (k + c, k + c, G)
        gram = gram + shares[-c:, -c:].sum(axis=-1)
        ends = np.cumsum([0, *widths])
        inside = [slice(a, b) for a, b in pairwise(ends)]
        for f, levels in enumerate(stack.levels):
            diagonal[f] = traced.add_levels(diagonal[f], levels, shares[inside[f], inside[f]])
            cross[f] = traced.add_levels(cross[f], levels, shares[inside[f], -c:])
        for at, ((f, g), places) in enumerate(zip(lists, stack.pairs, strict=True)):
            pairs[at] = traced.add_levels(pairs[at], places, shares[inside[f], inside[g]])
    if relating is not None:
        diagonal, cross, pairs = relating.relate(traced, diagonal, cross, pairs)
        short = [B.shape[2] - own.shape[2] for B, own in zip(products.pairs, pairs, strict=True)]
        pairs = [jnp.pad(own, ((0, 0), (0, 0), (0, more))) for own, more in zip(pairs, short, strict=True)]
    return replace(
        products, diagonal=tuple(diagonal), cross=tuple(cross), pairs=tuple(pairs), gram=gram, log_weights=-log_det
    )


def weighted_shares(W: Float[Array, "m o o"], stack: StackArrays) -> Float[Array, "c c G"]:
    """Return [Z X y]_g'R_g⁻¹[Z X y]_g of each group."""
    assert stack.rows is not None
    if W.shape[1] == 1:
        scaled = W[:, 0, 0][stack.pattern][:, None] * stack.rows[:, 0]
        return jnp.einsum("gi,gj->ijg", scaled, stack.rows[:, 0])
    moved = jnp.einsum("gst,gtj->gsj", W[stack.pattern], stack.rows)
    return jnp.einsum("gsi,gsj->ijg", stack.rows, moved)
