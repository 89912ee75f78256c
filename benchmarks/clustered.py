"""Clusters of crossed factors: in each of a thousand schools, its own students crossed with its own teachers."""

from __future__ import annotations

import designs
from race import Rival, race
from report import is_quick


def main() -> None:
    quick = is_quick(__doc__)
    race(
        "clustered",
        "Students crossed with teachers inside each school",
        designs.student_teacher(schools=20 if quick else 1_000, students=100, teachers=10, rows_each=3),
        formula="y ~ x + (1 | student) + (1 | teacher) + (1 | school)",
        factors=["student", "teacher", "school"],
        rivals=[Rival(program="lme4"), Rival(program="mixedlm")],
        repeats=2 if quick else 3,
        timeout=900.0,
    )


if __name__ == "__main__":
    main()
