"""A page on whether a fit can be relied on: what was looked at, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from bayesmm.console import listing, visible
from bayesmm.errors import FitStatus
from bayesmm.inference.diagnostics.deletion import columns_needed
from bayesmm.inference.diagnostics.influence import ROWS, Influence, grouping_names, leave_out, left_out
from bayesmm.inference.diagnostics.patterns import Patterns, look_for_patterns
from bayesmm.inference.diagnostics.principal_components import decompose_covariances
from bayesmm.inference.diagnostics.row_view import view_rows_at
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.residual.through_rows import Eliminated
from bayesmm.presenting.numbers import write_digits, write_p
from bayesmm.presenting.parts import Column, Part, Table, Words, facts, notes
from bayesmm.presenting.report import Report
from bayesmm.problem import FewRows

type Topic = Literal["convergence", "singularity", "levels", "influence", "residuals", "random effects"]

FEW_LEVELS = 5  # below, a standard deviation between them is hardly known
UNTOLD = 0.5  # reliability of a typical level below which modes say more of the average than of the level
MANY_SINGLE = 0.5  # share of levels with one row
MOVES = 1.0  # standard errors by which a coefficient may change without one level
SURPRISING = 0.01  # probability of so extreme a row or level, all of them considered
LEAST_SHARE = 0.01  # that is written as a number
UNUSUAL = 0.05  # of so extreme a look, all of them considered
MOST_WORK = 10_000_000  # columns times effects that leaving out levels may take without being asked for
MANY_ROWS = 5000
LOOKS_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence of a check.

    Attributes
    ----------
    topic : str
        What was looked at.
    is_concern : bool
        Whether something is to be done.
    text : str
        What was found.
    advice : str
        What to do; empty where there is nothing.
    """

    topic: Topic
    is_concern: bool
    text: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Check:
    """What a careful reader looks at before the numbers; made by `bayesmm.fit.Fit.check`.

    Attributes
    ----------
    findings : tuple of Finding
        In the order of the topics.
    levels : DataFrame
        Index: group. Columns: levels, fewest, median and most rows, single (levels with one row), reliability.
    influence : dict of str to Influence
        By "rows" and grouping factor.
    patterns : Patterns
        Looks at residuals and random effects, each beside simulated ones.
    principal_components : DataFrame
        Of each covariance matrix.
    formula : str
        The model.
    sample : str or None
        Which rows were looked at one by one, in words, where it is some of them.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> found = fit.check(n=49, progress=False)
    >>> print(str(found).splitlines()[0])
    Check of Reaction ~ Days + (Days | Subject)
    """

    findings: tuple[Finding, ...]
    levels: pd.DataFrame
    influence: dict[str, Influence]
    patterns: Patterns
    principal_components: pd.DataFrame
    formula: str
    sample: str | None = None

    @property
    def concerns(self) -> tuple[Finding, ...]:
        """The findings that ask for something to be done."""
        return tuple(finding for finding in self.findings if finding.is_concern)

    @property
    def is_good(self) -> bool:
        """Whether there are none."""
        return not self.concerns

    def summary(self) -> Report:
        """Show all findings by topic, and the most extreme looks.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.check(n=49, progress=False).summary()).splitlines()[0])
        Check of Reaction ~ Days + (Days | Subject)
        """
        count = len(self.concerns)
        verdict = "nothing stands out" if not count else f"{count} thing{'s' if count > 1 else ''} to look at, marked ▸"
        parts: list[Part] = [facts((verdict,))]
        for topic in dict.fromkeys(finding.topic for finding in self.findings):
            own = [finding for finding in self.findings if finding.topic == topic]
            parts.append(Words(role="heading", texts=(topic.capitalize(),)))
            texts = (f"{'▸ ' if each.is_concern else ''}{' '.join((each.text, each.advice)).strip()}" for each in own)
            parts.append(Words(role="paragraph", texts=tuple(texts)))
        parts.append(self._looks())
        parts.append(notes(self._notes()))
        return Report(title=f"Check of {self.formula}", parts=tuple(parts))

    def _looks(self) -> Table:
        shown = self.patterns.table.sort_values("distance", ascending=False, kind="stable").head(LOOKS_SHOWN)
        columns = [Column(head="look", cells=shown["look"].tolist(), is_words=True)]
        columns += [
            Column(head=name, cells=[write_digits(value, 3) for value in shown[name]])
            for name in ("statistic", "lower", "upper")
        ]
        columns.append(Column(head="p", cells=[write_p(value) for value in shown["p_value"]]))
        return Table(
            names=shown["what"].tolist(),
            columns=columns,
            caption=f"The {len(shown)} most extreme of {len(self.patterns.table)} looks",
            where="check.patterns.table",
        )

    def _notes(self) -> list[str]:
        n, n_rows = self.patterns.n, len(self.influence[ROWS].table)
        many = f"Among {n_rows:,} rows departures too small to matter stand out, too: judge by their size."
        sampled = f"Single rows, and residuals, are those of {self.sample}; levels are those of all rows."
        return [
            *([sampled] if self.sample else []),
            *([many] if n_rows >= MANY_ROWS else []),
            f"lower and upper enclose 95 % of {n} data sets that the model draws, each treated as the data were; p is "
            "the share of them that are as extreme in this one look. Judge by the share that counts all looks, above.",
            "A fit that passes is not shown to be right: small data hide what is wrong with a model.",
        ]

    def __str__(self) -> str:
        return str(self.summary())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def check_fit(fit: Fitted, few: FewRows, n: int, seed: int, progress: bool | None) -> Check:
    """Look at a fit from all sides; see `Fit.check`."""
    rows = view_rows_at(few.problem, fit.estimate)
    at = rows.at
    patterns = look_for_patterns(fit, rows, n, seed, progress, few)
    components = decompose_covariances(fit)
    levels = describe_levels(fit, at, few)
    influence, skipped = _influence(fit, at, few)
    findings = (
        *_convergence(fit),
        *_singularity(fit, components),
        *_levels(fit, levels),
        *_influential(influence, skipped),
        *_patterns(patterns),
    )
    return Check(
        findings=findings,
        levels=levels,
        influence=influence,
        patterns=patterns,
        principal_components=components,
        formula=fit.design.specification.shown,
        sample=few.say(fit.n),
    )


