"""Posterior: draws of one model with their labels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from xarray import DataTree

from bayesmm.bayes.diagnostics import Diagnostics, diagnose
from bayesmm.bayes.prediction import predict
from bayesmm.bayes.resolution import ResolvedPriors
from bayesmm.bayes.tables import largest_effect_r_hat, parameter_table, random_effect_table
from bayesmm.design.design import Design
from bayesmm.design.labels import Labels
from bayesmm.design.predictors import NewLevels, Random


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Posterior:
    """Draws from the posterior of one model.

    Made by `bayesmm.Model.sample`.

    Attributes
    ----------
    data : xarray.DataTree
        For ArviZ: posterior, sample_stats, observed_data, constant_data and, unless it was too large, log_likelihood.
    design : Design
        Data and specification.
    labels : Labels
        Names of everything.
    priors : ResolvedPriors
        The priors in force.
    program : {"marginal", "conditional"}
        Which program was sampled.
    notes : tuple of str
        What was left out or decided on the way.
    """

    data: DataTree
    design: Design
    labels: Labels
    priors: ResolvedPriors
    program: str
    notes: tuple[str, ...] = ()

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
    def chains(self) -> int:
        """Number of chains."""
        return self.data["posterior"].sizes["chain"]

    def draws(self, name: str) -> np.ndarray:
        """Draws of one variable.

        Parameters
        ----------
        name : str
            "beta", "sigma", "sd_Subject", "cor_Subject", "b_Subject", ...: a variable of ``data["posterior"]``.

        Returns
        -------
        array, shape (chains, draws, ...)

        Raises
        ------
        KeyError
            If there is no such variable.
        """
        variables = self.data["posterior"].data_vars
        if name not in variables and name in [block.effect_variable for block in self.labels.blocks]:
            raise KeyError(f"{name!r} was not drawn: sample with random_effects='draws'.")
        if name not in variables:
            raise KeyError(f"{name!r} is not a variable of the posterior; there are {', '.join(map(str, variables))}.")
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
        if self.priors.fixed_sigma is None:
            return self.draws("sigma")
        return np.full(self.data["sample_stats"]["lp"].shape, self.priors.fixed_sigma)

    @property
    def effects(self) -> tuple[np.ndarray, ...]:
        """Draws of the random effects of each grouping factor, shapes (chains, draws, q, k)."""
        return tuple(self.draws(block.effect_variable) for block in self.labels.blocks)

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
        """
        return parameter_table(self.data, self.labels, level)

    def random_effects(self, *, level: float = 0.95) -> pd.DataFrame:
        """Tabulate the random effects.

        Parameters
        ----------
        level : float
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            One row per level and effect: group, level, effect, estimate (posterior mean), std_error (posterior standard
            deviation), lower, upper. Unlike a BLUP's, these spreads carry the uncertainty of the variances. Limits are
            quantiles; where only moments were kept, those of a normal distribution.

        Raises
        ------
        KeyError
            If random effects were neither drawn nor summarised.
        """
        return random_effect_table(self.data, self.labels, level)

    def predict(
        self, new_data: Any = None, *, random: Random = "all", new_levels: NewLevels = "error", level: float = 0.95
    ) -> pd.DataFrame:
        """Predict the expected response.

        Parameters
        ----------
        new_data : data frame, optional
            Rows to predict; the rows of the fit by default.
        random : {"all", "none"} or list of str
            Grouping factors whose effects are included.
        new_levels : {"error", "population"}
            Levels that the fit has not seen are refused, or predicted with effects of zero.
        level : float
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Columns mean, sd, lower, upper, in units of the response; aligned with `new_data`, NaN in rows with missing
            values. The spread is that of the expected response: it has no residual in it.

        Raises
        ------
        PredictionError
            If a level is new, or the columns of `new_data` do not suit the model.
        """
        return predict(self, new_data, random=random, new_levels=new_levels, level=level)

    @cached_property
    def diagnostics(self) -> Diagnostics:
        """Divergences, R̂, effective sample sizes, with advice."""
        # Effects of the marginal program are independent draws given parameters that are checked themselves.
        effects = largest_effect_r_hat(self.data, self.labels) if self.program == "conditional" else (1.0, "")
        return diagnose(self.data, self.parameters, effects)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write draws, data, formula and priors to a file, for `bayesmm.load` and for ArviZ.

        Parameters
        ----------
        path : path
            Ends in ``.nc`` (netCDF, one file) or ``.zarr`` (Zarr, a folder). A posterior saved there before is
            replaced.

        Returns
        -------
        pathlib.Path
            Where it is.

        Raises
        ------
        StorageError
            For another ending, a folder that is not there, or a package that is not installed (h5netcdf or zarr).

        Notes
        -----
        Nothing is pickled. Of the data only the columns and rows that the model used are stored. The file is complete
        or not there: it is written beside its place, and moved when it is done.
        """
        from bayesmm.bayes.storage import save

        return save(self, path)

    def summary(self) -> str:
        """Summarise the posterior for a terminal."""
        table = self.parameters.drop(columns=["kind", "group"])
        digits = dict.fromkeys(("mean", "sd", "lower", "upper"), "{:.4g}".format)
        whole = dict.fromkeys(("ess_bulk", "ess_tail"), "{:.0f}".format)
        text = table.to_string(formatters={**digits, "r_hat": "{:.3f}".format, **whole}, index_names=False)
        return "\n".join([*self._heading(), "", text, "", self.diagnostics.advice, *self.notes])

    def _heading(self) -> list[str]:
        groups = ", ".join(f"{block.group} {len(block.levels)}" for block in self.labels.blocks)
        draws = self.data["posterior"].sizes["draw"]
        sources = sorted({row.source for row in self.priors.rows})
        lines = [
            f"Posterior of {self.design.specification.formula}",
            f"{self.n} rows; levels: {groups}",
            f"{self._origin(draws)}; priors: {' and '.join(sources)}",
        ]
        if self.priors.fixed_sigma is not None:
            lines.append(f"sigma is fixed at {self.priors.fixed_sigma:g}")
        return lines

    def _origin(self, draws: int) -> str:
        if self.method == "nuts":
            return f"{self.chains} chains of {draws} draws, {self.program} program"
        if self.method == "importance":
            return f"{self.chains * draws} draws by importance sampling, {self.program} program"
        return f"quadrature over the spreads, with {self.chains * draws} draws, {self.program} program"

    def __str__(self) -> str:
        return self.summary()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        heading, *details = map(escape, self._heading())
        table = self.parameters.drop(columns=["kind", "group"]).to_html(float_format="{:.4g}".format, index_names=False)
        ending = "<br>".join(map(escape, [self.diagnostics.advice, *self.notes]))
        return f"<h4>{heading}</h4><p>{'<br>'.join(details)}</p>{table}<p>{ending}</p>"
