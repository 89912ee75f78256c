"""Linear predictors for rows that may be new: shared by point estimates and posterior draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bayesmm.arguments import is_one_of, shorten
from bayesmm.console import listing
from bayesmm.errors import PredictionError
from bayesmm.incidence import Incidence

if TYPE_CHECKING:
    from bayesmm.design.design import Design
    from bayesmm.design.rows.new_rows import NewBlock

type Random = Literal["all", "none"] | Sequence[str]
type NewLevels = Literal["error", "population"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictors:
    """What multiplies the effects in m rows.

    Attributes
    ----------
    index : pandas.Index
        Labels of the rows (m,).
    X : array, shape (m, p)
        Fixed-effect columns of the coefficients that are estimated.
    offset : array, shape (m,)
        Known part.
    incidences : tuple of Incidence or None
        Levels and effect columns of each grouping factor, −1 where the effects of a level count as zero; None where the
        factor's effects are left out.
    """

    index: pd.Index
    X: np.ndarray
    offset: np.ndarray
    incidences: tuple[Incidence | None, ...]

    def mean(self, beta: np.ndarray, effects: Sequence[np.ndarray]) -> np.ndarray:
        """Xβ + Zb + offset, for one or for many draws.

        Parameters
        ----------
        beta : array, shape (..., p)
            Fixed effects.
        effects : sequence of array, shapes (..., q, k)
            Random effects of each grouping factor.

        Returns
        -------
        array, shape (..., m)
            NaN in rows with missing values.
        """
        total = beta @ self.X.T + self.offset
        for incidence, b in zip(self.incidences, effects, strict=True):
            if incidence is not None:
                incidence.add_to(total, b)
        return total


def build_predictors(
    design: Design, new_data: Any = None, *, random: Random = "all", new_levels: NewLevels = "error"
) -> Predictors:
    """Evaluate a design for prediction.

    Parameters
    ----------
    design : Design
        The fitted design.
    new_data : data frame, optional
        Rows to predict; the rows of the fit by default.
    random : {"all", "none"} or sequence of str
        Grouping factors whose effects are included.
    new_levels : {"error", "population"}
        What to do with levels that the fit has not seen: refuse, or take their effects as zero.

    Returns
    -------
    Predictors

    Raises
    ------
    PredictionError
        If an argument is none of these, a grouping factor is unknown, or a level is new and refused.
    """
    groups = _chosen_groups(design, random)
    if not is_one_of(new_levels, ("error", "population")):
        raise PredictionError(f"new_levels is {new_levels!r}: give 'error' or 'population'.")
    if new_data is None:
        return Predictors(
            index=design.rows,
            X=design.X[:, design.kept],
            offset=design.offset,
            incidences=tuple(block.incidence if block.group in groups else None for block in design.blocks),
        )
    rows = design.evaluate(new_data, groups=groups)
    found = {block.group: block.incidence for block in rows.blocks}
    if new_levels == "error":
        for block in rows.blocks:
            memberships = zip(block.labels, block.incidence.memberships, strict=True)
            fresh = [label for labels, own in memberships for label in labels[own.codes < 0]]
            _refuse_new_levels(block.group, fresh, design)
        found = {block.group: _unknown_where_missing(block) for block in rows.blocks}
    return Predictors(
        index=rows.index,
        X=rows.X[:, design.kept],
        offset=rows.offset,
        incidences=tuple(found.get(block.group) for block in design.blocks),
    )


def _chosen_groups(design: Design, random: Random) -> list[str]:
    names = [block.group for block in design.blocks]
    if isinstance(random, str):
        if random == "all":
            return names
        if random == "none":
            return []
        raise PredictionError(
            f"random is {random!r}: give 'all', 'none', or a list of grouping factors ({listing(names)})."
        )
    if not isinstance(random, Iterable) or not all(isinstance(name, str) for name in random):
        raise PredictionError(
            f"random is {shorten(random)}: give 'all', 'none', or a list of grouping factors ({listing(names)})."
        )
    unknown = [name for name in random if name not in names]
    if unknown:
        raise PredictionError(f"The model has no grouping factor {unknown[0]!r}. It has {listing(names)}.")
    return list(random)


def _unknown_where_missing(block: NewBlock) -> Incidence:
    """Columns of NaN where the label of a level is missing."""
    labels = iter(block.labels)
    return block.incidence.map(
        lambda codes: codes,
        lambda columns: np.where(np.array([label is None for label in next(labels)])[:, None], np.nan, columns),
    )


def _refuse_new_levels(group: str, labels: Sequence[str | None], design: Design) -> None:
    fresh = list(dict.fromkeys(label for label in labels if label is not None))
    if not fresh:
        return
    block = next(block for block in design.blocks if block.group == group)
    shown = listing(fresh, 5, quoted=True)
    raise PredictionError(
        f"{len(fresh)} level(s) of {group!r} are not among the {block.q} of the fit: {shown}. Say "
        f"new_levels='population' to predict them with effects of zero, or random='none' to leave the effects out."
    )
