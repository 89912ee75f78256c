"""A tree of arrays into a file and back: whole or not at all, with sums of all in it, and nothing but plain data.

Posteriors and fits are such trees, with groups for other programs, and a group of ours from which the model is rebuilt.
"""

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
from xarray import Dataset, DataTree, open_datatree

from bayesmm.arguments import check_path as as_path
from bayesmm.arguments import shorten
from bayesmm.errors import StorageError
from bayesmm.files import check_writable, naming
from bayesmm.replacing import SteadyFile, replacing, undisturbed, whole
from bayesmm.storage.checksums import ADVICE, changes, check_seal, checksums, seal
from bayesmm.storage.plain_files import check_plain_netcdf, check_plain_zarr
from bayesmm.storage.stored_design import CHECKED_FROM

DRAWS_FOLDER = "draws"  # of a checkpoint
GROUP = "bayesmm"  # of what was saved, beside the groups that other programs read
ENGINES = {".nc": "h5netcdf", ".zarr": "zarr"}
NEEDS = {".nc": ("h5netcdf", "h5py"), ".zarr": ("zarr",)}
# Version 3 of the format has no standard for texts yet; every release of zarr-python reads version 2.
ZARR_FORMAT = 2


def write_tree(tree: DataTree, model: Dataset, rows: Any, path: str | os.PathLike[str]) -> Path:
    """Write a result to a file, complete or not at all.

    Parameters
    ----------
    tree : DataTree
        What other programs read.
    model : xarray.Dataset
        What it is rebuilt from, as from `bayesmm.storage.stored_design.pack_design`.
    rows : array
        Row labels of the data.
    path : path
        Ends in ``.nc`` or ``.zarr``.

    Returns
    -------
    pathlib.Path
        Where it is.

    Raises
    ------
    StorageError
        For whatever speaks against the path, and whatever the disk says.
    """
    target = as_path("path", path)
    ending = check_path(target)
    with naming(path, "written"):
        check_replaceable(target)
    tree = _with_plain_rows(tree, rows)
    order = {name: list(map(str, group.data_vars)) for name, group in tree.children.items()}
    tree[GROUP] = DataTree(model.assign_attrs(order=json.dumps(order)))
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
    """Refuse to replace a folder that holds anything but a saved fit or posterior.

    Raises
    ------
    StorageError
        If there is such a folder at the path.
    """
    if path.is_dir() and not (path / GROUP / ".zattrs").is_file():
        raise StorageError(
            f"{str(path)!r} is a folder, and no saved fit or posterior. Choose another name, or delete it."
        )


def check_ending(path: Path) -> str:
    """Return the ending of a path; refuse one of no format, or of one whose packages are not installed."""
    ending = path.suffix.lower()
    if ending not in ENGINES:
        said = f"ends in {ending!r}" if ending else "has no ending"
        raise StorageError(
            f"{str(path)!r} {said}: the ending says the format, .nc for netCDF or .zarr for Zarr. Fits and posteriors "
            "are saved so; data and tables are read and written by pandas."
        )
    lacking = [package for package in NEEDS[ending] if importlib.util.find_spec(package) is None]
    if lacking:
        raise StorageError(
            f"{str(path)!r} needs {' and '.join(lacking)}, not installed here. Run: pip install {' '.join(lacking)}."
        )
    return ending


def read_tree(path: Path) -> DataTree:
    """Read all of a file, once it is seen to hold plain data and nothing else.

    Parameters
    ----------
    path : pathlib.Path
        As the user named it.

    Raises
    ------
    StorageError
        If it is not there, or cannot be read, or may do more than hold data.
    """
    engine = ENGINES[check_ending(path)]
    with naming(path, "read"):
        place = whole(path)
        found, of_a_run = place.exists(), is_checkpoint(place)
    if not found:
        raise StorageError(f"There is no file {str(path)!r}. Check the path.")
    if of_a_run:
        raise StorageError(
            f"{str(path)!r} is the checkpoint of a run and no saved fit or posterior. Call sample again as it was "
            f"called: model.sample(..., checkpoint={str(path)!r})."
        )
    if place.is_dir() != (engine == "zarr"):
        raise StorageError(
            f"{str(path)!r} is a {'folder' if place.is_dir() else 'file'}, and a saved fit or posterior of this ending "
            f"is a {'folder' if engine == 'zarr' else 'file'}. Check the path."
        )
    if engine == "h5netcdf" and not place.is_file():
        raise StorageError(
            f"{str(path)!r} is a pipe or a device, and a saved fit or posterior is a file. Check the path."
        )
    try:
        if engine == "h5netcdf":
            check_seal(place, str(path))
            check_plain_netcdf(place, str(path))
            options: dict[str, Any] = {}
        else:
            check_plain_zarr(place, str(path))
            options = {"zarr_format": ZARR_FORMAT, "consolidated": (place / ".zmetadata").is_file()}
        with open_datatree(place, engine=engine, **options) as tree:  # pyright: ignore[reportArgumentType]
            return tree.load()
    except StorageError:
        raise
    except PermissionError:
        with naming(path, "read"):
            raise
    except Exception as error:  # of a damaged file the libraries raise whatever they like
        raise StorageError(
            f"{str(path)!r} cannot be read as {engine} ({shorten(error)}). Is it a saved fit or posterior?"
        ) from error


