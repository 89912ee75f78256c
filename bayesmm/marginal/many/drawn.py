"""Sums of responses drawn from the model, without their rows: what a parametric bootstrap refits.

Of u = Zb + ε with ε ~ N(0, σ²W⁻¹) the sums Z'Wu, X'Wu and u'Wu are jointly known. In the inner product of W, ε has a
part in the space of Z, a part in what that leaves of the space of X, and a rest. They are independent. The first two
have as many independent coordinates of variance σ² as dimensions, r and s; the square of the rest is σ²χ² with
n − r − s degrees of freedom. A response costs as many random numbers as there are random effects, however many rows
there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bayesmm.marginal.apart.few_effects import EffectRoots
from bayesmm.marginal.apart.one_factor import LevelRoots
from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import absorb, factorise
from bayesmm.marginal.elimination.inverse import invert_on_pattern
from bayesmm.marginal.elimination.times import times_effects
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.responses import Responses

NOTHING = 1e-12  # share of a fixed effect's column that is only rounding, if random effects leave no more of it
SMALL = 1e-7  # beside the mean of the diagonal of Z'WZ: what is added to that where it has no root of its own


class SumSource:
    """Draws the sums of responses of one design.

    Parameters
    ----------
    products : CrossProducts
        Of the design, with any response.

    Attributes
    ----------
    is_exact : bool
        Whether what the random effects leave of the fixed effects' columns is known well enough, if little is left.

    Notes
    -----
    A dimension that is not counted, of columns that are all but dependent, is one more degree of freedom of the rest.
    """

    def __init__(self, products: CrossProducts) -> None:
        self.products, self._space = products, _space_of(products)
        values, vectors = np.linalg.eigh(self._space.left)
        beyond = max(float(products.n) - self._space.rank, 0.0)  # dimensions that Z leaves
        seen = (values > self._space.nothing) & (np.arange(len(values), 0, -1) <= beyond)
        self._seen, self._df = seen[:, None], beyond - seen.sum()
        self._root = np.sqrt(np.where(seen, values, 0.0))[:, None] * vectors.T  # B, B'B = what is left of X'WX

        self.is_exact = not ((values > self._space.nothing) & (values < self._space.clear)).any()

    def draw(
        self,
        streams: Sequence[np.random.Generator],
        factors: Sequence[Float[Array, "k k"]],
        sigma: float,
        beta: Float[Array, " p"],
    ) -> Responses:
        """Draw the sums of one response from each stream of random numbers.

        Parameters
        ----------
        streams : sequence of Generator
            One a response, so that it does not matter how many are drawn together.
        factors : sequence of arrays, shape (k, k)
            Λ of each grouping factor, on the conditioned columns.
        sigma : float
            Residual standard deviation.
        beta : array, shape (p,)
            Coefficients of the user's columns.

        Returns
        -------
        Responses
            Their residuals of least squares, as of all responses that are summed.
        """
        products, space = self.products, self._space
        sizes = [(G.shape[0], G.shape[2]) for G in products.diagonal]
        ends = np.cumsum([k * q for k, q in sizes])
        n_normal = int(ends[-1]) + space.n_coordinates + len(beta)
        normal = sigma * np.stack([stream.standard_normal(n_normal) for stream in streams], axis=1)
        rest = sigma**2 * np.array([stream.chisquare(self._df) if self._df else 0.0 for stream in streams])
        *spherical, inside, beyond = np.split(normal, [*ends, ends[-1] + space.n_coordinates])
        effects = [
            host.transform(L.T, u.reshape(k, q, -1)).swapaxes(1, 2)
            for L, u, (k, q) in zip(factors, spherical, sizes, strict=True)
        ]
        inside, beyond = space.coordinates(effects, inside), np.where(self._seen, beyond, 0.0)
        explained = space.along_fixed(inside) + self._root.T @ beyond  # X'Wu, least squares since X'WX = I
        inside, cross, squares = space.residual(inside, explained)
        beyond = np.where(self._seen, beyond - self._root @ explained, 0.0)
        rest += (beyond**2).sum(axis=0)
        levels, few = space.take_apart(inside, self._root.T @ beyond, rest)
        return Responses(
            columns=products,
            cross=tuple(cross),
            squares=squares + rest,
            origins=beta + np.linalg.solve(products.fixed_root, explained).T,
            levels=levels,
            effects=few,
        )


class _Space(Protocol):
    """The space of Z in the inner product of W, and coordinates of m columns in it."""

    n_coordinates: int
    rank: float
    left: Float[Array, "p p"]  # of X'WX
    nothing: float  # share of a column that is only rounding
    clear: float  # share that is not

    def coordinates(self, effects: list[Float[Array, "k m q"]], noise: Float[Array, "r m"]) -> Float[Array, "r m"]:
        """Of Zb, plus those of noise."""
        ...

    def along_fixed(self, inside: Float[Array, "r m"]) -> Float[Array, "p m"]:
        """X'W times what has these coordinates."""
        ...

    def residual(
        self, inside: Float[Array, "r m"], explained: Float[Array, "p m"]
    ) -> tuple[Float[Array, "r m"], list[Float[Array, "k m q"]], Float[Array, " m"]]:
        """Coordinates less those of X times coefficients; Z'W times what has these, and its squares."""
        ...

    def take_apart(
        self, inside: Float[Array, "r m"], cross: Float[Array, "p m"], squares: Float[Array, " m"]
    ) -> tuple[LevelRoots | None, EffectRoots | None]:
        """Put coordinates and what is beyond them beside those of X, where the design's sums are so."""
        ...


