"""Columns from expressions: sums of numeric columns as they stand, everything else by formulae."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd

from bayesmm.design.columns.factors import FactorTerm, factor_term
from bayesmm.design.columns.places import places_term
from bayesmm.design.columns.smooths import SmoothTerm, build_smooth
from bayesmm.design.columns.terms import EvaluatedTerm, PlainTerm, TermPart, check_column_count, plain_term
from bayesmm.design.reading.dtypes import level_text
from bayesmm.design.reading.frame import UsedRows
from bayesmm.design.reading.names import Names
from bayesmm.errors import DesignError
from bayesmm.specification.expansion import Expansion, expand_text
from bayesmm.specification.formula import read_arithmetic
from bayesmm.specification.smooths import is_smooth, read_smooth
from bayesmm.specification.syntax import Call, Name, write


class Columns:
    """The columns of one expression, as fitted: levels, contrasts and the state of transformations are kept.

    Attributes
    ----------
    terms : sequence of EvaluatedTerm
        What they consist of.
    names : tuple of str
        One name for each column.
    are_plain : tuple of bool
        Which of them are numeric columns of the data as they stand.
    uses : tuple of str
        The columns of the data that they are computed from.
    """

    def __init__(self, terms: Sequence[EvaluatedTerm], uses: Iterable[str]):
        self.terms = terms
        self.names = tuple(name for term in terms for name in term.column_names)
        self.are_plain = tuple(term.is_column for term in terms for _ in term.column_names)
        self.uses = tuple(dict.fromkeys(uses))
        self._fitted: np.ndarray | None = None

    @property
    def smooth(self) -> SmoothTerm | None:
        """The smooth term whose departures from a straight line they are, if they are that."""
        return self.terms[0] if self.terms and isinstance(self.terms[0], SmoothTerm) else None

    def widened(self, frame: pd.DataFrame) -> "Columns":
        """Add columns for what new rows, none with missing values, have of levels, places or times; itself if none."""
        terms = [term.widened(frame) for term in self.terms] if len(self.terms) == 1 else self.terms
        is_same = all(new is old for new, old in zip(terms, self.terms, strict=True))
        return self if is_same else Columns(terms, self.uses)

    @property
    def anatomy(self) -> tuple[tuple[TermPart, ...], ...]:
        """What the columns of each term are products of, term by term."""
        return tuple(term.anatomy for term in self.terms)

    def fitted(self, n_rows: int) -> np.ndarray:
        """Return the columns (n, k) of the data that they were built from, and check that they are finite.

        Those of one expression are one array, wherever they stand; it is not written to.
        """
        if self._fitted is None:
            self._fitted = _stack([_checked(term) for term in self.terms], n_rows)
        return self._fitted

    def number(self) -> np.ndarray:
        """Return the single column (n,) of an arithmetic expression, and check that it is finite."""
        return np.array(_checked(self.terms[0])).reshape(-1)

    def raw(self) -> np.ndarray:
        """Return the same, finite or not."""
        return np.array(self.terms[0].data, dtype=np.float64).reshape(-1)

    def evaluate(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the columns (m, k) for new rows, none of them with missing values.

        Raises
        ------
        PredictionError
            If a factor has a level that it did not have in the fit.
        """
        if not len(frame):  # of which splines cannot be computed
            return np.zeros((0, len(self.names)))
        with np.errstate(all="ignore"):
            return _stack([term.eval_new_data(frame) for term in self.terms], len(frame))

    def evaluate_across(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the same with each column's numbers side by side in memory, (k, m)."""
        with np.errstate(all="ignore"):
            parts = [_across(term.eval_new_data(frame)) for term in self.terms]
        if not parts:
            return np.empty((0, len(frame)))
        if len(parts) == 1:
            return np.ascontiguousarray(parts[0])
        return np.concatenate(parts, out=np.empty((sum(map(len, parts)), len(frame))))  # else in the order of a part


def _across(part: np.ndarray) -> np.ndarray:
    values = np.asarray(part, dtype=np.float64)
    return values.T if values.ndim == 2 else values[None]


def distinct_names(sources: Sequence[Columns]) -> tuple[str, ...]:
    """Name the columns of several expressions that stand side by side.

    A column of the data whose name is also that of something computed (``x:w`` beside the interaction, ``f[T.b]``
    beside the dummy) keeps the backquotes that it has in the formula.
    """
    named = [pair for source in sources for pair in zip(source.names, source.are_plain, strict=True)]
    computed = {name for name, is_plain in named if not is_plain}
    return tuple(f"`{name}`" if is_plain and name in computed else name for name, is_plain in named)


def build_columns(text: str, rows: UsedRows, names: Names) -> Columns:
    """Build the columns of a sum of terms, ``"1 + x * f"``.

    Parameters
    ----------
    text : str
        A sum of terms in the formula language.
    rows : UsedRows
        No missing values.
    names : Names
        What the expressions may use besides columns.

    Returns
    -------
    Columns

    Raises
    ------
    DesignError
        If an expression cannot be evaluated.
    """
    expansion = expand_text(text)
    uses = columns_used(text, rows.columns, names)
    check_column_count(len(expansion.terms) + expansion.intercept, len(rows), text)
    plain = _plain_terms(expansion, rows)
    if plain is not None:
        return Columns(plain, uses)
    first = expansion.terms[0][0]
    if isinstance(first, Call) and is_smooth(first):
        return Columns([_smooth(first, text, rows, names)], uses)
    places = places_term(expansion, rows, text)
    if places is not None:
        return Columns([places], uses)
    from bayesmm.design.columns.formulae_terms import evaluate_terms  # 0.3 seconds to import

    return Columns(evaluate_terms(expansion, rows.frame, names), uses)


def _plain_terms(expansion: Expansion, rows: UsedRows) -> list[EvaluatedTerm] | None:
    """Return the terms of a sum of columns, each of numbers as they stand or of levels; None if there are others."""
    found: list[EvaluatedTerm] = [PlainTerm(None, np.ones(len(rows)))] * expansion.intercept
    n_columns, is_full = len(found), not expansion.intercept
    for factors in expansion.terms:
        term = None
        if len(factors) == 1:
            term = plain_term(factors[0], rows) or factor_term(factors[0], rows, is_full=is_full)
        if term is None:
            return None
        found.append(term)
        if isinstance(term, FactorTerm):  # without an intercept the first has a column for every level
            is_full = False
        n_columns += len(term.levels) if isinstance(term, FactorTerm) else 1
        check_column_count(n_columns, len(rows), write(factors[0]))
    return found


def _smooth(call: Call, text: str, rows: UsedRows, names: Names) -> SmoothTerm:
    """Build the departures of ``s(x)`` from a straight line, which stand alone left of a bar."""
    of, k, basis = read_smooth(call, text)
    source = build_arithmetic(write(of), rows, names, what="column of s()")
    check_column_count(k, len(rows), write(call))
    return build_smooth(write(call), write(of), source, k, basis, len(rows), names.states.get(write(call)))


def build_arithmetic(text: str, rows: UsedRows, names: Names, *, what: str) -> Columns:
    """Build the single column of an expression in which ``+`` and ``*`` are arithmetic, such as ``1 / se**2``.

    Parameters
    ----------
    text, rows, names
        As for `build_columns`.
    what : str
        What the column is, for error messages: ``"response"``, ``"offset"``, ``"weights"``.

    Raises
    ------
    DesignError
        If the expression cannot be evaluated, or is not one number for each row.
    """
    node = read_arithmetic(text)
    uses = names.columns_of(node, rows.columns)
    plain = plain_term(node, rows)
    if plain is not None:
        return Columns([PlainTerm(text, plain.data, plain.name)], uses)
    from bayesmm.design.columns.formulae_terms import evaluate_arithmetic

    term = evaluate_arithmetic(node, text, rows.frame, names)
    if term is None:
        raise DesignError(_not_numeric(node.text if isinstance(node, Name) else text, rows.frame, what))
    return Columns([term], uses)


def _not_numeric(text: str, frame: pd.DataFrame, what: str) -> str:
    kind = ""
    if text in frame:
        values = frame[text]
        kind = "boolean" if values.dtype == bool else f"categorical, such as {level_text(values.iloc[0])!r}"
    return (
        f"The {what} {text!r} is not one number for each row{': it is ' + kind if kind else ''}. Name a numeric "
        "column, or if the values stand for numbers, convert them in the data with .astype(float)."
    )


def columns_used(text: str, columns: Collection[str], names: Names) -> tuple[str, ...]:
    """Return the columns of the data that a sum of terms uses, after checking every name in it."""
    factors = (
        read_smooth(factor, text).of if isinstance(factor, Call) and is_smooth(factor) else factor
        for term in expand_text(text).terms
        for factor in term
    )
    return tuple(dict.fromkeys(column for factor in factors for column in names.columns_of(factor, columns)))


def _checked(term: EvaluatedTerm) -> np.ndarray:
    """Return a term's columns if they are finite; say which expression is not, and in how many rows."""
    values = np.asarray(term.data, dtype=np.float64)
    if isinstance(term, (PlainTerm, FactorTerm)) or np.isfinite(values).all():  # columns of the data are
        return values
    for name, part in term.parts:
        finite = np.isfinite(np.asarray(part, dtype=np.float64))
        bad = int((~finite.reshape(len(finite), -1).all(axis=1)).sum())
        if bad:
            raise DesignError(
                f"{name!r} is not a finite number in {bad} of the {len(values)} rows used. Logarithms and "
                "roots need positive numbers: look at those rows, or leave them out."
            )
    raise DesignError(f"{':'.join(term.column_names[:1])!r} overflows. Rescale its columns.")


def _stack(parts: list[np.ndarray], n_rows: int) -> np.ndarray:
    if not parts:
        return np.empty((n_rows, 0))
    return np.column_stack([np.asarray(part, dtype=np.float64) for part in parts])
