"""A dense textbook oracle: the linear mixed model with nothing clever, in NumPy and for at most some hundred rows.

    y = X β + Z b + ε,    b ~ N(0, G),    ε ~ N(0, σ² W⁻¹),    V = Z G Z' + σ² W⁻¹

Everything below is read off V, formed in full (Harville 1977; Searle, Casella & McCulloch 1992, chapter 7). It imports
nothing of the package, so that agreement with it means something. G is on the scale of the data; what depends on the
relative covariance alone, with σ profiled out, takes G / σ² and says so.

`ParametricModel` is the same model with V any function of its parameters ψ, residual covariances among them: likelihood,
estimates, and what is said of the fixed effects by either information, from numeric derivatives of V.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Method = Literal["reml", "ml"]
Information = Literal["observed", "expected"]

LOG_2_PI = np.log(2.0 * np.pi)
NEAR = 0.1  # of −2 log likelihood to be gained: Newton's steps from here
NOTHING_TO_GAIN = 1e-8  # of −2 log likelihood, before the last of quadratically convergent steps


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


# --- V as a function of parameters: residual covariances, degrees of freedom ---

WithinGroup = Callable[
    [Matrix, Matrix], Matrix
]  # (parameters, the times of a group's rows) -> covariance of these rows


def residual_covariance(
    structure: WithinGroup,
    psi: Matrix,
    groups: NDArray[Any],
    times: NDArray[Any],
    strata: NDArray[np.integer] | None = None,
) -> Matrix:
    """R of all rows (n, n), in whatever order: the structure's matrix within a group, zero between groups.

    With strata, a number for every row and the same within a group, psi has one set of parameters after the other.
    """
    R = np.zeros((len(groups), len(groups)))
    sets = np.atleast_2d(psi) if strata is None else np.reshape(psi, (int(np.max(strata)) + 1, -1))
    made: dict[tuple[float, ...], Matrix] = {}  # groups of the same times have the same matrix
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        stratum, own = 0 if strata is None else int(strata[rows[0]]), np.asarray(times)[rows]
        if (key := (stratum, *own)) not in made:
            made[key] = structure(sets[stratum], own)
        R[rows[:, None], rows] = made[key]
    return R


def _lags(times: Matrix) -> Matrix:
    return np.abs(np.subtract.outer(times, times))


def _own_variances(variances: Matrix, times: Matrix, correlations: Matrix) -> Matrix:
    sds = np.sqrt(variances)[times.astype(int)]
    return np.outer(sds, sds) * correlations


def _steps_multiplied(steps: Matrix, times: Matrix) -> Matrix:
    """Correlations of first-order ante-dependence: the product of those of all steps from one time to the other."""
    at = times.astype(int)
    return np.array([[np.prod(steps[min(s, t) : max(s, t)]) for t in at] for s in at])


def _unstructured(psi: Matrix, times: Matrix) -> Matrix:
    m = _size(psi)
    covariance = np.zeros((m, m))
    covariance[np.tril_indices(m)] = psi
    covariance += np.tril(covariance, -1).T
    return covariance[np.ix_(times.astype(int), times.astype(int))]


def _size(psi: Matrix) -> int:
    """m, of a triangle with m (m + 1) / 2 numbers."""
    return int(np.sqrt(2 * len(psi)))


def _with_ones(correlations: Matrix) -> Matrix:
    """The lower triangle of a correlation matrix, row by row, of what is below its diagonal."""
    m = (1 + int(np.sqrt(1 + 8 * len(correlations)))) // 2
    matrix = np.eye(m)
    matrix[np.tril_indices(m, -1)] = correlations
    return matrix[np.tril_indices(m)]


# The covariance within a group. Variances come before correlations; m times are 0, 1, ..., m − 1 where a structure
# counts them, and any numbers where it measures distances.
WITHIN_GROUP: dict[str, WithinGroup] = {
    "us": _unstructured,  # its lower triangle, row by row: linear
    "homcs": lambda psi, t: psi[1] + (psi[0] - psi[1]) * np.eye(len(t)),  # variance, covariance: linear
    "cs": lambda psi, t: _own_variances(psi[:-1], t, psi[-1] + (1.0 - psi[-1]) * np.eye(len(t))),
    "ar1": lambda psi, t: psi[0] * np.sign(psi[1]) ** _lags(t) * np.abs(psi[1]) ** _lags(t),
    "hetar1": lambda psi, t: _own_variances(psi[:-1], t, np.sign(psi[-1]) ** _lags(t) * np.abs(psi[-1]) ** _lags(t)),
    "car1": lambda psi, t: psi[0] * psi[1] ** _lags(t),
    "variances and correlations": lambda psi, t: _own_variances(  # us again, not linear
        psi[: _size(psi)], t, _unstructured(_with_ones(psi[_size(psi) :]), t)
    ),
    "homus": lambda psi, t: psi[0] * _unstructured(_with_ones(psi[1:]), t),
    "homtoep": lambda psi, t: psi[_lags(t).astype(int)],  # variance, covariance of each lag: linear
    "toep": lambda psi, t: _own_variances(
        psi[: (len(psi) + 1) // 2], t, np.append(1.0, psi[(len(psi) + 1) // 2 :])[_lags(t).astype(int)]
    ),
    "homad": lambda psi, t: psi[0] * _steps_multiplied(psi[1:], t),
    "ad": lambda psi, t: _own_variances(
        psi[: (len(psi) + 1) // 2], t, _steps_multiplied(psi[(len(psi) + 1) // 2 :], t)
    ),
    "het": lambda psi, t: np.diag(psi[t.astype(int)]),  # a variance for each stratum, which is what t counts
    "power": lambda psi, t: np.diag(psi[0] * np.abs(t) ** (2.0 * psi[1])),
    "exponential": lambda psi, t: np.diag(psi[0] * np.exp(2.0 * psi[1] * t)),
}


class ScaledF(NamedTuple):
    """F, already scaled, with its degrees of freedom."""

    F: float
    numerator: int
    denominator: float


@dataclass(frozen=True, kw_only=True)
class ParametricModel:
    """y ~ N(X β, V(ψ)), all parameters of V in ψ (t,).

    Everything is the textbook's: derivatives of V by central differences extrapolated once, good to nine digits.
    """

    y: Matrix
    X: Matrix
    V: Callable[[Matrix], Matrix]
    method: Method = "reml"

    def deviance(self, psi: Matrix) -> float:
        """−2 log likelihood, infinite where V is no covariance; that of REML without the constant log|X'X|."""
        with np.errstate(invalid="ignore"):
            V = self.V(np.asarray(psi, dtype=float))
        if not np.isfinite(V).all():
            return np.inf
        try:
            log_V = 2.0 * np.log(np.diag(np.linalg.cholesky(V))).sum()
        except np.linalg.LinAlgError:
            return np.inf
        solved = np.linalg.solve(V, np.column_stack([self.X, self.y]))
        A, c = self.X.T @ solved[:, :-1], self.X.T @ solved[:, -1]
        value = log_V + self.y @ solved[:, -1] - c @ np.linalg.solve(A, c)
        n, p = self.X.shape
        if self.method == "ml":
            return float(value + n * LOG_2_PI)
        return float(value + log_determinant(A) + (n - p) * LOG_2_PI)

    def maximise(self, start: Matrix) -> Matrix:
        """ψ̂ from a start in whose basin it is: Fisher's scoring with halved steps, near it Newton's."""
        psi, value = np.array(start, dtype=float), self.deviance(start)
        assert np.isfinite(value), "V is no covariance at the start"
        near = False
        for _ in range(200):
            here = self.at(psi)
            curvature = here.information("observed" if near else "expected")
            if near and np.linalg.eigvalsh(curvature)[0] <= 0.0:
                curvature = here.information("expected")
            step = -0.5 * np.linalg.solve(curvature, here.gradient)
            promised = -here.gradient @ step
            if promised < NOTHING_TO_GAIN:
                return psi + step
            near = bool(promised < NEAR)
            shares = (0.5**k for k in range(40))
            psi = next(psi + share * step for share in shares if self.deviance(psi + share * step) < value)
            value = self.deviance(psi)
        raise AssertionError("no maximum found from this start")

    def at(self, psi: Matrix) -> AtParameters:
        return AtParameters(model=self, psi=np.asarray(psi, dtype=float))


