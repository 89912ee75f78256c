"""What the error of estimated covariances adds to that of predictions where residuals have a covariance of their own.

On rows that are whitened at the estimates (R = I there) a prediction is η̂ = l'β̂ + m'b̂ = λ'y with

    λ = PZΨm + Ṽ⁻¹XA⁻¹l,    h = m − Z'λ,    v = h'Ψh + λ'λ,

v the variance over σ² of its error; with β known λ is Ṽ⁻¹ZΨm. Of the covariance parameters, θ of the effects and φ of
the residuals, whose slopes in Ṽ are ZΨ_iZ' and R_i (Ψ is A ⊗ ΛΛ' where levels are related),

    ∂_iη̂ = c_i'Py,  c_i = ZΨ_ih of θ and −R_iλ of φ;    ∂_iv = h'Ψ_ih of θ and λ'R_iλ of φ,

the latter since λ is the best of all λ; and Cov(∂_iη̂, ∂_jη̂) = σ²c_i'Pc_j.

Kackar & Harville (1984), JASA 79. Prasad & Rao (1990), JASA 85.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import assemble_factors
from bayesmm.covariance.tangents import jacobians
from bayesmm.inference.eliminated import eliminate_given
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.fixed.information import root_directions
from bayesmm.marginal.residual.through_rows import Eliminated

NUMBERS = 2**23  # in the columns that are worked with together, 64 MB


class Predicted(NamedTuple):
    """Of some predictions: λ (n, c), h (k, c, q) of each factor, and v (c,)."""

    rows: np.ndarray
    levels: list[np.ndarray]
    value: np.ndarray


class ResidualLayers:
    """A fit whose residuals have a covariance, ready for what its estimation adds to the error of predictions.

    Parameters
    ----------
    fit : Fit
        At its estimate.
    W : array, shape (u + 1, u + 1)
        Covariance of (θ, φ, log σ).
    """

    def __init__(self, fit: Fitted, W: np.ndarray) -> None:
        found, residual = fit.estimate, fit.estimate.residual
        assert residual is not None
        self.eliminated: Eliminated = eliminate_given(fit)
        theta, layout = found.minimum.x, fit.problem.layout
        factors, first = assemble_factors(np, theta, layout), jacobians(np, theta, layout)
        halves = [slope @ L.T for L, slope in zip(factors, first, strict=True)]
        self._prior = [L @ L.T for L in factors]
        self._slopes = [half + half.swapaxes(1, 2) for half in halves]  # Ψ_i
        self._stacks = residual.layout.stacks
        backs = [np.linalg.inv(np.linalg.cholesky(R)) for R in residual.covariances]
        slopes = residual.layout.derivatives(residual.phi)
        self._turned = [back @ dR @ back.swapaxes(-1, -2) for back, dR in zip(backs, slopes, strict=True)]
        self._F = root_directions(W[:-1, :-1])  # (u, r)

    @property
    def n_parameters(self) -> int:
        """Entries of (θ, φ)."""
        return len(self._F)

    def batches(self, n: int, each: int = 1) -> Iterator[np.ndarray]:
        """Numbers below n, as many at a time as there is room for, with so many predictions for each."""
        size = max(NUMBERS // (len(self.eliminated.rows.fixed) * max(self.n_parameters, 1) * each), 1)
        return (np.arange(first, min(first + size, n)) for first in range(0, n, size))

    def predict(self, fixed: np.ndarray, effects: list[np.ndarray], *, of_fixed: bool = True) -> Predicted:
        """Work out predictions of l (p, c) and m (k, c, q) of each factor, on the conditioned columns."""
        eliminated, c = self.eliminated, fixed.shape[1]
        K = np.zeros((len(eliminated.rows.fixed), c))
        if effects:
            K = eliminated.to_rows([self._covary(f, Psi, m) for f, (Psi, m) in self._of_levels(effects)])
        if of_fixed:
            rows = eliminated.project(K)[1] + eliminated.solved[:, :-1] @ (eliminated.covariance @ fixed)
        else:
            rows = K - eliminated.to_rows(eliminated.solve_levels(eliminated.to_levels(K)))
        levels = [m - own for m, own in zip(effects, eliminated.to_levels(rows), strict=True)]
        value = (rows**2).sum(axis=0)
        for f, (Psi, h) in self._of_levels(levels):
            value = value + np.einsum("kcq,kcq->c", h, self._covary(f, Psi, h))
        return Predicted(rows, levels, value)

    def slopes(self, of: Predicted, each: int = 1, moved: np.ndarray | None = None) -> np.ndarray:
        """∂v of predictions that belong together by so many: (u, c / each, each, each).

        Where predictions have weights K on the rows beside λ, `moved` is L'∂K (f, n, c), R = LL'.
        """

        def pairs(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            left, right = (part.reshape(len(part), -1, each) for part in (left, right))
            return np.einsum("nca,ncb->cab", left, right)

        found = []
        for f, (own, h) in enumerate(zip(self._slopes, of.levels, strict=True)):
            flat = h.swapaxes(1, 2).reshape(-1, h.shape[1])
            for slope in own:
                way = self._covary(f, slope, h).swapaxes(1, 2).reshape(-1, h.shape[1])
                found.append(pairs(flat, way))
        of_rows = [pairs(of.rows, column) for column in self._of_residuals(of.rows)]
        if moved is not None:
            crossed = (pairs(of.rows, column) for column in moved)
            of_rows = [own - both - both.swapaxes(1, 2) for own, both in zip(of_rows, crossed, strict=True)]
        return np.stack(found + of_rows)

    def of_new(self, effects: list[np.ndarray], c: int) -> tuple[np.ndarray, np.ndarray]:
        """Say what effects of new levels add, of multipliers (k, c) of each factor: to v (c,), and to ∂v (u, c)."""
        value, slopes = np.zeros(c), np.zeros((self.n_parameters, c))
        i = 0
        for Psi, own, z in zip(self._prior, self._slopes, effects, strict=True):
            value += np.einsum("kc,kl,lc->c", z, Psi, z)
            slopes[i : i + len(own)] = np.einsum("kc,ikl,lc->ic", z, own, z)
            i += len(own)
        return value, slopes

    def second_order(self, of: Predicted, each: int = 1, moved: np.ndarray | None = None) -> np.ndarray:
        """g₃ over σ² of predictions that belong together by so many: (c / each, each, each); `moved` as in `slopes`."""
        c = of.rows.shape[1]
        ways = []
        for f, own in enumerate(self._slopes):
            for slope in own:
                by = [np.zeros((len(Psi), c, h.shape[2])) for Psi, h in zip(self._prior, of.levels, strict=True)]
                by[f] = self._covary(f, slope, of.levels[f])
                ways.append(self.eliminated.to_rows(by))
        of_rows = [-column for column in self._of_residuals(of.rows)]
        ways += of_rows if moved is None else [own + more for own, more in zip(of_rows, moved, strict=True)]
        total = np.zeros((c // each, each, each))
        for column in np.tensordot(self._F.T, np.stack(ways), axes=(1, 0)):
            left, right = (part.reshape(len(part), -1, each) for part in (column, self.eliminated.project(column)[1]))
            total += np.einsum("nca,ncb->cab", left, right)
        return 0.5 * (total + total.swapaxes(1, 2))

    def _of_levels(self, effects: list[np.ndarray]) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
        return enumerate(zip(self._prior, effects, strict=True))

    def _covary(self, f: int, Psi: np.ndarray, effects: np.ndarray) -> np.ndarray:
        """Multiply the effects of one factor (k, c, q) by Ψ, and by A where levels are related."""
        return self.eliminated.covary(f, np.einsum("kl,lcq->kcq", Psi, effects))

    def _of_residuals(self, K: np.ndarray) -> Iterator[np.ndarray]:
        """R_iK of each entry of φ, (n, c)."""
        for i in range(len(self._turned[0])):
            moved = np.empty_like(K)
            for stack, turned in zip(self._stacks, self._turned, strict=True):
                moved[stack.rows] = turned[i][stack.pattern] @ K[stack.rows]
            yield moved
