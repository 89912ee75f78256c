"""Results as one JSON document."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmm.console import visible
from bayesmm.version import __version__

if TYPE_CHECKING:
    import pandas as pd

    from bayesmm.bayes.posterior import Posterior
    from bayesmm.comparison.comparison import Comparison
    from bayesmm.fit.fit import Fit
    from bayesmm.inference.diagnostics.check import Check
    from bayesmm.inference.fitted import Df, Information
    from bayesmm.model import Model


def model_entry(model: Model, source: str) -> dict[str, Any]:
    """Say what was asked, of which rows."""
    design = model.design
    return {
        "formula": design.specification.formula,
        **({} if design.residual is None else {"residual": design.residual.specification.text}),
        "data": source,
        "response": design.response,
        "sigma": model.known_sigma,
        "rows": {"used": design.n, "dropped": design.n_dropped, "dropped_by": dict(design.dropped_by)},
        "groups": [{"group": block.group, "levels": block.q, "effects": block.effects} for block in design.blocks],
        "aliased": design.aliased,
    }


def fit_entry(fit: Fit, df: Df, information: Information | None, level: float) -> dict[str, Any]:
    """Point estimates."""
    return {
        "method": fit.method,
        "status": fit.status.name.lower(),
        "advice": fit.status.value,
        "convergence": fit.convergence,
        "singular": fit.is_singular,
        "singular_directions": fit.singular_directions,
        "log_likelihood": fit.loglik,
        "aic": fit.aic,
        "bic": fit.bic,
        "n_parameters": fit.n_parameters,
        "sigma": fit.sigma,
        "level": level,
        "df": df,
        "information": information,
        "fixed_effects": records(fit.coefficients(df=df, information=information, level=level).reset_index()),
        "parameters": records(fit.parameter_table(df=df, information=information, level=level).reset_index()),
        "random_effects": records(fit.random_effects(level=level)),
    }


def check_entry(fit: Fit, check: Check) -> dict[str, Any]:
    """Write out what was looked at, and found."""
    return {
        "good": check.is_good,
        "status": fit.status.name.lower(),
        "findings": [
            {"topic": each.topic, "concern": each.is_concern, "text": each.text, "advice": each.advice}
            for each in check.findings
        ],
        "looks": records(check.patterns.table),
        "sets": check.patterns.n,
        "p_any": check.patterns.p_any,
        "levels": records(check.levels.reset_index()),
        "influence": {by: records(each.table.reset_index(names=by)) for by, each in check.influence.items()},
        "principal_components": records(check.principal_components.reset_index()),
    }


def posterior_entry(posterior: Posterior, level: float) -> dict[str, Any]:
    """Draws, summarised."""
    diagnostics = posterior.diagnostics
    return {
        "program": posterior.program,
        "chains": diagnostics.chains,
        "draws": diagnostics.draws,
        "good": diagnostics.is_good,
        "advice": diagnostics.advice,
        "divergences": diagnostics.divergences,
        "reached_max_tree_depth": diagnostics.reached_max_tree_depth,
        "bfmi": diagnostics.bfmi,
        "notes": posterior.notes,
        "priors": records(posterior.priors.table().reset_index()),
        "level": level,
        "parameters": records(posterior.parameter_table(level=level).reset_index()),
        "random_effects": records(posterior.random_effects(level=level)),
    }


def comparison_entry(comparison: Comparison) -> dict[str, Any]:
    """Both, side by side."""
    return {
        "level": comparison.level,
        "notes": comparison.notes,
        "parameters": records(comparison.table.reset_index()),
        "random_effects": records(comparison.random_effects),
    }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries."""
    return table.to_dict("records")


def write_json(document: dict[str, Any], *, ascii_only: bool = False) -> str:
    """Write a document as JSON; what is not a finite number becomes null.

    Names are what they are; what a terminal would obey in them is written as JSON's own escapes.
    """
    entries = _plain({"bayesmm": __version__, **document})
    text = json.dumps(entries, indent=1, ensure_ascii=ascii_only, allow_nan=False)
    return re.sub(r"[^\n -~]", lambda found: _escaped(found.group()), text)


def _escaped(character: str) -> str:
    return character if visible(character) == character else json.dumps(character)[1:-1]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
