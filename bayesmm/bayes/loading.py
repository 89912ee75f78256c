"""A posterior from a file that was written by `bayesmm.bayes.files.storage`, or a sentence that says why not."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xarray import Dataset, DataTree, open_datatree

from bayesmm.arguments import check_path as as_path
from bayesmm.arguments import shorten
from bayesmm.bayes.files.checksums import ADVICE, changes, check_seal, checksums
from bayesmm.bayes.files.plain_files import check_plain_netcdf, check_plain_zarr
from bayesmm.bayes.files.storage import (
    ENGINES,
    GROUP,
    ZARR_FORMAT,
    check_ending,
    is_checkpoint,
    is_plain,
    relabel,
    variables_of,
)
from bayesmm.bayes.files.stored_model import CHECKED_FROM, check_design, check_draws, check_format, unpack_model
from bayesmm.bayes.posterior import Posterior
from bayesmm.design.coordinates import coordinates
from bayesmm.design.design import Design
from bayesmm.errors import BayesmmError, StorageError
from bayesmm.files import naming
from bayesmm.replacing import whole

_OF_DATA = ("observed_data", "constant_data")


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
    known = {str(key): values.to_numpy() for group in _OF_DATA for key, values in variables_of(tree, group).items()}
    check_design(model.problem.design, known, name)
    return Posterior(
        data=_with_rows_of(tree, model.problem.design),
        problem=model.problem,
        priors=model.priors,
        program=model.program,
        notes=model.notes,
    )


def _read(path: Path) -> DataTree:
    engine = ENGINES[check_ending(path)]
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


def _in_order(tree: DataTree, order: Mapping[str, list[str]]) -> DataTree:
    """Put groups and variables into the order that they were saved in, and what was added behind; Zarr sorts names."""
    groups = {}
    for name in dict.fromkeys([*order, *(group for group in tree.children if group != GROUP)]):
        data = tree[name].to_dataset()
        variables = dict.fromkeys([*order.get(name, []), *map(str, data.data_vars)])
        groups[name] = Dataset({each: data[each] for each in variables}, coords=data.coords, attrs=data.attrs)
    return DataTree.from_dict({"/": tree.to_dataset(), **groups})


def _with_rows_of(tree: DataTree, design: Design) -> DataTree:
    """Undo `_with_plain_rows`."""
    rows = coordinates(design)["obs"]
    return tree if is_plain(rows) else relabel(tree, rows)
