"""The sums of one grouping factor's levels, the variances of the others' effects held over σ².

With Ṽ₀ = W⁻¹ + Σ Z_gΛ_gΛ_g'Z_g' of the other factors g, everything is as with one factor, of [Z X y]'Ṽ₀⁻¹[Z X y]. Where
no level of another factor is in rows of two levels, this is summed level by level; otherwise levels are tied.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, sparse

from bayesmm.covariance.layout import assemble_factors
from bayesmm.incidence import Incidence
from bayesmm.inference.fitted import Fitted


class LevelSums(NamedTuple):
    """Sums over the conditioned columns.

    Attributes
    ----------
    tied : bool
        Whether all levels are in one matrix, K = qk and Q = 1, rather than each in its own, K = k and Q = q.
    zz, zk : arrays, shapes (Q, K, K), (Q, K, p + 1)
        Z'Ṽ₀⁻¹Z and Z'Ṽ₀⁻¹[X y].
    kk : array, shape (Q, p + 1, p + 1)
        [X y]'Ṽ₀⁻¹[X y].
    log_det : float
        log|Ṽ₀| − log|W⁻¹|.
    """

    tied: bool
    zz: np.ndarray
    zk: np.ndarray
    kk: np.ndarray
    log_det: float


def is_tied(fit: Fitted, f: int) -> bool:
    """Say whether some level of another grouping factor is in rows of several levels of this one."""
    own = fit.design.blocks[f].incidence.only.codes
    q = fit.design.blocks[f].q
    for g, block in enumerate(fit.design.blocks):
        if g == f:
            continue
        pairs = np.concatenate([m.codes * np.int64(q) + own for m in block.incidence.ordered.memberships])
        others = np.concatenate([m.codes for m in block.incidence.ordered.memberships])
        if len(np.unique(pairs)) > len(np.unique(others)):
            return True
    return False


def sum_levels(fit: Fitted, f: int) -> LevelSums:
    """Sum the rows of one grouping factor's levels."""
    rows = fit.problem.conditioned_rows()
    factors = assemble_factors(np, fit.estimate.minimum.x, fit.problem.layout)
    own, others = rows.incidences[f], [g for g in range(len(factors)) if g != f]
    noise: Any = sparse.csr_array((own.n, 0))  # ZΛ of the others
    if others:
        noise = sparse.hstack([_columns(rows.incidences[g], factors[g]) for g in others], format="csr")
    k, c = own.k, rows.fixed.shape[1]
    codes = own.only.codes
    if is_tied(fit, f):
        Z: Any = _columns(own, np.eye(k))
        gram, log_det = _weigh(np.column_stack([Z.toarray(), rows.fixed]), noise)
        grams, K = gram[None], k * own.n_levels
        return LevelSums(True, grams[:, :K, :K], grams[:, :K, K:], grams[:, K:, K:], log_det)
    columns = np.column_stack([own.only.columns, rows.fixed])
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=own.n_levels))[:-1]
    grams, log_det = np.empty((own.n_levels, k + c, k + c)), 0.0
    for i, at in enumerate(np.split(order, ends)):
        if others:
            near = noise[at]
            grams[i], more = _weigh(columns[at], near[:, np.unique(near.indices)])
            log_det += more
        else:
            grams[i] = columns[at].T @ columns[at]
    return LevelSums(False, grams[:, :k, :k], grams[:, :k, k:], grams[:, k:, k:], log_det)


def _columns(incidence: Incidence, factor: np.ndarray) -> sparse.csr_array:
    """ZΛ, sparse (n, qk), level by level."""
    n, k, q = incidence.n, incidence.k, incidence.n_levels
    each = [
        ((m.columns @ factor).ravel(), np.repeat(np.arange(n), k), (k * m.codes[:, None] + np.arange(k)).ravel())
        for m in incidence.memberships
    ]
    values, row, column = (np.concatenate(parts) for parts in zip(*each, strict=True))
    return sparse.csr_array((values, (row, column)), shape=(n, q * k))


def _weigh(K: np.ndarray, noise: Any) -> tuple[np.ndarray, float]:
    """K'(I + NN')⁻¹K = K'K − K'N(I + N'N)⁻¹N'K, and log|I + NN'|."""
    H = (noise.T @ noise).toarray() + np.eye(noise.shape[1])
    root = linalg.cholesky(H, lower=True)
    half = linalg.solve_triangular(root, noise.T @ K, lower=True)
    return K.T @ K - half.T @ half, 2.0 * float(np.log(np.diag(root)).sum())
