"""Any data frame in; the needed columns out, as plain NumPy values with a mask of what is missing.

Whatever library a column comes from, it becomes one of four kinds: float64 numbers, booleans, whole numbers too large
for float64 (identifiers), or an ordered pandas Categorical. A categorical keeps the order of its categories, as in R;
texts are sorted by code point.
"""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.console import listing, quoted
from bayesmm.design.reading.dtypes import Column, read_column
from bayesmm.errors import DesignError

if TYPE_CHECKING:  # loaded where data are not of pandas: it takes a tenth of what pandas itself takes
    import narwhals.stable.v2 as nw

POWERS = "²³⁴ⁿˆ"  # letters to Python, so that x² is a name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """The columns that a model needs, before rows with missing values are dropped.

    Attributes
    ----------
    columns : dict of str to Column
        Values and a mask of missing ones, by name.
    index : pandas.Index
        Labels of the rows; 0, 1, ... for libraries without row labels.
    n_rows : int
        Rows of the data as they came.
    """

    columns: Mapping[str, Column]
    index: pd.Index
    n_rows: int

    def missing(self, names: Iterable[str]) -> np.ndarray:
        """Return a mask (n_rows,) of the rows in which any of the named columns is missing."""
        mask = np.zeros(self.n_rows, dtype=bool)
        for name in names:
            mask |= self.columns[name].missing
        return mask

    def rows(self, keep: np.ndarray) -> UsedRows:
        """Return copies of the rows of a mask (n_rows,), without categories that no longer occur."""
        everything = bool(keep.all())
        return UsedRows(
            columns={name: column.rows(None if everything else keep) for name, column in self.columns.items()},
            index=self.index if everything else self.index[keep],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class UsedRows:
    """Complete rows, column by column; few models need a data frame of them, and pandas takes its time to make one.

    Attributes
    ----------
    columns : dict of str to array or pandas.Categorical, shape (n,)
        Values by name.
    index : pandas.Index
        Labels of the rows.
    """

    columns: Mapping[str, np.ndarray | pd.Categorical]
    index: pd.Index

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The same as a data frame."""
        return pd.DataFrame(dict(self.columns), index=self.index, copy=False)

    def take(self, rows: np.ndarray) -> UsedRows:
        """Return some rows, by their positions (m,), some perhaps several times."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return UsedRows(columns=columns, index=self.index[rows])

    def as_floats(self) -> UsedRows:
        """Return them with long identifiers as floats, as arithmetic sees them."""
        long = {
            name: values.astype(np.float64)
            for name, values in self.columns.items()
            if isinstance(values, np.ndarray) and values.dtype.kind in "iu"
        }
        return UsedRows(columns={**self.columns, **long}, index=self.index) if long else self


def read_table(data: Any, names: Sequence[str], *, may_be_empty: bool = False) -> Table:
    """Read the named columns of a pandas, polars or pyarrow table.

    Parameters
    ----------
    data : data frame
        Anything eager that narwhals understands.
    names : sequence of str
        The columns that are needed; others are not touched.
    may_be_empty : bool
        Whether a frame without rows is accepted.

    Returns
    -------
    Table

    Raises
    ------
    DesignError
        If data is no data frame, has no rows, repeats a column's name, lacks a column, or a column's type cannot be
        used.
    """
    frame = open_source(data)
    return read_columns(frame, column_names(frame), names, may_be_empty=may_be_empty)


def read_columns(
    frame: pd.DataFrame | nw.DataFrame, available: Collection[Any], names: Sequence[str], *, may_be_empty: bool = False
) -> Table:
    """Read the named columns of what `open_source` returned, with the names that `column_names` gave of it."""
    lacking = [name for name in names if name not in available]
    if lacking:
        raise missing_column(lacking[0], available)
    if len(frame) == 0 and not may_be_empty:
        raise DesignError("The data have no rows. Pass a data frame with one row for each observation.")
    source: Any = frame
    return Table(
        columns={name: read_column(name, source[name]) for name in names},
        index=frame.index if isinstance(frame, pd.DataFrame) else pd.RangeIndex(len(frame)),
        n_rows=len(frame),
    )


def open_source(data: Any) -> pd.DataFrame | nw.DataFrame:
    """Open a data frame to read its columns: one of pandas as it is, since a wrapper takes as long as reading."""
    if isinstance(data, pd.DataFrame):
        _check_pandas_columns(data)
        return data
    frame = open_frame(data)
    native = frame.to_native()
    return native if isinstance(native, pd.DataFrame) else frame


def column_names(frame: pd.DataFrame | nw.DataFrame) -> Collection[Any]:
    """Names of the columns of what `open_source` returned, to be looked up many times."""
    if not isinstance(frame, pd.DataFrame):
        return dict.fromkeys(frame.columns)
    names = frame.columns
    if isinstance(names.dtype, pd.StringDtype) or pd.api.types.is_string_dtype(names.dtype):
        return names
    return dict.fromkeys(names)  # dates would be guessed


def open_frame(data: Any) -> nw.DataFrame:
    """Wrap a data frame in narwhals, after checking that it is one with unique column names."""
    import narwhals.stable.v2 as nw

    if isinstance(data, nw.DataFrame):
        return data
    if isinstance(data, pd.DataFrame):
        _check_pandas_columns(data)
    try:
        return nw.from_native(data, eager_only=True)
    except TypeError:
        raise DesignError(f"The data are of type {type(data).__name__}, not a data frame. {_advise(data)}") from None
    except nw.exceptions.DuplicateError as error:
        raise DesignError(f"Column names must be unique: {error}. Rename the columns.") from None


def _advise(data: Any) -> str:
    """Say what to do with data that are no data frame."""
    if hasattr(data, "collect"):
        return "Call .collect() first."
    if isinstance(data, (dict, list)):
        return "Make one of them: pd.DataFrame(data), with a row for each observation."
    if isinstance(data, np.ndarray):
        return "Make one, with names for its columns: pd.DataFrame(data, columns=['y', 'x', 'group'])."
    if isinstance(data, (str, os.PathLike)):
        return (
            "A formula comes first, then the data; a file is read before, by pd.read_csv(path) or pd.read_excel(path)."
        )
    if isinstance(data, pd.Series):
        return "Pass the whole table, with the response, the covariates and the grouping factors as columns."
    return "Pass a pandas, polars or pyarrow table with one row for each observation."


def add_column(frame: nw.DataFrame, name: str, values: np.ndarray) -> nw.DataFrame:
    """Return a data frame with one more column (n_rows,) of numbers."""
    import narwhals.stable.v2 as nw

    return frame.with_columns(nw.new_series(name, values, nw.Float64(), backend=frame.implementation))


def missing_column(name: str, columns: Iterable[Any], used_in: str = "") -> DesignError:
    """Return the error that says that a column is not there, with a near name and the names that are."""
    available = [str(column) for column in columns]
    near = difflib.get_close_matches(name, available, n=1, cutoff=0.6)
    near = near or [column for column in available if column.lower() == name.lower()]
    hint = f" Did you mean {near[0]!r}?" if near else ""
    alike = [column for column in available if _folded(column) == _folded(name)]
    if alike and alike[0].strip() == name:
        hint = f" Did you mean {alike[0]!r}, with blanks? Take them away: data.columns = data.columns.str.strip()."
    elif alike:
        hint = f" The column {alike[0]!r} looks the same and is written with other characters: copy its name."
    elif any(character in name for character in POWERS):
        hint = f" For a power write I(x**2){f' with x = {near[0]}' if near else ''}."
    if name in available:  # a column named by something else than a text
        hint = " The names of columns must be texts: data.columns = data.columns.astype(str)."
    where = f" (in {quoted(used_in)})" if used_in else ""
    shown = listing(available) or "none"
    return DesignError(f"The data have no column {quoted(name)}{where}.{hint} Columns: {shown}.")


def _folded(name: str) -> str:
    """Write a name in the characters that it shares with those that look like it."""
    return unicodedata.normalize("NFKC", name).strip()


def _check_pandas_columns(data: pd.DataFrame) -> None:
    if isinstance(data.columns, pd.MultiIndex):
        raise DesignError("The columns of the data have several levels. Flatten them to one name for each column.")
    if not data.columns.is_unique:
        repeated = data.columns[data.columns.duplicated()].unique()
        raise DesignError(
            f"Column names must be unique: {listing(repeated, quoted=True)} occurs more than once. Rename the columns."
        )
