"""The error of predicted effects, layer by layer: given everything, with that of β̂, with that of the variances.

With Var y = σ²Ṽ on the conditioned columns, Ψ = ΛΛ', P as in `bayesmm.inference.diagnostics.eliminated`, R = Z'Ṽ⁻¹X,
A = X'Ṽ⁻¹X, and B = ΨR, the error of the predicted effects b̂ = ΨZ'Py plus a combination Jβ̂ of the fixed ones has

    g₁ = σ²(Ψ − ΨZ'Ṽ⁻¹ZΨ),    g₂ = σ²(B − J)A⁻¹(B − J)',    g₃ = σ² Σ_ij W_ij HΨ_i(Z'PZ)Ψ_jH',

H = I − ΨZ'PZ − JA⁻¹R', since ∂_i(b̂ + Jβ̂) = HΨ_iZ'Py and Var Z'Py = σ²Z'PZ. W is the covariance of the estimated θ;
σ moves no prediction. Only the blocks of each level's own effects are worked out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from bayesmm.covariance.layout import assemble_factors
from bayesmm.covariance.tangents import jacobians
from bayesmm.inference.diagnostics.eliminated import Eliminated, eliminate_fit
from bayesmm.inference.fitted import Fitted, Information
from bayesmm.inference.fixed.information import parameter_covariance
from bayesmm.marginal.apart.one_factor import LevelRoots, solve_one_factor
from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import absorb

AT_ONCE = 4_000_000  # numbers in the columns that are solved for together
ROUNDING = 1e-14  # share of the largest eigenvalue of W that is only rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """Covariances of the errors of one grouping factor's effects, (q, k, k) each, on the user's columns.

    Attributes
    ----------
    conditional : array
        g₁: given θ, σ and β.
    of_fixed : array
        g₂: what the error of β̂ adds.
    of_variances : array
        g₃: what that of θ adds, to second order; zero where all of it is held on a boundary.
    """

    conditional: np.ndarray
    of_fixed: np.ndarray
    of_variances: np.ndarray

    @property
    def fixed(self) -> np.ndarray:
        """g₁ + g₂."""
        return self.conditional + self.of_fixed

    @property
    def full(self) -> np.ndarray:
        """g₁ + g₂ + 2g₃: an estimate of the mean squared error under REML, where g₁ is too small by g₃."""
        return self.fixed + 2.0 * self.of_variances


def build_layers(
    fit: Fitted, information: Information, shifts: Sequence[np.ndarray] | None = None, *, second_order: bool = True
) -> list[Layers]:
    """Work out the layers of every grouping factor.

    Parameters
    ----------
    fit : Fit
        At its estimate.
    information : {"expected", "observed"}
        Whose inverse is the covariance of the estimated variances.
    shifts : sequence of arrays, shapes (k, p), optional
        J of each factor: fixed effects, on the user's columns, that are added to those of its levels.
    second_order : bool
        Whether g₃ is worked out; zero otherwise.
    """
    products = fit.problem.products
    fixed_back = np.linalg.inv(products.fixed_root)
    roots = products.effect_roots
    if shifts is None:
        shifts = [np.zeros((len(T), len(fixed_back))) for T in roots]
    conditioned = [T @ J @ fixed_back for T, J in zip(roots, shifts, strict=True)]
    ways = _directions(fit, information) if second_order else [[] for _ in roots]
    if products.levels is not None:
        theta = fit.estimate.minimum.x
        (factor,) = assemble_factors(np, theta, fit.problem.layout)
        found = [_one_factor(products.levels, factor, conditioned[0], ways[0])]
    else:
        found = _several_factors(eliminate_fit(fit), conditioned, ways)
    layers = []
    for T, C, (second, third) in zip(roots, fit.estimate.mode_covariances, found, strict=True):
        back = np.linalg.inv(T)
        g2, g3 = (fit.sigma**2 * (back @ G @ back.T) for G in (second, third))
        layers.append(Layers(conditional=C, of_fixed=g2, of_variances=g3))
    return layers


def _directions(fit: Fitted, information: Information) -> list[list[np.ndarray]]:
    """Of each factor, changes of Ψ (k, k) in the directions in which the estimate varies by one: Σ_ij W_ij Ψ_i·Ψ_j."""
    theta, layout = fit.estimate.minimum.x, fit.problem.layout
    values, vectors = np.linalg.eigh(parameter_covariance(fit, information)[:-1, :-1])
    own = values > ROUNDING * max(values.max(initial=0.0), 0.0)
    root = vectors[:, own] * np.sqrt(values[own])
    ways, start = [], 0
    for L, first in zip(assemble_factors(np, theta, layout), jacobians(np, theta, layout), strict=True):
        half = first @ L.T
        moved = np.tensordot(root[start : start + len(first)], half + half.swapaxes(1, 2), axes=(0, 0))
        ways.append(list(moved))
        start += len(first)
    return ways


def _one_factor(
    levels: LevelRoots, factor: np.ndarray, shift: np.ndarray, ways: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """g₂ and g₃ over σ², (q, k, k): Z'PZ is block diagonal plus rank p, and so is H."""
    at, p, Psi = solve_one_factor(host, levels, factor), shift.shape[1], factor @ factor.T
    R, Q = np.moveaxis(at.residual[:, :p], -1, 0), np.moveaxis(at.marginal, -1, 0)
    inverse = np.linalg.inv(at.gram[:p, :p])
    towards = (Psi @ R - shift) @ inverse  # (q, k, p)
    second = towards @ (Psi @ R - shift).swapaxes(1, 2)
    third = np.zeros_like(second)
    own = np.eye(len(Psi)) - Psi @ Q
    for way in ways:
        left, moved = own @ way, way @ R
        among = np.einsum("qip,qir->pr", R, moved)
        inner = np.einsum("qip,qij,qjr->pr", moved, Q, moved) - among @ inverse @ among
        crossed = left @ (Q @ moved - R @ inverse @ among) @ towards.swapaxes(1, 2)
        third += left @ (Q - R @ inverse @ R.swapaxes(1, 2)) @ left.swapaxes(1, 2)
        third += crossed + crossed.swapaxes(1, 2) + towards @ inner @ towards.swapaxes(1, 2)
    return second, third


