"""Linear combinations of fixed effects as rows of a table: estimates, t or z, intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayesmm.design.design import Design
from bayesmm.inference.fixed.fixed_effects import FixedInference
from bayesmm.inference.fixed.student import t_quantile, two_sided
from bayesmm.presenting.columns import in_order
from bayesmm.presenting.intervals import tails


def contrast_table(of: FixedInference, L: np.ndarray, index: pd.Index, level: float) -> pd.DataFrame:
    """Tabulate Lβ row by row.

    Parameters
    ----------
    of : FixedInference
        Fixed effects with what tests of them need.
    L : array, shape (r, p)
        One combination a row.
    index : pandas.Index
        Names of the rows (r,).
    level : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        Columns estimate, std_error, df, statistic, p_value, lower, upper. p-values are two-sided, of a combination of
        zero; normal quantiles are used where df is infinite.
    """
    columns = contrast_columns(of, L, level)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns["statistic"] = columns["estimate"] / columns["std_error"]
    columns["p_value"] = two_sided(columns["statistic"], columns["df"])
    return pd.DataFrame(in_order(columns), index=index)


def contrast_columns(of: FixedInference, L: np.ndarray, level: float) -> dict[str, np.ndarray]:
    """Work out estimates, standard errors, degrees of freedom and intervals (r,) of Lβ, by their names."""
    estimate = L @ of.beta
    error = np.sqrt(np.maximum(np.einsum("rp,pq,rq->r", L, of.covariance, L), 0.0))
    df = of.df(L)
    half = error * t_quantile(tails(level)[1], df)
    return {"estimate": estimate, "std_error": error, "df": df, "lower": estimate - half, "upper": estimate + half}


def coefficient_table(of: FixedInference, design: Design, level: float) -> pd.DataFrame:
    """One row a column of X, those that are aliased NaN; see `Fit.coefficients`."""
    table = contrast_table(of, np.eye(len(of.beta)), pd.Index(design.labels.coefficients, name="coefficient"), level)
    return table if not design.aliased else table.reindex(pd.Index(design.coefficients, name="coefficient"))
