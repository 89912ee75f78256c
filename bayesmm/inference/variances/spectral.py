"""The distribution of the likelihood ratio of one variance where that variance is zero, by its spectral representation.

Under the null the likelihood of the variance ratio λ depends on the data through independent squares of normal
variables, one for each eigenvalue of what the fixed effects leave of the tested effects. No response is simulated, and
no model fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from bayesmm.covariance.layout import assemble_factors
from bayesmm.inference.variances.null_models import Hypothesis, Null
from bayesmm.marginal.likelihood.likelihood import Method
from bayesmm.marginal.sums.crossproducts import CrossProducts

MOST_TESTED = (
    2000  # effects, beyond which eigenvalues take longer than is worth it: the asymptotic mixture is right then
)
MOST_EFFECTS = 5000  # of all grouping factors together, as one dense matrix
PER_DECADE = 12  # values of λ that are looked at
BELOW, ABOVE = 1e-4, 1e6  # the first and the last, times the inverse of the largest and the smallest eigenvalue
WIDEST = 1e12  # at most between them
TIED = 1e-8  # relative difference of eigenvalues that are one
NOTHING = 1e-10  # share of the largest entry of Z'Ṽ⁻¹Z that is only rounding
AT_ONCE = 2**22  # numbers in the largest array of one go
USUAL, MOST_SQUARES = 100_000, 2e7  # draws by default, and squares that they may take together


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """All that the likelihood ratio of one variance depends on, besides the draws.

    Attributes
    ----------
    residual : array, shape (s,)
        Positive eigenvalues of Z'PZ, with P = Ṽ⁻¹ − Ṽ⁻¹X(X'Ṽ⁻¹X)⁻¹X'Ṽ⁻¹ at the null, Z the columns of the tested
        effects and σ²Ṽ the covariance of the response.
    marginal : array, shape (t,)
        Those of Z'Ṽ⁻¹Z, which ML takes in its determinant.
    n, p : int
        Rows and fixed effects.
    method : {"reml", "ml"}
        Which likelihood.
    knows_sigma : bool
        Whether σ is known rather than estimated.
    """

    residual: np.ndarray
    marginal: np.ndarray
    n: int
    p: int
    method: Method
    knows_sigma: bool

    @property
    def n_usual(self) -> int:
        """How many draws are made by default: fewer where eigenvalues are many."""
        return min(USUAL, int(MOST_SQUARES / (1 + len(_distinct(self.residual)[0]))))

    def simulate(self, n_draws: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the likelihood ratio statistic under the null.

        Parameters
        ----------
        n_draws : int
            How many.
        rng : numpy.random.Generator
            Where they come from.

        Returns
        -------
        array, shape (n_draws,)
            Not negative, and exactly zero where the variance would be estimated as zero.

        Notes
        -----
        With w independent standard normal, ν = n − p, D(λ) = Σ wₛ²/(1 + λμₛ) + the squares that no eigenvalue has,

            RLRT = sup_λ ν log(D(0)/D(λ)) − Σ log(1 + λμₛ),

        LRT with n for ν and the eigenvalues of `marginal` in the second sum. If σ is known, the first term is
        D(0) − D(λ).

        References
        ----------
        Crainiceanu & Ruppert (2004), JRSS-B 66, theorem 1 and section 4.
        """
        if self.residual.size == 0:
            return np.zeros(n_draws)
        values, counts = _distinct(self.residual)
        grid = self._grid()
        at_once = max(1, AT_ONCE // (len(values) + len(grid)))
        parts = []
        for start in range(0, n_draws, at_once):
            size = min(at_once, n_draws - start)
            squares = rng.chisquare(counts, size=(size, len(values)))
            rest = self.n - self.p - len(self.residual)
            others = rng.chisquare(rest, size=size) if rest > 0 else np.zeros(size)
            parts.append(self._supremum(values, squares, others, grid))
        return np.concatenate(parts)

    def _supremum(self, values: np.ndarray, squares: np.ndarray, others: np.ndarray, grid: np.ndarray) -> np.ndarray:
        """Largest value over λ (m,), by a parabola through the best of the grid and its neighbours."""
        total = squares.sum(axis=1) + others
        left = squares @ (1.0 / (1.0 + grid * values[:, None])) + others[:, None]  # D, (m, grid)
        gain = self._gain(total[:, None], left) - self._penalty(grid)
        rises = self._slope_at_zero(values, squares, total) > 0.0
        best = np.clip(gain.argmax(axis=1), 1, len(grid) - 2)
        rows = np.arange(len(gain))
        before, at, after = (gain[rows, best + step] for step in (-1, 0, 1))
        bend = before - 2.0 * at + after
        shift = np.where(bend < 0.0, 0.5 * (before - after) / np.where(bend < 0.0, bend, 1.0), 0.0)
        peak = at - 0.25 * (before - after) * np.clip(shift, -1.0, 1.0)
        # The slope at zero tells whether the supremum is there; a maximum below the first λ is as good as none.
        return np.maximum(np.maximum(peak, gain[rows, best]), np.where(rises, np.finfo(float).tiny, 0.0))

    def _gain(self, total: np.ndarray, left: np.ndarray) -> np.ndarray:
        if self.knows_sigma:
            return total - left
        return self._df * np.log(total / left)

    def _penalty(self, grid: np.ndarray) -> np.ndarray:
        eigenvalues, counts = _distinct(self.residual if self.method == "reml" else self.marginal)
        return counts @ np.log1p(grid * eigenvalues[:, None])

    def _slope_at_zero(self, values: np.ndarray, squares: np.ndarray, total: np.ndarray) -> np.ndarray:
        scale = 1.0 if self.knows_sigma else self._df / total
        return scale * (squares @ values) - (self.residual if self.method == "reml" else self.marginal).sum()

    @property
    def _df(self) -> int:
        return self.n - self.p if self.method == "reml" else self.n

    def _grid(self) -> np.ndarray:
        low, high = BELOW / self.residual.max(), ABOVE / self.residual.min()
        high = min(high, low * WIDEST)
        return np.geomspace(low, high, int(PER_DECADE * np.log10(high / low)) + 2)


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values (d,), ascending, and how many times each is there: balanced designs have few."""
    ordered = np.sort(values)
    starts = np.flatnonzero(np.diff(ordered, prepend=-np.inf) > TIED * ordered)
    counts = np.diff(starts, append=len(ordered))
    return ordered[starts], counts


def find_spectrum(null: Null) -> Spectrum:
    """Work out the eigenvalues from the cross-products; no matrix has the size of the rows.

    Parameters
    ----------
    null : Null
        Of one variance of effects that are independent of all others.

    Notes
    -----
    With other random effects, Ṽ holds their variances, relative to σ², at their estimates under the null: the
    distribution is exact if these are known, and an approximation otherwise.
    """
    full = null.full
    products, p = full.products, int(full.products.p)
    dense = assemble_dense(products)
    tested, others = _positions(null, products)
    M, C = dense.effects[np.ix_(tested, tested)], dense.cross[tested, :p]
    gram = products.gram[:p, :p]
    if null.estimate is not None:
        criterion = null.estimate.criterion_function
        scale = _Factors(assemble_factors(np, null.estimate.minimum.x, criterion.layout), criterion.products)
        right = np.concatenate([dense.effects[np.ix_(others, tested)], dense.cross[others, :p]], axis=1)
        H = scale.times(scale.times(dense.effects[np.ix_(others, others)]).T)
        H[np.diag_indices_from(H)] += 1.0
        solved = solve_triangular(np.linalg.cholesky(H), scale.times(right), lower=True)
        own, fixed = solved[:, : len(tested)], solved[:, len(tested) :]
        M, C, gram = M - own.T @ own, C - own.T @ fixed, gram - fixed.T @ fixed
    by_fixed = np.linalg.solve(np.linalg.cholesky(gram), C.T)
    size = float(np.diag(M).max())
    return Spectrum(
        residual=_positive(M - by_fixed.T @ by_fixed, size),
        marginal=_positive(M, size) if full.method == "ml" else np.zeros(0),
        n=int(products.n),
        p=p,
        method=full.method,
        knows_sigma=full.sigma is not None,
    )


class Dense(NamedTuple):
    """Z'WZ of all random effects and Z'W[X y] as dense matrices; effects of one level lie together."""

    effects: np.ndarray  # (m, m)
    cross: np.ndarray  # (m, c)


def assemble_dense(products: CrossProducts) -> Dense:
    """Lay out the blocks of the cross-products as two matrices."""
    starts = _starts(products)
    found = Dense(np.zeros((starts[-1], starts[-1])), np.zeros((starts[-1], len(products.gram))))
    for start, G, K in zip(starts, products.diagonal, products.cross, strict=False):
        rows = _rows(start, G.shape[0], np.arange(G.shape[2]))
        found.effects[rows[:, None], rows[None]] = G
        found.cross[rows] = K.swapaxes(1, 2)
    for position, (f, g) in enumerate(products.shape.pairs):
        B, first, second = products.pairs[position], products.index.rows[position], products.index.columns[position]
        rows, columns = _rows(starts[f], B.shape[0], first), _rows(starts[g], B.shape[1], second)
        found.effects[rows[:, None], columns[None]] = B
        found.effects[columns[None], rows[:, None]] = B
    return found


def n_effects(products: CrossProducts) -> int:
    """Count the random effects of all levels."""
    return _starts(products)[-1]


def _starts(products: CrossProducts) -> list[int]:
    return np.cumsum([0, *(G.shape[0] * G.shape[2] for G in products.diagonal)]).tolist()


def _rows(start: int, width: int, levels: np.ndarray) -> np.ndarray:
    """Rows (k, P) of the dense matrices that levels have."""
    return start + np.arange(width)[:, None] + width * levels


def _positions(null: Null, products: CrossProducts) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the dense matrices that are tested, and the others; each in the order of the factors."""
    is_tested, hypothesis = [], null.hypothesis
    assert isinstance(hypothesis, Hypothesis)
    for f, G in enumerate(products.diagonal):
        own = np.isin(np.arange(G.shape[0]), hypothesis.effects if f == hypothesis.block else ())
        is_tested.append(np.tile(own, G.shape[2]))
    tested = np.concatenate(is_tested)
    return np.flatnonzero(tested), np.flatnonzero(~tested)


class _Factors:
    """Λ of all random effects that the null leaves, as something that a matrix is multiplied by."""

    def __init__(self, factors: Sequence[np.ndarray], products: CrossProducts) -> None:
        self._factors = [(L, G.shape[2]) for L, G in zip(factors, products.diagonal, strict=True)]

    def times(self, right: np.ndarray) -> np.ndarray:
        """Λ' times a matrix (m, c)."""
        found, start = [], 0
        for L, q in self._factors:
            k = len(L)
            rows = right[start : start + k * q].reshape(q, k, -1)
            found.append((L.T @ rows).reshape(k * q, -1))
            start += k * q
        return np.concatenate(found)


def _positive(M: np.ndarray, size: float) -> np.ndarray:
    values = np.linalg.eigvalsh(M)
    return values[values > NOTHING * size]
