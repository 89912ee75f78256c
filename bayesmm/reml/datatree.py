"""Point estimates as an xarray.DataTree, under the names that posterior draws have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

    from bayesmm.reml.fit import Fit


def build_datatree(fit: Fit) -> xr.DataTree:
    """Build the groups estimate, std_error, observed_data and constant_data; see `Fit.to_datatree`."""
    import xarray as xr

    parameters, effects = fit.parameters, fit.random_effects()
    rows = np.arange(fit.n)
    tree = xr.DataTree.from_dict(
        {
            "estimate": _dataset(fit, parameters["estimate"].to_dict(), effects["estimate"].to_numpy()),
            "std_error": _dataset(fit, parameters["std_error"].to_dict(), effects["std_error"].to_numpy()),
            "observed_data": xr.Dataset({"y": ("obs", fit.design.y)}, coords={"obs": rows}),
            "constant_data": xr.Dataset(
                {"weights": ("obs", fit.design.weights), "offset": ("obs", fit.design.offset)}, coords={"obs": rows}
            ),
        }
    )
    tree.attrs.update(
        method=fit.method,
        formula=fit.design.specification.formula,
        loglik=fit.loglik,
        status=fit.status.name,
    )
    return tree


def _dataset(fit: Fit, parameters: dict, effects: np.ndarray) -> xr.Dataset:
    import xarray as xr

    values: dict[str, list[float]] = {}
    for row in fit.labels.parameter_rows():
        values.setdefault(row.variable, []).append(float(parameters[row.name]))
    data: dict = {}
    coords: dict = {"coef": list(fit.labels.coefficients)}
    if "beta" in values:
        data["beta"] = ("coef", values["beta"])
    if "sigma" in values:
        data["sigma"] = values["sigma"][0]
    start = 0
    for block in fit.labels.blocks:
        size = len(block.levels) * len(block.effects)
        b = effects[start : start + size].reshape(len(block.levels), len(block.effects))
        start += size
        coords |= {block.dim: list(block.levels), block.effect_dim: list(block.effects)}
        data[block.sd_variable] = (block.effect_dim, values[block.sd_variable])
        data[block.effect_variable] = ((block.dim, block.effect_dim), b)
        if block.pairs:
            coords[block.pair_dim] = list(block.pair_labels)
            data[block.cor_variable] = (block.pair_dim, values[block.cor_variable])
    return xr.Dataset(data, coords=coords)