def describe_levels(fit: Fitted, at: Eliminated, few: FewRows) -> pd.DataFrame:
    """Tabulate levels and rows of each grouping factor, and how well the data tell its levels apart.

    The reliability is that of a typical level's first effect: Var b̂ over Var b, by their sums over levels.
    """
    rows = {}
    each = zip(few.problem.design.blocks, at.mode_variances, fit.estimate.factors, at.level_variances, strict=True)
    for block, variances, L, prior in each:
        if block.is_whole:
            continue
        counts = np.array([few.count(rows) for rows in block.incidence.members()])
        total = np.einsum("ij,ij->i", L, L) * prior.mean()
        known = total > 0
        reliability = (variances.mean(axis=1)[known] / total[known]).max(initial=0.0) if known.any() else np.nan
        rows[block.group] = {
            "levels": block.q,
            "fewest": int(counts.min()),
            "median": float(np.median(counts)),
            "most": int(counts.max()),
            "single": int((counts == 1).sum()),
            "reliability": float(reliability),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")


def _convergence(fit: Fitted) -> Iterator[Finding]:
    if fit.status is FitStatus.NOT_CONVERGED:
        yield Finding(topic="convergence", is_concern=True, text=fit.status.value, advice=fit.convergence)
    else:
        yield Finding(topic="convergence", is_concern=False, text=f"The search converged: {fit.convergence}")
    if fit.other_maxima:
        gap = fit.loglik - fit.other_maxima[0].log_likelihood
        yield Finding(
            topic="convergence",
            is_concern=gap < 2.0,
            text=f"The likelihood has another maximum, lower by {write_digits(gap, 3)}.",
            advice="See what it says, in fit.other_maxima, before you rely on this one." if gap < 2.0 else "",
        )


def _singularity(fit: Fitted, components: pd.DataFrame) -> Iterator[Finding]:
    for sentence in fit.confounded:
        yield Finding(topic="singularity", is_concern=True, text=sentence)
    if not fit.design.blocks:
        return
    if not fit.singular_directions:
        smallest = dict(zip(components.index.get_level_values("group"), components["sd"].to_numpy(), strict=True))
        least = listing([f"{write_digits(sd, 3)} in {group}" for group, sd in smallest.items()])  # of falling ones
        yield Finding(
            topic="singularity",
            is_concern=False,
            text=f"No covariance matrix is singular; the smallest principal standard deviation is {least}.",
        )
        return
    for sentence in fit.singular_directions:
        yield Finding(
            topic="singularity",
            is_concern=True,
            text=f"{sentence[0].upper()}{sentence[1:]}, as far as the data tell.",
            advice="The model without it fits as well (or with (x || g), where correlations make it singular); keep it "
            "only if the design calls for it, and read no correlation of it.",
        )


def _levels(fit: Fitted, levels: pd.DataFrame) -> Iterator[Finding]:
    for group, row in zip(levels.index, levels.to_dict("records"), strict=True):
        q, single, reliability = row["levels"], row["single"], row["reliability"]
        name, rows = visible(str(group)), _range(row["fewest"], row["most"])
        if q < FEW_LEVELS:
            yield Finding(
                topic="levels",
                is_concern=True,
                text=f"{name} has {q} levels: that is too few to know how much such levels differ.",
                advice="Read its standard deviation with an interval by profile or posterior, or make it a fixed "
                "effect.",
            )
        elif single > MANY_SINGLE * q:
            yield Finding(
                topic="levels",
                is_concern=True,
                text=f"{single} of the {q} levels of {name} have one row: these tell the level from the residual only "
                "with the help of others.",
                advice="Look at the interval of its standard deviation, and at that of sigma.",
            )
        elif reliability < UNTOLD:
            yield Finding(
                topic="levels",
                is_concern=False,
                text=f"{name}: {q} levels of {rows}; the data tell little of single levels (reliability "
                f"{reliability:.2f}), so that predicted effects are mostly the average.",
            )
        else:
            known = "" if np.isnan(reliability) else f" (reliability {reliability:.2f})"
            yield Finding(topic="levels", is_concern=False, text=f"{name}: {q} levels of {rows}{known}.")


def _range(fewest: int, most: int) -> str:
    return f"{fewest} row{'s' if fewest > 1 else ''}" if fewest == most else f"{fewest} to {most} rows"


def _influence(fit: Fitted, at: Eliminated, few: FewRows) -> tuple[dict[str, Influence], list[str]]:
    found, skipped = {ROWS: leave_out(fit, few, ROWS)}, []
    effects = sum(Z.shape[1] for Z in at.columns)
    for name in grouping_names(fit):
        _, groups, factor = left_out(few.problem.design, f"`{name}`")
        if columns_needed(at, groups, factor) * effects > MOST_WORK:
            skipped.append(name)
        else:
            found[name] = leave_out(fit, few, f"`{name}`")
    return found, skipped


def _influential(influence: dict[str, Influence], skipped: list[str]) -> Iterator[Finding]:
    for by, each in influence.items():
        yield from _surprising(by, each)
        yield from _moving(by, each)
        if each.undetermined and by != ROWS:
            labels = [visible(str(label)) for label in each.undetermined]
            yield Finding(
                topic="influence",
                is_concern=True,
                text=f"Without {listing(labels, 3)} of {visible(by)} a fixed effect is not determined at all.",
                advice="What is said of that coefficient is said of these levels alone.",
            )
    if skipped:
        names = listing(list(map(visible, skipped)))
        yield Finding(
            topic="influence",
            is_concern=False,
            text=f"Levels of {names} were not left out, which would take a while: fit.influence({skipped[0]!r}) does "
            "it.",
        )


def _surprising(by: str, each: Influence) -> Iterator[Finding]:
    """Say of rows and levels that lie far from what all others predict."""
    p_values, statistics = each.table["p_value"].to_numpy(), each.table["statistic"].to_numpy()
    m = int(np.isfinite(p_values).sum())
    if not m:
        return
    of = "" if by == ROWS else f" of {visible(by)}"
    one, many = ("row", "rows") if by == ROWS else ("level", "levels")
    order = np.argsort(p_values, kind="stable")
    far = [i for i in order if 1.0 - (1.0 - p_values[i]) ** m < SURPRISING]
    if not far:
        yield Finding(
            topic="influence",
            is_concern=False,
            text=f"No {one}{of} lies farther from what the others predict than one of {m} may.",
        )
        return
    shown = [
        visible(str(each.table.index[i])) + (f" ({np.sqrt(statistics[i]):.1f} sd)" if by == ROWS else "") for i in far
    ]
    yield Finding(
        topic="influence",
        is_concern=True,
        text=f"{len(far)} {one if len(far) == 1 else many}{of} {'lies' if len(far) == 1 else 'lie'} farther from what "
        f"the others predict than one of {m} may: {listing(shown, 5)}.",
        advice="Look whether they are mistakes, and fit without them to see what depends on them.",
    )


def _moving(by: str, each: Influence) -> Iterator[Finding]:
    """Say by how much a coefficient moves without a row or a level."""
    sizes = each.dfbetas.abs().to_numpy()
    if not sizes.size or np.isnan(sizes).all():
        return
    place, column = np.unravel_index(np.nanargmax(sizes), sizes.shape)
    label, coefficient = visible(str(each.dfbetas.index[place])), visible(str(each.dfbetas.columns[column]))
    largest = float(sizes[place, column])
    what = f"row {label}" if by == ROWS else f"{visible(by)} {label}"
    yield Finding(
        topic="influence",
        is_concern=largest > MOVES,
        text=f"No {'row' if by == ROWS else 'level of ' + visible(by)} moves a coefficient by more than {largest:.2f} "
        f"standard errors ({coefficient} without {what})."
        if largest <= MOVES
        else f"Without {what} the coefficient of {coefficient} changes by {largest:.1f} standard errors.",
        advice="" if largest <= MOVES else "Report the estimate with and without it.",
    )


def _patterns(patterns: Patterns) -> Iterator[Finding]:
    table = patterns.table
    first = table.to_dict("records")[int(table["distance"].to_numpy().argmax())]
    p = patterns.p_any
    share = f"{100.0 * p:.0f} %" if p >= LEAST_SHARE else f"less than {100.0 * LEAST_SHARE:.0f} %"
    look = first["look"] if first["what"] == "residuals" else f"{first['look']} of {visible(first['what'])}"
    is_concern = p < UNUSUAL
    yield Finding(
        topic="residuals",
        is_concern=is_concern,
        text=f"Of {len(table)} looks at residuals and random effects the most extreme is: {look}. Of the data sets "
        f"that the model draws {share} have a look as extreme.",
        advice=_advice(first["look"], first["statistic"] < first["lower"]) if is_concern else "",
    )


def _advice(look: str, is_low: bool) -> str:
    """Say what to do about a pattern."""
    if look == "curvature":
        return "Something in the fixed effects is not a straight line: try a curve or an interaction."
    if look.startswith("spread"):
        return "The residuals do not have one spread: try the logarithm of the response, or weights."
    if look == "excess kurtosis" and is_low:
        return "Tails are lighter than normal, as on a scale with ends: estimates stand, limits for new rows do not."
    if look in ("excess kurtosis", "largest residual", "largest effect"):
        return "Tails are heavier than normal: look at the extreme ones, and compare with a fit without them."
    return "The distribution is lopsided: try the logarithm or another scale of the response."
