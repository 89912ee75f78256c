"""A small model from nothing: whole processes, the stages inside one of ours, and later fits in one process."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contenders import OURS, rivals_python
from race import Rival, race
from report import is_quick, print_line

from bayesmm import datasets

FORMULA = "Reaction ~ Days + (Days | Subject)"
TIMEOUT = 300.0
IN_R = f"library(lme4); print(summary(lmer({FORMULA}, sleepstudy)))"
IN_MIXEDLM = (
    f"import mixedlm; d = mixedlm.load_sleepstudy(); print(mixedlm.lmer({FORMULA!r}, d).summary(ddf_method=None))"
)


def main() -> None:
    quick = is_quick(__doc__)
    turns = 2 if quick else 7
    processes(turns)
    stages(turns)
    race(
        "small again",
        "sleepstudy, later fits in one process",
        datasets.load("sleepstudy"),
        formula=FORMULA,
        factors=["Subject"],
        rivals=[Rival(program="mixedlm"), Rival(program="lme4")],
        repeats=5 if quick else 50,
    )


def processes(turns: int) -> None:
    """Time whole processes that print the summary of one model, taking turns; one turn before is not counted."""
    with tempfile.TemporaryDirectory() as scratch:
        ours = [str(Path(sys.executable).with_name("bayesmm")), "fit", FORMULA, "--data", "sleepstudy"]
        empty = Path(scratch) / "cache"
        contenders: dict[str, Callable[[], float]] = {OURS: lambda: _process_seconds(ours, empty)}
        skipped = {}
        if shutil.which("Rscript"):
            contenders["lme4"] = lambda: _process_seconds(["Rscript", "-e", IN_R], empty)
        else:
            skipped["lme4"] = {"skipped": "Rscript is not on the PATH"}
        if rivals_python().exists():
            contenders["mixedlm"] = lambda: _process_seconds([str(rivals_python()), "-c", IN_MIXEDLM], empty)
        else:
            skipped["mixedlm"] = {"skipped": "there is no virtual environment of rivals"}
        outcomes = _take_turns(contenders, turns) | skipped
    base = outcomes[OURS].get("median")
    for outcome in outcomes.values():
        if base and "median" in outcome:
            outcome["ratio"] = outcome["median"] / base
    print_line(
        {
            "kind": "processes",
            "name": "cold start",
            "description": "sleepstudy from the shell to the printed summary",
            "formula": FORMULA,
            "measures": "seconds of a whole process",
            "contenders": outcomes,
        }
    )


def _take_turns(contenders: dict[str, Callable[[], float]], turns: int) -> dict[str, dict[str, Any]]:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    failed: dict[str, dict[str, Any]] = {}
    for _ in range(1 + turns):
        for name, run in contenders.items():
            if name in failed:
                continue
            try:
                seconds[name].append(run())
            except subprocess.SubprocessError as error:
                failed[name] = _reason(error)
    return {
        name: failed.get(name)
        or {"median": statistics.median(taken[1:]), "min": min(taken[1:]), "runs": len(taken) - 1}
        for name, taken in seconds.items()
    }


def _reason(error: subprocess.SubprocessError) -> dict[str, Any]:
    if isinstance(error, subprocess.TimeoutExpired):
        return {"timed_out_after": error.timeout}
    words = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return {"error": " ".join(words.split())[-300:]}


def _process_seconds(command: list[str], cache: Path) -> float:
    begin = time.perf_counter()
    _run(command, cache)
    return time.perf_counter() - begin


def _run(command: list[str], cache: Path) -> str:
    left_out = {"JAX_COMPILATION_CACHE_DIR", "PYTHONDONTWRITEBYTECODE"}
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    # A source checkout may have no bytecode, as an installed package has: the run before the first timed one makes it.
    environment |= {"XDG_CACHE_HOME": str(cache), "PYTHONPYCACHEPREFIX": str(cache.parent / "bytecode")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=TIMEOUT)
    return done.stdout


def stages(turns: int) -> None:
    """Say where the time of a first fit goes."""
    line: dict[str, Any] = {
        "kind": "stages",
        "name": "stages",
        "description": "sleepstudy in a fresh process, stage by stage",
        "formula": FORMULA,
        "measures": "seconds, medians",
    }
    try:
        runs = _run_stages(turns)
    except subprocess.SubprocessError as error:
        print_line(line | _reason(error))
        return
    print_line(line | {"stages": _medians([run["seconds"] for run in runs]), "loglik": runs[0]["loglik"]})


def _run_stages(turns: int) -> list[dict[str, Any]]:
    script = str(Path(__file__).with_name("stages.py"))
    with tempfile.TemporaryDirectory() as scratch:
        runs = [json.loads(_run([sys.executable, script], Path(scratch) / "cache")) for _ in range(turns + 1)]
    return runs[1:]


def _medians(runs: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Take the median of each stage; a stage that was not found in one run was found in none."""
    return {
        stage: None if runs[0][stage] is None else statistics.median(run[stage] or 0.0 for run in runs)
        for stage in runs[0]
    }


if __name__ == "__main__":
    main()
