"""Slopes: how fast marginal means change with a number."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayesmm.console import listing
from bayesmm.design.words.factors import is_factor
from bayesmm.errors import ArgumentError, BayesmmWarning
from bayesmm.inference.fitted import Df, Fitted, Information
from bayesmm.inference.fixed.fixed_effects import FixedInference
from bayesmm.inference.means.adjust import Adjust
from bayesmm.inference.means.averaging import Weights, average, check_weights
from bayesmm.inference.means.emmeans import averaging_notes, check_apart, read_names
from bayesmm.inference.means.evidence import read_evidence
from bayesmm.inference.means.grid import build_grid, check_columns
from bayesmm.inference.means.margins import Margins, free_name

if TYPE_CHECKING:
    from bayesmm.bayes.results.drawn import DrawnModel

STEP = (
    1e-3  # of the range of the variable: rounding is 1e-13 of the column over it, what is left of a sixth power 1e-12
)
STENCIL = ((-2.0, 1.0 / 12.0), (-1.0, -2.0 / 3.0), (1.0, 2.0 / 3.0), (2.0, -1.0 / 12.0))  # exact up to fourth powers


def slopes(
    result: Fitted | DrawnModel,
    variable: str,
    specs: str | Sequence[str] = (),
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
    """Differentiate marginal means by a number.

    Parameters
    ----------
    result : Fit or Posterior
        Estimates or draws.
    variable : str
        A column of numbers in the fixed part.
    specs : str or sequence of str, optional
        Columns whose slopes are wanted, one for all combinations of their values; contrasts compare these.
    by, at, weights, df, information, covariance, adjust, level, progress
        As in `bayesmm.emmeans`; ``at={variable: ...}`` says where the slope is taken.

    Returns
    -------
    Margins
        Slopes in units of the response per unit of `variable`.

    Raises
    ------
    ArgumentError
        If a column is not in the fixed part, or `variable` is a factor.

    Notes
    -----
    Derivatives of the columns of X, by central differences that are exact up to fourth powers.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("distance ~ age * Sex + (age | Subject)", bmm.datasets.load("orthodont")).fit()
    >>> print(bmm.slopes(fit, "age", "Sex").table.round(3).to_string())
            estimate  std_error    df  statistic  p_value  lower  upper
    Sex
    Female     0.480      0.104  25.0      4.623      0.0  0.266  0.693
    Male       0.784      0.086  25.0      9.121      0.0  0.607  0.961
    """
    evidence = read_evidence(result, df, information, covariance, progress)
    design = evidence.design
    check_weights(weights)
    (variable,) = read_names("variable", [variable])
    check_columns(design, [variable])
    if is_factor(design, variable):
        raise ArgumentError(f"{variable!r} is a factor and has no slope: compare its levels by emmeans().contrasts().")
    inside, outside = read_names("specs", specs), read_names("by", by)
    check_apart(inside, outside)
    grid = build_grid(design, at, [*inside, *outside])
    numbers = design.known_rows.frame[variable].to_numpy(dtype=float)  # with the least and the greatest
    step = STEP * (float(np.ptp(numbers)) or 1.0)
    here = grid.columns(grid.frame)
    X, offset = np.zeros_like(here[0]), np.zeros_like(here[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)  # said of the rows themselves, not of a step beyond the last
        for steps, weight in STENCIL:
            moved = grid.frame.assign(**{variable: grid.frame[variable] + steps * step})
            near = grid.columns(moved)
            X += weight / step * (near[0] - here[0])
            offset += weight / step * (near[1] - here[1])
    stays = [*inside, *outside]
    means = average(grid, X, offset, stays, weights)
    labels = pd.DataFrame(means.labels, columns=[*outside, *inside])
    if not inside:
        labels.insert(len(outside), free_name("slope", outside), variable)
    of = f" by {listing(inside)}" if inside else ""
    return Margins(
        kind="slope",
        title=f"Slopes of {variable}{of}",
        labels=labels,
        by=tuple(outside),
        L=means.L,
        offset=means.offset,
        evidence=evidence,
        adjust=adjust,
        level=level,
        notes=averaging_notes(grid, stays, weights, moved=[variable]),
    )
