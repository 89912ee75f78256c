import numpy as np
import pandas as pd
import pytest
from reference_data import schema

from bayesmm import datasets
from bayesmm.datasets.table import natural_order

SCHEMA = {name.lower(): entry for name, entry in schema().items()}


@pytest.mark.parametrize("name", datasets.names())
def test_data_are_those_of_the_reference_values(name):
    """Row count, level orders, and minimum, maximum and sum of every number, as the reference programs read them."""
    frame = datasets.load(name)
    assert len(frame) == SCHEMA[name]["rows"]
    for column, expected in SCHEMA[name]["columns"].items():
        values = frame[column]
        if expected["type"] == "factor":
            assert values.cat.categories.size == expected["n_levels"]
            assert expected["levels"] in (None, list(values.cat.categories))
            assert values.notna().all()
        else:
            assert (values.min(), values.max()) == (expected["min"], expected["max"])
            assert values.sum() == pytest.approx(expected["sum"], rel=1e-12, abs=1e-12 * values.abs().sum())
            assert values.isna().sum() == expected["n_missing"]


@pytest.mark.parametrize("name", datasets.names())
def test_dtypes_are_those_of_the_description(name):
    frame = datasets.load(name)
    for column in datasets.describe(name).columns:
        dtype = frame[column.name].dtype
        if column.type == "factor":
            assert isinstance(dtype, pd.CategoricalDtype)
            assert not dtype.ordered
            assert dtype.categories.dtype == "str"
            assert column.levels in ((), tuple(dtype.categories))
        else:
            assert dtype == {"number": np.float64, "integer": np.int64}[column.type]


def test_load_returns_a_fresh_frame():
    rail = datasets.load("rail")
    rail.loc[0, "travel"] = -1
    assert datasets.load("rail").loc[0, "travel"] == 55


def test_text_that_pandas_takes_for_missing_is_a_level():
    """No bundled factor may lose a level such as "None" or "NA" on reading."""
    assert all(datasets.load(name).select_dtypes("category").notna().all().all() for name in datasets.names())


def test_numbers_as_labels_are_ordered_as_numbers():
    assert natural_order(["10", "9", "-1.5"]) == ["-1.5", "9", "10"]
    assert natural_order(["10", "9", "x"]) == ["10", "9", "x"]
