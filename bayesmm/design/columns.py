"""Columns from expressions: terms, contrasts and transformations by formulae.

Every term is built anew and every component in it, so that formulae's terms share nothing.
"""

from collections.abc import Collection, Iterable
from itertools import product

import numpy as np
import pandas as pd
from formulae.terms import Intercept, Model, Term

from bayesmm.design.components import build_component, component_names
from bayesmm.design.dtypes import level_text
from bayesmm.design.names import Names
from bayesmm.errors import DesignError
from bayesmm.specification.expansion import expand_text
from bayesmm.specification.formula import read_arithmetic
from bayesmm.specification.syntax import Call, Name, write


class Columns:
    """The columns of one expression, as fitted: levels, contrasts and the state of transformations are kept.

    Attributes
    ----------
    names : tuple of str
        One name for each column.
    uses : tuple of str
        The columns of the data that they are computed from.
    """

    def __init__(self, terms: list[Intercept | Term], uses: Iterable[str]):
        self._terms = terms
        self.names = tuple(name for term in terms for name in _term_names(term))
        self.uses = tuple(dict.fromkeys(uses))

    def fitted(self, n_rows: int) -> np.ndarray:
        """Return the columns (n, k) of the data that they were built from, and check that they are finite."""
        return _stack([_checked(term) for term in self._terms], n_rows)

    def raw(self) -> np.ndarray:
        """Return the single column (n,) of an arithmetic expression, finite or not."""
        return np.array(self._terms[0].data, dtype=np.float64).reshape(-1)

    def evaluate(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the columns (m, k) for new rows, none of them with missing values.

        Raises
        ------
        PredictionError
            If a factor has a level that it did not have in the fit.
        """
        with np.errstate(all="ignore"):
            return _stack([term.eval_new_data(frame) for term in self._terms], len(frame))


def build_columns(text: str, frame: pd.DataFrame, names: Names) -> Columns:
    """Build the columns of a sum of terms, ``"1 + x * f"``.

    Parameters
    ----------
    text : str
        A sum of terms in the formula language.
    frame : pandas.DataFrame
        The rows used; no missing values.
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
    terms: list[Intercept | Term] = [Intercept()] if expansion.intercept else []
    for factors in expansion.terms:
        try:
            terms.append(Term(*(build_component(factor) for factor in factors)))
        except TypeError as error:
            raise DesignError(f"{':'.join(map(write, factors))!r} cannot be built: {error}.") from None
    model = Model(*terms)
    with np.errstate(all="ignore"):
        model.eval(frame, names.environment)
    return Columns(model.common_terms, columns_used(text, frame.columns, names))


def build_arithmetic(text: str, frame: pd.DataFrame, names: Names, *, what: str) -> Columns:
    """Build the single column of an expression in which ``+`` and ``*`` are arithmetic, such as ``1 / se**2``.

    Parameters
    ----------
    text, frame, names
        As for `build_columns`.
    what : str
        What the column is, for error messages: ``"response"``, ``"offset"``, ``"weights"``.

    Raises
    ------
    DesignError
        If the expression cannot be evaluated, or is not one number for each row.
    """
    node = read_arithmetic(text)
    term = Term(build_component(node if isinstance(node, (Name, Call)) else Call("I", (node,)), text))
    with np.errstate(all="ignore"):
        term.set_type(frame, names.environment)
        if term.kind == "numeric":
            term.set_data(False)
    if term.kind != "numeric" or np.shape(np.asarray(term.data))[1:] not in ((), (1,)):
        raise DesignError(_not_numeric(node.text if isinstance(node, Name) else text, frame, what))
    return Columns([term], names.columns_of(node, frame.columns))


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
    factors = (factor for term in expand_text(text).terms for factor in term)
    return tuple(dict.fromkeys(column for factor in factors for column in names.columns_of(factor, columns)))


def _term_names(term: Intercept | Term) -> list[str]:
    if isinstance(term, Intercept):
        return ["Intercept"]
    return [":".join(names) for names in product(*map(component_names, term.components))]


def _checked(term: Intercept | Term) -> np.ndarray:
    """Return a term's columns if they are finite; say which expression is not, and in how many rows."""
    values = np.asarray(term.data, dtype=np.float64)
    if np.isfinite(values).all():
        return values
    for component in getattr(term, "components", []):
        finite = np.isfinite(np.asarray(component.value, dtype=np.float64))
        bad = int((~finite.reshape(len(finite), -1).all(axis=1)).sum())
        if bad:
            raise DesignError(
                f"{component.name!r} is not a finite number in {bad} of the {len(values)} rows used. Logarithms and "
                "roots need positive numbers: look at those rows, or leave them out."
            )
    raise DesignError(f"{':'.join(_term_names(term)[:1])!r} overflows. Rescale its columns.")


def _stack(parts: list[np.ndarray], n_rows: int) -> np.ndarray:
    if not parts:
        return np.empty((n_rows, 0))
    return np.column_stack([np.asarray(part, dtype=np.float64) for part in parts])
