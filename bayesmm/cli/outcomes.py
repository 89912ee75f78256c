"""What a command found, in every form that can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from bayesmm.cli import documents
from bayesmm.errors import FitStatus

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.comparison import Comparison
    from bayesmm.fit.fit import Fit
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
    parameters, effects : DataFrame
        The tables.
    level : float
        Coverage of their intervals.
    usable : bool
        Whether the estimates converged and nothing speaks against the draws.
    posterior : Posterior, optional
        Where draws can be written to a file.
    comparison : Comparison, optional
        Where a figure can.
    """

    text: str
    document: dict[str, Any]
    parameters: pd.DataFrame
    effects: pd.DataFrame
    level: float
    usable: bool
    posterior: Posterior | None = None
    comparison: Comparison | None = None


def fit_outcome(model: Model, fit: Fit, source: str, level: float) -> Outcome:
    """Present point estimates."""
    return Outcome(
        text=str(fit.summary(level=level)),
        document={"model": documents.model_entry(model, source), "fit": documents.fit_entry(fit, level)},
        parameters=fit.parameter_table(level=level),
        effects=fit.random_effects(level=level),
        level=level,
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
        posterior=posterior,
    )


def compare_outcome(model: Model, comparison: Comparison, source: str) -> Outcome:
    """Present both."""
    fit, posterior, level = comparison.fit, comparison.posterior, comparison.level
    return Outcome(
        text=str(comparison),
        document={
            "model": documents.model_entry(model, source),
            "fit": documents.fit_entry(fit, level),
            "posterior": documents.posterior_entry(posterior, level),
            "comparison": documents.comparison_entry(comparison),
        },
        parameters=comparison.table,
        effects=comparison.random_effects,
        level=level,
        usable=_converged(fit) and posterior.diagnostics.is_good,
        posterior=posterior,
        comparison=comparison,
    )


def _converged(fit: Fit) -> bool:
    return fit.status is not FitStatus.NOT_CONVERGED
