"""Transformations that remember something of all rows: what it is comes from a pass over them, or is to be written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.design.columns.columns import Columns, build_arithmetic
from bayesmm.design.reading.frame import UsedRows
from bayesmm.design.reading.names import MEANS, Names, State
from bayesmm.errors import RowsError
from bayesmm.specification.expansion import expand_text
from bayesmm.specification.formula import read_arithmetic
from bayesmm.specification.smooths import is_smooth
from bayesmm.specification.syntax import Call, Constant, Node, walk, write
from bayesmm.specification.terms import Specification

FIXED_SPLINE = ("knots", "lower_bound", "upper_bound", "center")
INSTEAD = {
    "bs": "Write its knots and limits, bs(x, knots=k, lower_bound=0, upper_bound=1, center=False), with k in namespace",
    "binary": "Write I(x == 'a')",
    "B": "Write I(x == 'a')",
}


def needed_states(specification: Specification, weights: str | None) -> list[Call]:
    """List the calls whose means and standard deviations over all rows are needed.

    Raises
    ------
    RowsError
        For a transformation that needs more of all rows, with what to write instead.
    """
    found: dict[str, Call] = {}
    for call in _calls(specification, weights):
        text = write(call)
        if is_smooth(call) or call.callee in ("cr", "cc", "tp", "poly", *INSTEAD):
            if call.callee == "bs" and _is_fixed_spline(call):
                continue
            advice = INSTEAD.get(call.callee, "Compute its columns in the rows, or write bs() with knots and limits")
            raise RowsError(
                f"{text} depends on how all values lie, and the rows are read chunk by chunk. {advice}; or read the "
                "rows into a data frame."
            )
        if call.callee in MEANS:
            inside = [each for argument in call.arguments for each in walk(argument) if isinstance(each, Call)]
            if len(call.arguments) != 1 or any(each.callee in MEANS for each in inside):
                raise RowsError(f"{text} is a transformation of another one: write one of them out, with its numbers.")
            found[text] = call
    return list(found.values())


def _is_fixed_spline(call: Call) -> bool:
    given = dict(call.keywords)
    return set(FIXED_SPLINE) <= set(given) and given["center"] == Constant(False)


def _calls(specification: Specification, weights: str | None) -> Iterator[Call]:
    sums = [specification.fixed, *(term.expression for term in specification.random_terms)]
    nodes: list[Node] = [factor for text in sums for factors in expand_text(text).terms for factor in factors]
    arithmetic = [specification.response, *specification.offsets, *([weights] if weights else [])]
    arithmetic += [text for term in specification.random_terms for text in term.grouping.weights]
    nodes += [read_arithmetic(text) for text in arithmetic]
    for node in nodes:
        yield from (each for each in walk(node) if isinstance(each, Call))


class StateSums:
    """Mean and standard deviation of what calls are of, chunk by chunk (Chan, Golub & LeVeque 1983, Am. Stat. 37).

    Parameters
    ----------
    calls : sequence of Call
        Such as ``center(np.log(x))``.
    kept : UsedRows
        Some rows.
    names : Names
        What expressions may use besides columns.
    """

    def __init__(self, calls: Sequence[Call], kept: UsedRows, names: Names) -> None:
        texts = {write(call): write(call.arguments[0]) for call in calls}
        self._columns: dict[str, Columns] = {
            text: build_arithmetic(argument, kept, names, what="transformation") for text, argument in texts.items()
        }
        self._sums: dict[str, tuple[int, float, float]] = dict.fromkeys(texts, (0, 0.0, 0.0))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out how columns are computed."""
        return {"_sums": self._sums}

    def add(self, frame: pd.DataFrame) -> None:
        """Add a data frame of rows."""
        for text, source in self._columns.items():
            values = source.evaluate(frame)[:, 0]
            mean = float(values.mean())
            self._add(text, len(values), mean, float(((values - mean) ** 2).sum()))

    def merge(self, other: StateSums) -> None:
        """Add sums over other rows."""
        for text, (m, mean, square) in other._sums.items():
            if m:
                self._add(text, m, mean, square)

    def _add(self, text: str, m: int, own: float, own_square: float) -> None:
        n, mean, square = self._sums[text]
        square += own_square + (own - mean) ** 2 * n * m / (n + m)
        self._sums[text] = n + m, mean + (own - mean) * m / (n + m), square

    def states(self) -> dict[str, State]:
        """Return them."""
        return {text: State(mean, float(np.sqrt(square / n))) for text, (n, mean, square) in self._sums.items()}


def check_row_by_row(sources: Sequence[Columns], kept: UsedRows) -> None:
    """Refuse expressions whose value in a row depends on which other rows are there."""
    frame = kept.as_floats().frame
    for source in sources:
        if not source.names or len(frame) < 4:
            continue
        try:
            part, whole = source.evaluate(frame.iloc[::2]), source.evaluate(frame)[::2]
        except Exception:  # of a function that does not find in some rows what is in all of them
            part, whole = np.zeros(1), np.ones(1)
        if part.shape != whole.shape or not np.allclose(part, whole, rtol=1e-9, atol=0.0, equal_nan=True):
            raise RowsError(
                f"{', '.join(source.names)}: what is computed in a row depends on other rows, and they are read chunk "
                "by chunk. Give a function of the row alone, or compute the column in the files."
            )
