"""Estimates from resampled data, replicate by replicate: what a bootstrap tabulates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.covariance.layout import theta_of
from bayesmm.covariance.structure import lower_triangular
from bayesmm.design.columns.rank import independent_columns
from bayesmm.design.columns.terms import INTERCEPT
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError, DesignError
from bayesmm.inference.bootstrap.drawing import MOST, NUMBERS, FewRowsSource, ResponseSource
from bayesmm.inference.bootstrap.resampling import LevelSampler, parametric_rows, residual_rows
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.many.resampled import sum_levels
from bayesmm.marginal.many.side_by_side import score_together
from bayesmm.marginal.sums.responses import Responses
from bayesmm.presenting.progress import watched
from bayesmm.problem import Problem
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import differentiate_public_values, estimate
from bayesmm.reml.refits import Refits, public_values_together, refit, refit_alone, refit_resampled
from bayesmm.reml.residual import ResidualEstimate
from bayesmm.reml.residual_search import pose_settled, refit_each, refit_residual, refit_responses

type BootstrapKind = Literal["parametric", "residual", "case"]
type Statistic = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """What n refits gave.

    Attributes
    ----------
    parameters : array, shape (n, m)
        In the order of the table of parameters; NaN where a refit failed.
    statistics : array, shape (n, s)
        Values of the statistic that was asked for.
    acceleration : array, shape (m + s,)
        Of parameters and statistics, for BCa intervals; NaN where there is none.
    theta : array, shape (n, t)
        Free entries of the relative factors, on the conditioned columns of the data; NaN where a refit failed, and
        where levels were resampled.
    """

    parameters: np.ndarray
    statistics: np.ndarray
    acceleration: np.ndarray
    theta: np.ndarray


class Made(NamedTuple):
    """What the refits of some streams gave; `influences` are what the acceleration is had from."""

    parameters: np.ndarray
    statistics: np.ndarray
    influences: np.ndarray
    theta: np.ndarray


def make_replicates(
    fit: Fitted,
    n: int,
    kind: BootstrapKind,
    statistic: NamedStatistic | None,
    levels: LevelSampler | None,
    seed: int,
    progress: bool | None,
) -> Replicates:
    """Refit to n resampled data sets; see `bayesmm.fit.Fit.bootstrap`."""
    if kind == "case":
        assert levels is not None
        maker = _Cases(fit, levels, statistic)
    elif fit.design.residual is not None:
        maker = _Wholes(fit, kind, statistic)
    else:
        maker = _Responses(fit, kind, statistic)
    batches: list[Made] = []
    streams: list[np.random.Generator] = []
    for number in watched(range(n), f"{kind} bootstrap", progress):
        streams.append(np.random.default_rng([seed, number]))
        if len(streams) == maker.at_once or number == n - 1:
            batches.append(maker.make(streams))
            streams = []
    parameters, statistics, influences, theta = (np.concatenate(each) for each in zip(*batches, strict=True))
    return Replicates(
        parameters=parameters,
        statistics=statistics,
        acceleration=maker.acceleration(np.concatenate([parameters, statistics], axis=1), influences),
        theta=theta,
    )


class NamedStatistic:
    """A function of a fit, with names for what it returns: a number, several, or a mapping of names to numbers."""

    def __init__(self, function: Statistic, fit: Fitted) -> None:
        self._function = function
        try:
            value = function(fit)
        except Exception as error:
            raise ArgumentError(
                f"statistic cannot be had of the fit itself: {type(error).__name__}: {error}. Give a function of a fit "
                "that returns a number, a vector or a dict of numbers."
            ) from error
        if isinstance(value, pd.Series):
            value = value.to_dict()
        if isinstance(value, Mapping):
            self.names = tuple(map(str, value))
        else:
            size = np.size(value)
            self.names = ("statistic",) if np.ndim(value) == 0 else tuple(f"statistic[{i}]" for i in range(size))
        taken = {row.name for row in fit.labels.parameter_rows()}
        self.names = tuple(f"statistic({name})" if name in taken else name for name in self.names)
        self.estimates = self._read(value)

    def __call__(self, fit: Fitted) -> np.ndarray:
        """Return the numbers (s,) of a fit."""
        return self._read(self._function(fit))

    def _read(self, value: Any) -> np.ndarray:
        value = list(value.values()) if isinstance(value, Mapping) else value
        try:
            numbers = np.ravel(np.asarray(value, dtype=float))
        except (TypeError, ValueError):
            numbers = np.empty(0)
        if len(numbers) != len(self.names) or not len(numbers):
            raise ArgumentError(
                f"statistic returned {shorten(value)}: give a function that returns a number, a vector or a dict of "
                "numbers, as many for each fit."
            )
        return numbers


class _Responses:
    """Replicates that differ in the response alone."""

    def __init__(self, fit: Fitted, kind: Literal["parametric", "residual"], statistic: NamedStatistic | None) -> None:
        self._fit, self._kind, self._statistic = fit, kind, statistic
        self._criterion, self._theta = fit.estimate.criterion_function, fit.estimate.minimum.x
        self._source = ResponseSource(fit, kind, with_rows=statistic is not None)
        self.at_once = self._source.at_once

    def make(self, streams: Sequence[np.random.Generator]) -> Made:
        """Refit to new responses; the influences are parameters were they linear in the response's products."""
        fit = self._fit
        responses, rows = self._source.draw(streams)
        found = refit(self._criterion, responses, self._theta)
        parameters = _parameters(fit, found, self._criterion)
        statistics = np.full((len(streams), len(self._statistic.names) if self._statistic else 0), np.nan)
        if self._statistic is not None and rows is not None:
            for i in np.flatnonzero(found.converged).tolist():
                design = replace(fit.design, y=rows[:, i])
                problem = Problem(design, plan=fit.problem.plan, products=responses[i])
                statistics[i] = self._statistic(_fit_of(fit, problem, found.theta[i]))
        theta = np.where(found.converged[:, None], found.theta, np.nan)
        return Made(parameters, statistics, self._linear(responses), theta)

    def _linear(self, responses: Responses) -> np.ndarray:
        """Parameters (m, P), were they linear in the scores of θ and σ at the estimates; the boundary is not left."""
        criterion, theta, sigma = self._criterion, self._theta, self._fit.sigma
        scores = score_together(responses, theta, sigma, criterion.restriction, criterion.layout)
        df = criterion.products.n - criterion.restriction * criterion.products.p
        of_log_sigma = 2.0 * (df - scores.profiles.residual_square / sigma**2)
        steps = -0.5 * np.column_stack([scores.gradient, of_log_sigma]) @ self._fit.estimate.parameter_covariance
        fixed = responses.origins + np.linalg.solve(criterion.products.fixed_root, scores.profiles.beta.T).T
        spreads = steps @ differentiate_public_values(self._fit.estimate)[1].T
        return np.concatenate([fixed, spreads], axis=1)[:, : len(self._fit.labels.parameter_rows())]

    def acceleration(self, values: np.ndarray, linear: np.ndarray) -> np.ndarray:
        """Skewness of the linear parameters over six; of a statistic, of its regression on them.

        Efron (1987, section 4): in the least favourable family a parameter moves along its score, whose skewness this
        is. Under the model fixed effects at given covariances are normal.
        """
        P = linear.shape[1]
        influences = np.concatenate([linear, _regress(values[:, P:], linear)], axis=1)
        centred = influences - influences.mean(axis=0)
        with np.errstate(all="ignore"):
            found = (centred**3).mean(axis=0) / (centred**2).mean(axis=0) ** 1.5 / 6.0
        if self._kind == "parametric":
            found[: self._fit.design.p] = 0.0
        return found


