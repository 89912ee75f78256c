"""What is tested in every simulated data set: coefficients, terms, hypotheses, variances, correlations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from bayesmm.arguments import shorten
from bayesmm.design.columns.terms import INTERCEPT
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.fixed.hypotheses import read_hypotheses
from bayesmm.inference.fixed.term_contrasts import term_contrasts
from bayesmm.inference.power.starts import start_at
from bayesmm.inference.simulation.simulate import Stated
from bayesmm.inference.variances.null_models import (
    Hypothesis,
    LinearModel,
    Null,
    find_hypothesis,
    null_criterion,
    refit_rows,
    remaining_design,
)
from bayesmm.inference.variances.residual_nulls import ResidualHypothesis
from bayesmm.inference.variances.spectral import find_spectrum
from bayesmm.inference.variances.variance_tests import ROUNDING, usual_kind
from bayesmm.problem import Problem
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.residual import ResidualCriterion

NULL_DRAWS = 20_000  # of an exact null distribution: its 5 % point has a standard error of 0.15 percentage points


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedQuestion:
    """Whether Lβ differs from values: by t of one row, by F of several.

    Attributes
    ----------
    name : str
        As the user, or the table of parameters, calls it.
    L : array, shape (r, p)
        Combinations of the coefficients that are estimated.
    values : array, shape (r,)
        What they are if there is nothing to find.
    truth : array, shape (r,)
        What they are less that.
    """

    name: str
    L: np.ndarray
    values: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class VarianceQuestion:
    """Whether a variance, or a correlation, is zero: by the likelihood ratio.

    Attributes
    ----------
    name : str
        As the user calls it.
    truth : float
        The standard deviation or correlation; NaN of several together.
    position : int or None
        Of its estimate among standard deviations and correlations.
    n_parameters : int
        Of the χ² of the null distribution.
    has_edge : bool
        Whether half of that has one parameter less: where what is tested cannot be negative.
    null : Criterion, ResidualCriterion or None
        The null model's objective; None if no covariance parameter but σ is left.
    problem : Problem or None
        The null model, likewise.
    start : array, shape (t,)
        Where its searches start: the true values of what is left.
    draws : array, shape (d,)
        From the exact null distribution, in ascending order; none if the mixture of χ² is taken.
    linear : LinearModel
        The null model, if no covariance parameter but σ is left.
    """

    name: str
    truth: float
    position: int | None
    n_parameters: int
    has_edge: bool
    null: Criterion | ResidualCriterion | None
    problem: Problem | None
    start: np.ndarray
    draws: np.ndarray
    linear: LinearModel

    def p_values(self, criterion: np.ndarray, residual_squares: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        """Return p (m,) of responses whose −2 log likelihood in the whole model is known; NaN where a refit failed."""
        if self.null is None or self.problem is None:
            null = self.linear.deviance(residual_squares)
        else:
            assert rows is not None
            null = refit_rows(self.problem, self.null, rows, self.start)
        statistic = null - criterion
        with np.errstate(invalid="ignore"):
            statistic = np.where(statistic <= ROUNDING * np.maximum(1.0, np.abs(criterion)), 0.0, statistic)
        statistic = np.where(np.isfinite(null) & np.isfinite(criterion), statistic, np.nan)
        p = self._beyond(statistic)
        return np.where(np.isfinite(statistic), p, np.nan)

    def _beyond(self, statistic: np.ndarray) -> np.ndarray:
        from scipy import special

        if len(self.draws):
            at_least = len(self.draws) - np.searchsorted(self.draws, statistic, side="left")
            return (1.0 + at_least) / (1.0 + len(self.draws))
        m = self.n_parameters
        upper = special.chdtrc(m, statistic)
        if not self.has_edge:
            return upper
        lower = special.chdtrc(m - 1, statistic) if m > 1 else (statistic == 0.0).astype(float)
        return 0.5 * (lower + upper)


type Question = FixedQuestion | VarianceQuestion


@dataclass(frozen=True, kw_only=True, eq=False)
class _Criterion:
    """What null models read of an estimate: the objective, and where it is looked at."""

    criterion_function: Criterion | ResidualCriterion
    x: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def minimum(self) -> _Criterion:
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stated:
    """What hypotheses read of a fit."""

    design: Design
    estimate: _Criterion

    @property
    def labels(self) -> Any:
        return self.design.labels


def read_tests(test: Any) -> tuple[str, ...] | None:
    """Return the texts that name what is tested.

    Raises
    ------
    ArgumentError
        If it is no text, and no list of texts.
    """
    if test is None:
        return None
    several = [test] if isinstance(test, str) else test
    if not isinstance(several, (list, tuple)) or not several or not all(isinstance(each, str) for each in several):
        raise ArgumentError(
            f"test is {shorten(test)}: give the name of a parameter or of a term, a hypothesis such as 'a - b = 0', or "
            "a list of them."
        )
    return tuple(dict.fromkeys(several))


def ask(
    tests: Sequence[str] | None,
    problem: Problem,
    criterion: Criterion | ResidualCriterion,
    truth: Stated,
    seed: int,
) -> list[Question]:
    """Read what is tested of one design.

    Parameters
    ----------
    tests : sequence of str or None
        Names; every coefficient but the constant by default.
    problem, criterion : Problem, and Criterion or ResidualCriterion
        The design with any response.
    truth : Stated
        The true parameters.
    seed : int
        Of the draws of exact null distributions.

    Raises
    ------
    ArgumentError
        If a name is that of nothing which can be tested.
    """
    design = problem.design
    rows = design.labels.parameter_rows()
    fixed = [row for row in rows if row.kind == "fixed"]
    beta = truth.beta
    by_name = {name: j for j, row in reversed(list(enumerate(fixed))) for name in (row.alias, row.name)}
    if tests is None:
        names = [row.name for j, row in enumerate(fixed) if design.labels.coefficients[j] != INTERCEPT]
        tests = names or [row.name for row in fixed]
        if not tests:
            raise ArgumentError("The model has no fixed effects: say what to test, such as test='sd(Intercept | g)'.")
    found: list[Question] = []
    for name in tests:
        if name in by_name:
            L = np.eye(len(beta))[[by_name[name]]]
            found.append(FixedQuestion(name=name, L=L, values=np.zeros(1), truth=L @ beta))
        elif "=" in name and "|" not in name:
            others = [row.name for row in rows if row.kind != "fixed"]
            read = read_hypotheses(name, design.labels.coefficients, design.aliased, others)
            found.append(FixedQuestion(name=name, L=read.L, values=read.values, truth=read.L @ beta - read.values))
        else:
            term = next((each for each in term_contrasts(design, 3) if each.name == name and len(each.L)), None)
            if term is not None:
                zeros = np.zeros(len(term.L))
                found.append(FixedQuestion(name=name, L=term.L, values=zeros, truth=term.L @ beta))
            else:
                found.append(_ask_variance(name, problem, criterion, truth, seed))
    return found


def _ask_variance(
    name: str, problem: Problem, criterion: Criterion | ResidualCriterion, truth: Stated, seed: int
) -> VarianceQuestion:
    design = problem.design
    stated = cast(Fitted, cast(Any, _Stated(design=design, estimate=_Criterion(criterion_function=criterion))))
    try:
        hypothesis = find_hypothesis(stated, name)
    except ArgumentError as error:
        terms = [each.name for each in term_contrasts(design, 3)]
        names = ", ".join(dict.fromkeys([*design.labels.coefficients, *terms]))
        raise ArgumentError(f"test names {name!r}. {error} Fixed effects are {names}.") from None
    kind = usual_kind(stated, hypothesis)
    if kind == "bootstrap" or (kind == "exact" and isinstance(hypothesis, ResidualHypothesis)):
        raise ArgumentError(
            f"test names {name!r}, whose null distribution is known from refits alone, which thousands of data "
            "sets cannot have each. Test a standard deviation of a term without correlations, or a fixed effect."
        )
    left, sigma = remaining_design(design, hypothesis), criterion.sigma
    linear = LinearModel.under(criterion) if isinstance(criterion, ResidualCriterion) else LinearModel.within(criterion)
    null, own, start, draws = None, None, np.empty(0), np.empty(0)
    if left.blocks or left.residual is not None:
        keeps_plan = isinstance(hypothesis, Hypothesis) and not hypothesis.effects and design.residual is None
        own = Problem(left, plan=problem.plan if keeps_plan else None)
        null = null_criterion(own, criterion.method, sigma)
        covariances = truth.covariances
        if isinstance(hypothesis, Hypothesis):
            covariances = _remaining(covariances, hypothesis, problem)
        start = start_at(null, covariances, truth.sigma, left, truth.values)
    if kind == "exact":
        assert isinstance(hypothesis, Hypothesis)
        assert isinstance(criterion, Criterion)
        at = None if null is None else cast(Any, _Criterion(criterion_function=null, x=start))
        model = Null(hypothesis=hypothesis, design=left, problem=own, estimate=at, linear=linear, full=criterion)
        draws = np.sort(find_spectrum(model).simulate(NULL_DRAWS, np.random.default_rng([seed, 1])))
    spreads = [row.name for row in design.labels.parameter_rows() if row.kind not in ("fixed", "sigma")]
    if isinstance(hypothesis, Hypothesis):
        n_parameters, has_edge = hypothesis.n_variances + hypothesis.n_correlations, hypothesis.n_variances > 0
    else:
        n_parameters, has_edge = hypothesis.n_parameters, hypothesis.n_one_sided > 0
    return VarianceQuestion(
        name=name,
        truth=truth.values.get(name, np.nan),
        position=spreads.index(name) if name in spreads else None,
        n_parameters=n_parameters,
        has_edge=has_edge,
        null=null,
        problem=own,
        start=start,
        draws=draws,
        linear=linear,
    )


def _remaining(covariances: Sequence[np.ndarray], hypothesis: Hypothesis, problem: Problem) -> list[np.ndarray]:
    """Covariances of the effects that a null model keeps."""
    found = list(covariances)
    own = found[hypothesis.block]
    if not hypothesis.effects:
        piece = problem.design.blocks[hypothesis.block].pieces[hypothesis.piece]
        own = own.copy()
        inside = slice(piece.start, piece.stop)
        own[inside, inside] = np.diag(np.diag(own[inside, inside]))
        found[hypothesis.block] = own
    elif len(hypothesis.effects) < len(own):
        kept = [j for j in range(len(own)) if j not in hypothesis.effects]
        found[hypothesis.block] = own[np.ix_(kept, kept)]
    else:
        del found[hypothesis.block]
    return found
