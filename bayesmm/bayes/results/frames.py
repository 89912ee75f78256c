"""A posterior as the three frames of R's broom: its terms, its whole, its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayesmm.bayes.results.diagnostics import Diagnostics
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.leave_out import loo
from bayesmm.bayes.results.prediction import predict
from bayesmm.bayes.results.shares import explained
from bayesmm.presenting.columns import effect_frame
from bayesmm.presenting.intervals import tails
from bayesmm.presenting.tidy import check_named_alike, complete, join_rows


def glance(
    posterior: DrawnModel, method: str, diagnostics: Diagnostics, *, elpd: bool, progress: bool | None
) -> pd.DataFrame:
    """One row; see `Posterior.glance`."""
    shares = explained(posterior, 0.95).table["mean"]
    columns: dict[str, Any] = {
        "nobs": posterior.n,
        **{f"n_levels({block.group})": block.q for block in posterior.design.blocks},
        "method": method,
        "sigma": float(posterior.sigma.mean()),
        "r2_marginal": shares["R2 marginal"],
        "r2_conditional": shares["R2 conditional"],
        "icc": shares["ICC adjusted"],
        "converged": diagnostics.is_good,
        "chains": diagnostics.chains,
        "draws": diagnostics.draws,
        "divergences": diagnostics.divergences,
        "r_hat": diagnostics.r_hat,
        "ess": diagnostics.ess,
    }
    if elpd:
        found = loo(posterior, "row", "auto", None, progress)
        columns |= {"elpd_loo": found.elpd, "elpd_loo_std_error": found.se, "p_loo": found.p}
    return pd.DataFrame({name: [value] for name, value in columns.items()})


def level_coefficients(posterior: DrawnModel, level: float, progress: bool | None) -> pd.DataFrame:
    """Tabulate the coefficients of each level: fixed plus random effect, where both have one name.

    Raises
    ------
    ArgumentError
        If there are none.
    """
    coefficients, below, beta = posterior.labels.coefficients, tails(level), posterior.beta
    check_named_alike(coefficients, [block.effects for block in posterior.labels.blocks])
    blocks = []
    for block in posterior.labels.blocks:
        both = [(j, coefficients.index(name)) for j, name in enumerate(block.effects) if name in coefficients]
        drawn = posterior.draws(block.effect_variable, progress=progress)[..., [j for j, _ in both]]
        sums = drawn + beta[..., None, [i for _, i in both]]  # (chains, draws, q, effects)
        lower, upper = np.quantile(sums, below, axis=(0, 1))
        columns = {"mean": sums.mean(axis=(0, 1)), "sd": sums.std(axis=(0, 1), ddof=1), "lower": lower, "upper": upper}
        blocks.append((block.group, block.levels, [block.effects[j] for j, _ in both], columns))
    return effect_frame(blocks)


def augment(posterior: DrawnModel, data: Any, level: float, progress: bool | None) -> pd.DataFrame:
    """One row an observation; see `Posterior.augment`."""
    design = posterior.design
    return join_rows(design.frame, design.rows, data, _added(posterior, None, design.y, level, progress))


def augment_chunk(posterior: DrawnModel, frame: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return the added columns of some rows; see `Posterior.augment_rows`."""
    response = posterior.design.evaluate(frame, response=True, groups=[]).y
    assert response is not None
    return complete(_added(posterior, frame, response, level, False))


def _added(
    posterior: DrawnModel, new_data: Any, response: np.ndarray, level: float, progress: bool | None
) -> dict[str, np.ndarray]:
    given: dict[str, Any] = {
        "interval": None,
        "kind": "mean",
        "new_levels": "error",
        "level": level,
        "weights": None,
        "residuals": "none",
        "seed": 0,
        "progress": progress,
    }
    both, fixed = (predict(posterior, new_data, random=random, **given) for random in ("all", "none"))
    return {
        ".fitted": both["mean"].to_numpy(),
        ".fixed": fixed["mean"].to_numpy(),
        ".residual": response - both["mean"].to_numpy(),
        ".std_error": both["sd"].to_numpy(),
        ".lower": both["lower"].to_numpy(),
        ".upper": both["upper"].to_numpy(),
    }
