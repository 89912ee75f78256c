"""The reference grid: every combination of the values at which means are looked at."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.design.design import Design
from bayesmm.design.reading.dtypes import level_text
from bayesmm.design.words.factors import coded_numbers, is_factor, levels_of, names_in
from bayesmm.errors import ArgumentError
from bayesmm.specification.expansion import expand_text

LARGEST = 20_000_000  # numbers of the grid's columns, 160 MB
FEW = 2  # distinct values of a number up to which it stands in the grid like a factor, as in emmeans


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A column of the data in the grid.

    Attributes
    ----------
    name : str
        The column.
    values : tuple
        Where it stands: levels, or numbers.
    is_counted : bool
        Whether rows of the data stand at these values, so that they can be counted.
    is_factor : bool
        Whether it is one.
    """

    name: str
    values: tuple[Any, ...]
    is_counted: bool
    is_factor: bool

    @property
    def labels(self) -> tuple[Any, ...]:
        """Values as they stand in an index: texts of levels, numbers, True and False."""
        return tuple(value if isinstance(value, (bool, float)) else level_text(value) for value in self.values)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Combinations of values, with the columns of the model there.

    Attributes
    ----------
    design : Design
        The model's.
    variables : tuple of Variable
        All columns of the fixed part; the last varies fastest in the rows.
    """

    design: Design
    variables: tuple[Variable, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each variable has."""
        return tuple(len(each.values) for each in self.variables)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a combination; columns that only offsets use are there too, at their means."""
        rows = list(itertools.product(*(each.values for each in self.variables)))
        frame = pd.DataFrame(
            {each.name: pd.Series([row[i] for row in rows]) for i, each in enumerate(self.variables)},
            index=range(len(rows)),
        )
        used = dict.fromkeys(name for source in self.design.sources.offsets for name in source.uses)
        known = set(frame)
        return frame.assign(**{name: self.design.column_mean(name) for name in used if name not in known})

    def columns(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Compute all columns of the model (m, p_all) and the offset (m,) in rows like those of `frame`.

        An offset of columns that are not in the fixed part stands at its own mean over the rows used, as in emmeans.
        """
        rows = self.design.evaluate(frame, groups=[])
        return rows.X, rows.offset + self._shift

    @cached_property
    def _shift(self) -> float:
        """What the means of offsets are above offsets at the means of their columns."""
        known = {each.name for each in self.variables}
        apart = [source for source in self.design.sources.offsets if not known & set(source.uses)]
        means = sum(self.design.offset_mean(source) for source in apart)
        return means - sum(float(source.evaluate(self.frame.iloc[:1]).sum()) for source in apart)

    def variable(self, name: str) -> Variable:
        """Return one of the variables."""
        return next(each for each in self.variables if each.name == name)

    def counts(self) -> np.ndarray:
        """Count the rows of the data at each combination; values that were set count alike."""
        sizes = [len(each.values) if each.is_counted else 1 for each in self.variables]
        data, keep = self.design.frame, np.ones(self.design.n, dtype=bool)
        codes = np.zeros(self.design.n, dtype=np.int64)
        for each, size in zip(self.variables, sizes, strict=True):
            if each.is_counted:
                position = {value: i for i, value in enumerate(each.values)}
                own = np.array([position.get(value, -1) for value in data[each.name]], dtype=np.int64)
                keep &= own >= 0
                codes = codes * size + own
        counted = np.bincount(codes[keep], minlength=int(np.prod(sizes))).astype(float)
        return np.broadcast_to(counted.reshape(sizes), self.shape)


