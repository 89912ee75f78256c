"""A data frame from a file, from standard input, or from what is bundled."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesmm import datasets
from bayesmm.errors import BayesmmError, DatasetError
from bayesmm.files import naming
from bayesmm.limits import FILE_BYTES, FILE_COLUMNS, HEADER_BYTES, NUMBERS, PACKED_BYTES, PACKED_RATIO

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
OF_OTHER_THINGS = ("relations", "pedigrees", "cluster")  # of a `Reading` than how a file is written
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
    relations, pedigrees : sequence of str
        ``NAME=FILE`` of what relates levels, to be read likewise.
    cluster : str, optional
        Address of a scheduler whose workers read the files.
    """

    sep: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    missing: Sequence[str] = ()
    encoding: str | None = None
    relations: Sequence[str] = ()
    pedigrees: Sequence[str] = ()
    cluster: str | None = None

    def options(self) -> list[str]:
        """Return the names of the options that were given of how a file is written."""
        written = [each.name for each in fields(self) if each.name not in OF_OTHER_THINGS]
        return [f"--{name}" for name in written if getattr(self, name)]

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
        If there is no such file or data set, the file holds no such data, or it is larger than `bayesmm.limits` says.
    StorageError
        If the system does not let the file be read.
    """
    reading = reading or Reading()
    if source == "-":
        return _read_text(_read_stdin(), ".csv", "standard input", reading)
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


def _read_stdin() -> io.BytesIO:
    found = io.BytesIO()
    while piece := sys.stdin.buffer.read(2**20):
        found.write(piece)
        if found.tell() > FILE_BYTES:
            raise _too_large("standard input", FILE_BYTES)
    return found


def _too_large(name: str, most: int, why: str = "") -> DatasetError:
    return DatasetError(
        f"{name!r} holds more than {most / 2**20:,.0f} MiB{why}, the most that is read. Keep the rows and columns that "
        "the model needs, or read it in Python and pass the data frame to bayesmm.Model."
    )


class _Bounded(io.RawIOBase):
    """A packed file, unpacked as far as it may be."""

    def __init__(self, unpacked: gzip.GzipFile, most: int, name: str):
        self.unpacked, self.most, self.name = unpacked, most, name
        self.count = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Unpack the next piece."""
        count = self.unpacked.readinto(buffer)
        self.count += count
        if self.count > self.most:
            raise _too_large(self.name, self.most, " when it is unpacked")
        return count


def _most_unpacked(path: Path) -> int:
    return min(max(PACKED_RATIO * path.stat().st_size, PACKED_BYTES), FILE_BYTES)


@contextmanager
def _opened(file: Any, name: str) -> Iterator[Any]:
    """Open a text file, or begin anew with the bytes of one; what it holds is bounded."""
    if isinstance(file, io.BytesIO):
        file.seek(0)
        yield file
    elif file.name.lower().endswith(".gz"):
        with gzip.GzipFile(file, "rb") as unpacked:
            yield io.BufferedReader(_Bounded(unpacked, _most_unpacked(file), name), 2**17)
    else:
        if file.stat().st_size > FILE_BYTES:
            raise _too_large(name, FILE_BYTES)
        with open(file, "rb") as stream:
            yield stream


def _check_header(file: Any, name: str, keywords: dict[str, Any]) -> None:
    """Refuse a file of more columns than are read, by its first line."""
    if len(keywords["sep"]) > 1:  # a regular expression, of the user's own
        return
    with _opened(file, name) as stream:
        head = io.StringIO(stream.read(HEADER_BYTES).decode(keywords["encoding"], errors="replace"), newline="")
    try:
        count = len(next(csv.reader(head, delimiter=keywords["sep"]), []))
    except csv.Error:  # pandas says what is wrong
        return
    _check_columns(count, name)


def _check_columns(count: int, name: str) -> None:
    if count > FILE_COLUMNS:
        raise DatasetError(
            f"{name!r} has {count:,} columns, more than the {FILE_COLUMNS:,} that are read. Keep those that the model "
            "needs; bayesmm.to_long makes rows of columns that repeat."
        )


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
        _check_parquet(path, name)
        return pd.read_parquet(path)
    except ImportError:
        raise DatasetError(
            f"{name!r} is a Parquet file, and pyarrow is not installed. Install it: pip install pyarrow."
        ) from None
    except (EOFError, ValueError) as error:  # a packed file may end too early
        raise DatasetError(f"{name!r} cannot be read as {ending} ({_reason(error)}). Check the file.") from None


def _check_parquet(path: Path, name: str) -> None:
    """Refuse a file that says that it is larger than what is read."""
    from pyarrow.parquet import read_metadata

    about = read_metadata(path)
    _check_columns(about.num_columns, name)
    if about.num_rows * about.num_columns > NUMBERS:
        raise DatasetError(
            f"{name!r} has {about.num_rows:,} rows of {about.num_columns:,} columns, more than the {NUMBERS:,} values "
            "that are read. Keep the rows and columns that the model needs."
        )
    most = _most_unpacked(path)
    if sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups)) > most:
        raise _too_large(name, most, " when it is unpacked")


def _read_text(file: Any, ending: str, name: str, reading: Reading) -> pd.DataFrame:
    import pandas as pd

    keywords = reading.keywords(ending)
    try:
        _check_header(file, name, keywords)
        with _opened(file, name) as stream:
            frame = pd.read_csv(stream, **keywords)
    except BayesmmError:
        raise
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
    head = _peek(file, name, keywords, nrows=0)
    names = [] if head is None else [str(column) for column in head.columns]
    other = next((mark for mark in OTHER_SEPARATORS if any(mark in column for column in names)), None)
    if other is None:
        return
    cells = _peek(file, name, keywords | {"sep": other}, nrows=PEEKED)
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


def _peek(file: Any, name: str, keywords: dict[str, Any], nrows: int) -> pd.DataFrame | None:
    """Read the first lines as texts; None if that fails too."""
    import pandas as pd

    try:
        with _opened(file, name) as stream:
            return pd.read_csv(stream, **keywords | {"dtype": str, "nrows": nrows, "index_col": False})
    except (EOFError, OSError, ValueError, re.error):
        return None
