"""Several models of the same data in one table: likelihood-ratio tests, information criteria, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from bayesmm.arguments import is_one_of, shorten
from bayesmm.comparison.nesting import Nesting, examine, is_in_span
from bayesmm.comparison.predictive import assess, check_left_out
from bayesmm.comparison.same_model import check_same_model
from bayesmm.console import listing
from bayesmm.design.design import Design
from bayesmm.design.elsewhere import SAME
from bayesmm.errors import ArgumentError, ComparisonError, FitStatus
from bayesmm.fit.estimating import fit_problem
from bayesmm.fit.fit import Fit
from bayesmm.inference.either import is_posterior
from bayesmm.presenting.numbers import write_number, write_p
from bayesmm.presenting.page import write_document
from bayesmm.presenting.parts import Column, Table, facts, notes, warnings
from bayesmm.presenting.report import Report
from bayesmm.specification.terms import Specification

if TYPE_CHECKING:
    from arviz_stats import ELPDData
    from great_tables import GT  # pyright: ignore[reportMissingImports]  an extra

    from bayesmm.bayes.posterior import Posterior

type Against = Literal["next", "largest"]

LOWER = 1e-6  # by which the likelihood of a larger model may be lower through rounding
OF_FITTED = (
    "Variances by the fitted value are known numbers in each likelihood, those of the fit's own fitted values: "
    "differences of these likelihoods, as of nlme, are rough."
)
METHODS = {"reml": "restricted maximum likelihood", "ml": "maximum likelihood"}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ModelTable:
    """Several models of the same data, by the number of their parameters.

    Made by `bayesmm.anova`. Prints as a report.

    Attributes
    ----------
    table : DataFrame
        Index: names of the models. Columns: n_parameters, and n_covariance, those that are no fixed effects. Of fits
        aic, bic, loglik, deviance (−2 log-likelihood); and of each model against the one above it chisq, df and
        p_value. With ``against="largest"`` these are of each model against the last, and there is a column aicc. Of
        posteriors log_evidence, log_evidence_error and probability (of models that are equally likely beforehand); and
        for each kind of what is left out, "row" or a grouping factor, elpd_row, elpd_error_row, elpd_diff_row (from the
        highest), elpd_diff_error_row and doubtful_row, how many Pareto k̂ are large. NaN where a model has no fit or no
        posterior, or its posterior no evidence.
    fits : dict of str to Fit
        The fits that are compared, in the order of the table: by ML where they were refitted.
    posteriors : dict of str to Posterior
        The posteriors.
    loo : dict of str to (dict of str to ELPDData)
        By what is left out, and by model: ``arviz.compare(models.loo["row"])`` has weights too.
    remarks : tuple of str
        What is to be known of the tests and of the predictions.
    against : {"next", "largest"}
        What each model is tested against.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> sleep = bmm.datasets.load("sleepstudy")
    >>> formulas = ["Reaction ~ Days + (1 | Subject)", "Reaction ~ Days + (Days | Subject)"]
    >>> table = bmm.anova(*(bmm.Model(formula, sleep).fit("ml") for formula in formulas))
    >>> print(str(table).splitlines()[0])
    Models by maximum likelihood
    """

    table: pd.DataFrame
    fits: dict[str, Fit]
    remarks: tuple[str, ...]
    against: Against = "next"
    posteriors: Mapping[str, Posterior] = field(default_factory=dict)
    loo: Mapping[str, Mapping[str, ELPDData]] = field(default_factory=dict)

    def report(self) -> Report:
        """Write the report.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> data = bmm.datasets.load("sleepstudy")
        >>> fits = [bmm.Model(f"Reaction ~ Days + ({term} | Subject)", data).fit() for term in ("1", "Days")]
        >>> print(str(bmm.anova(*fits).report()).splitlines()[0])
        Models by restricted maximum likelihood
        """
        unfinished = [name for name, fit in self.fits.items() if fit.status is FitStatus.NOT_CONVERGED]
        doubtful = [name for name, each in self.posteriors.items() if not each.diagnostics.is_good]
        trouble = [f"The search did not converge for {listing(unfinished)}."] if unfinished else []
        trouble += [f"Something speaks against the draws of {listing(doubtful)}: see diagnostics."] if doubtful else []
        tables = [_as_table(self.table, self._by_fits()), _as_table(self.table, self._by_posteriors())]
        return Report(
            title=self._title,
            parts=(
                facts(self._told()),
                warnings(trouble),
                *(table for table in tables if table.columns),
                notes(self._notes),
            ),
        )

    def html(self) -> str:
        """Write the table as a page of its own, without scripts, for a file that a browser or a text processor opens.

        Returns
        -------
        str
            A document in UTF-8; every text in it is escaped.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> data = bmm.datasets.load("sleepstudy")
        >>> fits = [bmm.Model(f"Reaction ~ Days + ({term} | Subject)", data).fit() for term in ("1", "Days")]
        >>> bmm.anova(*fits).html().startswith("<")
        True
        """
        return write_document(self._title, (facts(self._told()), self._whole, notes(self._notes)))

    def latex(self) -> str:
        r"""Write the table as a LaTeX ``tabular``, as `bayesmm.publication_table` does.

        Returns
        -------
        str
            For a document with ``\usepackage{booktabs,textcomp}`` and ``\usepackage[T1]{fontenc}``.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> data = bmm.datasets.load("sleepstudy")
        >>> fits = [bmm.Model(f"Reaction ~ Days + ({term} | Subject)", data).fit() for term in ("1", "Days")]
        >>> r"\begin{tabular}" in bmm.anova(*fits).latex()
        True
        """
        from bayesmm.presenting.latex import write_latex

        return write_latex(self._whole, notes=(*self._told(), *self._notes))

    def great_table(self) -> GT:
        """Return the table as an object of the package great-tables, to be styled and saved there.

        Returns
        -------
        great_tables.GT

        Raises
        ------
        BayesmmError
            If the package is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> data = bmm.datasets.load("sleepstudy")
        >>> fits = [bmm.Model(f"Reaction ~ Days + ({term} | Subject)", data).fit() for term in ("1", "Days")]
        >>> bmm.anova(*fits).great_table().save("models.png")  # doctest: +SKIP
        """
        from bayesmm.presenting.great_table import make_great_table

        return make_great_table(self._whole, self._title, (*self._told(), *self._notes))

    @property
    def _title(self) -> str:
        by = [METHODS[next(iter(self.fits.values())).method]] if self.fits else []
        return f"Models by {' and '.join([*by, *(['their posteriors'] if self.posteriors else [])])}"

    @property
    def _notes(self) -> tuple[str, ...]:
        """The remarks, after what heads stand for."""
        heads = []
        if self.fits and self.against == "largest":
            heads.append("par.: all parameters; cov.: those of standard deviations and correlations.")
        if self.loo:
            heads.append(
                "elpd: expected log density of what is left out, given all else, whose name stands above; diff.: from "
                "the highest, with its standard error."
            )
        return (*heads, *self.remarks)

    @property
    def _whole(self) -> Table:
        """All columns beside each other, for a page."""
        return _as_table(self.table, [*self._by_fits(), *self._by_posteriors()])

    def _by_fits(self) -> list[Column]:
        if not self.fits:
            return []
        parameters = [Column(head="parameters", cells=self._write("n_parameters", 0))]
        if self.against == "largest":
            parameters = [
                Column(head=head, cells=self._write(column, 0))
                for head, column in (("par.", "n_parameters"), ("cov.", "n_covariance"))
            ]
        written = {
            "AIC": self._write("aic", 2),
            **({"AICc": self._write("aicc", 2)} if "aicc" in self.table else {}),
            "BIC": self._write("bic", 2),
            "log-lik.": self._write("loglik", 3),
            "χ²": self._write("chisq", 3),
            "df": self._write("df", 0),
            "p": ["" if np.isnan(p) else write_p(p) for p in self.table["p_value"]],
        }
        return [*parameters, *(Column(head=head, cells=cells) for head, cells in written.items())]

    def _by_posteriors(self) -> list[Column]:
        if not self.posteriors:
            return []
        columns = [] if self.fits else [Column(head="parameters", cells=self._write("n_parameters", 0))]
        evidence, probability = self._write("log_evidence", 2), self.table["probability"]
        if any(evidence):
            columns.append(Column(head="log p(y)", cells=evidence))
        if not np.isnan(probability).all():
            columns.append(Column(head="prob.", cells=["" if np.isnan(p) else write_p(p) for p in probability]))
        for of in self.loo:
            is_best = self.table[f"elpd_diff_{of}"] == 0.0
            errors = [
                "" if best else cell
                for best, cell in zip(is_best, self._write(f"elpd_diff_error_{of}", 1), strict=True)
            ]
            columns += [
                Column(head="elpd", cells=self._write(f"elpd_{of}", 1), over=of),
                Column(head="diff.", cells=self._write(f"elpd_diff_{of}", 1), over=of),
                Column(head="s.e.", cells=errors, over=of),
            ]
        return columns

    def _told(self) -> list[str]:
        """Say what the models are; once, where they are called by what they differ in."""
        results = {name: self.fits.get(name) or self.posteriors[name] for name in self.table.index}
        specifications = [each.design.specification for each in results.values()]
        if _by_residual(specifications) == list(results):
            return [f"{specifications[0].formula}; models by the covariance of their residuals"]
        return [f"{name}: {each.shown}" for name, each in zip(results, specifications, strict=True)]

    def _write(self, column: str, decimals: int) -> list[str]:
        return ["" if np.isnan(value) else write_number(value, decimals) for value in self.table[column]]

    def __str__(self) -> str:
        return str(self.report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


def _as_table(table: pd.DataFrame, columns: Sequence[Column]) -> Table:
    return Table(names=[str(name) for name in table.index], columns=tuple(columns), head="model", where="models.table")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What was given of one model: a fit, a posterior, or both."""

    fit: Fit | None = None
    posterior: Posterior | None = None

    @property
    def result(self) -> Any:
        """One of them."""
        return self.fit or self.posterior


