"""Levels of intervals: one check, one message, one way to say them."""

from __future__ import annotations

from numbers import Real
from typing import Any

from bayesmm.arguments import shorten
from bayesmm.errors import ArgumentError


def check_level(level: Any) -> float:
    """Return the coverage of intervals; refuse what is no number between 0 and 1.

    Raises
    ------
    ArgumentError
        With the value seen.
    """
    # compared as it is: an int beyond the largest double cannot be made one
    if isinstance(level, bool) or not isinstance(level, Real) or not 0.0 < level < 1.0:  # pyright: ignore[reportOperatorIssue]
        raise ArgumentError(f"level is {shorten(level)}: give a coverage between 0 and 1, such as 0.95.")
    return float(level)


def tails(level: Any) -> tuple[float, float]:
    """Return the probabilities below the limits of an equal-tailed interval, once its level is checked."""
    level = check_level(level)
    return 0.5 - level / 2.0, 0.5 + level / 2.0


def interval_head(level: float) -> str:
    """Write what stands above an interval: ``"95 % interval"``."""
    return f"{100.0 * level:.12g} % interval"  # 0.57 times 100 is 56.99999999999999


def write_limits(lower: str, upper: str) -> str:
    """Write both limits into one cell."""
    return lower if lower == upper and not any(map(str.isdigit, lower)) else f"{lower}, {upper}"
