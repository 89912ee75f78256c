"""Data into labelled arrays: rows used, columns, levels, and the names that everything goes by."""

from bayesmm.design.blocks import BlockPiece, RandomBlock
from bayesmm.design.design import Design, build_design
from bayesmm.design.labels import BlockLabels, Labels, ParameterRow
from bayesmm.design.new_rows import NewBlock, NewRows
from bayesmm.design.reshape import to_long

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
