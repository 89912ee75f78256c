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


CURVES = [
    "y ~ bs(t, df=5) + (1 | a)",
    "y ~ bs(t, 4, degree=2, center=False) - 1 + (1 | a)",
    "y ~ bs(t, knots=k) + (1 | a)",
    "y ~ cr(t, df=4) + bs(tenths, df=6, lower_bound=-6) + (1 | a)",
    "y ~ cc(t, period=7.0, df=4) + (1 | a)",
    "y ~ tp(t, df=5, max_knots=60) + (1 | a)",
    "y ~ poly(year, 3) + (poly(tenths, 2) | a)",
    "y ~ poly(scale(t), 2) + scale(center(year)) + (1 | a)",
    "y ~ poly(tenths, 2, raw=True) + I(center(t)**2) + (1 | a)",
    "scale(y) ~ cr(np.exp(t), df=5) + (1 | a)",
    "y ~ s(t) + (1 | a)",
    "y ~ s(np.exp(t), bs='bs', k=6) + f * t + homdiag(0 + s(tenths, k=5) | f) + (1 | a)",
]


@pytest.mark.parametrize("formula", CURVES)
def test_curves_over_all_rows_have_the_columns_of_rows_in_memory(formula: str) -> None:
    data = make_rows().assign(tenths=lambda d: d["t"].round(1))
    data, how = with_gaps(data), {"namespace": {"k": np.array([-0.5, 0.5])}}
    here, there = models(formula, data, *cut(data, CURVES.index(formula)), **how)
    new = make_rows(30, seed=5).assign(t=lambda d: 1.3 * d["t"], tenths=lambda d: d["t"])  # beyond the limits, too
    new["a"] = data["a"].dropna().iloc[0]
    mine, theirs = here.design.evaluate(new), there.design.evaluate(new)
    np.testing.assert_allclose(theirs.X, mine.X, rtol=1e-9, atol=1e-11 * np.abs(mine.X).max())
    for one, other in zip(mine.blocks, theirs.blocks, strict=True):
        columns = (each.incidence.memberships[0].columns for each in (one, other))
        np.testing.assert_allclose(*columns, rtol=1e-9, atol=1e-10)
    assert there.design.coefficients == here.design.coefficients
    close(here.fit().parameters, there.fit().parameters)


def test_what_curves_remember_is_saved_with_the_sums(tmp_path) -> None:
    data = make_rows(300)
    model = bmm.Model(CURVES[11], bmm.scan(data.assign(tenths=data["t"].round(1)), chunk_rows=80))
    again = bmm.Model.from_sums(model.problem.save(tmp_path / "sums.nc"))
    close(model.fit().parameters, again.fit().parameters)
    other = bmm.Model(CURVES[11], bmm.scan(make_rows(90, seed=9).assign(tenths=lambda d: d["t"].round(1))))
    with pytest.raises(bmm.errors.RowsError, match="remembers other numbers"):
        _ = model.problem.sums + other.problem.sums


def test_distinct_values_do_not_depend_on_the_order_of_their_parts(monkeypatch) -> None:
    from bayesmm.rows import distinct

    monkeypatch.setattr(distinct, "WAITING", 50)
    r = np.random.default_rng(1)
    x = r.normal(size=400).round(2)
    parts = []
    for some in np.split(x, [30, 31, 200]):
        parts.append(distinct.DistinctValues("poly(x)", "x"))
        for values in np.array_split(some, 3):
            parts[-1].add(values)
    parts[2].merge(parts[0])
    parts[1].merge(parts[2])
    parts[3].merge(parts[1])
    found, (values, counts) = parts[3].occurrences(), np.unique(x, return_counts=True)
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_allclose(
        found.quantiles(np.linspace(0, 1, 33)), np.quantile(x, np.linspace(0, 1, 33)), rtol=1e-13
    )


def test_polynomials_keep_their_digits_far_from_zero() -> None:
    data = make_rows(400).assign(t=lambda d: 1e6 + d["t"].round(2))
    data.loc[3, "t"] = 1e6 + 500.0  # one row far from all others
    here, there = models("y ~ poly(t, 3) + (1 | a)", data, [data], 50)
    close(here.fit().parameters, there.fit().parameters)


def test_more_distinct_values_than_there_may_be_are_refused(monkeypatch) -> None:
    monkeypatch.setattr("bayesmm.rows.distinct.MOST", 100)
    with pytest.raises(bmm.errors.RowsError, match=r"more than 100 distinct.*np\.round\(t, 3\)"):
        bmm.Model("y ~ cr(t, df=4) + (1 | a)", bmm.scan(make_rows()))
    bmm.Model("y ~ cr(np.round(t, 1), df=4) + (1 | a)", bmm.scan(make_rows()))


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("y ~ bs(x=t, df=4) + (1 | a)", "does not begin with"),
        ("y ~ off(t) + (1 | a)", "depends on other rows"),
        ("y ~ poly(count, 4) + (1 | a)", "more than 4 distinct values"),
    ],
)
def test_what_depends_on_all_rows_otherwise_is_refused(formula: str, said: str) -> None:
    with pytest.raises(bmm.errors.BayesmmError, match=said):
        bmm.Model(formula, bmm.scan(make_rows()), namespace={"off": lambda x: x - x.mean()})


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ bs(t, df=1) + (1 | a)",
        "y ~ cr(count, df=9) + (1 | a)",
        "y ~ tp(t, df=2000) + (1 | a)",
        "y ~ s(count, k=8) + (1 | a)",
        "y ~ poly(np.log(t), 2) + (1 | a)",
    ],
)
def test_curves_that_cannot_be_are_refused_by_name(formula: str) -> None:
    with pytest.raises(bmm.errors.BayesmmError) as here:
        bmm.Model(formula, make_rows())
    with pytest.raises(bmm.errors.BayesmmError) as there:
        bmm.Model(formula, bmm.scan(make_rows()))
    assert type(there.value) in (type(here.value), bmm.errors.RowsError)


def test_what_curves_need_is_merged_in_a_tree(monkeypatch) -> None:
    import pickle

    from bayesmm.rows.source import Scan

    def fold(self, whole, *_):
        """Make a part of each chunk, with all that travels pickled, and merge neighbours until one is left."""
        parts = []
        for chunk in self.chunks(whole.names, whole.rows):
            own = pickle.loads(pickle.dumps(whole))
            parts.append(own.begin())
            own.add(parts[-1], chunk)
        while len(parts) > 1:
            for left, right in zip(parts[::2], parts[1::2], strict=False):
                left.merge(pickle.loads(pickle.dumps(right.packed())))
            parts = parts[::2]
        return parts[0]

    formula = "y ~ bs(t, df=5) + poly(center(year), 2) + s(w) + (1 | a)"
    here = bmm.Model(formula, make_rows(300)).fit()
    monkeypatch.setattr(Scan, "fold", fold)
    there = bmm.Model(formula, bmm.scan(make_rows(300), chunk_rows=70)).fit()
    assert there.loglik == pytest.approx(here.loglik, abs=LOGLIK * abs(here.loglik))
    np.testing.assert_allclose(there.parameters["estimate"], here.parameters["estimate"], rtol=1e-4, atol=1e-4)
