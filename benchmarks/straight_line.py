"""A straight line through points on logarithmic scales: how a time grows with a size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def log_slope(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Fit log seconds = a + b log size by least squares; b and its standard error."""
    x, y = np.log(sizes), np.log(seconds)
    x = x - x.mean()
    slope = (x @ y) / (x @ x)
    residual = y - y.mean() - slope * x
    return float(slope), float(np.sqrt((residual @ residual) / (len(x) - 2) / (x @ x)))
