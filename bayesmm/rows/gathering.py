"""The first pass: which rows are complete, and some of them in which every level occurs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.design.reading.dtypes import EXACT, Column, read_column
from bayesmm.design.reading.frame import Table
from bayesmm.errors import DesignError, RowsError
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.dictionary import Combinations, first_rows
from bayesmm.rows.orders import Order
from bayesmm.rows.source import Scan
from bayesmm.rows.values import Kind, Values, join, read_values
from bayesmm.specification.expansion import expand_text
from bayesmm.specification.smooths import is_smooth
from bayesmm.specification.syntax import Call, Node, walk
from bayesmm.specification.terms import ResidualSpecification, Specification

SAMPLED = 1024  # rows of a chunk that are kept besides those that bring something new
MOST_SAMPLED = 2**14  # of all chunks together
MOST_PARTS = 2**8  # chunks that they are from
FEWEST = 500  # rows of a skeleton, so that columns that are independent are so in it
FEW = 2  # distinct values of a number that are known: means may be looked at in both
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
    complete : array of bool, shape (n_read,)
        Which rows of the chunk they are.
    """

    chunk: Chunk
    columns: dict[str, Values]
    n_read: int
    missing: dict[str, int]
    complete: np.ndarray

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
        if values.missing is not None and values.missing.any():
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
    return CompleteRows(chunk, columns, n, missing, keep)


def witnessed_columns(specification: Specification, kinds: dict[str, Kind]) -> list[tuple[str, ...]]:
    """Columns, or combinations of columns, whose every value must be among the rows that are kept."""
    keys: dict[tuple[str, ...], None] = {}
    for term in specification.random_terms:
        grouping = term.grouping
        sides = [(name,) for name in grouping.factors] if grouping.has_members else [tuple(grouping.factors)]
        keys |= dict.fromkeys(side for side in sides if side)
    if specification.residual is not None:
        keys |= dict.fromkeys(_residual_columns(specification.residual))
    texts = dict.fromkeys([specification.fixed, *(term.expression for term in specification.random_terms)])
    for factors in (factors for text in texts for factors in expand_text(text).terms):
        names = [name for factor in factors for name in _factor_columns(factor, kinds)]
        if names:
            keys |= dict.fromkeys([tuple(dict.fromkeys(names))])
    for name, kind in kinds.items():  # what else is compared with a text
        if kind in ("texts", "categories", "truth values"):
            keys |= dict.fromkeys([(name,)])
    return list(keys)


