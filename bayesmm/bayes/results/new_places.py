"""Draws of effects at places that no row of the fit has, given those of each draw at the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import ParameterDraws, read_covariances
from bayesmm.design.design import Design
from bayesmm.design.new_places import check_possible

OWN_PART = 1e-12  # of a variance, times k, that makes matrices of many places within a range positive definite


def draw_at_new_places(
    posterior: DrawnModel,
    wide: Design,
    draws: ParameterDraws,
    effects: Sequence[np.ndarray],
    rng: np.random.Generator,
) -> tuple[ParameterDraws, tuple[np.ndarray, ...]]:
    """Draw them from their conditional normal distribution, together for all places of a level.

    Parameters
    ----------
    posterior : DrawnModel
        The draws.
    wide : Design
        Of `bayesmm.design.new_places.add_places`.
    draws : ParameterDraws
        Parameters.
    effects : sequence of array, shapes (D, q, k)
        Effects of some levels, of the posterior's own design.
    rng : numpy.random.Generator
        Of the draws.

    Returns
    -------
    draws : ParameterDraws
        With covariances of all effects of the wide design.
    effects : tuple of array, shapes (D, q, k + m)
    """
    covariances, found = list(draws.covariances), list(effects)
    wider = read_covariances(posterior, wide.labels, draws.chosen)
    for f, (block, old) in enumerate(zip(wide.blocks, posterior.design.blocks, strict=True)):
        if block.k == old.k:
            continue
        covariances[f] = wider[f]
        D, q, _ = effects[f].shape
        found[f] = np.zeros((D, q, block.k))
        for new, piece in zip(block.pieces, old.pieces, strict=True):
            known = effects[f][:, :, piece.start : piece.stop]
            found[f][:, :, new.start : new.start + piece.k] = known
            if new.k > piece.k and q:
                C = wider[f][:, new.start : new.stop, new.start : new.stop]
                check_possible(new, C)
                found[f][:, :, new.start + piece.k : new.stop] = _draw(C, known, rng)
    return replace(draws, covariances=tuple(covariances)), tuple(found)


def _draw(C: np.ndarray, known: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the last effects (D, q, m) of covariance matrices (D, k + m, k + m), given the first ones (D, q, k)."""
    D, q, k = known.shape
    m = C.shape[-1] - k
    variances = np.diagonal(C, axis1=1, axis2=2)
    scale = np.sqrt(np.where(variances > 0.0, variances, 1.0))
    R = C / (scale[:, :, None] * scale[:, None])
    R = np.where(np.eye(k + m) == 1.0, 1.0, (1.0 - OWN_PART * (k + m)) * R)
    L = np.linalg.cholesky(R)
    spherical = np.linalg.solve(L[:, :k, :k], (known / scale[:, None, :k]).swapaxes(1, 2))  # (D, k, q)
    z = np.concatenate([spherical, rng.standard_normal((D, m, q))], axis=1)
    return (L[:, k:] @ z).swapaxes(1, 2) * np.where(variances > 0.0, scale, 0.0)[:, None, k:]
