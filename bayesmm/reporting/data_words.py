"""The data in tables: which rows were used, what is in their columns, how many rows the levels have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bayesmm.console import listing
from bayesmm.design.design import Design
from bayesmm.design.elsewhere import Elsewhere
from bayesmm.presenting.numbers import write_digits
from bayesmm.presenting.parts import Column, Table

MOST_LEVELS = 4  # of a factor, named with their rows


def describe_rows(design: Design) -> str:
    """Say how many rows were used, and why others were not."""
    total = design.n + design.n_dropped
    if not design.n_dropped:
        return f"All {total:,} rows were used: none has a missing value in a column of the model."
    causes = [f"{name} in {count:,}" for name, count in design.dropped_by.items() if count]
    return (
        f"{design.n:,} of {total:,} rows were used. {design.n_dropped:,} were left out because a value is missing: "
        f"{listing(causes)}. What follows holds for all rows only if what is missing does not depend on the "
        "response, given the columns of the model."
    )


def column_tables(design: Design) -> Iterator[Table]:
    """Yield a table of the numbers and one of the factors among the columns used, over the rows used."""
    if design.elsewhere is not None:
        yield _distant_columns(design, design.elsewhere)
        return
    numbers = [name for name in design.frame if pd.api.types.is_float_dtype(design.frame[name])]
    factors = [name for name in design.frame if name not in numbers]
    if numbers:
        values = [design.frame[name].to_numpy(float) for name in numbers]
        measures = {
            "mean": np.mean,
            "sd": lambda x: np.std(x, ddof=1),
            "smallest": np.min,
            "median": np.median,
            "largest": np.max,
        }
        columns = [
            Column(head=head, cells=[write_digits(float(measure(x)), 5) for x in values])
            for head, measure in measures.items()
        ]
        distinct = Column(head="distinct", cells=[f"{len(np.unique(x)):,}" for x in values])
        yield Table(names=[str(name) for name in numbers], columns=[*columns, distinct], caption="Numbers")
    if factors:
        counts = [design.frame[name].astype(str).value_counts() for name in factors]
        columns = [
            Column(head="levels", cells=[f"{(own > 0).sum():,}" for own in counts]),
            Column(head="most frequent (rows)", cells=[_frequent(own) for own in counts], is_words=True),
        ]
        yield Table(names=[str(name) for name in factors], columns=columns, caption="Factors")


def _distant_columns(design: Design, elsewhere: Elsewhere) -> Table:
    """Tabulate what was summed of the columns of rows that are not in memory."""
    variances = np.append(elsewhere.response_square / elsewhere.n, np.diag(elsewhere.covariance))
    measures = {
        "mean": np.append(elsewhere.response_mean, elsewhere.mean),
        "sd": np.sqrt(variances * elsewhere.n / max(elsewhere.n - 1, 1)),
        "smallest": np.append(elsewhere.response_low, elsewhere.low),
        "largest": np.append(elsewhere.response_high, elsewhere.high),
    }
    names = (str(design.response), *design.coefficients)
    is_constant = measures["smallest"] == measures["largest"]
    return Table(
        names=[names[i] for i in np.flatnonzero(~is_constant)],
        columns=[
            Column(head=head, cells=[write_digits(float(x), 5) for x in values[~is_constant]])
            for head, values in measures.items()
        ],
        caption="Columns of the response, less its offset, and of the fixed effects",
    )


def level_table(design: Design) -> Table:
    """Tabulate how many rows the levels of each grouping factor have."""
    blocks = [block for block in design.blocks if not block.is_whole]
    rows = [block.incidence.row_counts() for block in blocks]
    return Table(
        names=[block.group for block in blocks],
        head="grouping factor",
        columns=[
            Column(head="levels", cells=[f"{block.q:,}" for block in blocks]),
            Column(head="fewest rows", cells=[f"{own.min():,}" for own in rows]),
            Column(head="median", cells=[write_digits(float(np.median(own))) for own in rows]),
            Column(head="most rows", cells=[f"{own.max():,}" for own in rows]),
            Column(head="of one row", cells=[f"{(own == 1).sum():,}" for own in rows]),
        ],
        caption="Rows of the levels",
    )


def _frequent(counts: pd.Series) -> str:
    named = [f"{level} ({count:,})" for level, count in counts.head(MOST_LEVELS).items()]
    return ", ".join(named) + (", ..." if len(counts) > MOST_LEVELS else "")
