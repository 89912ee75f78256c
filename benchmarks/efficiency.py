"""Effective draws of the parameters of interest, by the same functions for every program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from arviz_stats.base import array_stats

AXES: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}
STAN_COVARIANCE = re.compile(r"Sigma\[(?P<group>.+):(?P<row>[^:,]+),(?P<column>[^:,]+)\]")


def read_draws(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read draws (chains, draws, m), and their names as bayesmm's tables have them."""
    table = pd.read_csv(path).sort_values(["chain", "draw"])
    chains = table["chain"].nunique()
    columns = _spreads(table.drop(columns=["chain", "draw"]))
    return columns.to_numpy().reshape(chains, -1, columns.shape[1]), [_our_name(name) for name in columns]


def summarise(draws: np.ndarray, names: list[str], *, share: float = 1.0) -> dict[str, Any]:
    """Summarise draws: the least effective number of them and whose it is, R̂, means.

    Parameters
    ----------
    draws : array, shape (chains, draws, m)
        Of m parameters.
    names : list of str
        Their names.
    share : float
        What one draw is worth in independent ones, apart from autocorrelation.

    Returns
    -------
    dict
        ess, worst, r_hat, means.

    Notes
    -----
    Bulk effective sample size and rank-normalised R̂: Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021). Bayesian
    Analysis 16(2).
    """
    effective = share * np.asarray(array_stats.ess(draws, method="bulk", **AXES))
    r_hat = np.asarray(array_stats.rhat(draws, **AXES))
    worst = int(effective.argmin())
    return {
        "ess": float(effective[worst]),
        "worst": names[worst],
        "r_hat": float(r_hat.max()),
        "means": dict(zip(names, draws.mean(axis=(0, 1)).tolist(), strict=True)),
    }


def _spreads(table: pd.DataFrame) -> pd.DataFrame:
    """Turn rstanarm's variances and covariances into standard deviations and correlations."""
    parts = {name: STAN_COVARIANCE.fullmatch(name) for name in table}
    sds = {
        (part["group"], part["row"]): np.sqrt(table[name])
        for name, part in parts.items()
        if part and part["row"] == part["column"]
    }
    columns: dict[str, Any] = {}
    for name, part in parts.items():
        if part is None:
            columns[name] = table[name]
        elif part["row"] == part["column"]:
            columns[f"sd({part['row']} | {part['group']})"] = sds[part["group"], part["row"]]
        else:
            both = sds[part["group"], part["row"]] * sds[part["group"], part["column"]]
            columns[f"cor({part['column']}, {part['row']} | {part['group']})"] = table[name] / both
    return pd.DataFrame(columns)


def _our_name(name: str) -> str:
    """Translate the name of a parameter from brms, Bambi or rstanarm."""
    patterns = {
        r"b_(.+)": r"\1",  # brms
        r"sd_(.+)__(.+)": r"sd(\2 | \1)",
        r"cor_(.+)__(.+)__(.+)": r"cor(\2, \3 | \1)",
        r"(.+)\|(.+)_sigma": r"sd(\1 | \2)",  # Bambi
    }
    for pattern, ours in patterns.items():
        if re.fullmatch(pattern, name):
            name = re.sub(pattern, ours, name)
    return name.replace("(Intercept)", "Intercept").replace("sd(1 |", "sd(Intercept |")
