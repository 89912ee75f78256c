"""Sums over groups that share a covariance matrix: all that a likelihood without random effects sees of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.marginal.residual.layout import Stack
from bayesmm.marginal.shapes import Array, Float

WRITTEN_OUT = 2
MANY = 1000  # numbers in matrices of two rows, from which loops over the patterns take less time
MOST_NUMBERS = 2_000_000  # in the sums of one stack that are made though rows would take less memory


@dataclass(frozen=True, kw_only=True, eq=False)
class StackSums:
    """Columns r (o, c) of the groups of one stack, summed over those of a pattern where they are many.

    Attributes
    ----------
    stack : Stack
        The groups.
    c : int
        Number of columns.
    sums : array, shape (m, o o, c c), or None
        Σ r_s r_t' of each two rows s, t of a pattern.
    rows : array, shape (G, o, c), or None
        The columns themselves, where sums would be more numbers.
    """

    stack: Stack
    c: int
    sums: Float[Array, "m r s"] | None
    rows: Float[Array, "G o c"] | None

    def weighted(self, W: Float[Array, "m o o"]) -> Float[Array, "c c"]:
        """Σ_g r'Wr."""
        if self.sums is not None:
            return (W.reshape(1, -1) @ self.sums.reshape(-1, self.c**2)).reshape(self.c, self.c)
        assert self.rows is not None
        moved = times(W[self.stack.pattern], self.rows)
        return self.rows.reshape(-1, self.c).T @ moved.reshape(-1, self.c)

    def weighted_each(self, W: Float[Array, "f m o o"]) -> Float[Array, "f c c"]:
        """Do the same for several W."""
        if self.sums is not None:
            return (W.reshape(len(W), -1) @ self.sums.reshape(-1, self.c**2)).reshape(len(W), self.c, self.c)
        return np.stack([self.weighted(each) for each in W])

    def contract(self, M: Float[Array, "c c"]) -> Float[Array, "m o o"]:
        """Σ_g r M r' of each pattern."""
        m, o = self.stack.positions.shape
        if self.sums is not None:
            return (self.sums @ M.reshape(-1)).reshape(m, o, o)
        assert self.rows is not None
        moved = (self.rows.reshape(-1, self.c) @ M).reshape(self.rows.shape)
        if o > WRITTEN_OUT:
            return sum_by_pattern(self.stack, moved @ self.rows.swapaxes(1, 2))
        return sum_by_pattern(self.stack, (moved[:, :, None] * self.rows[:, None]).sum(axis=-1))

    def squares(self, v: Float[Array, " c"]) -> Float[Array, "m o o"]:
        """Σ_g (rv)(rv)' of each pattern."""
        if self.sums is not None:
            return self.contract(v[:, None] * v)
        assert self.rows is not None
        along = self.rows @ v
        return sum_by_pattern(self.stack, along[:, :, None] * along[:, None])


def sum_by_pattern(stack: Stack, values: Float[Array, "G o o"]) -> Float[Array, "m o o"]:
    """Sum matrices of groups over those of each pattern."""
    m = len(stack.positions)
    flat = values.reshape(len(values), -1)
    if m == len(flat):
        found = np.empty_like(flat)
        found[stack.pattern] = flat
    else:
        found = np.stack([np.bincount(stack.pattern, weights=column, minlength=m) for column in flat.T], axis=1)
    return found.reshape(m, *values.shape[1:])


def sum_patterns(
    stacks: Sequence[Stack], columns: Float[Array, "n c"], *, always: bool = False
) -> tuple[StackSums, ...]:
    """Sum products of columns over the groups of each pattern; where rows are fewer numbers, only if `always`."""
    return tuple(_sum_stack(stack, stack.take(columns).swapaxes(0, 1), always) for stack in stacks)


def keeps_rows(stack: Stack, c: int) -> bool:
    """Whether c columns of the rows are fewer numbers than their sums."""
    (G, o), m = stack.rows.shape, len(stack.positions)
    return m * o * c > G and (m * (o * c) ** 2 > MOST_NUMBERS or 2 * m > G)


def _sum_stack(stack: Stack, rows: Float[Array, "G o c"], always: bool) -> StackSums:
    G, o, c = rows.shape
    m = len(stack.positions)
    if not always and keeps_rows(stack, c):
        return StackSums(stack=stack, c=c, sums=None, rows=rows)
    order = np.argsort(stack.pattern, kind="stable")
    parts = np.split(rows[order].reshape(G, o * c), np.cumsum(np.bincount(stack.pattern))[:-1])
    sums = np.stack([part.T @ part for part in parts]).reshape(m, o, c, o, c)
    return StackSums(stack=stack, c=c, sums=sums.swapaxes(2, 3).reshape(m, o * o, c * c), rows=None)


def total_weighted(sums: Sequence[StackSums], W: Sequence[Float[Array, "m o o"]]) -> Float[Array, "c c"]:
    """Σ r'Wr over all groups."""
    return sum(each.weighted(own) for each, own in zip(sums, W, strict=True))  # type: ignore[return-value]


def total_weighted_each(sums: Sequence[StackSums], W: Sequence[Float[Array, "f m o o"]]) -> Float[Array, "f c c"]:
    """Do the same for several W."""
    return sum(each.weighted_each(own) for each, own in zip(sums, W, strict=True))  # type: ignore[return-value]


def times(A: Float[Array, "*#m o o"], B: Float[Array, "*#m o c"]) -> Float[Array, "*m o c"]:
    """AB of every pattern; of one or two rows written out, since a library multiplies such matrices one by one."""
    o, c = A.shape[-1], B.shape[-1]
    if o > WRITTEN_OUT:
        return A @ B
    if o == 1 or A.size < MANY:
        return sum((A[..., :, r : r + 1] * B[..., r : r + 1, :] for r in range(1, o)), A[..., :, :1] * B[..., :1, :])
    total = np.empty((*np.broadcast_shapes(A.shape[:-2], B.shape[:-2]), o, c))
    for i, j in np.ndindex(o, c):  # each a long loop over the patterns, where one over columns would be short
        np.multiply(A[..., i, 0], B[..., 0, j], out=total[..., i, j])
        for r in range(1, o):
            total[..., i, j] += A[..., i, r] * B[..., r, j]
    return total


def sandwich(W: Float[Array, "*#m o o"], M: Float[Array, "*#m o o"]) -> Float[Array, "*m o o"]:
    """WMW of every pattern."""
    return times(times(W, M), W)


def invert(R: Float[Array, "m o o"]) -> tuple[Float[Array, "m o o"], Float[Array, " m"]]:
    """R⁻¹ and log|R|; of one or two rows written out, since a library's call takes ten times as long.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is not positive definite.
    """
    o = R.shape[-1]
    if o == 1:
        if not (R > 0.0).all():
            raise np.linalg.LinAlgError("Matrix is not positive definite")
        return 1.0 / R, np.log(R[:, 0, 0])
    if o == 2:
        a, b, d = R[:, 0, 0], R[:, 0, 1], R[:, 1, 1]
        left = d - b * b / a  # of the second, given the first
        if not (left > 0.0).all():
            raise np.linalg.LinAlgError("Matrix is not positive definite")
        across = -b / (a * left)
        W = np.stack([np.stack([1.0 / a - across * b / a, across], -1), np.stack([across, 1.0 / left], -1)], -2)
        return W, np.log(a) + np.log(left)
    L = np.linalg.cholesky(R)
    return np.linalg.inv(R), 2.0 * np.log(np.diagonal(L, axis1=-2, axis2=-1)).sum(-1)
