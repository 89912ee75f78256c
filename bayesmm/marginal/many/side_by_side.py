"""The criterion of many responses of one design: all at one θ, or each at a θ of its own.

Only columns of y differ between them. At one θ the elimination is made once for all. Where a design is taken apart,
each response may have its own θ, too: all are solved in the same calls of NumPy, which cost more than the arithmetic in
a small design.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import Layout, stack_factors
from bayesmm.covariance.tangents import Stacked, stack_tangents
from bayesmm.marginal.apart.one_factor import LevelRoots
from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import batched_cholesky, contract, sum_logarithms
from bayesmm.marginal.elimination.elimination import absorb, factorise
from bayesmm.marginal.likelihood.evaluation import solve
from bayesmm.marginal.many.resampled import ResampledLevels
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.responses import Responses


class Profiles(NamedTuple):
    """What m responses have at their θ, on the conditioned columns.

    Attributes
    ----------
    value : array, shape (m,)
        −2 log likelihood.
    residual_square : array, shape (m,)
        r².
    beta : array, shape (m, p)
        Fixed effects less the least-squares ones.
    """

    value: Float[Array, " m"]
    residual_square: Float[Array, " m"]
    beta: Float[Array, "m p"]


class Evaluations(NamedTuple):
    """Profiles, with gradient (m, t) and a matrix (m, t, t) near the Hessian, as in `evaluation.py`."""

    profiles: Profiles
    gradient: Float[Array, "m t"]
    curvature: Float[Array, "m t t"]


class _Reduced(NamedTuple):
    """log|H|, and S = [X y]'Ṽ⁻¹[X y] in parts; each of all responses, or one for all."""

    log_det: Array
    fixed: Float[Array, "*m p p"]
    cross: Float[Array, "m p"]
    squares: Float[Array, " m"]


def profile_together(
    responses: Responses, factors: Sequence[Float[Array, "k k"]], sigma: float | None, restriction: float
) -> Profiles:
    """Profile all responses at one Λ, on the conditioned columns."""
    if responses.levels is not None:
        parts = _reduce_levels(responses.levels, factors[0], responses.origins.shape[1])
        return _profile(responses.columns, parts, sigma, restriction)[0]
    columns, p = responses.together(), responses.origins.shape[1]
    if responses.effects is not None:
        reduced = solve(host, columns, factors).reduced
    else:
        elimination = factorise(host, columns, factors)
        reduced = absorb(host, columns, elimination, columns.cross, columns.gram).reduced
    S = reduced.gram
    parts = _Reduced(reduced.log_det, S[:p, :p], S[p:, :p], np.diagonal(S)[p:])
    return _profile(responses.columns, parts, sigma, restriction)[0]


def _reduce_levels(levels: LevelRoots, factor: Float[Array, "k k"], p: int) -> _Reduced:
    """Reduce as `bayesmm.marginal.apart.one_factor.solve_one_factor` does, without products of two responses."""
    pivots, rooted = root_levels(levels, factor[:, :, None], levels.coefficients)
    X, Y, gram = rooted[:, :p], rooted[:, p:], levels.gram
    return _Reduced(
        2.0 * sum_logarithms(np, pivots),
        gram[:p, :p] + sum(own @ own.T for own in X),
        gram[p:, :p] + sum(own @ one.T for own, one in zip(Y, X, strict=True)),
        np.diagonal(gram)[p:] + np.einsum("kmq,kmq->m", Y, Y),
    )


class Scores(NamedTuple):
    """Profiles at one θ, and the gradient (m, t) of each response there."""

    profiles: Profiles
    gradient: Float[Array, "m t"]


