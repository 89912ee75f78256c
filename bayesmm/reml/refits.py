"""The same design fitted to many responses, from the estimates of one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayesmm.covariance.layout import Layout, assemble_factors, held_theta, parts, stack_factors
from bayesmm.covariance.public import exact_signs, read_covariance
from bayesmm.covariance.structure import STEP, lower_triangular
from bayesmm.errors import EstimationError
from bayesmm.marginal.likelihood.evaluation import Evaluated
from bayesmm.marginal.many.resampled import ResampledLevels
from bayesmm.marginal.many.side_by_side import (
    Evaluations,
    evaluate_each,
    evaluate_resampled,
    profile_resampled,
    profile_together,
)
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.responses import Responses
from bayesmm.reml.criterion import NOISE, Criterion
from bayesmm.reml.estimate import estimate
from bayesmm.reml.predicted import predict_minima
from bayesmm.reml.screen import has_further_basins, is_light, look_around
from bayesmm.reml.search import SAME, find_minimum
from bayesmm.reml.side_by_side import Points, minimise_side_by_side

TOGETHER = 2**19  # numbers in the largest array of evaluations side by side
TOLERANCE = 1e-10  # of a search by itself: θ is right to a hundred-thousandth of its standard error
SETTLED = 1e-7  # of the criterion, what a further step would gain at a minimum that was predicted
FEW = 4  # steps from there
WORTH_IT = 20  # responses from which on predicting their minima costs less than it saves
NEAR_BOUNDARY = 1e-2  # smallest singular value of Λ, relative to the largest or to one, below which it is looked closer


@dataclass(frozen=True, kw_only=True)
class Refits:
    """Estimates from m responses.

    Attributes
    ----------
    theta : array, shape (m, t)
        On the conditioned columns; NaN, like all else, where there is no maximum, or none was reached.
    criterion : array, shape (m,)
        −2 log likelihood.
    sigma : array, shape (m,)
        Residual standard deviations.
    beta : array, shape (m, p)
        Fixed effects of the kept columns.
    """

    theta: np.ndarray
    criterion: np.ndarray
    sigma: np.ndarray
    beta: np.ndarray

    @property
    def converged(self) -> np.ndarray:
        """Which have estimates (m,)."""
        return np.isfinite(self.criterion)


def refit(criterion: Criterion, responses: Responses, start: np.ndarray) -> Refits:
    """Fit each response as `bayesmm.reml.estimate.estimate` would.

    Parameters
    ----------
    criterion : Criterion
        Of the design with a response whose estimates are known.
    responses : Responses
        Of the same design.
    start : array, shape (t,)
        Those estimates, θ on the conditioned columns.

    Notes
    -----
    Each search begins at the estimates that are known, or where a polynomial through what all responses have in common
    predicts the minimum. Where the design is taken apart all searches are made side by side. What then is no minimum
    beyond doubt, or is near the boundary, is searched on by itself, and left there if it is a saddle.
    The likelihood of all responses is looked at in the places where the search of one response looks for basins: a
    response that has a second basin there, or a lower value than at its minimum, is searched anew, from all its basins.
    """
    m = len(responses)
    found = _Found(criterion, responses)
    if criterion.has_many_effects:  # basins are many, and narrow
        for i in range(m):
            found.search(i, None)
        return found.refits
    is_inside = not held_theta(start, criterion.layout).any()
    start = off_boundary(start, criterion.layout)
    if not responses.columns.is_apart:
        near = predict_minima(criterion, responses, start) if is_inside and m >= WORTH_IT else None
        for i in range(m):
            if near is None or not found.settle(i, near.theta[i], near.hessian[i]):
                found.search(i, start)
    else:
        size = max(TOGETHER // _size(responses), 1)
        for first in range(0, m, size):
            found.search_together(np.arange(first, min(first + size, m)), start)
    further = np.zeros(m, bool)
    for look in look_around(criterion, start):
        values = np.stack(
            [profile_together(responses, L, criterion.sigma, criterion.restriction).value for L in look.factors]
        )
        further |= [
            has_further_basins(own, look, value - SAME) for own, value in zip(values.T, found.value, strict=True)
        ]
    for i in np.flatnonzero(further).tolist():
        found.search(i, None)
    return found.refits


def refit_resampled(criterion: Criterion, resampled: ResampledLevels, start: np.ndarray) -> tuple[Refits, np.ndarray]:
    """Fit data sets of resampled levels, side by side from one start.

    Returns
    -------
    Refits
        θ on the columns of the design.
    is_final : array of bool, shape (m,)
        Of which data sets these are the estimates beyond doubt; the others are to be searched by themselves: near the
        boundary, or with a further basin.
    """
    m, products = len(resampled), resampled.columns
    start = off_boundary(start, criterion.layout)

    def evaluations(thetas: np.ndarray, which: np.ndarray) -> Evaluations:
        own = resampled if len(which) == m else resampled.take(which)
        with np.errstate(all="ignore"):  # a step too long overflows
            return evaluate_resampled(own, thetas, criterion.sigma, criterion.restriction, criterion.layout)

    def objective(thetas: np.ndarray, which: np.ndarray) -> Points:
        at = evaluations(thetas, which)
        value = at.profiles.value
        return Points(value, at.gradient, at.curvature, NOISE * np.maximum(1.0, np.abs(value)))

    ends = minimise_side_by_side(objective, np.tile(start, (m, 1)))
    at = evaluations(ends.x, np.arange(m)).profiles
    is_final = ends.is_minimum & ~_is_near_boundary(ends.x, criterion.layout)
    for look in look_around(criterion, start):
        values = np.stack(
            [profile_resampled(resampled, L, criterion.sigma, criterion.restriction).value for (L,) in look.factors]
        )
        pairs = zip(values.T, at.value, strict=True)
        is_final &= ~np.array([has_further_basins(own, look, value - SAME) for own, value in pairs])
    df = products.n - criterion.restriction * products.p
    sigma = np.sqrt(at.residual_square / df) if criterion.sigma is None else np.full(m, criterion.sigma)
    beta = products.fixed_origin + np.linalg.solve(products.fixed_root, at.beta.T).T
    return Refits(theta=ends.x, criterion=at.value, sigma=sigma, beta=beta), is_final


def refit_alone(criterion: Criterion, start: np.ndarray) -> Refits:
    """Fit data that share nothing with others: from one start, and from all basins if there is a further one."""
    found = _Found(criterion, _only(criterion.products))
    if criterion.has_many_effects:
        found.search(0, None)
        return found.refits
    start = off_boundary(start, criterion.layout)
    found.search(0, start)
    if found.refits.converged[0] and is_light(criterion):
        screen = criterion.screen
        for look in look_around(criterion, start):
            values = screen.values([np.stack(each) for each in zip(*look.factors, strict=True)])
            if has_further_basins(values, look, found.value[0] - SAME):
                found.search(0, None)
                break
    return found.refits


def _only(products: CrossProducts) -> Responses:
    """Take the response of a design as the only one of several."""
    return Responses(
        columns=products,
        cross=tuple(K[:, -1:] for K in products.cross),
        squares=products.gram[-1:, -1],
        origins=products.fixed_origin[None],
        levels=products.levels,
        effects=products.effects,
    )


def _size(responses: Responses) -> int:
    """Numbers in the largest array of one evaluation."""
    p, k = responses.origins.shape[1], max(len(K) for K in responses.cross)
    m = sum(K.shape[0] * K.shape[2] for K in responses.cross)
    return m * (p + 1 + (k if responses.levels is not None else m))


class _Found:
    """What the searches have found so far."""

    def __init__(self, criterion: Criterion, responses: Responses) -> None:
        self._criterion, self._responses = criterion, responses
        m, p = responses.origins.shape
        self.value, self._theta = np.full(m, np.nan), np.full((m, _n_theta(criterion.layout)), np.nan)
        self._residual_square, self._beta = np.full(m, np.nan), np.full((m, p), np.nan)

    @property
    def refits(self) -> Refits:
        """On the user's columns."""
        criterion, products = self._criterion, self._criterion.products
        if criterion.sigma is None:
            sigma = np.sqrt(self._residual_square / (products.n - criterion.restriction * products.p))
        else:
            sigma = np.where(np.isfinite(self.value), criterion.sigma, np.nan)
        beta = self._responses.origins + np.linalg.solve(products.fixed_root, self._beta.T).T
        return Refits(theta=self._theta, criterion=self.value, sigma=sigma, beta=beta)

    def search(self, i: int, start: np.ndarray | None) -> None:
        """Search by itself: from one start, or from one in each basin."""
        own = replace(self._criterion, products=self._responses[i])
        try:
            minimum = estimate(own).minimum if start is None else find_minimum(own, start, tolerance=TOLERANCE)
        except (EstimationError, np.linalg.LinAlgError):
            return self._forget(i)
        if not minimum.converged:
            return self._forget(i) if start is None else self.search(i, None)
        return self._keep(i, minimum.x, minimum.evaluation.detail)

    def settle(self, i: int, theta: np.ndarray, hessian: np.ndarray) -> bool:
        """Go from a predicted minimum by the Hessian predicted there; say whether that ends at a minimum inside."""
        own = replace(self._criterion, products=self._responses[i])
        if not np.linalg.eigvalsh(hessian)[0] > 0.0:
            return False
        for _ in range(FEW):
            at = own.evaluate(theta)
            step = np.linalg.solve(hessian, at.gradient)
            if not np.isfinite(step).all() or not np.isfinite(at.value):
                return False
            if 0.5 * at.gradient @ step < SETTLED:
                self._keep(i, theta, at)
                return not _is_near_boundary(theta[None], own.layout)[0]
            theta = theta - step
        return False

    def _keep(self, i: int, theta: np.ndarray, at: Evaluated) -> None:
        self.value[i], self._theta[i] = at.value, theta
        self._residual_square[i], self._beta[i] = at.fixed.residual_square, at.fixed.beta

    def _forget(self, i: int) -> None:
        for each in (self.value, self._theta, self._residual_square, self._beta):
            each[i] = np.nan

    def search_together(self, which: np.ndarray, start: np.ndarray) -> None:
        """Search side by side from one start, and go on alone where that is not the end."""
        criterion, responses = self._criterion, self._responses.take(which)

        def objective(thetas: np.ndarray, some: np.ndarray) -> Points:
            own = responses if len(some) == len(which) else responses.take(some)
            with np.errstate(all="ignore"):  # a step too long overflows
                at = evaluate_each(own, thetas, criterion.sigma, criterion.restriction, criterion.layout)
            value = at.profiles.value
            return Points(value, at.gradient, at.curvature, NOISE * np.maximum(1.0, np.abs(value)))

        ends = minimise_side_by_side(objective, np.tile(start, (len(which), 1)))
        with np.errstate(all="ignore"):
            at = evaluate_each(responses, ends.x, criterion.sigma, criterion.restriction, criterion.layout).profiles
        self.value[which], self._theta[which] = at.value, ends.x
        self._residual_square[which], self._beta[which] = at.residual_square, at.beta
        for i in np.flatnonzero(~ends.is_minimum):
            self.search(which[i], start)
        for i in np.flatnonzero(ends.is_minimum & _is_near_boundary(ends.x, criterion.layout)):
            self.search(which[i], ends.x[i])


