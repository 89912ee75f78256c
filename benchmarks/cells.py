"""Cells and tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table."""
    written = [header, ["---"] * len(header), *rows]
    # A bar inside a cell would end it: formulas are full of them.
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in written)


def seconds(value: float | None) -> str:
    """Write a time in a unit that suits it."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f} s"
    return f"{value:.2g} s" if value >= 1 else f"{1000 * value:.3g} ms" if value >= 0.001 else f"{1e6 * value:.0f} µs"


def times(ratio: float) -> str:
    """Write a ratio."""
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"


def gib(value: float | None) -> str:
    """Write an amount of memory."""
    return "" if value is None else f"{value:.2f} GiB"


def stopped(outcome: Mapping[str, Any]) -> str:
    """Say why there is no time."""
    if "timed_out_after" in outcome:
        return f"> {seconds(outcome['timed_out_after'])}"
    return "not installed" if "skipped" in outcome else "failed"
