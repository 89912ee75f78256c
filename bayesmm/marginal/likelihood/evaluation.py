"""The criterion with everything that follows from one elimination: derivatives, curvature, effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import Layout, assemble_factors
from bayesmm.covariance.tangents import Tangent, tangents
from bayesmm.marginal.apart.few_effects import (
    EffectRoots,
    effect_covariances,
    gram_of_effects,
    paired_traces_of_effects,
    solve_few_effects,
)
from bayesmm.marginal.apart.one_factor import LevelRoots, level_covariances, paired_traces, solve_one_factor
from bayesmm.marginal.arrays.linalg import WRITTEN_OUT, contract, identity
from bayesmm.marginal.arrays.operations import Operations
from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import AnyElimination, Reduced, absorb, eliminate
from bayesmm.marginal.elimination.inverse import Inverse, invert_on_pattern
from bayesmm.marginal.elimination.levels import related_covariances
from bayesmm.marginal.likelihood.likelihood import FixedProfile, Held, deviance, hold_fixed, profile_fixed
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts

FLOOR = 1e-8  # least singular value of Λ that is evaluated: Ṽ changes by its square, which is rounding


class Evaluated(NamedTuple):
    """One evaluation of the criterion at θ, on the conditioned columns.

    Attributes
    ----------
    value : scalar
        −2 log likelihood, β and σ profiled or integrated out.
    gradient : array, shape (t,)
        With respect to θ.
    curvature : array, shape (t, t)
        Average information plus the curvature of ΛΛ' in θ: near the Hessian, but not it.
    fixed : FixedProfile
        Fixed effects and r².
    residual_square_gradient : array, shape (t,)
        ∂r²/∂θ.
    modes : list of arrays, shape (k, q)
        Conditional modes of the random effects, of the user's levels.
    covariances : list of arrays, shape (k, k, q), or None
        Their conditional covariances over σ², given β; None where the cross-products are taken apart, or levels are
        related, since then the evaluation does without:
        `bayesmm.marginal.likelihood.evaluation.conditional_covariances`.
    expected, observed : lists of arrays, shape (k, k)
        Σ Z_i'PZ_i and Σ Z_i'e e'Z_i / σ² of each factor, equal where its ΛΛ' is stationary.
    unrestricted : list of arrays, shape (k, k)
        Σ Z_i'Ṽ⁻¹Z_i: what is expected if fixed effects take nothing off.
    lacking : callable, or None
        What the curvature lacks of the Hessian, shape (t, t); None where that is not known but by differences.
    """

    value: Float[Array, ""]
    gradient: Float[Array, " t"]
    curvature: Float[Array, "t t"]
    fixed: FixedProfile
    residual_square_gradient: Float[Array, " t"]
    modes: list[Float[Array, "k q"]]
    covariances: list[Float[Array, "k k q"]] | None
    expected: list[Float[Array, "k k"]]
    observed: list[Float[Array, "k k"]]
    unrestricted: list[Float[Array, "k k"]]
    lacking: Callable[[], Float[Array, "t t"]] | None = None


def evaluate(
    ops: Operations,
    theta: Float[Array, " t"],
    products: CrossProducts,
    sigma: Float[Array, ""] | None,
    restriction: Float[Array, ""] | float,
    *,
    layout: Layout,
    held: Held | None = None,
    solved: Solved | None = None,
) -> Evaluated:
    """Evaluate the criterion and all that follows from the elimination there.

    Parameters
    ----------
    ops : module
        The operations: `bayesmm.marginal.arrays.host` or `bayesmm.marginal.in_jax.traced`.
    theta : array, shape (t,)
        Free entries of the relative factors on the conditioned columns; unitless.
    products : CrossProducts
        Of the design.
    sigma : scalar, optional
        Residual standard deviation where it is known.
    restriction : 1 or 0
        REML or ML.
    layout : Layout
        Covariance pieces of each factor.
    held : Held, optional
        A combination of the fixed effects that is held at a value rather than profiled out. REML's log|A| stays that of
        all columns, and `fixed` of what is returned is what is best where nothing is held.
    solved : Solved, optional
        The elimination at θ, if it is there.

    Notes
    -----
    With P = (Ṽ⁻¹ − Ṽ⁻¹X(X'Ṽ⁻¹X)⁻¹X'Ṽ⁻¹) and e = Py, the derivative with respect to Ψ_f = Λ_fΛ_f' is

        Γ_f = Σ_i Z_i'PZ_i − Z_i'e e'Z_i / σ²   (P is Ṽ⁻¹ for ML),

    so that ∂/∂Λ_f = 2Γ_fΛ_f, and the second derivative is nearly e'V_s P V_t e / σ² + ⟨Γ_f, ∂²(ΛΛ')⟩, for entries
    of Λ_f in rows i and i' of one column 2Γ_ii'. The first part is the average information, less what goes to a
    profiled σ; the second part, exact, tells a saddle at θ_jj = 0 from a minimum. What both lack of the Hessian is
    e'V_sPV_te / σ² − tr PV_sPV_t, which one factor alone, or few effects, give at little cost.

    References
    ----------
    Gilmour, Thompson & Cullis (1995), Biometrics 51. Johnson & Thompson (1995), J. Dairy Sci. 78.
    """
    if not layout:
        return _evaluate_alone(ops, theta, products, sigma, restriction)
    at = _differentiate(ops, theta, products, sigma, restriction, layout, held, solved)
    profiled = None if sigma is not None else products.n - restriction * products.p
    score = _Score(at.solved.residual, at.rho, at.precision, profiled)
    information, quadratic = _information(ops, at.factors, score, at.fixed, at.ways, at.solved.gram_of)
    traces, weight = at.solved.traces, restriction * at.free.covariance

    def lacking() -> Float[Array, "t t"]:
        assert traces is not None
        ways = [way.move(np, Lambda, identity(len(Lambda))) for way, Lambda in zip(at.ways, at.factors, strict=True)]
        return quadratic - traces([R[:, :-1] for R in at.solved.residual], weight, ways)

    return Evaluated(
        value=at.value,
        gradient=at.gradient,
        curvature=information + _bend(ops, at.ways, at.slopes, at.along),
        fixed=at.free,
        residual_square_gradient=at.residual_square_gradient(ops),
        modes=_modes(products, at),
        covariances=None if products.is_related else at.solved.covariances,
        expected=at.expected,
        observed=at.observed,
        unrestricted=at.solved.weights,
        lacking=None if traces is None or ops.xp is not np else lacking,  # a compiled program returns arrays alone
    )


def _modes(products: CrossProducts, at: _Differentiated) -> list[Float[Array, "k q"]]:
    """Conditional modes of the user's levels: ΛΛ'Z'e where levels are independent."""
    if not at.solved.effects:
        return [Lambda @ (Lambda.T @ r) for Lambda, r in zip(at.factors, at.rho, strict=True)]
    return products.at_levels([at.error @ b for b in at.solved.effects])


