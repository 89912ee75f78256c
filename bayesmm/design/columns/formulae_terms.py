"""Terms, contrasts and transformations by formulae.

Every term is built anew and every component in it, so that formulae's terms share nothing.
"""

from itertools import product
from math import prod
from typing import Any

import numpy as np
import pandas as pd
from formulae.terms import Intercept, Term
from formulae.terms import Model as FormulaeModel

from bayesmm.design.columns.components import (
    CallComponent,
    ColumnComponent,
    build_component,
    component_names,
    component_width,
)
from bayesmm.design.columns.levels import LevelsTerm
from bayesmm.design.columns.terms import INTERCEPT, TermPart, check_column_count
from bayesmm.design.reading.dtypes import level_text
from bayesmm.design.reading.names import Names
from bayesmm.errors import DesignError
from bayesmm.specification.expansion import Expansion
from bayesmm.specification.syntax import Call, Name, Node, write


class FormulaeTerm:
    """A term of formulae, evaluated."""

    def __init__(self, term: Any):
        self._term = term

    @property
    def data(self) -> Any:
        """Columns of the data that it was built from."""
        return self._term.data

    @property
    def column_names(self) -> list[str]:
        """One name for each of them."""
        if isinstance(self._term, Intercept):
            return [INTERCEPT]
        return [":".join(names) for names in product(*map(component_names, self._term.components))]

    @property
    def is_column(self) -> bool:
        """Whether it is a numeric column of the data as it stands."""
        components = getattr(self._term, "components", [])
        return len(components) == 1 and isinstance(components[0], ColumnComponent) and components[0].kind == "numeric"

    @property
    def parts(self) -> list[tuple[str, Any]]:
        """Names and values of its components."""
        return [(component.name, component.value) for component in getattr(self._term, "components", [])]

    @property
    def anatomy(self) -> tuple[TermPart, ...]:
        """What its columns are products of, the last part's changing fastest; nothing for the intercept."""
        return tuple(map(_part, getattr(self._term, "components", [])))

    def eval_new_data(self, frame: pd.DataFrame) -> Any:
        """Columns of new rows."""
        return self._term.eval_new_data(frame)

    def widened(self, frame: pd.DataFrame) -> "FormulaeTerm | LevelsTerm":
        """Add the levels of new rows to those of a factor that has a column for each; others stay as they are."""
        components = getattr(self._term, "components", [])
        column = _column_of(components[0]) if len(components) == 1 else None
        coding = self.anatomy[0].coding if column is not None else None
        if column is None or coding is None or not np.array_equal(coding, np.eye(len(coding))):
            return self
        levels = [level_text(level) for level in components[0].levels]
        term = LevelsTerm(components[0].name, column, tuple(levels), np.asarray(self.data))
        return wide if (wide := term.widened(frame)) is not term else self


def _column_of(component: Any) -> str | None:
    """Name the column of the data that a factor is, f or C(f)."""
    match component:
        case ColumnComponent():
            return component.name
        case CallComponent(node=Call("C", (Name(name),), ())):
            return name
    return None


def _part(component: Any) -> TermPart:
    if component.kind == "numeric":
        return TermPart(component.name, 1 if component.value.ndim < 2 else component.value.shape[1], None)
    coding = np.asarray(component.contrast_matrix.matrix, dtype=np.float64)
    return TermPart(component.name, coding.shape[1], coding)


def evaluate_terms(expansion: Expansion, frame: pd.DataFrame, names: Names) -> list[FormulaeTerm]:
    """Evaluate the terms of a sum on the rows used.

    Raises
    ------
    DesignError
        If an expression cannot be evaluated.
    """
    terms: list[Intercept | Term] = [Intercept()] if expansion.intercept else []
    for factors in expansion.terms:
        try:
            terms.append(Term(*(build_component(factor) for factor in factors)))
        except TypeError as error:
            raise DesignError(f"{':'.join(map(write, factors))!r} cannot be built: {error}.") from None
    model = _BoundedTerms(*terms)
    with np.errstate(all="ignore"):
        model.eval(frame, names.environment)
    return [FormulaeTerm(term) for term in model.common_terms]


class _BoundedTerms(FormulaeModel):
    """Terms whose columns are counted before products of them are made."""

    def set_types(self, data: pd.DataFrame, env: Any) -> None:
        """Find out what kind each term is, and how many columns it will have."""
        n_columns = 0
        for term in self.terms:
            term.set_type(data, env)
            components = getattr(term, "components", [])
            n_columns += prod(map(component_width, components))
            check_column_count(n_columns, len(data), ":".join(component.name for component in components))


def evaluate_arithmetic(node: Node, text: str, frame: pd.DataFrame, names: Names) -> FormulaeTerm | None:
    """Evaluate an expression in which ``+`` and ``*`` are arithmetic; None if it is not one number for each row."""
    term = Term(build_component(node if isinstance(node, (Name, Call)) else Call("I", (node,)), text))
    with np.errstate(all="ignore"):
        term.set_type(frame, names.environment)
        if term.kind == "numeric":
            term.set_data(False)
    if term.kind != "numeric" or np.shape(np.asarray(term.data))[1:] not in ((), (1,)):
        return None
    return FormulaeTerm(term)
