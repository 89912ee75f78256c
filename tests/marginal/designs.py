"""Random designs of every shape that the plan distinguishes, and their dense counterparts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal
from unittest.mock import patch

import numpy as np
from hypothesis import Phase, settings
from hypothesis import strategies as st
from oracle import DenseModel, Derivatives, Method, block_diagonal, level_covariance, random_columns

from bayesmm.covariance.layout import Layout, Piece, assemble_factors, n_theta, start_theta
from bayesmm.covariance.table import STRUCTURES
from bayesmm.incidence import Incidence, Membership
from bayesmm.marginal.plan import planning
from bayesmm.marginal.plan.plan import Plan
from bayesmm.marginal.sums import crossproducts
from bayesmm.marginal.sums.crossproducts import CrossProducts, build_products
from bayesmm.marginal.sums.rows import BlockArrays

Draw = Callable[[int], np.ndarray]  # random levels of all rows, out of so many
Fill = Literal["scatter", "product", "chosen", "apart"]

Several = tuple[str, np.ndarray, np.ndarray]  # "members" or "roles", with levels of one set for each

SHAPES: dict[str, Callable[[Draw, int], list[np.ndarray | Several]]] = {
    "one": lambda draw, n: [draw(12)],
    "nested": lambda draw, n: _chain(draw(24), 4),
    "deep": lambda draw, n: _chain(draw(24), 4, 12)[::-1],
    "same": lambda draw, n: _bijection(draw(24)),
    "crossed": lambda draw, n: [draw(9), draw(6)],
    "sparse": lambda draw, n: [draw(40), draw(30)],
    "senders": lambda draw, n: [draw(14), draw(14)],
    "three": lambda draw, n: [draw(20), draw(12), draw(5)],
    "clustered": lambda draw, n: _clusters(draw, draw(5), 6, 3),
    "islands": lambda draw, n: _clusters(draw, np.sqrt(draw(26)).astype(int), 5, 4)[:2],
    "partly": lambda draw, n: [*_clusters(draw, draw(5), 6, 3)[:2], draw(4)],
    "chain4": lambda draw, n: [*_chain(draw(36), 2, 6, 18), draw(5)],
    "cells": lambda draw, n: _cells(draw(7), draw(5)),
    "units": lambda draw, n: [np.arange(n), draw(6), draw(4)],
    "members": lambda draw, n: [("members", draw(12), draw(9))],
    "dyads": lambda draw, n: [("roles", draw(10), draw(11))],
    "among": lambda draw, n: [*_chain(draw(36), 6), ("members", draw(10), draw(9), draw(4))],
    "beside": lambda draw, n: [("roles", draw(8), draw(8)), ("members", draw(7), draw(7)), draw(5)],
}
ALONE = ("members", "dyads")  # nothing can be eliminated as a batch
WITHOUT_FILL = ("one", "nested", "deep", "same", *ALONE)
WITH_FILL = tuple(shape for shape in SHAPES if shape not in WITHOUT_FILL)
KINDS: list[tuple[str, Fill]] = [
    *((shape, "chosen") for shape in WITHOUT_FILL),
    *((shape, fill) for shape in WITH_FILL for fill in ("scatter", "product")),
    *((shape, "apart") for shape in ("nested", "same", "crossed", "three", "partly", "cells", "dyads", "beside")),
]

# Examples of each of the kinds above. A smaller seed is not a simpler design, so that failures are not shrunk.
A_FEW = settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
SEEDS = st.integers(0, 10_000)
METHODS = st.sampled_from(["reml", "ml"])
SIGMAS = st.sampled_from([None, 1.7])  # profiled out, known


def dense_columns(block: BlockArrays) -> np.ndarray:
    """Z of one factor, the sum over its memberships."""
    return sum(random_columns(each.codes, each.columns, block.n_levels) for each in block.incidence.memberships)


@dataclass(frozen=True)
class RandomDesign:
    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    blocks: tuple[BlockArrays, ...]

    @property
    def layout(self) -> Layout:
        return tuple(block.pieces for block in self.blocks)

    @property
    def dense(self) -> DenseModel:
        Z = np.hstack([dense_columns(block) for block in self.blocks])
        return DenseModel(y=self.y, X=self.X, Z=Z, weights=self.weights)

    @property
    def offsets(self) -> np.ndarray:
        """Column of Z where each factor starts."""
        return np.cumsum([0, *(block.n_levels * block.incidence.k for block in self.blocks)])

    def factors(self, theta: np.ndarray) -> list[np.ndarray]:
        return assemble_factors(np, theta, self.layout)

    def covariance(self, theta: np.ndarray, sigma: float = 1.0) -> np.ndarray:
        return self.covariance_of([sigma * L for L in self.factors(theta)])

    def covariance_of(self, factors: list[np.ndarray]) -> np.ndarray:
        return self._spread([L @ L.T for L in factors])

    def _spread(self, covariances: list[np.ndarray]) -> np.ndarray:
        pairs = zip(covariances, self.blocks, strict=True)
        return block_diagonal([level_covariance(C, block.n_levels) for C, block in pairs])

    def random_theta(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=n_theta(self.layout))

    def products(self, fill: Fill = "chosen") -> CrossProducts:
        return self.summed(fill)[0]

    def summed(self, fill: Fill = "chosen") -> tuple[CrossProducts, Plan]:
        """Cross-products and plan: eliminated by one of the two ways of fill where there is any, or all taken apart."""
        cost = {"scatter": 1e-6, "product": 1e6}
        with (
            patch.object(planning, "SCATTER_NS", cost[fill]) if fill in cost else nullcontext(),
            patch.object(crossproducts, "MOST_EFFECTS", 200 if fill == "apart" else 0),
        ):
            return build_products(self.X, self.y, self.weights, self.blocks)

    def conditioned(self, products: CrossProducts) -> RandomDesign:
        """The same design on the columns that θ belongs to."""
        pairs = zip(self.blocks, products.effect_roots, strict=True)
        blocks = (replace(block, incidence=block.incidence.times(np.linalg.inv(T))) for block, T in pairs)
        return replace(self, blocks=tuple(blocks))

    def derivatives(self, theta: np.ndarray, method: Method, sigma: float | None = None) -> Derivatives:
        """Of the dense criterion in θ, exact: Λ is linear in it."""
        L, units = self.factors(theta), [self.factors(e) for e in np.eye(len(theta))]
        first = np.array([self._spread([D @ A.T + A @ D.T for D, A in zip(unit, L, strict=True)]) for unit in units])
        second = {
            (s, t): self._spread([D @ E.T + E @ D.T for D, E in zip(one, other, strict=True)])
            for s, one in enumerate(units)
            for t, other in enumerate(units)
            if any((D @ E.T).any() for D, E in zip(one, other, strict=True))
        }
        return self.dense.derivatives(self.covariance(theta), first, second, method, sigma)

    def level_blocks(self, matrix: np.ndarray, f: int, rows: np.ndarray, g: int, columns: np.ndarray) -> np.ndarray:
        """Blocks (k_f, k_g, P) of a matrix over the columns of Z, of pairs of levels."""
        k, m = self.blocks[f].incidence.k, self.blocks[g].incidence.k
        first, second = self.offsets[f] + rows * k, self.offsets[g] + columns * m
        return matrix[first + np.arange(k)[:, None, None], second + np.arange(m)[:, None]]

    def diagonal_blocks(self, matrix: np.ndarray, f: int) -> np.ndarray:
        """The same of each level of one factor with itself, (k, k, q)."""
        levels = np.arange(self.blocks[f].n_levels)
        return self.level_blocks(matrix, f, levels, f, levels)


@dataclass(frozen=True)
class Case:
    """One evaluation, made from few numbers, so that hypothesis can print it."""

    shape: str
    fill: Fill
    seed: int
    method: Method = "reml"
    sigma: float | None = None

    @cached_property
    def design(self) -> RandomDesign:
        return random_design(self.shape, self.seed, n=60)

    @cached_property
    def products(self) -> CrossProducts:
        return self.design.products(self.fill)

    @cached_property
    def conditioned(self) -> RandomDesign:
        return self.design.conditioned(self.products)

    @cached_property
    def theta(self) -> np.ndarray:
        return self.design.random_theta(self.seed)

    @property
    def restriction(self) -> float:
        return float(self.method == "reml")

    @property
    def diagonal(self) -> np.ndarray:
        """Where diagonal entries of Λ are in θ."""
        return np.flatnonzero(start_theta(self.design.layout) == 1.0)

    def dense(self, theta: np.ndarray | None = None) -> Derivatives:
        """Of the dense criterion, at the case's θ unless another is given."""
        return self.conditioned.derivatives(self.theta if theta is None else theta, self.method, self.sigma)


