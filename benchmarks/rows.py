"""One evaluation of the criterion with its derivatives against the number of rows, at the same number of groups."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import designs
import numpy as np
from report import is_quick, print_line
from straight_line import log_slope

import bayesmm as bmm

GROUPS = 200
FORMULA = "y ~ x + (x | g)"
TURNS = 30  # medians of these are reported; all of them go into the slope
EVALUATIONS = 20  # per turn


def main() -> None:
    quick = is_quick(__doc__)
    sizes = [1_000, 10_000, 100_000] if quick else [10_000, 100_000, 1_000_000, 10_000_000]
    evaluations = [objective(bmm.Model(FORMULA, designs.slopes(groups=GROUPS, rows=n))) for n in sizes]
    for evaluate in evaluations:
        evaluate()  # compiles
    turns = [[evaluation_seconds(evaluate) for evaluate in evaluations] for _ in range(5 if quick else TURNS)]
    slope, error = log_slope(sizes * len(turns), [seconds for turn in turns for seconds in turn])
    print_line(
        {
            "kind": "rows",
            "name": "rows",
            "description": f"One evaluation of the criterion with derivatives, {GROUPS} groups with correlated slopes",
            "formula": FORMULA,
            "measures": "seconds for one evaluation",
            "rows": sizes,
            "seconds": [statistics.median(column) for column in zip(*turns, strict=True)],
            "slope": slope,
            "slope_std_error": error,
        }
    )


def objective(model: Any) -> Callable[[], object]:
    """Make a function that evaluates the criterion with its derivatives once; it holds the sums, not the rows."""
    from bayesmm.reml.criterion import Criterion

    criterion = Criterion(model._summed[0], model._layout, "reml", None)
    theta = np.array([1.0, 0.1, 0.5])
    return lambda: criterion(theta)


def evaluation_seconds(evaluate: Callable[[], object]) -> float:
    """Time one evaluation, as the mean of several."""
    begin = time.perf_counter()
    for _ in range(EVALUATIONS):
        evaluate()
    return (time.perf_counter() - begin) / EVALUATIONS


if __name__ == "__main__":
    main()
