"""Small models whose likelihoods are awkward: many maxima, odd scales, few rows; dense, without the package's likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from oracle import Matrix, Method, random_columns
from scipy.optimize import minimize

from bayesmm.covariance import layout
from bayesmm.covariance.layout import Layout
from bayesmm.covariance.table import STRUCTURES

FAR = 6.0  # decades around the columns' own scale over which SciPy starts
Piece = tuple[int, int, str]  # columns of one covariance matrix, and the name of its structure


@dataclass(frozen=True, kw_only=True)
class Factor:
    """Levels of the rows (n,), effect columns (n, k), and which of these share a covariance matrix."""

    codes: np.ndarray
    columns: Matrix
    pieces: tuple[Piece, ...]

    @property
    def q(self) -> int:
        return int(self.codes.max()) + 1


@dataclass(frozen=True, kw_only=True)
class SmallModel:
    """X (n, p), y (n,), prior weights (n,) and random effects of at most some dozen rows."""

    X: Matrix
    y: Matrix
    weights: Matrix
    factors: tuple[Factor, ...]


def uncentred(seed: int) -> SmallModel:
    """One factor and a covariate far from its origin under a diagonal covariance: several maxima are usual."""
    rng = np.random.default_rng([1, seed])
    q, m = int(rng.integers(4, 16)), int(rng.integers(3, 10))
    codes, n, mean = np.repeat(np.arange(q), m), q * m, float(rng.choice([100, 300, 2000]))
    x = mean + (3.0 * rng.normal(size=n) if rng.random() < 0.5 else np.tile(np.arange(m), q))
    kind = int(rng.integers(0, 4))
    intercepts, slopes = rng.choice([0.0, 0.5, 5.0]), rng.choice([0.0, 0.03, 0.3, 1.0])
    origin = 0.0 if rng.random() < 0.6 else mean
    y = 2.0 + intercepts * rng.normal(size=q)[codes] + slopes * rng.normal(size=q)[codes] * (x - origin)
    y = y + rng.choice([0.5, 1.0, 5.0]) * rng.normal(size=n) + (0.5 * x if rng.random() < 0.5 else 0.0)
    both = np.column_stack([np.ones(n), x])
    columns = x[:, None] if kind == 0 else both
    pieces = tuple((j, j + 1, "diag") for j in range(columns.shape[1]))
    X = both[:, :1] if kind < 2 else both
    return SmallModel(X=X, y=y, weights=np.ones(n), factors=(Factor(codes=codes, columns=columns, pieces=pieces),))


def irregular(seed: int) -> SmallModel:
    """One to four factors, nested or crossed at random, with columns of any scale and origin, and few rows."""
    rng = np.random.default_rng([2, seed])
    n, n_factors, p = int(rng.integers(12, 60)), int(rng.choice([1, 1, 1, 2, 2, 2, 3, 4])), int(rng.integers(0, 3))
    y, factors, first = rng.normal(size=n), [], None
    for _ in range(n_factors):
        codes = rng.integers(0, int(rng.integers(3, max(4, n // 3))), n)
        if first is not None and rng.random() < 0.3:
            codes = first // int(rng.integers(2, 4))
        codes = np.unique(codes, return_inverse=True)[1] if codes.max() else np.arange(n) % 2
        first = codes if first is None else first
        k = int(rng.choice([1, 1, 2, 2, 3]))
        z = rng.normal(size=(n, k - 1))
        sd = rng.choice([0.0, 0.3, 1.0, 3.0, 10.0], size=k)
        y = y + (rng.normal(size=(codes.max() + 1, k))[codes] * sd * np.column_stack([np.ones(n), z])).sum(axis=1)
        far = (rng.random(k - 1) < 0.4) * 10.0 ** rng.uniform(0, 3, size=k - 1)
        columns = np.column_stack([np.ones(n), (z + far) * 10.0 ** rng.uniform(-3, 3, size=k - 1)])
        if k > 1 and rng.random() < 0.25:
            columns, k = columns[:, 1:], k - 1
        cut = int(rng.integers(1, k)) if k > 1 and rng.random() < 0.4 else k
        structures = rng.choice(["us", "diag"], size=2)
        pieces = [(0, cut, str(structures[0]))] + ([(cut, k, str(structures[1]))] if cut < k else [])
        factors.append(Factor(codes=codes, columns=columns, pieces=tuple(pieces)))
    x = rng.normal(size=(n, p)) * 10.0 ** rng.uniform(-3, 3, size=p)
    x = x + (rng.random(p) < 0.3) * 10.0 ** rng.uniform(0, 3, size=p)
    weights = np.ones(n) if rng.random() < 0.7 else 10.0 ** rng.uniform(-1, 1, n)
    y = y * 10.0 ** rng.uniform(-4, 4)
    return SmallModel(X=np.column_stack([np.ones(n), x]), y=y, weights=weights, factors=tuple(factors))


class DenseCriterion:
    """−2 log likelihood, β and σ out, of relative factors in units of the columns' root mean squares, dense.

    Columns of one unstructured matrix are made orthonormal, which does not change the model, so that SciPy's finite
    steps see something; everything else is the textbook: V in full, its Cholesky factor, least squares.
    """

    def __init__(self, model: SmallModel, method: Method) -> None:
        self.method, root = method, np.sqrt(model.weights)
        Q, R = np.linalg.qr(root[:, None] * model.X)
        self.Q, self.log_det_fixed = Q, 2.0 * np.log(np.abs(np.diag(R))).sum()
        y = root * model.y
        self.y, self.log_weights = y - Q @ (Q.T @ y), np.log(model.weights).sum()
        self.Z, self.pieces = [], []
        for factor in model.factors:
            for start, stop, structure in factor.pieces:
                units = [(start, stop)] if structure == "us" else [(j, j + 1) for j in range(start, stop)]
                for first, last in units:
                    columns = root[:, None] * factor.columns[:, first:last]
                    tame = np.linalg.qr(columns)[0] * np.sqrt(len(y))
                    self.Z.append(random_columns(factor.codes, tame, factor.q))
                    self.pieces.append((last - first, factor.q))
        self.n_entries = sum(k * (k + 1) // 2 for k, _ in self.pieces)

    def factors(self, entries: Matrix) -> list[Matrix]:
        """Lower triangles with logarithms on the diagonal."""
        found, start = [], 0
        for k, _ in self.pieces:
            L = np.zeros((k, k))
            rows, columns = np.tril_indices(k)
            L[rows, columns] = entries[start : start + len(rows)]
            L[np.diag_indices(k)] = np.exp(np.clip(np.diag(L), -30.0, 25.0))
            found.append(L)
            start += len(rows)
        return found

    def __call__(self, entries: Matrix) -> float:
        """The criterion, by singular values of ZΛ: no difference of large numbers."""
        scaled = [
            Z.reshape(len(self.y), q, k) @ L
            for Z, L, (k, q) in zip(self.Z, self.factors(entries), self.pieces, strict=True)
        ]
        left, values, _ = np.linalg.svd(np.hstack([each.reshape(len(self.y), -1) for each in scaled]))
        spread = np.ones(len(self.y))
        spread[: len(values)] += values**2
        A, b = left.T @ self.Q / np.sqrt(spread)[:, None], left.T @ self.y / np.sqrt(spread)
        basis, R = np.linalg.qr(A)
        rest = b - basis @ (basis.T @ b)
        is_reml = self.method == "reml"
        df = len(b) - is_reml * A.shape[1]
        residual_square = max(float(rest @ rest), 1e-300)
        value = np.log(spread).sum() - self.log_weights + df * (1.0 + np.log(2.0 * np.pi * residual_square / df))
        return float(value + is_reml * (2.0 * np.log(np.abs(np.diag(R))).sum() + self.log_det_fixed))

    def lowest(self, n_starts: int, seed: int) -> float:
        """The lowest value that SciPy finds from random starts on all scales, the best few of many tried."""
        rng = np.random.default_rng(seed)
        diagonal = np.concatenate([np.eye(k)[np.tril_indices(k)] for k, _ in self.pieces]) == 1.0
        tried = [
            np.where(diagonal, np.log(10.0) * rng.uniform(-2.0, FAR - 2.0, self.n_entries), 0.0)
            for _ in range(10 * n_starts)
        ]
        tried.sort(key=self)
        return min(float(minimize(self, start, method="L-BFGS-B").fun) for start in tried[:n_starts])


def layout_of(factors: Sequence[Factor]) -> Layout:
    """The layout of a model, as the package wants it."""
    return tuple(
        tuple(layout.Piece(start, stop, STRUCTURES[name]) for start, stop, name in factor.pieces) for factor in factors
    )
