"""Data into labelled arrays: rows used, columns, levels, and the names that everything goes by."""

from bayesmm.design.blocks.blocks import BlockPiece, RandomBlock
from bayesmm.design.blocks.labels import BlockLabels, Labels, ParameterRow
from bayesmm.design.design import Design, build_design
from bayesmm.design.reading.reshape import to_long
from bayesmm.design.rows.new_rows import NewBlock, NewRows

__all__ = [
    "BlockLabels",
    "BlockPiece",
    "Design",
    "Labels",
    "NewBlock",
    "NewRows",
    "ParameterRow",
    "RandomBlock",
    "build_design",
    "to_long",
]
