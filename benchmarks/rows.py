"""One evaluation of the criterion with its derivatives against the number of rows, at the same number of groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from per_row import TURNS, time_against_rows
from report import is_quick


def main() -> None:
    quick = is_quick(__doc__)
    time_against_rows(
        objective,
        name="rows",
        description="One evaluation of the criterion with derivatives",
        groups=200,
        sizes=[1_000, 10_000, 100_000] if quick else [10_000, 100_000, 1_000_000, 10_000_000],
        evaluations=20,
        turns=5 if quick else TURNS,
    )


def objective(model: Any) -> Callable[[], object]:
    """Make a function that evaluates the criterion with its derivatives once; it holds the sums, not the rows."""
    from bayesmm.reml.criterion import Criterion

    criterion = Criterion(model.problem.products, model.problem.layout, "reml", None)
    theta = np.array([1.0, 0.1, 0.5])
    return lambda: criterion(theta)


if __name__ == "__main__":
    main()
