"""Grouping factors: which level each row belongs to, and what the levels are called."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.design.reading.dtypes import EXACT, level_text
from bayesmm.errors import DesignError


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The observed levels of a grouping factor.

    Attributes
    ----------
    codes : array of int64, shape (n,)
        Index of each row's level.
    labels : tuple of str
        The levels (q,): in the order of the data's categories, numbers by size, texts by code point; combinations by
        their first factor, then the second.
    """

    codes: np.ndarray
    labels: tuple[str, ...]


def read_levels(factors: Sequence[str], values: Sequence[np.ndarray | pd.Categorical], n_rows: int) -> Levels:
    """Find the levels of a factor, or of the combinations of several that occur; of none, one level for all rows.

    Parameters
    ----------
    factors : sequence of str
        Names of the columns.
    values : sequence of array or pandas.Categorical, each (n,)
        Their values, none of them missing.
    n_rows : int
        Number of rows (n).

    Returns
    -------
    Levels

    Raises
    ------
    DesignError
        If two levels have the same label.
    """
    if not values:
        return Levels(np.zeros(n_rows, dtype=np.int64), ("all",))
    codes, parts = _factor_codes(values[0])
    labels = parts
    for column in values[1:]:
        finer, parts = _factor_codes(column)
        # len(labels) is at most n here, so the product fits into 64 bits
        codes, found = _sorted_codes(codes * len(parts) + finer)
        labels = [f"{labels[pair // len(parts)]}:{parts[pair % len(parts)]}" for pair in found.tolist()]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise DesignError(
            f"Two levels of the grouping factor {':'.join(factors)!r} are both labelled {twice!r}. Rename levels in "
            "the data so that their texts differ."
        )
    return Levels(codes.astype(np.int64, copy=False), tuple(labels))


def read_member_levels(
    name: str, values: Sequence[np.ndarray | pd.Categorical]
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Find the levels of several columns that have one set of them.

    Parameters
    ----------
    name : str
        The grouping, for error messages.
    values : sequence of array or pandas.Categorical, each (n,)
        Their values, none of them missing.

    Returns
    -------
    codes : list of array of int64, shape (n,)
        Index of each row's level, by column.
    labels : tuple of str
        The levels (q,) that occur in any column, matched by their labels: the number 1 is the text "1". Numbers by
        size, texts by code point; of categories in an order of their own, those of the first column, then the others.

    Raises
    ------
    DesignError
        If two levels of a column have the same label.
    """
    found = [read_levels((name,), [column], len(column)) for column in values]
    if not any(isinstance(column, pd.Categorical) for column in values):
        every = np.concatenate(values)
        labels = list(read_levels((name,), [every], len(every)).labels)
    else:
        labels = list(dict.fromkeys(label for levels in found for label in levels.labels))
        if all(list(levels.labels) == sorted(levels.labels) for levels in found):
            labels.sort()
    position = {label: i for i, label in enumerate(labels)}
    places = [np.array([position[label] for label in levels.labels], dtype=np.int64) for levels in found]
    return [place[levels.codes] for place, levels in zip(places, found, strict=True)], tuple(labels)


def _factor_codes(values: np.ndarray | pd.Categorical) -> tuple[np.ndarray, list[str]]:
    if isinstance(values, pd.Categorical):
        return values.codes.astype(np.int64), _category_texts(values.categories)
    codes, found = _sorted_codes(values)
    return codes.astype(np.int64, copy=False), _level_texts(np.asarray(found))


def _sorted_codes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | pd.Index]:
    """Which of the sorted distinct values each one is, and these values."""
    return _sorted_whole_numbers(values) or pd.factorize(values, sort=True)


def _sorted_whole_numbers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Factorise whole numbers by marking a table, a tenth of the work of hashing; None if they are spread thin."""
    if values.dtype.kind not in "iuf" or len(values) == 0:
        return None
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)) or int(high) - int(low) > 4 * len(values):
        return None
    offset = (values - low).astype(np.int64)
    if values.dtype.kind == "f" and not (offset + low == values).all():
        return None
    present = np.zeros(int(high - low) + 1, bool)
    present[offset] = True
    found = np.flatnonzero(present)
    rank = np.empty(len(present), np.int64)
    rank[found] = np.arange(len(found))
    return rank[offset], (found + low).astype(values.dtype)


def _category_texts(categories: pd.Index) -> list[str]:
    """Labels of categories; texts of pandas, which are Arrow's, by Arrow, which takes a fraction of the time."""
    if not isinstance(categories.dtype, pd.StringDtype):
        return _level_texts(categories.to_numpy())
    texts: Any = categories.array
    return texts.__arrow_array__().to_pylist() if categories.dtype.storage == "pyarrow" else texts.tolist()


def _level_texts(levels: np.ndarray) -> list[str]:
    """Labels of levels as `level_text` writes them, without calling it for each where all are of one kind."""
    kind = levels.dtype.kind
    if kind in "iu" or (kind == "f" and (abs(levels) < EXACT).all() and (levels == np.floor(levels)).all()):
        return list(map(str, levels.astype(np.int64).tolist()))
    if kind == "O" and pd.api.types.infer_dtype(levels, skipna=False) == "string":
        return levels.tolist()
    return [level_text(level) for level in levels.tolist()]