def random_design(shape: str, seed: int, n: int = 90, most_effects: int = 3) -> RandomDesign:
    """Unbalanced, with empty cells, some effects a level and one or two covariance pieces."""
    rng = np.random.default_rng(seed)
    groupings = SHAPES[shape](lambda q: rng.integers(0, q, n), n)
    blocks = []
    for grouping in groupings:
        kind, *levels = grouping if isinstance(grouping, tuple) else ("combination", grouping)
        codes = list(np.unique(np.stack(levels), return_inverse=True)[1].reshape(len(levels), n))
        k = int(rng.integers(1, most_effects + 1))
        columns = np.column_stack([np.ones(n), rng.normal(size=(n, k - 1)) * 3.0 + 1.0])
        cut = int(rng.integers(1, k)) if k > 1 and rng.random() < 0.4 else k
        first, second = (STRUCTURES[str(name)] for name in rng.choice(["us", "diag"], size=2))
        times = 2 if kind == "roles" else 1
        pieces = (Piece(0, cut * times, first),) + ((Piece(cut * times, k * times, second),) if cut < k else ())
        blocks.append(BlockArrays(incidence=_incidence(kind, codes, columns, rng), pieces=pieces))
    X = np.column_stack([np.ones(n), rng.normal(size=(n, int(rng.integers(0, 4))))])
    y = 5.0 + rng.normal(size=n) * 3.0
    for block in blocks:
        effects = rng.normal(size=block.n_levels)
        y = y + sum(effects[each.codes] for each in block.incidence.memberships)
    return RandomDesign(X, y, rng.uniform(0.5, 2.0, n), tuple(blocks))


