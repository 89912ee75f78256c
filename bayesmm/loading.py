"""A fit or a posterior from a file that its `save` has written, or a sentence that says why not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xarray import Dataset, DataTree

from bayesmm.arguments import check_path
from bayesmm.errors import StorageError
from bayesmm.presenting.progress import progress_bar
from bayesmm.storage.stored_design import FIT, SUMS, check_format, rebuilding
from bayesmm.storage.trees import GROUP, check_sums, read_tree

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.fit.fit import Fit


def load(
    path: str | os.PathLike[str], *, namespace: Mapping[str, Any] | None = None, progress: bool | None = None
) -> Fit | Posterior:
    """Read a fit or a posterior that its `save` has written.

    Parameters
    ----------
    path : path
        The file (``.nc``) or folder (``.zarr``).
    namespace : mapping of str to object, optional
        The functions and values that the model was given by this argument, if any: functions are not stored.
    progress : bool, optional
        Whether to show a progress bar; by default where a person can see it.

    Returns
    -------
    Fit or Posterior
        What was saved. It can do all that the saved one can.

    Raises
    ------
    StorageError
        If the file is not there or cannot be read, was not written by `save` or by a later version of bayesmm, or does
        not give the model that the fit, or the draws, were made with.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.load("sleep_fit.nc")  # doctest: +SKIP
    >>> posterior = bmm.load("sleep.nc")  # doctest: +SKIP
    """
    source = check_path("path", path)
    with progress_bar("reading", None, progress):
        return _read(source, str(path), namespace)


def _read(source: Path, name: str, namespace: Mapping[str, Any] | None) -> Fit | Posterior:
    tree = read_tree(source)
    if GROUP not in tree.children:
        raise StorageError(
            f"{name!r} holds no model: it was not written by fit.save or posterior.save. What is in it can be read "
            "with arviz.from_netcdf or arviz.from_zarr."
        )
    stored = tree[GROUP].to_dataset()
    with rebuilding(name, "model", "Its arrays can be read with arviz.from_netcdf or arviz.from_zarr."):
        check_format(stored, name)
        check_sums(tree, stored, name)
        if stored.attrs.get("kind") == SUMS:
            raise StorageError(f"{name!r} holds sums over rows: read them with bayesmm.Model.from_sums({name!r}).")
        build = _fit if stored.attrs.get("kind") == FIT else _posterior
        return build(tree, stored, name, namespace)


def _posterior(tree: DataTree, stored: Dataset, name: str, namespace: Mapping[str, Any] | None) -> Posterior:
    from bayesmm.bayes.files.storage import rebuild
    from bayesmm.bayes.posterior import Posterior

    data, model = rebuild(tree, stored, name, namespace)
    return Posterior(data=data, problem=model.problem, priors=model.priors, program=model.program, notes=model.notes)


def _fit(tree: DataTree, stored: Dataset, name: str, namespace: Mapping[str, Any] | None) -> Fit:
    from bayesmm.fit.fit import Fit
    from bayesmm.fit.stored_fit import rebuild

    problem, estimate = rebuild(tree, stored, name, namespace)
    return Fit(problem=problem, estimate=estimate)
