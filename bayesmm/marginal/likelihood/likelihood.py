"""Everything read off one reduction.

The legend, used throughout the package: y = Xβ + Zb + ε, b = Λ(θ)u, u ~ N(0, σ²I), ε ~ N(0, σ²W⁻¹); n rows, p fixed
effects, q random effects in all, k effects per level. θ: free entries of the relative factor Λ.
Ṽ = W⁻¹ + ZΛΛ'Z' (so Var y = σ²Ṽ), H = Λ'Z'WZΛ + I. One reduction keeps log|H| and S = [X y]'Ṽ⁻¹[X y]; with
S = [[A, c], [c', s]] and r² = s − c'A⁻¹c:

    ML    −2ℓ(θ)  = log|H| − Σ log wᵢ + n(1 + log(2π r²/n))
    REML  −2ℓ(θ)  = log|H| − Σ log wᵢ + log|A| + (n−p)(1 + log(2π r²/(n−p)))
    log p(y | θ, σ, β)         = −½[log|H| − Σ log wᵢ + n log(2πσ²) + (s − 2β'c + β'Aβ)/σ²]
    log p(y | θ, σ), β flat    = −½[log|H| − Σ log wᵢ + log|A| + (n−p) log(2πσ²) + r²/σ²]
    β̂ = A⁻¹c,   Var β̂ = σ²A⁻¹

Bates, Mächler, Bolker & Walker (2015), J. Stat. Softw. 67(1); Harville (1977), JASA 72.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np

from bayesmm.covariance.layout import Layout, assemble_factors
from bayesmm.marginal.arrays.linalg import batched_cholesky, identity
from bayesmm.marginal.arrays.operations import Operations
from bayesmm.marginal.elimination.elimination import Reduced, eliminate
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts

Method = Literal["reml", "ml"]

FEW_FIXED = 3  # fixed effects up to which written-out loops take less time than three calls of LAPACK


class Conditioned(Protocol):
    """Whatever knows T of each grouping factor: the user's effect columns are the conditioned ones times it."""

    @property
    def effect_roots(self) -> tuple[Float[Array, "k k"], ...]:
        """T of each factor."""
        ...


def condition_factors(
    ops: Operations, products: Conditioned, factors: Sequence[Float[Array, "k k"]]
) -> list[Float[Array, "k k"]]:
    """Factors on the conditioned columns, from those on the user's."""
    return [ops.transform(T.T, Lambda) for T, Lambda in zip(products.effect_roots, factors, strict=True)]


def reduce_products(ops: Operations, products: CrossProducts, conditioned: Sequence[Float[Array, "k k"]]) -> Reduced:
    """log|H| and S for factors on the conditioned columns."""
    return eliminate(ops, products, conditioned)[1].reduced


class FixedProfile(NamedTuple):
    """The fixed effects at one θ, on the conditioned columns.

    Attributes
    ----------
    log_det : scalar
        log|A|, for the user's columns.
    residual_square : scalar
        r².
    beta : array, shape (p,)
        A⁻¹c: fixed effects less the least-squares ones.
    covariance : array, shape (p, p)
        A⁻¹: their covariance over σ².
    """

    log_det: Float[Array, ""]
    residual_square: Float[Array, ""]
    beta: Float[Array, " p"]
    covariance: Float[Array, "p p"]


def profile_fixed(ops: Operations, reduced: Reduced, products: CrossProducts) -> FixedProfile:
    """Profile the fixed effects out of S."""
    xp, p = ops.xp, reduced.gram.shape[0] - 1
    A, c, s = reduced.gram[:p, :p], reduced.gram[:p, p:], reduced.gram[p, p]
    right = xp.concatenate([identity(p), c], axis=1)  # one solve for all: [I c]'A⁻¹[I c]
    if 0 < p <= FEW_FIXED:
        pivots, half = batched_cholesky(xp, A, right)
        log_det, solved = 2.0 * xp.log(pivots).sum(), half.T @ half
    else:
        log_det, solved = (each[0] for each in ops.reduce(ops.factor(A[None]), right[None]))
    return FixedProfile(log_det + products.log_det_root, s - solved[p, p], solved[:p, p], solved[:p, :p])


class Held(NamedTuple):
    """A combination of the fixed effects that is held at a value, on the conditioned columns.

    Attributes
    ----------
    direction : array, shape (p,)
        The combination a'β.
    value : float
        What it is held at.
    """

    direction: Float[Array, " p"]
    value: float


class HeldCoefficient(NamedTuple):
    """A coefficient of the user's columns that is held at a value."""

    index: int
    value: float

    def on_conditioned(self, root: Float[Array, "p p"], origin: Float[Array, " p"]) -> Held:
        """Write it as a combination on conditioned columns: the user's coefficients are the origin plus R⁻¹β."""
        direction = np.linalg.solve(root.T, np.eye(len(root))[self.index])
        return Held(direction, float(self.value - origin[self.index]))


def hold_fixed(fixed: FixedProfile, held: Held) -> FixedProfile:
    """Give fixed effects and r² where a'β is held at a value and the others are profiled out.

    With δ the value less a'β̂ and v = a'A⁻¹a: β̂ + A⁻¹a δ/v, r² + δ²/v, and A⁻¹ less what is along a. log|A| stays.
    """
    along = fixed.covariance @ held.direction
    variance = held.direction @ along
    short = held.value - held.direction @ fixed.beta
    return FixedProfile(
        fixed.log_det,
        fixed.residual_square + short**2 / variance,
        fixed.beta + along * (short / variance),
        fixed.covariance - along[:, None] * along / variance,
    )


def deviance(
    ops: Operations,
    reduced: Reduced,
    fixed: FixedProfile,
    products: CrossProducts,
    sigma: Float[Array, ""] | None,
    restriction: Float[Array, ""] | float,
) -> Float[Array, ""]:
    """−2 log likelihood at one reduction: restricted where `restriction` is 1, full where it is 0."""
    log, two_pi = ops.xp.log, 2.0 * ops.xp.pi
    df = products.n - restriction * products.p
    constant = reduced.log_det - products.log_weights + restriction * fixed.log_det
    if sigma is None:
        return constant + df * (1.0 + log(two_pi * fixed.residual_square / df))
    return constant + df * log(two_pi * sigma**2) + fixed.residual_square / sigma**2


def criterion(
    ops: Operations,
    theta: Float[Array, " t"],
    products: CrossProducts,
    sigma: Float[Array, ""] | None,
    restriction: Float[Array, ""] | float,
    *,
    layout: Layout,
) -> Float[Array, ""]:
    """−2 log likelihood with β (ML: profiled, REML: integrated) and σ (profiled, unless given) out.

    `restriction` is 1 for REML and 0 for ML: a number, so that both share a compiled program. This is the value alone,
    which JAX can map over replicates and differentiate; the search asks for
    `bayesmm.marginal.likelihood.evaluation.evaluate`.
    """
    reduced = reduce_products(ops, products, assemble_factors(ops.xp, theta, layout))
    return deviance(ops, reduced, profile_fixed(ops, reduced, products), products, sigma, restriction)