class _Wholes:
    """Replicates that are drawn row by row and refitted one by one, where residuals have a covariance.

    Of rows that are not in memory few are drawn, with sums like those of all.
    """

    at_once = 20

    def __init__(self, fit: Fitted, kind: Literal["parametric", "residual"], statistic: NamedStatistic | None) -> None:
        self._fit, self._statistic = fit, statistic
        self._few: FewRowsSource | None = None
        if fit.problem.summed is not None and kind == "parametric" and statistic is None:
            self._few = FewRowsSource(fit)
        else:
            self._draw = (parametric_rows if kind == "parametric" else residual_rows)(fit)

    def make(self, streams: Sequence[np.random.Generator]) -> Made:
        """Refit to new responses; there are no influences."""
        fit, m, found = self._fit, len(streams), self._fit.estimate
        parameters = np.full((m, len(fit.labels.parameter_rows())), np.nan)
        statistics = np.full((m, len(self._statistic.names) if self._statistic else 0), np.nan)
        start = found.coordinates[:-1]
        psi = np.full((m, len(start)), np.nan)
        assert found.residual is not None
        criterion, rows = found.residual.criterion, np.zeros((0, m))
        if self._few is not None:
            refits = refit_each(criterion, self._few.draw(streams), start)
        else:
            rows = self._draw(streams)
            refits = refit_responses(fit.problem, criterion, rows, start)
        for i, own in enumerate(refits):
            if own is None:
                continue
            values = np.concatenate([own.beta, own.public_values(own.coordinates)])
            parameters[i], psi[i] = values[: parameters.shape[1]], own.coordinates[:-1]
            if self._statistic is not None:
                problem = pose_settled(fit.problem.with_response(rows[:, i]), own)
                again = cast(Fitted, replace(cast(Any, fit), problem=problem, estimate=own))
                statistics[i] = self._statistic(again)
        return Made(parameters, statistics, np.zeros((m, 0)), psi)

    def acceleration(self, values: np.ndarray, _: np.ndarray) -> np.ndarray:
        """There is none, and so no BCa interval."""
        return np.full(values.shape[1], np.nan)


