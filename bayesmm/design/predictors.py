"""Linear predictors for rows that may be new: shared by point estimates and posterior draws."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bayesmm.arguments import is_one_of, shorten
from bayesmm.console import listing
from bayesmm.errors import PredictionError
from bayesmm.incidence import Incidence, Membership

if TYPE_CHECKING:
    from bayesmm.design.design import Design
    from bayesmm.design.rows.new_rows import NewBlock

type Random = Literal["all", "none"] | Sequence[str]
type NewLevels = Literal["error", "population", "sample"]
type NewResiduals = Literal["none", "conditional"]
type IntervalKind = Literal["confidence", "prediction"]


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
    n_new : tuple of int
        How many levels of each grouping factor have effects that are not known: they are numbered after those of the
        fit.
    """

    index: pd.Index
    X: np.ndarray
    offset: np.ndarray
    incidences: tuple[Incidence | None, ...]
    n_new: tuple[int, ...]

    def mean(self, beta: np.ndarray, effects: Sequence[np.ndarray]) -> np.ndarray:
        """Xβ + Zb + offset, for one or for many draws.

        Parameters
        ----------
        beta : array, shape (..., p)
            Fixed effects.
        effects : sequence of array, shapes (..., q, k)
            Random effects of each grouping factor, those of new levels after those of the fit.

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

    def expectation(self, beta: np.ndarray, effects: Sequence[np.ndarray]) -> np.ndarray:
        """Return the mean with effects of zero, which is what is expected, for new levels."""
        padded = [
            np.concatenate([b, np.zeros((*b.shape[:-2], n, b.shape[-1]))], axis=-2) if n else b
            for b, n in zip(effects, self.n_new, strict=True)
        ]
        return self.mean(beta, padded)

    def rows(self, part: Any) -> Predictors:
        """Take some of the rows."""
        return replace(
            self,
            index=self.index[part],
            X=self.X[part],
            offset=self.offset[part],
            incidences=tuple(own and own.rows(part) for own in self.incidences),
        )


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
    new_levels : {"error", "population", "sample"}
        What to do with levels that the fit has not seen: refuse, take their effects as zero, or number them after those
        of the fit, a missing label as a level of its own in each row.

    Returns
    -------
    Predictors

    Raises
    ------
    PredictionError
        If an argument is none of these, a grouping factor is unknown, or a level is new and refused.
    """
    groups = chosen_groups(design, random)
    if new_levels is None or not is_one_of(new_levels, ("error", "population", "sample")):
        raise PredictionError(
            f"new_levels is {shorten(new_levels)}: give 'error', 'population' or 'sample' (effects from their "
            "distribution)."
        )
    if new_data is None:
        return Predictors(
            index=design.rows,
            X=design.X[:, design.kept],
            offset=design.offset,
            incidences=tuple(block.incidence if block.group in groups else None for block in design.blocks),
            n_new=(0,) * len(design.blocks),
        )
    rows = design.evaluate(new_data, groups=groups)
    _refuse_unrelated(design, rows.blocks)
    found = {block.group: (block.incidence, 0) for block in rows.blocks}
    if new_levels == "error":
        for block in rows.blocks:
            memberships = zip(block.labels, block.incidence.memberships, strict=True)
            fresh = [label for labels, own in memberships for label in labels[own.codes < 0]]
            _refuse_new_levels(block.group, fresh, design)
        found = {block.group: (_unknown_where_missing(block), 0) for block in rows.blocks}
    elif new_levels == "sample":
        found = {block.group: _number_new_levels(block) for block in rows.blocks}
    every = [found.get(block.group, (None, 0)) for block in design.blocks]
    return Predictors(
        index=rows.index,
        X=rows.X[:, design.kept],
        offset=rows.offset,
        incidences=tuple(incidence for incidence, _ in every),
        n_new=tuple(n for _, n in every),
    )


