"""Columns of which all rows are here, or some rows with means and covariances over all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-12  # of a square: what a difference of mean squares of a constant leaves


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """What columns are over all rows.

    Attributes
    ----------
    n : int
        Number of rows.
    mean, low, high : array, shape (k,)
        Of each column.
    covariance : array, shape (k, k)
        About the means, divided by the number of rows.
    """

    n: int
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColumnRows:
    """Columns, and what they and combinations of them are on average.

    Attributes
    ----------
    X : array, shape (n, k)
        All rows, or some that show which columns are constant, combinations or products of others.
    moments : Moments, optional
        Of all rows, where X has some.

    Notes
    -----
    Combinations are asked for as XB, with the columns of B.
    """

    X: np.ndarray
    moments: Moments | None = None

    @property
    def k(self) -> int:
        """Number of columns."""
        return self.X.shape[1]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.X) if self.moments is None else self.moments.n

    def take(self, own: np.ndarray | list[int]) -> ColumnRows:
        """Return some of the columns."""
        m = self.moments
        if m is not None:
            covariance = m.covariance[np.ix_(own, own)]
            m = Moments(n=m.n, mean=m.mean[own], low=m.low[own], high=m.high[own], covariance=covariance)
        return ColumnRows(X=self.X[:, own], moments=m)

    def inside(self, rows: np.ndarray, n: int) -> ColumnRows:
        """Return the columns in some of the rows, n of all, outside which they are zero; `rows` is a mask of X's."""
        X, m = self.X[rows], self.moments
        if m is None:
            return ColumnRows(X=X)
        mean = m.mean * (m.n / n)
        covariance = (m.covariance + np.outer(m.mean, m.mean)) * (m.n / n) - np.outer(mean, mean)
        is_constant = (np.ptp(X, axis=0) == 0) & (np.diag(covariance) <= ROUNDING * mean**2)
        covariance[is_constant], covariance[:, is_constant] = 0.0, 0.0
        np.fill_diagonal(covariance, np.maximum(np.diag(covariance), 0.0))
        low, high = (np.where(is_constant, X[0], each) for each in (m.low, m.high))
        return ColumnRows(
            X=X, moments=Moments(n=n, mean=np.where(is_constant, X[0], mean), low=low, high=high, covariance=covariance)
        )

    @property
    def constants(self) -> np.ndarray:
        """Value of each column that has one and the same in all rows (k,), NaN of the others."""
        if self.moments is not None:
            return np.where(self.moments.low == self.moments.high, self.moments.low, np.nan)
        return np.where(np.ptp(self.X, axis=0) == 0, self.X[0], np.nan)

    @property
    def sizes(self) -> np.ndarray:
        """Largest absolute value of each column (k,)."""
        if self.moments is not None:
            return np.maximum(np.abs(self.moments.low), np.abs(self.moments.high))
        return np.abs(self.X).max(axis=0)

    def means(self, B: np.ndarray) -> np.ndarray:
        """Mean of each column of XB."""
        return (self.X @ B).mean(axis=0) if self.moments is None else self.moments.mean @ B

    def sds(self, B: np.ndarray, ddof: int = 0) -> np.ndarray:
        """Return the standard deviation of each column of XB."""
        if self.moments is None:
            return (self.X @ B).std(axis=0, ddof=ddof)
        variances = np.maximum(np.einsum("ia,ij,ja->a", B, self.moments.covariance, B), 0.0)
        return np.sqrt(variances * self.n / (self.n - ddof))

    def root_mean_squares(self, B: np.ndarray) -> np.ndarray:
        """Root mean square of each column of XB."""
        if self.moments is None:
            return np.sqrt(((self.X @ B) ** 2).mean(axis=0))
        return np.sqrt(self.means(B) ** 2 + self.sds(B) ** 2)

    def project(self, inside: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Least-squares coefficients of XB on some of the columns, of a mask (k,)."""
        if self.moments is None:
            return np.linalg.lstsq(self.X[:, inside], self.X @ B, rcond=None)[0]
        squares = self.moments.covariance + np.outer(self.moments.mean, self.moments.mean)
        return np.linalg.solve(squares[np.ix_(inside, inside)], squares[inside] @ B)

    def combination(self, values: np.ndarray) -> np.ndarray:
        """Coefficients b of the columns with Xb nearly `values`, in the rows that are here."""
        size = np.maximum(np.abs(self.X).max(axis=0), np.finfo(float).tiny)
        return np.linalg.lstsq(self.X / size, values, rcond=None)[0] / size
