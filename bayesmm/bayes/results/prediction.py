"""Predictions from posterior draws: of the rows of the fit, of new rows, of levels that nobody has seen."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from xarray import DataTree

from bayesmm.arguments import check_seed, is_one_of, shorten
from bayesmm.bayes.residual_draws import ResidualDraws, growth_of, lay_out_rows, row_sds, spread_columns
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import ParameterDraws, read_draws
from bayesmm.bayes.results.kriged_draws import KrigedDraws, krige
from bayesmm.bayes.results.leave_out import label_draws
from bayesmm.bayes.results.new_places import draw_at_new_places
from bayesmm.bayes.results.recovered import read_effects
from bayesmm.design.blocks.residual import read_groups
from bayesmm.design.coordinates import row_coordinate
from bayesmm.design.design import Design
from bayesmm.design.new_places import add_places
from bayesmm.design.predictors import (
    IntervalKind,
    NewLevels,
    NewResiduals,
    Predictors,
    Random,
    build_predictors,
    check_interval,
    chosen_groups,
    read_row_weights,
)
from bayesmm.design.seen_residuals import check_levels, check_residuals, seen_groups
from bayesmm.errors import ArgumentError, PredictionError
from bayesmm.marginal.residual.layout import ResidualLayout
from bayesmm.presenting.columns import DRAWS
from bayesmm.presenting.intervals import tails
from bayesmm.presenting.progress import progress_bar, watched

type PredictionKind = Literal["mean", "observation"]
BATCH = 4_000_000  # draws times rows held at once, 32 MB
MOST_NUMBERS = 50_000_000  # draws times rows that are kept, 400 MB
EVERY = slice(None)


def predict(
    posterior: DrawnModel,
    new_data: Any,
    *,
    interval: IntervalKind | None,
    kind: PredictionKind,
    random: Random,
    new_levels: NewLevels,
    residuals: NewResiduals,
    level: float,
    weights: Any,
    seed: int,
    progress: bool | None,
) -> pd.DataFrame:
    """Posterior mean, sd and interval of the response or its expectation; see `Posterior.predict`."""
    below = tails(level)
    if kind is None or not is_one_of(kind, ("mean", "observation")):
        raise ArgumentError(f"kind is {shorten(kind)}: give 'mean' or 'observation'.")
    check_interval(interval)
    if interval == "confidence" and kind == "observation":
        raise ArgumentError(
            "interval='confidence' is of the expected response, and kind='observation' is not: drop one."
        )
    kind = "observation" if interval == "prediction" else kind
    is_conditional = check_residuals(residuals, random, new_data)
    if kind == "mean" and not is_conditional:
        weights = None if new_data is None else 1.0  # there is no residual that they could weigh
    rows = draw_rows(
        posterior,
        new_data,
        random=random,
        new_levels=new_levels,
        given="rows" if is_conditional else None,
        weights=weights,
        seed=seed,
        progress=progress,
    )
    evaluate = rows.mean if kind == "mean" else rows.observations
    index = rows.predictors.index
    size = max(1, BATCH // max(posterior.sigma.size, 1))
    starts = watched(range(0, max(len(index), 1), size), "predicting", progress)
    parts = [_summarise(evaluate(slice(start, start + size)), below) for start in starts]
    return pd.DataFrame(np.concatenate(parts, axis=1).T, index=index, columns=list(DRAWS[:4]))


def posterior_predictive(
    posterior: DrawnModel,
    new_data: Any,
    *,
    random: Random,
    new_levels: NewLevels,
    residuals: NewResiduals,
    weights: Any,
    seed: int,
    draws: int | None,
    progress: bool | None,
) -> DataTree:
    """Draw new observations; see `Posterior.posterior_predictive`."""
    rows = draw_rows(
        posterior,
        new_data,
        random=random,
        new_levels=new_levels,
        given="groups" if check_residuals(residuals, random, new_data) else None,
        weights=weights,
        seed=seed,
        draws=draws,
        progress=progress,
    )
    chosen, m = read_draws(posterior, draws), len(rows.predictors.index)
    if len(chosen.sigma) * m > MOST_NUMBERS:
        raise PredictionError(
            f"{len(chosen.sigma):,} draws of {m:,} rows would be {len(chosen.sigma) * m:,} numbers, more than the "
            f"{MOST_NUMBERS:,} that are kept. Use fewer draws: draws={max(MOST_NUMBERS // m, 1)}."
        )
    kept = posterior.data["posterior"].to_dataset().isel(draw=chosen.chosen)
    coordinate = {"obs": row_coordinate(rows.predictors.index)}
    drawn = np.empty((len(chosen.sigma), m))
    size = max(1, BATCH // max(m, 1))
    with progress_bar("drawing observations", len(drawn), progress) as bar:
        for start in range(0, len(drawn), size):
            some = slice(start, min(start + size, len(drawn)))
            drawn[some] = rows.observations_together(draws=some)
            bar.advance(some.stop - start)
    groups = {"posterior_predictive": label_draws(drawn.reshape(*chosen.shape, m), kept, coordinate)}
    if new_data is None:
        groups["observed_data"] = posterior.data["observed_data"].to_dataset()
    return DataTree.from_dict(groups)


def add_predictive(posterior: DrawnModel, *, seed: int, progress: bool | None) -> DataTree:
    """Return the draws of a posterior with predictive ones beside them; see `Posterior.with_predictive`."""
    asked: Any = {
        "random": "all",
        "new_levels": "error",
        "residuals": "none",
        "weights": None,
        "seed": seed,
        "draws": None,
    }
    tree = posterior_predictive(posterior, None, **asked, progress=progress)
    groups = {name: node.to_dataset() for name, node in posterior.data.children.items()}
    groups["posterior_predictive"] = tree["posterior_predictive"].to_dataset()
    return DataTree.from_dict(groups)


class RowDraws:
    """Draws of the expected response in some rows, and of observations in them.

    Parameters
    ----------
    predictors : Predictors
        The rows; codes of new levels come after those of the fit.
    draws : ParameterDraws
        Parameters.
    effects : tuple of arrays, shapes (D, q, k)
        Random effects, of new levels too.
    weights : array, shape (m,)
        Prior weights.
    rng : numpy.random.Generator
        For the residuals.
    design : Design
        Whose residuals they are.
    new_data : data frame, optional
        The rows, where they are not those of the fit.
    kriged : KrigedDraws, optional
        What the residuals of the data's rows say of theirs.
    """

    def __init__(
        self,
        predictors: Predictors,
        draws: ParameterDraws,
        effects: tuple[np.ndarray, ...],
        weights: np.ndarray,
        rng: np.random.Generator,
        design: Design,
        new_data: Any,
        kriged: KrigedDraws | None = None,
    ) -> None:
        self.predictors, self._draws, self._effects = predictors, draws, effects
        self._weights, self._rng = weights, rng
        self._design, self._new_data, self._kriged = design, new_data, kriged

    @cached_property
    def _layout(self) -> ResidualLayout:
        return lay_out_rows(self._design, self._new_data, self._weights)

    def mean(self, part: slice = EVERY, draws: slice = EVERY) -> np.ndarray:
        """Evaluate the expected response in some rows, by some draws; (D, m)."""
        mean = self._mean(part, draws)
        return mean if self._kriged is None else mean + self._kriged.expected(part, draws) * self._scales(mean, draws)

    def _mean(self, part: slice, draws: slice) -> np.ndarray:
        """Evaluate Xβ + Zb + offset."""
        predictors = self.predictors if part is EVERY else self.predictors.rows(part)
        return predictors.mean(self._draws.beta[draws], [b[draws] for b in self._effects])

    def observations(self, part: slice = EVERY, draws: slice = EVERY) -> np.ndarray:
        """Draw observations, others at each call, each by itself; (D, m)."""
        mean = self._mean(part, draws)
        noise = self._rng.standard_normal(mean.shape)
        sigma, public = self._draws.sigma[draws], self._draws.residual
        if public is None:
            return mean + sigma[:, None] / np.sqrt(self._weights[part]) * noise
        own = row_sds(self._columns[part], public[draws], sigma, self._weights[part]) * noise
        return mean + self._given_others(own, part, draws, noise) * self._scales(mean, draws)

    def observations_together(self, draws: slice = EVERY) -> np.ndarray:
        """Draw observations of all rows, those whose residuals hang together jointly; (D, m)."""
        sigma, public = self._draws.sigma[draws], self._draws.residual
        if public is None:
            return self.observations(draws=draws)
        mean = self._mean(EVERY, draws)
        noise = self._rng.standard_normal(mean.shape)
        own = ResidualDraws(layout=self._layout, public=public[draws], sigma=sigma).colour(noise)
        return mean + self._given_others(own, EVERY, draws, noise) * self._scales(mean, draws)

    def _scales(self, mean: np.ndarray, draws: slice) -> np.ndarray | float:
        """Return what multiplies standard deviations of residuals where expected responses are (D, m)."""
        public = self._draws.residual
        return 1.0 if public is None else growth_of(self._design, public[draws], mean)

    def _given_others(self, own: np.ndarray, part: slice, draws: slice, noise: np.ndarray) -> np.ndarray:
        """Residuals (D, m), those of groups of the data by what is known of these where that is to count."""
        if self._kriged is None:
            return own
        return np.where(self._kriged.seen(part), self._kriged.drawn(part, draws, noise), own)

    @cached_property
    def _columns(self) -> np.ndarray:
        return spread_columns(self._design, self._new_data)


def draw_rows(
    posterior: DrawnModel,
    new_data: Any,
    *,
    random: Random,
    new_levels: NewLevels,
    given: Literal["rows", "groups"] | None = None,
    weights: Any,
    seed: int,
    draws: int | None = None,
    progress: bool | None = False,
) -> RowDraws:
    """Make ready to predict rows from posterior draws.

    Parameters
    ----------
    posterior : DrawnModel
        The draws.
    given : {"rows", "groups"}, optional
        Whether the residuals of the data's rows count, for each new row by itself or for those of a group together.
    new_data, random, new_levels, weights, seed, draws, progress
        As in `Posterior.posterior_predictive`.
    """
    rng = np.random.default_rng(check_seed(seed))
    design = posterior.design
    if new_data is not None:
        design = add_places(design, new_data, chosen_groups(design, random))
    predictors = build_predictors(design, new_data, random=random, new_levels=new_levels)
    chosen = read_draws(posterior, draws)
    if given is not None and design.residual is not None:
        check_levels(design, predictors, seen_groups(design.residual, read_groups(design.residual, new_data)))
    predictors, effects = _read_effects(posterior, predictors, chosen, progress)
    if design is not posterior.design:
        chosen, effects = draw_at_new_places(posterior, design, chosen, effects, rng)
    effects = _draw_new_levels(predictors, chosen, effects, rng)
    known, kriged = read_row_weights(posterior.design, new_data, weights, len(predictors.index)), None
    if given is not None:
        kriged = krige(design, new_data, predictors, chosen, effects, known, together=given == "groups")
    return RowDraws(predictors, chosen, effects, known, rng, posterior.design, new_data, kriged)


def _read_effects(
    posterior: DrawnModel, predictors: Predictors, chosen: ParameterDraws, progress: bool | None
) -> tuple[Predictors, tuple[np.ndarray, ...]]:
    """Read the effects of the levels that occur in the rows, and count the codes of the rows by those."""
    blocks = posterior.design.blocks
    levels = [
        np.zeros(0, np.int64) if own is None else (present := own.levels_present())[present < block.q]
        for own, block in zip(predictors.incidences, blocks, strict=True)
    ]
    effects = tuple(np.zeros((len(chosen.sigma), 1, block.k)) for block in blocks)  # to take from by codes of −1
    if any(len(own) for own in levels):
        wanted = [None if len(own) == block.q else own for own, block in zip(levels, blocks, strict=True)]
        known = read_effects(posterior, chosen, wanted, progress)
        effects = tuple(b if len(own) else zero for b, own, zero in zip(known, levels, effects, strict=True))
    incidences = tuple(
        own and own.map(lambda codes, found=found, q=block.q, n=b.shape[1]: _count_by(codes, found, q, n))
        for own, found, block, b in zip(predictors.incidences, levels, blocks, effects, strict=True)
    )
    return replace(predictors, incidences=incidences), effects


def _count_by(codes: np.ndarray, levels: np.ndarray, q: int, n_read: int) -> np.ndarray:
    """Codes by the levels that were read, new ones after them."""
    known = np.where(codes >= 0, np.searchsorted(levels, codes), -1)
    return np.where(codes >= q, n_read + codes - q, known)


def _draw_new_levels(
    predictors: Predictors, draws: ParameterDraws, effects: tuple[np.ndarray, ...], rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Give every new level effects from N(0, Σ) of each draw, after those of the levels that were read."""
    drawn = list(effects)
    for f, (n, factor) in enumerate(zip(predictors.n_new, draws.factors(), strict=True)):
        z = rng.standard_normal((len(draws.sigma), n, factor.shape[-1]))
        drawn[f] = np.concatenate([effects[f], z @ factor.swapaxes(1, 2)], axis=1) if n else effects[f]
    return tuple(drawn)


def _summarise(draws: np.ndarray, below: tuple[float, float]) -> np.ndarray:
    """Mean, sd, lower and upper over the first axis; shape (4, m)."""
    lower, upper = np.quantile(draws, below, axis=0)
    return np.stack([draws.mean(axis=0), draws.std(axis=0, ddof=1), lower, upper])
