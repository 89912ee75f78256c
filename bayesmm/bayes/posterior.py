"""Posterior: draws of one model with their labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from arviz_stats import ELPDData
from xarray import Dataset, DataTree

from bayesmm.arguments import check_count, is_one_of, shorten
from bayesmm.bayes.priors.resolution import ResolvedPriors
from bayesmm.bayes.results.diagnostics import Diagnostics, diagnose
from bayesmm.bayes.results.draws import read_draws
from bayesmm.bayes.results.frames import augment, augment_chunk, glance, level_coefficients
from bayesmm.bayes.results.group_lines import draw_group_lines
from bayesmm.bayes.results.leave_out import Predictive, log_likelihood, loo, loo_pit
from bayesmm.bayes.results.prediction import PredictionKind, add_predictive, posterior_predictive, predict
from bayesmm.bayes.results.recovered import is_kept, read_effects, recover_moments
from bayesmm.bayes.results.sensitivity import sensitivity
from bayesmm.bayes.results.shares import R2Kind, explained, r_squared, share_densities, variance_shares
from bayesmm.bayes.results.simulation import simulate, simulate_to
from bayesmm.bayes.results.summary import build_summary
from bayesmm.bayes.results.tables import largest_effect_r_hat, parameter_table, random_effect_table, stack_parameters
from bayesmm.console import listing, visible
from bayesmm.design.blocks.labels import Labels
from bayesmm.design.design import Design
from bayesmm.design.predictors import IntervalKind, NewLevels, NewResiduals, Random
from bayesmm.design.words.explained import Explained
from bayesmm.design.words.simulated import Effects
from bayesmm.design.words.variances import TITLES, Total
from bayesmm.errors import ArgumentError, VariableError
from bayesmm.habits import POSTERIORS, understands_keywords, understands_names
from bayesmm.presenting.plugin import LABELS, SHOWN, coefficient_frame, statistic
from bayesmm.presenting.progress import progress_bar
from bayesmm.presenting.report import Report
from bayesmm.presenting.tidy import Kind, read_kinds, tidy_frame
from bayesmm.problem import Problem

if TYPE_CHECKING:
    from bayesmm.bayes.results.loo_rows import StreamedLoo
    from bayesmm.plots.canvas import Figure
    from bayesmm.plots.collection import Backend, PlotCollection


@understands_names(POSTERIORS)
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Posterior:
    """Draws from the posterior of one model.

    Made by `bayesmm.Model.sample`.

    Attributes
    ----------
    data : xarray.DataTree
        For ArviZ: posterior, sample_stats, observed_data, constant_data and, unless it was too large, log_likelihood.
    problem : Problem
        Data and names, with the sums that the likelihood takes.
    priors : ResolvedPriors
        The priors in force.
    program : {"marginal", "conditional"}
        Which program was sampled.
    notes : tuple of str
        What was left out or decided on the way.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
    >>> posterior.parameters.index.tolist()
    ['Intercept', 'sd(Intercept | Batch)', 'sigma']
    """

    data: DataTree
    problem: Problem
    priors: ResolvedPriors
    program: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", tuple(map(visible, self.notes)))  # a file's may be anybody's

    @property
    def design(self) -> Design:
        """Data and specification, as labelled arrays."""
        return self.problem.design

    @property
    def labels(self) -> Labels:
        """Names of everything."""
        return self.problem.labels

    @property
    def n(self) -> int:
        """Number of rows used."""
        return self.design.n

    @property
    def method(self) -> str:
        """How the draws were made: "nuts", "importance" or "quadrature"."""
        return self.data["sample_stats"].attrs.get("method", "nuts")

    @property
    def log_evidence(self) -> float | None:
        """Log marginal likelihood log p(y), by importance sampling or quadrature; None after NUTS.

        Of use only where every prior is proper.
        """
        return self.data["sample_stats"].attrs.get("log_evidence")

    @property
    def log_evidence_error(self) -> float | None:
        """Standard error of `log_evidence` by importance sampling, difference between lattices by quadrature."""
        return self.data["sample_stats"].attrs.get("log_evidence_error")

    @property
    def chains(self) -> int:
        """Number of chains."""
        return self.data["posterior"].sizes["chain"]

    def draws(self, name: str, *, progress: bool | None = None) -> np.ndarray:
        """Draws of one variable.

        Parameters
        ----------
        name : str
            "beta", "sigma", "sd_Subject", "cor_Subject", "b_Subject", ...: a variable of ``data["posterior"]``. Random
            effects that were not kept are drawn now, the same each time, from their distribution given the rest.
        progress : bool, optional
            Whether to show a progress bar where effects are drawn; by default where a person can see it.

        Returns
        -------
        array, shape (chains, draws, ...)

        Raises
        ------
        VariableError
            If there is no such variable.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.draws("beta").shape
        (4, 1000, 2)
        """
        variables = self.data["posterior"].data_vars
        names = [block.effect_variable for block in self.labels.blocks]
        if not isinstance(name, str):
            raise VariableError(f"name is {shorten(name)}: give the name of a variable, such as 'beta'.")
        if name not in variables and name in names:
            return self._read_effects(progress)[names.index(name)]
        if name not in variables:
            raise VariableError(f"{name!r} is not a variable of the posterior; there are {listing(variables)}.")
        return variables[name].to_numpy()

    @property
    def beta(self) -> np.ndarray:
        """Draws of the coefficients, shape (chains, draws, p)."""
        if self.labels.coefficients:
            return self.draws("beta")
        return np.zeros((*self.data["sample_stats"]["lp"].shape, 0))

    @property
    def sigma(self) -> np.ndarray:
        """Draws of the residual standard deviation, shape (chains, draws); constant where it is known."""
        if self.priors.known_sigma is None:
            return self.draws("sigma")
        return np.full(self.data["sample_stats"]["lp"].shape, self.priors.known_sigma)

    @property
    def effects(self) -> tuple[np.ndarray, ...]:
        """Draws of the random effects of each grouping factor, shapes (chains, draws, q, k)."""
        return self._read_effects(None)

    def _read_effects(self, progress: bool | None) -> tuple[np.ndarray, ...]:
        draws = read_draws(self)
        return tuple(b.reshape(*draws.shape, *b.shape[1:]) for b in read_effects(self, draws, progress=progress))

    @cached_property
    def parameters(self) -> pd.DataFrame:
        """One row a parameter: kind, group, mean, sd, 95 % interval (lower, upper), r_hat, ess_bulk, ess_tail."""
        return self.parameter_table()

    def parameter_table(self, *, level: float = 0.95) -> pd.DataFrame:
        """Tabulate all parameters.

        Parameters
        ----------
        level : float
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Index: names of the parameters. Columns: kind, group, mean, sd, lower, upper, r_hat, ess_bulk, ess_tail.
            Draws by importance sampling and quadrature are independent: they have no R̂ (NaN), and their effective
            number comes from the weights, the same for every parameter.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.parameter_table(level=0.9).columns.tolist()
        ['kind', 'group', 'mean', 'sd', 'lower', 'upper', 'r_hat', 'ess_bulk', 'ess_tail']
        """
        return parameter_table(self.data, self.labels, level)

    def random_effects(self, *, level: float = 0.95, progress: bool | None = None) -> pd.DataFrame:
        """Tabulate the random effects.

        Parameters
        ----------
        level : float
            Probability of the equal-tailed intervals.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        DataFrame
            One row per level and effect: group, level, effect, mean, sd, lower, upper. Unlike a BLUP's, these spreads
            carry the uncertainty of the variances. Limits are quantiles; where draws were not kept, those of a normal
            distribution.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.random_effects().columns.tolist()
        ['group', 'level', 'effect', 'mean', 'sd', 'lower', 'upper']
        """
        data = self.data
        if not is_kept(self) and not {"quadrature", "random_effects"} & set(data.children):
            if "_moments" not in self.__dict__:
                self.__dict__["_moments"] = recover_moments(self, progress)
            kept = data["posterior"].to_dataset()
            data = DataTree.from_dict({"posterior": kept, "random_effects": self.__dict__["_moments"]})
        return random_effect_table(data, self.labels, level)

    def tidy(
        self,
        effects: Kind | Sequence[Kind] = ("fixed", "ran_pars"),
        *,
        level: float = 0.95,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Return the results as one plain frame, a row a term, in the sense of R's broom.

        Parameters
        ----------
        effects : {"fixed", "ran_pars", "ran_vals", "ran_coefs"} or sequence of these
            Fixed effects; standard deviations, correlations and σ; random effects of every level; coefficients of every
            level, fixed plus random effect, where both have the same name.
        level : float
            Probability of the equal-tailed intervals.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        DataFrame
            The columns of `Fit.tidy`, so that both can be stacked: ``estimate`` is the posterior mean and ``std_error``
            the posterior standard deviation; df, statistic and p_value are NaN. Then r_hat, ess_bulk and ess_tail, of
            parameters.

        Raises
        ------
        ArgumentError
            If an argument is none of these.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.tidy("fixed")["term"].tolist()
        ['Intercept', 'Days']
        """
        kinds = read_kinds(effects)
        by_level = {
            "ran_vals": lambda: self.random_effects(level=level, progress=progress),
            "ran_coefs": lambda: level_coefficients(self, level, progress),
        }
        return tidy_frame(kinds, self.parameter_table(level=level), by_level)

    def glance(self, *, elpd: bool = False, progress: bool | None = None) -> pd.DataFrame:
        """Return a frame of one row that says what the posterior is like as a whole.

        Parameters
        ----------
        elpd : bool
            Whether rows are left out too, as by `loo`.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        DataFrame
            nobs; ``n_levels(g)`` of each grouping factor; method; posterior means of sigma and of r2_marginal,
            r2_conditional and icc (adjusted) of `explained`; converged (nothing speaks against the draws), chains,
            draws, divergences, the largest r_hat, the smallest ess; with `elpd` elpd_loo, elpd_loo_std_error, p_loo.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.glance()[["nobs", "method"]].to_numpy().tolist()
        [[180, 'quadrature']]
        """
        return glance(self, self.method, self.diagnostics, elpd=elpd, progress=progress)

    def augment(
        self, data: pd.DataFrame | None = None, *, level: float = 0.95, progress: bool | None = None
    ) -> pd.DataFrame:
        """Return the data with what the posterior says of each row.

        Parameters
        ----------
        data : pandas.DataFrame, optional
            The data that the model was given, to have columns that it does not use too. Rows that were left out have
            NaN. By default the columns and rows that the model uses.
        level : float
            Probability of the equal-tailed intervals.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        DataFrame
            With .fitted (posterior mean of the expected response), .fixed (the same of the fixed effects alone),
            .residual (response less .fitted), and .std_error, .lower, .upper of .fitted.

        Raises
        ------
        ArgumentError
            If the data are not those of the model, or have one of these columns.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.augment(progress=False).shape
        (180, 9)
        """
        return augment(self, data, level, progress)

    def augment_rows(
        self, rows: Any, to: str | os.PathLike[str], *, level: float = 0.95, progress: bool | None = None
    ) -> Path:
        """Write rows that are read chunk by chunk to a Parquet file, with what the posterior says of each.

        Parameters
        ----------
        rows : path, list, or data frame
            What `bayesmm.scan` takes, with the response: files, folders, lazy frames, also those that the model was
            made of.
        to : path
            A file, if it ends in ``.parquet``, else a folder of such files; it is complete, or not there.
        level : float
            Probability of the equal-tailed intervals.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        pathlib.Path
            Where they are: all columns of the rows, then those that `augment` adds; missing where a row is not
            complete.

        Raises
        ------
        RowsError
            If a chunk cannot be read or predicted; it is named.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> data = bmm.datasets.load("sleepstudy")
        >>> posterior = bmm.Model("Reaction ~ Days + (Days | Subject)", data).sample(progress=False)  # doctest: +SKIP
        >>> posterior.augment_rows("visits/*.parquet", to="residuals.parquet")  # doctest: +SKIP
        """
        from bayesmm.rows.predicting import predict_rows

        with progress_bar("writing rows", None, progress) as bar:
            return predict_rows(lambda frame: augment_chunk(self, frame, level), rows, to, bar)

    @understands_keywords
    def predict(
        self,
        new_data: Any = None,
        *,
        interval: IntervalKind | None = None,
        kind: PredictionKind = "mean",
        random: Random = "all",
        new_levels: NewLevels = "error",
        residuals: NewResiduals = "none",
        level: float = 0.95,
        weights: Any = None,
        seed: int = 0,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Predict the expected response, or new observations.

        Parameters
        ----------
        new_data : data frame, optional
            Rows to predict; the rows of the fit by default.
        interval : {"confidence", "prediction"}, optional
            The words of `Fit.predict` for what `kind` says: "confidence" is of the expected response, "prediction" of
            an observation. It goes before `kind`.
        kind : {"mean", "observation"}
            Whether the spread and the interval are those of the expected response, or of an observation with its
            residual.
        random : {"all", "none"} or list of str
            Grouping factors whose effects are included.
        new_levels : {"error", "population", "sample"}
            Levels that the fit has not seen are refused, predicted with effects of zero, or predicted with effects
            drawn from the distribution of effects in each draw.
        residuals : {"none", "conditional"}
            Whether what each draw leaves of a group's rows counts for its new rows where ``residual=`` correlates them,
            as in `Fit.predict`; brms's ``incl_autocor``.
        level : float
            Probability of the equal-tailed intervals.
        weights : number or array, optional
            Prior weights of the new rows, for observations of a model with weights. By default those of the columns
            that the model's weights were given by, if `new_data` has them.
        seed : int
            For what is drawn.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        DataFrame
            Columns mean, sd, lower, upper, in units of the response; aligned with `new_data`, NaN in rows with missing
            values.

        Raises
        ------
        PredictionError
            If a level is new, or the columns of `new_data` do not suit the model.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.predict().columns.tolist()
        ['mean', 'sd', 'lower', 'upper']
        >>> posterior.predict(interval="prediction", seed=1).shape
        (180, 4)
        """
        return predict(
            self,
            new_data,
            interval=interval,
            kind=kind,
            random=random,
            new_levels=new_levels,
            residuals=residuals,
            level=level,
            weights=weights,
            seed=seed,
            progress=progress,
        )

    def predict_rows(self, rows: Any, to: str | os.PathLike[str], *, progress: bool | None = None, **how: Any) -> Path:
        """Predict rows that are read chunk by chunk, and write them with their predictions to a Parquet file.

        Parameters
        ----------
        rows : path, list, or data frame
            What `bayesmm.scan` takes: files, folders, lazy frames, also those that the model was made of.
        to : path
            A file, if it ends in ``.parquet``; else a folder, of one file for each part of the rows: workers of a
            cluster write theirs themselves. It is complete, or not there.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.
        **how
            As `predict` takes them.

        Returns
        -------
        pathlib.Path
            Where they are: all columns of the rows, then ``predicted`` or the columns of an interval.

        Raises
        ------
        RowsError
            If a chunk cannot be read or predicted; it is named.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> data = bmm.datasets.load("sleepstudy")
        >>> posterior = bmm.Model("Reaction ~ Days + (Days | Subject)", data).sample(progress=False)  # doctest: +SKIP
        >>> posterior.predict_rows("visits/*.parquet", to="predictions.parquet")  # doctest: +SKIP
        """
        from bayesmm.rows.predicting import predict_rows

        with progress_bar("predicting rows", None, progress) as bar:
            return predict_rows(lambda frame: self.predict(frame, progress=False, **how), rows, to, bar)

    def group_lines(
        self,
        x: str | None = None,
        group: str | None = None,
        levels: Sequence[str] | None = None,
        *,
        level: float = 0.95,
        rows: Any = None,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Tabulate the lines of the levels of a grouping factor: not pooled, partially and completely pooled.

        Parameters
        ----------
        x : str, optional
            Column that lines are over, of the fixed part or of the random effects of the factor, a number or a factor.
            By default the first number with random effects, the first number, the first factor; with no columns, the
            number of the row within its level.
        group : str, optional
            Grouping factor, of one level a row; by default the first.
        levels : sequence of str, optional
            Which levels. By default all of up to 20, otherwise 20 evenly over the ranking by the mean of the random
            part over the rows of a level, the highest first.
        level : float
            Probability of the intervals.
        rows : path, list, or data frame, optional
            Where the rows of the model are, as `bayesmm.scan` takes it, if they are not in memory; they are read once
            or twice, and those of the levels are kept.
        progress : bool, optional
            Whether to show a progress bar where random effects were not kept and are drawn; by default where a person
            can see it.

        Returns
        -------
        DataFrame
            level, x, unpooled, complete, estimate, lower, upper; in units of the response.

        Raises
        ------
        ArgumentError
            If an argument suits nothing in the model.
        RowsError
            If rows that are not in memory are not given, are not those of the model, or are more than 2,000,000 of
            these levels.

        Notes
        -----
        estimate: posterior mean, with quantiles of the draws. complete: fixed effects and offset. unpooled: with them,
        least squares on the level's own rows of its random-effects columns, all else at posterior means, as in
        `bayesmm.shrinkage`; NaN beyond its own rows, and where these do not determine it. A model without random slopes
        therefore has own lines that are parallel. All other columns are held at values of the level's own rows: factors
        at the most frequent one, numbers at that nearest the mean. Effects of other grouping factors come in where all
        rows of a level share theirs, as in nested factors, and are zero otherwise.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.group_lines(levels=["308"]).columns.tolist()
        ['level', 'x', 'unpooled', 'complete', 'estimate', 'lower', 'upper']
        """
        return draw_group_lines(self, x=x, group=group, levels=levels, level=level, rows=rows, progress=progress).frame

    def plot_groups(
        self,
        x: str | None = None,
        group: str | None = None,
        levels: Sequence[str] | None = None,
        *,
        level: float = 0.95,
        rows: Any = None,
        progress: bool | None = None,
    ) -> Figure:
        """Draw the data of each level with its lines: not pooled, partially and completely pooled.

        Parameters
        ----------
        x, group, levels, level, rows, progress
            As in `group_lines`, whose table is drawn.

        Returns
        -------
        matplotlib.figure.Figure
            A small panel a level. The title says which levels are shown where not all are.

        Raises
        ------
        ArgumentError
            If an argument suits nothing in the model.
        RowsError
            As of `group_lines`.
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> figure = posterior.plot_groups(levels=["308", "309"])
        """
        from bayesmm.design.words.group_lines import plot_group_lines

        lines = draw_group_lines(self, x=x, group=group, levels=levels, level=level, rows=rows, progress=progress)
        return plot_group_lines([("posterior", lines)])

    def posterior_predictive(
        self,
        new_data: Any = None,
        *,
        random: Random = "all",
        new_levels: NewLevels = "error",
        residuals: NewResiduals = "none",
        weights: Any = None,
        seed: int = 0,
        draws: int | None = None,
        progress: bool | None = None,
    ) -> DataTree:
        """Draw new observations, one for each draw and row.

        Parameters
        ----------
        new_data, random, new_levels, residuals, weights, seed, progress
            As in `predict`.
        draws : int, optional
            How many draws to use at most, equally spaced; all by default.

        Returns
        -------
        xarray.DataTree
            Group posterior_predictive with the variable ``y`` (chain, draw, obs); for the rows of the fit also
            observed_data, as ArviZ's plots of predictive checks need it.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.posterior_predictive(draws=200, seed=1)["posterior_predictive"]["y"].sizes["obs"]
        180
        """
        return posterior_predictive(
            self,
            new_data,
            random=random,
            new_levels=new_levels,
            residuals=residuals,
            weights=weights,
            seed=seed,
            draws=draws,
            progress=progress,
        )

    def simulate(
        self, n: int = 1, *, random: Effects = "redrawn", seed: int = 0, progress: bool | None = None
    ) -> pd.DataFrame:
        """Draw responses for the rows used, each from another draw of all parameters.

        Parameters
        ----------
        n : int
            How many, at most as many as there are draws.
        random : {"redrawn", "kept"}
            Whether each simulation draws new random effects from the covariances of its draw, as if for other levels;
            or keeps the effects of its draw, those of the levels that were observed, as `posterior_predictive` does.
        seed : int
            The same seed gives the same numbers; with more simulations the first ones stay.
        progress : bool, optional
            Whether to show a progress bar where effects were not kept and are drawn; by default where a person can see
            it.

        Returns
        -------
        DataFrame
            One row for each row used, with its label; columns 0, 1, ..., n − 1; in units of the response.

        Raises
        ------
        ArgumentError
            If an argument is out of its range.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.simulate(3, seed=1).shape
        (180, 3)
        """
        return simulate(self, n, random, seed, progress)

    def simulate_rows(
        self,
        rows: Any,
        to: str | os.PathLike[str],
        n: int = 1,
        *,
        random: Effects = "redrawn",
        seed: int = 0,
        progress: bool | None = None,
    ) -> Path:
        """Write rows that are read chunk by chunk to a Parquet file, with responses that the model draws for them.

        Parameters
        ----------
        rows : path, list, or data frame
            The rows that the model was made of, all of them, as `bayesmm.scan` takes them.
        to : path
            Ends in ``.parquet``. It is complete, or not there.
        n, random, seed
            As of `simulate`, which draws the same numbers for rows in memory, however they are read.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        pathlib.Path
            Where they are: all columns of the rows, then ``simulated_0``, ``simulated_1``, ...; missing where a row is
            not complete.

        Raises
        ------
        ArgumentError
            If an argument is out of its range.
        RowsError
            If the rows cannot be read, or are not those of the model; or if residuals have a covariance.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.simulate_rows("visits/*.parquet", to="simulated.parquet", seed=1)  # doctest: +SKIP
        """
        return simulate_to(self, rows, to, n, random, seed, progress)

    def with_predictive(self, *, seed: int = 0, progress: bool | None = None) -> Posterior:
        """Return the same posterior with a group posterior_predictive in its data.

        Parameters
        ----------
        seed : int
            For the residuals.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        Posterior
            Its ``data`` has the group beside the others.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> "posterior_predictive" in posterior.with_predictive(seed=1).data.children
        True
        """
        return replace(self, data=add_predictive(self, seed=seed, progress=progress))

    def log_likelihood(
        self,
        of: str = "row",
        predictive: Predictive = "auto",
        *,
        draws: int | None = None,
        rows: Any = None,
        progress: bool | None = None,
    ) -> DataTree:
        """Evaluate how well the other data predict each row or group, draw by draw.

        Parameters
        ----------
        of : str
            "row", or a grouping factor whose levels are left out one at a time, with all their rows, or another column
            that the model uses: a visit of all patients at once. One that is called row is written in backquotes,
            "`row`".
        predictive : {"auto", "marginal", "conditional"}
            "marginal": log p(y_g | y₋g, θ) with θ the standard deviations, correlations, sigma and any coefficients
            whose prior is neither flat nor normal; all else is integrated out, in closed form. "conditional":
            log p(y_g | β, b, σ), given the random effects. "auto" is marginal, but where the residual variance changes
            with the fitted value: of rows conditional there.
        draws : int, optional
            How many draws to use at most, equally spaced; all by default.
        rows : path, list, or data frame, optional
            Where the rows are, as `bayesmm.scan` takes it, if they are not in memory and groups of residuals with a
            covariance are left out. Levels of other factors need none; rows are left out by `loo_rows`.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        xarray.DataTree
            Groups log_likelihood (``y``) and posterior (the parameters), for `arviz.loo`.

        Raises
        ------
        BayesmmError
            If there is no such group, the numbers would be too many, or nothing predicts what is left out.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.log_likelihood("Subject", progress=False)["log_likelihood"]["y"].sizes["Subject"]
        18
        """
        return log_likelihood(self, of, predictive, draws, progress, rows)

    def loo(
        self,
        of: str = "row",
        predictive: Predictive = "auto",
        *,
        draws: int | None = None,
        rows: Any = None,
        progress: bool | None = None,
    ) -> ELPDData:
        """Estimate the expected log predictive density of rows or groups that are left out.

        Parameters
        ----------
        of, predictive, draws, rows, progress
            As in `log_likelihood`.

        Returns
        -------
        arviz.ELPDData
            For `arviz.compare`; ``elpd_i`` and ``pareto_k`` are labelled by rows or levels.

        Notes
        -----
        p(θ | y) ∝ p(θ | y₋g) p(y_g | y₋g, θ), so that weights 1 / p(y_g | y₋g, θ) turn draws given all data into
        draws given the others. Both kinds estimate the same quantity; with "marginal" only a few parameters are
        weighted, and the weights vary little.

        References
        ----------
        Vehtari, Gelman & Gabry (2017), Statistics and Computing 27. Vehtari, Mononen, Tolvanen, Sivula & Winther
        (2016), JMLR 17(103).

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> int(posterior.loo("Subject", progress=False).n_data_points)
        18
        """
        return loo(self, of, predictive, draws, progress, rows)

    def loo_rows(
        self,
        rows: Any,
        to: str | os.PathLike[str] | None = None,
        *,
        predictive: Predictive = "auto",
        draws: int | None = None,
        progress: bool | None = None,
    ) -> StreamedLoo:
        """Leave out each row, of rows that are read chunk by chunk: in bounded memory, whatever their number.

        Parameters
        ----------
        rows : path, list, or data frame
            The rows that the model was made of, all of them, as `bayesmm.scan` takes them.
        to : path, optional
            Ends in ``.parquet``: the columns of the rows are written there with ``elpd_loo``, ``p_loo`` and
            ``pareto_k`` of each, missing where a row is not complete. It is complete, or not there.
        predictive, draws
            As in `log_likelihood`. Every draw is evaluated for some rows at a time, 5,000,000 numbers together; with
            many levels some hundred draws keep that short.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        StreamedLoo
            ``elpd``, ``se``, ``p`` and counts of Pareto's k, those of `loo`; prints as a table.

        Raises
        ------
        RowsError
            If a chunk cannot be read, or the rows are not those of the model.
        PredictionError
            If a coefficient with a flat prior is not determined without some row.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> data = bmm.datasets.load("sleepstudy")
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.scan(data))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.loo_rows(data, draws=400, progress=False).n_data_points
        180
        """
        from bayesmm.bayes.results.loo_rows import loo_rows

        with progress_bar("leaving out rows", self.n, progress) as bar:
            return loo_rows(self, rows, to, predictive, draws, bar)

    def loo_pit(self, *, draws: int | None = None, progress: bool | None = None) -> DataTree:
        """Evaluate the predictive distribution function of each row, given the others, at what was observed.

        Parameters
        ----------
        draws : int, optional
            How many draws to use at most, equally spaced; all by default.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        xarray.DataTree
            Group loo_pit with the variable ``y`` (obs): uniform between 0 and 1 if the model is right, for
            ``arviz.plot_ecdf_pit(tree, group="loo_pit", sample_dims=["obs"])``.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.loo_pit(progress=False)["loo_pit"]["y"].sizes["obs"]
        180
        """
        return loo_pit(self, draws, progress)

    def r2(self, *, kind: R2Kind = "fitted", progress: bool | None = None) -> Dataset:
        """Evaluate the R² of each draw.

        Parameters
        ----------
        kind : {"fitted", "variances"}
            What the random effects explain: in "fitted" the variance over the rows of the fitted values of the observed
            levels (Gelman's Bayesian R²); in "variances" the variance that the draw gives to levels (Nakagawa &
            Schielzeth's R², as of `Fit.explained`).
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        xarray.Dataset
            ``marginal``: what fixed effects explain of the variance for new levels, the same in both kinds;
            ``conditional``: what fixed and random effects explain; each (chain, draw).

        Notes
        -----
        Variance of the explained part over the rows, over itself and the variance that the draw leaves unexplained:
        σ² (its mean over the rows, with weights), and for ``marginal`` also that of the random effects. A known offset
        is neither.

        References
        ----------
        Gelman, Goodrich, Gabry & Vehtari (2019), The American Statistician 73(3). Nakagawa & Schielzeth (2013), Methods
        Ecol. Evol. 4.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> list(posterior.r2())
        ['marginal', 'conditional']
        """
        return r_squared(self, kind, progress)

    def explained(self, *, level: float = 0.95) -> Explained:
        """Say what explains the variance of the response: R², ICC, and shares.

        Parameters
        ----------
        level : float
            Probability of the equal-tailed intervals.

        Returns
        -------
        Explained
            The rows of `Fit.explained`, worked out draw by draw: ``table`` and ``shares`` with the columns mean, sd,
            lower, upper. Prints as a report.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.explained().table.index.tolist()
        ['R2 marginal', 'R2 conditional', 'ICC adjusted', 'ICC unadjusted']
        """
        return explained(self, level)

    def variance_shares(self, *, total: Total = "unexplained", level: float = 0.95) -> pd.DataFrame:
        """Tabulate which share of the variance each grouping factor and the residual have.

        Parameters
        ----------
        total : {"unexplained", "response"}
            Of the variance that fixed effects leave, or of all of it, with a row for the fixed effects.
        level : float
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Index: grouping factors, "residual". Columns: mean, sd, lower, upper. With one random intercept its share is
            the intraclass correlation.

        Notes
        -----
        The variance of a grouping factor is z'Σz averaged over the rows, so that slopes count where they were measured.

        References
        ----------
        Nakagawa & Schielzeth (2013), Methods Ecol. Evol. 4. Johnson (2014), Methods Ecol. Evol. 5.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.variance_shares().index.tolist()
        ['Subject', 'residual']
        """
        return variance_shares(self, total, level)

    def plot_variance_shares(self, *, total: Total = "unexplained", level: float = 0.95) -> Figure:
        """Draw which share of the variance each grouping factor and the residual have.

        Parameters
        ----------
        total, level
            As in `variance_shares`.

        Returns
        -------
        matplotlib.figure.Figure
            One bar that the mean shares divide, and each with its density and interval.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> figure = posterior.plot_variance_shares()
        """
        from bayesmm.plots.shares import plot_shares

        shares = self.variance_shares(total=total, level=level)
        return plot_shares(shares, title=TITLES[total], level=float(level), densities=share_densities(self, total))

    def plot_priors(self) -> Figure:
        """Draw every prior in force with the posterior density of what it is about.

        Returns
        -------
        matplotlib.figure.Figure
            One small panel for each row of the parameter table, both densities on one scale, over the posterior and not
            far beyond. Where a prior is about something else than the parameter (the intercept at the means of the
            covariates, a share of the variance), the panel says so and its draws are of that. Improper priors are
            dashed, of arbitrary height.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> figure = posterior.plot_priors()
        """
        from bayesmm.bayes.priors.prior_curves import build_curves
        from bayesmm.plots.priors import plot_priors

        draws = stack_parameters(self.data, self.labels)
        return plot_priors(build_curves(self.priors, self.design, draws=draws.reshape(-1, draws.shape[-1])))

    def plot_predictive(
        self,
        *,
        kind: Literal["kde", "ecdf", "hist"] = "kde",
        draws: int = 50,
        seed: int = 0,
        backend: Backend = "matplotlib",
        progress: bool | None = None,
    ) -> PlotCollection:
        """Draw the observed responses over responses that the posterior predicts for the same rows, with ArviZ.

        Parameters
        ----------
        kind : {"kde", "ecdf", "hist"}
            How each set of responses is drawn.
        draws : int
            How many predicted sets.
        seed : int
            Of what is drawn, as in `posterior_predictive`.
        backend : {"matplotlib", "plotly", "bokeh", "none"}
            What draws; "none" returns what would be drawn.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        arviz_plots.PlotCollection
            ``show()`` and ``savefig(path)``; ``viz`` has the figure.

        Raises
        ------
        ArgumentError
            If an argument is none of these.
        BayesmmError
            If the backend is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> collection = posterior.plot_predictive(draws=20, backend="none")
        """
        from bayesmm.plots.collection import import_arviz_plots, plot_predictive

        import_arviz_plots(backend)
        if not is_one_of(kind, ("kde", "ecdf", "hist")):
            raise ArgumentError(f"kind is {shorten(kind)}: give 'kde', 'ecdf' or 'hist'.")
        draws = check_count("draws", draws, 1)
        tree = self.posterior_predictive(seed=seed, draws=draws, progress=progress)
        return plot_predictive(tree, response=self.design.specification.response, kind=kind, backend=backend)

    def plot_pit(
        self, *, draws: int | None = None, backend: Backend = "matplotlib", progress: bool | None = None
    ) -> PlotCollection:
        """Draw how far the distribution of `loo_pit` is from uniform, with ArviZ and its test of that.

        Parameters
        ----------
        draws : int, optional
            How many draws to use at most, equally spaced; all by default.
        backend : {"matplotlib", "plotly", "bokeh", "none"}
            What draws; "none" returns what would be drawn.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        arviz_plots.PlotCollection
            The distribution function of the rows' probabilities less the uniform one: near zero if the model is right.

        Raises
        ------
        ArgumentError
            If an argument is none of these.
        BayesmmError
            If the backend is not installed.

        References
        ----------
        Säilynoja, Bürkner & Vehtari (2022), Statistics and Computing 32.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> collection = posterior.plot_pit(draws=200, backend="none")
        """
        from bayesmm.plots.collection import import_arviz_plots, plot_pit

        import_arviz_plots(backend)
        pit = self.loo_pit(draws=draws, progress=progress)
        return plot_pit(pit, response=self.design.specification.response, backend=backend)

    def sensitivity(self, *, threshold: float = 0.05, progress: bool | None = None) -> pd.DataFrame:
        """Measure how the posterior moves when the prior or the likelihood is made a little stronger or weaker.

        Parameters
        ----------
        threshold : float
            From which value on a parameter counts as sensitive.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        DataFrame
            Index: names of the parameters. Columns: prior, likelihood (sensitivities), has_prior (whether the parameter
            has a prior that is not flat), diagnosis, advice.

        Raises
        ------
        PriorError
            If all priors are flat: nothing can be scaled.

        Notes
        -----
        Density to the power α near 1, by importance sampling. The prior is that of all parameters together, without the
        distribution of the random effects, which belongs to the model. The likelihood is that of all data given the
        parameters, random effects integrated out: then the two make up the whole density of the parameters.

        References
        ----------
        Kallioinen, Paananen, Bürkner & Vehtari (2024), Statistics and Computing 34.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.sensitivity(progress=False).columns.tolist()
        ['prior', 'likelihood', 'has_prior', 'diagnosis', 'advice']
        """
        return sensitivity(self, threshold, progress)

    @cached_property
    def diagnostics(self) -> Diagnostics:
        """Divergences, R̂, effective sample sizes, with advice."""
        # Effects of the marginal program are independent draws given parameters that are checked themselves.
        effects = largest_effect_r_hat(self.data, self.labels) if self.program == "conditional" else (1.0, "")
        return diagnose(self.data, self.parameters, stack_parameters(self.data, self.labels), effects)

    def save(self, path: str | os.PathLike[str], *, progress: bool | None = None) -> Path:
        """Write draws, data, formula and priors to a file, for `bayesmm.load` and for ArviZ.

        Parameters
        ----------
        path : path
            Ends in ``.nc`` (netCDF, one file) or ``.zarr`` (Zarr, a folder). A posterior saved there before is
            replaced.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        pathlib.Path
            Where it is.

        Raises
        ------
        StorageError
            For another ending, a folder that is not there, a package that is not installed (h5netcdf or zarr), or
            whatever the disk says. The posterior is as it was then, and so is a file that was there before.

        Notes
        -----
        Nothing is pickled. Of the data only the columns and rows that the model used are stored. The file is complete
        or not there: it is written beside its place, and moved when all of it is on the disk. It has checksums of all
        that is in it.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> import tempfile, pathlib
        >>> path = posterior.save(pathlib.Path(tempfile.mkdtemp()) / "posterior.nc")
        >>> bool((bmm.load(path).sigma == posterior.sigma).all())
        True
        """
        from bayesmm.bayes.files.storage import save

        with progress_bar("writing", None, progress):
            return save(self, path)

    def summary(self, *, level: float = 0.95) -> Report:
        """Summarise the posterior for a terminal or a notebook.

        Parameters
        ----------
        level : float
            Probability of the equal-tailed intervals.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> print(str(posterior.summary(level=0.9)).splitlines()[0])
        Posterior of Reaction ~ Days + (1 | Subject)
        """
        table = self.parameter_table(level=level)
        return build_summary(self, table, self.diagnostics, origin=self.origin, remarks=self.notes, level=float(level))

    @property
    def origin(self) -> str:
        """How the draws were made, in words."""
        draws = self.data["posterior"].sizes["draw"]
        if self.method == "nuts":
            return f"{self.chains} chains of {draws} draws, {self.program} program"
        if self.method == "importance":
            return f"{self.chains * draws} draws by importance sampling, {self.program} program"
        return f"quadrature over the covariance parameters, with {self.chains * draws} draws, {self.program} program"

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        return coefficient_frame(self.tidy("fixed"))

    @cached_property
    def _glanced(self) -> pd.DataFrame:
        return self.glance()

    def __maketables_stat__(self, key: str) -> Any:
        return statistic(self._glanced, key)

    @property
    def __maketables_depvar__(self) -> str:
        return self.design.response

    @property
    def __maketables_stat_labels__(self) -> dict[str, str]:
        levels = {f"n_levels({block.group})": f"N {block.group}" for block in self.design.blocks}
        return LABELS | levels

    @property
    def __maketables_default_stat_keys__(self) -> list[str]:
        return [SHOWN[0], *(f"n_levels({block.group})" for block in self.design.blocks), *SHOWN[1:]]

    def __str__(self) -> str:
        return str(self.summary())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()
