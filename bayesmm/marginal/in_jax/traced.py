"""The operations in JAX, for functions that are compiled and differentiated."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.tree_util import register_dataclass

from bayesmm.marginal.arrays.linalg import batched_cholesky, contract
from bayesmm.marginal.in_jax.schur import inverse, schur
from bayesmm.marginal.plan.plan import FillMap, PlanIndex, Update
from bayesmm.marginal.shapes import Array, Float, Int
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.related import Relating

xp = jnp

# A library call for small matrices takes as long as ten elementwise operations, which also fuse. Longer chains of those
# make programs that compile slowly, in which much is computed twice.
WRITTEN_OUT = 8  # rows of a matrix whose products are written out
SOLVED = 5  # rows of a matrix that is factored without the library
SUMMED = 1000  # products that are summed without the library
FLAT = 64  # rows of a matrix whose products with itself are all formed, with what is not needed among them
# On a processor a small loop, with all loops in it, is one kernel instead of hundreds, unless a scatter is in it.
# Without one Pastes is sampled in two thirds of the time and compiled sooner; from 250 terms on scattering is faster.
IN_TURN = 128  # terms that are added one after another

for _tree in (FillMap, Update, PlanIndex, CrossProducts, Relating):
    register_dataclass(_tree)


@jax.custom_jvp
def add_levels(blocks: Float[Array, "k l q"], where: Int[Array, " P"], terms: Float[Array, "k l P"]) -> Array:
    """Add terms to the levels that they belong to."""
    if not 0 < len(where) <= IN_TURN:
        return _scatter(blocks, where, terms)
    return jax.lax.platform_dependent(blocks, where, terms, cpu=_add_in_turn, default=_scatter)


@add_levels.defjvp
def _add_levels_jvp(primals, tangents):
    """Scatter, which can be transposed."""
    return add_levels(*primals), _scatter(tangents[0], primals[1], tangents[2])


def _scatter(blocks: Array, where: Array, terms: Array) -> Array:
    """Scattering along the first axis takes an eighth of the time."""
    return jnp.moveaxis(jnp.moveaxis(blocks, -1, 0).at[where].add(jnp.moveaxis(terms, -1, 0)), 0, -1)


@jax.custom_batching.custom_vmap
def _add_in_turn(blocks: Array, where: Array, terms: Array) -> Array:
    """Do the same, to the bit, one term after another; many at once are scattered."""
    take = partial(jax.lax.dynamic_slice_in_dim, slice_size=1, axis=2)

    def add(i: Array, total: Array) -> Array:
        sums = take(total, where[i]) + take(terms, i)
        return jax.lax.dynamic_update_slice_in_dim(total, sums, where[i], axis=2)

    return jax.lax.fori_loop(0, len(where), add, blocks)


@_add_in_turn.def_vmap
def _scatter_many(n: int, are_many: Any, *arrays: Array) -> tuple[Array, bool]:
    return jax.vmap(_scatter, [0 if many else None for many in are_many])(*arrays), True


def take_levels(blocks: Float[Array, "k l q"], where: Int[Array, " P"]) -> Float[Array, "k l P"]:
    """Read levels."""
    return blocks[:, :, where]


def add_flat(flat: Float[Array, " d"], where: Int[Array, " ..."], terms: Float[Array, " ..."]) -> Array:
    """Add terms at flat positions; padded ones lie beyond the end."""
    return flat.at[where].add(terms, mode="drop")


def take_flat(flat: Float[Array, " d"], where: Int[Array, " ..."]) -> Array:
    """Read flat positions."""
    return flat.at[where].get(mode="fill", fill_value=0.0)


def transform(T: Float[Array, "r a"], A: Float[Array, "r ..."]) -> Float[Array, "a ..."]:
    """T'A for every level, with the same T."""
    flat = A.reshape(A.shape[0], prod(A.shape[1:]))
    product = contract(T, flat) if 0 < len(T) <= WRITTEN_OUT else T.T @ flat
    return product.reshape(T.shape[1], *A.shape[1:])


