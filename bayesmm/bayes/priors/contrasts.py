"""The combinations of effects that default priors are about: effects where the covariates are at their means."""

from __future__ import annotations

from collections import Counter

import numpy as np

from bayesmm.bayes.priors.column_rows import ColumnRows

SPAN_TOLERANCE = 1e-8  # of a constant: how far a combination of columns may be from 1 and still count as an intercept
ROUNDING = 1e-10  # of a column's standard deviation: a mean nearer to zero is the rounding of a centred column


def constant_combination(columns: ColumnRows) -> np.ndarray:
    """Coefficients c of the columns with Xc = 1, or zeros; a constant column carries the constant alone."""
    c, X = np.zeros(columns.k), columns.X
    if X.size == 0:
        return c
    constants = columns.constants
    flat = np.flatnonzero(np.isfinite(constants) & (constants != 0))
    if len(flat):
        c[flat[0]] = 1.0 / constants[flat[0]]
        return c
    size = np.maximum(columns.sizes, np.finfo(float).tiny)
    solution = np.linalg.lstsq(X / size, np.ones(len(X)), rcond=None)[0]
    if np.abs((X / size) @ solution - 1.0).max() > SPAN_TOLERANCE:
        return c
    return np.where(np.abs(solution) > SPAN_TOLERANCE, solution, 0.0) / size


def effects_at_means(columns: ColumnRows, constant: np.ndarray) -> np.ndarray:
    """Say which combinations of effects are those where the covariates are at their means.

    Parameters
    ----------
    columns : ColumnRows
        Columns X of the effects.
    constant : array, shape (k,)
        Which of them carry the constant, from `constant_combination`.

    Returns
    -------
    array, shape (k, k)
        T, unit triangular but for the order of the columns: Tb are the effects b of the columns of XT⁻¹, whose other
        columns are centred on those that carry the constant. With an intercept alone they have mean zero, and the first
        of Tb is the expected response (or a level's deviation) at the means; with an indicator for each level of a
        factor, they are centred within the levels. In the place of a column that is the product fx of two before it
        stands (f − f̄)(x − x̄), centred: the effect of f in Tb is that where x is at its mean. The identity where nothing
        carries a constant.
    """
    carries, X, identity = constant != 0, columns.X, np.eye(columns.k)
    T = np.eye(columns.k)
    if X.size == 0 or not carries.any() or carries.all():
        return T
    T[np.ix_(carries, ~carries)] = _means(columns, carries, identity[:, ~carries], constant[carries])
    back = np.linalg.inv(T)
    centred = X @ back
    base: dict[int, tuple[int, ...]] = {int(j): (int(j),) for j in np.flatnonzero(~carries)}
    for product, (i, j) in _find_factors(X, ~carries).items():
        target = centred[:, i] * centred[:, j]
        # Of a combination of the columns the mean is known though not all rows are here; others are left out below.
        target = target - X[:, carries] @ _product_means(columns, carries, target, constant[carries])
        base[product] = tuple(sorted(base[i] + base[j]))
        part = [each for each in base if each <= product and not Counter(base[each]) - Counter(base[product])]
        size = np.abs(centred[:, part]).max(axis=0)
        weights = np.linalg.lstsq(centred[:, part] / size, target, rcond=None)[0] / size
        left = target - centred[:, part] @ weights
        if np.abs(left).max() > SPAN_TOLERANCE * np.abs(target).max() or weights[part.index(product)] == 0.0:
            continue  # what it is a product of is not in the model as well
        weights /= weights[part.index(product)]
        back[:, product], centred[:, product] = back[:, part] @ weights, centred[:, part] @ weights
    T = np.linalg.inv(back)
    seen = ROUNDING * columns.sds(back) / np.maximum(columns.sizes, np.finfo(float).tiny)[:, None]
    return np.where((np.abs(T) > seen) | (np.eye(len(T)) == T), T, 0.0)


def _means(columns: ColumnRows, inside: np.ndarray, B: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Coefficients of the columns of XB on those of a mask, which carry the constant; zero where they are rounding."""
    means = constant[:, None] * columns.means(B) if inside.sum() == 1 else columns.project(inside, B)
    return np.where(np.abs(means) > ROUNDING * np.abs(constant)[:, None] * columns.sds(B), means, 0.0)


def _product_means(columns: ColumnRows, inside: np.ndarray, target: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Return the same of one product of columns (n,)."""
    if columns.moments is None:
        columns = ColumnRows(X=np.column_stack([columns.X, target]))
        B = np.zeros((columns.k, 1))
        B[-1] = 1.0
        return _means(columns, np.append(inside, False), B, constant)[:, 0]
    return _means(columns, inside, columns.combination(target)[:, None], constant)[:, 0]


def _find_factors(X: np.ndarray, among: np.ndarray) -> dict[int, tuple[int, int]]:
    """Find columns that are products of two columns before them, in order; a column may be multiplied with itself."""
    columns = np.flatnonzero(among)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, len(X))  # equal columns have equal sums, others have not
    sums, scale = weights @ X[:, columns], weights @ np.abs(X[:, columns])
    order = np.argsort(sums)
    first, second = np.triu_indices(len(columns))
    products = (X[:, columns].T @ (weights[:, None] * X[:, columns]))[first, second]
    right = np.searchsorted(sums[order], products)
    factors: dict[int, tuple[int, int]] = {}
    for nearest in (order[np.maximum(right - 1, 0)], order[np.minimum(right, len(columns) - 1)]):
        alike = np.abs(sums[nearest] - products) <= SPAN_TOLERANCE * scale[nearest]
        for at in np.flatnonzero(alike & (nearest > second) & (scale[nearest] > 0.0)):
            i, j, k = (int(columns[each]) for each in (first[at], second[at], nearest[at]))
            if np.abs(X[:, i] * X[:, j] - X[:, k]).max() <= ROUNDING * np.abs(X[:, k]).max():
                factors[k] = min((i, j), factors.get(k, (i, j)))  # of several ways the same one at every origin
    return dict(sorted(factors.items()))
