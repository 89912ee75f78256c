"""Residuals of a fit: from the population or from each level's own line, raw or scaled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from bayesmm.arguments import is_one_of
from bayesmm.design.predictors import build_predictors
from bayesmm.errors import ArgumentError
from bayesmm.incidence import Incidence
from bayesmm.inference.diagnostics.row_view import view_rows
from bayesmm.inference.eliminated import eliminate_fit, eliminate_given
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.residual.layout import row_variances, whiten
from bayesmm.marginal.residual.through_rows import Eliminated

type ResidualKind = Literal["response", "pearson", "standardised", "cholesky"]
type ResidualRandom = Literal["all", "none"]

KINDS = ("response", "pearson", "standardised", "cholesky")
NOTHING = 1e-10  # share of a row's variance below which its residual is zero by construction
BLOCK = 400  # rows whitened together
MOST_EFFECTS = 3000  # that hang together; the whitening keeps a dense matrix of their square


def compute_residuals(fit: Fitted, kind: ResidualKind, random: ResidualRandom | None) -> np.ndarray:
    """Residuals (n,) of one kind; see `Fit.residuals`."""
    if not is_one_of(kind, KINDS):
        raise ArgumentError(f"kind is {kind!r}: give 'response', 'pearson', 'standardised' or 'cholesky'.")
    if random is not None and not is_one_of(random, ("all", "none")):
        raise ArgumentError(f"random is {random!r}: give 'all' (conditional residuals) or 'none' (marginal ones).")
    if kind == "cholesky" and random == "all":
        raise ArgumentError(
            "random is 'all' and kind 'cholesky': given the random effects residuals are independent, so that their "
            "Cholesky-scaled ones are the Pearson ones. Give random='none', or kind='pearson'."
        )
    if fit.estimate.residual is not None:
        return _of_covariance(fit, kind, random or "all")
    if kind == "cholesky":
        return whitened(eliminate_fit(fit)) / fit.sigma
    if random == "none":
        return _marginal(fit, kind)
    design = fit.design
    raw = design.y - build_predictors(design).mean(fit.estimate.beta, fit.estimate.modes)
    if kind == "response":
        return raw
    weighted = np.sqrt(design.weights) * raw
    if kind == "pearson":
        return weighted / fit.sigma
    return standardise(weighted, fit.sigma**2 * eliminate_fit(fit).left)


def _of_covariance(fit: Fitted, kind: ResidualKind, random: ResidualRandom) -> np.ndarray:
    """Residuals where those of the model have a covariance."""
    design, estimate, residual = fit.design, fit.estimate, fit.estimate.residual
    assert residual is not None
    conditional = random == "all" and kind != "cholesky" and bool(design.blocks)
    stacks, R = residual.layout.stacks, residual.covariances
    if kind == "cholesky" and design.blocks:
        return whitened(eliminate_given(fit), _in_groups(fit)) / fit.sigma
    predictors = build_predictors(design, random="all" if conditional else "none")
    raw = design.y - predictors.mean(estimate.beta, estimate.modes)
    if kind == "response":
        return raw
    if kind == "cholesky":
        return whiten(stacks, [np.linalg.cholesky(each) for each in R], raw[:, None])[:, 0] / fit.sigma
    variance = fit.sigma**2 * row_variances(stacks, R)
    if conditional and kind == "standardised":
        return standardise(raw, fit.sigma**2 * view_rows(fit).variances)
    if not conditional:
        for block, factor in zip(design.blocks, estimate.factors, strict=True):
            own = block.incidence.only
            size = fit.sigma**2 * block.relation_of(own.codes, own.codes)
            variance = variance + size * ((own.columns @ factor) ** 2).sum(axis=1)
    if kind == "standardised":
        X = design.X[:, design.kept]
        variance = variance - np.einsum("ni,ij,nj->n", X, estimate.beta_covariance, X)
    return standardise(raw, variance)


def _in_groups(fit: Fitted) -> np.ndarray:
    """Rows (n,) by group of the residuals, and in it by position: whitened rows are combinations of earlier ones."""
    block = fit.design.residual
    assert block is not None
    return np.lexsort((block.positions, block.codes))


def standardise(residual: np.ndarray, variance: np.ndarray, greatest: float | None = None) -> np.ndarray:
    """Divide by standard deviations; NaN in rows that a coefficient of their own fits exactly.

    What is nothing is so beside the greatest variance, which is known where these are some of the rows.
    """
    known = variance > NOTHING * (variance.max(initial=0.0) if greatest is None else greatest)
    return np.where(known, residual / np.sqrt(np.where(known, variance, 1.0)), np.nan)


def marginal_residual(eliminated: Eliminated) -> np.ndarray:
    """Rows' y − Xβ̂ (n,), times the roots of the weights."""
    return eliminated.rows.fixed[:, -1] - eliminated.rows.fixed[:, :-1] @ eliminated.beta