def sum_gram(A: Float[Array, "k c q"]) -> Float[Array, "c c"]:
    """ΣA'A over levels."""
    if A.shape[1] * A.size <= SUMMED:
        return contract(A, A).sum(-1)
    return jnp.einsum("kcq,kdq->kcd", A, A).sum(0)


def sum_outer(A: Float[Array, "k c q"], weights: Float[Array, "c c"]) -> Float[Array, "k k"]:
    """ΣA weights A' over levels, for symmetric weights."""
    k, c, q = A.shape
    if max(k, c) * A.size <= SUMMED:
        columns = A.swapaxes(0, 1)
        return contract(columns, contract(weights[..., None], columns)).sum(-1)
    if k * c <= FLAT:
        products = sum_gram(A.reshape(1, k * c, q)).reshape(k, c, k, c)
        return (products * weights[:, None]).sum((1, 3))
    return jnp.einsum("jaq,jbq->ab", A.swapaxes(0, 1), transform(weights, A.swapaxes(0, 1)))


def rescale(A: Float[Array, " ..."], factor: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Multiply entry by entry."""
    return A * factor


def add_identity(blocks: Float[Array, "B m m"]) -> Float[Array, "B m m"]:
    """Add I."""
    return blocks + jnp.eye(blocks.shape[1])


def times(A: Float[Array, "B r m"], B: Float[Array, "B m c"]) -> Float[Array, "B r c"]:
    """AB."""
    return A @ B


def gram(A: Float[Array, "B r m"]) -> Float[Array, "B m m"]:
    """A'A."""
    return A.swapaxes(1, 2) @ A


def fold(upper: Float[Array, "B m m"]) -> Float[Array, "B m m"]:
    """U + U'."""
    return upper + upper.swapaxes(1, 2)


def factor(M: Float[Array, "B m m"]) -> Array:
    """M itself: what is made of it has derivative rules of its own, and compilers see common factors."""
    return M


def reduce(factor: Array, B: Float[Array, "B m c"]) -> tuple[Array, Array]:
    """log|M| and B'M⁻¹B."""
    return schur(factor, B)


def solve(factor: Array, B: Float[Array, "B m c"]) -> Float[Array, "B m c"]:
    """M⁻¹B."""
    return cho_solve((jnp.linalg.cholesky(factor), True), B)


def solve_root(factor: Array, z: Float[Array, "B m c"]) -> Float[Array, "B m c"]:
    """L⁻ᵀz."""
    return solve_triangular(jnp.linalg.cholesky(factor), z, lower=True, trans=1)


def invert(factor: Array) -> Float[Array, "B m m"]:
    """M⁻¹."""
    return inverse(factor)


def is_written_out(M: Float[Array, "m m"]) -> bool:
    """Whether a matrix is small enough to be factored, or solved for, without the library."""
    return 0 < len(M) <= SOLVED


def invert_root(M: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """L⁻¹, with M = LL'."""
    if is_written_out(M):
        return batched_cholesky(jnp, M[..., None], jnp.eye(len(M))[..., None])[1][..., 0]
    return solve_triangular(jnp.linalg.cholesky(M), jnp.eye(len(M)), lower=True)


def solve_upper(T: Float[Array, "m m"], B: Float[Array, "m ..."]) -> Float[Array, "m ..."]:
    """T⁻¹B for upper triangular T."""
    if not is_written_out(T):
        return solve_triangular(T, B)
    rows: list[Array] = []
    for i in reversed(range(len(T))):
        right = B[i]
        for j, row in enumerate(reversed(rows), i + 1):
            right = right - T[i, j] * row
        rows.append(right / T[i, i])
    return jnp.stack(rows[::-1])


def fill(fill: FillMap, blocks: Float[Array, " t"], length: int) -> Float[Array, " d"]:
    """Apply the fill map."""
    return jnp.zeros(length).at[fill.row].add(fill.coefficient * jnp.tile(blocks, fill.copies)[fill.column])


def fill_transposed(fill: FillMap, covariance: Float[Array, " d"], length: int) -> Float[Array, " t"]:
    """Apply its transpose."""
    through = jnp.zeros(fill.copies * length).at[fill.column].add(fill.coefficient * covariance[fill.row])
    return through.reshape(fill.copies, length).sum(axis=0)
