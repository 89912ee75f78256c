"""The criterion of a design whose residuals have a covariance, as a function of θ and of the parameters φ of that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bayesmm.covariance.layout import Layout, map_theta
from bayesmm.design.design import Design
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.likelihood import HeldCoefficient, Method, criterion
from bayesmm.marginal.plan.plan import Plan
from bayesmm.marginal.residual.at_levels import evaluate_levels
from bayesmm.marginal.residual.evaluation import (
    Curved,
    ResidualEvaluated,
    curve_rows,
    curve_sums,
    evaluate_rows,
    evaluate_sums,
    evaluate_weights,
    value_of_weights,
)
from bayesmm.marginal.residual.layout import ResidualLayout, whitener
from bayesmm.marginal.residual.pattern_sums import StackSums, sum_patterns
from bayesmm.marginal.residual.weighted_sums import WeightedSums, sum_pieces, takes_less, weigh_rows
from bayesmm.marginal.residual.whitened import ResidualRows, whiten_at
from bayesmm.reml.criterion import NOISE, STEP, Derivatives
from bayesmm.reml.optimise import Evaluation

FARTHEST = 30.0  # of an entry of φ: e to this power is beyond any ratio of standard deviations
LARGEST = 300.0  # e to twice this power is a number still


@dataclass(frozen=True, kw_only=True)
class ResidualCriterion:
    """−2 log likelihood of one design as a function of (θ, φ).

    Attributes
    ----------
    rows : ResidualRows
        Of the design.
    plan : Plan or None
        Of its random effects.
    layout : Layout
        Their covariance pieces; empty where there are none.
    method : {"reml", "ml"}
        Whether the fixed effects are integrated or profiled out.
    sigma : float, optional
        Residual standard deviation where it is known.
    whitens : bool
        Whether rows are whitened at each evaluation whatever their sums would cost: r² is a difference of sums, and
        loses the digits by which random effects are larger than the residuals.
    design : Design, optional
        Of the rows, where their variances change with fitted values: those that the layout of `rows` has.
    """

    rows: ResidualRows
    plan: Plan | None
    layout: Layout
    method: Method
    sigma: float | None = None
    whitens: bool = False
    design: Design | None = None

    @property
    def restriction(self) -> float:
        """1 for REML, 0 for ML."""
        return float(self.method == "reml")

    @cached_property
    def sums(self) -> tuple[StackSums, ...]:
        """Sums over the patterns of whole groups, which are all that is needed without random effects."""
        return sum_patterns(self.rows.layout.stacks, self.rows.fixed)

    @cached_property
    def weighted(self) -> WeightedSums | None:
        """Sums by class, of chains, and beside random effects where they take less time than the rows."""
        if not self.layout:
            return sum_pieces(self.rows) if self.rows.layout.is_chain else None
        if self.whitens or self.plan is None or not takes_less(self.rows):
            return None
        return weigh_rows(self.rows, self.plan)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the data alone."""
        return {name: value for name, value in vars(self).items() if name not in ("sums", "weighted")}

    @property
    def degrees_of_freedom(self) -> float:
        """What r² is divided by for σ̂²."""
        return float(self.rows.n - self.restriction * self.rows.p)

    def evaluate(
        self, psi: np.ndarray, *, sigma: float | None = None, held: HeldCoefficient | None = None
    ) -> ResidualEvaluated:
        """Evaluate with all derivatives, at σ rather than with σ profiled out where one is given.

        Beyond an end of an entry that is not singular the criterion is flat.

        Raises
        ------
        numpy.linalg.LinAlgError
            If the covariance of some residuals is not positive definite, to rounding.
        """
        (theta, phi), rows = self.split(psi), self.rows
        sigma = self.sigma if sigma is None else sigma
        if not self.layout:
            at = evaluate_sums(phi, rows, self.sums, sigma, self.restriction, held)
        else:
            whitened = whiten_at(rows, phi, self.plan)
            at = evaluate_rows(theta, phi, rows, whitened, sigma, self.restriction, self.layout, held)
        return at._replace(curvature=self._bent(psi, at.curvature))

    def weighted_value(self, psi: np.ndarray) -> float:
        """Value alone, from `weighted`; infinite where R is not positive definite."""
        assert self.weighted is not None
        theta, phi = self.split(psi)
        try:
            with np.errstate(all="ignore"):
                if not self.layout:
                    return value_of_weights(phi, self.rows, self.weighted, self.sigma, self.restriction)
                products = self.weighted.products(phi)
                return float(criterion(host, theta, products, self.sigma, self.restriction, layout=self.layout))
        except np.linalg.LinAlgError:
            return np.inf

    def _bent(self, psi: np.ndarray, hessian: np.ndarray) -> np.ndarray:
        """Let the criterion bend by one in entries that it does not depend on, so that a search stays."""
        theta, phi = self.split(psi)
        held = self.rows.layout.held(phi)
        if not held.any():
            return hessian
        beyond = np.append(np.zeros(len(theta), dtype=bool), held)
        return np.where(beyond[:, None] | beyond, np.eye(len(psi)), hessian)

    def evaluate_pieces(self, psi: np.ndarray) -> ResidualEvaluated:
        """Evaluate from the fewest sums: all that a search needs."""
        if self.weighted is None:
            return self.evaluate(psi)
        theta, phi = self.split(psi)
        if self.layout:
            at = evaluate_levels(theta, phi, self.weighted, self.sigma, self.restriction, self.layout)
        else:
            at = evaluate_weights(phi, self.rows, self.weighted, self.sigma, self.restriction)
        return at._replace(curvature=self._bent(psi, at.curvature))

    def __call__(self, psi: np.ndarray) -> Evaluation:
        """Evaluate for the search; infinite where there is no likelihood."""
        nowhere = Evaluation(np.inf, np.zeros(len(psi)), np.eye(len(psi)), is_exact=False)
        if self.is_far(psi):
            return nowhere
        try:
            with np.errstate(all="ignore"):
                at = self.evaluate_pieces(psi)
        except np.linalg.LinAlgError:
            return nowhere
        return Evaluation(at.value, at.gradient, at.curvature, is_exact=False, noise=self.noise(at), detail=at)

    def is_far(self, psi: np.ndarray) -> bool:
        """Whether an entry of φ is beyond what means anything."""
        apart, away = self.rows.layout.reach(self.split(psi)[1])
        return apart > FARTHEST or away > LARGEST

    def noise(self, at: ResidualEvaluated) -> float:
        """Estimate the rounding error of the value."""
        return NOISE * max(1.0, abs(at.value), self.rows.n)

    def hessian(self, psi: np.ndarray, at: ResidualEvaluated) -> np.ndarray:
        """Hessian at ψ: exact without random effects, else what is near it."""
        if at.closed is None:
            return at.curvature
        return self._bent(psi, at.closed.straight + at.closed.bend())

    def exactly(self, psi: np.ndarray) -> Evaluation:
        """Evaluate with the exact Hessian, which is available without random effects, and takes longer."""
        at = self(psi)
        if not np.isfinite(at.value) or at.detail.closed is None:
            return at
        return replace(at, hessian=self.hessian(psi, at.detail), is_exact=True)

    def curve(self, psi: np.ndarray, weights: np.ndarray, second: list[np.ndarray]) -> Curved:
        """Work out what small-sample methods need; see `bayesmm.marginal.residual.evaluation.curve_sums`."""
        theta, phi = self.split(psi)
        if not self.layout:
            return curve_sums(phi, self.rows, self.sums, weights, second)
        return curve_rows(theta, phi, self.rows, whiten_at(self.rows, phi, self.plan), self.layout, weights, second)

    def split(self, psi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """θ and φ."""
        t = len(psi) - self.rows.layout.n_phi
        return psi[:t], psi[t:]

    def sizes(self, psi: np.ndarray) -> np.ndarray:
        """How large a change of each entry is small."""
        theta = self.split(psi)[0]
        own = map_theta(lambda piece, part: piece.structure.sizes(part, piece.k), theta, self.layout)
        return np.concatenate([own, self.rows.layout.sizes])

    def derivatives(self, psi: np.ndarray) -> Derivatives:
        """Value, gradient, Hessian and ∂r²; where there are random effects, the Hessian by differences of gradients."""
        at = self.evaluate_pieces(psi)
        if at.closed is not None:
            hessian = self.hessian(psi, at)
            return Derivatives(at.value, at.gradient, hessian, at.residual_square_gradient)
        steps = STEP * self.sizes(psi)
        ends = [(self.evaluate_pieces(psi + e), self.evaluate_pieces(psi - e)) for e in np.diag(steps)]
        hessian = np.array(
            [(up.gradient - down.gradient) / (2.0 * h) for (up, down), h in zip(ends, steps, strict=True)]
        )
        return Derivatives(at.value, at.gradient, 0.5 * (hessian + hessian.T), at.residual_square_gradient)


@dataclass(frozen=True, kw_only=True)
class ResidualEstimate:
    """The covariance of the residuals that a search found.

    Attributes
    ----------
    phi : array, shape (f,)
        Its parameters.
    criterion : ResidualCriterion
        The objective of all covariance parameters.
    """

    phi: np.ndarray
    criterion: ResidualCriterion

    @property
    def layout(self) -> ResidualLayout:
        """Groups, and their covariance."""
        return self.criterion.rows.layout

    @cached_property
    def covariances(self) -> list[np.ndarray]:
        """R (m, o, o) of the patterns of each stack, over σ²."""
        return self.layout.covariances(np, self.phi)

    @property
    def public(self) -> np.ndarray:
        """Logarithms of ratios of standard deviations and exponents, then correlations (f,)."""
        return self.layout.public(np, self.phi)

    def whiten(self, columns: np.ndarray) -> np.ndarray:
        """L⁻¹ times columns (n, c) of the rows, R = LL'."""
        return whitener(self.layout, self.phi)[0](columns)

    def derivatives(self, theta: np.ndarray) -> Derivatives:
        """Of the objective at θ and φ."""
        return self.criterion.derivatives(np.concatenate([theta, self.phi]))

    def public_values(self, phi: np.ndarray, log_sigma: Any) -> np.ndarray:
        """Return standard deviations of strata, exponents and correlations; analytic in both arguments."""
        layout = self.layout
        public = layout.public(np, phi)
        s = public[: layout.n_spreads]
        return np.concatenate([np.where(layout.are_sds, np.exp(s + log_sigma), s), public[layout.n_spreads :]])
