"""A posterior into a file, its draws as ArviZ reads them, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xarray import Dataset, DataTree

from bayesmm.bayes.files.stored_model import StoredModel, check_draws, pack_model, unpack_model
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.design.coordinates import row_labels
from bayesmm.storage.stored_design import check_design
from bayesmm.storage.trees import arrays_of_data, in_order, with_rows_of, write_tree


def save(posterior: DrawnModel, path: str | os.PathLike[str]) -> Path:
    """Write a posterior to a file; see `Posterior.save`."""
    return write_tree(posterior.data, pack_model(posterior), row_labels(posterior.design), path)


def rebuild(
    tree: DataTree, stored: Dataset, name: str, namespace: Mapping[str, Any] | None
) -> tuple[DataTree, StoredModel]:
    """Rebuild the model of a posterior, and hold its draws to it.

    Parameters
    ----------
    tree : DataTree
        What was read.
    stored : xarray.Dataset
        Its group of ours.
    name : str
        The file, for error messages.
    namespace : mapping of str to object, optional
        Functions and values that the formula was given.

    Returns
    -------
    tree : DataTree
        The draws as they were saved.
    model : StoredModel
        All else.

    Raises
    ------
    StorageError
        If the draws are not those of the model.
    """
    model = unpack_model(stored, name, namespace)
    check_draws(tree, model, name)
    tree, design = in_order(tree, json.loads(stored.attrs["order"])), model.problem.design
    check_design(design, arrays_of_data(tree), name, "the draws were")
    return with_rows_of(tree, row_labels(design)), model
