"""Whether random effects can be told from the residuals, by the sums alone."""

from __future__ import annotations

from collections.abc import Sequence

from bayesmm.design.blocks.blocks import BlockPiece, RandomBlock
from bayesmm.design.blocks.told_apart import indistinct_of
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.finished import gather_effects


def find_in_sums(blocks: Sequence[RandomBlock], products: CrossProducts, *, free_of_fixed: bool) -> list[BlockPiece]:
    """Find the terms that together can take over a part of the residual variance.

    Parameters
    ----------
    blocks : sequence of RandomBlock
        All random effects.
    products : CrossProducts
        Their sums.
    free_of_fixed : bool
        Whether the rows are free of the fixed effects, as REML sees them.
    """
    if products.sparse is not None:  # sums are of levels as they are, and what relates them tells them from residuals
        return []
    n, p = int(products.n), int(products.p) if free_of_fixed else 0
    if sum(block.q * block.k for block in blocks) + p < n:  # too few to make up a matrix of full rank
        return []
    G, C = gather_effects(products)
    return indistinct_of(blocks, G, C[:, :p], n)
