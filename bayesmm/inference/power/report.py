"""Power as a person wants to read it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd

from bayesmm.presenting.numbers import write_digits, write_number
from bayesmm.presenting.parts import Column, Interval, Table, facts, notes, warnings
from bayesmm.presenting.report import Report

AIM = 0.8  # power that is usually aimed at
MANY_SINGULAR = 0.2  # share of fits on the boundary that is worth a word
DEGREES = {
    "satterthwaite": "Satterthwaite's degrees of freedom",
    "kenward-roger": "Kenward and Roger's method",
    "residual": "n − p degrees of freedom",
    "normal": "normal quantiles",
}
METHODS = {"reml": "REML", "ml": "maximum likelihood"}
SOURCES = {"wald": "of the test", "bootstrap": "of a bootstrap", "posterior": "of the posterior"}


class Found(Protocol):
    """A `bayesmm.inference.power.power.Power`, as its report sees it."""

    @property
    def formula(self) -> str:
        """Of the model."""
        ...

    @property
    def table(self) -> pd.DataFrame:
        """One row a design and effect."""
        ...

    @property
    def sizes(self) -> tuple[str, ...]:
        """Columns of sizes that were asked for."""
        ...

    @property
    def n(self) -> int:
        """Data sets of each design."""
        ...

    @property
    def alpha(self) -> float:
        """Level of the tests."""
        ...

    @property
    def df(self) -> str:
        """Degrees of freedom."""
        ...

    @property
    def method(self) -> str:
        """REML or ML."""
        ...

    @property
    def interval(self) -> str:
        """Where intervals come from."""
        ...

    @property
    def seed(self) -> int:
        """Of the random numbers."""
        ...

    def smallest(self, power: float = ...) -> pd.DataFrame:
        """Rows of the smallest designs that reach a power."""
        ...


def build_report(found: Found) -> Report:
    """Summarise designs; see `bayesmm.power`."""
    rows = found.table.to_dict("records")
    failed = sum({tuple(row[name] for name in (*found.sizes, "rows")): row["failed"] for row in rows}.values())
    return Report(
        title=f"Power of {found.formula}",
        parts=(
            facts(
                (
                    f"{found.n} data sets of each design, fitted by {METHODS[found.method]}; {DEGREES[found.df]}; "
                    f"alpha {found.alpha:g}; seed {found.seed}",
                )
            ),
            warnings(
                (f"{failed} refits failed; they count as data sets in which nothing is found.",) if failed else ()
            ),
            _table(found),
            notes(_notes(found)),
        ),
    )


def _table(found: Found) -> Table:
    table = found.table
    rows = table.to_dict("records")
    sizes = [name for name in table.columns if name.startswith(("n(", "rows("))]
    columns: list[Column | Interval] = [Column(head=name, cells=[_whole(row[name]) for row in rows]) for name in sizes]
    columns.append(Column(head="rows", cells=[_whole(row["rows"]) for row in rows]))
    columns.append(Column(head="truth", cells=[write_digits(row["truth"]) for row in rows]))
    columns.append(Column(head="power", cells=[write_number(row["power"], 3) for row in rows]))
    limits = [(write_number(row["lower"], 3), write_number(row["upper"], 3)) for row in rows]
    columns.append(Interval(head="95 % interval", cells=limits))
    for name, head, digits in (("type_s", "type S", 3), ("type_m", "type M", 2)):
        if _any(rows, name):
            columns.append(Column(head=head, cells=[write_number(row[name], digits) for row in rows]))
    if _any(rows, "length"):
        columns.append(Column(head="length", cells=[write_digits(row["length"], 3) for row in rows]))
    if _any(rows, "aim"):
        columns.append(Column(head="shorter than aim", cells=[write_number(row["precision"], 3) for row in rows]))
    return Table(names=[str(name) for name in table["effect"]], columns=columns, head="effect", where="power.table")


def _whole(value: float) -> str:
    return write_number(value, 0) if np.isfinite(value) else "–"


def _notes(found: Found) -> list[str]:
    rows, said = found.table.to_dict("records"), []
    reached = {row["effect"]: row for row in found.smallest(AIM).to_dict("records")}
    for effect in dict.fromkeys(row["effect"] for row in rows):
        own = [row for row in rows if row["effect"] == effect]
        if len(own) > 1:
            said.append(_verdict(effect, reached.get(effect), own, found))
    if _any(rows, "type_m"):
        said.append(
            "Of the data sets in which an effect is found: type S is the share with the wrong sign, type M by how many "
            "times the effect is exaggerated on average (Gelman & Carlin 2014)."
        )
    if _any(rows, "length"):
        said.append(
            f"length: mean length of the {100 * (1 - found.alpha):g} % interval {SOURCES[found.interval]}, in units of "
            "the coefficient."
        )
    singular = max(row["singular"] for row in rows)
    if singular > MANY_SINGULAR:
        said.append(
            f"Up to {100 * singular:.0f} % of the fits are singular (a variance of zero, or a correlation of ±1): see "
            "the column singular."
        )
    return said


def _verdict(effect: str, reached: dict | None, rows: list[dict], found: Found) -> str:
    """Say which design is enough for an effect, or that none is."""
    if reached is None:
        best = max(rows, key=lambda row: row["power"])
        return (
            f"{effect}: no design reaches a power of {AIM * 100:g} %; the one of {_words(best, found)} comes nearest, "
            f"with {best['power'] * 100:.1f} %."
        )
    sure = "" if reached["lower"] >= AIM else " Its interval begins below that: take more data sets to be sure."
    return (
        f"{effect}: the smallest design with a power of {AIM * 100:g} % is that of {_words(reached, found)} "
        f"({reached['power'] * 100:.1f} %, between {reached['lower'] * 100:.1f} and "
        f"{reached['upper'] * 100:.1f} %).{sure}"
    )


def _any(rows: list[dict], name: str) -> bool:
    return any(np.isfinite(row[name]) for row in rows)


def _words(row: dict, found: Found) -> str:
    """Say how large a design is."""
    sizes = [
        f"{row[name]} levels of {name[2:-1]}"
        if name.startswith("n(")
        else f"{row[name]} row{'s' if row[name] != 1 else ''} for each {name[5:-1]}"
        for name in found.sizes
    ]
    return ", ".join([*sizes, f"{row['rows']} rows"]) if sizes else f"{row['rows']} rows"
