"""The criterion beside random effects from weighted sums: value, slopes and curvature in (θ, φ), rows not visited.

With C* the inverse of [Z X]'R⁻¹[Z X] + the precision of the effects, e = y − Xβ̂ − Zb̂ the conditional residuals, and
for the weight w of each class of pairs of rows

    g = Σ e_s e_t/σ² + Σ r_s'C*r_t  over its pairs, of rows r of [Z X]    (C of the effects alone for ML),

the slope of −2 log likelihood in φ is Σ g ∂w + ∂log|R|, and the Hessian is

    Σ g ∂²w + ∂²log|R| − 2u_i'C*u_j/σ² − tr(C*S_iC*S_j),    S_i = [Z X]'∂_iR⁻¹[Z X],    u_i = [Z X]'∂_iR⁻¹e.

Where groups are no chains, and parameters may be many, average information is taken for it, which needs no traces.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import Layout, assemble_factors
from bayesmm.covariance.tangents import tangents
from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import AnyElimination, absorb
from bayesmm.marginal.elimination.inverse import Inverse
from bayesmm.marginal.likelihood.evaluation import Evaluated, Solved, evaluate, solve_stepwise
from bayesmm.marginal.residual.evaluation import ResidualEvaluated
from bayesmm.marginal.residual.weighted_sums import WeightedSums
from bayesmm.marginal.residual.weights import weigh
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts


def evaluate_levels(
    theta: np.ndarray,
    phi: np.ndarray,
    sums: WeightedSums,
    sigma: float | None,
    restriction: float,
    factor_layout: Layout,
) -> ResidualEvaluated:
    """Evaluate from weighted sums; `expected_residual` is left out.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix R is not positive definite.
    """
    weights = weigh(sums.layout, phi)
    products = sums.products_of(weights.values, weights.log_det)
    factors = assemble_factors(np, theta, factor_layout)
    solved, elimination, inverse = solve_stepwise(host, products, factors, neighbours=bool(sums.pairs))
    at = evaluate(host, theta, products, sigma, restriction, layout=factor_layout, solved=solved)
    df = float(products.n - restriction * products.p)
    precision = float(df / at.fixed.residual_square if sigma is None else 1.0 / sigma**2)
    here = _Here(sums, products, inverse, solved, at, restriction)
    ways = here.along(weights.slopes)
    fall = -np.array([way.square for way in ways])
    u = _turn(ways, products, elimination, solved, at)
    if sums.layout.is_chain:
        g = here.sum_up(here.squares(precision), here.known())
        curvature = weights.curve(g) - 2.0 * precision * u.gram - here.traces(ways)
        if np.linalg.eigvalsh(0.5 * (curvature + curvature.T))[0] <= 0.0:
            curvature = weights.curve(weights.expected())
    else:
        squares = here.sum_up(here.squares(precision))
        g = squares + here.sum_up(here.known())
        curvature = weights.inform(squares) - precision * u.gram
    rho = [(each * here.v[:, None]).sum(1) for each in solved.residual]  # Z'e
    steps = [way.move(np, L, own) for way, L, own in zip(tangents(np, theta, factor_layout), factors, rho, strict=True)]
    both = -precision * np.concatenate([_inner(a, r) for a, r in zip(steps, u.residual, strict=True)])
    if sigma is None:
        curvature = curvature - precision**2 / df * fall[:, None] * fall
        both = both + precision**2 / df * at.residual_square_gradient[:, None] * fall
    t = len(theta)
    whole = np.empty((t + len(phi),) * 2)
    whole[:t, :t], whole[:t, t:], whole[t:, :t] = at.curvature, both, both.T
    whole[t:, t:] = 0.5 * (curvature + curvature.T)
    return ResidualEvaluated(
        value=float(at.value),
        gradient=np.concatenate([at.gradient, weights.slopes @ g + weights.log_det_slopes]),
        curvature=whole,
        fixed=at.fixed,
        root=products.fixed_root,
        origin=products.fixed_origin,
        residual_square_gradient=np.concatenate([at.residual_square_gradient, -fall]),
        expected=at.expected,
        expected_residual=[],
    )


class _Here:
    """What one elimination tells of each class of pairs of rows; effects are those of the user's levels."""

    def __init__(
        self,
        sums: WeightedSums,
        products: CrossProducts,
        inverse: Inverse,
        solved: Solved,
        at: Evaluated,
        restriction: float,
    ) -> None:
        self.sums = sums
        self.p = len(at.fixed.beta)
        self.v = np.append(-at.fixed.beta, 1.0)
        effects = products.at_levels(solved.effects)
        self.modes = [(B * self.v[:, None]).sum(1) for B in effects]
        self.fixed = [B[:, : self.p] for B in effects]  # CZ'R⁻¹X
        self.covariance = restriction * at.fixed.covariance
        self.pairs = sums.user_pairs
        self.inverse = inverse.diagonal, inverse.pairs
        if sums.relating is not None:
            self.inverse = sums.relating.covariances(host, *self.inverse)

    def squares(self, precision: float) -> _Parts:
        """Σ e_s e_t/σ²."""
        v, b = self.v, [each[:, None] for each in self.modes]
        return _Parts(
            fixed=precision * v[:, None] * v,
            across=[precision * each * v[:, None] for each in b],
            inner=[precision * each * each.swapaxes(0, 1) for each in b],
            between=[precision * b[f][..., i] * b[g][..., j].swapaxes(0, 1) for (f, g), i, j in self.pairs],
        )

    def known(self) -> _Parts:
        """Σ r_s'C* r_t, of rows r of [Z X], or of Z for ML."""
        p = self.p
        M = np.zeros((p + 1, p + 1))
        M[:p, :p] = self.covariance
        spread = self.fixed
        if p:
            spread = [host.transform(self.covariance, B.swapaxes(0, 1)).swapaxes(0, 1) for B in self.fixed]
        across = [np.concatenate([BA, np.zeros((len(BA), 1, BA.shape[2]))], axis=1) for BA in spread]
        inner, between = list(self.inverse[0]), [self.inverse[1][pair] for pair, _, _ in self.pairs]
        if p:
            inner = [C + _outer(BA, B) for C, BA, B in zip(inner, spread, self.fixed, strict=True)]
            between = [
                C + _outer(spread[f][..., i], self.fixed[g][..., j])
                for C, ((f, g), i, j) in zip(between, self.pairs, strict=True)
            ]
        return _Parts(M, across, inner, between)

    def sum_up(self, *some: _Parts) -> Float[Array, " m"]:
        """Add up what each class has of these."""
        sums = self.sums
        fixed, across, inner, between = some[0]
        for each in some[1:]:
            fixed = fixed + each.fixed
            across, inner, between = (
                [one + other for one, other in zip(*both, strict=True)]
                for both in ((across, each.across), (inner, each.inner), (between, each.between))
            )
        total = sums.contract_gram(fixed)
        for own, cross, square in zip(sums.own, across, inner, strict=True):
            total += own.contract(np.concatenate([square, -2.0 * cross], axis=1), sums.n_classes)
        for own, C in zip(sums.pairs, between, strict=True):
            total += 2.0 * own.contract(C, sums.n_classes)
        return total

    def along(self, slopes: Float[Array, "f m"]) -> list[_Along]:
        """Sum by other weights: those of ∂R⁻¹ for each entry of φ."""
        sums, padded = self.sums, np.append(slopes, np.zeros((len(slopes), 1)), axis=1)
        return [
            self._along([each.at(way) for each in sums.own], [each.at(way) for each in sums.pairs], gram)
            for way, gram in zip(padded, sums.weigh_gram(slopes), strict=True)
        ]

    def _along(
        self, own: list[Float[Array, "k c q"]], pairs: list[Float[Array, "k l P"]], gram: Float[Array, "c c"]
    ) -> _Along:
        v, b, p = self.v, self.modes, self.p
        inner, cross = [each[:, : len(each)] for each in own], [each[:, len(each) :] for each in own]
        along = [(E * v[:, None]).sum(1) for E in cross]
        u = [own - (D * x).sum(1) for own, D, x in zip(along, inner, b, strict=True)]
        to_fixed = (gram @ v)[:p] - sum(np.einsum("kpq,kq->p", E[:, :p], x) for E, x in zip(cross, b, strict=True))
        left = [E[:, :p] - contract(D, B) if p else E[:, :0] for D, E, B in zip(inner, cross, self.fixed, strict=True)]
        for ((f, g), i, j), each in zip(self.pairs, pairs, strict=True):
            for one, other, at, to, D in ((f, g, i, j, each), (g, f, j, i, each.swapaxes(0, 1))):
                u[one] = host.add_levels(u[one][:, None], at, -(D * b[other][:, to]).sum(1)[:, None])[:, 0]
                if p:
                    moved = contract(D.swapaxes(0, 1), self.fixed[other][..., to])
                    left[one] = host.add_levels(left[one], at, -moved)
        modes = (float((x * (own + each)).sum()) for x, own, each in zip(b, along, u, strict=True))
        return _Along(inner, cross, gram, u, to_fixed, left, float(v @ gram @ v) - sum(modes))

    def traces(self, ways: list[_Along]) -> Float[Array, "f f"]:
        """tr(C*S_iC*S_j); of different levels only as far as they are tied by X."""
        p, f, A = self.p, len(ways), self.covariance
        total = np.zeros((f, f))
        for g, C in enumerate(self.inverse[0]):
            moved = np.stack([contract(C, way.inner[g]) for way in ways])
            total += moved.reshape(f, -1) @ moved.swapaxes(1, 2).reshape(f, -1).T
            if p:
                left = np.stack([way.left[g] for way in ways])
                spread = np.stack([contract(C, host.transform(A, each.swapaxes(0, 1)).swapaxes(0, 1)) for each in left])
                total += 2.0 * left.reshape(f, -1) @ spread.reshape(f, -1).T
        if p:
            falls = np.stack([A @ self._fall(way) for way in ways])
            total += falls.reshape(f, -1) @ falls.swapaxes(1, 2).reshape(f, -1).T
        return total

    def _fall(self, way: _Along) -> Float[Array, "p p"]:
        """∂(X'Ṽ⁻¹X): −½(B'E + E'B) twice, with E = Z'∂R⁻¹X and what Z leaves of it."""
        p = self.p
        change = way.gram[:p, :p]
        for B, cross, left in zip(self.fixed, way.cross, way.left, strict=True):
            outer = _inner(B, cross[:, :p]) + _inner(B, left)
            change = change - 0.5 * (outer + outer.T)
        return change