class Slopes(NamedTuple):
    """What `Evaluated` has without curvature, effects and their covariances, which take as long again."""

    value: Float[Array, ""]
    gradient: Float[Array, " t"]
    residual_square_gradient: Float[Array, " t"]
    expected: list[Float[Array, "k k"]]
    observed: list[Float[Array, "k k"]]
    unrestricted: list[Float[Array, "k k"]]


def evaluate_slopes(
    ops: Operations,
    theta: Float[Array, " t"],
    products: CrossProducts,
    sigma: Float[Array, ""] | None,
    restriction: Float[Array, ""] | float,
    *,
    layout: Layout,
) -> Slopes:
    """Evaluate the criterion and its gradient alone; see `evaluate`."""
    if not layout:
        alone = _evaluate_alone(ops, theta, products, sigma, restriction)
        return Slopes(alone.value, alone.gradient, alone.residual_square_gradient, [], [], [])
    at = _differentiate(ops, theta, products, sigma, restriction, layout)
    return Slopes(at.value, at.gradient, at.residual_square_gradient(ops), at.expected, at.observed, at.solved.weights)


class _Differentiated(NamedTuple):
    """The criterion and its gradient at one θ, with what they are made of.

    `free` is the profile where nothing is held, `error` is [−β 1]', `rho` Z'e; then Σ ρρ', Σ Z'PZ, what is observed,
    their difference Γ, and ΓΛ, of each factor.
    """

    value: Float[Array, ""]
    gradient: Float[Array, " t"]
    factors: list[Float[Array, "k k"]]
    ways: list[Tangent]
    solved: Solved
    free: FixedProfile
    fixed: FixedProfile
    precision: Float[Array, ""]
    error: Float[Array, " c"]
    rho: list[Float[Array, "k q"]]
    squares: list[Float[Array, "k k"]]
    expected: list[Float[Array, "k k"]]
    observed: list[Float[Array, "k k"]]
    slopes: list[Float[Array, "k k"]]
    along: list[Float[Array, "k k"]]

    def residual_square_gradient(self, ops: Operations) -> Float[Array, " t"]:
        """∂r²/∂θ."""
        return -2.0 * _along(ops, self.ways, [S @ Lambda for S, Lambda in zip(self.squares, self.factors, strict=True)])


