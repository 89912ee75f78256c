"""Write a results file as Markdown, to standard output or between two marks of a page.

python benchmarks/table.py benchmarks/results.jsonl [--into docs/performance.md]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cells import gib, seconds, stopped, table, times
from table_sampling import accelerator_table, calibration_table, sampling_tables, warm_up_table

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
RIVALS = ("lme4", "mixedlm", "glmmTMB", "statsmodels", "nlme", "mmrm")  # in the order of the columns
Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a results file as Markdown.")
    parser.add_argument("results", type=Path, help="lines of JSON, from run_all.py")
    parser.add_argument("--into", type=Path, metavar="PAGE", help=f"replace what stands between {BEGIN} and {END}")
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.results.read_text(encoding="utf-8").splitlines() if line.strip()]
    text = "\n\n".join(part for part in sections(lines) if part)
    if arguments.into is None:
        print(text)
    else:
        arguments.into.write_text(insert(arguments.into.read_text(encoding="utf-8"), text), encoding="utf-8")


def insert(page: str, text: str) -> str:
    """Put a text between the two marks of a page."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise SystemExit(f"The page needs one line {BEGIN} and, below it, one line {END}: between them the tables go.")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def sections(lines: Sequence[Line]) -> Iterable[str]:
    """Write each kind of result in its own way, in a fixed order."""
    kinds = {
        "machine": machine_sentence,
        "race": race_table,
        "growth": growth_table,
        "rows": rows_tables,
        "set": set_sentences,
        "processes": process_table,
        "stages": stage_table,
        "sampling": sampling_tables,
        "warm-up": warm_up_table,
        "calibration": calibration_table,
        "accelerator": accelerator_table,
    }
    for kind, write in kinds.items():
        found = [line for line in lines if line["kind"] == kind]
        if found:
            yield write(found)


def machine_sentence(lines: Sequence[Line]) -> str:
    line = lines[-1]
    versions = ", ".join(f"{name} {number}" for name, number in line["versions"].items())
    rivals = _names(line["rivals"])
    bambi = f"; {_names(line['bambi'])}" if line.get("bambi") else ""
    r = line["r"] if isinstance(line["r"], str) else ", ".join(line["r"])
    memory = "" if line["memory_gib"] is None else f", {line['memory_gib']:.0f} GiB"
    return (
        f"Measured on {line['processor']}, {line['cores']} cores{memory}, {line['system']}; Python {line['python']}: "
        f"{versions}. Rivals: {rivals}{bambi}; {r}."
    )


def _names(versions: str | dict[str, str | None]) -> str:
    if isinstance(versions, str):
        return versions
    return ", ".join(f"{name} {number}" for name, number in versions.items() if number)


def race_table(lines: Sequence[Line]) -> str:
    shown = [rival for rival in RIVALS if any(rival in line["rivals"] for line in lines)]
    rows = [
        [line["description"], f"`{line['formula']}`", f"{line['rows']:,}", _own(line["bayesmm"])]
        + [_against(line["rivals"].get(rival)) for rival in shown]
        for line in lines
    ]
    return table(["data", "model", "rows", "bayesmm (first fit)", *shown], rows)


def _own(ours: Line) -> str:
    if "median" not in ours:
        return stopped(ours)
    return f"{seconds(ours['median'])} ({seconds(ours['first'])})"


def _against(theirs: Line | None) -> str:
    """Write a rival's seconds and how many times ours they are, and where it ended if not where we did."""
    if theirs is None:
        return ""
    if "median" not in theirs:
        ratio = f", ≥ {times(theirs['ratio_at_least'])}" if "ratio_at_least" in theirs else ""
        return stopped(theirs) + ratio
    words = [seconds(theirs["median"])]
    if "ratio" in theirs:
        words.append(times(theirs["ratio"]))
    if theirs.get("agree") is False:
        difference = theirs["loglik_minus_ours"]
        words.append(f"log-likelihood {abs(difference):.2g} {'lower' if difference < 0 else 'higher'}")
    return ", ".join(words)


def growth_table(lines: Sequence[Line]) -> str:
    return "\n\n".join(_growth(line) for line in lines)


def _growth(line: Line) -> str:
    rows = [
        [f"{point['rows']:,}", seconds(point["median"]), seconds(point["first"]), gib(point["peak_gib"])]
        if "median" in point
        else [f"{point['lowest_groups']:,} groups", "failed", "failed", ""]
        for point in line["points"]
    ]
    text = f"{line['description']}, `{line['formula']}`:\n\n"
    text += table(["rows", "bayesmm", "first fit", "peak memory"], rows)
    if "slope" in line:
        text += (
            f"\n\nTime grows as rows to the power {line['slope']:.2f} (standard error {line['slope_std_error']:.2f})."
        )
    return text


def rows_tables(lines: Sequence[Line]) -> str:
    return "\n\n".join(_rows(line) for line in lines)


def _rows(line: Line) -> str:
    rows = [[f"{n:,}", seconds(value)] for n, value in zip(line["rows"], line["seconds"], strict=True)]
    return (
        f"{line['description']}:\n\n{table(['rows', 'one evaluation'], rows)}\n\n"
        f"Slope of log seconds on log rows: {line['slope']:.3f} (standard error {line['slope_std_error']:.3f})."
    )


def set_sentences(lines: Sequence[Line]) -> str:
    return "\n\n".join(
        f"{line['description']}: {line['models']} models, first fits {seconds(line['first'])}, "
        f"second fits {seconds(line['second'])}."
        for line in lines
        if "first" in line
    )


def process_table(lines: Sequence[Line]) -> str:
    line = lines[-1]
    rows = [
        [name, seconds(outcome["median"]) if "median" in outcome else stopped(outcome), _ratio(outcome)]
        for name, outcome in line["contenders"].items()
    ]
    return f"{line['description']}:\n\n" + table(["program", "whole process", "times ours"], rows)


def _ratio(outcome: Line) -> str:
    return times(outcome["ratio"]) if "ratio" in outcome else ""


def stage_table(lines: Sequence[Line]) -> str:
    line = lines[-1]
    if "stages" not in line:
        return ""
    rows = [[name, seconds(value)] for name, value in line["stages"].items()]
    return f"{line['description']}:\n\n" + table(["stage", "time"], rows)


if __name__ == "__main__":
    main()