def anova(
    *results: Fit | Posterior,
    refit: bool = False,
    names: Sequence[str] | None = None,
    against: Against = "next",
    leave_out: str | Sequence[str] | None = None,
    progress: bool | None = None,
) -> ModelTable:
    """Compare models of the same data: by likelihood-ratio tests and criteria of fits, by predictions of posteriors.

    Parameters
    ----------
    *results : Fit and Posterior
        Of two or more models of the same response in the same rows: of each its fit, its posterior, or both.
    refit : bool
        Whether REML fits are fitted anew by maximum likelihood, as models with different fixed effects need.
    names : sequence of str, optional
        What the models are called, in the order in which they come first; "model 1", "model 2", ... by default, or
        their ``residual=`` where posteriors or ``against="largest"`` ask for a choice, and it tells them apart.
    against : {"next", "largest"}
        Whether each model is tested against the next smaller one, or each against the largest of all where it is a
        special case of that. The second is for a choice among models of which few are special cases of each other, as
        covariances of residuals: the table has AICc, too.
    leave_out : str or sequence of str, optional
        What the predictions of posteriors are of: "row", grouping factors, or both; none of all with ``()``. By default
        rows, and whole groups where all models have those of the residuals, or one grouping factor.
    progress : bool, optional
        Whether to show progress bars of what is left out; by default where a person can see them.

    Returns
    -------
    ModelTable
        ``table`` with one row a model, by the number of parameters. Prints as a report that says where models are not
        seen to be nested, and where a tested variance is on its boundary; ``html()``, ``latex()`` and ``great_table()``
        write it for a paper.

    Raises
    ------
    ComparisonError
        If the models are of different rows, responses or weights; if the fits are by different methods, or by REML with
        different fixed effects, unless ``refit=True`` helps.
    PredictionError
        If a posterior cannot leave out what ``leave_out`` asks for.

    Notes
    -----
    p is the probability of a larger χ² with as many degrees of freedom as there are parameters more. Where these are
    variances, zero in the smaller model, p is too large: of one variance alone up to twice as large. Where the fixed
    effects are not nested there is no such test, and p is NaN. Restricted likelihoods of the same fixed effects on
    different columns differ by a constant, which is taken off: they are those on the columns of the first fit.

    elpd is the expected log predictive density of `bayesmm.bayes.posterior.Posterior.loo`, its difference from the
    highest and the standard error of that are those of `arviz.compare`. Evidences are compared where all priors are
    proper, or the improper ones are the same on the same columns.

    References
    ----------
    Self & Liang (1987), JASA 82. Stram & Lee (1994), Biometrics 50. Vehtari, Gelman & Gabry (2017), Statistics and
    Computing 27.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> data = bmm.datasets.load("sleepstudy")
    >>> formulas = ["Reaction ~ Days + (1 | Subject)", "Reaction ~ Days + (Days || Subject)"]
    >>> models = bmm.anova(*(bmm.Model(formula, data).fit(method="ml") for formula in formulas))
    >>> round(float(models.table.loc["model 2", "chisq"]), 2)
    42.08
    """
    if not isinstance(refit, bool):
        raise ArgumentError(f"refit is {shorten(refit)}: give True or False.")
    if names is not None and (not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names)):
        raise ArgumentError(f"names is {shorten(names)}: give a list of texts, one for each model.")
    if not is_one_of(against, ("next", "largest")):
        raise ArgumentError(f"against is {shorten(against)}: give 'next' or 'largest'.")
    left_out = check_left_out(leave_out)
    named = _name(_pair(results), names, against)
    _check_data({name: given.result.design for name, given in named.items()})
    fits = {name: given.fit for name, given in named.items() if given.fit is not None}
    posteriors = {name: given.posterior for name, given in named.items() if given.posterior is not None}
    if refit:
        fits = {name: _by_ml(fit) for name, fit in fits.items()}
    sizes = {name: _count_parameters(fits.get(name) or given.posterior) for name, given in named.items()}
    order = sorted(named, key=lambda name: sizes[name][0])
    table = pd.DataFrame.from_dict(sizes, orient="index", columns=["n_parameters", "n_covariance"]).loc[order]
    table.index.name = "model"
    remarks: list[str] = []
    if fits:
        tested, remarks = _test(fits, against)
        table = table.join(tested)
    predictive = assess(posteriors, left_out, progress) if posteriors else None
    if predictive is not None:
        table = table.join(predictive.columns)
        remarks += predictive.remarks
    return ModelTable(
        table=table,
        fits={name: fits[name] for name in order if name in fits},
        remarks=tuple(remarks),
        against=against,
        posteriors={name: posteriors[name] for name in order if name in posteriors},
        loo=predictive.loo if predictive else {},
    )


