"""What is left out, and the draws that it is predicted from: arguments of `bayesmm.marginal.leave_out.leave_out`."""

from __future__ import annotations

from typing import NamedTuple

from bayesmm.marginal.shapes import Array, Float, Int


class Draw(NamedTuple):
    """One draw of what the marginal likelihood depends on.

    Attributes
    ----------
    factors : tuple of arrays, shapes (k, k)
        F of each grouping factor with Var(b) = FF', on the user's columns.
    sigma : scalar
        Residual standard deviation.
    beta : array, shape (s,)
        The coefficients that are not integrated out.
    residual : array, shape (f,), or None
        Of the covariance of the residuals, where they have one.
    """

    factors: tuple[Float[Array, "k k"], ...]
    sigma: Float[Array, ""]
    beta: Float[Array, " s"]
    residual: Float[Array, " f"] | None = None


class RowGroups(NamedTuple):
    """G groups of rows on the conditioned columns, each turned to r rows by an orthogonal matrix (QR).

    Attributes
    ----------
    fixed : array, shape (G, r, c)
        [X y], weighted and turned; padded as the cross-products are.
    rest : array, shape (G,)
        Sum of squares of what is left of y.
    n, log_weights : arrays, shape (G,)
        Number of rows, and sum of the logarithms of their weights.
    """

    fixed: Float[Array, "G r c"]
    rest: Float[Array, " G"]
    n: Float[Array, " G"]
    log_weights: Float[Array, " G"]


class TogetherGroups(NamedTuple):
    """Groups whose rows share their levels of every grouping factor; single rows are such.

    Attributes
    ----------
    rows : RowGroups
    effects : tuple of tuple of arrays, shapes (G, r, k)
        Effect columns of each factor and membership, weighted and turned.
    levels : tuple of tuple of int arrays, shape (G,)
        Level of each factor and membership.
    pairs : tuple of mapping of (int, int) to int array, shape (G,)
        Position in each pair list of the plan, by memberships of the two factors.
    """

    rows: RowGroups
    effects: tuple[tuple[Float[Array, "G r k"], ...], ...]
    levels: tuple[tuple[Int[Array, " G"], ...], ...]
    pairs: tuple[dict[tuple[int, int], Int[Array, " G"]], ...]


class ApartGroups(NamedTuple):
    """Levels of a factor in which all other factors are nested: given the fixed effects they are independent.

    Attributes
    ----------
    gram : array, shape (G, c, c)
        [X y]'W[X y] of each group.
    n, log_weights : arrays, shape (G,)
        As in `RowGroups`.
    parents : tuple of int arrays, shape (q,)
        Group of each level of each factor; G of padded levels.
    """

    gram: Float[Array, "G c c"]
    n: Float[Array, " G"]
    log_weights: Float[Array, " G"]
    parents: tuple[Int[Array, " q"], ...]


class CrossedGroups(NamedTuple):
    """Any groups of rows, with all random effects in one dense matrix.

    Attributes
    ----------
    rows : RowGroups
    effects : array, shape (G, r, m)
        Columns of the effects that the rows of each group touch, weighted and turned; zero where there are fewer.
    touched : int array, shape (G, m)
        Which effects these are.
    level, effect : int arrays, shape (q,)
        Level of each effect, counted through all factors, and which of the effects of all factors it is.
    products, cross : arrays, shapes (q, q), (q, c)
        Z'WZ and Z'W[X y], on the conditioned columns.
    """

    rows: RowGroups
    effects: Float[Array, "G r m"]
    touched: Int[Array, "G m"]
    level: Int[Array, " q"]
    effect: Int[Array, " q"]
    products: Float[Array, "q q"]
    cross: Float[Array, "q c"]
