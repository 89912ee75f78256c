"""Several factors of few levels: one dense matrix for all their effects, without a difference of large numbers.

What `bayesmm.marginal.apart.one_factor` does for the levels of one factor, for all effects at once: with a root R of
Z'WZ = R'R, the coefficients c of K = [X y] on it, and what all effects together leave of K,

    M = I + RΛΛ'R',    K'Ṽ⁻¹K = what is left + c'M⁻¹c,    Z'Ṽ⁻¹K = R'M⁻¹c,    Z'Ṽ⁻¹Z = R'M⁻¹R:

sums of squares, for any Λ and for Z of any rank, where elimination loses all digits once the standard deviations are
some thousand times σ. For few effects it is the faster way, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayesmm.marginal.arrays.operations import Operations
from bayesmm.marginal.shapes import Array, Float


class EffectRoots(NamedTuple):
    """Cross-products of all factors, taken apart; of their m effects, those of one factor lie together, levels last.

    Attributes
    ----------
    roots : tuple of arrays, shapes (k, q, r)
        R' of the effects of each factor.
    coefficients : array, shape (r, c)
        c, for K = [X y]: R'c is Z'WK.
    gram : array, shape (c, c)
        K'WK of what the effects leave of K.
    """

    roots: tuple[Float[Array, "k q r"], ...]
    coefficients: Float[Array, "r c"]
    gram: Float[Array, "c c"]

    def of_columns(self, own: np.ndarray) -> EffectRoots:
        """Return those of some columns of K alone."""
        return EffectRoots(self.roots, self.coefficients[:, own], self.gram[np.ix_(own, own)])


class FewEffects(NamedTuple):
    """What an evaluation of the criterion needs, at one Λ.

    Attributes
    ----------
    log_det : scalar
        log|H|.
    gram : array, shape (c, c)
        S = [X y]'Ṽ⁻¹[X y].
    residual : list of arrays, shape (k, c, q)
        Z'Ṽ⁻¹[X y]; ΛΛ' times it are effects.
    marginal : array, shape (m, m)
        Z'Ṽ⁻¹Z.
    weights : list of arrays, shape (k, k)
        Σ Z_i'Ṽ⁻¹Z_i of each factor.
    """

    log_det: Float[Array, ""]
    gram: Float[Array, "c c"]
    residual: list[Float[Array, "k c q"]]
    marginal: Float[Array, "m m"]
    weights: list[Float[Array, "k k"]]


def root_effects(effects: Sequence[np.ndarray], columns: np.ndarray) -> EffectRoots:
    """Take K apart by a triangular root of all rows.

    Parameters
    ----------
    effects : sequence of arrays, shape (k, q, n)
        Z of each factor, rows last, times the roots of the weights.
    columns : array, shape (c, n)
        K, likewise.
    """
    m = sum(Z.shape[0] * Z.shape[1] for Z in effects)
    root = np.linalg.qr(np.concatenate([*(Z.reshape(-1, Z.shape[2]) for Z in effects), columns]).T, mode="r")
    rest = root[m:, m:]
    parts = _split(root[:m, :m].T, [Z.shape[:2] for Z in effects])
    return EffectRoots(tuple(map(np.ascontiguousarray, parts)), root[:m, m:].copy(), rest.T @ rest)


def solve_few_effects(ops: Operations, roots: EffectRoots, factors: Sequence[Float[Array, "k k"]]) -> FewEffects:
    """Solve at one Λ, on the conditioned columns."""
    xp, c = ops.xp, roots.gram.shape[0]
    B = _times_factors(ops, roots, factors)
    R = xp.concatenate([each.reshape(-1, each.shape[2]) for each in roots.roots])
    right = xp.concatenate([roots.coefficients.T, R]).T
    log_det, solved = ops.reduce(ops.factor(ops.add_identity(ops.gram(B[None]))), right[None])
    residual = [each.swapaxes(1, 2) for each in _split(solved[0, c:, :c], _sizes(roots))]
    marginal = solved[0, c:, c:]
    return FewEffects(
        log_det=log_det[0],
        gram=roots.gram + solved[0, :c, :c],
        residual=residual,
        marginal=marginal,
        weights=[each.sum(-1) for each in _level_blocks(marginal, _sizes(roots))],
    )


def gram_of_effects(
    ops: Operations, marginal: Float[Array, "m m"], moved: Sequence[Float[Array, "k t q"]]
) -> Float[Array, "t t"]:
    """(Za)'Ṽ⁻¹(Za) of arrays a, whose columns for different factors lie side by side."""
    xp, lines, after = ops.xp, [], sum(a.shape[1] for a in moved)
    before = 0
    for a in moved:
        k, t, q = a.shape
        after -= t
        own = a.swapaxes(1, 2).reshape(k * q, t)
        lines.append(xp.concatenate([xp.zeros((k * q, before)), own, xp.zeros((k * q, after))], axis=1))
        before += t
    columns = xp.concatenate(lines)
    return columns.T @ marginal @ columns


