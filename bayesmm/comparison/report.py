"""A comparison as a person reads it: what goes where, already as text, for a terminal and for a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.comparison.numbers import decimals_for, write_number
from bayesmm.console import listing

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.reml.fit import Fit

type Record = dict[Any, Any]  # a row of a table, by column

SHOWN_LEVELS = 4  # of each grouping factor
SHOWN_EFFECTS = 3  # of each level
SHOWN_GROUPS = 3
FIT_COLUMNS = ("estimate", "std_error", "fit_lower", "fit_upper")
POSTERIOR_COLUMNS = ("mean", "sd", "posterior_lower", "posterior_upper")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table.

    Attributes
    ----------
    name : str
        What it is about.
    cells : tuple of str
        Its numbers.
    marks : tuple of (float, float)
        For a line of random effects, where the effect of the level's own rows and the BLUP lie, zero in the middle and
        ±1 at the ends; NaN where there is none. Zeros elsewhere.
    """

    name: str
    cells: tuple[str, ...]
    marks: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Lines under one heading."""

    heading: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All text of a comparison.

    Attributes
    ----------
    method : {"REML", "ML"}
        What the estimates are called.
    title : str
        The formula.
    facts : tuple of str
        Rows, levels, draws, priors.
    level : float
        Coverage of the intervals.
    parameters : tuple of Section
        Rows of eleven cells: estimate, its standard error and interval; mean, sd, interval; shift, R̂, effective draws.
    notes : tuple of str
        The sentences.
    effects : tuple of Section
        Excerpts of the random effects; rows of six cells: unpooled, BLUP, conditional sd; mean, sd; shift.
    """

    method: str
    title: str
    facts: tuple[str, ...]
    level: float
    parameters: tuple[Section, ...]
    notes: tuple[str, ...]
    effects: tuple[Section, ...]


def build_report(
    fit: Fit,
    posterior: Posterior,
    table: pd.DataFrame,
    random_effects: pd.DataFrame,
    notes: tuple[str, ...],
    level: float,
) -> Report:
    """Turn the tables of a comparison into text."""
    groups = random_effects.groupby("group", sort=False)
    return Report(
        method=fit.method.upper(),
        title=fit.design.specification.shown,
        facts=_facts(fit, posterior),
        level=level,
        parameters=_parameter_sections(fit, table),
        notes=notes,
        effects=tuple(_effect_section(str(name), effects) for name, effects in list(groups)[:SHOWN_GROUPS]),
    )


def _facts(fit: Fit, posterior: Posterior) -> tuple[str, ...]:
    design = fit.design
    dropped = f" ({design.n_dropped} dropped for missing values)" if design.n_dropped else ""
    levels = ", ".join(f"{block.q} levels of {block.group}" for block in design.blocks)
    sources = " and ".join(dict.fromkeys(row.source for row in posterior.priors.rows))
    facts = [
        f"{design.n} rows{dropped}, {levels}; residual standard deviation "
        + ("estimated" if fit.known_sigma is None else f"known to be {fit.known_sigma:g}"),
        f"posterior: {posterior.origin}, {sources} priors",
    ]
    if design.aliased:
        facts.append(f"left out, being combinations of other columns: {listing(design.aliased)}")
    return tuple(facts)


def _parameter_sections(fit: Fit, table: pd.DataFrame) -> tuple[Section, ...]:
    """Make sections of the fixed effects, of each grouping factor, and of sigma."""
    records: dict[str, Record] = {str(name): record for name, record in table.to_dict("index").items()}
    sections = [("Fixed effects", {name: name for name, record in records.items() if record["kind"] == "fixed"})]
    for block in fit.labels.blocks:
        names = {f"sd({name})": row for name, row in zip(block.sds, block.sd_rows, strict=True)}
        names |= {f"cor({name})": row for name, row in zip(block.cors, block.cor_rows, strict=True)}
        sections.append((f"{block.group}, {len(block.levels)} levels", names))
    sections.append(("Residual", {name: name for name, record in records.items() if record["kind"] == "sigma"}))
    return tuple(
        Section(heading=heading, rows=tuple(_parameter_row(short, records[name]) for short, name in names.items()))
        for heading, names in sections
        if names
    )


def _parameter_row(name: str, record: Record) -> Row:
    decimals = decimals_for(record["std_error"], record["sd"])
    numbers = [write_number(record[column], decimals) for column in (*FIT_COLUMNS, *POSTERIOR_COLUMNS)]
    checks = [write_number(record["shift"], 2), write_number(record["r_hat"], 3), write_number(record["ess_bulk"], 0)]
    return Row(name=name, cells=(*numbers, *checks))


def _effect_section(group: str, effects: pd.DataFrame) -> Section:
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
    scales = {name: _scale(record for record in records if record["effect"] == name) for name in names[:shown]}
    heading = f"{group}: its {q} levels"
    if q > SHOWN_LEVELS:
        heading = f"{group}: the {SHOWN_LEVELS} of {q} levels that are furthest from the average"
    return Section(
        heading=heading, rows=tuple(_effect_row(record, scales[record["effect"]], shown > 1) for record in records)
    )


def _scale(records: Iterable[Record]) -> float:
    """Largest size of an effect before or after pooling, to be drawn at the end of a line."""
    sizes = [abs(record[column]) for record in records for column in ("unpooled", "estimate")]
    return max((size for size in sizes if size > 0), default=1.0)


def _effect_row(record: Record, scale: float, several: bool) -> Row:
    decimals = decimals_for(record["std_error"], record["sd"])
    columns = ("unpooled", "estimate", "std_error", "mean", "sd")
    return Row(
        name=f"{record['level']}  {record['effect']}" if several else f"{record['level']}",
        cells=(*(write_number(record[column], decimals) for column in columns), write_number(record["shift"], 2)),
        marks=(record["unpooled"] / scale, record["estimate"] / scale),
    )
