"""The precision of the residuals at one φ: weights of pairs of rows, with what their slopes and curvature take.

R⁻¹ has one number for each two rows s ≤ t of a pattern: a *class* of pairs of rows, by entry and then by pattern. Of
rows alone, and of links, all is in closed form. With standard deviations d₁, d₂ and the correlation c of two neighbours
r₁, r₂ the second, given the first, has the square

    v(r₂ − κr₁)² = v((r₂ − r₁) + (1 − κ)r₁)²,    κ = cd₂/d₁,    v = 1/(d₂²(1 − c²)),

and adds −log v to log|R|. The rows of a link are r₁ and r₂ − r₁: where c is near one, as of a random walk, products of
r₁ and r₂ themselves would lose what level they share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from bayesmm.marginal.residual.layout import ResidualLayout, Stack, pattern_covariances
from bayesmm.marginal.residual.pattern_sums import invert, sandwich, times
from bayesmm.marginal.shapes import Array, Float


class _Part(NamedTuple):
    """The same as `Weights` of one stack, e entries and m patterns; what values alone do not take is worked out late.

    Attributes
    ----------
    values : array, shape (e, m)
    log_det : float
    slopes : callable
        Of nothing: (f, e, m).
    log_det_slopes : callable
        Of nothing: (f,).
    curve, bend, inform : callable
        Of sums (e, m): (f, f).
    expected : callable
        Of nothing: (e, m).
    """

    values: Float[Array, "e m"]
    log_det: float
    slopes: Callable[[], Float[Array, "f e m"]]
    log_det_slopes: Callable[[], Float[Array, " f"]]
    curve: Callable[[Float[Array, "e m"]], Float[Array, "f f"]]
    bend: Callable[[Float[Array, "e m"]], Float[Array, "f f"]]
    expected: Callable[[], Float[Array, "e m"]]
    inform: Callable[[Float[Array, "e m"]], Float[Array, "f f"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """R⁻¹ at one φ, u classes.

    Attributes
    ----------
    parts : tuple of _Part
        By stack.
    n_phi : int
        Entries f of φ.
    """

    parts: tuple[_Part, ...]
    n_phi: int

    @cached_property
    def values(self) -> Float[Array, " u"]:
        """Entries s ≤ t of R⁻¹."""
        return np.concatenate([part.values.ravel() for part in self.parts])

    @cached_property
    def log_det(self) -> float:
        """log|R| over all groups."""
        return sum(part.log_det for part in self.parts)

    @cached_property
    def slopes(self) -> Float[Array, "f u"]:
        """∂ of the entries."""
        return np.concatenate([part.slopes().reshape(self.n_phi, -1) for part in self.parts], axis=1)

    @cached_property
    def log_det_slopes(self) -> Float[Array, " f"]:
        """∂ of log|R|."""
        return sum((part.log_det_slopes() for part in self.parts), np.zeros(self.n_phi))

    def curve(self, sums: Float[Array, " u"]) -> Float[Array, "f f"]:
        """Σ g ∂²w + ∂²log|R| of sums g for the classes, without what `bend` adds."""
        return self._total([part.curve for part in self.parts], sums)

    def bend(self, sums: Float[Array, " u"]) -> Float[Array, "f f"]:
        """Work out what second derivatives of correlations, or of R, add to it where they are not in closed form."""
        return self._total([part.bend for part in self.parts], sums)

    def expected(self) -> Float[Array, " u"]:
        """Return g as it is expected: R times the number of pairs of each class."""
        return np.concatenate([part.expected().ravel() for part in self.parts])

    def inform(self, sums: Float[Array, " u"]) -> Float[Array, "f f"]:
        """Σ ⟨R⁻¹∂_iR R⁻¹∂_jR R⁻¹, g⟩, of which average information consists. Not of chains."""
        return self._total([part.inform for part in self.parts], sums)

    def _total(self, which: Sequence[Callable[[np.ndarray], np.ndarray]], sums: np.ndarray) -> np.ndarray:
        own = by_stack(sums, [part.values.shape for part in self.parts])
        return sum((of(each) for of, each in zip(which, own, strict=True)), np.zeros((self.n_phi,) * 2))


def weigh(layout: ResidualLayout, phi: np.ndarray) -> Weights:
    """Invert R at φ in pieces.

    Raises
    ------
    numpy.linalg.LinAlgError
        If R is not positive definite there.
    """
    wide = [stack for stack in layout.pieces if not stack.is_link and stack.positions.shape[1] > 1]
    slopes = cache(lambda: iter(layout.derivatives(phi, wide)))
    parts = tuple(
        _weigh_links(layout, stack, phi)
        if stack.is_link
        else _weigh_single(layout, stack, phi)
        if stack.positions.shape[1] == 1
        else _weigh_groups(layout, stack, phi, cache(lambda: next(slopes())))
        for stack in layout.pieces
    )
    return Weights(parts=parts, n_phi=len(phi))


def by_stack(values: Float[Array, "*f u"], shapes: Sequence[tuple[int, int]]) -> Iterator[Float[Array, "*f e m"]]:
    """Take values of classes apart by stack, of e entries and m patterns each."""
    start = 0
    for e, m in shapes:
        yield values[..., start : start + e * m].reshape(*values.shape[:-1], e, m)
        start += e * m


def _weigh_single(layout: ResidualLayout, stack: Stack, phi: np.ndarray) -> _Part:
    """Weigh rows alone."""
    s, counts = layout.n_spreads, stack.counts
    twice = 2.0 * (stack.spreads[:, 0] @ phi[:s]) - stack.log_weights[:, 0]
    w = np.exp(-twice)
    if not np.isfinite(w).all():
        raise np.linalg.LinAlgError("Matrix is not positive definite")
    way = np.zeros((len(phi), len(w)))
    way[:s] = 2.0 * stack.spreads[:, 0].T

    def curve(sums: np.ndarray) -> np.ndarray:
        return (way * (sums[0] * w)) @ way.T

    return _Part(
        values=w[None],
        log_det=float(counts @ twice),
        slopes=lambda: (-way * w)[:, None],
        log_det_slopes=lambda: way @ counts,
        curve=curve,
        bend=lambda sums: np.zeros((len(phi),) * 2),
        expected=lambda: (counts / w)[None],
        inform=curve,
    )


def _weigh_links(layout: ResidualLayout, stack: Stack, phi: np.ndarray) -> _Part:
    """Weigh rows given those before them."""
    s, counts, correlation = layout.n_spreads, stack.counts, layout.correlation
    assert correlation is not None
    at = correlation.neighbours(phi[s:], stack.positions)
    c = at.values
    if not (np.abs(c) < 1.0).all():
        raise np.linalg.LinAlgError("Matrix is not positive definite")
    q = 1.0 / (1.0 - c * c)
    ratio, v, log_det = 1.0, q, float(-counts @ np.log(q))
    if s or stack.log_weights.any():
        log_d = (stack.spreads @ phi[:s] - 0.5 * stack.log_weights).T
        ratio, v = np.exp(log_d[1] - log_d[0]), q * np.exp(-2.0 * log_d[1])
        log_det += 2.0 * float(counts @ log_d[1])
        if not (np.isfinite(ratio) & np.isfinite(v)).all():
            raise np.linalg.LinAlgError("Matrix is not positive definite")
    said = c * ratio  # of the second row by the first
    k = 1.0 - said
    bent = 2.0 * q * c  # derivative of log q
    one, two = stack.spreads.transpose(1, 2, 0)  # slopes of log d₁ and log d₂

    def change(by_log_v: np.ndarray, by_k: np.ndarray) -> np.ndarray:
        """Change weights as log v and k do."""
        return np.stack([v * k * (by_log_v * k + 2.0 * by_k), v * (by_log_v * k + by_k), v * by_log_v], axis=-2)

    def multiply(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Σ g w, and its derivatives by k."""
        return v * ((sums[0] * k + sums[1]) * k + sums[2]), v * (2.0 * k * sums[0] + sums[1]), 2.0 * v * sums[0]

    def slopes() -> np.ndarray:
        by_correlation = at.slopes[:, None] * change(bent, -ratio * np.ones_like(c))
        return np.concatenate([change(-2.0 * two, (one - two) * said), by_correlation]) if s else by_correlation

    def along(value: np.ndarray, first: np.ndarray) -> np.ndarray:
        return bent * (value - counts) - ratio * first

    def curve(sums: np.ndarray) -> np.ndarray:
        value, first, second = multiply(sums)
        bent_twice = 2.0 * q * q * (1.0 + c * c)
        by_cc = bent**2 * value + bent_twice * (value - counts) + ratio * (ratio * second - 2.0 * bent * first)
        found = np.zeros((len(phi),) * 2)
        found[s:, s:] = _form(at.slopes, by_cc, at.slopes)
        if at.bends is not None:
            found[s:, s:] += at.bends @ along(value, first)
        if s:
            bow = said * said * second
            across = _form(one, -said * first - bow, two)
            found[:s, :s] = _form(one, bow - said * first, one) + across + across.T
            found[:s, :s] += _form(two, 4.0 * value + 3.0 * said * first + bow, two)
            mixed = ratio * said * second
            found[:s, s:] = _form(one, (bent * said + ratio) * first - mixed, at.slopes)
            found[:s, s:] += _form(two, mixed + (ratio - bent * said) * first - 2.0 * bent * value, at.slopes)
            found[s:, :s] = found[:s, s:].T
        return found

    def bend(sums: np.ndarray) -> np.ndarray:
        found = np.zeros((len(phi),) * 2)
        if at.bends is None:
            value, first, _ = multiply(sums)
            found[s:, s:] = correlation.bend_neighbours(phi[s:], stack.positions, along(value, first))
        return found

    def expected() -> np.ndarray:
        own = q / v  # d₂²
        before = own / ratio**2
        both = c * own / ratio
        return counts * np.stack([before, 2.0 * (both - before), before + own - 2.0 * both])

    def inform(sums: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    return _Part(
        values=np.stack([v * k * k, v * k, v]),
        log_det=log_det,
        slopes=slopes,
        log_det_slopes=lambda: np.concatenate([2.0 * two @ counts, -at.slopes @ (counts * bent)]),
        curve=curve,
        bend=bend,
        expected=expected,
        inform=inform,
    )


def _form(A: np.ndarray, weights: np.ndarray, B: np.ndarray) -> np.ndarray:
    return (A * weights) @ B.T


def _weigh_groups(
    layout: ResidualLayout, stack: Stack, phi: np.ndarray, slopes: Callable[[], Float[Array, "f m o o"]]
) -> _Part:
    """Weigh whole groups, whose R is any matrix, with slopes ∂R."""
    R, counts = pattern_covariances(np, layout.correlation, layout.public(np, phi), stack), stack.counts
    W, log_det = invert(R)

    @cache
    def moved() -> np.ndarray:
        return sandwich(W, slopes())

    def gamma(sums: np.ndarray) -> np.ndarray:
        return counts[:, None, None] * W - sandwich(W, in_place(sums))

    def curve(sums: np.ndarray) -> np.ndarray:
        return through(2.0 * in_place(sums) - counts[:, None, None] * R)

    def inform(sums: np.ndarray) -> np.ndarray:
        return through(in_place(sums))

    def through(M: np.ndarray) -> np.ndarray:
        turned = times(slopes(), times(W, M)).swapaxes(-1, -2)
        return moved().reshape(len(phi), -1) @ turned.reshape(len(phi), -1).T

    def bend(sums: np.ndarray) -> np.ndarray:
        return layout.bend(phi, [gamma(sums)], [stack])

    return _Part(
        values=entries(W),
        log_det=float(counts @ log_det),
        slopes=lambda: -entries(moved()),
        log_det_slopes=lambda: slopes().reshape(len(phi), -1) @ (counts[:, None, None] * W).reshape(-1),
        curve=curve,
        bend=bend,
        expected=lambda: counts * both_orders(R),
        inform=inform,
    )


@lru_cache(maxsize=256)
def upper(o: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of entries s ≤ t."""
    return np.triu_indices(o)


@lru_cache(maxsize=256)
def orders(o: int) -> np.ndarray:
    """In how many places of a symmetric matrix each entry s ≤ t is: one or two."""
    return np.where(np.equal(*upper(o)), 1.0, 2.0)


def entries(M: Any) -> Any:
    """Entries s ≤ t (..., e, m) of matrices (..., m, o, o)."""
    i, j = upper(M.shape[-1])
    return M[..., i, j].swapaxes(-1, -2)


def both_orders(M: Float[Array, "m o o"]) -> Float[Array, "e m"]:
    """Add (s, t) and (t, s) of symmetric matrices up."""
    return entries(M) * orders(M.shape[-1])[:, None]


def in_place(sums: Float[Array, "e m"]) -> Float[Array, "m o o"]:
    """Matrices of the patterns, from sums over pairs s ≤ t of which those of s < t have both orders."""
    o = int(np.sqrt(2 * len(sums)))
    i, j = upper(o)
    M = np.empty((sums.shape[1], o, o))
    M[:, i, j] = M[:, j, i] = (sums / orders(o)[:, None]).T
    return M
