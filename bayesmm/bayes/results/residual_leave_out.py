"""Leaving out rows and groups whose residuals hang together, without refits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import solve_triangular

from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.bayes.programs.program import MarginalData, conditional_prior
from bayesmm.bayes.residual_draws import LOG_2_PI, ResidualDraws, residuals_of
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import ParameterDraws, map_draws, stack_draws
from bayesmm.bayes.results.indispensable import refuse_indispensable
from bayesmm.bayes.results.recovered import read_effects
from bayesmm.covariance.residual import Correlation
from bayesmm.design.predictors import build_predictors
from bayesmm.errors import PredictionError
from bayesmm.incidence import find_parents
from bayesmm.marginal.leave_out.left_out import Draw
from bayesmm.marginal.leave_out.row_groups import Rows
from bayesmm.marginal.residual.in_jax import lay_out_products, products_at
from bayesmm.marginal.residual.layout import ResidualLayout
from bayesmm.marginal.residual.leave_out import (
    GroupSets,
    leave_levels_apart,
    leave_residual_groups,
    leave_residual_rows,
)
from bayesmm.presenting.progress import Bar, progress_bar

MOST_ROWS = 1000  # of data of which groups are left out that cross others: some 0.1 s for each draw


@dataclass(frozen=True)
class _Bound:
    """The marginal program's data with rows of whole residual groups, and the structure of these."""

    data: MarginalData
    correlation: Correlation | None
    layout: ResidualLayout


def _bind(posterior: DrawnModel, groups: list[np.ndarray]) -> _Bound:
    problem = posterior.problem.dense
    program, data = bind_marginal(problem, posterior.priors)
    found = problem.residual_rows
    fixed = found.fixed * np.sqrt(found.weights)[:, None]  # orthonormal
    refuse_indispensable(
        posterior.design, Rows(fixed=fixed, incidences=(), log_weights=fixed[:, 0]), groups, data.prior
    )
    leaves: Any = lay_out_products(found, problem.plan, whole=True).stacks
    return _Bound(data._replace(stacks=leaves), program.correlation, found.layout)


