"""A comparison as a person reads it: what goes where, already as text, for a terminal and for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.console import listing
from bayesmm.presenting.intervals import interval_head
from bayesmm.presenting.numbers import decimals_for, write_column, write_intervals
from bayesmm.presenting.parts import Column, Interval, Shrinkage, Table, Words, facts, notes
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.fit.fit import Fit
    from bayesmm.inference.bootstrap.bootstrap import Bootstrap

type Record = dict[Any, Any]  # a row of a table, by column

SHOWN_LEVELS = 4  # of each grouping factor
SHOWN_EFFECTS = 3  # of each level
SHOWN_GROUPS = 3
POSTERIOR = "posterior"
BOOTSTRAP = "bootstrap"
EFFECTS_LEGEND = "alone: from the level's own rows, all else as fitted (○);  BLUP: partially pooled (●);  │ average;  "
EFFECTS_LEGEND += "full: sd with the errors of fixed effects and variances"


def build_report(
    fit: Fit,
    posterior: Posterior,
    bootstrap: Bootstrap | None,
    table: pd.DataFrame,
    random_effects: pd.DataFrame,
    remarks: tuple[str, ...],
    level: float,
) -> Report:
    """Turn the tables of a comparison into text.

    Parameters
    ----------
    fit, posterior, bootstrap
        What is compared.
    table, random_effects : DataFrame
        `Comparison.table` and `Comparison.random_effects`.
    remarks : tuple of str
        The sentences.
    level : float
        Coverage of the intervals.
    """
    by_level = random_effects.loc[random_effects["group"].isin(list(fit.labels.n_levels))]
    groups = list(by_level.groupby("group", sort=False))[:SHOWN_GROUPS]
    excerpts = [_effect_table(fit.method.upper(), str(name), effects) for name, effects in groups]
    return Report(
        title=fit.design.specification.shown,
        parts=(
            facts(_facts(fit, posterior, bootstrap)),
            _parameter_table(fit, table, level),
            _legend("shift: (posterior mean − estimate) / posterior sd;  ESS: effective draws, bulk"),
            notes(remarks),
            *excerpts,
            *([_legend(EFFECTS_LEGEND)] if excerpts else []),
        ),
    )


def _legend(text: str) -> Words:
    return Words(role="legend", texts=(text,))


def _facts(fit: Fit, posterior: Posterior, bootstrap: Bootstrap | None) -> tuple[str, ...]:
    design = fit.design
    dropped = f" ({design.n_dropped} dropped for missing values)" if design.n_dropped else ""
    levels = "".join(f", {n} levels of {group}" for group, n in fit.labels.n_levels.items())
    sources = " and ".join(dict.fromkeys(row.source for row in posterior.priors.rows))
    in_place = design.residual is not None and design.residual.in_place
    facts = [
        f"{design.n} rows{dropped}{levels}; residual standard deviation "
        + ("estimated" if fit.known_sigma is None or in_place else f"known to be {fit.known_sigma:g}"),
        f"posterior: {posterior.origin}, {sources} priors",
    ]
    if bootstrap is not None:
        failed = f", of which {bootstrap.n_failed} failed" if bootstrap.n_failed else ""
        facts.append(f"bootstrap: {bootstrap.n} refits, {bootstrap.kind}{failed}; percentile intervals")
    if design.aliased:
        facts.append(f"left out, being combinations of other columns: {listing(design.aliased)}")
    return tuple(facts)


def _sections(fit: Fit, table: pd.DataFrame) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the headings of the fixed effects, of each grouping factor, and of sigma; below each, names and rows."""
    of_kind: dict[str, dict[str, str]] = {"fixed": {}, "sigma": {}}
    for name, kind in zip(table.index, table["kind"], strict=True):
        of_kind.setdefault(str(kind), {})[str(name)] = str(name)
    yield "Fixed effects", of_kind["fixed"]
    for block in fit.labels.blocks:
        names = {f"sd({name})": row for name, row in zip(block.sds, block.sd_rows, strict=True)}
        names |= {f"cor({name})": row for name, row in zip(block.cors, block.cor_rows, strict=True)}
        yield "All rows" if block.is_whole else f"{block.group}, {len(block.levels)} levels", names
    yield "Residual", {name: name for name in [*fit.labels.residual_sds, *fit.labels.residual_cors, *of_kind["sigma"]]}


