"""What eliminating the first factor leaves of the others, at one Λ: a matrix S that is multiplied and never formed.

S = I + Λ'CΛ with C = Z'WZ − Σ A'NA over the levels of the first factor, as in
`bayesmm.marginal.elimination.elimination`. Its blocks of one level each, P = RR', are known; conjugate gradients and
Lanczos's recursion see A = R⁻¹SR⁻ᵀ, whose blocks of one level are the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.stochastic.krylov import Logarithm
from bayesmm.marginal.stochastic.levels import root_levels, times_levels, transposed
from bayesmm.marginal.stochastic.matrices import Matrices


class Influence(NamedTuple):
    """Half the derivatives of several numbers with respect to every Λ.

    Attributes
    ----------
    first : array, shape (k, k, c)
        With respect to ΛΛ' of the first factor, not halved.
    rest : list of arrays, shape (l, l, c)
        With respect to Λ of the others.
    """

    first: Float[Array, "k k c"]
    rest: list[Float[Array, "_l _l c"]]

    def plus(self, other: Influence) -> Influence:
        """Add."""
        return Influence(self.first + other.first, [a + b for a, b in zip(self.rest, other.rest, strict=True)])


class Schur:
    """S at one value of all factors.

    Parameters
    ----------
    m : Matrices
        Z'WZ.
    factors : sequence of arrays, shape (k, k)
        Λ of each grouping factor, none of them singular.
    """

    def __init__(self, m: Matrices, factors: Sequence[Float[Array, "_k _k"]]) -> None:
        self.m, self.xp, self.layout = m, m.xp, m.layout
        xp = self.xp
        first = xp.eye(1) if self.layout.first is None else xp.asarray(factors[self.layout.first])
        self.factors: list[Any] = [xp.asarray(factors[f]) for f in self.layout.rest]
        half, log_det = root_levels(xp, xp.eye(len(first)) + first.T @ m.first @ first)
        root = half @ first.T  # L⁻¹Λ' of every level
        self.N = transposed(root) @ root
        self.kept = xp.eye(len(first)) - self.N @ m.first  # I − NG
        self.C = [G - taken for G, taken in zip(m.rest, m.shared_out(self.N), strict=True)]
        own = [xp.eye(len(L)) + L.T @ C @ L for L, C in zip(self.factors, self.C, strict=True)]
        rooted = [root_levels(xp, P) for P in own]
        self.inverse_roots = [R for R, _ in rooted]
        self.log_det = float(log_det.sum() + sum(each.sum() for _, each in rooted))  # all but log|A|
        self.roots = [L @ transposed(R) for L, R in zip(self.factors, self.inverse_roots, strict=True)]  # ΛR⁻ᵀ
        self.own = [R @ transposed(R) for R in self.inverse_roots]

    def __call__(self, x: Float[Array, "N c"]) -> Float[Array, "N c"]:
        """Ax."""
        return self.m.schur(self.N, self.roots, self.own, x)

    def spread(self, x: Float[Array, "N c"]) -> Float[Array, "N c"]:
        """ΛR⁻ᵀx: effects of the rest."""
        return self._by_level(self.roots, x)

    def gather(self, x: Float[Array, "N c"]) -> Float[Array, "N c"]:
        """R⁻¹Λ'x: the right-hand side that sums over the rows of the rest make."""
        return self._by_level([transposed(B) for B in self.roots], x)

    def _by_level(self, M: Sequence[Float[Array, "r l l"]], x: Float[Array, "N c"]) -> Float[Array, "N c"]:
        parts = [times_levels(own, part) for own, part in zip(M, self.layout.each(x), strict=True)]
        return self.xp.concatenate(parts)

    def log_influence(self) -> Influence:
        """Half the derivatives of all of log|H| but log|A|, c = 1."""
        own = (self.m.first @ self.kept).sum(axis=0)[:, :, None]  # of log|I + Λ'GΛ| by ΛΛ'
        through = self._of_blocks([(transposed(R) @ R)[..., None] for R in self.inverse_roots])
        return Influence(own + through.first, through.rest)

    def influence(self, of: Logarithm, columns: Float[Array, "N c"]) -> Influence:
        """Half the derivatives of z'(log A − A + I)z, for each column z.

        Notes
        -----
        x'∂Ax has two parts. One is y'∂Sy with y = R⁻ᵀx, which is w'∂Hw of all effects w = (−M⁻¹Λ'A Λy, y), since
        these w minimise the form over what is eliminated. The other comes from R: −2x'Φ(R⁻¹∂PR⁻ᵀ)Ax, with Φ the lower
        triangle and half the diagonal.
        """
        xp, layout, c = self.xp, self.layout, columns.shape[1]
        k = self.N.shape[1]
        first, rest = xp.zeros((k, k, c)), [xp.zeros((*L.shape, c)) for L in self.factors]
        crossed = [xp.zeros((len(R), *R.shape[1:], c)) for R in self.inverse_roots]  # Σ x(Ax)' of every level
        for sign, x in [*((1.0, x) for x in of.vectors), (-1.0, columns)]:
            y = self._by_level([transposed(R) for R in self.inverse_roots], x)
            b = xp.concatenate([times_levels(_same(L, part), part) for L, part in self._scaled(y)])
            g = self.m.across(b)
            b_first = -times_levels(self.N, g)
            t = (times_levels(self.m.first, b_first) + g).reshape(-1, k, c)
            first = first - sign * xp.einsum("iac,ibc->abc", t, t)
            left = self.m.back(b_first) + self.m.within(b)
            Ax = self._by_level(self.inverse_roots, y) + self.gather(left)
            parts = zip(layout.each(x), layout.each(Ax), layout.each(y), layout.each(left), strict=True)
            for i, (own, through, w, t_own) in enumerate(parts):
                width = len(self.factors[i])
                own, through, w, t_own = (each.reshape(-1, width, c) for each in (own, through, w, t_own))
                rest[i] = rest[i] + sign * xp.einsum("iac,ibc->abc", t_own, w)
                crossed[i] = crossed[i] + sign * own[:, :, None] * through[:, None]
        weights = []
        for R, B in zip(self.inverse_roots, crossed, strict=True):
            low = xp.tril(xp.ones(R.shape[1:])) - 0.5 * xp.eye(R.shape[1])
            half = low[:, :, None] * B
            symmetric = -(half + half.swapaxes(1, 2))
            weights.append(xp.einsum("ida,idec,ieb->iabc", R, symmetric, R))
        return Influence(first, rest).plus(self._of_blocks(weights))

    def _scaled(self, y: Float[Array, "N c"]) -> Any:
        return zip(self.factors, self.layout.each(y), strict=True)

    def _of_blocks(self, weights: Sequence[Float[Array, "r l l c"]]) -> Influence:
        """Half the derivatives of Σ⟨T, P⟩ over the levels of the rest, for each of c symmetric weights T."""
        xp = self.xp
        rest = [xp.einsum("iab,ibdc->adc", C @ L, T) for C, L, T in zip(self.C, self.factors, weights, strict=True)]
        return Influence(
            xp.stack([xp.stack([self._along(a, b, weights) for b in range(self.width)]) for a in range(self.width)]),
            rest,
        )

    @property
    def width(self) -> int:
        """Effects per level of the first factor."""
        return self.N.shape[1]

    def _along(self, a: int, b: int, weights: Sequence[Float[Array, "r l l c"]]) -> Float[Array, " c"]:
        total = self.xp.zeros(weights[0].shape[-1])
        for P, T in zip(self._slopes[min(a, b), max(a, b)], weights, strict=True):
            total = total + self.xp.einsum("iab,iabc->c", P, T)
        return total

    @cached_property
    def _slopes(self) -> dict[tuple[int, int], list[Float[Array, "r l l"]]]:
        """∂P by each entry of ΛΛ' of the first factor, of which N changes by (I − NG)∂(ΛΛ')(I − NG)'."""
        found = {}
        for a in range(self.width):
            for b in range(a, self.width):
                one, two = self.kept[:, :, a], self.kept[:, :, b]
                turned = 0.5 * (one[:, :, None] * two[:, None] + two[:, :, None] * one[:, None])
                shared = self.m.shared_out(turned)
                found[a, b] = [-(L.T @ M @ L) for L, M in zip(self.factors, shared, strict=True)]
        return found


def _same(L: Float[Array, "l l"], part: Float[Array, "_n c"]) -> Float[Array, "q l l"]:
    """Repeat a matrix for every level."""
    q = part.shape[0] // L.shape[0]
    return L[None].repeat(q, axis=0)
