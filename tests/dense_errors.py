"""The error of predicted effects from matrices of rows by rows, and small models of every kind to compare it in."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import block_diag

import bayesmm as bmm
from bayesmm.covariance.layout import assemble_factors
from bayesmm.design.related.relation import as_sparse
from bayesmm.fit import Fit
from bayesmm.inference.fixed.information import parameter_covariance


@cache
def data() -> pd.DataFrame:
    rng, n = np.random.default_rng(5), 120
    g, h, x = np.repeat(np.arange(15), 8), rng.integers(0, 9, n), rng.normal(size=n) + 1.0
    y = rng.normal(size=n) + rng.normal(size=15)[g] + 0.7 * rng.normal(size=15)[g] * x + rng.normal(size=9)[h]
    columns = {"g": g, "h": h, "t": np.tile(np.arange(4), 30), "k": [f"{a}_{b % 2}" for b, a in enumerate(g)]}
    columns |= {"a": rng.integers(0, 12, n), "b": rng.integers(0, 12, n)}
    frame = "n" + pd.DataFrame(columns).astype(str)
    return frame.assign(
        row=np.tile(np.arange(8), 15), x=x, y=y, two=np.where(np.arange(n) % 2, 1.0, -1.0), w=rng.uniform(0.5, 2.0, n)
    )


PLACE = np.arange(17)
A = np.exp(-0.3 * np.abs(PLACE[:, None] - PLACE)) * np.sqrt(np.outer(1.0 + PLACE, 1.0 + PLACE)) / 9.0
NAMES = [f"n{i}" for i in PLACE]
RELATED = {"A": pd.DataFrame(A, NAMES, NAMES)}
SPARSE = {"A": as_sparse(bmm.relation(RELATED["A"]))}


class Dense:
    """Everything from matrices of rows by rows; derivatives of predictions are differences of whole predictions."""

    def __init__(self, fit: Fit, step: float = 1e-5) -> None:
        design, self._fit = fit.design, fit
        self._step = step
        self.X, self.Z = design.X[:, design.kept], np.hstack([_columns(b, design.n) for b in design.blocks])
        theta = self._here = fit.estimate.coordinates[:-1]  # of the effects, then of the residuals
        self.G, self.V, self.P, self.A = self._at(theta)
        ends = [[self._at(theta + sign * step * e) for sign in (1.0, -1.0)] for e in np.eye(len(theta))]
        moved = [[self._linear(at) for at in pair] for pair in ends]
        slopes = [(up - down) / (2.0 * step) for up, down in moved]  # of [b̂; β̂] = My
        V = [(up[1] - down[1]) / (2.0 * step) for up, down in ends] + [2.0 * self.V] * (fit.known_sigma is None)
        inner = self.P if fit.method == "reml" else np.linalg.inv(self.V)
        information = [[0.5 * np.trace(inner @ Vi @ inner @ Vj) for Vj in V] for Vi in V]
        self.W = np.linalg.pinv(information, rcond=1e-8, hermitian=True)[: len(theta), : len(theta)]
        pairs = [(i, j) for i in range(len(theta)) for j in range(len(theta))]
        self.of_variances = sum(self.W[i, j] * slopes[i] @ self.V @ slopes[j].T for i, j in pairs)
        self.conditional, self.fixed = self.errors(theta)
        assert self.fixed.shape == (len(self.G) + len(self.A),) * 2

    def errors(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Covariances of the error of [b̂; β̂] at variances that are known: with β known too, and without."""
        G, V, _, A = self._at(theta)
        return np.pad(G - G @ self.Z.T @ np.linalg.inv(V) @ self.Z @ G, (0, len(A))), self._fixed_error(theta)

    def _fixed_error(self, theta: np.ndarray) -> np.ndarray:
        """Covariance of the error of [b̂; β̂]: M(Xβ + Zb + ε) − [b; β]."""
        G, V, _, A = at = self._at(theta)
        M, across = self._linear(at), np.pad(G, ((0, 0), (0, len(A))))
        return M @ V @ M.T - M @ self.Z @ across + np.pad(G, (0, len(A))) - (M @ self.Z @ across).T

    def noise(self, shifts: list[np.ndarray] | None = None) -> list[np.ndarray]:
        """Variances (q, k) of the estimated diagonal of `fixed`, from differences of all of it."""
        theta = self._here
        W = parameter_covariance(self._fit, "expected")  # of θ and log σ; checked with the degrees of freedom
        gradients = [
            self.blocks((self._fixed_error(theta + e) - self._fixed_error(theta - e)) / (2.0 * self._step), shifts)
            for e in self._step * np.eye(len(theta))
        ]
        gradients.append([2.0 * C for C in self.blocks(self.fixed, shifts)])
        diagonals = [np.array([np.einsum("qaa->qa", C) for C in own]) for own in zip(*gradients, strict=True)]
        return [np.einsum("tqa,tu,uqa->qa", own, W, own) for own in diagonals]

    def _at(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        fit, blocks = self._fit, []
        roots, own_theta = fit.estimate.criterion_function.products.effect_roots, theta[: len(fit.estimate.minimum.x)]
        for L, T, block in zip(
            assemble_factors(np, own_theta, fit.problem.layout), roots, fit.design.blocks, strict=True
        ):
            own = np.linalg.solve(T, L)
            A = block.relation_of(np.arange(block.q)[:, None], np.arange(block.q))
            blocks.append(np.kron(A, own @ own.T))
        G = fit.sigma**2 * block_diag(*blocks)
        V = self.Z @ G @ self.Z.T + self._noise(theta)
        solved = np.linalg.inv(V)
        A = np.linalg.inv(self.X.T @ solved @ self.X)
        return G, V, solved - solved @ self.X @ A @ self.X.T @ solved, A

    def _noise(self, psi: np.ndarray) -> np.ndarray:
        """Covariance of the residuals (n, n): of the table's names where they have parameters."""
        fit, design = self._fit, self._fit.design
        if design.residual is None:
            return fit.sigma**2 * np.diag(1.0 / design.weights)
        values = fit.estimate.public_values(np.append(psi, np.log(fit.sigma)))
        names = [row.name for row in fit.labels.parameter_rows() if row.kind != "fixed"]
        named = {"sigma": fit.sigma} | dict(zip(names, values, strict=False))
        return design.residual.covariance(named, np.arange(design.n), design.weights)

    def _linear(self, at: tuple[np.ndarray, ...]) -> np.ndarray:
        G, V, P, A = at
        return np.vstack([G @ self.Z.T @ P, A @ self.X.T @ np.linalg.inv(V)])

    def blocks(self, matrix: np.ndarray, shifts: list[np.ndarray] | None = None) -> list[np.ndarray]:
        """Covariances (q, k, k) of each level's effects, plus combinations J of the fixed ones."""
        found, start, p = [], 0, len(self.A)
        for f, block in enumerate(self._fit.design.blocks):
            J, k = np.zeros((block.k, p)) if shifts is None else shifts[f], block.k
            own = []
            for _ in range(block.q):
                pick = np.zeros((k, len(matrix)))
                pick[:, start : start + k], pick[:, len(matrix) - p :] = np.eye(k), J
                own.append(pick @ matrix @ pick.T)
                start += k
            found.append(np.array(own))
        return found


def _columns(block: Any, n: int) -> np.ndarray:
    """Z of one factor (n, qk), level by level."""
    Z = np.zeros((block.q * block.k, n))
    effects = np.eye(block.q * block.k).reshape(-1, block.q, block.k)
    block.incidence.add_to(Z, effects)
    return Z.T


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "intercepts": ("y ~ x + (1 | g)", {}),
    "slopes, weights": ("y ~ x + (x | g)", {"weights": "w"}),
    "crossed slopes": ("y ~ x + (x | g) + (1 | h)", {"weights": "w"}),
    "nested": ("y ~ x + (1 | g/k)", {}),
    "diagonal, known sigma": ("y ~ x + (x || g) + (1 | h)", {"sigma": 1.0}),
    "one variance": ("y ~ x + homdiag(two | g)", {}),
    "compound symmetry": ("y ~ x + cs(1 + x | g) + (1 | h)", {}),
    "equal, compound symmetry": ("y ~ x + homcs(0 + t | g)", {}),
    "autoregressive": ("y ~ x + ar1(0 + t | g)", {}),
    "autoregressive, unequal": ("y ~ x + hetar1(0 + t | g)", {}),
    "multi-membership": ("y ~ x + (1 | mm(a, b)) + (1 | g)", {}),
    "related": ("y ~ x + (1 | rel(g, A))", {"relations": RELATED, "weights": "w"}),
    "related slopes": ("y ~ x + (x | rel(g, A)) + (1 | h)", {"relations": RELATED}),
    "aliased column": ("y ~ x + I(2 * x) + (1 | g)", {}),
    "no fixed effects": ("y ~ 0 + (x | g)", {}),
    "autoregressive residuals": ("y ~ x + (1 | g)", {"residual": "ar1(row | g) * het(t)"}),
    "a power, weights": ("y ~ x + (x | g)", {"residual": "exponential(x)", "weights": "w"}),
    "crossed, strata": ("y ~ x + (1 | g) + (1 | h)", {"residual": "het(t)"}),
    "related, autoregressive residuals": (
        "y ~ x + (1 | rel(g, A))",
        {"relations": RELATED, "residual": "ar1(row | g) * het(t)"},
    ),
    "related by A⁻¹, autoregressive residuals": (
        "y ~ x + (1 | rel(g, A))",
        {"relations": SPARSE, "residual": "ar1(row | g) * het(t)"},
    ),
    "related slopes, strata": (
        "y ~ x + (x | rel(g, A)) + (1 | h)",
        {"relations": RELATED, "residual": "het(t)", "weights": "w"},
    ),
    "smaller groups": ("y ~ x + (1 | g)", {"residual": "homcs(row | k)"}),
}


@cache
def model_fit(name: str, method: Any = "reml") -> Fit:
    formula, options = MODELS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a column is aliased, or a fit singular
        return bmm.Model(formula, data(), **options).fit(method=method)
