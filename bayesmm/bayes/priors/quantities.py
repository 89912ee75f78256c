"""The quantities that priors are about, from the parameters in the tables."""

from __future__ import annotations

import numpy as np

from bayesmm.bayes.priors.resolution import ResolvedPriors
from bayesmm.covariance.public import assemble_covariance, read_covariance
from bayesmm.design.blocks.labels import Labels


def prior_quantities(priors: ResolvedPriors, labels: Labels, values: np.ndarray) -> np.ndarray:
    """Compute what the prior of each row is about.

    Parameters
    ----------
    priors : ResolvedPriors
        The priors in force.
    labels : Labels
        For the effects of each grouping factor.
    values : array, shape (..., m)
        Parameters as labelled, in the order of the table.

    Returns
    -------
    array, shape (..., m)
        Tβ in the place of coefficients; standard deviations and correlations of the effects Tb of a level in the place
        of those of b; standard deviations of residuals where priors of them are, and correlations over a usual gap
        instead of over one unit of time; ranges and partial autocorrelations where priors are of those; the others as
        they are. A correlation with a standard deviation of zero is NaN.
    """
    quantities = np.array(values, dtype=float)
    position = {row.name: j for j, row in enumerate(priors.rows)}
    fixed = [j for j, row in enumerate(priors.rows) if row.kind == "fixed"]
    quantities[..., fixed] = quantities[..., fixed] @ priors.contrast.T
    quantities = _of_residuals(priors, quantities, position)
    for names, T in zip(labels.blocks, priors.effect_contrasts, strict=True):
        sds = [position[name] for name in names.sd_rows if name in position]
        if not sds or not (T - np.eye(len(T))).any():
            continue
        cors = [position[name] for name in names.cor_rows]
        covariance = T @ assemble_covariance(np, quantities[..., sds], quantities[..., cors], names.pieces) @ T.T
        i = np.arange(len(T))
        covariance[..., i, i] = np.maximum(covariance[..., i, i], 0.0)  # of rounding
        quantities[..., sds], quantities[..., cors] = read_covariance(np, covariance, names.pieces)
    for piece in priors.matrices:
        cors = [position[name] for name in piece.rows]
        quantities[..., cors] = piece.quantities(priors.of_matrix(piece), quantities[..., cors])
    return quantities


def _of_residuals(priors: ResolvedPriors, quantities: np.ndarray, position: dict[str, int]) -> np.ndarray:
    exponents = [position[row.name] for row in priors.of_kind("exponent")]
    if priors.exponent_means.any():
        spreads = [position[row.name] for row in priors.of_kind("sigma")]
        quantities[..., spreads] *= np.exp(quantities[..., exponents] @ priors.exponent_means)[..., None]
    return quantities
