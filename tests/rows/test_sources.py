"""Tables of other libraries and folders are the same rows as a data frame, with their types, gaps and orders."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scanned_rows import FORMULAS, close, make_rows, with_gaps

import bayesmm as bmm
from bayesmm.errors import BayesmmWarning, DesignError, RowsError

pa = pytest.importorskip("pyarrow")
FORMULA = "y ~ t * f + h + z + (t | a) + (1 | s)"


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return with_gaps(make_rows(300))


@pytest.fixture(scope="module")
def path(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    data.to_parquet(path, index=False, row_group_size=70)
    return path


def relation(path: Path) -> Any:
    """Of DuckDB, where an ENUM has the order of the categories, which Parquet gives it as texts."""
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.execute("create type levels as enum ('low', 'mid', 'high')")
    columns = "* exclude (h), h::levels as h"
    return connection.sql(f"select {columns} from read_parquet('{path}')")


def lazy(path: Path) -> Any:
    polars = pytest.importorskip("polars")
    return polars.scan_parquet(path).with_columns(polars.col("h").cast(polars.Enum(["low", "mid", "high"])))


def dataset(path: Path) -> Any:
    from pyarrow import dataset

    return dataset.dataset(path)


SOURCES: dict[str, Callable[[Path], Any]] = {
    "DuckDB relation": relation,
    "polars LazyFrame": lazy,
    "pyarrow dataset": dataset,
    "file": lambda path: path,
    "table of pyarrow": lambda path: bmm.scan(pa.Table.from_pandas(pd.read_parquet(path))),
}


def model(formula: str, rows: Any, **how: Any) -> bmm.Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)  # rows with gaps are dropped
        return bmm.Model(formula, rows, **how)


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_model_of_a_data_frame(source: str, data: pd.DataFrame, path: Path) -> None:
    rows = SOURCES[source](path)
    for formula in (FORMULA, FORMULAS[6]) if source == "DuckDB relation" else (FORMULA,):
        here, there = model(formula, data, weights="w"), model(formula, bmm.scan(rows, chunk_rows=80), weights="w")
        assert here.design.coefficients == there.design.coefficients
        assert here.design.dropped_by == there.design.dropped_by
        assert here.fit().loglik == pytest.approx(there.fit().loglik, abs=1e-6)
        close(here.fit().parameters, there.fit().parameters)
        close(here.fit().random_effects(), there.fit().random_effects())


@pytest.mark.parametrize("source", ["DuckDB relation", "polars LazyFrame", "pyarrow dataset"])
def test_predictions_of_every_source_are_written(source: str, data: pd.DataFrame, path: Path, tmp_path: Path) -> None:
    fit = model("y ~ t + h + (t | a)", data).fit()
    rows = bmm.scan(SOURCES[source](path), chunk_rows=80)
    found = pd.read_parquet(fit.predict_rows(rows, tmp_path / "predictions.parquet"))
    np.testing.assert_allclose(found["predicted"], fit.predict(data), rtol=1e-8)
    assert set(found.columns) == {*data.columns, "predicted"}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("tinyint", "3"),
        ("utinyint", "3"),
        ("bigint", "3"),
        ("hugeint", "3"),
        ("float", "2.5"),
        ("decimal(9, 3)", "2.125"),
    ],
)
def test_numbers_of_any_type_of_duckdb_are_numbers(kind: str, value: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    text = f"select (i % 7) * {value}::{kind} as x, i % 9 as g, sin(i * i) as y from range(90) rows(i)"
    rows = duckdb.connect().sql(text)
    close(
        bmm.Model("y ~ x + (1 | g)", rows.df().astype(float)).fit().parameters,
        model("y ~ x + (1 | g)", rows).fit().parameters,
    )


def test_types_of_duckdb_that_are_no_numbers_are_refused() -> None:
    duckdb = pytest.importorskip("duckdb")
    rows = duckdb.connect().sql("select date '2026-01-01' + i::int as x, i % 9 as g, sin(i) as y from range(90) t(i)")
    with pytest.raises((DesignError, RowsError), match="'x'"):
        bmm.Model("y ~ x + (1 | g)", rows)


def test_a_relation_that_cannot_be_computed_says_why() -> None:
    duckdb = pytest.importorskip("duckdb")
    rows = duckdb.connect().sql(
        "select i % 9 as g, sin(i) as y, if(i = 50, error('no such'), 1.0) as x from range(90) t(i)"
    )
    with pytest.raises(RowsError, match=r"a DuckDB relation cannot be computed \(.*no such"):
        bmm.Model("y ~ x + (1 | g)", rows)


def test_names_with_quotes_and_spaces_are_asked_of_a_relation() -> None:
    duckdb = pytest.importorskip("duckdb")
    rows = duckdb.connect().sql('select i % 9 as g, sin(i) as y, cos(3 * i) as "my ""x""" from range(90) t(i)')
    assert bmm.scan(rows).columns == ["g", "y", 'my "x"']
    (chunk,) = bmm.scan(rows).chunks(['my "x"'])
    assert chunk.table.num_rows == 90


def test_what_the_names_of_folders_say_has_one_type_in_all_of_them(tmp_path: Path) -> None:
    data = make_rows(200).drop(columns="h")
    data["site"] = np.where(data["a"] % 3 == 0, "north", (data["a"] % 3).astype(str))
    for site, part in data.groupby("site"):
        (tmp_path / f"site={site}").mkdir()
        part.drop(columns="site").to_parquet(tmp_path / f"site={site}" / "rows.parquet", index=False)
    formula = "y ~ t + site + (1 | a)"
    expected = bmm.Model(formula, data).fit().parameters
    close(expected, bmm.Model(formula, tmp_path).fit().parameters)
    parts = bmm.scan(tmp_path).split(10)
    assert len(parts) == 3
    assert {str(each._dataset(()).schema.field("site").type) for each in parts} == {"string"}


def test_files_are_cut_into_runs_and_large_ones_into_row_groups(
    data: pd.DataFrame, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bayesmm.rows.files.LEAST_BYTES", 1)
    parts = bmm.scan(path).split(3)
    assert [part.row_groups for part in parts] == [(0,), (1, 2), (3, 4)]
    rows = [sum(chunk.table.num_rows for chunk in part.chunks(["y"])) for part in parts]
    assert rows == [70, 140, 90]
    for i in range(10):
        data[i * 30 : (i + 1) * 30].to_parquet(tmp_path / f"{i}.parquet", index=False)
    monkeypatch.setattr("bayesmm.rows.files.LEAST_BYTES", 2**24)
    runs = bmm.scan(tmp_path).split(4)
    assert len(runs) == 4
    assert max(len(run.paths) for run in runs) == 3
    assert [name for run in runs for name in run.paths] == [str(tmp_path / f"{i}.parquet") for i in range(10)]
    assert len(bmm.scan(tmp_path).split(256)) == 10