def _differentiate(
    ops: Operations,
    theta: Float[Array, " t"],
    products: CrossProducts,
    sigma: Float[Array, ""] | None,
    restriction: Float[Array, ""] | float,
    layout: Layout,
    held: Held | None = None,
    solved: Solved | None = None,
) -> _Differentiated:
    xp = ops.xp
    factors = assemble_factors(xp, theta, layout)
    solved = solved or solve(ops, products, factors)
    free = profile_fixed(ops, solved.reduced, products)
    fixed = free if held is None else hold_fixed(free, held)
    df = products.n - restriction * products.p
    precision = df / fixed.residual_square if sigma is None else 1.0 / sigma**2
    weight = restriction * free.covariance
    error = xp.concatenate([-fixed.beta, np.ones(1)])
    rho = [error @ R for R in solved.residual]
    squares = [r @ r.T for r in rho]
    expected = [Q - ops.sum_outer(R[:, :-1], weight) for Q, R in zip(solved.weights, solved.residual, strict=True)]
    observed = [precision * S for S in squares]
    slopes = [E - S for E, S in zip(expected, observed, strict=True)]
    along = [Gamma @ Lambda for Gamma, Lambda in zip(slopes, factors, strict=True)]
    ways = tangents(xp, theta, layout)
    return _Differentiated(
        value=deviance(ops, solved.reduced, fixed, products, sigma, restriction),
        gradient=2.0 * _along(ops, ways, along),
        factors=factors,
        ways=ways,
        solved=solved,
        free=free,
        fixed=fixed,
        precision=precision,
        error=error,
        rho=rho,
        squares=squares,
        expected=expected,
        observed=observed,
        slopes=slopes,
        along=along,
    )


def _evaluate_alone(
    ops: Operations,
    theta: Float[Array, " t"],
    products: CrossProducts,
    sigma: Float[Array, ""] | None,
    restriction: Float[Array, ""] | float,
) -> Evaluated:
    """Evaluate where there are no random effects: nothing is eliminated, and θ is empty."""
    reduced = Reduced(0.0 * products.gram[0, 0], products.gram)
    fixed = profile_fixed(ops, reduced, products)
    value = deviance(ops, reduced, fixed, products, sigma, restriction)
    return Evaluated(value, theta, theta[:, None] * theta, fixed, theta, [], [], [], [], [])


class Solved(NamedTuple):
    """What the elimination gives at one θ, whichever way it is made.

    Attributes
    ----------
    reduced : Reduced
        log|H| and S.
    residual : list of arrays, shape (k, c, q)
        Z'Ṽ⁻¹[X y] of independent effects.
    effects : list of arrays, shape (k, c, q)
        CZ'W[X y] of those that the sums are of; empty where they are ΛΛ' times the former.
    weights : list of arrays, shape (k, k)
        Σ Z_i'Ṽ⁻¹Z_i.
    covariances : list of arrays, shape (k, k, q), or None
        Of each level's effects over σ², given β, where they are a by-product.
    gram_of : callable
        (Za)'Ṽ⁻¹(Za), shape (t, t), of arrays a (k, t, q).
    traces : callable, or None
        tr PV_sPV_t, shape (t, t), of Z'Ṽ⁻¹X of each factor, the weight C of P and A_t of V_t = ZA_tZ', in NumPy:
        `bayesmm.marginal.apart.one_factor.paired_traces`.
    """

    reduced: Reduced
    residual: list[Float[Array, "k c q"]]
    effects: list[Float[Array, "k c q"]]
    weights: list[Float[Array, "k k"]]
    covariances: list[Float[Array, "k k q"]] | None
    gram_of: Callable[[list[Float[Array, "k t q"]]], Float[Array, "t t"]]
    traces: Callable[[list[np.ndarray], np.ndarray, list[np.ndarray]], Float[Array, "t t"]] | None = None


