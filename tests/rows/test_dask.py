"""A model of a Dask DataFrame is the one of the same rows in memory, whatever the partitions and whoever computes them."""

from __future__ import annotations

import itertools
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scanned_rows import FORMULAS, close, make_rows, with_gaps

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmWarning, RowsError
from bayesmm.rows.cluster import ClusterScan
from bayesmm.rows.gathering import Gatherer, read_chunk
from bayesmm.specification.formula import parse_formula

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")
HOW = [{}, {"weights": "w"}, {"sigma": 1.1}]
LOGLIK = 1e-8  # the same sums in another order


@pytest.fixture(autouse=True)
def here():
    with dask.config.set(scheduler="synchronous"):
        yield


def in_parts(parts: list[pd.DataFrame]):
    """A Dask DataFrame of these partitions, as they are."""
    meta = parts[0].head(0)
    meta["h"] = pd.Categorical([], categories=["__UNKNOWN_CATEGORIES__"])
    return dd.from_delayed([dask.delayed(part) for part in parts], meta=meta, verify_meta=False)


def cut(data: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """Partitions of any sizes, some empty, each with the categories that it has."""
    r = np.random.default_rng(seed)
    data = data.iloc[r.permutation(len(data))]
    ends = np.sort(r.integers(0, len(data) + 1, r.integers(0, 11)))
    if seed % 3 == 0:  # a level in one partition only
        data, ends = data.sort_values("a", kind="stable"), ends
    parts = np.split(np.arange(len(data)), ends)
    found = [data.iloc[rows] for rows in parts]
    return [part.assign(h=part["h"].cat.remove_unused_categories()) if i % 2 else part for i, part in enumerate(found)]


def models(formula: str, data: pd.DataFrame, seed: int, **how) -> tuple[bmm.Model, bmm.Model]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)  # rows are dropped, in both alike
        return bmm.Model(formula, data, **how), bmm.Model(formula, in_parts(cut(data, seed)), **how)


@pytest.mark.parametrize("formula", FORMULAS)
def test_estimates_equal_those_of_rows_in_memory(formula: str) -> None:
    i = FORMULAS.index(formula)
    data = with_gaps(make_rows()) if i % 2 else make_rows()
    here, there = models(formula, data, i, **HOW[i % 3])
    fit, other = here.fit(), there.fit()
    assert fit.loglik == pytest.approx(other.loglik, abs=LOGLIK * abs(fit.loglik))
    close(fit.parameters, other.parameters)
    close(fit.random_effects(), other.random_effects())
    assert str(fit.summary()) == str(other.summary())
    assert there.design.n_dropped == here.design.n_dropped
    assert list(there.design.dropped_by.items()) == list(here.design.dropped_by.items())


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), formula=st.sampled_from(FORMULAS[:7]), has_gaps=st.booleans())
def test_sums_do_not_depend_on_partitions_and_order(seed: int, formula: str, has_gaps: bool) -> None:
    data = make_rows(150, seed % 7)
    data = with_gaps(data) if has_gaps else data
    one, two = models(formula, data, seed)
    assert [block.levels for block in one.design.blocks] == [block.levels for block in two.design.blocks]
    assert one.design.coefficients == two.design.coefficients
    here, there = one.problem.products, two.problem.products
    for name in ("diagonal", "cross", "pairs", "effect_roots"):
        for mine, theirs in zip(getattr(here, name), getattr(there, name), strict=True):
            size = np.abs(mine).max(initial=1.0)
            np.testing.assert_allclose(np.abs(theirs), np.abs(mine), rtol=1e-8, atol=1e-8 * size)
    for name in ("gram", "fixed_origin", "log_det_root", "n", "p", "log_weights"):
        mine, theirs = getattr(here, name), getattr(there, name)
        np.testing.assert_allclose(theirs, mine, rtol=1e-8, atol=1e-8 * np.abs(mine).max(initial=1.0))


def flat(values: object) -> list[float]:
    return [x for each in values for x in flat(each)] if isinstance(values, (list, tuple, np.ndarray)) else [values]


