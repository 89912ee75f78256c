"""From one row a subject to one row an observation."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from bayesmm.design import to_long
from bayesmm.errors import DesignError

WIDE = pd.DataFrame(
    {
        "who": ["b", "a", "c"],
        "age": [30, 40, 50],
        "Time1Y": [1.0, 2.0, np.nan],
        "Time2Y": [3.0, np.nan, np.nan],
        "Time1X": ["p", "q", None],
        "Time2X": ["r", "s", None],
    }
)
LONG = pd.DataFrame(
    {
        "who": ["b", "b", "a", "a", "c", "c"],
        "time": [1, 2, 1, 2, 1, 2],
        "age": [30, 30, 40, 40, 50, 50],
        "Y": [1.0, 3.0, 2.0, np.nan, np.nan, np.nan],
        "X": ["p", "r", "q", "s", None, None],
    }
)


def same(found, expected):
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_several_variables_by_pattern():
    same(to_long(WIDE, pattern="Time{time}{variable}", id="who"), LONG)


def test_several_variables_by_lists():
    same(to_long(WIDE, {"Y": ["Time1Y", "Time2Y"], "X": ["Time1X", "Time2X"]}, id="who"), LONG)


@pytest.mark.parametrize("library", [pl.from_pandas, pa.Table.from_pandas])
def test_every_library_gives_pandas(library):
    same(to_long(library(WIDE), pattern="Time{time}{variable}", id="who"), LONG)


def test_visits_that_did_not_happen_can_be_dropped():
    same(to_long(WIDE, pattern="Time{time}{variable}", id="who", drop_missing=True), LONG.iloc[:4])


def test_subjects_are_numbered_if_they_have_no_name():
    found = to_long(WIDE.drop(columns="who"), {"Y": ["Time1Y", "Time2Y"]}, times=[0, 6], time="month")
    assert found.columns.tolist()[:2] == ["subject", "month"]
    assert found["subject"].tolist() == [1, 1, 2, 2, 3, 3]
    assert found["month"].tolist() == [0, 6, 0, 6, 0, 6]


def test_none_stands_for_a_time_without_measurement():
    found = to_long(WIDE, {"Y": ["Time1Y", "Time2Y"], "X": [None, "Time2X"]}, id="who")
    assert found["X"].isna().tolist() == [True, False, True, False, True, True]
    assert "Time1X" in found.columns


@pytest.mark.parametrize(
    ("pattern", "columns", "times", "values"),
    [
        ("{variable}_{time}", {"y_10": 3, "y_1": 1, "y_2": 2}, [1, 2, 10], [1, 2, 3]),
        ("{variable}{time}", {"y10": 3, "y1": 1, "y2": 2}, [1, 2, 10], [1, 2, 3]),
        ("{variable}.{time}", {"y.1.5": 2, "y.0.5": 1}, [0.5, 1.5], [1, 2]),
        ("week {time}: {variable}", {"week 3: y": 2, "week 1: y": 1}, [1, 3], [1, 2]),
    ],
)
def test_times_are_numbers_in_their_order(pattern, columns, times, values):
    found = to_long(pd.DataFrame([columns]), pattern=pattern)
    assert found["time"].tolist() == times
    assert found["y"].tolist() == values


def test_named_times_are_given():
    data = pd.DataFrame({"y_pre": [1], "y_post": [2], "y_post2": [3], "other_x": [4]})
    found = to_long(data, pattern="{variable}_{time}", times=["pre", "post", "post2"])
    assert found["time"].tolist() == ["pre", "post", "post2"]
    assert found["y"].tolist() == [1, 2, 3]
    assert found["other_x"].tolist() == [4, 4, 4]


def test_variables_measured_at_different_times_are_aligned():
    data = pd.DataFrame({"x_1": [1], "y_1": [2], "y_3": [4]})
    found = to_long(data, pattern="{variable}_{time}")
    assert found["time"].tolist() == [1, 3]
    assert found["y"].tolist() == [2, 4]
    assert found["x"].isna().tolist() == [False, True]


def test_reshaping_back_gives_the_same_table():
    rng = np.random.default_rng(0)
    wide = pd.DataFrame({f"{v}_{t}": rng.normal(size=7) for v in "ab" for t in range(1, 5)})
    back = to_long(wide, pattern="{variable}_{time}").pivot(index="subject", columns="time", values=["a", "b"])
    np.testing.assert_array_equal(back.to_numpy(), wide.to_numpy())


def test_data_are_left_as_they_were():
    before = WIDE.copy()
    to_long(WIDE, pattern="Time{time}{variable}")
    pd.testing.assert_frame_equal(WIDE, before)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({}, "Say either which columns"),
        ({"columns": {"Y": ["Time1Y"]}, "pattern": "{variable}{time}"}, "Say either which columns"),
        ({"columns": {"Y": ["Time1Z"]}}, "no column 'Time1Z'. Did you mean 'Time1"),
        ({"columns": {"Y": ["Time1Y", "Time1Y"]}}, "is named 2 times"),
        ({"columns": {"Y": ["Time1Y"], "X": ["Time1X", "Time2X"]}}, "Y 1, X 2"),
        ({"columns": {}}, "columns given: none"),
        ({"columns": {"Y": ["Time1Y"]}, "times": [1, 2]}, "2 times for 1 columns"),
        ({"columns": {"Y": ["Time1Y"]}, "time": "age"}, "two columns 'age'"),
        ({"columns": {"age": ["Time1Y"]}}, "two columns 'age'"),
        ({"columns": {"time": ["Time1Y"]}}, "both called 'time'"),
        ({"pattern": "Time{time}"}, "must hold {time} and {variable} once"),
        ({"pattern": "Visit{time}{variable}"}, "No column fits the pattern"),
        ({"pattern": "Time{time}{variable}", "id": "Who"}, "Did you mean 'who'?"),
    ],
)
def test_mistakes_get_their_own_message(options, part):
    with pytest.raises(DesignError) as caught:
        to_long(WIDE, **options)
    assert part in str(caught.value)


def test_long_data_are_recognised():
    with pytest.raises(DesignError, match="The subject 'b' has several rows"):
        to_long(pd.concat([WIDE, WIDE]), pattern="Time{time}{variable}", id="who")


def test_column_named_subject_must_be_confirmed():
    with pytest.raises(DesignError, match="id='subject'"):
        to_long(WIDE.rename(columns={"who": "subject"}), pattern="Time{time}{variable}")


def test_two_columns_for_one_cell_are_refused():
    with pytest.raises(DesignError, match="both hold 'y' at time 1"):
        to_long(pd.DataFrame({"y_1": [1], "y_01": [2]}), pattern="{variable}_{time}")
