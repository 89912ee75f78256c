"""Two models of the same rows, which are not in memory, on some of these rows: to see what one is of the other."""

from __future__ import annotations

from dataclasses import replace

from bayesmm.design.design import Design
from bayesmm.rows.summing import Kept, Summed


def on_same_rows(one: Summed, other: Summed) -> tuple[Design, Design] | None:
    """Put two designs on the rows that were kept for the other one, in which all its levels and limits occur.

    Parameters
    ----------
    one, other : Summed
        Of the same rows.

    Returns
    -------
    tuple of Design, or None
        With columns and blocks of these rows; None where the first uses a column that the other does not.
    """
    declared = one.declared
    if not set(one.found.rows) <= set(other.found.rows):
        return None
    pairs = ((one, Kept.of(declared, other.found)), (other, Kept.of(other.declared, other.found)))
    first, second = (replace(each.design, X=kept.columns.X, blocks=kept.blocks) for each, kept in pairs)
    return first, second
