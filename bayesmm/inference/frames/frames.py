"""A fit as the three frames of R's broom: its terms, its whole, its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayesmm.design.predictors import build_predictors, read_row_weights
from bayesmm.errors import FitStatus
from bayesmm.inference.diagnostics.influence import measure_influence
from bayesmm.inference.diagnostics.residuals import compute_residuals
from bayesmm.inference.explained.explained import explained
from bayesmm.inference.fitted import Df, Fitted
from bayesmm.presenting.tidy import complete, join_rows, read_kinds, tidy_frame

SHARES = {"R2 marginal": "r2_marginal", "R2 conditional": "r2_conditional", "ICC adjusted": "icc"}


def tidy(fit: Fitted, effects: Any, df: Df, level: float) -> pd.DataFrame:
    """One row a term; see `bayesmm.fit.Fit.tidy`."""
    kinds = read_kinds(effects)
    parameters = fit.parameter_table(df=df, level=level)
    coefficients = fit.coefficients(df=df, level=level).loc[list(fit.labels.coefficients)]
    for name in ("df", "statistic", "p_value"):
        values = np.full(len(parameters), np.nan)
        values[: len(coefficients)] = coefficients[name]
        parameters[name] = values
    by_level = {"ran_vals": lambda: fit.random_effects(level=level), "ran_coefs": lambda: fit.coef(level=level)}
    return tidy_frame(kinds, parameters, by_level)


def glance(fit: Fitted) -> pd.DataFrame:
    """One row; see `bayesmm.fit.Fit.glance`."""
    shares = explained(fit, 0.95).table["estimate"]
    return pd.DataFrame(
        {
            "nobs": [fit.n],
            **{f"n_levels({block.group})": [block.q] for block in fit.design.blocks},
            "method": [fit.method],
            "sigma": [fit.sigma],
            **{column: [shares[name]] for name, column in SHARES.items()},
            "converged": [fit.status is not FitStatus.NOT_CONVERGED],
            "singular": [bool(fit.singular_directions)],
            "n_parameters": [fit.n_parameters],
            "df_residual": [fit.n - fit.n_parameters],
            "loglik": [fit.loglik],
            "deviance": [-2.0 * fit.loglik],
            "aic": [fit.aic],
            "bic": [fit.bic],
        }
    )


def augment(fit: Fitted, data: Any, progress: bool | None) -> pd.DataFrame:
    """One row an observation; see `bayesmm.fit.Fit.augment`."""
    design, estimate = fit.design, fit.estimate
    influence = measure_influence(fit, "rows", refit=False, progress=progress).table
    columns = {
        ".fitted": build_predictors(design).mean(estimate.beta, estimate.modes),
        ".fixed": build_predictors(design, random="none").mean(estimate.beta, estimate.modes),
        ".residual": compute_residuals(fit, "response", None),
        ".standardised": compute_residuals(fit, "standardised", None),
        ".leverage": influence["leverage"].to_numpy(),
        ".cooks_distance": influence["cooks_distance"].to_numpy(),
    }
    return join_rows(design.frame, design.rows, data, columns)


def augment_chunk(fit: Fitted, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the added columns of some rows; see `bayesmm.fit.fit.Fit.augment_rows`."""
    design, estimate = fit.design, fit.estimate
    fitted, fixed = (
        build_predictors(design, frame, random=random).mean(estimate.beta, estimate.modes) for random in ("all", "none")
    )
    response = design.evaluate(frame, response=True, groups=[]).y
    assert response is not None
    residual = response - fitted
    weights = read_row_weights(design, frame, None, len(frame))
    columns = {".fitted": fitted, ".fixed": fixed, ".residual": residual}
    return complete(columns | {".pearson": residual * np.sqrt(weights) / estimate.sigma})
