"""Random designs of every shape that the plan distinguishes, and their dense counterparts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from oracle import DenseModel, block_diagonal, level_covariance, random_columns

from bayesmm.marginal.covariance import Layout, assemble_factors, n_theta
from bayesmm.marginal.crossproducts import BlockArrays

SHAPES = ("one", "nested", "deep", "crossed", "sparse", "three", "clustered", "partly", "same")


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
        Z = np.hstack([random_columns(block.codes, block.columns, block.n_levels) for block in self.blocks])
        return DenseModel(y=self.y, X=self.X, Z=Z, weights=self.weights)

    def factors(self, theta: np.ndarray) -> list[np.ndarray]:
        return assemble_factors(np, theta, self.layout)

    def covariance(
        self, theta: np.ndarray, sigma: float = 1.0, roots: Sequence[np.ndarray] | None = None
    ) -> np.ndarray:
        factors = self.factors(theta)
        if roots is not None:
            factors = [np.linalg.solve(T, L) for T, L in zip(roots, factors, strict=True)]
        return block_diagonal(
            [
                level_covariance(sigma**2 * L @ L.T, block.n_levels)
                for L, block in zip(factors, self.blocks, strict=True)
            ]
        )

    def random_theta(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=n_theta(self.layout))


def random_design(shape: str, seed: int, n: int = 90) -> RandomDesign:
    """Unbalanced, with empty cells, one to three effects a level and one or two covariance pieces."""
    rng = np.random.default_rng(seed)
    groupings = [np.unique(codes, return_inverse=True)[1] for codes in _groupings(shape, rng, n)]
    blocks = []
    for codes in groupings:
        k = int(rng.integers(1, 4))
        columns = np.column_stack([np.ones(n), rng.normal(size=(n, k - 1)) * 3.0 + 1.0])
        cut = int(rng.integers(1, k)) if k > 1 and rng.random() < 0.4 else k
        structures = rng.choice(["unstructured", "diagonal"], size=2)
        pieces = ((0, cut, str(structures[0])),) + (((cut, k, str(structures[1])),) if cut < k else ())
        blocks.append(BlockArrays(codes=codes, columns=columns, n_levels=int(codes.max()) + 1, pieces=pieces))
    X = np.column_stack([np.ones(n), rng.normal(size=(n, int(rng.integers(0, 4))))])
    y = 5.0 + rng.normal(size=n) * 3.0 + sum(rng.normal(size=block.n_levels)[block.codes] for block in blocks)
    return RandomDesign(X, y, rng.uniform(0.5, 2.0, n), tuple(blocks))


def _groupings(shape: str, rng: np.random.Generator, n: int) -> list[np.ndarray]:
    def draw(q: int) -> np.ndarray:
        return rng.integers(0, q, n)

    cell = draw(24)
    cluster = draw(5)
    return {
        "one": lambda: [draw(12)],
        "nested": lambda: [cell // 4, cell],
        "deep": lambda: [cell // 12, cell, cell // 4],
        "crossed": lambda: [draw(9), draw(6)],
        "sparse": lambda: [draw(40), draw(30)],
        "three": lambda: [draw(20), draw(12), draw(5)],
        "clustered": lambda: [cluster * 6 + draw(6), cluster * 3 + draw(3), cluster],
        "partly": lambda: [cluster * 6 + draw(6), cluster * 3 + draw(3), draw(4)],
        "same": lambda: [cell, (cell + 5) % 24],
    }[shape]()
