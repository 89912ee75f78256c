"""What the data tell of the covariance parameters: the covariance of their estimates, by either information."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmm.arguments import is_one_of, shorten
from bayesmm.covariance.layout import assemble_factors, held_theta
from bayesmm.covariance.tangents import tangents
from bayesmm.errors import ArgumentError
from bayesmm.inference.fitted import Fitted, Information
from bayesmm.reml.criterion import STEP, Criterion
from bayesmm.reml.estimate import Estimate

if TYPE_CHECKING:  # loaded where residuals have a covariance
    from bayesmm.marginal.residual.evaluation import ResidualEvaluated
    from bayesmm.reml.residual import ResidualEstimate

ROUNDING = 1e-14  # share of the largest eigenvalue of W that is only rounding


def parameter_covariance(fit: Fitted, information: Information) -> np.ndarray:
    """Estimate the covariance of (θ, log σ), θ on conditioned columns.

    Parameters
    ----------
    fit : Fit
        REML or ML estimates.
    information : {"expected", "observed"}
        Whose inverse it is: of the expected information, or of half the Hessian of −2 log likelihood at the estimates.

    Returns
    -------
    array, shape (t + 1, t + 1)
        Zero where a parameter is held on a boundary, or σ is known.

    Raises
    ------
    ArgumentError
        If `information` is neither.

    Notes
    -----
    At a maximum both change as tensors with the parameters, so that any function of the covariance parameters has the
    same standard error whichever way they are written.
    """
    check_information(information)
    found = fit.estimate
    if information == "observed":
        return found.parameter_covariance
    if found.residual is not None:
        return _invert_expected_residual(found, found.residual)
    return _invert_expected(found.criterion_function, found.minimum.x)


def root_directions(W: np.ndarray) -> np.ndarray:
    """F (t, r) with FF' = W: directions in which the estimate varies by one."""
    values, vectors = np.linalg.eigh(W)
    own = values > ROUNDING * max(values.max(initial=0.0), 0.0)
    return vectors[:, own] * np.sqrt(values[own])


def check_information(information: Any) -> None:
    """Refuse what is neither kind of information.

    Raises
    ------
    ArgumentError
        With the value seen.
    """
    if information is None or not is_one_of(information, ("expected", "observed")):
        raise ArgumentError(f"information is {shorten(information)}: give 'expected' or 'observed'.")


def _invert_expected(criterion: Criterion, theta: np.ndarray) -> np.ndarray:
    """Invert ½tr(PV_iPV_j), where V_i = ∂V/∂θ_i and the last parameter is log σ: V_σ = 2V.

    With K = Σ Z'PZ, in units of σ², tr(PV_iPV_j) = −⟨∂_iΨ, ∂_jK⟩, tr(PV_i P2V) = 2⟨∂_iΨ, K⟩, tr(P2VP2V) = 4 df: the
    derivatives of K, central differences of what every evaluation returns, are all it takes. P is V⁻¹ under ML.
    """
    layout = criterion.layout
    inner = np.flatnonzero(~held_theta(theta, layout))
    factors, ways = assemble_factors(np, theta, layout), tangents(np, theta, layout)

    def along(matrices: list[np.ndarray]) -> np.ndarray:
        """⟨M, ∂Ψ⟩ = 2⟨MΛ, ∂Λ⟩ of all factors."""
        return np.concatenate([2.0 * way.along(M @ L) for way, M, L in zip(ways, matrices, factors, strict=True)])

    steps = np.diag(criterion.step * criterion.sizes(theta))[inner]
    ends = [(criterion.slopes(theta + e).expected, criterion.slopes(theta - e).expected) for e in steps]
    slopes = [
        along([(up - down) / (2.0 * e.sum()) for up, down in zip(*each, strict=True)])
        for e, each in zip(steps, ends, strict=True)
    ]
    information = np.zeros((len(theta) + 1,) * 2)
    if len(inner):
        information[np.ix_(inner, inner)] = -0.5 * np.array(slopes)[:, inner]
    free = inner
    if criterion.sigma is None:
        information[:-1, -1] = information[-1, :-1] = along(criterion.slopes(theta).expected)
        information[-1, -1] = 2.0 * criterion.degrees_of_freedom
        free = np.append(inner, len(theta))
    return _invert_free(information, free)


def _invert_expected_residual(found: Estimate, residual: ResidualEstimate) -> np.ndarray:
    """Invert the same of (θ, φ, log σ): parameters of the residuals' covariance have ⟨∂_iR, Σ P_gg⟩ beside ⟨∂_iΨ, K⟩.

    See `bayesmm.marginal.residual.evaluation`.
    """
    from bayesmm.marginal.residual.evaluation import along_residual

    criterion, theta = residual.criterion, found.minimum.x
    psi, layout = np.concatenate([theta, residual.phi]), criterion.layout
    free = np.flatnonzero(~np.append(held_theta(theta, layout), residual.layout.held(residual.phi)))
    factors, ways = assemble_factors(np, theta, layout), tangents(np, theta, layout)
    slopes_of_rows = residual.layout.derivatives(residual.phi)

    def along(at: ResidualEvaluated) -> np.ndarray:
        own = [2.0 * way.along(M @ L) for way, M, L in zip(ways, at.expected, factors, strict=True)]
        return np.concatenate([*own, along_residual(at.expected_residual, slopes_of_rows)])

    information, here = np.zeros((len(psi) + 1,) * 2), criterion.evaluate(psi)
    if here.closed is not None:
        information[:-1, :-1] = 0.5 * here.closed.traces
    else:
        for i, e in zip(free, np.diag(STEP * criterion.sizes(psi))[free], strict=True):
            up, down = along(criterion.evaluate(psi + e)), along(criterion.evaluate(psi - e))
            information[i, :-1] = -0.5 * (up - down) / (2.0 * e.sum())
    if criterion.sigma is None:
        information[:-1, -1] = information[-1, :-1] = along(here)
        information[-1, -1] = 2.0 * found.criterion_function.degrees_of_freedom
        free = np.append(free, len(psi))
    return _invert_free(information, free)


def _invert_free(information: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Invert the part of what is free; zero elsewhere."""
    covariance = np.zeros_like(information)
    within = np.ix_(free, free)
    symmetric = 0.5 * (information + information.T)
    covariance[within] = np.linalg.pinv(symmetric[within], rcond=1e-12, hermitian=True)
    return covariance
