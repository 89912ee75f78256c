"""Tables of posterior draws, computed on whole arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from arviz_stats.base import array_stats
from scipy.special import ndtri
from scipy.stats import rankdata
from xarray import DataTree

from bayesmm.bayes.exploring.exact import Summary, summarise_effects, summarise_parameters
from bayesmm.design.blocks.labels import BlockLabels, Labels
from bayesmm.presenting.columns import effect_frame, parameter_frame
from bayesmm.presenting.intervals import tails

AXES: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}
FEWEST = 8  # draws per chain that R̂ and effective sample sizes need: four in each half


def stack_parameters(data: DataTree, labels: Labels) -> np.ndarray:
    """Draws of the parameters in the order of the table; shape (chains, draws, m)."""
    posterior, columns = data["posterior"].to_dataset(), []
    for row in labels.parameter_rows():
        draws = posterior[row.variable].to_numpy()
        columns.append(draws if row.index is None else draws[..., row.index])
    return np.stack(columns, axis=-1)


def parameter_table(data: DataTree, labels: Labels, level: float) -> pd.DataFrame:
    """One row a parameter; see `Posterior.parameter_table`."""
    rows = labels.parameter_rows()
    draws = stack_parameters(data, labels)
    columns = draw_columns(draws, level, data["sample_stats"].attrs.get("effective_draws"))
    if "quadrature" in data:
        exact = summarise_parameters(data["quadrature"].to_dataset(), labels, level)
        columns |= dict(zip(("mean", "sd", "lower", "upper"), exact, strict=True))
    return parameter_frame([row.name for row in rows], [row.kind for row in rows], [row.group for row in rows], columns)


def draw_columns(draws: np.ndarray, level: float, worth: float | None) -> dict[str, np.ndarray]:
    """Summarise draws of quantities in the columns that all tables of draws have.

    Parameters
    ----------
    draws : array, shape (chains, draws, m)
        Of m quantities.
    level : float
        Probability of the equal-tailed intervals.
    worth : float, optional
        Effective number of draws that are independent, made by importance sampling or quadrature.

    Returns
    -------
    dict of str to array, shape (m,)
        mean, sd, lower, upper, r_hat, ess_bulk, ess_tail.
    """
    mean, sd = draws.mean(axis=(0, 1)), draws.std(axis=(0, 1), ddof=1)
    lower, upper = _interval(draws, level)
    r_hat, bulk, tail = _convergence(draws) if worth is None else _independent(worth, draws.shape[2])
    columns = {"mean": mean, "sd": sd, "lower": lower, "upper": upper}
    return columns | {"r_hat": r_hat, "ess_bulk": bulk, "ess_tail": tail}


def _convergence(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank-normalised split R̂, bulk and tail effective sample sizes of each parameter; NaN where draws are too few.

    R̂ of what is constant is NaN too. ArviZ's functions of one parameter would rank the draws of each three times, and
    one by one.
    """
    unknown = np.full(draws.shape[2], np.nan)
    if draws.shape[1] < FEWEST:
        return unknown, unknown, unknown
    half = draws.shape[1] // 2
    split = np.concatenate([draws[:, :half], draws[:, -half:]])
    normal = _normal_scores(split)
    r_hat = unknown
    if len(draws) > 1:
        folded = _normal_scores(np.abs(split - np.median(split, axis=(0, 1))))
        with np.errstate(invalid="ignore", divide="ignore"):  # of what is constant, in all chains or in each
            both: Any = [array_stats.rhat(z, method="identity", **AXES) for z in (normal, folded)]
        r_hat = np.fmax(*both)  # of two values in equal parts the folded ones are constant
    bulk: Any = array_stats.ess(normal, method="identity", **AXES)
    tail: Any = array_stats.ess(draws, method="tail", prob=(0.05, 0.95), **AXES)
    return r_hat, bulk, tail


def _independent(worth: float, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """No R̂, and effective sample sizes from the weights, of resampled draws.

    They are in random order: chains cannot disagree, and no autocorrelation shows what is drawn twice.
    """
    return np.full(m, np.nan), np.full(m, worth), np.full(m, worth)


def _normal_scores(draws: np.ndarray) -> np.ndarray:
    """Quantiles of the normal distribution at the draws' ranks (Blom 1958); shape (chains, draws, m)."""
    flat = draws.reshape(-1, draws.shape[2])
    return ndtri((rankdata(flat, axis=0) - 0.375) / (len(flat) + 0.25)).reshape(draws.shape)


def random_effect_table(data: DataTree, labels: Labels, level: float) -> pd.DataFrame:
    """One row per level and effect; see `Posterior.random_effects`."""
    if not labels.blocks:
        return pd.DataFrame(columns=["group", "level", "effect", "mean", "sd", "lower", "upper"])
    found = [(block, _summarise_effects(data, block, level)) for block in labels.blocks]
    return effect_frame(
        (
            block.group,
            block.levels,
            block.effects,
            {"mean": each.mean, "sd": each.sd, "lower": each.lower, "upper": each.upper},
        )
        for block, each in found
    )


def _summarise_effects(data: DataTree, block: BlockLabels, level: float) -> Summary:
    """Summarise by what there is, the most exact first: nodes of quadrature, moments, draws."""
    upper_tail = tails(level)[1]
    name = block.effect_variable
    if "quadrature" in data:
        exact = summarise_effects(data["quadrature"].to_dataset(), block, level)
        if exact is not None:
            return exact
    drawn = data["posterior"][name].to_numpy() if name in data["posterior"] else None
    moments = next((data[group] for group in ("quadrature", "random_effects") if group in data), None)
    if moments is None:
        assert drawn is not None
        mean, sd = drawn.mean(axis=(0, 1)), drawn.std(axis=(0, 1), ddof=1)
    else:
        mean, sd = moments[f"{name}_mean"].to_numpy(), moments[f"{name}_sd"].to_numpy()
    if drawn is None:
        reach = ndtri(upper_tail) * sd
        return Summary(mean, sd, mean - reach, mean + reach)
    return Summary(mean, sd, *_interval(drawn, level))


def _interval(draws: np.ndarray, level: float) -> np.ndarray:
    """Equal-tailed limits; shape (2, m)."""
    return np.quantile(draws, tails(level), axis=(0, 1))


def largest_effect_r_hat(data: DataTree, labels: Labels) -> tuple[float, str]:
    """Largest split R̂ of the random effects, and whose it is; the rank version costs twenty times as much."""
    worst, name = 1.0, ""
    for block in labels.blocks:
        draws = data["posterior"][block.effect_variable].to_numpy()
        if len(draws) < 2 or draws.shape[1] < FEWEST:
            continue
        values = np.asarray(array_stats.rhat(draws, method="split", **AXES))
        level, effect = np.unravel_index(np.nanargmax(values), values.shape)
        if values[level, effect] > worst:
            worst = float(values[level, effect])
            name = f"{block.effects[effect]} of {block.group} {block.levels[level]}"
    return worst, name
