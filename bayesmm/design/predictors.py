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

if TYPE_CHECKING:
    from bayesmm.design.design import Design

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
    columns : tuple of array or None
        Effect columns (m, k) of each grouping factor; None where its effects are left out.
    codes : tuple of array or None
        Levels (m,), −1 where the effects count as zero.
    """

    index: pd.Index
    X: np.ndarray
    offset: np.ndarray
    columns: tuple[np.ndarray | None, ...]
    codes: tuple[np.ndarray | None, ...]

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
        for columns, codes, b in zip(self.columns, self.codes, effects, strict=True):
            if columns is None or codes is None:
                continue
            known = np.where(codes[:, None] >= 0, columns, np.where(np.isnan(columns), np.nan, 0.0))
            for j in range(known.shape[1]):
                total += known[:, j] * np.take(b[..., j], codes, axis=-1)
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
        chosen = [block if block.group in groups else None for block in design.blocks]
        return Predictors(
            index=design.rows,
            X=design.X[:, design.kept],
            offset=design.offset,
            columns=tuple(block and block.columns for block in chosen),
            codes=tuple(block and block.codes for block in chosen),
        )
    rows = design.evaluate(new_data, groups=groups)
    found = {block.group: block for block in rows.blocks}
    if new_levels == "error":
        for block in rows.blocks:
            _refuse_new_levels(block.group, block.labels[(block.codes < 0)], design)
    missing = {block.group: np.array([label is None for label in block.labels], dtype=bool) for block in rows.blocks}
    columns = {
        group: np.where((missing[group] & (new_levels == "error"))[:, None], np.nan, block.columns)
        for group, block in found.items()
    }
    return Predictors(
        index=rows.index,
        X=rows.X[:, design.kept],
        offset=rows.offset,
        columns=tuple(columns.get(block.group) for block in design.blocks),
        codes=tuple(found[block.group].codes if block.group in found else None for block in design.blocks),
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


def _refuse_new_levels(group: str, labels: np.ndarray, design: Design) -> None:
    fresh = list(dict.fromkeys(label for label in labels if label is not None))
    if not fresh:
        return
    block = next(block for block in design.blocks if block.group == group)
    shown = listing(fresh, 5, quoted=True)
    raise PredictionError(
        f"{len(fresh)} level(s) of {group!r} are not among the {block.q} of the fit: {shown}. Say "
        f"new_levels='population' to predict them with effects of zero, or random='none' to leave the effects out."
    )
