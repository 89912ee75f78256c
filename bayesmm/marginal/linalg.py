"""Small linear algebra with derivative rules that stay cheap."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float


@jax.custom_jvp
def inverse(H: Float[Array, "*batch m m"]) -> Float[Array, "*batch m m"]:
    """Inverse of symmetric positive definite matrices."""
    L = jnp.linalg.cholesky(H)
    identity = jnp.broadcast_to(jnp.eye(H.shape[-1], dtype=H.dtype), H.shape)
    return cho_solve((L, True), identity)


@inverse.defjvp
def _inverse_jvp(primals, tangents):
    (H,), (dH,) = primals, tangents
    H_inv = inverse(H)
    return H_inv, -H_inv @ dH @ H_inv


@jax.custom_jvp
def schur(
    H: Float[Array, "*batch m m"], B: Float[Array, "*batch m c"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch c c"]]:
    """log|H| and B'H⁻¹B for symmetric positive definite H.

    Notes
    -----
    d log|H| = tr(H⁻¹dH) and d(B'H⁻¹B) = dB'M + M'dB − M'dH M with M = H⁻¹B. Differentiating through the Cholesky
    factor instead costs 2.5 times as much at m = 1128 (103 ms against 41 ms), and compiles longer at any size.
    """
    L = jnp.linalg.cholesky(H)
    W = solve_triangular(L, B, lower=True)
    log_det = 2.0 * jnp.log(jnp.diagonal(L, axis1=-2, axis2=-1)).sum(-1)
    return log_det, jnp.swapaxes(W, -1, -2) @ W


@schur.defjvp
def _schur_jvp(primals, tangents):
    (H, B), (dH, dB) = primals, tangents
    H_inv = inverse(H)
    M = H_inv @ B
    cross = jnp.swapaxes(dB, -1, -2) @ M
    d_log_det = (H_inv * dH).sum((-2, -1))
    d_quadratic = cross + jnp.swapaxes(cross, -1, -2) - jnp.swapaxes(M, -1, -2) @ dH @ M
    return schur(H, B), (d_log_det, d_quadratic)


def batched_cholesky(
    H: Float[Array, "k k q"], C: Float[Array, "k c q"]
) -> tuple[list[Float[Array, " _r q"]], Float[Array, "k c q"]]:
    """Factor H[:, :, i] = L L' for every level i, and solve L W = C.

    The level axis is last, and the k steps are written out: each is one fused elementwise operation over all levels
    (25 times faster in value and gradient than the batched library call at 100,000 levels of 2 x 2).

    Returns
    -------
    columns : list of k arrays, shapes (k − j, q)
        Column j of L from the diagonal down.
    W : array, shape (k, c, q)
        L⁻¹C.
    """
    columns, solved = [], []
    rest, right = H, C
    for _ in range(H.shape[0]):
        scale = jax.lax.rsqrt(rest[0, 0])
        column = rest[:, 0] * scale  # (k - j, q)
        row = right[0] * scale  # (c, q)
        columns.append(column)
        solved.append(row)
        below = column[1:]
        rest = rest[1:, 1:] - below[:, None] * below[None, :]
        right = right[1:] - below[:, None] * row[None]
    return columns, jnp.stack(solved)


def batched_forward(columns: list[Float[Array, " _r q"]], B: Float[Array, "k c q"]) -> Float[Array, "k c q"]:
    """L⁻¹B for every level, with L as `batched_cholesky` returns it."""
    solved = []
    right = B
    for column in columns:
        row = right[0] / column[0]
        solved.append(row)
        right = right[1:] - column[1:, None] * row[None]
    return jnp.stack(solved)


def batched_backward(columns: list[Float[Array, " _r q"]], x: Float[Array, "k q"]) -> Float[Array, "k q"]:
    """L⁻ᵀx for every level, with L as `batched_cholesky` returns it."""
    solved: list[Array] = []
    for j in reversed(range(len(columns))):
        below = sum((columns[j][i + 1] * value for i, value in enumerate(solved)), jnp.zeros_like(x[j]))
        solved.insert(0, (x[j] - below) / columns[j][0])
    return jnp.stack(solved)