@pytest.mark.parametrize("formula", [FORMULAS[0], FORMULAS[5]])
def test_sums_are_packed_without_levels_that_have_no_rows(formula: str) -> None:
    data = make_rows(300).sort_values("a")
    whole = bmm.Model(formula, bmm.scan(data)).problem.sums.summed
    part = bmm.Model(formula, bmm.scan(data[:40])).problem.sums.summed
    packed = part.totals.packed()
    again = type(part.totals)(part.totals.recipe)
    again.merge(pickle.loads(pickle.dumps(packed)))
    for name in set(vars(again)) - {"recipe", "sums", "_pairs"}:
        assert flat(getattr(again, name)) == flat(getattr(part.totals, name)), name
    sums = (again.sums.diagonal + again.sums.cross, part.totals.sums.diagonal + part.totals.sums.cross)
    for one, other in zip(*sums, strict=True):
        np.testing.assert_array_equal(one, other)
    for pair, (keys, sums) in part.totals.pairs().items():
        np.testing.assert_array_equal(again.pairs()[pair][0], keys)
        np.testing.assert_array_equal(again.pairs()[pair][1], sums)
    assert len(pickle.dumps(packed)) < len(pickle.dumps(whole.totals.packed()))


def test_what_the_first_pass_holds_does_not_grow_with_the_number_of_parts() -> None:
    data = make_rows(400).drop(columns=["h", "z"])
    specification, names = parse_formula("y ~ t + f + (1 | a)"), ["y", "t", "f", "a"]

    def of(part: pd.DataFrame) -> Gatherer:
        found = Gatherer(specification, names)
        for chunk in bmm.scan(part).chunks(names):
            found.add(read_chunk(chunk, names, set()))
        return found

    one, merged = of(data), Gatherer(specification, names)
    for part in itertools.repeat(data, 200):
        merged.merge(pickle.loads(pickle.dumps(of(part).packed())))
    assert len(pickle.dumps(merged)) < 50 * len(pickle.dumps(one))  # up to 2**14 rows are a sample
    first, all_of_them = one.finished(), merged.finished()
    assert all_of_them.n_new == first.n_new
    assert all_of_them.n == 200 * first.n
    assert all_of_them.means == pytest.approx(first.means)
    assert (all_of_them.low, all_of_them.high) == (first.low, first.high)


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_transformations_get_means_of_all_rows_by_any_scheduler(scheduler: str) -> None:
    formula = "np.log(y + 20) ~ f * standardize(np.exp(w)) + (center(t) | a)"
    with dask.config.set(scheduler=scheduler):
        here, there = models(formula, with_gaps(make_rows()), 5)
    close(here.fit().parameters, there.fit().parameters)


def test_the_same_rows_are_not_added_twice_however_they_are_cut() -> None:
    data = make_rows(200)
    one, other, again = (
        bmm.Model("y ~ t + (1 | a)", in_parts(cut(part, seed))).problem.sums
        for part, seed in ((data[:100], 1), (data[100:], 2), (data[:100], 4))
    )
    together = bmm.Model.from_sums(one, other)
    assert together.fit().loglik == pytest.approx(bmm.Model("y ~ t + (1 | a)", data).fit().loglik, abs=1e-7)
    with pytest.raises(RowsError, match="would count twice"):
        one + again


def test_a_partition_that_cannot_be_used_is_named() -> None:
    parts = [make_rows(50, i) for i in range(4)]
    parts[2] = parts[2].assign(t="x")
    with pytest.raises(RowsError, match=r"'t' holds texts in partition 2 of 4, .* numbers in partition 0 of 4"):
        bmm.Model("y ~ t + (1 | a)", in_parts(parts))
    parts[2] = make_rows(50, 2).assign(t=np.inf)
    with pytest.raises(RowsError, match=r"infinite value\(s\) in partition 2 of 4"):
        bmm.Model("y ~ t + (1 | a)", in_parts(parts))
    parts[2] = make_rows(50, 2).assign(t=[1, "x"] * 25)
    with pytest.raises(RowsError, match="partition 2 of 4: A table cannot be scanned"):
        bmm.Model("y ~ t + (1 | a)", in_parts(parts))


