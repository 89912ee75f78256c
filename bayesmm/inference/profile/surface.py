"""The criterion as a function of θ and log σ, σ not profiled out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import scale_theta
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import evaluate
from bayesmm.marginal.likelihood.likelihood import FixedProfile, Held, hold_fixed
from bayesmm.reml.criterion import Criterion


class At(NamedTuple):
    """−2 log likelihood at one point of θ and log σ, σ not profiled out.

    Attributes
    ----------
    value : float
    gradient : array, shape (m,)
    hessian : array, shape (m, m)
        Average information with the curvature of ΛΛ': near the Hessian.
    fixed : FixedProfile
        Fixed effects, those that are held not held.
    noise : float
        Rounding error of the value.
    """

    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    fixed: FixedProfile
    noise: float


@dataclass(frozen=True)
class Surface:
    """−2 log (restricted) likelihood as a function of θ and, unless σ is known, log σ."""

    criterion: Criterion

    def split(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """θ and σ."""
        return (x, self.criterion.sigma) if self.criterion.sigma is not None else (x[:-1], np.exp(x[-1]))

    def join(self, theta: np.ndarray, sigma: float) -> np.ndarray:
        """Put θ and σ into one array (m,)."""
        return theta if self.criterion.sigma is not None else np.append(theta, np.log(sigma))

    def absolute(self, x: np.ndarray) -> np.ndarray:
        """θ of the factors times σ, with log σ: what changes little where σ alone does."""
        theta, sigma = self.split(x)
        return self.join(scale_theta(theta, sigma, self.criterion.layout), sigma)

    def relative(self, x: np.ndarray) -> np.ndarray:
        """Undo `absolute`."""
        theta, sigma = self.split(x)
        return self.join(scale_theta(theta, 1.0 / sigma, self.criterion.layout), sigma)

    def sizes(self, x: np.ndarray) -> np.ndarray:
        """How large a change of each coordinate is small."""
        sizes = self.criterion.sizes(self.split(x)[0])
        return sizes if self.criterion.sigma is not None else np.append(sizes, 1.0)

    def __call__(self, x: np.ndarray, held: Held | None = None) -> At:
        """Evaluate, with a combination of the fixed effects held or not."""
        criterion, (theta, sigma) = self.criterion, self.split(x)
        with np.errstate(all="ignore"):  # a step too long overflows; the search takes a shorter one
            at = evaluate(
                host, theta, criterion.products, sigma, criterion.restriction, layout=criterion.layout, held=held
            )
            if criterion.sigma is not None:
                return At(float(at.value), at.gradient, at.curvature, at.fixed, criterion.noise(at))
            fixed = at.fixed if held is None else hold_fixed(at.fixed, held)
            square = float(fixed.residual_square) / sigma**2
            t = len(theta)
            hessian = np.empty((t + 1, t + 1))
            hessian[:t, :t] = at.curvature
            hessian[:t, t] = hessian[t, :t] = -2.0 * at.residual_square_gradient / sigma**2
            hessian[t, t] = 4.0 * square
            gradient = np.append(at.gradient, 2.0 * (self.criterion.degrees_of_freedom - square))
        return At(float(at.value), gradient, hessian, at.fixed, criterion.noise(at))
