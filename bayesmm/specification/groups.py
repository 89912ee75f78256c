"""The side right of a bar: which columns say which levels a row has, and how."""

from typing import NoReturn

from bayesmm.console import brief
from bayesmm.specification.arithmetic import check_arithmetic
from bayesmm.specification.scanner import complaint
from bayesmm.specification.syntax import Binary, Call, Constant, Name, Node, Sum, write
from bayesmm.specification.terms import Grouping

_ALONE = ("mm", "dyad", "rel", "gr")
_MM = "(1 | mm(a, b)), or with weights (1 | mm(a, b, weights=cbind(w1, w2)))"


def read_groupings(node: Node, text: str) -> list[Grouping]:
    """Read what stands right of a bar.

    Parameters
    ----------
    node : Node
        ``g``, ``a:b``, ``a/b`` or longer chains; ``mm(a, b)``; ``dyad(sender, receiver)``; ``rel(animal, A)``;
        ``gr(g, by=f)``.
    text : str
        The formula, for error messages.

    Returns
    -------
    list of Grouping
        One, but of ``a/b`` two.

    Raises
    ------
    SpecificationError
        For anything else.
    """
    match node:
        case Call("mm"):
            return [_read_members(node, text)]
        case Call("dyad"):
            return [_read_roles(node, text)]
        case Call("rel"):
            return [_read_relation(node, text)]
        case Call("gr"):
            return [_read_strata(node, text)]
    return [Grouping(factors=factors) for factors in group_factors(node, text)]


def _read_members(call: Call, text: str) -> Grouping:
    factors = _columns_of(call, text, f"Write {_MM}.")
    if len(factors) == 1:
        raise complaint(text, call.at, f"mm({factors[0]}) has one member.", f"Write (1 | {factors[0]}).")
    weights: tuple[str, ...] = ()
    scale = True
    for name, value in call.keywords:
        match name, value:
            case "weights", Call("cbind", expressions, ()):
                for expression in expressions:
                    check_arithmetic(expression, text)
                weights = tuple(map(write, expressions))
            case "weights", _:
                problem = f"The weights of mm() are '{brief(write(value))}'."
                raise complaint(text, value.at, problem, "Bind one for each member: weights=cbind(w1, w2).")
            case "scale", Constant(bool(chosen)):
                scale = chosen
            case "scale", _:
                raise complaint(
                    text, value.at, f"scale is '{brief(write(value))}'.", "Write scale=True or scale=False."
                )
            case _:
                _refuse_keyword(name, call, text, "mm() takes weights= and scale=.")
    if weights and len(weights) != len(factors):
        problem = f"mm() has {len(factors)} members and {len(weights)} weight(s)."
        raise complaint(text, call.at, problem, "Bind one for each member: weights=cbind(w1, w2).")
    if not scale and not weights:
        raise complaint(
            text,
            call.at,
            "scale=False is about weights, and mm() has none.",
            "Without weights each of m members counts 1/m. Write weights=cbind(1, 1), scale=False to add two up.",
        )
    return Grouping(factors=factors, kind="members", weights=weights, scale=scale)


def _read_roles(call: Call, text: str) -> Grouping:
    advice = "Write (1 | dyad(sender, receiver)); for members that are alike (1 | mm(a, b))."
    for name, _ in call.keywords:
        _refuse_keyword(name, call, text, "dyad() takes two columns and nothing else.")
    factors = _columns_of(call, text, advice)
    if len(factors) != 2:
        raise complaint(text, call.at, f"dyad() takes two columns, and has {len(factors)}.", advice)
    return Grouping(factors=factors, kind="roles")


def _read_relation(call: Call, text: str) -> Grouping:
    advice = "Write (1 | rel(animal, A)) and give the matrix: Model(..., relations={'A': A})."
    for name, _ in call.keywords:
        _refuse_keyword(name, call, text, "rel() takes a column and the name of a matrix.")
    match call.arguments:
        case [Name(column) | Call("C", (Name(column),), ()), Name(relation)]:
            return Grouping(factors=(column,), kind="relation", relation=relation)
        case [_]:
            raise complaint(text, call.at, "rel() names no matrix.", advice)
    raise complaint(text, call.at, "rel() takes one column and the name of one matrix.", advice)


def _read_strata(call: Call, text: str) -> Grouping:
    takes = "gr() takes by=, a column: (1 + x | gr(g, by=f))."
    by = ""
    for name, value in call.keywords:
        match name, value:
            case "by", Name(column) | Call("C", (Name(column),), ()):
                by = column
            case "by", _:
                problem = f"by= is '{brief(write(value))}', not a column."
                raise complaint(text, value.at, problem, "Compute it as a column of the data, and name that column.")
            case "cov", _:
                advice = "Write (1 | rel(animal, A)) and give the matrix: Model(..., relations={'A': A})."
                _refuse_keyword(name, call, text, advice)
            case _:
                _refuse_keyword(name, call, text, takes)
    if len(call.arguments) != 1:
        raise complaint(text, call.at, f"gr() takes one grouping factor, and has {len(call.arguments)}.", takes)
    factors = _single(call.arguments[0], text)
    if by in factors:
        problem = f"The strata of gr() are its grouping factor {by!r}."
        raise complaint(text, call.at, problem, "Name a column that has one value for several levels of the factor.")
    return Grouping(factors=factors, by=by)


def _columns_of(call: Call, text: str, advice: str) -> tuple[str, ...]:
    factors: list[str] = []
    for argument in call.arguments:
        match argument:
            case Name(name) | Call("C", (Name(name),), ()):
                if name in factors:
                    problem = f"{call.callee}() has the column {name!r} twice."
                    raise complaint(text, argument.at, problem, f"Name it once: (1 | {name}) if it is the only one.")
                factors.append(name)
            case _:
                problem = f"'{brief(write(argument))}' in {call.callee}() is not a column."
                raise complaint(text, argument.at, problem, "Compute it as a column of the data, and name that column.")
    if not factors:
        raise complaint(text, call.at, f"{call.callee}() names no column.", advice)
    return tuple(factors)


def _refuse_keyword(name: str, call: Call, text: str, advice: str) -> NoReturn:
    raise complaint(text, call.at, f"{call.callee}() has no argument {name!r}.", advice)


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
        case Call(callee) if callee in _ALONE:
            return f"'{shown}' cannot be combined with other factors.", f"Write it alone right of a bar: (1 | {shown})."
        case Call():
            return f"'{shown}' is computed.", "Compute the groups as a column of the data, and name that column."
        case _:
            return f"'{shown}' is not a grouping factor.", "Name a column of the data, a:b or a/b."
