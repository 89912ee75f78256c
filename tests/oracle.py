"""A dense textbook oracle: the linear mixed model with nothing clever, in NumPy and for at most some hundred rows.

    y = X β + Z b + ε,    b ~ N(0, G),    ε ~ N(0, σ² W⁻¹),    V = Z G Z' + σ² W⁻¹

Everything below is read off V, formed in full (Harville 1977; Searle, Casella & McCulloch 1992, chapter 7). It imports
nothing of the package, so that agreement with it means something. G is on the scale of the data; what depends on the
relative covariance alone, with σ profiled out, takes G / σ² and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Method = Literal["reml", "ml"]

LOG_2_PI = np.log(2.0 * np.pi)


def random_columns(codes: NDArray[np.integer], columns: Matrix, n_levels: int) -> Matrix:
    """Z of one grouping factor, (n, n_levels * k): level by level, inside a level effect by effect; code -1 is a zero row."""
    codes, columns = np.asarray(codes), np.atleast_2d(np.asarray(columns, dtype=float).T).T
    n, k = columns.shape
    Z = np.zeros((n, n_levels * k))
    for row in np.flatnonzero(codes >= 0):
        Z[row, codes[row] * k : (codes[row] + 1) * k] = columns[row]
    return Z


def level_covariance(covariance: Matrix, n_levels: int) -> Matrix:
    """G of one grouping factor, ordered as `random_columns`: the (k, k) covariance once for every level."""
    return np.kron(np.eye(n_levels), np.atleast_2d(covariance))


def block_diagonal(blocks: Sequence[Matrix]) -> Matrix:
    """The G of several grouping factors."""
    size = sum(len(block) for block in blocks)
    G, start = np.zeros((size, size)), 0
    for block in blocks:
        G[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    return G


def log_determinant(matrix: Matrix) -> float:
    sign, value = np.linalg.slogdet(matrix)
    assert sign > 0, "a covariance matrix must be positive definite"
    return float(value)


class Derivatives(NamedTuple):
    """−2 log likelihood as a function of t covariance parameters, β and (unless known) σ out of it.

    expected and observed are the moments Z'PZ and (Z'Py)(Z'Py)' / σ² in full, (q, q).
    """

    value: float
    gradient: Matrix  # (t,)
    hessian: Matrix  # (t, t)
    average_information: Matrix  # (t, t), σ profiled out unless it is known
    bend: Matrix  # (t, t), the share of the second derivatives of G in the Hessian
    residual_square_gradient: Matrix  # (t,), of r² = y'Py
    expected: Matrix
    observed: Matrix


@dataclass(frozen=True, kw_only=True)
class DenseModel:
    """The data of one model: y (n,), X (n, p), Z (n, q), prior weights (n,) or None for ones."""

    y: Matrix
    X: Matrix
    Z: Matrix
    weights: Matrix | None = None

    @property
    def n(self) -> int:
        return len(self.y)

    @property
    def p(self) -> int:
        return self.X.shape[1]

    def covariance(self, G: Matrix, sigma: float) -> Matrix:
        """V, (n, n)."""
        weights = np.ones(self.n) if self.weights is None else self.weights
        return self.Z @ G @ self.Z.T + sigma**2 * np.diag(1.0 / weights)

    def log_likelihood(self, G: Matrix, sigma: float, method: Method) -> float:
        """ML: log N(y; X β̂, V). REML: the same with β integrated over a flat density, without the constant log|X'X| / 2."""
        V = self.covariance(G, sigma)
        residual = self.y - self.X @ self.fixed_effects(G, sigma)
        value = log_determinant(V) + residual @ np.linalg.solve(V, residual)
        if method == "ml":
            return float(-0.5 * (value + self.n * LOG_2_PI))
        information = self.X.T @ np.linalg.solve(V, self.X)
        return float(-0.5 * (value + log_determinant(information) + (self.n - self.p) * LOG_2_PI))

    def profiled_sigma(self, relative_G: Matrix, method: Method) -> float:
        """The σ that maximises the likelihood when G = σ² relative_G."""
        residual = self.y - self.X @ self.fixed_effects(relative_G, 1.0)
        scaled = residual @ np.linalg.solve(self.covariance(relative_G, 1.0), residual)
        return float(np.sqrt(scaled / (self.n - self.p if method == "reml" else self.n)))

    def profiled_log_likelihood(self, relative_G: Matrix, method: Method) -> float:
        """The likelihood as a function of G / σ² alone."""
        sigma = self.profiled_sigma(relative_G, method)
        return self.log_likelihood(sigma**2 * relative_G, sigma, method)

    def log_conditional_density(self, beta: Matrix, G: Matrix, sigma: float) -> float:
        """Log N(y; X β, V) at a given β: only the random effects are integrated."""
        V, residual = self.covariance(G, sigma), self.y - self.X @ beta
        return float(-0.5 * (log_determinant(V) + residual @ np.linalg.solve(V, residual) + self.n * LOG_2_PI))

    def log_marginal_density(
        self, G: Matrix, sigma: float, prior_mean: Matrix | None = None, prior_precision: Matrix | None = None
    ) -> float:
        """Log p(y | G, σ) with β ~ N(m, D) integrated out too; no prior, or directions of zero precision, are flat.

        Completes the square: p(y | β) p(β) / p(β | y), evaluated at the posterior mean of β.
        """
        mean, precision = self._prior(prior_mean, prior_precision)
        posterior_mean, posterior_covariance = self.fixed_effects_posterior(G, sigma, mean, precision)
        shift = posterior_mean - mean
        eigenvalues = np.linalg.eigvalsh(precision)
        proper = eigenvalues[eigenvalues > 1e-12 * max(eigenvalues, default=0.0)]
        log_prior = 0.5 * (np.log(proper).sum() - len(proper) * LOG_2_PI - shift @ precision @ shift)
        log_posterior = -0.5 * (log_determinant(posterior_covariance) + self.p * LOG_2_PI)
        return self.log_conditional_density(posterior_mean, G, sigma) + float(log_prior - log_posterior)

    def fixed_effects(self, G: Matrix, sigma: float) -> Matrix:
        """Generalised least squares, β̂ = (X'V⁻¹X)⁻¹ X'V⁻¹y."""
        return self.fixed_effects_posterior(G, sigma)[0]

    def fixed_effects_covariance(self, G: Matrix, sigma: float) -> Matrix:
        """(X'V⁻¹X)⁻¹."""
        return self.fixed_effects_posterior(G, sigma)[1]

    def fixed_effects_posterior(
        self, G: Matrix, sigma: float, prior_mean: Matrix | None = None, prior_precision: Matrix | None = None
    ) -> tuple[Matrix, Matrix]:
        """Mean and covariance of β given y, G and σ under a normal or flat prior."""
        mean, precision = self._prior(prior_mean, prior_precision)
        solved = np.linalg.solve(self.covariance(G, sigma), np.column_stack([self.X, self.y]))
        covariance = np.linalg.inv(self.X.T @ solved[:, :-1] + precision)
        return covariance @ (self.X.T @ solved[:, -1] + precision @ mean), covariance

    def _prior(self, mean: Matrix | None, precision: Matrix | None) -> tuple[Matrix, Matrix]:
        return (
            np.zeros(self.p) if mean is None else np.asarray(mean, dtype=float),
            np.zeros((self.p, self.p)) if precision is None else np.asarray(precision, dtype=float),
        )

    def random_effects(self, G: Matrix, sigma: float) -> Matrix:
        """The best linear unbiased predictions b̂ = G Z'V⁻¹(y − X β̂)."""
        residual = self.y - self.X @ self.fixed_effects(G, sigma)
        return G @ self.Z.T @ np.linalg.solve(self.covariance(G, sigma), residual)

    def random_effects_covariance(self, G: Matrix, sigma: float) -> Matrix:
        """Var(b | y, β) = G − G Z'V⁻¹Z G: fixed effects taken as known, as lme4's condVar."""
        ZG = self.Z @ G
        return G - ZG.T @ np.linalg.solve(self.covariance(G, sigma), ZG)

    def joint_moments(
        self, G: Matrix, sigma: float, prior_mean: Matrix | None = None, prior_precision: Matrix | None = None
    ) -> tuple[Matrix, Matrix]:
        """Mean and covariance of (β, b) given y, G and σ: with a flat prior Henderson's BLUP and its error covariance."""
        beta, covariance = self.fixed_effects_posterior(G, sigma, prior_mean, prior_precision)
        gain = np.linalg.solve(self.covariance(G, sigma), self.Z @ G).T  # (q, n), b̂(β) = gain (y − Xβ)
        K = gain @ self.X
        upper = np.column_stack([covariance, -covariance @ K.T])
        lower = np.column_stack([-K @ covariance, self.random_effects_covariance(G, sigma) + K @ covariance @ K.T])
        return np.concatenate([beta, gain @ (self.y - self.X @ beta)]), np.vstack([upper, lower])

    def fitted(self, G: Matrix, sigma: float) -> Matrix:
        """X β̂ + Z b̂."""
        return self.X @ self.fixed_effects(G, sigma) + self.Z @ self.random_effects(G, sigma)

    def derivatives(
        self,
        relative_G: Matrix,
        first: Matrix,
        second: Mapping[tuple[int, int], Matrix],
        method: Method,
        sigma: float | None = None,
    ) -> Derivatives:
        """Differentiate, given relative G (q, q), ∂G (t, q, q) and ∂²G by pair where not zero; σ profiled unless given.

        With V = ZGZ' + W⁻¹, P the projection of REML or, in the determinant of ML, V⁻¹ itself (Harville 1977, section
        6.3; Gilmour, Thompson & Cullis 1995, for the average information).
        """
        V_inverse = np.linalg.inv(self.covariance(relative_G, 1.0))
        solved = V_inverse @ self.X
        P = V_inverse - solved @ np.linalg.solve(self.X.T @ solved, solved.T)
        ZPZ, Ze = self.Z.T @ P @ self.Z, self.Z.T @ P @ self.y
        ZQZ = ZPZ if method == "reml" else self.Z.T @ V_inverse @ self.Z
        residual_square = self.y @ P @ self.y
        df = self.n - self.p if method == "reml" else self.n
        precision = df / residual_square if sigma is None else 1.0 / sigma**2
        used = sigma or self.profiled_sigma(relative_G, method)
        moved = first @ Ze  # (t, q)
        score = np.einsum("tq,q->t", moved, Ze)  # e'V_te
        profiled = 0.0 if sigma is not None else precision**2 / df * np.outer(score, score)
        average = precision * moved @ ZPZ @ moved.T - profiled
        turned = ZQZ @ first  # (t, q, q)
        traces = np.einsum("sab,tba->st", turned, turned)
        gamma = ZQZ - precision * np.outer(Ze, Ze)
        bend = np.zeros_like(traces)
        for pair, change in second.items():
            bend[pair] = (gamma * change).sum()
        return Derivatives(
            value=-2.0 * self.log_likelihood(used**2 * relative_G, used, method),
            gradient=np.einsum("ab,tab->t", gamma, first),
            hessian=2.0 * (average + profiled) - profiled - traces + bend,
            average_information=average,
            bend=bend,
            residual_square_gradient=-score,
            expected=ZQZ,
            observed=precision * np.outer(Ze, Ze),
        )
