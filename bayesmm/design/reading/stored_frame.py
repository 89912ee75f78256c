"""A data frame as numeric arrays and a description that JSON can hold, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

SCALARS = (str, int, float, bool)
LONGEST = 10**8  # labels that are counted and not stored: 0.8 GB should they ever be written out

type Description = dict[str, Any]
type Arrays = dict[str, np.ndarray]


def pack_frame(frame: pd.DataFrame) -> tuple[Description, Arrays]:
    """Take a data frame of plain columns apart.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns of numbers, booleans and categoricals, such as ``Design.frame``.

    Returns
    -------
    description : dict
        Names, categories and row labels; strings, numbers, lists and dicts only.
    arrays : dict of str to array
        Numbers and booleans under names that the description uses.

    Notes
    -----
    Texts go into the description and not into arrays, because netCDF and Zarr differ in what a text may be.
    """
    rows, arrays = pack_index(frame.index, "row_labels")
    columns = []
    for position, name in enumerate(frame.columns):
        values, variable = frame[name], f"column_{position}"
        entry: Description = {"name": name, "variable": variable}
        if isinstance(values.dtype, pd.CategoricalDtype):
            arrays[variable] = values.cat.codes.to_numpy()
            entry["categories"], more = pack_index(values.cat.categories, f"categories_{position}")
            arrays |= more
        else:
            arrays[variable] = values.to_numpy()
        columns.append(entry)
    return {"rows": rows, "columns": columns}, arrays


def unpack_frame(description: Description, arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Put a data frame together again from what `pack_frame` returned."""
    columns = {}
    for entry in description["columns"]:
        values = arrays[entry["variable"]]
        if "categories" in entry:
            categories = unpack_index(entry["categories"], arrays)
            values = pd.Categorical.from_codes(values, categories=categories, ordered=True)
        columns[entry["name"]] = values
    return pd.DataFrame(columns, index=unpack_index(description["rows"], arrays))


def pack_index(index: pd.Index, variable: str) -> tuple[Description, Arrays]:
    """Take row labels or categories apart; those that are neither numbers, texts nor times become texts.

    Parameters
    ----------
    index : pandas.Index
        The labels.
    variable : str
        Name for the array that they may need.
    """
    if isinstance(index, pd.MultiIndex):
        packed = [pack_index(index.get_level_values(i), f"{variable}_{i}") for i in range(index.nlevels)]
        arrays = {name: values for _, part in packed for name, values in part.items()}
        return {"kind": "several", "parts": [part for part, _ in packed], "name": None}, arrays
    name = index.name if isinstance(index.name, SCALARS) else None
    if isinstance(index, pd.RangeIndex):
        return {"kind": "range", "name": name, "range": [index.start, index.stop, index.step]}, {}
    if isinstance(index, pd.CategoricalIndex):
        categories, arrays = pack_index(index.categories, f"{variable}_categories")
        entry = {"kind": "categories", "name": name, "variable": variable, "ordered": bool(index.ordered)}
        return entry | {"categories": categories}, arrays | {variable: np.asarray(index.codes)}
    if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        zone = str(index.tz) if isinstance(index, pd.DatetimeIndex) and index.tz is not None else None
        kind = "times" if isinstance(index, pd.DatetimeIndex) else "durations"
        entry = {"kind": kind, "name": name, "variable": variable, "unit": index.unit, "zone": zone}
        return entry, {variable: index.asi8}
    values = index.to_numpy()
    if values.dtype.kind in "biuf":
        return {"kind": "numbers", "name": name, "variable": variable}, {variable: values}
    listed = [None if pd.api.types.is_scalar(x) and pd.isna(x) else x for x in values.tolist()]
    if all(x is None or type(x) is str for x in listed):
        return {"kind": "texts", "name": name, "values": listed}, {}
    if all(x is None or type(x) in SCALARS for x in listed):
        return {"kind": "scalars", "name": name, "values": listed}, {}
    return {"kind": "texts", "name": name, "values": [str(x) for x in index]}, {}


def unpack_index(description: Description, arrays: Mapping[str, np.ndarray]) -> pd.Index:
    """Put row labels or categories together again from what `pack_index` returned."""
    kind, name = description["kind"], description["name"]
    if kind == "several":
        parts = [unpack_index(part, arrays) for part in description["parts"]]
        return pd.MultiIndex.from_arrays(parts, names=[part.name for part in parts])
    if kind == "range":
        counted = pd.RangeIndex(*description["range"], name=name)
        if len(counted) > LONGEST:
            raise ValueError(f"{len(counted)} labels are counted")
        return counted
    if kind == "numbers":
        return pd.Index(arrays[description["variable"]], name=name)
    if kind == "texts":
        return pd.Index(description["values"], dtype="str", name=name)
    if kind == "scalars":
        return pd.Index(description["values"], dtype=object, name=name)
    if kind == "categories":
        categories, ordered = unpack_index(description["categories"], arrays), description["ordered"]
        codes = arrays[description["variable"]]
        return pd.CategoricalIndex(pd.Categorical.from_codes(codes, categories=categories, ordered=ordered), name=name)
    numbers, unit = arrays[description["variable"]], description["unit"]
    if kind == "durations":
        return pd.TimedeltaIndex(numbers.astype(f"timedelta64[{unit}]"), name=name)
    times = pd.DatetimeIndex(numbers.astype(f"datetime64[{unit}]"), name=name)
    return times if description["zone"] is None else times.tz_localize("UTC").tz_convert(description["zone"])