def off_boundary(theta: np.ndarray, layout: Layout) -> np.ndarray:
    """θ nearby from which each variance may grow: at zero a slope in θ says nothing."""
    if not held_theta(theta, layout).any():
        return theta
    moved = []
    for piece, own in parts(theta, layout):
        if piece.structure.held(own, piece.k).any():
            (L,) = assemble_factors(np, own, ((piece._replace(start=0, stop=piece.k),),))
            own = piece.structure.nearest(lower_triangular(np.hstack([L, STEP * np.eye(piece.k)])))
        moved.append(own)
    return np.concatenate(moved)


def public_values_together(theta: np.ndarray, sigma: np.ndarray, criterion: Criterion) -> np.ndarray:
    """Read standard deviations, correlations and σ of several θ (m, t), in the order of `PublicParameters`."""
    values = []
    for L, T, pieces in zip(
        stack_factors(theta, criterion.layout), criterion.products.effect_roots, criterion.layout, strict=True
    ):
        M = np.linalg.solve(T, L) * sigma[:, None, None]
        sd, cor = read_covariance(np, M @ M.swapaxes(1, 2), pieces)
        values += [sd, exact_signs(np, cor)]
    return np.concatenate([*values, sigma[:, None]], axis=1)


def _n_theta(layout: Layout) -> int:
    return sum(piece.n_theta for pieces in layout for piece in pieces)


def _is_near_boundary(thetas: np.ndarray, layout: Layout) -> np.ndarray:
    near = np.zeros(len(thetas), bool)
    for L, pieces in zip(stack_factors(thetas, layout), layout, strict=True):
        for piece in pieces:
            values = np.linalg.svd(L[:, piece.inside, piece.inside], compute_uv=False)
            near |= values[:, -1] < NEAR_BOUNDARY * np.maximum(values[:, 0], 1.0)
    return near