def build_grid(design: Design, at: Mapping[str, Any] | None, named: Iterable[str]) -> Grid:
    """Lay out the reference grid.

    Parameters
    ----------
    design : Design
        Data and specification.
    at : mapping of str to value or sequence, optional
        Values of some columns.
    named : iterable of str
        Columns that means shall be by, which must be in the fixed part.

    Returns
    -------
    Grid
        Factors at all their levels, numbers at their means over the rows used, numbers of two distinct values at both.

    Raises
    ------
    ArgumentError
        If a column is not in the fixed part of the model, a value suits no column, or the grid would be too large.
    """
    names = design.sources.fixed.uses
    if at is not None and not isinstance(at, Mapping):
        raise ArgumentError(f"at is {shorten(at)}: give values by column, such as {{'Days': [0, 9]}}.")
    at = at or {}
    check_columns(design, [*named, *at])
    coded = coded_numbers(design)
    variables = tuple(_variable(design, name, at, is_coded=name in coded) for name in names)
    grid = Grid(design=design, variables=variables)
    size = int(np.prod([float(n) for n in grid.shape])) * max(len(design.coefficients), 1)
    if size > LARGEST:
        sizes = listing([f"{each.name} ({len(each.values)})" for each in variables if len(each.values) > 1])
        raise ArgumentError(
            f"The reference grid of {sizes} would have {size:,} numbers, more than {LARGEST:,}: hold some of these "
            "columns at fewer values by at=, or average over the rows by comparisons()."
        )
    return grid


def check_columns(design: Design, names: Sequence[str]) -> None:
    """Refuse names that are no columns of the fixed part."""
    known = design.sources.fixed.uses
    for name in names:
        if name not in known:
            have = f"it has {listing(known)}" if known else "it has none"
            raise ArgumentError(
                f"{name!r} is not a column of the fixed part of {design.specification.shown!r}: {have}."
            )


def interacting(design: Design) -> tuple[frozenset[str], ...]:
    """Return the columns of each term of the fixed part."""
    known = set(design.sources.fixed.uses)
    return tuple(
        frozenset(name for factor in term for name in names_in(factor) if name in known)
        for term in expand_text(design.specification.fixed).terms
    )


def _variable(design: Design, name: str, at: Mapping[str, Any], *, is_coded: bool) -> Variable:
    if is_coded or is_factor(design, name):
        levels = levels_of(design, name)
        values = _chosen_levels(name, levels, at[name]) if name in at else levels
        return Variable(name=name, values=values, is_counted=True, is_factor=True)
    if name in at:
        return Variable(name=name, values=read_numbers(name, at[name]), is_counted=False, is_factor=False)
    distinct = design.few_values(name, FEW)
    if distinct:
        return Variable(name=name, values=distinct, is_counted=True, is_factor=False)
    return Variable(name=name, values=(design.column_mean(name),), is_counted=False, is_factor=False)


def as_list(values: Any) -> list[Any]:
    """Return a value, or what a sequence holds, as a list."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        return [values]
    return list(values)


def _chosen_levels(name: str, levels: Sequence[Any], chosen: Any) -> tuple[Any, ...]:
    """Find levels by their labels."""
    known = {level_text(level): level for level in levels}
    found = dict.fromkeys(level_text(value) for value in as_list(chosen))
    unknown = [text for text in found if text not in known]
    if unknown or not found:
        raise ArgumentError(
            f"{name!r} has no level {unknown[0] if unknown else ''!r} in the rows used: its levels are "
            f"{listing(known)}."
        )
    return tuple(known[text] for text in found)


def choose_levels(design: Design, name: str, chosen: Any) -> tuple[Any, ...]:
    """Find levels of a factor by their labels, all of them if None.

    Raises
    ------
    ArgumentError
        If there is no such level.
    """
    levels = levels_of(design, name)
    return levels if chosen is None else _chosen_levels(name, levels, chosen)


def read_numbers(name: str, chosen: Any) -> tuple[float, ...]:
    """Read one or several finite numbers.

    Raises
    ------
    ArgumentError
        With what was given.
    """
    try:
        numbers = np.array(as_list(chosen), dtype=float)
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ArgumentError(f"{name!r} is set to {shorten(chosen)}: give one or several finite numbers.")
    return tuple(dict.fromkeys(numbers.tolist()))
