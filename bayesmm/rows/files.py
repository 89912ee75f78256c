"""Rows in files of Parquet or CSV."""

from __future__ import annotations

import difflib
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmm.console import listing
from bayesmm.errors import BayesmmError, RowsError
from bayesmm.rows.source import CHUNK_ROWS, Scan, reason_of, text_columns

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = ["", "NA"]  # as on the command line
LEAST_BYTES = 2**24  # of a part of a file


@dataclass(frozen=True, eq=False, repr=False)
class FileScan(Scan):
    """Files of Parquet or CSV."""

    paths: tuple[str, ...]
    shown: str
    kind: str
    root: str | None = None
    chunk_rows: int = CHUNK_ROWS
    threads: int | None = None
    folders: pa.Schema | None = None  # types of what the names of folders say, where not all of them are here
    row_groups: tuple[int, ...] | None = None  # of the only file; by default all of each

    def __str__(self) -> str:
        return f"{len(self.paths)} file{'s' if len(self.paths) > 1 else ''}, {self.shown}"

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the first file."""
        return list(self._dataset(()).schema.names)

    @property
    def texts(self) -> set[str]:
        """Columns of texts."""
        return text_columns(self._dataset(()).schema)

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

    def split(self, most: int) -> list[FileScan]:
        """Cut the files into parts that follow each other, of about equal size.

        Parameters
        ----------
        most : int
            About how many parts there are at most.

        Returns
        -------
        list of FileScan
            Runs of files, or runs of row groups of a large one, by absolute paths.

        Raises
        ------
        RowsError
            If a file cannot be read.
        """
        sizes = [int(part.split("\t")[1]) for part in self.parts]
        here = replace(
            self,
            paths=tuple(map(os.path.abspath, self.paths)),
            root=None if self.root is None else os.path.abspath(self.root),
            folders=self._folders(),
            threads=1,  # the cluster divides
        )
        ends = np.cumsum(sizes)
        number = (ends - 1) * most // max(int(ends[-1]), 1) if len(sizes) > most else np.arange(len(sizes))
        found = []
        for _, run in itertools.groupby(range(len(sizes)), number.__getitem__):
            files = list(run)
            part = replace(here, paths=tuple(here.paths[i] for i in files))
            share = min(sizes[files[0]] * most // max(int(ends[-1]), 1), sizes[files[0]] // LEAST_BYTES)
            found += part._cut_up(share) if len(files) == 1 and share > 1 and self.kind == "parquet" else [part]
        return found

    def _cut_up(self, most: int) -> list[FileScan]:
        """Cut the only file into runs of row groups."""
        (fragment,) = self._dataset(()).get_fragments()
        with self._reading(self.paths[0]):
            n = fragment.num_row_groups
        ends = np.linspace(0, n, min(n, most) + 1).astype(int)
        return [replace(self, row_groups=tuple(range(*each))) for each in itertools.pairwise(ends.tolist())]

    def _folders(self) -> pa.Schema | None:
        import pyarrow as pa

        if self.root is None:
            return None
        found = self._dataset(())
        own = set(next(found.get_fragments()).physical_schema.names)
        return pa.schema([field for field in found.schema if field.name not in own])

    def _dataset(self, dictionaries: Sequence[str]) -> Any:
        from pyarrow import dataset

        if self.kind == "csv":
            from pyarrow import csv

            options = csv.ConvertOptions(null_values=MISSING, strings_can_be_null=True)
            form: Any = dataset.CsvFileFormat(convert_options=options)
        else:
            form = dataset.ParquetFileFormat(dictionary_columns=set(dictionaries))
        with self._reading(self.paths[0]):
            folders = "hive" if self.folders is None else dataset.partitioning(self.folders, flavor="hive")
            return dataset.dataset(
                list(self.paths), format=form, partitioning=folders if self.root else None, partition_base_dir=self.root
            )

    def _pieces(self, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        import pyarrow as pa

        texts = self.texts
        found = self._dataset([name for name in names if name in texts])
        for fragment in sorted(found.get_fragments(), key=lambda each: self.paths.index(each.path)):
            with self._reading(fragment.path):
                if self.row_groups is not None:
                    fragment = fragment.subset(row_group_ids=list(self.row_groups))
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
                del batch

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except BayesmmError:
            raise
        except (OSError, ValueError, TypeError, NotImplementedError) as error:  # pyarrow's errors are some of these
            said = reason_of(error)
            hint = "It may have been cut off, or be no such file" if self.kind == "parquet" else _OF_CSV
            raise RowsError(f"{path!r} cannot be read as {self.kind} ({said}). {hint}: write it anew.") from None


_OF_CSV = "The type of a column is that of its first values: where later ones are others, use Parquet; otherwise"


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
