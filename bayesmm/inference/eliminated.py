"""A fit's random effects eliminated at its estimate, ready to take columns of the rows through V⁻¹."""

from __future__ import annotations

import numpy as np

from bayesmm.covariance.layout import assemble_factors
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.residual.through_rows import Eliminated, eliminate_rows
from bayesmm.problem import Problem
from bayesmm.reml.estimate import Estimate


def eliminate_fit(fit: Fitted) -> Eliminated:
    """Eliminate the random effects of a fit at its estimate."""
    return eliminate_at(fit.problem, fit.estimate)


def eliminate_given(fit: Fitted) -> Eliminated:
    """Do so for what takes the covariance of the residuals as known: with whitened rows, if they have one."""
    residual = fit.estimate.residual
    if residual is None:
        return eliminate_fit(fit)
    problem = fit.problem.at(residual.phi)
    factors = assemble_factors(np, fit.estimate.minimum.x, problem.layout)
    return eliminate_rows(problem.conditioned_rows(), problem.products, factors, fit.estimate.sigma)


def eliminate_at(problem: Problem, estimate: Estimate) -> Eliminated:
    """Eliminate the random effects of a problem at an estimate."""
    problem.design.require_independent_residuals("This")
    factors = assemble_factors(np, estimate.minimum.x, problem.layout)
    return eliminate_rows(problem.conditioned_rows(), problem.products, factors, estimate.sigma)
