"""The passes over the rows: everything that is summed over them, in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesmm.cholesky.precision import Precision
from bayesmm.covariance.layout import Piece
from bayesmm.incidence import Incidence, Membership
from bayesmm.marginal.arrays.linalg import inverse
from bayesmm.marginal.arrays.narrow import product, turn
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.shapes import Array, Float

CHUNK = 2**18  # rows at a time; more where there are more levels, since each chunk visits all of them once
WELL_CONDITIONED = 1e-4  # smallest pivot of the scaled Gram matrix for which its Cholesky factor will do


@dataclass(frozen=True, kw_only=True)
class BlockArrays:
    """The random effects of one grouping factor, row by row.

    Attributes
    ----------
    incidence : Incidence
        Levels and effect columns of each row.
    pieces : tuple of Piece
        Which contiguous columns share a covariance matrix, and its structure.
    root : array, shape (q, q), optional
        C, where the effects of the levels have the covariance CC' ⊗ Σ; independent levels by default.
    precision : Precision, optional
        A⁻¹, where they have A ⊗ Σ and that is sparse.
    is_weighted_once : bool
        Whether the weights of the rows are the same at all parameters, so that it pays to make V'Z'WZV diagonal.
    """

    incidence: Incidence
    pieces: tuple[Piece, ...]
    root: np.ndarray | None = None
    precision: Precision | None = None
    is_weighted_once: bool = True

    @property
    def n_levels(self) -> int:
        """Number of levels (q)."""
        return self.incidence.n_levels

    @property
    def memberships(self) -> tuple[Membership, ...]:
        """Levels and columns of each row, as `Incidence.ordered` has them."""
        return self.incidence.ordered.memberships


@dataclass(frozen=True)
class Conditioning:
    """Columns to sum instead of those of the user.

    Attributes
    ----------
    root : array, shape (p, p)
        R, upper triangular: XR⁻¹ is nearly orthonormal in the inner product of the weights.
    coefficients : array, shape (p,) or (m, p)
        Nearly the least-squares coefficients of y on XR⁻¹, of one response or of several.
    effect_roots : list of arrays, shape (k, k)
        T of each factor: its columns become ZT⁻¹.
    """

    root: Float[Array, "p p"]
    coefficients: Float[Array, "*#m p"]
    effect_roots: list[Float[Array, "k k"]]

    @cached_property
    def to_fixed(self) -> Float[Array, "p p"]:
        """R⁻ᵀ."""
        return inverse(self.root).T

    @cached_property
    def to_effects(self) -> list[Float[Array, "k k"]]:
        """T⁻ᵀ of each factor."""
        return [inverse(T).T for T in self.effect_roots]


@dataclass(frozen=True)
class PairRows:
    """Where the rows are in one list of pairs of levels.

    Attributes
    ----------
    keys : int array, shape (P,)
        The pairs, as in `bayesmm.marginal.plan.planning.make_plan`.
    positions : dict of (int, int) to int array, shape (n,)
        Position of each row's pair, by memberships of the two factors; of one factor, a before b. Where both of these
        have one level, it does not matter, since one of them has columns of zero.
    """

    keys: np.ndarray
    positions: dict[tuple[int, int], np.ndarray]

    @property
    def size(self) -> int:
        """Number of pairs (P)."""
        return len(self.keys)


@dataclass(frozen=True)
class RowSums:
    """[Z Q e]'W[Z Q e] in blocks, for Q = XR⁻¹ and residuals e; see `CrossProducts`."""

    diagonal: list[Float[Array, "k k q"]]
    cross: list[Float[Array, "k c q"]]
    pairs: list[Float[Array, "k l P"]]
    gram: Float[Array, "c c"]