def _incidence(kind: str, codes: list[np.ndarray], columns: np.ndarray, rng: np.random.Generator) -> Incidence:
    """Random weights of members, two or more, some of them negative; the columns of each role by turns."""
    if kind == "combination":
        each = [columns]
    elif kind == "members":
        each = [columns * rng.normal(0.5, 0.5, (len(columns), 1)) for _ in codes]
    else:
        each = [np.kron(columns, np.eye(2)[role]) for role in range(2)]
    memberships = [Membership(codes=own, columns=Z) for own, Z in zip(codes, each, strict=True)]
    return Incidence(memberships=tuple(memberships), n_levels=int(np.max(codes)) + 1)


def design_of(*codes: np.ndarray, slopes: bool = False) -> RandomDesign:
    """Intercepts, and slopes where wanted, of given levels; the response is noise."""
    n = len(codes[0])
    rng = np.random.default_rng(0)
    columns = np.column_stack([np.ones(n), rng.normal(size=n)])[:, : 1 + slopes]
    pieces = (Piece(0, 1 + slopes, STRUCTURES["us"]),)
    blocks = (BlockArrays(incidence=Incidence.single(c, columns, int(c.max()) + 1), pieces=pieces) for c in codes)
    return RandomDesign(columns, rng.normal(size=n), np.ones(n), tuple(blocks))


def _chain(finest: np.ndarray, *sizes: int) -> list[np.ndarray]:
    """Coarser and coarser levels before the finest; `sizes` are of the finest levels that lie in one of each."""
    return [*(finest // size for size in reversed(sizes)), finest]


def _clusters(draw: Draw, cluster: np.ndarray, q: int, r: int) -> list[np.ndarray]:
    """Two factors crossed inside clusters, and the clusters."""
    return [cluster * q + draw(q), cluster * r + draw(r), cluster]


def _bijection(codes: np.ndarray) -> list[np.ndarray]:
    return [codes, (codes + 5) % 24]


def _cells(first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
    """Two crossed factors and their combinations, which are eliminated before them and leave nothing."""
    return [first, second, first * 5 + second]
