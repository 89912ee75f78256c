"""Intervals of every simulated data set other than those of the tests: from a bootstrap of it, or its posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bayesmm.design.design import Design
from bayesmm.inference.power.questions import FixedQuestion, Question
from bayesmm.inference.power.refits import Refitted
from bayesmm.problem import Problem
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.residual import ResidualCriterion

REFITS = 199  # of a bootstrap of one data set: the ends of a 95 % interval are the fifth from either side
DRAWS = 1000  # of a posterior; those of quadrature and of importance sampling are independent
MOST_BY_QUADRATURE = 4  # standard deviations and correlations
BOOTSTRAP, POSTERIOR = 7, 11  # what sets their random numbers apart


class Simulated(Protocol):
    """A simulator, as what makes intervals of its data sets sees it."""

    problem: Problem
    criterion: Criterion | ResidualCriterion
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
        self, of: Simulated, found: Refitted, rows: np.ndarray | None, numbers: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper limits (m, s), less what is tested; NaN where there is none.

        Parameters
        ----------
        of : Simulator
            Of these data sets.
        found : Refitted
            Estimates of data sets, of which m have any.
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
        self, of: Simulated, found: Refitted, rows: np.ndarray | None, numbers: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw and refit from the estimates of each data set."""
        limits = np.full((2, len(numbers), len(of.questions)), np.nan)
        for i, number in enumerate(numbers):
            streams = [np.random.default_rng([of.seed, BOOTSTRAP, number, b]) for b in range(REFITS)]
            beta, spreads = found.draw_again(i, streams)
            for j, question in enumerate(of.questions):
                values = _values(question, beta, spreads)
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
        self, of: Simulated, found: Refitted, rows: np.ndarray | None, numbers: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Explore one posterior after another; what is compiled for the first serves all."""
        from bayesmm.bayes.priors.resolution import resolve_priors
        from bayesmm.bayes.sample import sample

        assert rows is not None
        limits = np.full((2, len(numbers), len(of.questions)), np.nan)
        names = [row.name for row in of.design.labels.parameter_rows() if row.kind not in ("fixed", "sigma")]
        by = "quadrature" if len(names) <= MOST_BY_QUADRATURE - 1 else "importance"
        for i, y in enumerate(rows.T):
            problem = of.problem.with_response(y)
            posterior = sample(
                problem=problem,
                priors=resolve_priors(None, problem.design),
                fit=found.warm_start(i, problem),
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