def marginal_variance(eliminated: Eliminated) -> np.ndarray:
    """Diagonal of Ṽ (n,), of weighted rows."""
    variance = np.ones(len(eliminated.rows.fixed))
    each = zip(eliminated.rows.incidences, eliminated.factors, eliminated.level_variances, strict=True)
    for incidence, L, prior in each:
        for membership in incidence.memberships:
            variance += prior[membership.codes] * ((membership.columns @ L) ** 2).sum(axis=1)
    return variance


def _marginal(fit: Fitted, kind: ResidualKind) -> np.ndarray:
    eliminated = eliminate_fit(fit)
    raw = marginal_residual(eliminated)
    if kind == "response":
        return raw / np.sqrt(fit.design.weights)
    variance = marginal_variance(eliminated)
    if kind == "standardised":
        X = eliminated.rows.fixed[:, :-1]
        variance = variance - np.einsum("ni,ij,nj->n", X, eliminated.covariance, X)
    return standardise(raw, fit.sigma**2 * variance)


def whitened(eliminated: Eliminated, order: np.ndarray | None = None) -> np.ndarray:
    """L⁻¹(y − Xβ̂) with Ṽ = LL', weighted rows (n,), each row given those before it in its part of the data.

    Parameters
    ----------
    eliminated : Eliminated
        The fit.
    order : int array, shape (n,), optional
        Which row comes after which; as in the data by default.

    Notes
    -----
    Rows are taken some hundred at a time. What earlier blocks of the same independent part say of its random effects is
    carried along as their conditional mean and covariance, so that the largest matrices are effects by effects and
    block by block. The result is that of a Cholesky root of Ṽ, whatever the size of the blocks.
    """
    raw = marginal_residual(eliminated)
    parts = eliminated.components
    order = np.arange(len(raw)) if order is None else order
    order = order[np.argsort(parts[order], kind="stable")]
    rows_of = np.split(order, np.cumsum(np.bincount(parts))[:-1])
    found = np.empty(len(raw))
    for rows in rows_of:
        found[rows] = _whiten_part(eliminated, rows, raw[rows])
    return found


def _whiten_part(eliminated: Eliminated, rows: np.ndarray, raw: np.ndarray) -> np.ndarray:
    incidences = [incidence.rows(rows) for incidence in eliminated.rows.incidences]
    present = [incidence.levels_present() for incidence in incidences]
    is_related = list(map(eliminated.is_related, range(len(incidences))))
    m = sum(
        (incidence.n_levels if related else len(levels)) * incidence.k
        for levels, incidence, related in zip(present, incidences, is_related, strict=True)
    )
    if m > MOST_EFFECTS and len(rows) > BLOCK:
        raise ArgumentError(
            f"kind is 'cholesky', and {m:,} random effects hang together through crossed grouping factors: whitening "
            f"their rows takes a dense matrix of that size, and {MOST_EFFECTS:,} are the most. Use "
            "kind='standardised'."
        )
    mean, covariance, found = np.zeros(m), np.eye(m), []
    for start in range(0, len(rows), BLOCK):
        own = slice(start, start + BLOCK)
        B = _scaled_columns([incidence.rows(own) for incidence in incidences], present, eliminated)
        towards = B @ covariance if start else B
        root = cholesky(np.eye(len(B)) + towards @ B.T, lower=True)
        innovation = solve_triangular(root, raw[own] - B @ mean, lower=True)
        found.append(innovation)
        if own.stop < len(rows):
            gain = solve_triangular(root, towards, lower=True)
            mean, covariance = mean + gain.T @ innovation, covariance - gain.T @ gain
    return np.concatenate(found)


def _scaled_columns(
    incidences: Sequence[Incidence], present: Sequence[np.ndarray], eliminated: Eliminated
) -> np.ndarray:
    """ZΛ of some rows, (rows, m), for the effects of the levels that are present in their part of the data."""
    parts = []
    for f, (incidence, levels, L) in enumerate(zip(incidences, present, eliminated.factors, strict=True)):
        B = np.zeros((incidence.n, len(levels), incidence.k))
        for membership in incidence.memberships:
            B[np.arange(incidence.n), np.searchsorted(levels, membership.codes)] += membership.columns @ L
        parts.append(eliminated.spread(f, levels, B).reshape(incidence.n, -1))
    return np.concatenate(parts, axis=1)
