"""Rows that are not in memory: what stands in their place, and what is known of them all the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from bayesmm.design.reading.frame import UsedRows
from bayesmm.errors import RowsError

SAME = 1e-9  # of a sum, relative: the order in which rows are added changes less


class Distant:
    """Stands where an array or table of rows would be; whatever is asked of it is refused.

    Parameters
    ----------
    what : str
        What it would be: "the response".
    where : str
        Where the rows are.
    """

    def __init__(self, what: str, where: str) -> None:
        self._what, self._where = what, where

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise RowsError(
            f"This needs {self._what} row by row, and the rows are in {self._where}, not in memory. Fitted values and "
            "residuals go to a file by augment_rows(rows, to='residuals.parquet'), influence by influence_rows, "
            "predictions by predict_rows, a posterior's leave-one-out by loo_rows; what else looks at single rows "
            "needs a model of a data frame, of a part of the rows perhaps."
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python and its libraries ask of every object
            raise AttributeError(name)
        return self._refuse()

    def __repr__(self) -> str:
        return f"<{self._what}, in {self._where}>"

    __hash__ = object.__hash__
    __array__ = __len__ = __iter__ = __getitem__ = __setitem__ = __contains__ = __bool__ = __float__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse  # pyright: ignore[reportAssignmentType]
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __neg__ = __abs__ = __invert__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = _refuse
    __array_ufunc__ = __array_function__ = _refuse


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockMoments:
    """What the effect columns of one grouping factor are over all rows.

    Attributes
    ----------
    mean, low, high : array, shape (k,)
        Of each column.
    covariance : array, shape (k, k)
        About the means, divided by the number of rows.
    weighted : array, shape (k, k)
        Σ w zz' over all levels of all rows.
    stacked : array, shape (k, k)
        Σ zz' over them, in units of the levels' own variances, divided by the number of rows.
    n_rows : array, shape (k,)
        Rows of the levels that have an effect, in which some effect's column is not zero.
    mean_variance : float
        Of the level of a row, where levels are related.
    """

    mean: np.ndarray
    covariance: np.ndarray
    low: np.ndarray
    high: np.ndarray
    weighted: np.ndarray
    stacked: np.ndarray
    n_rows: np.ndarray
    mean_variance: float = 1.0

    def of_effects(self, kept: list[int]) -> BlockMoments:
        """Return those of some of the columns."""
        both = np.ix_(kept, kept)
        return replace(
            self,
            mean=self.mean[kept],
            covariance=self.covariance[both],
            low=self.low[kept],
            high=self.high[kept],
            n_rows=self.n_rows[kept],
            weighted=self.weighted[both],
            stacked=self.stacked[both],
        )

    def times(self, T: np.ndarray) -> BlockMoments:
        """Return those of the columns ZT; of their limits nothing is known then."""
        unknown = np.full(len(T), np.nan)
        return replace(
            self,
            mean=self.mean @ T,
            covariance=T.T @ self.covariance @ T,
            low=unknown,
            high=unknown,
            n_rows=unknown,
            weighted=T.T @ self.weighted @ T,
            stacked=T.T @ self.stacked @ T,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Elsewhere:
    """What is known of rows that are not in memory.

    Attributes
    ----------
    where : str
        Where they are.
    n, n_chunks : int
        How many there are, and in how many chunks they were read.
    kept : UsedRows
        Some of them, in which every level occurs, and the least and greatest value of every column of numbers.
    X : array, shape (m, p_all)
        Columns of the fixed effects in these.
    columns : tuple of array, shape (m, k)
        Columns of each block in these.
    column_means : dict of str to float
        Of the columns of numbers, over all rows.
    few : dict of str to list of float
        Distinct values of columns of numbers that have one or two; empty of others.
    mean, low, high : array, shape (p_all,)
        Of the columns of X.
    covariance : array, shape (p_all, p_all)
        About the means, divided by the number of rows.
    response_mean, response_square : float
        Of the response less its offset, and the sum of its squared distances from the mean.
    weighted_mean, weighted_square : float
        The same with the weights.
    response_low, response_high : float
        Limits of the response less its offset.
    weight_total, inverse_weight : float
        Sum of the weights, and mean of their inverses.
    confounded : tuple of str
        What `bayesmm.design.blocks.confounding.find_confounded` finds.
    n_pairs : dict of (int, int) to int
        How many pairs of levels of two blocks share a row.
    """

    where: str
    n: int
    n_chunks: int
    kept: UsedRows
    X: np.ndarray
    columns: tuple[np.ndarray, ...]
    column_means: Mapping[str, float]
    few: Mapping[str, Sequence[float]]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    covariance: np.ndarray
    response_mean: float
    response_square: float
    weighted_mean: float
    weighted_square: float
    response_low: float
    response_high: float
    weight_total: float
    inverse_weight: float
    confounded: tuple[str, ...]
    n_pairs: Mapping[tuple[int, int], int]

    @property
    def stand_in(self) -> np.ndarray:
        """Rows A, (p_all + 1, p_all), with A'A = X'X."""
        values, vectors = np.linalg.eigh(self.covariance)
        spread = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
        return np.sqrt(self.n) * np.vstack([self.mean, spread])

    @property
    def numbers(self) -> np.ndarray:
        """Sums that rows with other values would hardly have alike, to tell these from others."""
        return np.array([*self.response_numbers, *self.mean, *np.diag(self.covariance)])

    @property
    def response_numbers(self) -> np.ndarray:
        """Those of response and weights alone."""
        response = [self.response_mean, self.response_square, self.weighted_mean, self.weighted_square]
        return np.array([self.n, self.weight_total, *response])

    def equals(self, other: Elsewhere) -> bool:
        """Whether these may be the same rows, by sums over them."""
        mine, theirs = self.numbers, other.numbers
        return mine.shape == theirs.shape and np.allclose(mine, theirs, rtol=SAME, atol=0.0)