def _count_parameters(result: Any) -> tuple[int, int]:
    """All parameters that are estimated, and those among them that are no fixed effects."""
    if isinstance(result, Fit):
        return result.n_parameters, result.n_parameters - len(result.design.kept)
    n = len(result.labels.parameter_rows())
    return n, n - len(result.labels.coefficients)


def _test(named: dict[str, Fit], against: Against) -> tuple[pd.DataFrame, list[str]]:
    """Tabulate criteria of fits by their parameters, and tests between them; with remarks."""
    _check_methods(named)
    logliks = _logliks(named)
    named = dict(sorted(named.items(), key=lambda pair: pair[1].n_parameters))
    table = pd.DataFrame([_criteria(fit, logliks[name]) for name, fit in named.items()], index=pd.Index(named))
    table = table.assign(chisq=np.nan, df=np.nan, p_value=np.nan)
    remarks: list[str] = []
    if any(fit.design.residual is not None and fit.design.residual.of_fitted for fit in named.values()):
        remarks.append(OF_FITTED)
    if against == "largest":
        return table, remarks + (_test_against_largest(table, named, logliks) if len(named) > 1 else [])
    for small, large in pairwise(named):
        nesting = _nesting(named[small], named[large])
        chisq = 2.0 * (logliks[large] - logliks[small])
        df = named[large].n_parameters - named[small].n_parameters
        is_no_case = chisq < -LOWER and not nesting.residual
        p = stats.chi2.sf(max(chisq, 0.0), df) if df and nesting.fixed and not is_no_case else np.nan
        table.loc[large, ["chisq", "df", "p_value"]] = [chisq, df, p]
        remarks += _remarks(small, large, nesting, chisq, df)
    return table.drop(columns="aicc"), remarks


