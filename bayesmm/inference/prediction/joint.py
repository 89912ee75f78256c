"""The joint covariance of fixed and predicted effects, read where rows need it: between any levels that meet in a row.

With C = ΛH⁻¹Λ' the conditional covariance of the effects over σ², B = CZ'WX and A = X'Ṽ⁻¹X, the error of x'β̂ + z'b̂ has

    Var/σ² = z'Cz + (x − B'z)'A⁻¹(x − B'z):

given β, and what the error of β̂ adds. Of C there are the entries of levels that occur together in the data; those of
other pairs, which new rows may have, are solved for, some levels at a time; where levels are related, it is solved for
every row. All is on the conditioned columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayesmm.incidence import Incidence
from bayesmm.marginal.apart.few_effects import joint_covariance, solve_few_effects
from bayesmm.marginal.apart.one_factor import level_covariances, solve_one_factor
from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.effects import solve_effects
from bayesmm.marginal.elimination.elimination import AnyElimination, absorb, eliminate
from bayesmm.marginal.elimination.inverse import invert_on_pattern
from bayesmm.marginal.elimination.levels import combine
from bayesmm.marginal.residual.through_rows import off_zero, quadratic
from bayesmm.marginal.sums.crossproducts import CrossProducts

ROWS = 2**16  # at a time
SOLVED = 2**23  # numbers in the columns that are solved for together, 64 MB


class Side(NamedTuple):
    """One level of each row, of a factor f, and its effects' multipliers (m, k): zeros where there is none."""

    f: int
    codes: np.ndarray
    columns: np.ndarray


class Meeting(NamedTuple):
    """Pairs of two sides: in which rows both have effects, and where these are in a list of pairs (−1: nowhere)."""

    first: int
    second: int
    rows: np.ndarray
    position: np.ndarray


