"""The posterior density of the spreads under flat priors, and its mode on different scales; arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array
from scipy.optimize import minimize

from bayesmm.bayes.binding import bind_marginal
from bayesmm.bayes.program import MarginalData, MarginalProgram
from bayesmm.bayes.resolution import resolve_priors
from bayesmm.bayes.start import level_errors
from bayesmm.design.design import Design
from bayesmm.design.labels import Labels
from bayesmm.marginal.covariance import Layout, assemble_factors
from bayesmm.marginal.crossproducts import CrossProducts

FLOOR = 1e-5  # of the standard error that a level's own data give: where the pole of a density at zero is cut
FLAT_ENOUGH = 1e-7  # slope of a log density along θ and log σ that ends a search


@dataclass(frozen=True, kw_only=True)
class FlatPosterior:
    """Log density of the spreads, coefficients integrated out, with flat priors on all of them.

    Points are (θ, log σ), θ on the conditioned columns of the likelihood; θ alone where σ is known.

    Attributes
    ----------
    program, data : MarginalProgram, MarginalData
        The NumPyro program of flat priors, and its argument.
    layout : Layout
        What the entries of θ are.
    floors : tuple of array, shapes (k,)
        By grouping factor, standard deviations as good as zero, in units of σ.
    known_sigma : float or None
        The residual standard deviation where it is known.
    """

    program: MarginalProgram
    data: MarginalData
    layout: Layout
    floors: tuple[np.ndarray, ...]
    known_sigma: float | None

    def evaluate(self, point: np.ndarray, power: float = 0.0) -> tuple[float, np.ndarray]:
        """Compute the log density with its gradient by the point.

        Parameters
        ----------
        point : array, shape (t + 1,) or (t,)
            (θ, log σ).
        power : float
            The density is multiplied by this power of every standard deviation, and of σ: 0 leaves it that of
            standard deviations, −1 makes it that of variances and 1 that of logarithms, up to a constant.
        """
        with jax.enable_x64(True):
            value, gradient = _evaluate(
                self.program, self.layout, self.data, point, power, self.floors, self.known_sigma
            )
            return float(value), np.asarray(gradient)

    def find_mode(
        self, start: np.ndarray, power: float = 0.0, inverse_curvature: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Climb from a point to the nearest peak; return it, and the inverse curvature there."""

        def downhill(point: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self.evaluate(point, power)
            return -value, -gradient

        options = {"gtol": FLAT_ENOUGH, "hess_inv0": inverse_curvature}
        found = minimize(downhill, start, jac=True, method="BFGS", options=options)
        inverse = 0.5 * (found.hess_inv + found.hess_inv.T)
        return found.x, inverse

    def spreads(self, point: np.ndarray) -> tuple[list[np.ndarray], float]:
        """Read off factors F (k, k) with Var(b) = FF', and σ."""
        theta, sigma = (point[:-1], float(np.exp(point[-1]))) if self.known_sigma is None else (point, self.known_sigma)
        roots = self.data.products.effect_roots
        factors = assemble_factors(np, theta, self.layout)
        return [sigma * np.linalg.solve(np.asarray(T), L) for T, L in zip(roots, factors, strict=True)], sigma


def build_flat_posterior(
    design: Design, labels: Labels, products: CrossProducts, layout: Layout, *, sigma: float | None
) -> FlatPosterior:
    """Bind the marginal program with flat priors on coefficients, standard deviations, correlations and σ.

    Raises
    ------
    PriorError
        If that posterior is improper.
    """
    priors = resolve_priors("flat", design, labels, sigma=sigma)
    program, data = bind_marginal(labels, products, priors)
    floors = tuple(FLOOR * level_errors(block, design.weights) for block in design.blocks)
    return FlatPosterior(program=program, data=data, layout=layout, floors=floors, known_sigma=sigma)


@partial(jax.jit, static_argnums=(0, 1))
def _evaluate(
    program: MarginalProgram,
    layout: Layout,
    data: MarginalData,
    point: Any,
    power: Any,
    floors: Sequence[Any],
    known_sigma: Any,
) -> tuple[Array, Array]:
    def log_density(at: Array) -> Array:
        theta, log_sigma = (at[:-1], at[-1]) if known_sigma is None else (at, jnp.log(known_sigma))
        sigma = jnp.exp(log_sigma)
        conditioned = assemble_factors(jnp, theta, layout)
        relative = [solve_triangular(T, L) for T, L in zip(data.products.effect_roots, conditioned, strict=True)]
        logs = [
            0.5 * jnp.log((L**2).sum(axis=1) + floor**2) + log_sigma for L, floor in zip(relative, floors, strict=True)
        ]
        change = sum((each.sum() for each in logs), log_sigma if known_sigma is None else 0.0)
        return program.log_likelihood(data, [sigma * L for L in relative], sigma) + power * change

    return jax.value_and_grad(log_density)(point)
