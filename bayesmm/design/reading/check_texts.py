"""Checks at the door of columns of texts: numbers in disguise, levels in disguise, as many levels as rows."""

import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd

from bayesmm.covariance.table import find_structure
from bayesmm.design.reading.dtypes import Column
from bayesmm.design.reading.frame import Table
from bayesmm.design.reading.names import Names
from bayesmm.design.reading.number_texts import Disguise, find_disguise, is_missing_mark
from bayesmm.errors import PACKAGE, BayesmmWarning, DesignError
from bayesmm.specification.expansion import expand_text
from bayesmm.specification.formula import read_arithmetic
from bayesmm.specification.syntax import Binary, Call, Name, Node, Text, children
from bayesmm.specification.terms import Specification

_FACTORS = ("C", "S", "T")  # calls that say that a column is a factor
_REMEDIES = {  # for each way of writing numbers: how to undo it, and the option of a reader that does
    "spaces": (r""".str.replace(r"['’\s](?=\d{3})", "", regex=True)""", ""),
    "points": (".str.replace('.', '')", "thousands='.'"),
    "thousands": (".str.replace(',', '')", "thousands=','"),
    "comma": (".str.replace(',', '.')", "decimal=','"),
    "minus": (".str.replace('−', '-')", ""),
}
_FEW = 10  # levels of a factor that may be many for the rows
_SHOWN = 3


def check_texts(
    table: Table,
    keep: np.ndarray,
    specification: Specification,
    names: Names,
    weights: str | None,
    *,
    n_rows: int | None = None,
) -> None:
    """Refuse texts that stand for numbers or dates where they would become a factor, and factors of nearly every row.

    Parameters
    ----------
    table : Table
        The columns that the model needs.
    keep : array of bool, shape (n_rows,)
        Which rows are used.
    specification : Specification
        Where each column is used. ``C(x)`` says that ``x`` is a factor; so does a categorical column.
    names : Names
        The user's functions take what they like.
    weights : str, optional
        The weights, if they are an expression.
    n_rows : int, optional
        How many rows are used, where the table has only some of them, with all levels.

    Raises
    ------
    DesignError
        Naming the column, some of its values, and how to convert it.

    Warns
    -----
    BayesmmWarning
        Where two levels differ by blanks only, or a level is what files write for a missing value.
    """
    if any(column.is_text for column in table.columns.values()):
        _check_columns(table, keep, specification, names, weights, n_rows or int(np.count_nonzero(keep)))
    for name in dict.fromkeys(name for term in specification.random_terms for name in term.factors if n_rows is None):
        _note_measurements(name, table.columns[name], keep)


def _check_columns(
    table: Table, keep: np.ndarray, specification: Specification, names: Names, weights: str | None, n_rows: int
) -> None:
    found: dict[str, list[str]] = {}  # the distinct texts of a column in the rows used

    def texts_of(name: str) -> list[str]:
        if name not in found:
            found[name] = _texts(table.columns[name], keep)
        return found[name]

    arithmetic = [specification.response, *specification.offsets, *([weights] if weights else [])]
    for name in dict.fromkeys(each for text in arithmetic for each in _columns(read_arithmetic(text), names)):
        if name in table.columns:
            _refuse_disguise(name, texts_of(name), as_factor=False)
    known = [term.expression for term in specification.random_terms if find_structure(term.structure).matrix]
    sums = [specification.fixed, *(term.expression for term in specification.random_terms)]
    of_known, factors = (
        dict.fromkeys(factor for text in texts for term in expand_text(text).terms for factor in term)
        for texts in (known, dict.fromkeys(sums))
    )
    for factor in factors:
        for name in _columns(factor, names):
            if name in table.columns:
                _refuse_disguise(name, texts_of(name), as_factor=isinstance(factor, Name))
        if isinstance(factor, Name) and factor.text in table.columns and factor not in of_known:
            _refuse_as_many_levels_as_rows(factor.text, len(texts_of(factor.text)), n_rows)
    for name in table.columns:
        _note_levels(name, texts_of(name))


def _texts(column: Column, keep: np.ndarray) -> list[str]:
    """Return the distinct texts of the rows used; none if the column was not one of texts."""
    if not column.is_text or not isinstance(column.values, pd.Categorical):
        return []
    present = np.zeros(len(column.values.categories), dtype=bool)
    present[column.values.codes[keep]] = True
    return column.values.categories[present].tolist()


def _columns(node: Node, names: Names) -> Iterator[str]:
    """Yield the names that are used as numbers or as they stand: not in C(x), x == 'a' or a function of the user."""
    if isinstance(node, Name):
        yield node.text
    if isinstance(node, Call) and node.callee in names.user:
        return
    parts = children(node)
    if isinstance(node, Binary) and any(isinstance(part, Text) for part in parts):
        return
    for part in parts[1:] if isinstance(node, Call) and node.callee in _FACTORS else parts:
        yield from _columns(part, names)


