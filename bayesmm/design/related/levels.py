"""Which of the levels that a relation has each row is of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bayesmm.console import listing
from bayesmm.design.reading.levels import read_levels
from bayesmm.design.related.relation import AnyRelation
from bayesmm.errors import DesignError
from bayesmm.specification.terms import Grouping


def find_relation(grouping: Grouping, relations: Mapping[str, AnyRelation]) -> AnyRelation:
    """Return the relation that a grouping names.

    Raises
    ------
    DesignError
        If it was not given.
    """
    return find_matrix(grouping.relation, grouping.write(), relations, f"the levels of {grouping.factors[0]!r}")


def find_matrix(name: str, whose: str, relations: Mapping[str, AnyRelation], labels: str) -> AnyRelation:
    """Return a known matrix by its name; `whose` it is and what its `labels` are is for the message.

    Raises
    ------
    DesignError
        If it was not given.
    """
    if name in relations:
        return relations[name]
    given = f"Given are {listing(list(relations))}." if relations else "None was given."
    raise DesignError(
        f"{whose} needs the matrix {name!r}. {given} Say Model(..., relations={{{name!r}: {name}}}) with a table whose "
        f"rows and columns are named by {labels}."
    )


def read_related_levels(grouping: Grouping, values: np.ndarray | pd.Categorical, levels: tuple[str, ...]) -> np.ndarray:
    """Find which level each row has (n,) among those of a relation, matched by their labels.

    Raises
    ------
    DesignError
        If some are not among them.
    """
    found = read_levels(grouping.factors, [values], len(values))
    position = {label: i for i, label in enumerate(levels)}
    lacking = [label for label in found.labels if label not in position]
    if lacking:
        raise DesignError(
            f"{len(lacking)} level(s) of {grouping.factors[0]!r} are not in the matrix {grouping.relation!r}: "
            f"{listing(lacking, 5, quoted=True)}. It has {len(levels)}: {listing(levels, 5, quoted=True)}. Add them to "
            "it, or leave their rows out."
        )
    return np.array([position[label] for label in found.labels], dtype=np.int64)[found.codes]
