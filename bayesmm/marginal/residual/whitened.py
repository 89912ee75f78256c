"""Rows whose residuals hang together, taken to rows whose residuals do not.

With R = LL' within groups, L⁻¹ times the rows of a group are those of an ordinary model with weights of one, whose
log-determinant of weights is −log|R|. Where all rows of a group share their level of every grouping factor, the levels
of the rows stay what they were, and so does the elimination plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bayesmm.covariance.layout import Layout
from bayesmm.marginal.leave_out.row_groups import Rows, condition_rows
from bayesmm.marginal.plan.plan import Plan
from bayesmm.marginal.residual.layout import ResidualLayout, whitener
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts, build_products, constant_part, effect_root
from bayesmm.marginal.sums.rows import BlockArrays, triangular_root


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualRows:
    """The rows of a design on columns that do not depend on the covariance of its residuals.

    Fixed effects are on an orthonormal basis and the response is what least squares leave of it, so that a large mean
    loses no digits in products with weights of either sign.

    Attributes
    ----------
    fixed : array, shape (n, p + 1)
        [Q e].
    root : array, shape (p, p)
        R, upper triangular: the user's columns are QR.
    origin : array, shape (p,)
        Least-squares coefficients of the user's columns.
    blocks : tuple of BlockArrays
        Random effects.
    effect_roots : tuple of arrays, shapes (k, k)
        What conditions their columns, whatever the covariance of the residuals: θ keeps its meaning.
    layout : ResidualLayout
        Groups, and their covariance.
    n_rows : int or None
        How many rows there are, where these are fewer with the same sums.
    """

    fixed: Float[Array, "n c"]
    root: Float[Array, "p p"]
    origin: Float[Array, " p"]
    blocks: tuple[BlockArrays, ...]
    effect_roots: tuple[Float[Array, "k k"], ...]
    layout: ResidualLayout
    n_rows: int | None = None

    @property
    def effects(self) -> list[Float[Array, "n k"]]:
        """Columns of the random effects, conditioned, of factors of one level a row."""
        return [
            np.linalg.solve(T.T, block.incidence.only.columns.T).T
            for T, block in zip(self.effect_roots, self.blocks, strict=True)
        ]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.fixed) if self.n_rows is None else self.n_rows

    @property
    def p(self) -> int:
        """Number of fixed effects."""
        return len(self.root)

    @property
    def weights(self) -> Float[Array, " n"]:
        """Prior weights."""
        found, rows = np.empty(len(self.fixed)), self.layout.ordered
        found[rows.rows] = np.exp(rows.log_weights)
        return found

    @property
    def log_weights(self) -> float:
        """Sum of the logarithms of the prior weights of all rows."""
        return float(self.layout.ordered.shares @ self.layout.ordered.log_weights)

    @property
    def residual_square(self) -> float:
        """What least squares leave of the response."""
        return float(self.weights @ self.fixed[:, -1] ** 2)

    def leave(self, beta: Float[Array, " p"], effects: Sequence[Float[Array, "q k"]]) -> Float[Array, " n"]:
        """Return y − Xβ − Zb, of coefficients and effects of the user's columns."""
        fitted = self.fixed[:, :-1] @ (self.root @ (beta - self.origin))
        for block, own in zip(self.blocks, effects, strict=True):
            block.incidence.add_to(fitted, own)
        return self.fixed[:, -1] - fitted

    def of_effects(self, kept: Sequence[Sequence[int]], layouts: Layout) -> ResidualRows:
        """Return the rows with some effects of each factor, whose covariance pieces are given where any is left."""
        left = [(block, list(own)) for block, own in zip(self.blocks, kept, strict=True) if own]
        blocks = tuple(
            replace(block, incidence=block.incidence.of_effects(own), pieces=pieces)
            for (block, own), pieces in zip(left, layouts, strict=True)
        )
        scale = np.sqrt(len(self.fixed) / self.n)  # as if all rows were here
        roots = tuple(scale * effect_root(block, self.weights) for block in blocks)
        return replace(self, blocks=blocks, effect_roots=roots)

    def around(self, beta: Float[Array, " p"], departures: Float[Array, " n"]) -> ResidualRows:
        """Take the response that departs from Xβ so, of coefficients of the user's columns."""
        basis, weights = self.fixed[:, :-1], self.weights
        first = basis.T @ (weights * departures)
        left = departures - basis @ first
        second = basis.T @ (weights * left)  # what rounding left
        origin = beta + np.linalg.solve(self.root, first + second) if self.p else beta
        return replace(self, fixed=np.column_stack([basis, left - basis @ second]), origin=origin)

    def with_response(self, X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> ResidualRows:
        """Take another response (n,) in the same rows, of the user's columns X (n, p) and prior weights (n,)."""
        left, origin = _leave(X, y, weights, self.fixed[:, :-1], self.root)
        return replace(self, fixed=np.column_stack([self.fixed[:, :-1], left]), origin=origin)

    def residual_squares(self, rows: np.ndarray, offset: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sum the squares (m,) that least squares leave of other responses (n, m), times prior weights (n,)."""
        basis, left = self.fixed[:, :-1], rows - offset[:, None]
        for _ in range(2):  # twice, for what rounding left
            left = left - basis @ (basis.T @ (weights[:, None] * left))
        return weights @ left**2


@dataclass(frozen=True, kw_only=True, eq=False)
class Whitened:
    """The rows at one φ, as those of a model with independent residuals.

    Attributes
    ----------
    products : CrossProducts
        Their sums; `fixed_root` and `fixed_origin` lead back to the user's columns.
    plan : Plan
        Of the elimination.
    fixed : array, shape (n, p + 1)
        [Q e] of the rows before they were whitened, whitened.
    blocks : tuple of BlockArrays
        Whitened random effects.
    inner : CrossProducts
        The sums with what leads back to `fixed`.
    """

    products: CrossProducts
    plan: Plan
    fixed: Float[Array, "n c"]
    blocks: tuple[BlockArrays, ...]
    inner: CrossProducts

    @cached_property
    def rows(self) -> Rows:
        """The rows on the columns of the sums."""
        X, y = self.fixed[:, :-1], self.fixed[:, -1]
        return condition_rows(X, y, np.ones(len(y)), self.blocks, self.inner)


def residual_rows(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray, blocks: Sequence[BlockArrays], layout: ResidualLayout
) -> ResidualRows:
    """Put the rows of a design on columns that do not depend on the covariance of the residuals."""
    p = X.shape[1]
    root = triangular_root(X, weights) if p else np.zeros((0, 0))
    basis = np.linalg.solve(root.T, X.T).T if p else X
    left, origin = _leave(X, y, weights, basis, root)
    return ResidualRows(
        fixed=np.column_stack([basis, left]),
        root=root,
        origin=origin,
        blocks=tuple(blocks),
        effect_roots=tuple(effect_root(block, weights) for block in blocks),
        layout=layout,
    )


def _leave(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray, basis: np.ndarray, root: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what least squares leave of a response (n,), and the coefficients of the user's columns (p,)."""
    centre, shift = constant_part(X, y)
    y = y - centre
    first = basis.T @ (weights * y)
    left = y - basis @ first
    second = basis.T @ (weights * left)  # what rounding left
    return left - basis @ second, shift + np.linalg.solve(root, first + second) if len(root) else np.zeros(0)


def whiten_at(rows: ResidualRows, phi: np.ndarray, plan: Plan | None = None) -> Whitened:
    """Whiten the rows at φ, and sum them.

    Raises
    ------
    numpy.linalg.LinAlgError
        If R is not positive definite there.
    """
    layout = rows.layout
    take, log_det = whitener(layout, phi)
    fixed = take(rows.fixed)
    blocks = tuple(replace(block, incidence=block.incidence.map(lambda codes: codes, take)) for block in rows.blocks)
    products, plan = build_products(fixed[:, :-1], fixed[:, -1], np.ones(len(fixed)), blocks, plan, rows.effect_roots)
    whole = replace(
        products,
        n=np.float64(rows.n),
        fixed_root=products.fixed_root @ rows.root,
        log_det_root=products.log_det_root + 2.0 * np.log(np.abs(np.diag(rows.root))).sum(),
        fixed_origin=rows.origin + (np.linalg.solve(rows.root, products.fixed_origin) if rows.p else 0.0),
        log_weights=np.float64(-log_det),
    )
    return Whitened(products=whole, plan=plan, fixed=fixed, blocks=blocks, inner=products)
