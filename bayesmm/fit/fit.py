"""Fit: point estimates with their labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import pandas as pd

from bayesmm.arguments import check_count, check_seed, shorten
from bayesmm.console import visible
from bayesmm.design.blocks.confounding import find_confounded
from bayesmm.design.blocks.labels import Labels
from bayesmm.design.design import Design
from bayesmm.design.predictors import IntervalKind, NewLevels, NewResiduals, Random, build_predictors
from bayesmm.errors import ArgumentError, FitStatus
from bayesmm.fit.tables import parameter_table
from bayesmm.habits import RESULTS, understands_keywords, understands_names
from bayesmm.inference.fitted import Df, Information
from bayesmm.inference.fixed.contrasts import coefficient_table, contrast_columns
from bayesmm.inference.fixed.fixed_effects import FixedInference, check_choices, infer_fixed_effects
from bayesmm.inference.fixed.information import parameter_covariance
from bayesmm.marginal.likelihood.likelihood import Method
from bayesmm.presenting.plugin import LABELS, SHOWN, coefficient_frame, statistic
from bayesmm.presenting.progress import progress_bar
from bayesmm.problem import FewRows, Problem
from bayesmm.reml.estimate import Estimate, LocalMaximum, read_public_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xarray import DataTree

    from bayesmm.bayes.posterior import Posterior
    from bayesmm.design.words.explained import Explained
    from bayesmm.design.words.simulated import Effects
    from bayesmm.design.words.variances import Total
    from bayesmm.inference.bootstrap.bootstrap import Bootstrap
    from bayesmm.inference.bootstrap.replicates import BootstrapKind, Statistic
    from bayesmm.inference.diagnostics.check import Check
    from bayesmm.inference.diagnostics.influence import Influence
    from bayesmm.inference.diagnostics.simulated_residuals import SimulatedResiduals
    from bayesmm.inference.effects.tables import Layer
    from bayesmm.inference.explained.criteria import Criteria
    from bayesmm.inference.explained.smooths import Smooths
    from bayesmm.inference.fixed.robust import Kind, Robust
    from bayesmm.inference.fixed.term_contrasts import Type
    from bayesmm.inference.fixed.wald_tests import LinearTest, TermTests
    from bayesmm.inference.prediction.predict import PredictionDf, PredictionLayer
    from bayesmm.inference.profile.profile import Profile
    from bayesmm.inference.variances.boundary_report import BoundaryReport
    from bayesmm.inference.variances.variance_tests import Kind as VarianceTestKind
    from bayesmm.inference.variances.variance_tests import VarianceTests
    from bayesmm.plots.canvas import Axes, Figure
    from bayesmm.presenting.report import Report
    from bayesmm.presenting.tidy import Kind as TidyKind


@understands_names(RESULTS)
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Fit:
    """REML or ML estimates of one model.

    Made by `bayesmm.Model.fit`.

    Attributes
    ----------
    problem : Problem
        Data and names, with the sums that the likelihood takes.
    estimate : Estimate
        The numbers, without labels.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> fit.fixed_effects["estimate"].round(2).to_dict()
    {'Intercept': 251.41, 'Days': 10.47}
    """

    problem: Problem
    estimate: Estimate

    @property
    def design(self) -> Design:
        """Data and specification, as labelled arrays."""
        return self.problem.design

    @property
    def labels(self) -> Labels:
        """Names of everything."""
        return self.problem.labels

    @property
    def known_sigma(self) -> float | None:
        """Residual standard deviation (of a row of weight one) where it was given."""
        return self.problem.known_sigma

    @property
    def method(self) -> Method:
        """Restricted ("reml") or full ("ml") maximum likelihood."""
        return self.estimate.criterion_function.method

    @property
    def loglik(self) -> float:
        """Log-likelihood (ML) or restricted log-likelihood (REML), with lme4's constants."""
        return -0.5 * self.estimate.criterion

    @property
    def n(self) -> int:
        """Number of rows used."""
        return self.design.n

    @property
    def n_parameters(self) -> int:
        """Fixed effects, entries of θ, parameters of the residuals' covariance, and σ if it is estimated."""
        residual = self.estimate.residual
        more = 0 if residual is None else len(residual.phi)
        return self.design.p + len(self.theta) + more + (self.known_sigma is None)

    @property
    def aic(self) -> float:
        """Akaike's criterion, −2 log-likelihood + 2 parameters."""
        return self.estimate.criterion + 2.0 * self.n_parameters

    @property
    def bic(self) -> float:
        """Schwarz's criterion, with log n for REML too, as lme4 has it."""
        return self.estimate.criterion + float(np.log(self.n)) * self.n_parameters

    @property
    def sigma(self) -> float:
        """Residual standard deviation, in units of the response (of a row of weight one)."""
        return self.estimate.sigma

    @property
    def factors(self) -> tuple[np.ndarray, ...]:
        """Relative covariance factor Λ (k, k) of each grouping factor: Var b = σ²ΛΛ'."""
        return self.estimate.factors

    @cached_property
    def theta(self) -> pd.Series:
        """Free entries of Λ, column by column, by row and column; or relative sds and correlations, or loadings."""
        names: list[str] = []
        values: list[np.ndarray] = []
        for block, Lambda in zip(self.labels.blocks, self.factors, strict=True):
            for piece, expression in zip(block.pieces, block.expressions, strict=True):
                effects, own = block.effects[piece.inside], Lambda[piece.inside, piece.inside]
                positions = piece.structure.positions(piece.k)
                if positions is not None:
                    names += [
                        f"theta({effects[i]}, {effects[j]} | {block.group})" for i, j in zip(*positions, strict=True)
                    ]
                    values.append(own[positions])
                    continue
                found, entries = piece.structure.free_entries(own, effects, expression)
                names += [f"{name} | {block.group})" for name in found]
                values.append(entries)
        return pd.Series(np.concatenate([np.zeros(0), *values]), index=names, name="theta")

    @property
    def other_maxima(self) -> tuple[LocalMaximum, ...]:
        """Lower maxima of the (restricted) likelihood that the search saw besides the reported one, best first."""
        return self.estimate.other_maxima

    @property
    def is_singular(self) -> bool:
        """Whether some combination of random effects was estimated to have no variance."""
        return any(directions.size for directions in self.estimate.null_directions)

    @property
    def singular_directions(self) -> tuple[str, ...]:
        """The combinations of effects that were estimated to have no variance, in words."""
        return tuple(
            visible(f"{combination(direction, block.effects)} does not vary between levels of {block.group}")
            for block, directions in zip(self.labels.blocks, self.estimate.null_directions, strict=True)
            for direction in directions.T
        )

    @property
    def confounded(self) -> tuple[str, ...]:
        """Grouping factors that divide the rows alike, and so share a variance in an arbitrary way; in words."""
        known = self.design.elsewhere
        return tuple(map(visible, find_confounded(self.design.blocks) if known is None else known.confounded))

    @property
    def status(self) -> FitStatus:
        """The verdict; its value is a sentence of advice."""
        if not self.estimate.minimum.converged:
            return FitStatus.NOT_CONVERGED
        return FitStatus.BOUNDARY if self.is_singular else FitStatus.CONVERGED

    @property
    def convergence(self) -> str:
        """How the search ended, in one sentence."""
        minimum = self.estimate.minimum
        screened = self.estimate.n_screened
        return (
            f"{minimum.n_evaluations} evaluations of the criterion with its derivatives"
            + (f", after a look at {screened} values" if screened else "")
            + f"; one more Newton step would gain {minimum.decrement:.1g}; the smallest eigenvalue of its Hessian is "
            f"{minimum.smallest_curvature:.2g}."
        )

    @cached_property
    def parameters(self) -> pd.DataFrame:
        """One row a parameter: kind, group, estimate, std_error, and a 95 % interval (lower, upper)."""
        return self.parameter_table()

    def parameter_table(
        self,
        *,
        df: Df = "satterthwaite",
        information: Information | None = None,
        level: float = 0.95,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Tabulate all parameters.

        Parameters
        ----------
        df, information : str
            Degrees of freedom of the fixed effects, as in `coefficients`; standard errors of standard deviations and
            correlations are by the observed information unless the expected is asked for.
        level : float
            Coverage of the intervals.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        DataFrame
            Index: names of the parameters. Columns: kind, group, estimate, std_error, lower, upper; where the
            log-determinant is by probes also mc_error, the standard error among other probes.

        Notes
        -----
        Standard errors come from the inverse information. Wald intervals: fixed effects on their own scale, with
        quantiles of t; standard deviations on the log scale, correlations on Fisher's z scale, with normal quantiles.
        On the boundary there is no standard error.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.parameter_table(level=0.9).loc["Days", ["lower", "upper"]].astype(float).round(2).tolist()
        [7.78, 13.16]
        """
        inference = self._inference(df, information, progress)
        fixed = contrast_columns(inference, np.eye(len(inference.beta)), level)
        with progress_bar("working out standard errors", None, progress):
            public = self.estimate.public_parameters
            if information is not None:
                public = read_public_parameters(self.estimate, parameter_covariance(self, information))
        return parameter_table(self.labels, self.estimate, public, fixed, level)

    @cached_property
    def fixed_effects(self) -> pd.DataFrame:
        """One row a coefficient: estimate, std_error, df, statistic, p_value, lower, upper; aliased ones are NaN.

        Degrees of freedom are Satterthwaite's; `coefficients` offers others.
        """
        return self.coefficients()

    def coefficients(
        self,
        *,
        df: Df = "satterthwaite",
        information: Information | None = None,
        level: float = 0.95,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Tabulate the fixed effects, with t tests and intervals by a choice of degrees of freedom.

        Parameters
        ----------
        df : {"satterthwaite", "kenward-roger", "residual", "normal"}
            Satterthwaite's degrees of freedom; Kenward and Roger's, with standard errors that are corrected for small
            samples too (REML only); n − p; or infinitely many, which is z.
        information : {"expected", "observed"}, optional
            Where the covariance of the variances comes from: observed by default for Satterthwaite, as in lmerTest,
            and expected for Kenward and Roger, as in pbkrtest.
        level : float
            Coverage of the intervals.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        DataFrame
            Index: names of the coefficients. Columns: estimate, std_error, df, statistic, p_value, lower, upper; NaN
            where a column is a combination of others.

        Raises
        ------
        ArgumentError
            If an argument is none of these, or Kenward and Roger's method is asked for an ML fit.

        References
        ----------
        Satterthwaite (1946), Biometrics Bull. 2. Kenward & Roger (1997), Biometrics 53.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(fit.coefficients(df="kenward-roger").round(1).to_string())
                     estimate  std_error    df  statistic  p_value  lower  upper
        coefficient
        Intercept       251.4        6.8  17.0       36.8      0.0  237.0  265.8
        Days             10.5        1.5  17.0        6.8      0.0    7.2   13.7
        """
        return coefficient_table(self._inference(df, information, progress), self.design, level)

    def anova(
        self,
        *,
        type: Type = 3,
        df: Df = "satterthwaite",
        information: Information | None = None,
        progress: bool | None = None,
    ) -> TermTests:
        """Test each term of the fixed part by F.

        Parameters
        ----------
        type : {1, 2, 3}
            1: each term after those before it in the formula. 2: each after all that do not contain it. 3: its effects
            in the mean of the levels of factors with which it interacts, at zero of numeric columns with which it does.
        df, information : str
            Degrees of freedom, as in `coefficients`.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        TermTests
            Prints as a report; `table` has one row a term: statistic (F), num_df, den_df, p_value.

        Raises
        ------
        ArgumentError
            If an argument is none of these.

        Notes
        -----
        F and its degrees of freedom do not depend on how factors are coded. With several degrees of freedom in the
        numerator, Satterthwaite's in the denominator are those of Fai & Cornelius.

        References
        ----------
        Fai & Cornelius (1996), J. Stat. Comput. Simul. 54. Kenward & Roger (1997), Biometrics 53.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.anova().table.index.tolist()
        ['Days']
        """
        from bayesmm.inference.fixed.term_contrasts import term_contrasts
        from bayesmm.inference.fixed.wald_tests import run_term_tests

        if isinstance(type, bool) or not isinstance(type, int) or type not in (1, 2, 3):
            raise ArgumentError(f"type is {shorten(type)}: give 1, 2 or 3.")
        of = self._inference(df, information, progress)
        return run_term_tests(self.design, of, term_contrasts(self.design, type), type, df)

    def test(
        self,
        hypotheses: Any,
        *,
        df: Df = "satterthwaite",
        information: Information | None = None,
        level: float = 0.95,
        progress: bool | None = None,
    ) -> LinearTest:
        """Test linear hypotheses about the fixed effects, each alone by t and all together by F.

        Parameters
        ----------
        hypotheses : str, list of str, dict of str to float, or array of shape (r, p)
            ``"Days = 0, Intercept = 250"``, with + − * / and brackets between names and numbers, chains
            (``a = b = c``), and zero where no right side is given; values by name; or combinations of the coefficients
            that are estimated, each to be zero.
        df, information : str
            Degrees of freedom, as in `coefficients`.
        level : float
            Coverage of the intervals.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        LinearTest
            Prints as a report; `table` has one row a hypothesis, `joint` the test of all.

        Raises
        ------
        ArgumentError
            If the hypotheses cannot be read, are about no fixed effect, or contradict each other.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> round(fit.test("Days = 0, Intercept = 250").joint.statistic, 3)
        23.586
        """
        from bayesmm.inference.fixed.hypotheses import read_hypotheses
        from bayesmm.inference.fixed.wald_tests import run_linear_test

        labels, design = self.labels, self.design
        others = [row.name for row in labels.parameter_rows() if row.kind != "fixed"]
        read = read_hypotheses(hypotheses, labels.coefficients, design.aliased, others)
        return run_linear_test(self._inference(df, information, progress), read, df, level)

    def _inference(self, df: Df, information: Information | None, progress: bool | None) -> FixedInference:
        """Work out once what tests of the fixed effects by this method need."""
        check_choices(df, information)
        key = (df, information)
        found = self._inferences.get(key)
        if found is None:
            with progress_bar("working out degrees of freedom", None, progress):
                found = infer_fixed_effects(self, df, information)
        return self._inferences.setdefault(key, found)

    @cached_property
    def _inferences(self) -> dict[tuple[Any, Any], FixedInference]:
        return {}

    def random_effects(
        self,
        *,
        uncertainty: Layer = "conditional",
        information: Information = "expected",
        bootstrap: int | Bootstrap = 200,
        seed: int = 1,
        progress: bool | None = None,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Tabulate the predicted effects (BLUPs, the conditional modes).

        Parameters
        ----------
        uncertainty : {"conditional", "fixed", "full", "bootstrap"}
            Whose standard errors: given the estimated variances and fixed effects, as lme4's condVar; with the error of
            the fixed effects; with that of the variances too, to second order, or by a parametric bootstrap.
            `bayesmm.effect_uncertainty` has them side by side, with a posterior.
        information : {"expected", "observed"}
            Whose inverse is taken for the covariance of the estimated variances, for "full" and for degrees of freedom.
        bootstrap : int or Bootstrap
            For "bootstrap": how many refits to make, or what `bootstrap` of this fit returned, whose refits are used.
        seed : int
            Of the refits that are made here.
        progress : bool, optional
            Whether they show a bar; by default where a person can see it.
        level : float
            Coverage of the intervals: with normal quantiles, and for "full" and "bootstrap" with those of t.

        Returns
        -------
        DataFrame
            One row per level and effect: group, level, effect, estimate, std_error, lower, upper; for "full" and
            "bootstrap" also df; where the log-determinant is by probes also mc_error, that of the standard error.

        Raises
        ------
        ArgumentError
            If an argument is none of these.
        ComparisonError
            If `bootstrap` is of another fit, or not parametric.

        Notes
        -----
        df are Satterthwaite's, 2m²/Var(m̂) of a mean squared error m: Var(m̂) is that of g₁ + g₂ as the estimated
        variances vary, by its derivatives.

        References
        ----------
        Henderson (1975), Biometrics 31. Kackar & Harville (1984), JASA 79. Datta & Lahiri (2000), Stat. Sinica 10.
        Satterthwaite (1946), Biometrics Bull. 2.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.random_effects().head(2)[["level", "effect", "estimate"]].round(2).to_numpy().tolist()
        [['308', 'Intercept', 2.26], ['308', 'Days', 9.2]]
        """
        from bayesmm.inference.effects.tables import Choice, tabulate_effects

        choice = Choice(
            uncertainty=uncertainty, information=information, bootstrap=bootstrap, seed=seed, progress=progress
        )
        return tabulate_effects(self, choice, level)

    def coef(
        self,
        *,
        uncertainty: Layer = "fixed",
        information: Information = "expected",
        bootstrap: int | Bootstrap = 200,
        seed: int = 1,
        progress: bool | None = None,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Tabulate the coefficients of each level: fixed plus random effect, with their joint uncertainty.

        Parameters
        ----------
        uncertainty : {"fixed", "full", "bootstrap", "conditional"}
            Whose standard errors, as in `random_effects`: by the joint covariance of fixed and predicted effects; with
            the error of the variances too, by either way; or given the fixed effects.
        information, bootstrap, seed, progress, level
            As in `random_effects`.

        Returns
        -------
        DataFrame
            One row per level and effect that has the name of a fixed one: group, level, effect, estimate, std_error,
            lower, upper, and for "full" and "bootstrap" df. With several factors each adds its own effects alone, as
            lme4's coef.

        Raises
        ------
        ArgumentError
            If no random effect has the name of a fixed one, or an argument is none of these.
        ComparisonError
            If `bootstrap` is of another fit, or not parametric.

        Notes
        -----
        Var(β̂_j + b̂ − β_j − b) = g₁ + (B − J)A⁻¹(B − J)', where J picks β_j: the errors of both go against each other,
        so that it is often less than that of b̂ alone. df are those of `predict`: 2m²/Var(m̂) with m = g₁ + g₂.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.coef().head(2)[["level", "effect", "estimate"]].round(2).to_numpy().tolist()
        [['308', 'Intercept', 253.66], ['308', 'Days', 19.67]]
        """
        from bayesmm.inference.effects.tables import Choice, tabulate_coefficients

        choice = Choice(
            uncertainty=uncertainty, information=information, bootstrap=bootstrap, seed=seed, progress=progress
        )
        return tabulate_coefficients(self, choice, level)

    def plot_effects(
        self,
        effect: str | None = None,
        group: str | None = None,
        *,
        layers: str | Sequence[str] | None = None,
        posterior: Posterior | None = None,
        bootstrap: int | Bootstrap | None = None,
        level: float = 0.95,
        progress: bool | None = None,
        ax: Axes | None = None,
    ) -> Figure:
        """Draw the predicted effects of all levels, sorted, with the interval of every layer of uncertainty.

        Parameters
        ----------
        effect, group : str, optional
            Which random effect; by default the first.
        layers : str or sequence of str, optional
            Which layers; by default all that there are.
        posterior, bootstrap, progress
            As in `bayesmm.effect_uncertainty`, whose result draws.
        level : float
            Coverage of the intervals.
        ax : matplotlib.axes.Axes, optional
            To draw into.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ArgumentError
            If there is no such effect, group or layer, or another argument is none of these.
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.plot_effects()
        """
        self.design.require_random_effects("plot_effects")
        from bayesmm.inference.effects.uncertainty import effect_uncertainty

        found = effect_uncertainty(self, posterior, bootstrap, progress=progress)
        return found.plot(effect, group, layers=layers, level=level, ax=ax)

    def explore(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        posterior: Posterior | None = None,
        group: str | None = None,
        level: float = 0.95,
        rows: Any = None,
        progress: bool | None = None,
    ) -> Any:
        """Move the standard deviation between levels by hand, and see the estimates of all levels follow.

        Parameters
        ----------
        path : path, optional
            A file, ending in .html, to write the explorer to, as a page that any browser opens and that needs no
            network. Without it the explorer is a widget of a notebook.
        posterior : Posterior, optional
            Of the same model and data: its density is drawn under the sliders, its means beside the estimates.
        group : str, optional
            Whose levels are explored, where the model has several grouping factors. The standard deviations of the
            others' effects then stay, over σ, as they were estimated; so does a covariance of the residuals.
        level : float
            Coverage of the intervals, with normal quantiles.
        rows : path, list, or data frame, optional
            Where the rows of the model are, as `bayesmm.scan` takes it, if they are not in memory; they are read once.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        anywidget.AnyWidget or pathlib.Path
            The widget, or the file that was written.

        Raises
        ------
        ArgumentError
            If the model has several levels a row, or more than a browser could move at once, or an argument is none of
            these.
        ComparisonError
            If the posterior is of another model or other data.
        RowsError
            If rows that are not in memory are not given, or are not those of the model.
        StorageError
            If the file cannot be written.
        BayesmmError
            If there is no path, and anywidget is not installed.

        Notes
        -----
        The browser has the sums of each level, and computes from them at every position of the sliders: fixed effects
        by generalised least squares, BLUPs, their standard deviations given the fixed effects or with their error, and
        the (restricted) likelihood. σ is profiled unless it is held, so that at the estimate every number is that of
        `coef` and `random_effects`. Names of levels and the sums of their columns are in the file, rows are not.

        References
        ----------
        Robinson (1991), That BLUP is a good thing. Statistical Science 6.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.explore()  # doctest: +SKIP
        """
        self.design.require_random_effects("The explorer")
        with progress_bar("summing levels", None, progress) as bar:
            if path is None:
                from bayesmm.explorer.widget import make_widget

                return make_widget(self, posterior, group=group, level=level, rows=rows, bar=bar)
            from bayesmm.explorer.pages import save_page

            return save_page(self, path, posterior, group=group, level=level, rows=rows, bar=bar)

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
            Coverage of the intervals, with normal quantiles.
        rows : path, list, or data frame, optional
            Where the rows of the model are, as `bayesmm.scan` takes it, if they are not in memory; they are read once
            or twice, and those of the levels are kept.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

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
        The interval has the joint error of fixed and predicted effects, as `coef` has by default, not that of the
        variances. complete: fixed effects and offset. unpooled: with them, least squares on the level's own rows of its
        random-effects columns, all else as fitted, as in `bayesmm.shrinkage`; NaN beyond its own rows, and where these
        do not determine it. A model without random slopes therefore has own lines that are parallel. All other columns
        are held at values of the level's own rows: factors at the most frequent one, numbers at that nearest the mean.
        Effects of other grouping factors come in where all rows of a level share theirs, as in nested factors, and are
        zero otherwise.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.group_lines(levels=["308"]).columns.tolist()
        ['level', 'x', 'unpooled', 'complete', 'estimate', 'lower', 'upper']
        """
        from bayesmm.inference.pooling.group_lines import estimate_group_lines

        with progress_bar("estimating lines", None, progress) as bar:
            return estimate_group_lines(self, x=x, group=group, levels=levels, level=level, rows=rows, bar=bar).frame

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
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.plot_groups(levels=["308", "309"])
        """
        from bayesmm.design.words.group_lines import plot_group_lines
        from bayesmm.inference.pooling.group_lines import estimate_group_lines

        with progress_bar("estimating lines", None, progress) as bar:
            lines = estimate_group_lines(self, x=x, group=group, levels=levels, level=level, rows=rows, bar=bar)
        return plot_group_lines([("fit", lines)])

    @cached_property
    def fitted(self) -> np.ndarray:
        """Xβ̂ + Zb̂ + offset (n,), in units of the response."""
        return build_predictors(self.design).mean(self.estimate.beta, self.estimate.modes)

    def residuals(
        self,
        kind: Literal["response", "pearson", "standardised", "cholesky"] = "response",
        *,
        random: Literal["all", "none"] | None = None,
    ) -> np.ndarray:
        """Response less what the model says of it.

        Parameters
        ----------
        kind : {"response", "pearson", "standardised", "cholesky"}
            "response": in units of the response. "pearson": over the standard deviation of the row. "standardised":
            over the residual's own standard deviation, which the estimated effects make smaller (internally
            studentised). "cholesky": L⁻¹(y − Xβ̂) with Var y = LL', each row given those before it of the same
            independent part of the data, so that all are uncorrelated.
        random : {"all", "none"}
            Less the conditional modes too (conditional residuals), or less the fixed effects and offset alone (marginal
            ones). By default "all"; "cholesky" are marginal always.

        Returns
        -------
        array, shape (n,)
            NaN for a standardised residual of a row that a coefficient of its own fits exactly.

        Raises
        ------
        ArgumentError
            If an argument is none of these, or too many crossed effects hang together to be whitened.

        Notes
        -----
        With e = y − Xβ̂ − Zb̂ and r = y − Xβ̂ (less the offset), and V = Var y at the estimates:

        ============== ================== ============================
        kind           random="all"       random="none"
        ============== ================== ============================
        response       e                  r
        pearson        √w e/σ             r / √V_ii
        standardised   √w e/(σ√(1 − h))   r / √(V − X Var(β̂) X')_ii
        cholesky       (pearson)          L⁻¹r
        ============== ================== ============================

        h are the leverages of `influence`. The residuals of lme4 and the `resid` of statsmodels are of the column
        "all"; nlme's `level=0` gives those of "none", but over σ alone; SAS calls "cholesky" scaled residuals (VCIRY).
        None of them knows that the variances are estimates.

        References
        ----------
        Nobre & Singer (2007), Biometrical Journal 49. Fitzmaurice, Laird & Ware (2011), Applied Longitudinal Analysis,
        chapter 10. Houseman, Ryan & Coull (2004), JASA 99.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.residuals().shape
        (180,)
        """
        from bayesmm.inference.diagnostics.residuals import compute_residuals

        return compute_residuals(self, kind, random)

    @overload
    def predict(
        self,
        new_data: Any = None,
        *,
        random: Random = "all",
        new_levels: NewLevels = "error",
        residuals: NewResiduals = "none",
        interval: None = None,
        level: float = 0.95,
        uncertainty: PredictionLayer = "full",
        df: PredictionDf = "satterthwaite",
        information: Information | None = None,
        weights: Any = None,
        refits: int = 200,
        seed: int = 1,
        progress: bool | None = None,
    ) -> pd.Series: ...

    @overload
    def predict(
        self,
        new_data: Any = None,
        *,
        random: Random = "all",
        new_levels: NewLevels = "error",
        residuals: NewResiduals = "none",
        interval: IntervalKind,
        level: float = 0.95,
        uncertainty: PredictionLayer = "full",
        df: PredictionDf = "satterthwaite",
        information: Information | None = None,
        weights: Any = None,
        refits: int = 200,
        seed: int = 1,
        progress: bool | None = None,
    ) -> pd.DataFrame: ...

    @understands_keywords
    def predict(
        self,
        new_data: Any = None,
        *,
        random: Random = "all",
        new_levels: NewLevels = "error",
        residuals: NewResiduals = "none",
        interval: IntervalKind | None = None,
        level: float = 0.95,
        uncertainty: PredictionLayer = "full",
        df: PredictionDf = "satterthwaite",
        information: Information | None = None,
        weights: Any = None,
        refits: int = 200,
        seed: int = 1,
        progress: bool | None = None,
    ) -> pd.Series | pd.DataFrame:
        """Predict the response, with intervals if they are asked for.

        Parameters
        ----------
        new_data : data frame, optional
            Rows to predict; the rows of the fit by default.
        random : {"all", "none"} or list of str
            Grouping factors whose effects are part of what is predicted; those of others count as zero.
        new_levels : {"error", "population", "sample"}
            Levels that the fit has not seen are refused; predicted as a level whose effects are zero, which is how far
            the interval goes too; or predicted as levels like the others, whose effects' variance is in the interval.
            Rows of one new level share its effects, and those of a missing label have a level of their own each.
        residuals : {"none", "conditional"}
            Where ``residual=`` correlates residuals, whether those of a group's rows count for its other rows, at new
            times or places too: kriging, brms's ``incl_autocor``. By default not, so that predictions of the rows of
            the fit are its `fitted` values, as in lme4 and nlme; rows of groups without rows are the same either way.
        interval : {"confidence", "prediction"}, optional
            Of the expected response, Xβ + Zb with these effects, plus what is expected of its residual where that is
            conditional; or of one new observation, with its residual.
        level : float
            Coverage of the interval.
        uncertainty : {"full", "fixed", "conditional", "bootstrap"}
            What counts as an estimate, as in `random_effects`: everything, to second order; fixed and random effects,
            with the variances as they are; the random effects alone; or everything, by refits to drawn data.
        df : {"satterthwaite", "residual", "normal"}
            Degrees of freedom of the t that the interval is by: of the whole variance, the residual's included; n − p;
            or infinitely many.
        information : {"expected", "observed"}, optional
            Whose inverse is the covariance of the estimated variances. By default expected for "full" and "bootstrap",
            and observed for the others: of fixed effects alone these are Kenward and Roger's standard errors and
            degrees of freedom, and Satterthwaite's, as `coefficients` and `emmeans` have them.
        weights : number or array, shape (m,), optional
            Prior weights w of new rows, whose residual variance is σ²/w. By default those of the columns that the
            model's weights were given by; without weights in the model, one.
        refits, seed, progress
            Of the bootstrap: how many, of its draws, and whether it shows a bar.

        Returns
        -------
        Series or DataFrame
            The prediction; with an interval columns estimate, std_error, df, lower, upper. In units of the response,
            aligned with `new_data`, NaN in rows with missing values.

        Raises
        ------
        PredictionError
            If a level is new and refused, the columns of `new_data` do not suit the model, or it has weights and those
            of the new rows are not known.
        ArgumentError
            If another argument is none of these.

        Notes
        -----
        With the joint covariance of β̂ and b̂ − b, also between levels that meet in a row,
        V = σ²[z'Cz + (x − B'z)'A⁻¹(x − B'z)] + 2g₃ + u'Σu + σ²/w, for z of seen and u of new levels; g₃ is Kackar &
        Harville's term for the error of the variances. Satterthwaite's df is 2V²/Var V̂ of V without 2g₃, by the delta
        method in the covariance parameters, and at least 1; parameters on a boundary are held there.

        With ``residuals="conditional"`` a row of group g is predicted by x'β̂ + z'b̂ + R_ng R_gg⁻¹(y_g − X_gβ̂ − Z_gb̂),
        the best linear unbiased prediction, and its residual has the variance σ²(R_nn − R_ng R_gg⁻¹ R_gn). At a
        position that its group has it is what was measured there, plus the difference of the means.

        References
        ----------
        Cressie (1993), Statistics for Spatial Data, 3.4. Henderson (1975), Biometrics 31. Kackar & Harville (1984),
        JASA 79. Prasad & Rao (1990), JASA 85. Kenward & Roger (1997), Biometrics 53. Satterthwaite (1946), Biometrics
        Bull. 2.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> data = bmm.datasets.load("sleepstudy")
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> print(fit.predict(data.iloc[[9, 19]], interval="prediction").round(1).to_string())
            estimate  std_error     df  lower  upper
        9      430.7       29.3  154.1  372.7  488.6
        19     227.6       29.3  154.1  169.7  285.6
        """
        from bayesmm.inference.prediction.predict import predict

        return predict(
            self,
            new_data,
            random=random,
            new_levels=new_levels,
            residuals=residuals,
            interval=interval,
            level=level,
            uncertainty=uncertainty,
            df=df,
            information=information,
            weights=weights,
            refits=refits,
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
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> fit.predict_rows("visits/*.parquet", to="predictions.parquet")  # doctest: +SKIP
        """
        from bayesmm.rows.predicting import predict_rows

        with progress_bar("predicting rows", None, progress) as bar:
            return predict_rows(lambda frame: self.predict(frame, **how), rows, to, bar)

    def simulate(self, n: int = 1, *, random: Effects = "redrawn", seed: int = 0) -> pd.DataFrame:
        """Draw responses from the model at its estimates.

        Parameters
        ----------
        n : int
            How many.
        random : {"redrawn", "kept"}
            Whether each simulation draws new random effects from their estimated covariances, as if for other levels;
            or all keep the conditional modes, and only residuals are new.
        seed : int
            The same seed gives the same numbers; with more simulations the first ones stay.

        Returns
        -------
        DataFrame
            One row for each row used, with its label; columns 0, 1, ..., n − 1; in units of the response.

        Raises
        ------
        ArgumentError
            If an argument is out of its range.

        Notes
        -----
        lme4's `simulate` with `re.form = NA` and `NULL`. Residual variances that change with fitted values change with
        those of each simulation. The estimates count as the truth: `Posterior.simulate` carries
        their uncertainty along. Conditional modes are shrunken, so that with "kept" levels differ less than they do.
        For other rows than those of the fit: ``bayesmm.simulate(formula, other_rows, fit)``.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.simulate(3, seed=1).shape
        (180, 3)
        """
        from bayesmm.inference.simulation.simulate import simulate_fit

        return simulate_fit(self, n, random, seed)

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
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.simulate_rows("visits/*.parquet", to="simulated.parquet", seed=1)  # doctest: +SKIP
        """
        self.design.require_independent_residuals("simulate_rows")
        from bayesmm.inference.simulation.simulate import simulate_fit_rows

        with progress_bar("drawing rows", self.n, progress) as bar:
            return simulate_fit_rows(self, rows, to, n, random, seed, bar)

    def bootstrap(
        self,
        n: int = 1000,
        *,
        kind: BootstrapKind = "parametric",
        statistic: Statistic | None = None,
        group: str | None = None,
        seed: int = 1,
        progress: bool | None = None,
    ) -> Bootstrap:
        """Refit to resampled data.

        Parameters
        ----------
        n : int
            How many times.
        kind : {"parametric", "residual", "case"}
            New effects and residuals from the normal distributions that were estimated; predicted effects and residuals
            resampled, after they were given the estimated covariances; levels of a grouping factor resampled with all
            their rows.
        statistic : callable, optional
            A function of a `Fit` that returns a number, a vector or a dict of numbers; it is bootstrapped beside the
            parameters.
        group : str, optional
            Whose levels are resampled where ``kind="case"``; by default those of the factor that holds all others.
        seed : int
            The same numbers for the same seed; with more replicates the first ones stay.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        Bootstrap
            A refit that failed is NaN and counted.

        Raises
        ------
        ArgumentError
            If an argument is out of its range, or no factor's levels can be resampled.

        Warns
        -----
        BayesmmWarning
            If refits failed.

        Notes
        -----
        Parametric replicates without a statistic are drawn as sums over the rows, not row by row: their cost does not
        depend on the number of rows. A statistic is given a fit with rows, so that rows are drawn for it.

        References
        ----------
        Carpenter, Goldstein & Rasbash (2003), J. R. Stat. Soc. C 52, 431-443.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.bootstrap(20, seed=1, progress=False).draws.shape
        (20, 6)
        """
        from bayesmm.inference.bootstrap.bootstrap import bootstrap

        return bootstrap(self, n, kind, statistic, group, seed, progress)

    def to_datatree(self) -> DataTree:
        """Store the estimates under the names that posterior draws have.

        Returns
        -------
        xarray.DataTree
            Groups estimate and std_error, with the variables, dims and coordinates of a posterior but for chains and
            draws; observed_data and constant_data.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> list(fit.to_datatree().children)
        ['estimate', 'std_error', 'observed_data', 'constant_data']
        """
        from bayesmm.reml.datatree import build_datatree

        attributes = {
            "method": self.method,
            "formula": self.design.specification.formula,
            "loglik": self.loglik,
            "status": self.status.name,
        }
        return build_datatree(self.design, self.parameters, self.random_effects(), attributes)

    def save(self, path: str | os.PathLike[str], *, progress: bool | None = None) -> Path:
        """Write estimates, data and formula to a file, for `bayesmm.load` and for programs that read netCDF or Zarr.

        Parameters
        ----------
        path : path
            Ends in ``.nc`` (netCDF, one file) or ``.zarr`` (Zarr, a folder). A fit or posterior saved there before is
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
            whatever the disk says. A file that was there before is as it was then.

        Notes
        -----
        Nothing is pickled. The file has the groups of `to_datatree`, and one of the columns and rows that the model
        used, from which it is built again. It has checksums of all that is in it, and is complete or not there.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> import tempfile, pathlib
        >>> path = fit.save(pathlib.Path(tempfile.mkdtemp()) / "fit.nc")
        >>> bmm.load(path).loglik == fit.loglik
        True
        """
        from bayesmm.fit.stored_fit import save

        with progress_bar("writing", None, progress):
            return save(self, self.to_datatree(), path)

    def profile(
        self, parameters: str | Sequence[str] | None = None, *, level: float = 0.99, progress: bool | None = None
    ) -> Profile:
        """Profile the likelihood (ML) or the restricted likelihood (REML) in one parameter after the other.

        Parameters
        ----------
        parameters : str or sequence of str, optional
            Names as in `parameters`; all by default.
        level : float
            How far: intervals up to this coverage can be asked for.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        Profile
            Intervals with their ends found exactly, the curves, and what is to be known of them.

        Raises
        ------
        ArgumentError
            If a parameter is unknown or the level is no coverage.

        Notes
        -----
        ζ(v) is the signed root of twice the log-likelihood that is lost where the parameter is held at v and all others
        are fitted again (Bates et al. 2015, section 5.1). Standard deviations and correlations are held themselves, not
        entries of θ. With REML a fixed effect is held in the criterion of the variances plus (b − β̂(θ))² / Var β̂(θ):
        the restricted likelihood itself does not contain it.

        References
        ----------
        Bates, Mächler, Bolker & Walker (2015). J. Stat. Softw. 67(1).

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> profile = fit.profile("sigma", progress=False)
        >>> profile.intervals(0.95)[["lower", "upper"]].round(1).to_numpy().tolist()
        [[22.9, 28.9]]
        """
        from bayesmm.inference.profile.profile import build_profile

        return build_profile(self, parameters, level=level, progress=progress)

    def variance_tests(
        self,
        parameters: str | Sequence[str] | None = None,
        *,
        kind: VarianceTestKind | None = None,
        n: int | None = None,
        seed: int = 0,
        progress: bool | None = None,
    ) -> VarianceTests:
        """Test variances and correlations by likelihood ratios, with null distributions that know of the boundary.

        Parameters
        ----------
        parameters : str or list of str, optional
            What is zero under the null: a standard deviation (``"sd(Days | Subject)"``; its correlations go with it), a
            correlation (all those of its term), or a random-effects term as the formula has it. Where a structure has
            one parameter for all correlations, or for all standard deviations, the whole term is tested. Of residuals:
            a correlation (``"rho(week | id)"``; all of them), or what standard deviations change with, by any of its
            parameters or together (``"sigma(arm)"``, ``"power(x)"``): under the null they do not. By default each
            standard deviation, and all that residuals have.
        kind : {"exact", "mixture", "bootstrap"}, optional
            Where the null distribution comes from: drawn from its spectral representation, for one variance without
            correlations; the asymptotic mixture of χ²; refits to responses drawn under the null. By default the first
            of these that there is, and χ² for what residuals have; refits where variances change with fitted values,
            since each model then has a likelihood by its own. If nothing but σ is left of the covariance once
            that is left out, refits are exact: ``kind="exact"``.
        n : int, optional
            Draws: by default 100,000 of the exact distribution (fewer where levels are very many), 999 refits, 199 of
            models that settle on fitted values.
        seed : int
            Of the draws.
        progress : bool, optional
            Whether refits show a bar; by default where a person can see it.

        Returns
        -------
        VarianceTests
            Prints as a table; `table` is a data frame.

        Raises
        ------
        ArgumentError
            If there is no such parameter, or no such distribution for it.

        Notes
        -----
        REML fits are compared by their restricted likelihoods, with the same fixed effects.

        References
        ----------
        Self & Liang (1987), JASA 82. Stram & Lee (1994), Biometrics 50. Crainiceanu & Ruppert (2004), JRSS-B 66.
        Greven, Crainiceanu, Küchenhoff & Peters (2008), JCGS 17. Dwass (1957), Ann. Math. Stat. 28 (exact by refits).

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit()
        >>> round(float(fit.variance_tests().table.loc["sd(Intercept | Batch)", "statistic"]), 4)
        6.369
        """
        if self.design.residual is None:
            self.design.require_random_effects("variance_tests")
        from bayesmm.inference.variances.variance_tests import check_variances

        return check_variances(self, parameters, kind, n, seed, progress)

    def boundary(
        self,
        parameter: str,
        posterior: Posterior | None = None,
        *,
        level: float = 0.95,
        n: int | None = None,
        seed: int = 0,
        progress: bool | None = None,
    ) -> BoundaryReport:
        """Say by every method what is known of a standard deviation that may be zero.

        Parameters
        ----------
        parameter : str
            Its row in the table of parameters: ``"sd(Intercept | Batch)"``.
        posterior : Posterior, optional
            Of the same model.
        level : float
            Coverage of the intervals.
        n : int, optional
            Refits of the bootstrap, 999 by default.
        seed : int
            Of all draws.
        progress : bool, optional
            Whether the bootstrap shows a bar; by default where a person can see it.

        Returns
        -------
        BoundaryReport
            Prints as a table and three sentences: the estimate, the profile's interval, the likelihood-ratio test, the
            boundary-avoiding estimate, the parametric bootstrap, and the posterior.

        Raises
        ------
        ArgumentError
            If there is no such standard deviation.
        ComparisonError
            If the posterior is of another model.

        References
        ----------
        Chung, Rabe-Hesketh, Dorie, Gelman & Liu (2013), Psychometrika 78. Crainiceanu & Ruppert (2004), JRSS-B 66.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> report = fit.boundary("sd(Days | Subject)", n=20, progress=False)
        >>> print(str(report).splitlines()[0])
        sd(Days | Subject): is it zero?
        """
        self.design.require_random_effects("The report on the boundary")
        from bayesmm.inference.variances.boundary_report import build_boundary_report

        return build_boundary_report(self, parameter, posterior, level, n, seed, progress)

    def criteria(self) -> Criteria:
        """Work out the information criteria: AIC, AICc, BIC, and the conditional AIC.

        Returns
        -------
        Criteria
            ``table`` with one row a criterion; ``caic``, ``effective_df`` and their parts. Prints as a report.

        Notes
        -----
        cAIC = −2 log p(y | β̂, b̂, σ̂) + 2(tr ∂ŷ/∂y + 1), where the fitted values follow the responses also by the
        estimated variances, and 1 is for σ (0 where it is known). Variances on the boundary stay there. It needs two
        evaluations of the criterion for each entry of θ, and passes over the rows, or their sums where these are not in
        memory. Where residuals have a covariance, fitted values follow the responses by its estimate too, and its
        parameters are counted with σ.

        References
        ----------
        Vaida & Blanchard (2005), Biometrika 92. Greven & Kneib (2010), Biometrika 97. Overholser & Xu (2014), J.
        Multivar. Anal. 132. Hurvich & Tsai (1989), Biometrika 76.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.criteria()).splitlines()[0])
        Information criteria: Reaction ~ Days + (Days | Subject)
        """
        from bayesmm.inference.explained.criteria import information_criteria

        return information_criteria(self)

    def explained(self, *, level: float = 0.95) -> Explained:
        """Say what explains the variance of the response: R², ICC, and shares.

        Parameters
        ----------
        level : float
            Coverage of the intervals.

        Returns
        -------
        Explained
            ``table``: marginal R² (of the fixed effects) and conditional R² (of fixed and random effects); ICC adjusted
            (random effects in what the fixed effects leave) and unadjusted (in all). ``shares``: fixed effects,
            grouping factors and residual. Prints as a report; `Posterior.explained` has the same rows.

        Notes
        -----
        The variance of a grouping factor is z'Σz averaged over the rows, that of the fixed effects the variance of Xβ̂
        over the rows, that of the residual its mean over the rows, where they differ in it. Intervals are by the delta
        method on the logit scale, from the observed information. In a model with one random effect and its residual
        that of the adjusted ICC is exact.

        References
        ----------
        Nakagawa & Schielzeth (2013), Methods Ecol. Evol. 4. Johnson (2014), Methods Ecol. Evol. 5. Harville & Fenech
        (1985), Biometrics 41.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.explained().table["estimate"].round(3).to_dict()
        {'R2 marginal': 0.279, 'R2 conditional': 0.799, 'ICC adjusted': 0.722, 'ICC unadjusted': 0.521}
        """
        from bayesmm.inference.explained.explained import explained

        return explained(self, level)

    def variance_shares(self, *, total: Total = "unexplained", level: float = 0.95) -> pd.DataFrame:
        """Tabulate which share of the variance each grouping factor and the residual have.

        Parameters
        ----------
        total : {"unexplained", "response"}
            Of the variance that fixed effects leave, or of all of it, with a row for the fixed effects.
        level : float
            Coverage of the intervals, as in `explained`.

        Returns
        -------
        DataFrame
            Index: grouping factors, "residual". Columns: estimate, std_error, lower, upper. With one random intercept
            its share is the intraclass correlation.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.variance_shares().index.tolist()
        ['Subject', 'residual']
        """
        from bayesmm.inference.explained.explained import variance_shares

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
            One bar that the shares divide, and each with its interval.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.plot_variance_shares()
        """
        from bayesmm.design.words.variances import TITLES
        from bayesmm.plots.shares import plot_shares

        shares = self.variance_shares(total=total, level=level)
        return plot_shares(shares, title=TITLES[total], level=float(level))

    def smooths(self) -> Smooths:
        """Say how far each smooth term ``s(x)`` departs from a straight line, and by how many degrees of freedom.

        Returns
        -------
        Smooths
            ``table`` with one row a term, ``curves()`` with the curves and their intervals, ``plot()``. Prints as a
            report.

        Raises
        ------
        ArgumentError
            If the model has no smooth term.

        Notes
        -----
        With b the k − 2 effects of the departures in each level and τ their standard deviation, the effective degrees
        of freedom are Σ (1 − Var(b̂ⱼ − bⱼ)/τ²), the error of the fixed effects included: with one for the straight line
        they are those of mgcv.

        References
        ----------
        Wood (2017), Generalized Additive Models, 2nd ed., sections 5.8 and 6.1.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("height ~ s(age) + (age | Subject)", bmm.datasets.load("oxboys")).fit()
        >>> print(fit.smooths().table["edf"].round(2).to_string())
        term
        s(age)    3.03
        """
        from bayesmm.inference.explained.smooths import tabulate_smooths

        return tabulate_smooths(self)

    def plot_marginal_covariance(
        self, rows: Any = None, *, correlation: bool = False, ax: Axes | None = None
    ) -> Figure:
        """Draw Var[Y|X] at the estimates as an image, with the blocks that shared levels make.

        Parameters
        ----------
        rows : list, slice or mapping, optional
            Row labels of the data, or a mapping from a grouping factor to levels, ``{"Subject": ["308", "309"]}``; all
            rows by default, in the order of the data.
        correlation : bool
            Whether to draw correlations, which go from −1 to 1, instead of squared units of the response.
        ax : matplotlib.axes.Axes, optional
            To draw into.

        Returns
        -------
        matplotlib.figure.Figure
            The numbers are those of ``model.marginal_covariance(rows, at=fit)``. Neighbouring rows of one level are
            outlined; for factors whose levels are scattered over the rows, choose or sort rows.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.
        ArgumentError
            If `correlation` is no truth value.
        DesignError
            If a row, a group or a level is unknown, or the rows are too many.

        References
        ----------
        Laird & Ware (1982), Biometrics 38.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.plot_marginal_covariance({"Subject": ["308", "309"]})
        """
        from bayesmm.design.words.moments import marginal_covariance
        from bayesmm.design.words.row_choice import choose_rows, row_levels
        from bayesmm.plots.matrix import plot_matrix

        if not isinstance(correlation, (bool, np.bool_)):
            raise ArgumentError(f"correlation is {shorten(correlation)}: give True or False.")
        table = marginal_covariance(self.design, rows, self)
        what = f"covariance of {self.design.specification.response}"
        if correlation:
            spread = np.sqrt(np.diag(table.to_numpy()))
            table, what = table / np.outer(spread, spread), f"correlation of {self.design.specification.response}"
        levels = row_levels(self.design, choose_rows(self.design, rows))
        return plot_matrix(table, levels, what=what, is_correlation=bool(correlation), ax=ax)

    def residual_correlation(self) -> pd.DataFrame:
        """Tabulate the correlations of residuals within a group, where the model has some.

        Returns
        -------
        DataFrame
            Rows and columns are the levels or times that the data have, in order; of more than 60 times these many.
            Where each level of a factor has parameters of its own (``by=``), there are rows for each, and nothing
            between.

        Raises
        ------
        ArgumentError
            If the residuals are not correlated.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> data = bmm.datasets.load("orthodont")
        >>> fit = bmm.Model("distance ~ Sex * age", data, residual="homtoep(age | Subject)").fit()
        >>> fit.residual_correlation().loc["8"].round(2).to_dict()
        {'8': 1.0, '10': 0.64, '12': 0.7, '14': 0.48}
        """
        from bayesmm.design.words.residual_correlation import correlate_residuals

        return correlate_residuals(self.design, self._parameter_values)[0]

    def plot_residual_correlation(self, *, ax: Axes | None = None) -> Figure:
        """Draw the correlations of residuals within a group as an image.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            To draw into.

        Returns
        -------
        matplotlib.figure.Figure
            The numbers are those of `residual_correlation`; of few rows they stand in the cells.
            `plot_marginal_covariance` has what random effects add, row by row.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.
        ArgumentError
            If the residuals are not correlated.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> data = bmm.datasets.load("orthodont")
        >>> fit = bmm.Model("distance ~ Sex * age", data, residual="homtoep(age | Subject)").fit()
        >>> figure = fit.plot_residual_correlation()
        """
        from bayesmm.design.words.residual_correlation import correlate_residuals
        from bayesmm.plots.matrix import plot_matrix

        table, levels = correlate_residuals(self.design, self._parameter_values)
        residual = self.design.residual
        what = "correlation of residuals within a group" + ("" if residual is None else f" by {residual.group}")
        groups = {"": levels} if levels else {}
        return plot_matrix(table, groups, what=what, is_correlation=True, has_numbers=True, ax=ax)

    @property
    def _parameter_values(self) -> dict[str, float]:
        """Estimates by name, a known σ among them."""
        return {"sigma": self.sigma} | self.parameters["estimate"].to_dict()

    def robust(
        self,
        cluster: Any = None,
        *,
        kind: Kind = "CR2",
        level: float = 0.95,
        rows: Any = None,
        progress: bool | None = None,
    ) -> Robust:
        """Work out standard errors of the fixed effects that hold where the variances of the model are wrong.

        Parameters
        ----------
        cluster : str or array-like, optional
            Rows of different clusters are independent: a grouping factor of the model in which all others are nested, a
            column that it uses, or one label for each row used. By default the outermost grouping factor.
        kind : {"CR0", "CR1", "CR2"}
            Residuals as they are; times m/(m − 1) for m clusters; or corrected so that the covariance is unbiased if
            the fitted variances are right (Bell & McCaffrey's bias-reduced linearization).
        level : float
            Coverage of the intervals that are shown.
        rows : path, list, or data frame, optional
            Where the rows of the model are, as `bayesmm.scan` takes it, if they are not in memory; they are read twice.
            Clusters are then those of a grouping factor, or groups of the residuals.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        Robust
            ``covariance``, ``table``; ``df(L)`` and ``f_test(L)`` of contrasts. Prints as a report.

        Raises
        ------
        ArgumentError
            If the clusters are not independent in this model, as with crossed factors, or are fewer than two.
        RowsError
            If rows that are not in memory are not given, or are not those of the model; if clusters are too many, or
            lie so far apart in the files that too many rows wait.

        Notes
        -----
        The covariance is M Σ_c X_c'V_c⁻¹A_c e_c e_c'A_c'V_c⁻¹X_c M over clusters c, with M = (X'V⁻¹X)⁻¹ and V the
        covariance of the fitted model, which is also what degrees of freedom are worked out under; they are those of
        R's clubSandwich. A cluster takes matrices of the size of its rows, or with equal weights of its random and
        fixed effects.

        References
        ----------
        Liang & Zeger (1986), Biometrika 73. Bell & McCaffrey (2002), Surv. Methodol. 28. Pustejovsky & Tipton (2018),
        JBES 36.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.robust("Subject").coefficients()["std_error"].round(2).tolist()
        [6.82, 1.55]
        """
        from bayesmm.inference.fixed.robust import robust_fixed_effects

        with progress_bar("summing over clusters", None, progress) as bar:
            return robust_fixed_effects(self, cluster, kind, level, rows, bar)

    def influence(
        self, by: str = "rows", *, refit: bool = False, rows: Any = None, progress: bool | None = None
    ) -> Influence:
        """Measure how much each row, or each level with all its rows, decides what the fit says.

        Parameters
        ----------
        by : str
            "rows", or a grouping factor: of random effects, or of groups in which residuals are correlated.
        refit : bool
            Whether variances are estimated anew without each, from the estimate with all rows. By default they stay,
            and what is said of the fixed effects is exact for them: nothing is refitted.
        rows : path, list, or data frame, optional
            Where the rows of the model are, as `bayesmm.scan` takes it, if they are not in memory; they are read once.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        Influence
            Leverage, Cook's distance, MDFFITS, covariance ratio and trace, how far each lies from what the others
            predict; DFBETA and DFBETAS; with `refit` all parameters without it and their relative change.

        Raises
        ------
        ArgumentError
            If there is no such grouping factor, or a level has too many levels of others to be left out.
        RowsError
            If rows that are not in memory are not given, or are not those of the model. They are left out one by one by
            `influence_rows`.

        Notes
        -----
        With p coefficients and V = Var β̂, Cook's distance is (β̂ − β̂_(i))'V⁻¹(β̂ − β̂_(i))/p, MDFFITS the same with
        V₍ᵢ₎, the covariance ratio det V₍ᵢ₎/det V, its trace, tr(V⁻¹V₍ᵢ₎) − p without sign, as in HLMdiag. With G levels
        lme4's
        `cooks.distance(influence(m, "g"))` is that of a refit times (G − p)/G; its `cooks.distance(m)` for rows is
        another measure, of the fitted values: h/(1 − h)² · e²/(pσ²). DFBETAS have the sign of influence.ME, the
        opposite of lme4's. The leverage is the diagonal of what takes y to the fitted values (`hatvalues` of lme4),
        summed over the rows of a level. `statistic` is how far the rows lie from what the others predict,
        F-distributed given the relative variances; of a row it is the square of its externally studentised residual.

        References
        ----------
        Cook & Weisberg (1982), Residuals and Influence in Regression. Belsley, Kuh & Welsch (1980), Regression
        Diagnostics. Christensen, Pearson & Johnson (1992), Technometrics 34. Loy & Hofmann (2014), J. Stat. Softw. 56.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.influence("Subject").table["cooks_distance"].idxmax()
        '309'
        """
        from bayesmm.inference.diagnostics.influence import measure_influence

        return measure_influence(self, by, refit=refit, progress=progress, rows=rows)

    def influence_rows(self, rows: Any, to: str | os.PathLike[str], *, progress: bool | None = None) -> Path:
        """Write the rows of a model, read chunk by chunk, with what each decides of the fit to a Parquet file.

        Parameters
        ----------
        rows : path, list, or data frame
            The rows that the model was made of, all of them, as `bayesmm.scan` takes them.
        to : path
            Ends in ``.parquet``. It is complete, or not there.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        pathlib.Path
            Where they are: all columns of the rows, then .standardised (as of `residuals`), .leverage, .cooks_distance,
            .mdffits, .covariance_ratio, .covariance_trace, .statistic and .p_value (as of `influence`), and
            ``.dfbetas(x)`` of each coefficient; missing where a row is not complete.

        Raises
        ------
        RowsError
            If the rows cannot be read, or are not those of the model; or if residuals have a covariance.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.influence_rows("visits/*.parquet", to="influence.parquet")  # doctest: +SKIP
        """
        self.design.require_independent_residuals("influence_rows")
        from bayesmm.inference.diagnostics.influence_rows import write_influence

        with progress_bar("leaving out rows", self.n, progress) as bar:
            return write_influence(self, rows, to, bar)

    def tidy(
        self,
        effects: TidyKind | Sequence[TidyKind] = ("fixed", "ran_pars"),
        *,
        df: Df = "satterthwaite",
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Return the results as one plain frame, a row a term, in the sense of R's broom.

        Parameters
        ----------
        effects : {"fixed", "ran_pars", "ran_vals", "ran_coefs"} or sequence of these
            Fixed effects; standard deviations, correlations and σ; conditional modes of every level; coefficients of
            every level, as of `coef`.
        df : str
            Degrees of freedom of the fixed effects, as in `coefficients`.
        level : float
            Coverage of the intervals.

        Returns
        -------
        DataFrame
            Columns effect, group, level, term, estimate, std_error, df, statistic, p_value, lower, upper: None or NaN
            where a row has no such thing. The frame of a posterior has the same columns, so that both can be stacked.

        Raises
        ------
        ArgumentError
            If an argument is none of these.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.tidy("fixed")["term"].tolist()
        ['Intercept', 'Days']
        """
        from bayesmm.inference.frames.frames import tidy

        return tidy(self, effects, df, level)

    def glance(self) -> pd.DataFrame:
        """Return a frame of one row that says what the fit is like as a whole.

        Returns
        -------
        DataFrame
            nobs; ``n_levels(g)`` of each grouping factor; method; sigma; r2_marginal, r2_conditional and icc (adjusted)
            of `explained`; converged, singular; n_parameters, df_residual (rows less parameters), loglik, deviance
            (−2 log-likelihood; by REML lme4's criterion), aic, bic.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.glance()[["nobs", "sigma"]].round(2).to_numpy().tolist()
        [[180.0, 25.59]]
        """
        from bayesmm.inference.frames.frames import glance

        return glance(self)

    def augment_rows(self, rows: Any, to: str | os.PathLike[str], *, progress: bool | None = None) -> Path:
        """Write rows that are read chunk by chunk to a Parquet file, with what the fit says of each.

        Parameters
        ----------
        rows : path, list, or data frame
            What `bayesmm.scan` takes, with the response: files, folders, lazy frames, also those that the model was
            made of.
        to : path
            A file, if it ends in ``.parquet``, else a folder of such files; it is complete, or not there.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        pathlib.Path
            Where they are: all columns of the rows, then .fitted (from fixed and random effects), .fixed (from fixed
            effects alone), .residual, and .pearson (divided by its standard deviation σ/√w); missing where a row is not
            complete.

        Raises
        ------
        RowsError
            If a chunk cannot be read or predicted; it is named.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.augment_rows("visits/*.parquet", to="residuals.parquet")  # doctest: +SKIP
        """
        self.design.require_independent_residuals("augment_rows")
        from bayesmm.inference.frames.frames import augment_chunk
        from bayesmm.rows.predicting import predict_rows

        with progress_bar("writing rows", None, progress) as bar:
            return predict_rows(lambda frame: augment_chunk(self, frame), rows, to, bar)

    def augment(self, data: pd.DataFrame | None = None, *, progress: bool | None = None) -> pd.DataFrame:
        """Return the data with what the fit says of each row.

        Parameters
        ----------
        data : pandas.DataFrame, optional
            The data that the model was given, to have columns that it does not use too. Rows that were left out have
            NaN. By default the columns and rows that the model uses.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        DataFrame
            With .fitted (from fixed and random effects), .fixed (from fixed effects alone), .residual,
            .standardised (as of `residuals`), .leverage and .cooks_distance (as of `influence`).

        Raises
        ------
        ArgumentError
            If the data are not those of the model, or have one of these columns.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.augment().columns[3:].tolist()
        ['.fitted', '.fixed', '.residual', '.standardised', '.leverage', '.cooks_distance']
        """
        from bayesmm.inference.frames.frames import augment

        return augment(self, data, progress)

    def principal_components(self) -> pd.DataFrame:
        """Decompose the covariance matrix of each grouping factor: along which combinations its levels differ.

        Returns
        -------
        DataFrame
            Index: group, component. Columns: sd along the component, in units of the response; the same relative to σ;
            share and cumulative share of the variance; and the weight of each effect in it. Components without variance
            are where the fit is singular.

        Notes
        -----
        As lme4's rePCA. Shares depend on the units of the columns: only whether one is zero does not.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.principal_components().columns.tolist()
        ['sd', 'relative', 'share', 'cumulative', 'Intercept', 'Days']
        """
        from bayesmm.inference.diagnostics.principal_components import decompose_covariances

        return decompose_covariances(self)

    def loadings(self) -> pd.DataFrame:
        """Show how the effects of `rr` and `fa` terms load on their factors, and what each varies by itself.

        Returns
        -------
        DataFrame
            Index: group, effect. Columns: loading_1, loading_2, ..., in units of the response per unit of the effect's
            column, rotated to principal axes, the factor that explains most first and with a positive sum; sd_specific,
            the standard deviation of what is not shared, zero for `rr` and in a Heywood case; communality, the share of
            the effect's variance that the factors explain. Empty where no term has factors.

        Notes
        -----
        Σ = ΓΓ' + Ψ does not change if Γ is rotated or the sign of a column changed; this rotation is that of principal
        components of ΓΓ', as in ASReml's summaries. Which directions they are depends on the units of the columns.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> boys = bmm.datasets.load("orthodont")
        >>> fit = bmm.Model("distance ~ age * Sex + fa(0 + C(age) | Subject)", boys, sigma=0.01).fit()
        >>> fit.loadings().columns.tolist()
        ['loading_1', 'sd_specific', 'communality']
        """
        from bayesmm.inference.diagnostics.loadings import tabulate_loadings

        return tabulate_loadings(self)

    def envelopes(
        self,
        of: Literal["residuals", "random_effects"] = "residuals",
        *,
        n: int = 999,
        level: float = 0.95,
        seed: int = 1,
        refit: bool = False,
        rows: Any = None,
        sample: int = 10_000,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Tabulate a normal quantile plot with envelopes from data that the model draws.

        Parameters
        ----------
        of : {"residuals", "random_effects"}
            Standardised conditional residuals; or conditional modes, each over its own standard deviation.
        n : int
            Simulated sets.
        level : float
            Share of the sets inside: at each place (lower, upper), and as a whole (lower_simultaneous,
            upper_simultaneous).
        seed : int
            The same seed gives the same numbers.
        refit : bool
            Whether the variances of every set are estimated too, rather than kept at those of the fit; fixed effects
            and σ always are.
        rows : path, list, or data frame, optional
            Where the rows of the model are, as `bayesmm.scan` takes it, if they are not in memory; they are read once.
        sample : int
            Of rows that are not in memory, how many are looked at one by one, about, drawn with the seed; all others
            count in the estimates of every set.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        DataFrame
            Index: row labels, or levels. Columns: expected (normal quantile), observed, and the limits; of random
            effects group and effect before them. Ascending in observed.

        Raises
        ------
        ArgumentError
            If an argument is none of these.
        RowsError
            If rows that are not in memory are not given, or are not those of the model; or `refit` is asked of them.

        Notes
        -----
        Modes shrink, each by as much as its level has rows, and so are no sample from their distribution; over their
        own standard deviations, of G − C with C the conditional covariance, they are nearly one if the model is right.
        Even then they look more normal than the effects are, where levels have few rows: the envelope knows, since the
        simulated sets go the same way.

        References
        ----------
        Lange & Ryan (1989), Annals of Statistics 17. Atkinson (1985), Plots, Transformations and Regression. Myllymäki
        et al. (2017), JRSS-B 79, for simultaneous envelopes.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> fit.envelopes(n=20, progress=False).shape
        (180, 6)
        """
        from bayesmm.inference.diagnostics.envelopes import simulate_envelopes

        few = self._condense(rows, "fit.envelopes(rows='visits/*.parquet')", sample, seed, progress)
        return simulate_envelopes(self, few, of, n, level, seed, refit=refit, progress=progress)

    def plot_envelopes(
        self,
        of: Literal["residuals", "random_effects"] = "residuals",
        *,
        n: int = 999,
        level: float = 0.95,
        seed: int = 1,
        refit: bool = False,
        rows: Any = None,
        sample: int = 10_000,
        progress: bool | None = None,
        ax: Axes | None = None,
    ) -> Figure:
        """Draw normal quantile plots with envelopes from data that the model draws.

        Parameters
        ----------
        of, n, level, seed, refit, rows, sample, progress
            As in `envelopes`, whose table is drawn.
        ax : matplotlib.axes.Axes, optional
            To draw one panel into.

        Returns
        -------
        matplotlib.figure.Figure
            Of random effects a panel each. The three furthest points outside the simultaneous envelope are named.

        Raises
        ------
        ArgumentError
            If an argument is none of these, or `ax` is given for several panels.
        RowsError
            As of `envelopes`.
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.plot_envelopes(n=20, progress=False)
        """
        from bayesmm.inference.diagnostics.figures import plot_envelopes_of

        few = self._condense(rows, "fit.plot_envelopes(rows='visits/*.parquet')", sample, seed, progress)
        return plot_envelopes_of(self, few, of, n, level, seed, refit=refit, progress=progress, ax=ax)

    def plot_residuals(
        self,
        *,
        n: int | None = None,
        level: float = 0.95,
        seed: int = 1,
        rows: Any = None,
        sample: int = 10_000,
        progress: bool | None = None,
    ) -> Figure:
        """Draw one page of residuals and random effects.

        Parameters
        ----------
        n : int, optional
            Simulated sets behind the envelopes; by default 999, or as many as fit into memory.
        level : float
            Share of the sets that envelopes hold.
        seed : int
            The same seed gives the same envelopes.
        rows : path, list, or data frame, optional
            Where the rows of the model are, as `bayesmm.scan` takes it, if they are not in memory; they are read once.
        sample : int
            Of rows that are not in memory, how many are looked at one by one, about, drawn with the seed; all others
            count in the estimates of every set.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        matplotlib.figure.Figure
            Standardised conditional residuals against fitted values, and the roots of their sizes; normal quantile
            plots with envelopes of these residuals and of every random effect that varies; residuals by level of each
            grouping factor, 60 of more, in the order of their medians.

        Raises
        ------
        ArgumentError
            If an argument is out of its range.
        RowsError
            If rows that are not in memory are not given, or are not those of the model.
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = fit.plot_residuals(n=20, progress=False)
        """
        from bayesmm.inference.diagnostics.figures import plot_residuals

        few = self._condense(rows, "fit.plot_residuals(rows='visits/*.parquet')", sample, seed, progress)
        return plot_residuals(self, few, n, level, seed, progress)

    def simulated_residuals(
        self,
        n: int = 250,
        *,
        random: Literal["none", "all"] = "none",
        seed: int = 1,
        rows: Any = None,
        sample: int = 10_000,
        progress: bool | None = None,
    ) -> SimulatedResiduals:
        """Scale residuals by simulation: where each row lies among what the model draws for it.

        Parameters
        ----------
        n : int
            Simulated sets.
        random : {"none", "all"}
            Residuals from the fixed effects alone, or from the conditional modes too.
        seed : int
            The same seed gives the same numbers.
        rows : path, list, or data frame, optional
            Where the rows of the model are, as `bayesmm.scan` takes it, if they are not in memory; they are read once.
        sample : int
            Of rows that are not in memory, how many are looked at one by one, about, drawn with the seed; all others
            count in the estimates of every set.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        SimulatedResiduals
            The residuals, uniform between 0 and 1 if the model is right, and tests of uniformity, dispersion, outliers.

        Raises
        ------
        RowsError
            If rows that are not in memory are not given, or are not those of the model.

        Notes
        -----
        As DHARMa does, but that every simulated set goes through what the observed one went through: its fixed effects
        (and for "all" its modes) are estimated and taken off. So the tests are not misled by rows of a level that are
        alike. Relative variances and σ are the fit's: the tests err on the quiet side, and dispersion says little
        unless σ is known.

        References
        ----------
        Dunn & Smyth (1996), JCGS 5. Hartig, DHARMa (R package), for the idea.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.simulated_residuals(49, progress=False)).splitlines()[0])
        Simulated residuals of Reaction ~ Days + (Days | Subject)
        """
        from bayesmm.inference.diagnostics.simulated_residuals import simulate_residuals

        few = self._condense(rows, "fit.simulated_residuals(rows='visits/*.parquet')", sample, seed, progress)
        return simulate_residuals(self, few, n, seed, random, progress)

    def check(
        self,
        *,
        n: int = 499,
        seed: int = 1,
        rows: Any = None,
        sample: int = 10_000,
        progress: bool | None = None,
    ) -> Check:
        """Look at the fit from all sides before its numbers are read.

        Parameters
        ----------
        n : int
            Data sets that the model draws, beside which the data are seen.
        seed : int
            The same seed gives the same page.
        rows : path, list, or data frame, optional
            Where the rows of the model are, as `bayesmm.scan` takes it, if they are not in memory; they are read once.
        sample : int
            Of rows that are not in memory, how many are looked at one by one, about, drawn with the seed; all others
            count in the estimates of every set.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        Check
            Prints a page: convergence, singularity, levels, influence, residuals and random effects, each in plain
            sentences with what to do. The numbers behind each are attributes.

        Raises
        ------
        RowsError
            If rows that are not in memory are not given, or are not those of the model.

        Notes
        -----
        All looks at residuals and random effects are taken at simulated data too, each estimated as the data were
        given the relative variances. What counts is how often the most extreme of all looks is as extreme there: one
        look in twenty stands out by chance. Rows and levels are judged likewise, with all of them counted (Šidák).

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.check(n=49, progress=False)).splitlines()[0])
        Check of Reaction ~ Days + (Days | Subject)
        """
        from bayesmm.inference.diagnostics.check import check_fit

        few = self._condense(rows, "fit.check(rows='visits/*.parquet')", sample, seed, progress)
        return check_fit(self, few, n, seed, progress)

    def _condense(self, rows: Any, what: str, sample: int, seed: int, progress: bool | None) -> FewRows:
        """Put few rows, some of which are rows of the model, in the place of rows that are not in memory."""
        check_count("sample", sample, 1)
        at, seed = self.estimate, check_seed(seed)
        with progress_bar("reading rows", None, progress) as bar:
            return self.problem.condense(rows, what, at.beta, at.modes, bar, sample=sample, seed=seed)

    def summary(
        self, *, df: Df = "satterthwaite", information: Information | None = None, level: float = 0.95
    ) -> Report:
        """Summarise the fit for a terminal or a notebook.

        Parameters
        ----------
        df, information : str
            Degrees of freedom of the fixed effects, as in `coefficients`.
        level : float
            Coverage of the intervals.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its tables.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.summary(level=0.9)).splitlines()[0])
        Linear mixed model fitted by REML: Reaction ~ Days + (Days | Subject)
        """
        from bayesmm.fit.summary import build_summary

        return build_summary(self, level, df, information)

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


def combination(direction: np.ndarray, effects: tuple[str, ...]) -> str:
    """Write Σ aᵢ·effectᵢ, leaving out what is zero to the eye."""
    terms = ""
    for weight, effect in zip(direction, effects, strict=True):
        if weight == 0:
            continue
        size = "" if np.isclose(abs(weight), 1.0) else f"{abs(weight):.3g}·"
        terms += (f" {'−' if weight < 0 else '+'} " if terms else "−" if weight < 0 else "") + size + effect
    return terms
