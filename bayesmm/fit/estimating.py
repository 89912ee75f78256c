"""From a problem to a fit, or to a sentence on why there is none."""

from __future__ import annotations

import warnings
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from bayesmm.design.blocks.told_apart import find_crowded
from bayesmm.design.design import Design
from bayesmm.errors import PACKAGE, ArgumentError, BayesmmWarning, DesignError, EstimationError, FitStatus
from bayesmm.fit.fit import Fit, combination
from bayesmm.marginal.likelihood.likelihood import Method
from bayesmm.problem import Problem
from bayesmm.reml.by_probes import AUTO, Determinant, estimate_by_probes
from bayesmm.reml.criterion import Criterion, Engine
from bayesmm.reml.estimate import AbsorbedError, estimate
from bayesmm.reml.search import SaturatedError

if TYPE_CHECKING:  # loaded where residuals have a covariance
    from bayesmm.reml.residual import ResidualCriterion


def fit_problem(problem: Problem, method: Method, engine: Engine = "numpy", determinant: Determinant = AUTO) -> Fit:
    """Fit by a method, with what a user is to be told of it as errors and warnings; see `bayesmm.Model.fit`."""
    fit = fit_quietly(problem, method, engine, determinant)
    for text in complaints(fit):
        warnings.warn(text, BayesmmWarning, skip_file_prefixes=(PACKAGE,))
    return fit


def fit_quietly(problem: Problem, method: Method, engine: Engine = "numpy", determinant: Determinant = AUTO) -> Fit:
    """Fit by a method; the fit says itself whether it can be trusted, and nothing else does.

    Raises
    ------
    EstimationError
        If there is no estimate.
    DesignError
        If what remains of crossed factors is too large for an exact determinant, and that was asked for.
    ArgumentError
        If a stochastic determinant was asked for where there is none.
    """
    design = problem.design
    if method == "reml":
        _refuse_flat(problem)
    by_probes = is_by_probes(problem, determinant)
    if engine == "jax" and not by_probes:
        problem = problem.dense
    try:
        if design.residual is not None:
            return _fit_residual(problem, method)
        criterion = Criterion(problem.products, problem.layout, method, problem.known_sigma, engine)
        if by_probes:
            found = estimate_by_probes(criterion, determinant.probes, determinant.seed)
            problem = problem.with_products(found.criterion_function.products)
        else:
            found = estimate(criterion)
    except AbsorbedError as absorbed:
        block = problem.labels.blocks[absorbed.factor]
        what = " and ".join(combination(direction, block.effects) for direction in absorbed.directions.T)
        raise EstimationError(
            f"The fixed effects give every level of {block.group} its own {what} already, so that REML has nothing "
            f"left to tell the variance between levels from. Drop those fixed effects or the random ones, sample "
            "with a prior, or use method='ml', which will find no variance."
        ) from None
    except SaturatedError as saturated:
        n_effects = sum(block.q * block.k for block in design.blocks)
        if saturated.is_bounded:
            raise EstimationError(
                f"The likelihood is highest where sigma is zero: the {n_effects} random effects reach each of the "
                f"{design.n} rows by itself, and take all of the residual variance. Give the residuals this "
                "covariance instead, residual='toep(visit | id)' for toep(0 + visit | id), give a known sigma, or "
                "sample with a prior."
            ) from None
        raise EstimationError(
            f"The likelihood rises for ever as sigma falls to zero: the {n_effects} random effects and "
            f"{design.p} fixed effects explain all {design.n} rows. Simplify the random effects, give a "
            "known sigma, or sample with a prior."
        ) from None
    return Fit(problem=problem, estimate=found)


def is_by_probes(problem: Problem, determinant: Determinant) -> bool:
    """Whether a determinant is to be stochastic.

    It is where that was asked for, and where what remains of crossed factors is too large, or was taken by probes
    already; never where elimination level by level leaves nothing.

    Raises
    ------
    DesignError
        If it cannot be exact, as was asked for.
    ArgumentError
        If it cannot be stochastic, as was asked for.
    """
    design, asked = problem.design, determinant.kind == "stochastic"
    related = [block.group for block in design.blocks if block.relation is not None]
    if design.residual is not None or related:
        if asked:
            what = f"levels of {' and '.join(related)} are related" if related else "residuals have a covariance"
            raise ArgumentError(
                f"determinant is 'stochastic', which is for independent residuals and levels, and here {what}: leave "
                "it out."
            )
        return False
    alone = len(design.blocks) == 1 and not design.blocks[0].incidence.touches_itself
    if not design.blocks or alone:
        return False
    if determinant.kind == "auto":
        problem.products  # noqa: B018  the plan comes with the sums: both list which levels share a row
    if determinant.kind == "exact" and problem.plan.shape.too_large:
        raise DesignError(f"{problem.plan.shape.too_large} determinant='stochastic' does without that matrix.")
    return asked or bool(problem.plan.shape.too_large) or problem.is_probed


