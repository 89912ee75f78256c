"""Which rows are used, and why others are not; the prior weights, which decide it too."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bayesmm.arguments import is_one_of
from bayesmm.console import listing
from bayesmm.design.reading.dtypes import Column, read_column
from bayesmm.design.reading.frame import Table
from bayesmm.errors import PACKAGE, BayesmmWarning, DesignError

if TYPE_CHECKING:  # loaded where data are not of pandas
    import narwhals.stable.v2 as nw

type Missing = Literal["drop", "raise"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """The rows used.

    Attributes
    ----------
    keep : array of bool, shape (n_rows,)
        Which rows of the data are used.
    n_dropped : int
        How many are not.
    dropped_by : dict of str to int
        For each column with missing values, in how many rows they are; a row may count in several columns.
    """

    keep: np.ndarray
    n_dropped: int
    dropped_by: Mapping[str, int]


def choose_rows(table: Table, weights: Column | None, missing: Missing) -> Rows:
    """Choose the rows without missing values in any needed column.

    Parameters
    ----------
    table : Table
        The needed columns.
    weights : Column, optional
        Prior weights given as an array.
    missing : {"drop", "raise"}
        Whether rows with missing values are dropped, with one warning, or refused.

    Returns
    -------
    Rows

    Raises
    ------
    DesignError
        If ``missing="raise"`` and a value is missing, or no row is left.

    Warns
    -----
    BayesmmWarning
        If rows are dropped.
    """
    if not is_one_of(missing, ("drop", "raise")):
        raise DesignError(f"missing={missing!r} is not known. Write missing='drop' or missing='raise'.")
    masks = {name: column.mask for name, column in table.columns.items()}
    if weights is not None:
        masks["weights" if "weights" not in masks else "weights (as given)"] = weights.mask
    found = {name: mask for name, mask in masks.items() if mask is not None}
    counts = {name: count for name, mask in found.items() if (count := int(np.count_nonzero(mask)))}
    keep = np.ones(table.n_rows, dtype=bool)
    for name in counts:
        keep &= ~found[name]
    n_dropped = table.n_rows - int(np.count_nonzero(keep)) if counts else 0
    if n_dropped:
        report_dropped(table.n_rows, n_dropped, counts, missing)
    return Rows(keep=keep, n_dropped=n_dropped, dropped_by=counts)


def report_dropped(n_rows: int, n_dropped: int, counts: Mapping[str, int], missing: Missing) -> None:
    """Warn of rows that are left out, or refuse them; see `choose_rows`."""
    by_column = listing([f"{name} ({count})" for name, count in counts.items()])
    if missing == "raise":
        raise DesignError(
            f"{n_dropped} of {n_rows} rows have missing values: {by_column}. Complete the data, or use missing='drop'."
        )
    if n_dropped == n_rows:
        raise DesignError(f"No row is left: each of the {n_rows} rows has a missing value. By column: {by_column}.")
    warnings.warn(
        f"{n_dropped} of {n_rows} rows dropped because of missing values: {by_column}.",
        BayesmmWarning,
        skip_file_prefixes=(PACKAGE,),
    )


def read_weights(weights: Any, table: Table) -> Column:
    """Read prior weights given as an array with one value for each row of the data.

    Raises
    ------
    DesignError
        If they are not numbers, or not one for each row, or labelled by another index.
    """
    if isinstance(weights, pd.Series) and not weights.index.equals(table.index):
        raise DesignError(
            "The weights have another index than the data. Reorder them, weights.loc[data.index], or pass "
            "weights.to_numpy() if the order of the rows is the same."
        )
    column = read_column("weights", _as_series(weights))
    if isinstance(column.values, pd.Categorical) or column.values.dtype.kind == "b":
        raise DesignError("The weights are not numbers. Pass one positive number for each row.")
    if len(column.values) != table.n_rows:
        raise DesignError(
            f"There are {len(column.values)} weights for {table.n_rows} rows. Pass one for each row of the data, also "
            "for rows with missing values."
        )
    return column


def _as_series(weights: Any) -> nw.Series:
    import narwhals.stable.v2 as nw

    try:
        return nw.from_native(weights, series_only=True)
    except TypeError:
        values = np.asarray(weights)
    if values.ndim != 1:
        raise DesignError(
            f"The weights are an array of shape {values.shape}. Pass one number for each row, a column's name, or an "
            "expression such as '1 / se**2'."
        )
    return nw.from_native(pd.Series(values), series_only=True)
