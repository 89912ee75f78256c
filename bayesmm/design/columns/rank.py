"""Which columns of X carry something that the columns before them do not."""

import numpy as np

from bayesmm.arguments import LARGEST, SMALLEST

_RELATIVE_TO_SD = 1e-7  # keeps calendar years to the third power, drops copies with rounding errors
_RELATIVE_TO_SIZE = 1e-13  # a hundred roundings of the column itself
_PLAIN = 1e-4  # share of a column that the others leave, above which a Gram matrix tells it from nothing


def are_plain(columns: np.ndarray) -> bool:
    """Whether a Gram matrix shows that several columns (n, p) are independent, and of sizes whose squares are numbers.

    The largest entry of a column is at most its norm, and at least that over the root of the number of rows.
    """
    with np.errstate(over="ignore"):  # what is too large is refused by its name
        gram = columns.T @ columns
    sizes = np.sqrt(gram.diagonal())
    if not (SMALLEST * np.sqrt(len(columns)) <= sizes.min() and sizes.max() <= LARGEST):
        return False
    return _are_plainly_independent(gram, sizes)


def independent_columns(X: np.ndarray, weights: np.ndarray, *, has_intercept: bool) -> np.ndarray:
    """Return the indices of the columns that are not combinations of earlier kept ones.

    Parameters
    ----------
    X : array, shape (n, p)
        Fixed-effects columns; the intercept is the first if there is one.
    weights : array, shape (n,)
        Prior weights.
    has_intercept : bool
        Whether the first column is the intercept: the spread of a column is then measured around its mean.

    Returns
    -------
    array of int, shape (rank,)

    Notes
    -----
    A column is dropped if the norm of its residual on the kept earlier columns, rows weighted by √w, does not exceed
    max(1e-7 · norm around the mean, 1e-13 · norm).
    """
    n_rows, n_columns = X.shape
    if n_columns == 0:
        return np.empty(0, dtype=np.intp)
    weighted = X * np.sqrt(weights)[:, None]
    if n_rows > n_columns:
        gram = weighted.T @ weighted
        sizes = np.sqrt(gram.diagonal())
        if sizes.all() and _are_plainly_independent(gram, sizes):
            return np.arange(n_columns)
        triangle = np.linalg.qr(weighted, mode="r")
        residuals = np.abs(np.diag(triangle))
        if (residuals > _limits(triangle, has_intercept)).all():
            return np.arange(n_columns)
    return _one_by_one(weighted, has_intercept)


def _are_plainly_independent(gram: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether a Gram matrix shows it already, which takes a fraction of what the columns themselves take."""
    try:
        root = np.linalg.cholesky(gram / (sizes[:, None] * sizes))
    except np.linalg.LinAlgError:
        return False
    return bool(root.diagonal().min() > _PLAIN)


def _limits(weighted: np.ndarray, has_intercept: bool) -> np.ndarray:
    """Return the norm (p,) up to which a residual counts as nothing; any orthogonal rotation of the rows will do."""
    sizes = np.linalg.norm(weighted, axis=0)
    spreads = sizes
    if has_intercept:
        first = weighted[:, 0] / sizes[0]
        spreads = np.linalg.norm(weighted - np.outer(first, first @ weighted), axis=0)
        spreads[0] = sizes[0]
    return np.maximum(_RELATIVE_TO_SD * spreads, _RELATIVE_TO_SIZE * sizes)


def _one_by_one(weighted: np.ndarray, has_intercept: bool) -> np.ndarray:
    """Gram-Schmidt with a second pass, which skips the columns that leave nothing."""
    limits = _limits(weighted, has_intercept)
    n_rows, n_columns = weighted.shape
    basis = np.empty((n_rows, min(n_rows, n_columns)))
    kept: list[int] = []
    for j in range(n_columns):
        if len(kept) == basis.shape[1]:
            break
        known = basis[:, : len(kept)]
        residual = weighted[:, j] - known @ (known.T @ weighted[:, j])
        residual -= known @ (known.T @ residual)
        size = np.linalg.norm(residual)
        if size > limits[j]:
            basis[:, len(kept)] = residual / size
            kept.append(j)
    return np.array(kept, dtype=np.intp)
