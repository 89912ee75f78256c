"""Predictions from posterior draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.design.predictors import NewLevels, Predictors, Random, build_predictors

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior

BATCH = 4_000_000  # draws times rows held at once, 32 MB


def predict(
    posterior: Posterior, new_data: Any, *, random: Random, new_levels: NewLevels, level: float
) -> pd.DataFrame:
    """Posterior mean, sd and interval of the expected response; see `Posterior.predict`."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level!r}: give a coverage between 0 and 1, such as 0.95.")
    predictors = build_predictors(posterior.design, new_data, random=random, new_levels=new_levels)
    beta = posterior.beta.reshape(posterior.sigma.size, posterior.design.p)
    effects = [b.reshape(-1, *b.shape[2:]) for b in posterior.effects]
    size = max(1, BATCH // max(len(beta), 1))
    parts = [
        _summarise(_rows(predictors, slice(start, start + size)).mean(beta, effects), level)
        for start in range(0, max(len(predictors.index), 1), size)
    ]
    return pd.DataFrame(
        np.concatenate(parts, axis=1).T, index=predictors.index, columns=["mean", "sd", "lower", "upper"]
    )


def _rows(predictors: Predictors, part: slice) -> Predictors:
    return Predictors(
        index=predictors.index[part],
        X=predictors.X[part],
        offset=predictors.offset[part],
        columns=tuple(None if columns is None else columns[part] for columns in predictors.columns),
        codes=tuple(None if codes is None else codes[part] for codes in predictors.codes),
    )


def _summarise(draws: np.ndarray, level: float) -> np.ndarray:
    """Mean, sd, lower and upper over the first axis; shape (4, m)."""
    lower, upper = np.quantile(draws, [0.5 - level / 2.0, 0.5 + level / 2.0], axis=0)
    return np.stack([draws.mean(axis=0), draws.std(axis=0, ddof=1), lower, upper])
