"""Tables of point estimates."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pandas as pd

from bayesmm.design.blocks.labels import Labels
from bayesmm.design.design import Design
from bayesmm.presenting.columns import effect_frame, in_order, parameter_frame
from bayesmm.presenting.intervals import tails
from bayesmm.reml.estimate import Estimate


def parameter_table(labels: Labels, estimate: Estimate, level: float) -> pd.DataFrame:
    """One row a parameter; see `Fit.parameter_table`."""
    rows = labels.parameter_rows()
    p = len(labels.coefficients)
    values = np.concatenate([estimate.beta, estimate.spread.values])[: len(rows)]
    variances = np.concatenate([np.diag(estimate.beta_covariance), np.diag(estimate.spread.covariance)])[: len(rows)]
    errors = np.sqrt(variances)
    kinds = np.array([row.kind for row in rows])
    assert len(values) == len(rows)
    lower, upper = np.empty(len(rows)), np.empty(len(rows))
    z = _quantile(level)
    for i, kind in enumerate(kinds):
        lower[i], upper[i] = _interval(values[i], errors[i], z, str(kind))
    assert (kinds[:p] == "fixed").all()
    return parameter_frame(
        [row.name for row in rows],
        [row.kind for row in rows],
        [row.group for row in rows],
        {"estimate": values, "std_error": errors, "lower": lower, "upper": upper},
    )


def _interval(value: float, error: float, z: float, kind: str) -> tuple[float, float]:
    """Wald interval on the scale where the estimate is nearest to normal."""
    if kind == "fixed":
        return value - z * error, value + z * error
    if not math.isfinite(error):
        return math.nan, math.nan
    if kind == "cor":
        half = z * error / (1.0 - value**2)
        return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)
    try:
        ratio = math.exp(z * error / value)
    except OverflowError:
        ratio = math.inf
    return value / ratio, value * ratio


def fixed_effect_table(design: Design, labels: Labels, estimate: Estimate, level: float) -> pd.DataFrame:
    """One row a column of X; see `Fit.fixed_effects`."""
    error = np.sqrt(np.diag(estimate.beta_covariance))
    statistic = estimate.beta / error
    z = _quantile(level)
    columns = {
        "estimate": estimate.beta,
        "std_error": error,
        "df": np.full(len(error), np.inf),
        "statistic": statistic,
        "p_value": np.array([math.erfc(abs(value) / math.sqrt(2.0)) for value in statistic]),
        "lower": estimate.beta - z * error,
        "upper": estimate.beta + z * error,
    }
    table = pd.DataFrame(in_order(columns), index=pd.Index(labels.coefficients, name="coefficient"))
    return table if not design.aliased else table.reindex(pd.Index(design.coefficients, name="coefficient"))


def random_effect_table(labels: Labels, estimate: Estimate, level: float) -> pd.DataFrame:
    """One row per level and effect; see `Fit.random_effects`."""
    z, blocks = _quantile(level), []
    for block, modes, covariances in zip(labels.blocks, estimate.modes, estimate.mode_covariances, strict=True):
        error = np.sqrt(np.maximum(np.einsum("qii->qi", covariances), 0.0))
        columns = {"estimate": modes, "std_error": error, "lower": modes - z * error, "upper": modes + z * error}
        blocks.append((block.group, block.levels, block.effects, columns))
    return effect_frame(blocks)


def _quantile(level: float) -> float:
    return NormalDist().inv_cdf(tails(level)[1])
