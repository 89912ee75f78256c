"""Families: levels that are related to each other, and to no others that have rows."""

from __future__ import annotations

import numpy as np

from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.related.relation import MOST_LEVELS
from bayesmm.design.related.sparse_relation import SparseRelation

UNRELATED = 1e-12  # of the levels' standard deviations in A, below which a covariance is zero


def find_families(block: RandomBlock) -> np.ndarray:
    """Find which levels are independent of all others.

    Parameters
    ----------
    block : RandomBlock
        Random effects of one grouping factor.

    Returns
    -------
    int array, shape (q,)
        Family of each level; each is its own where levels are independent. Levels without rows, which only hand
        something on, belong to no family of others: what counts is the covariance of levels that have rows. Of more
        than 5,000 of these levels are told apart that have no path between them in A⁻¹.
    """
    if block.relation is None:
        return np.arange(block.q)
    from scipy.sparse import coo_array, csgraph  # where levels are related

    present, relation = block.incidence.levels_present(), block.relation
    if isinstance(relation, SparseRelation) and len(present) > MOST_LEVELS:
        A = relation.precision
        tied = coo_array((np.ones(len(A.rows)), (A.rows, A.columns)), (block.q, block.q))
        return csgraph.connected_components(tied, directed=False)[1]
    A = relation.covariances(*np.ix_(present, present))
    sizes = np.sqrt(np.diag(A))
    parts = csgraph.connected_components(np.abs(A) > UNRELATED * np.outer(sizes, sizes), directed=False)[1]
    families = np.arange(block.q)
    families[present] = present[np.unique(parts, return_index=True)[1]][parts]  # by the first level of each
    return families
