"""Rows without which a coefficient with a flat prior is not determined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesmm.marginal.in_jax.density import FixedPrior
from bayesmm.marginal.leave_out.row_groups import Rows

LEAST_LEFT = 1e-9  # share of a direction of the fixed effects that must be left for a flat prior on it


def find_indispensable(rows: Rows, groups: Sequence[np.ndarray] | None, prior: FixedPrior) -> np.ndarray:
    """Find groups of rows without which a coefficient with a flat prior is not determined.

    Parameters
    ----------
    rows, groups
        As in `group_rows`; None of single rows.
    prior : FixedPrior
        Of the coefficients that are integrated out.

    Returns
    -------
    int array
        The groups.
    """
    p = rows.fixed.shape[1] - 1
    values, vectors = np.linalg.eigh(np.asarray(prior.precision))
    flat = np.asarray(prior.basis)[:p] @ vectors[:, values <= 1e-12 * max(values.max(initial=0.0), 1e-300)]
    if not flat.shape[1]:
        return np.zeros(0, int)
    shares = rows.fixed[:, :p] @ flat
    if groups is None:
        return np.flatnonzero((shares**2).sum(axis=1) > 1.0 - LEAST_LEFT)
    found = []
    for g, which in enumerate(groups):
        largest = np.linalg.norm(shares[which], ord=2)  # of their leverages in flat directions
        if largest**2 > 1.0 - LEAST_LEFT:
            found.append(g)
    return np.array(found, dtype=int)
