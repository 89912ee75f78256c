"""Ranking by a fit's normal approximation beside the posterior's draws, as groups grow.

Random slopes in 15, 60 and 240 groups of six rows. Printed are the largest differences between both: of the probability
that one level exceeds another, that a level is in the top five, that its slope is above zero; and of the pooling
factor. Then the ratio of the standard deviations, which not knowing the variances makes larger than one where groups
are few.

    python benchmarks/ranking_by_groups.py
"""

from __future__ import annotations

import numpy as np
import pandas as pd

import bayesmm as bmm

ROWS = 6


def compare(q: int) -> dict[str, object]:
    """Rank the slopes of q simulated groups by both."""
    rng = np.random.default_rng(q)
    group, x = np.repeat(np.arange(q), ROWS), np.tile(np.arange(ROWS) - 2.5, q)
    y = 1.0 + rng.normal(size=q)[group] + (1.0 + 0.5 * rng.normal(size=q)[group]) * x + rng.normal(size=ROWS * q)
    model = bmm.Model("y ~ x + (x | g)", pd.DataFrame({"g": group.astype(str), "x": x, "y": y}))
    results = model.fit(), model.sample(method="importance", draws=2500, seed=2)
    one, other = (bmm.ranking(each, "g", "x", top=5, above=0.0) for each in results)
    factors, drawn = (bmm.shrinkage(each).pooling["pooling_factor"] for each in results)
    return {
        "groups": q,
        "pairs": np.nanmax(np.abs(one.pairs().to_numpy() - other.pairs().to_numpy())),
        "top": (one.table["top"] - other.table["top"]).abs().max(),
        "above": (one.table["above"] - other.table["above"]).abs().max(),
        "pooling_factor": (factors - drawn).abs().max(),
        "sd_ratio": (other.table["std_error"] / one.table["std_error"]).median(),
    }


if __name__ == "__main__":
    print(pd.DataFrame([compare(q) for q in (15, 60, 240)]).round(3).to_string(index=False))
