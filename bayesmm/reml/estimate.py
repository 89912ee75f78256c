"""From a minimum of the criterion to estimates on the user's scale; arrays only, no labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bayesmm.covariance.layout import Layout, assemble_factors, held_theta, raw_factor, start_theta
from bayesmm.covariance.public import read_covariance
from bayesmm.errors import EstimationError
from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import sandwich
from bayesmm.marginal.likelihood.evaluation import Evaluated, conditional_covariances, keep_off_zero
from bayesmm.reml.boundary import INVISIBLE, SINGULAR, null_directions, project
from bayesmm.reml.criterion import Criterion, Derivatives
from bayesmm.reml.monte_carlo import MonteCarlo, read_monte_carlo
from bayesmm.reml.optimise import Minimum
from bayesmm.reml.screen import is_seen_whole
from bayesmm.reml.search import Minima, find_minima, find_minimum
from bayesmm.reml.start import moment_start

if TYPE_CHECKING:  # loaded where residuals have a covariance, or effects are too many to be eliminated
    from bayesmm.marginal.stochastic.probing import Diagonal
    from bayesmm.reml.residual import ResidualEstimate


@dataclass(frozen=True, kw_only=True)
class PublicParameters:
    """Standard deviations and correlations with their joint covariance matrix, by the delta method.

    Attributes
    ----------
    values : array, shape (m,)
        Per grouping factor its free standard deviations, then its free correlations, those of each piece together; σ
        last.
    covariance : array, shape (m, m)
        Inverse information; rows of values on the boundary, known, or without positive variance there are NaN.
    on_boundary : array of bool, shape (m,)
        Which standard deviations are zero, and which correlations ±1 or undefined.
    """

    values: np.ndarray
    covariance: np.ndarray
    on_boundary: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalMaximum:
    """A maximum of the (restricted) likelihood that is not the highest one seen.

    Attributes
    ----------
    log_likelihood : float
        There, with lme4's constants.
    sigma : float
        Residual standard deviation, in units of the response.
    factors : tuple of arrays, shapes (k, k)
        Relative factors Λ on the user's columns, lower triangular; with zeros where it is on the boundary.
    residual : array, shape (f,), optional
        What residuals have where their variance changes with fitted values, which settle there: logarithms of ratios of
        standard deviations to σ and exponents, then correlations.
    """

    log_likelihood: float
    sigma: float
    factors: tuple[np.ndarray, ...]
    residual: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Point estimates of one design.

    Attributes
    ----------
    minimum : Minimum
        Where the search ended, θ on conditioned columns.
    criterion : float
        −2 log likelihood.
    sigma : float
        Residual standard deviation.
    beta, beta_covariance : arrays, shapes (p,), (p, p)
        Fixed effects of the kept columns.
    factors : tuple of arrays, shapes (k, k)
        Relative factors Λ on the user's columns, lower triangular.
    other_maxima : tuple of LocalMaximum
        What else the search saw, best first.
    n_screened : int
        Values that were looked at to find where to start.
    criterion_function : Criterion
        The objective, for what is worked out only when it is asked for; with the residuals' covariance as it was found.
    residual : ResidualEstimate, optional
        That covariance, where residuals have one.
    """

    minimum: Minimum
    criterion: float
    sigma: float
    beta: np.ndarray
    beta_covariance: np.ndarray
    factors: tuple[np.ndarray, ...]
    other_maxima: tuple[LocalMaximum, ...]
    n_screened: int
    criterion_function: Criterion
    residual: ResidualEstimate | None = None

    @property
    def coordinates(self) -> np.ndarray:
        """All covariance parameters as they are searched for: θ, those of the residuals, log σ."""
        phi = np.zeros(0) if self.residual is None else self.residual.phi
        return np.concatenate([self.minimum.x, phi, [np.log(self.sigma)]])

    @property
    def whiten(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """What makes columns of rows with independent residuals, where residuals have a covariance."""
        return None if self.residual is None else self.residual.whiten

    def public_values(self, coordinates: np.ndarray) -> np.ndarray:
        """Return standard deviations, correlations and σ at other coordinates; analytic in them."""
        log_sigma = coordinates[-1]
        t = len(self.minimum.x)
        values = public_values(coordinates[:t], log_sigma, self.criterion_function)
        if self.residual is None:
            return values
        return np.concatenate([values[:-1], self.residual.public_values(coordinates[t:-1], log_sigma), values[-1:]])

    @cached_property
    def public_parameters(self) -> PublicParameters:
        """Standard deviations and correlations on the user's columns, and their standard errors."""
        return read_public_parameters(self, self.parameter_covariance)

    @cached_property
    def parameter_covariance(self) -> np.ndarray:
        """Covariance of `coordinates` from the observed information; zero where held on a boundary."""
        if self.residual is not None:
            return invert_hessian(
                self.residual.derivatives(self.minimum.x),
                self.criterion_function,
                np.append(
                    held_theta(self.minimum.x, self.criterion_function.layout),
                    self.residual.layout.held(self.residual.phi),
                ),
                self.sigma,
            )
        # With r²(θ) the residual square, d = C(θ) + 2 df log σ + r²(θ)/σ² has ∂²d/∂θ∂log σ = −2 ∇r²/σ² and
        # ∂²d/∂(log σ)² = 4 df, and its Schur complement is the profiled Hessian. Entries of θ at zero stay there.
        criterion, theta = self.criterion_function, self.minimum.x
        derivatives = criterion.derivatives(theta, self.minimum.evaluation.detail)
        return invert_hessian(derivatives, criterion, held_theta(theta, criterion.layout), self.sigma)

    @cached_property
    def monte_carlo(self) -> MonteCarlo | None:
        """What the number of probes leaves open, where the log-determinant is by probes."""
        if self.criterion_function.products.probing is None:
            return None
        _, jacobian = differentiate_public_values(self)
        return read_monte_carlo(self.criterion_function, self.minimum, self.parameter_covariance, jacobian)

    @cached_property
    def modes(self) -> tuple[np.ndarray, ...]:
        """Conditional modes (q, k) of the random effects of each grouping factor."""
        at: Evaluated = self.minimum.evaluation.detail
        return tuple((T @ b).T for T, b in zip(self._back, at.modes, strict=True))

    @cached_property
    def mode_covariances(self) -> tuple[np.ndarray, ...]:
        """Their conditional covariances (q, k, k) given θ, σ and β."""
        at: Evaluated = self.minimum.evaluation.detail
        criterion, covariances = self.criterion_function, at.covariances
        if self._diagonal is not None:
            return tuple(self.sigma**2 * np.moveaxis(C, -1, 0) for C in self._diagonal.covariances)
        if covariances is None:
            factors = assemble_factors(np, self.minimum.x, criterion.layout)
            covariances = conditional_covariances(host, criterion.products, factors)
        return tuple(
            self.sigma**2 * np.moveaxis(sandwich(host, T.T, C), -1, 0)
            for T, C in zip(self._back, covariances, strict=True)
        )

    @cached_property
    def mode_errors(self) -> tuple[np.ndarray, ...] | None:
        """Monte Carlo errors (q, k) of the modes' standard errors, where the log-determinant is by probes."""
        if self._diagonal is None:
            return None
        found = []
        for C, error in zip(self._diagonal.covariances, self._diagonal.errors, strict=True):
            spread = np.sqrt(np.maximum(np.einsum("kkq->kq", C), 0.0))
            found.append(
                self.sigma * np.where(spread > 0.0, error / (2.0 * np.where(spread > 0.0, spread, 1.0)), 0.0).T
            )
        return tuple(found)

    @cached_property
    def _diagonal(self) -> Diagonal | None:
        """Conditional covariances over σ² on the user's columns, by probes."""
        criterion = self.criterion_function
        probing = criterion.products.probing
        if probing is None:
            return None
        factors = assemble_factors(np, self.minimum.x, criterion.layout)
        return probing.diagonal(keep_off_zero(host, factors), self._back)

    @cached_property
    def null_directions(self) -> tuple[np.ndarray, ...]:
        """Combinations of effects without variance (k, d), per grouping factor; d = 0 where the fit is not singular."""
        criterion = self.criterion_function
        conditioned = assemble_factors(np, self.minimum.x, criterion.layout)
        return tuple(
            null_directions(Lambda, T, pieces)
            for Lambda, T, pieces in zip(conditioned, criterion.products.effect_roots, criterion.layout, strict=True)
        )

    @property
    def _back(self) -> list[np.ndarray]:
        """From effects on conditioned columns to those on the user's (k, k): none where there is no variance."""
        conditioned = assemble_factors(np, self.minimum.x, self.criterion_function.layout)
        roots = self.criterion_function.products.effect_roots
        return [np.linalg.inv(T) @ project(Lambda) for T, Lambda in zip(roots, conditioned, strict=True)]


ZERO = 1e-6  # standard deviations, in units of σ on columns of norm √n, that are zero but for rounding
NEAR_LIMIT = 5e-8  # what a correlation of a singular factor may differ from its limit by rounding, in their distance
NO_ERROR = 1e-14  # of a value: a standard error that is rounding of none, of what is held
AT_LIMIT = 2.5e-13  # the same of any factor, where a standard error would be rounding
ABSORBED = 1e-9  # share of Σ Z_i'Ṽ⁻¹Z_i that counts as nothing: what fixed effects leave of it where they absorb it


def estimate(criterion: Criterion, start: np.ndarray | None = None) -> Estimate:
    """Minimise the criterion and read the estimates off the elimination there.

    Parameters
    ----------
    criterion : Criterion
        The objective.
    start : array, shape (k,), optional
        First θ on conditioned columns; by default one moment step from unit factors, or what a look at all sizes shows.

    Raises
    ------
    AbsorbedError
        If the restricted likelihood does not depend on some variance; only looked for without a start.
    """
    if start is None:
        needs_moments = _may_be_absorbed(criterion) or not is_seen_whole(criterion)
        moments = first_theta(criterion) if needs_moments else start_theta(criterion.layout)
        found = find_minima(criterion, moments)
        minimum = replace(found.lowest, n_evaluations=found.lowest.n_evaluations + needs_moments)
    else:
        minimum = find_minimum(criterion, start)
        found = Minima(minimum, (), 0)
    others = tuple(
        LocalMaximum(
            log_likelihood=-0.5 * other.evaluation.value,
            sigma=_sigma(criterion, other),
            factors=_raw_factors(criterion, other),
        )
        for other in found.others
    )
    return read_off(criterion, minimum, others, found.n_screened)


def read_off(
    criterion: Criterion, minimum: Minimum, other_maxima: tuple[LocalMaximum, ...], n_screened: int
) -> Estimate:
    """Read the estimates off the elimination at a minimum of the criterion.

    Parameters
    ----------
    criterion : Criterion
        The objective.
    minimum : Minimum
        Where the search ended.
    other_maxima : tuple of LocalMaximum
        What else it saw, best first.
    n_screened : int
        Values that were looked at to find where to start.
    """
    at: Evaluated = minimum.evaluation.detail._replace(lacking=None)  # which has arrays of the size of the sums
    minimum = replace(minimum, evaluation=replace(minimum.evaluation, detail=at, lacking=None))
    products = criterion.products
    sigma = _sigma(criterion, minimum)
    inverse_root = np.linalg.inv(products.fixed_root)
    return Estimate(
        minimum=minimum,
        criterion=minimum.evaluation.value,
        sigma=sigma,
        beta=products.fixed_origin + inverse_root @ at.fixed.beta,
        beta_covariance=sigma**2 * inverse_root @ at.fixed.covariance @ inverse_root.T,
        factors=_raw_factors(criterion, minimum),
        other_maxima=other_maxima,
        n_screened=n_screened,
        criterion_function=criterion,
    )


def _sigma(criterion: Criterion, minimum: Minimum) -> float:
    residual_square = minimum.evaluation.detail.fixed.residual_square
    return criterion.sigma or float(np.sqrt(residual_square / criterion.degrees_of_freedom))


def _raw_factors(criterion: Criterion, minimum: Minimum) -> tuple[np.ndarray, ...]:
    """Relative factors on the user's columns."""
    conditioned = assemble_factors(np, minimum.x, criterion.layout)
    return tuple(raw_factor(Lambda, T) for Lambda, T in zip(conditioned, criterion.products.effect_roots, strict=True))


class AbsorbedError(EstimationError):
    """REML cannot tell the variance of some effects, since fixed effects explain whatever they could.

    Attributes
    ----------
    factor : int
        Which grouping factor.
    directions : array, shape (k, d)
        Combinations of the user's effects whose variance the likelihood does not depend on; largest entries one.
    """

    def __init__(self, factor: int, directions: np.ndarray) -> None:
        super().__init__(factor, directions)
        self.factor, self.directions = factor, directions


def first_theta(criterion: Criterion) -> np.ndarray:
    """Take one moment step from unit factors.

    Raises
    ------
    AbsorbedError
        If the restricted likelihood does not depend on some variance.
    """
    unit = start_theta(criterion.layout)
    at = criterion.slopes(unit)
    products = criterion.products
    for f, (expected, pieces) in enumerate(zip(at.expected, criterion.layout, strict=True)):
        for start, stop, structure in pieces:
            inside = slice(start, stop), slice(start, stop)
            part, total = (structure.separate(M[inside]) for M in (expected, at.unrestricted[f]))
            if _is_positive(part - ABSORBED * total):
                continue
            root = np.linalg.cholesky(total)
            values, vectors = np.linalg.eigh(np.linalg.solve(root, np.linalg.solve(root, part).T))
            absorbed = values <= ABSORBED
            if absorbed.any():
                vectors = np.linalg.solve(root.T, vectors)
                T = products.effect_roots[f][start:stop, start:stop]
                found = np.eye(stop - start) if absorbed.all() else np.linalg.solve(T, vectors[:, absorbed])
                directions = np.zeros((len(expected), found.shape[1]))
                unit = np.linalg.norm(np.linalg.inv(T), axis=1)[:, None]
                found = np.where(np.abs(found) < INVISIBLE * unit, 0.0, found)
                directions[start:stop] = found / np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
                raise AbsorbedError(f, directions)
    return moment_start(at, unit, criterion.layout)


def _may_be_absorbed(criterion: Criterion) -> bool:
    """Whether fixed effects may give each level of some factor its own: they are as many as those that rows reach."""
    products = criterion.products
    if products.is_related or any(f == g for f, g in products.shape.pairs):  # columns of levels may depend on others
        return True
    reached = [int(np.count_nonzero(G.any(axis=(0, 1)))) for G in products.diagonal]
    return criterion.method == "reml" and products.p >= min(reached, default=0)


def _is_positive(M: np.ndarray) -> bool:
    """Whether a symmetric matrix is positive definite."""
    if len(M) == 1:
        return bool(M[0, 0] > 0.0)
    try:
        np.linalg.cholesky(M)
    except np.linalg.LinAlgError:
        return False
    return True


def read_public_parameters(found: Estimate, parameter_covariance: np.ndarray) -> PublicParameters:
    """Work out standard deviations and correlations, with the delta method in complex steps.

    Parameters
    ----------
    found : Estimate
        Where they are read off.
    parameter_covariance : array, shape (t + 1, t + 1)
        Of (θ, log σ).
    """
    criterion, theta, sigma = found.criterion_function, found.minimum.x, found.sigma
    values, jacobian = differentiate_public_values(found)
    covariance = jacobian @ parameter_covariance @ jacobian.T
    n = len(values) - 1 - (0 if found.residual is None else len(found.residual.phi))  # of random effects
    on_boundary = np.zeros(len(values), dtype=bool)
    on_boundary[:n] = _on_boundary(criterion, theta, values[:n], sigma)
    if found.residual is not None:
        on_boundary[n:-1] = found.residual.layout.held(found.residual.phi)
    unknown = on_boundary | ~(np.diag(covariance) > (NO_ERROR * np.abs(values)) ** 2)
    unknown[:n] |= _is_near_limit(criterion.layout, values[:n], AT_LIMIT)
    unknown[-1] |= criterion.sigma is not None
    covariance[unknown], covariance[:, unknown] = np.nan, np.nan
    return PublicParameters(values=values, covariance=covariance, on_boundary=on_boundary)


def differentiate_public_values(found: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """Read standard deviations, correlations and σ, and their derivatives (m, t + 1) by (θ, log σ)."""
    at, step = found.coordinates, 1e-30
    jacobian = np.stack([np.imag(found.public_values(at + 1j * step * e)) / step for e in np.eye(len(at))], axis=1)
    return found.public_values(at), jacobian


def _on_boundary(criterion: Criterion, theta: np.ndarray, values: np.ndarray, sigma: float) -> np.ndarray:
    """Find standard deviations of zero and correlations of ±1, whatever the units and origins of the columns.

    A standard deviation is zero where it is rounding beside what a factor of one in every direction would give. A
    correlation is ±1 only where its factor is singular: far from the origin all slopes and intercepts look alike.
    """
    edges: list[np.ndarray] = []
    near = _is_near_limit(criterion.layout, values, NEAR_LIMIT) | np.isnan(values)
    start = 0
    factors = assemble_factors(np, theta, criterion.layout)
    for Lambda, T, pieces in zip(factors, criterion.products.effect_roots, criterion.layout, strict=True):
        unit = np.sqrt((np.linalg.inv(T) ** 2).sum(axis=1))
        for piece in pieces:
            own, n = piece.structure.free_sds(np, unit[piece.inside]), piece.structure.n_sds(piece.k)
            edges.append(values[start : start + n] <= ZERO * sigma * own)
            start += n
        for piece in pieces:
            n = piece.structure.n_cors(piece.k)
            sizes = np.linalg.svd(Lambda[piece.inside, piece.inside], compute_uv=False)
            is_singular = sizes[piece.structure.rank(piece.k) - 1] < SINGULAR
            edges.append(near[start : start + n] & is_singular)
            start += n
    return np.concatenate([np.zeros(0, dtype=bool), *edges])


def public_values(theta: np.ndarray, log_sigma: complex, criterion: Criterion) -> np.ndarray:
    """Return standard deviations, correlations and σ; analytic in its arguments."""
    sigma = np.exp(log_sigma)
    values: list[np.ndarray] = []
    factors = assemble_factors(np, theta, criterion.layout)
    for Lambda, T, pieces in zip(factors, criterion.products.effect_roots, criterion.layout, strict=True):
        M = np.linalg.solve(T, Lambda)
        sd, correlations = read_covariance(np, M @ M.T, pieces)
        values += [sigma * sd, correlations]
    return np.concatenate([*values, np.atleast_1d(sigma)])


def _is_near_limit(layout: Layout, values: np.ndarray, near: float) -> np.ndarray:
    """Which of the public values are correlations at their limits, or nearer than a share of what lies between."""
    limits = [(-np.inf, np.inf)] * len(values)
    start = 0
    for pieces in layout:
        start += sum(piece.structure.n_sds(piece.k) for piece in pieces)
        for piece in pieces:
            n = piece.structure.n_cors(piece.k)
            limits[start : start + n] = [piece.structure.limits(piece.k)] * n
            start += n
    low, high = np.array(limits).reshape(-1, 2).T
    width = np.where(np.isinf(high), 1.0, high - low)
    return (values < low + near * width) | (values > high - near * width)


def invert_hessian(at: Derivatives, criterion: Criterion, held: np.ndarray, sigma: float) -> np.ndarray:
    """Covariance of all entries but σ, of which some are held, and log σ."""
    df, count = criterion.degrees_of_freedom, len(held)
    inner = np.flatnonzero(~held)
    covariance = np.zeros((count + 1,) * 2)
    block = 2.0 * np.linalg.pinv(at.hessian[np.ix_(inner, inner)], rcond=1e-12, hermitian=True)
    covariance[np.ix_(inner, inner)] = block
    if criterion.sigma is None:
        slope = np.zeros(count)
        slope[inner] = at.residual_square_gradient[inner] / (2.0 * df * sigma**2)  # d log σ̂ / dθ
        covariance[:-1, -1] = covariance[-1, :-1] = covariance[:-1, :-1] @ slope
        covariance[-1, -1] = slope @ covariance[:-1, :-1] @ slope + 1.0 / (2.0 * df)
    return covariance
