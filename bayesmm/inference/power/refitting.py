"""One design simulated and refitted many times: what each refit says of what is tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.covariance.layout import assemble_factors, stack_factors
from bayesmm.design.design import Design
from bayesmm.inference.fitted import Df
from bayesmm.inference.fixed.contrasts import t_quantile, two_sided
from bayesmm.inference.fixed.fixed_effects import FixedInference
from bayesmm.inference.fixed.together import infer_together
from bayesmm.inference.power.intervals import IntervalSource
from bayesmm.inference.power.questions import FixedQuestion, Question, VarianceQuestion, theta_at
from bayesmm.inference.simulated_responses import draw_effects, draw_rows
from bayesmm.inference.simulation.simulate import root_of
from bayesmm.marginal.many.drawn import SumSource
from bayesmm.marginal.sums.responses import Responses
from bayesmm.problem import Problem
from bayesmm.reml.boundary import SINGULAR
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.refits import Refits, public_values_together, refit

NUMBERS = 2**22  # held at once in the sums of responses, or in their rows
MOST = 500  # data sets at a time
FEW = 5  # where each takes long, so that progress is seen


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What n data sets say of each question.

    Attributes
    ----------
    p_values : array, shape (n, s)
        Of each data set and question; NaN where a refit failed.
    estimates : array, shape (n, s)
        Less what is tested; of a standard deviation or correlation itself; NaN of several together.
    lower, upper : arrays, shapes (n, s)
        Limits of intervals, less what is tested; NaN where there are none.
    failed, singular : arrays of bool, shape (n,)
        Which refits have no estimates; which have a singular covariance matrix.
    """

    p_values: np.ndarray
    estimates: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    failed: np.ndarray
    singular: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """The parameters that data are drawn from.

    Attributes
    ----------
    beta : array, shape (p,)
        Coefficients of the kept columns.
    covariances : tuple of arrays, shapes (k, k)
        Of the effects of a level, of each grouping factor.
    sigma : float
        Residual standard deviation.
    """

    beta: np.ndarray
    covariances: tuple[np.ndarray, ...]
    sigma: float


