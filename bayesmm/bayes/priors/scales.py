"""Scales of the data, from which default priors are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesmm.bayes.priors.column_rows import ColumnRows, Moments
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
    known, fixed = design.elsewhere, _fixed_columns(design)
    constant = constant_combination(fixed)
    has_constant = bool(constant.any())
    df = design.n - has_constant
    if known is None:
        y, weights = design.y - design.offset, design.weights
        level = float(y.mean()) if has_constant else 0.0
        weighted_level = float(np.average(y, weights=weights)) if has_constant else 0.0
        square, weighted_square = ((y - level) ** 2).sum(), (weights * (y - weighted_level) ** 2).sum()
    else:
        level, weighted_level = (has_constant * each for each in (known.response_mean, known.weighted_mean))
        square = known.response_square + design.n * (known.response_mean - level) ** 2
        off = known.weighted_mean - weighted_level
        weighted_square = known.weighted_square + known.weight_total * off**2
    contrast, column_units = _measure_columns(fixed, constant, centred=has_constant)
    effects = [
        _measure_effects(block, columns, design) for block, columns in zip(design.blocks, _effects(design), strict=True)
    ]
    exponents = [np.zeros(0), np.zeros(0)]
    if design.residual is not None:
        are_exponents = ~np.array(design.residual.are_sds, dtype=bool)
        exponents = [each[are_exponents] for each in design.residual.measure_columns()[:2]]
    return DataScales(
        level=level,
        response_sd=float(np.sqrt(square / df)),
        residual_sd=float(np.sqrt(weighted_square / df)),
        constant=constant,
        contrast=contrast,
        column_units=column_units,
        effect_contrasts=tuple(contrast for contrast, _ in effects),
        effect_units=tuple(units for _, units in effects),
        exponent_means=exponents[0],
        exponent_units=exponents[1],
    )


def _fixed_columns(design: Design) -> ColumnRows:
    """Columns of the coefficients that are estimated."""
    known = design.elsewhere
    if known is None:
        return ColumnRows(X=design.X[:, design.kept])
    moments = Moments(n=known.n, mean=known.mean, low=known.low, high=known.high, covariance=known.covariance)
    return ColumnRows(X=known.X, moments=moments).take(design.kept)


def _effects(design: Design) -> list[ColumnRows]:
    """Columns of the random effects of each block."""
    known = design.elsewhere
    if known is None:
        return [ColumnRows(X=block.columns) for block in design.blocks]
    found = []
    for X, block in zip(known.columns, design.blocks, strict=True):
        own = block.moments
        assert own is not None
        moments = Moments(n=known.n, mean=own.mean, low=own.low, high=own.high, covariance=own.covariance)
        found.append(ColumnRows(X=X, moments=moments))
    return found


def _measure_effects(block: RandomBlock, columns: ColumnRows, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Measure the columns of the effects that multiply the same level, each role and each stratum by itself.

    Where levels are related, a standard deviation is that of a level of variance one in A, which is a unit of its own.
    """
    contrast, units = _measure_independent(block, columns, design)
    if block.relation is not None:
        units = units * np.sqrt(block.mean_variance)
    return contrast, units


def _measure_independent(block: RandomBlock, columns: ColumnRows, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Measure them as if levels were independent, of variance one."""
    parts = _parts(block, design)
    if len(parts) == 1:
        contrast, units = _measure_columns(columns, constant_combination(columns), centred=True)
        for piece in block.pieces:
            if piece.term.is_smooth:  # whose columns have the mean sum of squares one together
                units[piece.start : piece.stop] = 1.0
        return contrast, units
    contrast, units = np.eye(block.k), np.ones(block.k)
    for own, rows in parts:
        if isinstance(rows, slice):
            part = columns.take(own)
        else:
            n = int(rows.sum() if block.moments is None else block.moments.n_rows[own].max())
            part = columns.take(own).inside(rows, n)
        contrast[np.ix_(own, own)], units[own] = _measure_columns(part, constant_combination(part), centred=True)
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
    used = design.used if design.elsewhere is None else design.elsewhere.kept
    return [(own, stratum_rows(used, by, stratum) if by else slice(None)) for (by, stratum), own in by_stratum.items()]


def _measure_columns(columns: ColumnRows, constant: np.ndarray, *, centred: bool) -> tuple[np.ndarray, np.ndarray]:
    """T of `effects_at_means`, and the unit of each column of XT⁻¹.

    That is 1 / |c| for columns that carry the constant (1 for an indicator), else the standard deviation, or the root
    mean square where columns are not centred.
    """
    contrast = effects_at_means(columns, constant)
    if columns.X.size == 0:
        return contrast, np.zeros(columns.k)
    back, size = np.linalg.inv(contrast), columns.sizes
    units = columns.sds(back, ddof=1) if centred and columns.n > 1 else columns.root_mean_squares(back)
    units = np.where(units > ROUNDING * size, units, columns.sds(np.eye(columns.k)))  # constant within every level
    carries = constant != 0
    units[carries] = 1.0 / np.abs(constant[carries])
    return contrast, np.where(units > 0, units, np.where(size > 0, size, 1.0))  # of no rows: a level of a product
