"""The two tables of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.presenting.columns import CHECKS

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.design.blocks.blocks import RandomBlock
    from bayesmm.fit.fit import Fit
    from bayesmm.inference.bootstrap.bootstrap import Bootstrap
    from bayesmm.inference.fitted import Df, Information

DETERMINED = 1e-8  # smallest eigenvalue of a level's scaled cross-products whose own effects are worth computing


def parameter_table(
    fit: Fit,
    posterior: Posterior,
    bootstrap: Bootstrap | None,
    level: float,
    df: Df,
    information: Information | None,
) -> pd.DataFrame:
    """One row a parameter; see `Comparison.table`."""
    table = fit.parameter_table(df=df, information=information, level=level).rename(
        columns={"lower": "fit_lower", "upper": "fit_upper"}
    )
    if bootstrap is not None:
        refits = bootstrap.parameter_table(level=level)[["std_error", "lower", "upper"]]
        table = table.join(refits.add_prefix("bootstrap_"))
    draws = posterior.parameter_table(level=level).rename(
        columns={"lower": "posterior_lower", "upper": "posterior_upper"}
    )
    table = table.join(draws.drop(columns=["kind", "group"]))
    table["shift"] = (table["mean"] - table["estimate"]) / table["sd"]
    return table.reindex(columns=[*(name for name in table if name not in CHECKS), *CHECKS])


def random_effect_table(fit: Fit, posterior: Posterior) -> pd.DataFrame:
    """One row per level and effect; see `Comparison.random_effects`."""
    modes, draws = fit.random_effects(), posterior.random_effects()
    return pd.DataFrame(
        {
            "group": modes["group"],
            "level": modes["level"],
            "effect": modes["effect"],
            "unpooled": np.concatenate([effects.ravel() for effects in unpooled_effects(fit)]),
            "estimate": modes["estimate"],
            "std_error": modes["std_error"],
            "mean": draws["mean"],
            "sd": draws["sd"],
            "shift": (draws["mean"] - modes["estimate"]) / draws["sd"],
        }
    )


def unpooled_effects(fit: Fit) -> list[np.ndarray]:
    """Estimate every level's effects from its own rows alone.

    Parameters
    ----------
    fit : Fit
        Supplies the fixed effects and the other grouping factors' effects, which are taken as they are.

    Returns
    -------
    list of array, shape (q, k)
        One for each grouping factor, in units of the response per unit of the column; NaN where a level's rows do not
        determine its effects.

    Notes
    -----
    Least squares of y − offset − Xβ̂ − (the other factors' Zb̂) on the level's columns Z, weighted. With e the residuals
    of the fit that is b̂ + (Z'WZ)⁻¹ Z'We.
    """
    weighted = fit.design.weights * fit.residuals()
    return [
        modes + _own_correction(block, fit.design.weights, weighted)
        for block, modes in zip(fit.design.blocks, fit.estimate.modes, strict=True)
    ]


def _own_correction(block: RandomBlock, weights: np.ndarray, weighted_residuals: np.ndarray) -> np.ndarray:
    """(Z'WZ)⁻¹ Z'We by level, (q, k)."""
    q, k, by_level = block.q, block.k, block.incidence.sum_by_level
    moments = np.stack([by_level(lambda Z, i=i: Z[:, i] * weighted_residuals) for i in range(k)], axis=1)
    entries = [by_level(lambda Z, i=i, j=j: weights * Z[:, i] * Z[:, j]) for i in range(k) for j in range(k)]
    gram = np.stack(entries, axis=1).reshape(q, k, k)
    scale = np.sqrt(np.einsum("qii->qi", gram))
    scale = np.where(scale > 0, scale, 1.0)
    scaled = gram / (scale[:, :, None] * scale[:, None, :])
    determined = np.linalg.eigvalsh(scaled)[:, 0] > DETERMINED
    correction = np.full((q, k), np.nan)
    solved = np.linalg.solve(scaled[determined], (moments / scale)[determined][:, :, None])[:, :, 0]
    correction[determined] = solved / scale[determined]
    return correction
