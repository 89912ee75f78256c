"""Random effects of a design as the numerics take them."""

from __future__ import annotations

from collections.abc import Sequence

from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.related.relation import KnownRelation
from bayesmm.design.related.sparse_relation import SparseRelation
from bayesmm.marginal.sums.rows import BlockArrays


def as_arrays(blocks: Sequence[RandomBlock]) -> tuple[BlockArrays, ...]:
    """Return random effects as the numerics take them: where a relation is sparse, all are by their precisions."""
    known = [block.relation for block in blocks]
    is_sparse = any(isinstance(relation, SparseRelation) for relation in known)
    return tuple(
        BlockArrays(
            incidence=block.incidence,
            pieces=block.layout,
            root=relation.root if isinstance(relation, KnownRelation) and not is_sparse else None,
            precision=relation.precision if relation is not None and is_sparse else None,
        )
        for block, relation in zip(blocks, known, strict=True)
    )
