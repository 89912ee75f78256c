"""The criterion at many θ at once, its value alone: for small designs, where calls cost more than arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import batched_cholesky, identity
from bayesmm.marginal.elimination.elimination import eliminate
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts

CALLS = 1e5  # multiplications in the time of the calls that a batch of fronts takes
AT_ONCE = 2**20  # numbers in the largest array of one go
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

    @property
    def work(self) -> float:
        """Multiplications that one value takes, about."""
        if self.products.sparse is not None:
            return float(sum(b.n * b.j * b.size**2 + CALLS for b in self.products.sparse.fronts.batches))
        k, c, q = self._eliminated
        m = sum(G.shape[0] * G.shape[2] for G in self.products.diagonal) - k * q
        return float(k * q * (k + c + m) * (k + c + m) + m**3)

    @property
    def _eliminated(self) -> tuple[int, int, int]:
        """Effects of a level, columns, and levels of what is eliminated level by level."""
        if self._first is None:
            return 0, self.products.gram.shape[0], 0
        return self.products.cross[self._first].shape

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

    def _one_by_one(self, factors: Sequence[Float[Array, "b k k"]]) -> Float[Array, " b"]:
        with np.errstate(all="ignore"):
            each = [eliminate(host, self.products, list(own))[1].reduced for own in zip(*factors, strict=True)]
            root = np.diagonal(_cholesky(np.stack([own.gram for own in each])), axis1=1, axis2=2)
            values = self._read(np.array([own.log_det for own in each]), root)
        return np.where(np.isfinite(values), values, np.inf)

    def _values(self, factors: Sequence[Float[Array, "b k k"]]) -> Float[Array, " b"]:
        m = self._remaining.m
        log_det, left = self._eliminate(factors)
        if m:
            left = self._scale(left, factors)
            left.reshape(len(left), -1)[:, : m * (left.shape[1] + 1) : left.shape[1] + 1] += 1.0  # I of the effects
        root = np.diagonal(_cholesky(left), axis1=1, axis2=2)
        return self._read(log_det + 2.0 * np.log(root[:, :m]).sum(axis=1), root[:, m:])

    def _eliminate(self, factors: Sequence[Float[Array, "b k k"]]) -> tuple[Float[Array, " b"], Float[Array, "b w w"]]:
        """Share of the first factor in log|H|, and what it leaves of the other factors and the columns."""
        remaining, n = self._remaining, len(factors[0])
        if self._first is None:
            return np.zeros(n), np.repeat(remaining.products[None], n, axis=0)
        Lambda, columns = factors[self._first], remaining.first
        k, w, q = columns.shape
        across = Lambda.transpose(2, 0, 1)  # (k, b, k): of each column
        both = (across[:, None, :, :, None] * across[None, :, :, None]).reshape(k, k, n, k * k)
        M = (both @ self.products.diagonal[self._first].reshape(k * k, q)) + identity(k)[:, :, None, None]  # I + Λ'GΛ
        right = (across @ columns.reshape(k, -1)).reshape(k, n, w, q)  # Λ'Z'WK
        pivots, solved = batched_cholesky(np, M, right.swapaxes(1, 2))  # (k, w, b, q)
        rooted = solved.transpose(2, 1, 0, 3).reshape(n, w, k * q)
        return 2.0 * np.log(pivots).sum(axis=(0, 2)), remaining.products - rooted @ rooted.swapaxes(1, 2)

    def _scale(self, left: Float[Array, "b w w"], factors: Sequence[Float[Array, "b k k"]]) -> Float[Array, "b w w"]:
        """Multiply rows and columns of effects by Λ' and Λ."""
        remaining, (n, w) = self._remaining, left.shape[:2]
        Lambda = np.zeros((n, w, w))
        Lambda.reshape(n, -1)[:, remaining.m * (w + 1) :: w + 1] = 1.0
        for g, start in remaining.starts.items():
            rows = _rows(start, factors[g].shape[1], np.arange(self.products.diagonal[g].shape[2]))
            Lambda[:, rows[:, None], rows[None]] = factors[g][..., None]
        return Lambda.swapaxes(1, 2) @ left @ Lambda

    def _read(self, log_det: Float[Array, " b"], root: Float[Array, "b c"]) -> Float[Array, " b"]:
        """Read the criterion off log|H| and the diagonal of a root of S, as `bayesmm.marginal.likelihood` has it."""
        products, restriction = self.products, self.restriction
        residual_square = root[:, -1] ** 2
        residual_square[residual_square < ROUNDING * products.gram[-1, -1]] = np.nan
        df = products.n - restriction * products.p
        log_det_fixed = 2.0 * np.log(root[:, :-1]).sum(axis=1) + products.log_det_root
        constant = log_det - products.log_weights + restriction * log_det_fixed
        if self.sigma is None:
            return constant + df * (1.0 + np.log(2.0 * np.pi * residual_square / df))
        return constant + df * np.log(2.0 * np.pi * self.sigma**2) + residual_square / self.sigma**2


def _rows(start: int, width: int, levels: np.ndarray) -> np.ndarray:
    """Rows (k, P) of the dense matrices that levels have."""
    return start + np.arange(width)[:, None] + width * levels


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
