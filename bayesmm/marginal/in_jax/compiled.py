"""The evaluation compiled by JAX for its default device: for accelerators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from bayesmm.covariance.layout import Layout
from bayesmm.inside_jax import inside_jax
from bayesmm.marginal.in_jax import traced
from bayesmm.marginal.likelihood.evaluation import Evaluated, evaluate
from bayesmm.marginal.sums.crossproducts import CrossProducts

_evaluate = jax.jit(partial(evaluate, traced), static_argnames="layout")


def compile_evaluation(
    products: CrossProducts, sigma: float | None, restriction: float, layout: Layout
) -> Callable[[np.ndarray], Evaluated]:
    """Put the cross-products on the device; the result evaluates there and returns NumPy arrays."""
    with inside_jax():
        on_device: Any = jax.device_put(products)

    def run(theta: np.ndarray) -> Evaluated:
        with inside_jax():
            return jax.tree.map(np.asarray, _evaluate(theta, on_device, sigma, restriction, layout=layout))

    return run