def chunks(n: int, size: int = CHUNK) -> Iterator[slice]:
    """Cut rows into chunks."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def triangular_root(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """R, upper triangular, with R'R = columns'W columns.

    Notes
    -----
    From the Gram matrix where its columns are far from dependent; otherwise by QR, chunk by chunk, which does not
    square the condition number.
    """
    n, p = columns.shape
    gram = np.zeros((p, p))
    for rows in chunks(n):
        gram += columns[rows].T @ (columns[rows] * weights[rows, None])
    scale = np.sqrt(gram.diagonal())
    if (scale > 0).all():
        try:
            R = np.linalg.cholesky(gram / (scale[:, None] * scale)).T
        except np.linalg.LinAlgError:
            R = np.zeros((p, p))
        if R.diagonal().min(initial=1.0) > WELL_CONDITIONED:
            return R * scale
    R = np.zeros((0, p))
    for rows in chunks(n):
        R = np.linalg.qr(np.vstack([R, columns[rows] * np.sqrt(weights[rows, None])]), mode="r")
    return R


def sum_rows(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    blocks: Sequence[BlockArrays],
    conditioning: Conditioning,
    pairs: Mapping[FactorPair, PairRows],
) -> RowSums:
    """Sum all cross-products over the rows.

    Parameters
    ----------
    X, y, weights, blocks
        As in `bayesmm.marginal.sums.crossproducts.build_products`.
    conditioning : Conditioning
        Columns to sum.
    pairs : mapping
        For each pair list the positions of the rows in it.
    """
    n, p = X.shape
    sizes = [block.n_levels for block in blocks]
    widths = [block.incidence.k for block in blocks]
    sums = no_sums(p, sizes, widths, [((widths[f], widths[g]), where.size) for (f, g), where in pairs.items()])
    for rows in chunks(n, max([CHUNK, *sizes])):
        levels = [[each.codes[rows] for each in block.memberships] for block in blocks]
        columns = [[each.columns[rows] for each in block.memberships] for block in blocks]
        chunk = condition_chunk(X[rows], y[rows], weights[rows], levels, columns, conditioning)
        add_chunk(sums, chunk)
        for total, ((f, g), where) in zip(sums.pairs, pairs.items(), strict=True):
            for (a, b), position in where.positions.items():
                add_products(total, chunk.effects[f][a], chunk.effects[g][b] * chunk.weights, position[rows])
    return sums


@dataclass(frozen=True)
class Chunk:
    """Some rows, on conditioned columns.

    Attributes
    ----------
    fixed : array, shape (c, n)
        [Q e].
    weights : array, shape (n,)
        Prior weights.
    codes : list of list of array, shape (n,)
        Level of each row, by factor and membership.
    effects : list of list of array, shape (k, n)
        Its effect columns ZT⁻¹, likewise.
    has_weights : bool
        Whether weights may be other than one.
    """

    fixed: Float[Array, "c n"]
    weights: Float[Array, " n"]
    codes: list[list[np.ndarray]]
    effects: list[list[Float[Array, "k n"]]]
    has_weights: bool = True

    def weighted(self, columns: Float[Array, "a n"]) -> Float[Array, "a n"]:
        """Multiply columns by the weights."""
        return columns * self.weights if self.has_weights else columns


def no_sums(
    p: int, sizes: Sequence[int], widths: Sequence[int], pairs: Sequence[tuple[tuple[int, int], int]] = ()
) -> RowSums:
    """Return sums over no rows, of p coefficients, factors of these levels and effects, and lists of so many pairs."""
    return RowSums(
        [np.zeros((k, k, q)) for k, q in zip(widths, sizes, strict=True)],
        [np.zeros((k, p + 1, q)) for k, q in zip(widths, sizes, strict=True)],
        [np.zeros((*shape, size)) for shape, size in pairs],
        np.zeros((p + 1, p + 1)),
    )


def condition_chunk(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    codes: list[list[np.ndarray]],
    columns: list[list[np.ndarray]],
    conditioning: Conditioning,
    *,
    has_weights: bool = True,
) -> Chunk:
    """Bring some rows to the columns that are summed; levels and effect columns by factor and membership."""
    n, p = X.shape
    fixed = np.empty((p + 1, n))
    fixed[:p] = turn(conditioning.to_fixed, X.T)
    fixed[p] = y - turn(conditioning.coefficients[None], fixed[:p])[0]
    effects = [[turn(T, each.T) for each in own] for T, own in zip(conditioning.to_effects, columns, strict=True)]
    return Chunk(fixed, weights, codes, effects, has_weights)


def add_chunk(sums: RowSums, chunk: Chunk) -> None:
    """Add some rows to all sums but those of pairs."""
    sums.gram[:] += chunk.fixed @ chunk.weighted(chunk.fixed).T
    add_levels(sums, chunk)


def add_levels(sums: RowSums, chunk: Chunk) -> None:
    """Add some rows to the sums of each level."""
    _add_diagonal(sums, chunk)
    weighted = chunk.weighted(chunk.fixed)
    for f, (levels, columns) in enumerate(zip(chunk.codes, chunk.effects, strict=True)):
        for codes, own in zip(levels, columns, strict=True):
            add_products(sums.cross[f], own, weighted, codes)


def add_levels_of_many(sums: RowSums, chunk: Chunk) -> None:
    """Do the same of many rows with half the work: Z'W[Q e] are sparse products, which visit a row once an effect."""
    from scipy import sparse  # 50 ms to import, the time of some hundred thousand rows

    _add_diagonal(sums, chunk)
    weighted = np.ascontiguousarray(chunk.weighted(chunk.fixed).T)  # (n, c)
    starts = np.arange(len(weighted) + 1, dtype=np.int32)
    for total, levels, columns in zip(sums.cross, chunk.codes, chunk.effects, strict=True):
        for codes, own in zip(levels, columns, strict=True):
            places, shape = codes.astype(np.int32), (total.shape[2], len(codes))
            for into, effect in zip(total, own, strict=True):
                into += (sparse.csc_array((effect, places, starts), shape=shape) @ weighted).T


