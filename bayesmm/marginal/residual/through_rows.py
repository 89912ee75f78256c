"""Random effects eliminated at one Λ, ready to take columns of the rows through V⁻¹.

The rows are weighted by the roots of their weights and on the conditioned columns, so that Var y = σ²Ṽ with
Ṽ = I + ZΛΛ'Z' there. With C = ΛH⁻¹Λ' the conditional covariance of the effects over σ²,

    Ṽ⁻¹K = K − ZCZ'K,    P = Ṽ⁻¹ − Ṽ⁻¹X A⁻¹X'Ṽ⁻¹,    A = X'Ṽ⁻¹X,    Py = the conditional residual.

No matrix of rows by rows is formed: of C what is needed is on the pattern of Z'WZ.

All effects here are those of the user's levels. Where these are related, Ṽ = I + Z(A ⊗ ΛΛ')Z', and C is the conditional
covariance of their effects, too, though what is eliminated are independent combinations of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import Absorbed, AnyElimination, eliminate
from bayesmm.marginal.elimination.inverse import Inverse, invert_on_pattern
from bayesmm.marginal.elimination.levels import combine
from bayesmm.marginal.leave_out.row_groups import Rows, locate_among
from bayesmm.marginal.likelihood.evaluation import conditional_covariances
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.finished import gather_effects
from bayesmm.marginal.sums.pairs import locate_pairs
from bayesmm.marginal.sums.related import relating
from bayesmm.marginal.sums.rows import PairRows

LEAST = 1e-8  # singular values of Λ that are worked with: Ṽ changes by its square, which is rounding
NO_SPREAD = 1e-9  # share of an effect's variance that its modes have, below which it is rounding
AT_ONCE = 10_000_000  # numbers in the columns that are taken through together


@dataclass(frozen=True, kw_only=True, eq=False)
class Eliminated:
    """The rows of one design at one Λ.

    Attributes
    ----------
    rows : Rows
        Weighted, on the conditioned columns.
    products : CrossProducts
        Their sums.
    factors : list of arrays, shapes (k, k)
        Λ on the conditioned columns.
    sigma : float
        Residual standard deviation.
    elimination, absorbed : Elimination, Absorbed
        At Λ, of [X y].
    is_part : bool
        Whether these are some of the rows that were summed.
    """

    rows: Rows
    products: CrossProducts
    factors: list[np.ndarray]
    sigma: float
    elimination: AnyElimination
    absorbed: Absorbed
    is_part: bool = False

    def of_rows(self, rows: Rows) -> Eliminated:
        """Return the same elimination as some of the rows see it; what is known of levels is worked out once."""
        found = replace(self, rows=rows, is_part=True)
        of_levels = ["fixed_effects", "covariance", "beta"]
        if self.factors and not self.products.is_related:
            of_levels.append("_inverse")
        found.__dict__.update({name: getattr(self, name) for name in of_levels})
        return found

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return self.products.gram.shape[0] - 1

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Effects per level and levels of each factor."""
        return [(G.shape[0], G.shape[2]) for G in self.products.diagonal]

    @cached_property
    def effect_gram(self) -> Any:
        """Z'WZ of all factors, sparse: by factor, by effect, by level. Of independent levels it needs no rows."""
        from scipy import sparse

        if not self.products.is_related and self.products.sparse is None:
            return sparse.csc_array(gather_effects(self.products)[0])
        Z = sparse.hstack(self.columns, format="csr")
        return sparse.csc_array(Z.T @ Z)

    @cached_property
    def columns(self) -> list[Any]:
        """Z of each factor, sparse (n, kq): the first effect of all levels, then the second."""
        from scipy import sparse  # not imported by a fit

        found = []
        for incidence in self.rows.incidences:
            n, k, q = incidence.n, incidence.k, incidence.n_levels
            each = [
                (m.columns.ravel(), np.repeat(np.arange(n), k), (m.codes[:, None] + q * np.arange(k)).ravel())
                for m in incidence.memberships
            ]
            values, own, where = (np.concatenate(parts) for parts in zip(*each, strict=True))
            found.append(sparse.csr_array((values, (own, where)), shape=(n, k * q)))
        return found

    @cached_property
    def fixed_effects(self) -> list[np.ndarray]:
        """CZ'W[X y] of each factor, (k, c, q)."""
        found = solve_effects(host, self.products, self.elimination, self.absorbed).effects
        return self.products.at_levels(found)

    @cached_property
    def precision(self) -> np.ndarray:
        """A, (p, p)."""
        return self.absorbed.reduced.gram[: self.p, : self.p]

    @cached_property
    def covariance(self) -> np.ndarray:
        """A⁻¹, (p, p)."""
        return np.linalg.inv(self.precision)

    @cached_property
    def beta(self) -> np.ndarray:
        """Fixed effects on the conditioned columns, less the least-squares ones, (p,)."""
        return self.covariance @ self.absorbed.reduced.gram[: self.p, self.p]

    @cached_property
    def residual_square(self) -> float:
        """r² = y'Py."""
        gram = self.absorbed.reduced.gram
        return float(gram[-1, -1] - gram[-1, : self.p] @ self.beta)

    @cached_property
    def solved(self) -> np.ndarray:
        """Ṽ⁻¹[X y], (n, p + 1)."""
        return self.rows.fixed - self.to_rows(self.fixed_effects)

    @cached_property
    def residual(self) -> np.ndarray:
        """Py, (n,): conditional residuals times the roots of the weights."""
        return self.solved[:, -1] - self.solved[:, :-1] @ self.beta

    @cached_property
    def _inverse(self) -> Inverse:
        off = [off_zero(L) for L in self.factors]
        return invert_on_pattern(host, self.products, self.elimination, off, neighbours=True)

    @cached_property
    def _user_inverse(self) -> tuple[list[np.ndarray], dict[FactorPair, np.ndarray], dict[FactorPair, PairRows]]:
        """C of the user's levels, of their pairs that share a row, and where each row is in the lists of these."""
        inverse, roots = self._inverse, self.products.level_roots
        located = locate_pairs(self.rows.incidences, [f for f, V in enumerate(roots) if V is not None])
        located = {pair: located[pair] for pair in sorted(located)}
        if not roots:
            return inverse.diagonal, inverse.pairs, located
        sizes = [incidence.n_levels for incidence in self.rows.incidences]
        own, pairs = relating(roots, sizes, located, self.products.shape.pairs).covariances(
            host, inverse.diagonal, inverse.pairs
        )
        return own, pairs, located

    @property
    def own_covariances(self) -> list[np.ndarray]:
        """C of each level's own effects, (k, k, q) of each factor."""
        if self.products.is_related:
            return conditional_covariances(host, self.products, self.factors)
        return self._inverse.diagonal

    @cached_property
    def mode_variances(self) -> list[np.ndarray]:
        """Variances over σ² of the conditional modes themselves, on the user's columns, (k, q) of each factor.

        G Z'PZ G = G − C − BA⁻¹B' with G = ΛΛ' and B = CZ'WX: how far modes spread when all is as estimated.
        """
        found = []
        for L, T, C, B, prior in zip(
            self.factors,
            self.products.effect_roots,
            self.own_covariances,
            self.fixed_effects,
            self.level_variances,
            strict=True,
        ):
            back = np.linalg.inv(T)
            fixed = B[:, :-1]
            own = (L @ L.T)[:, :, None] * prior - C - np.einsum("kiq,ij,ljq->klq", fixed, self.covariance, fixed)
            variance = np.einsum("ak,klq,al->aq", back, own, back)
            size = np.einsum("ak,kl,al->a", back, L @ L.T, back)
            found.append(np.where(variance > NO_SPREAD * size[:, None] * prior, variance, 0.0))
        return found

    @cached_property
    def level_variances(self) -> list[np.ndarray]:
        """Diagonal of A, (q,) of each factor: ones where levels are independent."""
        roots = self.products.level_roots or (None,) * len(self.factors)
        sizes = [incidence.n_levels for incidence in self.rows.incidences]
        found = [np.ones(q) if V is None else (V**2).sum(axis=1) for V, q in zip(roots, sizes, strict=True)]
        known = [self.products.precision(f) for f in range(len(found))]
        return [own if A is None else A.variances for own, A in zip(found, known, strict=True)]

    def relate(self, f: int, effects: np.ndarray) -> np.ndarray:
        """Effects of the user's levels (..., q), from independent ones of unit variance, of one factor."""
        V = self.products.level_roots[f] if self.products.is_related else None
        A = self.products.precision(f)
        if A is not None:
            return A.spread(effects)
        return effects if V is None else effects @ V.T

    def covary(self, f: int, sums: np.ndarray) -> np.ndarray:
        """Multiply by A what the user's levels (..., q) of one factor have: as it is where they are independent."""
        V = self.products.level_roots[f] if self.products.is_related else None
        A = self.products.precision(f)
        if A is not None:
            return A.relate(sums)
        return sums if V is None else (sums @ V) @ V.T

    def gather(self, sums: list[np.ndarray]) -> list[np.ndarray]:
        """Return sums over rows of independent levels, from those of the user's (..., q) of each factor."""
        sparse = self.products.sparse
        return self.products.from_levels(sums) if sparse is None else sparse.gather(sums)

    def is_related(self, f: int) -> bool:
        """Whether the levels of a factor are related."""
        return self.products.precision(f) is not None or (
            self.products.is_related and self.products.level_roots[f] is not None
        )

    def spread(self, f: int, levels: np.ndarray, scaled: np.ndarray) -> np.ndarray:
        """ZΛ (rows, levels, k) of some of the user's levels over the independent ones that these are made of."""
        V = self.products.level_roots[f] if self.products.is_related else None
        A = self.products.precision(f)
        own = None if V is None else V[levels]
        if A is not None:
            unit = np.zeros((len(levels), A.n_levels))
            unit[np.arange(len(levels)), levels] = 1.0
            own = A.gather(unit)
        return scaled if own is None else np.einsum("nlk,lj->njk", scaled, own)

    @cached_property
    def own(self) -> np.ndarray:
        """Diagonal of Ṽ⁻¹, (n,): one less the share of each row that the random effects take."""
        if not self.factors:
            return np.ones(len(self.rows.fixed))
        if self.products.is_related:
            return self._own_of_related()
        inverse = self._inverse
        known = np.zeros(len(self.rows.fixed))
        for incidence, C in zip(self.rows.incidences, inverse.diagonal, strict=True):
            for m in incidence.memberships:
                known += quadratic(m.columns, C[:, :, m.codes], m.columns)
        if self.is_part:
            located = locate_among(self.rows.incidences, self.products)
        else:
            located = {pair: pairs.positions for pair, pairs in locate_pairs(self.rows.incidences).items()}
        for (f, g), C in inverse.pairs.items():
            for (a, b), position in located[(f, g)].items():
                left, right = self.rows.incidences[f].memberships[a], self.rows.incidences[g].memberships[b]
                known += 2.0 * quadratic(left.columns, C[:, :, position], right.columns)
        return 1.0 - known

    def own_blocks(self, groups: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Ṽ⁻¹ of groups of rows with one level of every factor each: (G, o, o), for rows (G, o) of several sizes."""
        if not self.factors:
            return [np.broadcast_to(np.eye(rows.shape[1]), (*rows.shape, rows.shape[1])) for rows in groups]
        own_levels, pairs, located = self._user_inverse
        members = [incidence.only for incidence in self.rows.incidences]
        found = []
        for rows in groups:
            own = np.broadcast_to(np.eye(rows.shape[1]), (*rows.shape, rows.shape[1])).copy()
            for m, C in zip(members, own_levels, strict=True):
                Z = m.columns[rows]
                own -= np.einsum("gik,klg,gjl->gij", Z, C[:, :, m.codes[rows[:, 0]]], Z, optimize=True)
            for (f, g), C in pairs.items():
                position = located[(f, g)].positions[(0, 0)][rows[:, 0]]
                both = np.einsum(
                    "gik,klg,gjl->gij", members[f].columns[rows], C[:, :, position], members[g].columns[rows]
                )
                own -= both + both.swapaxes(1, 2)
            found.append(own)
        return found

    def _own_of_related(self) -> np.ndarray:
        n = len(self.rows.fixed)
        width = max(AT_ONCE // sum(Z.shape[1] for Z in self.columns), 1)
        known = [
            combine(host, self.products, self.elimination, self.products.from_levels(self._of_rows(rows))).squares
            for rows in (slice(start, min(start + width, n)) for start in range(0, n, width))
        ]
        return 1.0 - np.concatenate(known)

    def _of_rows(self, rows: slice) -> list[np.ndarray]:
        """Write some rows of Z as combinations of effects, (k, rows, q) of each factor."""
        return [
            np.stack(np.split(Z[rows].toarray(), incidence.k, axis=1))
            for Z, incidence in zip(self.columns, self.rows.incidences, strict=True)
        ]

    @cached_property
    def left(self) -> np.ndarray:
        """Diagonal of P, (n,): one less the leverage."""
        u = self.solved[:, :-1]
        return self.own - np.einsum("ni,ij,nj->n", u, self.covariance, u)

    @cached_property
    def components(self) -> np.ndarray:
        """Which independent part of the data each row is in, (n,): rows of different parts share no level.

        Related levels hold all rows together.
        """
        if any(map(self.is_related, range(len(self.factors)))):
            return np.zeros(len(self.rows.fixed), np.int64)
        if not self.factors:
            return np.arange(len(self.rows.fixed))
        from scipy import sparse

        Z: Any = sparse.hstack(self.columns, format="csr")
        graph = sparse.block_array([[None, Z], [Z.T, None]])
        return sparse.csgraph.connected_components(graph, directed=False)[1][: Z.shape[0]]

    def to_levels(self, K: np.ndarray) -> list[np.ndarray]:
        """Z'K of each factor, (k, c, q), of columns K (n, c)."""
        return [
            np.ascontiguousarray((Z.T @ K).reshape(incidence.k, incidence.n_levels, -1).swapaxes(1, 2))
            for Z, incidence in zip(self.columns, self.rows.incidences, strict=True)
        ]

    def to_rows(self, effects: list[np.ndarray]) -> np.ndarray:
        """Zb of effects (k, c, q) of each factor, (n, c); a column of zeros where there are no factors."""
        parts = (Z @ b.swapaxes(1, 2).reshape(Z.shape[1], -1) for Z, b in zip(self.columns, effects, strict=True))
        return sum(parts, np.zeros((len(self.rows.fixed), effects[0].shape[1] if effects else 1)))

    def solve_levels(self, cross: list[np.ndarray]) -> list[np.ndarray]:
        """CZ'K of each factor, (k, c, q), from Z'K."""
        if not cross:
            return []
        solved = combine(host, self.products, self.elimination, self.products.from_levels(cross)).solved
        return self.products.at_levels(solved)

    def project(self, K: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Take columns K (n, c) for responses: their coefficients A⁻¹X'Ṽ⁻¹K (p, c), PK (n, c), and modes (k, c, q)."""
        effects = self.solve_levels(self.to_levels(K))
        solved = K - self.to_rows(effects)
        coefficients = self.covariance @ (self.rows.fixed[:, :-1].T @ solved)
        modes = [
            b - np.einsum("kpq,pc->kcq", B[:, :-1], coefficients)
            for b, B in zip(effects, self.fixed_effects, strict=True)
        ]
        return coefficients, solved - self.solved[:, :-1] @ coefficients, modes


def quadratic(left: np.ndarray, C: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Multiply C (k, l, n) by both sides, row by row; (n,)."""
    total = np.zeros(len(left))
    for i in range(C.shape[0]):
        for j in range(C.shape[1]):
            total += left[:, i] * C[i, j] * right[:, j]
    return total


def off_zero(L: np.ndarray) -> np.ndarray:
    """Keep the singular values of Λ from exactly zero, where a factor in the dense blocks could not be inverted."""
    left, values, right = np.linalg.svd(L)
    return (left * np.maximum(values, LEAST)) @ right


def eliminate_rows(rows: Rows, products: CrossProducts, factors: list[np.ndarray], sigma: float) -> Eliminated:
    """Eliminate the random effects at factors (k, k) on the conditioned columns."""
    elimination, absorbed = eliminate(host, products, factors)
    return Eliminated(
        rows=rows, products=products, factors=factors, sigma=sigma, elimination=elimination, absorbed=absorbed
    )
