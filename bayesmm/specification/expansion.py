"""The algebra of terms: ``*``, ``/``, ``:``, ``**`` and ``-`` expanded into a list of products of columns.

The rules are R's: a term is a set of factors (``a:b`` and ``b:a`` are one term), and terms of a lower order come first,
otherwise they stay in the order of the formula.

References
----------
Wilkinson & Rogers (1973). Applied Statistics 22, 392-399. Chambers & Hastie (1992). Statistical Models in S, ch. 2.
"""

from dataclasses import dataclass
from functools import lru_cache

from bayesmm.specification.grammar import parse_expression
from bayesmm.specification.scanner import complaint
from bayesmm.specification.syntax import Bar, Binary, Call, Name, Node, Number, Sum, write

type Term = tuple[Node, ...]

_MAX_TERMS = 2000  # a formula whose powers explode is a mistake


@dataclass(frozen=True, slots=True)
class Expansion:
    """The terms of one side of a formula; an intercept is not a term."""

    intercept: bool
    terms: tuple[Term, ...]


def expand(node: Node, text: str) -> Expansion:
    """Expand a sum of terms.

    Parameters
    ----------
    node : Node
        The parsed expression.
    text : str
        The text that the node was parsed from, for error messages.

    Returns
    -------
    Expansion

    Raises
    ------
    SpecificationError
        For numbers other than 0 and 1, and operators that have no meaning between terms.
    """
    intercept, terms = True, {}
    for sign, part in signed_parts(node):
        if isinstance(part, Number):
            intercept = (_intercept_number(part, text) == 1) == (sign == "+")
        elif sign == "+":
            terms = _union(terms, _expand(part, text))
        else:
            terms = {key: term for key, term in terms.items() if key not in _expand(part, text)}
    return Expansion(intercept, tuple(sorted(terms.values(), key=len)))


def signed_parts(node: Node) -> list[tuple[str, Node]]:
    """Flatten a sum of sums into one list of signed parts."""
    if not isinstance(node, Sum):
        return [("+", node)]
    parts = []
    for sign, part in node.parts:
        for inner_sign, inner in signed_parts(part):
            parts.append(("+" if sign == inner_sign else "-", inner))
    return parts


def _intercept_number(node: Number, text: str) -> int:
    if node.value not in (0, 1):
        raise complaint(
            text,
            node.at,
            f"{node.text} is not a term: the only numbers in a sum of terms are 1 (intercept) and 0 (none).",
            f"For arithmetic write I(...); for a constant part of the response write offset({node.text}).",
        )
    return int(node.value)


def _expand(node: Node, text: str) -> dict[frozenset[Node], Term]:
    """Expand one node into its terms, keyed by their sets of factors."""
    match node:
        case Name() | Call():
            return {frozenset((node,)): (node,)}
        case Sum():
            return _expand_sum(node, text)
        case Binary(":", left, right):
            return _products(_expand(left, text), _expand(right, text), node, text)
        case Binary("*", left, right):
            first, second = _expand(left, text), _expand(right, text)
            return _union(first, second, _products(first, second, node, text))
        case Binary("/", left, right):
            first, second = _expand(left, text), _expand(right, text)
            everything = tuple(dict.fromkeys(factor for term in first.values() for factor in term))
            return _union(first, _products({frozenset(everything): everything}, second, node, text))
        case Binary("**", left, right):
            return _power(left, right, node, text)
    problem, advice = _diagnosis(node)
    raise complaint(text, node.at, problem, advice)


def _diagnosis(node: Node) -> tuple[str, str]:
    """Say why a node is not a term."""
    match node:
        case Number(number):
            return f"{number} cannot be part of a term.", "For arithmetic write I(...): I(2 * x)."
        case Bar():
            return "A random-effects term cannot stand here.", "Add it to the sum: ... + (1 | g)."
        case Binary(symbol):
            return f"'{symbol}' cannot stand between terms.", "Write I(...) around it."
        case _:
            return f"{write(node)} is not a term.", "Name a column of the data."


def _expand_sum(node: Sum, text: str) -> dict[frozenset[Node], Term]:
    """Expand a sum inside a product, where neither an intercept nor a removal has a clear meaning."""
    terms: dict[frozenset[Node], Term] = {}
    for sign, part in node.parts:
        if sign == "-":
            raise complaint(
                text, node.at, "'-' cannot stand inside a product of terms.", "Take the term away at the end."
            )
        terms = _union(terms, _expand(part, text))
    return terms


def _union(*lists: dict[frozenset[Node], Term]) -> dict[frozenset[Node], Term]:
    """Join lists of terms; the first way of writing a term stays."""
    union: dict[frozenset[Node], Term] = {}
    for terms in lists:
        for key, term in terms.items():
            union.setdefault(key, term)
    return union


def _products(first: dict, second: dict, node: Binary, text: str) -> dict[frozenset[Node], Term]:
    """Return the product of every term of one list with every term of the other."""
    products: dict[frozenset[Node], Term] = {}
    for left in first.values():
        for right in second.values():
            factors = tuple(dict.fromkeys(left + right))
            products.setdefault(frozenset(factors), factors)
        if len(products) > _MAX_TERMS:
            raise complaint(text, node.at, f"This expands to more than {_MAX_TERMS} terms.", "Write fewer crossings.")
    return products


def _power(left: Node, right: Node, node: Binary, text: str) -> dict[frozenset[Node], Term]:
    """Expand ``(a + b + c)**2``: everything up to products of two."""
    terms = _expand(left, text)
    if not isinstance(right, Number) or not isinstance(right.value, int) or right.value < 1:
        raise complaint(
            text, node.at, "The power of a sum of terms must be a positive whole number.", "Write (a + b)**2."
        )
    if len(terms) == 1 and right.value > 1:
        raise complaint(
            text,
            node.at,
            f"A power of the single term {write(left)} is the term itself, not a square.",
            f"Write I({write(node)}) for the arithmetic power.",
        )
    powers = terms
    for _ in range(min(right.value, len({factor for term in terms.values() for factor in term})) - 1):
        powers = _union(powers, _products(powers, terms, node, text))
    return powers


@lru_cache(maxsize=1024)
def expand_text(text: str) -> Expansion:
    """Parse and expand a sum of terms such as ``"1 + x * f"``; remembered, since models are often built anew.

    Raises
    ------
    SpecificationError
        If the text cannot be read as a sum of terms.
    """
    return expand(parse_expression(text), text)
