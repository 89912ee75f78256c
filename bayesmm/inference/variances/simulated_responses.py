"""Responses drawn from a model at given parameter values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesmm.design.design import Design


def simulate_responses(
    design: Design,
    beta: np.ndarray,
    factors: Sequence[np.ndarray],
    sigma: float,
    n_draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw y = Xβ + offset + Zb + ε, with b = σΛu and ε of variance σ²/w.

    Parameters
    ----------
    design : Design
        Rows, columns and weights.
    beta : array, shape (p,)
        Fixed effects that are estimated.
    factors : sequence of arrays, shapes (k, k)
        Relative factors Λ on the user's columns, of each grouping factor of the design.
    sigma : float
        Residual standard deviation of a row of weight one.
    n_draws : int
        How many.
    rng : numpy.random.Generator
        Where they come from.

    Returns
    -------
    array, shape (n, n_draws)
    """
    mean = design.X[:, design.kept] @ beta + design.offset
    drawn = mean + sigma / np.sqrt(design.weights) * rng.standard_normal((n_draws, design.n))
    for block, L in zip(design.blocks, factors, strict=True):
        block.incidence.add_to(drawn, sigma * rng.standard_normal((n_draws, block.q, block.k)) @ L.T)
    return drawn.T
