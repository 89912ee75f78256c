"""Grouping factors: which level each row belongs to, and what the levels are called."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.design.dtypes import level_text
from bayesmm.errors import DesignError


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The observed levels of a grouping factor.

    Attributes
    ----------
    codes : array of int64, shape (n,)
        Index of each row's level.
    labels : tuple of str
        The levels (q,): in the order of the data's categories, numbers by size, texts by code point; combinations by
        their first factor, then the second.
    """

    codes: np.ndarray
    labels: tuple[str, ...]


def read_levels(factors: Sequence[str], values: Sequence[np.ndarray | pd.Categorical]) -> Levels:
    """Find the levels of a factor, or of the combinations of several that occur.

    Parameters
    ----------
    factors : sequence of str
        Names of the columns.
    values : sequence of array or pandas.Categorical, each (n,)
        Their values, none of them missing.

    Returns
    -------
    Levels

    Raises
    ------
    DesignError
        If two levels have the same label.
    """
    codes, parts = _factor_codes(values[0])
    labels = parts
    for column in values[1:]:
        finer, parts = _factor_codes(column)
        # len(labels) is at most n here, so the product fits into 64 bits
        codes, found = pd.factorize(codes * len(parts) + finer, sort=True)
        labels = [f"{labels[pair // len(parts)]}:{parts[pair % len(parts)]}" for pair in found.tolist()]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise DesignError(
            f"Two levels of the grouping factor {':'.join(factors)!r} are both labelled {twice!r}. Rename levels in "
            "the data so that their texts differ."
        )
    return Levels(codes.astype(np.int64, copy=False), tuple(labels))


def _factor_codes(values: np.ndarray | pd.Categorical) -> tuple[np.ndarray, list[str]]:
    if isinstance(values, pd.Categorical):
        return values.codes.astype(np.int64), [level_text(level) for level in values.categories]
    codes, found = pd.factorize(values, sort=True)
    return codes.astype(np.int64, copy=False), [level_text(level) for level in found.tolist()]
