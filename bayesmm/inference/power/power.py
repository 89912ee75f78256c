"""Power and precision of designs, by simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bayesmm.arguments import check_count, check_seed, check_sigma, is_one_of, shorten
from bayesmm.design.blocks.told_apart import find_indistinct
from bayesmm.design.design import Design
from bayesmm.design.predictors import build_predictors
from bayesmm.design.reading.rows import Missing
from bayesmm.design.words.stated import read_values
from bayesmm.errors import ArgumentError, DesignError, EstimationError
from bayesmm.habits import understands_keywords
from bayesmm.inference.fitted import Df, Fitted
from bayesmm.inference.fixed.fixed_effects import check_choices
from bayesmm.inference.power.extending import Size, designs_of, read_sizes
from bayesmm.inference.power.intervals import IntervalSource, interval_source
from bayesmm.inference.power.questions import FixedQuestion, Question, ask, read_tests
from bayesmm.inference.power.refitting import Answers, Simulator, batches, join
from bayesmm.inference.power.report import build_report
from bayesmm.inference.simulated_responses import draw_effects
from bayesmm.inference.simulation.simulate import read_parameters
from bayesmm.inference.simulation.without_response import build_without_response
from bayesmm.inference.variances.null_models import null_criterion
from bayesmm.marginal.likelihood.likelihood import Method
from bayesmm.presenting.progress import watched
from bayesmm.problem import Problem
from bayesmm.specification.syntax import quote
from bayesmm.specification.terms import Grouping

if TYPE_CHECKING:
    from bayesmm.plots.canvas import Axes, Figure
    from bayesmm.presenting.report import Report

type Interval = Literal["wald", "bootstrap", "posterior"]

INTERVALS = ("wald", "bootstrap", "posterior")
LEVEL = 0.95  # coverage of the intervals for shares of data sets
WEIGHTS = "prior weights"  # column in which weights are carried into larger designs


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Power:
    """How often effects are found, and how precisely, in data sets drawn from stated parameters.

    Made by `bayesmm.power`. Prints as a report; a notebook shows it as a page.

    Attributes
    ----------
    formula : str
        Of the model.
    table : DataFrame
        One row for each design and effect. ``n(g)``: levels of each grouping factor; ``rows(g)``: rows a level,
        where they were asked for; ``rows``: all rows; ``effect``; ``truth``: its true value, less what it is tested
        against; ``power``: the share of data sets in which it is found at `alpha`, with ``lower`` and ``upper``
        (Clopper & Pearson's 95 % interval for that share); ``type_s``: of those in which it is found, the share
        with the wrong sign; ``type_m``: in the same ones, by how many times its size is exaggerated on average;
        ``length``: mean length of its 1 − α interval; ``coverage``: share of these intervals that hold the truth;
        ``aim``, ``precision``: a length that was asked for, and the share of data sets whose interval is shorter;
        ``failed``: refits without estimates, which count as data sets in which nothing is found; ``singular``:
        share of fits on the boundary.
    p_values : DataFrame
        One row a data set, one column for each design (its number) and effect; NaN where the refit failed.
    sizes : tuple of str
        Columns of `table` that differ between designs because they were asked to.
    n, alpha, df, method, interval, seed
        As they were asked for.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> found = bmm.power(fit, n=20, progress=False)
    >>> print(str(found).splitlines()[0])
    Power of Reaction ~ Days + (Days | Subject)
    """

    formula: str
    table: pd.DataFrame
    p_values: pd.DataFrame
    sizes: tuple[str, ...]
    n: int
    alpha: float
    df: Df
    method: Method
    interval: Interval
    seed: int

    def smallest(self, power: float = 0.8) -> pd.DataFrame:
        """Find for each effect the design of fewest rows that reaches a power.

        Parameters
        ----------
        power : float
            Between 0 and 1.

        Returns
        -------
        DataFrame
            Rows of `table`, one for each effect that reaches it in some design.

        Raises
        ------
        ArgumentError
            If `power` is no number between 0 and 1.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> found = bmm.power(fit, along={"Subject": [4, 8]}, n=20, progress=False)
        >>> found.smallest(0.8).shape
        (1, 15)
        """
        power = _check_share("power", power)
        first: dict[str, tuple[int, int]] = {}
        columns = (self.table[name] for name in ("effect", "rows", "power"))
        for position, (effect, rows, share) in enumerate(zip(*columns, strict=True)):
            if share >= power and (effect not in first or rows < first[effect][0]):
                first[effect] = (rows, position)
        return self.table.iloc[sorted(position for _, position in first.values())]

    def plot(self, *, power: float = 0.8, ax: Axes | None = None) -> Figure:
        """Draw the power of each effect against the size of the design, with intervals.

        Parameters
        ----------
        power : float
            Where a line is drawn: what is aimed at.
        ax : matplotlib.axes.Axes, optional
            To draw into; a new figure by default.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.
        ArgumentError
            If `power` is no number between 0 and 1, or `ax` is no axes of matplotlib.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> found = bmm.power(fit, along={"Subject": [4, 8]}, n=20, progress=False)
        >>> figure = found.plot()
        """
        from bayesmm.plots.power import plot_power

        return plot_power(self.table, sizes=self.sizes, aim=_check_share("power", power), alpha=self.alpha, ax=ax)

    @cached_property
    def _report(self) -> Report:
        return build_report(self)

    def __str__(self) -> str:
        return str(self._report)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report._repr_html_()


@understands_keywords
def power(
    formula: str | Any,
    data: Any = None,
    parameters: Any = None,
    test: str | Sequence[str] | None = None,
    *,
    along: Mapping[str, int | Sequence[int]] | None = None,
    within: Mapping[str, int | Sequence[int]] | None = None,
    n: int = 1000,
    alpha: float = 0.05,
    df: Df = "satterthwaite",
    method: Method = "reml",
    aim: Mapping[str, float] | None = None,
    interval: Interval = "wald",
    seed: int = 0,
    progress: bool | None = None,
    residual: str | None = None,
    weights: Any = None,
    sigma: float | None = None,
    missing: Missing = "drop",
    namespace: Mapping[str, Any] | None = None,
    relations: Mapping[str, Any] | None = None,
) -> Power:
    """Simulate data from stated parameters, refit the model, and count how often its effects are found.

    Parameters
    ----------
    formula : str or Fit
        As of `bayesmm.Model`, what stands left of ``~`` only has a name; or a fit, whose formula, data, weights,
        covariance of the residuals and estimates are taken.
    data : data frame, optional
        Predictors and grouping factors, of a pilot study or a design made for this; a column for the response is not
        needed. None with a fit.
    parameters : mapping of str to float, Series, or Fit, optional
        The value of every parameter, as of `bayesmm.simulate`; with a fit those that shall be other than estimated.
    test : str or list of str, optional
        What is to be found, all of it in one run: coefficients (``"Days"``), terms of several coefficients by a joint F
        test (``"Variety"``), hypotheses (``"a - b = 0"``), standard deviations (``"sd(Days | Subject)"``),
        correlations, random-effects terms (``"(Days | Subject)"``), and of residuals their correlations
        (``"rho(week | id)"``) or what their standard deviations change with (``"sigma(arm)"``, ``"power(x)"``). By
        default every coefficient but the intercept.
    along : mapping of str to int or sequence of int, optional
        How many levels columns shall have, ``{"Subject": [10, 20, 40]}``: levels are taken, with all their rows, again
        and again until they are so many. Grouping factors nested in the column get new levels with it, crossed ones
        keep theirs; a column nested in another one stays so. Levels of different arms, or of other factors that are
        the same in all rows of a level, take turns. Visits that a level misses its copies miss too.
    within : mapping of str to int or sequence of int, optional
        How many rows each level shall have, ``{"Subject": [5, 10]}``, or each combination of levels,
        ``{"Subject:Item": 2}``: its own rows, in their order, again and again.
    n : int
        Data sets that are drawn of each design.
    alpha : float
        An effect is found if its p-value is at most this.
    df : {"satterthwaite", "kenward-roger", "residual", "normal"}
        Of the tests of fixed effects.
    method : {"reml", "ml"}
        How the model is fitted.
    aim : mapping of str to float, optional
        Lengths, ``{"Days": 5}``, in units of the coefficient: the share of data sets whose 1 − α interval is shorter.
    interval : {"wald", "bootstrap", "posterior"}
        Whose length: of the interval of the test; of a parametric bootstrap of 199 refits for each data set; of the
        posterior with default priors by quadrature, or importance sampling where there are more than four variances.
        The first costs nothing; the second as much as 200 times as many data sets; the third about a second a
        data set: take tens of data sets, not thousands.
    seed : int
        The same seed gives the same numbers; with more data sets, or more designs, the first ones stay.
    progress : bool, optional
        Whether to show a progress bar; by default where a person can see it.
    residual : str, optional
        Covariance of the residuals, as of `bayesmm.Model`: ``"us(visit | id)"``, ``"ar1(week | id) * het(arm)"``.
    weights, sigma, missing, namespace, relations
        As of `bayesmm.Model`.

    Returns
    -------
    Power

    Raises
    ------
    SpecificationError
        If the formula cannot be read.
    DesignError
        If the data do not suit it; if a parameter is lacking, unknown, or impossible.
    EstimationError
        If a design cannot tell its variances apart.
    ArgumentError
        If an argument makes no sense.

    Notes
    -----
    Failed refits count as data sets in which nothing is found, so that power is rather too low than too high.

    A standard deviation is tested by the (restricted) likelihood ratio: against its exact null distribution
    (Crainiceanu & Ruppert 2004), the other variances at their true values, where no correlation goes with it; else
    against the mixture ½χ²ₘ₋₁ + ½χ²ₘ, which for several variances at once is a bound. A correlation is tested
    against χ², and so are what residuals have. Where residuals have a covariance, data sets are drawn row by row and
    refitted one by one, each in some hundredths of a second.

    Transformations that look at all of the data, such as ``scale(x)``, look at the larger data: parameters mean what
    they mean there.

    References
    ----------
    Green & MacLeod (2016), Methods Ecol. Evol. 7, 493-498. Gelman & Carlin (2014), Perspect. Psychol. Sci. 9, 641-651.
    Clopper & Pearson (1934), Biometrika 26, 404-413.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> import pandas as pd
    >>> plan = pd.DataFrame({"x": [0, 1, 2] * 4, "g": [1, 2, 3, 4] * 3})
    >>> truth = {"Intercept": 10, "x": 1, "sd(Intercept | g)": 1, "sigma": 1}
    >>> found = bmm.power("y ~ x + (1 | g)", plan, truth, along={"g": [4, 8]}, n=200, progress=False)
    >>> found.table[["n(g)", "effect"]].values.tolist()
    [[4, 'x'], [8, 'x']]
    """
    if not isinstance(formula, str):
        if relations is not None:
            raise ArgumentError("relations are given beside a fit, which has its own: leave them out.")
        if residual is not None:
            raise ArgumentError(f"residual is {shorten(residual)}, but the fit has its own: leave it out.")
        relations = getattr(getattr(formula, "design", None), "matrices", None)
        formula, data, parameters, residual, weights, sigma = _of_fit(formula, data, parameters, weights, sigma)
    n, seed, alpha, sigma = check_count("n", n, 1), check_seed(seed), _check_share("alpha", alpha), check_sigma(sigma)
    check_choices(df, None)
    if method is None or not is_one_of(method, ("reml", "ml")):
        raise ArgumentError(f"method is {shorten(method)}: give 'reml' or 'ml'.")
    if df == "kenward-roger" and method == "ml":
        raise ArgumentError("df is 'kenward-roger', which is for REML: take method='reml', or df='satterthwaite'.")
    if interval is None or not is_one_of(interval, INTERVALS):
        raise ArgumentError(f"interval is {shorten(interval)}: give 'wald', 'bootstrap' or 'posterior'.")
    tests, wanted = read_tests(test), _read_aims(aim)
    base = build_without_response(
        formula, data, residual=residual, weights=weights, missing=missing, namespace=namespace, relations=relations
    )
    if is_one_of(interval, ("posterior",)):
        base.require_known_spreads("interval='posterior', which takes importance sampling,")
    groupings = _groupings(base)
    columns = list(dict.fromkeys(name for grouping in groupings for name in grouping.factors))
    if not columns and (along is not None or within is not None):
        raise ArgumentError(
            "along and within are about the levels of grouping factors, and the model has none: give the data of each "
            "size as a design of their own."
        )
    sizes = read_sizes(along, within, columns)
    frame, carried = base.frame, None
    if weights is not None:
        carried = WEIGHTS
        while carried in frame.columns:
            carried += "_"
        frame = frame.assign(**{carried: base.weights})

    def build(rows: pd.DataFrame) -> Design:
        return build_without_response(
            formula,
            rows,
            residual=residual,
            weights=carried and quote(carried),
            namespace=namespace,
            known_sigma=sigma,
            relations=relations,
        )

    source = interval_source(interval, alpha)
    within_groups = base.residual and base.residual.specification.correlation
    simulators = [
        (chosen, _simulator(build(rows), parameters, sigma, tests, method, source, seed))
        for chosen, rows in designs_of(frame, sizes, groupings, within_groups)
    ]
    for _, simulator in simulators:
        _check_aims(wanted, simulator.questions)
    parts = [(d, part) for d, (_, own) in enumerate(simulators) for part in batches(n, own.at_once)]
    answers: list[list[Answers]] = [[] for _ in simulators]
    for d, part in watched(parts, "power", progress):
        answers[d].append(simulators[d][1].answer(part, df, alpha))
    joined = [join(each) for each in answers]
    return Power(
        formula=base.specification.shown,
        table=_tabulate(simulators, joined, alpha, wanted),
        p_values=_p_values(joined, [own for _, own in simulators]),
        sizes=tuple(_column(Size(each.group, 0, each.is_within)) for each in sizes),
        n=n,
        alpha=alpha,
        df=df,
        method=method,
        interval=interval,
        seed=seed,
    )


def _groupings(design: Design) -> list[Grouping]:
    """Return what rows are grouped by: the levels of random effects, and what residuals hang together in."""
    found = [block.grouping for block in design.blocks]
    if design.residual is not None and design.residual.specification.correlation is not None:
        found.append(design.residual.specification.correlation.grouping)
    return found


def _of_fit(
    fit: Any, data: Any, parameters: Any, weights: Any, sigma: Any
) -> tuple[str, Any, Any, str | None, Any, float | None]:
    """Take formula, data, parameters, covariance of the residuals, weights and known σ from a fit."""
    if not isinstance(getattr(fit, "design", None), Design) or not hasattr(fit, "estimate"):
        raise ArgumentError(f"formula is {shorten(fit)}: give a formula such as 'y ~ x + (1 | g)', or a fit.")
    for name, value in (("weights", weights), ("sigma", sigma)):
        if value is not None:
            raise ArgumentError(f"{name} is {shorten(value)}, but the fit has its own: leave it out.")
    fitted: Fitted = fit
    design = fitted.design
    values = {**fitted.parameter_table()["estimate"].to_dict(), "sigma": fitted.sigma}
    if parameters is not None:
        values |= read_values(parameters, design.labels, (), argument="parameters")
    uniform = bool((design.weights == 1.0).all())
    own = design.frame if data is None else data
    if data is not None and not uniform:
        raise ArgumentError("The fit has weights, which other data do not have: give formula, data and parameters.")
    residual = None if design.residual is None else design.residual.specification.text
    own_weights = None if uniform else design.weights
    return design.specification.formula, own, values, residual, own_weights, fitted.known_sigma


def _simulator(
    design: Design,
    parameters: Any,
    sigma: float | None,
    tests: tuple[str, ...] | None,
    method: Method,
    source: IntervalSource | None,
    seed: int,
) -> Simulator:
    """Make one design ready to be simulated."""
    truth = read_parameters(design, parameters, sigma)
    if not truth.sigma > 0.0:
        raise DesignError(
            "'sigma' is 0 in parameters: without residuals every effect is found. Give a positive number."
        )
    if sigma is None and method == "reml" and design.residual is None:
        found = find_indistinct(design.blocks, design.weights, design.X[:, design.kept])
        if found:
            terms = " and ".join(dict.fromkeys(str(piece.term) for piece in found))
            raise EstimationError(
                f"With {design.n} rows the restricted likelihood is flat: a part of the residual variance can go to "
                f"{terms} without any change. Drop the term, give more rows a level, or give sigma if it is known."
            )
    if design.residual is not None and design.residual.growth:  # refits begin at fitted values such as are drawn
        effects = draw_effects(design, truth.factors, [np.random.default_rng(seed)])
        design = design.with_fitted(build_predictors(design).mean(truth.beta, [b[0] for b in effects]))
    problem = Problem(design)
    criterion = null_criterion(problem, method, sigma)
    questions = ask(tests, problem, criterion, truth, seed)
    return Simulator(problem, criterion, truth, questions, source, seed)


def _check_share(name: str, value: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real) or not 0.0 < value < 1.0:  # pyright: ignore[reportOperatorIssue]
        raise ArgumentError(f"{name} is {shorten(value)}: give a number between 0 and 1.")
    return float(value)


def _read_aims(aim: Any) -> dict[str, float]:
    if aim is None:
        return {}
    if not isinstance(aim, Mapping):
        raise ArgumentError(f"aim is {shorten(aim)}: give a mapping from effects to lengths, {{'x': 2.5}}.")
    for name, length in aim.items():
        is_number = isinstance(length, Real) and not isinstance(length, (bool, np.bool_))
        if not isinstance(name, str) or not is_number or not 0.0 < length < np.inf:  # pyright: ignore[reportOperatorIssue]
            raise ArgumentError(f"aim[{shorten(name)}] is {shorten(length)}: give a positive length.")
    return {str(name): float(length) for name, length in aim.items()}


def _check_aims(aims: Mapping[str, float], questions: Sequence[Question]) -> None:
    single = [each.name for each in questions if isinstance(each, FixedQuestion) and len(each.L) == 1]
    for name in aims:
        if name not in single:
            raise ArgumentError(
                f"aim names {name!r}, which has no interval here: give one of "
                f"{', '.join(map(repr, single)) or 'none'}, which are tested, or add it to test."
            )


def _column(size: Size) -> str:
    return f"rows({size.group})" if size.is_within else f"n({size.group})"


def _tabulate(
    designs: Sequence[tuple[tuple[Size, ...], Simulator]],
    answers: Sequence[Answers],
    alpha: float,
    aims: Mapping[str, float],
) -> pd.DataFrame:
    rows = []
    for (chosen, simulator), found in zip(designs, answers, strict=True):
        sizes = {_column(size): size.number for size in chosen}
        sizes |= {f"n({block.group})": block.q for block in simulator.design.blocks}
        residual = simulator.design.residual
        if residual is not None and residual.group:
            sizes[f"n({residual.group})"] = len(residual.levels)
        for j, question in enumerate(simulator.questions):
            own = _summarise(question, found, j, alpha, aims.get(question.name))
            rows.append({**sizes, "rows": simulator.design.n, "effect": question.name, **own})
    return pd.DataFrame(rows)


def _summarise(question: Question, found: Answers, j: int, alpha: float, aim: float | None) -> dict[str, Any]:
    """All that one effect in one design has in the table."""
    from scipy import special

    p, estimate, lower, upper = (each[:, j] for each in (found.p_values, found.estimates, found.lower, found.upper))
    n = len(p)
    truth = float(np.squeeze(question.truth)) if np.size(question.truth) == 1 else np.nan
    with np.errstate(invalid="ignore"):
        is_found = p <= alpha
    k = int(is_found.sum())
    has_sign = isinstance(question, FixedQuestion) and np.isfinite(truth) and truth != 0.0
    shown = estimate[is_found & np.isfinite(estimate)]
    length = upper - lower
    known = np.isfinite(length)
    with np.errstate(invalid="ignore"):
        covers = (lower <= truth) & (truth <= upper)
        shorter = known & (length < (np.inf if aim is None else aim))
    return {
        "truth": truth,
        "power": k / n,
        "lower": 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, 0.5 - LEVEL / 2)),
        "upper": 1.0 if k == n else float(special.betaincinv(k + 1, n - k, 0.5 + LEVEL / 2)),
        "type_s": float((np.sign(shown) == -np.sign(truth)).mean()) if has_sign and len(shown) else np.nan,
        "type_m": float(np.abs(shown).mean() / abs(truth))
        if truth != 0.0 and np.isfinite(truth) and len(shown)
        else np.nan,
        "length": float(length[known].mean()) if known.any() else np.nan,
        "coverage": float(covers[known].mean()) if known.any() else np.nan,
        "aim": np.nan if aim is None else aim,
        "precision": np.nan if aim is None else float(shorter.mean()),
        "failed": int(np.isnan(p).sum()),
        "singular": float(found.singular.sum() / max(n - found.failed.sum(), 1)),
    }


def _p_values(answers: Sequence[Answers], simulators: Sequence[Simulator]) -> pd.DataFrame:
    keys = [(d, each.name) for d, own in enumerate(simulators) for each in own.questions]
    values = np.concatenate([each.p_values for each in answers], axis=1)
    index = pd.RangeIndex(len(values), name="simulation")
    return pd.DataFrame(values, columns=pd.MultiIndex.from_tuples(keys, names=["design", "effect"]), index=index)
