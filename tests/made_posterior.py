"""Posteriors with chosen draws, made through the real class; nothing is sampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayesmm.bayes.exploring.run import Run
from bayesmm.bayes.posterior import Posterior
from bayesmm.bayes.priors.resolution import resolve_priors
from bayesmm.bayes.results.tree import build_tree
from bayesmm.model import Model

SHAPE = (4, 1000)  # chains, draws


def normal_draws(mean: float, sd: float, rng: np.random.Generator) -> np.ndarray:
    """Independent normal draws with exactly this mean and standard deviation, over all chains."""
    z = rng.standard_normal(SHAPE)
    return mean + sd * (z - z.mean()) / z.std(ddof=1)


def make_posterior(
    model: Model,
    chosen: Mapping[str, np.ndarray] | None = None,
    *,
    widen: float = 1.0,
    priors: Any = None,
    divergences: int = 0,
    seed: int = 0,
) -> Posterior:
    """Draws around the REML estimates, with their standard errors, except for what is chosen.

    Parameters
    ----------
    model : Model
        The model.
    chosen : mapping of str to array, shape (chains, draws)
        Draws by row of the parameter table.
    widen : float
        Standard deviations of fixed and random effects, in standard errors.
    priors : as of Model
        What the posterior says its priors were.
    divergences : int
        How many trajectories diverged.
    """
    rng = np.random.default_rng(seed)
    fit, labels = model.fit(), model.labels
    sites: dict[str, list[np.ndarray]] = {}
    for row, record in zip(labels.parameter_rows(), fit.parameters.to_dict("records"), strict=True):
        sd = record["std_error"] * (widen if row.kind == "fixed" else 1.0)
        draws = normal_draws(record["estimate"], sd if np.isfinite(sd) else 0.1, rng)
        sites.setdefault(row.variable, []).append((chosen or {}).get(row.name, draws))
    stacked = {name: values[0] if name == "sigma" else np.stack(values, axis=-1) for name, values in sites.items()}
    effects = fit.random_effects()
    for block in labels.blocks:
        own = effects[effects["group"] == block.group]
        pairs = zip(own["estimate"], own["std_error"], strict=True)
        drawn = np.stack([normal_draws(mean, widen * max(sd, 1e-3), rng) for mean, sd in pairs], axis=-1)
        stacked[block.effect_variable] = drawn.reshape(*SHAPE, len(block.levels), len(block.effects))
    run = Run(sites=stacked, stats=_stats(divergences, rng))
    return Posterior(
        data=build_tree(run, model.design, None, {}),
        problem=model.problem,
        priors=resolve_priors(priors, model.design),
        program="marginal",
    )


def _stats(divergences: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    diverging = np.zeros(SHAPE, dtype=bool)
    diverging.ravel()[:divergences] = True
    return {
        "diverging": diverging,
        "energy": rng.standard_normal(SHAPE),
        "lp": rng.standard_normal(SHAPE),
        "reached_max_tree_depth": np.zeros(SHAPE, dtype=bool),
    }
