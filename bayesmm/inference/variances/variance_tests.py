"""Likelihood-ratio tests of variances and correlations, with null distributions that know of the boundary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from bayesmm.arguments import check_count, check_seed, is_one_of, shorten
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError, EstimationError
from bayesmm.inference.bootstrap.drawing import sum_source
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.simulated_responses import draw_departures, simulate_responses
from bayesmm.inference.variances.null_models import (
    Hypothesis,
    Null,
    find_hypothesis,
    fit_null,
    reduce_rows,
    remaining_design,
    variance_hypotheses,
)
from bayesmm.inference.variances.residual_nulls import ResidualHypothesis, residual_hypotheses
from bayesmm.inference.variances.spectral import MOST_EFFECTS, MOST_TESTED, find_spectrum, n_effects
from bayesmm.marginal.residual.drawn import RowSource
from bayesmm.marginal.sums.responses import Responses
from bayesmm.presenting.numbers import write_digits, write_number, write_p
from bayesmm.presenting.parts import Column, Table, facts, notes
from bayesmm.presenting.progress import watched
from bayesmm.presenting.report import Report
from bayesmm.reml.estimate import Estimate
from bayesmm.reml.refits import refit
from bayesmm.reml.residual_search import refit_each, refit_responses

type Kind = Literal["exact", "mixture", "bootstrap"]

KINDS: tuple[Kind, ...] = ("exact", "mixture", "bootstrap")
MOST_DRAWS = 10_000_000  # of a null distribution: a p of 1e-4 then has two digits and a half
N_BOOTSTRAP = 999  # refits, so that p is a multiple of 0.001
N_SETTLING = 199  # of models that settle on fitted values, each of which is several fits
NUMBERS, MOST_AT_ONCE = 2**22, 250  # responses are drawn together as far as they are not more numbers
ROUNDING = 1e-9  # share of −2 log likelihood below which two of them are the same
LOWER = 1e-4  # of −2 log likelihood, that is more than where a search ends
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True, kw_only=True, eq=False)
class VarianceTest:
    """One hypothesis on variances or correlations, tested.

    Attributes
    ----------
    parameter : str
        What is zero under the null: "sd(Days | Subject)"; with a standard deviation of zero its correlations go too.
    kind : {"exact", "mixture", "bootstrap"}
        Where the null distribution comes from.
    null : str
        The null distribution in words.
    statistic : float
        Twice the logarithm of the ratio of the (restricted) likelihoods.
    p_value : float
        Probability under the null of a statistic as large.
    p_error : float
        Monte Carlo standard error of `p_value`; zero for a mixture.
    null_loglik : float
        (Restricted) log-likelihood of the model without what is tested.
    draws : array, shape (n,)
        Statistics drawn under the null; empty for a mixture.
    n_failed : int
        Refits of the bootstrap that found no maximum; they are not among the draws.
    remarks : tuple of str
        When not to trust the p-value.
    """

    parameter: str
    kind: Kind
    null: str
    statistic: float
    p_value: float
    p_error: float
    null_loglik: float
    draws: np.ndarray
    n_failed: int
    remarks: tuple[str, ...]

    @property
    def share_at_zero(self) -> float:
        """Share of the draws at zero: how often the estimate would be zero if the variance is; NaN without draws."""
        return float((self.draws == 0.0).mean()) if self.draws.size else float("nan")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class VarianceTests:
    """Likelihood-ratio tests of some variances and correlations of one fit.

    Attributes
    ----------
    title : str
        Which fit.
    tests : tuple of VarianceTest
        One for each hypothesis.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit()
    >>> found = fit.variance_tests(n=99, progress=False)
    >>> print(str(found).splitlines()[0])
    Variances tested by restricted likelihood ratios: Yield ~ 1 + (1 | Batch)
    """

    title: str
    tests: tuple[VarianceTest, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row a hypothesis: kind, null, statistic, p_value."""
        return pd.DataFrame(
            {
                "kind": [test.kind for test in self.tests],
                "null": [test.null for test in self.tests],
                "statistic": [test.statistic for test in self.tests],
                "p_value": [test.p_value for test in self.tests],
            },
            index=pd.Index([test.parameter for test in self.tests], name="parameter"),
        )

    def _report(self) -> Report:
        said = dict.fromkeys(remark for test in self.tests for remark in test.remarks)
        return Report(
            title=self.title,
            parts=(
                facts(("each row: what is zero under the null; statistic: twice the log likelihood ratio",)),
                Table(
                    names=[test.parameter for test in self.tests],
                    columns=(
                        Column(head="null distribution", cells=[test.null for test in self.tests], is_words=True),
                        Column(head="statistic", cells=[write_number(test.statistic, 3) for test in self.tests]),
                        Column(head="p", cells=[write_p(test.p_value) for test in self.tests]),
                    ),
                    where="tests.table",
                ),
                notes(said),
            ),
        )

    def __str__(self) -> str:
        return str(self._report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report()._repr_html_()


def check_variances(
    fit: Fitted,
    parameters: str | Sequence[str] | None,
    kind: Kind | None,
    n: int | None,
    seed: int,
    progress: bool | None,
) -> VarianceTests:
    """Test variances and correlations of a fit; see `bayesmm.fit.fit.Fit.variance_tests`."""
    if not is_one_of(kind, (*KINDS, None)):
        raise ArgumentError(f"kind is {shorten(kind)}: give 'exact', 'mixture' or 'bootstrap', or leave it out.")
    seed, n = check_seed(seed), None if n is None else check_count("n", n, 1, MOST_DRAWS)
    restricted = "restricted " if fit.method == "reml" else ""
    return VarianceTests(
        title=f"Variances tested by {restricted}likelihood ratios: {fit.design.specification.shown}",
        tests=tuple(
            check_variance(fit, hypothesis, kind, n, np.random.default_rng([seed, position]), progress)
            for position, hypothesis in enumerate(_hypotheses(fit, parameters))
        ),
    )


def _hypotheses(fit: Fitted, parameters: Any) -> list[Hypothesis | ResidualHypothesis]:
    if parameters is None:
        distinct = {(each.block, each.effects): each for each in variance_hypotheses(fit).values()}
        return [*distinct.values(), *residual_hypotheses(fit.design.residual)]
    names = [parameters] if isinstance(parameters, str) else parameters
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ArgumentError(
            f"parameters is {shorten(parameters)}: give a name such as 'sd(Days | Subject)', or a list."
        )
    return [find_hypothesis(fit, name) for name in names]


def check_variance(
    fit: Fitted,
    hypothesis: Hypothesis | ResidualHypothesis,
    kind: Kind | None,
    n: int | None,
    rng: np.random.Generator,
    progress: bool | None,
) -> VarianceTest:
    """Test one hypothesis.

    Parameters
    ----------
    fit : Fit
        REML or ML estimates.
    hypothesis : Hypothesis or ResidualHypothesis
        What is zero under the null.
    kind : {"exact", "mixture", "bootstrap"}, optional
        Where the null distribution comes from; see `usual_kind`.
    n : int, optional
        Draws.
    rng : numpy.random.Generator
        Where they come from.
    progress : bool, optional
        Whether refits show a bar; by default where a person can see it.

    Raises
    ------
    ArgumentError
        If there is no such distribution of this hypothesis.
    """
    refusals = _refusals(fit, hypothesis)
    kind = kind or usual_kind(fit, hypothesis)
    if refusals[kind]:
        others = [repr(each) for each in KINDS if not refusals[each]]
        raise ArgumentError(f"kind is {kind!r}, and {refusals[kind]} Give {' or '.join(others)}.")
    null = fit_null(fit, hypothesis)
    difference = null.deviance - fit.estimate.criterion
    statistic = _positive(difference, fit.estimate.criterion)
    if kind == "mixture":
        found = _by_mixture(null, statistic)
    elif kind == "exact" and isinstance(hypothesis, Hypothesis):
        found = _by_spectrum(null, statistic, n, rng)
    else:
        n = n or (N_SETTLING if has_own_likelihoods(fit.design) else N_BOOTSTRAP)
        found = _by_refits(fit, null, statistic, n, rng, progress, is_exact=kind == "exact")
    return VarianceTest(
        parameter=hypothesis.name,
        kind=kind,
        null=found.words,
        statistic=statistic,
        p_value=found.p_value,
        p_error=found.p_error,
        null_loglik=-0.5 * null.deviance,
        draws=found.draws,
        n_failed=found.n_failed,
        remarks=(*_of_likelihoods(fit, hypothesis, kind, difference), *found.remarks),
    )


def usual_kind(fit: Fitted, hypothesis: Hypothesis | ResidualHypothesis) -> Kind:
    """Choose the first null distribution that a hypothesis has; of residuals the one that takes no refits.

    Where the residual variance changes with fitted values, each model has a likelihood of its own, and refits alone
    know how much these differ.
    """
    refusals = _refusals(fit, hypothesis)
    if has_own_likelihoods(fit.design):
        return "bootstrap"
    kinds = KINDS if isinstance(hypothesis, Hypothesis) else ("mixture", "exact", "bootstrap")
    return next(kind for kind in kinds if not refusals[kind])


def _refusals(fit: Fitted, hypothesis: Hypothesis | ResidualHypothesis) -> dict[Kind, str]:
    """Say why a hypothesis has no null distribution of a kind; nothing if it has."""
    if isinstance(hypothesis, ResidualHypothesis):
        return {
            "exact": _refuse_refits(fit, hypothesis),
            "mixture": _refuse_cone(hypothesis),
            "bootstrap": "",
        }
    return {"exact": _refuse_exact(fit, hypothesis), "mixture": _refuse_mixture(hypothesis), "bootstrap": ""}


def has_own_likelihoods(design: Design) -> bool:
    """Whether each model takes variances by its own fitted values."""
    return design.residual is not None and bool(design.residual.growth)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """A p-value, and what it comes from."""

    words: str
    p_value: float
    p_error: float = 0.0
    draws: np.ndarray
    n_failed: int = 0
    remarks: tuple[str, ...] = ()


def _positive(difference: float, deviance: float) -> float:
    """Likelihood ratio statistic without what is only rounding."""
    return difference if difference > ROUNDING * max(1.0, abs(deviance)) else 0.0


def _of_likelihoods(
    fit: Fitted, hypothesis: Hypothesis | ResidualHypothesis, kind: Kind, difference: float
) -> tuple[str, ...]:
    """Say where the likelihood of the null is higher, which it cannot be, or where both are no case of each other."""
    if has_own_likelihoods(fit.design):
        rough = (
            f"{hypothesis.name}: each model has variances by its own fitted values, so that its mixture is rough: "
            "kind='bootstrap' draws from the null, with variances by its own means.",
        )
        return rough if kind == "mixture" else ()
    if difference >= -LOWER:
        return ()
    return (
        f"{hypothesis.name}: the model without it has a higher log-likelihood, by "
        f"{write_digits(-0.5 * difference, 3)}: the fit is not at its highest maximum, and the test tells nothing.",
    )


def _refuse_exact(fit: Fitted, hypothesis: Hypothesis) -> str:
    if not hypothesis.is_one_variance:
        return (
            f"the exact distribution is of one variance alone, while {hypothesis.name} takes "
            f"{hypothesis.n_variances} variance(s) and {hypothesis.n_correlations} correlation(s)."
        )
    if fit.design.residual is not None:
        return "it takes residuals that are independent, and theirs have a covariance that is estimated, too."
    products = fit.estimate.criterion_function.products
    if products.sparse is not None:
        return "it takes a dense matrix of all effects, and levels are related by a sparse one."
    tested = len(hypothesis.effects) * products.diagonal[hypothesis.block].shape[2]
    if tested > MOST_TESTED or n_effects(products) > MOST_EFFECTS:
        return (
            f"it takes eigenvalues of {tested} effects beside {n_effects(products) - tested} others (at most "
            f"{MOST_TESTED}, and {MOST_EFFECTS} together); with so many levels the mixture is as good."
        )
    return ""


def _refuse_mixture(hypothesis: Hypothesis) -> str:
    if hypothesis.is_smooth or not hypothesis.n_variances:
        return ""
    return (
        f"the correlation that goes with {hypothesis.name} has no meaning under the null, so that no mixture is known."
    )


def _refuse_refits(fit: Fitted, hypothesis: ResidualHypothesis) -> str:
    if has_own_likelihoods(fit.design):
        return "fitted values, which coefficients make, change the variances: the distribution depends on these, too."
    left = remaining_design(fit.design, hypothesis)
    if not left.blocks and left.residual is None:
        return ""
    return (
        f"without {hypothesis.name} the model has other covariance parameters, on which the distribution depends: it "
        "is known at their estimates alone."
    )


def _refuse_cone(hypothesis: ResidualHypothesis) -> str:
    if hypothesis.n_one_sided <= 1:
        return ""
    many = hypothesis.n_one_sided
    return f"{hypothesis.name} stands for {many} correlations that cannot be negative, of which no mixture is known."


def _by_mixture(null: Null, statistic: float) -> _Found:
    """Take the asymptotic distribution (Self & Liang 1987, Stram & Lee 1994).

    One variance of zero is on the edge of a half-space, whatever goes with it: half of ½χ²_c + ½χ²_{c+1} has the
    variance at zero. The cone of several variances lies in such a half-space, so that the same is a bound.
    """
    hypothesis = null.hypothesis
    if isinstance(hypothesis, ResidualHypothesis):
        m, n_variances, is_one_sided = hypothesis.n_parameters, 0, hypothesis.n_one_sided > 0
    else:
        n_variances, is_one_sided = hypothesis.n_variances, hypothesis.is_one_sided
        m = n_variances + hypothesis.n_correlations
    upper = float(stats.chi2.sf(statistic, m))
    if is_one_sided:
        words, p_value = f"½{_chi_square(0)} + ½{_chi_square(1)}", 0.5 * (upper + float(statistic == 0.0))
        return _Found(words=words, p_value=p_value, draws=np.zeros(0), remarks=_singular_null(null))
    if n_variances == 0:
        return _Found(words=_chi_square(m), p_value=upper, draws=np.zeros(0), remarks=_singular_null(null))
    lower = float(stats.chi2.sf(statistic, m - 1)) if m > 1 else float(statistic == 0.0)
    words, remarks = f"½{_chi_square(m - 1)} + ½{_chi_square(m)}", _singular_null(null)
    if n_variances > 1:
        words = f"at most {words}"
        remarks = (
            f"{hypothesis.name}: several variances at once; the p-value is an upper bound, and kind='bootstrap' is "
            "nearer.",
            *remarks,
        )
    return _Found(words=words, p_value=0.5 * (lower + upper), draws=np.zeros(0), remarks=remarks)


def _chi_square(df: int) -> str:
    return f"χ²{str(df).translate(SUBSCRIPTS)}"


def _singular_null(null: Null) -> tuple[str, ...]:
    if null.estimate is None or not any(each.size for each in null.estimate.null_directions):
        return ()
    return (
        f"{null.hypothesis.name}: without it another variance is estimated as zero; the mixture takes all others for "
        "positive, and its p-value may be off.",
    )


def _by_spectrum(null: Null, statistic: float, n: int | None, rng: np.random.Generator) -> _Found:
    spectrum = find_spectrum(null)
    draws = spectrum.simulate(n or spectrum.n_usual, rng)
    p, error = _share_beyond(draws, statistic)
    if null.estimate is None:
        return _Found(words="exact", p_value=p, p_error=error, draws=draws)
    return _Found(
        words="exact given the others",
        p_value=p,
        p_error=error,
        draws=draws,
        remarks=(
            "exact given the others: their variances, relative to sigma's, are taken as known from the fit without "
            "what is tested, an approximation in the manner of Greven et al. (2008); where the others have few levels, "
            "compare kind='bootstrap'.",
        ),
    )


def _share_beyond(draws: np.ndarray, statistic: float) -> tuple[float, float]:
    """Monte Carlo p-value, never zero (Davison & Hinkley 1997), and its standard error."""
    p = (1.0 + float((draws >= statistic).sum())) / (1.0 + len(draws))
    return p, float(np.sqrt(p * (1.0 - p) / len(draws)))


def _by_refits(
    fit: Fitted,
    null: Null,
    statistic: float,
    n: int,
    rng: np.random.Generator,
    progress: bool | None,
    *,
    is_exact: bool,
) -> _Found:
    """Draw under the null and fit both models.

    Where the null has no covariance parameter but σ, the statistic depends on neither β nor σ, so that its draws have
    its distribution, and the test its level whatever their number (Dwass 1957, Ann. Math. Stat. 28).
    """
    draws, n_failed = _refit(fit, null, n, rng, progress)
    if not len(draws):
        raise EstimationError(
            f"None of {n} responses drawn without {null.hypothesis.name} could be fitted. Simplify the covariance."
        )
    p, error = _share_beyond(draws, statistic)
    failed = (f"{null.hypothesis.name}: {n_failed} of {n} refits found no maximum and are left out.",) * (n_failed > 0)
    return _Found(
        words=f"{'exact' if is_exact else 'bootstrap'}, {len(draws)} refits",
        p_value=p,
        p_error=error,
        draws=draws,
        n_failed=n_failed,
        remarks=failed,
    )


def _refit(fit: Fitted, null: Null, n: int, rng: np.random.Generator, progress: bool | None) -> tuple[np.ndarray, int]:
    """Draw responses under the null, and fit both models to each."""
    if fit.estimate.residual is not None:
        return _refit_whole(fit, null, n, rng, progress)
    source = None if fit.problem.summed is None else sum_source(null.full)
    size = fit.n if source is None else n_effects(null.full.products)
    at_once, found = int(np.clip(NUMBERS // size, 1, MOST_AT_ONCE)), []
    for start in watched(range(0, n, at_once), f"refits without {null.hypothesis.name}", progress):
        streams = rng.spawn(min(at_once, n - start))
        of_full, of_null = _draw(fit, null, streams) if source is None else null.draw_sums(source, streams)
        full = refit(null.full, of_full, fit.estimate.minimum.x).criterion
        difference = null.refit(of_null) - full
        with np.errstate(invalid="ignore"):  # NaN of a refit that failed
            is_rounding = difference <= ROUNDING * np.maximum(1.0, np.abs(full))
        found.append(np.where(is_rounding, 0.0, difference))
    draws = np.concatenate(found)
    return draws[np.isfinite(draws)], int((~np.isfinite(draws)).sum())


def _draw(fit: Fitted, null: Null, streams: Sequence[np.random.Generator]) -> tuple[Responses, Responses]:
    """Draw the rows of responses under the null, and sum them for both models."""
    factors = () if null.estimate is None else null.estimate.factors
    drawn = simulate_responses(null.design, null.beta, factors, null.sigma, streams)
    of_full = fit.problem.sum_responses(drawn)
    return of_full, of_full if null.problem is None else null.problem.sum_responses(drawn)


def _refit_whole(
    fit: Fitted, null: Null, n: int, rng: np.random.Generator, progress: bool | None
) -> tuple[np.ndarray, int]:
    """Do so where residuals have a covariance, which is estimated anew."""
    refit_once = _on_few(fit, null) if fit.problem.summed is not None else _in_rows(fit, null)
    draws = []
    for _ in watched(range(n), f"refits without {null.hypothesis.name}", progress):
        small, full = refit_once(rng.spawn(1))
        draws.append(np.nan if full is None else _positive(small - full.criterion, full.criterion))
    values = np.array(draws)
    return values[np.isfinite(values)], int((~np.isfinite(values)).sum())


type RefitOnce = Callable[[Sequence[np.random.Generator]], tuple[float, Estimate | None]]


def _in_rows(fit: Fitted, null: Null) -> RefitOnce:
    """Draw a response under the null in all rows, and fit both models."""
    found = fit.estimate
    factors = () if null.estimate is None else null.estimate.factors
    residual = None if null.estimate is None else null.estimate.residual

    def refit_once(streams: Sequence[np.random.Generator]) -> tuple[float, Estimate | None]:
        assert found.residual is not None
        rows = simulate_responses(null.design, null.beta, factors, null.sigma, streams, residual)
        (small,) = null.refit_rows(rows)
        (full,) = refit_responses(fit.problem, found.residual.criterion, rows, found.coordinates[:-1])
        return small, full

    return refit_once


def _on_few(fit: Fitted, null: Null) -> RefitOnce:
    """Do so on few rows that have the sums of all, where these are not in memory."""
    found, source = fit.estimate, RowSource(fit.problem.residual_rows)
    factors = () if null.estimate is None else null.estimate.factors
    residual = None if null.estimate is None else null.estimate.residual
    public = np.zeros(0) if residual is None else residual.public
    own = reduce_rows(source.rows, fit.design, null.design, null.hypothesis)

    def refit_once(streams: Sequence[np.random.Generator]) -> tuple[float, Estimate | None]:
        assert found.residual is not None
        drawn = draw_departures(source, own, null.design, factors, null.sigma, streams, public)[:, 0]
        small = null.refit_drawn(own.around(null.beta, drawn))
        rows = [source.rows.around(null.beta, drawn)]
        (full,) = refit_each(found.residual.criterion, rows, found.coordinates[:-1])
        return small, full

    return refit_once
