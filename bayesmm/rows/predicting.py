"""Predictions of rows that are read chunk by chunk, written to a file as they come."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from bayesmm.arguments import check_path
from bayesmm.errors import ArgumentError, BayesmmError, RowsError
from bayesmm.replacing import replacing
from bayesmm.rows.scan import scan

PREDICTED = "predicted"


def predict_rows(
    predict: Callable[[pd.DataFrame], pd.Series | pd.DataFrame], rows: Any, to: str | os.PathLike[str]
) -> Path:
    """Predict chunk by chunk, and write each with its own columns to a Parquet file, complete or not at all.

    Parameters
    ----------
    predict : callable
        From a data frame to a prediction for each of its rows, or several columns of them.
    rows : path, list, or table
        What `bayesmm.scan` takes.
    to : path
        Ends in ``.parquet``.

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
    if target.suffix.lower() != ".parquet":
        raise ArgumentError(f"to is {str(target)!r}: predictions are written as Parquet, to='predictions.parquet'.")
    writer = None
    with replacing(to) as partial:
        try:
            for chunk in source.chunks(source.columns):
                frame = chunk.table.to_pandas()
                try:
                    found = predict(frame)
                except RowsError:
                    raise
                except BayesmmError as error:
                    raise RowsError(f"In {chunk}: {error}") from None
                made = found.to_frame(PREDICTED) if isinstance(found, pd.Series) else found
                table = chunk.table
                for name in made:
                    shown = f"{PREDICTED}_{name}" if name in table.column_names else str(name)
                    table = table.append_column(shown, pa.array(made[name].to_numpy()))
                if writer is None:
                    writer = parquet.ParquetWriter(partial, table.schema)
                writer.write_table(table.cast(writer.schema))
        except pa.ArrowInvalid as error:
            raise RowsError(f"{source} has columns of different types in its parts ({error}).") from None
        finally:
            if writer is not None:
                writer.close()
    return target
