"""The correlation matrix of residuals by the positions that the data have, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError

MOST = 60  # positions that are shown; of more these, evenly among them


def correlate_residuals(design: Design, values: Mapping[str, float]) -> tuple[pd.DataFrame, list[str]]:
    """Tabulate the correlations of residuals within a group.

    Parameters
    ----------
    design : Design
        Of a model whose residuals are correlated.
    values : mapping of str to float
        Of the parameters, by their names.

    Returns
    -------
    DataFrame
        Rows and columns by level or time, as the data write them; where parameters differ between levels of a factor,
        by that and by time, and missing between levels.
    list of str
        Level of that factor of each row; none where there is no such factor.

    Raises
    ------
    ArgumentError
        If the residuals are not correlated.
    """
    block = design.residual
    if block is None or block.correlation is None or block.specification.correlation is None:
        raise ArgumentError(
            f"The residuals of {design.specification.shown} are not correlated: there is no such matrix. "
            "residual='ar1(week | id)' would make one."
        )
    correlation, term = block.correlation, block.specification.correlation
    known = block.elsewhere
    positions, first = np.unique(block.positions if known is None else known.positions, return_index=True)
    chosen = np.unique(np.linspace(0, len(positions) - 1, min(MOST, len(positions))).round().astype(int))
    positions, first = positions[chosen], first[chosen]
    places = design.frame[term.position] if known is None else pd.Series(known.values)
    names = _names(places.iloc[first])
    parts = correlation.part_of(positions)
    rho = np.array([values[name] for name in block.cor_names])
    C = correlation.matrix(np, rho, positions)
    C = np.where(parts[:, None] == parts, C, np.nan)
    if not term.by:
        index = pd.Index(names, name=term.position)
        return pd.DataFrame(C, index=index, columns=index), []
    labels = list(dict.fromkeys(correlation.conditions))
    levels = [labels[part] for part in parts]
    index = pd.Index([f"{name}, {level}" for name, level in zip(names, levels, strict=True)], name=term.position)
    return pd.DataFrame(C, index=index, columns=index), levels


def _names(values: pd.Series) -> Sequence[str]:
    return [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
