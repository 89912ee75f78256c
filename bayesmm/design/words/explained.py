"""R², ICC and shares of variance as a result: the same rows for point estimates and for draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from bayesmm.presenting.intervals import interval_head
from bayesmm.presenting.numbers import write_intervals, write_like
from bayesmm.presenting.parts import Column, Interval, Table, notes
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from bayesmm.plots.canvas import Figure
    from bayesmm.plots.densities import Density


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Explained:
    """What explains the variance of the response, and how sure that is.

    Made by `Fit.explained` and `Posterior.explained`, with the same rows. Prints as a report.

    Attributes
    ----------
    table : DataFrame
        Index: R2 marginal, R2 conditional, ICC adjusted, ICC unadjusted. Columns of a fit: estimate, std_error, lower,
        upper; of a posterior: mean, sd, lower, upper.
    shares : DataFrame
        Shares of the variance of the response: fixed effects, grouping factors, residual; the same columns.
    formula : str
        Of the model.
    level : float
        Coverage of the intervals.
    remarks : tuple of str
        What is to be known of them.
    densities : mapping of str to Density, optional
        Of a posterior: the density of each row of both tables, as `plot` shows it.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> found = fit.explained()
    >>> print(str(found).splitlines()[0])
    What explains the variance of the response: Reaction ~ Days + (Days | Subject)
    """

    table: pd.DataFrame
    shares: pd.DataFrame
    formula: str
    level: float
    remarks: tuple[str, ...] = ()
    densities: Mapping[str, Density] | None = None

    def plot(self) -> Figure:
        """Draw the shares as parts of one bar, and below it R², ICC and shares with their intervals.

        Returns
        -------
        matplotlib.figure.Figure
            With the density of each quantity's draws, where there are draws.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.explained().plot()
        """
        from bayesmm.plots.shares import plot_shares

        return plot_shares(
            self.shares,
            self.table,
            title="Shares of the variance of the response",
            level=self.level,
            densities=self.densities,
        )

    def report(self) -> Report:
        """Write the report.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.explained().report()).splitlines()[0])
        What explains the variance of the response: Reaction ~ Days + (Days | Subject)
        """
        return Report(
            title=f"What explains the variance of the response: {self.formula}",
            parts=(
                self._write(self.table, "", "explained.table"),
                self._write(self.shares, "Shares of the variance of the response", "explained.shares"),
                notes(self.remarks),
            ),
        )

    def _write(self, table: pd.DataFrame, caption: str, where: str) -> Table:
        centre, spread, lower, upper = (table[name].tolist() for name in table)
        return Table(
            names=[str(name) for name in table.index],
            columns=(
                Column(head=str(table.columns[0]), cells=[*map(write_like, centre, spread)]),
                Column(head=str(table.columns[1]), cells=[*map(write_like, spread, spread)]),
                Interval(head=interval_head(self.level), cells=write_intervals(lower, upper, centre, spread)),
            ),
            caption=caption,
            where=where,
        )

    def __str__(self) -> str:
        return str(self.report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()
