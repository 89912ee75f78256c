"""Write a results file as Markdown, to standard output or between two marks of a page.

python benchmarks/table.py benchmarks/results.jsonl [--into docs/performance.md]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
RIVALS = ("lme4", "mixedlm", "glmmTMB", "statsmodels")  # in the order of the columns
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
        "rows": rows_table,
        "set": set_sentences,
        "processes": process_table,
        "stages": stage_table,
    }
    for kind, write in kinds.items():
        found = [line for line in lines if line["kind"] == kind]
        if found:
            yield write(found)


def machine_sentence(lines: Sequence[Line]) -> str:
    line = lines[-1]
    versions = ", ".join(f"{name} {number}" for name, number in line["versions"].items())
    rivals = line["rivals"] if isinstance(line["rivals"], str) else _names(line["rivals"])
    r = line["r"] if isinstance(line["r"], str) else ", ".join(line["r"])
    memory = "" if line["memory_gib"] is None else f", {line['memory_gib']:.0f} GiB"
    return (
        f"Measured on {line['processor']}, {line['cores']} cores{memory}, {line['system']}; Python {line['python']}: "
        f"{versions}. Rivals: {rivals}; {r}."
    )


def _names(versions: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items() if number)


def race_table(lines: Sequence[Line]) -> str:
    shown = [rival for rival in RIVALS if any(rival in line["rivals"] for line in lines)]
    rows = [
        [line["description"], f"`{line['formula']}`", f"{line['rows']:,}", _own(line["bayesmm"])]
        + [_against(line["rivals"].get(rival)) for rival in shown]
        for line in lines
    ]
    return _table(["data", "model", "rows", "bayesmm (first fit)", *shown], rows)


def _own(ours: Line) -> str:
    if "median" not in ours:
        return _stopped(ours)
    return f"{_seconds(ours['median'])} ({_seconds(ours['first'])})"


def _against(theirs: Line | None) -> str:
    """Write a rival's seconds and how many times ours they are, and where it ended if not where we did."""
    if theirs is None:
        return ""
    if "median" not in theirs:
        ratio = f", ≥ {_times(theirs['ratio_at_least'])}" if "ratio_at_least" in theirs else ""
        return _stopped(theirs) + ratio
    words = [_seconds(theirs["median"])]
    if "ratio" in theirs:
        words.append(_times(theirs["ratio"]))
    if theirs.get("agree") is False:
        difference = theirs["loglik_minus_ours"]
        words.append(f"log-likelihood {abs(difference):.2g} {'lower' if difference < 0 else 'higher'}")
    return ", ".join(words)


def _stopped(outcome: Line) -> str:
    if "timed_out_after" in outcome:
        return f"> {_seconds(outcome['timed_out_after'])}"
    return "not installed" if "skipped" in outcome else "failed"


def growth_table(lines: Sequence[Line]) -> str:
    return "\n\n".join(_growth(line) for line in lines)


def _growth(line: Line) -> str:
    rows = [
        [f"{point['rows']:,}", _seconds(point["median"]), _seconds(point["first"]), _gib(point["peak_gib"])]
        if "median" in point
        else [f"{point['lowest_groups']:,} groups", "failed", "failed", ""]
        for point in line["points"]
    ]
    text = f"{line['description']}, `{line['formula']}`:\n\n"
    text += _table(["rows", "bayesmm", "first fit", "peak memory"], rows)
    if "slope" in line:
        text += (
            f"\n\nTime grows as rows to the power {line['slope']:.2f} (standard error {line['slope_std_error']:.2f})."
        )
    return text


def rows_table(lines: Sequence[Line]) -> str:
    line = lines[-1]
    rows = [[f"{n:,}", _seconds(seconds)] for n, seconds in zip(line["rows"], line["seconds"], strict=True)]
    return (
        f"{line['description']}:\n\n{_table(['rows', 'one evaluation'], rows)}\n\n"
        f"Slope of log seconds on log rows: {line['slope']:.3f} (standard error {line['slope_std_error']:.3f})."
    )


def set_sentences(lines: Sequence[Line]) -> str:
    return "\n\n".join(
        f"{line['description']}: {line['models']} models, first fits {_seconds(line['first'])}, "
        f"second fits {_seconds(line['second'])}."
        for line in lines
        if "first" in line
    )


def process_table(lines: Sequence[Line]) -> str:
    line = lines[-1]
    rows = [
        [name, _seconds(outcome["median"]) if "median" in outcome else _stopped(outcome), _ratio(outcome)]
        for name, outcome in line["contenders"].items()
    ]
    return f"{line['description']}:\n\n" + _table(["program", "whole process", "times ours"], rows)


def _ratio(outcome: Line) -> str:
    return _times(outcome["ratio"]) if "ratio" in outcome else ""


def stage_table(lines: Sequence[Line]) -> str:
    line = lines[-1]
    if "stages" not in line:
        return ""
    rows = [[name, _seconds(seconds)] for name, seconds in line["stages"].items()]
    return f"{line['description']}:\n\n" + _table(["stage", "time"], rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    written = [header, ["---"] * len(header), *rows]
    # A bar inside a cell would end it: formulas are full of them.
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in written)


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f} s"
    return f"{value:.2g} s" if value >= 1 else f"{1000 * value:.3g} ms" if value >= 0.001 else f"{1e6 * value:.0f} µs"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"


def _gib(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} GiB"


if __name__ == "__main__":
    main()
