"""Patterns that residuals and random effects should not have, beside what the model itself would show by chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.inference.eliminated import Eliminated
from bayesmm.inference.envelopes import standard_modes, standard_residuals
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.simulated_sets import Sets, degrees_of_freedom, draw_sets

FEWEST_LEVELS = 6  # of whose effects a distribution is looked at
SIGNED = ("skewness", "excess kurtosis", "curvature", "spread against fitted")


@dataclass(frozen=True, kw_only=True, eq=False)
class Patterns:
    """All that was looked at.

    Attributes
    ----------
    table : DataFrame
        One row a look. Columns: what (residuals, or the effect and its group), look, statistic; the central 95 % of it
        among the simulated sets (lower, upper); p_value, the share of sets that are as extreme.
    p_any : float
        Share of simulated sets whose most extreme look is as extreme as that of the data: what remains of the smallest
        p-value once it is counted that so many were looked at.
    n : int
        Simulated sets.
    """

    table: pd.DataFrame
    p_any: float
    n: int


def look_for_patterns(fit: Fitted, at: Eliminated, n: int, seed: int) -> Patterns:
    """Look at residuals and random effects of the data and of n sets that the model draws."""
    df = degrees_of_freedom(fit.method, fit.n, at.p)
    names: list[tuple[str, str]] = []
    values = []
    for sets in draw_sets(at, n, seed, fit.known_sigma, df):
        looks = dict(_looks(fit, at, sets))
        names = list(looks)
        values.append(np.array(list(looks.values())))
    found = np.concatenate(values, axis=1)  # (looks, sets)
    signed = np.array([look in SIGNED for _, look in names])
    extremes = _extremes(found, signed)
    table = pd.DataFrame(
        {
            "what": [what for what, _ in names],
            "look": [look for _, look in names],
            "statistic": found[:, 0],
            "lower": np.quantile(found[:, 1:], 0.025, axis=1),
            "upper": np.quantile(found[:, 1:], 0.975, axis=1),
            "p_value": extremes[:, 0],
        }
    )
    smallest = extremes.min(axis=0)
    return Patterns(table=table, p_any=float((smallest <= smallest[0]).mean()), n=n)


def _extremes(found: np.ndarray, signed: np.ndarray) -> np.ndarray:
    """Share of the sets that are as extreme as each, (looks, sets): to both sides of what is signed."""
    m = found.shape[1]
    ranks = np.argsort(np.argsort(found, axis=1, kind="stable"), axis=1)
    above = (m - ranks) / m
    both = np.minimum(2.0 * np.minimum(above, (ranks + 1) / m), 1.0)
    return np.where(signed[:, None], both, above)


def _looks(fit: Fitted, at: Eliminated, sets: Sets) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Each look's statistic, of all sets (c,)."""
    t = standard_residuals(at, sets)
    known = np.isfinite(t).all(axis=1)
    t = t[known]
    yield from _shape("residuals", t)
    yield ("residuals", "largest residual"), np.abs(t).max(axis=0)
    design = fit.design
    origin = design.offset + design.X[:, design.kept] @ np.asarray(at.products.fixed_origin)
    fitted = (origin[:, None] + sets.fitted / np.sqrt(design.weights)[:, None])[known]
    fitted = fitted - fitted.mean(axis=0)
    if float(fitted.std()) > 0:
        yield ("residuals", "curvature"), _correlation(t, fitted**2)
        yield ("residuals", "spread against fitted"), _correlation(np.abs(t), fitted)
    for block in design.blocks:
        if len(block.incidence.memberships) == 1:
            codes = block.incidence.only.codes[known]
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
    variance = np.maximum((centred**2).mean(axis=0), np.finfo(float).tiny)
    yield (what, "skewness"), (centred**3).mean(axis=0) / variance**1.5
    yield (what, "excess kurtosis"), (centred**4).mean(axis=0) / variance**2 - 3.0


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
