"""The criterion at many θ at once, its value alone: for small designs, where calls cost more than arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import MANY, batched_cholesky, identity
from bayesmm.marginal.elimination.elimination import eliminate
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts

CALLS = 1e5  # multiplications in the time of the calls that a batch of fronts takes
AT_ONCE = 2**20  # numbers in the largest array of one go
EIGEN = 8.0  # multiplications for each number of a cube: of eigenvectors of a small matrix
LOGARITHM = 10.0  # multiplications in the time of a logarithm
ROUNDING = 1e-14  # of the response's sum of squares: a residual square below it is only rounding


class _Remaining(NamedTuple):
    """What the first factor leaves, as dense matrices: m effects of all other factors together, and c columns."""

    first: Float[Array, "k w q"]  # Z_f'W[Z X y] of each level of the first factor, w = m + c
    products: Float[Array, "w w"]
    starts: dict[int, int]  # row where each of the other factors begins; its effects of one level lie together
    m: int


class Screen:
    """Values of the criterion of one design for batches of relative factors.

    Parameters
    ----------
    products : CrossProducts
        Of the design.
    sigma : float, optional
        Residual standard deviation where it is known.
    restriction : 1 or 0
        REML or ML.

    Notes
    -----
    Of the factors whose levels do not touch each other, the one with the most levels is eliminated level by level, as
    in `bayesmm.marginal.elimination.elimination`; what remains is one dense matrix. The numbers are those of
    `bayesmm.marginal.likelihood.likelihood.criterion`.
    """

    def __init__(self, products: CrossProducts, sigma: float | None, restriction: float) -> None:
        self.products, self.sigma, self.restriction = products, sigma, restriction
        touching = {f for f, g in products.shape.pairs if f == g}
        sizes = {f: G.shape[2] for f, G in enumerate(products.diagonal) if f not in touching}
        self._first = max(sizes, key=sizes.__getitem__) if sizes else None

    @cached_property
    def work(self) -> float:
        """Multiplications that one value takes, about."""
        if self.products.sparse is not None:
            return float(sum(b.n * b.j * b.size**2 + CALLS for b in self.products.sparse.fronts.batches))
        (k, c, q), m = self._eliminated, self._n_remaining
        return float(k * q * (k + c + m) * (k + c + m) + m**3)

    @property
    def work_along(self) -> tuple[float, float]:
        """Multiplications that `values_along` takes, for each of its factors and for each value, about."""
        (k, c, q), m = self._eliminated, self._n_remaining
        return float(k * q * (k + c + m) * (k + c + m) + EIGEN * m**3), float((m or q) * (c * c + LOGARITHM))

    @property
    def _n_remaining(self) -> int:
        """How many effects are not eliminated level by level."""
        return sum(G.shape[0] * G.shape[2] for f, G in enumerate(self.products.diagonal) if f != self._first)

    @property
    def _eliminated(self) -> tuple[int, int, int]:
        """Effects of a level, columns, and levels of what is eliminated level by level."""
        if self._first is None:
            return 0, self.products.gram.shape[0], 0
        return self.products.cross[self._first].shape

    @property
    def last(self) -> int | None:
        """The factor whose last column `values_along` scales: the only one, or of two, the other one, of one effect."""
        products = self.products
        others = [g for g in range(len(products.diagonal)) if g != self._first]
        if products.sparse is not None or len(products.gram) >= MANY:
            return None
        if not others:
            return self._first
        return others[0] if len(others) == 1 and products.diagonal[others[0]].shape[0] == 1 else None

    @cached_property
    def _remaining(self) -> _Remaining:
        products, first = self.products, self._first
        starts, m = {}, 0
        for g, G in enumerate(products.diagonal):
            if g != first:
                starts[g], m = m, m + G.shape[0] * G.shape[2]
        k, c, q = self._eliminated
        found = _Remaining(np.zeros((k, m + c, q)), np.zeros((m + c, m + c)), starts, m)
        found.products[m:, m:] = products.gram
        if first is not None:
            found.first[:, m:] = products.cross[first]
        for g, start in starts.items():
            rows = _rows(start, products.diagonal[g].shape[0], np.arange(products.diagonal[g].shape[2]))
            found.products[rows[:, None], rows[None]] = products.diagonal[g]
            found.products[rows, m:] = products.cross[g].swapaxes(1, 2)
            found.products[m:, rows] = products.cross[g].swapaxes(0, 1)
        for position, (f, g) in enumerate(products.shape.pairs):
            B, own, other = products.pairs[position], products.index.rows[position], products.index.columns[position]
            if g == first:
                f, g, own, other, B = g, f, other, own, B.swapaxes(0, 1)
            columns = _rows(starts[g], B.shape[1], other)
            if f == first:
                found.first[np.arange(k)[:, None, None], columns[None], own] = B
            else:
                rows = _rows(starts[f], B.shape[0], own)
                found.products[rows[:, None], columns[None]] = B
                found.products[columns[None], rows[:, None]] = B
        return found

    def values(self, factors: Sequence[Float[Array, "b k k"]]) -> Float[Array, " b"]:
        """−2 log likelihood for each of a batch of factors on the conditioned columns; infinite where it is no number.

        Parameters
        ----------
        factors : sequence of arrays, shape (b, k, k)
            Λ of each grouping factor, b of them.
        """
        if self.products.sparse is not None:
            return self._one_by_one(factors)
        (k, w, q), m = self._remaining.first.shape, self._remaining.m
        at_once = max(1, AT_ONCE // (k * q * (k + w) + m * m))
        n = len(factors[0])
        with np.errstate(all="ignore"):  # far out, numbers overflow
            parts = [self._values([Lambda[i : i + at_once] for Lambda in factors]) for i in range(0, n, at_once)]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.where(np.isfinite(values), values, np.inf)

    def values_along(self, factors: Sequence[Float[Array, "b k k"]], sizes: Float[Array, " s"]) -> Float[Array, "b s"]:
        """Values with the last column of the factor `last` times each of some sizes.

        Parameters
        ----------
        factors : sequence of arrays, shape (b, k, k)
            Λ of each grouping factor, b of them.
        sizes : array, shape (s,)
            What that column is multiplied by.

        Notes
        -----
        All other effects are eliminated once for all sizes s. What that leaves of the effects of this column is
        made diagonal, λ_i, and v_i are their products with the fixed effects and the response:

            log|H| ← log|H| + Σ log(1 + s²λ_i),   S ← S − Σ v_i v_i' s²/(1 + s²λ_i).
        """
        squared = sizes[:, None] ** 2
        with np.errstate(all="ignore"):
            log_det, S, eigenvalues, v = self._beside_last(factors)
            n, c, m = v.shape
            grown = squared * eigenvalues[:, None] + 1.0  # (b, s, m)
            squares = (v[:, :, None] * v[:, None]).reshape(n, c * c, m)
            taken = (squares @ (squared / grown).swapaxes(1, 2)).swapaxes(0, 1).reshape(c, c, n, -1)
            pivots, _ = batched_cholesky(np, S.transpose(1, 2, 0)[..., None] - taken, np.zeros((c, 0, 1, 1)))
            values = self._read(log_det[:, None] + np.log(grown).sum(axis=2), pivots)
        return np.where(np.isfinite(values), values, np.inf)

    def _beside_last(self, factors: Sequence[Float[Array, "b k k"]]) -> tuple[Array, Array, Array, Array]:
        """log|H| and S (b, c, c) of all other effects, and λ (b, m) and v (b, c, m) of those of the last column."""
        if m := self._remaining.m:
            log_det, left = self._eliminate(factors)
            eigenvalues, vectors = _eigen(left[:, :m, :m])
            (last,) = self._remaining.starts
            Lambda = factors[last]  # (b, 1, 1)
            return log_det, left[:, m:, m:], Lambda[:, 0] ** 2 * eigenvalues, Lambda * (left[:, m:, :m] @ vectors)
        G, right = self._of_levels(factors[0])
        if len(G) == 1:
            return np.zeros(1), self._remaining.products[None], G[0, 0], right[0].swapaxes(0, 1)
        others = G[:-1, :-1] + identity(len(G) - 1)[:, :, None, None]
        pivots, solved = batched_cholesky(np, others, np.concatenate([G[:-1, -1:], right[:-1]], axis=1))
        taken = (solved[:, :1] * solved).sum(axis=0)  # of this column's products with itself and with X and y
        S = self._remaining.products - _gram(solved[:, 1:])
        return _log_det(pivots), S, G[-1, -1] - taken[0], (right[-1] - taken[1:]).swapaxes(0, 1)

    def _one_by_one(self, factors: Sequence[Float[Array, "b k k"]]) -> Float[Array, " b"]:
        with np.errstate(all="ignore"):
            each = [eliminate(host, self.products, list(own))[1].reduced for own in zip(*factors, strict=True)]
            root = _pivots(np.stack([own.gram for own in each]))
            values = self._read(np.array([own.log_det for own in each]), root)
        return np.where(np.isfinite(values), values, np.inf)

    def _values(self, factors: Sequence[Float[Array, "b k k"]]) -> Float[Array, " b"]:
        m = self._remaining.m
        log_det, left = self._eliminate(factors)
        if m:
            left = self._scale(left, factors)
            left.reshape(len(left), -1)[:, : m * (left.shape[1] + 1) : left.shape[1] + 1] += 1.0  # I of the effects
        root = _pivots(left)
        return self._read(log_det + 2.0 * np.log(root[:m]).sum(axis=0), root[m:])

    def _eliminate(self, factors: Sequence[Float[Array, "b k k"]]) -> tuple[Float[Array, " b"], Float[Array, "b w w"]]:
        """Share of the first factor in log|H|, and what it leaves of the other factors and the columns."""
        remaining, n = self._remaining, len(factors[0])
        if self._first is None:
            return np.zeros(n), np.repeat(remaining.products[None], n, axis=0)
        G, right = self._of_levels(factors[self._first])
        pivots, solved = batched_cholesky(np, G + identity(len(G))[:, :, None, None], right)
        return _log_det(pivots), remaining.products - _gram(solved)

    def _of_levels(self, Lambda: Float[Array, "b k k"]) -> tuple[Float[Array, "k k b q"], Float[Array, "k w b q"]]:
        """Λ'GΛ of each level of the first factor, and Λ'Z'W[Z X y] of it with what remains."""
        assert self._first is not None
        (k, w, q), n = self._remaining.first.shape, len(Lambda)
        across = Lambda.transpose(2, 0, 1)  # (k, b, k): of each column
        both = (across[:, None, :, :, None] * across[None, :, :, None]).reshape(k, k, n, k * k)
        G = both @ self.products.diagonal[self._first].reshape(k * k, q)
        right = (across @ self._remaining.first.reshape(k, -1)).reshape(k, n, w, q)
        return G, right.swapaxes(1, 2)

    def _scale(self, left: Float[Array, "b w w"], factors: Sequence[Float[Array, "b k k"]]) -> Float[Array, "b w w"]:
        """Multiply rows and columns of effects by Λ' and Λ, in place."""
        n, w = left.shape[:2]
        for g, start in self._remaining.starts.items():
            k, Lambda = factors[g].shape[1], factors[g][:, None]
            stop = start + k * self.products.diagonal[g].shape[2]
            rows, columns = left[:, start:stop].reshape(n, -1, k, w), left[:, :, start:stop].reshape(n, w, -1, k)
            if k == 1:
                rows *= Lambda
                columns *= Lambda
            else:
                rows[...] = Lambda.swapaxes(2, 3) @ rows
                columns[...] = columns @ Lambda
        return left

    def _read(self, log_det: Float[Array, " ..."], root: Float[Array, "c ..."]) -> Float[Array, " ..."]:
        """Read the criterion off log|H| and the diagonal of a root of S, as `bayesmm.marginal.likelihood` has it."""
        products, restriction = self.products, self.restriction
        residual_square = root[-1] ** 2
        residual_square = np.where(residual_square < ROUNDING * products.gram[-1, -1], np.nan, residual_square)
        df = products.n - restriction * products.p
        log_det_fixed = 2.0 * np.log(root[:-1]).sum(axis=0) + products.log_det_root
        constant = log_det - products.log_weights + restriction * log_det_fixed
        if self.sigma is None:
            return constant + df * (1.0 + np.log(2.0 * np.pi * residual_square / df))
        return constant + df * np.log(2.0 * np.pi * self.sigma**2) + residual_square / self.sigma**2


