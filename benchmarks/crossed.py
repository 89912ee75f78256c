"""Two crossed factors: balanced by chance, and long-tailed on both sides as ratings of films are."""

from __future__ import annotations

import designs
from race import Rival, race
from report import is_quick


def main() -> None:
    quick = is_quick(__doc__)
    sizes = {"left": 50, "right": 50, "rows": 2_000} if quick else {"left": 500, "right": 500, "rows": 50_000}
    race(
        "crossed",
        "Two crossed factors",
        designs.crossed(**sizes),
        formula="y ~ x + (1 | g) + (1 | h)",
        factors=["g", "h"],
        rivals=[Rival(program="lme4"), Rival(program="mixedlm")],
        repeats=2 if quick else 5,
    )
    sizes = (
        {"users": 300, "films": 200, "rows": 6_000} if quick else {"users": 6_000, "films": 4_000, "rows": 1_000_000}
    )
    race(
        "ratings",
        "Users crossed with films, popularity long-tailed on both sides",
        designs.ratings(**sizes),
        formula="y ~ x + (1 | user) + (1 | film)",
        factors=["user", "film"],
        rivals=[Rival(program="lme4", repeats=0, timeout=900.0)],
        repeats=1 if quick else 2,
        timeout=900.0,
    )


if __name__ == "__main__":
    main()
