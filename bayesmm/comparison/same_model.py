"""Whether a fit and a posterior are of the same model and data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesmm.design.blocks.confounding import are_related_alike
from bayesmm.errors import ComparisonError

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.design.design import Design
    from bayesmm.fit.fit import Fit
    from bayesmm.inference.bootstrap.bootstrap import Bootstrap

ADVICE = "Fit and sample one Model: model.fit() and model.sample(seed=1)."


def check_same_model(fit: Fit, posterior: Posterior) -> None:
    """Refuse results whose difference would not be one of method.

    Parameters
    ----------
    fit : Fit
        Point estimates.
    posterior : Posterior
        Draws.

    Raises
    ------
    ComparisonError
        If formula, rows, data, weights or the known sigma differ; the message says which.
    """
    difference = _sigma_difference(fit.known_sigma, posterior.priors.known_sigma)
    if fit.design is not posterior.design:
        difference = _design_difference(fit.design, posterior.design) or difference
    if difference:
        raise ComparisonError(f"The fit and the posterior are not of the same model: {difference}. {ADVICE}")


def check_same_fit(fit: Fit, bootstrap: Bootstrap) -> None:
    """Refuse a bootstrap of another fit.

    Raises
    ------
    ComparisonError
        If method, formula, rows, data, weights or the known sigma differ; the message says which.
    """
    difference = None
    if fit.method != bootstrap.method:
        difference = f"the fit is by {fit.method.upper()}, the bootstrap by {bootstrap.method.upper()}"
    elif fit.problem is not bootstrap.problem:
        second = bootstrap.problem.design
        difference = _sigma_difference(fit.known_sigma, second.known_sigma, "bootstrap")
        difference = _design_difference(fit.design, second, "bootstrap") or difference
    if difference:
        raise ComparisonError(f"The bootstrap is not of this fit: {difference}. Write fit.bootstrap().")


def _design_difference(first: Design, second: Design, other: str = "posterior") -> str | None:
    """Say in what two designs differ, the most telling difference first; None if in nothing."""
    formulas = [design.specification.normalised() for design in (first, second)]
    if formulas[0] != formulas[1]:
        return f"the formulas are {first.specification.formula!r} and {second.specification.formula!r}"
    residuals = [design.specification.residual for design in (first, second)]
    if [each and each.write() for each in residuals[:1]] != [each and each.write() for each in residuals[1:]]:
        return f"the residuals have the covariances {' and '.join(repr(each and each.text) for each in residuals)}"
    if first.n != second.n:
        return f"the fit used {first.n} rows, the {other} {second.n}"
    if first.elsewhere is not None or second.elsewhere is not None:
        alike = first.has_response_of(second) and first.labels == second.labels
        return None if alike else "the rows are not the same, by their sums"
    if not first.rows.equals(second.rows):
        return f"each used {first.n} rows, but not the same ones"
    if not np.array_equal(first.y, second.y):
        rows = int((first.y != second.y).sum())
        return f"the response {first.response!r} differs in {rows} of {first.n} rows"
    if not _same_groups(first, second):
        return "the levels, their relations, known matrices or the columns of the grouping factors differ"
    if first.coefficients != second.coefficients or not np.array_equal(first.X, second.X):
        return "the columns of the fixed effects differ"
    if not _same_residuals(first, second):
        return "the groups, the positions or the strata of the residuals differ"
    if not np.array_equal(first.offset, second.offset):
        return "the offsets differ"
    if not np.array_equal(first.weights, second.weights):
        return f"the weights differ ({_weights(first)} and {_weights(second)})"
    return None


def _same_residuals(first: Design, second: Design) -> bool:
    one, other = first.without_fitted().residual, second.without_fitted().residual
    if one is None or other is None:
        return one is other
    return all(
        np.array_equal(mine, yours)
        for mine, yours in (
            (one.codes, other.codes),
            (one.positions, other.positions),
            (one.columns, other.columns),
        )
    )


def _same_groups(first: Design, second: Design) -> bool:
    return all(
        one.levels == other.levels
        and one.effects == other.effects
        and one.incidence.equals(other.incidence)
        and one.layout == other.layout
        and are_related_alike(one, other)
        for one, other in zip(first.blocks, second.blocks, strict=True)
    )


def _weights(design: Design) -> str:
    return f"{design.weights.min():.4g} to {design.weights.max():.4g}" if design.has_weights else "none"


def _sigma_difference(first: float | None, second: float | None, other: str = "posterior") -> str | None:
    if first == second:
        return None
    known = ["estimated" if sigma is None else f"known as {sigma:g}" for sigma in (first, second)]
    return f"sigma is {known[0]} in the fit and {known[1]} in the {other}"