def _refuse_disguise(name: str, texts: list[str], *, as_factor: bool) -> None:
    disguise = find_disguise(texts)
    if disguise is None:
        return
    where = f"it would be a factor of {len(texts)} levels" if as_factor else "it cannot be computed with"
    ending = f" If the values are names of levels, write C({name})." if as_factor else ""
    if disguise.kind == "numbers":
        what, remedy = f"numbers as texts, {_samples(texts, disguise)}", _number_remedy(name, disguise)
    elif disguise.kind == "dates":
        what, remedy = f"dates as texts, such as {texts[0]!r}", _date_remedy(name, texts)
    else:
        what = f"times as texts, such as {texts[0]!r}"
        seconds = "" if texts[0].count(":") > 1 else " + ':00'"
        remedy = f"data[{name!r}] = pd.to_timedelta(data[{name!r}]{seconds}).dt.total_seconds()."
    raise DesignError(f"Column {name!r} holds {what}: {where}. Convert it: {remedy}{ending}")


def _samples(texts: list[str], disguise: Disguise) -> str:
    strange = (*disguise.decorated, *disguise.others)
    numbers = [text for text in texts if text not in strange] or list(strange)
    shown = f"such as {', '.join(map(repr, numbers[:_SHOWN]))}"
    if not strange or numbers[0] in strange:
        return shown
    more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
    return f"{shown}, besides {', '.join(map(repr, strange[:_SHOWN]))}{more}"


def _date_remedy(name: str, texts: list[str]) -> str:
    day_first = ", dayfirst=True" if any("." in text[:3] for text in texts) else ""
    return (
        f"dates = pd.to_datetime(data[{name!r}]{day_first}); data[{name!r}] = (dates - dates.min()).dt.days, for days "
        "since the first."
    )


def _number_remedy(name: str, disguise: Disguise) -> str:
    """Say how the numbers are got out, in the data or while the file is read."""
    column, keywords, options = f"data[{name!r}]", [], []
    if disguise.decorated:
        column += ".str.extract(r'([-+]?[0-9][0-9.,]*)', expand=False)"
    for way in disguise.how:
        code, keyword = _REMEDIES[way]
        column += code
        if keyword:
            keywords.append(keyword)
            option, mark = keyword.split("=")
            options.append(f"--{option} {mark}")
    marks = [text for text in disguise.others if text and is_missing_mark(text)][:_SHOWN]
    if marks:
        keywords.append(f"na_values={marks}")
        options += [f"--missing {mark!r}" for mark in marks]
    coerce = ", errors='coerce')" if disguise.others else ")"
    meaning = ", which makes missing what is no number" if disguise.others else ""
    meaning += ", if the number in each text is what it stands for" if disguise.decorated else ""
    reading = f"; or read the file with {', '.join(keywords)}, on the command line {' '.join(options)}"
    return f"data[{name!r}] = pd.to_numeric({column}{coerce}{meaning}{reading if keywords else ''}."


def _refuse_as_many_levels_as_rows(name: str, n_levels: int, n_rows: int) -> None:
    if n_levels > max(_FEW, n_rows / 2):
        raise DesignError(
            f"Column {name!r} holds texts, {n_levels} different ones in the {n_rows} rows used: as a fixed effect each "
            f"would have a coefficient. Use it as a grouping factor, (1 | {name}), or leave it out; if that many "
            f"coefficients are meant, write C({name})."
        )


def _note_levels(name: str, texts: list[str]) -> None:
    alike: dict[str, list[str]] = {}
    for text in texts:
        alike.setdefault(" ".join(text.split()), []).append(text)
    pairs = [pair for pair in alike.values() if len(pair) > 1]
    if pairs:
        _note(
            f"{name!r} has the levels {' and '.join(map(repr, pairs[0]))}, which differ by blanks only"
            f"{f', and {len(pairs) - 1} more such pairs' if len(pairs) > 1 else ''}: they count as different. If they "
            f"are the same, data[{name!r}] = data[{name!r}].str.strip()."
        )
    marks = [text for text in texts if is_missing_mark(text)]
    if marks and len(texts) > len(marks):
        _note(
            f"{name!r} has the level {marks[0]!r}, which files write for a missing value: it counts as a level like "
            f"the others. If it is missing, data[{name!r}] = data[{name!r}].replace({marks[0]!r}, None), or read the "
            f"file with na_values=[{marks[0]!r}], on the command line --missing {marks[0]!r}."
        )


def _note_measurements(name: str, column: Column, keep: np.ndarray) -> None:
    """Warn of a grouping factor of measured numbers: most of its levels have a single row."""
    if isinstance(column.values, pd.Categorical) or column.values.dtype != np.float64:
        return
    used = column.values[keep]
    if (used == np.floor(used)).all():
        return
    levels, counts = np.unique(used, return_counts=True)
    if 2 * (counts == 1).sum() > len(levels):
        fraction = used[used != np.floor(used)][0]
        _note(
            f"The grouping factor {name!r} is a column of numbers with fractions, such as {fraction:g}: each of its "
            f"{len(levels)} different numbers is a level, and {(counts == 1).sum()} of them have one row only. If it "
            f"was measured, use it as a covariate, or cut it into classes first."
        )


def _note(text: str) -> None:
    warnings.warn(text, BayesmmWarning, skip_file_prefixes=(PACKAGE,))