def _test_against_largest(table: pd.DataFrame, named: dict[str, Fit], logliks: dict[str, float]) -> list[str]:
    """Fill in the test of each model against the last, where it is a special case of it."""
    *others, last = named
    apart, edges = [], []
    for name in others:
        nesting = _nesting(named[name], named[last])
        chisq, df = 2.0 * (logliks[last] - logliks[name]), named[last].n_parameters - named[name].n_parameters
        if not (nesting.fixed and nesting.random and df):
            apart.append(name)
            continue
        table.loc[name, ["chisq", "df", "p_value"]] = [chisq, df, stats.chi2.sf(max(chisq, 0.0), df)]
        if chisq < -LOWER:
            edges.append(f"{last} has a lower likelihood than {name}, its special case: it is not at its maximum.")
        elif nesting.on_boundary:
            edges.append(f"{name}: variances are zero in it, so that p is too large.")
        elif nesting.undetermined:
            edges.append(f"{name}: loadings of {last} are not determined in it, so that p is too small.")
    said = [f"Each test is against {last}: whether what that has more is needed."]
    if apart:
        verb = "is no special case" if len(apart) == 1 else "are no special cases"
        said.append(f"{listing(apart)} {verb} of {last}, as far as can be seen: compare AIC, AICc or BIC.")
    return [*said, *edges]


