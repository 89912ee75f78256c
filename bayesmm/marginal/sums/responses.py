"""Many responses of one design: they share the sums of its columns and the plan of their elimination."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayesmm.marginal.apart.few_effects import EffectRoots, root_effects
from bayesmm.marginal.apart.one_factor import LevelRoots, invert_roots
from bayesmm.marginal.arrays import host
from bayesmm.marginal.arrays.linalg import contract
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts, constant_part
from bayesmm.marginal.sums.rows import BlockArrays, Conditioning, chunks, dense_rows, sum_left_over, sum_residuals


@dataclass(frozen=True)
class Responses:
    """Cross-products of m responses with the columns of one design; a sequence of `CrossProducts`.

    Attributes
    ----------
    columns : CrossProducts
        Of the design, with another response: its columns' sums serve all of these.
    cross : tuple of arrays, shapes (k, m, q)
        Z_f'WY.
    squares : array, shape (m,)
        Diagonal of Y'WY.
    origins : array, shape (m, p)
        Least-squares coefficients of the user's columns; Y is what they leave over.
    levels : LevelRoots or None
        Of [X Y], where one factor is alone.
    effects : EffectRoots or None
        Of [X Y], where several factors have few effects.
    """

    columns: CrossProducts
    cross: tuple[Float[Array, "k m q"], ...]
    squares: Float[Array, " m"]
    origins: Float[Array, "m p"]
    levels: LevelRoots | None
    effects: EffectRoots | None

    def __len__(self) -> int:
        return len(self.squares)

    def __iter__(self) -> Iterator[CrossProducts]:
        return map(self.__getitem__, range(len(self)))

    def take(self, which: np.ndarray) -> Responses:
        """Return some of them."""
        p = self.origins.shape[1]
        own = np.concatenate([np.arange(p), p + which])
        return Responses(
            columns=self.columns,
            cross=tuple(K[:, which] for K in self.cross),
            squares=self.squares[which],
            origins=self.origins[which],
            levels=self.levels and self.levels.of_columns(own),
            effects=self.effects and self.effects.of_columns(own),
        )

    def together(self) -> CrossProducts:
        """Return the cross-products of the design with all responses as its last columns, one beside the other.

        Of two responses they have zero where they are not taken apart: nobody asks for these.
        """
        columns, p = self.columns, self.origins.shape[1]
        pairs = zip(columns.cross, self.cross, strict=True)
        return replace(
            columns,
            cross=tuple(np.concatenate([K[:, :p], Y], axis=1) for K, Y in pairs),
            gram=np.diag(np.append(np.ones(p), self.squares)),
            levels=self.levels,
            effects=self.effects,
        )

    def __getitem__(self, i: int) -> CrossProducts:
        """Return the cross-products of one response; what is of the columns alone is not copied."""
        columns, p = self.columns, self.origins.shape[1]
        own, gram = np.append(np.arange(p), p + i), np.eye(p + 1)
        gram[p, p] = self.squares[i]
        pairs = zip(columns.cross, self.cross, strict=True)
        return replace(
            columns,
            cross=tuple(np.concatenate([K[:, :p], Y[:, i : i + 1]], axis=1) for K, Y in pairs),
            gram=gram,
            fixed_origin=self.origins[i],
            levels=self.levels and self.levels.of_columns(own),
            effects=self.effects and self.effects.of_columns(own),
        )


def sum_responses(
    X: np.ndarray, responses: np.ndarray, weights: np.ndarray, blocks: Sequence[BlockArrays], products: CrossProducts
) -> Responses:
    """Sum the cross-products of further responses of a design.

    Parameters
    ----------
    X, weights, blocks
        As in `bayesmm.marginal.sums.crossproducts.build_products`.
    responses : array, shape (m, n)
        Less the offset.
    products : CrossProducts
        Of the same columns and weights, with any response.

    Notes
    -----
    As for the first response, residuals of nearly the least-squares coefficients are summed, and the sums corrected.
    """
    centre, shift = constant_part(X, responses)
    responses, p = responses - centre, X.shape[1]
    root, effect_roots = products.fixed_root, list(products.effect_roots)
    nearly = _project(X, responses, weights, root)
    left_over, squares, cross = sum_residuals(X, responses, weights, blocks, Conditioning(root, nearly, effect_roots))
    conditioning = Conditioning(root, nearly + left_over.T, effect_roots)
    pairs = zip(products.cross, products.from_levels(cross), strict=True)
    cross = [K - host.transform(left_over, Q[:, :p].swapaxes(0, 1)).swapaxes(0, 1) for Q, K in pairs]
    levels, effects = None, None
    if products.levels is not None:
        back = invert_roots(products.levels.root)
        both = np.concatenate([products.cross[0][:, :p], cross[0]], axis=1)
        coefficients = contract(back.swapaxes(0, 1), both)
        left = sum_left_over(X, responses, weights, blocks[0], conditioning, contract(back, coefficients))
        levels = LevelRoots(products.levels.root, coefficients, left)
    elif products.effects is not None:
        identity = np.eye(p + len(responses))
        effects = root_effects(*dense_rows(X, responses, weights, blocks, conditioning, identity))
    return Responses(
        columns=products,
        cross=tuple(cross),
        squares=squares - (left_over**2).sum(axis=0),
        origins=np.linalg.solve(root, conditioning.coefficients.T).T + shift,
        levels=levels,
        effects=effects,
    )


def _project(X: np.ndarray, responses: np.ndarray, weights: np.ndarray, root: np.ndarray) -> Float[Array, "m p"]:
    """Coefficients of responses on XR⁻¹, nearly."""
    sums = np.zeros((len(responses), X.shape[1]))
    for rows in chunks(len(X)):
        sums += (responses[:, rows] * weights[rows]) @ X[rows]
    return np.linalg.solve(root.T, sums.T).T
