"""The commands take folders and patterns of files, which they read in chunks."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_commands import mistake, run, run_json
from scanned_rows import make_rows

FORMULA = "y ~ t + f + (1 | a)"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    data = make_rows(200)
    for i in range(2):
        data[i * 100 : (i + 1) * 100].to_parquet(tmp_path / f"part{i}.parquet", index=False)
    data.to_csv(tmp_path.parent / "all.csv", index=False)
    return tmp_path


def test_fit_takes_a_pattern_and_a_folder(files: Path) -> None:
    expected = run_json("fit", FORMULA, "--data", files.parent / "all.csv")["fit"]["parameters"]
    for source in (files / "*.parquet", files):
        found = run_json("fit", FORMULA, "--data", source)["fit"]["parameters"]
        assert [row["parameter"] for row in found] == [row["parameter"] for row in expected]
        for one, other in zip(found, expected, strict=True):
            assert one["estimate"] == pytest.approx(other["estimate"], rel=1e-5)


def test_other_commands_take_them_too(files: Path) -> None:
    assert "f" in run("anova", FORMULA, "--data", files / "*.parquet").stdout


def test_what_is_wrong_with_files_is_said(files: Path) -> None:
    assert "not there" in mistake("fit", FORMULA, "--data", files / "*.csv")
    assert "read in chunks" in mistake("fit", FORMULA, "--data", files, "--sep", ";")
    (files / "part1.parquet").write_bytes(b"PAR1")
    assert "part1.parquet" in mistake("fit", FORMULA, "--data", files)
