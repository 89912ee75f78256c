"""Where rows are: files, folders, tables of other libraries; read chunk by chunk, again and again."""

from __future__ import annotations

import difflib
import glob
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.errors import ArgumentError, BayesmmError, RowsError
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.passes import Account, Pass

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 2**18
ENDINGS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv"}
MISSING = ["", "NA"]  # as on the command line
SHOWN = 3


class Scan(ABC):
    """Rows that are read chunk by chunk; made by `bayesmm.scan`."""

    chunk_rows: int

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
            How many rows a chunk has at least, but the last one and where categories change; fewer than twice as many.

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
            places = list(dict.fromkeys(where for where, _ in waiting))
            where = places[0] if len(places) == 1 else f"{places[0]} to {places[-1]}"
            return Chunk(where, number, first, _joined([table for _, table in waiting], where))

        for where, table in self._pieces(names):
            if waiting and not _have_same_orders(waiting[-1][1], table, texts):
                chunk = together()
                yield chunk
                number, first, waiting = number + 1, first + chunk.table.num_rows, []
            for start in range(0, table.num_rows, at_least):
                waiting.append((where, table.slice(start, at_least)))
                if sum(each.num_rows for _, each in waiting) >= at_least:
                    chunk = together()
                    yield chunk
                    number, first, waiting = number + 1, first + chunk.table.num_rows, []
        if waiting:
            yield together()
        elif not number:
            yield Chunk(str(self), 0, 0, pa.table({name: pa.nulls(0) for name in names}))
        self.check_unchanged(before)

    def fold[A: Account](self, whole: Pass[A], bar: Bar = SILENT) -> A:
        """Make a pass over all rows.

        Parameters
        ----------
        whole : Pass
            What is made of them.
        bar : Bar
            What is told how many rows were read.

        Raises
        ------
        RowsError
            As of `chunks`, and of the pass.
        """
        so_far, n = whole.begin(), 0
        for chunk in self.chunks(whole.names, whole.rows):
            whole.add(so_far, chunk)
            n += chunk.table.num_rows
            bar.tell(n, f"reading rows for {whole.text}: {n:,}")
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


