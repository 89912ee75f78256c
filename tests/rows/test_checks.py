"""Checks of a model of rows in files: of all rows they are those of rows in memory, of a sample what these rows have."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scanned_rows import make_rows, with_gaps

import bayesmm as bmm
from bayesmm.errors import ArgumentError, RowsError
from bayesmm.fit.fit import Fit
from bayesmm.inference.diagnostics.simulated_sets import draw_sets
from bayesmm.inference.eliminated import eliminate_at

DATA = with_gaps(make_rows(260))
CASES = [("y ~ t * h + offset(w) + (t | a) + (1 | b)", "count"), ("y ~ f + (1 | mm(s, q))", None)]
ROUNDING = 1e-8


def both(formula: str, weights: str | None = None) -> list[Fit]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows are dropped
        found = [bmm.Model(formula, rows, weights=weights) for rows in (DATA, bmm.scan(DATA, chunk_rows=60))]
        return [model.fit() for model in found]


def close(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, other, rtol=ROUNDING, atol=ROUNDING, check_index_type=False)


def _less_search(text: str) -> str:
    """Leave out how the search went: sums of files are eliminated by other steps than few effects in memory."""
    return re.sub(r"The search converged:.*?eigenvalue of its\s+Hessian is [^.]*\.?\d*\.", "", " ".join(text.split()))


@pytest.mark.parametrize(("formula", "weights"), CASES)
def test_of_all_rows_checks_are_those_of_rows_in_memory(formula: str, weights: str | None) -> None:
    here, there = both(formula, weights)
    rows = bmm.scan(DATA, chunk_rows=50)
    one, other = here.check(n=29), there.check(n=29, rows=rows)
    assert [_less_search(each.text) for each in one.findings] == [_less_search(each.text) for each in other.findings]
    assert _less_search(str(one)) == _less_search(str(other))
    close(one.patterns.table, other.patterns.table)
    close(one.levels, other.levels)
    for name, each in one.influence.items():
        close(each.table, other.influence[name].table)
    for random in ("none", "all"):
        drawn = [fit.simulated_residuals(29, random=random, rows=at) for fit, at in ((here, None), (there, rows))]
        pd.testing.assert_series_equal(drawn[0].residuals, drawn[1].residuals)
        close(drawn[0].tests, drawn[1].tests)
    for of in ("residuals", "random_effects"):
        close(here.envelopes(of, n=29), there.envelopes(of, n=29, rows=rows))


def test_of_a_sample_rows_are_what_they_are_among_all() -> None:
    here, there = both(*CASES[0])
    one, other = here.check(n=29), there.check(n=29, rows=DATA, sample=70, seed=4)
    seen = other.influence["rows"].table.index
    assert 50 <= len(seen) <= 90
    assert seen.is_monotonic_increasing
    close(one.influence["rows"].table.loc[seen], other.influence["rows"].table)
    for name in ("a", "b"):
        close(one.influence[name].table, other.influence[name].table)
    close(one.levels, other.levels)
    effects = one.patterns.table["what"] != "residuals"
    expected, found = (each.patterns.table.loc[effects, "statistic"] for each in (one, other))
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)
    assert f"{len(seen)} of {here.n} rows, drawn at random" in str(other)
    residuals = there.simulated_residuals(29, rows=DATA, sample=70)
    assert f"({len(residuals.residuals)} of {here.n} rows, drawn at random)" in " ".join(str(residuals).split())
    figure = there.plot_residuals(n=20, rows=DATA, sample=70, seed=4)
    points = figure.axes[0].lines[0].get_xydata()
    standardised = pd.Series(here.residuals("standardised"), index=here.design.rows)[seen]
    np.testing.assert_allclose(np.asarray(points)[:, 1], standardised, rtol=ROUNDING, atol=ROUNDING)
    assert "drawn at random" in figure.legends[0].get_texts()[0].get_text()


def test_sets_of_a_sample_are_drawn_as_those_of_all_rows() -> None:
    """Conditional residuals of the sampled rows have the covariance σ²P, with all other rows in P."""
    here, there = both("y ~ t + (1 | a) + (1 | b)", "w")
    few = there.problem.condense(DATA, "", there.estimate.beta, there.estimate.modes, sample=40, seed=2)
    m = few.n_sampled
    assert m is not None
    n = 3000
    at = eliminate_at(few.problem, there.estimate)
    sets = draw_sets(at, n, 3, None, there.n - 2)
    residuals = np.concatenate([each.conditional[few.seen] for each in sets], axis=1)[:, 1:]
    whole = eliminate_at(here.problem, here.estimate)
    places = here.design.rows.get_indexer(few.problem.design.rows[few.seen])
    P = whole.project(np.eye(here.n))[1][np.ix_(places, places)]
    np.testing.assert_allclose(residuals @ residuals.T / n / here.sigma**2, P, rtol=0, atol=6.0 / np.sqrt(n))


def test_rows_are_asked_for() -> None:
    here, there = both("y ~ t + (1 | a)")
    for name in ("check", "simulated_residuals", "envelopes", "plot_envelopes", "plot_residuals"):
        with pytest.raises(RowsError, match=rf"fit.{name}\(rows="):
            getattr(there, name)()
        with pytest.raises(ArgumentError, match="leave rows out"):
            getattr(here, name)(rows=DATA)
    with pytest.raises(RowsError, match="refit is True"):
        there.envelopes(refit=True, rows=DATA)
    with pytest.raises(ArgumentError, match="sample is 0"):
        there.check(rows=DATA, sample=0)
