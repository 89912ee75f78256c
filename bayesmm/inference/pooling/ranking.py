"""How sure the order of levels is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.arguments import check_seed, shorten
from bayesmm.design.blocks.labels import BlockLabels, find_group
from bayesmm.errors import ArgumentError
from bayesmm.inference.either import is_posterior
from bayesmm.inference.pooling.levels import (
    DrawnValues,
    LevelValues,
    NormalValues,
    Of,
    read_values,
)
from bayesmm.presenting.intervals import check_level, interval_head, tails
from bayesmm.presenting.numbers import decimals_for, write_column, write_digits, write_number, write_p
from bayesmm.presenting.parts import AnyColumn, Column, Interval, Table, facts, notes
from bayesmm.presenting.progress import progress_bar
from bayesmm.presenting.report import Report

if TYPE_CHECKING:
    from bayesmm.plots.canvas import Axes, Figure

SHOWN = 20  # levels on the page
EXACT = 1000  # levels whose pairs are all worked out for expected ranks
MOST_PAIRS = 1000  # levels of a matrix of pairs
LEAGUE = (
    "A league table invites more than the data can say (Goldstein & Spiegelhalter 1996): read the interval of a rank "
    "before the rank. Of two levels, pairs() says which is higher, and how surely."
)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Ranking:
    """The order of levels with its uncertainty; made by `bayesmm.ranking`.

    Attributes
    ----------
    table : DataFrame
        Index: levels, in the order of the data. Columns: estimate and std_error (of a posterior its mean and sd),
        expected_rank, rank_lower, rank_upper, best (the probability of it), and where asked for top and above.
    group, effect : str
        Whose levels, and what is ranked.
    of : {"effects", "coefficients"}
        Random effects, or these with the fixed effect.
    highest : bool
        Whether rank 1 is the largest.
    top : int or None
        Of how many best levels the column is.
    threshold : float or None
        What `above` is about, in units of the effect.
    level : float
        Of the intervals of ranks.
    values : LevelValues
        The joint distribution that all is read off.
    formula : str
        The model.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> found = bmm.ranking(fit, "Subject", "Days")
    >>> found.table.index[0]
    '308'
    """

    table: pd.DataFrame
    group: str
    effect: str
    of: Of
    highest: bool
    top: int | None
    threshold: float | None
    level: float
    values: LevelValues
    formula: str

    def pairs(self, levels: Sequence[object] | None = None, *, progress: bool | None = None) -> pd.DataFrame:
        """Tabulate the probability that one level exceeds another.

        Parameters
        ----------
        levels : sequence of str, optional
            Which; all by default.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        DataFrame
            Of the level of the row being larger than that of the column; NaN on the diagonal.

        Raises
        ------
        ArgumentError
            If a level is not there, or they are more than 1,000.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> bmm.ranking(fit, "Subject", "Days").pairs(["308", "337"]).round(2).loc["308", "337"].item()
        0.57
        """
        known = {level: i for i, level in enumerate(self.table.index)}
        wanted = list(known) if levels is None else [str(level) for level in levels]
        for level in wanted:
            if level not in known:
                raise ArgumentError(f"levels has {level!r}, which is no level of {self.group}: give some of its table.")
        if len(wanted) > MOST_PAIRS:
            raise ArgumentError(
                f"{len(wanted):,} levels make {len(wanted) ** 2:,} pairs, and at most {MOST_PAIRS:,} levels are put "
                "beside each other: give those of interest as levels."
            )
        with progress_bar("comparing levels", len(wanted), progress) as bar:
            found = self.values.exceed(np.array([known[level] for level in wanted], dtype=int), bar)
        np.fill_diagonal(found, np.nan)
        index = pd.Index(wanted, name=self.group)
        return pd.DataFrame(found, index=index, columns=index)

    def plot(self, *, ax: Axes | None = None) -> Figure:
        """Draw expected ranks with their intervals, and the probabilities of the table beside them.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            To draw the ranks alone into, without probabilities.

        Returns
        -------
        matplotlib.figure.Figure
            Rank 1 is at the top. Of more than 50 levels some are named, evenly over the ranking.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> figure = bmm.ranking(fit, "Subject", "Days").plot()
        """
        from bayesmm.plots.ranking import plot_ranking

        words = {"best": "of being the best"}
        if self.top is not None:
            words["top"] = f"of being among the {self.top} best"
        if self.threshold is not None:
            words["above"] = f"of more than {write_digits(self.threshold)}"
        return plot_ranking(
            self.table,
            group=self.group,
            effect=self.effect,
            level=self.level,
            words=words,
            is_drawn=isinstance(self.values, DrawnValues),
            ax=ax,
        )

    def summary(self) -> Report:
        """Show the levels that come first.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(bmm.ranking(fit, "Subject", "Days").summary()).splitlines()[0])
        Ranking of Days by Subject
        """
        q, order = len(self.table), np.argsort(self.table["expected_rank"].to_numpy(), kind="stable")[:SHOWN]
        rows = self.table.iloc[order]
        what = "coefficient" if self.of == "coefficients" else "random effect"
        lines = [self.formula, f"{what}, the {'largest' if self.highest else 'smallest'} first", self.values.words]
        return Report(
            title=f"Ranking of {self.effect} by {self.group}",
            parts=(
                facts(lines),
                Table(
                    names=[str(level) for level in rows.index],
                    head=self.group,
                    caption=f"The first {SHOWN} of {q} levels" if q > SHOWN else "",
                    where="its table",
                    columns=self._columns(rows),
                ),
                notes(self._notes()),
            ),
        )

    def _columns(self, rows: pd.DataFrame) -> list[AnyColumn]:
        decimals = [decimals_for(*rows["std_error"])] * len(rows)
        limits = [
            (f"{lower:g}", f"{upper:g}") for lower, upper in zip(rows["rank_lower"], rows["rank_upper"], strict=True)
        ]
        is_drawn = isinstance(self.values, DrawnValues)
        columns: list[AnyColumn] = [
            Column(head="mean" if is_drawn else "estimate", cells=write_column(rows["estimate"], decimals)),
            Column(head="sd" if is_drawn else "s.e.", cells=write_column(rows["std_error"], decimals)),
            Column(head="expected rank", cells=[write_number(rank, 1) for rank in rows["expected_rank"]]),
            Interval(head=interval_head(self.level), cells=limits),
            Column(head="P(best)", cells=[write_p(value) for value in rows["best"]]),
        ]
        if self.top is not None:
            columns.append(Column(head=f"P(top {self.top})", cells=[write_p(value) for value in rows["top"]]))
        if self.threshold is not None:
            head = f"P(> {write_digits(self.threshold)})"
            columns.append(Column(head=head, cells=[write_p(value) for value in rows["above"]]))
        return columns

    def _notes(self) -> list[str]:
        said = [LEAGUE, *self.values.remarks]
        if self.values.are_equal:
            said.insert(
                0, f"{self.effect} was estimated not to vary between levels of {self.group}: they are all equal."
            )
        return said

    def __str__(self) -> str:
        return str(self.summary())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def ranking(
    result: Any,
    group: str,
    effect: str | None = None,
    *,
    of: Of = "effects",
    highest: bool = True,
    top: int | None = None,
    above: float | None = None,
    level: float = 0.95,
    n: int = 10_000,
    seed: int = 1,
    progress: bool | None = None,
) -> Ranking:
    """Rank the levels of a grouping factor, and say how sure their order is.

    Parameters
    ----------
    result : Fit or Posterior
        Either; the tables of both have the same rows and columns.
    group : str
        Grouping factor.
    effect : str, optional
        Which effect of its levels; the only one by default.
    of : {"effects", "coefficients"}
        Random effects, as distances from the mean; or these with the fixed effect of the same name, where there is one.
        The order is the same, a threshold is not.
    highest : bool
        Whether the best is the largest.
    top : int, optional
        How many best levels to give the probability of being among.
    above : float, optional
        Threshold to give the probability of exceeding, in units of the response per unit of the column.
    level : float
        Probability of the intervals of ranks.
    n : int
        Draws from the normal approximation, for a fit; a posterior's are all used.
    seed : int
        Of these: the same seed gives the same numbers.
    progress : bool, optional
        Whether to show a progress bar; by default where a person can see it.

    Returns
    -------
    Ranking
        Prints as a report; `table` has a row for each level, and `pairs()` puts levels beside each other.

    Raises
    ------
    ArgumentError
        If an argument is none of these.

    Notes
    -----
    From a posterior everything is a share or a mean over its draws. From a fit the effects are jointly normal around
    their BLUPs with the covariance of b̂ − b, which has the error of β̂ and, between levels of crossed and nested
    factors and of relatives, what their rows have in common. Pairs, thresholds and,
    up to 1,000 levels, expected ranks are by the normal distribution function; the rest is drawn. The error of the
    estimated variances is not in it. The expected rank is one more than the expected number of better levels (Laird &
    Louis 1989). Where the effect was estimated not to vary, levels share all ranks alike.

    References
    ----------
    Goldstein & Spiegelhalter (1996), JRSS-A 159, 385-443. Laird & Louis (1989), J. Educ. Stat. 14. Lin, Louis, Paddock
    & Ridgeway (2006), Bayesian Analysis 1.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> ranking = bmm.ranking(fit, "Subject", "Days", of="coefficients", above=10)
    >>> round(float(ranking.pairs().loc["308", "337"]), 3)
    0.569
    """
    is_posterior(result)
    f = find_group(result.labels, group)
    block = result.labels.blocks[f]
    e, q = _find_effect(block, effect), len(block.levels)
    level, seed = check_level(level), check_seed(seed)
    top = _check_count("top", top, q) if top is not None else None
    n, threshold = _check_count("n", n), _check_threshold(above)
    if not isinstance(highest, bool):
        raise ArgumentError(f"highest is {shorten(highest)}: give True or False.")
    values = read_values(result, of, progress).read(f, e)
    columns = {"estimate": values.means, "std_error": values.sds}
    columns |= _equal_ranks(q, top) if values.are_equal else _rank(values, highest, top, level, n, seed, progress)
    if threshold is not None:
        columns["above"] = values.above(threshold)
    return Ranking(
        table=pd.DataFrame(columns, index=pd.Index(block.levels, name=block.group)),
        group=block.group,
        effect=block.effects[e],
        of=of,
        highest=highest,
        top=top,
        threshold=threshold,
        level=level,
        values=values,
        formula=result.design.specification.shown,
    )


def _rank(
    values: LevelValues, highest: bool, top: int | None, level: float, n: int, seed: int, progress: bool | None
) -> dict[str, np.ndarray]:
    q, parts = len(values.means), []
    with progress_bar("ranking", len(values.draws) if isinstance(values, DrawnValues) else n, progress) as bar:
        for draws in values.sample(n, seed):
            parts.append(_ranks(-draws if highest else draws))
            bar.advance(len(draws))
    ranks = np.concatenate(parts)
    if isinstance(values, NormalValues) and q <= EXACT:
        exceed = values.exceed(np.arange(q))  # with one half on the diagonal
        expected = 0.5 + (exceed.sum(axis=0) if highest else exceed.sum(axis=1))
    else:
        expected = ranks.mean(axis=0)
    lower, upper = np.quantile(ranks, tails(level), axis=0, method="inverted_cdf")
    found = {"expected_rank": expected, "rank_lower": lower, "rank_upper": upper, "best": (ranks == 1).mean(axis=0)}
    return found if top is None else found | {"top": (ranks <= top).mean(axis=0)}


def _ranks(draws: np.ndarray) -> np.ndarray:
    """Ranks of each draw, (d, q), from the smallest on."""
    order = np.argsort(draws, axis=1)
    ranks = np.empty(order.shape, dtype=np.int32)
    np.put_along_axis(ranks, order, np.arange(1, draws.shape[1] + 1, dtype=np.int32)[None], axis=1)
    return ranks


def _equal_ranks(q: int, top: int | None) -> dict[str, np.ndarray]:
    each = np.ones(q)
    rank = np.ones(q, dtype=np.int32)
    found = {"expected_rank": 0.5 * (q + 1) * each, "rank_lower": rank, "rank_upper": q * rank, "best": each / q}
    return found if top is None else found | {"top": top / q * each}


def _find_effect(block: BlockLabels, effect: object) -> int:
    if effect is None and len(block.effects) == 1:
        return 0
    if isinstance(effect, str) and effect in block.effects:
        return block.effects.index(effect)
    effects = ", ".join(map(repr, block.effects))
    raise ArgumentError(f"effect is {shorten(effect)}: give an effect of {block.group}: {effects}.")


def _check_count(name: str, value: object, most: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= int(value) <= (most or int(value)):
        limit = f"from 1 to {most:,}, the number of levels" if most else "of at least 1"
        raise ArgumentError(f"{name} is {shorten(value)}: give a whole number {limit}.")
    return int(value)


def _check_threshold(above: object) -> float | None:
    if above is None:
        return None
    if isinstance(above, bool) or not isinstance(above, Real) or not np.isfinite(float(above)):
        raise ArgumentError(f"above is {shorten(above)}: give a finite number, in units of the effect.")
    return float(above)
