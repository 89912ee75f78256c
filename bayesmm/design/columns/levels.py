"""Levels of a factor with those of new rows beside those of the fit: one column for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.design.columns.terms import TermPart
from bayesmm.design.reading.dtypes import level_text


@dataclass(frozen=True, eq=False)
class LevelsTerm:
    """One indicator for each level of a factor.

    Attributes
    ----------
    name : str
        As it is written in the formula: "f", "C(f)".
    column : str
        Column of the data.
    levels : tuple of str
        Labels of the levels (k,).
    data : array, shape (n, k)
        Indicators.
    """

    name: str
    column: str
    levels: tuple[str, ...]
    data: np.ndarray

    @property
    def column_names(self) -> list[str]:
        """The level of each: "f[a]"."""
        return [f"{self.name}[{level}]" for level in self.levels]

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
        """Itself, every level with its column."""
        return (TermPart(self.name, len(self.levels), np.eye(len(self.levels))),)

    def eval_new_data(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the indicators of new rows, whose levels are all among these."""
        return np.eye(len(self.levels))[[self.levels.index(each) for each in _labels(frame, self.column)]]

    def widened(self, frame: pd.DataFrame) -> LevelsTerm:
        """Add the levels of new rows, in the order in which they come; itself if there are none."""
        new = [each for each in dict.fromkeys(_labels(frame, self.column)) if each not in self.levels]
        if not new:
            return self
        data = np.hstack([self.data, np.zeros((len(self.data), len(new)))])
        return replace(self, levels=(*self.levels, *new), data=data)


def _labels(frame: pd.DataFrame, column: str) -> list[str]:
    return [level_text(value) for value in frame[column].array]
