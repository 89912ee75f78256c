"""A race: bayesmm and its rivals fit the same model to the same data, taking turns, and one line says how long it took.

Every contender is a process of its own that has imported its packages and read its data before the clock starts, and
that is idle while another one fits. The first fit of each, with what a process does only once, is told apart.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contenders import BEFORE, OURS, Contender, Stopped, before, start_fitter
from report import print_line

AGREE = 1e-2  # log-likelihoods closer than this are the same optimum


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One program that runs against ours.

    Attributes
    ----------
    program : str
        Its name.
    repeats : int, optional
        Fits after the first; as many as ours by default. With 0 the first is all there is.
    timeout : float, optional
        Seconds for one fit; the race's by default.
    task : mapping
        What differs from the task of the race, such as another formula.
    """

    program: str
    repeats: int | None = None
    timeout: float | None = None
    task: Mapping[str, Any] = field(default_factory=dict)


def race(
    name: str,
    description: str,
    frame: Any,
    *,
    formula: str,
    factors: Sequence[str],
    rivals: Sequence[Rival],
    method: str = "reml",
    residual: str | None = None,
    repeats: int = 5,
    timeout: float = 600.0,
) -> dict[str, Any]:
    """Run one race, print its line, and return it.

    Parameters
    ----------
    name, description : str
        What the line is called, and what it is about.
    frame : DataFrame
        The data; handed over as a CSV file.
    formula : str
        In lme4's grammar.
    factors : sequence of str
        Columns that every program gets as its own kind of factor.
    rivals : sequence of Rival
        Against whom, unless an older checkout is the rival (`run_all.py --before`).
    method : {"reml", "ml"}
        Which likelihood.
    residual : str, optional
        Covariance of the residuals, in our grammar; a rival's own call says it in its `task`.
    repeats : int
        Fits after the first.
    timeout : float
        Seconds that one fit may take.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        frame.to_csv(folder / "data.csv", index=False)
        task = {"data": str(folder / "data.csv"), "formula": formula, "method": method, "factors": list(factors)}
        task |= {} if residual is None else {"residual": residual}
        runs: list[_Run] = []
        try:
            for entrant in (Rival(program=OURS), *(rivals if before() is None else (Rival(program=BEFORE),))):
                runs.append(_Run(entrant, task, folder, repeats=repeats, timeout=timeout))
            for turn in range(repeats + 1):
                for run in runs:
                    run.take_turn(turn)
        finally:
            for run in runs:
                run.close()
    ours, theirs = runs[0].outcome(), {run.program: run.outcome() for run in runs[1:]}
    line = {
        "kind": "race",
        "name": name,
        "description": description,
        "formula": formula if residual is None else f"{formula}, {residual}",
        "method": method,
        "rows": len(frame),
        "measures": "seconds from formula and data frame to the fit",
        OURS: ours,
        "rivals": {program: outcome | _compare(outcome, ours) for program, outcome in theirs.items()},
    }
    print_line(line)
    return line


class _Run:
    """What one program does in one race."""

    def __init__(self, entrant: Rival, task: Mapping[str, Any], folder: Path, *, repeats: int, timeout: float) -> None:
        self.program = entrant.program
        self._repeats = repeats if entrant.repeats is None else entrant.repeats
        self._facts: dict[str, Any] = {}
        self._seconds: list[float] = []
        self._with_tables: list[float] = []
        self._contender: Contender | None = None
        try:
            self._contender = start_fitter(
                entrant.program, {**task, **entrant.task}, folder=folder, timeout=entrant.timeout or timeout
            )
            self._facts = {"version": self._contender.version, "loaded_gib": self._contender.peak_gib()}
        except Stopped as stopped:
            self._facts = {stopped.how: stopped.why}

    def take_turn(self, turn: int) -> None:
        """Fit once, unless the program has stopped or has no turns left."""
        if self._contender is None or turn > self._repeats:
            return
        try:
            answer = self._contender.ask("fit")
            self._seconds.append(answer.pop("seconds"))
            self._facts |= answer | {"peak_gib": self._contender.peak_gib()}
            self._with_tables.append(self._seconds[-1] + self._contender.ask("tables")["seconds"])
        except Stopped as stopped:
            self._facts[stopped.how] = stopped.why
            self._contender = None

    def outcome(self) -> dict[str, Any]:
        """Sum the run up; the first fit counts as the others only where there is no other."""
        if not self._seconds:
            return self._facts
        later = self._seconds[1:] or self._seconds
        tables = self._with_tables[1:] or self._with_tables
        return {
            "first": self._seconds[0],
            "median": statistics.median(later),
            "min": min(later),
            "fits": len(self._seconds),
            "with_tables": statistics.median(tables) if tables else None,
        } | self._facts

    def close(self) -> None:
        """End its process."""
        if self._contender is not None:
            self._contender.close()


def _compare(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Divide a rival's seconds by ours; a rival that was stopped took at least as long as it was given."""
    if "median" not in ours:
        return {}
    if "median" not in theirs:
        return {"ratio_at_least": theirs["timed_out_after"] / ours["median"]} if "timed_out_after" in theirs else {}
    compared: dict[str, Any] = {
        "ratio": theirs["median"] / ours["median"],
        "ratio_of_minima": theirs["min"] / ours["min"],
        "ratio_of_firsts": theirs["first"] / ours["first"],
    }
    if theirs["with_tables"] and ours["with_tables"]:
        compared["ratio_with_tables"] = theirs["with_tables"] / ours["with_tables"]
    if theirs.get("loglik") is None:
        return compared | {"agree": None}
    difference = theirs["loglik"] - ours["loglik"]
    return compared | {"loglik_minus_ours": difference, "agree": abs(difference) < AGREE}
