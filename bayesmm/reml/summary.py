"""A fit as a person wants to read it, in a terminal and in a notebook."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.arguments import check_level
from bayesmm.console import Column, fold, listing
from bayesmm.console import table as write_table
from bayesmm.design.confounding import find_far
from bayesmm.errors import FitStatus
from bayesmm.reml.tables import fixed_effect_table

if TYPE_CHECKING:
    from bayesmm.reml.fit import Fit

METHODS = {"reml": "REML", "ml": "maximum likelihood"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Headed tables between lines of text.

    Attributes
    ----------
    title : str
        What was fitted, and how.
    facts : tuple of str
        Lines below the title, a verdict that the tables cannot be relied on among them.
    tables : tuple of (str, DataFrame)
        Headings and tables of text, ready to print.
    notes : tuple of str
        Lines below the tables: verdicts and warnings.
    """

    title: str
    facts: tuple[str, ...]
    tables: tuple[tuple[str, pd.DataFrame], ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        parts = ["\n".join(line for text in (self.title, *self.facts) for line in fold(text, then="  "))]
        parts += [f"{heading}\n{_as_text(table)}" for heading, table in self.tables]
        parts += ["\n".join(line for note in self.notes for line in fold(note))] if self.notes else []
        return "\n\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        html = f"<p><b>{escape(self.title)}</b><br>" + "<br>".join(map(escape, self.facts)) + "</p>"
        for heading, table in self.tables:
            html += f"<p>{escape(heading)}</p>" + table.to_html(border=0, justify="right")
        return html + "".join(f"<p>{escape(note)}</p>" for note in self.notes)


def build_summary(fit: Fit, level: float) -> Summary:
    """Summarise a fit; see `Fit.summary`."""
    level, design = check_level(level), fit.design
    interval = f"{level * 100:g} % interval"
    kind = "restricted log-likelihood" if fit.method == "reml" else "log-likelihood"
    rows = f"{fit.n} rows" + (f" ({design.n_dropped} dropped for missing values)" if design.n_dropped else "")
    groups = ", ".join(f"{block.group} {block.q}" for block in design.blocks)
    return Summary(
        title=f"Linear mixed model fitted by {METHODS[fit.method]}: {design.specification.shown}",
        facts=(
            f"{rows}; levels: {groups}",
            f"{kind} {fit.loglik:.4f}, AIC {fit.aic:.2f}, BIC {fit.bic:.2f}, {fit.n_parameters} parameters",
            *([fit.status.value, f"Search: {fit.convergence}"] if fit.status is FitStatus.NOT_CONVERGED else []),
        ),
        tables=(
            ("Random effects", _random_table(fit, level, interval)),
            ("Fixed effects (normal quantiles: df = ∞)", _fixed_table(fit, level, interval)),
        ),
        notes=_notes(fit),
    )


def _notes(fit: Fit) -> tuple[str, ...]:
    notes = []
    if fit.design.aliased:
        notes.append(
            f"Dropped from the fixed effects, being combinations of earlier columns: {listing(fit.design.aliased)}."
        )
    if fit.status is FitStatus.BOUNDARY:
        notes.append(fit.status.value)
    notes += fit.confounded
    notes += find_far(fit.design.blocks)
    if fit.other_maxima:
        notes.append(_other_maxima(fit))
    notes += [f"Singular: {direction}." for direction in fit.singular_directions]
    return tuple(notes)


def _other_maxima(fit: Fit) -> str:
    lower = [f"{fit.loglik - other.log_likelihood:.3g}" for other in fit.other_maxima]
    count = "Another maximum" if len(lower) == 1 else f"{len(lower)} other maxima"
    return f"{count} of the likelihood seen, lower by {' and '.join(lower)}: see fit.other_maxima."


def _random_table(fit: Fit, level: float, interval: str) -> pd.DataFrame:
    """Tabulate standard deviations by group and effect, correlations to the right as lme4 prints them."""
    parameters = fit.parameter_table(level=level)
    rows = []
    for block in fit.labels.blocks:
        own = [
            {"group": block.group if i == 0 else "", "effect": name, **_spread_cells(parameters.loc[sd], interval)}
            for i, (name, sd) in enumerate(zip(block.sds, block.sd_rows, strict=True))
        ]
        for (i, head), name in zip(block.cor_cells, block.cor_rows, strict=True):
            value = parameters.loc[name, "estimate"]
            own[i][head] = "" if np.isnan(value) else f"{value:.3f}"
        rows += own
    if fit.known_sigma is None:
        rows.append({"group": "residual", "effect": "", **_spread_cells(parameters.loc["sigma"], interval)})
    else:
        rows.append({"group": "residual", "effect": "", "sd": f"{fit.sigma:.5g}", "std_error": "known"})
    return pd.DataFrame(rows).fillna("").set_index("group")


def _spread_cells(row: pd.Series, interval: str) -> dict[str, str]:
    return {
        "sd": f"{row['estimate']:.5g}",
        "std_error": "" if np.isnan(row["std_error"]) else f"{row['std_error']:.3g}",
        interval: "" if np.isnan(row["lower"]) else _interval(row),
    }


def _interval(row: Any) -> str:
    return " to ".join(f"{row[end]:#.4g}".rstrip(".") for end in ("lower", "upper"))


def _fixed_table(fit: Fit, level: float, interval: str) -> pd.DataFrame:
    def cells(row: dict[str, float]) -> dict[str, str]:
        if math.isnan(row["estimate"]):
            return dict.fromkeys(("estimate", "std_error", "z", "p", interval), "") | {"estimate": "aliased"}
        return {
            "estimate": f"{row['estimate']:.5g}",
            "std_error": f"{row['std_error']:.4g}",
            "z": f"{row['statistic']:.2f}",
            "p": "< 0.001" if row["p_value"] < 0.001 else f"{row['p_value']:.3f}",
            interval: _interval(row),
        }

    table = fixed_effect_table(fit.design, fit.labels, fit.estimate, level)
    return pd.DataFrame([cells(row) for row in table.to_dict("records")], index=pd.Index(table.index, name=""))


def _as_text(table: pd.DataFrame) -> str:
    """Right-aligned cells below their headings, the index to the left."""
    if table.empty:
        return "  (none)"
    columns = [
        Column(head=str(name), cells=[str(cell) for cell in table[name]], is_words=name == "effect")
        for name in table.columns
    ]
    return "\n".join(write_table([*map(str, table.index)], columns, head=str(table.index.name or "")))