def score_together(
    responses: Responses, theta: Float[Array, " t"], sigma: float | None, restriction: float, layout: Layout
) -> Scores:
    """Gradients of all responses at one θ."""
    columns, p = responses.together(), responses.origins.shape[1]
    factors = [L[0] for L in stack_factors(theta[None], layout)]
    solved = solve(host, columns, factors)
    S = solved.reduced.gram
    parts = _Reduced(solved.reduced.log_det, S[:p, :p], S[p:, :p], np.diagonal(S)[p:])
    profiles, covariance = _profile(responses.columns, parts, sigma, restriction)
    precision = _precision(responses.columns, profiles, sigma, restriction)
    gradients = []
    for L, R, weights, way in zip(
        factors, solved.residual, solved.weights, stack_tangents(theta[None], layout), strict=True
    ):
        expected = weights - restriction * host.sum_outer(R[:, :p], covariance)
        rho = R[:, p:] - np.stack([profiles.beta @ own for own in R[:, :p]])  # (k, m, q)
        observed = precision[:, None, None] * np.einsum("amq,bmq->mab", rho, rho)
        gradients.append(2.0 * np.einsum("mab,tab->mt", (expected - observed) @ L, way.first[0]))
    return Scores(profiles, np.concatenate(gradients, axis=1))


def evaluate_each(
    responses: Responses, thetas: Float[Array, "m t"], sigma: float | None, restriction: float, layout: Layout
) -> Evaluations:
    """Evaluate each response at its own θ, where the design is taken apart.

    Notes
    -----
    See `bayesmm.marginal.likelihood.evaluation.evaluate` for the equations.
    """
    point = _Point.at(thetas, layout)
    if responses.levels is None:
        return _differentiate(
            point, _solve_few(responses, point, sigma, restriction), responses.columns, sigma, restriction
        )
    levels, p = responses.levels, responses.origins.shape[1]
    left = levels.gram
    own = _Left(left[:p, :p], left[p:, :p], np.diagonal(left)[p:])
    solved = _solve_levels(levels, own, None, point, responses.columns, sigma, restriction)
    return _differentiate(point, solved, responses.columns, sigma, restriction)


def evaluate_resampled(
    resampled: ResampledLevels, thetas: Float[Array, "m t"], sigma: float | None, restriction: float, layout: Layout
) -> Evaluations:
    """Evaluate each data set of resampled levels at its own θ."""
    products, counts = resampled.columns, resampled.counts
    assert products.levels is not None
    left = np.tensordot(counts, resampled.left, axes=1)
    own = _Left(left[:, :-1, :-1], left[:, -1, :-1], left[:, -1, -1])
    point = _Point.at(thetas, layout)
    solved = _solve_levels(products.levels, own, counts, point, products, sigma, restriction)
    return _differentiate(point, solved, products, sigma, restriction)


def profile_resampled(
    resampled: ResampledLevels, factor: Float[Array, "k k"], sigma: float | None, restriction: float
) -> Profiles:
    """Profile all data sets of resampled levels at one Λ: what levels have is worked out once, and counted."""
    products, counts = resampled.columns, resampled.counts
    levels = products.levels
    assert levels is not None
    pivots, rooted = root_levels(levels, factor[:, :, None], levels.coefficients)
    S = np.tensordot(counts, resampled.left + np.einsum("kiq,kjq->qij", rooted, rooted), axes=1)
    log_det = counts @ (2.0 * np.log(pivots).sum(axis=0))
    parts = _Reduced(log_det, S[:, :-1, :-1], S[:, -1, :-1], S[:, -1, -1])
    return _profile(products, parts, sigma, restriction)[0]


class _Point(NamedTuple):
    """Factors (m, k, k) of each grouping factor at several θ, their derivatives, and those of ΛΛ' (m, t, k, k)."""

    factors: list[Float[Array, "m k k"]]
    tangents: list[Stacked]
    moves: list[Float[Array, "m t k k"]]

    @classmethod
    def at(cls, thetas: Float[Array, "m t"], layout: Layout) -> _Point:
        factors, tangents, moves = stack_factors(thetas, layout), stack_tangents(thetas, layout), []
        for L, way in zip(factors, tangents, strict=True):
            half = way.first @ L[:, None].swapaxes(2, 3)
            moves.append(half + half.swapaxes(2, 3))
        return cls(factors, tangents, moves)