def _joined(tables: Sequence[pa.Table], where: str) -> pa.Table:
    import pyarrow as pa

    if len(tables) == 1:
        return tables[0]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise RowsError(
            f"The parts {where} have columns of different types ({_reason(error)}). Write them with the same types."
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


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


@dataclass(frozen=True, eq=False, repr=False)
class FileScan(Scan):
    """Files of Parquet or CSV."""

    paths: tuple[str, ...]
    shown: str
    kind: str
    root: str | None = None
    chunk_rows: int = CHUNK_ROWS

    def __str__(self) -> str:
        return f"{len(self.paths)} file{'s' if len(self.paths) > 1 else ''}, {self.shown}"

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the first file."""
        return list(self._dataset(()).schema.names)

    @property
    def texts(self) -> set[str]:
        """Columns of texts."""
        return _text_columns(self._dataset(()).schema)

    @property
    def is_of_files(self) -> bool:
        """It does."""
        return True

    @property
    def parts(self) -> tuple[str, ...]:
        """Path, size and time of each file."""
        found = []
        for path in self.paths:
            try:
                about = os.stat(path)
            except OSError as error:
                raise RowsError(f"{path!r} cannot be read: {error.strerror}.") from None
            found.append(f"{path}\t{about.st_size}\t{about.st_mtime_ns}")
        return tuple(found)

    def _dataset(self, dictionaries: Sequence[str]) -> Any:
        from pyarrow import dataset

        if self.kind == "csv":
            from pyarrow import csv

            options = csv.ConvertOptions(null_values=MISSING, strings_can_be_null=True)
            form: Any = dataset.CsvFileFormat(convert_options=options)
        else:
            form = dataset.ParquetFileFormat(dictionary_columns=set(dictionaries))
        with self._reading(self.paths[0]):
            return dataset.dataset(
                list(self.paths), format=form, partitioning="hive" if self.root else None, partition_base_dir=self.root
            )

    def _pieces(self, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        import pyarrow as pa

        found = self._dataset([name for name in names if name in self.texts])
        for fragment in sorted(found.get_fragments(), key=lambda each: self.paths.index(each.path)):
            with self._reading(fragment.path):
                schema = _schema_of(fragment, found.schema, names, fragment.path)
                scanner = fragment.scanner(
                    schema=schema, columns=list(names), batch_size=self.chunk_rows, batch_readahead=4
                )
                batches = iter(scanner.to_batches())
            while True:
                with self._reading(fragment.path):
                    batch = next(batches, None)
                if batch is None:
                    break
                if batch.num_rows:
                    yield fragment.path, pa.Table.from_batches([batch])

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except BayesmmError:
            raise
        except (OSError, ValueError, TypeError, NotImplementedError) as error:  # pyarrow's errors are some of these
            said = _reason(error)
            hint = "It may have been cut off, or be no such file" if self.kind == "parquet" else _OF_CSV
            raise RowsError(f"{path!r} cannot be read as {self.kind} ({said}). {hint}: write it anew.") from None


_OF_CSV = "The type of a column is that of its first values: where later ones are others, use Parquet; otherwise"


def _text_columns(schema: Any) -> set[str]:
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return {field.name for field in schema if any(test(field.type) for test in tests)}


def _schema_of(fragment: Any, schema: Any, names: Sequence[str], path: str) -> Any:
    """Say what types the needed columns have in a file; those of its folder's name have the type in the first one."""
    import pyarrow as pa
    from pyarrow import dataset

    own = fragment.physical_schema
    said = {field.name for field in schema} - set(own.names)
    guaranteed = dataset.get_partition_keys(fragment.partition_expression)
    fields = []
    for name in names:
        if name in own.names:
            fields.append(own.field(name))
        elif name in said and name in guaranteed:
            fields.append(schema.field(name))
        else:
            near = difflib.get_close_matches(name, own.names, n=1)
            hint = f" Did you mean {near[0]!r} there?" if near else ""
            raise RowsError(
                f"{path!r} has no column {name!r}, which other files have.{hint} Its columns are "
                f"{listing(own.names)}: write it with those of the others."
            )
    return pa.schema(fields)


@dataclass(frozen=True, eq=False, repr=False)
class DatasetScan(Scan):
    """A pyarrow dataset, or an eager table in pieces."""

    tables: tuple[Any, ...]
    shown: str
    chunk_rows: int = CHUNK_ROWS

    def __str__(self) -> str:
        return self.shown

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.tables[0].schema.names)

    @property
    def texts(self) -> set[str]:
        """Columns of texts."""
        return _text_columns(self.tables[0].schema)

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
            where = f"table {i}"
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
                raise RowsError(f"{self} cannot be read ({_reason(error)}).") from None


@dataclass(frozen=True, eq=False, repr=False)
class LazyScan(Scan):
    """A polars LazyFrame: computed anew in each pass, in batches."""

    frame: Any
    chunk_rows: int = CHUNK_ROWS

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
            raise RowsError(f"{self} cannot be computed ({_reason(error)}).") from None


@dataclass(frozen=True, eq=False, repr=False)
class RelationScan(Scan):
    """A DuckDB relation: computed anew in each pass, in batches."""

    relation: Any
    chunk_rows: int = CHUNK_ROWS

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
            raise RowsError(f"{self} cannot be computed ({_reason(error)}).") from None


def scan(source: Any, *, chunk_rows: int = CHUNK_ROWS) -> Scan:
    """Say where rows are, without reading them: a model of them takes memory for its levels, not for its rows.

    Parameters
    ----------
    source : path, list or data frame
        A file of Parquet or CSV, a pattern such as ``"visits/*.parquet"``, a folder (with folders in it that are named
        ``column=value``, too), or a list of files; a pyarrow dataset, a polars LazyFrame, a DuckDB relation; or a data
        frame, or a list of them.
    chunk_rows : int
        Rows that are in memory at a time.

    Returns
    -------
    Scan
        `bayesmm.Model` takes it as its data.

    Raises
    ------
    RowsError
        If there is no such file, or what is given holds no rows.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> rows = bmm.scan(bmm.datasets.load("sleepstudy"), chunk_rows=50)
    >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", rows)
    >>> round(model.fit().loglik, 3)
    -871.814
    """
    _require_pyarrow()
    if isinstance(chunk_rows, bool) or not isinstance(chunk_rows, int) or chunk_rows < 1:
        raise ArgumentError(f"chunk_rows is {shorten(chunk_rows)}: give a positive whole number.")
    if isinstance(source, Scan):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _scan_paths([source], chunk_rows)
    if isinstance(source, (list, tuple)) and source and all(isinstance(each, (str, os.PathLike)) for each in source):
        return _scan_paths(list(source), chunk_rows)
    found = _scan_table(source, chunk_rows)
    if found is None:
        raise RowsError(
            f"{shorten(source)} cannot be scanned: give a path, a list of paths, a folder, a pyarrow dataset, a polars "
            "LazyFrame, a DuckDB relation or a data frame."
        )
    return found


