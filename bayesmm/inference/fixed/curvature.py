"""What Kenward and Roger's correction owes to covariances that are no linear functions of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import Piece
from bayesmm.covariance.public import assemble_covariance, cor_ends, sd_ends
from bayesmm.inference.fitted import Fitted
from bayesmm.reml.estimate import differentiate_public_values

STEP = 1e-4  # of a second difference, in units of the value: good to seven digits


def curvature_of_covariance(fit: Fitted, W: np.ndarray, R: Sequence[np.ndarray]) -> np.ndarray:
    """Σ W_ij R'(∂²Σ/∂η_i∂η_j)R / σ² over levels (p, p), η the variances and correlations of pieces that are not linear.

    Parameters
    ----------
    fit : Fit
        Where it is taken.
    W : array, shape (t + 1, t + 1)
        Covariance of (θ, log σ).
    R : list of arrays, shape (k, p, q)
        Z'Ṽ⁻¹X of each grouping factor on conditioned columns.
    """
    estimate = fit.estimate
    criterion = estimate.criterion_function
    p = len(estimate.beta)
    total = np.zeros((p, p))
    if all(piece.structure.is_linear for pieces in criterion.layout for piece in pieces):
        return total
    values, jacobian = differentiate_public_values(estimate)
    start = 0
    for each, T, pieces in zip(R, criterion.products.effect_roots, criterion.layout, strict=True):
        n_sds, n_cors = sd_ends(pieces)[-1], cor_ends(pieces)[-1]
        bent = np.zeros((len(T), len(T)))
        for piece, first_sd, first_cor in zip(pieces, sd_ends(pieces), cor_ends(pieces), strict=False):
            if piece.structure.is_linear:
                continue
            sds = start + first_sd + np.arange(piece.structure.n_sds(piece.k))
            cors = start + n_sds + first_cor + np.arange(piece.structure.n_cors(piece.k))
            slopes = np.concatenate([2.0 * values[sds, None] * jacobian[sds], np.nan_to_num(jacobian[cors])])
            eta = _Eta(values[sds] ** 2, np.nan_to_num(values[cors]), piece)
            bent[piece.inside, piece.inside] = eta.contracted_curvature(slopes @ W @ slopes.T)
        total += np.einsum("kcq,kl,ldq->cd", each, T @ bent @ T.T, each, optimize=True)
        start += n_sds + n_cors
    return total / estimate.sigma**2


def curvature_of_residuals(fit: Fitted, W: np.ndarray) -> list[np.ndarray]:
    """Σ W_ij ∂²(σ²R)/∂η_i∂η_j / σ² of each pattern (m, o, o), η the variances, exponents and correlations of residuals.

    Zero where the structure is linear: an unstructured one with a variance for each position is.
    """
    estimate, residual, block = fit.estimate, fit.estimate.residual, fit.design.residual
    assert residual is not None
    assert block is not None
    zero = [np.zeros_like(R) for R in residual.covariances]
    if block.is_linear:
        return zero
    layout = residual.layout
    values, jacobian = differentiate_public_values(estimate)
    own = slice(len(values) - 1 - layout.n_phi, len(values))
    at, slopes = values[own].copy(), jacobian[own].copy()
    squared = np.concatenate([layout.are_sds, np.zeros(layout.n_phi - layout.n_spreads, dtype=bool), [True]])
    slopes[squared] *= 2.0 * at[squared, None]
    at[squared] **= 2

    def covariances(eta: np.ndarray) -> list[np.ndarray]:
        public, variance = eta[:-1].copy(), eta[-1]
        public[squared[:-1]] = 0.5 * np.log(public[squared[:-1]] / variance)
        return [variance * R for R in layout.covariances_of(np, public)]

    weights = slopes @ W @ slopes.T
    scale = np.where(squared, at, 1.0)
    moves = np.flatnonzero(np.diag(weights) > 0.0)
    sizes, vectors = np.linalg.eigh((weights / np.outer(scale, scale))[np.ix_(moves, moves)])
    here, total = covariances(at), zero
    for size, vector in zip(sizes, vectors.T, strict=True):
        step = np.zeros(len(at))
        step[moves] = STEP * scale[moves] * vector
        ends = zip(total, covariances(at + step), here, covariances(at - step), strict=True)
        total = [sum_ + size * (up - 2.0 * middle + down) / STEP**2 for sum_, up, middle, down in ends]
    return [each / estimate.sigma**2 for each in total]


class _Eta(NamedTuple):
    """Variances and correlations of one piece."""

    variances: np.ndarray
    correlations: np.ndarray
    piece: Piece

    def covariance(self, step: np.ndarray) -> np.ndarray:
        """Σ (k, k) of the piece a step from here."""
        n, alone = len(self.variances), self.piece._replace(start=0, stop=self.piece.k)
        return assemble_covariance(np, np.sqrt(self.variances + step[:n]), self.correlations + step[n:], (alone,))

    def contracted_curvature(self, weights: np.ndarray) -> np.ndarray:
        """Σ weights_ij ∂²Σ/∂η_i∂η_j (k, k): second differences along the principal axes of the weights."""
        scale = np.concatenate([np.where(self.variances > 0.0, self.variances, 1.0), np.ones(len(self.correlations))])
        moves = np.flatnonzero(np.diag(weights) > 0.0)  # not what is held: a variance of zero has no way down
        values, vectors = np.linalg.eigh((weights / np.outer(scale, scale))[np.ix_(moves, moves)])
        total = np.zeros((self.piece.k, self.piece.k))
        for value, vector in zip(values, vectors.T, strict=True):
            step = np.zeros(len(scale))
            step[moves] = STEP * scale[moves] * vector
            total += (
                value * (self.covariance(step) - 2.0 * self.covariance(0.0 * step) + self.covariance(-step)) / STEP**2
            )
        return total
