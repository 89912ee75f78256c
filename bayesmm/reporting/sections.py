"""The sections of a page, from what fits and posteriors show of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from bayesmm.console import listing, visible
from bayesmm.design.design import Design
from bayesmm.design.words.describe import build_report
from bayesmm.errors import BayesmmError, FitStatus
from bayesmm.explorer.pages import write_fragment
from bayesmm.fit.fit import Fit
from bayesmm.inference.diagnostics.check import Check, check_fit
from bayesmm.inference.diagnostics.figures import plot_residuals
from bayesmm.inference.effects.uncertainty import EffectUncertainty, effect_uncertainty
from bayesmm.inference.pooling.shrinkage import PartialPooling, shrinkage
from bayesmm.inference.variances.boundary_report import BoundaryReport
from bayesmm.plots.caterpillar import plot_caterpillar
from bayesmm.plots.vector import write_svg
from bayesmm.presenting.intervals import interval_head
from bayesmm.presenting.numbers import write_intervals, write_like
from bayesmm.presenting.parts import Column, Interval, Table
from bayesmm.problem import FewRows
from bayesmm.reporting.code import citation, version_table, write_code
from bayesmm.reporting.data_words import column_tables, describe_rows, level_table
from bayesmm.reporting.pieces import Piece, Section, attempt, shown, table, words, written

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.comparison.comparison import Comparison

SAMPLE = 5_000  # of rows that are not in memory
MANY_ROWS, MANY_EFFECTS = 20_000, 3_000  # from which on what refits or simulates is left to the user: minutes
SETS, SETS_OF_MANY = 499, 39  # that `check` draws
REFITS = 499  # of a report on a standard deviation near zero
MOST_NEAR_ZERO = 3  # standard deviations that have such a report
MOST_EFFECTS = 6  # of which all levels are drawn
SEED = 1


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a page is about.

    Attributes
    ----------
    fit : Fit, optional
    posterior : Posterior, optional
        At least one of both.
    level : float
        Coverage of all intervals.
    data : str, optional
        Words on the data.
    has_explorer : bool
        Whether the explorer is wanted.
    page : str
        Name of the file.
    rows : path, list, data frame or None
        Where rows are that are not in memory.
    """

    fit: Fit | None
    posterior: Posterior | None
    level: float
    data: str | None
    has_explorer: bool
    page: str
    rows: Any = None

    @property
    def any(self) -> Any:
        """The fit, or the posterior if there is none."""
        return self.fit if self.fit is not None else self.posterior

    @property
    def design(self) -> Design:
        """Of both."""
        return self.any.design

    @property
    def is_large(self) -> bool:
        """Whether what refits or simulates would take minutes."""
        has_many_rows = self.design.elsewhere is None and self.design.n > MANY_ROWS  # elsewhere only sums are looked at
        return has_many_rows or sum(block.q * block.k for block in self.design.blocks) > MANY_EFFECTS

    @cached_property
    def comparison(self) -> Comparison | None:
        """Both side by side."""
        if self.fit is None or self.posterior is None:
            return None
        from bayesmm.comparison.comparison import compare  # which imports JAX

        return compare(self.fit, self.posterior, level=self.level)

    @cached_property
    def few(self) -> FewRows | None:
        """Rows of the fit that can be looked at, with all others in their sums; None where none are in reach."""
        fit = self.fit
        if fit is None or (self.design.elsewhere is not None and (self.rows is None or self.design.residual)):
            return None
        at = fit.estimate
        return fit.problem.condense(self.rows, "", at.beta, at.modes, sample=SAMPLE, seed=SEED)

    @cached_property
    def check(self) -> Check | None:
        """What is to be looked at before the numbers are read; nothing where rows are out of reach."""
        if self.fit is None or self.few is None:
            return None
        return check_fit(self.fit, self.few, SETS_OF_MANY if self.has_many_rows else SETS, SEED, None)

    @property
    def has_many_rows(self) -> bool:
        """Whether data sets that are drawn, or few rows of each, take long."""
        return self.is_large or (self.few is not None and self.few.problem.design.n > MANY_ROWS)

    @cached_property
    def pooling(self) -> PartialPooling:
        """Of the fit, or of the posterior."""
        return shrinkage(self.any, level=self.level)

    @cached_property
    def uncertainty(self) -> EffectUncertainty | None:
        """By every layer, where that is quick."""
        drawn = self.posterior
        return None if self.fit is None or self.is_large else effect_uncertainty(self.fit, drawn)

    def figure(self, name: str, caption: str, draw: Callable[[], Any]) -> Piece:
        """Draw a figure; where a model has none, say why."""
        key = f"figure-{name}"
        return attempt(
            f"{caption} There is no figure",
            lambda: Piece(kind="figure", content=write_svg(draw, key=key), caption=caption),
        )


