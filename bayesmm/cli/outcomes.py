"""What a command found, in every form that can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from bayesmm.cli import documents
from bayesmm.errors import FitStatus

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.comparison.comparison import Comparison
    from bayesmm.fit.fit import Fit
    from bayesmm.inference.diagnostics.check import Check
    from bayesmm.inference.fitted import Df, Information
    from bayesmm.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one command.

    Attributes
    ----------
    text : str
        For the terminal.
    document : dict
        For JSON.
    parameters : DataFrame
        Its table.
    effects : DataFrame, optional
        The random effects, where the command knows them.
    level : float
        Coverage of their intervals.
    usable : bool
        Whether the estimates converged and nothing speaks against the draws.
    saved : Fit or Posterior, optional
        What a file for `bayesmm.load` would have.
    comparison : Comparison, optional
        Where a figure can.
    """

    text: str
    document: dict[str, Any]
    parameters: pd.DataFrame
    level: float
    usable: bool
    effects: pd.DataFrame | None = None
    saved: Fit | Posterior | None = None
    comparison: Comparison | None = None


def fit_outcome(model: Model, fit: Fit, source: str, df: Df, information: Information | None, level: float) -> Outcome:
    """Present point estimates."""
    return Outcome(
        text=str(fit.summary(df=df, information=information, level=level)),
        document={
            "model": documents.model_entry(model, source),
            "fit": documents.fit_entry(fit, df, information, level),
        },
        parameters=fit.parameter_table(df=df, information=information, level=level),
        effects=fit.random_effects(level=level),
        level=level,
        usable=_converged(fit),
        saved=fit,
    )


def anova_outcome(model: Model, fit: Fit, source: str, type: Any, df: Df, information: Information | None) -> Outcome:
    """Present a test of each term."""
    tests = fit.anova(type=type, df=df, information=information)
    return Outcome(
        text=str(tests),
        document={
            "model": documents.model_entry(model, source),
            "anova": {
                "type": tests.type,
                "df": df,
                "information": information,
                "terms": documents.records(tests.table.reset_index()),
            },
        },
        parameters=tests.table,
        level=0.95,
        usable=_converged(fit),
    )


def linear_test_outcome(
    model: Model,
    fit: Fit,
    source: str,
    hypotheses: str,
    df: Df,
    information: Information | None,
    level: float,
) -> Outcome:
    """Present a test of hypotheses."""
    found = fit.test(hypotheses, df=df, information=information, level=level)
    return Outcome(
        text=str(found),
        document={
            "model": documents.model_entry(model, source),
            "test": {
                "df": df,
                "information": information,
                "level": level,
                "hypotheses": documents.records(found.table.reset_index()),
                "joint": found.joint._asdict(),
            },
        },
        parameters=found.table,
        level=level,
        usable=_converged(fit),
    )


def check_outcome(model: Model, fit: Fit, check: Check, source: str) -> Outcome:
    """Present a check; its table is that of the looks."""
    return Outcome(
        text=str(check),
        document={"model": documents.model_entry(model, source), "check": documents.check_entry(fit, check)},
        parameters=check.patterns.table.set_index("what"),
        effects=fit.random_effects(),
        level=0.95,
        usable=_converged(fit),
    )


def sample_outcome(model: Model, posterior: Posterior, source: str, level: float) -> Outcome:
    """Present draws."""
    return Outcome(
        text=str(posterior.summary(level=level)),
        document={
            "model": documents.model_entry(model, source),
            "posterior": documents.posterior_entry(posterior, level),
        },
        parameters=posterior.parameter_table(level=level),
        effects=posterior.random_effects(level=level),
        level=level,
        usable=posterior.diagnostics.is_good,
        saved=posterior,
    )


def compare_outcome(model: Model, comparison: Comparison, source: str) -> Outcome:
    """Present both."""
    fit, posterior, level = comparison.fit, comparison.posterior, comparison.level
    return Outcome(
        text=str(comparison),
        document={
            "model": documents.model_entry(model, source),
            "fit": documents.fit_entry(fit, comparison.df, comparison.information, level),
            "posterior": documents.posterior_entry(posterior, level),
            "comparison": documents.comparison_entry(comparison),
        },
        parameters=comparison.table,
        effects=comparison.random_effects,
        level=level,
        usable=_converged(fit) and posterior.diagnostics.is_good,
        saved=posterior,
        comparison=comparison,
    )


def _converged(fit: Fit) -> bool:
    return fit.status is not FitStatus.NOT_CONVERGED
