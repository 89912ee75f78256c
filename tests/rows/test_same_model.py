"""A model of rows that are read chunk by chunk is the one of the same rows in memory, whatever the partition."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scanned_rows import FORMULAS, close, make_rows, with_gaps

import bayesmm as bmm

HOW = [{}, {"weights": "w"}, {"sigma": 1.1}]
LOGLIK = 1e-8  # the same sums in another order


def models(formula: str, data: pd.DataFrame, parts: list[pd.DataFrame], rows: int, **how) -> list[bmm.Model]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows are dropped, in both alike
        return [bmm.Model(formula, data, **how), bmm.Model(formula, bmm.scan(parts, chunk_rows=rows), **how)]


def cut(data: pd.DataFrame, seed: int) -> tuple[list[pd.DataFrame], int]:
    r = np.random.default_rng(seed)
    order, ends = r.permutation(len(data)), np.sort(r.choice(len(data), r.integers(0, 4), replace=False))
    return [data.iloc[rows] for rows in np.split(order, ends) if len(rows)], int(r.integers(20, 300))


@pytest.mark.parametrize("formula", FORMULAS)
def test_estimates_equal_those_of_rows_in_memory(formula: str) -> None:
    i = FORMULAS.index(formula)
    data = with_gaps(make_rows()) if i % 2 else make_rows()
    here, there = models(formula, data, *cut(data, i), **HOW[i % 3])
    fit, other = here.fit(), there.fit()
    assert fit.loglik == pytest.approx(other.loglik, abs=LOGLIK * abs(fit.loglik))
    close(fit.parameters, other.parameters)
    close(fit.random_effects(), other.random_effects())
    assert there.design.n == here.design.n
    assert there.design.n_dropped == here.design.n_dropped
    assert there.design.dropped_by == here.design.dropped_by
    assert there.design.aliased == here.design.aliased
    assert str(fit.summary()) == str(other.summary())


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), formula=st.sampled_from(FORMULAS[:6]))
def test_sums_do_not_depend_on_the_partition(seed: int, formula: str) -> None:
    data = make_rows(150, seed % 7)
    here, there = (model.problem.products for model in models(formula, data, *cut(data, seed)))
    for name in ("diagonal", "cross", "pairs", "effect_roots"):
        for one, other in zip(getattr(here, name), getattr(there, name), strict=True):
            np.testing.assert_allclose(np.abs(other), np.abs(one), rtol=1e-8, atol=1e-8 * np.abs(one).max(initial=1.0))
    for name in ("gram", "fixed_origin", "log_det_root", "n", "p", "log_weights"):
        one, other = getattr(here, name), getattr(there, name)
        np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-8 * np.abs(one).max(initial=1.0))


@pytest.mark.parametrize(
    "formula",
    ["y ~ center(t) + scale(year) + (1 | a)", "np.log(y + 20) ~ f * standardize(np.exp(w)) + (center(t) | a)"],
)
def test_means_of_transformations_are_those_of_all_rows(formula: str) -> None:
    data = with_gaps(make_rows())
    here, there = models(formula, data, *cut(data, 3))
    close(here.fit().parameters, there.fit().parameters)
    again = bmm.Model.from_sums(there.problem.sums)
    np.testing.assert_allclose(again.fit().predict(data.head(9)), here.fit().predict(data.head(9)), rtol=1e-6)


def test_splines_with_knots_and_limits_need_nothing_of_all_rows() -> None:
    data, how = make_rows(), {"namespace": {"k": np.array([-0.5, 0.5])}}
    formula = "y ~ 0 + bs(t, knots=k, lower_bound=-5, upper_bound=5, center=False) + (1 | a)"
    here, there = models(formula, data, *cut(data, 4), **how)
    close(here.fit().parameters, there.fit().parameters)


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("y ~ bs(t, df=5) + (1 | a)", "knots and limits"),
        ("y ~ poly(t, 2) + (1 | a)", "depends on how all values lie"),
        ("y ~ s(t) + (1 | a)", "depends on how all values lie"),
        ("y ~ scale(center(t)) + (1 | a)", "of another one"),
        ("y ~ off(t) + (1 | a)", "depends on other rows"),
    ],
)
def test_what_depends_on_all_rows_is_refused(formula: str, said: str) -> None:
    with pytest.raises(bmm.errors.RowsError, match=said):
        bmm.Model(formula, bmm.scan(make_rows()), namespace={"off": lambda x: x - x.mean()})