def _log_det(pivots: Float[Array, "k b q"]) -> Float[Array, " b"]:
    return 2.0 * np.log(pivots).sum(axis=(0, 2))


def _gram(solved: Float[Array, "k w b q"]) -> Float[Array, "b w w"]:
    """Sum over effects and levels."""
    k, w, n, q = solved.shape
    rooted = solved.transpose(2, 1, 0, 3).reshape(n, w, k * q)
    return rooted @ rooted.swapaxes(1, 2)


def _rows(start: int, width: int, levels: np.ndarray) -> np.ndarray:
    """Rows (k, P) of the dense matrices that levels have."""
    return start + np.arange(width)[:, None] + width * levels


def _pivots(M: Float[Array, "b m m"]) -> Float[Array, "m b"]:
    """Diagonals of lower triangular roots; NaN for those that are not positive definite, or not finite."""
    return np.diagonal(_cholesky(M), axis1=1, axis2=2).T


def _eigen(M: Float[Array, "b m m"]) -> tuple[Float[Array, "b m"], Float[Array, "b m m"]]:
    """Eigenvalues and eigenvectors; NaN for those that are not finite."""
    is_finite = np.isfinite(M).all(axis=(1, 2), keepdims=True)
    values, vectors = np.linalg.eigh(np.where(is_finite, M, 0.0))
    return np.where(is_finite[..., 0], values, np.nan), vectors


def _cholesky(M: Float[Array, "b m m"]) -> Float[Array, "b m m"]:
    """Lower triangular roots; NaN for those that are not positive definite, or not finite."""
    try:
        return np.linalg.cholesky(M)
    except np.linalg.LinAlgError:
        return np.stack([_cholesky_or_nan(each) for each in M])


def _cholesky_or_nan(M: Float[Array, "m m"]) -> Float[Array, "m m"]:
    try:
        return np.linalg.cholesky(M)
    except np.linalg.LinAlgError:
        return np.full_like(M, np.nan)
