"""Formula text into a Specification: our own reading of the bars, of offsets and of the intercept.

Unlike lme4, ``(x || g)`` makes the whole covariance diagonal, also for the columns of a factor: lme4 splits the term at
the level of the formula, ``(1 | g) + (0 + x | g)``, which leaves the columns of a factor correlated. Combinations of
grouping factors are named from coarse to fine, ``a:b`` for ``a/b``, where lme4 writes ``b:a``.
"""

from dataclasses import dataclass, field
from functools import lru_cache

from bayesmm.errors import SpecificationError
from bayesmm.limits import RANDOM_TERMS
from bayesmm.specification.arithmetic import check_arithmetic
from bayesmm.specification.characters import excerpt
from bayesmm.specification.expansion import expand, signed_parts
from bayesmm.specification.grammar import parse_expression, parse_sides
from bayesmm.specification.groups import read_groupings
from bayesmm.specification.residual import read_residual
from bayesmm.specification.scanner import MOST_SHOWN, complaint, one_line
from bayesmm.specification.smooths import check_no_smooth, departures, is_smooth, read_departures, read_smooth
from bayesmm.specification.syntax import Bar, Binary, Call, Node, Number, Sum, walk, write, write_sum
from bayesmm.specification.terms import Grouping, RandomTerm, Specification


def parse_formula(text: str, residual: str | None = None) -> Specification:
    """Read a formula in lme4's grammar.

    Parameters
    ----------
    text : str
        For example ``"Reaction ~ Days + (Days | Subject)"``. The fixed part knows ``+ - * / : **``, calls,
        ``offset(...)``, smooths ``s(x)`` and no intercept (``0 +``, ``- 1``); random-effects terms are ``(x | g)``
        with correlated and ``(x || g)`` with uncorrelated effects, grouped by ``g``, ``a:b`` or
        ``a/b/c``. R's ``I(x^2)`` and ``factor(x)`` are understood as ``I(x**2)`` and ``C(x)``.
    residual : str, optional
        Covariance of the residuals, such as ``"ar1(week | id) * het(arm)"``; the formula then needs no random effects.

    Returns
    -------
    Specification

    Raises
    ------
    SpecificationError
        If the text cannot be read; the message points at the place and says what to write.

    Examples
    --------
    >>> print(parse_formula("y ~ x + (x || batch/cask)").random_terms[1])
    (1 + x || batch:cask)
    """
    if not isinstance(text, str):
        raise SpecificationError(
            f"A formula is a text such as 'y ~ x + (1 | g)', not {type(text).__name__}; it comes first, then the data."
        )
    if not text.strip():
        raise SpecificationError("The formula is empty. Write response ~ fixed effects + (1 | group).")
    if residual is not None and not isinstance(residual, str):
        raise SpecificationError(
            f"residual is a text such as 'ar1(week | id)', not {type(residual).__name__}: leave it out for independent "
            "residuals of one variance."
        )
    return _read(text, residual)


@lru_cache(maxsize=256)
def _read(text: str, residual: str | None) -> Specification:
    response, terms = parse_sides(text)
    _check_response(response, text)
    sorted_terms = _sort(terms, text)
    return Specification(
        formula=text.strip(),
        response=write(response),
        fixed=_write_columns(sorted_terms, text),
        offsets=tuple(sorted_terms.offsets),
        random_terms=_random_terms(_with_departures(sorted_terms, Number("1")), text, may_be_none=residual is not None),
        residual=None if residual is None else read_residual(residual),
    )


@lru_cache(maxsize=256)
def read_arithmetic(text: str) -> Node:
    """Parse an expression such as ``1 / se**2`` that stands for one column of numbers.

    Raises
    ------
    SpecificationError
        If it cannot be read as arithmetic.
    """
    node = parse_expression(text)
    check_arithmetic(node, text)
    return node


@dataclass(slots=True)
class _Sorted:
    """The parts of a sum of terms, sorted by what they are."""

    intercept: bool = True
    columns: list[tuple[str, Node]] = field(default_factory=list)
    offsets: list[str] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    smooths: list[Call] = field(default_factory=list)


def _sort(terms: Node, text: str) -> _Sorted:
    """Sort the parts of a sum into intercept, columns, offsets, bars and smooths, which leave a straight line."""
    found = _Sorted()
    for sign, part in signed_parts(terms):
        match part:
            case Bar():
                if sign == "-":
                    raise complaint(
                        text, part.at, "A random-effects term cannot be subtracted.", "Leave it out instead."
                    )
                found.bars.append(part)
            case Call("offset"):
                found.offsets.append(_offset(sign, part, text))
            case Call() if is_smooth(part):
                if sign == "-":
                    raise complaint(text, part.at, "A smooth term cannot be subtracted.", "Leave it out instead.")
                found.smooths.append(part)
                found.columns.append(("+", read_smooth(part, text).of))
            case Number(number) if number in ("0", "1"):
                found.intercept = (number == "1") == (sign == "+")
            case _:
                _check_part(part, text)
                found.columns.append((sign, part))
    return found


