"""From the options of a command to a model."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bayesmm.cli.assignments import read_texts
from bayesmm.cli.data import Reading, read_data
from bayesmm.cli.priors import read_priors
from bayesmm.errors import ArgumentError, StorageError

if TYPE_CHECKING:
    from bayesmm.model import Model

MANY = frozenset("*?[")  # characters of a pattern of several files


def build_model(
    formula: str,
    data: str,
    reading: Reading,
    *,
    weights: str | None,
    sigma: float | None,
    missing: Literal["drop", "raise"],
    residual: str | None = None,
    priors: Sequence[str] | None = None,
    compiles: bool = False,
) -> Model:
    """Read data and priors, and bind the formula to them; the options as the user gave them.

    What the command will have compiled (`compiles`) is kept in the user's cache folder for the next time.

    Raises
    ------
    BayesmmError
        For anything in them that cannot be used.
    """
    frame, declared = _open_rows(data, reading), read_priors(priors)
    # What is heavy is imported last: a misspelt file should not have to wait for it.
    from bayesmm.model import Model

    if compiles:
        from bayesmm.compilation import enable_compilation_cache

        with contextlib.suppress(StorageError):  # a cache that cannot be written costs time and nothing else
            enable_compilation_cache()
    return Model(
        formula,
        frame,
        residual=residual,
        weights=weights,
        sigma=sigma,
        missing=missing,
        priors=declared,
        relations=_read_relations(reading),
        progress=False,
    )


def rows_of(model: Model, data: str, reading: Reading) -> Any:
    """Say where the rows of a model are; None where they are in memory."""
    return None if model.design.elsewhere is None else _open_rows(data, reading)


def _open_rows(data: str, reading: Reading) -> Any:
    """Read a file or bundled data; say of several files, or a folder of them, where they are, to be read in chunks."""
    path = Path(data).expanduser()
    is_many = path.is_dir() or bool(MANY.intersection(data))
    if reading.cluster is not None and not (is_many or path.is_file()):
        raise ArgumentError(
            f"{data!r} is no file, folder or pattern: the workers of a cluster read files. Leave out --cluster."
        )
    if reading.cluster is None and (path.is_file() or not is_many):
        return read_data(data, reading)
    if reading.options():
        raise ArgumentError(
            f"{data!r} are files that are read in chunks, as their endings say. Leave out "
            f"{', '.join(reading.options())}."
        )
    from bayesmm.rows.scan import scan

    return scan(data, cluster=reading.cluster)


def _read_relations(reading: Reading) -> dict[str, Any]:
    """Read the files of ``--relation`` and ``--pedigree``."""
    from bayesmm.design.related.pedigree import pedigree

    found: dict[str, Any] = {}
    for name, file in read_texts("--relation", reading.relations, "A=relations.csv").items():
        table = read_data(file, reading)
        found[name] = table.set_index(table.columns[0])
    for name, file in read_texts("--pedigree", reading.pedigrees, "A=pedigree.csv").items():
        if name in found:
            raise ArgumentError(f"{name} is given by --relation and by --pedigree. Drop one.")
        table = read_data(file, reading)
        if table.shape[1] < 3:
            raise ArgumentError(
                f"The pedigree {file!r} has {table.shape[1]} columns: give animal, sire and dam, in this order."
            )
        found[name] = pedigree(table, *map(str, table.columns[:3]))
    return found
