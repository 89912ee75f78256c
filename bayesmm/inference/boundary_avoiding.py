"""A standard deviation estimated away from zero: the likelihood times a power of it, at its highest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from bayesmm.covariance.layout import assemble_factors, parts, scale_theta
from bayesmm.covariance.public import read_covariance
from bayesmm.inference.fitted import Fitted
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import degrees_of_freedom

TINY = 1e-30  # step of a complex-step derivative
INSIDE = 0.3  # standard deviation, in units of σ on conditioned columns, where the search starts from the boundary
FAR = 1e3  # times the estimates, from where a search does not come back if there is no maximum
SAME = 1e-3  # of log sd
TOLERANCE = 1e-8  # of the gradient of −2 log likelihood


class Avoided(NamedTuple):
    """Where the penalised likelihood is highest.

    Attributes
    ----------
    sd : float
        There, in units of the response per unit of the effect's column; NaN if there is no maximum.
    deviance : float
        −2 log likelihood there, without the penalty.
    """

    sd: float
    deviance: float


@dataclass(frozen=True)
class PenalisedSd:
    """The likelihood of a fit, with a penalty on one of its standard deviations.

    Attributes
    ----------
    fit : Fitted
        REML or ML estimates.
    block, index : int
        Which grouping factor, and which of its standard deviations.
    """

    fit: Fitted
    block: int
    index: int

    @property
    def _criterion(self) -> Criterion:
        return self.fit.estimate.criterion_function

    def maximise(self, weight: float = 1.0) -> Avoided:
        """Maximise log likelihood + weight · log sd over all parameters.

        Parameters
        ----------
        weight : float
            Of the penalty: 1 is the boundary-avoiding estimate of Chung et al.

        Notes
        -----
        The penalty is a gamma density of shape 2 and a rate that goes to zero: it is zero only at zero, and has no
        scale of its own, so that the estimate follows a change of units.

        References
        ----------
        Chung, Rabe-Hesketh, Dorie, Gelman & Liu (2013), Psychometrika 78.
        """
        near, far = (self._search(weight, scale) for scale in (1.0, FAR))
        if not np.isclose(near[0], far[0], atol=SAME, rtol=0.0):
            return Avoided(np.nan, np.nan)
        return Avoided(float(np.exp(near[0])), near[1])

    def _search(self, weight: float, scale: float) -> tuple[float, float]:
        """Log sd and −2 log likelihood where a search ends that begins with effects so many times as large."""

        def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self._deviance(x)
            log_sd, slope = self._log_sd(x)
            return value - 2.0 * weight * log_sd, gradient - 2.0 * weight * slope

        found = minimize(objective, self._start(scale), jac=True, method="BFGS", options={"gtol": TOLERANCE})
        return self._log_sd(found.x)[0], self._deviance(found.x)[0]

    def _start(self, scale: float) -> np.ndarray:
        """Estimates times a number, but for effects on the boundary, which start inside."""
        criterion, theta = self._criterion, self.fit.estimate.minimum.x
        theta = np.concatenate(
            [
                piece.structure.scaled(piece.structure.start(piece.k), INSIDE, piece.k)
                if piece.structure.held(own, piece.k).any()
                else own
                for piece, own in parts(theta, criterion.layout)
            ]
        )
        theta = scale_theta(theta, scale, criterion.layout)
        return theta if criterion.sigma is not None else np.append(theta, np.log(self.fit.sigma))

    def _deviance(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """−2 log likelihood at θ and log σ, and its gradient."""
        criterion = self._criterion
        if criterion.sigma is not None:
            at = criterion.evaluate(x)
            return float(at.value), at.gradient
        sigma = float(np.exp(x[-1]))
        at = replace(criterion, sigma=sigma).evaluate(x[:-1])
        by_sigma = 2.0 * (degrees_of_freedom(criterion) - float(at.fixed.residual_square) / sigma**2)
        return float(at.value), np.append(at.gradient, by_sigma)

    def _log_sd(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Log of the standard deviation, and its gradient by complex steps."""
        steps = np.vstack([np.zeros(len(x)), np.eye(len(x))])
        values = np.array([self._complex_log_sd(x + 1j * TINY * step) for step in steps])
        return float(values[0].real), np.imag(values[1:]) / TINY

    def _complex_log_sd(self, x: np.ndarray) -> complex:
        criterion = self._criterion
        theta, log_sigma = (x, np.log(criterion.sigma)) if criterion.sigma is not None else (x[:-1], x[-1])
        L = assemble_factors(np, theta, criterion.layout)[self.block]
        M = np.linalg.solve(criterion.products.effect_roots[self.block], L)
        sd, _ = read_covariance(np, M @ M.T, criterion.layout[self.block])
        return log_sigma + np.log(sd[self.index])
