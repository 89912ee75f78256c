"""Small models in a loop, beside mixedlm and an older checkout of bayesmm: the least processor times of each.

python benchmarks/small.py [--quick] [--before FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from contenders import HERE, OURS, Contender, rivals_python
from report import print_line

from bayesmm import datasets

MODELS = {
    "sleepstudy": ("Reaction ~ Days + (Days | Subject)", ["Subject"]),
    "pastes": ("strength ~ 1 + (1 | batch) + (1 | batch:cask)", ["batch", "cask"]),
    "machines": ("score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", ["Worker", "Machine"]),
    "dyestuff": ("Yield ~ 1 + (1 | Batch)", ["Batch"]),
    "penicillin": ("diameter ~ 1 + (1 | plate) + (1 | sample)", ["plate", "sample"]),
}
FITS = 10  # a turn
BEFORE = "before"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few fits: a smoke test, its times mean nothing")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="an older checkout of bayesmm")
    arguments = parser.parse_args()
    for name, (formula, factors) in MODELS.items():
        print_line(_race(name, formula, factors, before=arguments.before, turns=2 if arguments.quick else 20))


def _race(name: str, formula: str, factors: list[str], *, before: Path | None, turns: int) -> dict[str, Any]:
    """Let all contenders fit in turns; the first turn of each, with what a process does only once, does not count."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        datasets.load(name).to_csv(folder / "data.csv", index=False)
        task = {"data": str(folder / "data.csv"), "formula": formula, "method": "reml", "factors": factors}
        contenders = {who: _start(who, task, folder, before) for who in _entrants(before)}
        try:
            answers = [{who: each.ask(str(FITS)) for who, each in contenders.items()} for _ in range(turns + 1)][1:]
        finally:
            for each in contenders.values():
                each.close()
    outcomes: dict[str, dict[str, float]] = {
        who: {what: min(turn[who][what] for turn in answers) for what in ("fit", "with tables")} for who in contenders
    }
    ours = outcomes[OURS]
    for outcome in outcomes.values():
        outcome |= {f"ratio of {what}": outcome[what] / ours[what] for what in ours if not what.startswith("ratio")}
    for who, outcome in outcomes.items():
        outcome["loglik_minus_ours"] = answers[0][who]["loglik"] - answers[0][OURS]["loglik"]
    return {
        "kind": "small",
        "name": name,
        "formula": formula,
        "measures": f"least processor seconds of {turns * FITS} fits; a ratio above 1 is that ours are faster",
        "contenders": outcomes,
    }


def _entrants(before: Path | None) -> list[str]:
    return [OURS, *([BEFORE] if before else []), *(["mixedlm"] if rivals_python().exists() else [])]


def _start(who: str, task: dict[str, Any], folder: Path, before: Path | None) -> Contender:
    program, python = ("mixedlm", str(rivals_python())) if who == "mixedlm" else (OURS, sys.executable)
    environment = dict(os.environ) | ({"PYTHONPATH": str(before.resolve())} if before and who == BEFORE else {})
    command = [python, str(HERE / "worker_small.py"), program]
    return Contender(command, json.dumps(task), folder=folder, environment=environment, timeout=600.0)


if __name__ == "__main__":
    main()
