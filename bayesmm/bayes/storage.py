"""A posterior in a file: its draws as ArviZ reads them, and beside them what its model is rebuilt from."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray import Dataset, DataTree, open_datatree

from bayesmm.arguments import check_path as as_path
from bayesmm.arguments import shorten
from bayesmm.bayes.checksums import ADVICE, changes, check_seal, checksums, seal
from bayesmm.bayes.plain_files import check_plain_netcdf, check_plain_zarr
from bayesmm.bayes.stored_model import CHECKED_FROM, check_design, check_draws, check_format, pack_model, unpack_model
from bayesmm.design.coordinates import coordinates
from bayesmm.errors import BayesmmError, StorageError
from bayesmm.files import check_writable, naming
from bayesmm.replacing import SteadyFile, replacing, undisturbed, whole

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.design.design import Design
    from bayesmm.design.labels import Labels

DRAWS = "draws"  # of a checkpoint
GROUP = "bayesmm"  # of a saved posterior, beside ArviZ's groups
_OF_DATA = ("observed_data", "constant_data")
ENGINES = {".nc": "h5netcdf", ".zarr": "zarr"}
NEEDS = {".nc": ("h5netcdf", "h5py"), ".zarr": ("zarr",)}
# Version 3 of the format has no standard for texts yet; every release of zarr-python reads version 2.
ZARR_FORMAT = 2


def save(posterior: Posterior, path: str | os.PathLike[str]) -> Path:
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


def load(path: str | os.PathLike[str], *, namespace: Mapping[str, Any] | None = None) -> Posterior:
    """Read a posterior that `Posterior.save` has written.

    Parameters
    ----------
    path : path
        The file (``.nc``) or folder (``.zarr``).
    namespace : mapping of str to object, optional
        The functions and values that the model was given by this argument, if any: functions are not stored.

    Returns
    -------
    Posterior
        It can do all that the saved one can.

    Raises
    ------
    StorageError
        If the file is not there or cannot be read, was not written by `Posterior.save` or by a later version of
        bayesmm, or does not give the model that the draws were made with.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> posterior = bmm.load("sleep.nc")  # doctest: +SKIP
    """
    from bayesmm.bayes.posterior import Posterior

    source = as_path("path", path)
    tree, name = _read(source), str(path)
    if GROUP not in tree.children:
        raise StorageError(
            f"{name!r} holds no model: it was not written by posterior.save. Its draws can be read with "
            "arviz.from_netcdf or arviz.from_zarr."
        )
    stored = tree[GROUP].to_dataset()
    try:
        check_format(stored, name)
        _check_sums(tree, stored, name)
        model = unpack_model(stored, name, namespace)
        check_draws(tree, model, name)
        tree = _in_order(tree, json.loads(stored.attrs["order"]))
    except StorageError:
        raise
    except BayesmmError as error:
        raise StorageError(f"The model of {name!r} cannot be built again: {error}") from error
    except Exception as error:  # whatever a text says that is not what was written
        raise StorageError(
            f"{name!r} is damaged: what describes its model cannot be read ({shorten(error)}). Its draws can be read "
            "with arviz.from_netcdf or arviz.from_zarr."
        ) from error
    known = {str(key): values.to_numpy() for group in _OF_DATA for key, values in _variables(tree, group).items()}
    check_design(model.design, model.labels, known, name)
    return Posterior(
        data=_with_rows_of(tree, model.design, model.labels),
        design=model.design,
        labels=model.labels,
        priors=model.priors,
        program=model.program,
        notes=model.notes,
    )


def check_path(path: Path, *, is_replaced: bool = True) -> str:
    """Refuse a path that could not be written, or written to where it is not replaced; return its ending.

    Raises
    ------
    StorageError
        For an unknown ending, a folder that is not there or must not be written to, or a package that is not installed.
    """
    ending = _ending(path)
    check_writable(path, is_replaced=is_replaced)
    return ending


def is_checkpoint(path: Path) -> bool:
    """Say whether a folder is a checkpoint."""
    return (path / DRAWS / ".zattrs").is_file()


def check_replaceable(path: Path) -> None:
    """Refuse to replace a folder that holds anything but a saved posterior.

    Raises
    ------
    StorageError
        If there is such a folder at the path.
    """
    if path.is_dir() and not (path / GROUP / ".zattrs").is_file():
        raise StorageError(f"{str(path)!r} is a folder, and no saved posterior. Choose another name, or delete it.")


def _ending(path: Path) -> str:
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


def _read(path: Path) -> DataTree:
    engine = ENGINES[_ending(path)]
    with naming(path, "read"):
        place = whole(path)
        found, of_a_run = place.exists(), is_checkpoint(place)
    if not found:
        raise StorageError(f"There is no file {str(path)!r}. Check the path.")
    if of_a_run:
        raise StorageError(
            f"{str(path)!r} is the checkpoint of a run and no saved posterior. Call sample again as it was called: "
            f"model.sample(..., checkpoint={str(path)!r})."
        )
    if place.is_dir() != (engine == "zarr"):
        raise StorageError(
            f"{str(path)!r} is a {'folder' if place.is_dir() else 'file'}, and a saved posterior of this ending is a "
            f"{'folder' if engine == 'zarr' else 'file'}. Check the path."
        )
    if engine == "h5netcdf" and not place.is_file():
        raise StorageError(f"{str(path)!r} is a pipe or a device, and a saved posterior is a file. Check the path.")
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
            f"{str(path)!r} cannot be read as {engine} ({shorten(error)}). Is it a saved posterior?"
        ) from error


def _check_sums(tree: DataTree, stored: Dataset, name: str) -> None:
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


def _variables(tree: DataTree, group: str) -> Mapping[Any, Any]:
    return tree[group].data_vars if group in tree.children else {}


def _in_order(tree: DataTree, order: Mapping[str, list[str]]) -> DataTree:
    """Put groups and variables into the order that they were saved in, and what was added behind; Zarr sorts names."""
    groups = {}
    for name in dict.fromkeys([*order, *(group for group in tree.children if group != GROUP)]):
        data = tree[name].to_dataset()
        variables = dict.fromkeys([*order.get(name, []), *map(str, data.data_vars)])
        groups[name] = Dataset({each: data[each] for each in variables}, coords=data.coords, attrs=data.attrs)
    return DataTree.from_dict({"/": tree.to_dataset(), **groups})


def _with_plain_rows(posterior: Posterior) -> DataTree:
    """Copy a tree, with row labels as texts where a file could not hold them as they are."""
    rows = coordinates(posterior.design, posterior.labels)["obs"]
    tree = posterior.data if _is_plain(rows) else _relabel(posterior.data, [str(row) for row in rows])
    return DataTree.from_dict({node.path: _plain(node.to_dataset(inherit=False)) for node in tree.subtree})


def _plain(data: Dataset) -> Dataset:
    """Copy a group as it is to be written: numbers to the last bit, whatever file they came from, and plain texts."""
    texts = {}
    for name, variable in data.variables.items():
        if variable.dtype.kind in "OT" and all(type(text) is str for text in variable.to_numpy().ravel().tolist()):
            texts[name] = (variable.dims, variable.to_numpy().astype(np.str_), variable.attrs)
    return data.assign(texts).drop_encoding()


def _with_rows_of(tree: DataTree, design: Design, labels: Labels) -> DataTree:
    """Undo `_with_plain_rows`."""
    rows = coordinates(design, labels)["obs"]
    return tree if _is_plain(rows) else _relabel(tree, rows)


def _is_plain(rows: Any) -> bool:
    return np.asarray(rows).dtype.kind in "biufU"


def _relabel(tree: DataTree, rows: Any) -> DataTree:
    """Return a copy with other row labels in every group whose rows are those of the data."""
    tree = tree.copy()
    current = _variables(tree, "observed_data")["y"].coords["obs"].to_numpy()
    for name, group in list(tree.children.items()):
        data = group.to_dataset()
        if "obs" in data.coords and np.array_equal(data["obs"].to_numpy(), current):
            tree[name] = DataTree(data.assign_coords(obs=rows))
    return tree
