"""Intervals of every simulated data set other than those of the tests: from a bootstrap of it, or its posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bayesmm.covariance.layout import assemble_factors, n_theta
from bayesmm.design.design import Design
from bayesmm.inference.power.questions import FixedQuestion, Question
from bayesmm.inference.simulated_responses import draw_effects, draw_rows
from bayesmm.marginal.many.drawn import SumSource
from bayesmm.problem import Problem
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.refits import Refits, public_values_together, refit

REFITS = 199  # of a bootstrap of one data set: the ends of a 95 % interval are the fifth from either side
DRAWS = 1000  # of a posterior; those of quadrature and of importance sampling are independent
MOST_BY_QUADRATURE = 4  # standard deviations and correlations
BOOTSTRAP, POSTERIOR = 7, 11  # what sets their random numbers apart


class Simulated(Protocol):
    """A simulator, as what makes intervals of its data sets sees it."""

    problem: Problem
    criterion: Criterion
    source: SumSource | None
    questions: Sequence[Question]
    seed: int

    @property
    def design(self) -> Design:
        """The design."""
        ...


class IntervalSource(Protocol):
    """Makes intervals of what is tested, from one data set after another."""

    needs_rows: bool

    def limits(
        self, of: Simulated, found: Refits, rows: np.ndarray | None, numbers: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper limits (m, s), less what is tested; NaN where there is none.

        Parameters
        ----------
        of : Simulator
            Of these data sets.
        found : Refits
            Their m estimates, all converged.
        rows : array, shape (n, m), or None
            Responses, where `needs_rows`.
        numbers : sequence of int
            Of the data sets.
        """
        ...


class BootstrapLimits:
    """Percentiles of a parametric bootstrap of each data set."""

    needs_rows = False

    def __init__(self, alpha: float) -> None:
        self._tails = [alpha / 2.0, 1.0 - alpha / 2.0]

    def limits(
        self, of: Simulated, found: Refits, rows: np.ndarray | None, numbers: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw and refit from the estimates of each data set."""
        limits = np.full((2, len(numbers), len(of.questions)), np.nan)
        for i, number in enumerate(numbers):
            streams = [np.random.default_rng([of.seed, BOOTSTRAP, number, b]) for b in range(REFITS)]
            theta, sigma, beta = found.theta[i], float(found.sigma[i]), found.beta[i]
            factors = assemble_factors(np, theta, of.criterion.layout)
            if of.source is not None:
                responses = of.source.draw(streams, factors, sigma, beta)
            else:
                roots = of.criterion.products.effect_roots
                own = [sigma * np.linalg.solve(T, L) for T, L in zip(roots, factors, strict=True)]
                effects = draw_effects(of.design, own, streams)
                responses = of.problem.sum_responses(draw_rows(of.design, beta, effects, sigma, streams))
            again = refit(of.criterion, responses, theta)
            with np.errstate(all="ignore"):
                spreads = public_values_together(again.theta, again.sigma, of.criterion)
            for j, question in enumerate(of.questions):
                values = _values(question, again.beta, spreads)
                values = values[np.isfinite(values)]
                if len(values) > REFITS // 2:
                    limits[:, i, j] = np.quantile(values, self._tails, method="weibull")
        return limits[0], limits[1]


class PosteriorLimits:
    """Quantiles of the posterior of each data set, with default priors."""

    needs_rows = True

    def __init__(self, alpha: float) -> None:
        self._tails = [alpha / 2.0, 1.0 - alpha / 2.0]

    def limits(
        self, of: Simulated, found: Refits, rows: np.ndarray | None, numbers: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Explore one posterior after another; what is compiled for the first serves all."""
        from bayesmm.bayes.exploring.start import WarmStart
        from bayesmm.bayes.priors.resolution import resolve_priors
        from bayesmm.bayes.sample import sample

        assert rows is not None
        limits = np.full((2, len(numbers), len(of.questions)), np.nan)
        criterion = of.criterion
        by = "quadrature" if n_theta(criterion.layout) <= MOST_BY_QUADRATURE - 1 else "importance"
        names = [row.name for row in of.design.labels.parameter_rows() if row.kind in ("sd", "cor")]
        for i, y in enumerate(rows.T):
            problem = of.problem.with_response(y)
            theta, sigma = found.theta[i], float(found.sigma[i])
            factors = assemble_factors(np, theta, criterion.layout)
            raw = [np.linalg.solve(T, L) for T, L in zip(criterion.products.effect_roots, factors, strict=True)]
            start = WarmStart(
                sigma=sigma,
                factors=tuple(_lower(L) for L in raw),
                beta=found.beta[i],
                beta_covariance=_covariance(problem, criterion, theta, sigma),
            )
            posterior = sample(
                problem=problem,
                priors=resolve_priors(None, problem.design),
                fit=start,
                draws=DRAWS,
                chains=1,
                seed=int(np.random.default_rng([of.seed, POSTERIOR, numbers[i]]).integers(2**31)),
                method=by,
                random_effects=None,
                progress=False,
                interruptible=False,
                warn=lambda text: None,
            )
            table = posterior.draws("beta")
            beta = np.asarray(table, dtype=float).reshape(-1, table.shape[-1])
            public = posterior.parameter_table(level=self._tails[1] - self._tails[0])
            for j, question in enumerate(of.questions):
                if isinstance(question, FixedQuestion):
                    if len(question.L) == 1:
                        limits[:, i, j] = np.quantile(beta @ question.L[0] - question.values[0], self._tails)
                elif question.position is not None:
                    row = public.loc[names[question.position]]
                    limits[:, i, j] = row["lower"], row["upper"]
        return limits[0], limits[1]


def interval_source(interval: str, alpha: float) -> IntervalSource | None:
    """Return what makes intervals of a kind; None where tests bring them."""
    if interval == "bootstrap":
        return BootstrapLimits(alpha)
    return PosteriorLimits(alpha) if interval == "posterior" else None


def _values(question: Question, beta: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """Values (B,) of replicates, less what is tested; none of several together."""
    if isinstance(question, FixedQuestion):
        return beta @ question.L[0] - question.values[0] if len(question.L) == 1 else np.empty(0)
    return spreads[:, question.position] if question.position is not None else np.empty(0)


def _lower(L: np.ndarray) -> np.ndarray:
    """Return a lower triangular factor of LL'."""
    return np.linalg.qr(L.T, mode="r").T


def _covariance(problem: Problem, criterion: Criterion, theta: np.ndarray, sigma: float) -> np.ndarray:
    """σ²A⁻¹ on the user's columns."""
    root = np.linalg.inv(problem.products.fixed_root)
    return sigma**2 * root @ criterion.evaluate(theta).fixed.covariance @ root.T
