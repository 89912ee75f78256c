"""Posterior density of covariance parameters under flat priors, as the NumPyro program evaluates it; arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array

from bayesmm.bayes.exploring.surface_programs import QUICK
from bayesmm.bayes.priors.resolution import resolve_priors
from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.bayes.programs.program import MarginalData, MarginalProgram
from bayesmm.covariance.layout import Layout, assemble_factors
from bayesmm.inside_jax import inside_jax
from bayesmm.marginal.residual.layout import ResidualLayout
from bayesmm.problem import Problem

STEP = 1e-3  # of differences; those of fourth order lose the fewest digits there


@dataclass(frozen=True, kw_only=True)
class FlatPosterior:
    """Log density of the covariance parameters, coefficients integrated out, with flat priors on all of them.

    Points are (θ, φ, log σ), θ on the conditioned columns of the likelihood, φ of a covariance of the residuals;
    without the last where σ is known.

    Attributes
    ----------
    program, data : MarginalProgram, MarginalData
        The NumPyro program of flat priors, and its argument.
    layout : Layout
        What the entries of θ are.
    known_sigma : float or None
        The residual standard deviation where it is known.
    residual : ResidualLayout or None
        What φ is of.
    """

    program: MarginalProgram
    data: MarginalData
    layout: Layout
    known_sigma: float | None
    residual: ResidualLayout | None

    def evaluate(self, point: np.ndarray) -> float:
        """Compute the log density at (θ, φ, log σ)."""
        theta, public, sigma = self._split(point)
        with inside_jax():
            return float(_evaluate(self.program, self.layout, self.data, theta, public, sigma))

    def slopes(self, point: np.ndarray) -> np.ndarray:
        """Differentiate it by every entry of the point, by differences: what is compiled for values serves them too."""

        def slope(step: np.ndarray) -> float:
            near, far = (self.evaluate(point + s * step) - self.evaluate(point - s * step) for s in (1.0, 2.0))
            return (8.0 * near - far) / (12.0 * STEP)

        return np.array([slope(step) for step in STEP * np.eye(len(point))])

    def factors(self, point: np.ndarray) -> tuple[list[np.ndarray], np.ndarray, float]:
        """Read off factors F (k, k) with Var(b) = FF', public parameters of the residuals (f,), and σ."""
        theta, public, sigma = self._split(point)
        roots = self.data.products.effect_roots
        factors = assemble_factors(np, theta, self.layout)
        found = [sigma * np.linalg.solve(np.asarray(T), Lambda) for T, Lambda in zip(roots, factors, strict=True)]
        return found, np.zeros(0) if public is None else public, sigma

    def _split(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, float]:
        psi, sigma = (point[:-1], float(np.exp(point[-1]))) if self.known_sigma is None else (point, self.known_sigma)
        if self.residual is None:
            return psi, None, sigma
        t = len(psi) - self.residual.n_phi
        return psi[:t], np.asarray(self.residual.public(np, psi[t:])), sigma


def build_flat_posterior(problem: Problem) -> FlatPosterior:
    """Bind the marginal program with flat priors on coefficients, standard deviations, correlations and σ.

    Raises
    ------
    PriorError
        If that posterior is improper.
    """
    priors = resolve_priors("flat", problem.design)
    program, data = bind_marginal(problem, priors)
    return FlatPosterior(
        program=program,
        data=data,
        layout=problem.layout,
        known_sigma=problem.known_sigma,
        residual=None if problem.design.residual is None else problem.residual_rows.layout,
    )


@partial(jax.jit, static_argnums=(0, 1), compiler_options=QUICK)
def _evaluate(
    program: MarginalProgram, layout: Layout, data: MarginalData, theta: Any, public: Any, sigma: Any
) -> Array:
    conditioned = assemble_factors(jnp, theta, layout)
    relative = [solve_triangular(T, Lambda) for T, Lambda in zip(data.products.effect_roots, conditioned, strict=True)]
    return program.log_likelihood(data, [sigma * Lambda for Lambda in relative], sigma, residual=public)
