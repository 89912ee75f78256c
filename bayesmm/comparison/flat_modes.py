"""Modes of the posterior of covariance parameters under flat priors, on several scales, by the restricted likelihood.

Up to a constant the log posterior density of standard deviations is the restricted log-likelihood, whose gradient the
optimiser's code has in closed form: nothing is compiled to find them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import minimize

from bayesmm.bayes.exploring.start import level_errors
from bayesmm.covariance.layout import assemble_factors
from bayesmm.covariance.tangents import jacobians
from bayesmm.fit.fit import Fit
from bayesmm.reml.criterion import Criterion

FLOOR = 1e-5  # of the standard error that a level's own data give: where the pole of a density at zero is cut
FLAT_ENOUGH = 1e-7  # slope of a log density along θ and log σ that ends a search


@dataclass(frozen=True)
class FlatModes:
    """Densities of standard deviations, of variances and of logarithms, and their peaks.

    Points are (θ, φ, log σ), θ on the conditioned columns of the likelihood, φ of a covariance of the residuals;
    without the last where σ is known.

    Attributes
    ----------
    fit : Fit
        A REML fit.
    """

    fit: Fit

    def evaluate(self, point: np.ndarray, power: float) -> tuple[float, np.ndarray]:
        """Compute the log density, up to a constant, with its gradient by the point.

        Parameters
        ----------
        point : array, shape (t + f + 1,) or (t + f,)
            (θ, φ, log σ).
        power : float
            The density is multiplied by this power of every standard deviation, and of σ: 0 leaves it that of
            standard deviations, −1 makes it that of variances and 1 that of logarithms, up to a constant.

        Notes
        -----
        The gradient by log σ is r²/σ² − (n − p), and what the powers give.
        """
        n_theta, known = len(self.fit.theta), self.fit.problem.known_sigma
        psi = point if known is not None else point[:-1]
        sigma = known or float(np.exp(point[-1]))
        at = self.criterion_at(psi, sigma)
        logs, slopes = self._log_sds(psi[:n_theta])
        spreads = self._are_sds  # φ begins with logarithms of ratios to σ
        logs += float(psi[n_theta:] @ spreads)
        value, by_psi = -0.5 * float(at.value) + power * logs, -0.5 * at.gradient
        by_psi = by_psi + power * np.concatenate([slopes, spreads])
        if known is not None:
            return value, by_psi
        n_sds = 1 + int(spreads.sum()) + sum(len(block.sds) for block in self.fit.labels.blocks)
        design = self.fit.design
        df = design.n - len(design.kept)
        by_sigma = float(at.fixed.residual_square) / sigma**2 - df + power * n_sds
        return value + power * n_sds * float(point[-1]), np.append(by_psi, by_sigma)

    def criterion_at(self, psi: np.ndarray, sigma: float) -> Any:
        """Evaluate −2 restricted log-likelihood at (θ, φ) and σ, by the optimiser's code."""
        problem, residual = self.fit.problem, self.fit.estimate.residual
        if residual is not None:
            return residual.criterion.evaluate(psi, sigma=sigma)
        return Criterion(problem.products, problem.layout, "reml", sigma).evaluate(psi)

    @property
    def roots(self) -> Sequence[np.ndarray]:
        """What conditions the columns of the random effects, (k, k) of each grouping factor."""
        residual = self.fit.estimate.residual
        return self.fit.problem.products.effect_roots if residual is None else residual.criterion.rows.effect_roots

    @property
    def _are_sds(self) -> np.ndarray:
        """One for each entry of φ that is of a standard deviation, zero for the others, (f,)."""
        block = self.fit.design.residual
        if block is None:
            return np.zeros(0)
        return np.concatenate([np.array(block.are_sds, dtype=float), np.zeros(len(block.cor_names))])

    def find_mode(
        self, start: np.ndarray, power: float = 0.0, inverse_curvature: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Climb from a point to the nearest peak; return it, and the inverse curvature there."""

        def downhill(point: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self.evaluate(point, power)
            return -value, -gradient

        if not len(start):  # no parameter is free
            return start, np.zeros((0, 0))
        options = {"gtol": FLAT_ENOUGH, "hess_inv0": inverse_curvature}
        found = minimize(downhill, start, jac=True, method="BFGS", options=options)
        return found.x, 0.5 * (found.hess_inv + found.hess_inv.T)

    @cached_property
    def floors(self) -> tuple[np.ndarray, ...]:
        """By grouping factor, standard deviations (k,) as good as zero, in units of σ."""
        return tuple(FLOOR * level_errors(block, self.fit.design.weights) for block in self.fit.design.blocks)

    def _log_sds(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Sum of the logarithms of all free relative standard deviations, cut at the floors, with its gradient by θ."""
        total, slopes = 0.0, []
        layout = self.fit.problem.layout
        factors, changes = assemble_factors(np, theta, layout), jacobians(np, theta, layout)
        each = zip(factors, changes, self.roots, self.floors, layout, strict=True)
        for Lambda, change, T, floor, pieces in each:
            Lambda, change = np.linalg.solve(np.asarray(T), Lambda), np.linalg.solve(np.asarray(T), change)
            squares = (Lambda**2).sum(axis=1) + floor**2
            share = np.concatenate([np.full(p.k, p.structure.n_sds(p.k) / p.k) for p in pieces])  # of one for several
            total += 0.5 * float(share @ np.log(squares))
            slopes.append((change * Lambda).sum(axis=2) @ (share / squares))
        return total, np.concatenate([np.zeros(0), *slopes])
