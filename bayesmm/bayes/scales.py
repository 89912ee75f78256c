"""Scales of the data, from which default priors are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesmm.design.design import Design

SPAN_TOLERANCE = 1e-8  # of a constant: how far a combination of columns may be from 1 and still count as an intercept


@dataclass(frozen=True, slots=True, kw_only=True)
class DataScales:
    """What the defaults need to know of the data.

    Attributes
    ----------
    level : float
        Mean of the response less its offset; zero for a model whose columns cannot make a constant.
    spread : float
        Standard deviation of the response less its offset; its root mean square where there is no constant.
    residual_spread : float
        The same with the prior weights: on the scale of sigma, the residual standard deviation at weight 1.
    constant : array, shape (p,)
        Combination c of the columns with Xc = 1; zeros where there is none. An intercept has c = 1 alone.
    means : array, shape (p,)
        Means of the columns.
    column_spreads : array, shape (p,)
        Change of a column that counts as one unit for its coefficient's default prior.
    effect_spreads : tuple of arrays, shapes (k,)
        The same for the effect columns of each grouping factor.
    """

    level: float
    spread: float
    residual_spread: float
    constant: np.ndarray
    means: np.ndarray
    column_spreads: np.ndarray
    effect_spreads: tuple[np.ndarray, ...]


def measure_scales(design: Design) -> DataScales:
    """Measure the scales of one design; columns that were dropped as aliased do not count."""
    X, y, weights = design.X[:, design.kept], design.y - design.offset, design.weights
    constant = constant_combination(X)
    has_constant = bool(constant.any())
    level = float(y.mean()) if has_constant else 0.0
    weighted_level = float(np.average(y, weights=weights)) if has_constant else 0.0
    df = len(y) - has_constant
    return DataScales(
        level=level,
        spread=float(np.sqrt(((y - level) ** 2).sum() / df)),
        residual_spread=float(np.sqrt((weights * (y - weighted_level) ** 2).sum() / df)),
        constant=constant,
        means=X.mean(axis=0) if X.size else np.zeros(X.shape[1]),
        column_spreads=_column_spreads(X, constant, has_constant),
        effect_spreads=tuple(_column_spreads(b.columns, constant_combination(b.columns), True) for b in design.blocks),
    )


def constant_combination(X: np.ndarray) -> np.ndarray:
    """Coefficients c of the columns with Xc = 1, or zeros; a constant column carries the constant alone."""
    c = np.zeros(X.shape[1])
    if X.size == 0:
        return c
    flat = np.flatnonzero((np.ptp(X, axis=0) == 0) & (X[0] != 0))
    if len(flat):
        c[flat[0]] = 1.0 / X[0, flat[0]]
        return c
    size = np.maximum(np.abs(X).max(axis=0), np.finfo(float).tiny)
    solution = np.linalg.lstsq(X / size, np.ones(len(X)), rcond=None)[0]
    if np.abs((X / size) @ solution - 1.0).max() > SPAN_TOLERANCE:
        return c
    return np.where(np.abs(solution) > SPAN_TOLERANCE, solution, 0.0) / size


def _column_spreads(X: np.ndarray, constant: np.ndarray, centred: bool) -> np.ndarray:
    """1 / |c| for columns that carry the constant (1 for an indicator); else standard deviation or root mean square."""
    if X.size == 0:
        return np.zeros(X.shape[1])
    spread = X.std(axis=0, ddof=1) if centred and len(X) > 1 else np.sqrt((X**2).mean(axis=0))
    carries = constant != 0
    spread[carries] = 1.0 / np.abs(constant[carries])
    return np.where(spread > 0, spread, np.maximum(np.abs(X).max(axis=0), np.finfo(float).tiny))
