"""The elimination of effects whose levels are related by a sparse A⁻¹: one sparse Cholesky factor, in NumPy.

With M as in `bayesmm.marginal.plan.sparse` and C = ΛM⁻¹Λ', Z'Ṽ⁻¹K = Z'WK − Z'WZ C Z'WK as ever, and the derivative of
log|H| with respect to ΛΛ' is the sum over levels i, j of A_ij Z_i'Ṽ⁻¹Z_j. Since Ṽ⁻¹ZΛ = WZΛM⁻¹(A⁻¹ ⊗ I), that sum
times Λ is the sum of the blocks of Z'WZ ΛM⁻¹ on the diagonal: M⁻¹ is needed where Z'WZ has entries, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.cholesky.constrained import AnyFactor, factorise
from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import sandwich
from bayesmm.marginal.plan.sparse import SparsePlan, join
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts


@dataclass(frozen=True)
class SparseElimination:
    """M factored.

    Attributes
    ----------
    plan : SparsePlan
        Where everything is.
    factor : Factor or ConstrainedFactor
        Of M.
    factors : list of arrays, shapes (k, k)
        Λ.
    """

    plan: SparsePlan
    factor: AnyFactor
    factors: list[Float[Array, "k k"]]

    @property
    def log_det(self) -> float:
        """log|H|."""
        return self.factor.log_det + self.plan.log_det

    def root(self, cross: Sequence[Float[Array, "k c q"]]) -> Float[Array, "c N"]:
        """L⁻¹Λ'K of columns K by factor, with LL' = M: inner products of these are those of K in C."""
        scaled = [host.transform(L, K) for L, K in zip(self.factors, cross, strict=True)]
        return self.factor.forward(join(scaled))

    def back(self, rooted: Float[Array, "c N"]) -> list[Float[Array, "k c q"]]:
        """ΛL'⁻¹ of what `root` returns: CK by factor."""
        effects = self.plan.split(self.factor.backward(rooted))
        return [host.transform(L.T, u) for L, u in zip(self.factors, effects, strict=True)]


def factorise_sparse(products: CrossProducts, factors: Sequence[Float[Array, "k k"]]) -> SparseElimination:
    """Factor M, for factors on the conditioned columns."""
    plan = products.sparse
    assert plan is not None
    numbers = np.zeros(plan.fronts.n_numbers)
    numbers[plan.constant] = plan.constant_values
    for L, G, where in zip(factors, products.diagonal, plan.diagonal, strict=True):
        below = np.tril_indices(len(L))
        numbers[where[below]] += sandwich(host, L, G)[below]
    for (f, g), B, where in zip(products.shape.pairs, products.pairs, plan.pairs, strict=True):
        across = host.transform(factors[g], host.transform(factors[f], B).swapaxes(0, 1))
        numbers[where] += across.swapaxes(0, 1)
    return SparseElimination(plan, factorise(plan.fronts, numbers, plan.constraint), list(factors))


def invert_sparse(
    products: CrossProducts, elimination: SparseElimination
) -> tuple[list[Float[Array, "k k q"]], list[Float[Array, "k l P"]], list[Float[Array, "k k"]]]:
    """C of each level and of each pair of levels that share a row, and what the derivatives by ΛΛ' are, times Λ."""
    plan, factors = elimination.plan, elimination.factors
    numbers = elimination.factor.invert()
    diagonal, influence = [], []
    for L, G, where in zip(factors, products.diagonal, plan.diagonal, strict=True):
        own = numbers[where]
        diagonal.append(sandwich(host, L.T, own))
        influence.append(np.einsum("abq,bc,cdq->ad", G, L, own, optimize=True))
    between = []
    for (f, g), B, where in zip(products.shape.pairs, products.pairs, plan.pairs, strict=True):
        own = numbers[where]  # of u_f with u_g
        influence[f] += np.einsum("abp,bc,dcp->ad", B, factors[g], own, optimize=True)
        influence[g] += np.einsum("bap,bc,cdp->ad", B, factors[f], own, optimize=True)
        between.append(host.transform(factors[g].T, host.transform(factors[f].T, own).swapaxes(0, 1)).swapaxes(0, 1))
    return diagonal, between, influence
