"""Draws as an ArviZ DataTree, under the names that both wings use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from arviz_base import make_attrs
from xarray import Dataset, DataTree, Variable

from bayesmm.bayes.run import Run
from bayesmm.design.design import Design
from bayesmm.design.labels import Labels


def build_tree(
    run: Run, design: Design, labels: Labels, log_likelihood: np.ndarray | None, attributes: Mapping[str, Any]
) -> DataTree:
    """Put a run into a DataTree.

    Parameters
    ----------
    run : Run
        Draws by site, and sampler statistics; sites that are not variables of the model are left out.
    design : Design
        The data.
    labels : Labels
        Names of variables, dims and coordinates.
    log_likelihood : array, shape (chains, draws, n), optional
        Pointwise, given the random effects.
    attributes : mapping
        How the draws were made; attributes of ``sample_stats``.

    Returns
    -------
    xarray.DataTree
        Groups posterior, sample_stats, observed_data, constant_data and, where they were made, log_likelihood,
        random_effects and quadrature.
    """
    names = {row.variable for row in labels.parameter_rows()} | {block.effect_variable for block in labels.blocks}
    groups: dict[str, dict[str, np.ndarray]] = {
        "posterior": {name: run.sites[name] for name in _ordered(labels) if name in names and name in run.sites},
        "sample_stats": run.stats,
        "observed_data": {"y": design.y},
        "constant_data": constants(design, labels),
    }
    if log_likelihood is not None:
        groups["log_likelihood"] = {"y": log_likelihood}
    origin = {**attributes, "inference_library": "numpyro", "modeling_interface": "bayesmm"}
    return _assemble(groups, design, labels, {"sample_stats": origin}, run.groups)


def build_prior_tree(
    draws: Mapping[str, np.ndarray], design: Design, labels: Labels, attributes: Mapping[str, Any]
) -> DataTree:
    """Put draws from the prior into a DataTree.

    Parameters
    ----------
    draws : mapping of str to array, shapes (draws, ...)
        As from `bayesmm.bayes.prior_simulation.simulate_prior`.
    design : Design
        The data.
    labels : Labels
        Names of variables, dims and coordinates.
    attributes : mapping
        How the draws were made; attributes of ``prior``.

    Returns
    -------
    xarray.DataTree
        Groups prior, prior_predictive, observed_data and constant_data, one chain.
    """
    groups = {
        "prior": {name: draws[name][None] for name in _ordered(labels) if name in draws},
        "prior_predictive": {"y": draws["y"][None]},
        "observed_data": {"y": design.y},
        "constant_data": constants(design, labels),
    }
    origin = {**attributes, "inference_library": "numpyro", "modeling_interface": "bayesmm"}
    return _assemble(groups, design, labels, {"prior": origin})


def _assemble(
    groups: Mapping[str, Mapping[str, np.ndarray]],
    design: Design,
    labels: Labels,
    attributes: Mapping[str, Mapping[str, Any]],
    others: Mapping[str, Dataset] | None = None,
) -> DataTree:
    """Make what `arviz_base.from_dict` makes, each coordinate once for all variables: in half the time."""
    dims, labelled = _dims(labels), coordinates(design, labels)
    known = {dim: Variable(dim, np.asarray(values)) for dim, values in labelled.items()}
    made = {}
    for group, arrays in groups.items():
        sample_dims = [] if group.endswith("_data") else ["chain", "draw"]
        variables = {name: (sample_dims + dims.get(name, []), values) for name, values in arrays.items()}
        sizes = {
            dim: size for names, values in variables.values() for dim, size in zip(names, values.shape, strict=True)
        }
        coords = {dim: known[dim] if dim in known else np.arange(size) for dim, size in sizes.items()}
        made[group] = Dataset(variables, coords, make_attrs(attributes.get(group), sample_dims=sample_dims))
    return DataTree.from_dict(made | dict(others or {}))


def _ordered(labels: Labels) -> list[str]:
    names = ["beta"] if labels.coefficients else []
    for block in labels.blocks:
        names += [block.sd_variable, block.cor_variable]
    return [*names, "sigma", *(block.effect_variable for block in labels.blocks)]


def constants(design: Design, labels: Labels) -> dict[str, np.ndarray]:
    """Arrays of the data that the likelihood uses, under the names of ``constant_data``."""
    constants = {"offset": design.offset, "weights": design.weights}
    if labels.coefficients:
        constants["X"] = design.X[:, design.kept]
    for block, names in zip(design.blocks, labels.blocks, strict=True):
        constants[f"{names.dim}_index"] = block.codes
    return constants


def _dims(labels: Labels) -> dict[str, list[str]]:
    dims = {"beta": ["coef"], "X": ["obs", "coef"]} | {name: ["obs"] for name in ("y", "offset", "weights")}
    for block in labels.blocks:
        dims[block.sd_variable] = [block.effect_dim]
        dims[block.cor_variable] = [block.pair_dim]
        dims[block.effect_variable] = [block.dim, block.effect_dim]
        dims[f"{block.dim}_index"] = ["obs"]
    return dims


def coordinates(design: Design, labels: Labels) -> dict[str, Any]:
    """Coordinate of each dim."""
    coordinates: dict[str, Any] = {"coef": list(labels.coefficients), "obs": row_coordinate(design.rows)}
    for block in labels.blocks:
        coordinates |= {
            block.dim: list(block.levels),
            block.effect_dim: list(block.effects),
            block.pair_dim: list(block.pair_labels),
        }
    return coordinates


def row_coordinate(rows: pd.Index) -> Any:
    """Labels of rows as a coordinate; a MultiIndex would break ArviZ's tables."""
    return [str(row) for row in rows] if isinstance(rows, pd.MultiIndex) else rows.to_numpy()
