"""Data from files, names and standard input."""

import io
import shlex

import numpy as np
import pandas as pd
import pytest

from bayesmm import datasets
from bayesmm.cli.data import Reading, read_data
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
        ("latin.csv", r"'latin.csv' cannot be read as UTF-8 \(.*codec can't decode.*--encoding cp1252"),
        (
            "semicolons.csv",
            r"the single name 'y;g' if.*separated by ';'.*decimal commas: add --sep ';' --decimal ','\.$",
        ),
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


@pytest.fixture
def table():
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {"y": rng.normal(size=30), "big": rng.uniform(1e3, 9e6, 30).round(1), "g": np.resize(list("aäb"), 30)}
    ).assign(x=lambda d: d["y"].where(d.index != 3))


@pytest.mark.parametrize("sep", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("missing", ["", "-99", "k. A."])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_file_that_is_described_is_read_as_it_was_written(folder, table, sep, decimal, missing, encoding):
    table.to_csv("d.csv", sep=sep, decimal=decimal, na_rep=missing, encoding=encoding, index=False)
    described = Reading(
        sep=sep.replace("\t", "\\t"), decimal=decimal, missing=[missing] if missing else [], encoding=encoding
    )
    if sep == decimal:
        with pytest.raises(DatasetError, match="Say what does: --sep ';'"):
            read_data("d.csv", described)
    else:
        pd.testing.assert_frame_equal(read_data("d.csv", described), table)


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_a_file_with_other_separators_is_refused_and_the_advice_reads_it(folder, table, ending, sep, decimal):
    if sep == decimal or sep == {".csv": ",", ".tsv": "\t"}[ending]:
        return
    table.to_csv(f"d{ending}", sep=sep, decimal=decimal, index=False)
    with pytest.raises(DatasetError) as caught:
        read_data(f"d{ending}")
    advice = str(caught.value).rpartition(": add ")[2].rstrip(".")
    options = dict(zip(shlex.split(advice)[::2], shlex.split(advice)[1::2], strict=True))
    described = Reading(**{name.removeprefix("--"): value for name, value in options.items()})
    pd.testing.assert_frame_equal(read_data(f"d{ending}", described), table)


def test_thousands_are_passed_on(folder):
    (folder / "d.csv").write_text("y;g\n1.234,5;a\n", encoding="utf-8")
    assert read_data("d.csv", Reading(sep=";", decimal=",", thousands="."))["y"].tolist() == [1234.5]


def test_more_fields_than_names_are_not_taken_for_names_of_rows(folder):
    (folder / "d.csv").write_text("y,g\n1,5,a\n2,5,b\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="more fields than its first line has names"):
        read_data("d.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decimal": ",,"}, "--decimal is ',,': give one character"),
        ({"thousands": "ab"}, "--thousands is 'ab': give one character"),
        ({"sep": ";", "decimal": ",", "thousands": ","}, "--decimal and --thousands are both ','"),
        ({"encoding": "klingon"}, "--encoding 'klingon' is not known"),
        ({"sep": "("}, "seem to be separated by ',': add --sep ','"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(folder, options, message):
    (folder / "d.csv").write_text(CSV, encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        read_data("d.csv", Reading(**options))


def test_descriptions_are_for_text_files_only(folder, table):
    table.to_parquet(folder / "d.parquet")
    for source in ("d.parquet", "sleepstudy"):
        with pytest.raises(DatasetError, match="it is not read with --sep, --missing"):
            read_data(source, Reading(sep=";", missing=["."]))
