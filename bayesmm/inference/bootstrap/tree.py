"""Bootstrap replicates as a DataTree for ArviZ, under the names that posterior draws have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from bayesmm.design.blocks.labels import Labels
from bayesmm.design.coordinates import build_groups, constants
from bayesmm.problem import Problem

if TYPE_CHECKING:
    from xarray import DataTree

SAMPLE_DIMS = ("chain", "draw")


class Replicated(Protocol):
    """A `bayesmm.inference.bootstrap.bootstrap.Bootstrap`, as what is below it sees it."""

    @property
    def problem(self) -> Problem:
        """Data and names."""
        ...

    @property
    def labels(self) -> Labels:
        """Names."""
        ...

    @property
    def method(self) -> str:
        """REML or ML."""
        ...

    @property
    def kind(self) -> str:
        """What was resampled."""
        ...

    @property
    def group(self) -> str | None:
        """Whose levels."""
        ...

    @property
    def seed(self) -> int:
        """Of the random numbers."""
        ...

    @property
    def replicates(self) -> np.ndarray:
        """Parameters (n, m)."""
        ...

    @property
    def failed(self) -> np.ndarray:
        """Which of them there are not."""
        ...


def build_tree(found: Replicated) -> DataTree:
    """Build the groups posterior, observed_data and constant_data; see `Bootstrap.data`."""
    from xarray import DataTree

    labels, design, kept = found.labels, found.problem.design, np.flatnonzero(~found.failed)
    rows = labels.parameter_rows()
    variables: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(row.variable for row in rows):
        inside = [i for i, row in enumerate(rows) if row.variable == name]
        values = found.replicates[kept][None]
        variables[name] = values[..., inside[0]] if rows[inside[0]].index is None else values[..., inside]
    groups = {
        "posterior": variables,
        "observed_data": {"y": design.y},
        "constant_data": constants(design),
    }
    made = build_groups(groups, design, SAMPLE_DIMS)
    made["posterior"] = made["posterior"].assign_coords(draw=kept)
    made["posterior"].attrs = {
        "sample_dims": list(SAMPLE_DIMS),
        "modeling_interface": "bayesmm",
        "inference_library": "bayesmm",
        "bootstrap": found.kind,
        "group": found.group or "",
        "method": found.method,
        "seed": found.seed,
        "n_failed": int(found.failed.sum()),
    }
    return DataTree.from_dict(made)
