"""The columns of a fitted design for rows that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.console import listing
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.blocks.memberships import check_member_weights, member_columns
from bayesmm.design.columns.columns import Columns
from bayesmm.design.reading.dtypes import Column, level_text
from bayesmm.design.reading.frame import Table, open_frame, read_table
from bayesmm.design.reading.levels import read_levels
from bayesmm.design.rows.extrapolation import warn_of_extrapolation
from bayesmm.design.rows.sources import Sources
from bayesmm.errors import PredictionError
from bayesmm.incidence import Incidence, Membership


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewBlock:
    """One grouping factor in new rows.

    Attributes
    ----------
    group : str
        Name of the grouping factor.
    incidence : Incidence
        Fitted levels of each row, −1 where the level is new or missing, and what their effects are multiplied by, NaN
        where that is missing.
    labels : tuple of array of object, shape (m,)
        For each membership the label of the level, also of a new one; None where it is missing.
    """

    group: str
    incidence: Incidence
    labels: tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewRows:
    """The columns of the model for new rows; missing values give NaN.

    Attributes
    ----------
    index : pandas.Index
        Row labels (m,) of the new data.
    X : array, shape (m, p_all)
        Fixed-effects columns, also the aliased ones.
    offset : array, shape (m,)
        Offset.
    blocks : tuple of NewBlock
        The requested grouping factors.
    y : array, shape (m,), or None
        Response, if it was asked for.
    """

    index: pd.Index
    X: np.ndarray
    offset: np.ndarray
    blocks: tuple[NewBlock, ...]
    y: np.ndarray | None


def evaluate_rows(
    sources: Sources,
    blocks: Sequence[RandomBlock],
    new_data: Any,
    *,
    fixed: str,
    fitted: pd.DataFrame,
    response: bool,
    groups: Sequence[str] | None,
) -> NewRows:
    """Compute the columns of a design for new rows; see `Design.evaluate`.

    Parameters
    ----------
    sources : Sources
        How the columns are computed.
    blocks : sequence of RandomBlock
        Those of the fit.
    new_data, response, groups
        As `Design.evaluate` takes them.
    fixed : str
        The fixed part of the formula.
    fitted : pandas.DataFrame
        The used columns of the rows of the fit.
    """
    chosen = _chosen_blocks(blocks, groups)
    expressions = [
        sources.fixed,
        *sources.offsets,
        *(each for i in chosen for each in (*sources.blocks[i].columns, *sources.blocks[i].weights)),
    ]
    expressions += [sources.response] if response else []
    factors = [name for i in chosen for name in blocks[i].factors]
    needed = dict.fromkeys([*(name for each in expressions for name in each.uses), *factors])
    table = read_table(new_data, list(needed), may_be_empty=True)
    left_of_bars = [piece.term.expression for i in chosen for piece in blocks[i].pieces]
    matched = match_kinds(table, {name for each in expressions for name in each.uses}, fitted)
    warn_of_extrapolation([fixed, *left_of_bars], matched, fitted)

    def columns(source: Columns) -> np.ndarray:
        return _with_gaps(source, matched)

    return NewRows(
        index=table.index,
        X=columns(sources.fixed),
        offset=sum((columns(each)[:, 0] for each in sources.offsets), np.zeros(table.n_rows)),
        blocks=tuple(
            _new_block(
                blocks[i],
                table,
                [columns(each) for each in sources.blocks[i].columns],
                [columns(each)[:, 0] for each in sources.blocks[i].weights],
            )
            for i in chosen
        ),
        y=columns(sources.response)[:, 0] if response else None,
    )


def evaluate_weights(sources: Sources, new_data: Any, fitted: pd.DataFrame) -> np.ndarray | None:
    """Compute the prior weights of new rows; see `Design.evaluate_weights`."""
    source = sources.weights
    if source is None or not set(source.uses) <= set(open_frame(new_data).columns):
        return None
    table = read_table(new_data, list(source.uses), may_be_empty=True)
    return _with_gaps(source, match_kinds(table, set(source.uses), fitted))[:, 0]


def _chosen_blocks(blocks: Sequence[RandomBlock], groups: Sequence[str] | None) -> list[int]:
    names = [block.group for block in blocks]
    unknown = sorted(set(groups or ()) - set(names))
    if unknown:
        raise PredictionError(f"The model has no grouping factor {unknown[0]!r}. It has {listing(names)}.")
    return [i for i, name in enumerate(names) if groups is None or name in groups]


def _with_gaps(source: Columns, table: Table) -> np.ndarray:
    """Evaluate an expression in the complete rows; the others stay NaN."""
    complete = ~table.missing(source.uses)
    values = source.evaluate(table.rows(complete).frame)
    if complete.all():
        return values
    full = np.full((table.n_rows, values.shape[1]), np.nan)
    full[complete] = values
    return full


def _new_block(
    block: RandomBlock, table: Table, parts: Sequence[np.ndarray], weights: Sequence[np.ndarray]
) -> NewBlock:
    grouping = block.grouping
    check_member_weights(grouping, weights, table.index)
    sides = [(name,) for name in grouping.factors] if grouping.has_members else [grouping.factors]
    found = [_match_labels(block, table, factors) for factors in sides]
    memberships = [
        Membership(codes=codes, columns=columns)
        for (codes, _), columns in zip(found, member_columns(grouping, parts, weights), strict=True)
    ]
    return NewBlock(
        group=block.group,
        incidence=Incidence(memberships=tuple(memberships), n_levels=block.q),
        labels=tuple(labels for _, labels in found),
    )


def _match_labels(block: RandomBlock, table: Table, factors: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Find the fitted level of each row, −1 where it is new or missing, and its label, None where it is missing."""
    present = ~table.missing(factors)
    found = read_levels(factors, [table.columns[name].rows(present) for name in factors], int(present.sum()))
    position = {label: code for code, label in enumerate(block.levels)}
    fitted_codes = np.array([position.get(label, -1) for label in found.labels], dtype=np.int64)
    codes = np.full(table.n_rows, -1, dtype=np.int64)
    labels = np.full(table.n_rows, None, dtype=object)
    if found.labels:
        codes[present] = fitted_codes[found.codes]
        labels[present] = np.array(found.labels, dtype=object)[found.codes]
    return codes, labels


