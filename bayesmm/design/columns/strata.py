"""Columns of the rows of one stratum, zero in others: effects that only levels of this stratum have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.console import listing
from bayesmm.design.columns.columns import Columns
from bayesmm.design.columns.terms import EvaluatedTerm, TermPart
from bayesmm.design.reading.frame import UsedRows
from bayesmm.design.reading.levels import read_levels
from bayesmm.errors import DesignError, PredictionError
from bayesmm.specification.terms import Grouping


@dataclass(frozen=True, eq=False)
class StratumTerm:
    """Columns of a term times the indicator of a stratum.

    Attributes
    ----------
    whole : EvaluatedTerm
        The term in all rows.
    grouping : Grouping
        Which column has the strata, and which of them it is.
    strata : tuple of str
        All of them.
    inside : array of bool, shape (n,)
        Rows of the stratum.
    """

    whole: EvaluatedTerm
    grouping: Grouping
    strata: tuple[str, ...]
    inside: np.ndarray

    @property
    def data(self) -> np.ndarray:
        """Columns, zero in other strata."""
        return _masked(self.whole.data, self.inside)

    @property
    def column_names(self) -> list[str]:
        """Those of the term, with the stratum: "x:Sex[Male]"."""
        return [name + self.grouping.suffix for name in self.whole.column_names]

    @property
    def is_column(self) -> bool:
        """No: a product."""
        return False

    @property
    def parts(self) -> list[tuple[str, Any]]:
        """Those of the term."""
        return self.whole.parts

    @property
    def anatomy(self) -> tuple[TermPart, ...]:
        """The term, and one level of a factor."""
        return (*self.whole.anatomy, TermPart(self.grouping.by, 1, None))

    def eval_new_data(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the columns of new rows."""
        labels = _labels(frame[self.grouping.by].array, self.grouping.by, len(frame))
        new = sorted(set(labels) - set(self.strata))
        if new:
            raise PredictionError(
                f"{self.grouping.by!r} has the level(s) {listing(new, 5, quoted=True)} in the new data, which the fit "
                f"did not see: how effects vary there is unknown. Known are {listing(self.strata)}."
            )
        inside, values = labels == self.grouping.stratum, np.zeros((len(frame), len(self.column_names)))
        if inside.any():  # rows of other strata may have levels that this one has not
            values[inside] = np.asarray(self.whole.eval_new_data(frame.loc[inside])).reshape(inside.sum(), -1)
        return values

    def widened(self, frame: pd.DataFrame) -> StratumTerm:
        """Add those of rows of the stratum."""
        inside = _labels(frame[self.grouping.by].array, self.grouping.by, len(frame)) == self.grouping.stratum
        whole = self.whole.widened(frame.loc[inside])
        return self if whole is self.whole else replace(self, whole=whole)


def find_strata(grouping: Grouping, rows: UsedRows, codes: np.ndarray, levels: Sequence[str]) -> tuple[str, ...]:
    """Find the strata of a grouping, each level of which belongs to one of them.

    Parameters
    ----------
    grouping : Grouping
        ``gr(g, by=f)``.
    rows : UsedRows
        Their columns.
    codes : array of int, shape (n,)
        Level of each row.
    levels : sequence of str
        Labels of the levels.

    Raises
    ------
    DesignError
        If a level is in several strata.
    """
    found = read_levels((grouping.by,), [rows.columns[grouping.by]], len(rows))
    first = np.zeros(len(levels), dtype=np.int64)
    first[codes] = found.codes
    astray = first[codes] != found.codes
    if astray.any():
        level = int(codes[astray.argmax()])
        own = [found.labels[each] for each in np.unique(found.codes[codes == level])]
        n = len(np.unique(codes[astray]))
        raise DesignError(
            f"{grouping.write()}: {n} level(s) of {grouping.name!r} are in several levels of {grouping.by!r}, such as "
            f"{levels[level]!r} in {listing(own, 5, quoted=True)}. A level has the covariance of one of them: give "
            f"each row of a level the same value of {grouping.by!r}, or let effects differ within levels, "
            f"(0 + {grouping.by} | {grouping.name})."
        )
    return found.labels


def columns_of_stratum(columns: Columns, grouping: Grouping, strata: tuple[str, ...], rows: UsedRows) -> Columns:
    """Return the columns of an expression in the rows of one stratum, `grouping.stratum`."""
    inside = stratum_rows(rows, grouping.by, grouping.stratum)
    terms = [StratumTerm(term, grouping, strata, inside) for term in columns.terms]
    return Columns(terms, (*columns.uses, grouping.by))


def stratum_rows(rows: UsedRows, by: str, stratum: str) -> np.ndarray:
    """Say which rows are in a stratum (n,)."""
    return _labels(rows.columns[by], by, len(rows)) == stratum


def _labels(values: Any, name: str, n: int) -> np.ndarray:
    """Label the stratum of each row."""
    values = values.remove_unused_categories() if isinstance(values, pd.Categorical) else np.asarray(values)
    found = read_levels((name,), [values], n)
    return np.array(found.labels, dtype=object)[found.codes]


def _masked(columns: Any, inside: np.ndarray) -> np.ndarray:
    columns = np.asarray(columns, dtype=np.float64)
    return columns * (inside if columns.ndim == 1 else inside[:, None])
