"""Likelihood-ratio tests and information criteria of several models of the same data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from bayesmm.arguments import is_one_of, shorten
from bayesmm.comparison.nesting import Nesting, examine, is_in_span
from bayesmm.console import listing
from bayesmm.design.design import Design
from bayesmm.design.elsewhere import SAME
from bayesmm.errors import ArgumentError, ComparisonError, FitStatus
from bayesmm.fit.estimating import fit_problem
from bayesmm.fit.fit import Fit
from bayesmm.presenting.numbers import write_number, write_p
from bayesmm.presenting.parts import Column, Table, facts, notes, warnings
from bayesmm.presenting.report import Report

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
        Index: names of the models. Columns: n_parameters, aic, bic, loglik, deviance (−2 log-likelihood); and of each
        model against the one above it chisq, df and p_value. With ``against="largest"`` these are of each model against
        the last, and there is a column aicc.
    fits : dict of str to Fit
        The fits that are compared, in the order of the table: by ML where they were refitted.
    remarks : tuple of str
        What is to be known of the tests.
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
        method = next(iter(self.fits.values())).method
        written = {
            "parameters": self._write("n_parameters", 0),
            "AIC": self._write("aic", 2),
            **({"AICc": self._write("aicc", 2)} if "aicc" in self.table else {}),
            "BIC": self._write("bic", 2),
            "log-lik.": self._write("loglik", 3),
            "χ²": self._write("chisq", 3),
            "df": self._write("df", 0),
            "p": ["" if np.isnan(p) else write_p(p) for p in self.table["p_value"]],
        }
        unfinished = [name for name, fit in self.fits.items() if fit.status is FitStatus.NOT_CONVERGED]
        return Report(
            title=f"Models by {METHODS[method]}",
            parts=(
                facts(self._told()),
                warnings([f"The search did not converge for {listing(unfinished)}."] if unfinished else []),
                Table(
                    names=[str(name) for name in self.table.index],
                    columns=tuple(Column(head=head, cells=cells) for head, cells in written.items()),
                    head="model",
                    where="models.table",
                ),
                notes(self.remarks),
            ),
        )

    def _told(self) -> list[str]:
        """Say what the models are; once, where they are called by what they differ in."""
        fits = tuple(self.fits.values())
        if _by_residual(fits) == list(self.fits):
            return [f"{fits[0].design.specification.formula}; models by the covariance of their residuals"]
        return [f"{name}: {fit.design.specification.shown}" for name, fit in self.fits.items()]

    def _write(self, column: str, decimals: int) -> list[str]:
        return ["" if np.isnan(value) else write_number(value, decimals) for value in self.table[column]]

    def __str__(self) -> str:
        return str(self.report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


def anova(*fits: Fit, refit: bool = False, names: Sequence[str] | None = None, against: Against = "next") -> ModelTable:
    """Compare models of the same data by likelihood-ratio tests, each with the next larger one, or with the largest.

    Parameters
    ----------
    *fits : Fit
        Two or more fits of the same response in the same rows.
    refit : bool
        Whether REML fits are fitted anew by maximum likelihood, as models with different fixed effects need.
    names : sequence of str, optional
        What the fits are called, in the order in which they are given; "model 1", "model 2", ... by default.
    against : {"next", "largest"}
        Whether each model is tested against the next smaller one, or each against the largest of all where it is a
        special case of that. The second is for a choice among models of which few are special cases of each other, as
        covariances of residuals: the table has AICc, too, and models of one formula are called by their ``residual=``.

    Returns
    -------
    ModelTable
        ``table`` with one row a model, by the number of parameters. Prints as a report that says where models are not
        seen to be nested, and where a tested variance is on its boundary.

    Raises
    ------
    ComparisonError
        If the fits are of different rows, responses or weights, by different methods, or by REML with different fixed
        effects, unless ``refit=True`` helps.

    Notes
    -----
    p is the probability of a larger χ² with as many degrees of freedom as there are parameters more. Where these are
    variances, zero in the smaller model, p is too large: of one variance alone up to twice as large. Where the fixed
    effects are not nested there is no such test, and p is NaN. Restricted likelihoods of the same fixed effects on
    different columns differ by a constant, which is taken off: they are those on the columns of the first fit.

    References
    ----------
    Self & Liang (1987), JASA 82. Stram & Lee (1994), Biometrics 50.

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
    if names is None and against == "largest":
        names = _by_residual(fits)
    named = _name(fits, names)
    _check_data(named)
    if refit:
        named = {name: _by_ml(fit) for name, fit in named.items()}
    _check_methods(named)
    logliks = _logliks(named)
    named = dict(sorted(named.items(), key=lambda pair: pair[1].n_parameters))
    table = pd.DataFrame(
        [_criteria(fit, logliks[name]) for name, fit in named.items()], index=pd.Index(named, name="model")
    ).assign(chisq=np.nan, df=np.nan, p_value=np.nan)
    remarks: list[str] = []
    if any(fit.design.residual is not None and fit.design.residual.of_fitted for fit in named.values()):
        remarks.append(OF_FITTED)
    if against == "largest":
        remarks += _test_against_largest(table, named, logliks)
        return ModelTable(table=table, fits=named, remarks=tuple(remarks), against=against)
    for small, large in pairwise(named):
        nesting = _nesting(named[small], named[large])
        chisq = 2.0 * (logliks[large] - logliks[small])
        df = named[large].n_parameters - named[small].n_parameters
        is_no_case = chisq < -LOWER and not nesting.residual
        p = stats.chi2.sf(max(chisq, 0.0), df) if df and nesting.fixed and not is_no_case else np.nan
        table.loc[large, ["chisq", "df", "p_value"]] = [chisq, df, p]
        remarks += _remarks(small, large, nesting, chisq, df)
    return ModelTable(table=table.drop(columns="aicc"), fits=named, remarks=tuple(remarks))


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


def _by_residual(fits: tuple[Any, ...]) -> list[str] | None:
    """Call fits of one formula by the covariances of their residuals; None where that does not tell them apart."""
    if not all(isinstance(fit, Fit) for fit in fits):
        return None
    specifications = [fit.design.specification for fit in fits]
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
        "n_parameters": k,
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


def _name(fits: tuple[Any, ...], names: Sequence[str] | None) -> dict[str, Fit]:
    wrong = [type(fit).__name__ for fit in fits if not isinstance(fit, Fit)]
    if wrong:
        raise ComparisonError(
            f"anova was given {listing(wrong)}: give fits, from model.fit(). Posteriors are compared by "
            "posterior.loo() and arviz.compare."
        )
    if len(fits) < 2:
        raise ComparisonError(f"anova was given {len(fits)} fit(s): give two or more; fit.anova() tests within one.")
    names = [f"model {i}" for i in range(1, len(fits) + 1)] if names is None else [str(name) for name in names]
    if len(names) != len(fits) or len(set(names)) < len(names):
        raise ComparisonError(f"names is {shorten(names)}: give {len(fits)} different names, one for each fit.")
    return dict(zip(names, fits, strict=True))


def _check_data(named: dict[str, Fit]) -> None:
    (first, one), *others = named.items()
    for name, other in others:
        a, b = one.design, other.design
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
