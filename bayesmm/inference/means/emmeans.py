"""Estimated marginal means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.errors import ArgumentError
from bayesmm.inference.fitted import Df, Fitted, Information
from bayesmm.inference.fixed.fixed_effects import FixedInference
from bayesmm.inference.means.adjust import Adjust
from bayesmm.inference.means.averaging import Weights, average, check_weights
from bayesmm.inference.means.evidence import read_evidence
from bayesmm.inference.means.grid import Grid, Variable, build_grid, interacting
from bayesmm.inference.means.margins import Margins, free_name

if TYPE_CHECKING:
    from bayesmm.bayes.results.drawn import DrawnModel

WEIGHED = {
    "equal": "",
    "proportional": ", weighed by how many rows have them",
    "outer": ", weighed by how many rows have each of their levels",
    "cells": ", weighed by the rows in each cell",
    "flat": ", those that have data weighed equally",
}


def emmeans(
    result: Fitted | DrawnModel,
    specs: str | Sequence[str],
    *,
    by: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    weights: Weights = "equal",
    df: Df | None = None,
    information: Information | None = None,
    covariance: FixedInference | None = None,
    adjust: Adjust = "none",
    level: float = 0.95,
    progress: bool | None = None,
) -> Margins:
    """Average what a model predicts over a balanced grid: estimated marginal means.

    Parameters
    ----------
    result : Fit or Posterior
        Estimates or draws.
    specs : str or sequence of str
        Columns of the fixed part whose means are wanted: of one, or of all combinations of several; with none, ``[]``,
        the overall mean.
    by : str or sequence of str, optional
        Columns that make groups; contrasts compare inside a group.
    at : mapping of str to value or sequence, optional
        Where columns stand in the grid: numbers, or some of the levels of a factor.
    weights : {"equal", "proportional", "outer", "cells", "flat"}
        How the combinations that are averaged over are weighed: all alike; by how many of the rows used have them; by
        the product of how many have each level; by the rows of each cell, separately for each mean; alike where a cell
        has data.
    df : {"satterthwaite", "kenward-roger", "residual", "normal"}, optional
        Degrees of freedom of a fit, for each row; Satterthwaite's by default. Kenward and Roger's come with corrected
        standard errors.
    information : {"expected", "observed"}, optional
        As in `bayesmm.fit.Fit.coefficients`.
    covariance : FixedInference, optional
        Another covariance of the fixed effects that brings its own degrees of freedom, such as
        ``fit.robust("Subject")``.
    adjust : str, optional
        Adjustment of the intervals for several means, as in `Margins.contrasts`.
    level : float
        Coverage of the intervals.
    progress : bool, optional
        Whether to show a progress bar; by default where a person can see it.

    Returns
    -------
    Margins
        Its `table` has one row a mean; `contrasts` compares them; for a posterior `data` has the draws.

    Raises
    ------
    ArgumentError
        If a column is not in the fixed part, or another argument is none of these.

    Notes
    -----
    The grid has every level of every factor, and each number at its mean over the rows used, where transformations such
    as ``poly(x, 2)`` are evaluated; a number of two distinct values stands at both, like a factor. An offset stands at
    its mean too, unless it has columns of the fixed part: then it is evaluated with them. Random effects are zero:
    means are of the population. A mean that is no combination of rows of X, for example over cells without data, is
    NaN. Rows run through the first of `specs` fastest.

    References
    ----------
    Searle, Speed & Milliken (1980), The American Statistician 34. Lenth, emmeans: Estimated Marginal Means (R package),
    whose interface this follows.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("score ~ Machine + (Machine | Worker)", bmm.datasets.load("machines")).fit()
    >>> print(bmm.emmeans(fit, "Machine").table.round(2).to_string())
             estimate  std_error   df  lower  upper
    Machine
    A           52.36       1.68  5.0  48.04  56.68
    B           60.32       3.53  5.0  51.25  69.39
    C           66.27       1.81  5.0  61.63  70.92
    """
    evidence = read_evidence(result, df, information, covariance, progress)
    check_weights(weights)
    inside, outside = read_names("specs", specs), read_names("by", by)
    check_apart(inside, outside)
    grid = build_grid(evidence.design, at, [*inside, *outside])
    X, offset = grid.columns(grid.frame)
    stays = [*inside, *outside]
    means = average(grid, X, offset, stays, weights)
    labels = pd.DataFrame(means.labels, columns=[*outside, *inside])
    if not inside:
        labels.insert(len(outside), free_name("mean", outside), "overall")
    return Margins(
        kind="mean",
        title=f"Estimated marginal means{f' of {listing(inside)}' if inside else ''}",
        labels=labels,
        by=tuple(outside),
        L=means.L,
        offset=means.offset,
        evidence=evidence,
        adjust=adjust,
        level=level,
        notes=averaging_notes(grid, stays, weights),
    )


def read_names(argument: str, names: Any) -> list[str]:
    """Return one name or several as a list."""
    found = [] if names is None else [names] if isinstance(names, str) else names
    if not isinstance(found, Sequence) or not all(isinstance(name, str) for name in found):
        raise ArgumentError(f"{argument} is {shorten(names)}: give the name of a column, or a list of names.")
    return list(dict.fromkeys(found))


def check_apart(inside: Sequence[str], outside: Sequence[str]) -> None:
    """Refuse a column that both makes groups and is told apart inside them."""
    both = [name for name in inside if name in outside]
    if both:
        raise ArgumentError(f"{both[0]!r} is in by= too: name it in one of the two.")


def averaging_notes(
    grid: Grid, stays: Sequence[str], weights: Weights, *, moved: Sequence[str] = ()
) -> tuple[str, ...]:
    """Say what means are averaged over, where numbers stand, and which interactions make averages hard to read.

    Parameters
    ----------
    grid, stays, weights
        As `average` takes them.
    moved : sequence of str
        Variables whose slope is taken, which differs between levels because of an interaction.
    """
    over = [each for each in grid.variables if each.name not in stays and len(each.values) > 1]
    held = [each for each in grid.variables if len(each.values) == 1]
    said = []
    if over:
        said.append(f"Averaged over {listing([each.name for each in over])}{WEIGHED[weights]}.")
    if held:
        said.append(f"At {listing([f'{each.name} = {_value(each)}' for each in held])}.")
    mixed = _mixed(grid, over, stays)
    if mixed:
        said.append(
            f"The model has the interaction {mixed}: what is averaged over differs between levels, and an average may "
            "mislead. Name these columns in by= to see them apart."
        )
    elsewhere = _mixed(grid, [each for each in held if each.name not in moved], stays)
    if elsewhere:
        said.append(f"The model has the interaction {elsewhere}: at other values the differences are others.")
    return tuple(said)


def _mixed(grid: Grid, some: Sequence[Variable], stays: Sequence[str]) -> str:
    """Name the terms that have both one of some variables and one that means are by."""
    names = {each.name for each in some}
    found = [term for term in interacting(grid.design) if term & names and term & set(stays)]
    return listing([":".join(name for name in grid.design.sources.fixed.uses if name in term) for term in found])


def _value(variable: Variable) -> str:
    value = variable.labels[0]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
