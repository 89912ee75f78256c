"""The precision of the residuals at one φ: weights of pairs of rows, with what their slopes and curvature take.

R⁻¹ has one number for each two rows s ≤ t of a pattern: a *class* of pairs of rows, by entry and then by pattern. Of
rows alone, and of links, all is in closed form: with standard deviations d₁, d₂ and the correlation c of two neighbours
the second, given the first, has the weights

    c²q / d₁²,    −cq / d₁d₂,    q / d₂²,    q = 1 / (1 − c²),    and adds log d₂² − log q to log|R|.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from bayesmm.marginal.residual.layout import ResidualLayout, Stack, pattern_covariances
from bayesmm.marginal.residual.pattern_sums import invert, sandwich, times
from bayesmm.marginal.shapes import Array, Float


class Weights(NamedTuple):
    """R⁻¹ at one φ, u classes.

    Attributes
    ----------
    values : array, shape (u,)
        Its entries s ≤ t.
    log_det : float
        log|R| over all groups.
    slopes : array, shape (f, u)
        ∂ of the entries.
    log_det_slopes : array, shape (f,)
    expected : array, shape (u,)
        Sums of products of residuals over σ² of each class, as they are expected: R times the number of pairs.
    curve : callable
        Of sums g (u,) for the classes: Σ g ∂²w + ∂²log|R| (f, f), without what `bend` adds.
    bend : callable
        What second derivatives of correlations, or of R, add to it where they are not in closed form.
    inform : callable
        Of the same sums: Σ ⟨R⁻¹∂_iR R⁻¹∂_jR R⁻¹, g⟩ (f, f), of which average information consists. Not of chains.
    """

    values: Float[Array, " u"]
    log_det: float
    slopes: Float[Array, "f u"]
    log_det_slopes: Float[Array, " f"]
    expected: Float[Array, " u"]
    curve: Callable[[Float[Array, " u"]], Float[Array, "f f"]]
    bend: Callable[[Float[Array, " u"]], Float[Array, "f f"]]
    inform: Callable[[Float[Array, " u"]], Float[Array, "f f"]]


class _Part(NamedTuple):
    """The same of one stack: entries (e, m), slopes (f, e, m), those of log|R| summed."""

    values: Float[Array, "e m"]
    log_det: float
    slopes: Float[Array, "f e m"]
    log_det_slopes: Float[Array, " f"]
    expected: Float[Array, "e m"]
    curve: Callable[[Float[Array, "e m"]], Float[Array, "f f"]]
    bend: Callable[[Float[Array, "e m"]], Float[Array, "f f"]]
    inform: Callable[[Float[Array, "e m"]], Float[Array, "f f"]]


def weigh(layout: ResidualLayout, phi: np.ndarray) -> Weights:
    """Invert R at φ in pieces.

    Raises
    ------
    numpy.linalg.LinAlgError
        If R is not positive definite there.
    """
    wide = [stack for stack in layout.pieces if not stack.is_link and stack.positions.shape[1] > 1]
    slopes = iter(layout.derivatives(phi, wide) if wide else [])
    parts = [
        _weigh_links(layout, stack, phi)
        if stack.is_link
        else _weigh_single(layout, stack, phi)
        if stack.positions.shape[1] == 1
        else _weigh_groups(layout, stack, phi, next(slopes))
        for stack in layout.pieces
    ]
    shapes = [part.values.shape for part in parts]
    ends = np.cumsum([e * m for e, m in shapes])[:-1]

    def total(which: Sequence[Callable[[np.ndarray], np.ndarray]], sums: np.ndarray) -> np.ndarray:
        return sum(
            (of(own.reshape(shape)) for of, own, shape in zip(which, np.split(sums, ends), shapes, strict=True)),
            np.zeros((len(phi),) * 2),
        )

    return Weights(
        values=np.concatenate([part.values.ravel() for part in parts]),
        log_det=sum(part.log_det for part in parts),
        slopes=np.concatenate([part.slopes.reshape(len(phi), -1) for part in parts], axis=1),
        log_det_slopes=sum((part.log_det_slopes for part in parts), np.zeros(len(phi))),
        expected=np.concatenate([part.expected.ravel() for part in parts]),
        curve=lambda sums: total([part.curve for part in parts], sums),
        bend=lambda sums: total([part.bend for part in parts], sums),
        inform=lambda sums: total([part.inform for part in parts], sums),
    )


def _weigh_single(layout: ResidualLayout, stack: Stack, phi: np.ndarray) -> _Part:
    """Weigh rows alone."""
    s, counts = layout.n_spreads, stack.counts
    twice = 2.0 * (stack.spreads[:, 0] @ phi[:s]) - stack.log_weights[:, 0]
    w, expected = np.exp(-twice), counts * np.exp(twice)
    if not (np.isfinite(w) & np.isfinite(expected)).all():
        raise np.linalg.LinAlgError("Matrix is not positive definite")
    way = np.zeros((len(phi), len(w)))
    way[:s] = 2.0 * stack.spreads[:, 0].T

    def curve(sums: np.ndarray) -> np.ndarray:
        return (way * (sums[0] * w)) @ way.T

    return _Part(
        values=w[None],
        log_det=float(counts @ twice),
        slopes=(-way * w)[:, None],
        log_det_slopes=way @ counts,
        expected=expected[None],
        curve=curve,
        bend=lambda sums: np.zeros((len(phi),) * 2),
        inform=curve,
    )


def _weigh_links(layout: ResidualLayout, stack: Stack, phi: np.ndarray) -> _Part:
    """Weigh rows given those before them."""
    s, counts, correlation = layout.n_spreads, stack.counts, layout.correlation
    assert correlation is not None
    at = correlation.neighbours(phi[s:], stack.positions)
    c = at.values
    left = 1.0 - c * c
    if not (left > 0.0).all():
        raise np.linalg.LinAlgError("Matrix is not positive definite")
    log_d = (stack.spreads @ phi[:s] - 0.5 * stack.log_weights).T
    (a, b), q = np.exp(-log_d), 1.0 / left
    aa, ab, bb = q * a * a, q * a * b, q * b * b  # per 1/d₁², 1/d₁d₂ and 1/d₂²
    values = np.stack([c * c * aa, -c * ab, bb])
    bent = 2.0 * c * q  # −∂log q
    by_c = np.stack([bent * aa, -q * (1.0 + c * c) * ab, bent * bb])
    ways = np.zeros((3, len(phi), len(c)))  # of log d₁, log d₂ and c
    ways[:2, :s] = stack.spreads.transpose(1, 2, 0)
    ways[2, s:] = at.slopes
    slopes = np.multiply(by_c, ways[2][:, None])
    if s:
        slopes[:, 0] -= 2.0 * ways[0] * values[0]
        slopes[:, 1] -= (ways[0] + ways[1]) * values[1]
        slopes[:, 2] -= 2.0 * ways[1] * values[2]

    def along(sums: np.ndarray) -> np.ndarray:
        return (sums * by_c).sum(0) - counts * bent

    def curve(sums: np.ndarray) -> np.ndarray:
        qq = 2.0 * q * q
        d1, d12, d2 = sums * np.stack([(1.0 + 3.0 * c * c) * aa, -c * (3.0 + c * c) * ab, (1.0 + 3.0 * c * c) * bb])
        by_cc = qq * (d1 + d12 + d2 - counts * (1.0 + c * c))
        found = _form(ways[2], by_cc, ways[2])
        if at.bends is not None:
            found[s:, s:] += at.bends @ along(sums)
        if s:
            one, both, two = sums * values
            on_one, on_both, on_two = sums * by_c
            found += _form(ways[0], 4.0 * one + both, ways[0]) + _form(ways[1], 4.0 * two + both, ways[1])
            mixed = _form(ways[0], both, ways[1])
            mixed -= _form(ways[0], 2.0 * on_one + on_both, ways[2]) + _form(ways[1], 2.0 * on_two + on_both, ways[2])
            found += mixed + mixed.T
        return found

    def inform(sums: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def bend(sums: np.ndarray) -> np.ndarray:
        found = np.zeros((len(phi),) * 2)
        if at.bends is None:
            found[s:, s:] = correlation.bend_neighbours(phi[s:], stack.positions, along(sums))
        return found

    d1, d2 = np.exp(log_d)
    return _Part(
        values=values,
        log_det=float(counts @ (2.0 * log_d[1] - np.log(q))),
        slopes=slopes,
        log_det_slopes=2.0 * ways[1] @ counts - ways[2] @ (counts * bent),
        expected=counts * np.stack([d1 * d1, 2.0 * c * d1 * d2, d2 * d2]),
        curve=curve,
        bend=bend,
        inform=inform,
    )


def _form(A: np.ndarray, weights: np.ndarray, B: np.ndarray) -> np.ndarray:
    return (A * weights) @ B.T


def _weigh_groups(layout: ResidualLayout, stack: Stack, phi: np.ndarray, dR: Float[Array, "f m o o"]) -> _Part:
    """Weigh whole groups, whose R is any matrix."""
    R, counts = pattern_covariances(np, layout.correlation, layout.public(np, phi), stack), stack.counts
    W, log_det = invert(np, R)
    moved = sandwich(W, dR)

    def gamma(sums: np.ndarray) -> np.ndarray:
        return counts[:, None, None] * W - sandwich(W, in_place(sums))

    def curve(sums: np.ndarray) -> np.ndarray:
        return through(2.0 * in_place(sums) - counts[:, None, None] * R)

    def inform(sums: np.ndarray) -> np.ndarray:
        return through(in_place(sums))

    def through(M: np.ndarray) -> np.ndarray:
        turned = times(dR, times(W, M)).swapaxes(-1, -2)
        return moved.reshape(len(phi), -1) @ turned.reshape(len(phi), -1).T

    def bend(sums: np.ndarray) -> np.ndarray:
        return layout.bend(phi, [gamma(sums)], [stack])

    return _Part(
        values=entries(W),
        log_det=float(counts @ log_det),
        slopes=-entries(moved),
        log_det_slopes=dR.reshape(len(phi), -1) @ (counts[:, None, None] * W).reshape(-1),
        expected=counts * both_orders(R),
        curve=curve,
        bend=bend,
        inform=inform,
    )


@lru_cache(maxsize=256)
def upper(o: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of entries s ≤ t."""
    return np.triu_indices(o)


def entries(M: Any) -> Any:
    """Entries s ≤ t (..., e, m) of matrices (..., m, o, o)."""
    i, j = upper(M.shape[-1])
    return M[..., i, j].swapaxes(-1, -2)


def both_orders(M: Float[Array, "m o o"]) -> Float[Array, "e m"]:
    """Add (s, t) and (t, s) of symmetric matrices up."""
    i, j = upper(M.shape[-1])
    return entries(M) * np.where(i == j, 1.0, 2.0)[:, None]


def in_place(sums: Float[Array, "e m"]) -> Float[Array, "m o o"]:
    """Matrices of the patterns, from sums over pairs s ≤ t of which those of s < t have both orders."""
    o = int(np.sqrt(2 * len(sums)))
    i, j = upper(o)
    M = np.empty((sums.shape[1], o, o))
    M[:, i, j] = M[:, j, i] = (sums * np.where(i == j, 1.0, 0.5)[:, None]).T
    return M
