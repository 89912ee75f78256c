"""Scales of the data, from which default priors are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesmm.bayes.priors.contrasts import ROUNDING, constant_combination, effects_at_means
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.columns.strata import stratum_rows
from bayesmm.design.design import Design


@dataclass(frozen=True, slots=True, kw_only=True)
class DataScales:
    """What the defaults need to know of the data.

    Attributes
    ----------
    level : float
        Mean of the response less its offset; zero for a model whose columns cannot make a constant.
    response_sd : float
        Standard deviation of the response less its offset; its root mean square where there is no constant.
    residual_sd : float
        The same with the prior weights: on the scale of sigma, the residual standard deviation at weight 1.
    constant : array, shape (p,)
        Combination c of the columns with Xc = 1; zeros where there is none. An intercept has c = 1 alone.
    contrast : array, shape (p, p)
        Coefficients where the other columns are at their means, from the coefficients.
    column_units : array, shape (p,)
        Change of a column that counts as one unit for its coefficient's default prior.
    effect_contrasts, effect_units : tuples of arrays, shapes (k, k) and (k,)
        The same for the effect columns of each grouping factor.
    exponent_means, exponent_units : arrays, shape (e,)
        Mean and standard deviation of what multiplies each exponent of the residuals in the logarithm of their standard
        deviation.
    """

    level: float
    response_sd: float
    residual_sd: float
    constant: np.ndarray
    contrast: np.ndarray
    column_units: np.ndarray
    effect_contrasts: tuple[np.ndarray, ...]
    effect_units: tuple[np.ndarray, ...]
    exponent_means: np.ndarray
    exponent_units: np.ndarray


def measure_scales(design: Design) -> DataScales:
    """Measure the scales of one design; columns that were dropped as aliased do not count."""
    X, y, weights = design.X[:, design.kept], design.y - design.offset, design.weights
    constant = constant_combination(X)
    has_constant = bool(constant.any())
    level = float(y.mean()) if has_constant else 0.0
    weighted_level = float(np.average(y, weights=weights)) if has_constant else 0.0
    df = len(y) - has_constant
    contrast, column_units = _measure_columns(X, constant, centred=has_constant)
    effects = [_measure_effects(block, design) for block in design.blocks]
    exponents = np.zeros((len(y), 0))
    if design.residual is not None:
        exponents = design.residual.columns[:, ~np.array(design.residual.are_sds, dtype=bool)]
    return DataScales(
        level=level,
        response_sd=float(np.sqrt(((y - level) ** 2).sum() / df)),
        residual_sd=float(np.sqrt((weights * (y - weighted_level) ** 2).sum() / df)),
        constant=constant,
        contrast=contrast,
        column_units=column_units,
        effect_contrasts=tuple(contrast for contrast, _ in effects),
        effect_units=tuple(units for _, units in effects),
        exponent_means=exponents.mean(axis=0),
        exponent_units=exponents.std(axis=0),
    )


def _measure_effects(block: RandomBlock, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Measure the columns of the effects that multiply the same level, each role and each stratum by itself.

    Where levels are related, a standard deviation is that of a level of variance one in A, which is a unit of its own.
    """
    contrast, units = _measure_independent(block, design)
    if block.relation is not None:
        units = units * np.sqrt(block.relation.variances[block.incidence.only.codes].mean())
    return contrast, units


def _measure_independent(block: RandomBlock, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Measure them as if levels were independent, of variance one."""
    parts = _parts(block, design)
    if len(parts) == 1:
        contrast, units = _measure_columns(block.columns, constant_combination(block.columns), centred=True)
        for piece in block.pieces:
            if piece.term.is_smooth:  # whose columns have the mean sum of squares one together
                units[piece.start : piece.stop] = 1.0
        return contrast, units
    contrast, units = np.eye(block.k), np.ones(block.k)
    for own, rows in parts:
        columns = block.columns[rows][:, own]
        contrast[np.ix_(own, own)], units[own] = _measure_columns(columns, constant_combination(columns), centred=True)
    return contrast, units


def _parts(block: RandomBlock, design: Design) -> list[tuple[list[int], slice | np.ndarray]]:
    """Effects that multiply the same level in the same rows: of each role, or of each stratum and of all rows."""
    found: list[tuple[list[int], slice | np.ndarray]] = [(own, slice(None)) for own in block.roles]
    by_stratum: dict[tuple[str, str], list[int]] = {}
    for piece in block.pieces:
        grouping = piece.term.grouping
        by_stratum.setdefault((grouping.by, grouping.stratum), []).extend(range(piece.start, piece.stop))
    if len(by_stratum) < 2:
        return found
    return [
        (own, stratum_rows(design.used, by, stratum) if by else slice(None))
        for (by, stratum), own in by_stratum.items()
    ]


def _measure_columns(X: np.ndarray, constant: np.ndarray, *, centred: bool) -> tuple[np.ndarray, np.ndarray]:
    """T of `effects_at_means`, and the unit of each column of XT⁻¹.

    That is 1 / |c| for columns that carry the constant (1 for an indicator), else the standard deviation, or the root
    mean square where columns are not centred.
    """
    contrast = effects_at_means(X, constant)
    if X.size == 0:
        return contrast, np.zeros(X.shape[1])
    columns, size = X @ np.linalg.inv(contrast), np.abs(X).max(axis=0)
    units = columns.std(axis=0, ddof=1) if centred and len(X) > 1 else np.sqrt((columns**2).mean(axis=0))
    units = np.where(units > ROUNDING * size, units, X.std(axis=0))  # constant within every level of a factor
    carries = constant != 0
    units[carries] = 1.0 / np.abs(constant[carries])
    return contrast, np.where(units > 0, units, np.maximum(size, np.finfo(float).tiny))
