"""Several tests at once: p-values and intervals that hold for all of them together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from bayesmm.arguments import is_one_of
from bayesmm.errors import ArgumentError
from bayesmm.inference.fixed.student import t_quantile, two_sided
from bayesmm.inference.means.simultaneous import LargestT, StudentizedRange, quantile

type Adjust = Literal["none", "tukey", "dunnett", "mvt", "holm", "bonferroni", "sidak", "scheffe", "fdr"]

ADJUSTMENTS = ("none", "tukey", "dunnett", "mvt", "holm", "bonferroni", "sidak", "scheffe", "fdr")
NAMES = {
    "tukey": "Tukey's method for comparing {k} means",
    "dunnett": "Dunnett's method: the multivariate t distribution of {m} tests",
    "mvt": "the multivariate t distribution of {m} tests",
    "holm": "Holm's method for {m} tests, intervals by Bonferroni's",
    "bonferroni": "Bonferroni's method for {m} tests",
    "sidak": "Šidák's method for {m} tests",
    "scheffe": "Scheffé's method, rank {rank}",
    "fdr": "Benjamini and Hochberg's false discovery rate of {m} tests, intervals by Bonferroni's",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """Tests that are looked at together.

    Attributes
    ----------
    statistic, df : array, shape (m,)
        t and its degrees of freedom, all of them known.
    covariance : array, shape (m, m)
        Of what is tested.
    means : int or None
        How many means all their pairs are tested of; None if they are no pairs.
    """

    statistic: np.ndarray
    df: np.ndarray
    covariance: np.ndarray
    means: int | None

    @property
    def m(self) -> int:
        """How many there are."""
        return len(self.statistic)

    @property
    def correlation(self) -> np.ndarray:
        """Their correlations (m, m)."""
        sd = np.sqrt(np.diag(self.covariance))
        return self.covariance / np.outer(sd, sd)

    @property
    def rank(self) -> int:
        """How many of them are independent."""
        return int(np.linalg.matrix_rank(self.correlation, tol=1e-8 * self.m, hermitian=True))


def check_adjust(adjust: object, *, is_pairs: bool) -> None:
    """Refuse an adjustment that is none, or that is not for these tests.

    Raises
    ------
    ArgumentError
        With the value seen.
    """
    if not is_one_of(adjust, ADJUSTMENTS):
        choices = f"{', '.join(map(repr, ADJUSTMENTS[:-1]))} or {ADJUSTMENTS[-1]!r}"
        raise ArgumentError(f"adjust is {adjust!r}: give {choices}.")
    if adjust == "tukey" and not is_pairs:
        raise ArgumentError(
            "adjust is 'tukey', which is for all pairs of means, and these rows are no such pairs: give 'mvt', which "
            "is exact for any rows, or 'holm'."
        )


def adjust_tests(adjust: Adjust, family: Family, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Adjust p-values, and find how many standard errors the intervals reach.

    Parameters
    ----------
    adjust : str
        One of `ADJUSTMENTS`.
    family : Family
        The tests.
    level : float
        Coverage of all intervals together; of each, if there is no adjustment.

    Returns
    -------
    p, reach : arrays, shape (m,)
    """
    m, plain = family.m, two_sided(family.statistic, family.df)
    if _is_alone(adjust, family):
        return plain, t_quantile(0.5 + level / 2.0, family.df)
    if adjust == "tukey":
        assert family.means is not None
        spread = StudentizedRange(family.means)
        return _by_largest(lambda t, df: spread.upper_tail(np.sqrt(2.0) * t, df), family, level)
    if adjust in ("mvt", "dunnett"):
        return _by_largest(LargestT(family.correlation).upper_tail, family, level)
    if adjust == "scheffe":
        return _by_scheffe(family, level)
    if adjust == "sidak":
        return -np.expm1(m * np.log1p(-plain)), t_quantile(0.5 + 0.5 * level ** (1.0 / m), family.df)
    reach = t_quantile(1.0 - (1.0 - level) / (2.0 * m), family.df)
    if adjust == "bonferroni":
        return np.minimum(m * plain, 1.0), reach
    return (_holm if adjust == "holm" else _fdr)(plain), reach


def _is_alone(adjust: Adjust, family: Family) -> bool:
    """Say whether there is nothing to adjust for; Tukey's family are the means, also those that cannot be estimated."""
    return adjust == "none" or family.m == 0 or (family.m == 1 and (adjust != "tukey" or family.means == 2))


def _by_largest(
    upper_tail: Callable[[float, float], float], family: Family, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Take the distribution of the largest |t|; with the df of each row, where they differ."""
    p = np.array([upper_tail(abs(t), df) for t, df in zip(family.statistic, family.df, strict=True)])
    rounded = np.array([float(f"{df:.9g}") for df in family.df])
    values, where = np.unique(rounded, return_inverse=True)
    return p, np.array([quantile(upper_tail, 1.0 - level, df) for df in values])[where]


def _by_scheffe(family: Family, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Take F of all combinations of the tests."""
    r, df = family.rank, family.df
    F, finite = family.statistic**2 / r, np.isfinite(df)
    known = np.where(finite, df, 1.0)
    p = np.where(finite, special.fdtrc(r, known, F), special.chdtrc(r, r * F))
    top = np.where(finite, special.fdtri(r, known, level), special.chdtri(r, 1.0 - level) / r)
    return p, np.sqrt(r * top)


def _holm(p: np.ndarray) -> np.ndarray:
    order = np.argsort(p)
    adjusted = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    return _put_back(np.minimum(adjusted, 1.0), order)


def _fdr(p: np.ndarray) -> np.ndarray:
    order = np.argsort(p)[::-1]
    adjusted = np.minimum.accumulate(len(p) / (len(p) - np.arange(len(p))) * p[order])
    return _put_back(np.minimum(adjusted, 1.0), order)


def _put_back(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    back = np.empty_like(values)
    back[order] = values
    return back


def say_adjust(adjust: Adjust, family: Family) -> str | None:
    """Say in words how tests were adjusted; None if they were not."""
    if _is_alone(adjust, family):
        return None
    return NAMES[adjust].format(m=family.m, k=family.means, rank=family.rank)
