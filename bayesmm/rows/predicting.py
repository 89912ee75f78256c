"""Predictions of rows that are read chunk by chunk, written to files as they come."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.arguments import check_path
from bayesmm.errors import ArgumentError, BayesmmError, RowsError
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.replacing import replacing
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.predicted_parts import write_parts
from bayesmm.rows.scan import scan
from bayesmm.rows.source import Scan

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTED = "predicted"


def predict_rows(
    predict: Callable[[pd.DataFrame], pd.Series | pd.DataFrame],
    rows: Any,
    to: str | os.PathLike[str],
    bar: Bar = SILENT,
) -> Path:
    """Predict chunk by chunk, and write each with its own columns to Parquet, complete or not at all.

    Parameters
    ----------
    predict : callable
        From a data frame to a prediction for each of its rows, or several columns of them.
    rows : path, list, or data frame
        What `bayesmm.scan` takes.
    to : path
        A file, if it ends in ``.parquet``; else a folder.
    bar : Bar
        What is told how far it is.

    Returns
    -------
    pathlib.Path
        Where the predictions are: the columns of the rows, and after them ``predicted``, or the columns of an interval.

    Raises
    ------
    RowsError
        If a chunk cannot be read or predicted; it is named.
    StorageError
        For whatever the disk says.
    """
    source, target = scan(rows), check_path("to", to)
    if not target.suffix:
        return write_parts(partial(_widened, predict), source, target, bar)
    with writing(to, source) as write:
        for chunk in source.chunks(source.columns):
            write(_widened(predict, chunk))
    return target


@contextmanager
def writing(to: str | os.PathLike[str], source: Scan) -> Iterator[Callable[[pa.Table], None]]:
    """Write tables one after another to a Parquet file, which is complete after the block, or is not there.

    Parameters
    ----------
    to : path
        Ends in ``.parquet``.
    source : Scan
        Where the rows are from, for messages.

    Yields
    ------
    callable
        Takes a table.
    """
    import pyarrow as pa
    from pyarrow import parquet

    target = check_path("to", to)
    if target.suffix.lower() != ".parquet":
        raise ArgumentError(
            f"to is {str(target)!r}: rows are written as Parquet, to='rows.parquet'; predictions and residuals also to "
            "a folder of such files, to='rows'."
        )
    writer: Any = None

    def write(table: pa.Table) -> None:
        nonlocal writer
        if writer is None:
            writer = parquet.ParquetWriter(partly, table.schema)
        writer.write_table(table.cast(writer.schema))

    with replacing(to) as partly:
        try:
            yield write
        except pa.ArrowInvalid as error:
            raise RowsError(f"{source} has columns of different types in its parts ({error}).") from None
        finally:
            if writer is not None:
                writer.close()


def _widened(predict: Callable[[pd.DataFrame], pd.Series | pd.DataFrame], chunk: Chunk) -> pa.Table:
    """Return the columns of a chunk, with what is predicted of its rows."""
    try:
        found = predict(chunk.table.to_pandas())
    except RowsError:
        raise
    except BayesmmError as error:
        raise RowsError(f"In {chunk}: {error}") from None
    made = found.to_frame(PREDICTED) if isinstance(found, pd.Series) else found
    return beside(chunk, {str(name): made[name].to_numpy() for name in made})


def beside(chunk: Chunk, columns: Mapping[str, np.ndarray]) -> pa.Table:
    """Return the columns of a chunk, with others (n,) after them."""
    import pyarrow as pa

    table = chunk.table
    for name, values in columns.items():
        table = table.append_column(f"{PREDICTED}_{name}" if name in table.column_names else name, pa.array(values))
    return table
