"""Draws as an ArviZ DataTree, under the names that both wings use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from arviz_base import make_attrs
from xarray import Dataset, DataTree

from bayesmm.design.coordinates import build_groups, data_groups, variable_order
from bayesmm.design.design import Design

if TYPE_CHECKING:
    from bayesmm.bayes.exploring.run import Run

SAMPLE_DIMS = ("chain", "draw")


def build_tree(run: Run, design: Design, log_likelihood: np.ndarray | None, attributes: Mapping[str, Any]) -> DataTree:
    """Put a run into a DataTree.

    Parameters
    ----------
    run : Run
        Draws by site, and sampler statistics; sites that are not variables of the model are left out.
    design : Design
        The data.
    log_likelihood : array, shape (chains, draws, n), optional
        Pointwise, given the random effects.
    attributes : mapping
        How the draws were made; attributes of ``sample_stats``.

    Returns
    -------
    xarray.DataTree
        Groups posterior, sample_stats, observed_data, constant_data and, where they were made, log_likelihood,
        random_effects, quadrature and modes.
    """
    groups: dict[str, dict[str, np.ndarray]] = {
        "posterior": {name: run.sites[name] for name in variable_order(design.labels) if name in run.sites},
        "sample_stats": run.stats,
    } | data_groups(design)
    if log_likelihood is not None:
        groups["log_likelihood"] = {"y": log_likelihood}
    origin = {**attributes, "inference_library": "numpyro", "modeling_interface": "bayesmm"}
    return _assemble(groups, design, {"sample_stats": origin}, run.groups)


def build_prior_tree(draws: Mapping[str, np.ndarray], design: Design, attributes: Mapping[str, Any]) -> DataTree:
    """Put draws from the prior into a DataTree.

    Parameters
    ----------
    draws : mapping of str to array, shapes (draws, ...)
        As from `bayesmm.bayes.priors.prior_simulation.simulate_prior`.
    design : Design
        The data.
    attributes : mapping
        How the draws were made; attributes of ``prior``.

    Returns
    -------
    xarray.DataTree
        Groups prior, prior_predictive, observed_data and constant_data, one chain.
    """
    groups = {
        "prior": {name: draws[name][None] for name in variable_order(design.labels) if name in draws},
        "prior_predictive": {"y": draws["y"][None]},
    } | data_groups(design)
    origin = {**attributes, "inference_library": "numpyro", "modeling_interface": "bayesmm"}
    return _assemble(groups, design, {"prior": origin})


def _assemble(
    groups: Mapping[str, Mapping[str, np.ndarray]],
    design: Design,
    attributes: Mapping[str, Mapping[str, Any]],
    others: Mapping[str, Dataset] | None = None,
) -> DataTree:
    made = build_groups(groups, design, SAMPLE_DIMS)
    for name, group in made.items():
        sample_dims = [] if name.endswith("_data") else list(SAMPLE_DIMS)
        group.attrs = make_attrs(attributes.get(name), sample_dims=sample_dims)
    return DataTree.from_dict(made | dict(others or {}))
