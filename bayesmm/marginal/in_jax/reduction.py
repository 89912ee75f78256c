"""log|H| and S in JAX, with derivatives in closed form.

What the values are made from gives the derivatives too. Differentiating through the steps of the elimination takes two
to four times as long. The rule is one for reverse mode; one that serves forward mode as well was a third slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jaxtyping import Array, Float

from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import Reduced, eliminate
from bayesmm.marginal.elimination.inverse import invert_on_pattern
from bayesmm.marginal.in_jax import traced
from bayesmm.marginal.in_jax.hosted import HostedProducts, differentiate_on_host, reduce_on_host
from bayesmm.marginal.likelihood.likelihood import reduce_products
from bayesmm.marginal.sums.crossproducts import CrossProducts


@jax.custom_vjp
def reduce_with_derivatives(products: CrossProducts | HostedProducts, factors: list[Float[Array, "k k"]]) -> Reduced:
    """Reduce one design at factors Λ on the conditioned columns to log|H| and S.

    Parameters
    ----------
    products : CrossProducts or HostedProducts
        Cross-products of one design.
    factors : list of arrays, shapes (k, k)
        Λ of each grouping factor, from `bayesmm.marginal.likelihood.likelihood.condition_factors`.

    Raises
    ------
    NotImplementedError
        If derivatives with respect to the data are asked for.
    """
    if isinstance(products, HostedProducts):
        return reduce_on_host(products, factors)
    return reduce_products(traced, products, factors)


class _Slopes(NamedTuple):
    """What the derivatives are made of: Z'Ṽ⁻¹[X y], Σ Z_i'Ṽ⁻¹Z_iΛ and Λ of each factor."""

    residual: Sequence[Float[Array, "k c q"]]
    influence: Sequence[Float[Array, "k k"]]
    factors: list[Float[Array, "k k"]]


def _forward(products: Any, factors: Any) -> tuple[Reduced, _Slopes]:
    """Evaluate; leaves come with whether they are differentiated."""
    if any(leaf.perturbed for leaf in jax.tree.leaves(products, is_leaf=_is_primal)):
        raise NotImplementedError("The log density is differentiated with respect to the parameters, not to the data.")
    products, factors = jax.tree.map(lambda leaf: leaf.value, (products, factors), is_leaf=_is_primal)
    if isinstance(products, HostedProducts):
        reduced, residual, influence = differentiate_on_host(products, factors)
        return reduced, _Slopes(residual, influence, factors)
    elimination, absorbed = eliminate(traced, products, factors)
    residual = solve_effects(traced, products, elimination, absorbed).residual
    influence = invert_on_pattern(traced, products, elimination, factors).influence
    return absorbed.reduced, _Slopes(residual, influence, factors)


def _is_primal(leaf: Any) -> bool:
    return isinstance(leaf, CustomVJPPrimal)


def _backward(slopes: _Slopes, cotangent: Any) -> tuple[None, list[Float[Array, "k k"]]]:
    """Apply d log|H| = 2 tr Λ'Z'Ṽ⁻¹Z dΛ and dS = −R'(dΛ Λ' + Λ dΛ')R with R = Z'Ṽ⁻¹[X y]."""
    log_det, gram = (jnp.zeros(x.shape) if isinstance(x, SymbolicZero) else x for x in cotangent)
    weights = gram + gram.T
    return None, [
        2.0 * log_det * Q - traced.transform(traced.sum_outer(R, weights), Lambda)
        for R, Q, Lambda in zip(*slopes, strict=True)
    ]


reduce_with_derivatives.defvjp(_forward, _backward, symbolic_zeros=True)


class Summed(NamedTuple):
    """The sums over the rows among cross-products."""

    diagonal: tuple[Float[Array, "k k q"], ...]
    cross: tuple[Float[Array, "k c q"], ...]
    pairs: tuple[Float[Array, "k l P"], ...]
    gram: Float[Array, "c c"]


def reduce_by_sums(products: CrossProducts, factors: list[Float[Array, "k k"]]) -> Reduced:
    """Reduce to log|H| and S, with derivatives by the sums too; see `reduce_with_derivatives`."""
    if not factors:
        return Reduced(jnp.zeros(()), products.gram)
    summed = Summed(products.diagonal, products.cross, products.pairs, products.gram)
    return _reduce(summed, factors, jax.lax.stop_gradient(products))


@jax.custom_vjp
def _reduce(summed: Summed, factors: list[Array], products: CrossProducts) -> Reduced:
    whole = replace(products, **summed._asdict())
    return eliminate(traced, whole, factors)[1].reduced


def _reduce_forward(summed: Summed, factors: list[Array], products: CrossProducts) -> tuple[Reduced, Any]:
    whole = replace(products, **summed._asdict())
    elimination, absorbed = eliminate(traced, whole, factors)
    solved = solve_effects(traced, whole, elimination, absorbed)
    inverse = invert_on_pattern(traced, whole, elimination, factors, neighbours=True)
    return absorbed.reduced, (solved, inverse, factors, products)


def _reduce_backward(saved: Any, cotangent: Reduced) -> tuple[Any, Any, None]:
    """Apply d log|H| = ⟨C, dZ'WZ⟩ and dS = d[X y]'W[X y] − dK'B − B'dK + B'dZ'WZ B, K = Z'W[X y] and B = CK.

    The rest is as in `_backward`.
    """
    solved, inverse, factors, products = saved
    log_det, gram = cotangent
    both = gram + gram.T
    effects = solved.effects
    turned = [traced.transform(both, B.swapaxes(0, 1)).swapaxes(0, 1) for B in effects]  # B(S̄ + S̄')
    diagonal = tuple(
        log_det * C + 0.5 * jnp.einsum("kcq,lcq->klq", T, B)
        for C, T, B in zip(inverse.diagonal, turned, effects, strict=True)
    )
    pairs = []
    for at, (f, g) in enumerate(products.shape.pairs):
        first, second = products.index.rows[at], products.index.columns[at]
        between = jnp.einsum("kcp,lcp->klp", turned[f][:, :, first], effects[g][:, :, second])
        pairs.append(2.0 * log_det * inverse.pairs[(f, g)] + between)
    summed = Summed(diagonal, tuple(-T for T in turned), tuple(pairs), gram)
    by_factors = [
        2.0 * log_det * Q - traced.transform(traced.sum_outer(K, both), Lambda)
        for K, Q, Lambda in zip(solved.residual, inverse.influence, factors, strict=True)
    ]
    return summed, by_factors, None


_reduce.defvjp(_reduce_forward, _reduce_backward)
