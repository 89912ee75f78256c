"""A fit's random effects eliminated at its estimate, ready to take columns of the rows through V⁻¹."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesmm.covariance.layout import assemble_factors
from bayesmm.design.elsewhere import Distant
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.residual.through_rows import Eliminated, eliminate_rows
from bayesmm.problem import Problem
from bayesmm.reml.estimate import Estimate


def eliminate_fit(fit: Fitted) -> Eliminated:
    """Eliminate the random effects of a fit with independent residuals at its estimate."""
    fit.design.require_independent_residuals("This")
    return eliminate_at(fit.problem, fit.estimate)


def eliminate_given(fit: Fitted) -> Eliminated:
    """Do so with whitened rows where the residuals have a covariance, which is taken as known."""
    return eliminate_at(fit.problem, fit.estimate)


def pose_at(problem: Problem, estimate: Estimate) -> Problem:
    """Take the covariance of the residuals at an estimate as known up to σ², if they have one: rows are whitened."""
    return problem if estimate.residual is None else problem.at(estimate.residual.phi)


def eliminate_at(problem: Problem, estimate: Estimate) -> Eliminated:
    """Eliminate the random effects of a problem at an estimate: with whitened rows if residuals have a covariance."""
    problem = pose_at(problem, estimate)
    factors = assemble_factors(np, estimate.minimum.x, problem.layout)
    known = problem.design.elsewhere
    if known is None or estimate.residual is not None:  # of few rows that have the sums of all
        rows: Any = problem.conditioned_rows()
    else:
        rows = Distant("the columns of the rows", known.where)
    return eliminate_rows(rows, problem.products, factors, estimate.sigma)
