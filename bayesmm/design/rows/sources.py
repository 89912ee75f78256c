"""The used data, and how every column of a design is computed from data."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmm.design.blocks.blocks import BlockSources, RandomBlock, build_blocks
from bayesmm.design.blocks.checks import check_finite, check_weights
from bayesmm.design.blocks.residual import residual_columns
from bayesmm.design.columns.columns import Columns, build_arithmetic, build_columns, columns_used
from bayesmm.design.reading.check_texts import check_texts
from bayesmm.design.reading.frame import UsedRows, column_names, open_source, read_columns
from bayesmm.design.reading.names import Names
from bayesmm.design.reading.rows import Missing, Rows, choose_rows, read_weights
from bayesmm.design.related.relation import AnyRelation
from bayesmm.errors import DesignError
from bayesmm.specification.formula import read_arithmetic
from bayesmm.specification.terms import FITTED, Specification


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sources:
    """How every column is computed, for rows that are yet to come; ``weights`` where they were given as a text."""

    response: Columns
    fixed: Columns
    offsets: tuple[Columns, ...]
    blocks: tuple[BlockSources, ...]
    weights: Columns | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UsedData:
    """The used columns, and of which rows; ``numbers`` is what expressions see, ``weights`` those given as an array."""

    columns: UsedRows
    numbers: UsedRows
    rows: Rows
    weights: np.ndarray | None


def read_used_data(specification: Specification, data: Any, weights: Any, missing: Missing, names: Names) -> UsedData:
    """Read the columns that a model uses, and choose the rows; the arguments are those of `build_design`."""
    source = open_source(data)
    available = column_names(source)
    table = read_columns(source, available, needed_columns(specification, weights, available, names))
    given = None if weights is None or isinstance(weights, str) else read_weights(weights, table)
    rows = choose_rows(table, given, missing)
    check_texts(table, rows.keep, specification, names, weights if isinstance(weights, str) else None)
    check_finite(table, rows.keep)
    columns = table.rows(rows.keep)
    return UsedData(
        columns=columns,
        numbers=columns.as_floats(),
        rows=rows,
        weights=None if given is None else np.asarray(given.values)[rows.keep].astype(np.float64),
    )


def build_sources(
    specification: Specification,
    used: UsedRows,
    numbers: UsedRows,
    names: Names,
    relations: Mapping[str, AnyRelation],
    known_sigma: float | None,
) -> tuple[Sources, tuple[RandomBlock, ...]]:
    """Build every expression of a specification on the used rows, and the blocks of random effects."""
    expressions = dict.fromkeys(term.expression for term in specification.random_terms)
    built = {expression: build_columns(expression, numbers, names) for expression in expressions}
    members = dict.fromkeys(text for term in specification.random_terms for text in term.grouping.weights)
    weights = {text: build_arithmetic(text, numbers, names, what="weight of a member") for text in members}
    blocks, block_sources = build_blocks(specification.random_terms, used, built, weights, relations, known_sigma)
    sources = Sources(
        response=build_arithmetic(specification.response, numbers, names, what="response"),
        fixed=built.get(specification.fixed) or build_columns(specification.fixed, numbers, names),
        offsets=tuple(build_arithmetic(text, numbers, names, what="offset") for text in specification.offsets),
        blocks=block_sources,
    )
    return sources, blocks


def read_prior_weights(weights: Any, used: UsedData, names: Names) -> tuple[np.ndarray, Columns | None]:
    """Return the prior weights (n,), ones if none were given, and how those of a text are computed."""
    source = None
    if used.weights is not None:
        values = used.weights
    elif weights is None:
        return np.ones(len(used.columns)), None
    else:
        source = build_arithmetic(weights, used.numbers, names, what="weights")
        values = source.raw()
    check_weights(values, used.columns.index)
    return values, source


def needed_columns(specification: Specification, weights: Any, columns: Collection[str], names: Names) -> list[str]:
    """Return the columns of the data that the model uses, after checking every name in it."""
    needed = list(names.columns_of(read_arithmetic(specification.response), columns))
    needed += columns_used(specification.fixed, columns, names)
    for text in specification.offsets:
        needed += names.columns_of(read_arithmetic(text), columns)
    for term in specification.random_terms:
        needed += columns_used(term.expression, columns, names)
        needed += [*term.factors, *([term.grouping.by] if term.grouping.by else [])]
        for text in term.grouping.weights:
            needed += names.columns_of(read_arithmetic(text), columns)
    if specification.residual is not None:
        needed += residual_columns(specification.residual)
        for spread in specification.residual.spreads:
            if spread.of_fitted and FITTED in columns:
                raise DesignError(
                    f"{spread.write()} is of fitted values, and the data have a column {FITTED!r}, too: rename it."
                )
            if spread.expression and not spread.of_fitted:
                needed += names.columns_of(read_arithmetic(spread.expression), columns)
    if isinstance(weights, str):
        needed += names.columns_of(read_arithmetic(weights), columns)
    return list(dict.fromkeys(needed))
