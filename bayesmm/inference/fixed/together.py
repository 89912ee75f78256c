"""How sure the fixed effects of many refits are, all worked out side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from bayesmm.covariance.layout import held_theta
from bayesmm.inference.fitted import Df, Fitted
from bayesmm.inference.fixed.fixed_effects import FixedInference, SmallSample, Wald, infer_fixed_effects
from bayesmm.marginal.many.informed import Informed, inform_each
from bayesmm.marginal.many.side_by_side import evaluate_each
from bayesmm.marginal.sums.responses import Responses
from bayesmm.reml.criterion import STEP, Criterion
from bayesmm.reml.estimate import Estimate, estimate
from bayesmm.reml.refits import Refits

NOTHING = 1e-12  # share of the largest eigenvalue of an information matrix that is rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class _Refitted:
    """What inference on the fixed effects reads of a fit."""

    estimate: Estimate
    method: str
    n: int


def infer_together(criterion: Criterion, responses: Responses, found: Refits, df: Df) -> Iterator[FixedInference]:
    """Work out what tests of the fixed effects of each refit need.

    Parameters
    ----------
    criterion : Criterion
        Of the design.
    responses : Responses
        Those that were fitted.
    found : Refits
        Their estimates, one and all converged.
    df : {"satterthwaite", "kenward-roger", "residual", "normal"}
        As of `bayesmm.inference.fixed.fixed_effects.infer_fixed_effects`, with the information that is usual.

    Yields
    ------
    FixedInference
        Of one response after another, as a fit of it alone would give.

    Notes
    -----
    Where a design is taken apart, all refits are moved by the same small steps of θ and evaluated together: observed
    information from central differences of their gradients, expected information from those of Σ Z'PZ. A crossed
    design, and Kenward and Roger's correction for covariances that are no linear functions of their parameters, are
    worked out one by one.
    """
    is_linear = all(piece.structure.is_linear for pieces in criterion.layout for piece in pieces)
    whole = df in ("residual", "normal") or df == "satterthwaite" or is_linear
    if not criterion.products.is_apart or not whole:
        yield from _one_by_one(criterion, responses, found, df)
        return
    products, restriction = criterion.products, criterion.restriction
    root = np.linalg.inv(products.fixed_root)
    with_gram = df == "kenward-roger"
    at = inform_each(products, found.theta, restriction, criterion.layout, with_gram=with_gram)
    outer = found.sigma[:, None, None] * root
    plug_in = outer @ at.covariance @ outer.swapaxes(1, 2)
    if df in ("residual", "normal") or not products.p:
        degrees = float(products.n - products.p) if df == "residual" else np.inf
        for beta, own in zip(found.beta, plug_in, strict=True):
            yield Wald(beta=beta, covariance=own, degrees=degrees)
        return
    W = _expected(criterion, found, at) if with_gram else _observed(criterion, responses, found)
    inside = at.covariance[:, None] @ at.falls @ at.covariance[:, None]
    slopes = np.concatenate([outer[:, None] @ inside @ outer[:, None].swapaxes(2, 3), 2.0 * plug_in[:, None]], axis=1)
    covariance = _corrected(at, W, plug_in, outer) if with_gram else plug_in
    ordinary = root @ root.T
    for i in range(len(found.theta)):
        yield SmallSample(
            beta=found.beta[i],
            covariance=covariance[i],
            plug_in=plug_in[i],
            ordinary=ordinary,
            slopes=slopes[i],
            parameters=W[i],
            is_scaled=with_gram,
        )


def _corrected(at: Informed, W: np.ndarray, plug_in: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Φ_A (m, p, p) of Kenward & Roger, for covariances that are linear in their parameters."""
    V = W[:, :-1, :-1]
    inner = np.einsum("mst,msctd->mcd", V, at.gram)
    inner -= np.einsum("mst,mscd,mde,mtef->mcf", V, at.falls, at.covariance, at.falls, optimize=True)
    inner = at.covariance @ (0.5 * (inner + inner.swapaxes(1, 2))) @ at.covariance
    return plug_in + 2.0 * outer @ inner @ outer.swapaxes(1, 2)


