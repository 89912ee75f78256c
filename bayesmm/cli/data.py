"""A data frame from a file, from standard input, or from what is bundled."""

from __future__ import annotations

import difflib
import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
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
OTHER_SEPARATORS = (";", "\t", "|", ",")
SHOWN = {"\t": "\\t"}  # what a person types for a tab
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
PEEKED = 50  # rows that are looked at for decimal commas


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a text file is written, where it is not as its ending says; passed to pandas as it is.

    Attributes
    ----------
    sep, decimal, thousands : str, optional
        What separates fields; the decimal mark; what groups the digits of large numbers.
    missing : sequence of str
        Fields that stand for a missing value, besides empty ones and NA.
    encoding : str, optional
        UTF-8 if None.
    """

    sep: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    missing: Sequence[str] = ()
    encoding: str | None = None

    def options(self) -> list[str]:
        """Return the names of the options that were given."""
        return [f"--{each.name}" for each in fields(self) if getattr(self, each.name)]

    def keywords(self, ending: str) -> dict[str, Any]:
        """Return the arguments of `pandas.read_csv` for a file of this ending."""
        sep = "\t" if self.sep == "\\t" else self.sep or SEPARATORS[ending]
        decimal = self.decimal or "."
        for name, mark in (("--decimal", decimal), ("--thousands", self.thousands or "'")):
            if len(mark) != 1:
                raise DatasetError(f"{name} is {mark!r}: give one character, such as ','.")
        if sep in (decimal, self.thousands):
            option = "--decimal" if sep == decimal else "--thousands"
            raise DatasetError(
                f"{option} is {sep!r}, which separates the fields of a {ending} file too. Say what does: --sep ';'."
            )
        if decimal == self.thousands:
            raise DatasetError(f"--decimal and --thousands are both {decimal!r}. Give two different ones.")
        return {
            "sep": sep,
            "decimal": decimal,
            "thousands": self.thousands,
            "keep_default_na": False,
            "na_values": [*MISSING, *self.missing],
            "encoding": self.encoding or "utf-8-sig",
        }


def read_data(source: str, reading: Reading | None = None) -> pd.DataFrame:
    """Read the data of a command.

    Parameters
    ----------
    source : str
        Path of a file, name of a bundled data set, or ``-`` for CSV on standard input.
    reading : Reading, optional
        How a text file is written.

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
    reading = reading or Reading()
    if source == "-":
        return _read_text(io.BytesIO(sys.stdin.buffer.read()), ".csv", "standard input", reading)
    path = Path(source).expanduser()
    with naming(source, "read"):
        if path.is_file():
            ending = _ending(path)
            read = _read_parquet if ending in PARQUET else _read_text
            return read(path, ending, source, reading)
        if "/" in source or os.sep in source or _find_ending(path):
            raise DatasetError(_no_file(source, path))
    if reading.options() and source in datasets.names():
        raise DatasetError(f"{source!r} is a bundled data set: it is not read with {', '.join(reading.options())}.")
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


def _read_parquet(path: Path, ending: str, name: str, reading: Reading) -> pd.DataFrame:
    import pandas as pd

    if reading.options():
        raise DatasetError(f"{name!r} is a Parquet file: it is not read with {', '.join(reading.options())}.")
    try:
        return pd.read_parquet(path)
    except ImportError:
        raise DatasetError(
            f"{name!r} is a Parquet file, and pyarrow is not installed. Install it: pip install pyarrow."
        ) from None
    except (EOFError, ValueError) as error:  # a packed file may end too early
        raise DatasetError(f"{name!r} cannot be read as {ending} ({_reason(error)}). Check the file.") from None


def _read_text(file: Any, ending: str, name: str, reading: Reading) -> pd.DataFrame:
    import pandas as pd

    keywords = reading.keywords(ending)
    try:
        frame = pd.read_csv(file, **keywords)
    except UnicodeError as error:
        raise DatasetError(
            f"{name!r} cannot be read as {reading.encoding or 'UTF-8'} ({_reason(error)}). Say how it is written: "
            "--encoding cp1252 for a file of Windows, or convert it to UTF-8."
        ) from None
    except LookupError:
        raise DatasetError(f"--encoding {reading.encoding!r} is not known. Write utf-8, cp1252, latin-1, ...") from None
    except (EOFError, ValueError, re.error) as error:  # a packed file may end too early
        _check_separator(file, ending, name, keywords)
        raise DatasetError(f"{name!r} cannot be read as {ending} ({_reason(error)}). Check the file.") from None
    numbered = frame.index.equals(pd.RangeIndex(len(frame)))  # pandas takes fields without a name as labels of the rows
    if frame.shape[1] == 1 or not numbered:
        _check_separator(file, ending, name, keywords)
    if not numbered:
        raise DatasetError(
            f"The rows of {name!r} have more fields than its first line has names. If the first field names the "
            f"row, give it a name too; if numbers have decimal commas, separate the fields by something else."
        )
    return frame


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _check_separator(file: Any, ending: str, name: str, keywords: dict[str, Any]) -> None:
    """Refuse a file whose first line holds other separators than it was read with; say how it seems to be written."""
    head = _peek(file, keywords, nrows=0)
    names = [] if head is None else [str(column) for column in head.columns]
    other = next((mark for mark in OTHER_SEPARATORS if any(mark in column for column in names)), None)
    if other is None:
        return
    cells = _peek(file, keywords | {"sep": other}, nrows=PEEKED)
    commas = cells is not None and any(
        DECIMAL_COMMA.fullmatch(str(cell).strip()) for column in cells for cell in cells[column]
    )
    found, used = (f"'{SHOWN.get(mark, mark)}'" for mark in (other, keywords["sep"]))
    usual = f", as in a {ending} file" if keywords["sep"] == SEPARATORS[ending] else ""
    advice = f"--sep {found}" + (" --decimal ','" if commas else "")
    raise DatasetError(
        f"The first line of {name!r} has the single name '{names[0]}' if fields are separated by {used}{usual}. They "
        f"seem to be separated by {found}{', and numbers to have decimal commas' if commas else ''}: add {advice}."
    )


def _peek(file: Any, keywords: dict[str, Any], nrows: int) -> pd.DataFrame | None:
    """Read the first lines as texts; None if that fails too."""
    import pandas as pd

    if isinstance(file, io.BytesIO):
        file.seek(0)
    try:
        return pd.read_csv(file, **keywords | {"dtype": str, "nrows": nrows, "index_col": False})
    except (EOFError, OSError, ValueError, re.error):
        return None