def conditional_covariances(
    ops: Operations, products: CrossProducts, factors: Sequence[Float[Array, "k k"]]
) -> list[Float[Array, "k k q"]]:
    """ΛH⁻¹Λ' of each of the user's levels, where the evaluation does without."""
    if products.probing is not None:
        return products.probing.diagonal(keep_off_zero(ops, factors)).covariances
    if products.is_related:
        elimination = eliminate(ops, products, factors)[0]
        own = invert_on_pattern(ops, products, elimination, keep_off_zero(ops, factors)).diagonal
        return [
            C if V is None else related_covariances(ops, products, elimination, f)
            for f, (C, V) in enumerate(zip(own, products.level_roots, strict=True))
        ]
    if products.levels is not None:
        return [level_covariances(ops, products.levels, factors[0])]
    assert products.effects is not None
    return effect_covariances(ops, products.effects, factors)


def solve(ops: Operations, products: CrossProducts, factors: Sequence[Float[Array, "k k"]]) -> Solved:
    """Solve in the way that the design allows."""
    if products.probing is not None:
        at = products.probing.solve(keep_off_zero(ops, factors), products.cross, products.gram)
        return Solved(Reduced(at.log_det, at.gram), at.residual, at.effects, at.weights, None, at.gram_of)
    if products.levels is not None:
        return _solve_alone(ops, products.levels, factors[0])
    if products.effects is not None:
        return _solve_few(ops, products.effects, factors)
    return solve_stepwise(ops, products, factors)[0]


def solve_stepwise(
    ops: Operations, products: CrossProducts, factors: Sequence[Float[Array, "k k"]], *, neighbours: bool = False
) -> tuple[Solved, AnyElimination, Inverse]:
    """Solve by the steps of the plan; with `neighbours` the inverse has all pairs."""
    inner, sparse = keep_off_zero(ops, factors), products.sparse
    elimination, absorbed = eliminate(ops, products, inner)
    solved = solve_effects(ops, products, elimination, absorbed)
    inverse = invert_on_pattern(ops, products, elimination, inner, neighbours=neighbours)
    residual = solved.residual if sparse is None else sparse.gather(solved.residual)

    def gram_of(moved: list[Float[Array, "k t q"]]) -> Float[Array, "t t"]:
        """Take them in as further columns, like those of X: what the elimination leaves of [Za]'W[Za]."""
        moved = moved if sparse is None else sparse.spread(moved)
        cross = _times_products(ops, products, moved)
        gram = ops.xp.concatenate([_inner(a, K) for a, K in zip(moved, cross, strict=True)])
        return absorb(ops, products, elimination, cross, gram).reduced.gram

    found = Solved(absorbed.reduced, residual, solved.effects, inverse.weights, inverse.diagonal, gram_of)
    return found, elimination, inverse


def _solve_few(ops: Operations, roots: EffectRoots, factors: Sequence[Float[Array, "k k"]]) -> Solved:
    at = solve_few_effects(ops, roots, factors)
    return Solved(
        Reduced(at.log_det, at.gram),
        at.residual,
        [],
        at.weights,
        None,
        lambda moved: gram_of_effects(ops, at.marginal, moved),
        partial(paired_traces_of_effects, at.marginal),
    )


def _solve_alone(ops: Operations, levels: LevelRoots, factor: Float[Array, "k k"]) -> Solved:
    at = solve_one_factor(ops, levels, factor)

    def traces(residual: list[np.ndarray], weight: np.ndarray, ways: list[np.ndarray]) -> Float[Array, "t t"]:
        return paired_traces(at.marginal, residual[0], weight, ways[0])

    return Solved(
        Reduced(at.log_det, at.gram),
        [at.residual],
        [],
        [at.marginal.sum(-1)],
        None,
        lambda moved: _inner(moved[0], contract(at.marginal, moved[0])),
        traces if len(factor) <= WRITTEN_OUT else None,  # k⁴ q multiplications
    )


class _Score(NamedTuple):
    """Z'Ṽ⁻¹[X y], Z'e, 1/σ², and the degrees of freedom where σ is profiled out."""

    residual: Sequence[Float[Array, "k c q"]]
    rho: Sequence[Float[Array, "k q"]]
    precision: Float[Array, ""]
    df: Float[Array, ""] | None


