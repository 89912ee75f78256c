"""Functions of the engine as compiled JAX programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from designs import RandomDesign
from numpyro.infer.util import log_density

from bayesmm.covariance.layout import Layout
from bayesmm.marginal.in_jax import traced
from bayesmm.marginal.in_jax.density import FixedPrior
from bayesmm.marginal.in_jax.fixed_prior import condition_prior
from bayesmm.marginal.in_jax.padding import pad_products
from bayesmm.marginal.likelihood.likelihood import criterion
from bayesmm.marginal.sums.crossproducts import CrossProducts

QUICK = {"xla_backend_optimization_level": 0}  # compiled as a whole: run op by op, every op would be compiled alone


def compiled(function: Callable, *arguments: Any) -> Any:
    """Compile in double precision, run, and give NumPy arrays back."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(function, compiler_options=QUICK)(*arguments))


# As `compiled`, of a function whose first argument is a program: equal programs are compiled once.
compile_whole = partial(jax.jit, static_argnums=0, compiler_options=QUICK)


def density_of(program: Any, data: Any, sites: Any) -> float:
    """Log density of a NumPyro program in double precision, at values of its sites."""
    with jax.enable_x64(True):
        return float(_log_density(program, data, {name: np.asarray(value, float) for name, value in sites.items()}))


@compile_whole
def _log_density(program: Any, data: Any, sites: Any) -> Any:
    return log_density(program, (data,), {}, sites)[0]


def traced_criterion(layout: Layout, sigma: float | None = None) -> Callable[[Any, CrossProducts, float], Any]:
    """−2 log likelihood in JAX as a function of θ, the cross-products and the restriction."""

    def value(theta: Any, products: CrossProducts, restriction: float) -> Any:
        return partial(criterion, traced, layout=layout)(theta, products, sigma, restriction)

    return value


def padded(design: RandomDesign) -> CrossProducts:
    """Cross-products of the sizes that programs are compiled for."""
    return pad_products(design.products())


def prior_for(
    design: RandomDesign, kind: str, sampled: tuple[int, ...] = ()
) -> tuple[FixedPrior, np.ndarray, np.ndarray]:
    """Make a flat or a normal prior on all coefficients, as the density takes it and as mean and precision."""
    p = design.X.shape[1]
    root = np.random.default_rng(3).normal(size=(p, p)) + 2.0 * np.eye(p)
    mean, precision = (np.zeros(p), np.zeros((p, p))) if kind == "flat" else (np.linspace(-1, 2, p), root @ root.T)
    return condition_prior(padded(design), mean, precision, sampled), mean, precision