class _Cases:
    """Replicates of resampled levels of one factor."""

    def __init__(self, fit: Fitted, levels: LevelSampler, statistic: NamedStatistic | None) -> None:
        self._fit, self._levels, self._statistic, self._sums = fit, levels, statistic, None
        self.at_once = 20
        if fit.design.residual is not None:
            return
        design, products = fit.design, fit.problem.products
        if products.levels is not None and not fit.estimate.criterion_function.has_many_effects:
            X, y = design.X[:, design.kept], design.y - design.offset
            self._sums = sum_levels(X, y, design.weights, fit.problem.blocks[0], products)
            k, c, q = products.levels.coefficients.shape
            self.at_once = int(np.clip(NUMBERS // (k * (c + k) * q), 1, MOST))

    def make(self, streams: Sequence[np.random.Generator]) -> Made:
        """Refit to new levels; the influences are how often each level was drawn."""
        q, fit, m = self._levels.n_levels, self._fit, len(streams)
        parameters = np.full((m, len(fit.labels.parameter_rows())), np.nan)
        statistics = np.full((m, len(self._statistic.names) if self._statistic else 0), np.nan)
        chosen = [np.sort(stream.integers(q, size=q)) for stream in streams]
        counts = np.stack([np.bincount(own, minlength=q) for own in chosen]).astype(float)
        alone = np.arange(m)
        if self._sums is not None and self._statistic is None:
            criterion = fit.estimate.criterion_function
            resampled = self._sums.resample(counts)
            whole = np.flatnonzero(resampled.has_all_columns)
            if len(whole):
                found, is_final = refit_resampled(criterion, resampled.take(whole), fit.estimate.minimum.x)
                parameters[whole[is_final]] = _parameters(fit, found, criterion)[is_final]
                alone = np.setdiff1d(alone, whole[is_final])
        for i in alone:
            problem = Problem(self._levels.draw(chosen[i]))
            if len(_independent(problem.design)) < problem.design.p:
                continue
            if fit.estimate.residual is not None:
                self._make_whole(problem, fit.estimate.residual, int(i), parameters, statistics)
                continue
            try:
                criterion = replace(fit.estimate.criterion_function, products=problem.products)
            except (DesignError, np.linalg.LinAlgError):
                continue
            found = refit_alone(criterion, self._start(criterion))
            if found.converged[0]:
                parameters[i] = _parameters(fit, found, criterion)[0]
                if self._statistic is not None:
                    statistics[i] = self._statistic(_fit_of(fit, problem, found.theta[0]))
        theta = np.full((m, len(fit.estimate.coordinates) - 1), np.nan)  # on columns conditioned anew each time
        return Made(parameters, statistics, counts, theta)

    def _make_whole(
        self, problem: Problem, residual: ResidualEstimate, i: int, parameters: np.ndarray, statistics: np.ndarray
    ) -> None:
        """Fill in replicate i where residuals have a covariance; NaN stays where it has no maximum."""
        block = problem.design.residual
        if block is None or any((spread.columns == spread.columns[0]).all() for spread in block.spreads):
            return  # no rows of a stratum
        rows = problem.residual_rows
        plan = problem.plan if problem.design.blocks else None
        design = None if residual.criterion.design is None else problem.design
        criterion = replace(residual.criterion, rows=rows, plan=plan, design=design)
        pairs = zip(rows.effect_roots, self._fit.estimate.factors, strict=True)
        theta = theta_of([lower_triangular(T @ L) for T, L in pairs], criterion.layout) if criterion.layout else []
        own = refit_residual(criterion, np.concatenate([theta, residual.phi]))
        if own.minimum.converged:
            values = np.concatenate([own.beta, own.public_values(own.coordinates)])
            parameters[i] = values[: parameters.shape[1]]
            if self._statistic is not None:
                again = replace(cast(Any, self._fit), problem=pose_settled(problem, own), estimate=own)
                statistics[i] = self._statistic(cast(Fitted, again))

    def _start(self, criterion: Criterion) -> np.ndarray:
        """Take the estimates to the columns as these rows condition them."""
        pairs = zip(criterion.products.effect_roots, self._fit.estimate.factors, strict=True)
        return theta_of([lower_triangular(T @ L) for T, L in pairs], criterion.layout)

    def acceleration(self, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Σu³/6(Σu²)^1.5 of the influences u of the levels, by regression on how often each was drawn.

        Efron (1987, section 7) for what is not parametric; influences by regression as in Davison & Hinkley (1997,
        section 2.7.4). Of fewer replicates than twice the levels there are none.
        """
        if len(counts) < 2 * counts.shape[1]:
            return np.full(values.shape[1], np.nan)
        coefficients = _coefficients(values, counts)
        centred = coefficients - coefficients.mean(axis=0)
        with np.errstate(all="ignore"):
            return (centred**3).sum(axis=0) / (centred**2).sum(axis=0) ** 1.5 / 6.0


def _independent(design: Design) -> np.ndarray:
    X = design.X[:, design.kept]
    names = [design.coefficients[j] for j in design.kept]
    return independent_columns(X, design.weights, has_intercept=names[:1] == [INTERCEPT])


def _parameters(fit: Fitted, found: Refits, criterion: Criterion) -> np.ndarray:
    """Parameters (m, P) in the order of the table."""
    with np.errstate(all="ignore"):
        spreads = public_values_together(found.theta, found.sigma, criterion)
    return np.concatenate([found.beta, spreads], axis=1)[:, : len(fit.labels.parameter_rows())]


def _fit_of(fit: Fitted, problem: Problem, theta: np.ndarray) -> Fitted:
    """Make the whole fit of other data, whose θ is known."""
    criterion = replace(fit.estimate.criterion_function, products=problem.products)
    return cast(Fitted, replace(cast(Any, fit), problem=problem, estimate=estimate(criterion, theta)))


def _regress(values: np.ndarray, on: np.ndarray) -> np.ndarray:
    """Values (n, s) as linear functions of others (n, P), by least squares."""
    centred = on - on.mean(axis=0)
    known = np.isfinite(centred).all(axis=0)
    return centred[:, known] @ _coefficients(values, centred[:, known])


def _coefficients(values: np.ndarray, on: np.ndarray) -> np.ndarray:
    """Coefficients (P, s) of least squares, each from the replicates in which there is a value."""
    scale = np.where(on.std(axis=0) > 0.0, on.std(axis=0), 1.0)
    found = np.full((on.shape[1], values.shape[1]), np.nan)
    for j, own in enumerate(values.T):
        known = np.isfinite(own)
        if known.any():
            columns = np.column_stack([np.ones(known.sum()), on[known] / scale])
            found[:, j] = np.linalg.lstsq(columns, own[known], rcond=None)[0][1:] / scale
    return found
