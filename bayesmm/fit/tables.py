"""Tables of point estimates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
import pandas as pd

from bayesmm.design.blocks.labels import RESIDUAL_COR, Labels
from bayesmm.presenting.columns import parameter_frame
from bayesmm.presenting.intervals import tails
from bayesmm.reml.estimate import Estimate, PublicParameters

NUGGET = "nugget("  # how the rows of parts of a variance begin
LARGEST = 700.0  # of what an exponential is taken of


def parameter_table(
    labels: Labels, estimate: Estimate, public: PublicParameters, fixed: Mapping[str, np.ndarray], level: float
) -> pd.DataFrame:
    """One row a parameter, those of the fixed effects from columns of their own; see `Fit.parameter_table`."""
    rows = labels.parameter_rows()
    p = len(labels.coefficients)
    values = np.concatenate([estimate.beta, public.values])[: len(rows)]
    variances = np.concatenate([np.diag(estimate.beta_covariance), np.diag(public.covariance)])[: len(rows)]
    errors = np.sqrt(variances)
    kinds = np.array([row.kind for row in rows])
    assert len(values) == len(rows)
    lower, upper = np.empty(len(rows)), np.empty(len(rows))
    z = _quantile(level)
    assert (kinds[:p] == "fixed").all()
    errors[:p], lower[:p], upper[:p] = fixed["std_error"], fixed["lower"], fixed["upper"]
    for i in range(p, len(rows)):
        is_part = rows[i].variable == RESIDUAL_COR and rows[i].name.startswith(NUGGET)
        lower[i], upper[i] = _interval(values[i], errors[i], z, "part" if is_part else kinds[i])
    columns = {"estimate": values, "std_error": errors, "lower": lower, "upper": upper}
    carlo = estimate.monte_carlo
    if carlo is not None:
        columns["mc_error"] = np.concatenate([carlo.beta, carlo.parameters])[: len(rows)]
    return parameter_frame([row.name for row in rows], [row.kind for row in rows], [row.group for row in rows], columns)


def _interval(value: float, error: float, z: float, kind: str) -> tuple[float, float]:
    """Wald interval on the scale where the estimate is nearest to normal."""
    if not math.isfinite(error):
        return math.nan, math.nan
    if kind == "exponent":
        return value - z * error, value + z * error
    if kind == "part":  # from 0 to 1
        half, odds = min(z * error / (value * (1.0 - value)), LARGEST), value / (1.0 - value)
        return odds / (odds + math.exp(half)), odds / (odds + math.exp(-half))
    if kind == "cor":
        half = z * error / (1.0 - value**2)
        return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)
    try:
        ratio = math.exp(z * error / value)
    except OverflowError:
        ratio = math.inf
    return value / ratio, value * ratio


def _quantile(level: float) -> float:
    return NormalDist().inv_cdf(tails(level)[1])
