"""Estimates of the same model without some of its rows, searched from those with all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.covariance.layout import theta_of
from bayesmm.covariance.structure import lower_triangular
from bayesmm.design.design import Design
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.residual.layout import lay_out_residuals
from bayesmm.marginal.residual.whitened import residual_rows
from bayesmm.marginal.sums.crossproducts import CrossProducts, build_products, plan_elimination
from bayesmm.problem import FewRows
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import Estimate, estimate
from bayesmm.reml.residual import ResidualEstimate
from bayesmm.reml.residual_search import refit_residual


def refit_without(fit: Fitted, rows: np.ndarray, few: FewRows | None = None) -> Estimate:
    """Estimate again without some rows, whose coefficients must be determined by the others.

    Parameters
    ----------
    fit : Fit
        With all rows.
    rows : int array
        Which to leave out.
    few : FewRows, optional
        Rows that stand for all; those of the fit by default.

    Returns
    -------
    Estimate
        The search starts at the estimate with all rows, and so ends in the same basin.
    """
    if fit.estimate.residual is not None:
        return _refit_whole(fit, fit.estimate.residual, rows)
    products = _sum_without(few or FewRows(fit.problem), rows)
    layout = fit.problem.layout
    criterion = Criterion(products, layout, fit.method, fit.known_sigma)
    factors = [lower_triangular(T @ L) for T, L in zip(products.effect_roots, fit.estimate.factors, strict=True)]
    return estimate(criterion, theta_of(factors, layout))


def _refit_whole(fit: Fitted, residual: ResidualEstimate, rows: np.ndarray) -> Estimate:
    """Do so where residuals have a covariance; levels that have lost all rows are nothing but their prior."""
    design, block = fit.design, fit.design.residual
    assert block is not None
    kept = np.delete(np.arange(design.n), rows)
    weights = design.weights[kept]
    layout = lay_out_residuals(
        block.correlation, block.codes[kept], block.positions[kept], block.columns[kept], block.are_sds, weights
    )
    blocks = [replace(own, incidence=own.incidence.rows(kept)) for own in fit.problem.blocks]
    response = (design.y - design.offset)[kept]
    of = residual_rows(design.X[np.ix_(kept, design.kept)], response, weights, blocks, layout)
    factors = [lower_triangular(T @ L) for T, L in zip(of.effect_roots, fit.estimate.factors, strict=True)]
    theta = theta_of(factors, fit.problem.layout) if blocks else np.zeros(0)
    plan = plan_elimination(blocks) if blocks else None
    less = None if residual.criterion.design is None else _take(design, kept)
    criterion = replace(residual.criterion, rows=of, plan=plan, design=less)
    return refit_residual(criterion, np.concatenate([theta, residual.phi]))


def _take(design: Design, kept: np.ndarray) -> Design:
    """Take some rows of a design with a covariance of the residuals, and all levels."""
    block = design.residual
    assert block is not None
    spreads = tuple(replace(spread, columns=spread.columns[kept]) for spread in block.spreads)
    return replace(
        design,
        y=design.y[kept],
        offset=design.offset[kept],
        weights=design.weights[kept],
        X=design.X[kept],
        blocks=tuple(
            replace(own, columns=own.columns[kept], incidence=own.incidence.rows(kept)) for own in design.blocks
        ),
        residual=replace(block, codes=block.codes[kept], positions=block.positions[kept], spreads=spreads),
        rows=design.rows[kept],
        used=design.used.take(kept),
    )


def _sum_without(few: FewRows, rows: np.ndarray) -> CrossProducts:
    """Sum with weights of zero: the plan stays, and levels that have lost all rows are nothing but their prior."""
    problem, design = few.problem, few.problem.design
    weights = design.weights.copy()
    weights[rows] = 0.0
    kept = weights > 0
    with np.errstate(divide="ignore"):  # the logarithms of the weights, summed below
        products, _ = build_products(
            design.X[:, design.kept], design.y - design.offset, weights, problem.blocks, problem.plan
        )
    n = kept.sum() if few.counts is None else few.counts[kept].sum().round()
    logs = np.log(weights[kept]) if few.log_weights is None else few.log_weights[kept]
    numbers = {"n": np.float64(n), "log_weights": np.float64(logs.sum())}
    return replace(products, **numbers)


def parameter_values(fit: Fitted, estimates: Sequence[Estimate | None]) -> np.ndarray:
    """All parameters of some estimates, (m, number of parameters) as in `Fit.parameters`; NaN where there is none."""
    n = len(fit.labels.parameter_rows())
    return np.array([np.full(n, np.nan) if each is None else _values(each)[:n] for each in estimates]).reshape(-1, n)


def _values(found: Estimate) -> np.ndarray:
    return np.concatenate([found.beta, found.public_values(found.coordinates)])
