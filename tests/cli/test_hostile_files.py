"""Files of data from strangers are read within bounds, tables for spreadsheets hold no formulas, exit codes are true."""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import sys
import time
import zlib

import numpy as np
import pandas as pd
import pytest
from cli_commands import run
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesmm import limits
from bayesmm.cli import data as reader
from bayesmm.cli.data import read_data
from bayesmm.cli.outputs import guarded
from bayesmm.cli.priors import read_priors
from bayesmm.errors import DatasetError, PriorError

SOON = 2.0  # seconds of this process
pytestmark = pytest.mark.usefixtures("uncollected")


def packed(path, piece, times, ending=b""):
    """Write a packed file of one piece many times over, without holding what it unpacks to."""
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    with path.open("wb") as file:
        for _ in range(times):
            file.write(packing.compress(piece))
        file.write(packing.compress(ending) + packing.flush())
    return path


def refused(path, message):
    begin = time.process_time()
    with pytest.raises(DatasetError, match=message) as caught:
        read_data(str(path))
    assert time.process_time() - begin < SOON
    assert repr(str(path)) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_small_packed_file_of_millions_of_columns_is_refused(tmp_path):
    path = packed(tmp_path / "wide.csv.gz", b"x," * 300_000, 10, b"y\n1\n")
    assert path.stat().st_size < 20_000
    refused(path, r"has 3,000,001 columns, more than the 50,000")


def test_names_with_line_breaks_do_not_hide_columns(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text('"a\nb",' + "x," * 60_000 + "y\n")
    refused(path, r"has 60,002 columns")


@pytest.mark.parametrize("piece", [b"1,2,3\n" * 5_000, b"\n" * 30_000, b"a" * 30_000, b'"' + b"a,\n" * 10_000])
def test_a_small_packed_file_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(reader, "PACKED_BYTES", 2**22)  # 4 MiB here: the point is the ratio
    path = packed(tmp_path / "bomb.csv.gz", piece, 600, b"\n")
    assert path.stat().st_size * limits.PACKED_RATIO < 18_000_000
    refused(path, r"holds more than [\d,]+ MiB when it is unpacked|cannot be read")


def test_no_more_is_unpacked_than_may_be(tmp_path, monkeypatch):
    """The 4 MB that unpack to 2 GB are left after 400 MB, whatever the rest would be."""
    monkeypatch.setattr(reader, "PACKED_BYTES", 10_000)
    path = packed(tmp_path / "bomb.csv.gz", b"a,b\n" * 1_000_000, 1)
    most = reader._most_unpacked(path)
    assert most == max(10_000, 100 * path.stat().st_size) < 4_000_000
    bounded = reader._Bounded(gzip.GzipFile(path), most, "bomb")
    with pytest.raises(DatasetError):
        io.BufferedReader(bounded, 2**17).read()
    assert bounded.count <= most + 2**17
    bounded.unpacked.close()


@pytest.mark.parametrize("rows", [1, 7, 20_000])
@pytest.mark.parametrize("ending", [".csv.gz", ".tsv.gz", ".csv"])
def test_honest_files_are_read_as_before(tmp_path, rows, ending):
    table = pd.DataFrame({"y": np.arange(rows) / 7, "g": np.resize(list("abc"), rows), "é": 0})
    path = tmp_path / f"table{ending}"
    table.to_csv(path, index=False, sep="\t" if "tsv" in ending else ",")
    pd.testing.assert_frame_equal(read_data(str(path)), table)


def test_a_text_file_and_standard_input_that_are_too_large_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "FILE_BYTES", 3_000_000)
    path = tmp_path / "large.csv"
    path.write_bytes(b"a,b\n" * 1_000_000)
    refused(path, "holds more than 3 MiB, the most that is read")
    result = run("fit", "a ~ 1 + (1 | b)", "--data", "-", input=path.read_bytes(), code=2)
    assert "'standard input' holds more than 3 MiB" in " ".join(result.stderr.split())


def test_parquet_files_that_are_too_large_are_refused_by_what_they_say(tmp_path, monkeypatch):
    path = tmp_path / "large.parquet"
    pd.DataFrame({"x": np.zeros(3_000_000)}).to_parquet(path)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(reader, "NUMBERS", 2_000_000)
    refused(path, "has 3,000,000 rows of 1 columns, more than the 2,000,000 values")
    monkeypatch.undo()
    monkeypatch.setattr(reader, "FILE_COLUMNS", 2)
    pd.DataFrame(np.zeros((1, 3)), columns=list("abc")).to_parquet(path)
    refused(path, "has 3 columns, more than the 2")