def _fit_residual(problem: Problem, method: Method) -> Fit:
    """Fit a covariance of the residuals along with the random effects."""
    from bayesmm.reml.residual_search import (
        IndistinctError,
        UnsettledError,
        estimate_residual,
        pose_settled,
        residual_criterion,
    )

    residual = problem.design.residual
    assert residual is not None
    criterion = residual_criterion(problem, method)
    try:
        found = estimate_residual(criterion)
    except IndistinctError as indistinct:
        _refuse_vanishing(problem, criterion, indistinct.at)
        terms = _random_terms(problem)
        raise EstimationError(
            f"The likelihood does not tell all covariance parameters of residual={residual.specification.text!r}"
            + (
                f" and {terms} apart: the correlations that random effects make are among those of the residuals. "
                "Drop one of them, or take a structure of fewer parameters."
                if terms
                else " apart. Take a structure of fewer parameters."
            )
        ) from None
    except UnsettledError:
        raise EstimationError(
            f"Fitted values and the variances that change with them in residual={residual.specification.text!r} do not "
            "settle: each set of estimates asks for another. Fitted values near zero do that: take "
            "exponential(fitted), or a covariate, power(x)."
        ) from None
    assert found.residual is not None
    _refuse_vanishing(problem, found.residual.criterion, found.coordinates[:-1])
    return Fit(problem=pose_settled(problem, found), estimate=found)


def _random_terms(problem: Problem) -> str:
    return " and ".join(str(piece.term) for block in problem.design.blocks for piece in block.pieces)


def _refuse_vanishing(problem: Problem, criterion: ResidualCriterion, psi: np.ndarray) -> None:
    """Refuse a residual standard deviation of zero in one stratum, where R has no inverse."""
    from bayesmm.reml.residual_search import find_vanishing

    assert problem.design.residual is not None
    entries = accumulate((len(spread.names) for spread in problem.design.residual.spreads), initial=0)
    spreads = [
        (spread, slice(*ends))
        for spread, ends in zip(problem.design.residual.spreads, pairwise(entries), strict=True)
        if spread.strata
    ]
    found = find_vanishing(criterion, psi, [own for _, own in spreads])
    if found is None:
        return
    spread, terms = spreads[found.spread][0], _random_terms(problem)
    label, factors = spread.strata[found.stratum], ":".join(spread.factors)
    raise EstimationError(
        f"The likelihood is highest where the residual standard deviation at {label} of {factors!r} is zero (the "
        f"search came down to {found.sd:.2g}): everything else in the model explains these rows exactly. Let {label} "
        "share the variance of other levels (merge them for het(), or take a structure of one variance), "
        + (f"drop {terms}, " if terms else "")
        + "or sample with a prior."
    )


def complaints(fit: Fit) -> tuple[str, ...]:
    """Name what a user is to be warned of."""
    unfinished = (fit.status.value,) if fit.status is FitStatus.NOT_CONVERGED else ()
    return (*unfinished, *_crowded(fit.design), *fit.confounded)


def _refuse_flat(problem: Problem) -> None:
    """Refuse a restricted likelihood that is flat."""
    design = problem.design
    if design.known_sigma is not None or design.residual is not None:
        return
    found = problem.find_indistinct()
    if found:
        terms = " and ".join(dict.fromkeys(str(piece.term) for piece in found))
        raise EstimationError(
            f"The restricted likelihood is flat: once the {design.p} fixed effects are taken off the {design.n} "
            f"rows, a part of the residual variance can go to {terms} without any change. Drop the term or some "
            "fixed effects, fix sigma if it is known, or sample with priors."
        )


def _crowded(design: Design) -> tuple[str, ...]:
    """Say of terms with as many effects as rows what it costs."""
    if design.known_sigma is not None or design.residual is not None:
        return ()
    return tuple(
        f"The term {piece.term} has {words}. What tells them from the residuals is only how the columns or the weights "
        "differ between levels: look at the standard errors of its parameters and of sigma before using them."
        for piece, words in find_crowded(design.blocks, design.n)
    )
