"""Data with more levels of a grouping factor, or with more rows a level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.errors import ArgumentError
from bayesmm.incidence import find_parents
from bayesmm.limits import DESIGN_ROWS
from bayesmm.specification.terms import Grouping, ResidualTerm


class Size(NamedTuple):
    """One size that was asked for: of a column or a combination of columns, levels or rows a level."""

    group: str
    number: int
    is_within: bool


class Sizes(NamedTuple):
    """Sizes that were asked for: of a group, all the numbers."""

    group: str
    numbers: tuple[int, ...]
    is_within: bool


def read_sizes(along: Any, within: Any, columns: Sequence[str]) -> list[Sizes]:
    """Read which sizes are asked for.

    Raises
    ------
    ArgumentError
        If they are no mappings of columns to whole numbers from one on.
    """
    return [*_read("along", along, columns, False), *_read("within", within, columns, True)]


def _read(name: str, given: Any, columns: Sequence[str], is_within: bool) -> Iterator[Sizes]:
    if given is None:
        return
    what = "rows a level" if is_within else "levels"
    advice = f"give a mapping from a column to numbers of {what}, {{{columns[0]!r}: [10, 20]}}."
    if not isinstance(given, Mapping) or not given:
        raise ArgumentError(f"{name} is {shorten(given)}: {advice}")
    for group, numbers in given.items():
        parts = group.split(":") if isinstance(group, str) and is_within else [group]
        for part in parts:
            if not isinstance(part, str) or part not in columns:
                raise ArgumentError(
                    f"{name} names {shorten(group)}, which is no column of the grouping factors: "
                    f"give {listing(columns, quoted=True)}."
                )
        several = numbers if isinstance(numbers, (Sequence, np.ndarray, range)) else [numbers]
        if isinstance(numbers, (str, bytes)) or np.ndim(several) != 1 or not len(several):
            raise ArgumentError(f"{name}[{group!r}] is {shorten(numbers)}: give a whole number or a list of them.")
        for each in several:
            if isinstance(each, (bool, np.bool_)) or not isinstance(each, (int, np.integer)) or each < 1:
                raise ArgumentError(f"{name}[{group!r}] has {shorten(each)}: give whole numbers of at least 1.")
            _check_rows(int(each))
        yield Sizes(group, tuple(int(each) for each in several), is_within)


def designs_of(
    frame: pd.DataFrame, sizes: Sequence[Sizes], groupings: Sequence[Grouping], residual: ResidualTerm | None = None
) -> Iterator[tuple[tuple[Size, ...], pd.DataFrame]]:
    """Yield the data of every combination of sizes, in the order in which they are given.

    Raises
    ------
    ArgumentError
        If a row would be there twice in a group of residuals, which have one at each position.
    """
    for numbers in product(*(each.numbers for each in sizes)):
        chosen = tuple(Size(each.group, n, each.is_within) for each, n in zip(sizes, numbers, strict=True))
        data = frame
        for size in chosen:
            if size.is_within and residual is not None:
                _check_positions(data, size, residual)
            data = repeat_rows(data, size) if size.is_within else extend_levels(data, size, groupings)
        yield chosen, data


def extend_levels(frame: pd.DataFrame, size: Size, groupings: Sequence[Grouping]) -> pd.DataFrame:
    """Take levels of a column, with all their rows, again and again until there are enough.

    Parameters
    ----------
    frame : DataFrame
        The data.
    size : Size
        The column, and how many levels it shall have.
    groupings : sequence of Grouping
        What the model is grouped by: factors nested in the column get new levels with it, crossed ones keep theirs.

    Notes
    -----
    Levels are taken in turns from what the column is nested in, so that a part of them, too, is spread over all of it;
    and in turns from the combinations of factors that are the same in all rows of a level, such as an arm.
    """
    column = size.group
    if any(grouping.kind != "combination" and column in grouping.factors for grouping in groupings):
        raise ArgumentError(
            f"along names {column!r}, whose levels share rows with each other or are related: what a further one would "
            "share is not known. Give the data of each size as a design of their own."
        )
    codes, levels = pd.factorize(frame[column], sort=False)
    levels = np.asarray(levels, dtype=object)
    nested = [
        other for other in _columns(groupings) if other != column and _is_nested(pd.factorize(frame[other])[0], codes)
    ]
    outer = [_codes(frame, other) for other in _columns(groupings) if other != column and other not in nested]
    order = _in_turns(codes, len(levels), [*outer, *_kinds(frame, codes, _columns(groupings))])
    chosen = order[np.arange(size.number) % len(levels)]
    turn = np.arange(size.number) // len(levels)
    counts = np.bincount(codes, minlength=len(levels))
    _check_rows(int(counts[chosen].sum()))
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    rows = np.concatenate([members[level] for level in chosen])
    copy = np.repeat(turn, [len(members[level]) for level in chosen])
    taken = frame.iloc[rows].reset_index(drop=True)
    for name in (column, *nested):
        taken[name] = _name_copies(taken[name], copy)
    return taken


def repeat_rows(frame: pd.DataFrame, size: Size) -> pd.DataFrame:
    """Give every level of a column, or of a combination ``"a:b"``, so many rows: its own, again and again."""
    keys = size.group.split(":")
    codes = frame.groupby(keys, observed=True, sort=False).ngroup().to_numpy()
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    _check_rows(len(members) * size.number)
    rows = np.concatenate([np.resize(own, size.number) for own in members])
    return frame.iloc[rows].reset_index(drop=True)


def _check_rows(n: int) -> None:
    if n > DESIGN_ROWS:
        raise ArgumentError(
            f"A design would have {n:,} rows or more: at most {DESIGN_ROWS:,} are simulated. Ask for fewer."
        )


def _columns(groupings: Sequence[Grouping]) -> list[str]:
    return list(dict.fromkeys(name for grouping in groupings for name in grouping.factors))


def _is_nested(inner: np.ndarray, outer: np.ndarray) -> bool:
    """Whether each level is within one level of another factor."""
    return find_parents(inner, outer, int(inner.max()) + 2) is not None  # -1, of missing names, is the last one


def _check_positions(frame: pd.DataFrame, size: Size, residual: ResidualTerm) -> None:
    least = int(frame.groupby(size.group.split(":"), observed=True).size().to_numpy().min())
    if size.number > least:
        raise ArgumentError(
            f"within asks for {size.number} rows of each level of {size.group!r}, and one has {least}: its rows "
            f"would be there again, and {residual.write()} has one at each {residual.position} of a group. Give the "
            "data of each size as a design of their own, with further rows."
        )


def _codes(frame: pd.DataFrame, column: str) -> np.ndarray:
    return pd.factorize(frame[column])[0]


def _kinds(frame: pd.DataFrame, codes: np.ndarray, groups: Sequence[str]) -> list[np.ndarray]:
    """Return which combination of factors each row has, of those that are the same in all rows of a level."""
    others = [str(name) for name in frame.columns if name not in groups]
    factors = [
        own
        for name, own in zip(others, (_codes(frame, name) for name in others), strict=True)
        if not pd.api.types.is_numeric_dtype(frame[name].dtype) or own.max() == 1
    ]
    same = [each for each in factors if _is_nested(codes, each)]
    return [np.unique(np.column_stack(same), axis=0, return_inverse=True)[1].ravel()] if same else []


def _in_turns(codes: np.ndarray, n: int, others: Sequence[np.ndarray]) -> np.ndarray:
    """Order levels so that those of different levels of what they are nested in take turns."""
    levels, first = np.unique(codes, return_index=True)
    rank = np.zeros(n, int)
    for outer in others:
        if _is_nested(codes, outer):
            holder = outer[first[np.argsort(levels)]]
            rank = np.maximum(rank, pd.Series(holder).groupby(holder).cumcount().to_numpy())
    return np.argsort(rank, kind="stable")


def _name_copies(values: pd.Series, copy: np.ndarray) -> pd.Series:
    """Tell the copies of a level apart by numbers, from the second on; texts that no level has yet."""
    texts = values.astype(str).to_numpy(dtype=object)
    if not copy.any():
        return pd.Series(texts, index=values.index)
    known, mark = set(texts), "#"
    while any(mark in text for text in known):
        mark += "#"
    return pd.Series(
        [text if not turn else f"{text}{mark}{turn + 1}" for text, turn in zip(texts, copy, strict=True)],
        index=values.index,
    )
