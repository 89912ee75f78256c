"""Comparison: point estimates beside the posterior of the same model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from bayesmm.bayes.posterior import Posterior
from bayesmm.comparison.drawn import choose_parameters, densities_of_draws, profile_intervals, stack_intervals
from bayesmm.comparison.evidence import gather
from bayesmm.comparison.notes import write_notes
from bayesmm.comparison.report import build_report
from bayesmm.comparison.same_model import check_same_fit, check_same_model
from bayesmm.comparison.tables import parameter_table, random_effect_table
from bayesmm.errors import ComparisonError
from bayesmm.fit.fit import Fit
from bayesmm.inference.bootstrap.bootstrap import Bootstrap
from bayesmm.inference.fitted import Df, Information
from bayesmm.presenting.intervals import check_level
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bayesmm.inference.profile.profile import Profile
    from bayesmm.plots.canvas import Figure
    from bayesmm.plots.collection import Backend, PlotCollection
    from bayesmm.plots.densities import Density

DF_NAMES: dict[Any, str] = {
    "satterthwaite": "Satterthwaite",
    "kenward-roger": "Kenward–Roger",
    "residual": "residual df",
    "normal": "Wald",
}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Comparison:
    """Point estimates and posterior of one model, row by row, with what their difference means.

    Made by `bayesmm.compare`. Prints as a report; a notebook shows it as a page.

    Attributes
    ----------
    fit : Fit
        The estimates.
    posterior : Posterior
        The draws.
    bootstrap : Bootstrap, optional
        Refits of the same fit to resampled data.
    level : float
        Coverage of both sets of intervals.
    df, information : str
        Degrees of freedom of the fit's fixed effects, as in `bayesmm.fit.Fit.coefficients`.
    progress : bool, optional
        Whether to show a progress bar while effects of levels are worked out; by default where a person can see it.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
    >>> comparison = bmm.compare(model.fit(), posterior)
    >>> comparison.table.index.tolist()
    ['Intercept', 'sd(Intercept | Batch)', 'sigma']
    """

    fit: Fit
    posterior: Posterior
    bootstrap: Bootstrap | None
    level: float
    df: Df
    information: Information | None
    progress: bool | None = None

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a parameter.

        Columns: kind and group; of the fit, estimate, std_error, fit_lower, fit_upper; of a bootstrap, if there is one,
        bootstrap_std_error, bootstrap_lower, bootstrap_upper (percentiles); of the posterior, mean, sd,
        posterior_lower, posterior_upper; shift = (mean − estimate) / sd; r_hat, ess_bulk, ess_tail.
        """
        return parameter_table(self.fit, self.posterior, self.bootstrap, self.level, self.df, self.information)

    @cached_property
    def random_effects(self) -> pd.DataFrame:
        """One row per level and effect.

        Columns: group, level, effect; unpooled, the effect that the level's own rows would give (least squares on what
        the rest of the fit leaves, NaN where those rows do not determine it); estimate and std_error, the BLUP and its
        conditional standard deviation; full, the root of its mean squared error with the errors of fixed effects and
        variances (see `bayesmm.effect_uncertainty`; NaN where crossed factors have more than 5,000 effects, for it
        would take long); mean and sd of the posterior; shift = (mean − estimate) / sd.
        """
        return random_effect_table(self.fit, self.posterior, self.progress)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What differs, by how much, and why; plain sentences computed from the numbers."""
        return write_notes(gather(self.fit, self.posterior, self.table, self.random_effects), self.df)

    def plot(self, *, profile: Profile | bool = False) -> Figure:
        """Draw all intervals of every parameter, and the densities of draws and replicates.

        Parameters
        ----------
        profile : Profile or bool
            Whether profile intervals are drawn too: a profile of the same fit, or True to make one.

        Returns
        -------
        matplotlib.figure.Figure
            Each parameter has one row, with the fit's interval (by the degrees of freedom of the comparison), the
            profile's, the bootstrap's with the density of its replicates, if there is one, and the posterior's with its
            density. Parameters that can be read on one scale share a panel. To be saved with ``savefig`` or shown with
            ``matplotlib.pyplot.show()``.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.
        ArgumentError
            If `profile` is neither, or does not go as far as the level of the comparison.
        ComparisonError
            If it is the profile of another fit.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> figure = bmm.compare(model.fit(), posterior).plot()
        """
        from bayesmm.plots.comparison import plot_comparison

        table = self.table
        intervals = profile_intervals(self.fit, profile, self.level)
        if intervals is not None:
            table = table.join(intervals[["lower", "upper"]].add_prefix("profile_"))
        return plot_comparison(
            table,
            method=self._method,
            level=self.level,
            posterior=self.posterior_densities,
            bootstrap=None if self.bootstrap is None else self.bootstrap.densities,
        )

    def plot_forest(
        self,
        parameters: str | Sequence[str] | None = None,
        *,
        profile: Profile | bool = False,
        backend: Backend = "matplotlib",
    ) -> PlotCollection:
        """Draw the intervals of all results beside each other with ArviZ, for matplotlib, Plotly or Bokeh.

        Parameters
        ----------
        parameters : str or sequence of str, optional
            Rows of `table`; all by default, on one scale.
        profile : Profile or bool
            As in `plot`.
        backend : {"matplotlib", "plotly", "bokeh", "none"}
            What draws; "none" returns what would be drawn.

        Returns
        -------
        arviz_plots.PlotCollection
            ``show()`` and ``savefig(path)``; ``viz`` has the figure. The fit, the profile, the bootstrap and the
            posterior are the coordinates of its dim ``model``.

        Raises
        ------
        ArgumentError
            If a parameter is unknown, or an argument is none of these.
        BayesmmError
            If the backend is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> collection = bmm.compare(model.fit(), posterior).plot_forest("Days", backend="none")
        """
        from bayesmm.plots.collection import import_arviz_plots, plot_forest

        import_arviz_plots(backend)
        table = choose_parameters(self.table, parameters)
        intervals = profile_intervals(self.fit, profile, self.level)
        return plot_forest(stack_intervals(table, intervals, self._method), backend=backend)

    @property
    def _method(self) -> str:
        return f"{self.fit.method.upper()} ({DF_NAMES[self.df]})"

    @cached_property
    def posterior_densities(self) -> Mapping[str, Density]:
        """Density of each parameter's draws, as `plot` shows it: ``x``, ``density`` and ``atoms`` by name."""
        return densities_of_draws(self.posterior)

    def plot_groups(
        self,
        x: str | None = None,
        group: str | None = None,
        levels: Sequence[str] | None = None,
        *,
        rows: Any = None,
    ) -> Figure:
        """Draw the data of each level with its lines, partially pooled by both.

        Parameters
        ----------
        x, group, levels, rows
            As in `bayesmm.fit.Fit.group_lines`.

        Returns
        -------
        matplotlib.figure.Figure
            As `bayesmm.fit.Fit.plot_groups`; own and pooled lines are those of the fit.

        Raises
        ------
        ArgumentError
            If an argument suits nothing in the model.
        RowsError
            As of `bayesmm.fit.Fit.group_lines`.
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> figure = bmm.compare(model.fit(), posterior).plot_groups(levels=["308", "309"])
        """
        from bayesmm.bayes.results.group_lines import draw_group_lines
        from bayesmm.design.words.group_lines import plot_group_lines
        from bayesmm.inference.pooling.group_lines import estimate_group_lines

        lines = estimate_group_lines(self.fit, x=x, group=group, levels=levels, level=self.level, rows=rows)
        shown = list(dict.fromkeys(lines.table["level"]))
        how = {"x": lines.x, "group": lines.group, "levels": shown, "level": self.level, "rows": rows}
        drawn = draw_group_lines(self.posterior, **how)
        return plot_group_lines([("fit", lines), ("posterior", drawn)])

    @cached_property
    def _report(self) -> Report:
        return build_report(
            self.fit, self.posterior, self.bootstrap, self.table, self.random_effects, self.notes, self.level
        )

    def __str__(self) -> str:
        return str(self._report)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report._repr_html_()


