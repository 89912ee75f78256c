"""From one row a subject to one row an observation."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.design.reading.frame import missing_column, open_frame
from bayesmm.errors import DesignError

if TYPE_CHECKING:  # loaded where data are not of pandas
    import narwhals.stable.v2 as nw

_SEPARATOR = "\x1f"  # between a variable and the position of its time; no column's name holds it
_ROW = "\x1frow"
_NUMBER = r"\d+(?:\.\d+)?"

type Layout = dict[str, list[str | None]]  # variable -> its column at each time, None where it was not measured


def to_long(
    data: Any,
    columns: Mapping[str, Sequence[str | None]] | None = None,
    *,
    pattern: str | None = None,
    id: str | None = None,
    time: str = "time",
    times: Sequence[Any] | None = None,
    drop_missing: bool = False,
) -> pd.DataFrame:
    """Reshape repeated measurements from one row a subject to one row an observation.

    Parameters
    ----------
    data : data frame
        A pandas, polars or pyarrow table with one row for each subject.
    columns : mapping of str to sequence of str, optional
        For each variable of the result the columns that hold it, in the order of time; None stands for a time at which
        it was not measured.
    pattern : str, optional
        Instead of ``columns``: how the columns are named, with ``{variable}`` and ``{time}``, such as
        ``"Time{time}{variable}"`` or ``"{variable}_{time}"``. Columns that do not fit the pattern are kept as they are.
    id : str, optional
        The column that identifies the subjects; a column ``"subject"`` with 1, 2, ... is made if None.
    time : str
        Name of the column of times in the result.
    times : sequence, optional
        The times. With ``columns`` one for each position, 1, 2, ... if None; with ``pattern`` those to look for, all
        numbers if None.
    drop_missing : bool
        Whether rows in which every variable is missing are left out: visits that did not happen.

    Returns
    -------
    pandas.DataFrame
        The subject, the time, the columns that are constant within a subject, and the variables; sorted by the order
        of the subjects in the data and by time.

    Raises
    ------
    DesignError
        If a column is lacking or used twice, a name is taken, a subject has several rows, or nothing fits the pattern.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> import pandas as pd
    >>> wide = pd.DataFrame({"who": ["a", "b"], "Time1Y": [1, 2], "Time2Y": [3, 4]})
    >>> bmm.to_long(wide, pattern="Time{time}{variable}", id="who")
      who  time  Y
    0   a     1  1
    1   a     2  3
    2   b     1  2
    3   b     2  4
    """
    wide = _to_pandas(open_frame(data))
    _check_arguments(columns, pattern, id, time, times, drop_missing)
    if (columns is None) == (pattern is None):
        raise DesignError(
            "Say either which columns hold a variable, columns={'Y': [...]}, or how they are named, pattern=."
        )
    times = None if times is None else list(times)
    if pattern is not None:
        layout, times = _layout_by_pattern(wide, pattern, times, id)
    else:
        layout, times = _checked_layout(wide, dict(columns or {}), times)
    wide, id = _with_subject(wide, id)
    measured = {name for names in layout.values() for name in names if name is not None}
    constant = [name for name in wide.columns if name not in measured and name != id]
    _check_names(layout, time, [id, *constant])
    long = _melt(wide, layout)
    long[time] = pd.Series(list(times), dtype=None).take(long.pop(_SEPARATOR)).to_numpy()
    if drop_missing:
        long = long.loc[long.reindex(columns=list(layout)).notna().any(axis=1)]
    return long.reindex(columns=[id, time, *constant, *layout]).reset_index(drop=True)


def _check_arguments(columns: Any, pattern: Any, id: Any, time: Any, times: Any, drop_missing: Any) -> None:
    """Refuse what is of another type than it must be."""
    for name, value, example in (("pattern", pattern, "'{variable}_{time}'"), ("id", id, "'subject'")):
        if value is not None and not isinstance(value, str):
            raise DesignError(f"{name} is {shorten(value)}: give one text, such as {example}, or leave it out.")
    if not isinstance(time, str) or not time:
        raise DesignError(f"time is {shorten(time)}: give the name of the column of times, such as 'time'.")
    several = isinstance(times, Iterable) and not isinstance(times, (str, bytes, Mapping))
    if times is not None and not (several and len(list(times)) and all(isinstance(each, Hashable) for each in times)):
        raise DesignError(f"times is {shorten(times)}: give a list of times, such as [1, 2, 3].")
    if not isinstance(drop_missing, (bool, np.bool_)):
        raise DesignError(f"drop_missing is {shorten(drop_missing)}: give True or False.")
    if columns is None:
        return
    lists = columns.values() if isinstance(columns, Mapping) else [columns]
    if not isinstance(columns, Mapping) or not all(
        isinstance(each, str) or (isinstance(each, Sequence) and all(n is None or isinstance(n, str) for n in each))
        for each in lists
    ):
        raise DesignError(
            f"columns is {shorten(columns)}: give a mapping from each variable to the names of its columns, "
            "{'weight': ['weight_1', 'weight_2']}."
        )


def _melt(wide: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Reshape with pandas, after giving the columns systematic names; times are positions 0, 1, ...."""
    renamed = {
        name: f"{variable}{_SEPARATOR}{position}"
        for variable, names in layout.items()
        for position, name in enumerate(names)
        if name is not None
    }
    numbered = wide.rename(columns=renamed).assign(**{_ROW: range(len(wide))})
    long = pd.wide_to_long(numbered, stubnames=list(layout), i=_ROW, j=_SEPARATOR, sep=_SEPARATOR, suffix=r"\d+")
    return long.sort_index().reset_index()


