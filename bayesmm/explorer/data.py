"""What the explorer's page knows of a fit: its sums level by level, names, and where estimate and posterior lie."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from math import ceil
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmm.arguments import is_one_of, shorten
from bayesmm.console import visible
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.words.own_rows import DETERMINED
from bayesmm.errors import ArgumentError, ComparisonError
from bayesmm.explorer.sums import LevelSums, is_tied, sum_levels
from bayesmm.inference.either import is_posterior
from bayesmm.inference.eliminated import pose_at
from bayesmm.inference.fitted import Fitted
from bayesmm.presenting.intervals import check_level
from bayesmm.presenting.progress import SILENT, Bar

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior

MOST_NUMBERS = 200_000  # of all levels' sums: a page of two megabytes, and some tenths of a second a move
FADING_NUMBERS = 30_000  # with those of [X y], which only fading a level out needs
MOST_TIED = 120  # effects of levels that are tied to each other: their matrix is inverted a hundred times a move
MOST_HELD = 2_000  # effects of the others then
BINS = 48  # of a posterior's histogram along a slider
SPAN = 2.5  # estimates that a slider reaches


def why_not(fit: Fitted, group: str | None = None) -> str | None:
    """Say why a model cannot be explored; None if it can.

    Parameters
    ----------
    fit : Fit
        Any.
    group : str, optional
        Grouping factor; the only one if None.

    Raises
    ------
    ArgumentError
        If there is no grouping factor of this name, or there are several and none is named.
    """
    f = find_group(fit, group)
    block, p = fit.design.blocks[f], fit.design.p
    name = visible(block.group)
    if block.incidence.touches_itself:
        return (
            f"The explorer takes one level of {name} a row, and here rows have several: their estimates do not fall "
            "apart by level."
        )
    related = next((other for other in fit.design.blocks if other.relation is not None), None)
    if related is not None:
        return (
            f"The explorer takes levels that are independent of each other, and those of {visible(related.group)} are "
            "related: their estimates do not fall apart by level. bmm.shrinkage() has what their relatives say of them."
        )
    n = block.q * block.k * (block.k + p + 1)
    if n > MOST_NUMBERS:
        return (
            f"The explorer would send {n:,} numbers to the browser, of {block.q:,} levels, {block.k} effects and "
            f"{p} coefficients, and takes {MOST_NUMBERS:,}: leave levels or coefficients out."
        )
    if len(fit.design.blocks) > 1 and is_tied(fit.design, f):
        others = sum(other.q * other.k for g, other in enumerate(fit.design.blocks) if g != f)
        if block.q * block.k > MOST_TIED or others > MOST_HELD:
            return (
                f"Levels of {name} share levels of other grouping factors, so that the explorer has to work with all "
                f"their effects in one matrix: {block.q * block.k:,} of {name} and {others:,} of the others, where it "
                f"takes {MOST_TIED} and {MOST_HELD:,}. Fit a model of {name} alone to explore it."
            )
    return None


def find_group(fit: Fitted, group: str | None) -> int:
    """Return the position of a grouping factor; the only one if None."""
    names = [block.group for block in fit.design.blocks]
    if group is None and len(names) == 1:
        return 0
    if not is_one_of(group, names) or group is None:
        seen = f"group is {shorten(group)}" if group is not None else f"The model has {len(names)} grouping factors"
        raise ArgumentError(f"{visible(seen)}: name one of {visible(', '.join(map(repr, names)))}.")
    return names.index(group)


def write_data(
    fit: Fitted,
    posterior: Posterior | None = None,
    *,
    group: str | None = None,
    level: float = 0.95,
    rows: Any = None,
    bar: Bar = SILENT,
) -> dict[str, Any]:
    """Write what the explorer reads of a fit.

    Parameters
    ----------
    fit : Fit
        Any that `why_not` does not refuse.
    posterior : Posterior, optional
        Of the same model and data.
    group : str, optional
        Grouping factor, where there are several; the variances of the others' effects over σ² are held, and so is the
        covariance of the residuals, if they have one.
    level : float
        Coverage of the intervals, with normal quantiles.
    rows : path, list, data frame or FewRows, optional
        As of `bayesmm.problem.Problem.condense`: where rows are that are not in memory.
    bar : Bar
        What is told how many of them were read.

    Returns
    -------
    dict
        Of what JSON has. Arrays are base64 of little-endian doubles, so that no digit is lost: of level, effect or
        column in the order of the model, on the conditioned columns (`bayesmm.marginal.sums.crossproducts`).

        ==============================  =======================================================================
        levelRoot, cross, rest, tied    As of `bayesmm.explorer.sums.LevelSums`; rest is null where no level can
                                        be faded out
        allRest                         the sum of rest (p + 1, p + 1)
        root, back                      T and T⁻¹ (k, k): the user's effect columns are those here times T
        fixedBack, origin               R⁻¹ (p, p), and least-squares coefficients (p,)
        ratios, correlations, sigma     the estimate: sds over σ, correlations (k k), σ
        reach                           right ends of the ratios' sliders
        shifts                          for each effect the position of the coefficient of its name, or −1
        held                            whether there are other grouping factors
        ==============================  =======================================================================

    Raises
    ------
    ArgumentError
        If the model is not one that the explorer takes, or an argument is none of these.
    ComparisonError
        If the posterior is of another model.
    RowsError
        If rows that are not in memory are not given, or are not those of the model.
    """
    level = check_level(level)
    reason = why_not(fit, group)
    if reason is not None:
        raise ArgumentError(reason)
    f = find_group(fit, group)
    drawn = None if posterior is None else _read_posterior(fit, posterior, f)
    what, at = "fit.explore(path, rows='visits/*.parquet')", fit.estimate
    few = fit.problem.condense(rows, what, at.beta, at.modes, bar)
    problem = pose_at(few.problem, fit.estimate)
    design, block, products = fit.design, fit.design.blocks[f], problem.products
    q, k, p = block.q, block.k, design.p
    names, root = fit.labels.blocks[f], np.asarray(products.effect_roots[f])
    ratios, correlations = _read_factor(fit.estimate.factors[f])
    sums = sum_levels(fit, problem, f)
    fades = not sums.tied and q * (k * k + k * (p + 1) + (p + 1) ** 2) <= FADING_NUMBERS
    coefficients = fit.labels.coefficients
    shifts = [coefficients.index(effect) if effect in coefficients else -1 for effect in names.effects]
    reach = _reach(ratios, _sizes(block), drawn)
    codes = few.problem.design.blocks[f].incidence.only.codes
    data: dict[str, Any] = {
        "formula": visible(design.specification.shown),
        "group": visible(names.group),
        "effects": [visible(effect) for effect in names.effects],
        "levels": [visible(each) for each in names.levels],
        "n": np.bincount(codes, weights=few.counts, minlength=q).round().astype(int).tolist(),
        "rows": design.n,
        "q": q,
        "k": k,
        "p": p,
        "tied": sums.tied,
        "held": len(design.blocks) > 1,
        "method": fit.method,
        "knownSigma": fit.known_sigma,
        "logRoot": float(products.log_det_root),
        "logWeights": float(products.log_weights) - sums.log_det,
        "levelRoot": _pack(sums.root),
        "cross": _pack(sums.cross),
        "rest": _pack(sums.rest) if fades else None,
        "allRest": _pack(sums.rest.sum(axis=0)),
        "root": _pack(root),
        "back": _pack(np.linalg.inv(root)),
        "fixedBack": _pack(np.linalg.inv(products.fixed_root)),
        "origin": _pack(np.asarray(products.fixed_origin)),
        "undetermined": _undetermined(sums, root, q),
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
        data["posterior"] = _write_posterior(fit, posterior, f, drawn, reach, shifts)
    return data | {"remarks": list(_remarks(fit, f, fades))}


def _undetermined(sums: LevelSums, root: np.ndarray, q: int) -> list[int]:
    """List the levels whose own rows do not determine their effects."""
    k = len(root)
    own = sums.root.swapaxes(1, 2) @ sums.root
    if sums.tied:
        at = np.arange(q)
        own = own[0].reshape(q, k, q, k)[at, :, at, :]
    gram = root.T @ own @ root
    scale = np.sqrt(np.einsum("qii->qi", gram))
    scale = np.where(scale > 0, scale, 1.0)
    smallest = np.linalg.eigvalsh(gram / (scale[:, :, None] * scale[:, None, :]))[:, 0]
    return np.flatnonzero(smallest <= DETERMINED).tolist()


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


def _sizes(block: RandomBlock) -> np.ndarray:
    """Roots of the mean squares of the effects' columns."""
    if block.moments is not None:
        return np.sqrt(np.diag(block.moments.covariance) + block.moments.mean**2)
    return np.sqrt(np.mean(block.columns**2, axis=0))


