"""One grouping factor: correlated slopes in many groups, and very many small groups."""

from __future__ import annotations

import designs
from race import Rival, race
from report import is_quick


def main() -> None:
    quick = is_quick(__doc__)
    repeats = 2 if quick else 5
    race(
        "slopes",
        "Correlated intercepts and slopes",
        designs.slopes(groups=200, rows=2_000) if quick else designs.slopes(groups=10_000, rows=100_000),
        formula="y ~ x + (x | g)",
        factors=["g"],
        rivals=[
            Rival(program="mixedlm"),
            Rival(program="lme4"),
            Rival(program="statsmodels", repeats=0, task={"formula": "y ~ x", "groups": "g", "re_formula": "1 + x"}),
        ],
        repeats=repeats,
    )
    race(
        "small groups",
        "Very many groups of some four rows",
        designs.small_groups(groups=2_000 if quick else 125_066),
        formula="y ~ x + (1 | g)",
        factors=["g"],
        rivals=[Rival(program="lme4"), Rival(program="mixedlm")],
        repeats=repeats,
    )


if __name__ == "__main__":
    main()