def paired_traces_of_effects(
    marginal: np.ndarray, residual: Sequence[np.ndarray], weight: np.ndarray, ways: Sequence[np.ndarray]
) -> Float[Array, "t t"]:
    """tr(PV_sPV_t) as in `bayesmm.marginal.apart.one_factor.paired_traces`, of all factors.

    Parameters
    ----------
    marginal : array, shape (m, m)
        Z'Ṽ⁻¹Z.
    residual : sequence of arrays, shape (k, p, q)
        Z'Ṽ⁻¹X of each factor.
    weight : array, shape (p, p)
        C.
    ways : sequence of arrays, shape (k, t, k)
        A_t of each.
    """
    R = np.concatenate([each.swapaxes(1, 2).reshape(each.shape[0] * each.shape[2], len(weight)) for each in residual])
    rest = marginal - R @ weight @ R.T  # Z'PZ
    m, n_ways = len(rest), sum(each.shape[1] for each in ways)
    moved, start, before = np.zeros((n_ways, m, m)), 0, 0  # Z'PZ times A_t of its own factor
    for way, (k, _, q) in zip(ways, (each.shape for each in residual), strict=True):
        own, after = slice(start, start + k * q), before + way.shape[1]
        product = np.einsum("mbq,bta->tmaq", rest[:, own].reshape(m, k, q), way)
        moved[before:after, :, own] = product.reshape(-1, m, k * q)
        start, before = own.stop, after
    return moved.reshape(n_ways, m * m) @ moved.swapaxes(1, 2).reshape(n_ways, m * m).T


def effect_covariances(
    ops: Operations, roots: EffectRoots, factors: Sequence[Float[Array, "k k"]]
) -> list[Float[Array, "k k q"]]:
    """ΛH⁻¹Λ' of each level: the conditional covariance of its effects over σ², given β."""
    inverse = _inverse(ops, roots, factors)
    return [
        ops.transform(Lambda.T, ops.transform(Lambda.T, block).swapaxes(0, 1)).swapaxes(0, 1)
        for Lambda, block in zip(factors, _level_blocks(inverse, _sizes(roots)), strict=True)
    ]


def joint_covariance(
    ops: Operations, roots: EffectRoots, factors: Sequence[Float[Array, "k k"]]
) -> Float[Array, "m m"]:
    """ΛH⁻¹Λ' of all effects together: those of one factor beside each other, the first effect of all levels first."""
    half = _times_transposes(ops, roots, factors, _inverse(ops, roots, factors))
    return _times_transposes(ops, roots, factors, half.T)


def _inverse(ops: Operations, roots: EffectRoots, factors: Sequence[Float[Array, "k k"]]) -> Float[Array, "m m"]:
    """H⁻¹."""
    B = _times_factors(ops, roots, factors)
    return ops.invert(ops.factor(ops.add_identity(ops.gram(B.T[None]))))[0]


def _times_transposes(
    ops: Operations, roots: EffectRoots, factors: Sequence[Float[Array, "k k"]], rows: Float[Array, "m c"]
) -> Float[Array, "m c"]:
    """Λ times rows."""
    parts = _split(rows, _sizes(roots))
    moved = [ops.transform(Lambda.T, each) for Lambda, each in zip(factors, parts, strict=True)]
    return ops.xp.concatenate([each.reshape(-1, each.shape[2]) for each in moved])


def _times_factors(ops: Operations, roots: EffectRoots, factors: Sequence[Float[Array, "k k"]]) -> Float[Array, "m r"]:
    """Λ'R'."""
    parts = [ops.transform(Lambda, each) for Lambda, each in zip(factors, roots.roots, strict=True)]
    return ops.xp.concatenate([each.reshape(-1, each.shape[2]) for each in parts])


def _sizes(roots: EffectRoots) -> list[tuple[int, int]]:
    return [(each.shape[0], each.shape[1]) for each in roots.roots]


def _split(rows: Float[Array, "m c"], sizes: Sequence[tuple[int, int]]) -> list[Float[Array, "k q c"]]:
    """Rows of each factor."""
    parts, start = [], 0
    for k, q in sizes:
        parts.append(rows[start : start + k * q].reshape(k, q, rows.shape[1]))
        start += k * q
    return parts


def _level_blocks(matrix: Float[Array, "m m"], sizes: Sequence[tuple[int, int]]) -> list[Float[Array, "k k q"]]:
    """Blocks of each factor's levels on the diagonal."""
    blocks, start = [], 0
    for k, q in sizes:
        own = matrix[start : start + k * q, start : start + k * q].reshape(k, q, k, q)
        blocks.append(own.diagonal(axis1=1, axis2=3))
        start += k * q
    return blocks
