"""Predictions from a fit: of its rows or of new ones, with standard errors, degrees of freedom and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from bayesmm.arguments import check_count, check_seed, is_one_of, shorten
from bayesmm.design.blocks.residual import evaluate_spreads
from bayesmm.design.predictors import (
    IntervalKind,
    NewLevels,
    NewResiduals,
    Predictors,
    Random,
    build_predictors,
    check_interval,
    read_row_weights,
)
from bayesmm.design.seen_residuals import check_residuals
from bayesmm.errors import ArgumentError, EstimationError
from bayesmm.incidence import Incidence
from bayesmm.inference.bootstrap.drawing import ResponseSource
from bayesmm.inference.effects.layers import LEAST
from bayesmm.inference.effects.refitted import move_once
from bayesmm.inference.effects.residual_layers import ResidualLayers
from bayesmm.inference.fitted import Fitted, Information
from bayesmm.inference.fixed.fixed_effects import small_sample_residual
from bayesmm.inference.fixed.information import check_information, parameter_covariance
from bayesmm.inference.fixed.student import or_infinite, t_quantile
from bayesmm.inference.prediction.joint import RowEffects
from bayesmm.inference.prediction.kriging import Kriged, krige
from bayesmm.inference.prediction.places import with_new_places
from bayesmm.inference.prediction.variances import differentiate_variances
from bayesmm.presenting.columns import in_order
from bayesmm.presenting.intervals import tails
from bayesmm.presenting.progress import watched
from bayesmm.reml.refits import refit

type PredictionLayer = Literal["conditional", "fixed", "full", "bootstrap"]
type PredictionDf = Literal["satterthwaite", "residual", "normal"]

LAYERS = ("conditional", "fixed", "full", "bootstrap")
DFS = ("satterthwaite", "residual", "normal")


def predict(
    fit: Fitted,
    new_data: Any,
    *,
    random: Random,
    new_levels: NewLevels,
    residuals: NewResiduals,
    interval: IntervalKind | None,
    level: float,
    uncertainty: PredictionLayer,
    df: PredictionDf,
    information: Information | None,
    weights: Any,
    refits: int,
    seed: int,
    progress: bool | None,
) -> pd.Series | pd.DataFrame:
    """Predict rows; see `bayesmm.fit.fit.Fit.predict`."""
    check_interval(interval)
    above = tails(level)[1]
    _check_choices(uncertainty, df, information)
    refits, seed = check_count("refits", refits, 2), check_seed(seed)
    is_conditional = check_residuals(residuals, random, new_data)
    fit = with_new_places(fit, new_data, random)
    predictors, kriged = build_predictors(fit.design, new_data, random=random, new_levels=new_levels), None
    if is_conditional:
        own = read_row_weights(fit.design, new_data, weights, len(predictors.index))
        kriged = krige(fit, new_data, predictors, own)
    if kriged is not None:
        predictors = kriged.predictors(kriged.residual.phi)
    estimate = predictors.expectation(fit.estimate.beta, fit.estimate.modes)
    fitted = estimate if kriged is None else kriged.plain.expectation(fit.estimate.beta, fit.estimate.modes)
    if interval is None:
        return pd.Series(estimate, index=predictors.index, name=fit.design.response)
    noise = _row_noise(fit, new_data, weights, interval, fitted, kriged)
    names = ("std_error", "df", "lower", "upper")
    columns = {"estimate": estimate} | {name: np.full(len(estimate), np.nan) for name in names}
    complete = np.isfinite(estimate) & np.isfinite(noise.variance)
    if complete.any():
        rows = condition_rows(fit, predictors.rows(complete))
        if information is None:
            information = "expected" if uncertainty in ("full", "bootstrap") else "observed"
        W = parameter_covariance(fit, information)
        own = Noise(noise.variance[complete], noise.slopes[complete])
        if fit.design.residual is None:
            found = row_variances(fit, rows, own.variance / fit.sigma**2, W, uncertainty)
        else:
            found = residual_variances(fit, rows, own, W, uncertainty, kriged and kriged.rows(complete))
        if uncertainty == "bootstrap":
            moved = _moved(fit, rows, refits, seed, progress, kriged and kriged.rows(complete))
            found = found._replace(variance=found.variance + moved)
        degrees = found.df if df == "satterthwaite" else np.full(len(found.df), np.inf)
        if df == "residual":
            degrees = np.full(len(found.df), float(fit.n - len(fit.estimate.beta)))
        error = np.sqrt(found.variance)
        half = t_quantile(above, degrees) * error
        centre = estimate[complete]
        for name, values in zip(names, (error, degrees, centre - half, centre + half), strict=True):
            columns[name][complete] = values
    return pd.DataFrame(in_order(columns), index=predictors.index)


class Noise(NamedTuple):
    """Variance (m,) of the residual of each row, and its derivatives (m, u + 1) by all covariance parameters."""

    variance: np.ndarray
    slopes: np.ndarray


def _row_noise(
    fit: Fitted, new_data: Any, weights: Any, interval: IntervalKind, fitted: np.ndarray, kriged: Kriged | None
) -> Noise:
    """Say how much a row that is measured spreads around its fitted value: nothing for an interval of the mean."""
    m = len(fitted)
    slopes = np.zeros((m, len(fit.estimate.coordinates)))
    own = read_row_weights(fit.design, new_data, weights, m)
    if interval != "prediction":
        return Noise(np.zeros(m), slopes)
    variance = fit.sigma**2 / own
    block, residual = fit.design.residual, fit.estimate.residual
    if block is not None and residual is not None:
        columns = block.columns if new_data is None else evaluate_spreads(block, new_data, fitted)
        n_spreads = residual.layout.n_spreads
        variance = variance * np.exp(2.0 * columns @ residual.phi[:n_spreads])
        start = len(fit.estimate.minimum.x)
        slopes[:, start : start + n_spreads] = 2.0 * variance[:, None] * columns
        if kriged is not None:
            seen, left, ways = kriged.is_seen, kriged.left, kriged.slopes
            variance = np.where(seen, fit.sigma**2 * left, variance)
            of_phi = slice(start, start + residual.layout.n_phi)
            slopes[seen, of_phi] = fit.sigma**2 * ways[seen]
    slopes[:, -1] = 2.0 * variance
    return Noise(variance, slopes)


class Rows(NamedTuple):
    """Rows on the conditioned columns: X (m, p), and the levels of each grouping factor."""

    fixed: np.ndarray
    incidences: tuple[Incidence | None, ...]


def condition_rows(fit: Fitted, predictors: Predictors) -> Rows:
    """Take rows to the conditioned columns."""
    products = fit.estimate.criterion_function.products
    inverses = [np.linalg.inv(T) for T in products.effect_roots]
    return Rows(
        fixed=predictors.X @ np.linalg.inv(products.fixed_root),
        incidences=tuple(
            None if own is None else own.times(inverse)
            for own, inverse in zip(predictors.incidences, inverses, strict=True)
        ),
    )


class Found(NamedTuple):
    """Variance and degrees of freedom (m,) of what is predicted less the prediction."""

    variance: np.ndarray
    df: np.ndarray


def row_variances(fit: Fitted, rows: Rows, noise: np.ndarray, W: np.ndarray, layer: PredictionLayer) -> Found:
    """Add the layers up, and match moments: df = 2V²/Var V̂ with V of what is plugged in.

    V = σ²(v + 1/w), so that its derivative is σ²∂v by θ, and 2V by log σ; the term 2g₃ that "full" adds is of an order
    at which V̂ is not followed, as in Kenward & Roger's degrees of freedom of one contrast.
    """
    effects = RowEffects(fit.estimate.criterion_function.products, rows.fixed, rows.incidences)
    of, towards = differentiate_variances(
        fit, effects, W, of_fixed=layer != "conditional", second_order=layer == "full"
    )
    v = np.maximum(of.value, 0.0) + noise
    spread = (of.slopes**2).sum(axis=1) + 4.0 * v * (of.slopes @ towards) + 4.0 * v**2 * W[-1, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(spread > 0.0, np.maximum(or_infinite(2.0 * v**2 / spread), LEAST), np.inf)
    return Found(fit.sigma**2 * (v + 2.0 * of.of_variances), df)


def residual_variances(
    fit: Fitted, rows: Rows, noise: Noise, W: np.ndarray, layer: PredictionLayer, kriged: Kriged | None = None
) -> Found:
    """Do the same where residuals have a covariance, whose parameters are among those that are estimated.

    Of rows without random effects, of which other residuals say nothing, "full" is Kenward & Roger's variance.
    """
    m, sigma, u = len(rows.fixed), fit.sigma, len(W) - 1
    value, more, slopes = np.zeros(m), np.zeros(m), np.zeros((m, u))
    has_effects = any(incidence is not None for incidence in rows.incidences)
    if not has_effects and layer != "conditional":
        of = small_sample_residual(fit, W, is_scaled=layer == "full")
        X = rows.fixed @ fit.estimate.criterion_function.products.fixed_root
        value, whole = (np.einsum("rp,pq,rq->r", X, C, X) / sigma**2 for C in (of.plug_in, of.covariance))
        more, slopes = 0.5 * (whole - value), np.einsum("rp,mpq,rq->rm", X, of.slopes[:-1], X) / sigma**2
    by_rows = np.full(m, has_effects) if kriged is None else kriged.is_seen | has_effects
    if by_rows.any():
        some = np.flatnonzero(by_rows)
        own = Rows(rows.fixed[some], tuple(each and each.rows(some) for each in rows.incidences))
        value[some], more[some], slopes[some] = of_effects(fit, own, W, layer, kriged and kriged.rows(some))
    plug_in = sigma**2 * value + noise.variance
    gradient = noise.slopes + np.column_stack([sigma**2 * slopes, 2.0 * sigma**2 * value])
    spread = np.einsum("rm,mn,rn->r", gradient, W, gradient)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(spread > 0.0, np.maximum(or_infinite(2.0 * plug_in**2 / spread), LEAST), np.inf)
    return Found(plug_in + 2.0 * sigma**2 * more, df)


def of_effects(
    fit: Fitted, rows: Rows, W: np.ndarray, layer: PredictionLayer, kriged: Kriged | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """V and g₃ (m,) over σ², and ∂v (m, u), of rows with random effects, known and new, or of known residuals."""
    of = ResidualLayers(fit, W)
    value, more, slopes = np.zeros(len(rows.fixed)), np.zeros(len(rows.fixed)), []
    shapes = [(i.k, i.n_levels) for i in of.eliminated.rows.incidences]
    for some in of.batches(len(rows.fixed)):
        effects = [np.zeros((k, len(some), q)) for k, q in shapes]
        fresh = [np.zeros((k, len(some))) for k, _ in shapes]
        for incidence, known, new in zip(rows.incidences, effects, fresh, strict=True):
            for own in () if incidence is None else incidence.rows(some).ordered.memberships:
                is_known, is_new = (own.codes >= 0) & (own.codes < known.shape[2]), own.codes >= known.shape[2]
                known[:, np.flatnonzero(is_known), own.codes[is_known]] += own.columns[is_known].T
                new += np.where(is_new, own.columns.T, 0.0)
        predicted = of.predict(rows.fixed[some].T, effects, of_fixed=layer != "conditional")
        added, bent = of.of_new(fresh, len(some))
        moved = None if kriged is None else kriged.in_rows(some)
        value[some] = predicted.value + added
        slopes.append(of.slopes(predicted, moved=moved)[:, :, 0, 0] + bent)
        if layer == "full":
            more[some] = of.second_order(predicted, moved=moved)[:, 0, 0]
    return value, more, np.concatenate(slopes, axis=1).T


def _moved(fit: Fitted, rows: Rows, refits: int, seed: int, progress: bool | None, kriged: Kriged | None) -> np.ndarray:
    """Mean square (m,) of how far predictions move when the variances are estimated anew, in refits to drawn data."""
    criterion, theta = fit.estimate.criterion_function, fit.estimate.minimum.x
    if fit.estimate.residual is not None:
        return _moved_whole(fit, rows, refits, seed, progress, kriged)
    source = ResponseSource(fit, "parametric", with_rows=False)
    total, done, streams = np.zeros(len(rows.fixed)), 0, []
    for number in watched(range(refits), "bootstrap of predictions", progress):
        streams.append(np.random.default_rng([seed, number]))
        if len(streams) < source.at_once and number < refits - 1:
            continue
        responses, _ = source.draw(streams)
        found, streams = refit(criterion, responses, theta), []
        for i in np.flatnonzero(found.converged).tolist():
            of_response = replace(criterion, products=responses[i])
            new, old = of_response.evaluate(found.theta[i]), of_response.evaluate(theta)
            modes = [after - before for after, before in zip(new.modes, old.modes, strict=True)]
            total += _move(rows, new.fixed.beta - old.fixed.beta, modes) ** 2
            done += 1
    return _mean(total, done, refits)


def _moved_whole(
    fit: Fitted, rows: Rows, refits: int, seed: int, progress: bool | None, kriged: Kriged | None
) -> np.ndarray:
    """Do so where residuals have a covariance, by which what they say of other rows moves too."""
    products = fit.estimate.criterion_function.products
    total, done = np.zeros(len(rows.fixed)), 0
    for number in watched(range(refits), "bootstrap of predictions", progress):
        move = move_once(fit, np.random.default_rng([seed, number]))
        if move is None:
            continue
        done += 1
        if kriged is not None:
            after, before = (
                kriged.predictors(each.phi, move.response).expectation(each.beta, each.modes)
                for each in (move.after, move.before)
            )
            total += (after - before) ** 2
            continue
        modes = [T @ b.T for T, b in zip(products.effect_roots, move.modes, strict=True)]
        total += _move(rows, products.fixed_root @ move.beta, modes) ** 2
    return _mean(total, done, refits)


def _mean(total: np.ndarray, done: int, refits: int) -> np.ndarray:
    if not done:
        raise EstimationError(
            f"None of the {refits} refits to drawn data found a maximum: take uncertainty='full', or more refits."
        )
    return total / done


def _move(rows: Rows, beta: np.ndarray, modes: Sequence[np.ndarray]) -> np.ndarray:
    """How far each prediction (m,) moves where coefficients (p,) and effects (k, q) move, on conditioned columns."""
    move = rows.fixed @ beta
    for incidence, b in zip(rows.incidences, modes, strict=True):
        if incidence is not None:
            known = incidence.map(lambda codes, q=b.shape[1]: np.where(codes < q, codes, -1))
            known.add_to(move, b.T)
    return move


def _check_choices(uncertainty: Any, df: Any, information: Any) -> None:
    if uncertainty is None or not is_one_of(uncertainty, LAYERS):
        raise ArgumentError(
            f"uncertainty is {shorten(uncertainty)}: give 'conditional', 'fixed', 'full' or 'bootstrap'."
        )
    if df is None or not is_one_of(df, DFS):
        raise ArgumentError(f"df is {shorten(df)}: give 'satterthwaite', 'residual' or 'normal'.")
    if information is not None:
        check_information(information)
