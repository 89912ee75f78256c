"""The quantities that priors are about, from the parameters in the tables."""

from __future__ import annotations

import numpy as np

from bayesmm.bayes.resolution import ResolvedPriors
from bayesmm.design.labels import Labels


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
        of those of b, and the others as they are. A correlation with a standard deviation of zero is NaN.
    """
    quantities = np.array(values, dtype=float)
    position = {row.name: j for j, row in enumerate(priors.rows)}
    fixed = [j for j, row in enumerate(priors.rows) if row.kind == "fixed"]
    quantities[..., fixed] = quantities[..., fixed] @ priors.contrast.T
    for names, T in zip(labels.blocks, priors.effect_contrasts, strict=True):
        sds = [position[name] for name in map(names.sd_row, names.effects) if name in position]
        if not sds or not (T - np.eye(len(T))).any():
            continue
        cors = [position[names.cor_row(i, j)] for i, j in names.pairs]
        covariance = T @ assemble_covariance(quantities[..., sds], quantities[..., cors], names.pairs) @ T.T
        sd = np.sqrt(np.maximum(np.diagonal(covariance, axis1=-2, axis2=-1), 0.0))
        i, j = np.array(names.pairs, dtype=int).reshape(-1, 2).T
        product = sd[..., i] * sd[..., j]
        undefined = np.full_like(product, np.nan)
        quantities[..., sds] = sd
        quantities[..., cors] = np.divide(covariance[..., i, j], product, out=undefined, where=product > 0)
    return quantities


def assemble_covariance(sd: np.ndarray, cor: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Make covariances (..., k, k) of standard deviations (..., k) and correlations of pairs (..., pairs).

    An undefined correlation, NaN, is one with a standard deviation of zero, whatever is put for it.
    """
    correlation = np.broadcast_to(np.eye(sd.shape[-1]), (*sd.shape, sd.shape[-1])).copy()
    if pairs:
        i, j = np.array(pairs).T
        correlation[..., i, j] = correlation[..., j, i] = np.nan_to_num(cor)
    return correlation * sd[..., :, None] * sd[..., None, :]
