"""Where levels are related by a sparse A⁻¹: one sparse matrix of all random effects.

Of b = Λu with u ~ N(0, σ²A ⊗ I) what is factored is M = Λ'Z'WZΛ + A⁻¹ ⊗ I, in which Λ is never inverted, and of which
A⁻¹ is the identity where levels are independent; log|H| = log|M| + log|A ⊗ I|.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.cholesky.constrained import Constraint
from bayesmm.cholesky.fronts import Fronts, lay_out_fronts
from bayesmm.cholesky.precision import Precision
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.shapes import Array, Float, Int


@dataclass(frozen=True, kw_only=True, eq=False)
class SparsePlan:
    """The fronts of M, and where in them everything is. Effects are numbered by factor, by effect, by level.

    Attributes
    ----------
    fronts : Fronts
        Of the pattern of M.
    precisions : tuple of Precision or None
        A⁻¹ of each factor.
    constant, constant_values : arrays
        Where A⁻¹ ⊗ I is among the numbers of the fronts, and what it is there.
    diagonal : tuple of arrays, shapes (k, k, q)
        Where the effects of a level are with each other.
    pairs : tuple of arrays, shapes (k, l, P)
        Where pairs of levels that share a row are.
    log_det : float
        log|A ⊗ I| of all factors.
    constraint : Constraint or None
        Sums of effects that are zero, where a precision is singular.
    """

    fronts: Fronts
    precisions: tuple[Precision | None, ...]
    constant: Int[Array, " t"]
    constant_values: Float[Array, " t"]
    diagonal: tuple[Int[Array, "k k q"], ...]
    pairs: tuple[Int[Array, "k l P"], ...]
    log_det: float
    constraint: Constraint | None = None

    def split(self, effects: Float[Array, "c N"]) -> list[Float[Array, "k c q"]]:
        """Columns of all effects by factor."""
        shapes = [(where.shape[0], where.shape[2]) for where in self.diagonal]
        parts = np.split(effects, np.cumsum([k * q for k, q in shapes])[:-1], axis=1)
        return [part.reshape(-1, k, q).swapaxes(0, 1) for part, (k, q) in zip(parts, shapes, strict=True)]

    def gather(self, sums: Sequence[Float[Array, "*k q"]]) -> list[Float[Array, "*k q"]]:
        """Make sums over the rows of independent effects v, b = (V ⊗ I)v, from those of the levels; by factor."""
        return [x if A is None else A.gather(x) for A, x in zip(self.precisions, sums, strict=True)]

    def spread(self, effects: Sequence[Float[Array, "*k q"]]) -> list[Float[Array, "*k q"]]:
        """Make effects of the levels, from independent ones; by factor."""
        return [v if A is None else A.spread(v) for A, v in zip(self.precisions, effects, strict=True)]


def join(effects: Sequence[Float[Array, "k c q"]]) -> Float[Array, "c N"]:
    """Columns of all effects side by side."""
    return np.concatenate([b.swapaxes(0, 1).reshape(b.shape[1], -1) for b in effects], axis=1)


def plan_sparse(
    pair_keys: Mapping[FactorPair, np.ndarray],
    n_levels: Sequence[int],
    widths: Sequence[int],
    precisions: Sequence[Precision | None],
) -> SparsePlan:
    """Plan the factorisation of M.

    Parameters
    ----------
    pair_keys : mapping
        Pairs of levels that share a row, as `bayesmm.marginal.plan.planning.make_plan` takes them; in order.
    n_levels, widths : sequences of int
        Levels and effects per level of each factor.
    precisions : sequence of Precision or None
        A⁻¹ of each factor; independent levels by default.
    """
    starts = np.cumsum([0, *(k * q for k, q in zip(widths, n_levels, strict=True))])
    every = [
        start + np.arange(k)[:, None] * q + np.arange(q)
        for start, k, q in zip(starts[:-1], widths, n_levels, strict=True)
    ]  # numbers of the effects of each factor, (k, q)
    constant, values = [], []
    for number, A in zip(every, precisions, strict=True):
        if A is None:
            constant.append(np.stack([number.ravel(), number.ravel()]))
            values.append(np.ones(number.size))
        else:
            constant.append(np.stack([number[:, A.rows].ravel(), number[:, A.columns].ravel()]))
            values.append(np.tile(A.values, len(number)))
    levels = [np.broadcast_arrays(number[:, None], number[None]) for number in every]
    pairs = []
    for (f, g), keys in pair_keys.items():
        first, second = np.divmod(keys, n_levels[g])
        pairs.append(np.broadcast_arrays(every[f][:, None, first], every[g][None, :, second]))
    entries = [*constant, *([a.ravel(), b.ravel()] for a, b in [*levels, *pairs])]
    fronts = lay_out_fronts(int(starts[-1]), *(np.concatenate(ends) for ends in zip(*entries, strict=True)))
    return SparsePlan(
        fronts=fronts,
        precisions=tuple(precisions),
        constant=np.concatenate([fronts.positions(*ends) for ends in constant]),
        constant_values=np.concatenate(values),
        diagonal=tuple(fronts.positions(*ends) for ends in levels),
        pairs=tuple(fronts.positions(*ends) for ends in pairs),
        log_det=sum(k * A.log_det for k, A in zip(widths, precisions, strict=True) if A is not None),
        constraint=_constrain(int(starts[-1]), every, precisions),
    )


def _constrain(n: int, every: Sequence[np.ndarray], precisions: Sequence[Precision | None]) -> Constraint | None:
    """Put the constraints of each effect of each factor side by side."""
    rows, anchors, added = [], [], []
    for numbers, A in zip(every, precisions, strict=True):
        constraint = None if A is None else A.constraint
        if constraint is None:
            continue
        for own in numbers:
            placed = np.zeros((len(constraint.added), n))
            placed[:, own] = constraint.rows
            rows.append(placed)
            anchors.append(own[constraint.anchors])
            added.append(constraint.added)
    if not rows:
        return None
    return Constraint(rows=np.concatenate(rows), anchors=np.concatenate(anchors), added=np.concatenate(added))
