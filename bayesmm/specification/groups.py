"""The side right of a bar: which columns' combinations are the levels."""

from bayesmm.console import brief
from bayesmm.specification.scanner import complaint
from bayesmm.specification.syntax import Binary, Call, Name, Node, Sum, write

_MULTI_MEMBERSHIP = ("mm", "gr")


def group_factors(node: Node, text: str) -> list[tuple[str, ...]]:
    """Expand a grouping expression into combinations of columns, from coarse to fine.

    Parameters
    ----------
    node : Node
        ``g``, ``a:b``, ``a/b`` or longer chains; ``C(g)`` means ``g``, since a group is always categorical.
    text : str
        The formula, for error messages.

    Returns
    -------
    list of tuple of str
        ``a/b/c`` gives ``("a",)``, ``("a", "b")``, ``("a", "b", "c")``.

    Raises
    ------
    SpecificationError
        For anything else.
    """
    match node:
        case Name(name):
            return [(name,)]
        case Call("C", (Name(name),), ()):
            return [(name,)]
        case Binary(":", left, right):
            return [_join(_single(left, text), _single(right, text), node, text)]
        case Binary("/", left, right):
            coarse = group_factors(left, text)
            return [*coarse, *(_join(coarse[-1], fine, node, text) for fine in group_factors(right, text))]
    problem, advice = _diagnosis(node)
    raise complaint(text, node.at, problem, advice)


def _single(node: Node, text: str) -> tuple[str, ...]:
    factors = group_factors(node, text)
    if len(factors) > 1:
        raise complaint(text, node.at, "A nesting '/' cannot stand inside a combination ':'.", "Write (1 | a/b:c).")
    return factors[0]


def _join(left: tuple[str, ...], right: tuple[str, ...], node: Binary, text: str) -> tuple[str, ...]:
    twice = set(left) & set(right)
    if twice:
        raise complaint(text, node.at, f"The factor {min(twice)!r} is combined with itself.", "Name it once.")
    return left + right


def _diagnosis(node: Node) -> tuple[str, str]:
    shown = brief(write(node))
    match node:
        case Sum():
            return f"'{shown}' is not a grouping factor.", "Write one term for each: (1 | a) + (1 | b)."
        case Binary("*"):
            return f"'{shown}' is not a grouping factor.", "Write (1 | a) + (1 | b) + (1 | a:b)."
        case Call(callee) if callee in _MULTI_MEMBERSHIP:
            return f"'{shown}': multi-membership and by-group terms are not available.", "Name a grouping column."
        case Call():
            return f"'{shown}' is computed.", "Compute the groups as a column of the data, and name that column."
        case _:
            return f"'{shown}' is not a grouping factor.", "Name a column of the data, a:b or a/b."
