"""Predictions of rows written to a folder of Parquet files, one for each part of the rows, by whoever reads it."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bayesmm.errors import PACKAGE, BayesmmWarning, RowsError
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.replacing import replacing
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.cluster import is_worker
from bayesmm.rows.source import Scan, reason_of

type Widen = Callable[[Chunk], Any]  # to a table of pyarrow: the columns of a chunk, and its predictions


def write_parts(widen: Widen, source: Scan, to: Path, bar: Bar = SILENT) -> Path:
    """Write each part of the rows with its predictions to a file of a folder, complete or not at all.

    Parameters
    ----------
    widen : callable
        From a chunk to a table of pyarrow.
    source : Scan
        Where the rows are. Workers of a cluster write to the same folder.
    to : path
        The folder; what was in it is replaced.
    bar : Bar
        What is told how far it is.

    Returns
    -------
    pathlib.Path
        Holds ``part-00000.parquet`` and so on, in the order of the rows.
    """
    with replacing(to, folder=True) as folder:
        written = source.fold(_Predicting(widen, source.columns, str(folder)), bar, in_order=True)
        names = written.packed().names
        if not names:
            raise RowsError(f"There are no rows in {source}.")
        for i, name in enumerate(names):
            os.rename(folder / name, folder / f"part-{i:05}.parquet")
        for left in set(os.listdir(folder)) - {f"part-{i:05}.parquet" for i in range(len(names))}:
            os.remove(folder / left)  # of a worker that was lost: another one has written these rows
    for text in written.packed().heard:
        warnings.warn(text, BayesmmWarning, skip_file_prefixes=(PACKAGE,))
    return to


@dataclass(frozen=True)
class _Predicting:
    """The pass that predicts."""

    widen: Widen
    names: Sequence[str]
    folder: str
    rows: int | None = None
    text: str = "predictions"

    def begin(self) -> _Written:
        return _Written(self.folder)

    def add(self, so_far: _Written, chunk: Chunk) -> None:
        if chunk.table.num_rows:
            with so_far.hearing():
                table = self.widen(chunk)
            so_far.write(table, chunk)


@dataclass(frozen=True)
class _Packed:
    """Names of files, in the order of their rows, and what was warned of."""

    names: tuple[str, ...]
    heard: tuple[str, ...]


class _Written:
    """Writes tables to one file; knows which files there are."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._heard: dict[str, None] = {}
        self._writer: Any = None

    def write(self, table: Any, chunk: Chunk) -> None:
        """Write the rows of a chunk."""
        import pyarrow as pa
        from pyarrow import parquet

        if self._writer is None:
            self._names.append(f"{uuid.uuid4().hex}.parquet")
            self._writer = parquet.ParquetWriter(os.path.join(self._folder, self._names[-1]), table.schema)
        try:
            self._writer.write_table(table.cast(self._writer.schema))
        except (pa.ArrowInvalid, ValueError) as error:
            raise RowsError(f"{chunk} has columns of other types than the rows before ({reason_of(error)}).") from None

    @contextmanager
    def hearing(self) -> Iterator[None]:
        """Note what a worker is warned of: nobody looks there."""
        if not is_worker():
            yield
            return
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", BayesmmWarning)
            yield
        self._heard |= dict.fromkeys(str(each.message) for each in heard if issubclass(each.category, BayesmmWarning))

    def packed(self) -> _Packed:
        """Return which files there are, all of them closed."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        return _Packed(tuple(self._names), tuple(self._heard))

    def merge(self, other: _Packed) -> None:
        """Take in the files of the rows that follow."""
        self._names += other.names
        self._heard |= dict.fromkeys(other.heard)
