"""Factor analysis: many effects that vary along a few directions, and each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from bayesmm.covariance.reduced_rank import below
from bayesmm.covariance.structure import (
    DOWN,
    SNAP,
    STEP,
    Array,
    Axes,
    is_finite_step,
    lower_triangular,
    symmetric_beta,
)
from bayesmm.covariance.unstructured import Unstructured, move
from bayesmm.errors import DesignError

NOTHING = 1e-14  # share of a variance that is only rounding
LEAST_SPECIFIC = 0.05  # share of a variance: a start with less would be next to a saddle
MOST_ALONE = 8  # effects that are a factor by themselves in further starts, those with most left
SLIGHTLY = 0.3  # correlation of the others with it there
MOST_ELSEWHERE = 2  # directions beside those of a start that are tried in the place of its last
SHARES = (0.3, 0.9)  # of the variances, that factors explain where a fit to a covariance matrix starts
MOST_STEPS = 200
APART = 1e-12  # of a correlation: what keeps Cholesky's factor where specific variances are rounding
NOTHING = 1e-6  # a correlation as good as zero, where the density of one factor has a pole
EXACT = 1e-15  # relative fall of the squares of what is left, and their size, at which such a fit ends


@dataclass(frozen=True)
class FactorAnalytic(Unstructured):
    """Σ = σ²(ΓΓ' + Ψ), loadings Γ (k, d) zero above the diagonal, which leaves no rotation, and Ψ diagonal.

    θ are the loadings, column by column, then the roots of Ψ, whose signs are free: a specific variance of zero
    (Heywood's case) is an ordinary point. Σ = FF' with F = [Γ Ψ^½] (k, d + k) linear in θ; Λ = FQ with orthonormal
    Q (d + k, k) that make it triangular. Derivatives are those of F, times Q and what completes it: where more specific
    variances are zero than there are directions Σ is singular, and a Cholesky factor has none.

    Attributes
    ----------
    d : int
        How many factors; of fewer effects than tell them, as many as these do.

    References
    ----------
    Lawley & Maxwell (1971), Factor Analysis as a Statistical Method. Smith, Cullis & Thompson (2001), Biometrics 57.
    """

    d: int = 1

    freedom = "correlated along a few directions, with variances of their own"
    invariance = "column"
    is_convex = False
    is_straight = False
    is_linear = False
    is_divisible = False
    fewest_effects = 3
    correlations = "rank"
    has_lkj = False

    @property
    def words(self) -> str:  # type: ignore[override]
        """How many factors."""
        return f"factor analytic, {self.d} factor{'' if self.d == 1 else 's'}"

    def bound(self, effects: Sequence[str], term: object) -> FactorAnalytic:
        """Refuse more parameters than variances and covariances.

        Raises
        ------
        DesignError
            With the numbers.
        """
        k = len(effects)
        if self.fewest_effects <= k and self.d > _most(k):
            has, of = k * self.d - self.d * (self.d - 1) // 2 + k, k * (k + 1) // 2
            raise DesignError(
                f"The term {term} has {k} effects and d={self.d}: {has} loadings and specific variances for the {of} "
                f"variances and covariances of its effects. Write us() for it, or d={_most(k)} at most."
            )
        return self

    # -- θ and Λ ------------------------------------------------------------------------------------------------------

    def start(self, k: int) -> np.ndarray:
        """θ of Λ = I."""
        return np.append(np.zeros(len(below(k, self._factors(k))[0])), np.ones(k))

    def positions(self, k: int) -> None:
        """Λ does not consist of them."""
        return

    def factor(self, xp: Any, theta: Array, k: int) -> Array:
        """Λ = FQ; a complex step moves F, and Q stays."""
        F, Q = self._wide(xp, theta, k), self._turn(xp, theta, k)[:, :k]
        if not np.iscomplexobj(theta):
            return xp.tril(F @ Q)
        return np.tril(F.real @ Q) + 1j * (F.imag @ Q)

    def derivatives(self, xp: Any, theta: Array, k: int) -> tuple[Array, Array]:
        """∂F Q, whose columns beyond the k-th are those of what is zero here; Λ is linear in θ but for Q."""
        t = theta.shape[0]
        return _ones(k, self._factors(k)) @ self._turn(xp, theta, k), xp.zeros((t, t, k, k))

    def nearest(self, Lambda: np.ndarray) -> np.ndarray:
        """θ of the least squares of what is left of ΛΛ', over its standard deviations."""
        loadings, specific = decompose(Lambda @ Lambda.T, self._factors(len(Lambda)))
        return self._entries(loadings, specific)

    def sizes(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Take the standard deviation of the effect that each entry is of, one at least."""
        F, rows = self._wide(np, theta, k), below(k, self._factors(k))[0]
        return np.maximum(np.linalg.norm(F, axis=1), 1.0)[np.append(rows, np.arange(k))]

    def moments(self, Lambda: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """θ near the covariance matrix of an unstructured step."""
        D, U = Lambda.T @ expected @ Lambda, Lambda.T @ observed @ Lambda
        moved = move(Lambda, D, U) if is_finite_step(D, U) else Lambda
        loadings, specific = decompose(moved @ moved.T, self._factors(len(Lambda)))
        return self._entries(loadings, np.maximum(specific, np.sqrt(LEAST_SPECIFIC) * np.linalg.norm(moved, axis=1)))

    def axes(self, Lambda: np.ndarray) -> Axes:
        """Take one scale: a look along all standard deviations takes most of the time, and met no other maximum."""
        k = len(Lambda)
        size = np.linalg.norm(Lambda) / np.sqrt(k)
        return Axes(Lambda / size if size > 0.0 else np.eye(k), np.zeros((k, k), dtype=int))

    def elsewhere(self, theta: np.ndarray, k: int) -> list[np.ndarray]:
        """Put other directions in the place of the last factor, and single effects, with nothing left of these.

        A maximum in which a factor is one of the effects (a Heywood case) is not met from what several share.
        """
        d, F = self._factors(k), self._wide(np, theta, k)
        sds = np.linalg.norm(F, axis=1)
        if d == 0 or not sds.all():
            return []
        R = F @ F.T / np.outer(sds, sds)
        left, values, _ = np.linalg.svd(F[:, :d] / sds[:, None], full_matrices=False)
        kept = left[:, : d - 1] * values[: d - 1]
        rest = R - kept @ kept.T
        left = np.argsort(-np.diag(rest))[:MOST_ALONE]
        own = [
            np.where(np.arange(k) == j, 1.0, np.where(rest[j] < 0.0, -SLIGHTLY, SLIGHTLY)) * np.sqrt(np.diag(rest))
            for j in left
            if rest[j, j] > LEAST_SPECIFIC
        ]
        sizes, vectors = np.linalg.eigh(rest)
        own += [
            vector * np.sqrt(size)
            for size, vector in list(zip(sizes[::-1], vectors.T[::-1], strict=True))[1 : 1 + MOST_ELSEWHERE]
            if size > LEAST_SPECIFIC
        ]
        found = []
        for direction in own:
            loadings = np.column_stack([kept, direction])
            share = (loadings**2).sum(axis=1)
            loadings *= np.sqrt(np.minimum(1.0, (1.0 - LEAST_SPECIFIC) / np.maximum(share, LEAST_SPECIFIC)))[:, None]
            specific = np.sqrt(1.0 - (loadings**2).sum(axis=1))
            found.append(self._entries(sds[:, None] * loadings, sds * specific))
        return found

    def free_entries(self, Lambda: np.ndarray, effects: Sequence[str], expression: str) -> tuple[list[str], np.ndarray]:
        """Give loadings, by effect and factor, and roots of specific variances."""
        rows, columns = below(len(Lambda), self._factors(len(Lambda)))
        names = [f"theta({effects[i]}, {j + 1}" for i, j in zip(rows, columns, strict=True)]
        return names + [f"theta({effect}, specific" for effect in effects], self.nearest(Lambda)

    def loadings(self, Lambda: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take them apart."""
        return decompose(Lambda @ Lambda.T, self._factors(len(Lambda)))

    def with_structure(self, covariance: np.ndarray) -> np.ndarray:
        """Give the nearest."""
        loadings, specific = decompose(covariance, self._factors(len(covariance)))
        return loadings @ loadings.T + np.diag(specific**2)

    # -- the boundary -------------------------------------------------------------------------------------------------

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Specific variances of zero, and factors without loadings."""
        columns, m = below(k, self._factors(k))[1], len(theta) - k
        empty = np.bincount(columns, theta[:m] != 0.0, k)[columns] == 0
        return np.append(empty, theta[m:] == 0.0)

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Put small specific variances, and factors that explain next to nothing, to zero."""
        F, d = self._wide(np, theta, k), self._factors(k)
        loadings, specific = F[:, :d], np.diag(F[:, d:])
        left, values, _ = np.linalg.svd(loadings, full_matrices=False)
        kept = values >= SNAP
        if loadings[:, int(kept.sum()) :].any():
            loadings = left[:, kept] * values[kept]
        else:
            loadings = loadings[:, : int(kept.sum())]
        return self._entries(loadings, np.where(np.abs(specific) < SNAP, 0.0, specific))

    def way_down(self, theta: np.ndarray, k: int, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
        """Let specific variances leave zero where the criterion falls, and add the steepest factors that are left."""
        F, d = self._wide(np, theta, k), self._factors(k)
        loadings, specific = F[:, :d], np.diag(F[:, d:]).copy()
        slope = expected - observed
        down = (specific == 0.0) & (np.diag(slope) < -DOWN * np.diag(expected))
        left, values, _ = np.linalg.svd(loadings, full_matrices=False)
        r = int((values > np.finfo(float).eps * max(values.max(initial=0.0), 1.0)).sum())
        if down.any():
            return self._entries(left[:, :r] * values[:r], np.where(down, STEP, specific))
        if not np.diag(loadings).all():  # entries above the diagonal are free all the same
            along = slope @ loadings
            size = np.abs(along).max(initial=0.0)
            if size > DOWN * np.abs(expected @ loadings).max(initial=0.0):
                return self._entries(loadings - STEP * along / size, specific)
        if r == d:
            return None
        slopes, directions = np.linalg.eigh(slope)
        steepest = np.flatnonzero(slopes < -DOWN * np.abs(expected).max())[: d - r]
        if not len(steepest):
            return None
        return self._entries(np.hstack([left[:, :r] * values[:r], STEP * directions[:, steepest]]), specific)

    # -- the prior ----------------------------------------------------------------------------------------------------

    def n_shares(self, k: int) -> int:
        """As many as loadings."""
        return len(below(k, self._factors(k))[0])

    def unit_factor(self, xp: Any, shares: Array, k: int) -> Array:
        """Cholesky factor of R = UU' + I − diag(UU') with rows u of standardised loadings inside the unit ball.

        A row is in the frame of those before it: shares are (1 + p)/2 of partial correlations p with factors, given the
        factors before, and in the first d − 1 rows, last, that of what is left of the row in squares. The sign of the
        last factor is open; no correlation depends on it.
        """
        d = self._factors(k)
        rows, at = [], 0
        for i in range(d - 1):
            partial, last = 2.0 * shares[at : at + i] - 1.0, shares[at + i : at + i + 1]
            steps = xp.concatenate([partial**2, last])
            left = xp.concatenate([xp.ones(1), xp.cumprod(1.0 - steps)[:-1]])
            u = xp.concatenate([partial, xp.sqrt(last)]) * xp.sqrt(left)
            rows.append(xp.concatenate([u, xp.zeros(d - 1 - i)])[None])
            at += i + 1
        partial = 2.0 * shares[at:].reshape(-1, d) - 1.0
        left = xp.cumprod(1.0 - partial**2, axis=1)
        before = xp.concatenate([xp.ones((len(partial), 1)), left[:, :-1]], axis=1)
        U = xp.concatenate([*rows, partial * xp.sqrt(before)])
        identity = xp.eye(k)
        return xp.linalg.cholesky(identity + (1.0 - identity) * (1.0 - APART * k) * (U @ U.T))

    def shares(self, cor: np.ndarray, k: int) -> np.ndarray:
        """Those of the nearest R, inside their limits."""
        d = self._factors(k)
        U = self._wide(np, self.nearest(np.linalg.cholesky(self.correlation(np, cor, k))), k)[:, :d]
        left = 1.0 - np.cumsum(U**2, axis=1) + U**2
        partial = U / np.sqrt(np.maximum(left, APART))
        found = [
            np.append(0.5 * (1.0 + partial[i, :i]), partial[i, i] ** 2) if i < d - 1 else 0.5 * (1.0 + partial[i])
            for i in range(k)
        ]
        return np.clip(np.concatenate(found), 1e-9, 1.0 - 1e-9)

    def lkj_shapes(self, concentration: float, k: int) -> tuple[Array, Array]:
        """Those of rows that are uniform in the unit ball, whatever its rotation."""
        if concentration != 1.0:
            raise NotImplementedError(f"no beta density of concentration {concentration}")
        d = self._factors(k)
        signed = 1.0 + 0.5 * (d - 1.0 - np.arange(d))
        first, second = [], []
        for i in range(k):
            own = signed[:i] if i < d - 1 else signed
            first.append(np.append(own, 0.5 * (d - i)) if i < d - 1 else own)
            second.append(np.append(own, 1.0) if i < d - 1 else own)
        return np.concatenate(first), np.concatenate(second)

    def cor_density(self, x: np.ndarray, which: int, concentration: float, k: int) -> np.ndarray:
        """Of u'v with both uniform in the ball of d dimensions: a coordinate of one times the length of the other."""
        d = self._factors(k)
        nodes, weights = np.polynomial.legendre.leggauss(60)
        size = np.maximum(np.abs(x), NOTHING)[:, None]
        end = np.arccosh(1.0 / size)
        root = 0.5 * (1.0 + nodes) * end  # length = |x| cosh(root)
        length = size * np.cosh(root)
        inside = np.tanh(root) ** (d - 1)  # (1 − (x/length)²)^((d − 1)/2)
        width = 0.5 * end * weights * size * np.sinh(root)
        return d * (length ** (d - 2) * inside * width).sum(axis=1) * symmetric_beta(np.zeros(1), 0.5 * (d + 1))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _factors(self, k: int) -> int:
        return min(self.d, _most(k))

    def _wide(self, xp: Any, theta: Array, k: int) -> Array:
        """F (k, d + k)."""
        entries = xp.concatenate([theta, xp.zeros(1, dtype=theta.dtype)])
        return entries[_places(k, self._factors(k))]

    def _turn(self, xp: Any, theta: Array, k: int) -> Array:
        """[Q Q⊥] (d + k, d + k): FQ triangular with a diagonal that is not negative, FQ⊥ = 0."""
        F = self._wide(xp, theta.real, k)
        Q, R = xp.linalg.qr(F.T, mode="complete")
        signs = xp.where(xp.diagonal(R) < 0.0, -1.0, 1.0)
        return Q * xp.concatenate([signs, xp.ones(Q.shape[1] - k)])

    def _entries(self, loadings: np.ndarray, specific: np.ndarray) -> np.ndarray:
        """θ of loadings (k, r), r ≤ d, turned, and roots of specific variances (k,)."""
        k = len(specific)
        d = self._factors(k)
        found = np.zeros((k, d))
        if loadings.shape[1]:
            L = lower_triangular(loadings)
            found[:, : L.shape[1]] = L
        return np.append(found[below(k, d)], np.abs(specific))


def decompose(covariance: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Find loadings (k, d) and roots of specific variances (k,) that leave the least squares of a covariance matrix.

    Notes
    -----
    Variances are met exactly: of correlations R the squares of the entries beside the diagonal of R − ΓΓ' are
    minimised, with those of what rows of ΓΓ' exceed one by (Harman & Jones 1966, Psychometrika 31), by Levenberg and
    Marquardt's method from several starts.
    """
    k = len(covariance)
    sds = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    varies = np.flatnonzero(sds)
    loadings = np.zeros((k, d))
    if d and len(varies):
        own = sds[varies]
        R = covariance[np.ix_(varies, varies)] / np.outer(own, own)
        found = min((_minimise(R, start) for start in _starts(R, d)), key=lambda each: each[1])[0]
        excess = np.sqrt(np.maximum((found**2).sum(axis=1), 1.0))
        loadings[varies] = own[:, None] * found / excess[:, None]
    rest = sds**2 - (loadings**2).sum(axis=1)
    return loadings, np.sqrt(np.where(rest > NOTHING * sds**2, rest, 0.0))


def _starts(R: np.ndarray, d: int) -> list[np.ndarray]:
    """Principal axes of R less specific variances: those that regressions leave, and shares of one."""
    k, found = len(R), []
    unexplained = 1.0 / np.maximum(np.diag(np.linalg.pinv(R, hermitian=True)), 1.0)
    for specific in (unexplained, *(np.full(k, 1.0 - share) for share in SHARES)):
        values, vectors = np.linalg.eigh(R - np.diag(specific))
        start = np.zeros((k, d))
        own = vectors[:, ::-1][:, :d] * np.sqrt(np.maximum(values[::-1][:d], LEAST_SPECIFIC / k))
        start[:, : own.shape[1]] = own
        found.append(start)
    return found


def _minimise(R: np.ndarray, loadings: np.ndarray) -> tuple[np.ndarray, float]:
    k, d = loadings.shape
    identity = np.eye(k)
    ridge, left = 1e-2, _left(R, loadings)
    value = float((left**2).sum())
    for _ in range(MOST_STEPS):
        if value < EXACT * EXACT * k:
            break
        seen = np.where(identity > 0.0, left < 0.0, 1.0)  # of the diagonal, only what is beyond one
        slopes = identity[:, None, :, None] * loadings[None, :, None]  # ∂Γ Γ', by row and column of Γ
        J = -((slopes + slopes.swapaxes(0, 1)) * seen[:, :, None, None]).reshape(k * k, k * d)
        gram, gradient = J.T @ J, J.T @ left.ravel()
        moved = loadings - np.linalg.solve(gram + ridge * np.eye(k * d), gradient).reshape(k, d)
        left_there = _left(R, moved)
        there = float((left_there**2).sum())
        if there < value:
            fell = value - there
            loadings, left, value, ridge = moved, left_there, there, max(0.1 * ridge, 1e-14)
            if fell < EXACT * value:
                break
        elif ridge > 1e8:
            break
        else:
            ridge *= 10.0
    return loadings, value


def _left(R: np.ndarray, loadings: np.ndarray) -> np.ndarray:
    """R − ΓΓ' beside the diagonal, and on it what exceeds one."""
    left = R - loadings @ loadings.T
    np.fill_diagonal(left, np.minimum(np.diag(left), 0.0))
    return left


@lru_cache(maxsize=256)
def _most(k: int) -> int:
    """Count the factors that k effects tell: no more parameters than variances and covariances (Ledermann 1937)."""
    return max(d for d in range(k + 1) if d == 0 or (d < k and (k - d) ** 2 >= k + d))


@lru_cache(maxsize=256)
def _places(k: int, d: int) -> np.ndarray:
    """Which entry of θ, or the zero after them, goes to each entry of F (k, d + k)."""
    rows, columns = below(k, d)
    m = len(rows)
    places = np.full((k, d + k), m + k)
    places[rows, columns] = np.arange(m)
    places[np.arange(k), d + np.arange(k)] = m + np.arange(k)
    return places


@lru_cache(maxsize=256)
def _ones(k: int, d: int) -> np.ndarray:
    """∂F (t, k, d + k)."""
    places = _places(k, d)
    t = int(places.max())
    return (places == np.arange(t)[:, None, None]).astype(float)
