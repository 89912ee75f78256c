"""What random effects explain of rows that share their levels, from one elimination; in NumPy and JAX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bayesmm.marginal.arrays.operations import Operations
from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import Reduced, eliminate
from bayesmm.marginal.elimination.inverse import invert_on_pattern
from bayesmm.marginal.leave_out.left_out import TogetherGroups
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.related import Relating


class Explained(NamedTuple):
    """What all rows say about each group.

    Attributes
    ----------
    reduced : Reduced
        log|H| and S of all rows.
    columns : array, shape (G, r, c)
        [X y] less what random effects explain of it: U[X y] − U_z CZ'W[X y].
    known : array, shape (G, r, r)
        U_z C U_z'.
    """

    reduced: Reduced
    columns: Float[Array, "G r c"]
    known: Float[Array, "G r r"]


def explain_rows(
    ops: Operations,
    products: CrossProducts,
    conditioned: Sequence[Float[Array, "k k"]],
    groups: TogetherGroups,
    relating: Relating | None = None,
) -> Explained:
    """Explain each group of rows that share their levels; C is needed on the pattern of Z'WZ only.

    Parameters
    ----------
    ops, products
        As in `bayesmm.marginal.elimination.elimination.absorb`.
    conditioned : sequence of arrays, shape (k, k)
        Λ on the conditioned columns.
    groups : TogetherGroups
        The rows, turned.
    relating : Relating, optional
        Where levels are related by dense matrices: what leads back to those of the rows.
    """
    elimination, absorbed = eliminate(ops, products, conditioned)
    solved = solve_effects(ops, products, elimination, absorbed).effects  # CZ'W[X y], (k, c, q)
    solved = products.at_levels(solved)
    inverse = invert_on_pattern(ops, products, elimination, conditioned, neighbours=True)
    own, between, lists = inverse.diagonal, inverse.pairs, products.shape.pairs
    if relating is not None:
        (own, between), lists = relating.covariances(ops, own, between), relating.pairs
    columns = groups.rows.fixed
    known = ops.xp.zeros((*columns.shape[:2], columns.shape[1]))
    for f, memberships in enumerate(groups.effects):
        for U, levels in zip(memberships, groups.levels[f], strict=True):
            B = solved[f].transpose(0, 2, 1)[:, levels]  # (k, G, c)
            columns = columns - sum(U[:, :, i, None] * B[i][:, None] for i in range(U.shape[2]))
            known = known + _sandwich(ops, U, own[f][:, :, levels], U)
    for (f, g), positions in zip(lists, groups.pairs, strict=True):
        for (a, b), position in positions.items():
            left, right = groups.effects[f][a], groups.effects[g][b]
            half = _sandwich(ops, left, between[f, g][:, :, position], right)
            known = known + half + half.swapaxes(1, 2)
    return Explained(absorbed.reduced, columns, known)


def _sandwich(
    ops: Operations, left: Float[Array, "G r k"], C: Float[Array, "k l G"], right: Float[Array, "G s l"]
) -> Float[Array, "G r s"]:
    """Left times C times right' of every group; written out, since a batch of tiny products takes ten times as long."""
    total = ops.xp.zeros((len(left), left.shape[1], right.shape[1]))
    for i in range(C.shape[0]):
        for j in range(C.shape[1]):
            total = total + (left[:, :, i] * C[i, j][:, None])[:, :, None] * right[:, None, :, j]
    return total
