"""Factors that stand by themselves in a sum, coded as formulae codes them, which takes 0.3 seconds to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.console import listing
from bayesmm.design.columns.levels import LevelsTerm
from bayesmm.design.columns.terms import TermPart, label_column
from bayesmm.design.reading.dtypes import level_text
from bayesmm.design.reading.frame import UsedRows
from bayesmm.errors import DesignError, PredictionError
from bayesmm.specification.syntax import Name, Node


@dataclass(frozen=True, eq=False)
class FactorTerm:
    """A column of levels: an indicator for each of them, or for each but the first.

    Attributes
    ----------
    name : str
        Column of the data.
    levels : list
        Its levels, as they are in the data.
    codes : array of int, shape (n,)
        Level of each row.
    is_full : bool
        Whether the first level has a column, too.
    """

    name: str
    levels: list[Any]
    codes: np.ndarray
    is_full: bool

    @cached_property
    def coding(self) -> np.ndarray:
        """Columns at each level (levels, width)."""
        return np.eye(len(self.levels))[:, 0 if self.is_full else 1 :]

    @cached_property
    def data(self) -> np.ndarray:
        """Columns of the data that it was built from."""
        return self.coding.take(self.codes, axis=0)

    @property
    def column_names(self) -> list[str]:
        """The level of each: "f[b]", or "f[T.b]" where it is compared with the first."""
        prefix, levels = ("", self.levels) if self.is_full else ("T.", self.levels[1:])
        return [f"{label_column(self.name)}[{prefix}{level_text(level)}]" for level in levels]

    @property
    def is_column(self) -> bool:
        """No: a factor."""
        return False

    @property
    def parts(self) -> list[tuple[str, Any]]:
        """Itself."""
        return [(self.name, self.data)]

    @property
    def anatomy(self) -> tuple[TermPart, ...]:
        """Itself."""
        return (TermPart(self.name, self.coding.shape[1], self.coding),)

    def eval_new_data(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the columns of new rows."""
        return recode(self.name, self.levels, self.coding, frame[self.name])

    def widened(self, frame: pd.DataFrame) -> FactorTerm | LevelsTerm:
        """Add the levels of new rows, where each level has a column; itself if there are none."""
        if not self.is_full:
            return self
        term = LevelsTerm(self.name, self.name, tuple(map(level_text, self.levels)), self.data)
        return wide if (wide := term.widened(frame)) is not term else self


def factor_term(node: Node, rows: UsedRows, *, is_full: bool) -> FactorTerm | None:
    """Return the factor that an expression is, if it is a column of levels; of booleans those that occur.

    Raises
    ------
    DesignError
        If it has a single level, and no column for it.
    """
    values = rows.columns.get(node.text) if isinstance(node, Name) else None
    if isinstance(values, np.ndarray) and values.dtype == bool:
        values = pd.Categorical(values, ordered=True)
    if not isinstance(node, Name) or not isinstance(values, pd.Categorical):
        return None
    levels = values.categories.tolist()
    if not is_full:
        check_levels(node.text, levels)
    return FactorTerm(node.text, levels, values.codes, is_full)


def check_levels(name: str, levels: Sequence[Any]) -> None:
    """Refuse a factor of one level that has no column for it.

    Raises
    ------
    DesignError
        With the level.
    """
    if len(levels) < 2:
        raise DesignError(
            f"The factor {name!r} has the single level {level_text(levels[0])!r} in the rows used, so it has no effect "
            "to estimate. Take it out of the formula."
        )


def recode(name: str, known: Sequence[Any], coding: np.ndarray, values: Any) -> np.ndarray:
    """Code the levels of new rows as in the fit.

    Parameters
    ----------
    name : str
        The factor, as it is written.
    known : sequence
        Its levels in the fit.
    coding : array, shape (levels, width)
        Columns at each of them.
    values : pandas.Series or array, shape (m,)
        New rows.

    Raises
    ------
    PredictionError
        If one of them is not known.
    """
    levels = pd.Index(known, dtype=object)
    if isinstance(values, pd.Series) and isinstance(values.dtype, pd.CategoricalDtype):  # a look-up of few
        place = levels.get_indexer(pd.Index(values.cat.categories, dtype=object))
        codes = np.append(place, -1)[values.cat.codes.to_numpy()]
        found = values
    else:
        found = np.asarray(values, dtype=object)
        codes = levels.get_indexer(pd.Index(found, dtype=object))
    if (codes < 0).any():
        unknown = sorted({level_text(level) for level in found[codes < 0]})
        raise PredictionError(
            f"{name!r} has the level(s) {listing(unknown, 5, quoted=True)} in the new data, which the fit did not see, "
            f"so their effect is unknown. Known are {listing(list(map(level_text, known)))}."
        )
    return coding.T.take(codes, axis=1).T
