"""The first pass: which rows are complete, and some of them in which every level occurs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.console import listing
from bayesmm.design.reading.dtypes import EXACT, Column, read_column
from bayesmm.design.reading.frame import Table
from bayesmm.errors import DesignError, RowsError
from bayesmm.rows.dictionary import Combinations, first_rows
from bayesmm.rows.scan import Chunk, Scan
from bayesmm.rows.values import Kind, Values, read_values
from bayesmm.specification.expansion import expand_text
from bayesmm.specification.smooths import is_smooth
from bayesmm.specification.syntax import Call, Node, walk
from bayesmm.specification.terms import Specification

SAMPLED = 1024  # rows of a chunk that are kept besides those that bring something new
MOST_SAMPLED = 2**14  # of all chunks together
FEWEST = 500  # rows of a skeleton, so that columns that are independent are so in it
GOLDEN = 0.6180339887498949
FACTORS = ("C", "S", "T", "at")


@dataclass(frozen=True, eq=False)
class CompleteRows:
    """The rows of a chunk without a missing value.

    Attributes
    ----------
    chunk : Chunk
        Where they are from.
    columns : dict of str to Values
        Their values.
    n_read : int
        Rows of the chunk.
    missing : dict of str to int
        In how many of them each column is missing.
    """

    chunk: Chunk
    columns: dict[str, Values]
    n_read: int
    missing: dict[str, int]

    @property
    def n(self) -> int:
        """How many they are."""
        return len(next(iter(self.columns.values())).data) if self.columns else self.n_read


def read_complete(chunk: Chunk, names: Sequence[str], texts: set[str]) -> CompleteRows:
    """Read the complete rows of a chunk.

    Raises
    ------
    DesignError
        If a column has infinite values, or a type that a model cannot use.
    """
    columns = {name: read_values(name, chunk.table.column(name), is_text=name in texts) for name in names}
    n = chunk.table.num_rows
    keep, missing = np.ones(n, bool), {}
    for name, values in columns.items():
        if values.missing is not None:
            keep &= ~values.missing
            missing[name] = int(values.missing.sum())
    if missing:
        columns = {name: values.rows(keep) for name, values in columns.items()}
    for name, values in columns.items():
        if values.kind == "numbers" and values.data.dtype.kind == "f" and np.isinf(values.data).any():
            raise RowsError(
                f"Column {name!r} has {int(np.isinf(values.data).sum())} infinite value(s) in {chunk}. Correct them, "
                "or set them to missing."
            )
    return CompleteRows(chunk, columns, n, missing)


def witnessed_columns(specification: Specification, kinds: dict[str, Kind]) -> list[tuple[str, ...]]:
    """Columns, or combinations of columns, whose every value must be among the rows that are kept."""
    keys: dict[tuple[str, ...], None] = {}
    for term in specification.random_terms:
        grouping = term.grouping
        sides = [(name,) for name in grouping.factors] if grouping.has_members else [tuple(grouping.factors)]
        keys |= dict.fromkeys(side for side in sides if side)
    texts = dict.fromkeys([specification.fixed, *(term.expression for term in specification.random_terms)])
    for factors in (factors for text in texts for factors in expand_text(text).terms):
        names = [name for factor in factors for name in _factor_columns(factor, kinds)]
        if names:
            keys |= dict.fromkeys([tuple(dict.fromkeys(names))])
    for name, kind in kinds.items():  # what else is compared with a text
        if kind in ("texts", "categories", "truth values"):
            keys |= dict.fromkeys([(name,)])
    return list(keys)


def _factor_columns(node: Node, kinds: dict[str, Kind]) -> Iterator[str]:
    if isinstance(node, Call) and is_smooth(node):
        return
    is_coded = any(isinstance(each, Call) and each.callee in FACTORS for each in walk(node))
    for each in walk(node):
        name = getattr(each, "text", None)
        if name in kinds and (is_coded or kinds[name] != "numbers"):
            yield name


@dataclass
class Gathered:
    """What the first pass finds.

    Attributes
    ----------
    n_read, n : int
        Rows there are, and those that are complete.
    missing : dict of str to int
        In how many rows each column is missing.
    kinds : dict of str to str
        Of each column.
    categories : dict of str to list
        Of columns that have an order of their own.
    means : dict of str to float
        Of columns of numbers.
    low, high : dict of str to float
        Their least and greatest values.
    rows : dict of str to list
        Values in the rows that are kept, by column.
    n_chunks : int
        How many chunks there were.
    n_new : int
        How many of the rows that are kept, the first ones, brought a level or a limit; the others are a sample.
    levels : tuple of str
        Columns whose values are levels.
    """

    n_read: int = 0
    n: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    categories: dict[str, list[Any]] = field(default_factory=dict)
    means: dict[str, float] = field(default_factory=dict)
    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)
    rows: dict[str, list[Any]] = field(default_factory=dict)
    n_chunks: int = 0
    n_new: int = 0
    levels: tuple[str, ...] = ()

    @property
    def content(self) -> str:
        """What tells these rows from others of the same number: limits and means, whatever the chunks."""
        means = {name: f"{mean:.9e}" for name, mean in self.means.items()}
        return repr((self.n_read, self.n, *(sorted(each.items()) for each in (self.low, self.high, means))))

    def skeleton(self) -> Gathered:
        """Return the same with rows that nobody has: the levels of those that brought one, with numbers made up.

        Numbers lie between the least and the greatest of their column, which are both there.
        """
        n = self.n_new
        if not n:
            return self
        which = np.arange(max(n, FEWEST)) % n
        rows: dict[str, list[Any]] = {}
        for position, (name, values) in enumerate(self.rows.items()):
            if name in self.levels:
                rows[name] = [values[i] for i in which.tolist()]
                continue
            low, high = self.low[name], self.high[name]
            steps = (np.arange(1, len(which) + 1) * GOLDEN * np.sqrt(position + 1.0)) % 1.0
            made = low + (high - low) * steps
            made[0], made[-1] = low, high
            rows[name] = made.tolist()
        return replace(self, rows=rows, n_new=len(which))

    def table(self) -> Table:
        """Return the rows that are kept as a table of a data frame would be read."""
        columns = {name: self._column(name, values) for name, values in self.rows.items()}
        n = len(next(iter(self.rows.values()), []))
        return Table(columns=columns, index=pd.RangeIndex(n), n_rows=n)

    def _column(self, name: str, values: list[Any]) -> Column:
        kind = self.kinds[name]
        if kind == "texts":
            return read_column(name, pd.Series(values, dtype="str"))
        if kind == "categories":
            return read_column(name, pd.Series(pd.Categorical(values, categories=self.categories[name])))
        if kind == "truth values":
            return read_column(name, pd.Series(np.array(values, dtype=bool)))
        if all(isinstance(value, int) for value in values) and max(map(abs, values), default=0) > EXACT:
            return read_column(name, pd.Series(np.array(values)))
        return read_column(name, pd.Series(np.array(values, dtype=np.float64)))


class Gatherer:
    """Looks at chunks one after another, and keeps what of them is new.

    Parameters
    ----------
    specification : Specification
        What the columns are for.
    names : sequence of str
        The columns that the model needs.
    """

    def __init__(self, specification: Specification, names: Sequence[str]) -> None:
        self._specification = specification
        self._keys: list[tuple[tuple[str, ...], Combinations]] | None = None
        self._sampled: list[dict[str, list[Any]]] = []
        self._stride = 1
        self._places: dict[str, str] = {}  # where each kind was first seen
        self.found = Gathered(rows={name: [] for name in names})

    def add(self, rows: CompleteRows) -> None:
        """Look at the complete rows of one chunk."""
        found = self.found
        found.n_read += rows.n_read
        found.n_chunks += 1
        for name, count in rows.missing.items():
            found.missing[name] = found.missing.get(name, 0) + count
        for name, values in rows.columns.items():
            self._check_kind(name, values, rows.chunk)
        if not rows.n:
            return
        fresh = [self._extremes(name, values) for name, values in rows.columns.items() if values.kind == "numbers"]
        if self._keys is None:
            keys = witnessed_columns(self._specification, found.kinds)
            self._keys = [(key, Combinations(len(key))) for key in keys]
        for key, seen in self._keys:
            before = len(seen)
            codes = seen.learn([rows.columns[name] for name in key])
            if len(seen) > before:
                fresh.append(first_rows(codes, before))
        kept = np.unique(np.concatenate([*fresh, np.zeros(0, np.int64)])).astype(np.int64)
        self._keep(rows, kept, found.rows)
        self._sample(rows)
        found.n += rows.n

    def finished(self) -> Gathered:
        """Return what was found."""
        self.found.n_new = len(next(iter(self.found.rows.values()), []))
        named = {name for key, _ in self._keys or () for name in key}
        self.found.levels = tuple(name for name in self.found.rows if name in named)
        for part in self._sampled:
            for name, values in part.items():
                self.found.rows[name] += values
        self._sampled = []
        return self.found

    def _keep(self, rows: CompleteRows, which: np.ndarray, into: dict[str, list[Any]]) -> None:
        for name, values in rows.columns.items():
            into.setdefault(name, []).extend(values.rows(which).listed())

    def _sample(self, rows: CompleteRows) -> None:
        """Keep rows at even distances; every second chunk's, every fourth's, ... where there are very many."""
        if (self.found.n_chunks - 1) % self._stride == 0:
            part: dict[str, list[Any]] = {}
            self._keep(rows, np.unique(np.linspace(0, rows.n - 1, min(SAMPLED, rows.n)).astype(np.int64)), part)
            self._sampled.append(part)
        if len(self._sampled) > MOST_SAMPLED // SAMPLED:
            self._sampled, self._stride = self._sampled[::2], 2 * self._stride

    def _extremes(self, name: str, values: Values) -> np.ndarray:
        """Rows of a new least or greatest value; mean and limits are noted."""
        found, data, fresh = self.found, values.data, []
        low, high = int(data.argmin()), int(data.argmax())
        if name not in found.low or data[low] < found.low[name]:
            found.low[name] = data[low].item()
            fresh.append(low)
        if name not in found.high or data[high] > found.high[name]:
            found.high[name] = data[high].item()
            fresh.append(high)
        before = found.means.get(name, 0.0)
        found.means[name] = before + (float(data.mean()) - before) * len(data) / (found.n + len(data))
        return np.array(fresh, dtype=np.int64)

    def _check_kind(self, name: str, values: Values, chunk: Chunk) -> None:
        kinds = self.found.kinds
        if values.kind == "nothing":
            kinds.setdefault(name, "nothing")
            return
        before = kinds.get(name, "nothing")
        if before == "nothing":
            kinds[name] = values.kind
            self._places[name] = str(chunk)
        elif before != values.kind:
            raise RowsError(
                f"Column {name!r} holds {values.kind} in {chunk}, and {before} in {self._places[name]}. Write it with "
                "one type in all parts."
            )
        if values.kind == "categories":
            self._join_categories(name, values.categories, chunk)

    def _join_categories(self, name: str, own: tuple[Any, ...], chunk: Chunk) -> None:
        known = self.found.categories.setdefault(name, [])
        place = {value: i for i, value in enumerate(known)}
        order = [place[value] for value in own if value in place]
        if order != sorted(order):
            raise RowsError(
                f"The categories of column {name!r} are in another order in {chunk} than before: {listing(own, 6)} "
                f"after {listing(known, 6)}. Write the same categories in all parts, or the column as texts, which are "
                "sorted."
            )
        known += [value for value in own if value is not None and value not in place]


def gather(source: Scan, specification: Specification, names: Sequence[str]) -> Gathered:
    """Make the first pass over the rows.

    Parameters
    ----------
    source : Scan
        Where they are.
    specification : Specification
        What the columns are for.
    names : sequence of str
        The columns that the model needs.

    Raises
    ------
    RowsError
        If parts do not go together, or cannot be read.
    """
    gatherer, texts = Gatherer(specification, names), source.texts
    for chunk in source.chunks(names):
        gatherer.add(read_chunk(chunk, names, texts))
    found = gatherer.finished()
    if not found.n_read:
        raise DesignError(f"There are no rows in {source}.")
    return found


def read_chunk(chunk: Chunk, names: Sequence[str], texts: set[str]) -> CompleteRows:
    """Read the complete rows of a chunk; an error names it."""
    try:
        return read_complete(chunk, names, texts)
    except DesignError as error:
        raise RowsError(f"In {chunk}: {error}") from None
