"""Scaled residuals by simulation: where each observation lies among those that the model draws for its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from bayesmm.arguments import is_one_of
from bayesmm.errors import ArgumentError
from bayesmm.inference.diagnostics.envelopes import MOST_NUMBERS
from bayesmm.inference.diagnostics.simulated_sets import draw_sets, monte_carlo_p
from bayesmm.inference.eliminated import eliminate_at
from bayesmm.inference.fitted import Fitted
from bayesmm.presenting.numbers import write_digits, write_p
from bayesmm.presenting.parts import Column, Table, facts, notes
from bayesmm.presenting.report import Report
from bayesmm.problem import FewRows

if TYPE_CHECKING:
    from bayesmm.plots.canvas import Axes, Figure

MEANS = {
    "uniformity": "largest distance of their distribution from a uniform one (Kolmogorov-Smirnov)",
    "dispersion": "standard deviation of the residuals over what the model expects",
    "outliers": "rows more extreme than all simulated ones",
}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SimulatedResiduals:
    """Scaled residuals, uniform between 0 and 1 if the model is right; made by `bayesmm.fit.Fit.simulated_residuals`.

    Attributes
    ----------
    residuals : Series
        One a row, on the labels of the rows.
    tests : DataFrame
        Index: uniformity, dispersion, outliers. Columns: statistic, the central 95 % of it under the model (lower,
        upper), p_value.
    n : int
        Simulated sets.
    random : str
        "none": marginal residuals; "all": conditional ones.
    formula : str
        The model.
    sample : str or None
        Which rows these are, in words, where it is some of them.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> found = fit.simulated_residuals(49, progress=False)
    >>> len(found.residuals)
    180
    """

    residuals: pd.Series
    tests: pd.DataFrame
    n: int
    random: str
    formula: str
    sample: str | None = None

    def plot(self, *, ax: Axes | None = None) -> Figure:
        """Draw the sorted residuals beside uniform quantiles, with the p-values of the tests.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            To draw into.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.simulated_residuals(49, progress=False).plot()
        """
        from bayesmm.plots.residuals import plot_uniform

        found = ", ".join(
            f"{name} {write_p(float(p))}" for name, p in zip(self.tests.index, self.tests["p_value"], strict=True)
        )
        of = f"; {self.sample}" if self.sample else ""
        return plot_uniform(self.residuals, title=f"p: {found}{of}", ax=ax)

    def summary(self) -> Report:
        """Show the tests.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.simulated_residuals(49, progress=False).summary()).splitlines()[0])
        Simulated residuals of Reaction ~ Days + (Days | Subject)
        """
        kind = "marginal residuals" if self.random == "none" else "conditional residuals"
        table, of = self.tests, f" ({self.sample})" if self.sample else ""
        columns = [
            Column(head=name, cells=[write_digits(value) for value in table[name]])
            for name in ("statistic", "lower", "upper")
        ]
        columns.append(Column(head="p", cells=[write_p(value) for value in table["p_value"]]))
        return Report(
            title=f"Simulated residuals of {self.formula}",
            parts=(
                facts((f"{len(self.residuals)} {kind}{of} among those of {self.n} sets that the model draws",)),
                Table(names=list(table.index), columns=columns, where="simulated.tests"),
                notes(
                    (
                        *(f"{name}: {text}." for name, text in MEANS.items()),
                        "lower and upper enclose 95 % of the simulated sets, which are treated as the observed one; p "
                        f"is not below {1 / (self.n + 1):.2g}, however bad the model. The three look at the same rows.",
                    )
                ),
            ),
        )

    def __str__(self) -> str:
        return str(self.summary())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def simulate_residuals(
    fit: Fitted, few: FewRows, n: int, seed: int, random: Literal["none", "all"], progress: bool | None
) -> SimulatedResiduals:
    """Rank each observation among simulated ones; see `Fit.simulated_residuals`."""
    if not is_one_of(random, ("none", "all")):
        raise ArgumentError(f"random is {random!r}: give 'none' (marginal residuals) or 'all' (conditional ones).")
    at, index = eliminate_at(few.problem, fit.estimate), few.problem.design.rows[few.seen]
    m = len(index)
    if isinstance(n, int) and m * (n + 1) > MOST_NUMBERS:
        raise ArgumentError(
            f"n is {n}: with {m:,} rows that would be {m * n:,} numbers, more than the {MOST_NUMBERS:,} that "
            f"are kept. Draw fewer: n={max(MOST_NUMBERS // m - 1, 20)}."
        )
    df = fit.estimate.criterion_function.degrees_of_freedom
    sets = draw_sets(at, n, seed, fit.known_sigma, df, progress)
    looks = (each.marginal if random == "none" else each.conditional for each in sets)
    values = np.concatenate([each[few.seen] for each in looks], axis=1)
    ranks = np.argsort(np.argsort(values, axis=1, kind="stable"), axis=1)  # of the set at each row, 0 to n
    jitter = np.random.default_rng([seed, 1]).random(m)
    places = (np.sort(ranks, axis=0) + 0.5) / (n + 1)
    expected = (np.arange(1, m + 1) - 0.5)[:, None] / m
    spread = np.sqrt((values**2).mean(axis=0))
    ratio = spread / np.sqrt((values**2).mean())  # of all sets alike: ranks stay exact
    extreme = ((ranks == 0) | (ranks == n)).sum(axis=0).astype(float)
    statistics = {"uniformity": np.abs(places - expected).max(axis=0) + 0.5 / m, "dispersion": ratio}
    rows = {name: _test(each) for name, each in statistics.items()}
    rows["dispersion"]["p_value"] = monte_carlo_p(np.abs(np.log(ratio)))
    rows["outliers"] = _test(extreme)
    return SimulatedResiduals(
        residuals=pd.Series((ranks[:, 0] + jitter) / (n + 1), index=index, name="scaled_residual"),
        tests=pd.DataFrame.from_dict(rows, orient="index"),
        n=n,
        random=random,
        formula=fit.design.specification.shown,
        sample=few.say(fit.n),
    )


def _test(statistics: np.ndarray) -> dict[str, float]:
    lower, upper = np.quantile(statistics[1:], (0.025, 0.975))
    return {"statistic": statistics[0], "lower": lower, "upper": upper, "p_value": monte_carlo_p(statistics)}