class _Left(NamedTuple):
    """What the effects leave of [X y]'W[X y], of each response or one for all."""

    fixed: Float[Array, "*m p p"]
    cross: Float[Array, "m p"]
    squares: Float[Array, " m"]


def _differentiate(
    point: _Point, solved: _Each, products: CrossProducts, sigma: float | None, restriction: float
) -> Evaluations:
    """Put gradient and curvature together."""
    factors, tangents, precision = point.factors, point.tangents, solved.precision
    information = solved.left - solved.to_fixed @ solved.covariance @ solved.to_fixed.swapaxes(1, 2)
    information *= precision[:, None, None]
    if sigma is None:
        df = products.n - restriction * products.p
        information -= (precision**2 / df)[:, None, None] * solved.along[:, :, None] * solved.along[:, None]
    gradients, end = [], 0
    for L, way, expected, squares in zip(factors, tangents, solved.expected, solved.squares, strict=True):
        slope = expected - precision[:, None, None] * squares  # Γ
        GL = slope @ L
        start, end = end, end + way.first.shape[1]
        D = np.broadcast_to(way.first, (len(L), *way.first.shape[1:]))
        gradients.append(2.0 * np.einsum("mab,mtab->mt", GL, D))
        for first in (D,) if way.beside is None else (D, way.beside):
            information[:, start:end, start:end] += 2.0 * np.einsum("msab,mtab->mst", slope[:, None] @ first, first)
        if way.second is not None:
            information[:, start:end, start:end] += 2.0 * np.einsum("mstab,mab->mst", way.second, GL)
    return Evaluations(solved.profiles, np.concatenate(gradients, axis=1), information)


class _Each(NamedTuple):
    """What the derivatives of m responses are made of, each at its own Λ.

    Attributes
    ----------
    profiles, covariance, precision
        As of one θ; A⁻¹ (m, p, p); 1/σ² (m,).
    expected, squares : lists of arrays, shape (m, k, k)
        Σ Z_i'PZ_i and Σ ρρ' of each factor, with ρ = Z_i'e.
    left, to_fixed, along : arrays, shapes (m, t, t), (m, t, p), (m, t)
        (Za)'Ṽ⁻¹[Za X e] with a = ∂(ΛΛ')ρ.
    """

    profiles: Profiles
    covariance: Float[Array, "m p p"]
    precision: Float[Array, " m"]
    expected: list[Float[Array, "m k k"]]
    squares: list[Float[Array, "m k k"]]
    left: Float[Array, "m t t"]
    to_fixed: Float[Array, "m t p"]
    along: Float[Array, "m t"]


def root_levels(
    levels: LevelRoots, L: Float[Array, "k k *m 1"], right: Float[Array, "k c *m q"]
) -> tuple[Float[Array, "k *m q"], Float[Array, "k c *m q"]]:
    """Pivots of the roots of M = I + RΛΛ'R' of each level, and right-hand sides through them."""
    root = levels.root.reshape(*levels.root.shape[:2], *(1,) * (L.ndim - 3), -1)
    B = contract(root.swapaxes(0, 1), L)  # RΛ
    identity = np.eye(len(L)).reshape(len(L), len(L), *(1,) * (L.ndim - 2))
    return batched_cholesky(np, identity + contract(B.swapaxes(0, 1), B.swapaxes(0, 1)), right)


