"""Where results go: the terminal, and files by their ending."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesmm.cli.documents import write_json
from bayesmm.cli.encoding import is_universal
from bayesmm.cli.messages import show
from bayesmm.errors import StorageError
from bayesmm.files import check_writable
from bayesmm.presenting.intervals import interval_head
from bayesmm.presenting.numbers import decimals_for, write_column
from bayesmm.presenting.parts import Column, Interval, Table
from bayesmm.presenting.text import write_table
from bayesmm.replacing import replacing

if TYPE_CHECKING:
    import pandas as pd

    from bayesmm.cli.outcomes import Outcome

TABLES = (".csv", ".json")
RESULTS = (".nc", ".zarr")
FIGURES = (".png", ".pdf", ".svg")
PAGES = (".html", ".htm")
NEEDS = {".nc": ("h5netcdf", "h5py"), ".zarr": ("zarr",), **dict.fromkeys(FIGURES, ("matplotlib",))}
NEEDS |= dict.fromkeys(PAGES, ("jinja2", "matplotlib"))
FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # what a spreadsheet takes for one
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
DECIMALS = {"shift": 2, "df": 1}  # where they do not follow from an error
WORDS = ("level", "effect")  # columns that are no numbers
UNUSABLE = 1  # exit code


def check_outputs(names: Sequence[str] | None, endings: Sequence[str]) -> list[Path]:
    """Refuse output files that could not be written, before anything is computed.

    Parameters
    ----------
    names : sequence of str, optional
        Files as the user named them.
    endings : sequence of str
        Endings that the command can write.

    Returns
    -------
    list of Path

    Raises
    ------
    StorageError
        For an unknown ending, a folder that is not there, a package that is not installed, a folder that would be lost.
    """
    paths = [Path(name).expanduser() for name in names or ()]
    for path in paths:
        ending = path.suffix.lower()
        if ending not in endings:
            raise StorageError(
                f"--output {str(path)!r} ends in {ending or 'nothing'!r}; this command writes {', '.join(endings)}."
            )
        lacking = [package for package in NEEDS.get(ending, ()) if importlib.util.find_spec(package) is None]
        if lacking:
            raise StorageError(
                f"--output {str(path)!r} needs {' and '.join(lacking)}, not installed here. Run: pip install "
                f"{' '.join(lacking)}."
            )
        check_writable(path)
        if path.is_dir():
            from bayesmm.storage.trees import check_replaceable

            check_replaceable(path)
    return paths


def deliver(outcome: Outcome, paths: Sequence[Path], *, as_json: bool, random_effects: bool) -> int:
    """Print the result, write the files, and return the exit code.

    Parameters
    ----------
    outcome : Outcome
        What was found.
    paths : sequence of Path
        Files to write, from `check_outputs`.
    as_json : bool
        Whether to print one JSON document rather than text.
    random_effects : bool
        Whether the random effects of every level are printed, and written beside a .csv file.
    """
    if as_json:
        print(write_json(outcome.document, ascii_only=not is_universal(sys.stdout)))
    else:
        show(outcome.text)
        if random_effects and outcome.effects is not None:
            show("\n".join(["", *write_table(_effect_table(outcome.effects, outcome.level))]))
    _write_files(outcome, paths, random_effects=random_effects)  # after printing: a full disk must not cost the result
    return 0 if outcome.usable else UNUSABLE


def _write_files(outcome: Outcome, paths: Sequence[Path], *, random_effects: bool) -> None:
    """Write every file that can be written, then say which could not."""
    errors = []
    for path in paths:
        try:
            _write_file(outcome, path, random_effects=random_effects)
        except StorageError as error:
            errors.append(error)
    if errors:
        raise StorageError("\n".join(map(str, errors))) from errors[0]


def _write_file(outcome: Outcome, path: Path, *, random_effects: bool) -> None:
    match path.suffix.lower():
        case ".csv":
            with replacing(path) as partial:
                guarded(outcome.parameters.reset_index()).to_csv(partial, index=False)
            if random_effects and outcome.effects is not None and not outcome.is_of_effects:
                with replacing(path.with_name(f"{path.stem}_random_effects.csv")) as partial:
                    guarded(outcome.effects).to_csv(partial, index=False)
        case ".json":
            with replacing(path) as partial:
                partial.write_text(write_json(outcome.document), encoding="utf-8")
        case ".nc" | ".zarr":
            assert outcome.saved is not None
            outcome.saved.save(path)
        case ending:
            assert outcome.draw is not None
            with replacing(path) as partial:
                outcome.draw().savefig(partial, dpi=150, format=ending.removeprefix("."))


def guarded(table: pd.DataFrame) -> pd.DataFrame:
    r"""Return a table whose texts no spreadsheet takes for formulas.

    Parameters
    ----------
    table : DataFrame
        Numbers and texts.

    Returns
    -------
    DataFrame
        A text that begins with ``=``, ``+``, ``-``, ``@``, their full-width forms, a tab or a line break has an
        apostrophe before it, unless it is a plain number; so has one that begins with apostrophes and then one of
        these. Whoever takes one apostrophe from every cell that matches ``'+[=+\-@...]`` has the same texts again.

    References
    ----------
    OWASP, CSV Injection, https://owasp.org/www-community/attacks/CSV_Injection.
    """
    return table.rename(columns=_guard).map(_guard)


def _guard(cell: Any) -> Any:
    if isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def _effect_table(effects: pd.DataFrame, level: float) -> Table:
    """Put the random effects of every level into a table, each row named by its group."""
    spreads = [effects[name] for name in ("std_error", "sd") if name in effects]
    decimals = [decimals_for(*row) for row in zip(*spreads, strict=True)]
    columns: list[Column | Interval] = []
    for name, values in effects.drop(columns=["group", "upper"], errors="ignore").items():
        if name in WORDS:
            columns.append(Column(head=str(name), cells=values.tolist(), is_words=True))
        elif name == "lower":
            lower, upper = (write_column(effects[end], decimals) for end in ("lower", "upper"))
            columns.append(Interval(head=interval_head(level), cells=list(zip(lower, upper, strict=True))))
        else:
            columns.append(Column(head=str(name), cells=write_column(values, DECIMALS.get(str(name), decimals))))
    return Table(names=effects["group"].tolist(), columns=columns, head="group", caption="Random effects")