def is_elsewhere(data: Any) -> bool:
    """Whether data are not in memory: what `scan` takes and is no data frame."""
    if isinstance(data, (Scan, str, os.PathLike)):
        return True
    if isinstance(data, (list, tuple)):
        return bool(data) and all(isinstance(each, (str, os.PathLike)) for each in data)
    return _library(data) in ("polars.lazyframe.frame", "pyarrow._dataset") or _is_relation(data)


def _library(data: Any) -> str:
    return type(data).__module__


def _is_relation(data: Any) -> bool:
    return type(data).__name__ == "DuckDBPyRelation"


def _scan_table(source: Any, chunk_rows: int) -> Scan | None:
    import pyarrow as pa
    from pyarrow import dataset

    if isinstance(source, dataset.Dataset):
        return DatasetScan((source,), "a pyarrow dataset", chunk_rows)
    if _library(source).startswith("polars.") and type(source).__name__ == "LazyFrame":
        return LazyScan(source, chunk_rows)
    if _is_relation(source):
        return RelationScan(source, chunk_rows)
    frames = list(source) if isinstance(source, (list, tuple)) else [source]
    tables: list[Any] = []
    for frame in frames:
        tables.append(frame if isinstance(frame, (pa.Table, dataset.Dataset)) else _to_arrow(frame))
        if tables[-1] is None:
            return None
    if not tables:
        return None
    shown = f"{len(tables)} tables" if len(tables) > 1 else "a table"
    return DatasetScan(tuple(tables), shown, chunk_rows)


def _to_arrow(frame: Any) -> Any:
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
        raise RowsError(f"A table cannot be scanned ({_reason(error)}). Give its columns one type each.") from None


def _scan_paths(sources: Sequence[str | os.PathLike[str]], chunk_rows: int) -> FileScan:
    paths: list[str] = []
    root = None
    for source in sources:
        text = os.path.expanduser(os.fspath(source))
        if os.path.isdir(text):
            found = sorted(str(path) for path in Path(text).rglob("*") if path.is_file() and _kind_of(path.name))
            root = text if len(sources) == 1 else None
            what = "a folder without a file of Parquet or CSV"
        elif os.path.exists(text):
            found, what = [text], ""
        else:
            found, what = sorted(glob.glob(text, recursive=True)), "not there"
        if not found:
            raise RowsError(f"{text!r} is {what}. Check the path.")
        paths += found
    kinds = {path: _kind_of(path) for path in paths}
    strange = [path for path, kind in kinds.items() if kind is None]
    if strange:
        raise RowsError(f"{strange[0]!r} ends in none of {', '.join(ENDINGS)}, so its format is not known.")
    if len(set(kinds.values())) > 1:
        raise RowsError(f"{paths[0]!r} and others are of different formats. Scan files of one format.")
    twice = next((path for i, path in enumerate(paths) if path in paths[:i]), None) if len(paths) < 10_000 else None
    if twice:
        raise RowsError(f"{twice!r} is named twice: its rows would count twice.")
    shown = listing([os.fspath(source) for source in sources], SHOWN)
    return FileScan(tuple(paths), shown, str(kinds[paths[0]]), root, chunk_rows)


def _kind_of(name: str) -> str | None:
    return next((kind for ending, kind in ENDINGS.items() if name.lower().endswith(ending)), None)


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise RowsError("Rows are read chunk by chunk by pyarrow: pip install pyarrow.") from None
