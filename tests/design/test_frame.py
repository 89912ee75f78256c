"""Columns of every library and type come out as the same plain values."""

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from bayesmm.design.reading.dtypes import level_text
from bayesmm.design.reading.frame import read_table
from bayesmm.errors import DesignError

D = decimal.Decimal


def column(data, name="c"):
    return read_table(data, [name]).columns[name]


def pandas(values, dtype=None):
    return pd.DataFrame({"c": pd.Series(values, dtype=dtype)})


NUMBERS = [
    pandas([3, None, 1], "float64"),
    pandas([3, None, 1], "float32"),
    pandas([3, None, 1], "Int64"),
    pandas([3, None, 1], "UInt8"),
    pandas([3, None, 1], "Float64"),
    pandas([3, None, 1], "int64[pyarrow]"),
    pandas([3, None, 1], "double[pyarrow]"),
    pandas([D(3), None, D(1)], object),
    pandas([3, None, 1], object),
    pandas([D(3), None, D(1)], pd.ArrowDtype(pa.decimal128(5, 2))),
    pl.DataFrame({"c": [3, None, 1]}),
    pl.DataFrame({"c": [3.0, float("nan"), 1.0]}),
    pl.DataFrame({"c": [D(3), None, D(1)]}),
    pa.table({"c": [3, None, 1]}),
    pa.table({"c": pa.array([3, None, 1], pa.float32())}),
    pa.table({"c": [D(3), None, D(1)]}),
]


@pytest.mark.parametrize(
    "data",
    NUMBERS,
    ids=lambda data: f"{type(data).__module__}-{data['c'].dtype if hasattr(data['c'], 'dtype') else data['c'].type}",
)
def test_numbers_of_any_type_become_float64(data):
    found = column(data)
    assert found.values.dtype == np.float64
    assert found.values[[0, 2]].tolist() == [3.0, 1.0]
    assert found.missing.tolist() == [False, True, False]


TEXTS = [
    pandas(["b", None, "a"]),
    pandas(["b", None, "a"], object),
    pandas(["b", None, "a"], "string"),
    pandas(["b", None, "a"], "string[pyarrow]"),
    pandas(["b", None, "a"], pd.ArrowDtype(pa.large_string())),
    pl.DataFrame({"c": ["b", None, "a"]}),
    pl.DataFrame({"c": pl.Series(["b", None, "a"], dtype=pl.Categorical)}),
    pa.table({"c": ["b", None, "a"]}),
]
CATEGORIES = [
    pandas(["b", None, "a"], pd.CategoricalDtype(["b", "x", "a"])),
    pandas(["b", None, "a"], pd.CategoricalDtype(["b", "x", "a"], ordered=True)),
    pandas(["b", None, "a"], pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
    pl.DataFrame({"c": pl.Series(["b", None, "a"], dtype=pl.Enum(["b", "x", "a"]))}),
    pa.table({"c": pa.array(["b", None, "a"]).dictionary_encode()}),
    pa.table({"c": pa.chunked_array([pa.array(["b", None]).dictionary_encode(), pa.array(["a"]).dictionary_encode()])}),
    pa.Table.from_pandas(pandas(["b", None, "a"], pd.CategoricalDtype(["b", "x", "a"]))),
]


@pytest.mark.parametrize(
    ("data", "order"), [*((each, ["a", "b"]) for each in TEXTS), *((each, ["b", "a"]) for each in CATEGORIES)]
)
def test_texts_are_sorted_and_categories_keep_their_order(data, order):
    found = column(data)
    used = found.rows(~found.missing)
    assert isinstance(used, pd.Categorical)
    assert used.ordered
    assert list(used.categories) == order
    assert list(used) == ["b", "a"]
    assert found.missing.tolist() == [False, True, False]


def test_texts_are_sorted_by_code_point():
    used = column(pandas(["s10", "s2", "Z", "é", "a"])).rows(None)
    assert list(used.categories) == ["Z", "a", "s10", "s2", "é"]


@pytest.mark.parametrize(
    "data",
    [
        pandas([True, None, False], object),
        pandas([True, None, False], "boolean"),
        pandas([True, None, False], "bool[pyarrow]"),
        pl.DataFrame({"c": [True, None, False]}),
        pa.table({"c": [True, None, False]}),
    ],
)
def test_booleans_stay_booleans(data):
    found = column(data)
    assert found.values.dtype == bool
    assert found.values[[0, 2]].tolist() == [True, False]
    assert found.missing.tolist() == [False, True, False]


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
def test_long_identifiers_keep_every_digit(library):
    values = [2**60 + 1, 2**60, 7]
    assert column(library({"c": values})).values.tolist() == values


def test_sparse_columns_become_dense():
    assert column(pandas(pd.arrays.SparseArray([0.0, 1.0, 2.0]))).values.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("values", "name", "advice"),
    [
        (pd.date_range("2020", periods=3), "datetime64", ".dt.days"),
        (pd.to_timedelta([1, 2, 3]), "timedelta64", ".dt.total_seconds() / 86400"),
        (pd.period_range("2020", periods=3), "period", ".dt.to_timestamp()"),
        ([datetime.date(2020, 1, 1)] * 3, "date", "pd.to_datetime"),
        ([1j, 2, 3], "complex", "np.real"),
        ([2**70, 1, 2], "object", ".astype(str)"),
    ],
)
def test_times_and_complex_numbers_are_refused_with_advice(values, name, advice):
    with pytest.raises(DesignError) as caught:
        column(pandas(values))
    message = str(caught.value)
    assert "Column 'c'" in message
    assert name in message
    assert advice in message