def compare(
    fit: Fit,
    *others: Posterior | Bootstrap,
    df: Df = "satterthwaite",
    information: Information | None = None,
    level: float = 0.95,
    progress: bool | None = None,
) -> Comparison:
    """Put point estimates and the posterior of the same model side by side.

    Parameters
    ----------
    fit : Fit
        From `bayesmm.Model.fit`.
    *others : Posterior and Bootstrap
        From `bayesmm.Model.sample`; and from `bayesmm.fit.fit.Fit.bootstrap`, if one is to stand beside them.
    df, information : str
        Degrees of freedom of the fit's fixed effects, as in `bayesmm.fit.fit.Fit.coefficients`: "satterthwaite",
        "kenward-roger", "residual" or "normal".
    level : float
        Coverage of all intervals.
    progress : bool, optional
        Whether to show a progress bar while effects of levels are worked out; by default where a person can see it.

    Returns
    -------
    Comparison
        Prints as a report; `table`, `random_effects` and `notes` hold what it says.

    Raises
    ------
    ComparisonError
        If they are not a fit and a posterior of the same formula, rows, weights and known sigma.
    ArgumentError
        If the level is no coverage.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))
    >>> comparison = bmm.compare(model.fit(), model.sample(seed=1))  # doctest: +SKIP
    >>> bmm.compare(model.fit(), model.fit().bootstrap(), model.sample(seed=1))  # doctest: +SKIP
    """
    posterior, bootstrap = _told_apart(fit, others)
    level = check_level(level)
    check_same_model(fit, posterior)
    if bootstrap is not None:
        check_same_fit(fit, bootstrap)
    return Comparison(
        fit=fit,
        posterior=posterior,
        bootstrap=bootstrap,
        level=level,
        df=df,
        information=information,
        progress=progress,
    )


def _told_apart(fit: Any, others: tuple[Any, ...]) -> tuple[Posterior, Bootstrap | None]:
    posteriors = [each for each in others if isinstance(each, Posterior)]
    bootstraps = [each for each in others if isinstance(each, Bootstrap)]
    known = len(posteriors) + len(bootstraps) == len(others)
    if isinstance(fit, Fit) and known and len(posteriors) == 1 and len(bootstraps) <= 1:
        return posteriors[0], bootstraps[0] if bootstraps else None
    given = [f"a {type(each).__name__}" for each in (fit, *others)]
    raise ComparisonError(
        f"compare takes a Fit and a Posterior, in this order, and a Bootstrap if there is one; it was given "
        f"{' and '.join(given)}. Write compare(model.fit(), model.sample(seed=1))."
    )
