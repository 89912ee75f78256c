"""Functions of the engine as compiled JAX programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from bayesmm.marginal import traced
from bayesmm.marginal.covariance import Layout
from bayesmm.marginal.crossproducts import CrossProducts
from bayesmm.marginal.likelihood import criterion

QUICK = {"xla_backend_optimization_level": 0}  # compiled as a whole: run op by op, every op would be compiled alone


def compiled(function: Callable, *arguments: Any) -> Any:
    """Compile in double precision, run, and give NumPy arrays back."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(function, compiler_options=QUICK)(*arguments))


def traced_criterion(layout: Layout, sigma: float | None = None) -> Callable[[Any, CrossProducts, float], Any]:
    """−2 log likelihood in JAX as a function of θ, the cross-products and the restriction."""

    def value(theta: Any, products: CrossProducts, restriction: float) -> Any:
        return partial(criterion, traced, layout=layout)(theta, products, sigma, restriction)

    return value
