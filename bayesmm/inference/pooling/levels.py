"""One effect of all levels, jointly: by a normal distribution from a fit, by draws from a posterior.

Given the variances, what is estimated less what is true has two independent parts. With G = ΛΛ', C = ΛH⁻¹Λ',
B = CZ'WX and A = X'Ṽ⁻¹X, all over σ²,

    b̂ − b = e − B(β̂ − β),    Var e = C,    Var(β̂ − β) = A⁻¹,    Var(b̂ − b) = C + BA⁻¹B' = G − GZ'PZG.

The second part is of rank p and shared by all levels; to a coefficient β + b it comes as (1 − B)(β̂ − β).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from scipy.special import ndtr

from bayesmm.arguments import shorten
from bayesmm.design.blocks.labels import Labels
from bayesmm.errors import ArgumentError
from bayesmm.inference.either import is_posterior
from bayesmm.inference.eliminated import eliminate_given
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.residual.through_rows import Eliminated
from bayesmm.presenting.progress import SILENT, Bar

if TYPE_CHECKING:
    from bayesmm.bayes.results.draws import ParameterDraws

type Of = Literal["effects", "coefficients"]

MOST_LEVELS = 1000  # whose covariances with each other are a matrix, where levels of other factors tie them
AT_ONCE = 4_000_000  # numbers drawn together, 32 MB
MOST_NUMBERS = 40_000_000  # of draws times effects, 320 MB


class LevelValues(Protocol):
    """One effect of all levels."""

    @property
    def means(self) -> np.ndarray:
        """Centres (q,)."""
        ...

    @property
    def sds(self) -> np.ndarray:
        """Standard deviations (q,)."""
        ...

    @property
    def words(self) -> str:
        """Where they come from."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be known of that."""
        ...

    @property
    def are_equal(self) -> bool:
        """Whether all levels have the same value for certain."""
        ...

    def sample(self, n: int, seed: int) -> Iterator[np.ndarray]:
        """Draws, some (d, q) at a time: n of a distribution, or all that there are."""
        ...

    def exceed(self, which: np.ndarray, bar: Bar = SILENT) -> np.ndarray:
        """Probability that one of some levels exceeds another, (m, m); one half on the diagonal."""
        ...

    def above(self, threshold: float) -> np.ndarray:
        """Probability of exceeding a number, (q,)."""
        ...

    def pooling_factor(self) -> float:
        """Gelman & Pardoe's; see `bayesmm.inference.pooling.shrinkage.shrinkage`."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class NormalValues:
    """Jointly normal around the estimates.

    Attributes
    ----------
    means : array, shape (q,)
        Conditional modes, or these with the fixed effect.
    own : array, shape (q,) or (q, q)
        Covariance given β; variances alone where levels are independent.
    shared : array, shape (q, p)
        Root of the part that β̂ adds.
    words : str
        Where they come from.
    remarks : tuple of str
        What is to be known of that.
    """

    means: np.ndarray
    own: np.ndarray
    shared: np.ndarray
    words: str
    remarks: tuple[str, ...]

    @property
    def _variances(self) -> np.ndarray:
        own = self.own if self.own.ndim == 1 else np.diag(self.own)
        return np.maximum(own, 0.0)

    @property
    def sds(self) -> np.ndarray:
        """Standard deviations of b̂ − b, (q,)."""
        return np.sqrt(self._variances + (self.shared**2).sum(axis=1))

    @property
    def are_equal(self) -> bool:
        """Whether all levels have the same value for certain."""
        return not self._variances.any() and not np.ptp(self.means)

    def sample(self, n: int, seed: int) -> Iterator[np.ndarray]:
        """Draw n times, some (d, q) at a time."""
        rng = np.random.default_rng(seed)
        q, p = self.shared.shape
        root = np.sqrt(self._variances) if self.own.ndim == 1 else _root(self.own)
        step = max(AT_ONCE // q, 1)
        for start in range(0, n, step):
            d = min(step, n - start)
            z = rng.standard_normal((d, q))
            apart = z * root if root.ndim == 1 else z @ root.T
            yield self.means + apart + rng.standard_normal((d, p)) @ self.shared.T

    def exceed(self, which: np.ndarray, bar: Bar = SILENT) -> np.ndarray:
        """Φ of the differences over their standard deviations, (m, m)."""
        means, shared = self.means[which], self.shared[which]
        difference = means[:, None] - means
        variances = self._variances[which]
        variance = variances[:, None] + variances
        if self.own.ndim == 2:
            variance = variance - 2.0 * self.own[np.ix_(which, which)]
        np.fill_diagonal(variance, 0.0)
        for column in shared.T:
            variance = variance + (column[:, None] - column) ** 2
        return _normal_above(difference, np.sqrt(np.maximum(variance, 0.0)))

    def above(self, threshold: float) -> np.ndarray:
        """Φ of the distances over the standard deviations, (q,)."""
        return _normal_above(self.means - threshold, self.sds)

    def pooling_factor(self) -> float:
        """One less the variance of the means over the expected variance between levels."""
        q = len(self.means)
        apart = self._variances.sum() - (self._variances.sum() if self.own.ndim == 1 else self.own.sum()) / q
        apart += ((self.shared - self.shared.mean(axis=0)) ** 2).sum()
        return _pooling_factor(self.means.var(ddof=1), self.means.var(ddof=1) + apart / (q - 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class EliminatedValues(NormalValues):
    """The same of very many levels, whose covariances with each other are read off the elimination, never formed.

    Attributes
    ----------
    at : Eliminated
        The fit.
    factor : int
        Whose levels.
    row : array, shape (k,)
        The effect, on the conditioned columns.
    """

    at: Eliminated
    factor: int
    row: np.ndarray

    def sample(self, n: int, seed: int) -> Iterator[np.ndarray]:
        """Draw n times, some (d, q) at a time."""
        rng, at = np.random.default_rng(seed), self.at
        sizes = [K.shape for K in at.products.cross]
        step = max(AT_ONCE // sum(k * q for k, _, q in sizes), 1)
        for start in range(0, n, step):
            d = min(step, n - start)
            noise = [at.sigma * rng.standard_normal((k, d, q)) for k, _, q in sizes]
            none = np.zeros((at.p + 1, d))
            effects = solve_effects(host, at.products, at.elimination, at.absorbed, none, noise).effects
            apart = np.tensordot(self.row, at.products.at_levels(effects)[self.factor], axes=1)
            yield self.means + apart + rng.standard_normal((d, at.p)) @ self.shared.T

    def exceed(self, which: np.ndarray, bar: Bar = SILENT) -> np.ndarray:
        """Φ of the differences over their standard deviations, (m, m)."""
        own = np.concatenate(
            [self._covariances(some)[:, which] for some in np.array_split(which, -(-len(which) // 50))]
        )
        of_some = NormalValues(
            means=self.means[which], own=own, shared=self.shared[which], words=self.words, remarks=self.remarks
        )
        return of_some.exceed(np.arange(len(which)), bar)

    def pooling_factor(self) -> float:
        """One less the variance of the means over the expected variance between levels."""
        q, every = len(self.means), self._solve(np.ones((1, len(self.means))))
        apart = self._variances.sum() - every.sum() / q + ((self.shared - self.shared.mean(axis=0)) ** 2).sum()
        return _pooling_factor(self.means.var(ddof=1), self.means.var(ddof=1) + apart / (q - 1))

    def _covariances(self, levels: np.ndarray) -> np.ndarray:
        """Covariances given β of some levels with all, (m, q)."""
        unit = np.zeros((len(levels), len(self.means)))
        unit[np.arange(len(levels)), levels] = 1.0
        return self._solve(unit)

    def _solve(self, sums: np.ndarray) -> np.ndarray:
        cross = [np.zeros((b.k, len(sums), b.n_levels)) for b in self.at.rows.incidences]
        cross[self.factor] = self.row[:, None, None] * sums
        return self.at.sigma**2 * np.tensordot(self.row, self.at.solve_levels(cross)[self.factor], axes=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnValues:
    """Draws from a posterior.

    Attributes
    ----------
    draws : array, shape (D, q)
        Chains one after the other.
    words : str
        Where they come from.
    remarks : tuple of str
        What is to be known of that.
    """

    draws: np.ndarray
    words: str
    remarks: tuple[str, ...] = ()

    @property
    def means(self) -> np.ndarray:
        """Posterior means (q,)."""
        return self.draws.mean(axis=0)

    @property
    def sds(self) -> np.ndarray:
        """Posterior standard deviations (q,)."""
        return self.draws.std(axis=0, ddof=1)

    @property
    def are_equal(self) -> bool:
        """Whether all levels have the same value in every draw."""
        return not np.ptp(self.draws, axis=1).any()

    def sample(self, n: int, seed: int) -> Iterator[np.ndarray]:
        """Return all draws, some (d, q) at a time."""
        step = max(AT_ONCE // self.draws.shape[1], 1)
        for start in range(0, len(self.draws), step):
            yield self.draws[start : start + step]

    def exceed(self, which: np.ndarray, bar: Bar = SILENT) -> np.ndarray:
        """Share of the draws, ties half, (m, m)."""
        draws = self.draws[:, which]
        more = np.empty((draws.shape[1], draws.shape[1]))
        for row, one in zip(more, draws.T, strict=True):
            row[:] = 0.5 * ((one[:, None] > draws).mean(axis=0) + (one[:, None] >= draws).mean(axis=0))
            bar.advance()
        return more

    def above(self, threshold: float) -> np.ndarray:
        """Share of the draws, (q,)."""
        return (self.draws > threshold).mean(axis=0)

    def pooling_factor(self) -> float:
        """One less the variance of the means over the mean of the variances between levels."""
        if len(self.means) < 2:
            return math.nan
        return _pooling_factor(self.means.var(ddof=1), self.draws.var(axis=1, ddof=1).mean())


def check_of(of: object) -> None:
    """Refuse what is neither effects nor coefficients."""
    if not isinstance(of, str) or of not in ("effects", "coefficients"):
        raise ArgumentError(f"of is {shorten(of)}: give 'effects' or 'coefficients'.")


@dataclass(frozen=True, kw_only=True, eq=False)
class FitValues:
    """Effects of a fit, one after the other."""

    fit: Fitted
    of: Of
    at: Eliminated

    def read(self, f: int, e: int) -> NormalValues:
        """Read effect e of grouping factor f."""
        fit, at, block = self.fit, self.at, self.fit.design.blocks[f]
        estimate = fit.estimate
        T = at.products.effect_roots[f]
        row = np.linalg.inv(T)[e]
        means, own = estimate.modes[f][:, e], np.maximum(estimate.mode_covariances[f][:, e, e], 0.0)
        varies = bool(own.any())
        shared = np.zeros((block.q, at.p))
        if varies:
            shared = -np.einsum("k,kpq->qp", row, at.fixed_effects[f][:, :-1])
        fixed = self._fixed_row(block.effects[e])
        if fixed is not None:
            shared, means = shared + fixed[0], means + fixed[1]
        root = np.linalg.cholesky(at.covariance) if at.p else np.zeros((0, 0))
        shared = at.sigma * shared @ root
        words = f"{fit.method.upper()}: joint normal approximation, with the error of the fixed effects"
        remarks = ("The error of the estimated variances is left out: with few levels the true spread is wider.",)
        if varies and (len(fit.design.blocks) > 1 or block.has_touching_levels):
            if block.q > MOST_LEVELS:
                return EliminatedValues(
                    means=means, own=own, shared=shared, words=words, remarks=remarks, at=at, factor=f, row=row
                )
            own = at.sigma**2 * self._covariance(f, row)
        return NormalValues(means=means, own=own, shared=shared, words=words, remarks=remarks)

    def _fixed_row(self, effect: str) -> tuple[np.ndarray, float] | None:
        """Row of the fixed effect of that name on the conditioned columns, and its estimate."""
        names = self.fit.labels.coefficients
        if self.of == "effects" or effect not in names:
            return None
        j = names.index(effect)
        return np.linalg.inv(self.at.products.fixed_root)[j], float(self.fit.estimate.beta[j])

    def _covariance(self, f: int, row: np.ndarray) -> np.ndarray:
        """C over σ² between all levels of one effect, (q, q)."""
        q = self.fit.design.blocks[f].q
        cross = [np.zeros((block.k, q, block.q)) for block in self.fit.design.blocks]
        cross[f] = row[:, None, None] * np.eye(q)
        found = np.einsum("k,kcq->cq", row, self.at.solve_levels(cross)[f])
        return 0.5 * (found + found.T)


@dataclass(frozen=True, kw_only=True, eq=False)
class PosteriorValues:
    """Effects of a posterior, one after the other."""

    labels: Labels
    of: Of
    parameters: ParameterDraws
    effects: Sequence[np.ndarray]
    words: str

    def read(self, f: int, e: int) -> DrawnValues:
        """Read effect e of grouping factor f."""
        draws = self.effects[f][:, :, e]
        name, names = self.labels.blocks[f].effects[e], self.labels.coefficients
        if self.of == "coefficients" and name in names:
            draws = draws + self.parameters.beta[:, names.index(name), None]
        return DrawnValues(draws=draws, words=self.words)


def read_values(result: Any, of: Of, progress: bool | None) -> FitValues | PosteriorValues:
    """Read random effects, or coefficients, off a fit or a posterior.

    Parameters
    ----------
    result : Fit or Posterior
        Either.
    of : {"effects", "coefficients"}
        Random effects; or these with the fixed effect of the same name, where there is one.
    progress : bool, optional
        Whether to show a progress bar where a posterior's were not kept and are drawn.

    Raises
    ------
    ArgumentError
        If an argument is none of these.
    """
    check_of(of)
    result.design.require_random_effects("This")
    if not is_posterior(result):
        return FitValues(fit=result, of=of, at=eliminate_given(result))
    from bayesmm.bayes.results.draws import read_draws
    from bayesmm.bayes.results.recovered import read_effects

    size = sum(len(block.levels) * len(block.effects) for block in result.labels.blocks)
    few = None if result.sigma.size * size <= MOST_NUMBERS else max(MOST_NUMBERS // size, 1)
    parameters = read_draws(result, few)
    return PosteriorValues(
        labels=result.labels,
        of=of,
        parameters=parameters,
        effects=read_effects(result, parameters, progress=progress),
        words=f"posterior: {len(parameters.sigma):,} draws",
    )


def _root(covariance: np.ndarray) -> np.ndarray:
    """R with RR' the covariance, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _normal_above(distance: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Φ(distance/sd); where nothing varies one, a half, or zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sd > 0.0, ndtr(distance / np.where(sd > 0.0, sd, 1.0)), 0.5 + 0.5 * np.sign(distance))


def _pooling_factor(of_means: float, expected: float) -> float:
    """1 − Var(E ε)/E(Var ε); one in the limit of no variance."""
    return 1.0 - float(of_means / expected) if expected > 0.0 else 1.0