def keep_off_zero(ops: Operations, factors: Sequence[Float[Array, "k k"]]) -> list[Float[Array, "k k"]]:
    """Keep singular values from exactly zero, where Γ of a factor in the dense blocks could not be read off."""
    xp, shifted = ops.xp, []
    for Lambda in factors:
        if Lambda.shape[0] == 1:
            shifted.append(xp.where(abs(Lambda) < FLOOR, FLOOR, Lambda))
        else:
            left, values, right = xp.linalg.svd(Lambda)
            shifted.append((left * xp.maximum(values, FLOOR)) @ right)
    return shifted


def _along(ops: Operations, ways: Sequence[Tangent], matrices: Sequence[Float[Array, "k k"]]) -> Float[Array, " t"]:
    """⟨M, ∂Λ⟩ of all factors."""
    found = [way.along(matrix) for way, matrix in zip(ways, matrices, strict=True)]
    return found[0] if len(found) == 1 else ops.xp.concatenate(found)


def _bend(
    ops: Operations,
    ways: Sequence[Tangent],
    slopes: Sequence[Float[Array, "k k"]],
    along: Sequence[Float[Array, "k k"]],
) -> Float[Array, "t t"]:
    """⟨Γ, ∂²ΛΛ'/∂θ∂θ'⟩."""
    blocks = [way.bend(Gamma, product) for way, Gamma, product in zip(ways, slopes, along, strict=True)]
    if len(blocks) == 1:
        return blocks[0]
    zeros = ops.xp.zeros
    lines = [[B if f == g else zeros((len(B), len(C))) for g, C in enumerate(blocks)] for f, B in enumerate(blocks)]
    return ops.xp.concatenate([ops.xp.concatenate(line, axis=1) for line in lines])


def _information(
    ops: Operations,
    factors: Sequence[Float[Array, "k k"]],
    score: _Score,
    fixed: FixedProfile,
    ways: Sequence[Tangent],
    gram_of: Callable[[list[Float[Array, "k t q"]]], Float[Array, "t t"]],
) -> tuple[Float[Array, "t t"], Float[Array, "t t"]]:
    """Average information of θ, σ profiled out unless it is known, and it where σ is: e'V_sPV_te / σ².

    V_t e = Z a_t with a_t = (∂Λ Λ' + Λ ∂Λ')Z'e.
    """
    xp = ops.xp
    moved = [way.move(xp, Lambda, r) for way, Lambda, r in zip(ways, factors, score.rho, strict=True)]
    left = gram_of(moved)
    # (t, c): (Za)'Ṽ⁻¹[X y]
    towards = xp.concatenate([_inner(a, R) for a, R in zip(moved, score.residual, strict=True)])
    to_fixed, along = towards[:, :-1], towards[:, -1] - towards[:, :-1] @ fixed.beta
    information = score.precision * (left - to_fixed @ fixed.covariance @ to_fixed.T)
    if score.df is None:
        return information, information
    return information - (score.precision**2 / score.df) * along[:, None] * along[None], information


def _inner(a: Float[Array, "k t q"], K: Float[Array, "k c q"]) -> Float[Array, "t c"]:
    """Σ a_i'K_i over levels."""
    k, c, q = K.shape
    return a.swapaxes(0, 1).reshape(a.shape[1], k * q) @ K.swapaxes(0, 1).reshape(c, k * q).T  # t may be zero


def _times_products(
    ops: Operations, products: CrossProducts, a: Sequence[Float[Array, "k t q"]]
) -> list[Float[Array, "k t q"]]:
    """Z_g'WZ_f a_f for all f and g; the columns of all a_f side by side."""
    xp = ops.xp
    lines = [[xp.zeros((len(G), b.shape[1], G.shape[2])) for b in a] for G in products.diagonal]
    for f, (G, b) in enumerate(zip(products.diagonal, a, strict=True)):
        lines[f][f] = contract(G, b)
    for position, (f, g) in enumerate(products.shape.pairs):
        B = products.pairs[position]
        first, second = products.index.rows[position], products.index.columns[position]
        lines[g][f] = ops.add_levels(lines[g][f], second, contract(B, ops.take_levels(a[f], first)))
        lines[f][g] = ops.add_levels(lines[f][g], first, contract(B.swapaxes(0, 1), ops.take_levels(a[g], second)))
    return [xp.concatenate(line, axis=1) for line in lines]
