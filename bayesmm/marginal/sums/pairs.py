"""Pairs of levels that occur together in a row, and where each row is in the lists of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from bayesmm.incidence import Incidence
from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.plan.neighbours import lookup_own_pairs, lookup_pairs
from bayesmm.marginal.plan.planning import elimination_order
from bayesmm.marginal.sums.rows import PairRows


def locate_pairs(incidences: Sequence[Incidence], related: Collection[int] = ()) -> dict[FactorPair, PairRows]:
    """List the pairs of levels that share a row.

    Parameters
    ----------
    incidences : sequence of Incidence
        Of each factor.
    related : collection of int
        Factors whose levels all touch each other, whatever the rows.

    Returns
    -------
    dict of (int, int) to PairRows
        By factors (f, g), f before g in `elimination_order`; (f, f) where rows have several levels of one.
    """
    ordered = [incidence.ordered for incidence in incidences]
    touching = {f for f, incidence in enumerate(ordered) if incidence.touches_itself}
    order = elimination_order([incidence.n_levels for incidence in ordered], touching.union(related))
    pairs = {(f, g): _between(ordered[f], ordered[g]) for i, f in enumerate(order) for g in order[i + 1 :]}
    return pairs | {(f, f): _within(ordered[f]) for f in touching}


def _between(one: Incidence, other: Incidence) -> PairRows:
    if one.is_single and other.is_single:
        keys, position = lookup_pairs(one.only.codes, other.only.codes, one.n_levels, other.n_levels)
        return PairRows(keys, {(0, 0): position})
    sides = [
        (a, b, first.codes, second.codes)
        for a, first in enumerate(one.memberships)
        for b, second in enumerate(other.memberships)
    ]
    first, second = (np.concatenate(codes) for codes in zip(*(s[2:] for s in sides), strict=True))
    keys, position = lookup_pairs(first, second, one.n_levels, other.n_levels)
    parts = np.split(position, len(sides))
    return PairRows(keys, {(a, b): part for (a, b, _, _), part in zip(sides, parts, strict=True)})


def _within(incidence: Incidence) -> PairRows:
    codes = [membership.codes for membership in incidence.memberships]
    sides = [(a, b) for b in range(len(codes)) for a in range(b)]
    first, second = (np.concatenate([codes[side[end]] for side in sides]) for end in (0, 1))
    keys, position = lookup_own_pairs(first, second, incidence.n_levels)
    return PairRows(keys, dict(zip(sides, np.split(position, len(sides)), strict=True)))
