"""The mean and the covariance of the response that a model implies, row by row: the E[Y|X] and Var[Y|X] of textbooks.

Without parameter values they are written in symbols, with them computed. Notation of the symbols, in the names of the
parameter tables: β(Days) a fixed effect, σ²(Days | Subject) the square of ``sd(Days | Subject)``,
σ(Intercept, Days | Subject) the covariance ``cor · sd · sd``, ρ(0 + f | Subject) the correlation of a structure with
one, and σ² the residual variance. Where nothing but the intercept varies by a group, σ²(batch) stands for the square of
``sd(Intercept | batch)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.blocks.labels import BlockLabels
from bayesmm.design.design import Design
from bayesmm.design.words.row_choice import choose_rows, label_rows
from bayesmm.design.words.stated import pick, read_values, stated_covariances
from bayesmm.design.words.symbols import Coefficient, TextTable, add_all, multiply, number_text, write_sum
from bayesmm.errors import DesignError

MOST_SYMBOLIC = 200  # rows of a covariance matrix of texts; it has their square of cells
MOST_NUMERIC = 5000  # rows of a covariance matrix of numbers: 200 MB


def marginal_mean(design: Design, rows: Any = None, at: Any = None) -> pd.DataFrame:
    """Write or compute E[Y|X], the mean of the response over all levels that could have been observed.

    Parameters
    ----------
    design : Design
        Data, specification and names.
    rows : list, slice or mapping, optional
        Which rows, as in `marginal_covariance`; all by default.
    at : Fit or mapping of str to float, optional
        Values of the parameters, as in `marginal_covariance`, the fixed effects at least; symbols by default.

    Returns
    -------
    DataFrame
        One column, ``mean``: texts, or numbers in units of the response. The index names each row by its levels.

    Raises
    ------
    DesignError
        If a row, a group, a level or a parameter is unknown.

    Notes
    -----
    E[Y|X] = Xβ + offset: the random effects have mean zero.
    """
    chosen, labels = choose_rows(design, rows), design.labels
    X, offset = design.X[np.ix_(chosen, design.kept)], design.offset[chosen]
    names = [row.name for row in labels.parameter_rows() if row.kind == "fixed"]
    index = label_rows(design, chosen)
    if at is None:
        symbols = [f"β({name})" for name in labels.coefficients]
        texts = [_mean_text(values, symbols, known) for values, known in zip(X, offset, strict=True)]
        return TextTable({"mean": texts}, index=index)
    mean = X @ pick(read_values(at, labels, names), names) + offset
    return pd.DataFrame({"mean": mean}, index=index)


def marginal_covariance(design: Design, rows: Any = None, at: Any = None) -> pd.DataFrame:
    """Write or compute Var[Y|X], the covariance matrix of the response before any random effect is known.

    Parameters
    ----------
    design : Design
        Data, specification and names.
    rows : list, slice or mapping, optional
        Which rows: a list of row labels of the data, a slice of them (both ends included, as in ``data.loc``), or a
        mapping from a grouping factor to a level or a list of levels, ``{"Subject": ["308", "309"]}``; several groups
        choose the rows that are in all of them. All rows by default, where they are few.
    at : Fit or mapping of str to float, optional
        Values of the parameters: a fit, or a mapping from the names in ``fit.parameters`` to numbers. Symbols by
        default. A residual standard deviation that is known is not among them.

    Returns
    -------
    DataFrame
        Rows and columns in the order of the data, named by their levels; texts, or numbers in squared units of the
        response. Numbers in the texts are rounded to five significant digits.

    Raises
    ------
    DesignError
        If a row, a group, a level or a parameter is unknown, a value is impossible, or the rows are too many.

    Notes
    -----
    Var[Y|X] = Z Var(b) Z' + σ²W⁻¹. Rows that share a level of a grouping factor with effect columns z and covariance Σ
    covary by z'Σz̃; rows that share no level of any factor are independent (Laird & Ware 1982, Biometrics 38). Rows of
    two levels with the relation a covary by a·z'Σz̃.
    """
    chosen, labels = choose_rows(design, rows), design.labels
    _check_size(len(chosen), at is None)
    index = label_rows(design, chosen)
    if at is None:
        design.require_independent_residuals("The covariance in symbols, without at=,")
        return TextTable(_covariance_texts(design, chosen), index=index, columns=index)
    if design.residual is not None and design.residual.of_fitted:
        design = _with_fitted_of(at, design)
    needed = [row.name for row in labels.parameter_rows() if row.kind != "fixed"]
    values = read_values(at, labels, list(dict.fromkeys([*needed, "sigma"])), design.known_sigma)
    cells = covariance_of_rows(design, chosen, stated_covariances(labels, values), values)
    return pd.DataFrame(cells, index=index, columns=index)


def _with_fitted_of(at: Any, design: Design) -> Design:
    """Take the fitted values that residual variances change with from a fit of the same rows."""
    own = getattr(at, "design", None)
    if not isinstance(own, Design) or own.residual is None or not own.rows.equals(design.rows):
        raise DesignError(
            f"Residual variances change with fitted values in {design.specification.shown}, and at= has none: give a "
            "fit of the model, at=model.fit()."
        )
    return own


def _check_size(n: int, symbolic: bool) -> None:
    most, kind = (MOST_SYMBOLIC, "symbols") if symbolic else (MOST_NUMERIC, "numbers")
    if n > most:
        raise DesignError(
            f"The covariance of {n} rows would be a table of {n}² {kind}; {most} rows are shown at most. Choose some, "
            "rows={'group': 'level'} or rows=[labels of rows]."
        )


def _mean_text(values: np.ndarray, symbols: Sequence[str], offset: float) -> str:
    terms = [(multiply(value, 1.0), symbol) for value, symbol in zip(values, symbols, strict=True)]
    known = Coefficient(offset, number_text(offset))
    return write_sum([*terms, (known, "")])


def _covariance_texts(design: Design, chosen: np.ndarray) -> np.ndarray:
    """Write every cell (m, m), each pair of rows once."""
    m = len(chosen)
    cells = np.full((m, m), "0", dtype=object)
    for i in range(m):
        for j in range(i, m):
            cells[i, j] = cells[j, i] = write_sum(_cell(design, int(chosen[i]), int(chosen[j])))
    return cells


def _cell(design: Design, row: int, other: int) -> Iterator[tuple[Coefficient, str]]:
    """Yield the summands of the covariance of two rows."""
    for block, names in zip(design.blocks, design.labels.blocks, strict=True):
        yield from _shared_levels(block, names, row, other)
    if row == other:
        weight = design.weights[row]
        yield Coefficient(1.0, ""), "σ²" if weight == 1 else f"σ²/{number_text(weight)}"


def _shared_levels(block: RandomBlock, names: BlockLabels, row: int, other: int) -> Iterator[tuple[Coefficient, str]]:
    """Yield each variance and covariance of one factor once, with what all levels that the rows share add up to."""
    shared = [
        ((related * one.columns[row]).tolist(), two.columns[other].tolist())
        for one in block.incidence.ordered.memberships
        for two in block.incidence.ordered.memberships
        for related in [block.relation_of(one.codes[row], two.codes[other])]
        if related != 0
    ]
    if not shared:
        return
    found: dict[str, list[Coefficient]] = {}
    for i, j, symbol in _symbols(names):
        ways = ((i, i),) if i == j else ((j, i), (i, j))
        found.setdefault(symbol, []).extend(multiply(z[a], z_other[b]) for z, z_other in shared for a, b in ways)
    for symbol, parts in found.items():
        yield add_all(parts), symbol


def _symbols(names: BlockLabels) -> Iterator[tuple[int, int, str]]:
    """Pairs of effects i ≤ j that covary, and the symbol of their covariance; variances first."""
    if names.effects == ("Intercept",) and names.sds:
        yield 0, 0, f"σ²({names.group})"
        return
    terms = list(zip(names.pieces, names.expressions, strict=True))
    for piece, expression in terms:
        for i in range(piece.k):
            at, effects = piece.start + i, names.effects[piece.inside]
            yield at, at, piece.structure.variance_symbol(i, effects, expression, names.group)
    for piece, expression in terms:
        for j in range(piece.k):
            for i in range(j):
                symbol = piece.structure.symbol(i, j, names.effects[piece.inside], expression, names.group)
                if symbol:
                    yield piece.start + i, piece.start + j, symbol


def covariance_of_rows(
    design: Design, chosen: np.ndarray, covariances: Sequence[np.ndarray], values: Mapping[str, float]
) -> np.ndarray:
    """ZΣZ' + σ²W⁻¹ of the chosen rows, (m, m); with the covariance of the residuals, if they have one."""
    weights = design.weights[chosen]
    if design.residual is None:
        total = np.diag(values["sigma"] ** 2 / weights)
    else:
        total = design.residual.covariance(values, chosen, weights)
    for block, covariance in zip(design.blocks, covariances, strict=True):
        memberships = block.incidence.rows(chosen).memberships
        for one in memberships:
            for two in memberships:
                related = block.relation_of(one.codes[:, None], two.codes)
                total += related * (one.columns @ covariance @ two.columns.T)
    return total
