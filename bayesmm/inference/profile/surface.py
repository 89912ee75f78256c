"""The criterion as a function of all covariance parameters and log σ, σ not profiled out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import scale_theta
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import evaluate
from bayesmm.marginal.likelihood.likelihood import FixedProfile, Held, HeldCoefficient, hold_fixed
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import Estimate
from bayesmm.reml.residual import ResidualCriterion

NOTHING = FixedProfile(np.float64(np.nan), np.float64(np.nan), np.zeros(0), np.zeros((0, 0)))  # where is no likelihood


class At(NamedTuple):
    """−2 log likelihood at one point of ψ and log σ, σ not profiled out.

    Attributes
    ----------
    value : float
    gradient : array, shape (m,)
    hessian : array, shape (m, m)
        Average information with the curvature of ΛΛ': near the Hessian.
    fixed : FixedProfile
        Fixed effects on conditioned columns, those that are held not held.
    root, origin : arrays, shapes (p, p), (p,)
        What makes the user's columns of these, and the coefficients of those that `fixed` are less.
    noise : float
        Rounding error of the value.
    """

    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    fixed: FixedProfile
    root: np.ndarray
    origin: np.ndarray
    noise: float

    def beta(self, held: HeldCoefficient | None = None) -> np.ndarray:
        """Coefficients (p,) of the user's columns, one of them held or none."""
        fixed = self.fixed if held is None else hold_fixed(self.fixed, self.on_conditioned(held))
        return self.origin + np.linalg.solve(self.root, fixed.beta) if len(self.root) else np.zeros(0)

    def on_conditioned(self, held: HeldCoefficient) -> Held:
        """Write what is held on the columns of `fixed`."""
        return held.on_conditioned(self.root, self.origin)


@dataclass(frozen=True)
class Surface:
    """−2 log (restricted) likelihood as a function of ψ and, unless σ is known, log σ.

    ψ is θ, followed by φ where the residuals have a covariance.

    Attributes
    ----------
    criterion : Criterion
        Of θ, at the estimate of φ.
    residual : ResidualCriterion or None
        Of ψ, where the residuals have a covariance.
    """

    criterion: Criterion
    residual: ResidualCriterion | None = None

    @property
    def n_theta(self) -> int:
        """Entries of θ, which come first."""
        return sum(piece.n_theta for pieces in self.criterion.layout for piece in pieces)

    def locate(self, estimate: Estimate) -> np.ndarray:
        """Where an estimate is (m,)."""
        return estimate.coordinates if self.criterion.sigma is None else estimate.coordinates[:-1]

    def split(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """ψ and σ."""
        return (x, self.criterion.sigma) if self.criterion.sigma is not None else (x[:-1], np.exp(x[-1]))

    def absolute(self, x: np.ndarray) -> np.ndarray:
        """θ of the factors times σ, with all else: what changes little where σ alone does."""
        return self.scaled(x, self.split(x)[1])

    def relative(self, x: np.ndarray) -> np.ndarray:
        """Undo `absolute`."""
        return self.scaled(x, 1.0 / self.split(x)[1])

    def scaled(self, x: np.ndarray, scale: float) -> np.ndarray:
        """Take random effects so many times as large over σ."""
        t = self.n_theta
        return np.concatenate([scale_theta(x[:t], scale, self.criterion.layout), x[t:]])

    def sizes(self, x: np.ndarray) -> np.ndarray:
        """How large a change of each coordinate is small."""
        sizes = (self.criterion if self.residual is None else self.residual).sizes(self.split(x)[0])
        return sizes if self.criterion.sigma is not None else np.append(sizes, 1.0)

    def __call__(self, x: np.ndarray, held: HeldCoefficient | None = None) -> At:
        """Evaluate, with a coefficient held or not; infinite where there is no likelihood."""
        (psi, sigma), m = self.split(x), len(x)
        with np.errstate(all="ignore"):  # a step too long overflows; the search takes a shorter one
            try:
                at = self._evaluate(psi, sigma, held)
            except np.linalg.LinAlgError:
                at = None
            if at is None:
                return At(np.inf, np.zeros(m), np.eye(m), NOTHING, np.zeros((0, 0)), np.zeros(0), 0.0)
            if self.criterion.sigma is not None:
                return at.whole
            fixed = at.whole.fixed if held is None else hold_fixed(at.whole.fixed, at.whole.on_conditioned(held))
            square = float(fixed.residual_square) / sigma**2
            hessian = np.empty((m, m))
            hessian[:-1, :-1] = at.whole.hessian
            hessian[:-1, -1] = hessian[-1, :-1] = -2.0 * at.residual_square_gradient / sigma**2
            hessian[-1, -1] = 4.0 * square
            gradient = np.append(at.whole.gradient, 2.0 * (self.criterion.degrees_of_freedom - square))
        return at.whole._replace(gradient=gradient, hessian=hessian)

    def _evaluate(self, psi: np.ndarray, sigma: float, held: HeldCoefficient | None) -> _AtSigma | None:
        """Evaluate at one σ; None where an entry of φ means nothing."""
        if self.residual is not None:
            if self.residual.is_far(psi):
                return None
            of = self.residual.evaluate(psi, sigma=sigma, held=held)
            hessian, noise = self.residual.hessian(psi, of), self.residual.noise(of)
            whole = At(of.value, of.gradient, hessian, of.fixed, of.root, of.origin, noise)
            return _AtSigma(whole, of.residual_square_gradient)
        criterion, products = self.criterion, self.criterion.products
        here = None if held is None else held.on_conditioned(products.fixed_root, products.fixed_origin)
        at = evaluate(host, psi, products, sigma, criterion.restriction, layout=criterion.layout, held=here)
        root, origin = products.fixed_root, products.fixed_origin
        whole = At(float(at.value), at.gradient, at.curvature, at.fixed, root, origin, criterion.noise(at))
        return _AtSigma(whole, at.residual_square_gradient)


class _AtSigma(NamedTuple):
    """The criterion at one σ, and ∂r²/∂ψ."""

    whole: At
    residual_square_gradient: np.ndarray


def open_surface(estimate: Estimate) -> Surface:
    """Return the surface on which an estimate is a minimum."""
    residual = estimate.residual
    return Surface(estimate.criterion_function, None if residual is None else residual.criterion)
