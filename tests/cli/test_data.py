"""Data from files, names and standard input."""

import io

import pandas as pd
import pytest

from bayesmm import datasets
from bayesmm.cli.data import read_data
from bayesmm.errors import DatasetError

CSV = "y,g,x\n1.5,a,1\n2.5,NA,2\n,None,3\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_bundled_data_set_is_read_by_its_name(folder):
    pd.testing.assert_frame_equal(read_data("sleepstudy"), datasets.load("sleepstudy"))


def test_file_wins_over_a_bundled_data_set_of_its_name(folder):
    (folder / "rail.csv").write_text(CSV)
    assert list(read_data("rail.csv")) == ["y", "g", "x"]


@pytest.mark.parametrize(
    ("name", "separator"), [("d.csv", ","), ("d.TSV", "\t"), ("d.csv.gz", ","), ("d.tsv.gz", "\t")]
)
def test_text_files_are_read_by_their_ending(folder, name, separator):
    table = pd.DataFrame({"y": [1.5, 2.5], "g": ["a", "b"]})
    table.to_csv(folder / name, sep=separator, index=False)
    pd.testing.assert_frame_equal(read_data(name), table)


def test_parquet_keeps_its_types(folder):
    table = pd.DataFrame({"y": [1.5, 2.5], "g": pd.Categorical(["b", "a"], categories=["b", "a"])})
    table.to_parquet(folder / "d.parquet")
    assert list(read_data("d.parquet")["g"].cat.categories) == ["b", "a"]


def test_only_empty_fields_and_na_are_missing(folder):
    (folder / "d.csv").write_text(CSV)
    frame = read_data("d.csv")
    assert frame["g"].isna().tolist() == [False, True, False]
    assert frame["y"].isna().tolist() == [False, False, True]
    assert frame["g"].iloc[2] == "None"


def test_byte_order_mark_is_no_part_of_the_first_name(folder):
    (folder / "d.csv").write_text(CSV, encoding="utf-8-sig")
    assert list(read_data("d.csv")) == ["y", "g", "x"]


def test_hyphen_reads_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(CSV.encode())))
    assert read_data("-").shape == (3, 3)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("sleepstudi", r"no file 'sleepstudi'.*Did you mean 'sleepstudy'\?"),
        ("dato.csv", r"no file 'dato.csv'. Did you mean 'data.csv'\?"),
        ("zzz.parquet", r"no file 'zzz.parquet'. Check the path."),
        ("no/where.csv", r"the folder 'no' does not exist. Check the path."),
        ("./data", r"'./data' is a folder. Name a file in it."),
        ("notes.txt", r"ends in none of .csv, .*so its format is not known. Rename or convert it."),
        ("empty.csv", r"'empty.csv' cannot be read as .csv \(No columns to parse from file\). Check the file."),
        ("ragged.csv", r"'ragged.csv' cannot be read as .csv"),
        ("latin.csv", r"'latin.csv' cannot be read as .csv \(.*codec can't decode"),
        ("semicolons.csv", r"one column, 'y;g': its fields seem to be separated by ';'.*Convert it"),
        ("broken.parquet", r"'broken.parquet' cannot be read as .parquet"),
    ],
)
def test_what_cannot_be_read_is_said(folder, source, message):
    (folder / "data").mkdir()
    (folder / "data.csv").write_text(CSV)
    (folder / "notes.txt").write_text("nothing")
    (folder / "empty.csv").write_text("")
    (folder / "ragged.csv").write_text("a,b\n1,2\n1,2,3\n")
    (folder / "latin.csv").write_bytes("a,b\nZürich,1\n".encode("latin-1"))
    (folder / "semicolons.csv").write_text("y;g\n1,5;a\n")
    (folder / "broken.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DatasetError, match=message):
        read_data(source)