def _by_residual(specifications: Sequence[Specification]) -> list[str] | None:
    """Call models of one formula by the covariances of their residuals; None where that does not tell them apart."""
    names = ["independent" if each.residual is None else each.residual.text for each in specifications]
    is_one = len({each.formula for each in specifications}) == 1
    return names if is_one and len(set(names)) == len(names) else None


def _logliks(named: dict[str, Fit]) -> dict[str, float]:
    """Log-likelihoods; restricted ones as they are on the columns of the first fit."""
    first = next(iter(named.values()))
    if first.method == "ml":
        return {name: fit.loglik for name, fit in named.items()}
    roots = {name: _log_det_root(fit) for name, fit in named.items()}
    of_first = next(iter(roots.values()))
    return {name: fit.loglik + 0.5 * (roots[name] - of_first) for name, fit in named.items()}


def _log_det_root(fit: Fit) -> float:
    """log|X'WX|, which does not depend on a covariance of the residuals."""
    residual = fit.estimate.residual
    if residual is None:
        return float(fit.problem.products.log_det_root)
    return 2.0 * float(np.log(np.abs(np.diag(residual.criterion.rows.root))).sum())


def _criteria(fit: Fit, loglik: float) -> dict[str, float]:
    k, deviance = fit.n_parameters, -2.0 * loglik
    return {
        "aic": deviance + 2.0 * k,
        "aicc": deviance + 2.0 * k + (2.0 * k * (k + 1) / (fit.n - k - 1) if fit.n > k + 1 else np.nan),
        "bic": deviance + float(np.log(fit.n)) * k,
        "loglik": loglik,
        "deviance": deviance,
    }


def _remarks(small: str, large: str, nesting: Nesting, chisq: float, df: int) -> list[str]:
    pair = f"{small} and {large}"
    if not df:
        return [f"{pair} have as many parameters: there is nothing to test; compare AIC or BIC."]
    if not nesting.fixed:
        return [
            f"{pair} are not nested: fixed effects of {small} are no combinations of those of {large}. There is no "
            "test; compare AIC or BIC."
        ]
    if chisq < -LOWER and not nesting.residual:
        return [
            f"{small} is no special case of {large}, whose likelihood is lower: their residuals have other structures. "
            "There is no test; compare AIC or BIC."
        ]
    said = []
    if not nesting.random:
        said.append(
            f"{small} was not seen to be a special case of {large}: its random effects or residuals are others. p "
            "supposes that it is."
        )
    elif nesting.on_boundary:
        said.append(
            f"In {small} there are variances of zero, by {listing(list(nesting.on_boundary))}, that {large} has free. "
            "Zero is the boundary, and p is too large (for one variance alone up to twice): fit.variance_tests() has "
            "the exact one."
        )
    elif nesting.undetermined:
        said.append(
            f"{small} leaves loadings of {large} open, by {listing(list(nesting.undetermined))}: the statistic is no "
            "χ², and p is too small. Compare AIC or BIC, or simulate from the smaller model."
        )
    if nesting.random and chisq < -LOWER:
        said.append(f"The likelihood of {large} is lower than that of {small}, one of its cases: look at its search.")
    return said


def _pair(results: tuple[Any, ...]) -> list[_Given]:
    """Put a fit and a posterior of the same model together, in the order in which models come first."""
    given: list[_Given] = []
    for result in results:
        try:
            is_drawn = is_posterior(result)
        except ArgumentError:
            raise ComparisonError(
                f"anova was given a {type(result).__name__}: give fits, from model.fit(), and posteriors, from "
                "model.sample()."
            ) from None
        for i, other in enumerate(given):
            if is_drawn and other.posterior is None and _is_same_model(other.fit, result):
                given[i] = _Given(fit=other.fit, posterior=result)
                break
            if not is_drawn and other.fit is None and _is_same_model(result, other.posterior):
                given[i] = _Given(fit=result, posterior=other.posterior)
                break
        else:
            given.append(_Given(posterior=result) if is_drawn else _Given(fit=result))
    return given


def _is_same_model(fit: Any, posterior: Any) -> bool:
    try:
        check_same_model(fit, posterior)
    except ComparisonError:
        return False
    return True


