"""The benchmarks run: one small race without rivals, and the page that is made of its line."""

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, str(FOLDER / script), *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_race_without_rivals_reports_ours_and_says_who_is_missing(tmp_path: Path) -> None:
    lines = run("crossed.py", "--quick", BAYESMM_RIVALS=str(tmp_path), PATH=str(tmp_path))
    small = json.loads(lines.splitlines()[0])
    assert small["bayesmm"]["median"] > 0
    assert small["bayesmm"]["evaluations"] <= 15
    assert all("skipped" in rival for rival in small["rivals"].values())
    results = tmp_path / "results.jsonl"
    results.write_text(lines, encoding="utf-8")
    assert "Two crossed factors" in run("table.py", str(results))
