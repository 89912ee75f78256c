"""The combinations of effects that default priors are about: effects where the covariates are at their means."""

from __future__ import annotations

import numpy as np

SPAN_TOLERANCE = 1e-8  # of a constant: how far a combination of columns may be from 1 and still count as an intercept
ROUNDING = 1e-10  # of a column's spread: a mean nearer to zero is the rounding of a centred column


def constant_combination(X: np.ndarray) -> np.ndarray:
    """Coefficients c of the columns with Xc = 1, or zeros; a constant column carries the constant alone."""
    c = np.zeros(X.shape[1])
    if X.size == 0:
        return c
    flat = np.flatnonzero((np.ptp(X, axis=0) == 0) & (X[0] != 0))
    if len(flat):
        c[flat[0]] = 1.0 / X[0, flat[0]]
        return c
    size = np.maximum(np.abs(X).max(axis=0), np.finfo(float).tiny)
    solution = np.linalg.lstsq(X / size, np.ones(len(X)), rcond=None)[0]
    if np.abs((X / size) @ solution - 1.0).max() > SPAN_TOLERANCE:
        return c
    return np.where(np.abs(solution) > SPAN_TOLERANCE, solution, 0.0) / size


def effects_at_means(X: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Say which combinations of effects are those where the covariates are at their means.

    Parameters
    ----------
    X : array, shape (n, k)
        Columns of the effects.
    constant : array, shape (k,)
        Which of them carry the constant, from `constant_combination`.

    Returns
    -------
    array, shape (k, k)
        T, unit triangular but for the order of the columns: Tb are the effects b of the columns of XT⁻¹, whose other
        columns are centred on those that carry the constant. With an intercept alone they have mean zero, and the first
        of Tb is the expected response (or a level's deviation) at the means; with an indicator for each level of a
        factor, they are centred within the levels. The identity where nothing carries a constant.
    """
    T = np.eye(X.shape[1])
    carries = constant != 0
    if X.size == 0 or not carries.any() or carries.all():
        return T
    inside, others = X[:, carries], X[:, ~carries]
    if inside.shape[1] == 1:
        means = constant[carries][:, None] * others.mean(axis=0)
    else:
        means = np.linalg.lstsq(inside, others, rcond=None)[0]
    seen = ROUNDING * np.abs(constant[carries])[:, None] * others.std(axis=0)
    T[np.ix_(carries, ~carries)] = np.where(np.abs(means) > seen, means, 0.0)
    return T


def read_factor(factor: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Read standard deviations (..., k) and the correlations of pairs (..., pairs) off F (..., k, k), Var(b) = FF'.

    NumPy or JAX. With F of the effects at the means, those of the columns as labelled are of T⁻¹F.
    """
    xp = factor.__array_namespace__()
    sd = xp.sqrt((factor**2).sum(axis=-1))
    rows = factor / sd[..., None]
    i, j = np.array(pairs, dtype=int).reshape(-1, 2).T
    return sd, (rows[..., i, :] * rows[..., j, :]).sum(axis=-1)
