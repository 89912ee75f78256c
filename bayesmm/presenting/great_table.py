"""A table as an object of the package great-tables, to be styled there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from bayesmm.console import visible
from bayesmm.errors import BayesmmError
from bayesmm.presenting.parts import Column, Shrinkage, Table

if TYPE_CHECKING:
    from great_tables import GT  # pyright: ignore[reportMissingImports]  an extra

NAME, PART = "name", "part"  # columns that are no column of the table


def make_great_table(table: Table, title: str, notes: Sequence[str] = ()) -> GT:
    """Make a ``great_tables.GT`` of a table.

    Parameters
    ----------
    table : Table
        Its cells are texts already; pictures are left out.
    title : str
        What stands above it.
    notes : sequence of str
        What stands below it.

    Raises
    ------
    BayesmmError
        If the package is not installed.
    """
    try:
        from great_tables import GT  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BayesmmError(
            'A great table needs the package great-tables, not installed here. Run: pip install "bayesmm[tables]".'
        ) from error
    columns = {f"c{j}": column for j, column in enumerate(table.columns) if not isinstance(column, Shrinkage)}
    cells = {key: list(map(visible, column.texts)) for key, column in columns.items()}
    frame = pd.DataFrame({NAME: list(map(visible, table.names)), PART: _parts(table), **cells})
    made: Any = GT(frame, rowname_col=NAME, groupname_col=PART if table.headings else None)
    if not table.headings:
        made = made.cols_hide(PART)
    made = made.tab_header(visible(title)).tab_stubhead(visible(table.head))
    made = made.cols_label({key: visible(column.head) for key, column in columns.items()})
    words = [key for key, column in columns.items() if isinstance(column, Column) and column.is_words]
    made = made.cols_align("right", [key for key in columns if key not in words])
    for i, over in enumerate(dict.fromkeys(column.over for column in columns.values() if column.over)):
        own = [key for key, column in columns.items() if column.over == over]
        made = made.tab_spanner(visible(over), own, id=f"s{i}")
    for note in notes:
        made = made.tab_source_note(visible(note))
    return made


def _parts(table: Table) -> list[str]:
    """Return below which heading each row stands."""
    found, heading = [], ""
    for i in range(len(table.names)):
        heading = table.headings.get(i, heading)
        found.append(visible(heading))
    return found
