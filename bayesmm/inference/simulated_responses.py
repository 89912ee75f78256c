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
    streams: Sequence[np.random.Generator],
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
    streams : sequence of numpy.random.Generator
        One for each response, so that what is drawn of one does not depend on how many are drawn with it.

    Returns
    -------
    array, shape (n, m)
    """
    effects = [
        np.stack([sigma * stream.standard_normal((block.q, block.k)) @ L.T for stream in streams])
        for block, L in zip(design.blocks, factors, strict=True)
    ]
    residuals = np.stack([stream.standard_normal(design.n) for stream in streams])
    drawn = design.X[:, design.kept] @ beta + design.offset + sigma / np.sqrt(design.weights) * residuals
    for block, own in zip(design.blocks, effects, strict=True):
        block.incidence.add_to(drawn, own)
    return drawn.T
