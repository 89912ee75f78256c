"""What the explorer's page knows of a fit: its sums level by level, names, and where estimate and posterior lie."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from math import ceil
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmm.arguments import shorten
from bayesmm.console import visible
from bayesmm.errors import ArgumentError, ComparisonError
from bayesmm.inference.either import is_posterior
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.pooling.own_rows import read_own_rows
from bayesmm.presenting.intervals import check_level

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior

MOST_NUMBERS = 200_000  # of all levels' sums: a page of two megabytes, and some tenths of a second a move
FADING_NUMBERS = 30_000  # with those of [X y], which only fading a level out needs
BINS = 48  # of a posterior's histogram along a slider
SPAN = 2.5  # estimates that a slider reaches


def why_not(fit: Fitted) -> str | None:
    """Say why a model cannot be explored; None if it can."""
    blocks = fit.design.blocks
    if len(blocks) != 1:
        names = ", ".join(block.group for block in blocks)
        return (
            f"The explorer takes models of one grouping factor, and this one has {len(blocks)} ({visible(names)}): fit "
            "a model with one of them alone to explore it."
        )
    block = blocks[0]
    if block.incidence.touches_itself:
        return (
            f"The explorer takes one level of {visible(block.group)} a row, and here rows have several: their "
            "estimates do not fall apart by level."
        )
    n = block.q * block.k * (block.k + fit.design.p + 1)
    if n > MOST_NUMBERS:
        return (
            f"The explorer would send {n:,} numbers to the browser, of {block.q:,} levels, {block.k} effects and "
            f"{fit.design.p} coefficients, and takes {MOST_NUMBERS:,}: leave levels or coefficients out."
        )
    return None


def write_data(fit: Fitted, posterior: Posterior | None = None, *, level: float = 0.95) -> dict[str, Any]:
    """Write what the explorer reads of a fit.

    Parameters
    ----------
    fit : Fit
        Of one grouping factor.
    posterior : Posterior, optional
        Of the same model and data.
    level : float
        Coverage of the intervals, with normal quantiles.

    Returns
    -------
    dict
        Of what JSON has. Arrays are base64 of little-endian doubles, so that no digit is lost: of level, effect or
        column in the order of the model, on the conditioned columns (`bayesmm.marginal.sums.crossproducts`).

        ==============================  =======================================================================
        zz, zk, kk                      Z_i'WZ_i (q, k, k), Z_i'W[X y] (q, k, p + 1), [X y]'W[X y] of the
                                        level's rows (q, p + 1, p + 1), null where they are too many
        gram                            [X y]'W[X y] (p + 1, p + 1)
        root, back                      T and T⁻¹ (k, k): the user's effect columns are those here times T
        fixedBack, origin               R⁻¹ (p, p), and least-squares coefficients (p,)
        ratios, correlations, sigma     the estimate: sds over σ, correlations (k k), σ
        reach                           right ends of the ratios' sliders
        shifts                          for each effect the position of the coefficient of its name, or −1
        ==============================  =======================================================================

    Raises
    ------
    ArgumentError
        If the model is not one that the explorer takes, or an argument is none of these.
    ComparisonError
        If the posterior is of another model.
    """
    level = check_level(level)
    reason = why_not(fit)
    if reason is not None:
        raise ArgumentError(reason)
    design, block, products = fit.design, fit.design.blocks[0], fit.problem.products
    q, k, p = block.q, block.k, design.p
    rows, names = fit.problem.conditioned_rows(), fit.labels.blocks[0]
    ratios, correlations = _read_factor(fit.estimate.factors[0])
    drawn = None if posterior is None else _read_posterior(fit, posterior)
    sums = _sum_levels(rows.incidences[0].only.codes, rows.incidences[0].only.columns, rows.fixed, q)
    fades = q * (k * k + k * (p + 1) + (p + 1) ** 2) <= FADING_NUMBERS
    own = read_own_rows(design, fit.estimate.beta, fit.estimate.modes)[0]
    coefficients = fit.labels.coefficients
    shifts = [coefficients.index(effect) if effect in coefficients else -1 for effect in names.effects]
    reach = _reach(ratios, rows.incidences[0].only.columns, np.asarray(products.effect_roots[0]), drawn)
    data: dict[str, Any] = {
        "formula": visible(design.specification.shown),
        "group": visible(names.group),
        "effects": [visible(effect) for effect in names.effects],
        "levels": [visible(each) for each in names.levels],
        "n": np.bincount(block.incidence.only.codes, minlength=q).tolist(),
        "rows": design.n,
        "q": q,
        "k": k,
        "p": p,
        "method": fit.method,
        "knownSigma": fit.known_sigma,
        "logRoot": float(products.log_det_root),
        "logWeights": float(products.log_weights),
        "zz": _pack(sums[:, :k, :k]),
        "zk": _pack(sums[:, :k, k:]),
        "kk": _pack(sums[:, k:, k:]) if fades else None,
        "gram": _pack(rows.fixed.T @ rows.fixed),
        "root": _pack(np.asarray(products.effect_roots[0])),
        "back": _pack(np.linalg.inv(products.effect_roots[0])),
        "fixedBack": _pack(np.linalg.inv(products.fixed_root)),
        "origin": _pack(np.asarray(products.fixed_origin)),
        "undetermined": np.flatnonzero(~own.determined).tolist(),
        "shifts": shifts,
        "ratios": ratios.tolist(),
        "correlations": correlations.ravel().tolist(),
        "sigma": fit.sigma,
        "correlated": len(names.cors) > 0,
        "reach": reach,
        "level": level,
        "z": NormalDist().inv_cdf(0.5 + 0.5 * level),
        "posterior": None,
    }
    if drawn is not None:
        data["posterior"] = _write_posterior(fit, posterior, drawn, reach, shifts)
    return data | {"remarks": list(_remarks(fit, fades))}


def _sum_levels(codes: np.ndarray, Z: np.ndarray, K: np.ndarray, q: int) -> np.ndarray:
    """[Z K]'[Z K] of the rows of each level, (q, k + c, k + c)."""
    columns = np.column_stack([Z, K])
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=q))[:-1]
    return np.stack([own.T @ own for own in np.split(columns[order], ends)])


