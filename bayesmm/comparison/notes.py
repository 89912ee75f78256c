"""What the difference between two results means, in sentences made from the numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.comparison.evidence import NEAR, Evidence
from bayesmm.comparison.numbers import write_like
from bayesmm.errors import FitStatus

SKEWED = 0.3  # skewness from which a tail is worth naming
FAR = 0.5  # posterior sds by which a random effect must differ to be named
LISTED = 4  # parameters named in one sentence


def write_notes(evidence: Evidence) -> tuple[str, ...]:
    """Write the notes of a comparison.

    Parameters
    ----------
    evidence : Evidence
        From `gather`.

    Returns
    -------
    tuple of str
        What must be known before anything else comes first: whether fit and draws can be used. Then where the two
        agree; the boundary; the priors; skewness; widths; what is left.
    """
    parts = [_reliability, _agreement, _boundary, _priors, _skewness]
    if evidence.posterior.diagnostics.is_good:
        parts.append(_unexplained)  # else the sampler explains it
    parts += [_fixed_widths, _effect_widths, _effect_shifts]
    return tuple(note for part in parts for note in part(evidence))


def _reliability(evidence: Evidence) -> Iterator[str]:
    fit, diagnostics = evidence.fit, evidence.posterior.diagnostics
    if fit.status is FitStatus.NOT_CONVERGED:
        yield f"The {evidence.method} fit did not converge, so nothing below can be relied on. {fit.status.value}"
    if not diagnostics.is_good:
        yield f"The draws are not reliable yet, so differences may be the sampler's. {_sentence(diagnostics.advice)}"


def _agreement(evidence: Evidence) -> Iterator[str]:
    table = evidence.table
    if not (table["differs"] | table["on_boundary"]).any():
        yield f"They agree: {_closeness(table, evidence.method)}."
        return
    fixed = evidence.of_kind("fixed")
    if len(fixed) and not fixed["differs"].any():
        yield f"The fixed effects agree: {_closeness(fixed, evidence.method)}."


def _closeness(rows: pd.DataFrame, method: str) -> str:
    largest = max(rows["shift"].abs().max(), 0.01)
    if len(rows) == 1:
        return f"the posterior mean is within {largest:.2f} posterior sds of the {method} estimate"
    return f"every posterior mean is within {largest:.2f} posterior sds of its {method} estimate"


def _boundary(evidence: Evidence) -> Iterator[str]:
    edge = evidence.table[evidence.table["on_boundary"]]
    zeros = edge[edge["kind"] == "sd"]
    for name, row in list(zeros.iterrows())[:LISTED]:
        yield (
            f"{evidence.method} puts {name} at exactly zero. The posterior cannot sit on the boundary: it says below "
            f"{write_like(row['q95'], row['sd'])} with probability 0.95, mean {write_like(row['mean'], row['sd'])}."
        )
    for name, row in list(edge[edge["kind"] == "cor"].iterrows())[:LISTED]:
        where = "undefined" if np.isnan(row["estimate"]) else f"{row['estimate']:+.0f}".replace("-", "−")
        yield (
            f"{name} is {where} in the {evidence.method} fit; the posterior has mean {write_like(row['mean'], 0.1)} "
            f"and leaves everything from {write_like(row['posterior_lower'], 0.1)} to "
            f"{write_like(row['posterior_upper'], 0.1)} open."
        )
    if edge.empty and evidence.fit.is_singular:
        yield (
            f"The {evidence.method} fit is singular: {'; '.join(evidence.fit.singular_directions)}. The posterior gives "
            "every combination some variance."
        )


def _priors(evidence: Evidence) -> Iterator[str]:
    rows = evidence.table[_is_pulled(evidence)]
    priors = {row.name: row for row in evidence.posterior.priors.rows}
    pulls = []
    for name, row in rows.iterrows():
        culprit = priors[row["puller"]]
        whose = f"{culprit.prior}" if culprit.name == name else f"{culprit.prior} of {culprit.name}"
        chosen = {"user": "yours", "default": "the default", "flat": "flat"}[culprit.source]
        direction = "up" if row["pull"] > 0 else "down"
        pulls.append(f"{name} {direction} by about {abs(row['pull']):.1f} posterior sds ({whose}, {chosen})")
    if pulls:
        yield f"Priors move posterior means: {_listed(pulls)}."


def _is_pulled(evidence: Evidence) -> pd.Series:
    """Rows where the priors matter, and matter in the direction of the shift."""
    table = evidence.table
    return (table["pull"].abs() > NEAR) & table["differs"] & (table["pull"] * table["shift"] > 0)


def _is_skewed(evidence: Evidence) -> pd.Series:
    """Rows whose mean has been drawn away from the peak by a long tail, beyond what the priors explain."""
    table = evidence.table
    rest = table["shift"] - table["pull"]
    towards_tail = (rest * table["skewness"] > 0) & (table["skewness"].abs() > SKEWED)
    return table["differs"] & ~table["on_boundary"] & towards_tail & (rest.abs() > NEAR / 2)


def _skewness(evidence: Evidence) -> Iterator[str]:
    rows = evidence.table[_is_skewed(evidence)]
    spreads, others = rows[rows["kind"].isin(["sd", "sigma"])], rows[~rows["kind"].isin(["sd", "sigma"])]
    if len(spreads):
        levels = {block.group: len(block.levels) for block in evidence.fit.labels.blocks}
        groups = [f"{levels[group]} levels of {group}" for group in spreads["group"].dropna().unique()]
        known_from = f" ({_listed(groups, ', ')} inform them)" if groups else ""
        yield (
            f"Standard deviations have posteriors with a long right tail{known_from}, so their means lie above the peak "
            f"that {evidence.method} reports: {_listed(_skewed_row(row) for row in spreads.iterrows())}."
        )
        if evidence.fit.method == "ml":
            yield (
                "Maximum likelihood also makes spreads too small, as it takes the fixed effects as known; the posterior "
                "is the counterpart of method='reml'."
            )
    if len(others):
        yield f"A long tail moves the mean: {_listed(_skewed_row(row) for row in others.iterrows())}."


def _skewed_row(item: tuple[Any, pd.Series]) -> str:
    name, row = item
    mean, median, estimate = (write_like(row[column], row["sd"]) for column in ("mean", "median", "estimate"))
    return f"{name} {mean} (median {median}) against {estimate}"


def _unexplained(evidence: Evidence) -> Iterator[str]:
    table = evidence.table
    left = table[table["differs"] & ~table["on_boundary"] & ~_is_pulled(evidence) & ~_is_skewed(evidence)]
    if len(left):
        rows = [
            f"{name} {write_like(row['mean'], row['sd'])} against {write_like(row['estimate'], row['sd'])}"
            for name, row in left.iterrows()
        ]
        yield f"Neither priors (to first order) nor a tail of its own explains the shift of {_listed(rows)}."


def _fixed_widths(evidence: Evidence) -> Iterator[str]:
    fixed = evidence.of_kind("fixed")
    change = float((fixed["sd"] / fixed["std_error"]).mean() - 1.0) if len(fixed) else 0.0
    on_average = " on average" if len(fixed) > 1 else ""
    if change > evidence.width_noise:
        yield (
            "Standard errors of the fixed effects take the estimated variances as known. The posterior does not: its "
            f"sds are {_larger(change)}{on_average}."
        )
    elif change < -evidence.width_noise:
        yield (
            f"Posterior sds of the fixed effects are {_percent(change)} smaller than the standard errors{on_average}: "
            "the priors add information, or make the variances smaller."
        )


def _effect_widths(evidence: Evidence) -> Iterator[str]:
    table = evidence.random_effects[~evidence.effect_is_certain]
    changes = (table["sd"] / table["std_error"]).groupby([table["group"], table["effect"]], sort=False).mean() - 1.0
    several = table.groupby("group")["effect"].nunique() > 1
    names = {key: f"{key[0]}, {key[1]}" if several[key[0]] else key[0] for key in changes.index}
    wider = [f"{_larger(change)} ({names[key]})" for key, change in changes.items() if change > evidence.width_noise]
    narrower = [
        f"{_percent(change)} smaller ({names[key]})" for key, change in changes.items() if change < -evidence.width_noise
    ]
    if wider:
        yield (
            "The BLUPs' conditional sds take variances and fixed effects as known. Posterior sds of the random effects "
            f"are on average {_listed(wider, ', ')}."
        )
    if narrower:
        yield f"Posterior sds of the random effects are on average {_listed(narrower, ', ')} than the conditional sds."
    if len(changes) and not wider and not narrower:
        yield "Posterior sds of the random effects equal the BLUPs' conditional sds on average."


def _effect_shifts(evidence: Evidence) -> Iterator[str]:
    table = evidence.random_effects
    furthest = table.loc[table["shift"].abs().idxmax()]
    if abs(furthest["shift"]) > FAR:
        mean, estimate = (write_like(furthest[column], furthest["sd"]) for column in ("mean", "estimate"))
        yield (
            f"Random effects differ by up to {abs(furthest['shift']):.1f} posterior sds: {furthest['effect']} of "
            f"{furthest['group']} {furthest['level']} {mean} against {estimate}."
        )
    for group, sds in table.loc[evidence.effect_is_certain].groupby("group", sort=False)["sd"]:
        yield (
            f"A variance of zero leaves BLUPs of {group} no uncertainty; in the posterior their sds go up to "
            f"{write_like(sds.max(), sds.max())}."
        )


def _percent(change: float) -> str:
    return f"{abs(change):.0%}".replace("%", " %")


def _larger(change: float) -> str:
    return f"{1.0 + change:.1f} times as large" if change > 1.0 else f"{_percent(change)} larger"


def _listed(items: Iterable[str], separator: str = "; ") -> str:
    """Join the first few, and say how many more there are."""
    items = list(items)
    more = len(items) - LISTED
    shown = [*items[:LISTED], f"{more} more"] if more > 0 else items
    if separator == ", " and len(shown) > 1:
        return f"{', '.join(shown[:-1])} and {shown[-1]}"
    return separator.join(shown)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
