"""The two tables of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.inference.effects.layers import DENSE
from bayesmm.inference.pooling.unpooled import unpooled_effects
from bayesmm.presenting.columns import CHECKS

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.fit.fit import Fit
    from bayesmm.inference.bootstrap.bootstrap import Bootstrap
    from bayesmm.inference.fitted import Df, Information


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


def random_effect_table(fit: Fit, posterior: Posterior, progress: bool | None) -> pd.DataFrame:
    """One row per level and effect; see `Comparison.random_effects`."""
    modes, draws = fit.random_effects(progress=progress), posterior.random_effects(progress=progress)
    quick = fit.estimate.criterion_function.products.levels is not None or len(modes) <= DENSE
    return pd.DataFrame(
        {
            "group": modes["group"],
            "level": modes["level"],
            "effect": modes["effect"],
            "unpooled": np.concatenate([np.zeros(0), *(effects.ravel() for effects in unpooled_effects(fit))]),
            "estimate": modes["estimate"],
            "std_error": modes["std_error"],
            "full": fit.random_effects(uncertainty="full", progress=progress)["std_error"] if quick else np.nan,
            "mean": draws["mean"],
            "sd": draws["sd"],
            "shift": (draws["mean"] - modes["estimate"]) / draws["sd"],
        }
    )
