"""What goes wrong with files of rows is said with the file and the chunk, and nothing is computed from the rest."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scanned_rows import close, make_rows

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmWarning, RowsError
from bayesmm.rows import summing
from bayesmm.rows.files import FileScan

pa = pytest.importorskip("pyarrow")
FORMULA = "y ~ t + f + (1 | a)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = make_rows(300)
    for i in range(3):
        data[i * 100 : (i + 1) * 100].to_parquet(tmp_path / f"part{i}.parquet", index=False)
    return tmp_path


def test_files_folders_patterns_and_lists_are_the_same_rows(folder: Path) -> None:
    expected = bmm.Model(FORMULA, make_rows(300)).fit().parameters
    for source in (folder, str(folder / "*.parquet"), sorted(folder.glob("*.parquet"))):
        close(expected, bmm.Model(FORMULA, source).fit().parameters)


def test_csv_hive_folders_lazy_frames_and_datasets_are_read(tmp_path: Path) -> None:
    import polars as pl
    from pyarrow import dataset

    data = make_rows(200).drop(columns=["h", "long"])
    expected = bmm.Model(FORMULA, data).fit().parameters
    data.to_csv(tmp_path / "rows.csv", index=False)
    close(expected, bmm.Model(FORMULA, tmp_path / "rows.csv").fit().parameters)
    for f, part in data.groupby("f"):
        (tmp_path / "parts" / f"f={f}").mkdir(parents=True)
        part.drop(columns="f").to_parquet(tmp_path / "parts" / f"f={f}" / "rows.parquet", index=False)
    close(expected, bmm.Model(FORMULA, tmp_path / "parts").fit().parameters)
    data.to_parquet(tmp_path / "rows.parquet", index=False)
    close(expected, bmm.Model(FORMULA, pl.scan_parquet(tmp_path / "rows.parquet")).fit().parameters)
    close(expected, bmm.Model(FORMULA, dataset.dataset(tmp_path / "rows.parquet")).fit().parameters)


def test_a_file_that_was_cut_off_is_named(folder: Path) -> None:
    path = folder / "part1.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RowsError, match=r"part1\.parquet.*cannot be read as parquet"):
        bmm.Model(FORMULA, folder)


def test_a_file_without_a_column_is_named(folder: Path) -> None:
    make_rows(50).rename(columns={"t": "tt"}).to_parquet(folder / "part2.parquet", index=False)
    with pytest.raises(RowsError, match=r"part2\.parquet.*no column 't'.*'tt'"):
        bmm.Model(FORMULA, folder)


@pytest.mark.parametrize(("column", "values"), [("f", np.arange(50)), ("t", ["1"] * 50)])
def test_a_chunk_of_another_type_is_named(folder: Path, column: str, values: object) -> None:
    make_rows(50).assign(**{column: values}).to_parquet(folder / "part2.parquet", index=False)
    with pytest.raises(RowsError, match=rf"{column}.*chunk 2 \(rows 200 to 249\)"):
        bmm.Model(FORMULA, bmm.scan(folder, chunk_rows=100))


def test_whole_numbers_in_one_file_and_fractions_in_another_go_together(folder: Path) -> None:
    data = make_rows(300)
    data.loc[100:, "w"] = 1.0
    data[100:].astype({"w": "int64"}).to_parquet(folder / "part1.parquet", index=False)
    data[:100].to_parquet(folder / "part0.parquet", index=False)
    (folder / "part2.parquet").unlink()
    formula = "y ~ w + (1 | a)"
    close(bmm.Model(formula, data).fit().parameters, bmm.Model(formula, folder).fit().parameters)


def changing(monkeypatch: pytest.MonkeyPatch, change) -> None:
    """Let something be written between the two passes."""
    gather = summing.gather

    def then(*args):
        found = gather(*args)
        change()
        return found

    monkeypatch.setattr(summing, "gather", then)


def test_a_file_that_changes_between_passes_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change() -> None:
        make_rows(50).to_parquet(folder / "part1.parquet", index=False)

    changing(monkeypatch, change)
    with pytest.raises(RowsError, match=r"part1\.parquet.*has changed"):
        bmm.Model(FORMULA, folder)


@pytest.mark.parametrize(("column", "value", "said"), [("a", 99, "the level '99'"), ("f", "new", "category 'new'")])
def test_a_level_that_the_first_pass_did_not_see_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, column: str, value: object, said: str
) -> None:
    def change() -> None:
        data = make_rows(300)[100:200]
        data[column] = value
        data.to_parquet(folder / "part1.parquet", index=False)

    changing(monkeypatch, change)
    monkeypatch.setattr(FileScan, "check_unchanged", lambda *_: None)  # a disk whose times are too coarse
    with pytest.raises(RowsError, match=rf"{said}.*part1\.parquet.*chunk 1"):
        bmm.Model(FORMULA, bmm.scan(folder, chunk_rows=100))


def test_a_file_that_disappears_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changing(monkeypatch, lambda: os.remove(folder / "part2.parquet"))
    with pytest.raises(RowsError, match=r"part2\.parquet"):
        bmm.Model(FORMULA, folder)


def test_values_that_cannot_be_used_are_named_with_their_chunk(folder: Path) -> None:
    data = make_rows(100)
    data.loc[7, "y"] = np.inf
    data.to_parquet(folder / "part1.parquet", index=False)
    with pytest.raises(RowsError, match=r"'y' has 1 infinite.*part1\.parquet"):
        bmm.Model(FORMULA, bmm.scan(folder, chunk_rows=100))
    data.loc[7, "y"] = -5.0
    data.to_parquet(folder / "part1.parquet", index=False)
    with pytest.raises((RowsError, bmm.errors.DesignError), match="not a finite number"):
        bmm.Model("np.log(y + 3) ~ t + (1 | a)", folder)
    with pytest.raises((RowsError, bmm.errors.DesignError), match="weight"):
        bmm.Model(FORMULA, folder, weights="t")


def test_categories_in_different_orders_are_refused(folder: Path) -> None:
    data = make_rows(100)
    data["h"] = data["h"].cat.reorder_categories(["high", "mid", "low"])
    data.to_parquet(folder / "part2.parquet", index=False)
    with pytest.raises(RowsError, match="in another order"):
        bmm.Model("y ~ h + (1 | a)", folder)


@pytest.mark.parametrize(
    ("source", "said"),
    [("nowhere/*.parquet", "not there"), (["a.parquet", "a.parquet"], "not there"), (3, "cannot be scanned")],
)
def test_what_is_not_there_is_refused(source: object, said: str) -> None:
    with pytest.raises(RowsError, match=said):
        bmm.scan(source)
    with pytest.raises(ArgumentError, match="chunk_rows"):
        bmm.scan(make_rows(10), chunk_rows=0)


def test_a_file_is_named_once(folder: Path) -> None:
    with pytest.raises(RowsError, match="named twice"):
        bmm.scan([folder / "part0.parquet", folder / "part0.parquet"])


def test_dropped_rows_are_told(folder: Path) -> None:
    data = make_rows(100)
    data.loc[:9, "t"] = np.nan
    data.to_parquet(folder / "part1.parquet", index=False)
    with pytest.warns(BayesmmWarning, match=r"10 of 300 rows dropped because of missing values: t \(10\)"):
        model = bmm.Model(FORMULA, folder)
    assert "290 used, 10 dropped" in str(model)
    with pytest.raises(bmm.errors.DesignError, match="10 of 300 rows"):
        bmm.Model(FORMULA, folder, missing="raise")


def test_arrays_of_weights_are_refused(folder: Path) -> None:
    with pytest.raises(ArgumentError, match="as a column"):
        bmm.Model(FORMULA, folder, weights=np.ones(300))


def test_only_the_columns_of_the_formula_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[set[str]] = []
    chunks = FileScan._pieces

    def watched(self, names):
        for where, table in chunks(self, names):
            read.append(set(table.column_names))
            yield where, table

    monkeypatch.setattr(FileScan, "_pieces", watched)
    bmm.Model(FORMULA, folder)
    assert set().union(*read) == {"y", "t", "f", "a"}
