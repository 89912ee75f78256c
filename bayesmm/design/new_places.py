"""Effects at places and times that no row of the fit has, where a structure says how they covary with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmm.design.blocks.blocks import BlockPiece, BlockSources, RandomBlock, effect_names
from bayesmm.design.reading.frame import read_table
from bayesmm.design.rows.new_rows import match_kinds

if TYPE_CHECKING:
    from bayesmm.design.design import Design


def add_places(design: Design, new_data: Any, groups: Sequence[str]) -> Design:
    """Add the effects of new places, of which the columns are zero in the rows of the fit.

    Parameters
    ----------
    design : Design
        Of a fit.
    new_data : data frame
        Rows that are to be predicted.
    groups : sequence of str
        Grouping factors whose effects count there.

    Returns
    -------
    Design
        Itself if there are no such places. New effects come after the others of their term, whose numbers are not
        changed; conditional on the data their distribution is what kriging finds.
    """
    blocks, sources = list(design.blocks), list(design.sources.blocks)
    for i, block in enumerate(design.blocks):
        if block.group in groups and block.grouping.kind != "roles":
            blocks[i], sources[i] = _widen(block, sources[i], design, new_data)
    if all(new is old for new, old in zip(blocks, design.blocks, strict=True)):
        return design
    return replace(design, blocks=tuple(blocks), sources=replace(design.sources, blocks=tuple(sources)))


def _widen(
    block: RandomBlock, sources: BlockSources, design: Design, new_data: Any
) -> tuple[RandomBlock, BlockSources]:
    columns = list(sources.columns)
    for j, (piece, own) in enumerate(zip(block.pieces, sources.columns, strict=True)):
        known = own.places
        if known is None or piece.structure.widened(block.effects[piece.start : piece.stop], "") is None:
            continue
        table = read_table(new_data, list(known.coordinates), may_be_empty=True)
        table = match_kinds(table, set(known.coordinates), design.frame)
        wider = known.widened(table.rows(~table.missing(known.coordinates)).frame)
        if wider is not known:
            columns[j] = own.at_places(wider)
    if all(new is old for new, old in zip(columns, sources.columns, strict=True)):
        return block, sources
    names = effect_names(block.grouping, columns)
    ends = np.cumsum([len(own) for own in names]).tolist()
    pieces, kept = [], []
    for piece, own, end in zip(block.pieces, names, ends, strict=True):
        start = end - len(own)
        kept += range(start, start + piece.k)
        structure = piece.structure if len(own) == piece.k else piece.structure.widened(own, str(piece.term))
        assert structure is not None
        pieces.append(BlockPiece(term=piece.term, start=start, stop=end, structure=structure))

    def spread(old: np.ndarray) -> np.ndarray:
        new = np.zeros((len(old), ends[-1]))
        new[:, kept] = old
        return new

    wide = replace(
        block,
        effects=tuple(name for own in names for name in own),
        columns=spread(block.columns),
        incidence=block.incidence.map(lambda codes: codes, spread),
        pieces=tuple(pieces),
    )
    return wide, replace(sources, columns=tuple(columns))
