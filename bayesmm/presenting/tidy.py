"""Plain frames of results in the sense of R's broom: the columns that those of fits and of posteriors share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.errors import ArgumentError
from bayesmm.presenting.columns import CHECKS, ESTIMATES, MC_ERROR

type Kind = Literal["fixed", "ran_pars", "ran_vals", "ran_coefs"]

KINDS: tuple[Kind, ...] = ("fixed", "ran_pars", "ran_vals", "ran_coefs")
TIDY = ("effect", "group", "level", "term", *ESTIMATES)
AS_ESTIMATES = {"mean": "estimate", "sd": "std_error"}  # columns of draws, where those of a fit stand


def read_kinds(effects: Any) -> tuple[Kind, ...]:
    """Return the kinds of rows that are asked for, in the order of `KINDS`.

    Raises
    ------
    ArgumentError
        If one is unknown, or there are none.
    """
    wanted = [effects] if isinstance(effects, str) else list(effects) if isinstance(effects, Iterable) else []
    if not wanted or not all(isinstance(kind, str) and kind in KINDS for kind in wanted):
        raise ArgumentError(f"effects is {shorten(effects)}: give some of {listing(KINDS, quoted=True)}.")
    return tuple(kind for kind in KINDS if kind in wanted)


def tidy_frame(
    kinds: Sequence[Kind], parameters: pd.DataFrame, by_level: Mapping[str, Callable[[], pd.DataFrame]]
) -> pd.DataFrame:
    """Stack tables of results.

    Parameters
    ----------
    kinds : sequence of str
        Which rows.
    parameters : DataFrame
        All parameters by name, with their kind and group.
    by_level : mapping of str to callable
        By kind what makes its table, of group, level, effect; called where it is wanted.

    Returns
    -------
    DataFrame
        The columns of `TIDY`, and those that say how far draws can be trusted, if the parameters have them.
    """
    is_fixed = (parameters["kind"] == "fixed").to_numpy()
    named = parameters.rename(columns=AS_ESTIMATES).assign(term=parameters.index)
    parts: dict[str, pd.DataFrame] = {"fixed": named.loc[is_fixed], "ran_pars": named.loc[~is_fixed]}
    for kind in kinds:
        if kind in by_level:
            parts[kind] = by_level[kind]().rename(columns={**AS_ESTIMATES, "effect": "term"})
    numbers = [*ESTIMATES, *(name for name in (MC_ERROR, *CHECKS) if name in parameters)]
    chosen = [parts[kind].assign(effect=kind) for kind in kinds]
    texts = {name: [value for part in chosen for value in _texts(part, name)] for name in TIDY[:4]}
    return pd.DataFrame(
        {name: pd.Series(values, dtype=object) for name, values in texts.items()}
        | {name: np.concatenate([_numbers(part, name) for part in chosen]) for name in numbers}
    )


def check_named_alike(coefficients: Sequence[str], effects: Iterable[Sequence[str]]) -> None:
    """Refuse coefficients of levels where no random effect, of any grouping factor, has the name of a fixed one.

    Raises
    ------
    ArgumentError
        Naming the fixed effects.
    """
    if not any(name in coefficients for own in effects for name in own):
        raise ArgumentError(
            f"No random effect has the name of a fixed one (fixed: {', '.join(coefficients) or 'none'}), so that there "
            "is nothing to add up: take random_effects()."
        )


def complete(columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Put columns (n,) side by side, with nothing in rows where one of them is missing."""
    frame = pd.DataFrame(dict(columns))
    return frame.mask(frame.isna().any(axis=1))


def join_rows(frame: pd.DataFrame, rows: pd.Index, data: Any, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Put columns of a result beside the data.

    Parameters
    ----------
    frame : DataFrame
        The columns that the model uses, of the rows that it uses.
    rows : pandas.Index
        Labels of these rows.
    data : pandas.DataFrame, optional
        The data that the model was given, with columns that it does not use; rows that were left out get NaN.
    columns : mapping of str to array, shape (n,)
        What is added.

    Raises
    ------
    ArgumentError
        If the data are not those of the model, or have a column of the name of one that is added.
    """
    beside = frame if data is None else data
    if not isinstance(beside, pd.DataFrame):
        raise ArgumentError(
            f"data is of type {type(data).__name__}: give the pandas data frame that the model was given, or leave it "
            "out for the columns that the model uses."
        )
    taken = [name for name in columns if name in beside.columns]
    if taken:
        raise ArgumentError(f"The data have a column {taken[0]!r}, which is one that is added: rename or drop it.")
    added = pd.DataFrame(dict(columns), index=rows)
    if beside.index.equals(rows):
        return pd.DataFrame({**{name: beside[name] for name in beside.columns}, **columns}, index=rows)
    if not (beside.index.is_unique and rows.isin(beside.index).all()):
        raise ArgumentError(
            f"data has {len(beside)} rows whose labels are not those of the {len(rows)} rows that the model uses, once "
            "each: give the data frame that the model was given."
        )
    return pd.concat([beside, added.reindex(beside.index)], axis=1)


def _texts(part: pd.DataFrame, name: str) -> list[Any]:
    """Return a column; a name that is not there, as the group of σ, is None."""
    return [None if pd.isna(value) else value for value in part[name]] if name in part else [None] * len(part)


def _numbers(part: pd.DataFrame, name: str) -> np.ndarray:
    return part[name].to_numpy(dtype=float) if name in part else np.full(len(part), np.nan)