def build_sections(results: Results) -> Iterator[Section]:
    """Yield all sections that these results have."""
    yield Section(key="summary", title="At a glance", pieces=tuple(_glance(results)))
    yield Section(key="model", title="Model", pieces=(written(build_report(results.design)),))
    yield Section(key="data", title="Data", pieces=tuple(_data(results)))
    yield Section(key="estimates", title="Estimates", pieces=tuple(_estimates(results)))
    yield Section(key="variances", title="Variance components", pieces=tuple(_variances(results)))
    has_levels = bool(results.design.blocks)
    if has_levels:
        yield Section(key="levels", title="Effects of the levels", pieces=tuple(_levels(results)))
    if has_levels and not results.design.relations:  # related levels are pulled towards their relatives
        yield Section(key="shrinkage", title="Shrinkage", pieces=tuple(_shrinkage(results)))
    if results.has_explorer and results.fit is not None and has_levels:
        yield Section(key="explorer", title="Explore shrinkage", pieces=tuple(_explorer(results)))
    yield Section(key="checks", title="Checks", pieces=tuple(_checks(results)))
    if results.posterior is not None:
        yield Section(key="priors", title="Priors", pieces=tuple(_priors(results)))
    yield Section(key="again", title="Do it again, and cite", pieces=tuple(_again(results)))


def _glance(results: Results) -> Iterator[Piece]:
    design, fit, posterior = results.design, results.fit, results.posterior
    groups = "".join(f", {n:,} levels of {group}" for group, n in design.labels.n_levels.items())
    yield words(f"{design.n:,} rows{groups}, {design.p:,} fixed effects. Intervals cover {100 * results.level:g} %.")
    if fit is not None:
        kind = "words" if fit.status in (FitStatus.CONVERGED, FitStatus.BOUNDARY) else "warning"
        yield Piece(kind=kind, content=f"{fit.method.upper()}: {fit.status.value}")
    if posterior is not None:
        is_good = posterior.diagnostics.is_good
        yield Piece(kind="words" if is_good else "warning", content=f"Posterior: {posterior.diagnostics.advice}")
    if results.check is not None:
        count = len(results.check.concerns)
        found = "nothing stands out" if not count else f"{count} thing{'s' if count > 1 else ''} to look at"
        yield words(f"Checks of the fit: {found}; see the section on checks.")


def _data(results: Results) -> Iterator[Piece]:
    if results.data is not None:
        yield words(f"Data: {results.data}")
    yield words(describe_rows(results.design))
    yield table("Columns of the model, in the rows used", *column_tables(results.design), level_table(results.design))


def _estimates(results: Results) -> Iterator[Piece]:
    fit, posterior = results.fit, results.posterior
    if results.comparison is not None:
        yield shown(results.comparison)
        yield results.figure("comparison", "Both results of each parameter, with intervals.", results.comparison.plot)
    if fit is not None:
        yield shown(fit.summary(level=results.level))
        if results.design.p:
            yield attempt("Tests of terms", lambda: shown(fit.anova()))
    if posterior is not None:
        yield shown(posterior.summary(level=results.level))


def _variances(results: Results) -> Iterator[Piece]:
    if results.design.blocks:
        yield attempt("Shares of the variance", lambda: _shares(results))
        yield results.figure(
            "shares",
            "Shares of the variance that is not explained by fixed effects.",
            lambda: results.any.plot_variance_shares(level=results.level),
        )
    residual = results.design.residual
    if residual is not None and residual.correlation is not None and results.fit is not None:
        yield results.figure(
            "residual-correlation",
            "Correlations of residuals within a group.",
            results.fit.plot_residual_correlation,
        )
    if results.fit is None:
        return
    if results.is_large:
        yield words("Profiles refit the model many times; this one is large, so they are left out: fit.profile().")
        return
    yield from _profiles(results, results.fit)


def _profiles(results: Results, fit: Fit) -> Iterator[Piece]:
    """Yield profile intervals, and reports of the standard deviations whose intervals begin at zero."""
    rows = [row for row in fit.labels.parameter_rows() if row.kind != "fixed"]
    if not rows:
        return
    try:
        profile = fit.profile([row.name for row in rows], level=max(results.level, 0.99), progress=False)
        found = profile.intervals(results.level)
    except BayesmmError as error:
        yield words(f"There are no profile intervals: {error}")
        return
    yield shown(profile.summary(level=results.level))
    yield results.figure("profile", "Profiles: a straight line is a symmetric interval.", profile.plot)
    near = [row.name for row in rows if row.kind == "sd" and not found.loc[row.name, "lower"] > 0.0]
    for name in near[:MOST_NEAR_ZERO]:
        yield attempt(visible(name), lambda name=name: shown(_boundary(results, fit, name)))
    if near[MOST_NEAR_ZERO:]:
        yield words(f"fit.boundary() says the same of {listing(near[MOST_NEAR_ZERO:])}.")


def _boundary(results: Results, fit: Fit, name: str) -> BoundaryReport:
    return fit.boundary(name, results.posterior, level=results.level, n=REFITS, seed=SEED, progress=False)


