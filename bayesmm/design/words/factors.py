"""Which columns of the fixed part have levels rather than numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayesmm.design.design import Design
from bayesmm.specification.expansion import expand_text
from bayesmm.specification.syntax import Call, Name, Node, walk

CODED = ("C", "S", "T")  # calls that make factors of numbers


def is_factor(design: Design, name: str) -> bool:
    """Say whether a column has levels rather than numbers."""
    values = design.known_rows.frame[name]
    return isinstance(values.dtype, pd.CategoricalDtype) or values.dtype == bool or name in coded_numbers(design)


def names_in(node: Node) -> list[str]:
    """Return the names in an expression."""
    return [each.text for each in walk(node) if isinstance(each, Name)]


def levels_of(design: Design, name: str) -> tuple[Any, ...]:
    """Return the levels of a factor in the rows used, in order."""
    values = design.known_rows.frame[name]
    if isinstance(values.dtype, pd.CategoricalDtype):
        return tuple(values.cat.categories)
    return tuple(np.unique(values.to_numpy()).tolist())


def coded_numbers(design: Design) -> set[str]:
    """Numbers that the formula makes factors of, C(x)."""
    calls = (
        call
        for term in expand_text(design.specification.fixed).terms
        for factor in term
        for call in walk(factor)
        if isinstance(call, Call) and call.callee in CODED and call.arguments
    )
    return {name for call in calls for name in names_in(call.arguments[0])} & set(design.sources.fixed.uses)
