"""Data sets of the levels of one factor, some of them several times: the sums of each are sums over its levels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesmm.marginal.apart.one_factor import invert_roots
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.rows import BlockArrays

LACKING = 1e-8  # share of X'WX, below which a data set may lack one of its columns


@dataclass(frozen=True)
class LevelSums:
    """What one factor's levels have each of their own.

    Attributes
    ----------
    products : CrossProducts
        Of the design, taken apart.
    left : array, shape (q, c, c)
        K'WK of what each level leaves of K = [X y].
    n, log_weights : arrays, shape (q,)
        Rows, and the sum of the logarithms of their weights.
    """

    products: CrossProducts
    left: Float[Array, "q c c"]
    n: Float[Array, " q"]
    log_weights: Float[Array, " q"]

    def resample(self, counts: Float[Array, "m q"]) -> ResampledLevels:
        """Put m data sets together, in which each level is so many times."""
        products = replace(self.products, n=counts @ self.n, log_weights=counts @ self.log_weights)
        return ResampledLevels(products, counts, self.left)


@dataclass(frozen=True)
class ResampledLevels:
    """M data sets of the same levels.

    Attributes
    ----------
    columns : CrossProducts
        Of the design, on whose conditioned columns all are; its rows and weights are those of each data set (m,).
    counts : array, shape (m, q)
        How often each level is there.
    left : array, shape (q, c, c)
        As of `LevelSums`.
    """

    columns: CrossProducts
    counts: Float[Array, "m q"]
    left: Float[Array, "q c c"]

    def __len__(self) -> int:
        return len(self.counts)

    def take(self, which: np.ndarray) -> ResampledLevels:
        """Return some of them."""
        columns = self.columns
        own = replace(columns, n=columns.n[which], log_weights=columns.log_weights[which])
        return ResampledLevels(own, self.counts[which], self.left)

    @property
    def has_all_columns(self) -> np.ndarray:
        """In which of them the columns of X are surely independent (m,)."""
        assert self.columns.levels is not None
        X = self.columns.levels.coefficients[:, :-1]
        inside = np.einsum("kiq,kjq->qij", X, X)
        grams = np.tensordot(self.counts, inside + self.left[:, :-1, :-1], axes=1)  # X'WX of each, of all the identity
        return (np.linalg.eigvalsh(grams) > LACKING).all(axis=1)


def sum_levels(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray, block: BlockArrays, products: CrossProducts
) -> LevelSums:
    """Sum over the rows of each level what it leaves of X and y.

    Parameters
    ----------
    X, y, weights
        As in `bayesmm.marginal.sums.crossproducts.build_products`.
    block : BlockArrays
        The factor.
    products : CrossProducts
        Of these, taken apart by levels.
    """
    levels = products.levels
    assert levels is not None
    (membership,) = block.memberships
    codes, q = membership.codes, block.n_levels
    left = np.vstack([np.linalg.solve(products.fixed_root.T, X.T), y - X @ products.fixed_origin])
    shares = contract(invert_roots(levels.root), levels.coefficients)  # (k, c, q)
    columns = np.linalg.solve(products.effect_roots[0].T, membership.columns.T)
    for share, effect in zip(shares, columns, strict=True):
        left -= share.take(codes, axis=1) * effect
    c = len(left)
    found = np.zeros((q, c, c))
    for i in range(c):
        for j in range(i, c):
            found[:, i, j] = found[:, j, i] = np.bincount(codes, weights=weights * left[i] * left[j], minlength=q)
    n = np.bincount(codes, minlength=q).astype(float)
    return LevelSums(products, found, n, np.bincount(codes, weights=np.log(weights), minlength=q))
