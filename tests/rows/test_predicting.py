"""Predictions of rows in files go to a file, chunk by chunk, and are those of rows in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scanned_rows import make_rows

import bayesmm as bmm
from bayesmm.errors import ArgumentError, RowsError, StorageError


def test_predictions_of_files_are_those_of_a_data_frame(tmp_path: Path) -> None:
    data = make_rows(300).drop(columns="long")
    data.loc[5, "t"] = np.nan
    data[:150].to_parquet(tmp_path / "one.parquet", index=False)
    data[150:].to_parquet(tmp_path / "two.parquet", index=False)
    fit = bmm.Model("y ~ t * f + (t | a)", data.dropna()).fit()
    rows = bmm.scan(tmp_path / "*.parquet", chunk_rows=70)
    there = bmm.Model("y ~ t * f + (t | a)", bmm.scan(data.dropna())).fit()
    path = there.predict_rows(rows, tmp_path / "predictions.parquet")
    found = pd.read_parquet(path)
    np.testing.assert_allclose(found["predicted"], fit.predict(data), rtol=1e-5)
    assert list(found.columns) == [*data.columns, "predicted"]
    path = fit.predict_rows(rows, to=tmp_path / "limits.parquet", interval="prediction")
    expected = fit.predict(data, interval="prediction")
    pd.testing.assert_frame_equal(pd.read_parquet(path)[list(expected)], expected.reset_index(drop=True))


def test_nothing_is_left_of_a_file_that_cannot_be_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_rows(100)
    fit = bmm.Model("y ~ t + (1 | a)", data).fit()
    new = data.assign(a=np.where(np.arange(100) < 60, data["a"], 99))
    rows = bmm.scan(new, chunk_rows=50)
    with pytest.raises(RowsError, match=r"chunk 1 .*99"):
        fit.predict_rows(rows, tmp_path / "predictions.parquet")
    with pytest.raises(ArgumentError, match="as Parquet"):
        fit.predict_rows(rows, tmp_path / "predictions.csv")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    with pytest.raises(StorageError, match="No space left"):
        fit.predict_rows(bmm.scan(data), tmp_path / "predictions.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_has_a_file_for_each_part_in_the_order_of_the_rows(tmp_path: Path) -> None:
    dask, dd = pytest.importorskip("dask"), pytest.importorskip("dask.dataframe")
    data = make_rows(200).drop(columns=["h", "long"])
    fit = bmm.Model("y ~ t + (t | a)", data).fit()
    parts = [data[:70], data[:0], data[70:90], data[90:]]
    rows = dd.from_delayed([dask.delayed(part) for part in parts], meta=data.head(0), verify_meta=False)
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "old.parquet").touch()
    with dask.config.set(scheduler="threads"):
        path = fit.predict_rows(rows, to=tmp_path / "predictions")
        one = fit.predict_rows(rows, to=tmp_path / "one.parquet")
    assert sorted(each.name for each in path.iterdir()) == [f"part-0000{i}.parquet" for i in range(3)]
    for found in (pd.read_parquet(path), pd.read_parquet(one)):
        np.testing.assert_allclose(found["predicted"], fit.predict(data), rtol=1e-12)
        np.testing.assert_array_equal(found["y"], data["y"])
    again = fit.predict_rows(bmm.scan(data, chunk_rows=30), to=tmp_path / "predictions")
    assert [each.name for each in again.iterdir()] == ["part-00000.parquet"]
    strange = dd.from_pandas(data.assign(a=np.arange(200)), npartitions=3)
    with pytest.raises(RowsError, match=r"In partition \d of 3, chunk 0 .*'a'"):
        fit.predict_rows(strange, to=tmp_path / "predictions")
    with pytest.raises(RowsError, match="no rows"):
        fit.predict_rows(data[:0], to=tmp_path / "predictions")
    assert [each.name for each in again.iterdir()] == ["part-00000.parquet"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["one.parquet", "predictions"]


def test_columns_whose_names_are_quoted_are_read_chunk_by_chunk(tmp_path: Path) -> None:
    data = make_rows(100).rename(columns={"y": "my y", "w": "my w", "z": "my z"}).assign(o=lambda d: d["t"])
    data = data.rename(columns={"o": "my o"})
    formula = "`my y` ~ t + offset(`my o`) + (1 | a)"
    fits = [bmm.Model(formula, rows, weights="`my w`").fit() for rows in (data, bmm.scan(data, chunk_rows=40))]
    assert fits[1].loglik == pytest.approx(fits[0].loglik)
    written = pd.read_parquet(fits[1].augment_rows(data, tmp_path / "residuals.parquet"))
    np.testing.assert_allclose(written[".pearson"], fits[0].residuals("pearson"), rtol=1e-6)
