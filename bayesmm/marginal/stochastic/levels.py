"""Small matrices, one a level with the levels first, times columns of all effects, one level after another."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesmm.marginal.shapes import Array, Float


def times_levels(M: Float[Array, "q a b"], x: Float[Array, "_qb c"]) -> Float[Array, "_qa c"]:
    """Mx for every level."""
    q, a, b = M.shape
    if a == b == 1:
        return M[:, 0] * x
    return (M @ x.reshape(q, b, x.shape[1])).reshape(q * a, x.shape[1])


def transposed(M: Float[Array, "q a b"]) -> Float[Array, "q b a"]:
    """M' of every level."""
    return M.swapaxes(1, 2)


def root_levels(xp: Any, M: Float[Array, "q k k"]) -> tuple[Float[Array, "q k k"], Float[Array, " q"]]:
    """R⁻¹ and log|M| with M = RR' for every level; NaN where one is not positive definite."""
    k = M.shape[1]
    if k == 1:
        return 1.0 / xp.sqrt(M), xp.log(M[:, 0, 0])
    try:
        R = xp.linalg.cholesky(M)
    except np.linalg.LinAlgError:
        R = xp.full(M.shape, xp.nan)
    unit = xp.broadcast_to(xp.eye(k), M.shape)
    return xp.linalg.solve(R, unit), 2.0 * xp.log(xp.diagonal(R, axis1=1, axis2=2)).sum(axis=1)


def end_to_end(blocks: Float[Array, "k c q"]) -> Float[Array, "_kq c"]:
    """Columns of one factor, its effects of one level side by side."""
    k, c, q = blocks.shape
    return blocks.transpose(2, 0, 1).reshape(q * k, c)


def by_effect(columns: Float[Array, "_kq c"], k: int) -> Float[Array, "k c q"]:
    """Undo `end_to_end`."""
    return columns.reshape(-1, k, columns.shape[1]).transpose(1, 2, 0)
