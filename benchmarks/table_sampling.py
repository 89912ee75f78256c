"""The tables of what is sampled: effective draws a second, warm-up, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cells import seconds, stopped, table, times

STATES = ("nothing cached", "programs cached", "second call")
Line = Mapping[str, Any]


def sampling_tables(lines: Sequence[Line]) -> str:
    return "\n\n".join(_sampling(line) for line in lines)


def _sampling(line: Line) -> str:
    states = [s for s in STATES if any(s in outcome["states"] for outcome in line["contenders"].values())]
    rows = [
        [_program(name, outcome), *(_efficiency(outcome, state) for state in states), *_quality(outcome)]
        for name, outcome in line["contenders"].items()
    ]
    heading = f"Effective draws a second, {line['description']}, `{line['formula']}`, {line['rows']:,} rows:"
    return f"{heading}\n\n" + table(["program", *states, "effective draws", "R̂", "divergent"], rows)


def _program(name: str, outcome: Line) -> str:
    lengths = outcome["lengths"]
    return f"{name}, {lengths['chains']} × {lengths['draws']:,} after {lengths['tune']:,}"


def _efficiency(outcome: Line, state: str) -> str:
    """Write effective draws a second, the seconds of the call, and how many times the rival's ours are."""
    measured, ratios = outcome["states"].get(state), outcome.get("ratios", {})
    if measured is None:
        return "" if outcome["states"] else stopped(outcome)
    if "ess_per_second_at_most" in measured:
        words = [f"≤ {_rate(measured['ess_per_second_at_most'])}", stopped(outcome)]
        ratio = ratios.get(f"{state}, at least")
        return ", ".join([*words, f"≥ {times(ratio)}"] if ratio else words)
    words = [f"{_rate(measured['ess_per_second'])} in {seconds(measured['seconds'])}"]
    return ", ".join([*words, times(ratios[state])] if state in ratios else words)


def _rate(value: float) -> str:
    return f"{value:,.0f}/s" if value >= 10 else f"{value:.2g}/s"


def _quality(outcome: Line) -> list[str]:
    """Write what the calls gave: least effective draws and largest R̂ of the last one, divergent draws of all."""
    measured = [m for state in STATES if "ess" in (m := outcome["states"].get(state, {}))]
    if not measured:
        return ["", "", ""]
    last = measured[-1]
    divergences = sum(m["divergences"] or 0 for m in measured)
    return [f"{last['ess']:,.0f}", f"{last['r_hat']:.2f}", f"{divergences}"]


def warm_up_table(lines: Sequence[Line]) -> str:
    rows = [
        [line["description"], f"{point['tune']:,}", *_warmed(point["ours"]), *_warmed(point["cold"])]
        for line in lines
        for point in line["points"]
    ]
    line = lines[-1]
    names = ["effective draws", "R̂", "divergent", "steps a draw"]
    header = ["data", "warm-up", *(f"{who}: {name}" for who in ("bayesmm", "NumPyro") for name in names)]
    return (
        f"{line['chains']} chains of {line['draws']:,} draws after short and long warm-ups, from our start and from "
        f"NumPyro's own:\n\n{table(header, rows)}"
    )


def _warmed(outcome: Line) -> list[str]:
    return [
        f"{outcome['ess']:,.0f}",
        f"{outcome['r_hat']:.2f}",
        f"{outcome['divergences']}",
        f"{outcome['steps_per_draw']:.1f}",
    ]


def accelerator_table(lines: Sequence[Line]) -> str:
    rows = [
        [line["name"], outcome.get("device", platform), *_accelerated(outcome)]
        for line in lines
        for platform, outcome in line["platforms"].items()
    ]
    lengths = lines[-1]["lengths"]
    calls = f"4 × {lengths['draws']} after {lengths['tune']}"
    header = ["data", "device", "gradient of four chains", f"{calls}, first call", "later call", "effective draws"]
    return f"On a processor and on an accelerator of another machine:\n\n{table(header, rows)}"


def _accelerated(outcome: Line) -> list[str]:
    if "gradient" not in outcome:
        return [stopped(outcome), "", "", ""]
    times = [seconds(outcome[name]) for name in ("gradient", "first_call", "second_call")]
    return [*times, f"{outcome['least_ess']:,.0f}"]


def calibration_table(lines: Sequence[Line]) -> str:
    rows = [
        [line["description"], f"`{line['formula']}`", line["way"], f"{line['simulations']:,}", *_calibrated(line)]
        for line in lines
    ]
    header = ["model", "formula", "sampled by", "simulations", "smallest p-value", "inside the envelope"]
    return f"Simulation-based calibration:\n\n{table(header, rows)}"


def _calibrated(line: Line) -> list[str]:
    if "error" in line:
        return ["failed", ""]
    return [f"{min(line['p_values'].values()):.3f}", "yes" if line["inside_envelope"] else "no"]
