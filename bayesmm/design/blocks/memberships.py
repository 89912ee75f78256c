"""From the columns of a term to those of each membership: members by their weights, roles by effects of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesmm.design.columns.terms import INTERCEPT
from bayesmm.errors import DesignError
from bayesmm.specification.terms import Grouping


def name_effects(grouping: Grouping, names: Sequence[str]) -> tuple[str, ...]:
    """Name the effects of one term: of roles ``"sender"`` and ``"x of sender"``, then the other's."""
    if grouping.kind != "roles":
        return tuple(names)
    return tuple(role if name == INTERCEPT else f"{name} of {role}" for role in grouping.factors for name in names)


def repeat_columns(grouping: Grouping, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Lay out the columns of all terms of one grouping effect by effect, (n, k).

    Parameters
    ----------
    grouping : Grouping
        What the effects vary by.
    parts : sequence of array, each (n, columns)
        Columns of each term.
    """
    times = len(grouping.factors) if grouping.kind == "roles" else 1
    return np.column_stack([part for part in parts for _ in range(times)])


def member_columns(grouping: Grouping, parts: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Say what the effects of each level of a row are multiplied by.

    Parameters
    ----------
    grouping : Grouping
        What the effects vary by.
    parts : sequence of array, each (n, columns)
        Columns of each term.
    weights : sequence of array, each (n,)
        Of each member, where the grouping has weights.

    Returns
    -------
    list of array, each (n, k)
        One for each membership.
    """
    if not grouping.has_members:
        return [np.column_stack(parts)]
    if grouping.kind == "roles":
        roles = range(len(grouping.factors))
        return [
            np.column_stack([part if role == own else np.zeros_like(part) for part in parts for role in roles])
            for own in roles
        ]
    columns = np.column_stack(parts)
    if not weights:
        return [columns / len(grouping.factors)] * len(grouping.factors)
    total = np.sum(weights, axis=0) if grouping.scale else np.ones(len(columns))
    return [columns * (weight / total)[:, None] for weight in weights]


def check_member_weights(grouping: Grouping, weights: Sequence[np.ndarray], index: pd.Index) -> None:
    """Refuse weights of members, each (n,), that cannot be scaled to a sum of one.

    Raises
    ------
    DesignError
        Names the weight and the first row.
    """
    if not grouping.scale or not weights:
        return
    for text, weight in zip(grouping.weights, weights, strict=True):
        if (weight < 0).any():
            row = int((weight < 0).argmax())
            raise DesignError(
                f"The weight {text!r} of {grouping.name} is {weight[row]:g} in row {index[row]!r}: negative weights "
                "cannot be scaled to a sum of one. Correct them, or write scale=False to use them as they are."
            )
    nothing = np.sum(weights, axis=0) == 0
    if nothing.any():
        raise DesignError(
            f"All weights of {grouping.name} are zero in row {index[int(nothing.argmax())]!r}: they cannot be scaled "
            "to a sum of one. Give a member some weight, leave the row out, or write scale=False."
        )
