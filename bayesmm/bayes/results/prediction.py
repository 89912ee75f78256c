"""Predictions from posterior draws."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from bayesmm.arguments import is_one_of
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.predictive import DrawnLevels, draw_rows
from bayesmm.design.predictors import Random
from bayesmm.errors import ArgumentError
from bayesmm.presenting.columns import DRAWS
from bayesmm.presenting.intervals import tails

type PredictionKind = Literal["mean", "observation"]
BATCH = 4_000_000  # draws times rows held at once, 32 MB


def predict(
    posterior: DrawnModel,
    new_data: Any,
    *,
    kind: PredictionKind,
    random: Random,
    new_levels: DrawnLevels,
    level: float,
    weights: Any,
    seed: int,
) -> pd.DataFrame:
    """Posterior mean, sd and interval of the response or its expectation; see `Posterior.predict`."""
    below = tails(level)
    if not is_one_of(kind, ("mean", "observation")):
        raise ArgumentError(f"kind is {kind!r}: give 'mean' or 'observation'.")
    if kind == "mean":
        weights = None if new_data is None else 1.0  # there is no residual that they could weigh
    rows = draw_rows(posterior, new_data, random=random, new_levels=new_levels, weights=weights, seed=seed)
    evaluate = rows.mean if kind == "mean" else rows.observations
    index = rows.predictors.index
    size = max(1, BATCH // max(posterior.sigma.size, 1))
    parts = [_summarise(evaluate(slice(start, start + size)), below) for start in range(0, max(len(index), 1), size)]
    return pd.DataFrame(np.concatenate(parts, axis=1).T, index=index, columns=list(DRAWS[:4]))


def _summarise(draws: np.ndarray, below: tuple[float, float]) -> np.ndarray:
    """Mean, sd, lower and upper over the first axis; shape (4, m)."""
    lower, upper = np.quantile(draws, below, axis=0)
    return np.stack([draws.mean(axis=0), draws.std(axis=0, ddof=1), lower, upper])