def _add_diagonal(sums: RowSums, chunk: Chunk) -> None:
    for total, levels, columns in zip(sums.diagonal, chunk.codes, chunk.effects, strict=True):
        for codes, own in zip(levels, columns, strict=True):
            add_products(total, own, chunk.weighted(own), codes, symmetric=True)


def sum_residuals(
    X: np.ndarray,
    responses: np.ndarray,
    weights: np.ndarray,
    blocks: Sequence[BlockArrays],
    conditioning: Conditioning,
) -> tuple[Float[Array, "p m"], Float[Array, " m"], list[Float[Array, "k m q"]]]:
    """Sum what is new where responses are: Q'We, the diagonal of e'We and Z'We of their residuals e.

    Parameters
    ----------
    X, weights, blocks, conditioning
        As in `sum_rows`.
    responses : array, shape (m, n)
    """
    (m, n), p = responses.shape, X.shape[1]
    sizes = [block.n_levels for block in blocks]
    left_over, squares = np.zeros((p, m)), np.zeros(m)
    cross = [np.zeros((block.incidence.k, m, q)) for block, q in zip(blocks, sizes, strict=True)]
    to_fixed, to_effects = conditioning.to_fixed, conditioning.to_effects
    for rows in chunks(n, max([CHUNK // m, *sizes])):
        fixed = to_fixed @ X[rows].T
        residuals = responses[:, rows] - conditioning.coefficients @ fixed
        weighted = residuals * weights[rows]
        left_over += fixed @ weighted.T
        squares += np.einsum("mn,mn->m", residuals, weighted)
        for total, T, block in zip(cross, to_effects, blocks, strict=True):
            for each in block.memberships:
                add_products(total, T @ each.columns[rows].T, weighted, each.codes[rows])
    return left_over, squares, cross


def sum_left_over(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    block: BlockArrays,
    conditioning: Conditioning,
    coefficients: Float[Array, "k c q"],
) -> Float[Array, "c c"]:
    """[Q e]'W[Q e] of what is left of [Q e] when coefficients times a factor's columns are taken off.

    The residuals are those of one response (n,) or of several (m, n).
    """
    (membership,) = block.memberships
    gram = np.zeros((coefficients.shape[1],) * 2)
    for rows in chunks(len(X), max(CHUNK // max(gram.shape[0] - X.shape[1], 1), 1)):
        fixed = conditioning.to_fixed @ X[rows].T
        left = np.vstack([fixed, y[..., rows] - conditioning.coefficients @ fixed])
        effects = conditioning.to_effects[0] @ membership.columns[rows].T
        gram += left_over_of(Chunk(left, weights[rows], [[membership.codes[rows]]], [[effects]]), coefficients)
    return gram


def left_over_of(chunk: Chunk, coefficients: Float[Array, "k c q"]) -> Float[Array, "c c"]:
    """Sum the same over some rows, of the only factor's conditioned columns, which are taken off the chunk itself."""
    left, ((codes,),), ((effects,),) = chunk.fixed, chunk.codes, chunk.effects
    for effect, share in zip(effects, coefficients, strict=True):
        left -= share.take(codes, axis=1) * effect
    return product(left, left * chunk.weights)


def dense_rows(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    blocks: Sequence[BlockArrays],
    conditioning: Conditioning,
    change: Float[Array, "c c"],
) -> tuple[list[Float[Array, "k q n"]], Float[Array, "c n"]]:
    """Z of each factor, and [Q e] after a change of its columns, row by row times the roots of the weights.

    The residuals are those of one response (n,) or of several (m, n).
    """
    root, rows, effects = np.sqrt(weights), np.arange(len(X)), []
    for T, block in zip(conditioning.to_effects, blocks, strict=True):
        dense = np.zeros((len(T), block.n_levels, len(X)))
        for each in block.memberships:
            dense[:, each.codes, rows] += T @ each.columns.T * root
        effects.append(dense)
    fixed = conditioning.to_fixed @ X.T
    return effects, change.T @ np.vstack([fixed, y - conditioning.coefficients @ fixed]) * root


def add_products(
    total: Float[Array, "a b q"],
    left: Float[Array, "a n"],
    right: Float[Array, "b n"],
    codes: np.ndarray,
    *,
    symmetric: bool = False,
) -> None:
    """Add the outer products of rows to the levels that they belong to."""
    for i in range(len(left)):
        for j in range(i if symmetric else 0, len(right)):
            part = np.bincount(codes, weights=left[i] * right[j], minlength=total.shape[2])
            total[i, j] += part
            if symmetric and i != j:
                total[j, i] += part
