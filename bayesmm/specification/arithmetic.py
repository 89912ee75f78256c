"""Expressions in which ``+`` and ``*`` are arithmetic: responses, offsets, weights."""

from bayesmm.console import brief
from bayesmm.specification.scanner import complaint
from bayesmm.specification.syntax import Bar, Binary, Call, Node, Text, walk, write


def check_arithmetic(node: Node, text: str) -> None:
    """Refuse what has no meaning in arithmetic: bars, interactions, offsets and texts standing alone.

    Parameters
    ----------
    node : Node
        The parsed expression.
    text : str
        The text that it was parsed from.

    Raises
    ------
    SpecificationError
        Pointing at the place.
    """
    if isinstance(node, Text):
        raise complaint(
            text, node.at, f"{brief(write(node))} is a text, not a column.", "Leave out the quotation marks."
        )
    for each in walk(node):
        match each:
            case Bar():
                raise complaint(text, each.at, "A random-effects term cannot stand here.", "Bars belong right of '~'.")
            case Binary(":"):
                raise complaint(text, each.at, "':' has no meaning in arithmetic.", "Write a product as a * b.")
            case Call("offset"):
                raise complaint(text, each.at, "offset() cannot stand here.", "Add it to the terms: y ~ x + offset(z).")