class _Parts(NamedTuple):
    """What multiplies [X y]'[X y], −2 Z'[X y], Z'Z and 2 Z_f'Z_g of each class, in sums over its pairs of rows.

    Attributes
    ----------
    fixed : array, shape (c, c)
    across, inner : lists of arrays, shapes (k, c, q) and (k, k, q)
        Of each factor.
    between : list of arrays, shape (k, l, P)
        Of pairs of levels of two factors.
    """

    fixed: Float[Array, "c c"]
    across: list[Float[Array, "k c q"]]
    inner: list[Float[Array, "k k q"]]
    between: list[Float[Array, "k l P"]]


class _Along(NamedTuple):
    """[Z X y]'∂R⁻¹[Z X y] for one entry of φ, and what is made of it.

    Attributes
    ----------
    inner, cross : lists of arrays, shapes (k, k, q) and (k, c, q)
        Z'∂R⁻¹Z of each level, and Z'∂R⁻¹[X y].
    gram : array, shape (c, c)
        [X y]'∂R⁻¹[X y].
    u, to_fixed : list of arrays, shape (k, q), and array, shape (p,)
        [Z X]'∂R⁻¹e.
    left : list of arrays, shape (k, p, q)
        Z'∂R⁻¹(X − ZCZ'R⁻¹X).
    square : float
        e'∂R⁻¹e.
    """

    inner: list[Float[Array, "k k q"]]
    cross: list[Float[Array, "k c q"]]
    gram: Float[Array, "c c"]
    u: list[Float[Array, "k q"]]
    to_fixed: Float[Array, " p"]
    left: list[Float[Array, "k p q"]]
    square: float


