"""Pointwise log-likelihood of posterior draws."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bayesmm.bayes.residual_draws import normal_log_density, read_residual, residuals_of
from bayesmm.design.design import Design
from bayesmm.design.predictors import build_predictors

LOG_2_PI = np.log(2.0 * np.pi)
BATCH = 100_000  # draws times rows at once, so that they stay in the processor's cache


def pointwise_log_likelihood(
    sites: Mapping[str, np.ndarray], design: Design, limit: int
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Evaluate log p(yᵢ | β, b, σ) of every draw and row, given the random effects.

    Where residuals have a covariance, given the other rows of its residual group too.

    Parameters
    ----------
    sites : mapping of str to array, shape (chains, draws, ...)
        Draws of "beta", "sigma", those of the residuals, and the effect variables of the design's labels.
    design : Design
        The data.
    limit : int
        Most numbers to compute.

    Returns
    -------
    values : array, shape (chains, draws, n), or None
        None if there would be more than `limit`, or random effects were not drawn.
    notes : tuple of str
        Says so then.
    """
    if design.elsewhere is not None:
        return None, (f"The pointwise log-likelihood was left out: the rows are in {design.elsewhere.where}.",)
    if any(block.effect_variable not in sites for block in design.labels.blocks):
        note = "The pointwise log-likelihood given the random effects was left out, as they were; "
        return None, (note + "posterior.log_likelihood(predictive='conditional') computes it.",)
    effects = [sites[block.effect_variable] for block in design.labels.blocks]
    shape = next(iter(sites.values())).shape[:2]
    n_draws = shape[0] * shape[1]
    if n_draws * design.n > limit:
        return None, (
            f"The pointwise log-likelihood would be {n_draws * design.n:,} numbers, more than pointwise_limit="
            f"{limit:,}, and was left out.",
        )
    beta = sites["beta"].reshape(n_draws, design.p) if design.p else np.zeros((n_draws, 0))
    known = design.known_sigma
    scale = np.full(n_draws, known) if known is not None else sites["sigma"].reshape(n_draws)
    flat = [b.reshape(n_draws, *b.shape[2:]) for b in effects]
    predictors = build_predictors(design)
    values = np.empty((n_draws, design.n))
    if design.residual is not None:
        own = {name: each.reshape(n_draws, *each.shape[2:]) for name, each in sites.items()}
        public = read_residual(design, own, scale)
        assert public is not None
        mean = predictors.mean(beta, flat)
        found = residuals_of(design, public, scale, mean).rows_given_others(design.y - mean)
        return normal_log_density(*found).reshape(*shape, design.n), ()
    root, log_root = np.sqrt(0.5 * design.weights), 0.5 * np.log(design.weights) - 0.5 * LOG_2_PI
    size = max(1, BATCH // design.n)
    for start in range(0, n_draws, size):
        some, part = slice(start, start + size), values[start : start + size]
        np.subtract(design.y, predictors.mean(beta[some], [b[some] for b in flat]), out=part)
        part *= root
        part /= scale[some, None]
        np.multiply(part, part, out=part)
        np.subtract(log_root, part, out=part)
        part -= np.log(scale[some, None])
    return values.reshape(*shape, design.n), ()
