"""How sure one is of every level's effect, layer by layer, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.arguments import check_refits, check_seed, is_one_of, shorten
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.errors import ArgumentError, ComparisonError
from bayesmm.inference.bootstrap.bootstrap import Bootstrap
from bayesmm.inference.effects.layers import Layers, build_layers
from bayesmm.inference.effects.refitted import Moved, move_effects
from bayesmm.inference.effects.tables import standard_errors
from bayesmm.inference.either import is_posterior
from bayesmm.inference.fitted import Fitted, Information
from bayesmm.inference.fixed.student import t_quantile
from bayesmm.presenting.columns import effect_frame
from bayesmm.presenting.intervals import tails
from bayesmm.presenting.numbers import decimals_for, write_number
from bayesmm.presenting.parts import Column, Part, Table, facts, notes
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.plots.canvas import Axes, Figure

LAYERS = ("conditional", "fixed", "full", "bootstrap", "posterior")
ALIKE = 0.05  # share of a standard deviation from which on a layer is worth its mention
MUCH = 0.25  # from which on an expansion to second order is not to be relied on
NEAR = 2.0  # standard errors of a standard deviation from zero, below which neither is
FEW_REFITS = 100
SHOWN = 12  # levels of one effect
METHODS = {"reml": "REML", "ml": "maximum likelihood"}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EffectUncertainty:
    """Standard deviations of the error of predicted effects.

    Attributes
    ----------
    table : DataFrame
        One row a level and effect: group, level, effect, estimate, and the roots of the mean squared error as each
        layer has it: conditional, fixed, full, and bootstrap and posterior where they were asked for.
    notes : tuple of str
        Which layer matters here, and why.
    df : DataFrame
        Rows of `table`: degrees of freedom of the mean squared errors of full and, if there is one, bootstrap.
    posterior : Posterior, optional
        That was given.
    title, what : str
        What the report says above its tables.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit()
    >>> found = bmm.effect_uncertainty(fit)
    >>> found.layers
    ('conditional', 'fixed', 'full')
    """

    table: pd.DataFrame
    notes: tuple[str, ...]
    df: pd.DataFrame
    posterior: Posterior | None
    title: str
    what: str

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that there are, from the one that knows least."""
        return tuple(layer for layer in LAYERS if layer in self.table)

    def intervals(self, level: float = 0.95) -> pd.DataFrame:
        """Tabulate the interval of each effect by each layer.

        Parameters
        ----------
        level : float
            Coverage.

        Returns
        -------
        DataFrame
            One row a level, effect and layer: group, level, effect, layer, estimate, std_error, df, lower, upper. The
            quantiles are normal ones for conditional and fixed, whose df are infinite, and those of t for full and
            bootstrap. The posterior's estimate is its mean, std_error its standard deviation, its limits are quantiles
            of the draws, and it has no df.

        Raises
        ------
        ArgumentError
            If `level` is no coverage.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit()
        >>> bmm.effect_uncertainty(fit).intervals(level=0.8)["layer"].tolist()[:3]
        ['conditional', 'fixed', 'full']
        """
        above = tails(level)[1]
        drawn = None if self.posterior is None else self.posterior.random_effects(level=level)
        parts = []
        for order, layer in enumerate(self.layers):
            own = self.table[["group", "level", "effect"]].assign(layer=layer, order=order)
            if layer == "posterior" and drawn is not None:
                its = drawn.loc[own.index]
                own = own.assign(estimate=its["mean"], std_error=its["sd"], df=np.nan)
                parts.append(own.assign(lower=its["lower"], upper=its["upper"]))
                continue
            df = self.df.loc[own.index, layer].to_numpy() if layer in self.df else np.full(len(own), np.inf)
            centre, error = self.table["estimate"].to_numpy(), self.table[layer].to_numpy()
            half = error * t_quantile(above, df)
            own = own.assign(estimate=centre, std_error=error, df=df)
            parts.append(own.assign(lower=centre - half, upper=centre + half))
        rows = pd.concat(parts).rename_axis("row").sort_values(["row", "order"], kind="stable")
        return rows.drop(columns="order").reset_index(drop=True)

    def only(self, effect: str | None = None, group: str | None = None) -> EffectUncertainty:
        """Keep some effects alone.

        Parameters
        ----------
        effect : str, optional
            Name of a random effect, such as ``"Days"``; by default all.
        group : str, optional
            Grouping factor; by default all that have the effect.

        Returns
        -------
        EffectUncertainty
            With the same notes: they are about the whole fit.

        Raises
        ------
        ArgumentError
            If there is no such effect or group.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> bmm.effect_uncertainty(fit).only("Days").table["effect"].unique().tolist()
        ['Days']
        """
        wanted = set(self._find(effect, group))
        pairs = zip(self.table["group"], self.table["effect"], strict=True)
        return replace(self, table=self.table.loc[[pair in wanted for pair in pairs]])

    def plot(
        self,
        effect: str | None = None,
        group: str | None = None,
        *,
        layers: str | Sequence[str] | None = None,
        level: float = 0.95,
        ax: Axes | None = None,
    ) -> Figure:
        """Draw the predicted effects of all levels, sorted, with the interval of every layer side by side.

        Parameters
        ----------
        effect : str, optional
            Name of a random effect, such as ``"Days"``; by default the first of the group.
        group : str, optional
            Grouping factor; by default the first that has the effect.
        layers : str or sequence of str, optional
            Which layers to draw; by default all that there are.
        level : float
            Coverage of the intervals.
        ax : matplotlib.axes.Axes, optional
            To draw into.

        Returns
        -------
        matplotlib.figure.Figure
            A row a level up to some sixty levels; of more a band a layer over the sorted levels, with the names of the
            most extreme.

        Raises
        ------
        ArgumentError
            If there is no such effect, group or layer, or `level` is no coverage.
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = bmm.effect_uncertainty(fit).plot()
        """
        from bayesmm.plots.caterpillar import plot_caterpillar

        group, effect = self._find(effect, group)[0]
        shown = self._choose_layers(layers)
        found = self.intervals(level)
        own = found.loc[(found["group"] == group) & (found["effect"] == effect) & found["layer"].isin(shown)]
        return plot_caterpillar(own, title=f"{effect} | {group}", coverage=level, ax=ax)

    def _find(self, effect: Any, group: Any) -> list[tuple[str, str]]:
        """Return the groups and effects that are meant."""
        pairs = list(dict.fromkeys(zip(self.table["group"], self.table["effect"], strict=True)))
        found = [
            (g, e)
            for g, e in pairs
            if (group is None or is_one_of(group, (g,))) and (effect is None or is_one_of(effect, (e,)))
        ]
        if not found:
            raise ArgumentError(
                f"There is no effect {shorten(effect)} of group {shorten(group)}: give one of "
                f"{', '.join(f'{e} of {g}' for g, e in pairs)}."
            )
        return found

    def _choose_layers(self, layers: Any) -> list[str]:
        if layers is None:
            return list(self.layers)
        wanted = [layers] if isinstance(layers, str) else layers
        if not isinstance(wanted, Sequence) or not wanted or not all(is_one_of(w, self.layers) for w in wanted):
            raise ArgumentError(f"layers is {shorten(layers)}: give some of {', '.join(self.layers)}.")
        return list(wanted)

    def _report(self) -> Report:
        shown = self.table.groupby(["group", "effect"], sort=False)
        tables: list[Part] = [_show(f"{effect} | {group}", own) for (group, effect), own in shown]  # pyright: ignore[reportGeneralTypeIssues]
        return Report(title=self.title, parts=(facts((self.what,)), *tables, notes(self.notes)))

    def __str__(self) -> str:
        return str(self._report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._report()._repr_html_()


def effect_uncertainty(
    fit: Fitted,
    posterior: Posterior | None = None,
    bootstrap: int | Bootstrap | None = None,
    *,
    information: Information = "expected",
    seed: int = 1,
    progress: bool | None = None,
) -> EffectUncertainty:
    """Say how sure one is of each level's effects, by every layer of uncertainty side by side.

    Parameters
    ----------
    fit : Fit
        Of `bayesmm.Model.fit`; best by REML.
    posterior : Posterior, optional
        Of the same model and data.
    bootstrap : int or Bootstrap, optional
        Refits to data drawn from the estimates; 200 are enough, since only the part of the error that the estimated
        variances add is simulated. None are made by default. What ``fit.bootstrap()`` returned is not refitted.
    information : {"expected", "observed"}
        Whose inverse is taken for the covariance of the estimated variances.
    seed : int
        Of the bootstrap; the same seed gives the same numbers.
    progress : bool, optional
        Whether to show a progress bar; by default where a person can see it.

    Returns
    -------
    EffectUncertainty
        ``table``, ``intervals()``, ``plot()`` and ``notes``; prints as a report.

    Raises
    ------
    ArgumentError
        If `bootstrap` is no count, or an argument is none of these.
    ComparisonError
        If the posterior or the bootstrap is of another model, or the bootstrap is not parametric.

    Notes
    -----
    With b̂ = GZ'Py at the estimated variances, and θ these variances:

    =============  ===================================================================================================
    conditional    √g₁, the standard deviation of b given y, θ̂ and β̂, as lme4's condVar
    fixed          √(g₁ + g₂), with the error of β̂ (Henderson)
    full           √(g₁ + g₂ + 2g₃), with that of θ̂ to second order: g₃ = Σ W_ij E[∂_i b̂ ∂_j b̂'] is what the error of
                   θ̂ adds, W its covariance, and g₁ at θ̂ is too small by as much again on average, under REML
    bootstrap      √(g₁ + g₂ + E*(b̂(θ*) − b̂(θ̂))²), the mean squared error if the estimates were the truth
    posterior      the standard deviation of the posterior
    =============  ===================================================================================================

    The first three know nothing of a variance that is estimated as zero: given that, there is no effect and no error.

    References
    ----------
    Henderson (1975), Biometrics 31. Kackar & Harville (1984), JASA 79. Prasad & Rao (1990), JASA 85. Datta & Lahiri
    (2000), Stat. Sinica 10.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> print(bmm.effect_uncertainty(fit).table.head(2).round(2).to_string())
         group level     effect  estimate  conditional  fixed   full
    0  Subject   308  Intercept      2.26        12.07  13.10  14.16
    1  Subject   308       Days      9.20         2.30   2.64   2.81
    """
    seed = check_seed(seed)
    if is_posterior(fit):
        raise ArgumentError("fit is a posterior: give the fit, and the posterior after it.")
    if posterior is not None and not is_posterior(posterior):
        raise ArgumentError("posterior is a fit: give what model.sample() returned.")
    if bootstrap is not None and not isinstance(bootstrap, Bootstrap):
        bootstrap = check_refits(bootstrap)
    drawn = None if posterior is None else _posterior_sds(fit, posterior)
    layers = build_layers(fit, information, progress=progress)
    moved = None if bootstrap is None else move_effects(fit, bootstrap, seed, progress)
    modes, blocks = fit.estimate.modes, fit.labels.blocks
    table = effect_frame((b.group, b.levels, b.effects, {"estimate": m}) for b, m in zip(blocks, modes, strict=True))
    columns = {
        "conditional": [standard_errors(own.conditional) for own in layers],
        "fixed": [standard_errors(own.fixed) for own in layers],
        "full": [standard_errors(own.full) for own in layers],
    }
    if moved is not None:
        columns["bootstrap"] = [
            np.sqrt(standard_errors(own.fixed) ** 2 + squares)
            for own, squares in zip(layers, moved.squares, strict=True)
        ]
    df = pd.DataFrame(index=table.index)
    for name, parts in columns.items():
        table[name] = np.concatenate([part.ravel() for part in parts])
        if name in ("full", "bootstrap"):
            df[name] = np.concatenate([own.df(m**2).ravel() for own, m in zip(layers, parts, strict=True)])
    if drawn is not None:
        table["posterior"] = drawn
    return EffectUncertainty(
        table=table,
        notes=(*_notes(fit, layers, moved, table),),
        df=df,
        posterior=posterior,
        title=f"How sure are we of each effect? {fit.design.specification.shown}",
        what=f"Standard deviations of the errors of the effects predicted by {METHODS[fit.method]}",
    )


def _posterior_sds(fit: Fitted, posterior: Any) -> np.ndarray:
    if fit.labels != posterior.labels or not fit.design.has_response_of(posterior.design):
        raise ComparisonError(
            "The fit and the posterior are not of the same model and data. Fit and sample one Model: model.fit() and "
            "model.sample(seed=1)."
        )
    return posterior.random_effects()["sd"].to_numpy()


def _notes(fit: Fitted, layers: list[Layers], moved: Moved | None, table: pd.DataFrame) -> Iterable[str]:
    """Say which layer matters here, and why."""
    for block, own in zip(fit.design.blocks, layers, strict=True):
        said = _of_group(block, own)
        if said:
            yield said
    further = [name for name in ("bootstrap", "posterior") if name in table]
    elsewhere = f"the {' and the '.join(further)} can" if further else "a bootstrap or a posterior can"
    if fit.singular_directions:
        yield (
            f"{'; '.join(fit.singular_directions)}: the layers conditional, fixed and full take that for certain, and "
            f"what an estimate of zero may hide they cannot know; {elsewhere}."
        )
    parameters = fit.parameter_table()
    sds = parameters[(parameters["kind"] == "sd") & (parameters["estimate"] < NEAR * parameters["std_error"])]
    if len(sds):
        verb = "is" if len(sds) == 1 else "are"
        yield (
            f"{', '.join(map(str, sds.index))} {verb} less than {NEAR:.0f} standard errors from zero, too near for an "
            f"expansion to second order: full is rough there; {elsewhere} be taken instead."
        )
    if fit.method == "ml":
        yield (
            "Maximum likelihood estimates variances too low on average, and full has no term for that: its mean "
            "squared errors are for REML; fit by REML to report them."
        )
    if moved is not None:
        failed = f" {moved.n_failed} of them found no maximum and are left out." if moved.n_failed else ""
        few = " They are few." if moved.n < FEW_REFITS else ""
        yield (
            f"bootstrap: {moved.n} refits to data drawn from the estimates, taken for the truth; unlike full it does "
            f"not make up for estimates that came out too low.{failed}{few}"
        )
    if "posterior" in table:
        full, drawn = table["full"].to_numpy(), table["posterior"].to_numpy()
        if (full > 0.0).any():
            ratio = float(np.median(drawn[full > 0.0] / full[full > 0.0]))
            yield f"posterior: {ratio:.2f} times full (median of levels and effects)."


def _of_group(block: RandomBlock, own: Layers) -> str:
    """Say what each layer adds for the levels of one factor, and so which to report."""
    conditional, fixed, full = (standard_errors(each) for each in (own.conditional, own.fixed, own.full))
    if not (conditional > 0.0).any():
        return ""
    more_fixed, more_full = _growth(conditional, fixed), _growth(fixed, full)
    rows = float(np.median(block.incidence.row_counts()))
    size = f"{block.group}: {block.q} levels, {rows:g} {'row' if rows == 1.0 else 'rows'} each (median)"
    adds = f"the error of the fixed effects adds {_percent(more_fixed)} to the sd"
    adds += f", that of the variances {_percent(more_full)}"
    if more_full > MUCH:
        advice = "the variances are so uncertain that full is a rough guide: take a bootstrap or a posterior"
    elif more_full > ALIKE:
        advice = "report full"
    elif more_fixed > ALIKE:
        advice = "report fixed or full; conditional is too small"
    else:
        advice = "every layer will do"
    return f"{size}; {adds}: {advice}."


def _growth(before: np.ndarray, after: np.ndarray) -> float:
    """By which share a layer is larger than the one before: median over levels, of the effect with the most."""
    ratios = np.divide(after, before, out=np.ones_like(after), where=before > 0.0)
    return float(np.median(ratios, axis=0).max()) - 1.0


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{100.0 * share:.0f} %"


def _show(name: str, own: pd.DataFrame) -> Table:
    """Tabulate one effect: the levels furthest from zero, in the order of the data."""
    caption = name
    if len(own) > SHOWN:
        caption = f"{name}: the {SHOWN} of {len(own)} levels that are furthest from zero"
        own = own.iloc[np.sort(np.argsort(-np.abs(own["estimate"].to_numpy()), kind="stable")[:SHOWN])]
    layers = [column for column in own.columns if column not in ("group", "level", "effect")]
    decimals = decimals_for(*own[layers[1:]].to_numpy().ravel())
    return Table(
        names=[str(level) for level in own["level"]],
        caption=caption,
        head="level",
        where="uncertainty.table",
        columns=tuple(Column(head=each, cells=[write_number(v, decimals) for v in own[each]]) for each in layers),
    )
