"""Nested factors: classrooms in schools against rivals, and four levels of nesting as the rows grow to five million."""

from __future__ import annotations

import statistics
from typing import Any

import designs
from fresh import in_fresh_process
from memory import peak_gib
from race import Rival, race
from report import is_quick, print_line
from straight_line import log_slope

BOUND_GIB = 4.0  # what the largest size may take
REPEATS = 2


def main() -> None:
    quick = is_quick(__doc__)
    sizes = (
        {"schools": 20, "per_school": 5, "rows": 1_500}
        if quick
        else {"schools": 200, "per_school": 20, "rows": 100_000}
    )
    race(
        "nested",
        "Classrooms in schools",
        designs.classrooms(**sizes),
        formula="y ~ x + (1 | school/classroom)",
        factors=["school", "classroom"],
        rivals=[Rival(program="mixedlm"), Rival(program="lme4")],
        repeats=2 if quick else 5,
    )
    grow([1_000, 2_000, 4_000] if quick else [125_000, 250_000, 500_000, 1_000_000])


def grow(sizes: list[int]) -> None:
    """Fit each size in a process of its own, and say how time and memory grow."""
    points = [{"lowest_groups": lowest} | in_fresh_process(fit_four_levels, lowest) for lowest in sizes]
    peaks = [point.get("peak_gib") for point in points]
    print_line(
        {
            "kind": "growth",
            "name": "four levels",
            "description": "Four nested levels, five rows in each group of the lowest; one process a size",
            "formula": FOUR_LEVELS,
            "measures": "seconds from formula and data frame to the fit, and peak memory of the process",
            "points": points,
            **_slopes([point for point in points if "median" in point]),
            "bound_gib": BOUND_GIB,
            "within_bound": None if None in peaks else max(peaks) <= BOUND_GIB,
        }
    )


def _slopes(points: list[dict[str, Any]]) -> dict[str, float]:
    if len(points) < 3:
        return {}
    rows = [point["rows"] for point in points]
    slope, error = log_slope(rows, [point["median"] for point in points])
    of_firsts, _ = log_slope(rows, [point["first"] for point in points])
    return {"slope": slope, "slope_std_error": error, "slope_of_firsts": of_firsts}


FOUR_LEVELS = "y ~ x + (1 | a) + (1 | b) + (1 | c) + (1 | d)"


def fit_four_levels(lowest: int) -> dict[str, Any]:
    """Fit one size, the data made here: integer columns, as they come out of a database."""
    import worker_bayesmm
    from worker_loop import timed

    frame = designs.four_levels(lowest=lowest)
    task = {"formula": FOUR_LEVELS, "method": "reml"}
    loaded = peak_gib()
    seconds, loglik = [], float("nan")
    for _ in range(1 + REPEATS):
        taken, fit = timed(worker_bayesmm.fit, task, frame)
        seconds.append(taken)
        loglik = float(fit.loglik)
        del fit  # the next one should not find it in memory
    return {
        "rows": len(frame),
        "first": seconds[0],
        "median": statistics.median(seconds[1:]),
        "min": min(seconds[1:]),
        "loaded_gib": loaded,
        "peak_gib": peak_gib(),
        "loglik": loglik,
    }


if __name__ == "__main__":
    main()