def _offset(sign: str, call: Call, text: str) -> str:
    if sign == "-":
        raise complaint(text, call.at, "An offset cannot be subtracted.", "Write offset(-x).")
    if len(call.arguments) != 1 or call.keywords:
        raise complaint(text, call.at, "offset() takes one expression.", "Write offset(x), several times if need be.")
    check_arithmetic(call.arguments[0], text)
    return write(call.arguments[0])


def _check_part(part: Node, text: str) -> None:
    """Refuse bars and offsets that are hidden inside a product or a call, and calls with model operators inside."""
    check_no_smooth(part, text)
    for each in walk(part):
        if isinstance(each, Bar):
            raise complaint(
                text,
                each.at,
                "A random-effects term can only be added to the other terms.",
                "Write ... + (x | g); for effects that differ between the levels of f write (0 + f | g).",
            )
        if isinstance(each, Call) and each.callee == "offset":
            raise complaint(text, each.at, "An offset can only be added to the other terms.", "Write ... + offset(x).")
        if isinstance(each, Call):
            for argument in each.arguments:
                _check_argument(argument, text)


def _check_argument(argument: Node, text: str) -> None:
    for each in walk(argument):
        if isinstance(each, Binary) and each.operator == ":":
            raise complaint(
                text, each.at, "':' has no meaning inside a call.", "Write the interaction outside: f(x):g."
            )


def _write_columns(found: _Sorted, text: str) -> str:
    """Write the columns with their intercept explicit, after checking that they expand to terms."""
    if found.columns:
        expand(Sum(tuple(found.columns)), text)
    return write_sum((("+", Number("1" if found.intercept else "0")), *found.columns))


def _check_response(response: Node, text: str) -> None:
    if not any(type(each).__name__ == "Name" for each in walk(response)):
        raise complaint(text, 0, "The response names no column of the data.", "Write response ~ terms.")
    check_arithmetic(response, text)


def _with_departures(found: _Sorted, right: Node) -> list[Bar]:
    """Return the bars of a sum, and for each smooth in it that of its departures from a straight line."""
    return [*found.bars, *(departures(call, right) for call in dict.fromkeys(found.smooths))]


def _random_terms(bars: list[Bar], text: str, *, may_be_none: bool) -> tuple[RandomTerm, ...]:
    if not bars and not may_be_none:
        shown, _ = excerpt(one_line(text), 0, MOST_SHOWN)
        raise SpecificationError(
            f"The formula has no random-effects term:\n    {shown}\nAdd one, such as (1 | group), or a covariance of "
            "the residuals, residual='us(visit | id)'; for a model without either use statsmodels "
            "(statsmodels.formula.api.ols), or formulae for its design matrix alone."
        )
    terms = tuple(term for bar in bars for term in _random_terms_of(bar, text))
    if len(terms) > RANDOM_TERMS:
        raise complaint(
            text,
            bars[-1].at,
            f"There are {len(terms):,} random-effects terms (a/b counts as two), more than the {RANDOM_TERMS} that a "
            "formula may have.",
            "Leave out those that vary least.",
        )
    return terms


def _random_terms_of(bar: Bar, text: str) -> list[RandomTerm]:
    """Read one bar; a group ``a/b`` gives one term for ``a`` and one for ``a:b``, and a smooth a term of its own."""
    smooth = read_departures(bar)
    if smooth is not None:
        read_smooth(smooth, text)
        whole = [Grouping(factors=())] if bar.right == Number("1") else None
        return _terms_of(write(bar.left), bar, whole or read_groupings(bar.right, text))
    found = _sort(bar.left, text)
    if found.bars or found.offsets:
        raise complaint(
            text, bar.at, "Neither bars nor offsets can stand left of a bar.", "Write each term on its own."
        )
    expression = _write_columns(found, text)
    if expression == "0":
        raise complaint(
            text, bar.at, "No effect is left to vary: 0 takes away the intercept.", "Write (1 | g) or (0 + x | g)."
        )
    curved = [term for each in _with_departures(found, bar.right) for term in _random_terms_of(each, text)]
    return [*_terms_of(expression, bar, read_groupings(bar.right, text)), *curved]


def _terms_of(expression: str, bar: Bar, groupings: list[Grouping]) -> list[RandomTerm]:
    return [RandomTerm(expression=expression, grouping=grouping, structure=bar.structure) for grouping in groupings]
