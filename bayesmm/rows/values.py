"""One column of a chunk as plain NumPy values: the types of Arrow end here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bayesmm.design.reading.dtypes import read_column
from bayesmm.errors import DesignError

if TYPE_CHECKING:
    import pyarrow as pa

type Kind = Literal["numbers", "truth values", "texts", "categories", "nothing"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Values:
    """Values of one column in some rows.

    Attributes
    ----------
    kind : str
        "texts" are sorted in the end, "categories" keep the order that they have; a column of missing values alone is
        of the kind "nothing".
    data : array, shape (n,)
        Numbers (whole ones as they are), truth values, or codes of the categories, −1 where missing.
    categories : tuple of object
        Of texts and categories.
    missing : array of bool, shape (n,), or None
        None where nothing is missing.
    """

    kind: Kind
    data: np.ndarray
    categories: tuple[Any, ...] = ()
    missing: np.ndarray | None = None

    @property
    def has_categories(self) -> bool:
        """Whether `data` are codes."""
        return self.kind in ("texts", "categories")

    def rows(self, part: np.ndarray) -> Values:
        """Take some of the rows."""
        missing = None if self.missing is None else self.missing[part]
        return replace(self, data=self.data[part], missing=missing)

    def compact(self) -> Values:
        """Return complete values without categories that do not occur."""
        if not self.has_categories:
            return replace(self, missing=None)
        used, codes = np.unique(self.data, return_inverse=True)
        categories = tuple(self.categories[code] for code in used.tolist())
        return replace(self, data=codes.reshape(-1), categories=categories, missing=None)

    def listed(self) -> list[Any]:
        """Return the values one by one, None where missing."""
        if self.has_categories:
            return [None if code < 0 else self.categories[code] for code in self.data.tolist()]
        gone = np.zeros(len(self.data), bool) if self.missing is None else self.missing
        return [None if absent else value for value, absent in zip(self.data.tolist(), gone.tolist(), strict=True)]


def join(parts: Sequence[Values]) -> Values:
    """Put complete values of one kind and type one after another."""
    first = parts[0]
    if len(parts) == 1 or not first.has_categories:
        return replace(first, data=np.concatenate([part.data for part in parts]))
    place: dict[Any, int] = {}
    codes = []
    for part in parts:
        own = np.array([place.setdefault(value, len(place)) for value in part.categories], dtype=np.int64)
        codes.append(own[part.data])
    return replace(first, data=np.concatenate(codes), categories=tuple(place))


def read_values(name: str, column: pa.ChunkedArray, *, is_text: bool) -> Values:
    """Read one column of a chunk.

    Parameters
    ----------
    name : str
        For error messages.
    column : pyarrow.ChunkedArray
        The values.
    is_text : bool
        Whether a column that comes with a dictionary is one of texts in the file.

    Raises
    ------
    DesignError
        For types that a model cannot use, as of a data frame.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_null(kind):
        return Values(kind="nothing", data=np.zeros(len(column)), missing=np.ones(len(column), bool))
    if pa.types.is_boolean(kind):
        missing = _missing(column)
        return Values(kind="truth values", data=_filled(column, False), missing=missing)
    if pa.types.is_integer(kind):
        data = _filled(column, 0)
        return Values(
            kind="numbers",
            data=data if data.dtype == np.uint64 else data.astype(np.int64, copy=False),
            missing=_missing(column),
        )
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        data = pc.cast(column, pa.float64()).to_numpy()
        missing = np.isnan(data)
        return Values(kind="numbers", data=data, missing=missing if missing.any() else None)
    if any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        if pa.types.is_string_view(kind):
            column = column.cast(pa.large_string())
        column, is_text = column.dictionary_encode(), True
    if pa.types.is_dictionary(column.type):
        one = column.unify_dictionaries().combine_chunks()
        one = one.chunk(0) if isinstance(one, pa.ChunkedArray) and one.num_chunks else one
        if isinstance(one, pa.ChunkedArray):
            return Values(kind="nothing", data=np.zeros(0))
        codes = pc.fill_null(one.indices, -1) if one.null_count else one.indices
        data = codes.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
        categories = tuple(one.dictionary.to_pylist())
        if None in categories:  # a missing value may stand in the dictionary
            data = np.where(data == categories.index(None), -1, data)
        missing = data < 0
        return Values(
            kind="texts" if is_text and all(isinstance(each, str) for each in categories) else "categories",
            data=data,
            categories=categories,
            missing=missing if missing.any() else None,
        )
    import narwhals.stable.v2 as nw

    read_column(name, nw.from_native(column.slice(0, 1), series_only=True))  # says what to do with its type
    raise DesignError(
        f"Column {name!r} is of type {kind}, which is not read chunk by chunk: convert it to numbers or texts."
    )


def _missing(column: pa.ChunkedArray) -> np.ndarray | None:
    return column.is_null().to_numpy() if column.null_count else None


def _filled(column: pa.ChunkedArray, filler: Any) -> np.ndarray:
    import pyarrow.compute as pc

    return (pc.fill_null(column, filler) if column.null_count else column).to_numpy()