def check_sums(tree: DataTree, stored: Dataset, name: str) -> None:
    """Refuse what is not what was saved; files of formats before the third have no sums."""
    if "checksums" not in stored.attrs and int(stored.attrs["format"]) < CHECKED_FROM:
        return
    expected, found = dict(json.loads(stored.attrs["checksums"])), checksums(tree)
    # Of a group of others' whatever is added is theirs; in ours it would be read.
    own = {path for path in found if path.startswith(f"/{GROUP}/") and "@" not in path}
    changed = changes(dict.fromkeys(own - set(expected), "") | expected, found)
    if changed:
        raise StorageError(
            f"{name!r} is damaged, or was changed after it was saved: {changed}. {ADVICE}. What is in it can be read "
            "with arviz.from_netcdf or arviz.from_zarr."
        )


def in_order(tree: DataTree, order: Mapping[str, list[str]]) -> DataTree:
    """Put groups and variables into the order that they were saved in, and what was added behind; Zarr sorts names."""
    groups = {}
    for name in dict.fromkeys([*order, *(group for group in tree.children if group != GROUP)]):
        data = tree[name].to_dataset()
        variables = dict.fromkeys([*order.get(name, []), *map(str, data.data_vars)])
        groups[name] = Dataset({each: data[each] for each in variables}, coords=data.coords, attrs=data.attrs)
    return DataTree.from_dict({"/": tree.to_dataset(), **groups})


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


def arrays_of_data(tree: DataTree) -> dict[str, np.ndarray]:
    """Return the arrays of the data that were stored for other programs; with them a rebuilt design is compared."""
    groups = ("observed_data", "constant_data")
    return {str(key): values.to_numpy() for group in groups for key, values in variables_of(tree, group).items()}


def with_rows_of(tree: DataTree, rows: Any) -> DataTree:
    """Give a tree that was read the row labels that it was saved with, where a file could not hold them."""
    return tree if _is_plain(rows) else _relabel(tree, rows)


def _with_plain_rows(tree: DataTree, rows: Any) -> DataTree:
    """Copy a tree, with row labels as texts where a file could not hold them as they are."""
    tree = tree if _is_plain(rows) else _relabel(tree, [str(row) for row in rows])
    return DataTree.from_dict({node.path: _plain(node.to_dataset(inherit=False)) for node in tree.subtree})


def _plain(data: Dataset) -> Dataset:
    """Copy a group as it is to be written: numbers to the last bit, whatever file they came from, and plain texts."""
    texts = {}
    for name, variable in data.variables.items():
        if variable.dtype.kind in "OT" and all(type(text) is str for text in variable.to_numpy().ravel().tolist()):
            texts[name] = (variable.dims, variable.to_numpy().astype(np.str_), variable.attrs)
    return data.assign(texts).drop_encoding()


def _is_plain(rows: Any) -> bool:
    """Whether a file can hold row labels as they are."""
    return np.asarray(rows).dtype.kind in "biufU"


def _relabel(tree: DataTree, rows: Any) -> DataTree:
    """Return a copy with other row labels in every group whose rows are those of the data."""
    tree = tree.copy()
    current = variables_of(tree, "observed_data")["y"].coords["obs"].to_numpy()
    for name, group in list(tree.children.items()):
        data = group.to_dataset()
        if "obs" in data.coords and np.array_equal(data["obs"].to_numpy(), current):
            tree[name] = DataTree(data.assign_coords(obs=rows))
    return tree