class Simulator:
    """Draws data sets of one design and refits them.

    Parameters
    ----------
    problem, criterion : Problem, Criterion
        The design with any response.
    truth : Truth
        What data are drawn from.
    questions : sequence of Question
        What is tested.
    intervals : IntervalSource, optional
        Where intervals come from, if not from the tests.
    seed : int
        Data set i has the same numbers whatever the number of data sets, and whatever other designs there are.
    """

    def __init__(
        self,
        problem: Problem,
        criterion: Criterion,
        truth: Truth,
        questions: Sequence[Question],
        intervals: IntervalSource | None,
        seed: int,
    ) -> None:
        self.problem, self.criterion, self._truth = problem, criterion, truth
        self.questions, self._intervals, self.seed = questions, intervals, seed
        self._start = theta_at(criterion, truth.covariances, truth.sigma)
        has_rows = any(_needs_rows(each) for each in questions) or (intervals is not None and intervals.needs_rows)
        self.source = None if has_rows else _sum_source(criterion)
        self._factors = assemble_factors(np, self._start, criterion.layout)
        size = sum(G.shape[0] * G.shape[2] for G in criterion.products.diagonal) + problem.design.p
        size += 0 if self.source is not None else problem.design.n
        self.at_once = int(np.clip(NUMBERS // size, 1, MOST if intervals is None else FEW))

    @property
    def design(self) -> Design:
        """The design."""
        return self.problem.design

    def draw(self, numbers: Sequence[int]) -> tuple[Responses, np.ndarray | None]:
        """Draw data sets of these numbers: their sums, and their rows (n, m) where those are needed."""
        sizes = [self.design.n, *(block.q for block in self.design.blocks)]
        streams = [np.random.default_rng([self.seed, *sizes, number]) for number in numbers]
        truth = self._truth
        if self.source is not None:
            return self.source.draw(streams, self._factors, truth.sigma, truth.beta), None
        effects = draw_effects(self.design, [root_of(each) for each in truth.covariances], streams)
        rows = draw_rows(self.design, truth.beta, effects, truth.sigma, streams)
        return self.problem.sum_responses(rows), rows

    def answer(self, numbers: Sequence[int], df: Df, alpha: float) -> Answers:
        """Draw and refit data sets of these numbers."""
        responses, rows = self.draw(numbers)
        found = refit(self.criterion, responses, self._start)
        m, s = len(responses), len(self.questions)
        p, estimates, lower, upper = (np.full((m, s), np.nan) for _ in range(4))
        good = np.flatnonzero(found.converged)
        kept = Refits(
            theta=found.theta[good], criterion=found.criterion[good], sigma=found.sigma[good], beta=found.beta[good]
        )
        fixed = [(j, each) for j, each in enumerate(self.questions) if isinstance(each, FixedQuestion)]
        if fixed and len(good):
            inferences = list(infer_together(self.criterion, responses.take(good), kept, df))
            for j, question in fixed:
                columns = _test_fixed(question, inferences, alpha)
                for into, values in zip((p, estimates, lower, upper), columns, strict=True):
                    into[good, j] = values
        for j, question in enumerate(self.questions):
            if isinstance(question, VarianceQuestion):
                p[:, j] = question.p_values(found.criterion, responses, rows)
                if question.position is not None and len(good):
                    estimates[good, j] = public_values_together(kept.theta, kept.sigma, self.criterion)[
                        :, question.position
                    ]
        if self._intervals is not None and len(good):
            own = None if rows is None else rows[:, good]
            limits = self._intervals.limits(self, kept, own, [numbers[i] for i in good.tolist()])
            lower[good], upper[good] = limits
        singular = np.zeros(m, bool)
        singular[good] = _is_singular(kept.theta, self.criterion)
        return Answers(
            p_values=p,
            estimates=estimates,
            lower=lower,
            upper=upper,
            failed=~found.converged,
            singular=singular,
        )


def join(answers: Sequence[Answers]) -> Answers:
    """Put data sets below each other."""
    columns = {name: np.concatenate([getattr(each, name) for each in answers]) for name in vars(answers[0])}
    return replace(answers[0], **columns)


def batches(n: int, at_once: int) -> Iterator[range]:
    """Yield the numbers of n data sets, so many at a time."""
    for first in range(0, n, at_once):
        yield range(first, min(first + at_once, n))


def _needs_rows(question: Question) -> bool:
    return isinstance(question, VarianceQuestion) and question.problem is not None


def _sum_source(criterion: Criterion) -> SumSource | None:
    """Draw sums, unless these would be inexact, or levels are related by a sparse matrix."""
    if criterion.products.sparse is not None or (criterion.has_many_effects and not criterion.products.is_apart):
        return None
    source = SumSource(criterion.products)
    return source if source.is_exact else None


def _test_fixed(
    question: FixedQuestion, inferences: Sequence[FixedInference], alpha: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """p-values, estimates less what is tested, and limits; a joint hypothesis has a p-value alone."""
    L, m = question.L, len(inferences)
    if len(L) > 1:
        nothing = np.full(m, np.nan)
        p = np.array([each.f_test(L, question.values).p_value for each in inferences])
        return p, nothing, nothing, nothing
    (row,) = L
    estimate = np.array([row @ each.beta for each in inferences]) - question.values[0]
    error = np.sqrt([row @ each.covariance @ row for each in inferences])
    df = np.array([each.df(L)[0] for each in inferences])
    half = t_quantile(1.0 - alpha / 2.0, df) * error
    return two_sided(estimate / error, df), estimate, estimate - half, estimate + half


def _is_singular(thetas: np.ndarray, criterion: Criterion) -> np.ndarray:
    singular = np.zeros(len(thetas), bool)
    for L, pieces in zip(stack_factors(thetas, criterion.layout), criterion.layout, strict=True):
        for piece in pieces:
            values = np.linalg.svd(L[:, piece.inside, piece.inside], compute_uv=False)
            singular |= values[:, -1] < SINGULAR
    return singular
