"""Information criteria: of the marginal likelihood, and of the one given the random effects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayesmm.covariance.layout import assemble_factors, held_theta
from bayesmm.design.predictors import build_predictors
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import Evaluated, evaluate
from bayesmm.marginal.residual.layout import solve_residuals, whitener
from bayesmm.marginal.sums.totals import residual_gram
from bayesmm.presenting.numbers import write_number
from bayesmm.presenting.parts import Column, Table, notes
from bayesmm.presenting.report import Report
from bayesmm.reml.residual import ResidualEstimate
from bayesmm.reml.residual_search import read_at

STEP = 1e-5  # of central differences of exact gradients and effects, in sizes of θ
FLAT = 1e-12  # share of the largest curvature below which a direction of θ is undetermined


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Criteria:
    """Information criteria of a fit; smaller is better.

    Made by `Fit.criteria`. Prints as a report.

    Attributes
    ----------
    method : {"reml", "ml"}
        Of the fit: REML criteria compare models of the same fixed effects only.
    n, n_parameters : int
        Rows; parameters that are estimated.
    loglik, conditional_loglik : float
        Log-likelihood of the fit (restricted for REML), and of the responses given the random effects as predicted.
    hat_trace : float
        ρ, trace of the matrix that turns responses into fitted values, as if the variances were known.
    uncertainty : float
        What estimating the covariance parameters adds to it.
    n_residual : int
        Parameters of the residuals that are estimated: σ, and those of their covariance if they have one.
    formula : str
        Of the model.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    >>> print(str(fit.criteria()).splitlines()[0])
    Information criteria: Reaction ~ Days + (Days | Subject)
    """

    method: str
    n: int
    n_parameters: int
    loglik: float
    conditional_loglik: float
    hat_trace: float
    uncertainty: float
    n_residual: int
    formula: str

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        return -2.0 * self.loglik + 2.0 * self.n_parameters

    @property
    def aicc(self) -> float:
        """Akaike's with Hurvich & Tsai's correction for few rows; NaN where there are too few for it."""
        k = self.n_parameters
        return self.aic + 2.0 * k * (k + 1) / (self.n - k - 1) if self.n > k + 1 else np.nan

    @property
    def bic(self) -> float:
        """Schwarz's criterion, with the rows as n."""
        return -2.0 * self.loglik + np.log(self.n) * self.n_parameters

    @property
    def effective_df(self) -> float:
        """Effective degrees of freedom of the conditional criterion."""
        return self.hat_trace + self.uncertainty + self.n_residual

    @property
    def caic(self) -> float:
        """The conditional criterion of Greven & Kneib; with the parameters of correlated residuals, Overholser & Xu."""
        return -2.0 * self.conditional_loglik + 2.0 * self.effective_df

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a criterion: value, loglik, and df, the parameters or effective degrees of freedom that it counts."""
        k, marginal, conditional = float(self.n_parameters), self.loglik, self.conditional_loglik
        return pd.DataFrame(
            {
                "value": [self.aic, self.aicc, self.bic, self.caic],
                "loglik": [marginal, marginal, marginal, conditional],
                "df": [k, k, k, self.effective_df],
            },
            index=pd.Index(["AIC", "AICc", "BIC", "cAIC"], name="criterion"),
        )

    def report(self) -> Report:
        """Write the report.

        Returns
        -------
        Report
            Prints as text, as wide as the terminal; a notebook shows its table.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
        >>> print(str(fit.criteria().report()).splitlines()[0])
        Information criteria: Reaction ~ Days + (Days | Subject)
        """
        said = [
            "AIC, AICc and BIC ask about new levels of the grouping factors, cAIC about new rows of the levels that "
            "there are."
        ]
        if self.n_residual > 1:
            said.append(
                "cAIC counts the parameters of the residuals' covariance as they are, which is right for many rows "
                "(Overholser & Xu 2014)."
            )
        if self.method == "reml":
            said.append("By REML they compare models with the same fixed effects only.")
        return Report(
            title=f"Information criteria: {self.formula}",
            parts=(
                Table(
                    names=self.table.index.tolist(),
                    columns=tuple(
                        Column(head=name, cells=[write_number(value, 2) for value in self.table[name]])
                        for name in self.table
                    ),
                    where="criteria.table",
                ),
                notes(said),
            ),
        )

    def __str__(self) -> str:
        return str(self.report())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


def information_criteria(fit: Fitted) -> Criteria:
    """Work out the information criteria of a fit; see `bayesmm.fit.Fit.criteria`."""
    design, estimate = fit.design, fit.estimate
    if estimate.residual is not None:
        residual = estimate.residual.criterion.rows.leave(estimate.beta, estimate.modes)
        whiten, log_det = whitener(estimate.residual.layout, estimate.residual.phi)
        log_weights, square = -log_det, float((whiten(residual[:, None]) ** 2).sum())
        uncertainty = _uncertainty_of_all(fit)
    else:
        steps = _steps(fit)
        products = _products(fit, [step.change for step in steps])
        log_weights, square = float(fit.problem.products.log_weights), products[0, 0]
        uncertainty = _uncertainty(fit, steps, products)
    constant = design.n * np.log(2.0 * np.pi * estimate.sigma**2) - log_weights
    return Criteria(
        method=fit.method,
        n=fit.n,
        n_parameters=fit.n_parameters,
        loglik=fit.loglik,
        conditional_loglik=float(-0.5 * (constant + square / estimate.sigma**2)),
        hat_trace=_hat_trace(fit),
        uncertainty=uncertainty,
        n_residual=int(fit.known_sigma is None) + _n_free(estimate.residual),
        formula=design.specification.shown,
    )


def _hat_trace(fit: Fitted) -> float:
    """ρ = n − tr(W⁻¹P) = p + Σ ⟨ΛΛ', Σ Z_i'PZ_i⟩, since tr(ṼP) = n − p; P is that of REML for either method."""
    criterion, theta = fit.estimate.criterion_function, fit.estimate.minimum.x
    at = evaluate(host, theta, criterion.products, criterion.sigma, 1.0, layout=criterion.layout)
    factors = assemble_factors(np, theta, criterion.layout)
    return fit.design.p + sum(float(np.sum((L @ L.T) * E)) for L, E in zip(factors, at.expected, strict=True))


class _Step(NamedTuple):
    """What changes with an entry of θ that is free: the slope of the criterion (free,), and β̂ with the modes (q, k)."""

    slope: np.ndarray
    change: tuple[np.ndarray, list[np.ndarray]]


def _steps(fit: Fitted) -> list[_Step]:
    """Differences along each entry of θ that is not held at the boundary."""
    criterion, theta = fit.estimate.criterion_function, fit.estimate.minimum.x
    free, sizes, found = _free(fit), STEP * criterion.sizes(theta), []
    for j in free:
        step = np.zeros(len(theta))
        step[j] = sizes[j]
        up, down = criterion.evaluate(theta + step), criterion.evaluate(theta - step)
        change = [(a - b) / (2.0 * sizes[j]) for a, b in zip(_effects(fit, up), _effects(fit, down), strict=True)]
        found.append(_Step((up.gradient - down.gradient)[free] / (2.0 * sizes[j]), (change[0], change[1:])))
    return found


def _free(fit: Fitted) -> np.ndarray:
    return np.flatnonzero(~held_theta(fit.estimate.minimum.x, fit.estimate.criterion_function.layout))


def _products(fit: Fitted, changes: list[tuple[np.ndarray, list[np.ndarray]]]) -> np.ndarray:
    """Products over the rows, with the weights, of conditional residuals and of changes of the fitted values."""
    design, estimate = fit.design, fit.estimate
    if fit.problem.summed is not None:
        return residual_gram(fit.problem.summed.totals, estimate.beta, estimate.modes, changes)
    predictors = build_predictors(design)
    rows = np.stack(
        [
            design.y - predictors.mean(estimate.beta, estimate.modes),
            *(predictors.mean(beta, effects) - design.offset for beta, effects in changes),
        ]
    )
    return (rows * design.weights) @ rows.T


def _uncertainty(fit: Fitted, steps: list[_Step], products: np.ndarray) -> float:
    """Σ_j (∂ŷ/∂θ_j)'∂θ̂_j/∂y: how far the estimated variances follow the responses.

    With the Hessian C of the criterion, e = y − ŷ and g_j = ∂ŷ/∂θ_j = W⁻¹PV_jPy, the estimates change by

        ∂θ̂_j/∂y = (2/σ²) Σ_k C⁻¹_jk W(g_k + (∂_kr²/r²) e),    without the last part where σ is known.

    Entries of θ on the boundary stay there.
    """
    if not steps:
        return 0.0
    cross = products[1:, 1:].copy()
    if fit.known_sigma is None:
        at: Evaluated = fit.estimate.minimum.evaluation.detail
        share = at.residual_square_gradient[_free(fit)] / at.fixed.residual_square
        cross += np.outer(products[1:, 0], share)
    hessian = np.array([step.slope for step in steps])
    inverse = np.linalg.pinv(0.5 * (hessian + hessian.T), rcond=FLAT, hermitian=True)
    return float(2.0 / fit.estimate.sigma**2 * np.sum(inverse * cross))


def _n_free(residual: ResidualEstimate | None) -> int:
    """Parameters of the residuals' covariance that are at no end, where they are held."""
    return 0 if residual is None else int((~residual.layout.held(residual.phi)).sum())


