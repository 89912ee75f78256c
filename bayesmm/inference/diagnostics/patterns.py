"""Patterns that residuals and random effects should not have, beside what the model itself would show by chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.inference.diagnostics.envelopes import standard_modes, standard_residuals
from bayesmm.inference.diagnostics.row_view import RowView
from bayesmm.inference.diagnostics.simulated_sets import Sets, draw_sets, monte_carlo_p
from bayesmm.inference.fitted import Fitted
from bayesmm.problem import FewRows

FEWEST_LEVELS = 6  # of whose effects a distribution is looked at
SIGNED = ("skewness", "excess kurtosis", "curvature", "spread against fitted")


@dataclass(frozen=True, kw_only=True, eq=False)
class Patterns:
    """All that was looked at.

    Attributes
    ----------
    table : DataFrame
        One row a look. Columns: what (residuals, or the effect and its group), look, statistic; the central 95 % of it
        among all sets (lower, upper); distance from their middle, one at these limits; p_value, the share of
        sets that are as far.
    p_any : float
        Share of the sets whose most extreme look is as far as that of the data: what remains of the smallest p-value
        once it is counted that so many were looked at.
    n : int
        Simulated sets.
    """

    table: pd.DataFrame
    p_any: float
    n: int


def look_for_patterns(
    fit: Fitted, rows: RowView, n: int, seed: int, progress: bool | None, few: FewRows | None = None
) -> Patterns:
    """Look at residuals and random effects of the data and of n sets that the model draws.

    Of few rows that have the sums of all, residuals are looked at of those that are rows of the model.
    """
    few = few or FewRows(fit.problem)
    df = fit.estimate.criterion_function.degrees_of_freedom
    names: list[tuple[str, str]] = []
    values = []
    for sets in draw_sets(rows.at, n, seed, fit.known_sigma, df, progress):
        looks = dict(_looks(fit, few, rows, sets))
        names = list(looks)
        values.append(np.array(list(looks.values())))
    found = np.concatenate(values, axis=1)  # (looks, sets)
    lower, middle, upper = np.quantile(found, (0.025, 0.5, 0.975), axis=1)  # of all sets alike: ranks stay exact
    signed = np.array([look in SIGNED for _, look in names])
    distance = _distances(found, lower, middle, upper, signed)
    largest = distance.max(axis=0)
    table = pd.DataFrame(
        {
            "what": [what for what, _ in names],
            "look": [look for _, look in names],
            "statistic": found[:, 0],
            "lower": lower,
            "upper": upper,
            "distance": distance[:, 0],
            "p_value": [monte_carlo_p(each) for each in distance],
        }
    )
    return Patterns(table=table, p_any=monte_carlo_p(largest), n=n)


def _distances(
    found: np.ndarray, lower: np.ndarray, middle: np.ndarray, upper: np.ndarray, signed: np.ndarray
) -> np.ndarray:
    """How far each set's look is from the middle, over the half-width of the central 95 % to that side (looks, sets).

    To both sides of what is signed, upwards otherwise. So looks of all scales can be compared, and the largest of them
    be judged beside the largest of every set (directional quantile envelopes, Myllymäki et al. 2017, JRSS-B 79).
    """
    off = found - middle[:, None]
    width = np.where(off > 0, (upper - middle)[:, None], (middle - lower)[:, None])
    scaled = off / np.where(width > 0, width, np.inf)
    return np.where(signed[:, None], np.abs(scaled), scaled)


def _looks(fit: Fitted, few: FewRows, rows: RowView, sets: Sets) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Each look's statistic, of all sets (c,)."""
    at, seen, t = rows.at, few.seen, standard_residuals(rows, sets)[few.seen]
    known = np.isfinite(t).all(axis=1)
    t = t[known]
    yield from _shape("residuals", t)
    yield ("residuals", "largest residual"), np.abs(t).max(axis=0)
    design = few.problem.design
    origin = design.offset + design.X[:, design.kept] @ np.asarray(at.products.fixed_origin)
    fitted = (origin[:, None] + rows.to_data(sets.fitted))[seen][known]
    fitted = fitted - fitted.mean(axis=0)
    if float(fitted.std()) > 0:
        yield ("residuals", "curvature"), _correlation(t, fitted**2)
        yield ("residuals", "spread against fitted"), _correlation(np.abs(t), fitted)
    for block in design.blocks:
        if len(block.incidence.memberships) == 1:
            codes = block.incidence.only.codes[seen][known]
            if block.q < len(codes):
                yield ("residuals", f"spread by {block.group}"), _spread_by(np.abs(t), codes, block.q)
    for block, own in zip(fit.labels.blocks, standard_modes(at, sets), strict=True):
        for effect, z in zip(block.effects, own, strict=True):
            kept = np.isfinite(z).all(axis=0)
            if kept.sum() >= FEWEST_LEVELS:
                what = f"{effect} | {block.group}"
                yield from _shape(what, z[:, kept].T)
                yield (what, "largest effect"), np.abs(z[:, kept]).max(axis=1)


def _shape(what: str, values: np.ndarray) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    centred = values - values.mean(axis=0)
    square = centred * centred  # powers take ten times as long
    variance = np.maximum(square.mean(axis=0), np.finfo(float).tiny)
    yield (what, "skewness"), (square * centred).mean(axis=0) / variance**1.5
    yield (what, "excess kurtosis"), (square * square).mean(axis=0) / variance**2 - 3.0


def _correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of columns that lie side by side."""
    a, b = one - one.mean(axis=0), other - other.mean(axis=0)
    size = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    return (a * b).sum(axis=0) / np.where(size > 0, size, 1.0)


def _spread_by(sizes: np.ndarray, codes: np.ndarray, q: int) -> np.ndarray:
    """Variance of |residual| between levels over that within them: Levene's statistic."""
    counts = np.bincount(codes, minlength=q)
    sums = np.array([np.bincount(codes, weights=column, minlength=q) for column in sizes.T])
    present = counts > 0
    means = sums[:, present] / counts[present]
    between = (counts[present] * (means - sizes.mean(axis=0)[:, None]) ** 2).sum(axis=1)
    within = ((sizes - sizes.mean(axis=0)) ** 2).sum(axis=0) - between
    q_present = int(present.sum())
    return (between / max(q_present - 1, 1)) / np.maximum(within / max(len(codes) - q_present, 1), 1e-300)
