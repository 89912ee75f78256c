"""Smooth terms in a formula: ``s(x)`` as a straight line and the departures from it."""

from typing import Literal, NamedTuple, cast

from bayesmm.console import brief
from bayesmm.limits import BASIS_COLUMNS
from bayesmm.specification.scanner import complaint
from bayesmm.specification.syntax import Bar, Call, Name, Node, Number, Sum, Text, walk, write

type Basis = Literal["cr", "bs"]

CALLEE = "s"
STRUCTURE = "homdiag"  # the departures have one standard deviation
LEAST, USUAL = 3, 10
_BASES = ("cr", "bs")


class Smooth(NamedTuple):
    """What ``s(x, k=10, bs='cr')`` says.

    Attributes
    ----------
    of : Node
        What the curve is a function of: a column or a call.
    k : int
        Dimension of the basis, the straight line included.
    basis : {"cr", "bs"}
        Cubic regression spline with knots at quantiles, or cubic B-splines with knots at equal distances.
    """

    of: Node
    k: int
    basis: Basis


def is_smooth(node: Node) -> bool:
    """Whether a part of a formula is ``s(...)``."""
    return isinstance(node, Call) and node.callee == CALLEE


def read_smooth(call: Call, text: str) -> Smooth:
    """Read the arguments of ``s(...)``.

    Parameters
    ----------
    call : Call
        The call.
    text : str
        The formula, for error messages.

    Raises
    ------
    SpecificationError
        If they are not one column or call, with ``k=`` and ``bs=``.
    """
    advice = "Write s(x), s(x, k=10) or s(x, bs='bs')."
    if len(call.arguments) > 1:
        problem = f"s() has {len(call.arguments)} arguments."
        raise complaint(text, call.at, problem, "It is a curve over one column: s(x) + s(w).")
    if not call.arguments or not isinstance(call.arguments[0], (Name, Call)) or is_smooth(call.arguments[0]):
        raise complaint(text, call.at, "s() is a curve over one column, or over a call such as np.log(x).", advice)
    k, basis = USUAL, "cr"
    for name, value in call.keywords:
        match name, value:
            case "k", Number():
                if not isinstance(value.value, int) or not LEAST <= value.value <= BASIS_COLUMNS:
                    problem = f"k is {brief(value.text)}: a whole number from {LEAST} to {BASIS_COLUMNS} is needed."
                    raise complaint(text, value.at, problem, "It is the dimension of the basis; 10 is usual.")
                k = value.value
            case "bs", Text(given) if given in _BASES:
                basis = given
            case "bs", _:
                problem = f"bs is {brief(write(value))}."
                raise complaint(text, value.at, problem, "Bases are 'cr' (quantile knots) and 'bs' (B-splines).")
            case "by", _:
                raise complaint(
                    text,
                    call.at,
                    "s() has no by=.",
                    "Curves by the levels of f are f * x + homdiag(0 + s(x) | f), or (s(x) | f) if f is a sample.",
                )
            case _:
                raise complaint(text, call.at, f"s() has no argument {name!r}.", advice)
    return Smooth(call.arguments[0], k, cast(Basis, basis))


def departures(call: Call, right: Node) -> Bar:
    """Return the term of the departures from a straight line: ``homdiag(0 + s(x) | right)``."""
    return Bar(Sum((("+", Number("0")), ("+", call))), right, STRUCTURE, call.at)


def read_departures(bar: Bar) -> Call | None:
    """Return the smooth of a bar that is ``homdiag(0 + s(x) | g)`` already."""
    match bar.left:
        case Sum((("+", Number("0")), ("+", Call() as call))) if bar.structure == STRUCTURE and is_smooth(call):
            return call
    return None


def check_no_smooth(node: Node, text: str) -> None:
    """Refuse ``s(...)`` inside a product or a call.

    Raises
    ------
    SpecificationError
        Points at it.
    """
    for each in walk(node):
        if is_smooth(each):
            raise complaint(
                text,
                each.at,
                f"'{brief(write(each))}' can only be added to other terms.",
                "For curves by the levels of f write f * x + homdiag(0 + s(x) | f), or (s(x) | f).",
            )
