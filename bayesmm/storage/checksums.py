"""Sums over what a file holds, which tell whether what is read is what was saved.

Two of them, for two purposes. A *seal* is over the bytes of a file and is looked at before anything interprets them:
the libraries that do may crash over damaged ones. *Checksums* are over the arrays and attributes as they are read, one
each, whatever file they came from: they say what was changed, and hold for a file that another program has written
again. Neither is a signature: who can write a file can write its sums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from xarray import DataTree

from bayesmm.errors import StorageError
from bayesmm.files import naming

SEAL = b"\nbayesmm sha256 "
LENGTH = len(SEAL) + 64  # bytes
NUMBERS = "biuf"  # kinds of dtypes
NAMED = 5  # arrays in an error message
ADVICE = "Use a copy that is whole, or make it again"


def seal(path: Path) -> None:
    """Write the sum of a file's bytes behind them, where HDF5 and zip look at nothing."""
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.write(SEAL + digest.encode())


def check_seal(path: Path, name: str) -> bool:
    """Refuse a file whose bytes are not those that were sealed; return whether it has a seal.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    name : str
        As the user named it.

    Raises
    ------
    StorageError
        If it has a seal that does not hold. A file without one may be older, or written by another program, which
        takes it away.
    """
    with naming(name, "read"), path.open("rb") as file:
        n = path.stat().st_size - LENGTH
        file.seek(max(n, 0))
        found = file.read()
        if not found.startswith(SEAL):
            return False
        file.seek(0)
        if found[len(SEAL) :] == _digest(file, n):
            return True
    raise StorageError(f"{name!r} is damaged: its bytes are not those that were written. {ADVICE}.")


def checksums(tree: DataTree) -> dict[str, str]:
    """Sum up every array of numbers, truths or texts, and every attribute, of every group.

    Parameters
    ----------
    tree : DataTree
        In memory.

    Returns
    -------
    dict of str to str
        By path: ``"/posterior/beta"``, and ``"/sample_stats@seed"`` for attributes.
    """
    sums = {}
    for node in tree.subtree:
        data, path = node.to_dataset(inherit=False), node.path.rstrip("/")
        sums |= _of_attributes(path, data.attrs)
        for name, variable in data.variables.items():
            digest = _of_array(variable.dims, variable.to_numpy())
            if digest is not None:
                sums[f"{path}/{name}"] = digest
                sums |= _of_attributes(f"{path}/{name}", variable.attrs)
    return sums


def changes(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Name what differs from its checksum, or is not there any more; "" where nothing does.

    Parameters
    ----------
    expected, found : mapping of str to str
        As from `checksums`. What is found beside what is expected has been added, which is no change.
    """
    changed = [name for name, digest in expected.items() if found.get(name) != digest]
    more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    return ", ".join(name.removeprefix("/") for name in changed[:NAMED]) + more


def _digest(file: Any, n: int) -> bytes:
    digest = hashlib.sha256()
    while n > 0 and (part := file.read(min(n, 1 << 20))):
        digest.update(part)
        n -= len(part)
    return digest.hexdigest().encode()


def _of_attributes(path: str, attributes: Mapping[Any, Any]) -> dict[str, str]:
    return {f"{path}@{name}": _sum(_plain(value)) for name, value in attributes.items()}


def _of_array(dims: Any, values: np.ndarray) -> str | None:
    """Sum up an array as it is the same in every format; None for kinds that come back otherwise."""
    head = f"{dims}{values.shape}"
    if values.dtype.kind in NUMBERS:
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        if values.dtype.kind == "f" and np.isnan(values).any():
            values = np.where(np.isnan(values), values.dtype.type(np.nan), values)  # there is more than one
        return _sum(f"{head}{values.dtype.str}", values)
    texts = values.ravel().tolist()
    return _sum(head, _joined(texts)) if all(type(text) is str for text in texts) else None


def _plain(value: Any) -> bytes:
    """Write an attribute; formats differ in what is a list of one, and in which kinds of numbers they know."""
    return _joined([str(x + 0 if isinstance(x, bool) else x) for x in np.asarray(value).ravel().tolist()])


def _joined(texts: list[str]) -> bytes:
    return b"".join(b"%d:%s" % (len(text), text.encode(errors="surrogatepass")) for text in texts)


def _sum(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()
