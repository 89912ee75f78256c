"""The covariance of the residuals as text: ``ar1(week | id) * het(arm)``."""

from __future__ import annotations

from collections.abc import Iterator

from bayesmm.covariance.residual import RESIDUAL
from bayesmm.errors import SpecificationError
from bayesmm.specification.arithmetic import check_arithmetic
from bayesmm.specification.grammar import parse_residual_terms
from bayesmm.specification.groups import group_factors
from bayesmm.specification.scanner import complaint
from bayesmm.specification.syntax import Bar, Binary, Call, Name, Node, Number, write
from bayesmm.specification.terms import Grouping, ResidualSpecification, ResidualTerm, SpreadKind, SpreadTerm

SPREADS: tuple[SpreadKind, ...] = ("het", "power", "exponential")
_EXAMPLE = "Write for example 'ar1(week | id)', 'us(visit | id)', 'het(machine)', or 'cs(visit | id) * het(arm)'."


def read_residual(text: str) -> ResidualSpecification:
    """Read the covariance of the residuals.

    Parameters
    ----------
    text : str
        One structure of correlations within groups at most, ``us(visit | id)``, times any number of ``het(f)``,
        ``power(x)`` and ``exponential(x)``, of which x may be ``fitted``. With ``by=arm`` each arm has
        parameters of its own.

    Raises
    ------
    SpecificationError
        If it cannot be read.

    Examples
    --------
    >>> read_residual("ar1(week | id)*het(arm)").write()
    'ar1(week | id) * het(arm)'
    """
    if not text.strip():
        raise SpecificationError(f"residual is empty. {_EXAMPLE}")
    correlation: ResidualTerm | None = None
    spreads: list[SpreadTerm] = []
    for part in _factors(parse_residual_terms(text)):
        match part:
            case Bar():
                if correlation is not None:
                    problem = "There are two structures of correlations."
                    raise complaint(text, part.at, problem, "Keep one; standard deviations are multiplied: * het(f).")
                correlation = _correlation(part, text)
            case Call(callee, (argument,), ()) if callee in SPREADS:
                spread = _spread(callee, argument, text)
                if spread in spreads:
                    raise complaint(text, part.at, f"{spread.write()} is there twice.", "Name it once.")
                spreads.append(spread)
            case _:
                raise complaint(text, part.at, *_diagnosis(part))
    return ResidualSpecification(text=text.strip(), correlation=correlation, spreads=tuple(spreads))


def _factors(node: Node) -> Iterator[Node]:
    match node:
        case Binary("*", left, right):
            yield from _factors(left)
            yield from _factors(right)
        case _:
            yield node


def _correlation(bar: Bar, text: str) -> ResidualTerm:
    left, right, structure, at = bar.left, bar.right, bar.structure, bar.at
    if text[at] == "(":
        problem = "A bar alone stands for random effects."
        raise complaint(text, at, problem, "Name the structure of the residuals: us(visit | id), ar1(week | id).")
    match left:
        case Name(position) | Call("C", (Name(position),), ()):
            pass
        case _:
            problem = f"'{write(left)}' is no column."
            advice = f"Left of the bar is the column that tells the rows of a group apart: {structure}(visit | id)."
            raise complaint(text, left.at, problem, advice)
    groupings = group_factors(right, text)
    if len(groupings) > 1:
        problem = f"'{write(right)}' says two ways to make groups."
        raise complaint(text, right.at, problem, "Residuals have one: a column, or a combination a:b.")
    if position in groupings[0]:
        problem = f"{position!r} makes the groups and cannot tell their rows apart."
        raise complaint(text, at, problem, f"Write {structure}(visit | {position}).")
    by: tuple[str, ...] = ()
    if bar.by is not None:
        ways = group_factors(bar.by, text)
        if len(ways) > 1:
            raise complaint(text, bar.by.at, "by= takes one factor or a combination.", "Write by=arm, or by=arm:sex.")
        by = ways[0]
        if position in by or set(groupings[0]) <= set(by):
            problem = f"by={write(bar.by)} names what tells rows apart, or what makes the groups."
            advice = f"Name what many groups share: {structure}({position} | {write(right)}, by=arm)."
            raise complaint(text, bar.by.at, problem, advice)
    grouping = Grouping(factors=groupings[0])
    return ResidualTerm(structure=structure, position=position, grouping=grouping, by=by, nugget=bar.nugget)


def _spread(kind: str, argument: Node, text: str) -> SpreadTerm:
    if kind == "het":
        if argument == Number("1"):
            return SpreadTerm(kind="het", expression="1")
        factors = group_factors(argument, text)
        if len(factors) > 1:
            raise complaint(text, argument.at, "het() takes one factor or a combination.", "Write het(a:b).")
        return SpreadTerm(kind="het", factors=factors[0])
    check_arithmetic(argument, text)
    return SpreadTerm(kind="power" if kind == "power" else "exponential", expression=write(argument))


def _diagnosis(part: Node) -> tuple[str, str]:
    match part:
        case Call(callee) if callee in RESIDUAL:
            return (
                f"{callee}() has no bar.",
                f"Write {callee}(visit | id): what tells rows apart, and what groups them.",
            )
        case Call(callee) if callee in SPREADS:
            return f"{callee}() takes one argument.", "Write het(arm), power(x), exponential(x) or power(fitted)."
        case _:
            structures = ", ".join(f"{name}()" for name in (*RESIDUAL, *SPREADS))
            return f"'{write(part)}' is no covariance of residuals.", f"There are {structures}, joined by *. {_EXAMPLE}"
