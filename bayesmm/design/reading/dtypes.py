"""One column of any library into plain NumPy values: the dtypes of pandas, polars and pyarrow end here."""

from __future__ import annotations

import datetime
import decimal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.console import listing
from bayesmm.errors import DesignError

if TYPE_CHECKING:  # loaded where data are not of pandas
    import narwhals.stable.v2 as nw

EXACT = 2**53  # float64 holds every whole number up to here
_TIMES = (datetime.date, datetime.datetime, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The values of one column (n,), and a mask (n,) of those that are missing; None if all are there, and finite.

    Values are float64, bool, int64/uint64 beyond ±2**53, or an ordered pandas Categorical; where missing, a number or
    a boolean is a filler without meaning. ``is_text`` says that a Categorical was a column of texts, not one that its
    owner had made categorical.
    """

    values: np.ndarray | pd.Categorical
    mask: np.ndarray | None
    is_text: bool = False

    @property
    def missing(self) -> np.ndarray:
        """Which values are missing (n,)."""
        return np.zeros(len(self.values), dtype=bool) if self.mask is None else self.mask

    def rows(self, keep: np.ndarray | None) -> np.ndarray | pd.Categorical:
        """Return a copy of the rows of a mask (all of them for None), without categories that do not occur."""
        if isinstance(self.values, pd.Categorical):
            values = self.values if keep is None else self.values[keep]
            occurs = np.zeros(len(values.categories) + 1, dtype=bool)
            occurs[values.codes] = True  # of a missing value the last
            return values if occurs[:-1].all() else values.remove_unused_categories()  # read into one of our own
        return self.values.copy() if keep is None else self.values[keep]


def read_column(name: str, series: nw.Series | pd.Series) -> Column:
    """Read one column.

    Parameters
    ----------
    name : str
        Its name, for error messages.
    series : narwhals.Series or pandas.Series
        The column.

    Returns
    -------
    Column

    Raises
    ------
    DesignError
        For times, complex numbers, mixtures and nested types.
    """
    if isinstance(series, pd.Series):
        return _read_pandas(name, series)
    native = series.to_native()
    if isinstance(native, pd.Series):
        return _read_pandas(name, native)
    import narwhals.stable.v2 as nw

    column = _read_pandas(name, _to_pandas(series))
    return replace(column, is_text=column.is_text and not isinstance(series.dtype, nw.Categorical))


def level_text(level: Any) -> str:
    """Write a level as a label: whole numbers without a decimal point, everything else as Python prints it."""
    if isinstance(level, (float, np.floating)) and float(level).is_integer() and abs(level) < EXACT:
        return str(int(level))
    return str(level)


def _to_pandas(series: nw.Series) -> pd.Series:
    """Bring a polars or pyarrow column to pandas, without the help of pyarrow for polars."""
    import narwhals.stable.v2 as nw

    dtype = series.dtype
    missing = series.is_null().to_numpy()
    if isinstance(dtype, nw.Enum):
        categories = list(dtype.categories)
        return pd.Series(pd.Categorical.from_codes(_codes(series, categories), categories=categories))
    if isinstance(dtype, nw.Categorical) and series.implementation.is_polars():
        dtype, series = nw.String(), series.cast(nw.String())  # polars orders these by appearance in the process
    elif isinstance(dtype, nw.Categorical):
        return pd.Series(_from_dictionary(series.to_native()))
    if dtype.is_integer() or isinstance(dtype, nw.Boolean):
        filler = False if isinstance(dtype, nw.Boolean) else 0
        values = series.fill_null(filler).to_numpy() if missing.any() else series.to_numpy()
        return pd.Series(pd.array(values)).mask(missing) if missing.any() else pd.Series(values)
    if dtype.is_decimal():
        return pd.Series(series.cast(nw.Float64()).to_numpy())
    if isinstance(dtype, nw.String):
        return pd.Series(series.to_list(), dtype="str")
    return pd.Series(series.to_numpy())


def _codes(series: nw.Series, categories: list[str]) -> np.ndarray:
    import narwhals.stable.v2 as nw

    return pd.Index(categories).get_indexer(pd.Index(series.cast(nw.String()).to_list(), dtype=object))


def _read_pandas(name: str, series: pd.Series) -> Column:
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        values = series.array
        return _categorical(values if isinstance(values, pd.Categorical) else pd.Categorical(values))
    if isinstance(dtype, np.dtype):
        if dtype.kind == "O":
            return _read_objects(name, series)
        return _read_numpy(name, series.to_numpy())
    if isinstance(dtype, pd.StringDtype) or pd.api.types.is_string_dtype(dtype):
        return _texts(series)
    if isinstance(dtype, pd.SparseDtype):
        return _read_numpy(name, np.asarray(series))
    if isinstance(dtype, pd.ArrowDtype) and isinstance(dtype.type, type) and issubclass(dtype.type, decimal.Decimal):
        return _read_numpy(name, series.to_numpy(dtype=float, na_value=np.nan))
    if isinstance(dtype, pd.ArrowDtype) and str(dtype).startswith("dictionary"):
        values: Any = series.array
        return _categorical(_from_dictionary(values.__arrow_array__()))
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        return _read_nullable(name, series)
    return _refuse(name, str(dtype))


def _read_numpy(name: str, values: np.ndarray) -> Column:
    kind = values.dtype.kind
    if kind == "b":
        return Column(values, None)
    if kind == "f":
        numbers = values.astype(np.float64, copy=False)
        return Column(numbers, None if np.isfinite(numbers).all() else np.isnan(numbers))
    if kind in "iu":
        return Column(_whole_numbers(values), None)
    return _refuse(name, str(values.dtype))


def _read_nullable(name: str, series: pd.Series) -> Column:
    """Read pandas' masked and Arrow-backed numbers and booleans."""
    missing = series.isna().to_numpy(dtype=bool)
    whole = pd.api.types.is_integer_dtype(series.dtype)
    kind = "b" if pd.api.types.is_bool_dtype(series.dtype) else "i" if whole else "f"
    if kind == "f":
        return _read_numpy(name, series.to_numpy(dtype=np.float64, na_value=np.nan))
    filled = series.fillna(False if kind == "b" else 0) if missing.any() else series
    target = bool if kind == "b" else np.uint64 if pd.api.types.is_unsigned_integer_dtype(series.dtype) else np.int64
    return Column(_read_numpy(name, filled.to_numpy(dtype=target)).values, missing)


def _read_objects(name: str, series: pd.Series) -> Column:
    """Read a column of Python objects by what they are."""
    kind = pd.api.types.infer_dtype(series, skipna=True)
    missing = series.isna().to_numpy(dtype=bool)
    if kind in ("string", "empty"):
        return _texts(series)
    if kind == "boolean":
        return Column(series.where(~missing, False).to_numpy(dtype=bool), missing)
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        if kind == "integer" and not missing.any():
            return _read_numpy(name, np.array(series.tolist()))  # of objects beyond 64 bits, which is refused
        return _read_numpy(name, series.where(~missing, np.nan).to_numpy(dtype=np.float64))
    found = sorted({type(value).__name__ for value in series[~missing]})
    times = [value for value in series[~missing].tolist()[:1] if isinstance(value, _TIMES)]
    if kind == "complex" or times:
        return _refuse(name, "/".join(found), of=times[0] if times else None)
    texts = list(dict.fromkeys(value for value in series[~missing] if isinstance(value, str)))
    if texts and set(found) <= {"str", "int", "float", "bool", "Decimal"}:
        raise DesignError(
            f"Column {name!r} mixes numbers with the texts {listing(texts, 3, quoted=True)}. Make them missing: "
            f"data[{name!r}] = pd.to_numeric(data[{name!r}], errors='coerce'); for a factor "
            f"data[{name!r}].astype(str).astype('category')."
        )
    raise DesignError(
        f"Column {name!r} mixes values of the types {listing(found)}. Convert it to one type, for example "
        f"data[{name!r}].astype(str).astype('category') for a factor."
    )


def _whole_numbers(values: np.ndarray) -> np.ndarray:
    """Return float64 where that is exact, so that squares cannot overflow; longer identifiers stay as they are."""
    if values.dtype == object or (len(values) and max(abs(int(values.max())), abs(int(values.min()))) > EXACT):
        return values
    return values.astype(np.float64)


def _texts(series: pd.Series) -> Column:
    """Make a categorical of texts, sorted by code point."""
    codes, found = pd.factorize(series, use_na_sentinel=True)
    found = np.asarray(found, dtype=object)
    order = sorted(range(len(found)), key=found.__getitem__)
    rank = np.empty(len(found) + 1, dtype=np.int64)
    rank[order] = np.arange(len(found))
    rank[-1] = -1  # reached by the code -1 of a missing value
    categories = pd.Index([found[i] for i in order], dtype=object if len(found) == 0 else None)
    values = pd.Categorical.from_codes(rank[codes], categories=categories, ordered=True)
    return Column(values, _mask_of(codes), is_text=True)


def _categorical(values: pd.Categorical) -> Column:
    return Column(values.as_ordered(), _mask_of(values.codes))  # a copy, also of one that is ordered


def _mask_of(codes: np.ndarray) -> np.ndarray | None:
    """Which codes are those of a missing value; None if there is none."""
    missing = codes < 0
    return missing if np.count_nonzero(missing) else None


def _from_dictionary(values: Any) -> pd.Categorical:
    """Turn a dictionary-encoded Arrow column into a categorical with the order of the dictionary."""
    unified = values.unify_dictionaries()
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in unified.chunks]
    categories = unified.chunk(0).dictionary.to_pylist() if codes else []
    return pd.Categorical.from_codes(np.concatenate(codes) if codes else [], categories=categories)


