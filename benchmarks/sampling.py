"""Effective draws a second: bayesmm, Bambi, rstanarm and brms sample the same posteriors.

The clock starts at the call that a user makes, with building the model and compiling inside, and stops at its result;
packages are imported and data read before. What counts is the least effective parameter of interest: coefficients,
standard deviations, correlations and sigma.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
# The machine has slow minutes, and all programs shall have their share of them: they take turns, and the median counts.
STARTS, START_SECONDS = 3, 30.0  # turns of fresh processes, unless one took so many seconds
TURNS, CALLS, TURN_SECONDS = 3, 5, 4.0  # turns of later calls, of so many or until so many seconds are over,
ENOUGH = 15.0  # unless so many are over in all
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
    entries = {name: Entry(match, name) for name in match.samplers}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as running:
        folder = Path(scratch)
        match.frame.to_csv(folder / "data.csv", index=False)
        for entry in entries.values():
            running.callback(entry.close)
        for turn in range(STARTS if match.calls_again else 1):
            for entry in entries.values():
                entry.start(folder, turn)
        for _ in range(TURNS if match.calls_again else 0):
            for entry in entries.values():
                entry.call_again(folder)
    outcomes = {name: entry.outcome for name, entry in entries.items()}
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


class Entry:
    """One program in a match: its calls so far, and the process that is asked again.

    Parameters
    ----------
    match : Match
    name : str
        One of `SAMPLERS`.
    """

    def __init__(self, match: Match, name: str) -> None:
        self._match, self._name = match, name
        self._lengths = match.lengths if name.startswith(OURS) else match.rival_lengths or match.lengths
        self._calls: dict[str, list[dict[str, Any]]] = {state: [] for state in STATES}
        self._contender: Contender | None = None
        self._facts: dict[str, Any] = {"lengths": dict(self._lengths)}

    @property
    def outcome(self) -> dict[str, Any]:
        """Its part of the line: the median call in each state, of two middle ones the slower."""
        states = {}
        for state, calls in self._calls.items():
            if calls:
                middle = sorted(calls, key=lambda call: call["ess_per_second"])[(len(calls) - 1) // 2]
                most = max(call["divergences"] or 0 for call in calls)
                states[state] = middle | {"calls": len(calls), "most_divergences": most}
        if "timed_out_after" in self._facts and not states:
            draws = self._lengths["chains"] * self._lengths["draws"]
            states[STATES[0]] = {"ess_per_second_at_most": draws / self._facts["timed_out_after"]}
        return self._facts | {"states": states}

    def start(self, folder: Path, turn: int) -> None:
        """Make the first call in a fresh process with nothing cached, then in one that finds what that left."""
        if self._has_stopped or any(call["seconds"] > START_SECONDS for call in self._calls[STATES[0]]):
            return
        self.close()
        cache = folder / f"cache {turn} of {self._name}"
        with self._stopping():
            self._contender = self._call_first(STATES[0], folder, cache, seed=1 + turn)
            if not self._match.calls_again:
                self.close()  # it would hold memory beside the next ones
            elif keeps_programs(self._name):
                self._call_first(STATES[1], folder, cache, seed=11 + turn).close()

    def call_again(self, folder: Path) -> None:
        """Call the same process again, some times."""
        calls, before = self._calls[STATES[2]], len(self._calls[STATES[2]])
        while not self._has_stopped and len(calls) - before < CALLS:
            spent, in_turn = (sum(call["seconds"] for call in made) for made in (calls, calls[before:]))
            if in_turn >= TURN_SECONDS or spent >= ENOUGH:
                break
            with self._stopping():
                assert self._contender is not None
                calls.append(_draw(self._contender, folder, seed=21 + len(calls)))

    def close(self) -> None:
        """End the process."""
        if self._contender is not None:
            self._contender.close()
        self._contender = None

    @property
    def _has_stopped(self) -> bool:
        return bool(self._facts.keys() & {"skipped", "error", "timed_out_after"})

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        try:
            yield
        except Stopped as stopped:
            self._facts[stopped.how] = stopped.why

    def _call_first(self, state: str, folder: Path, cache: Path, *, seed: int) -> Contender:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        task = {
            "data": str(folder / "data.csv"),
            "formula": self._match.formula,
            "factors": list(self._match.factors),
            "cores": cores,
            **self._lengths,
        }
        contender = start_sampler(self._name, task, folder=folder, cache=cache, timeout=self._match.timeout)
        self._facts["version"] = contender.version
        call = _draw(contender, folder, seed=seed)
        self._calls[state].append(call | {"with_start": contender.start_seconds + call["seconds"]})
        return contender


def _draw(contender: Contender, folder: Path, *, seed: int) -> dict[str, Any]:
    path = folder / "draws.csv"
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