def _pack(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode("ascii")


def _read_factor(L: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read relative standard deviations (k,) and correlations (k, k) off Λ; 0 of an effect that does not vary."""
    covariance = L @ L.T
    ratios = np.sqrt(np.diag(covariance))
    size = np.where(ratios > 0.0, ratios, 1.0)
    correlations = np.clip(covariance / np.outer(size, size), -1.0, 1.0)
    np.fill_diagonal(correlations, 1.0)
    return ratios, correlations


def _reach(ratios: np.ndarray, Z: np.ndarray, T: np.ndarray, drawn: dict[str, np.ndarray] | None) -> list[float]:
    """Choose the right ends of the sliders: some estimates, or where effects are about σ, or the posterior ends."""
    sizes = np.sqrt(np.mean((Z @ T) ** 2, axis=0))  # of the user's columns
    ends = np.maximum(SPAN * ratios, 1.5 / np.where(sizes > 0.0, sizes, 1.0) * (ratios == 0.0))
    if drawn is not None:
        ends = np.maximum(ends, 1.02 * np.quantile(drawn["ratios"], 0.995, axis=0))
    return [_round_up(float(end)) for end in ends]


def _round_up(value: float) -> float:
    """Round up to one and a half digits."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(ceil(2.0 * value / power - 1e-9) / 2.0 * power)


def _read_posterior(fit: Fitted, posterior: Any) -> dict[str, np.ndarray]:
    try:
        drawn = is_posterior(posterior)
    except ArgumentError:
        drawn = False
    if not drawn:
        raise ArgumentError(f"posterior is {shorten(posterior)}: give what model.sample() returns.")
    if fit.labels != posterior.labels or not np.array_equal(fit.design.y, posterior.design.y):
        raise ComparisonError(
            "The fit and the posterior are not of the same model and data. Fit and sample one Model: model.fit() and "
            "model.sample(seed=1)."
        )
    from bayesmm.bayes.results.draws import read_draws

    draws = read_draws(posterior)
    covariances = draws.covariances[0]
    sds = np.sqrt(np.einsum("dii->di", covariances))
    found = {"beta": draws.beta, "sigma": draws.sigma, "ratios": sds / draws.sigma[:, None]}
    if sds.shape[1] == 2:
        product = sds.prod(axis=1)
        found["correlation"] = covariances[:, 0, 1][product > 0.0] / product[product > 0.0]
    return found


def _write_posterior(
    fit: Fitted, posterior: Any, drawn: dict[str, np.ndarray], reach: list[float], shifts: list[int]
) -> dict[str, Any]:
    table = posterior.random_effects()
    q, k = fit.design.blocks[0].q, fit.design.blocks[0].k
    fixed = drawn["beta"].mean(axis=0)
    centre = np.array([fixed[j] if j >= 0 else 0.0 for j in shifts])
    correlation = None
    if len(fit.labels.blocks[0].cors) and "correlation" in drawn:
        correlation = _histogram(drawn["correlation"], -1.0, 1.0)
    sigma = None
    if fit.known_sigma is None:
        sigma = _histogram(drawn["sigma"], float(drawn["sigma"].min()), float(drawn["sigma"].max()))
    return {
        "means": _pack(table["mean"].to_numpy().reshape(q, k) + centre),
        "ratios": [_histogram(drawn["ratios"][:, e], 0.0, end) for e, end in enumerate(reach)],
        "correlation": correlation,
        "sigma": sigma,
    }


def _histogram(draws: np.ndarray, low: float, high: float) -> dict[str, Any] | None:
    heights, edges = np.histogram(draws, bins=BINS, range=(low, high))
    if not heights.any():
        return None
    return {"edges": [float(f"{edge:.6g}") for edge in edges], "heights": heights.tolist()}


def _remarks(fit: Fitted, fades: bool) -> Iterator[str]:
    if fit.design.blocks[0].k > 2:
        yield "The correlations of the effects stay as they were estimated."
    elif len(fit.labels.blocks[0].pieces) > 1:
        yield "The effects are uncorrelated in this model."
    if len(fit.labels.blocks[0].sds) < fit.design.blocks[0].k:
        yield "The model ties the standard deviations of effects to each other; here each can be moved by itself."
    if fit.design.has_weights:
        yield "σ is that of a row of weight one."
    if not fades:
        yield "The levels are too many for one of them to be faded out."