def _reach(ratios: np.ndarray, sizes: np.ndarray, drawn: dict[str, np.ndarray] | None) -> list[float]:
    """Choose the right ends of the sliders: some estimates, or where effects are about σ, or the posterior ends."""
    ends = np.maximum(SPAN * ratios, 1.5 / np.where(sizes > 0.0, sizes, 1.0) * (ratios == 0.0))
    if drawn is not None:
        ends = np.maximum(ends, 1.02 * np.quantile(drawn["ratios"], 0.995, axis=0))
    return [_round_up(float(end)) for end in ends]


def _round_up(value: float) -> float:
    """Round up to one and a half digits."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(ceil(2.0 * value / power - 1e-9) / 2.0 * power)


def _read_posterior(fit: Fitted, posterior: Any, f: int) -> dict[str, np.ndarray]:
    try:
        drawn = is_posterior(posterior)
    except ArgumentError:
        drawn = False
    if not drawn:
        raise ArgumentError(f"posterior is {shorten(posterior)}: give what model.sample() returns.")
    if fit.labels != posterior.labels or not fit.design.has_response_of(posterior.design):
        raise ComparisonError(
            "The fit and the posterior are not of the same model and data. Fit and sample one Model: model.fit() and "
            "model.sample(seed=1)."
        )
    from bayesmm.bayes.results.draws import read_draws

    draws = read_draws(posterior)
    covariances = draws.covariances[f]
    sds = np.sqrt(np.einsum("dii->di", covariances))
    found = {"beta": draws.beta, "sigma": draws.sigma, "ratios": sds / draws.sigma[:, None]}
    if sds.shape[1] == 2:
        product = sds.prod(axis=1)
        found["correlation"] = covariances[:, 0, 1][product > 0.0] / product[product > 0.0]
    return found


def _write_posterior(
    fit: Fitted, posterior: Any, f: int, drawn: dict[str, np.ndarray], reach: list[float], shifts: list[int]
) -> dict[str, Any]:
    table, block = posterior.random_effects(), fit.labels.blocks[f]
    q, k = len(block.levels), len(block.effects)
    fixed = drawn["beta"].mean(axis=0)
    centre = np.array([fixed[j] if j >= 0 else 0.0 for j in shifts])
    correlation = None
    if len(block.cors) and "correlation" in drawn:
        correlation = _histogram(drawn["correlation"], -1.0, 1.0)
    sigma = None
    if fit.known_sigma is None:
        sigma = _histogram(drawn["sigma"], float(drawn["sigma"].min()), float(drawn["sigma"].max()))
    return {
        "means": _pack(table.loc[table["group"] == block.group, "mean"].to_numpy().reshape(q, k) + centre),
        "ratios": [_histogram(drawn["ratios"][:, e], 0.0, end) for e, end in enumerate(reach)],
        "correlation": correlation,
        "sigma": sigma,
    }


def _histogram(draws: np.ndarray, low: float, high: float) -> dict[str, Any] | None:
    heights, edges = np.histogram(draws, bins=BINS, range=(low, high))
    if not heights.any():
        return None
    return {"edges": [float(f"{edge:.6g}") for edge in edges], "heights": heights.tolist()}


def _remarks(fit: Fitted, f: int, fades: bool) -> Iterator[str]:
    block = fit.labels.blocks[f]
    if len(fit.labels.blocks) > 1:
        others = ", ".join(other.group for other in fit.labels.blocks if other is not block)
        yield (
            f"The sds of the effects of {visible(others)} stay, over σ, as they were estimated; the effects follow. "
            "Rows cannot be counted several times here."
        )
    if len(block.effects) > 2:
        yield "The correlations of the effects stay as they were estimated."
    elif len(block.pieces) > 1:
        yield "The effects are uncorrelated in this model."
    if len(block.sds) < len(block.effects):
        yield "The model ties the standard deviations of effects to each other; here each can be moved by itself."
    if fit.design.residual is not None:
        what = visible(fit.design.residual.specification.write())
        yield (
            f"The covariance of the residuals, {what}, stays, over σ², as it was estimated. Rows that count several "
            "times are further groups of residuals."
        )
    if fit.design.has_weights:
        yield "σ is that of a row of weight one."
    if not fades:
        yield "No level can be faded out: they are too many, or tied to each other by another grouping factor."