def _solve_levels(
    levels: LevelRoots,
    left: _Left,
    counts: Float[Array, "m q"] | None,
    point: _Point,
    products: CrossProducts,
    sigma: float | None,
    restriction: float,
) -> _Each:
    """Solve as `bayesmm.marginal.apart.one_factor` does, with an axis of responses before that of levels.

    Sums over levels, each as often as it counts, are products of matrices, one a response. Of the average information
    they are Σ (Z'Ṽ⁻¹Z) ⊗ ρρ', whatever the number of entries of θ.
    """
    factors, moves = point.factors[0], point.moves[0]
    m, (k, _, q), p = len(factors), levels.root.shape, left.fixed.shape[-1]
    right = np.empty((k, p + 1 + k, m, q))
    right[:, :p], right[:, p] = levels.coefficients[:, :p, None], levels.coefficients[:, p:]
    right[:, p + 1 :] = levels.root[:, :, None]
    pivots, rooted = root_levels(levels, np.moveaxis(factors, 0, -1)[..., None], right)
    S = np.sum([_sum_products(each, each, counts) for each in rooted], axis=0)  # (m, p + 1 + k, ...)
    logarithms = 2.0 * np.log(pivots).sum(axis=0)
    parts = _Reduced(
        (logarithms if counts is None else logarithms * counts).sum(axis=1),
        S[:, :p, :p] + left.fixed,
        S[:, p, :p] + left.cross,
        S[:, p, p] + left.squares,
    )
    profiles, covariance = _profile(products, parts, sigma, restriction)
    between = rooted[:, p + 1 :]
    R, marginal = contract(between, rooted[:, : p + 1]), contract(between, between)
    rho = R[:, p] - sum((R[:, j] * profiles.beta[:, j, None] for j in range(p)), 0.0)  # (k, m, q)
    rows = np.concatenate([R[:, :p].reshape(k * p, m, q), rho])
    sums = _sum_products(rows, rows, counts)
    squares = sums[:, k * p :, k * p :]
    of_fixed = sums[:, : k * p, : k * p].reshape(m, k, p, k, p)
    fourth = _sum_fourth(marginal, rho, counts).transpose(0, 2, 4, 1, 3).reshape(m, k * k, k * k)
    flat = moves.reshape(m, moves.shape[1], k * k)
    return _Each(
        profiles,
        covariance,
        _precision(products, profiles, sigma, restriction),
        [S[:, p + 1 :, p + 1 :] - restriction * np.einsum("maibj,mij->mab", of_fixed, covariance)],
        [squares],
        (flat @ fourth) @ flat.swapaxes(1, 2),
        np.einsum("mtab,mbap->mtp", moves, sums[:, k * p :, : k * p].reshape(m, k, k, p)),
        np.einsum("mtab,mab->mt", moves, squares),
    )


def _solve_few(responses: Responses, point: _Point, sigma: float | None, restriction: float) -> _Each:
    """Solve as `bayesmm.marginal.apart.few_effects` does, one dense matrix a response."""
    factors, moves = point.factors, point.moves
    roots, products = responses.effects, responses.columns
    assert roots is not None
    m, p = responses.origins.shape
    sizes = [R.shape[:2] for R in roots.roots]
    B = np.concatenate(
        [
            (L.swapaxes(1, 2) @ R.reshape(len(R), -1)).reshape(m, -1, R.shape[2])
            for L, R in zip(factors, roots.roots, strict=True)
        ],
        axis=1,
    )  # Λ'R'
    C = _cholesky(np.eye(B.shape[2]) + B.swapaxes(1, 2) @ B)
    flat = np.concatenate([R.reshape(-1, R.shape[2]) for R in roots.roots]).T
    right = np.empty((m, B.shape[2], p + 1 + flat.shape[1]))
    right[:, :, :p], right[:, :, p] = roots.coefficients[:, :p], roots.coefficients[:, p:].T
    right[:, :, p + 1 :] = flat
    rooted = np.linalg.solve(C, right)
    S = rooted.swapaxes(1, 2) @ rooted
    left = roots.gram
    parts = _Reduced(
        2.0 * np.log(np.diagonal(C, axis1=1, axis2=2)).sum(axis=1),
        S[:, :p, :p] + left[:p, :p],
        S[:, p, :p] + left[p:, :p],
        S[:, p, p] + np.diagonal(left)[p:],
    )
    profiles, covariance = _profile(products, parts, sigma, restriction)
    R, marginal = S[:, p + 1 :, :p], S[:, p + 1 :, p + 1 :]
    rho = S[:, p + 1 :, p] - (R @ profiles.beta[..., None])[..., 0]
    expected, squares, moved, end = [], [], [], 0
    for f, (k, q) in enumerate(sizes):
        start, end = end, end + k * q
        own = R[:, start:end].reshape(m, k, q, p)
        block = marginal[:, start:end, start:end].reshape(m, k, q, k, q)
        fixed = np.einsum("maqi,mij,mbqj->mab", own, covariance, own, optimize=True)
        expected.append(np.einsum("maqbq->mab", block) - restriction * fixed)
        of_factor = rho[:, start:end].reshape(m, k, q)
        squares.append(of_factor @ of_factor.swapaxes(1, 2))
        t = moves[f].shape[1]
        a = np.zeros((m, t, rho.shape[1]))
        a[:, :, start:end] = (moves[f] @ of_factor[:, None]).reshape(m, t, k * q)
        moved.append(a)
    a = np.concatenate(moved, axis=1)
    return _Each(
        profiles,
        covariance,
        _precision(products, profiles, sigma, restriction),
        expected,
        squares,
        (a @ marginal) @ a.swapaxes(1, 2),
        a @ R,
        (a @ rho[..., None])[..., 0],
    )


