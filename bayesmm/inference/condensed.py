"""The rows of a fit as what counts levels needs them: as they are, or few that have the sums of all."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bayesmm.arguments import shorten
from bayesmm.errors import ArgumentError, RowsError
from bayesmm.inference.fitted import Fitted
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.problem import Problem


class FewRows(NamedTuple):
    """Rows in which each combination of levels has the sums that it has in all.

    Attributes
    ----------
    problem : Problem
        Of these rows.
    counts, log_weights : arrays, shape (m,), or None
        As of `bayesmm.rows.condensing.Condensed`; None where they are the rows of the model.
    """

    problem: Problem
    counts: np.ndarray | None = None
    log_weights: np.ndarray | None = None


def condense_fit(fit: Fitted, rows: Any, what: str, bar: Bar = SILENT) -> FewRows:
    """Return the rows of a fit if they are in memory, and few in their place if not.

    Parameters
    ----------
    fit : Fit
        With independent residuals where rows are elsewhere.
    rows : path, list, table, FewRows or None
        Where they are, as `bayesmm.scan` takes it; None of rows in memory; or what this returned of them before.
    what : str
        What was asked for, as it is called: ``fit.influence('g', rows='visits/*.parquet')``.
    bar : Bar
        What is told how many rows were read.

    Raises
    ------
    ArgumentError
        If rows are given, and the model has its own.
    RowsError
        If they are not given and needed, or are not those of the model.
    """
    if isinstance(rows, FewRows):
        return rows
    known = fit.design.elsewhere
    if known is None:
        if rows is not None:
            raise ArgumentError(f"rows is {shorten(rows)}, and the model has its rows in memory: leave rows out.")
        return FewRows(fit.problem)
    if fit.design.residual is not None:
        raise RowsError(
            f"This needs the rows, which are in {known.where}, and their residuals have a covariance "
            f"({fit.design.residual.specification.write()}): it is there for models of a data frame."
        )
    if rows is None:
        raise RowsError(
            f"This needs the sums of each level, and the rows are in {known.where}, not in memory: give them once "
            f"more, {what}."
        )
    from bayesmm.rows.condensing import condense
    from bayesmm.rows.scan import scan

    summed = fit.problem.summed
    assert summed is not None
    found = condense(summed, scan(rows), fit.estimate.beta, fit.estimate.modes, bar)
    problem = Problem(found.design, plan=fit.problem.plan, products=fit.problem.products)
    return FewRows(problem, found.counts, found.log_weights)
