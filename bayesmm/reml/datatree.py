"""Point estimates as an xarray.DataTree, under the names that posterior draws have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.design.blocks.labels import Labels
from bayesmm.design.coordinates import build_groups, data_groups, variable_order
from bayesmm.design.design import Design

if TYPE_CHECKING:
    from xarray import DataTree


def build_datatree(
    design: Design, parameters: pd.DataFrame, effects: pd.DataFrame, attributes: Mapping[str, Any]
) -> DataTree:
    """Build the groups estimate, std_error, observed_data and constant_data; see `Fit.to_datatree`."""
    from xarray import DataTree

    labels = design.labels
    groups = {
        "estimate": _arrays(labels, parameters, effects, "estimate"),
        "std_error": _arrays(labels, parameters, effects, "std_error"),
    } | data_groups(design)
    tree = DataTree.from_dict(build_groups(groups, design))
    tree.attrs.update(attributes)
    return tree


def _arrays(labels: Labels, parameters: pd.DataFrame, effects: pd.DataFrame, column: str) -> dict[str, np.ndarray]:
    """Put a column of both tables into arrays by variable."""
    values = parameters[column].to_numpy()
    arrays: dict[str, np.ndarray] = {}
    for name in variable_order(labels):
        inside = [i for i, row in enumerate(labels.parameter_rows()) if row.variable == name]
        arrays[name] = values[inside[0]] if name == "sigma" else values[inside]
    for block in labels.blocks:
        own = effects.loc[effects["group"] == block.group, column].to_numpy()
        arrays[block.effect_variable] = own.reshape(len(block.levels), len(block.effects))
    return arrays
