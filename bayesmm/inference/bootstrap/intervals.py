"""Intervals from bootstrap replicates."""

from __future__ import annotations

from statistics import NormalDist
from typing import Literal

import numpy as np

from bayesmm.presenting.intervals import tails

type IntervalKind = Literal["percentile", "basic", "bca"]


def interval_limits(
    kind: IntervalKind,
    level: float,
    estimates: np.ndarray,
    replicates: np.ndarray,
    acceleration: np.ndarray,
    ranges: np.ndarray,
) -> np.ndarray:
    """Limits of intervals.

    Parameters
    ----------
    kind : {"percentile", "basic", "bca"}
        See `bayesmm.inference.bootstrap.bootstrap.Bootstrap.intervals`.
    level : float
        Coverage.
    estimates : array, shape (m,)
        From the data.
    replicates : array, shape (n, m)
        NaN where there is no value.
    acceleration : array, shape (m,)
        For BCa.
    ranges : array, shape (m, 2)
        Between which values a parameter may lie.

    Returns
    -------
    array, shape (2, m)
        NaN where there is no such interval.
    """
    limits = np.full((2, len(estimates)), np.nan)
    for j, (estimate, own) in enumerate(zip(estimates, replicates.T, strict=True)):
        values = own[np.isfinite(own)]
        if len(values) < 2 or not np.isfinite(estimate):
            continue
        shares = _corrected(estimate, values, acceleration[j], level) if kind == "bca" else np.array(tails(level))
        if not np.isfinite(shares).all():
            continue
        low, high = np.quantile(values, shares, method="weibull")
        limits[:, j] = (low, high) if kind != "basic" else np.clip(2.0 * estimate - np.array([high, low]), *ranges[j])
    return limits


def _corrected(estimate: float, values: np.ndarray, acceleration: float, level: float) -> np.ndarray:
    """Shares of the replicates below the limits of a BCa interval; Efron (1987), equations 2.3 and 2.4."""
    normal = NormalDist()
    below = ((values < estimate).mean() + (values <= estimate).mean()) / 2.0
    if not 0.0 < below < 1.0 or not np.isfinite(acceleration):
        return np.full(2, np.nan)
    bias = normal.inv_cdf(below)
    shares = []
    for tail in tails(level):
        z = bias + normal.inv_cdf(tail)
        shares.append(normal.cdf(bias + z / (1.0 - acceleration * z)) if acceleration * z < 1.0 else np.nan)
    return np.array(shares)