def _layout_by_pattern(
    wide: pd.DataFrame, pattern: str, times: Sequence[Any] | None, id: str | None
) -> tuple[Layout, list[Any]]:
    """Find the columns that fit a pattern, and their times."""
    expression = _pattern_expression(pattern, times)
    cells: dict[tuple[str, Any], str] = {}
    variables: dict[str, None] = {}
    by_text = {str(value): value for value in times or ()}
    for name in wide.columns:
        match = expression.fullmatch(str(name))
        if match is None or name == id:
            continue
        text = match["time"]
        key = (match["variable"], by_text[text] if times is not None else _number(text))
        if key in cells:
            raise DesignError(f"The columns {cells[key]!r} and {name!r} both hold {key[0]!r} at time {key[1]}.")
        cells[key] = name
        variables[match["variable"]] = None
    if not cells:
        raise DesignError(
            f"No column fits the pattern {pattern!r}. Columns: {listing(wide.columns)}. "
            "Write {variable} and {time} where the names differ; give times=[...] if they are not numbers."
        )
    found = {key[1] for key in cells}
    ordered = [value for value in times if value in found] if times is not None else sorted(found)
    return {variable: [cells.get((variable, value)) for value in ordered] for variable in variables}, ordered


def _pattern_expression(pattern: str, times: Sequence[Any] | None) -> re.Pattern[str]:
    if pattern.count("{time}") != 1 or pattern.count("{variable}") != 1:
        raise DesignError(
            f"The pattern {pattern!r} must hold {{time}} and {{variable}} once: 'Time{{time}}{{variable}}'."
        )
    # the longest first, so that 'pre2' is not read as 'pre'
    texts = sorted(map(str, times or ()), key=len, reverse=True)
    one_time = "|".join(map(re.escape, texts)) if times is not None else _NUMBER
    groups = {"{time}": f"(?P<time>{one_time})", "{variable}": "(?P<variable>.+?)"}
    return re.compile(
        "".join(groups.get(part, re.escape(part)) for part in re.split(r"(\{time\}|\{variable\})", pattern))
    )


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _checked_layout(
    wide: pd.DataFrame, columns: Mapping[str, Sequence[str | None]], times: Sequence[Any] | None
) -> tuple[Layout, list[Any]]:
    layout: Layout = {
        variable: [names] if isinstance(names, str) else list(names) for variable, names in columns.items()
    }
    used = [name for names in layout.values() for name in names if name is not None]
    for name in used:
        if name not in wide.columns:
            raise missing_column(str(name), wide.columns)
        if used.count(name) > 1:
            raise DesignError(f"Column {name!r} is named {used.count(name)} times. Name each column once.")
    lengths = {variable: len(names) for variable, names in layout.items()}
    if not used or len(set(lengths.values())) > 1:
        counts = listing([f"{variable} {length}" for variable, length in lengths.items()]) or "none"
        raise DesignError(
            f"Every variable needs a column for each time; columns given: {counts}. Write None for a variable that "
            "was not measured."
        )
    n_times = next(iter(lengths.values()))
    if times is not None and len(times) != n_times:
        raise DesignError(f"There are {len(times)} times for {n_times} columns of each variable. Give one for each.")
    return layout, list(range(1, n_times + 1) if times is None else times)


def _with_subject(wide: pd.DataFrame, id: str | None) -> tuple[pd.DataFrame, str]:
    if id is None:
        if "subject" in wide.columns:
            raise DesignError("The data have a column 'subject'. Say id='subject' if it identifies the rows.")
        return wide.assign(subject=range(1, len(wide) + 1)), "subject"
    if id not in wide.columns:
        raise missing_column(id, wide.columns)
    repeated = wide[id].duplicated()
    if repeated.any():
        raise DesignError(
            f"The subject {wide.loc[repeated, id].iloc[0]!r} has several rows, but one row a subject is expected. "
            "The data may be long already; otherwise combine the rows first."
        )
    return wide, id


def _check_names(layout: Layout, time: str, kept: Sequence[str]) -> None:
    for name in (time, *layout):
        if name in kept:
            raise DesignError(
                f"The result would have two columns {name!r}. Rename the one in the data, or choose another."
            )
    if time in layout:
        raise DesignError(f"The time and a variable are both called {time!r}. Choose another name: time='...'.")


def _to_pandas(frame: nw.DataFrame) -> pd.DataFrame:
    native = frame.to_native()
    if isinstance(native, pd.DataFrame):
        return native.reset_index(drop=True)
    if frame.implementation.is_polars():
        return pd.DataFrame({name: frame[name].to_numpy() for name in frame.columns})  # to_pandas would need pyarrow
    return frame.to_pandas()
