"""Evaluated terms: what each can be asked, those that are columns as they stand, and how many columns there may be."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from bayesmm.console import quoted
from bayesmm.design.reading.frame import UsedRows
from bayesmm.errors import DesignError
from bayesmm.limits import COLUMNS, NUMBERS
from bayesmm.specification.syntax import Name, Node

INTERCEPT = "Intercept"


class TermPart(NamedTuple):
    """One of the variables that a term is the product of.

    Attributes
    ----------
    name : str
        As it is written in the formula.
    width : int
        How many columns it has.
    coding : array, shape (levels, width), or None
        Its columns at each level of a factor; None for numbers.
    """

    name: str
    width: int
    coding: np.ndarray | None


class EvaluatedTerm(Protocol):
    """A term whose columns have been computed."""

    @property
    def data(self) -> Any:
        """Columns of the data that it was built from."""
        ...

    @property
    def column_names(self) -> list[str]:
        """One name for each of them."""
        ...

    @property
    def is_column(self) -> bool:
        """Whether it is a numeric column of the data as it stands."""
        ...

    @property
    def parts(self) -> list[tuple[str, Any]]:
        """Names and values of its components."""
        ...

    @property
    def anatomy(self) -> tuple[TermPart, ...]:
        """What its columns are products of, the last part's changing fastest; nothing for the intercept."""
        ...

    def eval_new_data(self, frame: pd.DataFrame) -> Any:
        """Columns of new rows."""
        ...

    def widened(self, frame: pd.DataFrame) -> "EvaluatedTerm":
        """Add columns for what new rows have of levels, after the others; itself where there is none to add."""
        ...


@dataclass(frozen=True, eq=False)
class PlainTerm:
    """The intercept (no name) or a numeric column as it stands; it is named where the name is a text that quotes it."""

    name: str | None
    data: np.ndarray
    column: str | None = None

    @property
    def column_names(self) -> list[str]:
        """One name."""
        return [INTERCEPT if self.name is None else label_column(self.name)]

    @property
    def is_column(self) -> bool:
        """All but the intercept."""
        return self.name is not None

    @property
    def parts(self) -> list[tuple[str, Any]]:
        """Itself."""
        return [] if self.name is None else [(self.name, self.data)]

    @property
    def anatomy(self) -> tuple[TermPart, ...]:
        """Itself."""
        return () if self.name is None else (TermPart(self.name, 1, None),)

    def eval_new_data(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the column of new rows."""
        column = self.name if self.column is None else self.column
        return np.ones(len(frame)) if column is None else frame[column].to_numpy(dtype=np.float64)

    def widened(self, frame: pd.DataFrame) -> "PlainTerm":
        """Itself."""
        return self


def plain_term(node: Node, rows: UsedRows) -> PlainTerm | None:
    """Return the numeric column that an expression is, if it is one."""
    if not isinstance(node, Name) or node.text not in rows.columns:
        return None
    values = rows.columns[node.text]
    is_plain = isinstance(values, np.ndarray) and values.dtype.kind in "iuf"
    return PlainTerm(node.text, np.asarray(values, dtype=np.float64)) if is_plain else None


def label_column(name: str) -> str:
    """Label a column of the data by its name; one called Intercept keeps its backquotes, for the constant has none."""
    return f"`{name}`" if name == INTERCEPT else name


def check_column_count(n_columns: int, n_rows: int, text: str) -> None:
    """Refuse more columns than there may be, before they are computed.

    Parameters
    ----------
    n_columns, n_rows : int
        What the matrix would have so far.
    text : str
        The term that would bring the last of them.

    Raises
    ------
    DesignError
        With the numbers, and what to do.
    """
    if n_columns <= COLUMNS and n_columns * n_rows <= NUMBERS:
        return
    term = quoted(text)
    advice = "Let the levels of a factor vary as random effects, (1 | f) or (1 | f:g), or name fewer columns."
    if n_columns > COLUMNS:
        raise DesignError(f"With {term} there are {n_columns:,} columns, more than the {COLUMNS:,} of a term. {advice}")
    raise DesignError(
        f"With {term} there are {n_columns:,} columns of {n_rows:,} rows, more than the {NUMBERS:,} numbers of a "
        f"matrix. {advice}"
    )
