"""What is left out of a model of rows in files, level by level or row by row, is what is left out of rows in memory."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scanned_rows import make_rows, with_gaps

import bayesmm as bmm
from bayesmm.errors import ArgumentError, RowsError
from bayesmm.fit.fit import Fit
from bayesmm.rows import condensing

ROUNDING = 1e-8  # of the greatest number of a column: sums in another order, at estimates that are the same to 1e-10
DATA = with_gaps(make_rows(260))
DATA["alone"] = (DATA["a"] == 3.0) * DATA["t"]  # a coefficient that one level determines
CASES = [
    ("y ~ t + f + alone + (t | a)", "w"),
    ("y ~ t * h + (t | a) + (1 | b)", None),
    ("y ~ year + (1 | mm(s, q, weights=cbind(w, count)))", "w"),
    ("y ~ s(t) + (1 | inner) + (1 | a)", None),
]


def both(formula: str, weights: str | None = None) -> list[Fit]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows are dropped
        found = [bmm.Model(formula, rows, weights=weights) for rows in (DATA, bmm.scan(DATA, chunk_rows=60))]
        return [model.fit() for model in found]


def close(one: pd.DataFrame, other: pd.DataFrame) -> None:
    assert list(one.index) == list(other.index)
    assert list(one.columns) == list(other.columns)
    for name in one:
        # A trace is held to the number of coefficients, from which it is a small difference.
        size = 1.0 if "covariance_trace" in str(name) else np.nanmax(np.abs(one[name]), initial=1e-3)
        np.testing.assert_allclose(other[name], one[name], rtol=0, atol=ROUNDING * size, err_msg=str(name))


@pytest.mark.parametrize(("formula", "weights"), CASES)
def test_levels_and_rows_left_out_are_those_of_rows_in_memory(formula, weights, tmp_path: Path) -> None:
    here, there = both(formula, weights)
    for group in here.labels.n_levels:
        if group == "1":
            continue
        one, other = here.influence(group), there.influence(group, rows=bmm.scan(DATA, chunk_rows=50))
        close(one.table, other.table)
        close(one.dfbetas, other.dfbetas)
        assert one.undetermined == other.undetermined
    one = here.influence()
    path = there.influence_rows(bmm.scan(DATA, chunk_rows=50), tmp_path / "influence.parquet")
    written = pd.read_parquet(path).set_index(DATA.index)
    used = written[".leverage"].notna().to_numpy()
    assert list(DATA.index[used]) == list(here.design.rows)
    expected = (
        one.table.drop(columns="n_rows").add_prefix(".").assign(**{".standardised": here.residuals("standardised")})
    )
    expected = expected.join(one.dfbetas.rename(columns=lambda name: f".dfbetas({name})"))
    assert set(written.columns) == {*DATA.columns, *expected.columns}
    close(expected, written.loc[used, list(expected)])


def test_a_level_without_which_a_coefficient_is_not_determined_is_told() -> None:
    _, there = both(*CASES[0])
    assert there.influence("a", rows=DATA).undetermined == ["3"]


def test_refits_without_levels_need_sums_only() -> None:
    here, there = both("y ~ t + (1 | a)", "w")
    one, other = here.influence("a", refit=True), there.influence("a", rows=DATA, refit=True)
    assert one.parameters is not None
    assert other.parameters is not None
    np.testing.assert_allclose(other.parameters, one.parameters, rtol=1e-6, atol=1e-8)
    names = ["n_rows", "leverage"]
    close(pd.DataFrame(one.table[names]), pd.DataFrame(other.table[names]))


def test_rows_are_asked_for_and_held_to_those_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = both("y ~ t + (1 | a) + (1 | b)")
    with pytest.raises(RowsError, match=r"influence_rows\(rows"):
        there.influence()
    with pytest.raises(RowsError, match=r"fit.influence\('a', rows="):
        there.influence("a")
    with pytest.raises(ArgumentError, match="leave rows out"):
        here.influence("a", rows=DATA)
    with pytest.raises(RowsError, match="not the rows that the model was made of"):
        there.influence("a", rows=DATA[:200])
    with pytest.raises(RowsError, match="not the rows that the model was made of"):
        there.influence_rows(DATA[:200], tmp_path / "influence.parquet")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(condensing, "MOST_NUMBERS", 800)
    with pytest.raises(RowsError, match="combinations of levels"):
        there.influence("a", rows=DATA)


def test_partitions_of_dask_and_a_fit_from_its_file_leave_out_the_same(tmp_path: Path) -> None:
    dask, dd = pytest.importorskip("dask"), pytest.importorskip("dask.dataframe")
    data = make_rows(200).drop(columns=["h", "long"])
    parts = [data[:70], data[:0], data[70:90], data[90:]]
    rows = dd.from_delayed([dask.delayed(part) for part in parts], meta=data.head(0), verify_meta=False)
    here = bmm.Model("y ~ t + (t | a)", data).fit()
    with dask.config.set(scheduler="threads"):
        there = bmm.Model("y ~ t + (t | a)", rows).fit()
        close(here.influence("a").table, there.influence("a", rows=rows).table)
        close(here.check(n=20).influence["rows"].table, there.check(n=20, rows=rows).influence["rows"].table)
    loaded = bmm.load(there.save(tmp_path / "fit.nc"))
    assert isinstance(loaded, Fit)
    close(here.influence("a").table, loaded.influence("a", rows=data).table)


def test_related_levels_are_left_out_alike(tmp_path: Path) -> None:
    names = range(25)
    A = pd.DataFrame(0.5 ** np.abs(np.subtract.outer(names, names)), names, names)
    data = make_rows(150)
    here, there = (
        bmm.Model("y ~ t + (1 | rel(a, A))", rows, relations={"A": A}).fit() for rows in (data, bmm.scan(data))
    )
    (group,) = here.labels.n_levels
    close(here.influence(group).table, there.influence(group, rows=data).table)
    written = pd.read_parquet(there.influence_rows(bmm.scan(data, chunk_rows=40), tmp_path / "influence.parquet"))
    np.testing.assert_allclose(written[".leverage"], here.influence().table["leverage"], rtol=1e-7)
