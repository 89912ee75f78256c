"""A fit with effects at places or times that none of its rows has: the same estimates, one more elimination."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bayesmm.covariance.layout import parts
from bayesmm.covariance.public import assemble_covariance, read_covariance
from bayesmm.design.new_places import add_places, check_possible
from bayesmm.design.predictors import Random, chosen_groups
from bayesmm.errors import RowsError
from bayesmm.inference.fitted import Fitted
from bayesmm.problem import Problem
from bayesmm.reml.estimate import read_off


def with_new_places(fit: Fitted, new_data: Any, random: Random) -> Fitted:
    """Add the effects at the places of new rows.

    Parameters
    ----------
    fit : Fitted
        At its estimate.
    new_data : data frame or None
        Rows to predict.
    random : {"all", "none"} or sequence of str
        Grouping factors whose effects are included.

    Returns
    -------
    Fitted
        Itself if there are no such places. The likelihood does not depend on effects without rows, so that this is the
        same maximum, and their conditional modes and covariances are what universal kriging predicts.

    Raises
    ------
    PredictionError
        If nothing is known of such effects.
    RowsError
        If there are such places and the rows are not in memory.
    """
    groups = chosen_groups(fit.design, random)
    design = fit.design if new_data is None else add_places(fit.design, new_data, groups)
    if design is fit.design:
        return fit
    if design.elsewhere is not None:
        raise RowsError(
            "The new data have levels, times or places left of a bar that no row of the fit has. Their effects are "
            "predicted from sums with columns for them, and the rows of this fit are not in memory: fit a data frame, "
            "or predict from a posterior."
        )
    for block, own, factor in zip(design.blocks, fit.design.blocks, fit.estimate.factors, strict=True):
        found = assemble_covariance(np, *read_covariance(np, factor @ factor.T, own.layout), block.layout)
        for piece in block.pieces:
            check_possible(piece, found[None, piece.start : piece.stop, piece.start : piece.stop])
    old = fit.estimate.criterion_function
    residual, problem = fit.estimate.residual, Problem(design)
    products = (problem if residual is None else problem.at(residual.phi)).products
    criterion = replace(old, products=products, layout=problem.layout)
    roots = zip(products.effect_roots, old.products.effect_roots, problem.layout, old.layout, strict=True)
    changes = iter(
        float(T[new.start, new.start] / before[piece.start, piece.start]) if new.k > piece.k else 1.0
        for T, before, wide, pieces in roots
        for new, piece in zip(wide, pieces, strict=True)
    )
    theta = np.concatenate(
        [
            own if (by := next(changes)) == 1.0 else piece.structure.scaled(own, by, piece.k)
            for piece, own in parts(fit.estimate.minimum.x, old.layout)
        ]
    )
    minimum = replace(fit.estimate.minimum, x=theta, evaluation=criterion(theta))
    estimate = read_off(criterion, minimum, fit.estimate.other_maxima, fit.estimate.n_screened)
    if residual is not None:
        whole = replace(residual.criterion, rows=problem.residual_rows, plan=problem.plan, layout=problem.layout)
        estimate = replace(estimate, residual=replace(residual, criterion=whole))
    held: Any = fit
    return replace(held, problem=problem, estimate=estimate)