class _Turned(NamedTuple):
    """u'C*u (f, f), and Z'Ṽ⁻¹-like remains of u of each factor (k, f, q)."""

    gram: Float[Array, "f f"]
    residual: list[Float[Array, "k f q"]]


def _turn(
    ways: list[_Along], products: CrossProducts, elimination: AnyElimination, solved: Solved, at: Evaluated
) -> _Turned:
    """Take [Z X]'∂R⁻¹e of all entries of φ through the elimination."""
    f, p = len(ways), len(at.fixed.beta)
    u = products.from_levels([np.stack(each, axis=1) for each in zip(*(way.u for way in ways), strict=True)])
    absorbed = absorb(host, products, elimination, u, np.zeros((f, f)))
    gram = -absorbed.reduced.gram
    residual = solve_effects(host, products, elimination, absorbed).residual
    if products.sparse is not None:
        residual = products.sparse.gather(residual)  # as those of `solved` are
    if p:
        left = np.stack([way.to_fixed for way in ways])
        left = left - sum(_inner(own, B[:, :p]) for own, B in zip(u, solved.effects, strict=True))
        gamma = left @ at.fixed.covariance  # (f, p)
        gram = gram + gamma @ left.T
        residual = [
            r - host.transform(gamma.T, Q[:, :p].swapaxes(0, 1)).swapaxes(0, 1)
            for r, Q in zip(residual, solved.residual, strict=True)
        ]
    return _Turned(gram, residual)


def _inner(a: Float[Array, "k c q"], b: Float[Array, "k d q"]) -> Float[Array, "c d"]:
    """Σ a_i'b_i over levels."""
    size = a.shape[0] * a.shape[2]  # c or d may be zero
    return a.swapaxes(0, 1).reshape(a.shape[1], size) @ b.swapaxes(0, 1).reshape(b.shape[1], size).T


def _outer(a: Float[Array, "k c q"], b: Float[Array, "l c q"]) -> Float[Array, "k l q"]:
    """Σ over columns, for every level."""
    return contract(a.swapaxes(0, 1), b.swapaxes(0, 1))