def _name(given: Sequence[_Given], names: Sequence[str] | None, against: Against) -> dict[str, _Given]:
    if len(given) < 2:
        raise ComparisonError(f"anova was given {len(given)} model(s): give two or more; fit.anova() tests within one.")
    if names is None and (against == "largest" or any(each.posterior for each in given)):
        names = _by_residual([each.result.design.specification for each in given])
    names = [f"model {i}" for i in range(1, len(given) + 1)] if names is None else [str(name) for name in names]
    if len(names) != len(given) or len(set(names)) < len(names):
        raise ComparisonError(f"names is {shorten(names)}: give {len(given)} different names, one for each model.")
    return dict(zip(names, given, strict=True))


def _check_data(named: dict[str, Design]) -> None:
    (first, a), *others = named.items()
    for name, b in others:
        pair = f"{first} and {name}"
        if a.elsewhere is not None or b.elsewhere is not None:
            _check_sums(a, b, pair)
            continue
        if a.n != b.n or not a.rows.equals(b.rows):
            counts = f"{a.n} and {b.n} rows" if a.n != b.n else f"{a.n} rows each, but not the same"
            raise ComparisonError(
                f"{pair} used different rows ({counts}), and their likelihoods say nothing of each other. Drop the "
                "rows with missing values of either from the data, and fit both to what is left."
            )
        if not np.array_equal(a.y, b.y):
            raise ComparisonError(
                f"{pair} have different responses ({a.response!r} and {b.response!r} differ in "
                f"{int((a.y != b.y).sum())} of {a.n} rows): likelihoods are comparable on one scale only."
            )
        if not np.array_equal(a.weights, b.weights):
            raise ComparisonError(f"{pair} have different weights: fit both with the same ones.")


def _check_sums(a: Design, b: Design, pair: str) -> None:
    """Refuse models of different rows where these are not in memory, by sums over them."""
    one, other = a.elsewhere, b.elsewhere
    if one is None or other is None:
        raise ComparisonError(
            f"{pair}: the rows of one are in memory, and those of the other were read chunk by chunk. Make both models "
            "of the same source."
        )
    if not np.allclose(one.response_numbers, other.response_numbers, rtol=SAME, atol=0.0):
        raise ComparisonError(
            f"{pair} used different rows, offsets or weights, by their sums ({a.n:,} rows with a mean response of "
            f"{one.response_mean:g}, and {b.n:,} with {other.response_mean:g}), and their likelihoods say nothing of "
            "each other. Drop the rows with missing values of either, and fit both to what is left."
        )


def _nesting(small: Fit, large: Fit) -> Nesting:
    """Look whether a model is a special case of another; of rows that are not in memory, by some of them."""
    pair = _designs(small, large)
    if pair is not None:
        return examine(*pair)
    fixed, rows = small.design.sources.fixed, large.design.known_rows.as_floats().frame
    own = fixed.evaluate(rows)[:, small.design.kept] if set(fixed.uses) <= set(rows) else None
    X = large.design.sources.fixed.evaluate(rows)[:, large.design.kept]
    is_fixed = own is not None and is_in_span(own, X)
    return Nesting(fixed=is_fixed, random=False, residual=True, on_boundary=())


def _designs(small: Fit, large: Fit) -> tuple[Design, Design] | None:
    """Return two designs on the same rows; None where the first uses a column that the other does not."""
    one, other = small.problem.summed, large.problem.summed
    if one is None or other is None:
        return small.design, large.design
    from bayesmm.rows.common_rows import on_same_rows

    return on_same_rows(one, other)


def _check_methods(named: dict[str, Fit]) -> None:
    methods = {name: fit.method for name, fit in named.items()}
    if len(set(methods.values())) > 1:
        by = ", ".join(f"{name} {method.upper()}" for name, method in methods.items())
        raise ComparisonError(f"The fits are by different methods ({by}): give refit=True, or fit all by one.")
    (first, one), *others = named.items()
    if one.method == "ml":
        return
    for name, other in others:
        pair = _designs(one, other) or _designs(other, one)
        X, own = (None, None) if pair is None else (each.X[:, each.kept] for each in pair)
        if X is None or own is None or own.shape != X.shape or not is_in_span(own, X):
            raise ComparisonError(
                f"{first} and {name} are REML fits with different fixed effects, whose restricted likelihoods are of "
                "different data. Give refit=True to fit them by maximum likelihood."
            )


def _by_ml(fit: Fit) -> Fit:
    return fit if fit.method == "ml" else fit_problem(fit.problem, "ml", fit.estimate.criterion_function.engine)