def _several_factors(
    eliminated: Eliminated, shifts: Sequence[np.ndarray], ways: Sequence[Sequence[np.ndarray]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """g₂ and g₃ over σ², (q, k, k) of each factor, a batch of levels after the other."""
    p, inverse = eliminated.p, eliminated.covariance
    space = _EffectSpace(eliminated)
    found = []
    for f, (B, shift) in enumerate(zip(eliminated.fixed_effects, shifts, strict=True)):
        towards = np.moveaxis(B[:, :p] - shift[:, :, None], -1, 0)  # (q, k, p)
        third = np.zeros((len(towards), len(shift), len(shift)))
        if ways[f]:
            for some in space.batches(f):
                third[some] = space.second_order(f, some, towards[some] @ inverse, ways)
        found.append((towards @ inverse @ towards.swapaxes(1, 2), third))
    return found


class _EffectSpace:
    """Vectors with one entry for each random effect, (N, c): by factor, by effect, by level."""

    def __init__(self, eliminated: Eliminated) -> None:
        self._at = eliminated
        Z = sparse.hstack(eliminated.columns, format="csr")
        self._gram = sparse.csr_array(Z.T @ Z)
        self._shapes = [(i.k, i.n_levels) for i in eliminated.rows.incidences]
        sizes = [k * q for k, q in self._shapes]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        solved = solve_effects(host, eliminated.products, eliminated.elimination, eliminated.absorbed)
        self._fixed = self._join([R[:, : eliminated.p] for R in solved.residual])  # Z'Ṽ⁻¹X
        self._psi = [L @ L.T for L in eliminated.factors]

    def batches(self, f: int) -> Iterator[np.ndarray]:
        """Levels of a factor, as many at a time as there is room for."""
        k, q = self._shapes[f]
        size = max(AT_ONCE // (k * int(self._starts[-1])), 1)
        return (np.arange(first, min(first + size, q)) for first in range(0, q, size))

    def second_order(
        self, f: int, some: np.ndarray, towards: np.ndarray, ways: Sequence[Sequence[np.ndarray]]
    ) -> np.ndarray:
        """g₃ over σ² (m, k, k) of some levels, with (B − J)A⁻¹ of theirs (m, k, p)."""
        k, q = self._shapes[f]
        m = len(some)
        rows = self._starts[f] + np.arange(k)[:, None] * q + some  # (k, m)
        columns = np.arange(k * m).reshape(k, m)
        unit = np.zeros((self._starts[-1], k * m))
        unit[rows, columns] = 1.0
        flat = towards.swapaxes(0, 1).reshape(k * m, -1)
        H = unit - self._through(self._times(self._psi, unit)) + self._fixed @ flat.T
        total = np.zeros((m, k, k))
        inverse = self._at.covariance
        for way in zip(*ways, strict=True):
            a = self._times(way, H)
            t = (self._fixed.T @ a).reshape(-1, k, m)
            a, solved = (each.reshape(-1, k, m) for each in (a, self._through(a)))
            total += np.einsum("nim,njm->mij", a, solved) - np.einsum("pim,pr,rjm->mij", t, inverse, t)
        return total

    def _through(self, a: np.ndarray) -> np.ndarray:
        """Z'Ṽ⁻¹Za."""
        c, at = a.shape[1], self._at
        absorbed = absorb(host, at.products, at.elimination, self._split(self._gram @ a), np.zeros((c, c)))
        return self._join(solve_effects(host, at.products, at.elimination, absorbed).residual)

    def _times(self, matrices: Sequence[np.ndarray], a: np.ndarray) -> np.ndarray:
        """Multiply the effects of each level by the matrix (k, k) of their factor."""
        return self._join([np.einsum("ij,jcq->icq", M, b) for M, b in zip(matrices, self._split(a), strict=True)])

    def _split(self, a: np.ndarray) -> list[np.ndarray]:
        """Into (k, c, q) of each factor."""
        parts = np.split(a, self._starts[1:-1])
        return [
            np.ascontiguousarray(part.reshape(k, q, -1).swapaxes(1, 2))
            for part, (k, q) in zip(parts, self._shapes, strict=True)
        ]

    def _join(self, effects: Sequence[np.ndarray]) -> np.ndarray:
        """Into one array (N, c)."""
        return np.concatenate([b.swapaxes(1, 2).reshape(-1, b.shape[1]) for b in effects])