def match_kinds(table: Table, names: set[str], frame: pd.DataFrame) -> Table:
    """Bring the columns of expressions to the kind that they had in the fit."""
    return Table(
        columns={name: _match(name, table.columns[name], pd.Series(frame[name])) for name in names},
        index=table.index,
        n_rows=table.n_rows,
    )


def _match(name: str, new: Column, fitted: pd.Series) -> Column:
    values = new.values
    if isinstance(fitted.dtype, pd.CategoricalDtype):
        return Column(_match_levels(values, new.missing, fitted.cat.categories), new.missing)
    if isinstance(values, pd.Categorical):
        if new.missing.all():  # a column of nothing has no kind of its own
            return Column(np.zeros(len(values), dtype=bool if fitted.dtype == bool else np.float64), new.missing)
        raise PredictionError(
            f"Column {name!r} holds texts or categories such as {level_text(values.categories[0])!r}, but was "
            f"{'boolean' if fitted.dtype == bool else 'numeric'} in the fit. Convert it."
        )
    if fitted.dtype == bool and values.dtype != bool:
        if not np.isin(values[~new.missing], (0, 1)).all():
            raise PredictionError(f"Column {name!r} holds numbers, but was boolean in the fit. Convert it with != 0.")
        return Column(np.where(new.missing, 0, values).astype(bool), new.missing)
    return Column(values if fitted.dtype == bool else values.astype(np.float64), new.missing)


def _match_levels(values: np.ndarray | pd.Categorical, missing: np.ndarray, fitted: pd.Index) -> pd.Categorical:
    """Express values in the categories of the fit, matched by their labels; new levels come after them."""
    if isinstance(values, pd.Categorical):
        codes, levels = values.codes.astype(np.int64), list(values.categories)
    else:
        codes, levels = pd.factorize(values)
    position = {level_text(level): i for i, level in enumerate(fitted)}
    new = [level for level in levels if level_text(level) not in position]
    position |= {level_text(level): len(fitted) + i for i, level in enumerate(new)}
    target = np.array([position[level_text(level)] for level in levels] + [-1], dtype=np.int64)
    categories = pd.Index([*fitted, *new], dtype=object) if new else fitted
    return pd.Categorical.from_codes(np.where(missing, -1, target[codes]), categories=categories, ordered=True)