def _steps(criterion: Criterion, thetas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return steps (m, t) of central differences, and which entries are free."""
    sizes = np.stack([criterion.sizes(theta) for theta in thetas])
    free = np.stack([~held_theta(theta, criterion.layout) for theta in thetas])
    return STEP * sizes, free


def _observed(criterion: Criterion, responses: Responses, found: Refits) -> np.ndarray:
    """Covariance of (θ, log σ) from the observed information, as `Estimate.parameter_covariance`."""
    m, t = found.theta.shape
    steps, free = _steps(criterion, found.theta)
    hessian, fall = np.zeros((m, t, t)), np.zeros((m, t))
    for j in range(t):
        ends = []
        for sign in (1.0, -1.0):
            moved = found.theta.copy()
            moved[:, j] += sign * steps[:, j]
            ends.append(evaluate_each(responses, moved, criterion.sigma, criterion.restriction, criterion.layout))
        up, down = ends
        hessian[:, j] = (up.gradient - down.gradient) / (2.0 * steps[:, j, None])
        fall[:, j] = (up.profiles.residual_square - down.profiles.residual_square) / (2.0 * steps[:, j])
    both = free[:, :, None] & free[:, None]
    block = 2.0 * _invert(np.where(both, 0.5 * (hessian + hessian.swapaxes(1, 2)), 0.0))
    W = np.zeros((m, t + 1, t + 1))
    W[:, :-1, :-1] = block
    if criterion.sigma is None:
        df = criterion.degrees_of_freedom
        slope = np.where(free, fall, 0.0) / (2.0 * df * found.sigma[:, None] ** 2)
        cross = (block @ slope[:, :, None])[..., 0]
        W[:, :-1, -1] = W[:, -1, :-1] = cross
        W[:, -1, -1] = (slope * cross).sum(axis=1) + 1.0 / (2.0 * df)
    return W


def _expected(criterion: Criterion, found: Refits, at: Informed) -> np.ndarray:
    """Return the same from the expected information: ½tr(PV_iPV_j) = −½⟨∂_iΨ, ∂_jK⟩."""
    m, t = found.theta.shape
    steps, free = _steps(criterion, found.theta)
    information = np.zeros((m, t + 1, t + 1))
    for j in range(t):
        ends = []
        for sign in (1.0, -1.0):
            moved = found.theta.copy()
            moved[:, j] += sign * steps[:, j]
            ends.append(
                inform_each(
                    criterion.products, moved, criterion.restriction, criterion.layout, with_gram=False
                ).expected
            )
        slopes = [(up - down) / (2.0 * steps[:, j, None, None]) for up, down in zip(*ends, strict=True)]
        information[:, :-1, j] = -0.5 * at.along(slopes)
    if criterion.sigma is None:
        information[:, :-1, -1] = information[:, -1, :-1] = at.along(at.expected)
        information[:, -1, -1] = 2.0 * criterion.degrees_of_freedom
    free = np.concatenate([free, np.full((m, 1), criterion.sigma is None)], axis=1)
    both = free[:, :, None] & free[:, None]
    return _invert(np.where(both, 0.5 * (information + information.swapaxes(1, 2)), 0.0))


def _invert(M: np.ndarray) -> np.ndarray:
    """Generalised inverses of symmetric matrices (m, t, t): zero where a parameter is held."""
    return np.linalg.pinv(M, rcond=NOTHING, hermitian=True)


def _one_by_one(criterion: Criterion, responses: Responses, found: Refits, df: Df) -> Iterator[FixedInference]:
    for i, theta in enumerate(found.theta):
        own = replace(criterion, products=responses[i])
        fit = _Refitted(estimate=estimate(own, theta), method=criterion.method, n=int(criterion.products.n))
        yield infer_fixed_effects(cast(Fitted, cast(Any, fit)), df)