def _uncertainty_of_all(fit: Fitted) -> float:
    """Σ_j (∂ŷ/∂ψ_j)'∂ψ̂_j/∂y of ψ = (θ, φ), where residuals have a covariance σ²R(φ).

    With the Hessian C of the criterion and v = R⁻¹(y − ŷ), which is half of its slope by y times σ², the estimates
    change by

        ∂ψ̂_j/∂y = −(2/σ²) Σ_k C⁻¹_jk (∂_kv − (∂_kr²/r²) v),    without the last part where σ is known.

    Entries on the boundary stay there. Rows enter by products, so that few rows with the sums of all will do.
    """
    estimate, residual = fit.estimate, fit.estimate.residual
    assert residual is not None
    criterion, psi = residual.criterion, estimate.coordinates[:-1]
    held = np.append(
        held_theta(estimate.minimum.x, estimate.criterion_function.layout), residual.layout.held(residual.phi)
    )
    free = np.flatnonzero(~held)

    def look(psi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = read_at(criterion, psi)
        left = criterion.rows.leave(at.beta, at.modes)
        covariances = residual.layout.covariances(np, criterion.split(psi)[1])
        return -left, solve_residuals(residual.layout.stacks, covariances, left)

    steps, g, slopes = STEP * criterion.sizes(psi), [], []
    for j in free:
        step = np.zeros(len(psi))
        step[j] = steps[j]
        up, down = look(psi + step), look(psi - step)
        moved, turned = ((a - b) / (2.0 * steps[j]) for a, b in zip(up, down, strict=True))
        g.append(moved)
        slopes.append(turned)
    if not len(free):
        return 0.0
    at, towards = residual.derivatives(estimate.minimum.x), -np.array(slopes)
    if fit.known_sigma is None:
        square = estimate.sigma**2 * criterion.degrees_of_freedom
        towards += np.outer(at.residual_square_gradient[free] / square, look(psi)[1])
    inverse = np.linalg.pinv(at.hessian[np.ix_(free, free)], rcond=FLAT, hermitian=True)
    return float(2.0 / estimate.sigma**2 * np.sum(inverse * (np.array(g) @ towards.T)))


def _effects(fit: Fitted, at: Evaluated) -> list[np.ndarray]:
    """β̂ and the modes (q, k) of each grouping factor on the user's columns."""
    products = fit.estimate.criterion_function.products
    beta = np.linalg.solve(products.fixed_root, at.fixed.beta)
    modes = [(np.linalg.solve(T, b) if len(T) else b).T for T, b in zip(products.effect_roots, at.modes, strict=True)]
    return [beta, *modes]
