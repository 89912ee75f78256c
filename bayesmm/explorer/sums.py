"""The sums of one grouping factor's levels, the variances of the others' effects held over σ².

With Ṽ₀ = W⁻¹ + Σ Z_gΛ_gΛ_g'Z_g' of the other factors g, and R for W⁻¹ where residuals have a covariance, everything is
as with one factor, of [Z X y]'Ṽ₀⁻¹[Z X y]. Where no level of another factor is in rows of two levels, this is summed
level by level; otherwise levels are tied. What is written are triangular roots of these sums, out of the rows: where
levels differ by thousands of σ, what is left of products and their difference would be rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, sparse

from bayesmm.covariance.layout import assemble_factors
from bayesmm.design.design import Design
from bayesmm.incidence import Incidence
from bayesmm.inference.fitted import Fitted
from bayesmm.problem import Problem


class LevelSums(NamedTuple):
    """Sums over the conditioned columns.

    Attributes
    ----------
    tied : bool
        Whether all levels are in one matrix, K = qk and Q = 1, rather than each in its own, K = k and Q = q.
    root, cross : arrays, shapes (Q, K, K), (Q, K, p + 1)
        R with R'R = Z'Ṽ₀⁻¹Z, and C with R'C = Z'Ṽ₀⁻¹[X y].
    rest : array, shape (Q, p + 1, p + 1)
        [X y]'Ṽ₀⁻¹[X y] − C'C: what [X y] have beyond the columns of Z.
    log_det : float
        log|Ṽ₀| − log|W⁻¹|.
    """

    tied: bool
    root: np.ndarray
    cross: np.ndarray
    rest: np.ndarray
    log_det: float


def is_tied(design: Design, f: int) -> bool:
    """Say whether some level of another grouping factor is in rows of several levels of this one."""
    q, others = design.blocks[f].q, [(g, block) for g, block in enumerate(design.blocks) if g != f]
    if design.n_pairs is not None:
        pairs = design.n_pairs
        return any(
            pairs.get((f, g), pairs.get((g, f), 0)) > len(block.incidence.levels_present()) for g, block in others
        )
    own = design.blocks[f].incidence.only.codes
    for _, block in others:
        pairs = np.concatenate([m.codes * np.int64(q) + own for m in block.incidence.ordered.memberships])
        each = np.concatenate([m.codes for m in block.incidence.ordered.memberships])
        if len(np.unique(pairs)) > len(np.unique(each)):
            return True
    return False


def sum_levels(fit: Fitted, problem: Problem, f: int) -> LevelSums:
    """Sum the rows of one grouping factor's levels, as a problem of independent residuals has them."""
    rows = problem.conditioned_rows()
    factors = assemble_factors(np, fit.estimate.minimum.x, problem.layout)
    own, others = rows.incidences[f], [g for g in range(len(factors)) if g != f]
    noise: Any = sparse.csr_array((own.n, 0))  # ZΛ of the others
    if others:
        noise = sparse.hstack([_columns(rows.incidences[g], factors[g]) for g in others], format="csr")
    k, c = own.k, rows.fixed.shape[1]
    codes = own.only.codes
    if is_tied(problem.design, f):
        Z: Any = _columns(own, np.eye(k))
        roots, log_det = _weigh(np.column_stack([Z.toarray(), rows.fixed]), noise)
        return _part(True, roots[None], k * own.n_levels, log_det)
    columns = np.column_stack([own.only.columns, rows.fixed])
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=own.n_levels))[:-1]
    roots, log_det = np.zeros((own.n_levels, k + c, k + c)), 0.0
    for i, at in enumerate(np.split(order, ends)):
        if others:
            near = noise[at]
            root, more = _weigh_apart(columns[at], near[:, np.unique(near.indices)].toarray())
            log_det += more
        else:
            root = np.linalg.qr(columns[at], mode="r")
        roots[i, : len(root)] = root
    return _part(False, roots, k, log_det)


def _part(tied: bool, roots: np.ndarray, K: int, log_det: float) -> LevelSums:
    """Part triangular roots of [Z X y]'Ṽ₀⁻¹[Z X y]."""
    rest = roots[:, K:, K:]
    return LevelSums(tied, roots[:, :K, :K], roots[:, :K, K:], rest.swapaxes(1, 2) @ rest, log_det)


def _columns(incidence: Incidence, factor: np.ndarray) -> sparse.csr_array:
    """ZΛ, sparse (n, qk), level by level."""
    n, k, q = incidence.n, incidence.k, incidence.n_levels
    each = [
        ((m.columns @ factor).ravel(), np.repeat(np.arange(n), k), (k * m.codes[:, None] + np.arange(k)).ravel())
        for m in incidence.memberships
    ]
    values, row, column = (np.concatenate(parts) for parts in zip(*each, strict=True))
    return sparse.csr_array((values, (row, column)), shape=(n, q * k))


def _weigh_apart(K: np.ndarray, N: np.ndarray) -> tuple[np.ndarray, float]:
    """Return R with R'R = K'(I + NN')⁻¹K, and log|I + NN'|; by K less its least squares on [N; I], to all digits."""
    m, c = N.shape[1], K.shape[1]
    root = np.linalg.qr(np.block([[N, K], [np.eye(m), np.zeros((m, c))]]), mode="r")
    return root[m:, m:], 2.0 * float(np.log(np.abs(np.diag(root[:m, :m]))).sum())


def _weigh(K: np.ndarray, noise: Any) -> tuple[np.ndarray, float]:
    """Return the same of sparse N with many columns: a root of K'K − K'N(I + N'N)⁻¹N'K."""
    H = (noise.T @ noise).toarray() + np.eye(noise.shape[1])
    factor = linalg.cholesky(H, lower=True)
    half = linalg.solve_triangular(factor, noise.T @ K, lower=True)
    values, vectors = np.linalg.eigh(K.T @ K - half.T @ half)
    root = np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0.0))).T, mode="r")
    return root, 2.0 * float(np.log(np.diag(factor)).sum())
