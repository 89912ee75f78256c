"""What is not made for related levels says so."""

from __future__ import annotations

from bayesmm.design.design import Design
from bayesmm.design.related.sparse_relation import SparseRelation
from bayesmm.errors import ArgumentError


def refuse_sparse(design: Design, what: str, instead: str) -> None:
    """Refuse what takes a dense matrix of related levels.

    Parameters
    ----------
    design : Design
        Of the model.
    what : str
        What was asked for, and why it cannot be had: a sentence's beginning, before how many levels there are.
    instead : str
        What to do, a sentence.

    Raises
    ------
    ArgumentError
        If levels of some grouping factor are related by a sparse matrix.
    """
    for block in design.blocks:
        if isinstance(block.relation, SparseRelation):
            raise ArgumentError(
                f"{what}, and {block.group} has {block.q:,} levels, related by the sparse matrix "
                f"{block.grouping.relation!r}. {instead}"
            )


def refuse_related(design: Design, what: str, instead: str) -> None:
    """Refuse what counts on independent levels.

    Parameters
    ----------
    design : Design
        Of the model.
    what : str
        What was asked for, and why it cannot be had: a sentence's beginning, before "related".
    instead : str
        What to do, a sentence.

    Raises
    ------
    ArgumentError
        If levels of some grouping factor are related.
    """
    for block in design.blocks:
        if block.relation is not None:
            raise ArgumentError(
                f"{what}, and those of {block.group} are related by the matrix {block.grouping.relation!r}. {instead}"
            )
