"""InstEval: 73,421 ratings of lecturers by students, crossed, with departments (Bates and others 2015)."""

from __future__ import annotations

from race import Rival, race
from report import is_quick

from bayesmm import datasets


def main() -> None:
    quick = is_quick(__doc__)
    frame = datasets.load("insteval")[["y", "s", "d", "dept", "service"]]
    if quick:
        frame = frame[frame["s"].astype(int) <= 150]
    race(
        "insteval",
        "InstEval: students crossed with lecturers, and with departments by service",
        frame,
        formula="y ~ 1 + service + (1 | s) + (1 | d) + (1 | dept:service)",
        factors=["s", "d", "dept", "service"],
        rivals=[Rival(program="lme4"), Rival(program="mixedlm"), Rival(program="glmmTMB", repeats=0)],
        repeats=2 if quick else 5,
        timeout=900.0,
    )


if __name__ == "__main__":
    main()
