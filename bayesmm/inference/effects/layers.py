"""The error of predicted effects, layer by layer: given everything, with that of β̂, with that of the variances.

With Var y = σ²Ṽ on the conditioned columns, Ψ = ΛΛ', P as in `bayesmm.inference.eliminated`, R = Z'Ṽ⁻¹X,
A = X'Ṽ⁻¹X, and B = ΨR, the error of the predicted effects b̂ = ΨZ'Py plus a combination Jβ̂ of the fixed ones has

    g₁ = σ²(Ψ − ΨZ'Ṽ⁻¹ZΨ),    g₂ = σ²(B − J)A⁻¹(B − J)',    g₃ = σ² Σ_ij W_ij HΨ_i(Z'PZ)Ψ_jH',

H = I − ΨZ'PZ − JA⁻¹R', since ∂_i(b̂ + Jβ̂) = HΨ_iZ'Py and Var Z'Py = σ²Z'PZ. W is the covariance of the estimated θ;
σ moves no prediction. Since b̂ has the least variance that a linear predictor can have, that variance moves with θ as if
the predictor stayed as it is: ∂_i(g₁ + g₂) = σ²HΨ_iH', and the estimate of g₁ + g₂ varies accordingly. Only the blocks
of each level's own effects are worked out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from bayesmm.covariance.layout import assemble_factors
from bayesmm.covariance.tangents import jacobians
from bayesmm.design.refusal import refuse_sparse
from bayesmm.inference.effects.residual_layers import ResidualLayers
from bayesmm.inference.eliminated import eliminate_given
from bayesmm.inference.fitted import Fitted, Information
from bayesmm.inference.fixed.information import parameter_covariance, root_directions
from bayesmm.inference.fixed.student import or_infinite
from bayesmm.marginal.apart.one_factor import LevelRoots, solve_one_factor
from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import absorb
from bayesmm.marginal.residual.through_rows import Eliminated
from bayesmm.presenting.progress import Bar, progress_bar

MOST_SOLVED = 20_000  # random effects with a sparse relation of whose errors all layers are worked out: minutes
DENSE = 5_000  # random effects up to which Z'Ṽ⁻¹Z is formed
NUMBERS = 4_000_000  # in the columns that are multiplied by it together
SOLVED = 65_536  # in those that are solved for together where it is not: what a cache holds is faster
# Degrees of freedom: with fewer, quantiles of t run away, up to 10^100; intervals hold no more often (simulated with 5
# and 15 groups whose standard deviation is a quarter of sigma: benchmarks/effect_coverage.py).
FEWEST = 2.0
# The same of what has fixed effects in it, coefficients of levels and predictions: a few groups may have no more.
# Below, an estimate varies by more than itself, which no delta method holds for.
LEAST = 1.0


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
    noise : array, shape (q, k)
        Variance of the estimate of g₁ + g₂ of each effect, to first order in the estimated variances.
    """

    conditional: np.ndarray
    of_fixed: np.ndarray
    of_variances: np.ndarray
    noise: np.ndarray

    @property
    def fixed(self) -> np.ndarray:
        """g₁ + g₂."""
        return self.conditional + self.of_fixed

    @property
    def full(self) -> np.ndarray:
        """g₁ + g₂ + 2g₃: an estimate of the mean squared error under REML, where g₁ is too small by g₃."""
        return self.fixed + 2.0 * self.of_variances

    def df(self, errors: np.ndarray, least: float = FEWEST) -> np.ndarray:
        """Satterthwaite's degrees of freedom (q, k) of mean squared errors (q, k): 2m²/Var(m̂), ∞ where that is zero.

        A mean squared error m̂ that is estimated is about as variable as one with a χ² distribution of so many. There is
        a least number of them.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.noise > 0.0, np.maximum(or_infinite(2.0 * errors**2 / self.noise), least), np.inf)


def build_layers(
    fit: Fitted,
    information: Information,
    shifts: Sequence[np.ndarray] | None = None,
    *,
    second_order: bool = True,
    progress: bool | None = False,
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
        Whether g₃ and the noise are worked out; zero otherwise.
    progress : bool, optional
        As of `bayesmm.presenting.progress.progress_bar`.
    """
    if second_order and sum(block.q * block.k for block in fit.design.blocks) > MOST_SOLVED:
        refuse_sparse(
            fit.design,
            "The error that estimated variances add is solved for effect by effect, and would take hours",
            "Take uncertainty='fixed'.",
        )
    products = fit.estimate.criterion_function.products  # given the covariance of the residuals, if they have one
    fixed_back = np.linalg.inv(products.fixed_root)
    roots = products.effect_roots
    if shifts is None:
        shifts = [np.zeros((len(T), len(fixed_back))) for T in roots]
    conditioned = [T @ J @ fixed_back for T, J in zip(roots, shifts, strict=True)]
    whole = parameter_covariance(fit, information) if second_order else None  # of θ and log σ
    W = None if whole is None else whole[:-1, :-1]
    theta, layout = fit.estimate.minimum.x, fit.problem.layout
    factors = assemble_factors(np, theta, layout)
    halves = [first @ L.T for L, first in zip(factors, jacobians(np, theta, layout), strict=True)]
    slopes = [half + half.swapaxes(1, 2) for half in halves]  # ∂Ψ
    if fit.estimate.residual is not None and whole is not None:
        found = _given_residuals(fit, conditioned, whole)
    elif products.levels is not None:
        found = [_one_factor(products.levels, factors[0], conditioned[0], W, slopes[0])]
    else:
        with progress_bar("errors of effects", sum(block.q for block in fit.design.blocks), progress) as bar:
            found = _several_factors(eliminate_given(fit), conditioned, W, slopes, bar)
    layers = []
    for T, C, (second, third, ways) in zip(roots, fit.estimate.mode_covariances, found, strict=True):
        back = np.linalg.inv(T)
        g2, g3 = (fit.sigma**2 * (back @ G @ back.T) for G in (second, third))
        own = fit.sigma**2 * np.einsum("ai,tqij,aj->tqa", back, ways, back)
        layers.append(Layers(conditional=C, of_fixed=g2, of_variances=g3, noise=_noise(whole, own, C + g2)))
    return layers


