"""What is tested in every simulated data set: coefficients, terms, hypotheses, variances, correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from bayesmm.arguments import shorten
from bayesmm.covariance.layout import theta_of
from bayesmm.covariance.structure import lower_triangular
from bayesmm.design.columns.terms import INTERCEPT
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.fixed.hypotheses import read_hypotheses
from bayesmm.inference.fixed.term_contrasts import term_contrasts
from bayesmm.inference.simulation.simulate import root_of
from bayesmm.inference.variances.null_models import Hypothesis, Null, find_hypothesis, linear_deviance, remaining_blocks
from bayesmm.inference.variances.spectral import find_spectrum
from bayesmm.inference.variances.variance_tests import ROUNDING, usual_kind
from bayesmm.marginal.sums.responses import Responses
from bayesmm.problem import Problem
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.refits import refit

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
    hypothesis : Hypothesis
        What the null model leaves out.
    null : Criterion or None
        The null model's objective; None if no random effect is left.
    problem : Problem or None
        The null model, likewise.
    theta : array, shape (t,)
        Where its searches start: the true values of what is left.
    draws : array, shape (d,)
        From the exact null distribution, in ascending order; none if the mixture of χ² is taken.
    full : Criterion
        The objective of the whole model.
    """

    name: str
    truth: float
    position: int | None
    hypothesis: Hypothesis
    null: Criterion | None
    problem: Problem | None
    theta: np.ndarray
    draws: np.ndarray
    full: Criterion

    def p_values(self, criterion: np.ndarray, of_full: Responses, rows: np.ndarray | None) -> np.ndarray:
        """Return p (m,) of responses whose −2 log likelihood in the whole model is known; NaN where a refit failed."""
        if self.null is None or self.problem is None:
            null = linear_deviance(self.full, of_full.squares)
        else:
            assert rows is not None
            null = refit(self.null, self.problem.sum_responses(rows), self.theta).criterion
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
        n_variances = self.hypothesis.n_variances
        m = n_variances + self.hypothesis.n_correlations
        upper = special.chdtrc(m, statistic)
        if n_variances == 0:
            return upper
        lower = special.chdtrc(m - 1, statistic) if m > 1 else (statistic == 0.0).astype(float)
        return 0.5 * (lower + upper)


type Question = FixedQuestion | VarianceQuestion


@dataclass(frozen=True, kw_only=True, eq=False)
class _Criterion:
    """What null models read of an estimate: the objective, and where it is looked at."""

    criterion_function: Criterion
    x: np.ndarray

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
    criterion: Criterion,
    values: Mapping[str, float],
    covariances: Sequence[np.ndarray],
    seed: int,
) -> list[Question]:
    """Read what is tested of one design.

    Parameters
    ----------
    tests : sequence of str or None
        Names; every coefficient but the constant by default.
    problem, criterion : Problem, Criterion
        The design with any response.
    values : mapping of str to float
        The true parameters.
    covariances : sequence of arrays, shapes (k, k)
        Of the effects of each grouping factor.
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
    beta = np.array([values[row.name] for row in fixed])
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
                found.append(_ask_variance(name, problem, criterion, values, covariances, seed))
    return found


def _ask_variance(
    name: str,
    problem: Problem,
    criterion: Criterion,
    values: Mapping[str, float],
    covariances: Sequence[np.ndarray],
    seed: int,
) -> VarianceQuestion:
    design, sigma = problem.design, values["sigma"]
    stated = cast(
        Fitted, cast(Any, _Stated(design=design, estimate=_Criterion(criterion_function=criterion, x=np.empty(0))))
    )
    try:
        hypothesis = find_hypothesis(stated, name)
    except ArgumentError as error:
        terms = [each.name for each in term_contrasts(design, 3)]
        names = ", ".join(dict.fromkeys([*design.labels.coefficients, *terms]))
        raise ArgumentError(f"test names {name!r}. {error} Fixed effects are {names}.") from None
    kind = usual_kind(stated, hypothesis)
    if kind == "bootstrap":
        raise ArgumentError(
            f"test names {name!r}, whose null distribution is known from a bootstrap alone, which thousands of data "
            "sets cannot have each. Test a standard deviation of a term without correlations, or a fixed effect."
        )
    left = replace(design, blocks=remaining_blocks(design, hypothesis))
    null, own, theta, draws = None, None, np.empty(0), np.empty(0)
    if left.blocks:
        own = Problem(left, plan=None if hypothesis.effects else problem.plan)
        null = Criterion(own.products, own.layout, criterion.method, criterion.sigma)
        theta = theta_at(null, _remaining(covariances, hypothesis, problem), sigma)
    if kind == "exact":
        at = None if null is None else cast(Any, _Criterion(criterion_function=null, x=theta))
        model = Null(hypothesis=hypothesis, design=left, problem=own, estimate=at, full=criterion)
        draws = np.sort(find_spectrum(model).simulate(NULL_DRAWS, np.random.default_rng([seed, 1])))
    spreads = [row.name for row in design.labels.parameter_rows() if row.kind in ("sd", "cor")]
    return VarianceQuestion(
        name=name,
        truth=values.get(name, np.nan),
        position=spreads.index(name) if name in spreads else None,
        hypothesis=hypothesis,
        null=null,
        problem=own,
        theta=theta,
        draws=draws,
        full=criterion,
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


def theta_at(criterion: Criterion, covariances: Sequence[np.ndarray], sigma: float) -> np.ndarray:
    """θ on the conditioned columns of covariances (k, k) of the effects of each factor."""
    pairs = zip(criterion.products.effect_roots, covariances, strict=True)
    return theta_of([lower_triangular(T @ root_of(each) / sigma) for T, each in pairs], criterion.layout)
