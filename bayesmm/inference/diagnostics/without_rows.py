"""Estimates of the same model without some of its rows, searched from those with all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesmm.covariance.layout import theta_of
from bayesmm.covariance.structure import lower_triangular
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.sums.crossproducts import CrossProducts, build_products
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import Estimate, estimate, public_values


def refit_without(fit: Fitted, rows: np.ndarray) -> Estimate:
    """Estimate again without some rows, whose coefficients must be determined by the others.

    Parameters
    ----------
    fit : Fit
        With all rows.
    rows : int array
        Which to leave out.

    Returns
    -------
    Estimate
        The search starts at the estimate with all rows, and so ends in the same basin.
    """
    products = _sum_without(fit, rows)
    layout = fit.problem.layout
    criterion = Criterion(products, layout, fit.method, fit.known_sigma)
    factors = [lower_triangular(T @ L) for T, L in zip(products.effect_roots, fit.estimate.factors, strict=True)]
    return estimate(criterion, theta_of(factors, layout))


def _sum_without(fit: Fitted, rows: np.ndarray) -> CrossProducts:
    """Sum with weights of zero: the plan stays, and levels that have lost all rows are nothing but their prior."""
    problem, design = fit.problem, fit.design
    weights = design.weights.copy()
    weights[rows] = 0.0
    kept = weights > 0
    with np.errstate(divide="ignore"):  # the logarithms of the weights, summed below
        products, _ = build_products(
            design.X[:, design.kept], design.y - design.offset, weights, problem.blocks, problem.plan
        )
    numbers = {"n": np.float64(kept.sum()), "log_weights": np.float64(np.log(weights[kept]).sum())}
    return replace(products, **numbers)


def parameter_values(fit: Fitted, estimates: Sequence[Estimate | None]) -> np.ndarray:
    """All parameters of some estimates, (m, number of parameters) as in `Fit.parameters`; NaN where there is none."""
    n = len(fit.labels.parameter_rows())
    return np.array([np.full(n, np.nan) if each is None else _values(each)[:n] for each in estimates]).reshape(-1, n)


def _values(found: Estimate) -> np.ndarray:
    return np.concatenate([found.beta, public_values(found.minimum.x, np.log(found.sigma), found.criterion_function)])