class RowEffects:
    """Rows, with the places of their levels and pairs of levels.

    Parameters
    ----------
    products : CrossProducts
        Of the fit.
    fixed : array, shape (m, p)
        X of the rows, on the conditioned columns.
    incidences : sequence of Incidence or None
        Levels, on the conditioned columns; codes of −1, and those from q on, have no predicted effects.
    """

    def __init__(self, products: CrossProducts, fixed: np.ndarray, incidences: Sequence[Incidence | None]) -> None:
        self._products, self._fixed = products, fixed
        n_levels = [G.shape[2] for G in products.diagonal]
        self._sides: list[Side] = []
        self._new: list[Side] = []
        for f, incidence in enumerate(incidences):
            for own in () if incidence is None else incidence.ordered.memberships:
                is_known, is_new = (own.codes >= 0) & (own.codes < n_levels[f]), own.codes >= n_levels[f]
                known = np.where(is_known[:, None], own.columns, 0.0)
                self._sides.append(Side(f, np.where(is_known, own.codes, 0), known))
                if is_new.any():
                    self._new.append(Side(f, own.codes, np.where(is_new[:, None], own.columns, 0.0)))
        pairs = [(i, j) for j in range(len(self._sides)) for i in range(j)]
        is_row_by_row = products.levels is not None or products.is_related  # then levels are independent, or combined
        self._meetings = [] if is_row_by_row else [self._meet(i, j) for i, j in pairs]

    def variances(self, factors: Sequence[np.ndarray], *, of_fixed: bool) -> np.ndarray:
        """Var/σ² (m,) of x'β̂ + z'b̂ less what it predicts, and of the effects of new levels, at Λ of each factor.

        Parameters
        ----------
        factors : sequence of arrays, shapes (k, k)
            Λ.
        of_fixed : bool
            Whether the error of β̂ counts.
        """
        at = _solve(self._products, factors)
        total = np.zeros(len(self._fixed))
        n_effects = sum(G.shape[0] * G.shape[2] for G in self._products.diagonal)
        size = max(SOLVED // max(n_effects, 1), 1) if self._products.is_related else ROWS
        for start in range(0, len(total), size):
            part = slice(start, start + size)
            total[part] += self._together(at, part) if self._products.is_related else self._own(at, part)
            if of_fixed and self._fixed.shape[1]:
                towards = self._towards(at, part)
                total[part] += np.einsum("mp,mp->m", towards @ at.inverse, towards)
            for side in self._new:
                total[part] += ((side.columns[part] @ factors[side.f]) ** 2).sum(axis=1)
        for meeting in self._meetings:
            self._add_meeting(total, meeting, at)
        return total

    def _own(self, at: _At, part: slice) -> np.ndarray:
        found = np.zeros(len(self._fixed[part]))
        for side in self._sides:
            columns = side.columns[part]
            found += quadratic(columns, at.diagonal[side.f][:, :, side.codes[part]], columns)
        return found

    def _together(self, at: _At, part: slice) -> np.ndarray:
        """Z'Cz of all effects that rows have, (m,)."""
        m = len(self._fixed[part])
        rows = [np.zeros((k, m, q)) for k, _, q in (G.shape for G in self._products.diagonal)]
        for side in self._sides:
            for own, columns in zip(rows[side.f], side.columns[part].T, strict=True):
                np.add.at(own, (np.arange(m), side.codes[part]), columns)
        assert at.elimination is not None
        return combine(host, self._products, at.elimination, self._products.from_levels(rows)).squares

    def _towards(self, at: _At, part: slice) -> np.ndarray:
        """Take B'z from x, (m, p)."""
        towards = self._fixed[part].copy()
        for side in self._sides:
            columns, B = side.columns[part], at.effects[side.f]
            for j in range(columns.shape[1]):
                towards -= columns[:, j, None] * B[j].T[side.codes[part]]
        return towards

    def _meet(self, i: int, j: int) -> Meeting:
        """Look up in which list of pairs the rows have theirs."""
        one, two = self._sides[i], self._sides[j]
        meets = one.columns.any(axis=1) & two.columns.any(axis=1)
        if one.f == two.f:
            meets &= one.codes != two.codes
        rows = np.flatnonzero(meets)
        u, v = one.codes[rows], two.codes[rows]
        if self._products.effects is not None:
            return Meeting(i, j, rows, np.zeros(len(rows), np.int64))
        shape, index = self._products.shape, self._products.index
        position = np.full(len(rows), -1)
        if (two.f, one.f) in shape.pairs and one.f != two.f:
            i, j, one, two, u, v = j, i, two, one, v, u
        if (one.f, two.f) in shape.pairs:
            place, n = shape.pairs.index((one.f, two.f)), self._products.diagonal[two.f].shape[2]
            keys = np.asarray(index.rows[place]).astype(np.int64) * n + np.asarray(index.columns[place])
            order = np.argsort(keys, kind="stable")
            wanted = u.astype(np.int64) * n + v
            found = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
            if len(keys):
                position = np.where(keys[order[found]] == wanted, order[found], -1)
        return Meeting(i, j, rows, position)

    def _add_meeting(self, total: np.ndarray, meeting: Meeting, at: _At) -> None:
        """Add 2z_f'C_fg z_g of the rows in which both levels have effects."""
        one, two = self._sides[meeting.first], self._sides[meeting.second]
        known = np.flatnonzero(meeting.position >= 0)
        for start in range(0, len(known), ROWS):
            some = known[start : start + ROWS]
            rows = meeting.rows[some]
            C = at.between(one.f, two.f, one.codes[rows], two.codes[rows], meeting.position[some])
            total[rows] += 2.0 * quadratic(one.columns[rows], C, two.columns[rows])
        lacking = meeting.rows[meeting.position < 0]
        if not len(lacking):
            return
        if len(np.unique(two.codes[lacking])) < len(np.unique(one.codes[lacking])):
            one, two = two, one
        lacking = lacking[np.argsort(one.codes[lacking], kind="stable")]
        levels, starts = np.unique(one.codes[lacking], return_index=True)
        ends = np.append(starts[1:], len(lacking))
        size = at.solved_together(one.f)
        for first in range(0, len(levels), size):
            some = levels[first : first + size]
            rows = lacking[starts[first] : ends[min(first + size, len(levels)) - 1]]
            C = at.columns_of(one.f, some)[two.f]  # (l, k, levels, q)
            blocks = C[:, :, np.searchsorted(some, one.codes[rows]), two.codes[rows]].swapaxes(0, 1)
            total[rows] += 2.0 * quadratic(one.columns[rows], blocks, two.columns[rows])


class _At(NamedTuple):
    """Solved at one Λ: A⁻¹ (p, p); of each factor B (k, p, q) and C of its levels (k, k, q); C of pairs, or all."""

    products: CrossProducts
    inverse: np.ndarray
    effects: list[np.ndarray]
    diagonal: list[np.ndarray]
    pairs: dict[tuple[int, int], np.ndarray]
    joint: np.ndarray | None
    elimination: AnyElimination | None

    def between(self, f: int, g: int, u: np.ndarray, v: np.ndarray, position: np.ndarray) -> np.ndarray:
        """C (k, l, m) of pairs of levels."""
        if self.joint is None:
            return self.pairs[(f, g)][:, :, position]
        shapes = [G.shape[1:] for G in self.products.diagonal]  # (k, q)
        starts = np.cumsum([0, *(k * q for k, q in shapes)])
        row = starts[f] + np.arange(shapes[f][0])[:, None] * shapes[f][1] + u
        column = starts[g] + np.arange(shapes[g][0])[:, None] * shapes[g][1] + v
        return self.joint[row[:, None], column[None]]

    def solved_together(self, f: int) -> int:
        """Levels of a factor whose columns of C fit, with what every pair of levels adds to them."""
        n = sum(G.shape[1] * G.shape[2] for G in self.products.diagonal)
        n = max(n, *(B.shape[2] for B in self.products.pairs), 1)
        return max(SOLVED // (n * self.products.diagonal[f].shape[0]), 1)

    def columns_of(self, f: int, levels: np.ndarray) -> list[np.ndarray]:
        """C between all levels of each factor g and some of f, (l, k, levels, q)."""
        assert self.elimination is not None
        k, c = self.products.diagonal[f].shape[0], len(levels)
        cross = [np.zeros((G.shape[0], k * c, G.shape[2])) for G in self.products.diagonal]
        for e in range(k):
            cross[f][e, e * c + np.arange(c), levels] = 1.0
        absorbed = absorb(host, self.products, self.elimination, cross, np.zeros((k * c, k * c)))
        solved = solve_effects(host, self.products, self.elimination, absorbed).effects
        return [own.reshape(len(own), k, c, -1) for own in solved]


def _effects(factors: Sequence[np.ndarray], residual: Sequence[np.ndarray]) -> list[np.ndarray]:
    """ΛΛ'Z'Ṽ⁻¹[X y]."""
    return [host.transform(Lambda @ Lambda.T, each) for Lambda, each in zip(factors, residual, strict=True)]


def _solve(products: CrossProducts, factors: Sequence[np.ndarray]) -> _At:
    """Solve in the way that the design allows, the one that loses no digits where there is one."""
    p, pairs, joint, elimination = len(products.gram) - 1, {}, None, None
    if products.levels is not None:
        alone = solve_one_factor(host, products.levels, factors[0])
        gram, effects = alone.gram, _effects(factors, [alone.residual])
        diagonal = [level_covariances(host, products.levels, factors[0])]
    elif products.effects is not None:
        few = solve_few_effects(host, products.effects, factors)
        gram, effects = few.gram, _effects(factors, few.residual)
        joint = joint_covariance(host, products.effects, factors)
        diagonal, start = [], 0
        for k, _, q in (G.shape for G in products.diagonal):
            own = joint[start : start + k * q, start : start + k * q].reshape(k, q, k, q)
            diagonal.append(own.diagonal(axis1=1, axis2=3))
            start += k * q
    else:
        elimination, absorbed = eliminate(host, products, factors)
        gram = absorbed.reduced.gram
        effects = solve_effects(host, products, elimination, absorbed).effects
        diagonal = []
        if not products.is_related:
            invertible = [off_zero(L) for L in factors]
            inverse = invert_on_pattern(host, products, elimination, invertible, neighbours=True)
            diagonal, pairs = inverse.diagonal, inverse.pairs
    return _At(
        products=products,
        inverse=np.linalg.inv(gram[:p, :p]),
        effects=[own[:, :p] for own in products.at_levels(effects)],
        diagonal=diagonal,
        pairs=pairs,
        joint=joint,
        elimination=elimination,
    )
