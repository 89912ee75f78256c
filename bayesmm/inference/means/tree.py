"""Draws of margins as an ArviZ DataTree."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.design.blocks.labels import safe_name

if TYPE_CHECKING:
    from xarray import DataTree


def build_tree(kind: str, draws: np.ndarray, labels: pd.DataFrame) -> DataTree:
    """Label draws of margins.

    Parameters
    ----------
    kind : str
        Name of the variable.
    draws : array, shape (chains, draws, r)
        One a row of the labels.
    labels : DataFrame
        One column a dim, where rows are all combinations of their values.

    Returns
    -------
    xarray.DataTree
        Group posterior.
    """
    from xarray import Dataset, DataTree

    values = {str(name): list(dict.fromkeys(labels[name])) for name in labels}
    rows = {key: i for i, key in enumerate(labels.itertuples(index=False, name=None))}
    if len(rows) == len(labels) == int(np.prod([len(own) for own in values.values()])):
        taken = {kind}
        coordinates: dict[str, Any] = {}
        for name, own in values.items():
            dim = safe_name(name, taken)
            taken.add(dim)
            coordinates[dim] = _coordinate(own)
        order = [rows[key] for key in product(*values.values())]
        draws = draws[..., order].reshape(*draws.shape[:2], *(len(own) for own in values.values()))
    else:
        coordinates = {"row": [", ".join(map(str, key)) for key in labels.itertuples(index=False, name=None)]}
    sizes = {"chain": np.arange(draws.shape[0]), "draw": np.arange(draws.shape[1])}
    data = Dataset({kind: ([*sizes, *coordinates], draws)}, coords=sizes | coordinates)
    return DataTree.from_dict({"posterior": data})


def _coordinate(values: list[Any]) -> Any:
    """Numbers as numbers, all else as texts."""
    return values if all(isinstance(value, float) for value in values) else [str(value) for value in values]