def leave_rows(posterior: DrawnModel, draws: ParameterDraws, progress: bool | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard deviation of each row given all others, and its deviation in units of it; (draws, n) each."""
    bound = _bind(posterior, list(np.arange(posterior.n)[:, None]))
    evaluate = partial(_rows, correlation=bound.correlation)
    with progress_bar("leaving out rows", len(draws.sigma), progress) as bar:
        found = map_draws(evaluate, (bound.data,), stack_draws(draws, bound.data.prior), bar=bar)
    place = np.empty(posterior.n, dtype=np.int64)
    place[np.concatenate([stack.rows.ravel() for stack in bound.layout.stacks])] = np.arange(posterior.n)
    sd, z = (each[:, place] for each in found)
    return sd, z


def leave_groups(
    posterior: DrawnModel, draws: ParameterDraws, groups: list[np.ndarray], progress: bool | None
) -> np.ndarray:
    """Evaluate log p(y_g | y_-g, θ) of each draw and group; (draws, G).

    Raises
    ------
    PredictionError
        If the groups are neither those of the residuals nor sets of them in which all grouping factors are nested, and
        there are more than a thousand rows.
    """
    bound = _bind(posterior, groups)
    n = posterior.n
    owner = np.full(n, -1)
    for g, which in enumerate(groups):
        owner[which] = g
    of_stacks = [owner[stack.rows] for stack in bound.layout.stacks]
    stacked = stack_draws(draws, bound.data.prior)
    is_whole = all((own == own[:, :1]).all() for own in of_stacks) and (owner >= 0).all()
    if is_whole and sum(len(own) for own in of_stacks) == len(groups):
        evaluate = partial(_residual_groups, correlation=bound.correlation)
        with progress_bar("leaving out groups", len(draws.sigma), progress) as bar:
            found = map_draws(evaluate, (bound.data,), stacked, bar=bar)
        return found[:, np.argsort(np.concatenate([own[:, 0] for own in of_stacks]))]
    parents = _parents(posterior, owner, len(groups), bound) if is_whole else None
    if parents is None:
        return _leave_crossing(posterior, draws, groups, bound.data, progress)
    return _leave_apart(posterior, stacked, bound, owner, parents, progress)


def leave_levels(
    posterior: DrawnModel, draws: ParameterDraws, owner: np.ndarray, n_groups: int, progress: bool | None
) -> np.ndarray:
    """Do so for sets of residual groups of rows that are not in memory, from few rows that have the sums of all.

    Parameters
    ----------
    owner : int array, shape (N,)
        Set of each of these rows.
    n_groups : int
        How many sets there are.

    Raises
    ------
    PredictionError
        If a grouping factor is not nested in the sets.
    """
    bound = _bind(posterior, [np.flatnonzero(owner == g) for g in range(n_groups)])
    parents = _parents(posterior, owner, n_groups, bound)
    if parents is None:
        raise PredictionError(
            "Some grouping factor of the model is not nested in what is left out, which takes a matrix of rows by "
            "rows, and these are not in memory. Leave out rows by loo_rows, groups of the residuals, or a factor "
            "in whose levels all other factors lie."
        )
    return _leave_apart(posterior, stack_draws(draws, bound.data.prior), bound, owner, parents, progress)


def conditional_levels(
    posterior: DrawnModel, draws: ParameterDraws, owner: np.ndarray, n_groups: int, progress: bool | None
) -> np.ndarray:
    """Evaluate log p(y_g | β, b, σ, ...) of the same sets, likewise."""
    rows = posterior.problem.residual_rows
    assert draws.residual is not None
    effects = read_effects(posterior, draws, progress=progress)
    left = np.stack([rows.leave(beta, [b[d] for b in effects]) for d, beta in enumerate(draws.beta)])
    residuals = ResidualDraws(layout=rows.layout, public=draws.residual, sigma=draws.sigma)
    values, first = residuals.groups(left)
    total = np.zeros((len(values), n_groups))
    np.add.at(total.T, owner[first], values.T)
    return total


def _leave_apart(
    posterior: DrawnModel,
    stacked: Draw,
    bound: _Bound,
    owner: np.ndarray,
    parents: tuple[np.ndarray, ...],
    progress: bool | None,
) -> np.ndarray:
    of_stacks = [owner[stack.rows[:, 0]] for stack in bound.layout.stacks]
    stand_for = [bound.layout.shares_of(stack) for stack in bound.layout.stacks]
    counts = np.zeros(int(owner.max()) + 1)
    for stack, own, number in zip(bound.layout.stacks, of_stacks, stand_for, strict=True):
        np.add.at(counts, own, stack.rows.shape[1] * number)
    evaluate = partial(_apart, correlation=bound.correlation)
    with progress_bar("leaving out groups", len(stacked.sigma), progress) as bar:
        return map_draws(evaluate, (bound.data, GroupSets(of_stacks, parents, counts, stand_for)), stacked, bar=bar)


def _parents(posterior: DrawnModel, owner: np.ndarray, n_groups: int, bound: _Bound) -> tuple[np.ndarray, ...] | None:
    """Group of each level of every factor, padded; None where a level lies in several."""
    if bound.data.arrays.shape.remainder:
        return None
    found = []
    for block, K in zip(posterior.problem.residual_rows.blocks, bound.data.arrays.cross, strict=True):
        parents = find_parents(block.incidence.only.codes, owner, K.shape[2], without_rows=n_groups)
        if parents is None:
            return None
        found.append(parents)
    return tuple(found)


def _leave_crossing(
    posterior: DrawnModel,
    draws: ParameterDraws,
    groups: list[np.ndarray],
    data: MarginalData,
    progress: bool | None,
) -> np.ndarray:
    """Leave out groups that cross those of the residuals or other grouping factors."""
    _check_rows(posterior.n)
    rows = posterior.problem.residual_rows
    assert draws.residual is not None
    residuals = ResidualDraws(layout=rows.layout, public=draws.residual, sigma=draws.sigma)
    return leave_crossing(posterior, draws, groups, data, rows.fixed, _dense_residuals(residuals), progress)


def leave_crossing_related(
    posterior: DrawnModel,
    draws: ParameterDraws,
    groups: list[np.ndarray],
    data: MarginalData,
    fixed: np.ndarray,
    progress: bool | None,
) -> np.ndarray:
    """Leave out groups whose rows differ in levels that are related; `fixed` is [Q e] times the roots of the weights.

    Raises
    ------
    PredictionError
        If there are more than a thousand rows.
    """
    _check_rows(posterior.n)
    weights = posterior.design.weights
    noise = (np.diag(sigma**2 / weights) for sigma in draws.sigma)
    return leave_crossing(posterior, draws, groups, data, fixed / np.sqrt(weights)[:, None], noise, progress)


def leave_crossing(
    posterior: DrawnModel,
    draws: ParameterDraws,
    groups: list[np.ndarray],
    data: MarginalData,
    fixed: np.ndarray,
    noise: Iterator[np.ndarray],
    progress: bool | None,
) -> np.ndarray:
    """Leave out any groups, by matrices of rows by rows, of residuals with covariances (n, n) of each draw.

    With P the precision of y given the covariance parameters, coefficients integrated out as well,

        y_g | y_-g ~ N(y_g − P_gg⁻¹(Py)_g, P_gg⁻¹).
    """
    prior, Q, response = data.prior, fixed[:, :-1], fixed[:, -1]
    basis, precision = Q @ np.asarray(prior.basis), np.asarray(prior.precision)
    sampled, columns = np.asarray(prior.sampled), Q @ np.asarray(prior.sampled_root)
    blocks = [
        [(a.columns, b.columns, block.relation_of(a.codes[:, None], b.codes)) for a, b in product(members, repeat=2)]
        for block in posterior.design.blocks
        for members in [block.incidence.memberships]
    ]
    found = []
    with progress_bar("leaving out groups", len(draws.sigma), progress) as bar:
        for d, V in enumerate(noise):
            for sides, covariance in zip(blocks, draws.covariances, strict=True):
                V = V + sum(left @ covariance[d] @ right.T * alike for left, right, alike in sides)
            beta = draws.beta[d, sampled]
            mean = np.asarray(conditional_prior(data, jnp.asarray(beta) if len(sampled) else None).mean)
            y = response - columns @ (beta - np.asarray(prior.sampled_origin)) - basis @ mean
            W = np.linalg.inv(V)
            WB = W @ basis
            P = W - WB @ np.linalg.solve(basis.T @ WB + precision, WB.T)
            found.append(_left_out(P, P @ y, groups, bar))
    return np.stack(found)


def _check_rows(n: int) -> None:
    if n > MOST_ROWS:
        raise PredictionError(
            f"The groups cross those of the residuals, or other grouping factors: leaving them out takes a matrix of "
            f"rows by rows for each draw, and {n:,} rows are more than the {MOST_ROWS:,} it is made for. Leave out "
            "rows, the groups of the residuals, or a factor in whose levels these and all other factors lie."
        )


def _dense_residuals(residuals: ResidualDraws) -> Iterator[np.ndarray]:
    """Covariance matrix (n, n) of the residuals, draw by draw."""
    stacks = residuals.layout.stacks
    n = sum(stack.rows.size for stack in stacks)
    scales = np.broadcast_to(residuals.scales, (len(residuals.sigma), n))
    for sigma, scale, covariances in zip(residuals.sigma, scales, residuals.covariances(), strict=True):
        V = np.zeros((n, n))
        for stack, R in zip(stacks, covariances, strict=True):
            V[stack.rows[:, :, None], stack.rows[:, None, :]] = sigma**2 * R[stack.pattern]
        yield V * np.outer(scale, scale)


def _left_out(P: np.ndarray, moved: np.ndarray, groups: Sequence[np.ndarray], bar: Bar) -> np.ndarray:
    """Log density of each group given all others, of the precision of all rows and that times their deviations."""
    values = []
    for which in groups:
        L = np.linalg.cholesky(P[np.ix_(which, which)])
        z = solve_triangular(L, moved[which], lower=True)
        values.append(np.log(np.diag(L)).sum() - 0.5 * (len(which) * LOG_2_PI + z @ z))
    bar.advance()
    return np.array(values)


def conditional_groups(
    posterior: DrawnModel, draws: ParameterDraws, groups: list[np.ndarray], progress: bool | None
) -> np.ndarray:
    """Evaluate log p(y_g | β, b, σ, ...) of sets of residual groups; (draws, G).

    Raises
    ------
    PredictionError
        If residuals of a residual group are in several of the groups, and there are more than a thousand rows.
    """
    design = posterior.design
    assert draws.residual is not None
    effects = read_effects(posterior, draws, progress=progress)
    mean = build_predictors(design).mean(draws.beta, effects)
    residuals, left = residuals_of(design, draws.residual, draws.sigma, mean), design.y - mean
    owner = np.full(design.n, -1)
    for g, which in enumerate(groups):
        owner[which] = g
    if any((owner[stack.rows] != owner[stack.rows][:, :1]).any() for stack in residuals.layout.stacks):
        _check_rows(design.n)
        each = ((np.linalg.inv(R), e) for R, e in zip(_dense_residuals(residuals), left, strict=True))
        with progress_bar("leaving out groups", len(draws.sigma), progress) as bar:
            return np.stack([_left_out(P, P @ e, groups, bar) for P, e in each])
    values, first = residuals.groups(left)
    total = np.zeros((len(values), len(groups)))
    np.add.at(total.T, owner[first], values.T)
    return total


@partial(jax.jit, static_argnames=("batch", "correlation"))
def _rows(data: MarginalData, draws: Draw, batch: int, correlation: Correlation | None) -> Any:
    def one(draw: Draw) -> Any:
        products = products_at(data.arrays, data.stacks, data.relating, correlation, draw.residual)
        prior = conditional_prior(data, draw.beta)
        found = leave_residual_rows(products, data.stacks, data.relating, correlation, prior, draw)
        return tuple(jnp.concatenate([each.ravel() for each in parts]) for parts in zip(*found, strict=True))

    return jax.lax.map(one, draws, batch_size=batch)


@partial(jax.jit, static_argnames=("batch", "correlation"))
def _residual_groups(data: MarginalData, draws: Draw, batch: int, correlation: Correlation | None) -> Any:
    def one(draw: Draw) -> Any:
        products = products_at(data.arrays, data.stacks, data.relating, correlation, draw.residual)
        prior = conditional_prior(data, draw.beta)
        return jnp.concatenate(leave_residual_groups(products, data.stacks, data.relating, correlation, prior, draw))

    return jax.lax.map(one, draws, batch_size=batch)


@partial(jax.jit, static_argnames=("batch", "correlation"))
def _apart(data: MarginalData, sets: GroupSets, draws: Draw, batch: int, correlation: Correlation | None) -> Any:
    def one(draw: Draw) -> Any:
        prior = conditional_prior(data, draw.beta)
        return leave_levels_apart(data.arrays, data.stacks, correlation, sets, prior, draw)

    return jax.lax.map(one, draws, batch_size=batch)
