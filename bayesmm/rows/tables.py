"""Rows in tables of other libraries: in memory, or computed anew in each pass."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesmm.errors import RowsError
from bayesmm.rows.source import CHUNK_ROWS, Scan, reason_of, text_columns

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False, repr=False)
class DatasetScan(Scan):
    """A pyarrow dataset, or an eager table in pieces."""

    tables: tuple[Any, ...]
    shown: str
    chunk_rows: int = CHUNK_ROWS
    threads: int | None = None

    def __str__(self) -> str:
        return self.shown

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.tables[0].schema.names)

    @property
    def texts(self) -> set[str]:
        """Columns of texts."""
        return text_columns(self.tables[0].schema)

    @property
    def is_of_files(self) -> bool:
        """A dataset's do."""
        return all(hasattr(table, "files") for table in self.tables)

    @property
    def parts(self) -> tuple[str, ...]:
        """Files of a dataset; sizes of tables."""
        found = []
        for i, table in enumerate(self.tables):
            files = getattr(table, "files", None)
            if files is None:
                found.append(f"table {i}\t{getattr(table, 'num_rows', '')}")
                continue
            for path in files:
                local = os.stat(path) if os.path.exists(path) else None
                found.append(f"{path}\t{local and local.st_size}\t{local and local.st_mtime_ns}")
        return tuple(found)

    def _pieces(self, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        import pyarrow as pa

        for i, table in enumerate(self.tables):
            where = f"table {i}" if len(self.tables) > 1 else self.shown
            lacking = [name for name in names if name not in table.schema.names]
            if lacking:
                raise RowsError(f"{where} has no column {lacking[0]!r}, which the first one has.")
            if isinstance(table, pa.Table):
                yield where, table.select(list(names))
                continue
            try:
                for batch in table.scanner(columns=list(names), batch_size=self.chunk_rows).to_batches():
                    if batch.num_rows:
                        yield str(self), pa.Table.from_batches([batch])
            except (OSError, ValueError, TypeError, NotImplementedError) as error:
                raise RowsError(f"{self} cannot be read ({reason_of(error)}).") from None


@dataclass(frozen=True, eq=False, repr=False)
class LazyScan(Scan):
    """A polars LazyFrame: computed anew in each pass, in batches."""

    frame: Any
    chunk_rows: int = CHUNK_ROWS
    threads: int | None = None

    def __str__(self) -> str:
        return "a polars LazyFrame"

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.frame.collect_schema().names())

    @property
    def texts(self) -> set[str]:
        """Texts, and categories without an order of their own."""
        return {name for name, kind in self.frame.collect_schema().items() if str(kind) in ("String", "Categorical")}

    @property
    def parts(self) -> tuple[str, ...]:
        """The plan."""
        return (f"the LazyFrame\t{self.frame.explain()}",)

    def _pieces(self, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        import polars as pl

        chosen = self.frame.select([pl.col(name) for name in names])
        loose = [name for name in names if str(chosen.collect_schema()[name]) == "Categorical"]
        chosen = chosen.with_columns([pl.col(name).cast(pl.String) for name in loose])
        try:
            for batch in chosen.collect_batches(chunk_size=self.chunk_rows, maintain_order=True):
                if batch.height:
                    yield str(self), batch.to_arrow()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise RowsError(f"{self} cannot be computed ({reason_of(error)}).") from None


@dataclass(frozen=True, eq=False, repr=False)
class RelationScan(Scan):
    """A DuckDB relation: computed anew in each pass, in batches."""

    relation: Any
    chunk_rows: int = CHUNK_ROWS
    threads: int | None = None

    def __str__(self) -> str:
        return "a DuckDB relation"

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.relation.columns)

    @property
    def texts(self) -> set[str]:
        """Columns of texts."""
        pairs = zip(self.relation.columns, self.relation.types, strict=True)
        return {name for name, kind in pairs if str(kind) == "VARCHAR"}

    @property
    def parts(self) -> tuple[str, ...]:
        """The query."""
        return (f"the relation\t{self.relation.sql_query()}",)

    def _pieces(self, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        import pyarrow as pa

        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        try:
            chosen = self.relation.project(quoted)
            read = getattr(chosen, "to_arrow_reader", None) or chosen.fetch_arrow_reader  # the older name
            for batch in read(self.chunk_rows):
                if batch.num_rows:
                    yield str(self), pa.Table.from_batches([batch])
        except Exception as error:  # DuckDB's errors are of classes of its own
            raise RowsError(f"{self} cannot be computed ({reason_of(error)}).") from None


def to_arrow(frame: Any) -> Any:
    """Return a table of any library as one of pyarrow; None, if it is none."""
    import narwhals.stable.v2 as nw
    import pyarrow as pa

    try:
        opened = nw.from_native(frame, eager_only=True)
    except TypeError:
        return None
    native = opened.to_native()
    try:
        if opened.implementation.is_pandas():
            return pa.Table.from_pandas(native, preserve_index=False)
        return opened.to_arrow()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise RowsError(f"A table cannot be scanned ({reason_of(error)}). Give its columns one type each.") from None