def _space_of(products: CrossProducts) -> _Space:
    if products.levels is not None:
        return _Levels(products.levels)
    if products.effects is not None:
        return _Few(products.effects)
    return _Crossed(products)


class _Levels:
    """Coordinates in an orthonormal basis of each level."""

    nothing, clear = NOTHING, NOTHING

    def __init__(self, levels: LevelRoots) -> None:
        self._root, self._fixed = levels.root, levels.coefficients[:, :-1]
        self._seen = (levels.root**2).sum(axis=1) > 0.0  # (k, q)
        self.n_coordinates, self.rank = self._seen.size, float(self._seen.sum())
        self.left = levels.gram[:-1, :-1]

    def coordinates(self, effects: list[Float[Array, "k m q"]], noise: Float[Array, "r m"]) -> Float[Array, "r m"]:
        own = noise.reshape(*self._seen.shape, -1).swapaxes(1, 2) * self._seen[:, None]
        return contract(self._root.swapaxes(0, 1), effects[0]) + own  # (k, m, q)

    def along_fixed(self, inside: Array) -> Float[Array, "p m"]:
        return _inner(self._fixed, inside)

    def residual(
        self, inside: Array, explained: Float[Array, "p m"]
    ) -> tuple[Array, list[Float[Array, "k m q"]], Float[Array, " m"]]:
        inside = inside - np.stack([explained.T @ own for own in self._fixed])
        return inside, [contract(self._root, inside)], np.einsum("kmq,kmq->m", inside, inside)

    def take_apart(
        self, inside: Array, cross: Float[Array, "p m"], squares: Float[Array, " m"]
    ) -> tuple[LevelRoots | None, EffectRoots | None]:
        both = np.concatenate([self._fixed, inside], axis=1)
        return LevelRoots(self._root, both, _beside(self.left, cross, squares)), None


class _Few:
    """Coordinates in one orthonormal basis for all effects."""

    nothing, clear = NOTHING, NOTHING

    def __init__(self, roots: EffectRoots) -> None:
        self._roots, self._fixed = roots.roots, roots.coefficients[:, :-1]
        self.n_coordinates = len(self._fixed)
        self.rank = float(self.n_coordinates)
        self.left = roots.gram[:-1, :-1]

    def coordinates(self, effects: list[Float[Array, "k m q"]], noise: Float[Array, "r m"]) -> Float[Array, "r m"]:
        return noise + sum(np.einsum("kqr,kmq->rm", R, b) for R, b in zip(self._roots, effects, strict=True))

    def along_fixed(self, inside: Float[Array, "r m"]) -> Float[Array, "p m"]:
        return self._fixed.T @ inside

    def residual(
        self, inside: Float[Array, "r m"], explained: Float[Array, "p m"]
    ) -> tuple[Float[Array, "r m"], list[Float[Array, "k m q"]], Float[Array, " m"]]:
        inside = inside - self._fixed @ explained
        return inside, [(R @ inside).swapaxes(1, 2) for R in self._roots], (inside**2).sum(axis=0)

    def take_apart(
        self, inside: Float[Array, "r m"], cross: Float[Array, "p m"], squares: Float[Array, " m"]
    ) -> tuple[LevelRoots | None, EffectRoots | None]:
        both = np.concatenate([self._fixed, inside], axis=1)
        return None, EffectRoots(self._roots, both, _beside(self.left, cross, squares))


