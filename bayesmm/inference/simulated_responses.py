"""Responses drawn from a model at given parameter values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bayesmm.design.design import Design
from bayesmm.design.predictors import build_predictors
from bayesmm.marginal.residual.drawn import RowSource
from bayesmm.marginal.residual.layout import ResidualLayout, unwhiten
from bayesmm.marginal.residual.whitened import ResidualRows
from bayesmm.problem import lay_out_design
from bayesmm.reml.residual import ResidualEstimate


class StatedResiduals(NamedTuple):
    """A covariance of the residuals that was stated.

    Attributes
    ----------
    layout : ResidualLayout
        Groups.
    covariances : sequence of arrays, shapes (m, o, o)
        R of the patterns of each stack, over σ²; without what changes with expected responses.
    public : array, shape (f,)
        What they are a function of.
    """

    layout: ResidualLayout
    covariances: Sequence[np.ndarray]
    public: np.ndarray


type Residuals = ResidualEstimate | StatedResiduals


def state_residuals(design: Design, values: Mapping[str, float], argument: str) -> StatedResiduals | None:
    """Read the covariance of the residuals off stated parameters; None where a design has none.

    Raises
    ------
    DesignError
        As of `bayesmm.design.blocks.residual.ResidualBlock.public_of`.
    """
    if design.residual is None:
        return None
    return _without_fitted(design, design.residual.public_of(values, argument))


def _without_fitted(design: Design, public: np.ndarray) -> StatedResiduals:
    layout = lay_out_design(design.without_fitted())
    return StatedResiduals(layout, layout.covariances_of(np, public), public)


def simulate_responses(
    design: Design,
    beta: np.ndarray,
    factors: Sequence[np.ndarray],
    sigma: float,
    streams: Sequence[np.random.Generator],
    residual: Residuals | None = None,
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
    residual : Residuals, optional
        Covariance of the residuals; independent by default.

    Returns
    -------
    array, shape (n, m)
    """
    effects = draw_effects(design, [sigma * L for L in factors], streams)
    return draw_rows(design, beta, effects, sigma, streams, residual)


def draw_effects(
    design: Design, factors: Sequence[np.ndarray], streams: Sequence[np.random.Generator]
) -> list[np.ndarray]:
    """Draw effects (m, q, k) of every level of each grouping factor, from N(0, A ⊗ FF') with factors F (k, k)."""
    return [
        block.relate(np.stack([stream.standard_normal((block.q, block.k)) @ F.T for stream in streams]))
        for block, F in zip(design.blocks, factors, strict=True)
    ]


def draw_rows(
    design: Design,
    beta: np.ndarray,
    effects: Sequence[np.ndarray],
    sigma: float,
    streams: Sequence[np.random.Generator],
    residual: Residuals | None = None,
) -> np.ndarray:
    """Draw residuals around Xβ + offset + Zb.

    Parameters
    ----------
    design, beta, sigma, streams
        As in `simulate_responses`.
    effects : sequence of arrays, shapes (m, q, k) or (q, k)
        Random effects, of each response or the same in all.
    residual : Residuals, optional
        Covariance of the residuals; independent by default. What changes with fitted values has those of each response.

    Returns
    -------
    array, shape (n, m)

    Raises
    ------
    DesignError
        As `growth_at`.
    """
    residuals = np.stack([stream.standard_normal(design.n) for stream in streams])
    m = len(streams)
    shared = [np.broadcast_to(own, (m, *own.shape[-2:])) for own in effects]
    mean = build_predictors(design).mean(np.broadcast_to(beta, (m, len(beta))), shared)
    if residual is None:
        design.require_independent_residuals("Drawing these responses")
        return (mean + sigma / np.sqrt(design.weights) * residuals).T
    own, scales = residual, growth_at(design, residual.public, mean.T)
    if design.residual is not None and design.residual.growth:
        own = _without_fitted(design, residual.public)
    roots = [_roots(R) for R in own.covariances]
    return mean.T + sigma * scales * unwhiten(own.layout.stacks, roots, residuals.T)


def draw_departures(
    source: RowSource,
    rows: ResidualRows,
    design: Design,
    factors: Sequence[np.ndarray],
    sigma: float,
    streams: Sequence[np.random.Generator],
    public: np.ndarray,
) -> np.ndarray:
    """Draw Zb + ε of few rows whose sums are those of all.

    Parameters
    ----------
    source : RowSource
        Of the rows.
    rows : ResidualRows
        Its rows, of the model that is drawn from.
    design : Design
        Of that model.
    factors, sigma, streams
        As in `simulate_responses`.
    public : array, shape (f,)
        Parameters of the covariance of its residuals.

    Returns
    -------
    array, shape (N, m)
    """
    effects = draw_effects(design, [sigma * L for L in factors], streams)
    roots = [np.linalg.cholesky(R) for R in rows.layout.covariances_of(np, public)]
    departures = sigma * unwhiten(rows.layout.stacks, roots, source.draw(streams)).T
    for block, own in zip(rows.blocks, effects, strict=True):
        block.incidence.add_to(departures, own)
    return departures.T


def growth_at(design: Design, public: np.ndarray, mean: np.ndarray) -> np.ndarray | float:
    """Return what multiplies standard deviations of rows (n, m) by their expected responses (n, m); 1 if nothing does.

    Raises
    ------
    DesignError
        If one of these is zero, and leaves no variance.
    """
    block = design.residual
    if block is None or not block.growth:
        return 1.0
    if block.growth.has_pole and (mean == 0.0).any():
        design.with_fitted(mean[:, (mean == 0.0).any(axis=0).argmax()])  # says which
    return np.exp(block.growth.log_scales(np, public, mean.T)).T


def _roots(R: np.ndarray) -> np.ndarray:
    """F (m, o, o) with FF' = R: Cholesky's, or of stated covariances that are singular the symmetric ones."""
    try:
        return np.linalg.cholesky(R)
    except np.linalg.LinAlgError:
        return np.stack([root_of(each) for each in R])


def root_of(covariance: np.ndarray) -> np.ndarray:
    """F with FF' = Σ, also of a singular Σ."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))
