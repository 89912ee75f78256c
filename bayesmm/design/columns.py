"""Columns from expressions: formulae's terms, contrasts and transformations, on trees that we have parsed.

formulae's own scanner, parser and term names are not used: they read ``1e-3`` as four tokens, ``-x**2`` as ``(-x)**2``,
drop what follows an unknown operator, and give ``I((a + b) * c)`` and ``I(a + b * c)`` one name. Every component of
every term is an object of its own, because formulae stores the coding of a factor in it.
"""

import operator
from collections.abc import Callable
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from formulae.categorical import CategoricalBox, Sum as SumCoding, Treatment
from formulae.terms import Call as FormulaeCall, Intercept, Model, Term, Variable
from formulae.terms.call_resolver import LazyCall, LazyOperator, LazyValue, LazyVariable

from bayesmm.design.dtypes import level_text
from bayesmm.design.names import Names
from bayesmm.errors import BayesmmError, DesignError, PredictionError
from bayesmm.specification.expansion import expand_text
from bayesmm.specification.formula import read_arithmetic
from bayesmm.specification.syntax import Binary, Call, Constant, Name, Node, Number, Sum, Text, write

_OPERATORS: dict[str, Callable] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow,
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class Columns:
    """The columns of one expression, as fitted: levels, contrasts and the state of transformations are kept.

    Attributes
    ----------
    names : tuple of str
        One name for each column.
    """

    def __init__(self, terms: list[Intercept | Term]):
        self._terms = terms
        self.names = tuple(name for term in terms for name in _term_names(term))

    def fitted(self, n_rows: int) -> np.ndarray:
        """Return the columns (n, k) of the data that they were built from, and check that they are finite."""
        return _stack([_checked(term) for term in self._terms], n_rows)

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
            terms.append(Term(*(_component(factor) for factor in factors)))
        except TypeError as error:
            raise DesignError(f"{':'.join(map(write, factors))!r} cannot be built: {error}.") from None
    model = Model(*terms)
    with np.errstate(all="ignore"):
        model.eval(frame, names.environment)
    return Columns(model.common_terms)


def build_arithmetic(text: str, frame: pd.DataFrame, names: Names) -> Columns:
    """Build the single column of an expression in which ``+`` and ``*`` are arithmetic, such as ``1 / se**2``."""
    node = read_arithmetic(text)
    term = Term(_component(node if isinstance(node, (Name, Call)) else Call("I", (node,)), text))
    with np.errstate(all="ignore"):
        Model(term).eval(frame, names.environment)
    return Columns([term])


class _Column(Variable):
    """A column of the data as a component of a term; a boolean is a factor with the levels False and True."""

    def set_type(self, data_mask: pd.DataFrame) -> None:
        values = data_mask[self.name]
        if values.dtype == bool:
            values = pd.Series(pd.Categorical(values, ordered=True), index=values.index)
        self.kind = "categoric" if isinstance(values.dtype, pd.CategoricalDtype) else "numeric"
        self._intermediate_data = values if self.kind == "categoric" else values.astype(np.float64)

    def set_data(self, spans_intercept: bool | None = None) -> None:
        if self.kind == "numeric":
            self.eval_numeric(self._intermediate_data)
        else:
            self.eval_categoric(self._intermediate_data, spans_intercept)
            _check_levels(self)

    def eval_new_data_categoric(self, x: pd.Series) -> np.ndarray:
        return _recode(self, x)


class _Expression(FormulaeCall):
    """A call as a component of a term, with the name that we write for it."""

    def __init__(self, node: Call, name: str):
        super().__init__(_lazy(node))
        self.name = name

    def set_type(self, data_mask: pd.DataFrame, env: Any) -> None:
        evaluate, n_rows = self.call.eval, len(data_mask)

        def guarded(data: Any, environment: Any) -> Any:
            return _full_column(self.name, lambda: evaluate(data, environment), len(data))

        self.call.eval = guarded
        try:
            super().set_type(data_mask, env)
        finally:
            del self.call.eval
