"""A comparison as a person reads it: what goes where, already as text, for a terminal and for a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.comparison.numbers import decimals_for, write_number

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.reml.fit import Fit

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
        title=fit.design.specification.formula,
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
    sizes = posterior.data["posterior"].sizes
    facts = [
        f"{design.n} rows{dropped}, {levels}; residual standard deviation "
        + ("estimated" if fit.known_sigma is None else f"known to be {fit.known_sigma:g}"),
        f"posterior: {sizes['chain']} chains of {sizes['draw']} draws, {posterior.program} program, {sources} priors",
    ]
    if design.aliased:
        facts.append(f"left out, being combinations of other columns: {', '.join(design.aliased)}")
    return tuple(facts)


def _parameter_sections(fit: Fit, table: pd.DataFrame) -> tuple[Section, ...]:
    """Fixed effects, then each grouping factor, then sigma."""
    sections = []
    fixed = table[table["kind"] == "fixed"]
    if len(fixed):
        sections.append(Section(heading="Fixed effects", rows=tuple(_parameter_row(str(i), fixed.loc[i]) for i in fixed.index)))
    for block in fit.labels.blocks:
        names = {block.sd_row(effect): f"sd({effect})" for effect in block.effects}
        names |= {block.cor_row(i, j): f"cor({block.effects[i]}, {block.effects[j]})" for i, j in block.pairs}
        rows = tuple(_parameter_row(short, table.loc[name]) for name, short in names.items())
        sections.append(Section(heading=f"{block.group}, {len(block.levels)} levels", rows=rows))
    if "sigma" in table.index and table.loc["sigma", "kind"] == "sigma":
        sections.append(Section(heading="Residual", rows=(_parameter_row("sigma", table.loc["sigma"]),)))
    return tuple(sections)


def _parameter_row(name: str, row: pd.Series) -> Row:
    decimals = decimals_for(row["std_error"], row["sd"])
    numbers = [write_number(row[column], decimals) for column in (*FIT_COLUMNS, *POSTERIOR_COLUMNS)]
    checks = [write_number(row["shift"], 2), write_number(row["r_hat"], 3), write_number(row["ess_bulk"], 0)]
    return Row(name=name, cells=(*numbers, *checks))


def _effect_section(group: str, effects: pd.DataFrame) -> Section:
    """Show the levels that are furthest from the average, in the order of the data."""
    names = effects["effect"].unique()[:SHOWN_EFFECTS]
    shown = effects[effects["effect"].isin(names)]
    levels = shown["level"].unique()
    if len(levels) > SHOWN_LEVELS:
        distance = (shown["mean"] / shown["mean"].groupby(shown["effect"]).transform("std")).pow(2)
        furthest = distance.groupby(shown["level"], sort=False).sum().nlargest(SHOWN_LEVELS).index
        shown = shown[shown["level"].isin(furthest)]
        heading = f"{group}: the {SHOWN_LEVELS} of {len(levels)} levels that are furthest from the average"
    else:
        heading = f"{group}: its {len(levels)} levels"
    largest = shown[["unpooled", "estimate"]].abs().max(axis=1).groupby(shown["effect"]).transform("max")
    scale = largest.where(largest > 0, 1.0)
    rows = tuple(_effect_row(row, scale.loc[i], len(names) > 1) for i, row in shown.iterrows())
    return Section(heading=heading, rows=rows)


def _effect_row(row: pd.Series, scale: float, several: bool) -> Row:
    decimals = decimals_for(row["std_error"], row["sd"])
    columns = ("unpooled", "estimate", "std_error", "mean", "sd")
    return Row(
        name=f"{row['level']}  {row['effect']}" if several else str(row["level"]),
        cells=(*(write_number(row[column], decimals) for column in columns), write_number(row["shift"], 2)),
        marks=(float(row["unpooled"] / scale), float(row["estimate"] / scale)),
    )
