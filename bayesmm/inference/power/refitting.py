"""One design simulated and refitted many times: what each refit says of what is tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.design.design import Design
from bayesmm.inference.fitted import Df
from bayesmm.inference.fixed.fixed_effects import FixedInference
from bayesmm.inference.fixed.student import t_quantile, two_sided
from bayesmm.inference.power.intervals import IntervalSource
from bayesmm.inference.power.questions import FixedQuestion, Question, VarianceQuestion
from bayesmm.inference.power.refits import OneByOne, Refitter, SideBySide
from bayesmm.inference.simulation.simulate import Stated
from bayesmm.problem import Problem
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.residual import ResidualCriterion

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


class Simulator:
    """Draws data sets of one design and refits them.

    Parameters
    ----------
    problem, criterion : Problem, and Criterion or ResidualCriterion
        The design with any response.
    truth : Stated
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
        criterion: Criterion | ResidualCriterion,
        truth: Stated,
        questions: Sequence[Question],
        intervals: IntervalSource | None,
        seed: int,
    ) -> None:
        self.problem, self.criterion = problem, criterion
        self.questions, self._intervals, self.seed = questions, intervals, seed
        self._refitter: Refitter
        if isinstance(criterion, ResidualCriterion):
            self._refitter, most = OneByOne(problem, criterion, truth), FEW
        else:
            of_intervals = intervals is not None and intervals.needs_rows
            needs_rows = any(_needs_rows(each) for each in questions) or of_intervals
            self._refitter, most = SideBySide(problem, criterion, truth, needs_rows=needs_rows), MOST
        self.at_once = int(np.clip(NUMBERS // self._refitter.size, 1, most if intervals is None else FEW))

    @property
    def design(self) -> Design:
        """The design."""
        return self.problem.design

    def answer(self, numbers: Sequence[int], df: Df, alpha: float) -> Answers:
        """Draw and refit data sets of these numbers."""
        sizes = [self.design.n, *(block.q for block in self.design.blocks)]
        found, rows = self._refitter.draw([np.random.default_rng([self.seed, *sizes, number]) for number in numbers])
        m, s = len(numbers), len(self.questions)
        p, estimates, lower, upper = (np.full((m, s), np.nan) for _ in range(4))
        good = np.flatnonzero(np.isfinite(found.criterion))
        fixed = [(j, each) for j, each in enumerate(self.questions) if isinstance(each, FixedQuestion)]
        if fixed and len(good):
            inferences = found.inferences(df)
            for j, question in fixed:
                columns = _test_fixed(question, inferences, alpha)
                for into, values in zip((p, estimates, lower, upper), columns, strict=True):
                    into[good, j] = values
        for j, question in enumerate(self.questions):
            if isinstance(question, VarianceQuestion):
                p[:, j] = question.p_values(found.criterion, found.residual_squares, rows)
                if question.position is not None and len(good):
                    estimates[good, j] = found.public_values()[:, question.position]
        if self._intervals is not None and len(good):
            own = None if rows is None else rows[:, good]
            lower[good], upper[good] = self._intervals.limits(self, found, own, [numbers[i] for i in good.tolist()])
        singular = np.zeros(m, bool)
        singular[good] = found.is_singular()
        return Answers(
            p_values=p,
            estimates=estimates,
            lower=lower,
            upper=upper,
            failed=~np.isfinite(found.criterion),
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
