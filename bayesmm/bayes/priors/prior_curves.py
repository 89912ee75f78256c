"""Densities of the priors in force, as curves to be drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from bayesmm.bayes.densities import LIMITS, estimate_density
from bayesmm.bayes.priors.correlation_matrices import CorrelationMatrix, ResidualPiece
from bayesmm.bayes.priors.families import log_density, log_spread_density, quantile
from bayesmm.bayes.priors.quantities import prior_quantities
from bayesmm.bayes.priors.resolution import PriorRow, ResolvedPriors
from bayesmm.bayes.priors.scales import DataScales, measure_scales
from bayesmm.covariance.public import free_sds
from bayesmm.covariance.structure import Statement
from bayesmm.design.design import Design
from bayesmm.plots.densities import Density
from bayesmm.plots.priors import PriorCurve
from bayesmm.specification.prior import Prior

N_POINTS = 401
MIDDLE = 0.95  # of a prior's mass is in its panel
WIDEST = 20.0  # standard deviations of the data: a panel is no wider, whatever the prior
UNBOUNDED = 5.0  # the same for an improper prior
AROUND = 1.5  # widths of the posterior's density, so far beyond it a panel goes


def build_curves(
    priors: ResolvedPriors,
    design: Design,
    estimates: Mapping[str, float] | None = None,
    draws: np.ndarray | None = None,
) -> list[PriorCurve]:
    """Evaluate the density of every prior over the middle 95 % of its mass, and over the estimate.

    Parameters
    ----------
    priors : ResolvedPriors
        Every prior in force.
    design : Design
        The data, for the scale of priors that have none.
    estimates : mapping of str to float, optional
        Point estimates by row.
    draws : array, shape (n, m), optional
        Of the posterior, in the order of the table: then each curve has the posterior density of what its prior is
        about, and reaches over that and not far beyond.

    Returns
    -------
    list of PriorCurve
        In the order of the table. A spread is drawn as a standard deviation, though its prior may be stated for the
        variance; a share as a share.
    """
    scales, known = measure_scales(design), dict(estimates or {})
    sigma = priors.known_sigma or known.get("sigma", scales.residual_sd)
    widths = _widths(priors, scales, design)
    values = np.array([known.get(row.name, np.nan) for row in priors.rows])
    names = [row.name for row in priors.rows]
    marks = dict(zip(names, prior_quantities(priors, design.labels, values).tolist(), strict=True))
    drawn: list[np.ndarray | None] = [None] * len(names)
    if draws is not None:
        drawn = list(_drawn(priors, design, draws).T)
    return [
        _curve(row, priors, widths[row.name], marks[row.name], float(sigma), own)
        for row, own in zip(priors.rows, drawn, strict=True)
    ]


def _drawn(priors: ResolvedPriors, design: Design, draws: np.ndarray) -> np.ndarray:
    """Draws of what each prior is about (n, m); a spread whose prior is stated for a share as that share."""
    found = prior_quantities(priors, design.labels, draws)
    places = {row.name: j for j, row in enumerate(priors.rows)}
    sigma = draws[:, places["sigma"]] if priors.known_sigma is None else np.full(len(draws), priors.known_sigma)
    for j, row in enumerate(priors.rows):
        if row.prior.stated_for == "share":
            square = found[:, j] ** 2
            found[:, j] = square / (square + sigma**2)
    return found


def _widths(priors: ResolvedPriors, scales: DataScales, design: Design) -> dict[str, float]:
    """One standard deviation of the data on the scale of each parameter."""
    fixed = scales.response_sd / scales.column_units
    own = zip(design.labels.blocks, scales.effect_units, strict=True)
    spreads = np.concatenate(
        [np.zeros(0), *(free_sds(np, scales.response_sd / units, block.pieces) for block, units in own)]
    )
    widths = dict(zip([row.name for row in priors.of_kind("fixed")], fixed.tolist(), strict=True))
    widths |= dict(zip([row.name for row in priors.of_kind("sd")], spreads.tolist(), strict=True))
    widths |= {row.name: scales.residual_sd for row in priors.of_kind("sigma")}
    widths |= dict(zip([row.name for row in priors.of_kind("exponent")], 1.0 / scales.exponent_units, strict=True))
    return {row.name: 1.0 for row in priors.rows} | widths


def _curve(
    row: PriorRow,
    priors: ResolvedPriors,
    width: float,
    estimate: float,
    sigma: float,
    draws: np.ndarray | None,
) -> PriorCurve:
    prior = row.prior
    posterior = None if draws is None else _posterior(row, draws)
    about = row.about if row.is_elsewhere else ""
    if row.kind == "cor":
        x, density = _correlation_curve(row, priors, estimate, posterior)
    elif prior.stated_for == "share":
        about, estimate = row.about, estimate**2 / (estimate**2 + sigma**2)
        x = _grid(0.0, 1.0, inside=True)
        density = _density(log_density, prior, x, x, sigma)
    elif row.kind in ("fixed", "exponent"):
        x = _grid(*_around(_reach(prior, width, estimate, is_spread=False), posterior), inside=False)
        density = _density(log_density, prior, x, x, sigma)
    else:
        lower, upper = _around(_reach(prior, width, estimate, is_spread=True), posterior)
        x = _grid(max(lower, 0.0), upper, inside=True)
        stated = x**2 if prior.stated_for == "variance" else x
        density = _density(log_spread_density, prior, x, stated, sigma)
    return PriorCurve(
        name=row.name,
        prior=str(prior),
        source=row.source,
        about=about,
        x=x,
        density=density,
        is_proper=row.is_proper,
        given_sigma=sigma if prior.family == "BoxTiao" else None,
        estimate=estimate,
        posterior=posterior,
    )


def _posterior(row: PriorRow, draws: np.ndarray) -> Density:
    limits = (0.0, 1.0) if row.prior.stated_for == "share" else LIMITS[row.kind]
    if row.kind == "cor" and row.prior.stated_for == "range":
        limits = (0.0, np.inf)
    return estimate_density(draws, limits)


def _around(reach: tuple[float, float], posterior: Density | None) -> tuple[float, float]:
    """Limits of the panel with a posterior: all of it, and of the prior what is not too far from it."""
    if posterior is None or not len(posterior.x):
        return reach
    low, high = float(posterior.x[0]), float(posterior.x[-1])
    beyond = AROUND * (high - low)
    return min(low, max(reach[0], low - beyond)), max(high, min(reach[1], high + beyond))


def _density(
    evaluate: Callable[..., np.ndarray], prior: Prior, x: np.ndarray, stated: np.ndarray, sigma: float
) -> np.ndarray:
    """Evaluate the density of x, zero where the quantity that the prior is stated for is outside its support."""
    lower, upper = prior.numbers.get("lower", -np.inf), prior.numbers.get("upper", np.inf)
    if prior.support == "positive numbers":
        lower = 0.0
    inside = (stated >= lower) & (stated <= upper)
    density = np.zeros(len(x))
    density[inside] = np.exp(evaluate(prior, x[inside], sigma))
    return density


def _grid(lower: float, upper: float, *, inside: bool) -> np.ndarray:
    """Lay points between two limits, without the limits themselves where a density may have a pole there."""
    margin = (upper - lower) / (2 * N_POINTS) if inside else 0.0
    return np.linspace(lower + margin, upper - margin, N_POINTS)


def _reach(prior: Prior, width: float, estimate: float, *, is_spread: bool) -> tuple[float, float]:
    """Limits of the panel: most of the prior's mass and the estimate are in it."""
    positive = is_spread or prior.support == "positive numbers"
    if prior.is_proper:
        with np.errstate(over="ignore", divide="ignore"):  # an infinite limit is cut
            limits = quantile(prior, np.array([(1.0 - MIDDLE) / 2.0, (1.0 + MIDDLE) / 2.0]))
        limits = np.sqrt(limits) if prior.stated_for == "variance" else limits
        widest = WIDEST * width if positive else np.finfo(float).max / 4.0
        lower, upper = np.clip(limits, -widest, widest)
        lower, upper = lower - 0.1 * (upper - lower), upper + 0.1 * (upper - lower)
    else:
        lower, upper = -UNBOUNDED * width, UNBOUNDED * width
    if np.isfinite(estimate):
        lower, upper = min(lower, estimate - 0.2 * abs(estimate)), max(upper, estimate + 0.2 * abs(estimate))
    return (0.0, upper) if positive else (lower, upper)


