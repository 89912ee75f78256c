"""Bootstrap: estimates of many resampled data sets, and what they say of those of the data."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

from bayesmm.arguments import check_count, check_seed, is_one_of, shorten
from bayesmm.design.blocks.labels import Labels
from bayesmm.errors import PACKAGE, ArgumentError, BayesmmWarning
from bayesmm.inference.bootstrap.intervals import IntervalKind, interval_limits
from bayesmm.inference.bootstrap.replicates import BootstrapKind, NamedStatistic, Statistic, make_replicates
from bayesmm.inference.bootstrap.report import build_report
from bayesmm.inference.bootstrap.resampling import LevelSampler
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.likelihood.likelihood import Method
from bayesmm.presenting.intervals import check_level
from bayesmm.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xarray import DataTree

    from bayesmm.plots.canvas import Axes, Figure
    from bayesmm.plots.densities import Density
    from bayesmm.presenting.report import Report

KINDS = ("parametric", "residual", "case")
COLUMNS = ["kind", "group", "estimate", "std_error", "lower", "upper", "bias"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Bootstrap:
    """Estimates of resampled data sets.

    Made by `bayesmm.fit.Fit.bootstrap`.

    Attributes
    ----------
    problem : Problem
        The data that were fitted, with all names.
    method : {"reml", "ml"}
        How they and their replicates were fitted.
    kind : {"parametric", "residual", "case"}
        What was resampled.
    group : str or None
        Whose levels, where levels were.
    seed : int
        Of the random numbers.
    estimates, statistic_estimates : arrays, shapes (m,), (s,)
        From the data, in the order of `draws` and of `statistics`.
    replicates, statistic_replicates : arrays, shapes (n, m), (n, s)
        From the resampled data; NaN where a refit failed, and for a correlation with a standard deviation of zero.
    statistic_names : tuple of str
        Of what the statistic returns.
    acceleration : array, shape (m + s,)
        Of BCa intervals.
    theta : array, shape (n, t)
        Free entries of the relative factors of each replicate, in the likelihood's own coordinates; NaN where there are
        none, as where levels were resampled.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit()
    >>> found = fit.bootstrap(20, seed=1, progress=False)
    >>> found.draws.shape
    (20, 3)
    """

    problem: Problem
    method: Method
    kind: BootstrapKind
    group: str | None
    seed: int
    estimates: np.ndarray
    replicates: np.ndarray
    statistic_names: tuple[str, ...]
    statistic_estimates: np.ndarray
    statistic_replicates: np.ndarray
    acceleration: np.ndarray
    theta: np.ndarray

    @property
    def labels(self) -> Labels:
        """Names of everything."""
        return self.problem.labels

    @property
    def n(self) -> int:
        """Number of replicates, failed ones among them."""
        return len(self.replicates)

    @property
    def failed(self) -> np.ndarray:
        """Which replicates have no estimates (n,): the search did not converge, or there was no maximum."""
        return np.isnan(self.replicates).all(axis=1)

    @property
    def n_failed(self) -> int:
        """How many."""
        return int(self.failed.sum())

    @cached_property
    def draws(self) -> pd.DataFrame:
        """Parameters of each replicate: one row a replicate, one column a parameter; NaN where it failed."""
        names = [row.name for row in self.labels.parameter_rows()]
        return pd.DataFrame(self.replicates, columns=pd.Index(names, name="parameter"), index=self._index)

    @cached_property
    def statistics(self) -> pd.DataFrame:
        """Values of the statistic that was asked for, one row a replicate."""
        names = pd.Index(self.statistic_names, name="statistic")
        return pd.DataFrame(self.statistic_replicates, columns=names, index=self._index)

    @property
    def _index(self) -> pd.RangeIndex:
        return pd.RangeIndex(self.n, name="replicate")

    @cached_property
    def parameters(self) -> pd.DataFrame:
        """One row a parameter: kind, group, estimate, std_error, a 95 % percentile interval (lower, upper), bias."""
        return self.parameter_table()

    def parameter_table(self, *, kind: IntervalKind = "percentile", level: float = 0.95) -> pd.DataFrame:
        """Tabulate all parameters.

        Parameters
        ----------
        kind : {"percentile", "basic", "bca"}
            Of the intervals, see `intervals`.
        level : float
            Their coverage.

        Returns
        -------
        DataFrame
            Index: names of the parameters. Columns: kind, group, estimate (from the data), std_error (standard
            deviation of the replicates), lower, upper, bias (mean of the replicates less the estimate).

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> bootstrap = fit.bootstrap(20, seed=1, progress=False)
        >>> bootstrap.parameter_table().columns.tolist()
        ['kind', 'group', 'estimate', 'std_error', 'lower', 'upper', 'bias']
        """
        return cast(pd.DataFrame, self._table(kind, level).iloc[: len(self.estimates)])

    def intervals(self, kind: IntervalKind = "percentile", level: float = 0.95) -> pd.DataFrame:
        """Intervals for all parameters and statistics.

        Parameters
        ----------
        kind : {"percentile", "basic", "bca"}
            Quantiles of the replicates; those reflected at the estimate; those corrected for bias and acceleration.
        level : float
            Coverage.

        Returns
        -------
        DataFrame
            Index: names. Columns: estimate, lower, upper; NaN where such an interval is not defined.

        Notes
        -----
        Quantiles are those of n + 1 intervals between the ordered replicates (Davison & Hinkley 1997, section 5.2).
        What a basic interval has beyond the range of a parameter, below a standard deviation of zero or beyond a
        correlation of ±1, is cut off. The acceleration of BCa is that of the least favourable family where responses
        were resampled: a sixth of the skewness of the parameters, were they linear in the scores. Where levels were, it
        is that of their influences. BCa is not defined for an estimate on the boundary, nor where all replicates are on
        one side of it.

        References
        ----------
        Efron (1987), J. Am. Stat. Assoc. 82, 171-185. Davison & Hinkley (1997), Bootstrap Methods and their
        Application, Cambridge.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> bootstrap = fit.bootstrap(20, seed=1, progress=False)
        >>> bootstrap.intervals().columns.tolist()
        ['estimate', 'lower', 'upper']
        """
        return cast(pd.DataFrame, self._table(kind, level)[["estimate", "lower", "upper"]])

    def _table(self, kind: IntervalKind, level: float) -> pd.DataFrame:
        if not is_one_of(kind, ("percentile", "basic", "bca")):
            raise ArgumentError(f"kind is {shorten(kind)}: give 'percentile', 'basic' or 'bca'.")
        rows = self.labels.parameter_rows()
        estimates = np.concatenate([self.estimates, self.statistic_estimates])
        values = np.concatenate([self.replicates, self.statistic_replicates], axis=1)
        limits = interval_limits(kind, check_level(level), estimates, values, self.acceleration, self._ranges())
        mean, error = _moments(values)
        columns = {
            "kind": [*(row.kind for row in rows), *("statistic" for _ in self.statistic_names)],
            "group": [*(row.group for row in rows), *(None for _ in self.statistic_names)],
            "estimate": estimates,
            "std_error": error,
            "lower": limits[0],
            "upper": limits[1],
            "bias": mean - estimates,
        }
        names = [*(row.name for row in rows), *self.statistic_names]
        return pd.DataFrame(columns, index=pd.Index(names, name="parameter"), columns=pd.Index(COLUMNS))

    def _ranges(self) -> np.ndarray:
        """Between which values each parameter and statistic may lie (m + s, 2)."""
        ranges = dict.fromkeys(("fixed", "exponent"), (-np.inf, np.inf))
        ranges |= {"sd": (0.0, np.inf), "sigma": (0.0, np.inf), "cor": (-1.0, 1.0)}
        own = [ranges[row.kind] for row in self.labels.parameter_rows()]
        return np.array([*own, *((-np.inf, np.inf) for _ in self.statistic_names)])

    @cached_property
    def densities(self) -> Mapping[str, Density]:
        """Density of the replicates of each parameter and statistic, with the share of those at a limit as ``atoms``.

        By ArviZ's kernel estimate; a standard deviation of zero and a correlation of ±1 are not smoothed.
        """
        from bayesmm.bayes.densities import densities_by_name

        table = self._table("percentile", 0.95)
        values = np.concatenate([self.replicates, self.statistic_replicates], axis=1)
        return densities_by_name(map(str, table.index), table["kind"], values)

    def plot(self, *, kind: IntervalKind = "percentile", level: float = 0.95, ax: Axes | None = None) -> Figure:
        """Draw the density of the replicates of every parameter and statistic, with intervals.

        Parameters
        ----------
        kind : {"percentile", "basic", "bca"}
            Of the intervals.
        level : float
            Their coverage.
        ax : matplotlib.axes.Axes, optional
            To draw into, where there is one parameter.

        Returns
        -------
        matplotlib.figure.Figure
            One panel each: the density, the interval below it, the estimate of the data. Replicates at a limit of the
            parameter, such as a standard deviation of zero, are a thick line with their share beside it.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.
        ArgumentError
            If an argument is none of these.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.bootstrap(20, seed=1, progress=False).plot()
        """
        from bayesmm.plots.canvas import BOOTSTRAP
        from bayesmm.plots.densities import plot_densities

        table = self._table(kind, level)
        what = f"{self.kind} bootstrap, {self.n - self.n_failed} replicates"
        return plot_densities(table, self.densities, BOOTSTRAP, what=what, level=level, ax=ax)

    @cached_property
    def data(self) -> DataTree:
        """The replicates as draws for ArviZ, under the names and coordinates of a posterior.

        Group posterior has one chain; ``draw`` is the number of the replicate, and failed ones are left out: attribute
        ``n_failed`` counts them. There are no random effects: new ones are drawn in each replicate, and estimate
        nothing in the data.
        """
        from bayesmm.inference.bootstrap.tree import build_tree

        return build_tree(self)

    def summary(self, *, kind: IntervalKind = "percentile", level: float = 0.95) -> Report:
        """Summarise for a terminal or a notebook.

        Parameters
        ----------
        kind : {"percentile", "basic", "bca"}
            Of the intervals.
        level : float
            Their coverage.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its tables.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.bootstrap(20, seed=1, progress=False).summary(level=0.9)).splitlines()[0])
        Parametric bootstrap of Reaction ~ Days + (Days | Subject)
        """
        return build_report(self, self._table(kind, level), kind, level)

    def __str__(self) -> str:
        return str(self.summary())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def bootstrap(
    fit: Fitted,
    n: int,
    kind: BootstrapKind,
    statistic: Statistic | None,
    group: str | None,
    seed: int,
    progress: bool | None,
) -> Bootstrap:
    """Refit to resampled data; see `bayesmm.fit.Fit.bootstrap`."""
    n = check_count("n", n, 2)
    if not is_one_of(kind, KINDS):
        raise ArgumentError(f"kind is {shorten(kind)}: give 'parametric', 'residual' or 'case'.")
    if group is not None and kind != "case":
        raise ArgumentError(f"group is {group!r}, but only kind='case' resamples the levels of one factor.")
    seed, named = check_seed(seed), None if statistic is None else NamedStatistic(statistic, fit)
    levels = LevelSampler(fit.design, group) if kind == "case" else None
    made = make_replicates(fit, n, kind, named, levels, seed, progress)
    n_rows = len(fit.labels.parameter_rows())
    on_boundary = np.concatenate([np.zeros(fit.design.p, bool), fit.estimate.public_parameters.on_boundary])[:n_rows]
    made.acceleration[:n_rows][on_boundary] = np.nan
    found = Bootstrap(
        problem=fit.problem,
        method=fit.method,
        kind=kind,
        group=levels and levels.group,
        seed=seed,
        estimates=np.concatenate([fit.estimate.beta, fit.estimate.public_parameters.values])[:n_rows],
        replicates=made.parameters,
        statistic_names=named.names if named else (),
        statistic_estimates=named.estimates if named else np.empty(0),
        statistic_replicates=made.statistics,
        acceleration=made.acceleration,
        theta=made.theta,
    )
    for array in (found.estimates, found.replicates, found.statistic_replicates, found.acceleration, found.theta):
        array.setflags(write=False)
    if found.n_failed:
        warnings.warn(
            f"{found.n_failed} of {n} refits failed: they are NaN in `draws`, and intervals and standard errors are "
            "those of the others.",
            BayesmmWarning,
            skip_file_prefixes=(PACKAGE,),
        )
    return found


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, its NaN left out; NaN where nothing is left."""
    counts = np.isfinite(values).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(counts > 0, np.nansum(values, axis=0) / counts, np.nan)
        error = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / (counts - 1))
    return mean, np.where(counts > 1, error, np.nan)
