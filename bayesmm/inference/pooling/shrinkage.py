"""How far each level is pulled from its own rows towards all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.words.own_rows import OwnRows
from bayesmm.errors import ArgumentError
from bayesmm.inference.pooling.levels import FitValues, Of, PosteriorValues, read_values
from bayesmm.inference.pooling.relatives import expect_from_relatives, reliabilities
from bayesmm.presenting.intervals import check_level, interval_head, tails
from bayesmm.presenting.numbers import decimals_for, write_column, write_intervals, write_number
from bayesmm.presenting.parts import AnyColumn, Column, Interval, Shrinkage, Table, facts, notes
from bayesmm.presenting.progress import watched
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from bayesmm.plots.canvas import Axes, Figure
    from bayesmm.plots.shrinkage import ShrinkagePanel

SHOWN = 20  # levels of each effect on the page
FOR_WEIGHTS = 500  # draws of the covariances that weights are averaged over


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PartialPooling:
    """No pooling, complete pooling, and what lies between; made by `bayesmm.shrinkage`.

    Attributes
    ----------
    table : DataFrame
        One row per level and effect: group, level, effect, n (rows of the level in which some column of it is not
        zero), unpooled, complete, estimate, weight, rank_unpooled, rank, rank_change; of a posterior also sd, lower,
        upper, weight_lower, weight_upper. The largest has rank 1; ranks are among the levels whose own rows determine
        their effects, and a positive change is a rise. Where levels are related also relatives, which a level is pulled
        to, and reliability; see the notes of `bayesmm.shrinkage`.
    pooling : DataFrame
        One row per group and effect: pooling_factor, mean_weight, rank_correlation (Spearman's, before and after); and
        mean_reliability where levels are related, whose pooling factor is NaN.
    weights : dict of str to array, shape (q, k, k)
        By grouping factor, what the unpooled effects of a level are multiplied by; NaN where its rows do not determine
        them. Of related levels the rest is of what their relatives say.
    covariances : dict of str to DataFrame
        By grouping factor, the covariance matrix of the effects of a level that pools them: estimated, or the posterior
        mean.
    of : {"effects", "coefficients"}
        Random effects, or these with the fixed effect.
    level : float
        Of the intervals.
    words : str
        Where the numbers come from.
    formula : str
        The model.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit()
    >>> found = bmm.shrinkage(fit)
    >>> found.table.columns.tolist()[:5]
    ['group', 'level', 'effect', 'n', 'unpooled']
    """

    table: pd.DataFrame
    pooling: pd.DataFrame
    weights: dict[str, np.ndarray]
    covariances: dict[str, pd.DataFrame]
    of: Of
    level: float
    words: str
    formula: str

    def summary(self) -> Report:
        """Show all three for each effect, and how much is pooled.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(bmm.shrinkage(fit).summary()).splitlines()[0])
        Shrinkage
        """
        return Report(
            title="Shrinkage",
            parts=(
                facts([self.formula, self.words]),
                *self._effect_tables(),
                self._pooling_table(),
                notes(self._notes()),
            ),
        )

    def plot(
        self,
        group: str | None = None,
        effects: str | Sequence[str] | None = None,
        *,
        ax: Axes | None = None,
    ) -> Figure:
        """Draw how far each level is pulled.

        Parameters
        ----------
        group : str, optional
            Grouping factor; all of them by default, one panel each.
        effects : str or two of them, optional
            What is drawn of its effects: of one, lines from each level's own estimate over the partially pooled one to
            the completely pooled one; of two, arrows in their plane. By default the first two, or the only one.
        ax : matplotlib.axes.Axes, optional
            To draw one panel into.

        Returns
        -------
        matplotlib.figure.Figure
            Ellipses, or bands, hold 50 and 95 % of the population of levels as estimated. A level whose own rows do not
            determine its effects has no own estimate. Of up to 25 levels all are named, of more the five that are moved
            furthest. Of a posterior partially pooled effects have intervals, in the plane for up to 60 levels.

        Raises
        ------
        ArgumentError
            If there is no such factor or effect, or `ax` is given for several panels.
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = bmm.shrinkage(fit).plot()
        """
        from bayesmm.plots.shrinkage import plot_shrinkage

        names = self._names(group)
        if ax is not None and len(names) > 1:
            raise ArgumentError(f"ax is for one panel, and there are {len(names)}: name a grouping factor in group=.")
        return plot_shrinkage([self._panel(name, effects) for name in names], ax=ax)

    def _names(self, group: object) -> list[str]:
        known = list(self.covariances)
        if group is None:
            return known
        for name in known:
            if isinstance(group, str) and group in (name, f"`{name}`"):
                return [name]
        raise ArgumentError(f"group is {shorten(group)}: give a grouping factor of the model: {listing(known)}.")

    def _panel(self, group: str, effects: object) -> ShrinkagePanel:
        from bayesmm.plots.shrinkage import ShrinkagePanel

        covariance = self.covariances[group]
        known = list(covariance.index)
        chosen: Any = known[:2] if effects is None else [effects] if isinstance(effects, str) else effects
        if (
            not isinstance(chosen, Sequence)
            or len(chosen) not in (1, 2)
            or len(set(map(repr, chosen))) < len(chosen)
            or not all(isinstance(name, str) and name in known for name in chosen)
        ):
            raise ArgumentError(f"effects is {shorten(effects)}: give one or two effects of {group}: {listing(known)}.")
        own = self.table.set_index("level").loc[(self.table["group"] == group).to_numpy()]
        return ShrinkagePanel(
            group=group,
            effects=tuple(chosen),
            tables=tuple(own.loc[(own["effect"] == name).to_numpy()] for name in chosen),
            covariance=covariance.loc[list(chosen), list(chosen)].to_numpy(),
            is_related="relatives" in own and bool(own["reliability"].notna().any()),
            is_random=self.of == "effects",
            level=self.level,
        )

    def _effect_tables(self) -> Iterator[Table]:
        of_group, of_effect = self.table["group"].to_numpy(), self.table["effect"].to_numpy()
        for group, effect in self.pooling.index:
            rows = self.table.iloc[np.flatnonzero((of_group == group) & (of_effect == effect))]
            q, caption = len(rows), f"{effect} by {group}"
            if q > SHOWN:
                moved = np.abs(rows["unpooled"].to_numpy() - rows["estimate"].to_numpy())
                rows = rows.iloc[np.sort(np.argsort(-moved, kind="stable")[:SHOWN])]
                caption += f": the {SHOWN} of {q} levels that are moved furthest"
            yield Table(
                names=[str(level) for level in rows["level"]],
                head=str(group),
                caption=caption,
                where="its table",
                columns=self._columns(rows),
            )

    def _columns(self, rows: pd.DataFrame) -> list[AnyColumn]:
        is_drawn = "sd" in rows
        spread = rows["sd"] if is_drawn else (rows["unpooled"] - rows["complete"]).abs().to_numpy()
        smallest = float(np.nanmax(spread)) if np.isfinite(spread).any() else np.nan
        decimals = [decimals_for(smallest)] * len(rows)
        alone, pooled = write_column(rows["unpooled"], decimals), write_column(rows["estimate"], decimals)
        columns: list[AnyColumn] = [
            Column(head="n", cells=[str(n) for n in rows["n"]]),
            Column(head="alone", cells=alone),
            Column(head="pooled", cells=pooled),
        ]
        is_related = "reliability" in rows and bool(rows["reliability"].notna().any())
        if is_related:
            columns.insert(2, Column(head="relatives", cells=write_column(rows["relatives"], decimals)))
        if is_drawn:
            limits = write_intervals(rows["lower"], rows["upper"], rows["estimate"], rows["sd"])
            columns.append(Interval(head=interval_head(self.level), cells=limits))
        columns.append(Column(head="weight", cells=write_column(rows["weight"], 3)))
        if is_related:
            columns.append(Column(head="reliability", cells=write_column(rows["reliability"], 3)))
        for head, name in (("alone", "rank_unpooled"), ("pooled", "rank")):
            columns.append(
                Column(head=head, over="rank", cells=[f"{rank:g}" if rank == rank else "–" for rank in rows[name]])
            )
        around = rows[["unpooled", "estimate"]].sub(rows["complete"], axis=0)
        scale = around.abs().max(axis=None)
        marks = around / (scale if scale > 0 else 1.0)
        columns.append(
            Shrinkage(
                head="shrinkage",
                marks=list(zip(marks["unpooled"], marks["estimate"], strict=True)),
                labels=[f"alone {one}, pooled {other}" for one, other in zip(alone, pooled, strict=True)],
            )
        )
        return columns

    def _pooling_table(self) -> Table:
        names = {
            "pooling_factor": "pooling factor",
            "mean_weight": "mean weight",
            "rank_correlation": "rank correlation",
        }
        if "mean_reliability" in self.pooling:
            names["mean_reliability"] = "mean reliability"
        return Table(
            names=[f"{effect} by {group}" for group, effect in self.pooling.index],
            caption="How much is pooled",
            columns=[
                Column(head=head, cells=[write_number(value, 3) for value in self.pooling[name]])
                for name, head in names.items()
            ],
        )

    def _notes(self) -> Iterator[str]:
        yield (
            "alone: least squares on the level's own rows, all else as estimated. weight: how much of it stays, by "
            "itself; where effects are correlated the others' own estimates come in too (weights). Pooling factor: 0 "
            "is none, 1 complete."
        )
        if "reliability" in self.table:
            yield (
                "Related levels are drawn towards their relatives, not towards the mean alone. relatives: what the "
                "effects of all others say of a level before its own rows; weight: how much of alone stays against "
                "that. reliability: 1 less the variance of the prediction's error over the level's own variance; its "
                "root is the accuracy."
            )
        lost = self.table["unpooled"].isna().to_numpy()
        if lost.any():
            n = len(self.table.loc[lost, ["group", "level"]].drop_duplicates())
            whose = "1 level do not determine its" if n == 1 else f"{n} levels do not determine their"
            yield f"The own rows of {whose} effects: –."
        for (group, effect), factor in zip(self.pooling.index, self.pooling["pooling_factor"], strict=True):
            if not factor >= 1.0:  # NaN of related levels
                continue
            yield f"{effect} by {group} was estimated not to vary: pooling is complete."

    def __str__(self) -> str:
        return str(self.summary())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def shrinkage(result: Any, *, of: Of = "effects", level: float = 0.95, progress: bool | None = None) -> PartialPooling:
    """Show how far each level is pulled from what its own rows say towards what all levels have in common.

    Parameters
    ----------
    result : Fit or Posterior
        Either.
    of : {"effects", "coefficients"}
        Random effects, of which complete pooling makes zeros; or these with the fixed effect of the same name, which is
        then complete pooling.
    level : float
        Probability of the intervals, for a posterior.
    progress : bool, optional
        Whether to show a progress bar where a posterior's effects were not kept and are drawn; by default where a
        person can see it.

    Returns
    -------
    PartialPooling
        Prints as a report; `table`, `pooling` and `weights` have all numbers.

    Raises
    ------
    ArgumentError
        If an argument is none of these.

    Notes
    -----
    No pooling: least squares b̃ on the level's own rows of what the fixed effects and the other grouping factors leave,
    at their estimates, or posterior means. Partial pooling: the BLUP, or the posterior mean. Between them stands
    W = G(G + σ²(Z'WZ)⁻¹)⁻¹, with the level's columns and weights in Z'WZ; with one grouping factor and one level a row
    b̂ = Wb̃ exactly, otherwise it is the weight given the other effects. A posterior's W is the mean over its draws,
    500 at most. `weight` is W's diagonal. Where residuals have a covariance σ²R, least squares are generalised and R⁻¹
    stands for W of the rows: as estimated, at the posterior means of logarithms of standard deviations, exponents and
    correlations, and of weights draw by draw.

    Related levels, b ~ N(0, A ⊗ G), are not pulled towards the mean but towards what all others say of them,
    mᵢ = −Σ_j A^ij b̂_j / A^ii (`relatives`): b̂ᵢ = W b̃ᵢ + (I − W) mᵢ with G / A^ii in the place of G in W, exactly with
    one grouping factor and one level a row. A level without rows has b̂ᵢ = mᵢ. No factor of one level tells how much
    the data say of it, since its relatives' rows are in mᵢ. What does is its `reliability` 1 − Var(b̂ᵢ − bᵢ) / (G aᵢᵢ),
    the squared correlation of predicted and true effects. Where A has no inverse `relatives` and `weight` are NaN.

    The pooling factor of a batch of effects ε_j is λ = 1 − V_j(E ε_j) / E(V_j ε_j), with V_j the variance over the
    levels of the data, divisor q − 1; E is over the draws of a posterior, or for a fit over the joint normal
    distribution of its effects around their BLUPs, fixed effects estimated and variances as estimated: there
    E(V_j ε_j) = V_j(b̂) + [tr D − 1'D1/q]/(q − 1) with D = Var(b̂ − b). That is Gelman & Pardoe's definition; λ above
    one half means that the levels together say more of an effect than its own rows.

    References
    ----------
    Gelman & Pardoe (2006), Technometrics 48, 241-251. Efron & Morris (1975), JASA 70, for the weights. VanRaden &
    Wiggans (1991), J. Dairy Sci. 74, for those of related levels; Mrode & Thompson (2005), Linear Models for the
    Prediction of Animal Breeding Values, section 3.4, for reliabilities.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> bmm.shrinkage(fit).pooling["pooling_factor"].round(3).tolist()
    [0.238, 0.151]
    """
    level = check_level(level)
    values = read_values(result, of, progress)
    if isinstance(values, FitValues):
        estimate = values.fit.estimate
        own = result.problem.read_own_rows(estimate.beta, estimate.modes, estimate.whiten)
        drawn = [
            rows.weights(_given_others(block, estimate.sigma**2 * L @ L.T), estimate.sigma**2)[None]
            for block, rows, L in zip(result.design.blocks, own, estimate.factors, strict=True)
        ]
        fixed = estimate.beta
    else:
        fixed = values.parameters.beta.mean(axis=0)
        own, drawn = _drawn_weights(values, result, progress)
    blocks = [
        _tabulate(f, rows, weights, fixed, values, result, level)
        for f, (rows, weights) in enumerate(zip(own, drawn, strict=True))
    ]
    table = pd.concat([frame for frame, _ in blocks], ignore_index=True)
    pooling = pd.DataFrame([row for _, rows in blocks for row in rows]).set_index(["group", "effect"])
    words = (
        f"{result.method.upper()}: weights at the estimated variances"
        if isinstance(values, FitValues)
        else values.words
    )
    return PartialPooling(
        table=table,
        pooling=pooling,
        weights={block.group: weights.mean(axis=0) for block, weights in zip(result.labels.blocks, drawn, strict=True)},
        covariances=_covariances(result, values),
        of=of,
        level=level,
        words=words,
        formula=result.design.specification.shown,
    )


def _given_others(block: RandomBlock, covariance: np.ndarray) -> np.ndarray:
    """Covariance (k, k) of the effects of a level; of related ones (q, k, k), given those of all others."""
    if block.relation is None:
        return covariance
    _, left = expect_from_relatives(block, np.zeros((block.q, block.k)))
    return left[:, None, None] * covariance


def _covariances(result: Any, values: FitValues | PosteriorValues) -> dict[str, pd.DataFrame]:
    """Of the effects of a level, as estimated or on average over the draws."""
    if isinstance(values, FitValues):
        found = [values.fit.sigma**2 * L @ L.T for L in values.fit.estimate.factors]
    else:
        found = [covariance.mean(axis=0) for covariance in values.parameters.covariances]
    return {
        block.group: pd.DataFrame(each, index=block.effects, columns=block.effects)
        for block, each in zip(result.labels.blocks, found, strict=True)
    }


def _drawn_weights(
    values: PosteriorValues, result: Any, progress: bool | None
) -> tuple[list[OwnRows], list[np.ndarray]]:
    """Each level's own rows at the posterior means, and weights (d, q, k, k) of each grouping factor, of some draws."""
    of = values.parameters
    some = np.unique(np.linspace(0, len(of.sigma) - 1, FOR_WEIGHTS).round().astype(int))
    at = of.beta.mean(axis=0), [effects.mean(axis=0) for effects in values.effects]

    def read(public: np.ndarray | None, beta: np.ndarray, effects: list[np.ndarray]) -> list[OwnRows]:
        if public is None:
            return result.problem.read_own_rows(*at)
        from bayesmm.bayes.residual_draws import at_effects, whitener

        return result.problem.read_own_rows(*at, whitener(at_effects(result.design, beta, effects), public))

    own = read(None if of.residual is None else of.residual.mean(axis=0), *at)
    weights: list[list[np.ndarray]] = [[] for _ in own]
    for d in watched(some, "weighing levels", progress):
        each = own
        if of.residual is not None:  # whose covariance makes rows independent
            each = read(of.residual[d], of.beta[d], [b[d] for b in values.effects])
        blocks = result.design.blocks
        for block, found, rows, covariance in zip(blocks, weights, each, of.covariances, strict=True):
            found.append(rows.weights(_given_others(block, covariance[d]), float(of.sigma[d]) ** 2))
    return own, [np.stack(found) for found in weights]


def _tabulate(
    f: int,
    own: OwnRows,
    weights: np.ndarray,
    beta: np.ndarray,
    values: FitValues | PosteriorValues,
    result: Any,
    level: float,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Rows of both tables of one grouping factor."""
    labels, of_levels = result.labels, result.design.blocks[f]
    block = labels.blocks[f]
    frames, rows = [], []
    relatives = None
    if of_levels.relation is not None:
        effects = np.stack([replace(values, of="effects").read(f, e).means for e in range(of_levels.k)], axis=1)
        relatives, _ = expect_from_relatives(of_levels, effects)
    for e, effect in enumerate(block.effects):
        is_fixed = values.of == "coefficients" and effect in labels.coefficients
        complete = float(beta[labels.coefficients.index(effect)]) if is_fixed else 0.0
        read = values.read(f, e)
        unpooled, means = own.unpooled[:, e] + complete, read.means
        before, after = _ranks(unpooled, own.determined), _ranks(means, own.determined)
        each = weights[:, :, e, e]
        columns: dict[str, Any] = {
            "group": block.group,
            "level": np.asarray(block.levels, dtype=object),
            "effect": effect,
            "n": own.n,
            "unpooled": unpooled,
            "complete": complete,
            "estimate": means,
        }
        if relatives is not None:
            columns["relatives"] = relatives[:, e] + complete
        if isinstance(values, PosteriorValues):
            lower, upper = np.quantile(values.read(f, e).draws, tails(level), axis=0)
            columns |= {"sd": read.sds, "lower": lower, "upper": upper}
        columns["weight"] = each.mean(axis=0)
        if isinstance(values, PosteriorValues):
            columns["weight_lower"], columns["weight_upper"] = np.quantile(each, tails(level), axis=0)
        if relatives is not None:
            columns["reliability"] = reliabilities(values, of_levels, f, e)
        frames.append(pd.DataFrame(columns | {"rank_unpooled": before, "rank": after, "rank_change": before - after}))
        rows.append(
            {
                "group": block.group,
                "effect": effect,
                "pooling_factor": read.pooling_factor() if relatives is None or read.are_equal else np.nan,
                "mean_weight": float(columns["weight"][own.determined].mean()) if own.determined.any() else np.nan,
                "rank_correlation": _correlation(before[own.determined], after[own.determined]),
            }
            | ({} if relatives is None else {"mean_reliability": float(np.mean(columns["reliability"]))})
        )
    together = pd.concat(frames, keys=range(len(frames)), names=["e", "l"])
    return together.swaplevel().sort_index().reset_index(drop=True), rows


def _ranks(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Ranks from the largest on, NaN of levels not among them."""
    ranks = np.full(len(values), np.nan)
    ranks[among] = rankdata(-values[among])
    return ranks


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if len(one) < 2 or not np.ptp(one) or not np.ptp(other):
        return np.nan
    return float(np.corrcoef(one, other)[0, 1])
