"""Predictions from a fit: of its rows or of new ones, with standard errors, degrees of freedom and intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from bayesmm.arguments import check_count, check_seed, is_one_of, shorten
from bayesmm.design.blocks.residual import evaluate_spreads
from bayesmm.design.predictors import (
    IntervalKind,
    NewLevels,
    Predictors,
    Random,
    build_predictors,
    check_interval,
    read_row_weights,
)
from bayesmm.errors import ArgumentError, EstimationError
from bayesmm.incidence import Incidence
from bayesmm.inference.bootstrap.drawing import ResponseSource
from bayesmm.inference.effects.layers import LEAST
from bayesmm.inference.fitted import Fitted, Information
from bayesmm.inference.fixed.contrasts import t_quantile
from bayesmm.inference.fixed.fixed_effects import small_sample_residual
from bayesmm.inference.fixed.information import check_information, parameter_covariance
from bayesmm.inference.prediction.joint import RowEffects
from bayesmm.inference.prediction.places import with_new_places
from bayesmm.inference.prediction.variances import differentiate_variances
from bayesmm.marginal.likelihood.evaluation import Evaluated
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
    fit = with_new_places(fit, new_data, random)
    predictors = build_predictors(fit.design, new_data, random=random, new_levels=new_levels)
    estimate = predictors.expectation(fit.estimate.beta, fit.estimate.modes)
    if interval is None:
        return pd.Series(estimate, index=predictors.index, name=fit.design.response)
    if fit.design.residual is not None:
        weights = read_row_weights(fit.design, new_data, weights, len(estimate))
        noise = _row_noise(fit, new_data, weights) if interval == "prediction" else None
        return _of_fixed(fit, predictors, estimate, noise, above, uncertainty, df, information)
    noise = np.zeros(len(estimate))
    if interval == "prediction":
        noise = 1.0 / read_row_weights(fit.design, new_data, weights, len(estimate))
    names = ("std_error", "df", "lower", "upper")
    columns = {"estimate": estimate} | {name: np.full(len(estimate), np.nan) for name in names}
    complete = np.isfinite(estimate) & np.isfinite(noise)
    if complete.any():
        rows = condition_rows(fit, predictors.rows(complete))
        if information is None:
            information = "expected" if uncertainty in ("full", "bootstrap") else "observed"
        W = parameter_covariance(fit, information)
        found = row_variances(fit, rows, noise[complete], W, uncertainty)
        if uncertainty == "bootstrap":
            found = found._replace(variance=found.variance + _moved(fit, rows, refits, seed, progress))
        degrees = found.df if df == "satterthwaite" else np.full(len(found.df), np.inf)
        if df == "residual":
            degrees = np.full(len(found.df), float(fit.n - len(fit.estimate.beta)))
        error = np.sqrt(found.variance)
        half = t_quantile(above, degrees) * error
        centre = estimate[complete]
        for name, values in zip(names, (error, degrees, centre - half, centre + half), strict=True):
            columns[name][complete] = values
    return pd.DataFrame(in_order(columns), index=predictors.index)


def _of_fixed(
    fit: Fitted,
    predictors: Predictors,
    estimate: np.ndarray,
    noise: tuple[np.ndarray, np.ndarray] | None,
    above: float,
    uncertainty: PredictionLayer,
    df: PredictionDf,
    information: Information | None,
) -> pd.DataFrame:
    """Give intervals where residuals have a covariance and there are no random effects."""
    design = fit.design
    if uncertainty in ("conditional", "bootstrap"):
        design.require_independent_residuals(f"uncertainty={uncertainty!r}")
    if design.blocks:
        design.require_independent_residuals("An interval of predictions beside random effects")
    W = parameter_covariance(fit, information or ("expected" if uncertainty == "full" else "observed"))
    of = small_sample_residual(fit, W, is_scaled=uncertainty == "full")
    X = predictors.X
    plug_in, slopes = np.einsum("rp,pq,rq->r", X, of.plug_in, X), np.einsum("rp,mpq,rq->rm", X, of.slopes, X)
    variance = np.einsum("rp,pq,rq->r", X, of.covariance, X)
    if noise is not None:
        variance, plug_in, slopes = variance + noise[0], plug_in + noise[0], slopes + noise[1]
    error = np.sqrt(variance)
    spread = np.einsum("rm,mn,rn->r", slopes, W, slopes)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(spread > 0.0, np.maximum(2.0 * plug_in**2 / spread, LEAST), np.inf)
    if df != "satterthwaite":
        fixed = float(fit.n - len(fit.estimate.beta)) if df == "residual" else np.inf
        degrees = np.where(np.isnan(error), np.nan, fixed)
    half = t_quantile(above, degrees) * error
    columns = {"estimate": estimate, "std_error": error, "df": degrees, "lower": estimate - half}
    return pd.DataFrame(in_order(columns | {"upper": estimate + half}), index=predictors.index)


def _row_noise(fit: Fitted, new_data: Any, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance (m,) of the residual of each row, and its derivatives (m, t + f + 1) by the covariance parameters."""
    block, residual = fit.design.residual, fit.estimate.residual
    assert block is not None
    assert residual is not None
    columns = block.columns if new_data is None else evaluate_spreads(block, new_data)
    n_spreads = residual.layout.n_spreads
    variance = fit.sigma**2 * np.exp(2.0 * columns @ residual.phi[:n_spreads]) / weights
    slopes = np.zeros((len(variance), len(fit.estimate.coordinates)))
    start = len(fit.estimate.minimum.x)
    slopes[:, start : start + n_spreads] = 2.0 * variance[:, None] * columns
    slopes[:, -1] = 2.0 * variance
    return variance, slopes


class Rows(NamedTuple):
    """Rows on the conditioned columns: X (m, p), and the levels of each grouping factor."""

    fixed: np.ndarray
    incidences: tuple[Incidence | None, ...]


def condition_rows(fit: Fitted, predictors: Predictors) -> Rows:
    """Take rows to the conditioned columns."""
    products = fit.problem.products
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
    effects = RowEffects(fit.problem.products, rows.fixed, rows.incidences)
    of, towards = differentiate_variances(
        fit, effects, W, of_fixed=layer != "conditional", second_order=layer == "full"
    )
    v = np.maximum(of.value, 0.0) + noise
    spread = (of.slopes**2).sum(axis=1) + 4.0 * v * (of.slopes @ towards) + 4.0 * v**2 * W[-1, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(spread > 0.0, np.maximum(2.0 * v**2 / spread, LEAST), np.inf)
    return Found(fit.sigma**2 * (v + 2.0 * of.of_variances), df)


def _moved(fit: Fitted, rows: Rows, refits: int, seed: int, progress: bool | None) -> np.ndarray:
    """Mean square (m,) of how far predictions move when the variances are estimated anew, in refits to drawn data."""
    criterion, theta = fit.estimate.criterion_function, fit.estimate.minimum.x
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
            total += _move(rows, new, old) ** 2
            done += 1
    if not done:
        raise EstimationError(
            f"None of the {refits} refits to drawn data found a maximum: take uncertainty='full', or more refits."
        )
    return total / done


def _move(rows: Rows, new: Evaluated, old: Evaluated) -> np.ndarray:
    """How far each prediction (m,) is from the same with the true variances."""
    move = rows.fixed @ (new.fixed.beta - old.fixed.beta)
    for incidence, after, before in zip(rows.incidences, new.modes, old.modes, strict=True):
        if incidence is not None:
            known = incidence.map(lambda codes, q=after.shape[1]: np.where(codes < q, codes, -1))
            known.add_to(move, (after - before).T)
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
