"""Transformations that remember something of all rows: what it is comes from passes over them, or is to be written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.design.columns.columns import Columns, build_arithmetic
from bayesmm.design.columns.remembered import (
    OF_WHICH,
    Occurrences,
    Remembered,
    check_finite_values,
    no_such_value,
)
from bayesmm.design.columns.smooths import shape_smooth
from bayesmm.design.reading.frame import UsedRows
from bayesmm.design.reading.names import MEANS, Names
from bayesmm.errors import RowsError
from bayesmm.rows.distinct import DistinctValues
from bayesmm.specification.expansion import expand_text
from bayesmm.specification.formula import read_arithmetic
from bayesmm.specification.smooths import is_smooth, read_smooth
from bayesmm.specification.syntax import Call, Constant, Node, Number, walk, write
from bayesmm.specification.terms import Specification

BASES = ("bs", "cr", "cc", "tp", "poly")
FIXED_SPLINE = ("knots", "lower_bound", "upper_bound", "center")


def needed_states(specification: Specification, weights: str | None) -> list[list[Call]]:
    """List the calls that need something of all rows, in the order in which it can be found.

    Parameters
    ----------
    specification : Specification
        The model.
    weights : str or None
        Prior weights as an expression.

    Returns
    -------
    list of list of Call
        Those of a list take none that is not in a list before it: each takes one pass over the rows.

    Raises
    ------
    RowsError
        For a transformation whose values are not found so, with what to write instead.
    """
    layers: list[dict[str, Call]] = []
    for call in _calls(specification, weights):
        if not _remembers(call):
            continue
        _argument(call)
        depth = _depth(call) - 1
        layers += [{} for _ in range(depth + 1 - len(layers))]
        layers[depth][write(call)] = call
    return [list(layer.values()) for layer in layers]


def named_values(specification: Specification, weights: str | None, kept: UsedRows) -> dict[str, Remembered]:
    """Find which value each ``binary`` of a model is about: the one that is named, or the first of its column.

    Parameters
    ----------
    specification : Specification
        The model.
    weights : str or None
        Prior weights as an expression.
    kept : UsedRows
        Rows in which every text and the least of all numbers occurs.

    Raises
    ------
    RowsError
        If it takes the first value of an expression.
    """
    found: dict[str, Remembered] = {}
    for call in _calls(specification, weights):
        if call.callee not in OF_WHICH:
            continue
        named = call.arguments[1] if len(call.arguments) > 1 else dict(call.keywords).get("success", Constant(None))
        if not isinstance(named, (Constant, Number)):  # a text is among the rows that are kept, if it is anywhere
            continue
        value = named.value
        if value is None:
            argument = _argument(call)
            if getattr(argument, "text", None) not in kept.columns:
                raise RowsError(
                    f"{write(call)} takes the first of all values of an expression, and the rows are read chunk by "
                    f"chunk. Name the value: {call.callee}({write(argument)}, 1)."
                )
            value = sorted(pd.unique(np.asarray(kept.columns[argument.text])).tolist())[0]  # pyright: ignore
        found[write(call)] = {"success": value}
    return found


def unseen_values(specification: Specification, weights: str | None, kept: UsedRows, names: Names) -> list[Call]:
    """List the calls of ``binary`` that ask for a value which no row has that was kept: others may have it."""
    found: dict[str, Call] = {}
    for call in _calls(specification, weights):
        if call.callee in OF_WHICH and write(call) in names.states:
            columns = build_arithmetic(write(call), kept.as_floats(), names, what="transformation")
            if not columns.fitted(len(kept)).any():
                found[write(call)] = call
    return list(found.values())


def _seen_as(call: Call) -> str:
    """Return what is looked at in each row: of ``binary`` whether it has the value, of others what they are of."""
    return write(call if call.callee in OF_WHICH else _argument(call))


def _remembers(call: Call) -> bool:
    if is_smooth(call) or call.callee in MEANS:
        return True
    given = dict(call.keywords)
    if call.callee == "poly":  # powers as they are need nothing
        return (call.arguments[2] if len(call.arguments) > 2 else given.get("raw")) != Constant(True)
    if call.callee == "bs" and set(FIXED_SPLINE) <= set(given) and given["center"] == Constant(False):
        return False
    return call.callee in BASES


def _depth(call: Call) -> int:
    """How many transformations that remember something stand in each other, this one included."""
    inside = [each for argument in call.arguments for each in walk(argument) if isinstance(each, Call)]
    return 1 + max((_depth(each) for each in inside if _remembers(each)), default=0)


def _argument(call: Call) -> Node:
    """Return what a transformation is of."""
    if not call.arguments:
        raise RowsError(f"{write(call)} does not begin with what it is of: write that first, without a name.")
    return call.arguments[0]


def _calls(specification: Specification, weights: str | None) -> Iterator[Call]:
    sums = [specification.fixed, *(term.expression for term in specification.random_terms)]
    nodes: list[Node] = [factor for text in sums for factors in expand_text(text).terms for factor in factors]
    arithmetic = [specification.response, *specification.offsets, *([weights] if weights else [])]
    arithmetic += [text for term in specification.random_terms for text in term.grouping.weights]
    nodes += [read_arithmetic(text) for text in arithmetic]
    for node in nodes:
        yield from (each for each in walk(node) if isinstance(each, Call))


class Moments:
    """Number, mean and sum of squares about it, chunk by chunk (Chan, Golub & LeVeque 1983, Am. Stat. 37).

    Those of other rows are merged in any order and grouping: the result is the same but for rounding.
    """

    def __init__(self, n: int = 0, mean: float = 0.0, square: float = 0.0) -> None:
        self.n, self.mean, self.square = n, mean, square

    def add(self, values: np.ndarray) -> None:
        """Add values (n,) of some rows."""
        mean = float(values.mean())
        self.merge(Moments(len(values), mean, float(((values - mean) ** 2).sum())))

    def merge(self, other: Moments) -> None:
        """Add those of other rows."""
        n = self.n + other.n
        if other.n:
            self.square += other.square + (other.mean - self.mean) ** 2 * self.n * other.n / n
            self.mean += (other.mean - self.mean) * other.n / n
            self.n = n

    def remembered(self) -> Remembered:
        """Return mean and standard deviation."""
        return {"mean": self.mean, "sd": float(np.sqrt(self.square / self.n))}


class Occurs:
    """Whether some row has the value that ``binary`` asks for."""

    def __init__(self, value: Any) -> None:
        self._value, self._is_seen = value, False

    def add(self, values: np.ndarray) -> None:
        """Look at some rows, which are one where they have it (n,)."""
        self._is_seen |= bool(values.any())

    def merge(self, other: Occurs) -> None:
        """Take in what was seen in other rows."""
        self._is_seen |= other._is_seen

    def remembered(self) -> Remembered:
        """Return the value.

        Raises
        ------
        DesignError
            If it does not occur.
        """
        if not self._is_seen:
            raise no_such_value(self._value)
        return {"success": self._value}


class StateSums:
    """What transformations need of all rows, chunk by chunk.

    That of other rows is merged in any order and grouping: exactly, but for the rounding of means.

    Parameters
    ----------
    calls : sequence of Call
        Such as ``center(np.log(x))`` and ``bs(x, df=4)``, as `needed_states` lists them together.
    kept : UsedRows
        Some rows.
    names : Names
        What expressions may use besides columns, with what calls inside of these remember.
    """

    def __init__(self, calls: Sequence[Call], kept: UsedRows, names: Names) -> None:
        self._calls = {write(call): call for call in calls}
        self._columns: dict[str, Columns] = {
            text: build_arithmetic(_seen_as(call), kept, names, what="transformation")
            for text, call in self._calls.items()
        }
        self._found = {
            text: Moments()
            if call.callee in MEANS
            else Occurs(names.states[text]["success"])
            if call.callee in OF_WHICH
            else DistinctValues(text, write(_argument(call)))
            for text, call in self._calls.items()
        }

    def __getstate__(self) -> dict[str, Any]:
        """Leave out how columns are computed."""
        return self.__dict__ | {"_columns": {}}

    def add(self, frame: pd.DataFrame) -> None:
        """Add a data frame of rows."""
        known: dict[str, np.ndarray] = {}
        for text, found in self._found.items():
            argument = _seen_as(self._calls[text])
            if argument not in known:
                known[argument] = self._columns[text].evaluate(frame)[:, 0]
                check_finite_values(argument, known[argument])
            found.add(known[argument])

    def packed(self) -> StateSums:
        """Return itself: its pickle is small."""
        return self

    def merge(self, other: StateSums) -> None:
        """Add what was found in other rows."""
        for text, found in self._found.items():
            theirs = other._found[text]
            assert type(theirs) is type(found)
            found.merge(theirs)  # pyright: ignore[reportArgumentType]

    def states(self, kept: UsedRows, names: Names) -> dict[str, Remembered]:
        """Return what is remembered, by the calls as they are written.

        Parameters
        ----------
        kept, names
            As they were given at the beginning.

        Raises
        ------
        DesignError
            If the values do not allow it: too few of them are distinct, or arguments do not go together.
        """
        return {
            text: found.remembered()
            if not isinstance(found, DistinctValues)
            else self._basis(text, found.occurrences(), kept, names)
            for text, found in self._found.items()
        }

    def _basis(self, text: str, x: Occurrences, kept: UsedRows, names: Names) -> Remembered:
        call = self._calls[text]
        if is_smooth(call):
            _, k, basis = read_smooth(call, text)
            return shape_smooth(text, x, k, basis).remembered
        from bayesmm.design.columns.components import remember_basis

        return remember_basis(call, x, kept.frame, names.environment)


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
