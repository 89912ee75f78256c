"""Dims and coordinates of all that is stored for ArviZ: draws, estimates, constants of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.design.blocks.labels import BlockLabels, Labels
from bayesmm.design.design import Design

if TYPE_CHECKING:
    from xarray import Dataset


def build_groups(
    groups: Mapping[str, Mapping[str, np.ndarray]], design: Design, sample_dims: Sequence[str] = ()
) -> dict[str, Dataset]:
    """Label arrays as groups of a DataTree.

    Parameters
    ----------
    groups : mapping of str to mapping of str to array
        Arrays by variable, by group.
    design : Design
        The data.
    sample_dims : sequence of str
        First dims of every variable, but of those of groups that end in ``_data``.

    Returns
    -------
    dict of str to Dataset

    Notes
    -----
    As `arviz_base.from_dict` would, but each coordinate is made once for all variables: in half the time.
    """
    from xarray import Dataset, Variable

    own_dims = dims(design.labels)
    known = {dim: Variable(dim, np.asarray(values)) for dim, values in coordinates(design).items()}
    made = {}
    for group, arrays in groups.items():
        first = [] if group.endswith("_data") else [*sample_dims]
        variables = {name: (first + own_dims.get(name, []), np.asarray(values)) for name, values in arrays.items()}
        sizes = {
            dim: size for names, values in variables.values() for dim, size in zip(names, values.shape, strict=True)
        }
        made[group] = Dataset(variables, {dim: known.get(dim, np.arange(size)) for dim, size in sizes.items()})
    return made


def dims(labels: Labels) -> dict[str, list[str]]:
    """Dims of each variable, those of draws left out; a variable that is not named has none.

    Notes
    -----
    Of a variable with several dims the second is the dim of no other variable. ArviZ's tables flatten all variables
    along the dims in the order in which variables bring them, and label each by its own dims in their own order
    (`arviz_base.dataset_to_dataarray`): with ``sd_Subject`` and ``b_Subject`` over one dim of effects, the first
    variable asked for would decide whether the labels of the second are right.
    """
    names = {"beta": ["coef"], "X": ["obs", "coef"]}
    names |= {"residual_sd": ["residual_sd_name"], "residual_cor": ["residual_pair"]}
    names |= {name: ["obs"] for name in ("y", "offset", "weights")}
    for block in labels.blocks:
        names[block.sd_variable] = [block.sd_dim]
        names[block.cor_variable] = [block.pair_dim]
        names[block.effect_variable] = [block.dim, block.effect_dim]
        names[f"{block.dim}_index"] = ["obs", block.member_dim] if block.members else ["obs"]
    return names


def coordinates(design: Design) -> dict[str, Any]:
    """Coordinate of each dim."""
    labels = design.labels
    known: dict[str, Any] = {"coef": list(labels.coefficients)}
    if design.elsewhere is None:
        known["obs"] = row_coordinate(design.rows)
    known |= {"residual_sd_name": list(labels.residual_sds), "residual_pair": list(labels.residual_cors)}
    for block in labels.blocks:
        known |= effect_coordinates(block) | {
            block.sd_dim: list(block.sds),
            block.pair_dim: list(block.cors),
            block.member_dim: list(block.members),
        }
    return known


def effect_coordinates(block: BlockLabels) -> dict[str, list[str]]:
    """Coordinates of the effects of a grouping factor."""
    return {block.dim: list(block.levels), block.effect_dim: list(block.effects)}


def row_labels(design: Design) -> Any:
    """Labels of all rows as a coordinate; none of rows that are not in memory."""
    return np.zeros(0) if design.elsewhere is not None else row_coordinate(design.rows)


def row_coordinate(rows: pd.Index) -> Any:
    """Labels of rows as a coordinate; a MultiIndex would break ArviZ's tables."""
    return [str(row) for row in rows] if isinstance(rows, pd.MultiIndex) else rows.to_numpy()


def variable_order(labels: Labels) -> list[str]:
    """Variables in the order of the table of parameters, then the random effects."""
    parameters = dict.fromkeys(row.variable for row in labels.parameter_rows())
    return [*parameters, *(block.effect_variable for block in labels.blocks)]


def data_groups(design: Design) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of the rows under the names that ArviZ has for groups of them; none of rows that are not in memory."""
    if design.elsewhere is not None:
        return {}
    return {"observed_data": {"y": design.y}, "constant_data": constants(design)}


def constants(design: Design) -> dict[str, np.ndarray]:
    """Arrays of the data that the likelihood uses, under the names of ``constant_data``."""
    labels = design.labels
    arrays = {"offset": design.offset, "weights": design.weights}
    if labels.coefficients:
        arrays["X"] = design.X[:, design.kept]
    for block, names in zip(design.blocks, labels.blocks, strict=True):
        codes = [membership.codes for membership in block.incidence.memberships]
        arrays[f"{names.dim}_index"] = np.stack(codes, axis=1) if names.members else codes[0]
    return arrays
