"""Comparisons of predictions: what changing one column would change, averaged over the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.design.design import Design
from bayesmm.design.reading.dtypes import level_text
from bayesmm.design.reading.frame import read_table
from bayesmm.design.words.factors import is_factor
from bayesmm.errors import ArgumentError
from bayesmm.inference.fitted import Df, Fitted, Information
from bayesmm.inference.fixed.fixed_effects import FixedInference
from bayesmm.inference.means.adjust import Adjust
from bayesmm.inference.means.averaging import keep_estimable
from bayesmm.inference.means.emmeans import read_names
from bayesmm.inference.means.evidence import read_evidence
from bayesmm.inference.means.grid import as_list, check_columns, choose_levels, read_numbers
from bayesmm.inference.means.margins import CONTRAST, Margins, free_name

if TYPE_CHECKING:
    from bayesmm.bayes.results.drawn import DrawnModel

type Change = tuple[str, Any, Any]  # its name, what a column is set to before, and after


def comparisons(
    result: Fitted | DrawnModel,
    variables: str | Sequence[str] | Mapping[str, Any],
    *,
    by: str | Sequence[str] | None = None,
    data: Any = None,
    df: Df | None = None,
    information: Information | None = None,
    covariance: FixedInference | None = None,
    adjust: Adjust = "none",
    level: float = 0.95,
    progress: bool | None = None,
) -> Margins:
    """Compare predictions where one column is changed and all else is as in the data, averaged over rows.

    Parameters
    ----------
    result : Fit or Posterior
        Estimates or draws.
    variables : str, sequence of str, or mapping of str to values
        Columns of the fixed part, one after another. Of a factor each level is compared with the first, or with the
        first of those given, ``{"treatment": ["placebo", "drug"]}``; a number grows by one, by the number given, or
        goes from the first value to each of the others, ``{"Days": [0, 9]}``.
    by : str or sequence of str, optional
        Columns of the data whose values make groups: averages are over the rows of each. Any column that the model uses
        will do, a grouping factor too; a number makes a group a value.
    data : data frame, optional
        Rows to average over, without those that miss a value; the rows used by default.
    df, information, covariance, adjust, level, progress
        As in `bayesmm.emmeans`.

    Returns
    -------
    Margins
        One row a comparison and group, in units of the response.

    Raises
    ------
    ArgumentError
        If a column is not in the fixed part, or a value suits no column.

    Notes
    -----
    Random effects do not differ between the two predictions of a row, unless the column has random slopes; these are
    taken as zero: comparisons are of the population. In a model without interactions they are those of
    `bayesmm.emmeans`; with them, these average over the rows that there are rather than over a balanced grid.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("distance ~ age * Sex + (age | Subject)", bmm.datasets.load("orthodont")).fit()
    >>> print(bmm.comparisons(fit, {"age": [8, 14]}, by="Sex").table.round(2).to_string())
                                estimate  std_error    df  statistic  p_value  lower  upper
    Sex    variable contrast
    Female age      age14 - age8      2.88       0.62  25.0       4.62      0.0   1.60   4.16
    Male   age      age14 - age8      4.71       0.52  25.0       9.12      0.0   3.64   5.77
    """
    evidence = read_evidence(result, df, information, covariance, progress)
    design = evidence.design
    outside = read_names("by", by)
    asked = _read_variables(variables)
    check_columns(design, list(asked))
    frame = design.frame if data is None else _read_rows(design, data, outside)
    places = _groups(frame, outside)
    labels, L, offset = [], [], []
    changes = [(name, change) for name, values in asked.items() for change in _changes(design, frame, name, values)]
    moved = [_difference(design, frame, name, before, after) for name, (_, before, after) in changes]
    for key, rows in places:
        for (name, (text, *_)), (X, known) in zip(changes, moved, strict=True):
            labels.append((*key, name, text))
            L.append(X[rows].mean(axis=0))
            offset.append(known[rows].mean())
    return Margins(
        kind="comparison",
        title=f"Comparisons of predictions by {listing(asked)}",
        labels=pd.DataFrame(labels, columns=[*outside, free_name("variable", outside), free_name(CONTRAST, outside)]),
        by=tuple(outside),
        L=keep_estimable(design, np.array(L)),
        offset=np.array(offset),
        evidence=evidence,
        adjust=adjust,
        level=level,
        notes=(f"Averaged over {len(frame)} rows{' in groups by ' + listing(outside) if outside else ''}.",),
    )


def _read_rows(design: Design, data: Any, by: Sequence[str]) -> pd.DataFrame:
    """Read the complete rows of a table of any library, with the columns that predictions and groups need."""
    sources = design.sources
    uses = dict.fromkeys(name for source in (sources.fixed, *sources.offsets) for name in source.uses)
    table = read_table(data, list(uses | dict.fromkeys(by)))
    complete = ~table.missing(table.columns)
    if not complete.any():
        raise ArgumentError(f"All {table.n_rows} rows of data= miss a value: give rows with {listing(uses)}.")
    return table.rows(complete).frame


def _read_variables(variables: Any) -> dict[str, Any]:
    if isinstance(variables, Mapping):
        found: dict[Any, Any] = dict(variables)
    else:
        found = dict.fromkeys(read_names("variables", variables))
    if not found or not all(isinstance(name, str) for name in found):
        raise ArgumentError(f"variables is {shorten(variables)}: name one or several columns of the fixed part.")
    return found


def _groups(frame: pd.DataFrame, by: Sequence[str]) -> list[tuple[tuple[Any, ...], np.ndarray]]:
    """Rows of each combination of values that occurs."""
    for name in by:
        if name not in frame:
            raise ArgumentError(
                f"by names {name!r}, which the model does not use; it has {listing(frame.columns)}. Name one of these, "
                "or give rows that have it as data=."
            )
    if not by:
        return [((), np.arange(len(frame)))]
    found = frame.groupby(list(by), observed=True, sort=True).indices
    return [
        (tuple(_label(value) for value in (key if isinstance(key, tuple) else (key,))), np.asarray(rows))
        for key, rows in sorted(found.items(), key=lambda pair: _order(frame, by, pair[1][0]))
    ]


def _order(frame: pd.DataFrame, by: Sequence[str], row: int) -> tuple[Any, ...]:
    """Place of a group: by the categories of factors, by the size of numbers."""
    columns = [frame[name] for name in by]
    return tuple(
        column.cat.codes.iloc[row] if isinstance(column.dtype, pd.CategoricalDtype) else column.iloc[row]
        for column in columns
    )


def _label(value: Any) -> Any:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    return float(value) if isinstance(value, Real) else level_text(value)


def _changes(design: Design, frame: pd.DataFrame, name: str, values: Any) -> Iterator[Change]:
    if is_factor(design, name):
        first, *others = choose_levels(design, name, values)
        for other in others:
            yield f"{_text(name, other)} - {_text(name, first)}", first, other
        if not others:
            raise ArgumentError(f"{name!r} is compared at {level_text(first)!r} only: give two levels or more.")
        return
    if values is None or isinstance(values, Real):
        step = read_numbers(name, 1.0 if values is None else values)[0]
        now = frame[name].to_numpy(dtype=float)
        yield f"{name} {'+' if step >= 0 else '−'}{abs(step):g}", now, now + step
        return
    first, *others = read_numbers(name, values)
    if not others:
        raise ArgumentError(f"{name!r} is compared at {as_list(values)} only: give two values or more, or a step.")
    for other in others:
        yield f"{_text(name, other)} - {_text(name, first)}", first, other


def _text(name: str, value: Any) -> str:
    """Write a value; a number or a truth value with its column before it."""
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, Real) and not isinstance(value, str)):
        return f"{name}{float(value):g}" if not isinstance(value, (bool, np.bool_)) else f"{name}{value}"
    return level_text(value)


def _difference(
    design: Design, frame: pd.DataFrame, name: str, before: Any, after: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the model, and offset, after a change less those before it."""
    first, second = (design.evaluate(_set(design, frame, name, value), groups=[]) for value in (before, after))
    return second.X - first.X, second.offset - first.offset


def _set(design: Design, frame: pd.DataFrame, name: str, value: Any) -> pd.DataFrame:
    kind = design.frame[name].dtype
    if isinstance(kind, pd.CategoricalDtype):
        value = pd.Categorical([value] * len(frame), dtype=kind)
    return frame.assign(**{name: value})
