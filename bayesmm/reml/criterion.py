"""The likelihood of one design as an objective for the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from bayesmm.marginal import host
from bayesmm.marginal.covariance import Layout
from bayesmm.marginal.crossproducts import CrossProducts
from bayesmm.marginal.evaluation import Evaluated, evaluate
from bayesmm.marginal.likelihood import Method
from bayesmm.reml.optimise import Evaluation

Engine = Literal["numpy", "jax"]

STEP = 1e-5  # of a central difference of gradients, in θ of order one


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

    @cached_property
    def _program(self) -> Callable[[np.ndarray], Evaluated]:
        restriction = float(self.method == "reml")
        if self.engine == "jax":
            from bayesmm.marginal.compiled import compile_evaluation

            return compile_evaluation(self.products, self.sigma, restriction, self.layout)

        def run(theta: np.ndarray) -> Evaluated:
            with np.errstate(all="ignore"):  # a step too long overflows; the search takes a shorter one
                return evaluate(host, theta, self.products, self.sigma, restriction, layout=self.layout)

        return run

    def evaluate(self, theta: np.ndarray) -> Evaluated:
        """Evaluate with all that follows from the elimination; NumPy arrays."""
        return self._program(theta)

    def __call__(self, theta: np.ndarray) -> Evaluation:
        """Evaluate for the search, with a curvature that is near the Hessian."""
        at = self.evaluate(theta)
        return Evaluation(float(at.value), at.gradient, at.curvature, is_exact=False, detail=at)

    def derivatives(self, theta: np.ndarray) -> Derivatives:
        """Value, gradient and Hessian, and ∂r²/∂θ.

        The Hessian is made of central differences of exact gradients, good to nine digits.
        """
        at = self.evaluate(theta)
        ends = [(self.evaluate(theta + e), self.evaluate(theta - e)) for e in STEP * np.eye(len(theta))]
        hessian = np.array([(up.gradient - down.gradient) / (2.0 * STEP) for up, down in ends])
        return Derivatives(float(at.value), at.gradient, 0.5 * (hessian + hessian.T), at.residual_square_gradient)
