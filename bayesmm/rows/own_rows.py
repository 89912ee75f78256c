"""What each level's own rows say of its effects, by the sums alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesmm.design.words.own_rows import OwnRows, solve_own_rows
from bayesmm.marginal.sums.totals import Totals, level_moments


def own_rows_of_sums(totals: Totals, beta: np.ndarray, effects: Sequence[np.ndarray]) -> list[OwnRows]:
    """Estimate every level's effects from its own rows alone; see `bayesmm.design.words.own_rows.read_own_rows`."""
    found = []
    roots = totals.recipe.conditioning.effect_roots
    for f, moments in enumerate(level_moments(totals, beta, effects)):
        gram = np.einsum("ia,ijq,jb->qab", roots[f], totals.sums.diagonal[f], roots[f])
        found.append(solve_own_rows(gram, moments, totals.counts[f].astype(int), effects[f]))
    return found
