"""The criterion beside random effects from weighted sums: value, slopes and curvature in (θ, φ), rows not visited.

With C* the inverse of [Z X]'R⁻¹[Z X] + the precision of the effects, e = y − Xβ̂ − Zb̂ the conditional residuals, T = Σ ee'
and K = Σ [Z X]C*[Z X]' over the rows of a pattern's pieces (C of the effects alone for ML), the slope of −2 log likelihood
in R of a piece is

    Γ = N R⁻¹ − R⁻¹(K + T/σ²)R⁻¹,    N the number of such pieces,

whose expectation is zero for each of them. The Hessian in φ is, but for ⟨Γ, ∂²R⟩,

    Σ tr(R⁻¹∂_iR R⁻¹∂_jR R⁻¹(2T/σ² + 2K − NR)) − 2u_i'C*u_j/σ² − tr(C*S_iC*S_j),    S_i = [Z X]'∂_iR⁻¹[Z X],
    u_i = [Z X]'∂_iR⁻¹e;

where groups are whole its half without the traces that are known is the average information, which is taken then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import Layout, assemble_factors
from bayesmm.covariance.tangents import tangents
from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import Elimination, absorb
from bayesmm.marginal.elimination.inverse import Inverse
from bayesmm.marginal.likelihood.evaluation import Evaluated, Solved, evaluate, solve_stepwise
from bayesmm.marginal.residual.evaluation import ResidualEvaluated, along_residual, weighted_traces
from bayesmm.marginal.residual.weighted_sums import ClassSums, WeightedSums
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
    """Evaluate from weighted sums; `expected_residual` is that of the pieces.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix R is not positive definite.
    """
    weights = sums.weights(np, phi)
    products = sums.products_of(np, weights)
    factors = assemble_factors(np, theta, factor_layout)
    solved, elimination, inverse = solve_stepwise(host, products, factors, neighbours=bool(sums.pairs))
    at = evaluate(host, theta, products, sigma, restriction, layout=factor_layout, solved=solved)
    df = float(products.n - restriction * products.p)
    precision = float(df / at.fixed.residual_square if sigma is None else 1.0 / sigma**2)
    v = np.append(-at.fixed.beta, 1.0)
    here = _Here(sums, products, elimination, inverse, solved, at, v, restriction)
    R, slopes = sums.layout.covariances(np, phi), sums.layout.derivatives(phi)
    W, counts = weights.precisions, [stack.counts[:, None, None] for stack in sums.layout.stacks]
    T, K = sums.in_place(here.squares()), sums.in_place(here.known())
    expected = [N * P - P @ M @ P for N, P, M in zip(counts, W, K, strict=True)]
    fall = along_residual([P @ M @ P for P, M in zip(W, T, strict=True)], slopes)
    gradient = along_residual(expected, slopes) - precision * fall
    moved = [P @ dR @ P for P, dR in zip(W, slopes, strict=True)]
    ways = -sums.by_class(moved)  # (f, m + 1): ∂w
    u = here.turn(ways)
    curvature = precision * (weighted_traces(moved, slopes, W, T) - u.gram)
    if any(stack.sign < 0.0 for stack in sums.layout.stacks):
        counted = weighted_traces(moved, slopes, W, [N * S for N, S in zip(counts, R, strict=True)])
        taken = here.traces(ways) - 2.0 * weighted_traces(moved, slopes, W, K)
        exact = 2.0 * curvature - counted - taken
        curvature = exact if np.linalg.eigvalsh(exact)[0] > 0.0 else counted
    rho = [(each * v[:, None]).sum(1) for each in solved.residual]  # Z'e
    along = [way.move(np, L, own) for way, L, own in zip(tangents(np, theta, factor_layout), factors, rho, strict=True)]
    both = -precision * np.concatenate([_inner(a, r) for a, r in zip(along, u.residual, strict=True)])
    if sigma is None:
        curvature = curvature - precision**2 / df * fall[:, None] * fall
        both = both + precision**2 / df * at.residual_square_gradient[:, None] * fall
    return ResidualEvaluated(
        value=float(at.value),
        gradient=np.concatenate([at.gradient, gradient]),
        curvature=np.block([[at.curvature, both], [both.T, 0.5 * (curvature + curvature.T)]]),
        fixed=at.fixed,
        residual_square_gradient=np.concatenate([at.residual_square_gradient, -fall]),
        expected=at.expected,
        expected_residual=expected,
    )


class _Turned(NamedTuple):
    """Columns u of all entries of φ taken through: u'C*u (f, f), and Z'PRu of each factor (k, f, q)."""

    gram: Float[Array, "f f"]
    residual: list[Float[Array, "k f q"]]


class _Here:
    """What one elimination tells of each class of pairs of rows."""

    def __init__(
        self,
        sums: WeightedSums,
        products: CrossProducts,
        elimination: Elimination,
        inverse: Inverse,
        solved: Solved,
        at: Evaluated,
        v: Float[Array, " c"],
        restriction: float,
    ) -> None:
        self.sums, self.products, self.elimination, self.inverse = sums, products, elimination, inverse
        self.solved, self.at, self.v, self.restriction = solved, at, v, restriction
        self.modes = [(B * v[:, None]).sum(1) for B in solved.effects]
        self.p = len(v) - 1

    def squares(self) -> Float[Array, " m"]:
        """Σ e_s e_t of each class."""
        v, b = self.v, self.modes
        inner = [each[:, None] * each for each in b]
        across = [each[:, None] * v[:, None] for each in b]
        return self._contract(v[:, None] * v, across, inner, lambda f, g, i, j: b[f][:, None, i] * b[g][None, :, j])

    def known(self) -> Float[Array, " m"]:
        """Σ r_s'C* r_t of each class, of rows r of [Z X], or of Z for ML."""
        p, A = self.p, self.restriction * self.at.fixed.covariance
        B = [each[:, :p] for each in self.solved.effects]
        BA = [host.transform(A, each.swapaxes(0, 1)).swapaxes(0, 1) for each in B]
        M = np.zeros((p + 1, p + 1))
        M[:p, :p] = A
        across = [np.concatenate([each, np.zeros_like(each[:, :1])], axis=1) for each in BA]
        inner = [
            C + contract(left.swapaxes(0, 1), right.swapaxes(0, 1)) if p else C
            for C, left, right in zip(self.inverse.diagonal, BA, B, strict=True)
        ]

        def between(f: int, g: int, i: np.ndarray, j: np.ndarray) -> Array:
            own = self.inverse.pairs[(f, g)]
            left, right = BA[f][..., i].swapaxes(0, 1), B[g][..., j].swapaxes(0, 1)
            return own + contract(left, right) if p else own

        return self._contract(M, across, inner, between)

    def _contract(self, gram, across, inner, between) -> Float[Array, " m"]:
        """Contract all sums: [X y] with `gram`, −2 Z'[X y] with `across`, Z'Z with `inner`, two factors' with 2 `between`."""
        sums = self.sums
        total = sums.gram.reshape(sums.n_classes, -1) @ gram.reshape(-1)
        for own, cross, square in zip(sums.own, across, inner, strict=True):
            total = total + own.contract(np.concatenate([square, -2.0 * cross], axis=1), sums.n_classes)
        for (f, g), own, i, j in self._pairs():
            total = total + 2.0 * own.contract(between(f, g, i, j), sums.n_classes)
        return total

    def _pairs(self):
        """Pairs of factors, their sums, and the levels of both."""
        shape, index = self.products.shape, self.products.index
        return zip(shape.pairs, self.sums.pairs, index.rows, index.columns, strict=True)

    def turn(self, ways: Float[Array, "f m"]) -> _Turned:
        """Take [Z X]'∂R⁻¹e through, for ∂w (f, m + 1)."""
        sums, p, v, f = self.sums, self.p, self.v, len(ways)
        modes = self.modes
        to_fixed = (sums.gram @ v)[:, :p]  # (m, p)
        u = []
        for own, b in zip(sums.own, modes, strict=True):
            k = len(b)
            left = np.einsum("sklt,lt->skt", own.values[:, :, k:], np.broadcast_to(v[:, None], (p + 1, b.shape[1])))
            left -= np.einsum("sklt,lt->skt", own.values[:, :, :k], b)
            u.append(_spread(own, ways, left))
            to_fixed = to_fixed - _by_class(own, np.einsum("sklt,kt->slt", own.values[:, :, k:-1], b), sums.n_classes)
        for (one, other), own, i, j in self._pairs():
            to_one = _spread(own, ways, np.einsum("sklt,lt->skt", own.values, modes[other][:, j]))
            to_other = _spread(own, ways, np.einsum("sklt,kt->slt", own.values, modes[one][:, i]))
            u[one] = host.add_levels(u[one], i, -to_one)
            u[other] = host.add_levels(u[other], j, -to_other)
        absorbed = absorb(host, self.products, self.elimination, u, np.zeros((f, f)))
        at = solve_effects(host, self.products, self.elimination, absorbed)
        gram = -absorbed.reduced.gram  # u_Z'Cu_Z
        residual = at.residual
        if p:
            B = [each[:, :p] for each in self.solved.effects]
            left = ways[:, :-1] @ to_fixed - sum(
                np.einsum("kft,kpt->fp", own, each) for own, each in zip(u, B, strict=True)
            )
            gamma = left @ self.at.fixed.covariance  # (f, p)
            gram = gram + gamma @ left.T
            residual = [
                r - host.transform(gamma.T, Q[:, :p].swapaxes(0, 1)).swapaxes(0, 1)
                for r, Q in zip(residual, self.solved.residual, strict=True)
            ]
        return _Turned(gram, residual)

    def traces(self, ways: Float[Array, "f m"]) -> Float[Array, "f f"]:
        """tr(C*S_iC*S_j), of different levels only as far as they are tied by X."""
        sums, p, f = self.sums, self.p, len(ways)
        A, C = self.restriction * self.at.fixed.covariance, self.inverse.diagonal
        B = [each[:, :p] for each in self.solved.effects]
        total = np.zeros((f, f))
        along = [[own.at(w) for own in sums.own] for w in ways]
        between = [[own.at(w) for own in sums.pairs] for w in ways]
        levels = []
        for g, own in enumerate(C):
            k = len(own)
            each = np.stack([contract(own, a[g][:, :k]) for a in along])  # CS (f, k, k, q)
            total += each.reshape(f, -1) @ each.swapaxes(1, 2).reshape(f, -1).T
            levels.append(each)
        if not p or not self.restriction:
            return total
        to_fixed, precisions = [], []
        for w, a, lists in zip(ways, along, between, strict=True):
            cross = [each[:, len(each) : -1] - contract(each[:, : len(each)], b) for each, b in zip(a, B, strict=True)]
            for ((one, other), _, i, j), own in zip(self._pairs(), lists, strict=True):
                cross[one] = host.add_levels(cross[one], i, -contract(own.swapaxes(0, 1), B[other][..., j]))
                cross[other] = host.add_levels(cross[other], j, -contract(own, B[one][..., i]))
            change = (w[:-1] @ sums.gram[:, :p, :p].reshape(sums.n_classes, -1)).reshape(p, p)
            for each, E, b in zip(a, cross, B, strict=True):
                outer = _inner(b, each[:, len(each) : -1]) + _inner(E, b)
                change = change - 0.5 * (outer + outer.T)
            to_fixed.append(cross)
            precisions.append(A @ change)
        flat = np.stack(precisions).reshape(f, -1)
        total += flat @ np.stack(precisions).swapaxes(1, 2).reshape(f, -1).T
        for g, own in enumerate(C):
            E = np.stack([each[g] for each in to_fixed])  # (f, k, p, q)
            moved = np.stack([contract(own, host.transform(A, each.swapaxes(0, 1)).swapaxes(0, 1)) for each in E])
            total += 2.0 * E.reshape(f, -1) @ moved.reshape(f, -1).T
        return total


def _spread(own: ClassSums, ways: Float[Array, "f m"], left: Float[Array, "S k T"]) -> Float[Array, "k f T"]:
    """Σ over slots, by the weights of each way."""
    return np.stack([np.einsum("st,skt->kt", w[own.classes], left) for w in ways], axis=1)


def _by_class(own: ClassSums, values: Float[Array, "S c T"], n_classes: int) -> Float[Array, "m c"]:
    """Sum over slots of each class."""
    S, c, T = values.shape
    where = own.classes[:, None] * c + np.arange(c)[:, None]
    return np.bincount(where.ravel(), weights=values.ravel(), minlength=(n_classes + 1) * c).reshape(-1, c)[:n_classes]


def _inner(a: Float[Array, "k c q"], b: Float[Array, "k d q"]) -> Float[Array, "c d"]:
    """Σ a_i'b_i over levels."""
    return np.einsum("kct,kdt->cd", a, b, optimize=True)