def _noise(W: np.ndarray | None, ways: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Variance (q, k) of the estimate of g₁ + g₂, from its derivatives by θ (t, q, k) and by log σ: twice itself."""
    of_sigma = 2.0 * np.einsum("qaa->qa", fixed)
    if W is None:
        return np.zeros_like(of_sigma)
    gradient = np.concatenate([ways, of_sigma[None]])
    return np.maximum(np.einsum("tqa,tu,uqa->qa", gradient, W, gradient, optimize=True), 0.0)


def _one_factor(
    levels: LevelRoots, factor: np.ndarray, shift: np.ndarray, W: np.ndarray | None, slopes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """g₂ and g₃ over σ², (q, k, k), and HΨ_iH' (t, q, k, k): Z'PZ is block diagonal plus rank p, and so is H."""
    at, p, Psi = solve_one_factor(host, levels, factor), shift.shape[1], factor @ factor.T
    R, Q = np.moveaxis(at.residual[:, :p], -1, 0), np.moveaxis(at.marginal, -1, 0)
    inverse = np.linalg.inv(at.gram[:p, :p])
    towards = (Psi @ R - shift) @ inverse  # (q, k, p)
    second = towards @ (Psi @ R - shift).swapaxes(1, 2)
    third = np.zeros_like(second)
    own = np.eye(len(Psi)) - Psi @ Q
    for way in [] if W is None else np.tensordot(root_directions(W), slopes, axes=(0, 0)):
        left, moved = own @ way, way @ R
        among = np.einsum("qip,qir->pr", R, moved)
        inner = np.einsum("qip,qij,qjr->pr", moved, Q, moved) - among @ inverse @ among
        crossed = left @ (Q @ moved - R @ inverse @ among) @ towards.swapaxes(1, 2)
        third += left @ (Q - R @ inverse @ R.swapaxes(1, 2)) @ left.swapaxes(1, 2)
        third += crossed + crossed.swapaxes(1, 2) + towards @ inner @ towards.swapaxes(1, 2)
    if W is None:
        return second, third, np.zeros((0, *second.shape))
    ways = np.zeros((len(slopes), *second.shape))
    for way, slope in zip(ways, slopes, strict=True):
        crossed = own @ slope @ R @ towards.swapaxes(1, 2)
        among = np.einsum("qip,ij,qjr->pr", R, slope, R, optimize=True)
        way += own @ slope @ own.swapaxes(1, 2) + crossed + crossed.swapaxes(1, 2)
        way += towards @ among @ towards.swapaxes(1, 2)
    return second, third, ways


def _given_residuals(
    fit: Fitted, shifts: Sequence[np.ndarray], whole: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """g₂ and g₃ over σ², (q, k, k), and ∂(g₁ + g₂)/σ² (u, q, k, k), where residuals have a covariance of their own."""
    of = ResidualLayers(fit, whole)
    eliminated, found = of.eliminated, []
    shapes = [(i.k, i.n_levels) for i in eliminated.rows.incidences]
    for f, (B, shift) in enumerate(zip(eliminated.fixed_effects, shifts, strict=True)):
        towards = np.moveaxis(B[:, : eliminated.p] - shift[:, :, None], -1, 0)  # (q, k, p)
        k, q = shapes[f]
        third, ways = np.zeros((q, k, k)), np.zeros((of.n_parameters, q, k, k))
        for some in of.batches(q, k):
            c = k * len(some)
            asked = [np.zeros((own, c, levels)) for own, levels in shapes]
            asked[f][np.tile(np.arange(k), len(some)), np.arange(c), np.repeat(some, k)] = 1.0
            predicted = of.predict(np.tile(shift.T, len(some)), asked)
            third[some], ways[:, some] = of.second_order(predicted, k), of.slopes(predicted, k)
        found.append((towards @ eliminated.covariance @ towards.swapaxes(1, 2), third, ways))
    return found


def _several_factors(
    eliminated: Eliminated, shifts: Sequence[np.ndarray], W: np.ndarray | None, slopes: Sequence[np.ndarray], bar: Bar
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """g₂ and g₃ over σ², (q, k, k), and HΨ_iH' (t, q, k, k) of each factor, a batch of levels after the other."""
    p, inverse = eliminated.p, eliminated.covariance
    space = None if W is None or not W.any() else _EffectSpace(eliminated, W, slopes)
    found = []
    for f, (B, shift) in enumerate(zip(eliminated.fixed_effects, shifts, strict=True)):
        towards = np.moveaxis(B[:, :p] - shift[:, :, None], -1, 0)  # (q, k, p)
        third = np.zeros((len(towards), len(shift), len(shift)))
        ways = np.zeros((0 if W is None else len(W), *third.shape))
        if space is not None:
            for some in space.batches(f):
                third[some], ways[:, some] = space.second_order(f, some, towards[some] @ inverse)
                bar.advance(len(some))
        found.append((towards @ inverse @ towards.swapaxes(1, 2), third, ways))
    return found


def _reach_fixed(eliminated: Eliminated) -> list[np.ndarray]:
    """Z'Ṽ⁻¹X of each factor, (k, p, q)."""
    if eliminated.products.is_related:
        return eliminated.to_levels(eliminated.solved[:, : eliminated.p])
    solved = solve_effects(host, eliminated.products, eliminated.elimination, eliminated.absorbed)
    return [R[:, : eliminated.p] for R in solved.residual]


class _EffectSpace:
    """Vectors with one entry for each random effect, (N, c): by factor, by effect, by level."""

    def __init__(self, eliminated: Eliminated, W: np.ndarray, slopes: Sequence[np.ndarray]) -> None:
        self._at, self._slopes = eliminated, slopes
        bounds = np.cumsum([len(own) for own in slopes])[:-1]
        self._W = [np.split(own, bounds, axis=1) for own in np.split(W, bounds)]  # of θ of one factor with another's
        self._gram, self._shapes = eliminated.effect_gram, eliminated.shapes
        stops = np.cumsum([k * q for k, q in self._shapes])
        self._n = int(stops[-1])
        self._own = [slice(stop - k * q, stop) for stop, (k, q) in zip(stops, self._shapes, strict=True)]
        self._fixed = self._join(_reach_fixed(eliminated))
        self._marginal = self._form() if self._n <= DENSE else None

    def batches(self, f: int) -> Iterator[np.ndarray]:
        """Levels of a factor, as many at a time as there is room for."""
        k, q = self._shapes[f]
        size = max((SOLVED if self._marginal is None else NUMBERS) // (k * self._n), 1)
        return (np.arange(first, min(first + size, q)) for first in range(0, q, size))

    def second_order(self, f: int, some: np.ndarray, towards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """g₃ over σ² (m, k, k) and HΨ_iH' (t, m, k, k) of some levels, with (B − J)A⁻¹ of theirs (m, k, p)."""
        k, q = self._shapes[f]
        m, L, inverse = len(some), self._at.factors[f], self._at.covariance
        unit = np.zeros((k * q, k * m))
        unit[np.arange(k)[:, None] * q + some, np.arange(k * m).reshape(k, m)] = 1.0
        prior = self._times(f, L @ L.T, unit)
        H = self._fixed @ towards.swapaxes(0, 1).reshape(k * m, -1).T - self._through(f, prior)
        H[self._own[f]] += unit
        total, ways = np.zeros((m, k, k)), []
        for g, slopes in enumerate(self._slopes):
            for i, slope in enumerate(slopes):
                a = self._times(g, slope, H[self._own[g]])
                pair = (each.reshape(-1, k, m) for each in (H[self._own[g]], a))
                ways.append(np.einsum("nim,njm->mij", *pair))
                reached = self._through(g, a) - self._fixed @ (inverse @ (self._fixed[self._own[g]].T @ a))  # Z'PZa
                for h, others in enumerate(self._slopes):
                    together = np.tensordot(self._W[g][h][i], others, axes=(0, 0))
                    b = self._times(h, together, H[self._own[h]])
                    pair = (each.reshape(-1, k, m) for each in (b, reached[self._own[h]]))
                    total += np.einsum("nim,njm->mij", *pair)
        return total, np.stack(ways)

    def _form(self) -> np.ndarray:
        """Z'Ṽ⁻¹Z = M − (L⁻¹Λ'M)'(L⁻¹Λ'M) with M = Z'Z and LL' = 1 + Λ'MΛ."""
        M = self._gram.toarray()
        left = np.concatenate([self._root(g, L.T, M[own]) for g, (own, L) in self._factors()])  # Λ'M
        H = np.concatenate([self._root(g, L.T, left.T[own]) for g, (own, L) in self._factors()])
        H[np.diag_indices(self._n)] += 1.0
        half = linalg.solve_triangular(linalg.cholesky(H, lower=True, overwrite_a=True), left, lower=True)
        return M - half.T @ half

    def _factors(self) -> Iterator[tuple[int, tuple[slice, np.ndarray]]]:
        return enumerate(zip(self._own, self._at.factors, strict=True))

    def _through(self, g: int, a: np.ndarray) -> np.ndarray:
        """Z'Ṽ⁻¹Z_g a (N, c) of effects of one factor."""
        if self._marginal is not None:
            return self._marginal[:, self._own[g]] @ a
        c, at = a.shape[1], self._at
        reached = self._gram[:, self._own[g]] @ a
        if at.products.is_related:
            return reached - self._gram @ self._join(at.solve_levels(self._split(reached)))
        absorbed = absorb(host, at.products, at.elimination, self._split(reached), np.zeros((c, c)))
        return self._join(solve_effects(host, at.products, at.elimination, absorbed).residual)

    def _times(self, g: int, matrix: np.ndarray, a: np.ndarray) -> np.ndarray:
        """Multiply the effects of one factor (kq, c) by a matrix (k, k), and by A where levels are related."""
        k, q = self._shapes[g]
        V, A = self._level_root(g), self._at.products.precision(g)
        if V is not None:
            a = self._at_levels(g, V @ V.T, a)
        elif A is not None:
            a = self._with_levels_last(g, A.relate, a)
        return (matrix @ a.reshape(k, -1)).reshape(k * q, -1)

    def _root(self, g: int, matrix: np.ndarray, a: np.ndarray) -> np.ndarray:
        """Multiply the effects of one factor (kq, c) by Λ' (k, k), and by V' where levels are related."""
        k, q = self._shapes[g]
        V, A = self._level_root(g), self._at.products.precision(g)
        if V is not None:
            a = self._at_levels(g, V.T, a)
        elif A is not None:
            a = self._with_levels_last(g, A.gather, a)
        return (matrix @ a.reshape(k, -1)).reshape(k * q, -1)

    def _level_root(self, g: int) -> np.ndarray | None:
        roots = self._at.products.level_roots
        return roots[g] if roots else None

    def _at_levels(self, g: int, matrix: np.ndarray, a: np.ndarray) -> np.ndarray:
        """Multiply over the levels (q, q), effect by effect."""
        k, q = self._shapes[g]
        return (matrix @ a.reshape(k, q, -1)).reshape(k * q, -1)

    def _with_levels_last(self, g: int, change: Callable[[np.ndarray], np.ndarray], a: np.ndarray) -> np.ndarray:
        """Change what all levels have, effect by effect."""
        k, q = self._shapes[g]
        return change(a.reshape(k, q, -1).swapaxes(1, 2)).swapaxes(1, 2).reshape(k * q, -1)

    def _split(self, a: np.ndarray) -> list[np.ndarray]:
        """Into (k, c, q) of each factor."""
        return [
            np.ascontiguousarray(a[own].reshape(k, q, -1).swapaxes(1, 2))
            for own, (k, q) in zip(self._own, self._shapes, strict=True)
        ]

    def _join(self, effects: Sequence[np.ndarray]) -> np.ndarray:
        """Into one array (N, c)."""
        return np.concatenate([b.swapaxes(1, 2).reshape(-1, b.shape[1]) for b in effects])
