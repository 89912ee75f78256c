"""Predictions from posterior draws: of the rows of the fit, of new rows, of levels that nobody has seen."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from xarray import DataTree

from bayesmm.arguments import check_seed, is_one_of, shorten
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import ParameterDraws, read_draws
from bayesmm.bayes.results.leave_out import label_draws
from bayesmm.bayes.results.recovered import read_effects
from bayesmm.design.coordinates import row_coordinate
from bayesmm.design.predictors import NewLevels, Predictors, Random, build_predictors
from bayesmm.errors import ArgumentError, PredictionError
from bayesmm.incidence import Membership
from bayesmm.presenting.columns import DRAWS
from bayesmm.presenting.intervals import tails

type DrawnLevels = NewLevels | Literal["sample"]
type PredictionKind = Literal["mean", "observation"]
BATCH = 4_000_000  # draws times rows held at once, 32 MB
MOST_NUMBERS = 50_000_000  # draws times rows that are kept, 400 MB


def predict(
    posterior: DrawnModel,
    new_data: Any,
    *,
    kind: PredictionKind,
    random: Random,
    new_levels: DrawnLevels,
    level: float,
    weights: Any,
    seed: int,
) -> pd.DataFrame:
    """Posterior mean, sd and interval of the response or its expectation; see `Posterior.predict`."""
    below = tails(level)
    if not is_one_of(kind, ("mean", "observation")):
        raise ArgumentError(f"kind is {kind!r}: give 'mean' or 'observation'.")
    if kind == "mean":
        weights = None if new_data is None else 1.0  # there is no residual that they could weigh
    rows = draw_rows(posterior, new_data, random=random, new_levels=new_levels, weights=weights, seed=seed)
    evaluate = rows.mean if kind == "mean" else rows.observations
    index = rows.predictors.index
    size = max(1, BATCH // max(posterior.sigma.size, 1))
    parts = [_summarise(evaluate(slice(start, start + size)), below) for start in range(0, max(len(index), 1), size)]
    return pd.DataFrame(np.concatenate(parts, axis=1).T, index=index, columns=list(DRAWS[:4]))


def posterior_predictive(
    posterior: DrawnModel,
    new_data: Any,
    *,
    random: Random,
    new_levels: DrawnLevels,
    weights: Any,
    seed: int,
    draws: int | None,
) -> DataTree:
    """Draw new observations; see `Posterior.posterior_predictive`."""
    rows = draw_rows(posterior, new_data, random=random, new_levels=new_levels, weights=weights, seed=seed, draws=draws)
    chosen, m = read_draws(posterior, draws), len(rows.predictors.index)
    if len(chosen.sigma) * m > MOST_NUMBERS:
        raise PredictionError(
            f"{len(chosen.sigma):,} draws of {m:,} rows would be {len(chosen.sigma) * m:,} numbers, more than the "
            f"{MOST_NUMBERS:,} that are kept. Use fewer draws: draws={max(MOST_NUMBERS // m, 1)}."
        )
    kept = posterior.data["posterior"].to_dataset().isel(draw=chosen.chosen)
    coordinate = {"obs": row_coordinate(rows.predictors.index)}
    groups = {"posterior_predictive": label_draws(rows.observations().reshape(*chosen.shape, m), kept, coordinate)}
    if new_data is None:
        groups["observed_data"] = posterior.data["observed_data"].to_dataset()
    return DataTree.from_dict(groups)


def add_predictive(posterior: DrawnModel, *, seed: int) -> DataTree:
    """Return the draws of a posterior with predictive ones beside them; see `Posterior.with_predictive`."""
    tree = posterior_predictive(posterior, None, random="all", new_levels="error", weights=None, seed=seed, draws=None)
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
    """

    def __init__(
        self,
        predictors: Predictors,
        draws: ParameterDraws,
        effects: tuple[np.ndarray, ...],
        weights: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        self.predictors, self._draws, self._effects = predictors, draws, effects
        self._weights, self._rng = weights, rng

    def mean(self, part: slice = slice(None)) -> np.ndarray:
        """Evaluate the expected response; (D, m)."""
        return select_rows(self.predictors, part).mean(self._draws.beta, self._effects)

    def observations(self, part: slice = slice(None)) -> np.ndarray:
        """Draw observations, others at each call; (D, m)."""
        mean = self.mean(part)
        noise = self._rng.standard_normal(mean.shape)
        return mean + self._draws.sigma[:, None] / np.sqrt(self._weights[part]) * noise


def draw_rows(
    posterior: DrawnModel,
    new_data: Any,
    *,
    random: Random,
    new_levels: DrawnLevels,
    weights: Any,
    seed: int,
    draws: int | None = None,
) -> RowDraws:
    """Make ready to predict rows from posterior draws.

    Parameters
    ----------
    posterior : DrawnModel
        The draws.
    new_data, random, new_levels, weights, seed, draws
        As in `Posterior.posterior_predictive`.
    """
    rng = np.random.default_rng(check_seed(seed))
    population = cast(NewLevels, "population" if is_one_of(new_levels, ("sample",)) else new_levels)
    predictors = build_predictors(posterior.design, new_data, random=random, new_levels=population)
    chosen = read_draws(posterior, draws)
    predictors, effects = _read_effects(posterior, predictors, chosen)
    if is_one_of(new_levels, ("sample",)) and new_data is not None:
        predictors, effects = _draw_new_levels(posterior, new_data, predictors, chosen, effects, rng)
    return RowDraws(predictors, chosen, effects, _row_weights(posterior, new_data, weights, len(predictors.index)), rng)


def _read_effects(
    posterior: DrawnModel, predictors: Predictors, chosen: ParameterDraws
) -> tuple[Predictors, tuple[np.ndarray, ...]]:
    """Read the effects of the levels that occur in the rows, and count the codes of the rows by those."""
    levels = [np.zeros(0, np.int64) if own is None else own.levels_present() for own in predictors.incidences]
    blocks = posterior.design.blocks
    effects = tuple(np.zeros((len(chosen.sigma), 1, block.k)) for block in blocks)  # to take from by codes of −1
    if any(len(own) for own in levels):
        wanted = [None if len(own) == block.q else own for own, block in zip(levels, blocks, strict=True)]
        known = read_effects(posterior, chosen, wanted)
        effects = tuple(b if len(own) else zero for b, own, zero in zip(known, levels, effects, strict=True))
    incidences = tuple(
        own and own.map(lambda codes, found=found: np.where(codes >= 0, np.searchsorted(found, codes), -1))
        for own, found in zip(predictors.incidences, levels, strict=True)
    )
    return replace(predictors, incidences=incidences), effects


def _draw_new_levels(
    posterior: DrawnModel,
    new_data: Any,
    predictors: Predictors,
    draws: ParameterDraws,
    effects: tuple[np.ndarray, ...],
    rng: np.random.Generator,
) -> tuple[Predictors, tuple[np.ndarray, ...]]:
    """Give every new level effects from N(0, Σ) of each draw; a missing label is a level of its own in each row."""
    blocks = posterior.design.blocks
    used = [block.group for block, own in zip(blocks, predictors.incidences, strict=True) if own is not None]
    found = {each.group: each for each in posterior.design.evaluate(new_data, groups=used).blocks}
    incidences, drawn = list(predictors.incidences), list(effects)
    for f, (block, factor) in enumerate(zip(blocks, draws.factors(), strict=True)):
        own = incidences[f]
        if own is None:
            continue
        place: dict[Hashable, int] = {}  # of a new level, whichever membership it is first seen in
        memberships = []
        for side, (membership, labels) in enumerate(zip(own.memberships, found[block.group].labels, strict=True)):
            moved = membership.codes.copy()
            for row in np.flatnonzero(moved < 0):
                key = (side, row) if labels[row] is None else labels[row]
                moved[row] = effects[f].shape[1] + place.setdefault(key, len(place))
            memberships.append(Membership(codes=moved, columns=membership.columns))
        incidences[f] = replace(own, memberships=tuple(memberships))
        z = rng.standard_normal((len(draws.sigma), len(place), block.k))
        drawn[f] = np.concatenate([effects[f], z @ factor.swapaxes(1, 2)], axis=1)
    return replace(predictors, incidences=tuple(incidences)), tuple(drawn)


def _row_weights(posterior: DrawnModel, new_data: Any, weights: Any, n_rows: int) -> np.ndarray:
    if new_data is None:
        if weights is not None:
            raise PredictionError("weights are for new data; the rows of the fit have those of the model.")
        return posterior.design.weights
    if weights is None:
        if posterior.design.has_weights:
            raise PredictionError(
                "The model has prior weights: say what the weights of the new rows are, weights=1.0 or one a row."
            )
        return np.ones(n_rows)
    try:
        values = np.asarray(weights, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise PredictionError(f"weights are {shorten(weights)}: give positive numbers.") from None
    values = np.broadcast_to(values, (n_rows,)) if values.ndim == 0 else values
    if values.shape != (n_rows,) or not (values > 0).all():
        raise PredictionError(f"weights must be positive numbers, one or {n_rows}, one for each row of the new data.")
    return values


def select_rows(predictors: Predictors, part: slice) -> Predictors:
    """Take some of the rows."""
    return Predictors(
        index=predictors.index[part],
        X=predictors.X[part],
        offset=predictors.offset[part],
        incidences=tuple(own and own.rows(part) for own in predictors.incidences),
    )


def _summarise(draws: np.ndarray, below: tuple[float, float]) -> np.ndarray:
    """Mean, sd, lower and upper over the first axis; shape (4, m)."""
    lower, upper = np.quantile(draws, below, axis=0)
    return np.stack([draws.mean(axis=0), draws.std(axis=0, ddof=1), lower, upper])
