"""Tables of posterior draws, computed on whole arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from arviz_stats.base import array_stats
from xarray import DataTree

from bayesmm.design.labels import Labels

AXES: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}
FEWEST = 4  # draws per chain that R̂ and effective sample sizes need


def stack_parameters(data: DataTree, labels: Labels) -> np.ndarray:
    """Draws of the parameters in the order of the table; shape (chains, draws, m)."""
    columns = []
    for row in labels.parameter_rows():
        draws = data["posterior"][row.variable].to_numpy()
        columns.append(draws if row.index is None else draws[..., row.index])
    return np.stack(columns, axis=-1)


def parameter_table(data: DataTree, labels: Labels, level: float) -> pd.DataFrame:
    """One row a parameter; see `Posterior.parameter_table`."""
    rows = labels.parameter_rows()
    draws = stack_parameters(data, labels)
    lower, upper = _interval(draws, level)
    enough = draws.shape[1] >= FEWEST
    unknown = np.full(len(rows), np.nan)
    tail = (0.05, 0.95)
    return pd.DataFrame(
        {
            "kind": [row.kind for row in rows],
            "group": [row.group for row in rows],
            "mean": draws.mean(axis=(0, 1)),
            "sd": draws.std(axis=(0, 1), ddof=1),
            "lower": lower,
            "upper": upper,
            "r_hat": array_stats.rhat(draws, **AXES) if enough and len(draws) > 1 else unknown,
            "ess_bulk": array_stats.ess(draws, method="bulk", **AXES) if enough else unknown,
            "ess_tail": array_stats.ess(draws, method="tail", prob=tail, **AXES) if enough else unknown,
        },
        index=pd.Index([row.name for row in rows], name="parameter"),
    )


def random_effect_table(data: DataTree, labels: Labels, level: float) -> pd.DataFrame:
    """One row per level and effect; see `Posterior.random_effects`."""
    parts = []
    for block in labels.blocks:
        draws = data["posterior"][block.effect_variable].to_numpy()
        draws = draws.reshape(*draws.shape[:2], -1)
        q, k = len(block.levels), len(block.effects)
        lower, upper = _interval(draws, level)
        parts.append(
            pd.DataFrame(
                {
                    "group": block.group,
                    "level": np.repeat(np.asarray(block.levels, dtype=object), k),
                    "effect": np.tile(np.asarray(block.effects, dtype=object), q),
                    "estimate": draws.mean(axis=(0, 1)),
                    "std_error": draws.std(axis=(0, 1), ddof=1),
                    "lower": lower,
                    "upper": upper,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _interval(draws: np.ndarray, level: float) -> np.ndarray:
    """Equal-tailed limits; shape (2, m)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level!r}: give a coverage between 0 and 1, such as 0.95.")
    return np.quantile(draws, [0.5 - level / 2.0, 0.5 + level / 2.0], axis=(0, 1))


def largest_effect_r_hat(data: DataTree, labels: Labels) -> tuple[float, str]:
    """Largest split R̂ of the random effects, and whose it is; the rank version costs twenty times as much."""
    worst, name = 1.0, ""
    for block in labels.blocks:
        draws = data["posterior"][block.effect_variable].to_numpy()
        if len(draws) < 2 or draws.shape[1] < FEWEST:
            continue
        values = np.asarray(array_stats.rhat(draws, method="split", **AXES))
        level, effect = np.unravel_index(np.nanargmax(values), values.shape)
        if values[level, effect] > worst:
            worst = float(values[level, effect])
            name = f"{block.effects[effect]} of {block.group} {block.levels[level]}"
    return worst, name
