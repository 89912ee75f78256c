"""What is bundled: names and descriptions, read from `files/catalogue.toml` without touching the data."""

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from bayesmm.console import LEAST_COLUMNS, columns, fold
from bayesmm.errors import DatasetError
from bayesmm.presenting.parts import Column as _Cells
from bayesmm.presenting.parts import Table, facts, notes
from bayesmm.presenting.report import Report

FEW = 6  # levels that are worth listing


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a bundled data set."""

    name: str
    type: Literal["number", "integer", "factor"]
    unit: str  # "" where there is none
    meaning: str
    levels: tuple[str, ...]  # of a factor of at most sixty levels, in order; the first is the reference level
    n_levels: int  # 0 unless a factor

    @property
    def kind(self) -> str:
        """The type, with the number of levels of a factor."""
        return f"factor, {self.n_levels} levels" if self.type == "factor" else self.type

    @property
    def text(self) -> str:
        """The meaning, with the levels of a factor where they are few."""
        return f"{self.meaning} ({', '.join(self.levels)})" if 0 < len(self.levels) <= FEW else self.meaning


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is known of a bundled data set; prints as a paragraph and a table.

    Attributes
    ----------
    name, title : str
        What `load` takes, and what the data are about.
    source : str
        The publication.
    read_from : str
        Where the numbers were copied from.
    rows : int
        How many there are.
    columns : tuple of Column
        Name, kind, unit and meaning of each.
    example : str
        A formula to start from.
    note : str
        What else is to be known; "" where there is nothing to add.
    file : str
        Its name inside the package's folder of data.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> print(str(bmm.datasets.describe("sleepstudy")).splitlines()[0])
    sleepstudy: Reaction times in a sleep-deprivation study
    """

    name: str
    title: str
    source: str
    read_from: str
    rows: int
    columns: tuple[Column, ...]
    example: str
    note: str
    file: str

    def __str__(self) -> str:
        cells = [(c.name, c.kind, c.unit, c.text) for c in self.columns]
        widths = [max(len(row[i]) for row in cells) for i in range(3)]
        lines = [*fold(f"{self.name}: {self.title}", then="  "), self._size()]
        for *words, meaning in cells:
            first = "  " + "  ".join(word.ljust(width) for word, width in zip(words, widths, strict=True)) + "  "
            if len(first) > columns() - LEAST_COLUMNS // 2:  # too little room beside
                lines += [*fold("  ".join(filter(None, words)), first="  ", then="    ")]
                first = "    "
            lines += fold(meaning, first=first, then=" " * len(first))
        for label, text in self._remarks():
            lines += fold(f"{label}: {text}", then="  ")
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__

    def _size(self) -> str:
        return f"{self.rows} rows, {len(self.columns)} columns"

    def _remarks(self) -> list[tuple[str, str]]:
        remarks = [
            ("Example", self.example),
            ("Note", self.note),
            ("Source", self.source),
            ("Copied from", self.read_from),
        ]
        return [(label, text) for label, text in remarks if text]

    def _repr_html_(self) -> str:
        columns = [
            _Cells(head=head, cells=[str(getattr(column, name)) for column in self.columns], is_words=True)
            for head, name in (("type", "kind"), ("unit", "unit"), ("meaning", "text"))
        ]
        table = Table(names=[column.name for column in self.columns], columns=columns, head="column")
        remarks = notes(f"{label}: {text}" for label, text in self._remarks())
        title = f"{self.name}: {self.title}"
        return Report(title=title, parts=(facts((self._size(),)), table, remarks))._repr_html_()


def names() -> list[str]:
    """List the bundled data sets.

    Returns
    -------
    list of str
        The names that `load` and `describe` take, in alphabetical order.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> "sleepstudy" in bmm.datasets.names()
    True
    """
    return sorted(_catalogue())


def describe(name: str) -> Description:
    """Say what a bundled data set is: its source, its columns and their units.

    Parameters
    ----------
    name : str
        One of `names()`; upper and lower case, blanks, hyphens and underscores make no difference.

    Returns
    -------
    Description
        Prints as a table.

    Raises
    ------
    DatasetError
        There is no such data set.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> bmm.datasets.describe("eight schools").rows
    8
    """
    key = _find(name)
    entry = _catalogue()[key]
    columns = tuple(_column(column, about) for column, about in entry["columns"].items())
    texts = {field: entry.get(field, "") for field in ("title", "source", "read_from", "example", "note", "file")}
    return Description(name=key, rows=entry["rows"], columns=columns, **texts)


def _column(name: str, about: dict[str, Any]) -> Column:
    levels = tuple(about.get("levels", ()))
    return Column(
        name=name,
        type=about["type"],
        unit=about.get("unit", ""),
        meaning=about["meaning"],
        levels=levels,
        n_levels=about.get("n_levels", len(levels)),
    )


@cache
def _catalogue() -> dict[str, dict[str, Any]]:
    text = (files("bayesmm.datasets") / "files" / "catalogue.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _find(name: str) -> str:
    """Find the name in the catalogue, forgiving what people write differently."""
    known = {_squeeze(key): key for key in _catalogue()}
    wanted = _squeeze(str(name))
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(repr(known[key]) for key in near)}?" if near else ""
    raise DatasetError(f"There is no bundled data set {name!r}.{hint} Bundled are: {', '.join(names())}.")


def _squeeze(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
