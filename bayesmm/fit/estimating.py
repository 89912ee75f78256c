"""From a problem to a fit, or to a sentence on why there is none."""

from __future__ import annotations

import warnings

from bayesmm.errors import BayesmmWarning, EstimationError, FitStatus
from bayesmm.fit.fit import Fit, combination
from bayesmm.marginal.likelihood.likelihood import Method
from bayesmm.problem import Problem
from bayesmm.reml.criterion import Criterion, Engine
from bayesmm.reml.estimate import AbsorbedError, estimate
from bayesmm.reml.search import SaturatedError


def fit_problem(problem: Problem, method: Method, engine: Engine = "numpy") -> Fit:
    """Fit by a method, with what a user is to be told of it as errors and warnings; see `bayesmm.Model.fit`."""
    design = problem.design
    criterion = Criterion(problem.products, problem.layout, method, problem.known_sigma, engine)
    try:
        found = estimate(criterion)
    except AbsorbedError as absorbed:
        block = problem.labels.blocks[absorbed.factor]
        what = " and ".join(combination(direction, block.effects) for direction in absorbed.directions.T)
        raise EstimationError(
            f"The fixed effects give every level of {block.group} its own {what} already, so that REML has nothing "
            f"left to tell the variance between levels from. Drop those fixed effects or the random ones, sample "
            "with a prior, or use method='ml', which will find no variance."
        ) from None
    except SaturatedError:
        n_effects = sum(block.q * block.k for block in design.blocks)
        raise EstimationError(
            f"The likelihood rises for ever as sigma falls to zero: the {n_effects} random effects and "
            f"{design.p} fixed effects explain all {design.n} rows. Simplify the random effects, give a "
            "known sigma, or sample with a prior."
        ) from None
    fit = Fit(problem=problem, estimate=found)
    verdicts = [fit.status.value] if fit.status is FitStatus.NOT_CONVERGED else []
    for text in (*verdicts, *fit.confounded):
        warnings.warn(text, BayesmmWarning, stacklevel=3)
    return fit