@pytest.mark.parametrize(
    "data", [pl.DataFrame({"c": [datetime.date(2020, 1, 1)]}), pa.table({"c": [datetime.date(2020, 1, 1)]})]
)
def test_dates_of_other_libraries_are_refused_too(data):
    with pytest.raises(DesignError, match="days since the first"):
        column(data)


def test_mixed_types_are_named():
    with pytest.raises(DesignError, match=r"mixes numbers with the texts 'a'\. Make them missing"):
        column(pandas(["a", 1, 2], object))
    with pytest.raises(DesignError, match="mixes values of the types int, tuple"):
        column(pandas([(1, 2), 1, 2], object))


@pytest.mark.parametrize("data", [[1, 2], {"c": [1]}, 3, None, np.zeros((2, 2))])
def test_what_is_no_data_frame_is_refused(data):
    with pytest.raises(DesignError, match=f"type {type(data).__name__}, not a data frame"):
        read_table(data, ["c"])


def test_lazy_frame_is_to_be_collected():
    with pytest.raises(DesignError, match="collect"):
        read_table(pl.LazyFrame({"c": [1]}), ["c"])


def test_missing_column_error_lists_columns_and_a_near_name():
    with pytest.raises(DesignError) as caught:
        read_table(pd.DataFrame({"Reaction": [1.0], "Days": [1.0]}), ["reaction"])
    message = str(caught.value)
    assert "no column 'reaction'" in message
    assert "Did you mean 'Reaction'?" in message
    assert "Columns: Reaction, Days." in message


@pytest.mark.parametrize(
    "data",
    [pd.DataFrame([[1, 2]], columns=["c", "c"]), pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["c", "c"])],
)
def test_duplicate_column_names_are_refused(data):
    with pytest.raises(DesignError, match="must be unique"):
        read_table(data, ["c"])


def test_columns_of_several_levels_are_refused():
    with pytest.raises(DesignError, match="several levels"):
        read_table(pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])), ["a"])


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
def test_frame_without_rows_is_refused(library):
    with pytest.raises(DesignError, match="no rows"):
        read_table(library({"c": []}), ["c"])


@pytest.mark.parametrize(
    ("level", "text"),
    [
        (308.0, "308"),
        (0.5, "0.5"),
        (-2.0, "-2"),
        (7, "7"),
        ("a", "a"),
        (True, "True"),
        (1e300, "1e+300"),
        (np.float64(3), "3"),
    ],
)
def test_whole_numbers_are_written_without_a_point(level, text):
    assert level_text(level) == text


def test_column_named_by_a_number_gets_advice():
    with pytest.raises(DesignError, match=r"columns\.astype\(str\)"):
        read_table(pd.DataFrame({3: [1.0]}), ["3"])
