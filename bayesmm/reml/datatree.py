"""Point estimates as an xarray.DataTree, under the names that posterior draws have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesmm.design.coordinates import build_groups, constants, variable_order

if TYPE_CHECKING:
    from xarray import DataTree

    from bayesmm.reml.fit import Fit


def build_datatree(fit: Fit) -> DataTree:
    """Build the groups estimate, std_error, observed_data and constant_data; see `Fit.to_datatree`."""
    from xarray import DataTree

    design = fit.design
    groups = {
        "estimate": _arrays(fit, "estimate"),
        "std_error": _arrays(fit, "std_error"),
        "observed_data": {"y": design.y},
        "constant_data": constants(design, fit.labels),
    }
    tree = DataTree.from_dict(build_groups(groups, design, fit.labels))
    tree.attrs.update(
        method=fit.method,
        formula=design.specification.formula,
        loglik=fit.loglik,
        status=fit.status.name,
    )
    return tree


def _arrays(fit: Fit, column: str) -> dict[str, np.ndarray]:
    """Put a column of both tables into arrays by variable."""
    parameters, effects = fit.parameters[column].to_numpy(), fit.random_effects()
    arrays: dict[str, np.ndarray] = {}
    for name in variable_order(fit.labels):
        inside = [i for i, row in enumerate(fit.labels.parameter_rows()) if row.variable == name]
        arrays[name] = parameters[inside[0]] if name == "sigma" else parameters[inside]
    for block in fit.labels.blocks:
        own = effects.loc[effects["group"] == block.group, column].to_numpy()
        arrays[block.effect_variable] = own.reshape(len(block.levels), len(block.effects))
    return arrays
