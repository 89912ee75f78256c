"""Rows chosen by labels and by levels."""

import numpy as np
import pandas as pd
import pytest

from bayesmm.design import build_design
from bayesmm.design.words.row_choice import choose_rows, label_rows
from bayesmm.errors import DesignError
from bayesmm.specification.formula import parse_formula

N = 24
DATA = pd.DataFrame(
    {
        "y": np.sin(np.arange(N)),
        "x": np.arange(N, dtype=float),
        "school": np.repeat(["A", "B", "C"], 8),
        "room": np.tile(np.repeat([1.0, 2.0], 4), 3),
        "rater": np.resize(["p", "q", "r", "s", "t"], N),
    },
    index=pd.Index(range(100, 100 + N)),
)


def model(formula, data=DATA):
    return build_design(parse_formula(formula), data)


def test_levels_choose_rows():
    design = model("y ~ 1 + (1 | school/room) + (1 | rater)")

    def chosen(rows):
        return design.rows[choose_rows(design, rows)].tolist()

    assert chosen({"school": "B"}) == list(range(108, 116))
    assert chosen({"school": ["A", "C"], "room": 1}) == [100, 101, 102, 103, 116, 117, 118, 119]
    assert chosen({"school:room": "C:2", "rater": "p"}) == [120]
    assert chosen(slice(103, 105)) == [103, 104, 105]
    assert chosen([105, 103]) == [105, 103]
    assert chosen(None) == list(DATA.index)


def test_rows_with_missing_values_are_not_there():
    data = DATA.assign(x=DATA["x"].where(DATA.index != 101))
    with pytest.warns(UserWarning, match="1 of 24 rows"):
        design = model("y ~ x + (1 | school)", data=data)
    assert len(choose_rows(design, None)) == N - 1
    with pytest.raises(DesignError, match=r"no row labelled 101.*1 were dropped"):
        choose_rows(design, [101])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"scool": "A"}, "'scool'.*mean 'school'"),
        ({"school": "Z"}, "no level 'Z'.*A, B, C"),
        ({"school": "A", "rater": []}, "No row is chosen"),
        ([0], "no row labelled 0.*100 to 123"),
        (slice("a", "b"), "does not fit the row labels"),
        ("school", r"rows=\{'school': 'A'\}"),
        ([True] * N, "mask of truth values"),
    ],
)
def test_unknown_rows_are_refused(rows, message):
    with pytest.raises(DesignError, match=message):
        choose_rows(model("y ~ 1 + (1 | school) + (1 | rater)"), rows)


def test_rows_are_named_from_coarse_to_fine():
    labels = label_rows(model("y ~ 1 + (1 | school/room) + (1 | rater)"), np.array([4]))
    assert labels.tolist() == ["school A · room 2 · rater t · row 104"]