def _profile(
    products: CrossProducts, parts: _Reduced, sigma: float | None, restriction: float
) -> tuple[Profiles, Float[Array, "*m p p"]]:
    """Profile the fixed effects out of S, and A⁻¹."""
    with np.errstate(all="ignore"):
        root = _cholesky(parts.fixed)
        log_det = 2.0 * np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(axis=-1) + products.log_det_root
        inverse_root = np.linalg.solve(root, np.broadcast_to(np.eye(root.shape[-1]), root.shape))
        covariance = inverse_root.swapaxes(-1, -2) @ inverse_root
        beta = (covariance @ parts.cross[..., None])[..., 0]
        residual_square = parts.squares - (beta * parts.cross).sum(axis=-1)
        df = products.n - restriction * products.p
        constant = parts.log_det - products.log_weights + restriction * log_det
        if sigma is None:
            value = constant + df * (1.0 + np.log(2.0 * np.pi * residual_square / df))
        else:
            value = constant + df * np.log(2.0 * np.pi * sigma**2) + residual_square / sigma**2
    return Profiles(value, residual_square, beta), covariance


def _precision(
    products: CrossProducts, profiles: Profiles, sigma: float | None, restriction: float
) -> Float[Array, " m"]:
    """1/σ² of each response."""
    if sigma is not None:
        return np.full(len(profiles.value), 1.0 / sigma**2)
    return (products.n - restriction * products.p) / profiles.residual_square


def _cholesky(A: Float[Array, "*m p p"]) -> Float[Array, "*m p p"]:
    """Roots; NaN of those that are not positive definite."""
    try:
        return np.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        if A.ndim == 2:
            return np.full_like(A, np.nan)
        return np.stack([_cholesky(each) for each in A])


def _sum_products(
    left: Float[Array, "a m q"], right: Float[Array, "b m q"], counts: Float[Array, "m q"] | None
) -> Float[Array, "m a b"]:
    """Sum products of rows over levels, each as often as it counts, for each response."""
    counted = left if counts is None else left * counts
    return counted.transpose(1, 0, 2) @ right.transpose(1, 2, 0)


def _sum_fourth(
    marginal: Float[Array, "k k m q"], rho: Float[Array, "k m q"], counts: Float[Array, "m q"] | None
) -> Float[Array, "m k k k k"]:
    """Σ marginal_ab ρ_c ρ_d over levels: symmetric in a, b and in c, d."""
    k = len(rho)
    i, j = np.triu_indices(k)
    place = np.zeros((k, k), int)
    place[i, j] = place[j, i] = np.arange(len(i))
    sums = _sum_products(marginal[i, j], rho[i] * rho[j], counts)
    return sums[:, place[:, :, None, None], place]