def _correlation_curve(
    row: PriorRow, priors: ResolvedPriors, estimate: float, posterior: Density | None
) -> tuple[np.ndarray, np.ndarray]:
    """Marginal density of one correlation, or of what its own prior is stated for."""
    piece = next(piece for piece in priors.matrices if row.name in piece.rows)
    which = piece.rows.index(row.name)
    stated = piece.stated(priors.of_matrix(piece))[which]
    if stated:
        x = _own_grid(row, piece, which, stated, estimate, posterior)
        return x, np.exp(piece.own_density(row.prior, x, which, stated))
    low, high = piece.limits
    x = _grid(low, high, inside=True)
    if isinstance(piece, ResidualPiece) and piece.is_over_gap(row.prior):
        return x, np.ones(len(x))  # of what it is about
    return x, piece.cor_density(x, which, getattr(row.prior, "concentration", 1.0))


def _own_grid(
    row: PriorRow, piece: CorrelationMatrix, which: int, stated: Statement, estimate: float, posterior: Density | None
) -> np.ndarray:
    """Lay points over all values, or over most of the mass of the prior of a range."""
    if stated != "range":
        return _grid(*piece.own_limits[which], inside=True)
    unit = float(piece.ranges(np.array(0.5), which))
    _, upper = _around(_reach(row.prior, unit, estimate, is_spread=True), posterior)
    return _grid(0.0, upper, inside=True)
