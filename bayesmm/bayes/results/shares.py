"""Where the variance of the response comes from: R², ICC and shares of the grouping factors, draw by draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from arviz_base import from_dict
from xarray import Dataset

from bayesmm.arguments import is_one_of
from bayesmm.bayes.densities import estimate_density
from bayesmm.bayes.residual_draws import growth_of, row_sds, spread_columns
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import ParameterDraws, read_draws
from bayesmm.bayes.results.recovered import effect_parts, is_kept
from bayesmm.design.predictors import build_predictors
from bayesmm.design.words.explained import Explained
from bayesmm.design.words.variances import (
    EXPLAINED,
    Total,
    VarianceParts,
    explain,
    measure_columns,
    share,
    share_names,
)
from bayesmm.errors import ArgumentError
from bayesmm.plots.densities import Density
from bayesmm.presenting.intervals import tails
from bayesmm.presenting.progress import SILENT, Bar, progress_bar

type R2Kind = Literal["fitted", "variances"]

BATCH = 4_000_000  # draws times rows held at once, 32 MB


def r_squared(posterior: DrawnModel, kind: R2Kind, progress: bool | None) -> Dataset:
    """R² of each draw, marginal and conditional; see `Posterior.r2`."""
    if not is_one_of(kind, ("fitted", "variances")):
        raise ArgumentError(f"kind is {kind!r}: give 'fitted' or 'variances'.")
    draws = read_draws(posterior)
    parts = _parts(posterior, draws)
    marginal, conditional = explain(parts)[:2]
    if kind == "fitted":
        fitted = _fitted_variance(posterior, draws, progress)
        conditional = fitted / (fitted + parts.residual)
    shaped = {"marginal": marginal.reshape(draws.shape), "conditional": conditional.reshape(draws.shape)}
    return from_dict({"posterior": shaped})["posterior"].to_dataset()


def explained(posterior: DrawnModel, level: float) -> Explained:
    """R², ICC and shares with their posterior distribution; see `Posterior.explained`."""
    below = tails(level)
    parts = _parts(posterior, read_draws(posterior))
    quantities, shares, names = explain(parts), share(parts, "response"), share_names(posterior.design, "response")
    return Explained(
        table=_table(EXPLAINED, quantities, below, "quantity"),
        shares=_table(names, shares, below, "group"),
        formula=posterior.design.specification.shown,
        level=float(level),
        densities=_densities([*EXPLAINED, *names], [*quantities, *shares]),
    )


def variance_shares(posterior: DrawnModel, total: Total, level: float) -> pd.DataFrame:
    """Shares of the grouping factors in the variance of the response; see `Posterior.variance_shares`."""
    below, names = tails(level), share_names(posterior.design, total)
    return _table(names, share(_parts(posterior, read_draws(posterior)), total), below, "group")


def share_densities(posterior: DrawnModel, total: Total) -> Mapping[str, Density]:
    """Density of each share that `variance_shares` tabulates."""
    parts = _parts(posterior, read_draws(posterior))
    return _densities(share_names(posterior.design, total), share(parts, total))


def _densities(names: Sequence[str], draws: list[np.ndarray]) -> dict[str, Density]:
    return {name: estimate_density(own, (0.0, 1.0)) for name, own in zip(names, draws, strict=True)}


def _table(names: Sequence[str], draws: list[np.ndarray], below: tuple[float, float], head: str) -> pd.DataFrame:
    values = np.stack(draws, axis=1)
    lower, upper = np.quantile(values, below, axis=0)
    return pd.DataFrame(
        {"mean": values.mean(axis=0), "sd": values.std(axis=0, ddof=1), "lower": lower, "upper": upper},
        index=pd.Index(names, name=head),
    )


def _parts(posterior: DrawnModel, draws: ParameterDraws) -> VarianceParts:
    parts = measure_columns(posterior.design).split(draws.beta, draws.covariances, draws.sigma)
    return parts if draws.residual is None else parts._replace(residual=_residual_variance(posterior, draws))


def _residual_variance(posterior: DrawnModel, draws: ParameterDraws) -> np.ndarray:
    """Mean over the rows of the variances that a covariance of the residuals gives them; (D,)."""
    design, public = posterior.design, draws.residual
    assert public is not None
    if design.residual is not None and design.residual.elsewhere is not None:
        spreads = zip(public, draws.sigma, strict=True)
        return np.array([sigma**2 * design.residual.mean_variance(own, design.weights) for own, sigma in spreads])
    columns, size = spread_columns(design, None), max(1, BATCH // design.n)
    if design.residual is not None and design.residual.growth:
        parts = _fitted(posterior, draws, SILENT)
    else:
        parts = ((slice(start, start + size), np.zeros(1)) for start in range(0, len(public), size))
    found = np.empty(len(public))
    for part, expected in parts:
        sds = row_sds(columns, public[part], draws.sigma[part], design.weights)
        found[part] = ((sds * growth_of(design, public[part], expected)) ** 2).mean(axis=1)
    return found


def _fitted_variance(posterior: DrawnModel, draws: ParameterDraws, progress: bool | None) -> np.ndarray:
    """Variance over the rows of Xβ + Zb; (D,)."""
    variance = np.empty(len(draws.sigma))
    steps = len(variance) if is_kept(posterior) else 2 * len(variance)  # effects that were not kept are drawn before
    with progress_bar("fitting every draw", steps, progress) as bar:
        for part, fitted in _fitted(posterior, draws, bar):
            variance[part] = (fitted - posterior.design.offset).var(1, ddof=1)
    return variance


def _fitted(posterior: DrawnModel, draws: ParameterDraws, bar: Bar) -> Iterator[tuple[slice, np.ndarray]]:
    """Xβ + Zb + offset (d, n) of some draws after others."""
    predictors, size = build_predictors(posterior.design), max(1, BATCH // posterior.design.n)
    for part, effects in effect_parts(posterior, draws, bar=bar):
        for start in range(part.start, part.stop, size):
            some = slice(start, min(start + size, part.stop))
            own = [b[some.start - part.start : some.stop - part.start] for b in effects]
            yield some, predictors.mean(draws.beta[some], own)
            bar.advance(some.stop - some.start)
