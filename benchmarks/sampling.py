"""Effective draws a second: bayesmm, Bambi, rstanarm and brms sample the same posteriors.

The clock starts at the call that a user makes, with building the model and compiling inside, and stops at its result;
packages are imported and data read before. What counts is the least effective parameter of interest: coefficients,
standard deviations, correlations and sigma.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import designs
from contenders import OURS, Contender, Stopped
from efficiency import read_draws, summarise
from report import is_quick, print_line
from samplers import RIVALS, SAMPLERS, keeps_programs, start_sampler

from bayesmm import datasets

STATES = ("nothing cached", "programs cached", "second call")
# Later calls of which the median counts. A program makes some in a turn, then comes the next one's: the machine has
# slow minutes, and all shall have their share of them.
TURNS, CALLS, TURN_SECONDS = 3, 5, 4.0
ENOUGH = 15.0  # seconds of later calls that are not exceeded by another one
LONG = {"chains": 4, "draws": 1000, "tune": 1000}
SHORT = {"chains": 4, "draws": 50, "tune": 50}  # where 2000 iterations of a rival would take hours


@dataclass(frozen=True, kw_only=True)
class Match:
    """One posterior that everybody samples.

    Attributes
    ----------
    name, description : str
        What the line is called, and what it is about.
    frame : DataFrame
        The data.
    formula : str
        In lme4's grammar.
    factors : sequence of str
        Columns that every program gets as its own kind of factor.
    lengths : mapping
        chains, draws and tune of bayesmm.
    rival_lengths : mapping, optional
        The same of the rivals where they differ.
    timeout : float
        Seconds that one call may take.
    samplers : sequence of str
        Who takes part.
    calls_again : bool
        Whether to measure all states, or only the first call in a process with nothing cached.
    """

    name: str
    description: str
    frame: Any
    formula: str
    factors: Sequence[str]
    lengths: Mapping[str, int]
    rival_lengths: Mapping[str, int] | None = None
    timeout: float = 600.0
    samplers: Sequence[str] = SAMPLERS
    calls_again: bool = True


def main() -> None:
    quick = is_quick(__doc__)
    lengths = {"chains": 4, "draws": 100, "tune": 100} if quick else LONG
    play(
        Match(
            name="sleepstudy sampled",
            description="sleepstudy (Bambi: without the correlation)",
            frame=datasets.load("sleepstudy"),
            formula="Reaction ~ Days + (Days | Subject)",
            factors=["Subject"],
            lengths=lengths,
        )
    )
    play(
        Match(
            name="Pastes sampled",
            description="Pastes: casks in batches",
            frame=datasets.load("Pastes").drop(columns="sample"),
            formula="strength ~ 1 + (1 | batch) + (1 | batch:cask)",
            factors=["batch", "cask"],
            lengths=lengths,
        )
    )
    play(
        Match(
            name="many groups sampled",
            description="Correlated intercepts and slopes in many groups (Bambi: without the correlation)",
            frame=designs.slopes(groups=100, rows=1_000) if quick else designs.slopes(groups=10_000, rows=100_000),
            formula="y ~ x + (x | g)",
            factors=["g"],
            lengths=lengths,
            rival_lengths=SHORT,
            timeout=240.0,  # whoever keeps no more than 4 x 50 draws in that time makes less than one a second
            calls_again=False,
        )
    )


def play(match: Match) -> dict[str, Any]:
    """Let everybody sample, one after another; print the line, and return it."""
    outcomes: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as running:
        folder, waiting = Path(scratch), {}
        match.frame.to_csv(folder / "data.csv", index=False)
        for name in match.samplers:
            outcomes[name], contender = begin(match, name, folder)
            if contender is not None:
                running.callback(contender.close)
                waiting[name] = contender
        if match.calls_again:
            call_again(waiting, outcomes, folder)
    for name in RIVALS:
        if name in outcomes:
            outcomes[name]["ratios"] = compare(outcomes[OURS]["states"], outcomes[name]["states"])
    line = {
        "kind": "sampling",
        "name": match.name,
        "description": match.description,
        "formula": match.formula,
        "rows": len(match.frame),
        "measures": "seconds from formula and data frame to draws; least bulk effective number of them",
        "contenders": outcomes,
    }
    print_line(line)
    return line


def begin(match: Match, name: str, folder: Path) -> tuple[dict[str, Any], Contender | None]:
    """Measure the first calls of one program; return its process if it can be asked again."""
    lengths = match.lengths if name.startswith(OURS) else match.rival_lengths or match.lengths
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    task = {
        "data": str(folder / "data.csv"),
        "formula": match.formula,
        "factors": list(match.factors),
        "cores": cores,
        **lengths,
    }
    outcome: dict[str, Any] = {"lengths": dict(lengths), "states": {}}
    contender = None
    try:
        contender = _call_first(match, name, task, folder, outcome, STATES[0], seed=1)
        if match.calls_again and keeps_programs(name):
            _call_first(match, name, task, folder, outcome, STATES[1], seed=11).close()
    except Stopped as stopped:
        outcome[stopped.how] = stopped.why
    if "timed_out_after" in outcome and not outcome["states"]:
        draws = lengths["chains"] * lengths["draws"]
        outcome["states"][STATES[0]] = {"ess_per_second_at_most": draws / outcome["timed_out_after"]}
    return outcome, contender


def _call_first(
    match: Match, name: str, task: Mapping[str, Any], folder: Path, outcome: dict[str, Any], state: str, *, seed: int
) -> Contender:
    """Start a program and call it once; write down what it gave."""
    contender = start_sampler(name, task, folder=folder, cache=folder / f"cache of {name}", timeout=match.timeout)
    outcome["version"] = contender.version
    try:
        call = _draw(contender, folder / "draws.csv", seed)
    except BaseException:
        contender.close()
        raise
    outcome["states"][state] = call | {"calls": 1, "with_start": contender.start_seconds + call["seconds"]}
    return contender


def call_again(contenders: Mapping[str, Contender], outcomes: Mapping[str, dict[str, Any]], folder: Path) -> None:
    """Ask everybody for more, in turns, each time with another seed; write down the median call."""
    calls: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for _ in range(TURNS):
        for name, contender in contenders.items():
            before = len(calls[name])
            while _may_call(calls[name], before) and not outcomes[name].keys() & {"error", "timed_out_after"}:
                try:
                    calls[name].append(_draw(contender, folder / "draws.csv", 2 + len(calls[name])))
                except Stopped as stopped:
                    outcomes[name][stopped.how] = stopped.why
    for name, made in calls.items():
        if made:  # of two middle ones the slower
            middle = sorted(made, key=lambda call: call["ess_per_second"])[(len(made) - 1) // 2]
            outcomes[name]["states"][STATES[2]] = middle | {"calls": len(made)}


def _may_call(calls: Sequence[Mapping[str, Any]], before: int) -> bool:
    spent, in_turn = (sum(call["seconds"] for call in made) for made in (calls, calls[before:]))
    return len(calls) - before < CALLS and in_turn < TURN_SECONDS and spent < ENOUGH


def _draw(contender: Contender, path: Path, seed: int) -> dict[str, Any]:
    answer = contender.ask(f"draw\t{seed}\t{path}")
    measured = answer | summarise(*read_draws(path), share=answer.get("share", 1.0))
    return measured | {"ess_per_second": measured["ess"] / measured["seconds"]}


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    """Divide our effective draws a second by a rival's, state by state.

    A program that keeps nothing meets the second state as it meets the first.
    """
    ratios = {}
    for state in STATES:
        rival = theirs.get(state) or (theirs.get(STATES[0]) if state == STATES[1] else None)
        if state not in ours or rival is None or "ess_per_second" not in ours[state]:
            continue
        if "ess_per_second" in rival:
            ratios[state] = ours[state]["ess_per_second"] / rival["ess_per_second"]
        else:
            ratios[f"{state}, at least"] = ours[state]["ess_per_second"] / rival["ess_per_second_at_most"]
    return ratios


if __name__ == "__main__":
    main()
