"""An eliminated fit as single rows see it, whether their residuals are independent or hang together.

What is eliminated are rows of independent residuals: with R = LL' they are L⁻¹ times the rows of the data, and P of the
data is L⁻ᵀPL⁻¹ in terms of P here. So the conditional residuals Le, with e = Py, have the variance σ²LPL', the leverage
of a row is 1 − (LPL⁻¹)_ii, and to leave a row out takes (L⁻ᵀPL⁻¹)_ii and L⁻ᵀe. Independent rows are weighted only, as
none of these sees but residuals: those stay weighted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesmm.inference.eliminated import eliminate_at
from bayesmm.inference.fitted import Fitted
from bayesmm.marginal.leave_out.row_groups import Rows
from bayesmm.marginal.residual.layout import Stack
from bayesmm.marginal.residual.through_rows import Eliminated
from bayesmm.problem import Problem
from bayesmm.reml.estimate import Estimate


@dataclass(frozen=True, kw_only=True, eq=False)
class RowView:
    """What diagnostics read of the rows of a fit.

    Attributes
    ----------
    at : Eliminated
        The fit.
    stacks : tuple of Stack
        Groups of rows whose residuals hang together; none where all are independent.
    roots : sequence of arrays, shapes (m, o, o)
        L of the patterns of each.
    weights : array, shape (n,)
        Prior weights.
    """

    at: Eliminated
    stacks: tuple[Stack, ...]
    roots: Sequence[np.ndarray]
    weights: np.ndarray

    def first(self, n: int) -> RowView:
        """Return the first n rows, of a fit with independent residuals."""
        rows = self.at.rows
        some = Rows(
            fixed=rows.fixed[:n],
            incidences=tuple(each.rows(slice(n)) for each in rows.incidences),
            log_weights=rows.log_weights[:n],
        )
        return RowView(at=self.at.of_rows(some), stacks=(), roots=(), weights=self.weights[:n])

    def to_data(self, K: np.ndarray) -> np.ndarray:
        """LK of columns (n, c): rows of the data."""
        if not self.stacks:
            return K / np.sqrt(self.weights)[:, None]
        found = np.empty_like(K)
        for stack, L in zip(self.stacks, self.roots, strict=True):
            found[stack.rows] = L[stack.pattern] @ K[stack.rows]
        return found

    def residuals(self, K: np.ndarray) -> np.ndarray:
        """Conditional residuals on the scale of `variances`, from those of the rows that were eliminated (n, c)."""
        return self.to_data(K) if self.stacks else K

    @cached_property
    def variances(self) -> np.ndarray:
        """Variances of the conditional residuals over σ², (n,)."""
        return self._diagonal(lambda L, P: L @ P @ L.swapaxes(1, 2), self.left_blocks) if self.stacks else self.at.left

    @cached_property
    def leverage(self) -> np.ndarray:
        """How much of a row's own value its fitted one has, (n,)."""
        if not self.stacks:
            return 1.0 - self.at.left
        return 1.0 - self._diagonal(lambda L, P: L @ P @ np.linalg.inv(L), self.left_blocks)

    @cached_property
    def own(self) -> np.ndarray:
        """Diagonal of the inverse of the covariance of the rows, times σ², (n,)."""
        return self._diagonal(_inward, self.own_blocks) if self.stacks else self.at.own

    @cached_property
    def left(self) -> np.ndarray:
        """The same of P, less what the fixed effects take, (n,)."""
        return self._diagonal(_inward, self.left_blocks) if self.stacks else self.at.left

    @cached_property
    def solved(self) -> np.ndarray:
        """V⁻¹[X y] times σ² (n, p + 1), on the conditioned columns."""
        if not self.stacks:
            return self.at.solved
        found = np.empty_like(self.at.solved)
        for stack, L in zip(self.stacks, self.roots, strict=True):
            back = np.linalg.inv(L).swapaxes(1, 2)
            found[stack.rows] = back[stack.pattern] @ self.at.solved[stack.rows]
        return found

    @cached_property
    def residual(self) -> np.ndarray:
        """Py times σ², (n,)."""
        return self.solved[:, -1] - self.solved[:, :-1] @ self.at.beta

    @cached_property
    def own_blocks(self) -> list[np.ndarray]:
        """Ṽ⁻¹ of the rows of each group, (G, o, o) of each stack."""
        return self.at.own_blocks([stack.rows for stack in self.stacks])

    @cached_property
    def left_blocks(self) -> list[np.ndarray]:
        """P of the rows of each group."""
        u, covariance = self.at.solved[:, :-1], self.at.covariance
        return [
            own - u[stack.rows] @ covariance @ u[stack.rows].swapaxes(1, 2)
            for stack, own in zip(self.stacks, self.own_blocks, strict=True)
        ]

    def _diagonal(self, inside: _Turn, blocks: Sequence[np.ndarray]) -> np.ndarray:
        found = np.empty(len(self.at.rows.fixed))
        for stack, L, own in zip(self.stacks, self.roots, blocks, strict=True):
            found[stack.rows] = np.diagonal(inside(L[stack.pattern], own), axis1=1, axis2=2)
        return found


type _Turn = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _inward(L: np.ndarray, P: np.ndarray) -> np.ndarray:
    """L⁻ᵀPL⁻¹."""
    back = np.linalg.inv(L)
    return back.swapaxes(1, 2) @ P @ back


def view_rows(fit: Fitted) -> RowView:
    """View the rows of a fit."""
    return view_rows_at(fit.problem, fit.estimate)


def view_rows_at(problem: Problem, estimate: Estimate) -> RowView:
    """View the rows of a problem at an estimate."""
    residual = estimate.residual
    return RowView(
        at=eliminate_at(problem, estimate),
        stacks=() if residual is None else residual.layout.stacks,
        roots=() if residual is None else [np.linalg.cholesky(R) for R in residual.covariances],
        weights=problem.design.weights,
    )