def read_row_weights(design: Design, new_data: Any, weights: Any, n_rows: int) -> np.ndarray:
    """Return the prior weights of rows that are predicted.

    Parameters
    ----------
    design : Design
        The fitted design.
    new_data : data frame, optional
        The rows; those of the fit by default.
    weights : number or array, shape (m,), optional
        What was given. By default those of the fit for its own rows; for new rows those that the text of the weights
        has in `new_data`, and one in a model without weights.
    n_rows : int
        Rows (m).

    Returns
    -------
    array, shape (m,)
        NaN where a column of the weights is missing a value.

    Raises
    ------
    PredictionError
        If weights are not positive, given for the rows of the fit, or not known.
    """
    if new_data is None:
        if weights is not None:
            raise PredictionError("weights are for new data; the rows of the fit have those of the model.")
        return design.weights
    if weights is None:
        if not design.has_weights:
            return np.ones(n_rows)
        found = design.evaluate_weights(new_data)
        if found is None:
            raise PredictionError(
                "The model has prior weights: say what the weights of the new rows are, weights=1.0 or one a row."
            )
        if not (np.isnan(found) | (found > 0)).all():
            raise PredictionError(f"The weights {design.weights_text!r} of the new rows must be positive.")
        return found
    try:
        values = np.asarray(weights, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise PredictionError(f"weights are {shorten(weights)}: give positive numbers.") from None
    values = np.broadcast_to(values, (n_rows,)) if values.ndim == 0 else values
    if values.shape != (n_rows,) or not (values > 0).all():
        raise PredictionError(f"weights must be positive numbers, one or {n_rows}, one for each row of the new data.")
    return values


def check_interval(interval: Any) -> None:
    """Refuse what is no kind of interval.

    Raises
    ------
    PredictionError
        With the value seen.
    """
    if not is_one_of(interval, (None, "confidence", "prediction")):
        raise PredictionError(
            f"interval is {shorten(interval)}: give 'confidence' (of the expected response), 'prediction' (of a new "
            "observation), or None."
        )


def chosen_groups(design: Design, random: Random) -> list[str]:
    """Read which grouping factors' effects are included."""
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


def _number_new_levels(block: NewBlock) -> tuple[Incidence, int]:
    """Give new levels the numbers after those of the fit, whichever membership they are first seen in."""
    n_levels = block.incidence.n_levels
    place: dict[Hashable, int] = {}
    memberships = []
    for side, (own, labels) in enumerate(zip(block.incidence.memberships, block.labels, strict=True)):
        codes = own.codes.copy()
        for row in np.flatnonzero(codes < 0):
            key = (side, row) if labels[row] is None else labels[row]
            codes[row] = n_levels + place.setdefault(key, len(place))
        memberships.append(Membership(codes=codes, columns=own.columns))
    return replace(block.incidence, memberships=tuple(memberships)), len(place)


def _refuse_unrelated(design: Design, found: Sequence[NewBlock]) -> None:
    """Refuse levels of which no relation is known: their effects have no distribution."""
    for block in design.blocks:
        if block.relation is None:
            continue
        for labels, own in ((n, m) for new in found if new.group == block.group for n, m in _sides(new)):
            fresh = list(dict.fromkeys(label for label in labels[own.codes < 0] if label is not None))
            if fresh:
                raise PredictionError(
                    f"{len(fresh)} level(s) of {block.group!r} are not in the matrix {block.grouping.relation!r}: "
                    f"{listing(fresh, 5, quoted=True)}. How they are related to others is not known: fit the model "
                    "with a matrix that has them (levels need no rows of their own), or leave the effects out with "
                    "random='none'."
                )


def _sides(block: NewBlock) -> Iterable[tuple[np.ndarray, Membership]]:
    return zip(block.labels, block.incidence.memberships, strict=True)


def _refuse_new_levels(group: str, labels: Sequence[str | None], design: Design) -> None:
    fresh = list(dict.fromkeys(label for label in labels if label is not None))
    if not fresh:
        return
    block = next(block for block in design.blocks if block.group == group)
    shown = listing(fresh, 5, quoted=True)
    raise PredictionError(
        f"{len(fresh)} level(s) of {group!r} are not among the {block.q} of the fit: {shown}. Say "
        f"new_levels='population' to predict them with effects of zero, new_levels='sample' for effects from their "
        f"distribution, or random='none' to leave the effects out."
    )
