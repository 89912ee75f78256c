"""A posterior into a file: its draws as ArviZ reads them, and beside them what its model is rebuilt from."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from xarray import Dataset, DataTree

from bayesmm.arguments import check_path as as_path
from bayesmm.bayes.files.checksums import checksums, seal
from bayesmm.bayes.files.stored_model import pack_model
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.design.coordinates import coordinates
from bayesmm.errors import StorageError
from bayesmm.files import check_writable, naming
from bayesmm.replacing import SteadyFile, replacing, undisturbed

DRAWS_FOLDER = "draws"  # of a checkpoint
GROUP = "bayesmm"  # of a saved posterior, beside ArviZ's groups
ENGINES = {".nc": "h5netcdf", ".zarr": "zarr"}
NEEDS = {".nc": ("h5netcdf", "h5py"), ".zarr": ("zarr",)}
# Version 3 of the format has no standard for texts yet; every release of zarr-python reads version 2.
ZARR_FORMAT = 2


def save(posterior: DrawnModel, path: str | os.PathLike[str]) -> Path:
    """Write a posterior to a file; see `Posterior.save`."""
    target = as_path("path", path)
    ending = check_path(target)
    with naming(path, "written"):
        check_replaceable(target)
    tree = _with_plain_rows(posterior)
    order = {name: list(map(str, group.data_vars)) for name, group in tree.children.items()}
    tree[GROUP] = DataTree(pack_model(posterior).assign_attrs(order=json.dumps(order)))
    tree[GROUP].attrs["checksums"] = json.dumps(checksums(tree))
    with replacing(path, folder=ending == ".zarr") as partial:
        (_write_netcdf if ending == ".nc" else _write_zarr)(tree, partial, str(path))
    return target


def check_path(path: Path, *, is_replaced: bool = True) -> str:
    """Refuse a path that could not be written, or written to where it is not replaced; return its ending.

    Raises
    ------
    StorageError
        For an unknown ending, a folder that is not there or must not be written to, or a package that is not installed.
    """
    ending = check_ending(path)
    check_writable(path, is_replaced=is_replaced)
    return ending


def is_checkpoint(path: Path) -> bool:
    """Say whether a folder is a checkpoint."""
    return (path / DRAWS_FOLDER / ".zattrs").is_file()


def check_replaceable(path: Path) -> None:
    """Refuse to replace a folder that holds anything but a saved posterior.

    Raises
    ------
    StorageError
        If there is such a folder at the path.
    """
    if path.is_dir() and not (path / GROUP / ".zattrs").is_file():
        raise StorageError(f"{str(path)!r} is a folder, and no saved posterior. Choose another name, or delete it.")


def check_ending(path: Path) -> str:
    """Return the ending of a path; refuse one of no format, or of one whose packages are not installed."""
    ending = path.suffix.lower()
    if ending not in ENGINES:
        raise StorageError(
            f"{str(path)!r} ends in {ending or 'nothing'!r}: the ending says the format, .nc for netCDF or .zarr for "
            "Zarr."
        )
    lacking = [package for package in NEEDS[ending] if importlib.util.find_spec(package) is None]
    if lacking:
        raise StorageError(
            f"{str(path)!r} needs {' and '.join(lacking)}, not installed here. Run: pip install {' '.join(lacking)}."
        )
    return ending


def _write_netcdf(tree: DataTree, path: Path, name: str) -> None:
    with contextlib.closing(SteadyFile(path)) as file, undisturbed(), _explaining(name):
        tree.to_netcdf(file, engine="h5netcdf")
        file.check()
    seal(path)


def _write_zarr(tree: DataTree, path: Path, name: str) -> None:
    with undisturbed(), _explaining(name):
        try:
            tree.to_zarr(path, mode="w-", zarr_format=ZARR_FORMAT)
        except BaseException:
            _settle()
            raise


def _settle() -> None:
    """Wait until Zarr has ended what it has begun: after an error it goes on writing, in threads of its own."""

    async def end() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    with contextlib.suppress(ImportError):  # where another version of Zarr has its loop elsewhere
        from zarr.core.sync import sync  # pyright: ignore[reportMissingImports]  an extra

        sync(end())


@contextlib.contextmanager
def _explaining(name: str) -> Iterator[None]:
    """Say in an error that what was added to a tree may be what cannot be written."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever the libraries say of a kind that they do not know
        raise StorageError(
            f"{name!r} cannot be written ({error}). Is something in posterior.data that a file cannot hold? Remove it "
            "from there, or give it another type."
        ) from error


def variables_of(tree: DataTree, group: str) -> Mapping[Any, Any]:
    """Return the variables of a group; none if it is not there."""
    return tree[group].data_vars if group in tree.children else {}


def _with_plain_rows(posterior: DrawnModel) -> DataTree:
    """Copy a tree, with row labels as texts where a file could not hold them as they are."""
    rows = coordinates(posterior.design)["obs"]
    tree = posterior.data if is_plain(rows) else relabel(posterior.data, [str(row) for row in rows])
    return DataTree.from_dict({node.path: _plain(node.to_dataset(inherit=False)) for node in tree.subtree})


def _plain(data: Dataset) -> Dataset:
    """Copy a group as it is to be written: numbers to the last bit, whatever file they came from, and plain texts."""
    texts = {}
    for name, variable in data.variables.items():
        if variable.dtype.kind in "OT" and all(type(text) is str for text in variable.to_numpy().ravel().tolist()):
            texts[name] = (variable.dims, variable.to_numpy().astype(np.str_), variable.attrs)
    return data.assign(texts).drop_encoding()


def is_plain(rows: Any) -> bool:
    """Whether a file can hold row labels as they are."""
    return np.asarray(rows).dtype.kind in "biufU"


def relabel(tree: DataTree, rows: Any) -> DataTree:
    """Return a copy with other row labels in every group whose rows are those of the data."""
    tree = tree.copy()
    current = variables_of(tree, "observed_data")["y"].coords["obs"].to_numpy()
    for name, group in list(tree.children.items()):
        data = group.to_dataset()
        if "obs" in data.coords and np.array_equal(data["obs"].to_numpy(), current):
            tree[name] = DataTree(data.assign_coords(obs=rows))
    return tree
