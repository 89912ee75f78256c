"""Where the variance of the response comes from: R² and shares of the grouping factors, draw by draw."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from arviz_base import from_dict
from xarray import Dataset

from bayesmm.arguments import is_one_of
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import ParameterDraws, read_draws
from bayesmm.bayes.results.recovered import effect_parts
from bayesmm.design.design import Design
from bayesmm.design.predictors import build_predictors
from bayesmm.errors import ArgumentError
from bayesmm.presenting.intervals import tails

type Total = Literal["unexplained", "response"]
OTHER_ROWS = ("fixed effects", "residual")  # a grouping factor that is called so keeps its backquotes
BATCH = 4_000_000  # draws times rows held at once, 32 MB


def r_squared(posterior: DrawnModel) -> Dataset:
    """Bayesian R², marginal and conditional; see `Posterior.r2`."""
    design, draws = posterior.design, read_draws(posterior)
    predictors = build_predictors(design)
    fixed, fitted = _fixed_variance(design, draws), np.empty(len(draws.sigma))
    size = max(1, BATCH // design.n)
    for part, effects in effect_parts(posterior, draws):
        for start in range(part.start, part.stop, size):
            some = slice(start, min(start + size, part.stop))
            own = [b[some.start - part.start : some.stop - part.start] for b in effects]
            fitted[some] = (predictors.mean(draws.beta[some], own) - design.offset).var(1, ddof=1)
    residual = _residual_variance(design, draws)
    random = sum(_group_variances(design, draws))
    values = {"marginal": fixed / (fixed + random + residual), "conditional": fitted / (fitted + residual)}
    shaped = {name: value.reshape(draws.shape) for name, value in values.items()}
    return from_dict({"posterior": shaped})["posterior"].to_dataset()


def variance_shares(posterior: DrawnModel, total: Total, level: float) -> pd.DataFrame:
    """Shares of the grouping factors in the variance of the response; see `Posterior.variance_shares`."""
    below = tails(level)
    if not is_one_of(total, ("unexplained", "response")):
        raise ArgumentError(f"total is {total!r}: give 'unexplained' or 'response'.")
    design, draws = posterior.design, read_draws(posterior)
    names = [f"`{block.group}`" if block.group in OTHER_ROWS else block.group for block in design.blocks]
    parts = _group_variances(design, draws)
    if total == "response":
        names, parts = [OTHER_ROWS[0], *names], [_fixed_variance(design, draws), *parts]
    names, parts = [*names, OTHER_ROWS[1]], [*parts, _residual_variance(design, draws)]
    shares = np.stack(parts, axis=1) / np.sum(parts, axis=0)[:, None]
    lower, upper = np.quantile(shares, below, axis=0)
    return pd.DataFrame(
        {"mean": shares.mean(axis=0), "sd": shares.std(axis=0, ddof=1), "lower": lower, "upper": upper},
        index=pd.Index(names, name="group"),
    )


def _group_variances(design: Design, draws: ParameterDraws) -> list[np.ndarray]:
    """Mean over the rows of z'Σz, for each grouping factor; (D,) each."""
    variances = []
    for block, covariance in zip(design.blocks, draws.covariances, strict=True):
        z = block.incidence.ordered.stacked().columns
        variances.append(np.einsum("dij,ij->d", covariance, z.T @ z / design.n))
    return variances


def _fixed_variance(design: Design, draws: ParameterDraws) -> np.ndarray:
    """Variance over the rows of Xβ; (D,)."""
    centred = design.X[:, design.kept] - design.X[:, design.kept].mean(axis=0)
    covariance = centred.T @ centred / (design.n - 1)
    return np.einsum("di,ij,dj->d", draws.beta, covariance, draws.beta, optimize=True)


def _residual_variance(design: Design, draws: ParameterDraws) -> np.ndarray:
    """Mean over the rows of σ²/w; (D,)."""
    return draws.sigma**2 * np.mean(1.0 / design.weights)
