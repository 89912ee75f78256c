"""Sums over a part of the rows, as they travel to where they are added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.shapes import Array, Float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedTotals:
    """What `bayesmm.marginal.sums.totals.Totals` holds, without its recipe, and of the levels that have rows.

    Attributes
    ----------
    levels : tuple of array, shape (r,)
        Levels of each factor that have rows.
    diagonal, cross, counts : tuple of array
        Sums of these levels, the levels last.
    pairs : dict
        Keys and sums of the pairs of levels, by factors.
    gram, plain, weighted, stacked, low, high, touching, variances, n, log_weights, inverse_weights
        As `Totals` has them.
    """

    levels: tuple[np.ndarray, ...]
    diagonal: tuple[Float[Array, "k k r"], ...]
    cross: tuple[Float[Array, "k c r"], ...]
    counts: tuple[Float[Array, " r"], ...]
    pairs: dict[FactorPair, tuple[np.ndarray, np.ndarray]]
    gram: Float[Array, "c c"]
    plain: Float[Array, "m m"]
    weighted: Float[Array, "m m"]
    stacked: tuple[Float[Array, "k k"], ...]
    low: Float[Array, " m"]
    high: Float[Array, " m"]
    touching: tuple[bool, ...]
    variances: tuple[float, ...]
    n: int
    log_weights: float
    inverse_weights: float