class _Crossed:
    """Coordinates are effects themselves: what is drawn has the covariance matrix (Z'WZ)⁻, by elimination.

    Z'WZ, of which one level of another factor makes a combination, has no inverse; so δ is added to its diagonal. A
    square λ of it becomes λ²/(λ + δ), and a direction in which it is zero gets next to nothing.
    """

    nothing, clear = 100.0 * SMALL, 1e4 * SMALL

    def __init__(self, products: CrossProducts) -> None:
        self._products = products
        added = [SMALL * float(np.einsum("iiq->", G)) / max(G.shape[0] * G.shape[2], 1) for G in products.diagonal]
        roots = [np.eye(len(G)) / np.sqrt(each) for G, each in zip(products.diagonal, added, strict=True)]
        self._elimination = factorise(host, products, roots)
        inverse = invert_on_pattern(host, products, self._elimination, roots).diagonal
        p = len(products.gram) - 1
        self._fixed = [K[:, :p] for K in products.cross]
        absorbed = absorb(host, products, self._elimination, self._fixed, products.gram[:p, :p])
        self.left = absorbed.reduced.gram
        self.n_coordinates = sum(G.shape[0] * G.shape[2] for G in products.diagonal)
        lost = sum(each * np.einsum("iiq->", C) for each, C in zip(added, inverse, strict=True))
        self.rank = float(self.n_coordinates - np.round(lost))

    def coordinates(self, effects: list[Float[Array, "k m q"]], noise: Float[Array, "r m"]) -> Array:
        shapes = [b.shape for b in effects]
        normal = self._split(noise, shapes)
        nothing = [np.zeros(shape) for shape in shapes]
        m = noise.shape[1]
        absorbed = absorb(host, self._products, self._elimination, nothing, np.zeros((m, m)))
        drawn = solve_effects(host, self._products, self._elimination, absorbed, noise=normal).effects
        return [b + x for b, x in zip(effects, drawn, strict=True)]

    @staticmethod
    def _split(noise: Float[Array, "r m"], shapes: Sequence[tuple[int, ...]]) -> list[Float[Array, "k m q"]]:
        parts = np.split(noise, np.cumsum([k * q for k, _, q in shapes])[:-1])
        return [part.reshape(k, q, m).swapaxes(1, 2) for part, (k, m, q) in zip(parts, shapes, strict=True)]

    def along_fixed(self, inside: Array) -> Float[Array, "p m"]:
        return sum((_inner(C, v) for C, v in zip(self._fixed, inside, strict=True)), 0.0)

    def residual(
        self, inside: Array, explained: Float[Array, "p m"]
    ) -> tuple[Array, list[Float[Array, "k m q"]], Float[Array, " m"]]:
        products = times_effects(self._products, inside)
        squares = sum((np.einsum("kmq,kmq->m", v, K) for v, K in zip(inside, products, strict=True)), 0.0)
        seen = np.eye(len(self.left)) - self.left  # of X'WX, in the space of Z
        squares = squares + (explained * (seen @ explained - 2.0 * self.along_fixed(inside))).sum(axis=0)
        pairs = zip(products, self._fixed, strict=True)
        return inside, [K - np.stack([explained.T @ own for own in C]) for K, C in pairs], squares

    def take_apart(
        self, inside: Array, cross: Float[Array, "p m"], squares: Float[Array, " m"]
    ) -> tuple[LevelRoots | None, EffectRoots | None]:
        return None, None


def _inner(left: Float[Array, "k p q"], right: Float[Array, "k m q"]) -> Float[Array, "p m"]:
    return sum((one @ two.T for one, two in zip(left, right, strict=True)), np.zeros((left.shape[1], right.shape[1])))


def _beside(fixed: Float[Array, "p p"], cross: Float[Array, "p m"], squares: Float[Array, " m"]) -> Float[Array, "c c"]:
    """[X Y]'W[X Y]; of two responses, which nobody asks for, zero."""
    return np.block([[fixed, cross], [cross.T, np.diag(squares)]])
