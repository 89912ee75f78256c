"""What several methods say of one standard deviation that may be zero."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from bayesmm.arguments import check_count, check_seed, shorten
from bayesmm.errors import ArgumentError, ComparisonError
from bayesmm.inference.bootstrap.bootstrap import bootstrap
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.profile.drawn import relative_likelihood
from bayesmm.inference.profile.profile import build_profile
from bayesmm.inference.variances.boundary_avoiding import avoid_boundary
from bayesmm.inference.variances.null_models import variance_hypotheses
from bayesmm.inference.variances.variance_tests import MOST_DRAWS, VarianceTest, check_variance, usual_kind
from bayesmm.presenting.intervals import check_level, interval_head, tails
from bayesmm.presenting.numbers import write_digits, write_intervals, write_like, write_number, write_p
from bayesmm.presenting.parts import Column, Interval, Table, notes
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.plots.canvas import Figure

N_BOOTSTRAP = 999
METHODS = {"reml": "REML", "ml": "maximum likelihood"}
PROFILE, TEST, AVOIDING = "profile likelihood", "likelihood-ratio test", "boundary-avoiding"
BOOTSTRAP, POSTERIOR = "bootstrap", "posterior"
OF = {PROFILE: "the highest likelihood", BOOTSTRAP: "the refits", POSTERIOR: "the highest density"}
MUCH = 0.5  # density at zero, of the highest, from which on a posterior does not tell the standard deviation from zero
GRID = 512  # places where a density of draws is looked at


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BoundaryReport:
    """One standard deviation near zero, by every method.

    Attributes
    ----------
    parameter : str
        Its row in the table of parameters.
    level : float
        Coverage of the intervals.
    table : DataFrame
        One row a method: estimate, std_error, lower, upper, at_zero. What stands in `at_zero`, between 0 and 1: of the
        profile the likelihood of zero relative to the highest; of the test its p-value; of the bootstrap the share of
        estimates that are zero; of the posterior its density at zero relative to the highest.
    test : VarianceTest
        That it is zero.
    n_failed : int
        Refits of the bootstrap that found no maximum, and are left out.
    sentences : tuple of str
        What that means.
    curve : DataFrame
        The profile: value of the standard deviation; likelihood, relative to the highest.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit()
    >>> found = fit.boundary("sd(Intercept | Batch)", n=20, progress=False)
    >>> found.table.index.tolist()[:2]
    ['REML', 'profile likelihood']
    """

    parameter: str
    level: float
    table: pd.DataFrame
    test: VarianceTest
    n_failed: int
    sentences: tuple[str, ...]
    curve: pd.DataFrame

    def plot(self) -> Figure:
        """Draw the relative likelihood of the standard deviation, and below it what every method says.

        Returns
        -------
        matplotlib.figure.Figure
            Above: the profile likelihood over its highest value from zero on, how low it is at the ends of the profile
            interval, and the share of bootstrap estimates that are zero. Below: estimates and intervals by method.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> report = fit.boundary("sd(Days | Subject)", n=20, progress=False)
        >>> figure = report.plot()
        """
        from bayesmm.plots.boundary import plot_boundary

        p = float(self.table.loc[TEST, "at_zero"])  # pyright: ignore[reportArgumentType]
        return plot_boundary(
            self.parameter,
            self.table,
            self.curve,
            cutoff=float(np.exp(-0.5 * stats.norm.ppf(tails(self.level)[1]) ** 2)),
            level=self.level,
            remark=f"test of zero, p = {write_p(p)}".replace("= <", "<"),
        )

    def _report(self) -> Report:
        table, width = self.table, _usual_width(self.table)
        own, lower, upper = (table[name].to_list() for name in ("estimate", "lower", "upper"))
        limits = write_intervals(lower, upper, own, [width] * len(own))
        columns = (
            Column(head="estimate", cells=_known(own, [write_like(value, width) for value in own])),
            Interval(head=interval_head(self.level), cells=_known(upper, limits, ("", ""))),
            Column(head="at zero", cells=_known(table["at_zero"], list(map(_at_zero, table.index, table["at_zero"])))),
        )
        failed = f"{self.n_failed} refits of the bootstrap found no maximum and are left out."
        return Report(
            title=f"{self.parameter}: is it zero?",
            parts=(
                Table(names=[str(name) for name in table.index], columns=columns, where="report.table"),
                notes((*self.sentences, *self.test.remarks, *([failed] if self.n_failed else []))),
            ),
        )

    def __str__(self) -> str:
        return str(self._report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report()._repr_html_()


def _known[T](values: Iterable[float], cells: Sequence[T], blank: Any = "") -> list[T]:
    """Leave cells blank that a method says nothing of."""
    return [blank if np.isnan(value) else cell for value, cell in zip(values, cells, strict=True)]


def _usual_width(table: pd.DataFrame) -> float:
    """Find a width that tells how many decimals deserve to be seen."""
    widths = (table["upper"] - table["lower"]).to_numpy()
    return float(np.median(widths[np.isfinite(widths)])) / 4.0 if np.isfinite(widths).any() else np.nan


def _at_zero(method: str, value: float) -> str:
    if method == TEST:
        return f"p = {write_p(value)}".replace("= <", "<")
    return f"{write_number(value, 2)} of {OF.get(method, '')}"


def build_boundary_report(
    fit: Fitted,
    parameter: str,
    posterior: Posterior | None,
    level: float,
    n: int | None,
    seed: int,
    progress: bool | None,
) -> BoundaryReport:
    """Look at one standard deviation by every method; see `bayesmm.fit.fit.Fit.boundary`."""
    level, seed = check_level(level), check_seed(seed)
    n = N_BOOTSTRAP if n is None else check_count("n", n, 1, MOST_DRAWS)
    hypotheses = variance_hypotheses(fit)
    if not hypotheses:
        raise ArgumentError("The model has no standard deviation of random effects that is estimated.")
    if not isinstance(parameter, str) or parameter not in hypotheses:
        raise ArgumentError(
            f"parameter is {shorten(parameter)}: give the name of a standard deviation ({', '.join(hypotheses)})."
        )
    drawn = None if posterior is None else _posterior_draws(fit, posterior, parameter)
    hypothesis = hypotheses[parameter]
    kind, rng = usual_kind(fit, hypothesis), np.random.default_rng(seed)
    test = check_variance(fit, hypothesis, kind, n if kind == "bootstrap" else None, rng, progress)
    profile = build_profile(fit, parameter, level=level, progress=False)
    ends = profile.intervals(level).loc[parameter]
    refits = bootstrap(fit, n, "parametric", None, None, seed, progress)
    sds = refits.draws[parameter].dropna().to_numpy()
    at_zero = float(np.exp(-0.5 * test.statistic)) if hypothesis.n_variances == 1 else np.nan
    rows = {
        METHODS[fit.method]: {"estimate": float(ends["estimate"])},
        PROFILE: {**ends[["lower", "upper"]], "at_zero": at_zero},
        TEST: {"at_zero": test.p_value},
        AVOIDING: {"estimate": avoid_boundary(fit, parameter).sd},
        BOOTSTRAP: {**_of_draws(sds, level), "at_zero": float((sds == 0.0).mean())},
    }
    if drawn is not None:
        rows[POSTERIOR] = {**_of_draws(drawn, level), "at_zero": _density_at_zero(drawn)}
    columns = ["estimate", "std_error", "lower", "upper", "at_zero"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index.name = "method"
    return BoundaryReport(
        parameter=parameter,
        level=level,
        table=table,
        test=test,
        n_failed=refits.n_failed,
        sentences=_sentences(parameter, table, test, level),
        curve=relative_likelihood(profile.curves[0]),
    )


def _of_draws(draws: np.ndarray, level: float) -> dict[str, float]:
    lower, upper = np.quantile(draws, tails(level))
    return {"estimate": draws.mean(), "std_error": draws.std(ddof=1), "lower": lower, "upper": upper}


def _density_at_zero(draws: np.ndarray) -> float:
    """Density of draws of a positive quantity at zero relative to its highest, mirrored at zero."""
    density = stats.gaussian_kde(np.concatenate([draws, -draws]), bw_method=0.5 * len(draws) ** -0.2)
    values = density(np.linspace(0.0, draws.max(), GRID))
    return float(values[0] / values.max())


def _posterior_draws(fit: Fitted, posterior: Posterior, parameter: str) -> np.ndarray:
    from bayesmm.bayes.posterior import Posterior

    if not isinstance(posterior, Posterior):
        raise ArgumentError(
            f"posterior is {shorten(posterior)}: give a Posterior of the same model, from model.sample(), or leave it "
            "out."
        )
    rows = {row.name: row for row in posterior.labels.parameter_rows()}
    if fit.labels != posterior.labels or not fit.design.has_response_of(posterior.design):
        raise ComparisonError(
            "The fit and the posterior are not of the same model and data. Fit and sample one Model: model.fit() and "
            "model.sample(seed=1)."
        )
    row = rows[parameter]
    return posterior.draws(row.variable)[..., row.index].ravel()


def _sentences(parameter: str, table: pd.DataFrame, test: VarianceTest, level: float) -> tuple[str, ...]:
    """Say what the table means: of the estimate, of zero, and of what to report."""
    width = _usual_width(table)

    def cell(method: str, column: str) -> str:
        return write_like(float(table.loc[method, column]), width)  # pyright: ignore[reportArgumentType]

    def share(method: str) -> str:
        return f"{100.0 * float(table.loc[method, 'at_zero']):.0f} %"  # pyright: ignore[reportArgumentType]

    own = str(table.index[0])
    upper = f"its {interval_head(level).replace(' interval', '')} profile interval"
    if float(table.loc[own, "estimate"]) == 0.0:  # pyright: ignore[reportArgumentType]
        first = (
            f"{own} puts {parameter} at zero, which is where the likelihood is highest and no proof that there is no "
            f"variation: {upper} reaches up to {cell(PROFILE, 'upper')}."
        )
    else:
        first = (
            f"{own} estimates {parameter} as {cell(own, 'estimate')}; {upper} goes from {cell(PROFILE, 'lower')} to "
            f"{cell(PROFILE, 'upper')}."
        )
    third = f"Where a value above zero is needed, the boundary-avoiding estimate is {cell(AVOIDING, 'estimate')}"
    if np.isnan(table.loc[AVOIDING, "estimate"]):
        third = (
            "There is no boundary-avoiding estimate, since so few levels leave the standard deviation without an end"
        )
    if POSTERIOR not in table.index:
        return first, _of_test(test, level), f"{third}; a posterior (model.sample) would say how likely each value is."
    density = float(table.loc[POSTERIOR, "at_zero"])  # pyright: ignore[reportArgumentType]
    meaning = "does not tell it from zero" if density > MUCH else "is away from zero"
    third += (
        f"; the posterior has the mean {cell(POSTERIOR, 'estimate')}, and with a density at zero of {share(POSTERIOR)} "
        f"of its highest it {meaning}."
    )
    return first, _of_test(test, level), third


def _of_test(test: VarianceTest, level: float) -> str:
    often = f"{100.0 * test.share_at_zero:.0f} % of samples" if test.draws.size else "half of all samples"
    if test.statistic == 0.0:
        return f"If it were zero, {often} would have an estimate of zero as well: the data do not speak against zero."
    verdict = "speak against zero" if test.p_value < 1.0 - level else "do not speak against zero"
    return (
        f"If it were zero, a likelihood ratio of {write_number(test.statistic, 2)} or more would have a probability of "
        f"{write_digits(test.p_value, 2)} ({test.null}), and {often} an estimate of zero: the data {verdict}."
    )
