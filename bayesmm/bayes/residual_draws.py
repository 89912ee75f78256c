"""Draws of the covariance of the residuals: what they say of rows, of groups, and what is drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bayesmm.design.blocks.labels import RESIDUAL_COR, RESIDUAL_SD
from bayesmm.design.blocks.residual import evaluate_groups, evaluate_spreads
from bayesmm.design.design import Design
from bayesmm.design.predictors import build_predictors
from bayesmm.errors import PredictionError
from bayesmm.marginal.residual.layout import ResidualLayout, lay_out_residuals, unwhiten, whiten
from bayesmm.problem import lay_out_design

LOG_2_PI = np.log(2.0 * np.pi)


def read_residual(design: Design, sites: Mapping[str, np.ndarray], sigma: np.ndarray) -> np.ndarray | None:
    """Read logarithms of ratios of standard deviations to σ and exponents, then correlations, off draws.

    Parameters
    ----------
    design : Design
        The data.
    sites : mapping of str to array, shapes (D, ...)
        Draws by variable.
    sigma : array, shape (D,)
        Residual standard deviation.

    Returns
    -------
    array, shape (D, f), or None
        None where residuals are independent.
    """
    block = design.residual
    if block is None:
        return None
    parts = []
    if block.sd_names:
        values = sites[RESIDUAL_SD]
        are_sds = np.array(block.are_sds, dtype=bool)
        logs = np.log(np.where(are_sds, values, 1.0) / sigma[:, None])
        parts.append(np.where(are_sds, logs, values))
    if block.cor_names:
        parts.append(sites[RESIDUAL_COR])
    return np.hstack([np.zeros((len(sigma), 0)), *parts])


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualDraws:
    """Draws of the covariance of the residuals of some rows.

    Attributes
    ----------
    layout : ResidualLayout
        The rows.
    public : array, shape (D, f)
        From `read_residual`.
    sigma : array, shape (D,)
        Residual standard deviation.
    scales : array, shape (D, n), or 1
        What standard deviations are multiplied by.
    """

    layout: ResidualLayout
    public: np.ndarray
    sigma: np.ndarray
    scales: np.ndarray | float = 1.0

    def covariances(self) -> Iterator[list[np.ndarray]]:
        """R (m, o, o) of the patterns of each stack, over σ², draw by draw."""
        for public in self.public:
            yield self.layout.covariances_of(np, public)

    def colour(self, noise: np.ndarray) -> np.ndarray:
        """Residuals (D, n) of standard normal numbers (D, n)."""
        found = np.empty_like(noise)
        for d, covariances in enumerate(self.covariances()):
            try:
                roots = [np.linalg.cholesky(R) for R in covariances]
            except np.linalg.LinAlgError as error:
                raise PredictionError(
                    "Residuals of so large a group cannot be as negatively correlated as those of the groups of the "
                    "fit: draw fewer rows of a group together."
                ) from error
            found[d] = self.sigma[d] * unwhiten(self.layout.stacks, roots, noise[d][:, None])[:, 0]
        return found * self.scales

    def rows_given_others(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return standard deviations (D, n) of residuals (D, n), each given the others of its group, and z by these."""
        residual = residual / self.scales
        sds, z = np.empty_like(residual), np.empty_like(residual)
        for d, covariances in enumerate(self.covariances()):
            for stack, R in zip(self.layout.stacks, covariances, strict=True):
                W = np.linalg.inv(R)[stack.pattern]
                root = np.sqrt(np.diagonal(W, axis1=1, axis2=2))
                sds[d][stack.rows] = self.sigma[d] / root
                z[d][stack.rows] = np.einsum("gst,gt->gs", W, residual[d][stack.rows]) / (self.sigma[d] * root)
        return sds * self.scales, z

    def groups(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log densities (D, G) of residuals (D, n) of each group, and a row of each (G,).

        Of groups that stand for several each has its share in the density of all of these.
        """
        first = np.concatenate([stack.rows[:, 0] for stack in self.layout.stacks])
        residual = residual / self.scales
        found, growth = np.empty((len(residual), len(first))), np.broadcast_to(np.log(self.scales), residual.shape)
        for d, covariances in enumerate(self.covariances()):
            parts = []
            for stack, R in zip(self.layout.stacks, covariances, strict=True):
                own, o = residual[d][stack.rows] / self.sigma[d], stack.rows.shape[1]
                square = np.einsum("gs,gst,gt->g", own, np.linalg.inv(R)[stack.pattern], own)
                log_det = np.linalg.slogdet(R)[1][stack.pattern] + 2.0 * o * np.log(self.sigma[d])
                constant, grown = o * LOG_2_PI + log_det, growth[d][stack.rows].sum(axis=1)
                parts.append(-0.5 * (self.layout.shares_of(stack) * constant + square) - grown)
            found[d] = np.concatenate(parts)
        return found, first


def normal_log_density(sd: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Log densities of deviations, in units of their standard deviations."""
    return -0.5 * (z**2 + LOG_2_PI) - np.log(sd)


def growth_of(design: Design, public: np.ndarray, expected: np.ndarray) -> np.ndarray | float:
    """Return what multiplies standard deviations where expected responses are (D, m), of draws (D, f); or 1."""
    assert design.residual is not None
    return np.exp(design.residual.growth.log_scales(np, public, expected))


def residuals_of(design: Design, public: np.ndarray, sigma: np.ndarray, expected: np.ndarray) -> ResidualDraws:
    """Lay out the residuals of the data's rows.

    Parameters
    ----------
    design : Design
        The data, with a covariance of the residuals.
    public, sigma : arrays, shapes (D, f), (D,)
        As of `ResidualDraws`.
    expected : array, shape (D, n)
        Expected responses, by which variances may change.
    """
    layout, scales = lay_out_design(design.without_fitted()), growth_of(design, public, expected)
    return ResidualDraws(layout=layout, public=public, sigma=sigma, scales=scales)


def at_effects(design: Design, beta: np.ndarray, effects: Sequence[np.ndarray]) -> Design:
    """Take the fitted values at coefficients (p,) and effects (q, k) into a design whose variances change with them."""
    if design.residual is None or not design.residual.of_fitted:
        return design
    return design.with_fitted(build_predictors(design).mean(beta, effects))


def whitener(design: Design, public: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes columns (n, c) of rows with independent residuals of variance σ² from those of the data.

    Parameters
    ----------
    design : Design
        The data, with a covariance of the residuals, at fitted values where it changes with these.
    public : array, shape (f,)
        Of that, from `read_residual`: of one draw, or the mean of all.
    """
    layout = lay_out_design(design)
    roots = [np.linalg.cholesky(R) for R in layout.covariances_of(np, public)]
    return partial(whiten, layout.stacks, roots)


def row_sds(columns: np.ndarray, public: np.ndarray, sigma: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute standard deviations (D, m) of residuals, from what their logarithms are linear in (m, s).

    What changes with expected responses comes on top, by `growth_of`.
    """
    s = public[:, : columns.shape[1]]
    return sigma[:, None] * np.exp(s @ columns.T) / np.sqrt(weights)


def spread_columns(design: Design, new_data: Any) -> np.ndarray:
    """Read what the logarithms of standard deviations are linear in (m, s), in new rows or in the data's."""
    block = design.without_fitted().residual
    assert block is not None
    return block.columns if new_data is None else evaluate_spreads(block, new_data)


def lay_out_rows(design: Design, new_data: Any, weights: np.ndarray) -> ResidualLayout:
    """Lay out the residual groups of new rows, or of the data's."""
    block = design.residual
    assert block is not None
    codes, positions = (block.codes, block.positions) if new_data is None else evaluate_groups(block, new_data)
    known = np.where(np.isfinite(weights), weights, 1.0)
    return lay_out_residuals(
        block.correlation, codes, positions, spread_columns(design, new_data), block.are_sds, known
    )
