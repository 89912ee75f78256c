"""Rows that are read chunk by chunk, wherever they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmm.errors import RowsError
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.lanes import fold_in_lanes, keep_freed_memory, threads_for
from bayesmm.rows.passes import Account, Pass

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 2**18


class Scan(ABC):
    """Rows that are read chunk by chunk; made by `bayesmm.scan`."""

    chunk_rows: int
    threads: int | None

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """Names of the columns."""

    @property
    @abstractmethod
    def texts(self) -> set[str]:
        """Columns that are texts, though they may be read with a dictionary."""

    @property
    @abstractmethod
    def parts(self) -> tuple[str, ...]:
        """What identifies each part of the rows, such as path, size and time of a file."""

    @property
    def is_of_files(self) -> bool:
        """Whether `parts` tells rows from all others; of tables and queries it says only whether they change."""
        return False

    @abstractmethod
    def _pieces(self, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        """Yield tables of these columns, and where they are from."""

    @abstractmethod
    def __str__(self) -> str: ...

    def __repr__(self) -> str:
        return f"<Scan of {self}: {len(self.columns)} columns>"

    def chunks(self, names: Sequence[str], rows: int | None = None) -> Iterator[Chunk]:
        """Read columns, some rows at a time.

        Parameters
        ----------
        names : sequence of str
            The columns that are needed; others are not read.
        rows : int, optional
            How many rows a chunk has at least, but the last one, where categories change, and where half as many end
            a file; fewer than twice as many.

        Yields
        ------
        Chunk

        Raises
        ------
        RowsError
            If a part cannot be read, or has changed since reading began.
        """
        import pyarrow as pa

        at_least, before, texts = rows or self.chunk_rows, self.parts, self.texts
        waiting: list[tuple[str, pa.Table]] = []
        number = first = 0

        def together() -> Chunk:
            nonlocal number, first
            places = list(dict.fromkeys(where for where, _ in waiting))
            where = places[0] if len(places) == 1 else f"{places[0]} to {places[-1]}"
            chunk = Chunk(where, number, first, _joined([table for _, table in waiting], where))
            number, first = number + 1, first + chunk.table.num_rows
            waiting.clear()
            return chunk

        def n_waiting() -> int:
            return sum(each.num_rows for _, each in waiting)

        for where, table in self._pieces(names):
            is_half = waiting and where != waiting[-1][0] and 2 * n_waiting() >= at_least
            if is_half or (waiting and not _have_same_orders(waiting[-1][1], table, texts)):
                yield together()
            for start in range(0, table.num_rows, at_least):
                waiting.append((where, table.slice(start, at_least)))
                if n_waiting() >= at_least:
                    yield together()
            if waiting:
                waiting[-1] = where, _alone(waiting[-1][1])
            del table  # what is read next need not find it in memory
        if waiting:
            yield together()
        elif not number:
            yield Chunk(str(self), 0, 0, pa.table({name: pa.nulls(0) for name in names}))
        self.check_unchanged(before)

    def fold[A: Account](self, whole: Pass[A], bar: Bar = SILENT, *, in_order: bool = False) -> A:
        """Make a pass over all rows, by as many threads as `bayesmm.scan` says.

        Parameters
        ----------
        whole : Pass
            What is made of them.
        bar : Bar
            What is told how many rows were read.
        in_order : bool
            Whether each chunk is taken after the one before it, by a single thread.

        Raises
        ------
        RowsError
            As of `chunks`, and of the pass.
        """
        n = 0

        def tell(rows: int) -> None:
            nonlocal n
            n += rows
            bar.tell(n, f"reading rows for {whole.text}: {n:,}")

        keep_freed_memory()
        threads = 1 if in_order else self.threads or threads_for(whole.rows or self.chunk_rows)
        chunks = self.chunks(whole.names, whole.rows)
        if threads > 1:
            return fold_in_lanes(whole, chunks, threads, tell)
        so_far = whole.begin()
        for chunk in chunks:
            whole.add(so_far, chunk)
            tell(chunk.table.num_rows)
            del chunk
        return so_far

    def check_unchanged(self, before: tuple[str, ...]) -> None:
        """Refuse rows that are not those that there were.

        Raises
        ------
        RowsError
            Names the first part that differs.
        """
        now = self.parts
        if now != before:
            other = next((part for part in (*now, *before) if (part in now) != (part in before)), now[0])
            raise RowsError(
                f"{_name_of(other)} has changed while its rows were read. What was gathered before does not fit what "
                "is there now: build the model again when nothing writes there any more."
            )


def _name_of(part: str) -> str:
    return part.partition("\t")[0]


def _alone(table: pa.Table) -> pa.Table:
    """Copy some rows, so that all that was read together with them is not held for their sake."""
    import pyarrow as pa

    try:
        return table.take(np.arange(table.num_rows))
    except pa.ArrowNotImplementedError:  # of types without it, such as views of texts
        return table


def _joined(tables: Sequence[pa.Table], where: str) -> pa.Table:
    import pyarrow as pa

    if len(tables) == 1:
        return tables[0]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise RowsError(
            f"The parts {where} have columns of different types ({reason_of(error)}). Write them with the same types."
        ) from None


def _have_same_orders(one: pa.Table, other: pa.Table, texts: set[str]) -> bool:
    """Whether categories are the same in both: those of other parts would be put behind these when they are joined."""
    return all(
        own[-1].dictionary.equals(theirs[0].dictionary)
        for name in one.column_names
        if name not in texts and (own := _dictionaries(one, name)) and (theirs := _dictionaries(other, name))
    )


def _dictionaries(table: pa.Table, name: str) -> list[Any]:
    return [piece for piece in table.column(name).chunks if hasattr(piece, "dictionary")]


def reason_of(error: Exception) -> str:
    """Say in one line what a library says."""
    return " ".join(str(error).split()).rstrip(".")


def text_columns(schema: Any) -> set[str]:
    """Return the columns of texts of a schema of pyarrow."""
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return {field.name for field in schema if any(test(field.type) for test in tests)}
