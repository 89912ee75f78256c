"""The likelihood of one design as an objective on the host: compiled once per shape, float64 in its own context."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from bayesmm.marginal.covariance import Layout
from bayesmm.marginal.crossproducts import CrossProducts
from bayesmm.marginal.likelihood import (
    Derivatives,
    Method,
    PointEffects,
    criterion_derivatives,
    criterion_slope,
    point_effects,
)
from bayesmm.reml.optimise import Evaluation

# Small programs: half the compile time, and some 0.2 ms more per evaluation. Large ones are worth optimising.
QUICK_COMPILE = {"xla_backend_optimization_level": 0}
LARGE = 20_000  # entries of all cross-products and index lists together
STEP = 1e-5  # of a central difference of gradients, in θ of order one

_derivatives = jax.jit(criterion_derivatives, static_argnames="layout", compiler_options=QUICK_COMPILE)
_slope = jax.jit(criterion_slope, static_argnames="layout")
_point_effects_quick = jax.jit(point_effects, compiler_options=QUICK_COMPILE)
_point_effects = jax.jit(point_effects)


@dataclass(frozen=True)
class Criterion:
    """−2 log likelihood of one design as a function of θ.

    Attributes
    ----------
    products : CrossProducts
        Cross-products, arrays of any kind.
    layout : Layout
        Covariance pieces per grouping factor.
    method : {"reml", "ml"}
        Whether the fixed effects are integrated or profiled out.
    sigma : float, optional
        Residual standard deviation where it is known.
    """

    products: CrossProducts
    layout: Layout
    method: Method
    sigma: float | None = None

    @cached_property
    def is_large(self) -> bool:
        """Whether an evaluation costs so much that the search should do without exact Hessians."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.products)) > LARGE

    @cached_property
    def _on_device(self) -> CrossProducts:
        with jax.enable_x64(True):
            return jax.device_put(self.products)

    def _run(self, program: Callable, theta: np.ndarray) -> Any:
        restriction = float(self.method == "reml")
        with jax.enable_x64(True):
            result = program(theta, self._on_device, self.sigma, restriction, layout=self.layout)
            return jax.tree.map(np.asarray, result)

    def __call__(self, theta: np.ndarray) -> Evaluation:
        """Evaluate for the optimiser: with the Hessian where it is cheap."""
        if self.is_large:
            slope = self._run(_slope, theta)
            return Evaluation(float(slope.value), slope.gradient, None)
        at = self._run(_derivatives, theta)
        return Evaluation(float(at.value), at.gradient, at.hessian)

    def derivatives(self, theta: np.ndarray) -> Derivatives:
        """Value, gradient and Hessian, and r² with its gradient; NumPy arrays.

        Large designs take central differences of exact gradients, good to nine digits.
        """
        if not self.is_large:
            return self._run(_derivatives, theta)
        at = self._run(_slope, theta)
        ends = [(self._run(_slope, theta + e), self._run(_slope, theta - e)) for e in STEP * np.eye(len(theta))]
        hessian: Any = np.array([(up.gradient - down.gradient) / (2.0 * STEP) for up, down in ends])
        slopes: Any = np.array([(up.residual_square - down.residual_square) / (2.0 * STEP) for up, down in ends])
        return Derivatives(at.value, at.gradient, 0.5 * (hessian + hessian.T), at.residual_square, slopes)

    def effects(self, conditioned: list[np.ndarray]) -> PointEffects:
        """Predict fixed and random effects with their covariances; NumPy arrays."""
        program = _point_effects if self.is_large else _point_effects_quick
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, program(self._on_device, conditioned))
