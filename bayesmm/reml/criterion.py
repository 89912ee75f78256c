"""The likelihood of one design as an objective for the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from bayesmm.covariance.layout import Layout, map_theta, scale_theta
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import Evaluated, Slopes, evaluate, evaluate_slopes
from bayesmm.marginal.likelihood.likelihood import Method
from bayesmm.marginal.likelihood.screening import Screen
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.reml.optimise import Evaluation

Engine = Literal["numpy", "jax"]

MANY = 0.8  # effects for each row
NOISE = 4e-14  # relative rounding error of what one evaluation sums
SATURATED = 1e-8  # share of the response that is left, from which on it is asked whether any will be
FARTHER = 10.0
STEP = 1e-5  # of a central difference of gradients, in sizes of θ
WIDE_STEP = 1e-3  # the same where gradients are by iteration, to fewer digits


class Derivatives(NamedTuple):
    """The criterion at one θ, with its Hessian, and ∂r²/∂θ."""

    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    residual_square_gradient: np.ndarray


@dataclass(frozen=True)
class Criterion:
    """−2 log likelihood of one design as a function of θ.

    Attributes
    ----------
    products : CrossProducts
        Cross-products, NumPy arrays.
    layout : Layout
        Covariance pieces per grouping factor.
    method : {"reml", "ml"}
        Whether the fixed effects are integrated or profiled out.
    sigma : float, optional
        Residual standard deviation where it is known.
    engine : {"numpy", "jax"}
        What computes: NumPy, or JAX compiled for its default device.
    """

    products: CrossProducts
    layout: Layout
    method: Method
    sigma: float | None = None
    engine: Engine = "numpy"

    @property
    def restriction(self) -> float:
        """1 for REML, 0 for ML."""
        return float(self.method == "reml")

    @property
    def degrees_of_freedom(self) -> float:
        """What r² is divided by for σ̂²: n − p where fixed effects are integrated out, n where they are profiled out."""
        return float(self.products.n - self.restriction * self.products.p)

    @property
    def has_many_effects(self) -> bool:
        """Whether fixed and random effects are nearly as many as the rows: maxima are then many, and narrow."""
        return self._n_effects >= MANY * self.products.n

    @property
    def is_crowded(self) -> bool:
        """Whether they are as many, and may explain each row with nothing left to a σ that is estimated."""
        return self.sigma is None and self._n_effects >= self.products.n

    @property
    def _n_effects(self) -> int:
        products = self.products
        return int(products.p) + sum(G.shape[0] * G.shape[2] for G in products.diagonal)

    @cached_property
    def screen(self) -> Screen:
        """Values alone, of many θ at once."""
        return Screen(self.products, self.sigma, self.restriction)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the data alone: what computes is no data, and is made anew where it is first asked for."""
        return {name: value for name, value in vars(self).items() if name not in ("_program", "screen")}

    @cached_property
    def _program(self) -> Callable[[np.ndarray], Evaluated]:
        restriction = self.restriction
        if self.engine == "jax" and self.products.probing is None:
            from bayesmm.marginal.in_jax.compiled import compile_evaluation

            return compile_evaluation(self.products, self.sigma, restriction, self.layout)

        def run(theta: np.ndarray) -> Evaluated:
            with np.errstate(all="ignore"):  # a step too long overflows; the search takes a shorter one
                return evaluate(host, theta, self.products, self.sigma, restriction, layout=self.layout)

        return run

    def evaluate(self, theta: np.ndarray) -> Evaluated:
        """Evaluate with all that follows from the elimination; NumPy arrays."""
        return self._program(theta)

    def slopes(self, theta: np.ndarray) -> Slopes | Evaluated:
        """Evaluate without the curvature, where that spares anything."""
        if self.engine == "jax" and self.products.probing is None:
            return self.evaluate(theta)  # which is compiled already
        with np.errstate(all="ignore"):
            return evaluate_slopes(host, theta, self.products, self.sigma, self.restriction, layout=self.layout)

    def __call__(self, theta: np.ndarray) -> Evaluation:
        """Evaluate for the search, with a curvature that is near the Hessian, and what it lacks where that is known."""
        at = self.evaluate(theta)
        return Evaluation(
            float(at.value),
            at.gradient,
            at.curvature,
            is_exact=False,
            lacking=None if self.has_many_effects else at.lacking,  # far from such maxima the Hessian leads astray
            noise=self.noise(at),
            detail=at,
        )

    def exactly(self, theta: np.ndarray) -> Evaluation:
        """Evaluate with the Hessian itself, by differences of gradients where need be, which takes longer."""
        at = self(theta)
        if not np.isfinite(at.value):
            return at
        return replace(at, hessian=self.derivatives(theta, at.detail).hessian, is_exact=True, lacking=None)

    def noise(self, at: Evaluated) -> float:
        """Estimate the rounding error of the value: r² is a difference of squares of the response."""
        products = self.products
        lost = 0.0 if products.is_apart else products.n * products.gram[-1, -1] / at.fixed.residual_square
        return NOISE * max(1.0, abs(float(at.value)), float(lost))

    def escapes(self, theta: np.ndarray, at: Evaluation) -> bool:
        """Whether θ is so far out that only the residual is left to fall, and it falls without end.

        Then fixed and random effects explain every row, and r² goes to zero as 1/θ²: there is no maximum with σ > 0.
        """
        residual_square = at.detail.fixed.residual_square
        if not self.is_crowded or residual_square > SATURATED * self.products.gram[-1, -1]:
            return False
        return bool(
            self.evaluate(scale_theta(theta, FARTHER, self.layout)).fixed.residual_square
            < 2.0 * residual_square / FARTHER**2
        )

    def limit(self, theta: np.ndarray) -> float:
        """Value farther out on the same ray; lower still, beyond all bounds, where that falls by more than rounding."""
        here, farther = (float(self.evaluate(scale_theta(theta, scale, self.layout)).value) for scale in (1.0, FARTHER))
        return -np.inf if farther < here - 1.0 else farther

    @property
    def step(self) -> float:
        """Step of a central difference of gradients, in sizes of θ."""
        return STEP if self.products.probing is None else WIDE_STEP

    def sizes(self, theta: np.ndarray) -> np.ndarray:
        """How large a change of each entry is small, one at least: θ far out moves in proportion."""
        return map_theta(lambda piece, own: piece.structure.sizes(own, piece.k), theta, self.layout)

    def derivatives(self, theta: np.ndarray, at: Evaluated | None = None) -> Derivatives:
        """Value, gradient and Hessian, and ∂r²/∂θ; `at` is the evaluation there, if it was made.

        Where what the curvature lacks is not known, the Hessian is made of central differences of gradients: of exact
        ones good to nine digits.
        """
        if at is None or (at.lacking is None and self.engine == "numpy" and self.products.is_apart):
            at = self.evaluate(theta)
        if at.lacking is not None:
            hessian = at.curvature + at.lacking()
            return Derivatives(float(at.value), at.gradient, hessian, at.residual_square_gradient)
        steps = self.step * self.sizes(theta)
        ends = [(self.slopes(theta + e), self.slopes(theta - e)) for e in np.diag(steps)]
        hessian = np.zeros((len(theta),) * 2)
        for row, (up, down), h in zip(hessian, ends, steps, strict=True):
            row[:] = (up.gradient - down.gradient) / (2.0 * h)
        return Derivatives(float(at.value), at.gradient, 0.5 * (hessian + hessian.T), at.residual_square_gradient)
