"""Predictions of rows that are read chunk by chunk, written to files as they come."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bayesmm.arguments import check_path
from bayesmm.errors import ArgumentError, BayesmmError, RowsError
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.replacing import replacing
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.predicted_parts import write_parts
from bayesmm.rows.scan import scan

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
    rows : path, list, or table
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
    import pyarrow as pa
    from pyarrow import parquet

    source, target = scan(rows), check_path("to", to)
    if not target.suffix:
        return write_parts(partial(_widened, predict), source, target, bar)
    if target.suffix.lower() != ".parquet":
        raise ArgumentError(
            f"to is {str(target)!r}: predictions are written as Parquet, to='predictions.parquet', or to a folder of "
            "such files, to='predictions'."
        )
    writer = None
    with replacing(to) as partly:
        try:
            for chunk in source.chunks(source.columns):
                table = _widened(predict, chunk)
                if writer is None:
                    writer = parquet.ParquetWriter(partly, table.schema)
                writer.write_table(table.cast(writer.schema))
        except pa.ArrowInvalid as error:
            raise RowsError(f"{source} has columns of different types in its parts ({error}).") from None
        finally:
            if writer is not None:
                writer.close()
    return target


def _widened(predict: Callable[[pd.DataFrame], pd.Series | pd.DataFrame], chunk: Chunk) -> pa.Table:
    """Return the columns of a chunk, with what is predicted of its rows."""
    import pyarrow as pa

    try:
        found = predict(chunk.table.to_pandas())
    except RowsError:
        raise
    except BayesmmError as error:
        raise RowsError(f"In {chunk}: {error}") from None
    made, table = found.to_frame(PREDICTED) if isinstance(found, pd.Series) else found, chunk.table
    for name in made:
        shown = f"{PREDICTED}_{name}" if name in table.column_names else str(name)
        table = table.append_column(shown, pa.array(made[name].to_numpy()))
    return table
