"""Places and times as levels: one column for each different number, ``C(t)``, or pair of numbers, ``at(x, y)``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from bayesmm.console import listing, quoted
from bayesmm.design.columns.terms import TermPart, check_column_count
from bayesmm.design.reading.dtypes import level_text
from bayesmm.design.reading.frame import UsedRows
from bayesmm.errors import DesignError, PredictionError
from bayesmm.specification.expansion import Expansion
from bayesmm.specification.syntax import Call, Name, walk, write


@dataclass(frozen=True, eq=False)
class PlacesTerm:
    """One indicator for each place, or time.

    Attributes
    ----------
    name : str
        As it is written in the formula: "at(x, y)", "C(t)".
    coordinates : tuple of str
        Columns of the data.
    places : array, shape (k, d)
        Their different values, sorted.
    codes : array of int, shape (n,)
        Place of each row.
    """

    name: str
    coordinates: tuple[str, ...]
    places: np.ndarray
    codes: np.ndarray

    @cached_property
    def data(self) -> np.ndarray:
        """Indicators (n, k)."""
        return np.eye(len(self.places))[self.codes]

    @property
    def column_names(self) -> list[str]:
        """The place of each: "at(x, y)[1.5, 0]"."""
        return [f"{self.name}[{label}]" for label in map(_label, self.places)]

    @property
    def is_column(self) -> bool:
        """No: a factor."""
        return False

    @property
    def parts(self) -> list[tuple[str, np.ndarray]]:
        """Itself."""
        return [(self.name, self.data)]

    @property
    def anatomy(self) -> tuple[TermPart, ...]:
        """Itself, every level with its column."""
        return (TermPart(self.name, len(self.places), np.eye(len(self.places))),)

    def eval_new_data(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the indicators of new rows."""
        found, codes = self._find(frame)
        if (codes < 0).any():
            new = list(dict.fromkeys(_label(each) for each in found[codes < 0]))
            raise PredictionError(
                f"{self.name!r} has the level(s) {listing(new, 5, quoted=True)} in the new data, which the fit did not "
                f"see, so their effect is unknown. Known are {listing([_label(each) for each in self.places])}."
            )
        return np.eye(len(self.places))[codes]

    def widened(self, frame: pd.DataFrame) -> PlacesTerm:
        """Add the places of new rows, after those of the fit; itself if there are none."""
        found, codes = self._find(frame)
        if (codes >= 0).all():
            return self
        return replace(self, places=np.concatenate([self.places, np.unique(found[codes < 0], axis=0)]))

    def _find(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Places of rows, and which of the known ones they are, or −1."""
        found = frame[list(self.coordinates)].to_numpy(dtype=np.float64) + 0.0
        known = pd.MultiIndex.from_arrays(list(self.places.T))
        return found, known.get_indexer(pd.MultiIndex.from_arrays(list(found.T)))


def places_term(expansion: Expansion, rows: UsedRows, text: str) -> PlacesTerm | None:
    """Return the term of places, or of a column of numbers as levels, that a sum of terms consists of.

    None if it consists of others.

    Raises
    ------
    DesignError
        If something else stands beside it, or its arguments are not columns of numbers.
    """
    if not expansion.intercept and [len(term) for term in expansion.terms] == [1]:
        match expansion.terms[0][0]:
            case Call("C", (Name(name),), ()) as call if _is_numeric(rows.columns.get(name)):
                return _build(write(call), (name,), rows, text)
            case Call("at", arguments, ()) as call if arguments:
                coordinates = [each.text for each in arguments if isinstance(each, Name)]
                if len(coordinates) == len(arguments) and all(_is_numeric(rows.columns.get(x)) for x in coordinates):
                    return _build(write(call), tuple(coordinates), rows, text)
    for call in _calls(expansion):
        name = quoted(write(call))
        if expansion.intercept or expansion.terms != ((call,),):
            raise DesignError(
                f"{name} in {quoted(text)}: places stand alone left of a bar, without an intercept: "
                f"exp(0 + {write(call)} | g)."
            )
        raise DesignError(
            f"{name}: at() takes columns of numbers, the coordinates of a place: at(x, y). Compute them as columns of "
            "the data."
        )
    return None


def _build(name: str, coordinates: tuple[str, ...], rows: UsedRows, text: str) -> PlacesTerm:
    values = np.column_stack([np.asarray(rows.columns[each], dtype=np.float64) for each in coordinates])
    if not np.isfinite(values).all():
        raise DesignError(f"{quoted(name)} has coordinates that are not finite.")
    places, codes = np.unique(values + 0.0, axis=0, return_inverse=True)  # −0 is 0
    check_column_count(len(places), len(values), text)
    return PlacesTerm(name, coordinates, places, codes.reshape(-1))


def _calls(expansion: Expansion) -> Iterable[Call]:
    for term in expansion.terms:
        for factor in term:
            yield from (each for each in walk(factor) if isinstance(each, Call) and each.callee == "at")


def _is_numeric(values: object) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind in "iuf"


def _label(place: Iterable[float]) -> str:
    return ", ".join(map(level_text, place))