def _shares(results: Results) -> Piece:
    found: pd.DataFrame = results.any.variance_shares(level=results.level)
    value, error = ("estimate", "std_error") if "estimate" in found else ("mean", "sd")
    limits = write_intervals(found["lower"], found["upper"], found[value], found[error])
    pairs = list(zip(found[value], found[error], strict=True))
    columns = [
        Column(head=value, cells=[write_like(one, spread) for one, spread in pairs]),
        Column(head=error.replace("_", " "), cells=[write_like(spread, spread) for _, spread in pairs]),
        Interval(head=interval_head(results.level), cells=limits),
    ]
    what = Table(names=[str(name) for name in found.index], columns=columns, where="variance_shares()")
    return table("Shares of the variance that is not explained by fixed effects", what)


def _levels(results: Results) -> Iterator[Piece]:
    pairs = [(block.group, effect) for block in results.design.blocks for effect in block.effects]
    if results.uncertainty is not None:
        yield shown(results.uncertainty)
    elif results.fit is None:
        yield words("Intervals are quantiles of the draws.")
    else:
        yield words(
            "This model is large: intervals here are given the estimated variances and fixed effects. "
            "bayesmm.effect_uncertainty(fit) has all layers of uncertainty."
        )
    for i, (group, effect) in enumerate(pairs[:MOST_EFFECTS]):
        yield results.figure(
            f"levels-{i}",
            visible(f"{effect} by {group}: each level with its interval, sorted."),
            lambda group=group, effect=effect: _draw_levels(results, group, effect),
        )
    if pairs[MOST_EFFECTS:]:
        yield words(f"{len(pairs) - MOST_EFFECTS} more effects are not drawn; fit.plot_effects(effect, group) does.")
    comparison = results.comparison
    yield results.figure(
        "groups",
        "Levels with their own line, the partially pooled one, and that of all together.",
        lambda: (
            results.any.plot_groups(level=results.level, rows=results.rows)
            if comparison is None
            else comparison.plot_groups(rows=results.rows)
        ),
    )


def _draw_levels(results: Results, group: str, effect: str) -> Any:
    if results.uncertainty is not None:
        return results.uncertainty.plot(effect, group, level=results.level)
    found = results.any.random_effects(level=results.level)
    own = found[(found["group"] == group) & (found["effect"] == effect)]
    layer = "conditional" if results.fit is not None else "posterior"
    own = own.rename(columns={"mean": "estimate"}).assign(layer=layer)
    return plot_caterpillar(own, title=f"{effect} | {group}", coverage=results.level)


def _shrinkage(results: Results) -> Iterator[Piece]:
    yield shown(results.pooling)
    yield results.figure(
        "shrinkage", "How far each level is pulled from its own rows towards all others.", results.pooling.plot
    )


def _explorer(results: Results) -> Iterator[Piece]:
    groups = [block.group for block in results.design.blocks]
    first, *others = groups
    assert results.fit is not None
    fit = results.fit
    yield attempt(
        "The explorer is not here",
        lambda: Piece(
            kind="explorer",
            content=write_fragment(
                fit, results.posterior, group=first, level=results.level, key="explorer", rows=results.few
            ),
            key="explorer",
        ),
    )
    if others:
        yield words(f"It is of {first}; fit.explore(path, group=...) makes pages of {listing(others)}.")


def _checks(results: Results) -> Iterator[Piece]:
    fit, posterior = results.fit, results.posterior
    if fit is not None and results.few is None and results.design.elsewhere is not None:
        yield words(
            f"Residuals are not looked at: the rows are in {results.design.elsewhere.where}, not in memory. "
            "report(rows=...) reads a sample of them; fit.augment_rows writes all residuals to a file."
            if results.design.residual is None
            else f"Residuals are not looked at: the rows are in {results.design.elsewhere.where}, not in memory, and "
            "residuals have a covariance."
        )
    few = results.few
    if results.check is not None and fit is not None and few is not None:
        yield shown(results.check)
        if results.has_many_rows:
            yield words("Envelopes of residuals are simulated; this model is large: fit.plot_residuals() draws them.")
        else:
            yield results.figure(
                "residuals",
                "Residuals and random effects, with envelopes of what the model draws.",
                lambda: plot_residuals(fit, few, SETS, results.level, SEED, None),
            )
    if posterior is not None:
        yield shown(posterior.diagnostics)
        if not results.is_large:
            yield results.figure(
                "predictive",
                "The responses, over sets of responses that the posterior predicts.",
                lambda: posterior.plot_predictive(seed=SEED).viz["figure"].item(),
            )


def _priors(results: Results) -> Iterator[Piece]:
    assert results.posterior is not None
    yield shown(results.posterior.priors)
    yield results.figure("priors", "Densities of the priors, in units of the data.", results.posterior.plot_priors)


def _again(results: Results) -> Iterator[Piece]:
    posterior = results.posterior
    yield words("These lines make the results again:")
    yield Piece(kind="code", content=write_code(results.fit, posterior, results.data, results.page, results.rows))
    if posterior is not None:
        seed = posterior.data["sample_stats"].attrs.get("seed")
        told = "" if seed is None else f", with the seed {int(seed)}"
        yield words(f"The posterior: {posterior.origin}{told}.")
    yield words(f"Checks and refits on this page are drawn with the seed {SEED}.")
    yield table("What it was made with", version_table(has_posterior=posterior is not None))
    yield words("To cite it:")
    yield Piece(kind="code", content=citation())