def _residual_columns(residual: ResidualSpecification) -> Iterator[tuple[str, ...]]:
    """Yield groups of residuals, and strata of their variances."""
    term = residual.correlation
    if term is not None:
        yield tuple(term.grouping.factors)
        yield from ((name,) for name in term.by)
    yield from ((name,) for each in residual.spreads for name in each.factors)


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
    few : dict of str to list
        Their distinct values, if these are at most `FEW`; empty if they are more.
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
    few: dict[str, list[float]] = field(default_factory=dict)
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
        numbers = np.array(values)
        if numbers.dtype.kind in "iu" and max(abs(int(numbers.min())), abs(int(numbers.max()))) > EXACT:
            return read_column(name, pd.Series(numbers))
        return read_column(name, pd.Series(numbers.astype(np.float64)))


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
        self._kept: list[dict[str, Values]] = []  # rows that brought something new
        self._sampled: list[dict[str, Values]] = []
        self._stride = 1
        self._places: dict[str, str] = {}  # where each kind was first seen
        self._orders: dict[str, Order] = {}
        self.found = Gathered(rows={name: [] for name in names})

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is found again in the rows that were kept."""
        return self.__dict__ | {"_keys": None, "_kept": _joined(self._kept)}

    def add(self, rows: CompleteRows) -> None:
        """Look at the complete rows of one chunk."""
        found = self.found
        found.n_read += rows.n_read
        found.n_chunks += 1
        for name, count in rows.missing.items():
            found.missing[name] = found.missing.get(name, 0) + count
        for name, values in rows.columns.items():
            says_nothing = rows.missing.get(name, 0) == rows.n_read  # pandas reads a column without values as numbers
            self._note_kind(name, "nothing" if says_nothing else values.kind, str(rows.chunk))
            if values.kind == "categories":
                self._order_of(name).learn(values.categories, str(rows.chunk))
        if not rows.n:
            return
        for name, values in rows.columns.items():
            if values.kind == "numbers" and found.few.get(name) != []:
                self._note_few(name, values.data)
        self._keep(rows.columns)
        self._sample(rows)
        means = {name: float(each.data.mean()) for name, each in rows.columns.items() if each.kind == "numbers"}
        self._note_means(means, rows.n)

    def packed(self) -> Gatherer:
        """Return itself: its pickle is small."""
        return self

    def merge(self, other: Gatherer) -> None:
        """Take in what was found in other rows, which count as those that follow.

        Raises
        ------
        RowsError
            If the parts do not go together.
        """
        mine, theirs = self.found, other.found
        mine.n_read += theirs.n_read
        mine.n_chunks += theirs.n_chunks
        for name, count in theirs.missing.items():
            mine.missing[name] = mine.missing.get(name, 0) + count
        for name, kind in theirs.kinds.items():
            self._note_kind(name, kind, other._places.get(name, ""))
        for name, order in other._orders.items():
            self._order_of(name).merge(order)
        for name, values in theirs.few.items():
            if values:
                self._note_few(name, np.array(values))
            else:
                mine.few[name] = []
        for columns in _joined(other._kept):
            self._keep(columns)
        stride = max(self._stride, other._stride)
        self._sampled = self._sampled[:: stride // self._stride] + other._sampled[:: stride // other._stride]
        self._stride = stride
        self._thin()
        self._note_means(theirs.means, theirs.n)

    def finished(self) -> Gathered:
        """Return what was found."""
        found = self.found
        found.missing = {name: found.missing[name] for name in found.rows if name in found.missing}
        named = {name for key in witnessed_columns(self._specification, found.kinds) for name in key}
        found.levels = tuple(name for name in found.rows if name in named and found.n)
        for name, into in found.rows.items():
            into[:] = [value for part in (*self._kept, *self._sampled) for value in part[name].listed()]
        found.n_new = sum(_length(part) for part in self._kept)
        found.categories = {name: order.listed() for name, order in self._orders.items()}
        return found

    def _keep(self, columns: dict[str, Values]) -> None:
        """Keep the rows that bring a value, a combination or a limit that was not there."""
        fresh = [self._extremes(name, values) for name, values in columns.items() if values.kind == "numbers"]
        if self._keys is None:
            self._learn_again()
        for key, seen in self._keys or ():
            before = len(seen)
            codes = seen.learn([columns[name] for name in key])
            if len(seen) > before:
                fresh.append(first_rows(codes, before))
        which = np.unique(np.concatenate([*fresh, np.zeros(0, np.int64)])).astype(np.int64)
        if len(which):
            self._kept.append(_taken(columns, which))

    def _learn_again(self) -> None:
        keys = witnessed_columns(self._specification, self.found.kinds)
        self._keys = [(key, Combinations(len(key))) for key in keys]
        for columns in self._kept:
            for key, seen in self._keys:
                seen.learn([columns[name] for name in key])

    def _sample(self, rows: CompleteRows) -> None:
        """Keep rows at even distances; every second chunk's, every fourth's, ... where there are very many."""
        if (self.found.n_chunks - 1) % self._stride == 0:
            which = np.unique(np.linspace(0, rows.n - 1, min(SAMPLED, rows.n)).astype(np.int64))
            self._sampled.append(_taken(rows.columns, which))
        self._thin()

    def _thin(self) -> None:
        while len(self._sampled) > MOST_PARTS or sum(map(_length, self._sampled)) > MOST_SAMPLED:
            self._sampled, self._stride = self._sampled[::2], 2 * self._stride

    def _extremes(self, name: str, values: Values) -> np.ndarray:
        """Rows of a new least or greatest value; limits are noted."""
        found, data, fresh = self.found, values.data, []
        low, high = int(data.argmin()), int(data.argmax())
        if name not in found.low or data[low] < found.low[name]:
            found.low[name] = data[low].item()
            fresh.append(low)
        if name not in found.high or data[high] > found.high[name]:
            found.high[name] = data[high].item()
            fresh.append(high)
        return np.array(fresh, dtype=np.int64)

    def _note_few(self, name: str, data: np.ndarray) -> None:
        """Note the distinct values of a number as long as they are few."""
        known = self.found.few.get(name)
        if known == []:
            return
        seen = np.array(known or data[:1])
        for some in (data[:SAMPLED], data):  # most often some rows have more
            while len(fresh := some[~np.isin(some, seen)]):
                if len(seen) == FEW:
                    self.found.few[name] = []
                    return
                seen = np.append(seen, fresh[0])
        self.found.few[name] = sorted(seen.tolist())

    def _note_means(self, means: dict[str, float], n: int) -> None:
        """Take in means of so many complete rows more."""
        found = self.found
        found.n += n
        for name, mean in means.items():
            before = found.means.get(name, 0.0)
            found.means[name] = before + (mean - before) * n / found.n

    def _note_kind(self, name: str, kind: Kind, place: str) -> None:
        before = self.found.kinds.setdefault(name, "nothing")
        if before == "nothing":
            self.found.kinds[name] = kind
            self._places[name] = place
        elif kind not in (before, "nothing"):
            raise RowsError(
                f"Column {name!r} holds {kind} in {place}, and {before} in {self._places[name]}. Write it with one "
                "type in all parts."
            )

    def _order_of(self, name: str) -> Order:
        return self._orders.setdefault(name, Order(name))


def _taken(columns: dict[str, Values], which: np.ndarray) -> dict[str, Values]:
    return {name: values.rows(which).compact() for name, values in columns.items()}


def _length(columns: dict[str, Values]) -> int:
    return len(next(iter(columns.values())).data) if columns else 0


def _joined(parts: Sequence[dict[str, Values]]) -> list[dict[str, Values]]:
    """Put parts that follow each other into one where their types are the same."""
    found = []
    for _, alike in itertools.groupby(parts, lambda part: [(each.kind, each.data.dtype) for each in part.values()]):
        same = list(alike)
        found.append({name: join([part[name] for part in same]) for name in same[0]})
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Gathering:
    """The first pass over the rows; see `bayesmm.rows.passes.Pass`.

    Attributes
    ----------
    specification : Specification
        What the columns are for.
    names : sequence of str
        The columns that the model needs.
    texts : set of str
        Those that are texts.
    """

    specification: Specification
    names: Sequence[str]
    texts: set[str]
    rows: int | None = None
    text: str = "levels"

    def begin(self) -> Gatherer:
        """Begin with nothing."""
        return Gatherer(self.specification, self.names)

    def add(self, so_far: Gatherer, chunk: Chunk) -> None:
        """Look at a chunk."""
        so_far.add(read_chunk(chunk, self.names, self.texts))


def gather(source: Scan, specification: Specification, names: Sequence[str], bar: Bar = SILENT) -> Gathered:
    """Make the first pass over the rows.

    Parameters
    ----------
    source : Scan
        Where they are.
    specification : Specification
        What the columns are for.
    names : sequence of str
        The columns that the model needs.
    bar : Bar
        What is told how many rows were read.

    Raises
    ------
    RowsError
        If parts do not go together, or cannot be read.
    """
    found = source.fold(Gathering(specification=specification, names=names, texts=source.texts), bar).finished()
    if not found.n_read:
        raise DesignError(f"There are no rows in {source}.")
    return found


def read_chunk(chunk: Chunk, names: Sequence[str], texts: set[str]) -> CompleteRows:
    """Read the complete rows of a chunk; an error names it."""
    try:
        return read_complete(chunk, names, texts)
    except DesignError as error:
        raise RowsError(f"In {chunk}: {error}") from None
