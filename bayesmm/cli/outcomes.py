"""What a command found, in every form that can be asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.arguments import REFITS, shorten
from bayesmm.cli import documents
from bayesmm.console import visible
from bayesmm.errors import ArgumentError, FitStatus

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.cli.data import Reading
    from bayesmm.comparison.comparison import Comparison
    from bayesmm.fit.fit import Fit
    from bayesmm.inference.diagnostics.check import Check
    from bayesmm.inference.effects.tables import Layer
    from bayesmm.inference.fitted import Df, Information
    from bayesmm.inference.power.power import Power
    from bayesmm.model import Model
    from bayesmm.plots.canvas import Figure
    from bayesmm.reporting.report import ReportPage


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
    draw : function, optional
        What draws a figure, where there is one.
    is_of_effects : bool
        Whether its table is that of the effects, so that there is no other.
    """

    text: str
    document: dict[str, Any]
    parameters: pd.DataFrame
    level: float
    usable: bool
    effects: pd.DataFrame | None = None
    saved: Fit | Posterior | None = None
    draw: Callable[[], Figure] | None = None
    is_of_effects: bool = False


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


def name_source(source: str, reading: Reading) -> str:
    """Name the data on a page: a file without its folders, which are nobody's business; how it was read if unusually.

    Parameters
    ----------
    source : str
        As the user named it.
    reading : Reading
        How its text was read.
    """
    name = "standard input" if source == "-" else Path(source).name
    given = reading.options()
    return f"{name}, read with {', '.join(given)}" if given else name


def report_outcome(
    model: Model, fit: Fit, posterior: Posterior | None, page: ReportPage, path: str, source: str, level: float
) -> Outcome:
    """Say what is on a page, and where it is."""
    return Outcome(
        text=f"{page}\n  written to {visible(path)}",
        document={
            "model": documents.model_entry(model, source),
            "report": {
                "path": path,
                "title": page.title,
                "bytes": len(page.html.encode()),
                "sections": page.sections,
                "left_out": page.left_out,
            },
        },
        parameters=fit.parameter_table(level=level),
        level=level,
        usable=_converged(fit) and (posterior is None or posterior.diagnostics.is_good),
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
        draw=comparison.plot,
    )


def check_effects(fit: Fit, group: str | None, effect: str | None) -> None:
    """Refuse groups and effects that are not there.

    Raises
    ------
    ArgumentError
        Naming those that are.
    """
    pairs = [(block.group, name) for block in fit.labels.blocks for name in block.effects]
    if not any(group in (None, g) and effect in (None, e) for g, e in pairs):
        asked = (("group", group), ("effect", effect))
        named = " ".join(f"--{what} {shorten(name)}" for what, name in asked if name is not None)
        raise ArgumentError(f"There is no {named}. There are: {', '.join(f'{e} of {g}' for g, e in pairs)}.")


def effects_outcome(
    model: Model,
    fit: Fit,
    posterior: Posterior | None,
    source: str,
    group: str | None,
    effect: str | None,
    uncertainty: Layer | None,
    *,
    bootstrap: int | None,
    seed: int,
    level: float,
) -> Outcome:
    """Present the layers of uncertainty of predicted effects, or every level by one of them."""
    from bayesmm.inference.effects.uncertainty import effect_uncertainty

    if uncertainty == "bootstrap" and bootstrap is None:
        bootstrap = REFITS
    found = effect_uncertainty(fit, posterior, bootstrap, seed=seed).only(effect, group)
    table, intervals = found.table, found.intervals(level)
    one = intervals.loc[intervals["layer"] == uncertainty].drop(columns="layer")
    if not np.isfinite(one["df"].to_numpy()).any():
        one = one.drop(columns="df")
    shown = table if uncertainty is None else one
    return Outcome(
        text=str(found) if uncertainty is None else f"{fit.design.specification.shown}\n  {found.what}: {uncertainty}",
        document={
            "model": documents.model_entry(model, source),
            "effects": {
                "method": fit.method,
                "status": fit.status.name.lower(),
                "singular_directions": fit.singular_directions,
                "level": level,
                "layers": found.layers,
                "notes": found.notes,
                "table": documents.records(table),
                "intervals": documents.records(intervals),
            },
        },
        parameters=shown.set_index("group"),
        effects=one,
        level=level,
        usable=_converged(fit) and (posterior is None or posterior.diagnostics.is_good),
        draw=partial(found.plot, layers=uncertainty, level=level),
        is_of_effects=True,
    )


def _converged(fit: Fit) -> bool:
    return fit.status is not FitStatus.NOT_CONVERGED


def power_outcome(found: Power, source: str) -> Outcome:
    """Present the power of designs."""
    return Outcome(
        text=str(found),
        document={
            "power": {
                "formula": found.formula,
                "data": source,
                "simulations": found.n,
                "alpha": found.alpha,
                "df": found.df,
                "method": found.method,
                "interval": found.interval,
                "seed": found.seed,
                "designs": documents.records(found.table),
            }
        },
        parameters=found.table.set_index("effect"),
        level=0.95,
        usable=True,
        draw=found.plot,
    )
