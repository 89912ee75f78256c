"""Information criteria of a model of rows in files, the conditional one too, are of sums alone."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scanned_rows import make_rows, with_gaps

import bayesmm as bmm

DATA = with_gaps(make_rows(260))
A = pd.DataFrame(0.5 ** np.abs(np.subtract.outer(range(25), range(25))), range(25), range(25))
CASES = [
    ("y ~ t * h + (t | a) + (1 | b)", {"weights": "w"}),
    ("y ~ t + twice + offset(w) + (1 | b) + (1 | mm(s, q))", {"weights": "count"}),
    ("y ~ year + (1 | inner) + (1 | a)", {"sigma": 1.0}),
    ("y ~ s(t) + (1 | rel(a, A))", {"relations": {"A": A}}),
]


@pytest.mark.parametrize(("formula", "how"), CASES)
def test_criteria_are_those_of_rows_in_memory(formula: str, how: dict) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows are dropped, columns aliased
        fits = [bmm.Model(formula, rows, **how).fit() for rows in (DATA, bmm.scan(DATA, chunk_rows=60))]
    one, other = (fit.criteria() for fit in fits)
    np.testing.assert_allclose(other.table, one.table, rtol=1e-8, atol=1e-6)
    assert other.uncertainty == pytest.approx(one.uncertainty, rel=1e-6, abs=1e-8)
