"""Evaluations against the number of rows, at the same number of groups: what one costs and how that grows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import designs
from report import print_line
from straight_line import log_slope

import bayesmm as bmm

FORMULA = "y ~ x + (x | g)"
TURNS = 30  # medians of these are reported; all of them go into the slope


def time_against_rows(
    make: Callable[[Any], Callable[[], object]],
    *,
    name: str,
    description: str,
    groups: int,
    sizes: Sequence[int],
    evaluations: int,
    turns: int = TURNS,
) -> None:
    """Time evaluations on models of several sizes, taking turns, and print one line.

    Parameters
    ----------
    make : callable
        From a model to a function that evaluates once.
    name, description : str
        What the line is called, and what is evaluated.
    groups : int
        Groups with correlated slopes, the same in all sizes.
    sizes : sequence of int
        Numbers of rows.
    evaluations : int
        In one turn, which takes their mean.
    turns : int
        How often each size has its turn.
    """
    evaluated = [make(bmm.Model(FORMULA, designs.slopes(groups=groups, rows=n))) for n in sizes]
    for evaluate in evaluated:
        evaluate()  # compiles
    taken = [[mean_seconds(evaluate, evaluations) for evaluate in evaluated] for _ in range(turns)]
    slope, error = log_slope(list(sizes) * turns, [seconds for turn in taken for seconds in turn])
    print_line(
        {
            "kind": "rows",
            "name": name,
            "description": f"{description}, {groups:,} groups with correlated slopes",
            "formula": FORMULA,
            "measures": "seconds for one evaluation",
            "rows": list(sizes),
            "seconds": [statistics.median(column) for column in zip(*taken, strict=True)],
            "slope": slope,
            "slope_std_error": error,
        }
    )


def mean_seconds(evaluate: Callable[[], object], evaluations: int) -> float:
    """Time one evaluation, as the mean of several."""
    begin = time.perf_counter()
    for _ in range(evaluations):
        evaluate()
    return (time.perf_counter() - begin) / evaluations
