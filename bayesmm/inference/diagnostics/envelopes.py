"""Normal quantile plots of residuals and of random effects with envelopes from simulation, as frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from bayesmm.arguments import is_one_of, shorten
from bayesmm.errors import ArgumentError, RowsError
from bayesmm.inference.diagnostics.residuals import standardise
from bayesmm.inference.diagnostics.row_view import RowView, view_rows, view_rows_at
from bayesmm.inference.diagnostics.simulated_sets import Sets, check_sets, draw_sets, treat
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.residual.through_rows import Eliminated
from bayesmm.presenting.intervals import check_level
from bayesmm.presenting.progress import watched
from bayesmm.problem import FewRows, Problem
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import Estimate, estimate
from bayesmm.reml.residual_search import pose_settled, refit_residual

type Of = Literal["residuals", "random_effects"]

MOST_NUMBERS = 50_000_000  # sets times values: 400 MB


def simulate_envelopes(
    fit: Fitted, few: FewRows, of: Of, n: int, level: float, seed: int, *, refit: bool, progress: bool | None
) -> pd.DataFrame:
    """Tabulate sorted standardised values beside what the model draws; see `Fit.envelopes`."""
    if not is_one_of(of, ("residuals", "random_effects")):
        raise ArgumentError(f"of is {shorten(of)}: give 'residuals' or 'random_effects'.")
    if not isinstance(refit, bool):
        raise ArgumentError(f"refit is {shorten(refit)}: give True or False.")
    check_sets(n, seed)
    level = check_level(level)
    if refit and few.n_sampled is not None:
        raise RowsError(
            "refit is True, and the rows are not in memory: each set would be all rows once more. Leave refit out, or "
            "fit a model of a data frame, of a part of the rows perhaps."
        )
    rows, index = view_rows_at(few.problem, fit.estimate), few.problem.design.rows[few.seen]
    at = rows.at
    n_values = len(index) if of == "residuals" else sum(v.size for v in at.mode_variances)
    if n_values * (n + 1) > MOST_NUMBERS:
        raise ArgumentError(
            f"n is {n}: with {n_values:,} values that would be {n_values * n:,} numbers, more than the "
            f"{MOST_NUMBERS:,} that are kept. Draw fewer: n={max(MOST_NUMBERS // n_values - 1, 20)}."
        )
    df = fit.estimate.criterion_function.degrees_of_freedom
    sets = draw_sets(at, n, seed, fit.known_sigma, df, False if refit else progress)
    if of == "residuals":
        looks = _refitted(fit, sets, of, n, progress) if refit else (standard_residuals(rows, each) for each in sets)
        values = np.concatenate([each[few.seen] for each in looks], axis=1)
        return _envelope(values, index, level, {})
    pieces: dict[tuple[int, int], list[np.ndarray]] = {}
    for modes in _refitted(fit, sets, of, n, progress) if refit else (standard_modes(at, each) for each in sets):
        for f, own in enumerate(modes):
            for j, z in enumerate(own):
                pieces.setdefault((f, j), []).append(z)
    tables = []
    for (f, j), parts in pieces.items():
        block = fit.labels.blocks[f]
        values = np.concatenate(parts, axis=0).T  # (q, sets)
        if np.isfinite(values[:, 0]).any():
            names = {"group": block.group, "effect": block.effects[j]}
            tables.append(_envelope(values, pd.Index(block.levels, name="level"), level, names))
    if not tables:
        raise ArgumentError("of is 'random_effects', and no random effect of this fit has a variance.")
    return pd.concat(tables)


def standard_residuals(rows: RowView, sets: Sets) -> np.ndarray:
    """Conditional residuals over their own standard deviations, (n, c); NaN in rows that are fitted exactly."""
    unit = np.broadcast_to(rows.variances[:, None], sets.conditional.shape)
    return standardise(rows.residuals(sets.conditional) / sets.sigma, unit)


def standard_modes(at: Eliminated, sets: Sets) -> list[np.ndarray]:
    """Conditional modes over their own standard deviations (k, c, q); NaN where there is no variance."""
    found = []
    for modes, variance in zip(sets.modes, at.mode_variances, strict=True):
        spread = np.sqrt(np.where(variance > 0, variance, np.nan))
        found.append(modes / sets.sigma[:, None] / spread[:, None])
    return found


def _refitted(fit: Fitted, sets: Iterator[Sets], of: Of, n: int, progress: bool | None) -> Iterator:
    """Estimate the variances of the observed set and of n simulated ones anew, from those of the fit."""
    design, rows = fit.design, view_rows(fit)
    population = design.offset + design.X[:, design.kept] @ fit.estimate.beta
    df = fit.estimate.criterion_function.degrees_of_freedom
    responses = (y for each in sets for y in rows.to_data(each.marginal).T)
    for _, y in zip(watched(range(n + 1), "refitting simulated sets", progress), responses, strict=True):
        problem = fit.problem.with_response(population + y)
        found = _estimate(fit, problem)
        own = view_rows_at(pose_settled(problem, found), found)
        one = treat(own.at, own.at.rows.fixed[:, -1:], fit.known_sigma, df)
        yield standard_residuals(own, one) if of == "residuals" else standard_modes(own.at, one)


def _estimate(fit: Fitted, problem: Problem) -> Estimate:
    """Estimate from another response, searched from the estimates of the fit."""
    residual = fit.estimate.residual
    if residual is not None:
        return refit_residual(replace(residual.criterion, rows=problem.residual_rows), fit.estimate.coordinates[:-1])
    return estimate(Criterion(problem.products, problem.layout, fit.method, fit.known_sigma), fit.estimate.minimum.x)


def _envelope(values: np.ndarray, index: pd.Index, level: float, names: dict[str, str]) -> pd.DataFrame:
    """Sort each set; the first is the observed one.

    The pointwise envelope has the central share `level` of all sets at each place. The simultaneous one is as many
    standard deviations wide everywhere, so that this share of the sets lies in it as a whole (Myllymäki et al. 2017).
    """
    known = np.isfinite(values[:, 0])
    order = np.argsort(values[known, 0], kind="stable")
    ordered = np.sort(values[known], axis=0)
    m = len(order)
    tail = 0.5 * (1.0 - level)
    lower, upper = np.quantile(ordered, (tail, 1.0 - tail), axis=1)
    centre, spread = ordered.mean(axis=1), ordered.std(axis=1)
    distance = np.abs(ordered - centre[:, None]) / np.where(spread > 0, spread, np.inf)[:, None]
    width = np.quantile(distance.max(axis=0), level) * spread
    return pd.DataFrame(
        {
            **names,
            "expected": ndtri((np.arange(1, m + 1) - 0.5) / m),
            "observed": ordered[:, 0],
            "lower": lower,
            "upper": upper,
            "lower_simultaneous": centre - width,
            "upper_simultaneous": centre + width,
        },
        index=index[known][order],
    )