@dataclass(frozen=True, kw_only=True)
class AtParameters:
    """What one ψ says of a `ParametricModel`."""

    model: ParametricModel
    psi: Matrix

    @cached_property
    def inverse(self) -> Matrix:
        """V⁻¹."""
        return np.linalg.inv(self.model.V(self.psi))

    @cached_property
    def covariance(self) -> Matrix:
        """Φ = (X'V⁻¹X)⁻¹."""
        return np.linalg.inv(self.model.X.T @ self.inverse @ self.model.X)

    @cached_property
    def beta(self) -> Matrix:
        return self.covariance @ self.model.X.T @ self.inverse @ self.model.y

    @cached_property
    def projection(self) -> Matrix:
        """P = V⁻¹ − V⁻¹X Φ X'V⁻¹."""
        VX = self.inverse @ self.model.X
        return self.inverse - VX @ self.covariance @ VX.T

    @cached_property
    def steps(self) -> Matrix:
        """One row a parameter."""
        return np.diag(2e-3 * np.maximum(np.abs(self.psi), 0.1))

    @cached_property
    def first(self) -> Matrix:
        """∂V/∂ψ_i (t, n, n)."""
        V, psi = self.model.V, self.psi

        def differences(part: float) -> Matrix:
            return np.array([(V(psi + part * e) - V(psi - part * e)) / (2.0 * part * e.sum()) for e in self.steps])

        return (4.0 * differences(0.5) - differences(1.0)) / 3.0

    def second(self) -> Iterator[tuple[int, int, Matrix]]:
        """∂²V/∂ψ_i∂ψ_j (n, n), one pair after the other, i ≤ j: all of them at once would be large."""
        V, psi = self.model.V, self.psi

        def mixed(e: Matrix, f: Matrix) -> Matrix:
            corners = V(psi + e + f) - V(psi + e - f) - V(psi - e + f) + V(psi - e - f)
            return corners / (4.0 * e.sum() * f.sum())

        for i, e in enumerate(self.steps):
            for j, f in enumerate(self.steps[i:], i):
                yield i, j, (4.0 * mixed(e / 2.0, f / 2.0) - mixed(e, f)) / 3.0

    @cached_property
    def curved(self) -> tuple[Matrix, Matrix]:
        """Of each pair of parameters tr(QV_ij) − y'PV_ijPy (t, t) and X'V⁻¹V_ijV⁻¹X (t, t, p, p), in one pass."""
        Q = self.projection if self.model.method == "reml" else self.inverse
        e, VX = self.projection @ self.model.y, self.inverse @ self.model.X
        gamma, t, p = Q - np.outer(e, e), len(self.psi), VX.shape[1]
        sums, products = np.zeros((t, t)), np.zeros((t, t, p, p))
        for i, j, change in self.second():
            sums[i, j] = sums[j, i] = (gamma * change).sum()
            products[i, j] = products[j, i] = VX.T @ change @ VX
        return sums, products

    @cached_property
    def gradient(self) -> Matrix:
        """Of −2 log likelihood (t,)."""
        Q = self.projection if self.model.method == "reml" else self.inverse
        e = self.projection @ self.model.y
        return np.einsum("ab,tab->t", Q, self.first) - np.einsum("a,tab,b->t", e, self.first, e)

    def information(self, kind: Information) -> Matrix:
        """Minus the second derivatives of the log likelihood in ψ (t, t), or their expectation."""
        return self.observed_information if kind == "observed" else self.expected_information

    @cached_property
    def expected_information(self) -> Matrix:
        """½ tr(QV_iQV_j), Q = P or, under ML, V⁻¹."""
        Q = self.projection if self.model.method == "reml" else self.inverse
        moved = (Q @ self.first).reshape(len(self.psi), -1)
        turned = (self.first @ Q).reshape(len(self.psi), -1)  # the transposes: a trace is a sum of products
        return 0.5 * moved @ turned.T

    @cached_property
    def observed_information(self) -> Matrix:
        """y'PV_iPV_jPy − ½ tr(QV_iQV_j) + ½ tr(QV_ij) − ½ y'PV_ijPy."""
        turned = self.first @ (self.projection @ self.model.y)
        return turned @ self.projection @ turned.T - self.expected_information + 0.5 * self.curved[0]

    def parameter_covariance(self, kind: Information) -> Matrix:
        return np.linalg.inv(self.information(kind))

    def satterthwaite(self, contrast: Matrix, kind: Information = "observed") -> float:
        """Degrees of freedom of one contrast (p,): 2 v² / Var v, v = l'Φl (Giesbrecht & Burns 1985)."""
        row = self.inverse @ self.model.X @ self.covariance @ contrast
        slopes = np.einsum("a,tab,b->t", row, self.first, row)  # of v: ∂Φ = Φ X'V⁻¹ ∂V V⁻¹X Φ
        variance = contrast @ self.covariance @ contrast
        return float(2.0 * variance**2 / (slopes @ self.parameter_covariance(kind) @ slopes))

    def kenward_roger_covariance(self, kind: Information = "expected", *, linear: bool = False) -> Matrix:
        """Φ_A (p, p) of Kenward & Roger (1997), equation 5; `linear` leaves out the second derivatives of V."""
        W = self.parameter_covariance(kind)
        VX = self.inverse @ self.model.X
        P = -np.einsum("ac,tab,bd->tcd", VX, self.first, VX)
        moved = self.first @ VX  # (t, n, p)
        Q = np.einsum("sac,ab,tbd->stcd", moved, self.inverse, moved)
        inner = np.einsum("st,stcd->cd", W, Q) - np.einsum("st,sce,ef,tfd->cd", W, P, self.covariance, P)
        if not linear:
            inner -= 0.25 * np.einsum("st,stcd->cd", W, self.curved[1])
        return self.covariance + 2.0 * self.covariance @ inner @ self.covariance

    def kenward_roger(self, L: Matrix, kind: Information = "expected", *, linear: bool = False) -> ScaledF:
        """F test of L β = 0, L (c, p), by their section 3: two moments of F matched, exact in Hotelling's and in Anova's case."""
        L = np.atleast_2d(L)
        c, Phi, W = len(L), self.covariance, self.parameter_covariance(kind)
        VX = self.inverse @ self.model.X
        P = -np.einsum("ac,tab,bd->tcd", VX, self.first, VX)
        Theta = L.T @ np.linalg.solve(L @ Phi @ L.T, L)
        moved = np.array([Theta @ Phi @ each @ Phi for each in P])
        single = np.trace(moved, axis1=1, axis2=2)
        A1 = single @ W @ single
        A2 = np.einsum("st,sab,tba->", W, moved, moved)
        B = (A1 + 6.0 * A2) / (2.0 * c)
        g = ((c + 1.0) * A1 - (c + 4.0) * A2) / ((c + 2.0) * A2)
        below = 3.0 * c + 2.0 * (1.0 - g)
        c1, c2, c3 = g / below, (c - g) / below, (c + 2.0 - g) / below
        E = 1.0 / (1.0 - A2 / c)
        spread = (2.0 / c) * (1.0 + c1 * B) / ((1.0 - c2 * B) ** 2 * (1.0 - c3 * B))
        rho = spread / (2.0 * E**2)
        m = 4.0 + (c + 2.0) / (c * rho - 1.0)
        estimates = L @ self.beta
        adjusted = L @ self.kenward_roger_covariance(kind, linear=linear) @ L.T
        F = estimates @ np.linalg.solve(adjusted, estimates) / c
        return ScaledF(F=float(m / (E * (m - 2.0)) * F), numerator=c, denominator=float(m))

    def predict(self, X_new: Matrix, cross: Matrix) -> Matrix:
        """The best linear unbiased prediction of rows whose covariance with the data is `cross` (rows, n)."""
        return X_new @ self.beta + cross @ self.projection @ self.model.y