def _refuse(name: str, type_name: str, of: Any = None) -> Column:
    """Refuse a type, with what to do about it; ``of`` is one of the values where these are Python objects."""
    column = f"data[{name!r}]"
    kind = type_name.lower()
    if isinstance(of, datetime.timedelta) or "timedelta" in kind or "duration" in kind:
        remedy = f"Make it a number, for example of days: pd.to_timedelta({column}).dt.total_seconds() / 86400."
    elif isinstance(of, datetime.time) or kind.startswith("time"):
        remedy = f"Make it a number, for example of seconds: pd.to_timedelta({column}.astype(str)).dt.total_seconds()."
    elif of is not None or any(word in kind for word in ("date", "period", "timestamp")):
        times = column if "datetime64" in kind else f"pd.to_datetime({column})"
        times = f"{column}.dt.to_timestamp()" if "period" in kind else times
        remedy = (
            f"Make it a number, for example of days since the first: times = {times}; {column} = (times - "
            f"times.min()).dt.days; as a grouping factor {column}.astype(str)."
        )
    elif kind.startswith("complex"):
        remedy = f"Take its real part or its size: np.real({column}), np.abs({column})."
    else:
        remedy = f"Convert it to numbers, or to texts for a grouping factor: {column}.astype(str)."
    raise DesignError(f"Column {name!r} is of type {type_name}, which a model cannot use. {remedy}")
