"""Lines of the levels of a grouping factor from posterior draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesmm.bayes.residual_draws import at_effects, whitener
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import read_draws
from bayesmm.bayes.results.recovered import read_effects
from bayesmm.design.words.group_lines import GroupLines, lay_out_groups
from bayesmm.presenting.intervals import tails

BATCH = 4_000_000  # draws times places held at once, 32 MB
MOST_NUMBERS = 40_000_000  # of draws times effects, 320 MB


def draw_group_lines(
    posterior: DrawnModel,
    *,
    x: Any,
    group: Any,
    levels: Any,
    level: float,
    progress: bool | None = None,
    rows: Any = None,
) -> GroupLines:
    """Evaluate the lines of levels; see `Posterior.group_lines`."""
    below, problem = tails(level), posterior.problem
    near = problem.rows_of_levels(rows, "posterior.group_lines(rows='visits/*.parquet')")
    size = sum(len(block.levels) * len(block.effects) for block in posterior.labels.blocks)
    few = None if posterior.sigma.size * size <= MOST_NUMBERS else max(MOST_NUMBERS // size, 1)
    draws = read_draws(posterior, few)
    effects = read_effects(posterior, draws, progress=progress)
    means = [each.mean(axis=0) for each in effects]
    beta = draws.beta.mean(axis=0)
    design = at_effects(posterior.design, beta, means)
    whiten = None if draws.residual is None else whitener(design, draws.residual.mean(axis=0))

    def unpooled(f: int) -> np.ndarray:
        return problem.read_own_rows(beta, means, whiten)[f].unpooled

    places = lay_out_groups(posterior.design, beta, means, unpooled, near, x=x, group=group, levels=levels, level=level)
    m, step = len(places.codes), max(1, BATCH // len(draws.sigma))
    parts = []
    for start in range(0, m, step):
        drawn = places.predictors.rows(slice(start, start + step)).mean(draws.beta, effects)
        parts.append(np.stack([drawn.mean(axis=0), *np.quantile(drawn, below, axis=0)]))
    return places.with_estimates(*np.concatenate(parts, axis=1))