@pytest.mark.parametrize(
    "text",
    [
        "x=Normal(0, " + "(" * 900 + "1" + ")" * 900 + ")", "x=Normal(0, " + "-" * 1_900 + "1)", "x=Normal(" + "1," * 900 + ")",
        "x=Normal(0, " + "9" * 1_900 + ")", "x=Normal" + "(" * 1_900, "x=A" + " " * 1_900 + "(", "x=A(" * 480, "x" * 10**6,
        "a=b " * 20_000 + "(", "x=A" + " " * 100_000 + "(", "x=Normal(0, __import__('os').getcwd())", "x=Nor\x1bmal(1)",
    ],
)  # fmt: skip
def test_hostile_priors_are_refused_soon(text):
    begin = time.process_time()
    with pytest.raises(PriorError) as caught:
        read_priors([text])
    assert time.process_time() - begin < SOON
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


CELLS = st.one_of(
    st.text(max_size=6), st.text(alphabet="=+-@\t\r\n'＝＋－＠1e.,5 a", max_size=6), st.floats(), st.integers(-5, 5)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=8))
def test_no_text_of_a_table_is_a_formula_and_all_come_back(cells):
    table = pd.DataFrame({"=SUM(A1)": pd.Series(cells, dtype=object), "n": np.arange(len(cells)) - 2.5})
    shown = guarded(table)
    assert shown.columns.tolist() == ["'=SUM(A1)", "n"]
    assert shown["n"].tolist() == table["n"].tolist()
    for before, after in zip(cells, shown["'=SUM(A1)"], strict=True):
        if not isinstance(before, str):
            assert after is before or after == before or (pd.isna(after) and pd.isna(before))
            continue
        if after[:1] in tuple("=+-@\t\r\n＝＋－＠"):
            float(after.replace(",", "."))  # nothing but a number
        again = after[1:] if re.match("'+[=+\\-@\t\r\n＝＋－＠]", after) else after
        assert again == before


def test_written_tables_hold_no_formulas_and_read_back(tmp_path):
    rng = np.random.default_rng(1)
    levels = ["=cmd|' /C calc'!A0", "+1+1", "-2", "@SUM(A1)", "'=x", "plain", "＝1", "-3.5"]
    table = pd.DataFrame({"y": rng.normal(size=64), "=x": rng.normal(size=64), "g": np.repeat(levels, 8)})
    source, target = tmp_path / "data.csv", tmp_path / "out.csv"
    table.to_csv(source, index=False)
    run("fit", "y ~ `=x` + (1 | g)", "--data", source, "-r", "-o", target)
    effects = read_data(str(tmp_path / "out_random_effects.csv"))
    found = dict(zip(sorted(levels), effects["level"], strict=True))
    assert found == {level: level if level in ("plain", "-2", "-3.5") else f"'{level}" for level in levels}
    assert effects["estimate"].dtype == np.float64
    assert read_data(str(target))["parameter"].tolist()[:2] == ["Intercept", "'=x"]


SCRIPT = """
import sys
import bayesmm.cli.models as models
def build_model(*arguments, **options):
    raise {}
models.build_model = build_model
sys.argv = ["bayesmm", "fit", "y ~ 1 + (1 | g)", "--data", "rail"]
from bayesmm.cli import main
main()
"""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("MemoryError('Unable to allocate 44.7 GiB')", 3, "Error: There is not enough memory (Unable to allocate"),
        ("ZeroDivisionError('nobody foresaw it')", 3, "Traceback"),
        ("RecursionError('nobody foresaw it')", 3, "Traceback"),
        ("KeyboardInterrupt", 130, ""),
        ("bayesmm.errors.DesignError('a mistake')", 2, "Error: a mistake"),
    ],
)
def test_exit_codes_tell_the_truth(error, code, message):
    result = subprocess.run(
        [sys.executable, "-c", "import bayesmm\n" + SCRIPT.format(error)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert result.stdout.strip() == ""


def test_a_pipe_that_nobody_reads_is_no_result():
    command = [
        sys.executable,
        "-c",
        "import sys; sys.argv = ['bayesmm', 'datasets']; import bayesmm.cli as c; c.main()",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        result = subprocess.run(command, env=environment, stdout=pipe, stderr=subprocess.PIPE, timeout=60, check=False)
    assert result.returncode == 141
    assert result.stderr == b""
