"""A data frame from a file, from standard input, or from what is bundled."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesmm import datasets
from bayesmm.errors import DatasetError
from bayesmm.files import naming

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
PARQUET = (".parquet", ".pq")
ENDINGS = (*SEPARATORS, *PARQUET)
# An empty field and R's NA are missing; "None", "null" or "n/a" may be a level of somebody's factor.
MISSING = ["", "NA"]


def read_data(source: str) -> pd.DataFrame:
    """Read the data of a command.

    Parameters
    ----------
    source : str
        Path of a file, name of a bundled data set, or ``-`` for CSV on standard input.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    DatasetError
        If there is no such file or data set, or the file holds no such data.
    StorageError
        If the system does not let the file be read.
    """
    if source == "-":
        return _read(sys.stdin.buffer, ".csv", "standard input")
    path = Path(source).expanduser()
    with naming(source, "read"):
        if path.is_file():
            return _read(path, _ending(path), source)
        if "/" in source or os.sep in source or _find_ending(path):
            raise DatasetError(_no_file(source, path))
    try:
        return datasets.load(source)
    except DatasetError as error:
        raise DatasetError(f"There is no file {source!r}. {error}") from None


def _find_ending(path: Path) -> str | None:
    return next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)


def _ending(path: Path) -> str:
    ending = _find_ending(path)
    if ending is None:
        raise DatasetError(
            f"The file {str(path)!r} ends in none of {', '.join(ENDINGS)}, so its format is not known. Rename or "
            "convert it."
        )
    return ending


def _no_file(source: str, path: Path) -> str:
    if path.is_dir():
        return f"{source!r} is a folder. Name a file in it."
    if not path.parent.is_dir():
        return f"There is no file {source!r}: the folder {str(path.parent)!r} does not exist. Check the path."
    readable = {_stem(other): other.name for other in sorted(path.parent.iterdir()) if _find_ending(other)}
    near = difflib.get_close_matches(_stem(path), readable, n=1)
    hint = f"Did you mean {str(path.with_name(readable[near[0]]))!r}?" if near else "Check the path."
    return f"There is no file {source!r}. {hint}"


def _stem(path: Path) -> str:
    return path.name.removesuffix(_find_ending(path) or "")


def _read(file: Any, ending: str, name: str) -> pd.DataFrame:
    import pandas as pd

    try:
        if ending in PARQUET:
            return pd.read_parquet(file)
        frame = pd.read_csv(
            file, sep=SEPARATORS[ending], keep_default_na=False, na_values=MISSING, encoding="utf-8-sig"
        )
    except ImportError:
        raise DatasetError(
            f"{name!r} is a Parquet file, and pyarrow is not installed. Install it: pip install pyarrow."
        ) from None
    except (EOFError, ValueError) as error:  # a packed file may end too early
        reason = str(error).strip().rstrip(".")
        raise DatasetError(f"{name!r} cannot be read as {ending} ({reason}). Check the file.") from None
    _check_separator(frame, ending, name)
    return frame


def _check_separator(frame: pd.DataFrame, ending: str, name: str) -> None:
    """Refuse a file with other separators: it reads as one column whose name holds them all."""
    head = str(frame.columns[0])
    other = next((mark for mark in (";", "\t", ",") if mark in head), None)
    if frame.shape[1] == 1 and other:
        raise DatasetError(
            f"{name!r} has one column, {head!r}: its fields seem to be separated by {other!r}, and {ending} files by "
            f"{SEPARATORS[ending]!r}. Convert it, or give it the ending {'.tsv' if other == chr(9) else '.csv'}."
        )
