"""Lines of the levels of a model of rows in files are those of rows in memory."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scanned_rows import make_rows, with_gaps

import bayesmm as bmm
from bayesmm.bayes.posterior import Posterior
from bayesmm.errors import ArgumentError, RowsError
from bayesmm.rows import of_levels

DATA = with_gaps(make_rows(260))
DATA["big"] = DATA["b"] * 10**17 + 1
CASES = [
    ("y ~ t * h + (t | a) + (1 | b)", "w", {}),
    ("y ~ t * h + (t | a) + (1 | b)", None, {"group": "b", "x": "h"}),
    ("y ~ t + offset(w) + (1 | inner) + (1 | a)", None, {}),
    ("y ~ 1 + (1 | big)", None, {}),
    ("y ~ t + (t | a)", None, {"levels": [3, 5]}),
]


def both(formula: str, weights: str | None = None) -> list[bmm.Model]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows are dropped
        return [bmm.Model(formula, rows, weights=weights) for rows in (DATA, bmm.scan(DATA, chunk_rows=60))]


def close(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("formula", "weights", "how"), CASES)
def test_lines_of_levels_are_those_of_rows_in_memory(formula: str, weights: str | None, how: dict) -> None:
    here, there = (model.fit() for model in both(formula, weights))
    close(here.group_lines(**how), there.group_lines(**how, rows=bmm.scan(DATA, chunk_rows=50)))


def test_a_posterior_and_a_comparison_draw_the_same_lines() -> None:
    here, there = both("y ~ t + (1 | a)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws
        found = there.sample(method="quadrature", draws=60, chains=2, progress=False)
    of_here = Posterior(
        problem=here.problem, priors=here.priors, data=found.data, program=found.program, notes=found.notes
    )
    one = of_here.group_lines()
    close(one, found.group_lines(rows=DATA))
    figure = bmm.compare(there.fit(), found).plot_groups(rows=DATA)
    points = [line.get_xydata() for axis in figure.axes for line in axis.lines if line.get_marker() == "o"]
    frame = here.design.frame
    drawn = frame[frame["a"].isin([float(each) for each in here.fit().group_lines()["level"].unique()])]
    assert np.array(sorted(map(tuple, np.concatenate(points)))) == pytest.approx(
        np.array(sorted(zip(drawn["t"], drawn["y"], strict=True)))
    )


def test_rows_of_levels_are_asked_for_and_few_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = (model.fit() for model in both("y ~ t + (1 | a)"))
    with pytest.raises(RowsError, match=r"fit.group_lines\(rows="):
        there.plot_groups()
    with pytest.raises(ArgumentError, match="leave rows out"):
        here.group_lines(rows=DATA)
    with pytest.raises(RowsError, match="not the rows that the model was made of"):
        there.group_lines(rows=DATA[:200])
    monkeypatch.setattr(of_levels, "MOST_ROWS", 20)
    with pytest.raises(RowsError, match=r"levels=\[...\]"):
        there.group_lines(rows=DATA)
