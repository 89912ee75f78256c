"""Where searches begin in data sets that were drawn from stated parameters: there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bayesmm.covariance.free_correlations import free_correlations
from bayesmm.covariance.layout import theta_of
from bayesmm.covariance.structure import lower_triangular
from bayesmm.design.design import Design
from bayesmm.inference.simulated_responses import root_of
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.refits import off_boundary
from bayesmm.reml.residual import ResidualCriterion


def start_at(
    criterion: Criterion | ResidualCriterion,
    covariances: Sequence[np.ndarray],
    sigma: float,
    design: Design,
    values: Mapping[str, float],
) -> np.ndarray:
    """Find θ on the conditioned columns, and φ where residuals have a covariance.

    Parameters
    ----------
    criterion : Criterion or ResidualCriterion
        The objective.
    covariances : sequence of arrays, shapes (k, k)
        Of the effects of each grouping factor.
    sigma : float
        Residual standard deviation.
    design : Design
        Of the objective.
    values : mapping of str to float
        What the parameters of the residuals are, by their names.
    """
    if isinstance(criterion, Criterion):
        return _theta(criterion.products.effect_roots, criterion, covariances, sigma)
    rows, block = criterion.rows, design.residual
    assert block is not None
    public, n = block.public_of(values, "parameters"), rows.layout.n_spreads
    theta = np.zeros(0)
    if criterion.layout:  # no search of its own leaves a boundary
        theta = off_boundary(_theta(rows.effect_roots, criterion, covariances, sigma), criterion.layout)
    correlations = [] if block.correlation is None else [free_correlations(block.correlation, public[n:])]
    return np.concatenate([theta, public[:n], *correlations])


def _theta(
    roots: Sequence[np.ndarray],
    criterion: Criterion | ResidualCriterion,
    covariances: Sequence[np.ndarray],
    sigma: float,
) -> np.ndarray:
    pairs = zip(roots, covariances, strict=True)
    return theta_of([lower_triangular(T @ root_of(each) / sigma) for T, each in pairs], criterion.layout)
