"""What the package maketables asks of a result, so that its tables take one; nothing of it is imported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

NAMES = {"estimate": "b", "std_error": "se", "statistic": "t", "p_value": "p", "lower": "ci95l", "upper": "ci95u"}
KEYS = {"N": "nobs", "ll": "loglik"}  # its names of what `glance` has; others are those of `glance`
LABELS = {
    "N": "Observations",
    "sigma": "Residual sd",
    "icc": "ICC",
    "r2_marginal": "R² (marginal)",
    "r2_conditional": "R² (conditional)",
    "method": "Method",
}
SHOWN = list(LABELS)


def coefficient_frame(tidied: pd.DataFrame) -> pd.DataFrame:
    """Return fixed effects as maketables reads them.

    Parameters
    ----------
    tidied : DataFrame
        Their rows of `tidy`, with intervals of 95 %.

    Returns
    -------
    DataFrame
        Index: Coefficient. Columns: b, se, t, p, ci95l, ci95u.
    """
    index = pd.Index(tidied["term"].astype(str), name="Coefficient")
    return pd.DataFrame({name: tidied[own].to_numpy() for own, name in NAMES.items()}, index=index)


def statistic(glanced: pd.DataFrame, key: Any) -> Any:
    """Return one number (or text) of the row of `glance` by maketables' name; None where there is none."""
    name = KEYS.get(key, key) if isinstance(key, str) else ""
    if name not in glanced:
        return None
    value = glanced[name].iloc[0]
    if isinstance(value, str):
        return value.upper() if name == "method" else value
    return value.item() if isinstance(value, np.generic) else value