def test_a_partition_that_cannot_be_computed_is_an_error_of_rows() -> None:
    def fails(part: pd.DataFrame) -> pd.DataFrame:
        raise FileNotFoundError("gone.parquet")

    rows = in_parts([make_rows(50)] * 2).map_partitions(fails, meta=make_rows(1).head(0))
    with pytest.raises(RowsError, match=r"a Dask DataFrame of 2 partitions cannot be computed .*gone\.parquet"):
        bmm.Model("y ~ t + (1 | a)", rows)


def test_rows_that_change_between_the_passes_are_refused() -> None:
    seen: list[int] = []

    def changing(part: pd.DataFrame) -> pd.DataFrame:
        seen.append(1)
        return part.head(50 - len(seen))

    rows = in_parts([make_rows(50)] * 2).map_partitions(changing, meta=make_rows(1).head(0))
    with pytest.raises(RowsError, match="complete rows in the first pass"):
        bmm.Model("y ~ t + (1 | a)", rows)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of Dask's own calls
def test_a_data_frame_read_by_dask_is_read_column_by_column(tmp_path: Path) -> None:
    data = make_rows(300).drop(columns="h")
    for i in range(3):
        data[i * 100 : (i + 1) * 100].to_parquet(tmp_path / f"part{i}.parquet", index=False)
    rows = dd.read_parquet(tmp_path)
    formula = "y ~ t + f + (1 | a)"
    model = bmm.Model(formula, rows)
    close(bmm.Model(formula, data).fit().parameters, model.fit().parameters)
    assert "a Dask DataFrame of 3 partitions" in str(model)
    assert "3 partitions" in repr(bmm.scan(rows))


def test_row_groups_of_one_file_are_read_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesmm.rows.files.LEAST_BYTES", 1)
    data = with_gaps(make_rows(300))
    data.to_parquet(tmp_path / "rows.parquet", index=False, row_group_size=40)
    formula = "y ~ t + f + h + (t | a)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)
        here, there = (
            bmm.Model(formula, rows) for rows in (data, ClusterScan(bmm.scan(tmp_path / "rows.parquet"), None))
        )
    assert there.problem.sums.summed.found.n_chunks == 8
    close(here.fit().parameters, there.fit().parameters)


@pytest.mark.parametrize("formula", ["y ~ bs(t, df=5) + poly(w, 2) + (1 | a)", "y ~ s(t) + (t | a)"])
def test_quantiles_and_bases_are_of_all_rows(formula: str) -> None:
    here, there = models(formula, make_rows(), 3)
    assert here.fit().loglik == pytest.approx(there.fit().loglik, abs=1e-6)
    close(here.fit().fixed_effects, there.fit().fixed_effects)


def test_without_dask_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_rows(10).drop(columns="h").to_parquet(tmp_path / "rows.parquet")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RowsError, match=r"pip install bayesmm\[cluster\]"):
        bmm.scan(tmp_path, cluster="tcp://127.0.0.1:8786")
    assert len(bmm.scan(tmp_path).columns) == 14


def test_columns_with_names_that_are_no_texts_are_read(tmp_path: Path) -> None:
    data = make_rows(60).drop(columns=["h", "long"]).rename(columns={"z": 7})
    fit = bmm.Model("y ~ t + (1 | a)", make_rows(60)).fit()
    found = pd.read_parquet(fit.predict_rows(dd.from_pandas(data, npartitions=2), to=tmp_path / "predictions"))
    np.testing.assert_array_equal(found["7"], data[7])


def test_what_a_cluster_does_not_see_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"cluster is 3: give a distributed\.Client"):
        bmm.scan("rows.parquet", cluster=3)
    with pytest.raises(RowsError, match="cannot be scanned"):
        bmm.scan(dd.from_pandas(make_rows(10), npartitions=1)["y"])
