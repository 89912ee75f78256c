"""Factors that stand by themselves are coded here as formulae codes them."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from bayesmm.design.columns.columns import Columns, build_columns
from bayesmm.design.columns.formulae_terms import evaluate_terms
from bayesmm.design.reading.frame import UsedRows, read_table
from bayesmm.design.reading.names import Names
from bayesmm.specification.expansion import expand_text

NAMES = ("x", "i", "f", "c", "b", "k", "z", "nb", "s")
N = 40


def frame_of(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": rng.normal(size=N),
            "i": rng.integers(0, 5, N),
            "f": rng.choice(list("bca"), N),
            "c": pd.Categorical(rng.choice(["lo", "hi", "mid"], N), categories=["lo", "mid", "hi", "none"]),
            "b": rng.random(N) > 0.5,
            "k": pd.Categorical(rng.integers(1, 4, N)),
            "z": pd.Categorical(rng.choice([1.5, 2.0], N)),
            "nb": pd.array(rng.random(N) > 0.3, dtype="boolean"),
            "s": pd.array(rng.choice(["p", "q"], N), dtype="string"),
        }
    )


def rows_of(frame: pd.DataFrame) -> UsedRows:
    return read_table(frame, list(NAMES)).rows(np.ones(N, dtype=bool)).as_floats()


@pytest.mark.parametrize("intercept", ["0", "1"])
@pytest.mark.parametrize("n_terms", [1, 2])
def test_columns_names_and_new_rows_are_those_of_formulae(n_terms: int, intercept: str) -> None:
    frame, names = frame_of(1), Names(None)
    rows, new = rows_of(frame), rows_of(frame.iloc[::-1].copy()).frame
    for some in permutations(NAMES, n_terms):
        text = " + ".join([intercept, *some])
        ours = build_columns(text, rows, names)
        theirs = Columns(evaluate_terms(expand_text(text), rows.frame, names), ours.uses)
        assert ours.names == theirs.names
        assert ours.are_plain == theirs.are_plain
        np.testing.assert_array_equal(ours.fitted(N), theirs.fitted(N), err_msg=text)
        for few in (new, rows.frame.iloc[:7]):
            np.testing.assert_array_equal(ours.evaluate(few), theirs.evaluate(few), err_msg=text)
        for own, other in zip(ours.anatomy, theirs.anatomy, strict=True):
            for part, same in zip(own, other, strict=True):
                assert (part.name, part.width) == (same.name, same.width)
                np.testing.assert_array_equal(part.coding, same.coding)
