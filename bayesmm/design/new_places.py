"""Effects at places and times that no row of the fit has, where a structure says how they covary with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmm.design.blocks.blocks import BlockPiece, BlockSources, RandomBlock, effect_names, without_stratum
from bayesmm.design.reading.frame import read_table
from bayesmm.design.rows.new_rows import match_kinds
from bayesmm.errors import PredictionError

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


def check_possible(piece: BlockPiece, covariances: np.ndarray) -> None:
    """Refuse more effects than may covary as an estimate says, or draws (D, k, k) do.

    Raises
    ------
    PredictionError
        With how many do not.
    """
    is_possible = piece.structure.is_possible(covariances)
    if not is_possible.all():
        of = f" in {(~is_possible).sum():,} of {len(is_possible):,} draws" if len(is_possible) > 1 else ""
        raise PredictionError(
            f"With those of the new data {piece.term} has {piece.k} effects, and so many cannot have the covariance "
            f"that was found{of}: of more effects correlations may not lie as far below zero. Predict fewer new ones "
            "at a time, or a posterior with a prior of positive correlations, bmm.priors.Uniform(0, 1)."
        )


def _widen(
    block: RandomBlock, sources: BlockSources, design: Design, new_data: Any
) -> tuple[RandomBlock, BlockSources]:
    columns = list(sources.columns)
    for j, own in enumerate(sources.columns):
        table = read_table(new_data, list(own.uses), may_be_empty=True)
        table = match_kinds(table, set(own.uses), design.known_rows.frame)
        columns[j] = own.widened(table.rows(~table.missing(own.uses)).frame)
    if all(new is old for new, old in zip(columns, sources.columns, strict=True)):
        return block, sources
    names = effect_names(block.grouping, columns)
    ends = np.cumsum([len(own) for own in names]).tolist()
    pieces, kept = [], []
    for piece, own, end in zip(block.pieces, names, ends, strict=True):
        start = end - len(own)
        kept += range(start, start + piece.k)
        structure = piece.structure
        if len(own) > piece.k:
            structure = structure.widened(without_stratum(own, piece.term.grouping), piece.k, str(piece.term))
        pieces.append(replace(piece, start=start, stop=end, structure=structure))

    def spread(old: np.ndarray) -> np.ndarray:
        new = np.zeros((len(old), ends[-1]))
        new[:, kept] = old
        return new

    effects = tuple(name for own in names for name in own)
    wide = replace(block, effects=effects, pieces=tuple(pieces))
    if design.elsewhere is None:
        incidence = block.incidence.map(lambda codes: codes, spread)
        wide = replace(wide, columns=spread(block.columns), incidence=incidence)
    return wide, replace(sources, columns=tuple(columns))