def _parameter_table(fit: Fit, table: pd.DataFrame, level: float) -> Table:
    headings, names, rows = {}, [], []
    for heading, below in _sections(fit, table):
        if below:
            headings[len(names)] = heading
        names += below
        rows += below.values()
    ordered = table.loc[rows]
    spreads = ordered[["std_error", "sd"]].where(lambda spread: spread > 0).min(axis="columns")
    decimals = [decimals_for(spread) for spread in spreads]

    def written(column: str) -> list[str]:
        return write_column(ordered[column], decimals)

    def limits(method: str, centre: str) -> list[tuple[str, str]]:
        lower, upper = ordered[f"{method}_lower"], ordered[f"{method}_upper"]
        return write_intervals(lower, upper, ordered[centre], spreads)

    over, interval = fit.method.upper(), interval_head(level)
    refits = (
        (
            Column(head="s.e.", cells=written("bootstrap_std_error"), over=BOOTSTRAP),
            Interval(head=interval, cells=limits("bootstrap", "estimate"), over=BOOTSTRAP),
        )
        if "bootstrap_lower" in ordered
        else ()
    )
    return Table(
        names=names,
        headings=headings,
        where="comparison.table",
        columns=(
            Column(head="estimate", cells=written("estimate"), over=over),
            Column(head="s.e.", cells=written("std_error"), over=over),
            Interval(head=interval, cells=limits("fit", "estimate"), over=over),
            *refits,
            Column(head="mean", cells=written("mean"), over=POSTERIOR),
            Column(head="sd", cells=written("sd"), over=POSTERIOR),
            Interval(head=interval, cells=limits("posterior", "mean"), over=POSTERIOR),
            Column(head="shift", cells=write_column(ordered["shift"], 2)),
            Column(head="R-hat", cells=write_column(ordered["r_hat"], 3)),
            Column(head="ESS", cells=write_column(ordered["ess_bulk"], 0)),
        ),
    )


def _effect_table(method: str, group: str, effects: pd.DataFrame) -> Table:
    """Show the levels that are furthest from the average, in the order of the data; effects (q k rows) of one group."""
    names, levels = list(dict.fromkeys(effects["effect"])), list(dict.fromkeys(effects["level"]))
    q, k = len(levels), len(names)
    shown = min(k, SHOWN_EFFECTS)
    means = effects["mean"].to_numpy().reshape(q, k)[:, :shown]
    spread = means.std(axis=0)
    distances = ((means / np.where(spread > 0, spread, 1.0)) ** 2).sum(axis=1)
    furthest = np.sort(np.argsort(-distances, kind="stable")[:SHOWN_LEVELS])
    positions = (furthest[:, None] * k + np.arange(shown)).ravel()
    records = effects.iloc[positions].to_dict("records")
    caption = f"{group}: its {q} levels"
    if q > SHOWN_LEVELS:
        caption = f"{group}: the {SHOWN_LEVELS} of {q} levels that are furthest from the average"
    decimals = [decimals_for(record["std_error"], record["sd"]) for record in records]

    def written(column: str) -> list[str]:
        return write_column((record[column] for record in records), decimals)

    alone, pooled = written("unpooled"), written("estimate")
    known = all(np.isfinite(record["full"]) for record in records)
    full = (Column(head="full", cells=written("full"), over=method),) if known else ()
    return Table(
        names=[f"{each['level']}  {each['effect']}" if shown > 1 else f"{each['level']}" for each in records],
        caption=caption,
        where="comparison.random_effects",
        columns=(
            Column(head="alone", cells=alone, over=method),
            Column(head="BLUP", cells=pooled, over=method),
            Column(head="sd", cells=written("std_error"), over=method),
            *full,
            Column(head="mean", cells=written("mean"), over=POSTERIOR),
            Column(head="sd", cells=written("sd"), over=POSTERIOR),
            Column(head="shift", cells=write_column((record["shift"] for record in records), 2)),
            Shrinkage(
                head="shrinkage",
                marks=_marks(records),
                labels=[f"alone {one}, pooled {other}" for one, other in zip(alone, pooled, strict=True)],
            ),
        ),
    )


def _marks(records: list[Record]) -> list[tuple[float, float]]:
    """Place effects before and after pooling between −1 and 1, on one scale for each effect."""
    scales = {
        name: _scale(record for record in records if record["effect"] == name)
        for name in {record["effect"] for record in records}
    }
    return [
        (record["unpooled"] / scales[record["effect"]], record["estimate"] / scales[record["effect"]])
        for record in records
    ]


def _scale(records: Iterable[Record]) -> float:
    """Largest size of an effect before or after pooling, to be drawn at the end of a line."""
    sizes = [abs(record[column]) for record in records for column in ("unpooled", "estimate")]
    return max((size for size in sizes if size > 0), default=1.0)
