"""The data of the reference models: bundled sets from the package, the others from `tests/reference/data`."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesmm import datasets

REFERENCE = Path(__file__).parent / "reference"


@cache
def schema() -> dict[str, Any]:
    """Types, level orders and checksums of all data sets, as the reference values saw them."""
    return json.loads((REFERENCE / "data" / "schema.json").read_text(encoding="utf-8"))


@cache
def load_data(name: str) -> pd.DataFrame:
    """The whole table of one data set; treat it as read-only."""
    if name.lower() in datasets.names():
        return datasets.load(name)
    entry = schema()[name]
    factors = {column: about for column, about in entry["columns"].items() if about["type"] == "factor"}
    frame = pd.read_csv(
        REFERENCE / "data" / entry["file"], dtype=dict.fromkeys(factors, str), keep_default_na=False, na_values=[""]
    )
    for column, about in factors.items():
        levels = about["levels"] or sorted(frame[column].unique(), key=float)
        frame[column] = pd.Categorical(frame[column], categories=levels)
    return with_indicators(frame) if name == "nhanes_like" else frame


def with_indicators(frame: pd.DataFrame) -> pd.DataFrame:
    """The derived columns of nhanes_like: 0/1 for systolic, diastolic, and one of the first three diastolic readings."""
    diastolic = (frame["bpt"] == "DI").to_numpy()
    first_three = diastolic & (frame["bpi"] <= 3).to_numpy()
    return frame.assign(sy=(~diastolic).astype(int), di=diastolic.astype(int), di123=first_three.astype(int))


def select_rows(frame: pd.DataFrame, entry: dict[str, Any]) -> pd.DataFrame:
    """The rows that a reference entry was fitted to, numbered anew from 0; levels that no longer occur stay declared."""
    if "row_index" in entry:
        return frame.iloc[entry["row_index"]].reset_index(drop=True)
    rule = entry.get("rows_used", "all")
    kept = np.ones(len(frame), dtype=bool)
    if kind := re.search(r"bpt == '(\w\w)'", rule):
        kept &= (frame["bpt"] == kind[1]).to_numpy()
    selected = frame[kept]
    if first := re.search(r"first (\d+)", rule):
        selected = selected.iloc[: int(first[1])]
    assert rule == "all" or kind or first or rule == "all rows", f"rows_used {rule!r} is not understood"
    return selected.reset_index(drop=True)
