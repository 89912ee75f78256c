"""Responses drawn from a posterior, each from one draw of all parameters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.bayes.residual_draws import residuals_of
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import ParameterDraws, read_draws
from bayesmm.bayes.results.recovered import effect_parts
from bayesmm.design.predictors import build_predictors
from bayesmm.design.words.simulated import Effects, check_simulations, simulation_frame
from bayesmm.errors import ArgumentError
from bayesmm.presenting.progress import progress_bar


def simulate(posterior: DrawnModel, n: int, random: Effects, seed: int, progress: bool | None) -> pd.DataFrame:
    """Draw responses, each from another draw of the parameters; see `Posterior.simulate`."""
    design = posterior.design
    streams = check_simulations(n, random, seed, design.n)
    draws = read_draws(posterior)
    chosen = _choose(draws, n, seed)
    if random == "kept":
        mean = _kept_means(posterior, draws, chosen, progress)
    else:
        mean = build_predictors(design).mean(draws.beta[chosen], _new_effects(posterior, draws, chosen, streams))
    noise = np.stack([stream.standard_normal(design.n) for stream in streams])
    if draws.residual is None:
        return simulation_frame((mean + draws.sigma[chosen, None] / np.sqrt(design.weights) * noise).T, design)
    residuals = residuals_of(design, draws.residual[chosen], draws.sigma[chosen], mean)
    return simulation_frame((mean + residuals.colour(noise)).T, design)


def simulate_to(
    posterior: DrawnModel,
    rows: Any,
    to: str | os.PathLike[str],
    n: int,
    random: Effects,
    seed: int,
    progress: bool | None,
) -> Path:
    """Write such responses beside rows that are read chunk by chunk; see `Posterior.simulate_rows`."""
    from bayesmm.rows.simulating import simulate_rows

    posterior.design.require_independent_residuals("simulate_rows")
    streams = check_simulations(n, random, seed, sum(block.q * block.k for block in posterior.design.blocks))
    draws = read_draws(posterior)
    chosen = _choose(draws, n, seed)
    if random == "kept":
        effects = _kept_effects(posterior, draws, chosen, progress)
    else:
        effects = _new_effects(posterior, draws, chosen, streams)
    with progress_bar("drawing rows", posterior.design.n, progress) as bar:
        at = draws.beta[chosen], effects, draws.sigma[chosen]
        return simulate_rows(posterior.problem.sums.summed, rows, to, *at, streams, bar)


def _choose(draws: ParameterDraws, n: int, seed: int) -> np.ndarray:
    """Choose a draw for each simulation."""
    if n > len(draws.sigma):
        raise ArgumentError(
            f"n is {n}, and the posterior has {len(draws.sigma)} draws, of which each simulation takes one of its own: "
            "ask for no more, or sample more."
        )
    return np.random.default_rng(seed).permutation(len(draws.sigma))[:n]


def _new_effects(
    posterior: DrawnModel, draws: ParameterDraws, chosen: np.ndarray, streams: list[np.random.Generator]
) -> list[np.ndarray]:
    """Effects (n, q, k) of every level from the covariances of the draw."""
    effects = []
    for block, factors in zip(posterior.design.blocks, draws.factors(), strict=True):
        pairs = zip(streams, factors[chosen], strict=True)
        effects.append(
            block.relate(np.stack([stream.standard_normal((block.q, block.k)) @ F.T for stream, F in pairs]))
        )
    return effects


def _kept_means(posterior: DrawnModel, draws: ParameterDraws, chosen: np.ndarray, progress: bool | None) -> np.ndarray:
    """Xβ + offset + Zb (n, rows), with the effects of the draw."""
    predictors, mean = build_predictors(posterior.design), np.empty((len(chosen), posterior.design.n))
    with progress_bar("drawing random effects", len(draws.sigma), progress) as bar:
        for part, effects in effect_parts(posterior, draws, bar=bar):
            own = np.flatnonzero((chosen >= part.start) & (chosen < part.stop))
            places = chosen[own] - part.start
            mean[own] = predictors.mean(draws.beta[chosen[own]], [b[places] for b in effects])
    return mean


def _kept_effects(
    posterior: DrawnModel, draws: ParameterDraws, chosen: np.ndarray, progress: bool | None
) -> list[np.ndarray]:
    """Effects (n, q, k) of the draw."""
    found = [np.empty((len(chosen), block.q, block.k)) for block in posterior.design.blocks]
    with progress_bar("drawing random effects", len(draws.sigma), progress) as bar:
        for part, effects in effect_parts(posterior, draws, bar=bar):
            own = np.flatnonzero((chosen >= part.start) & (chosen < part.stop))
            for total, b in zip(found, effects, strict=True):
                total[own] = b[chosen[own] - part.start]
    return found
