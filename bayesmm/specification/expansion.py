"""The algebra of terms: ``*``, ``/``, ``:``, ``**`` and ``-`` expanded into a list of products of columns.

The rules are R's: a term is a set of factors (``a:b`` and ``b:a`` are one term), and terms of a lower order come first,
otherwise they stay in the order of the formula.

References
----------
Wilkinson & Rogers (1973). Applied Statistics 22, 392-399. Chambers & Hastie (1992). Statistical Models in S, ch. 2.
"""

from dataclasses import dataclass
from functools import lru_cache

from bayesmm.console import brief
from bayesmm.errors import SpecificationError
from bayesmm.limits import FORMULA_PRODUCTS, FORMULA_TERMS
from bayesmm.specification.grammar import parse_expression
from bayesmm.specification.scanner import complaint
from bayesmm.specification.syntax import Bar, Binary, Call, Name, Node, Number, Sum, write

type Term = tuple[Node, ...]
type Terms = dict[frozenset[int], tuple[int, ...]]  # by the set of their factors, each the number of a node


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
    return _Expanding(text).expand(node)


def signed_parts(node: Node) -> list[tuple[str, Node]]:
    """Flatten a sum of sums into one list of signed parts."""
    if not isinstance(node, Sum):
        return [("+", node)]
    return [
        ("+" if sign == inner_sign else "-", inner)
        for sign, part in node.parts
        for inner_sign, inner in signed_parts(part)
    ]


def _intercept_number(node: Number, text: str) -> int:
    if node.value not in (0, 1):
        raise complaint(
            text,
            node.at,
            f"{brief(node.text)} is not a term: the only numbers in a sum of terms are 1 (intercept) and 0 (none).",
            f"For arithmetic write I(...); for a constant part of the response write offset({brief(node.text)}).",
        )
    return int(node.value)


class _Expanding:
    """The expansion of one text: its factors by number, so that they are compared once, and what it has cost."""

    def __init__(self, text: str):
        self.text = text
        self.numbers: dict[Node, int] = {}
        self.products_made = 0

    def expand(self, node: Node) -> Expansion:
        intercept = True
        terms: Terms = {}
        for sign, part in signed_parts(node):
            if isinstance(part, Number):
                intercept = (_intercept_number(part, self.text) == 1) == (sign == "+")
            elif sign == "+":
                self.add(terms, self.terms_of(part), part)
            else:
                for key in self.terms_of(part):
                    terms.pop(key, None)
        factors = list(self.numbers)
        ordered = sorted(terms.values(), key=len)
        return Expansion(intercept, tuple(tuple(factors[number] for number in term) for term in ordered))

    def terms_of(self, node: Node) -> Terms:
        """Expand one node into its terms."""
        match node:
            case Name() | Call():
                number = self.numbers.setdefault(node, len(self.numbers))
                return {frozenset((number,)): (number,)}
            case Sum():
                return self.sum(node)
            case Binary(":", left, right):
                return self.products(self.terms_of(left), self.terms_of(right), node)
            case Binary("*", left, right):
                first, second = self.terms_of(left), self.terms_of(right)
                crossed = self.products(first, second, node)
                return self.add(self.add(dict(first), second, node), crossed, node)
            case Binary("/", left, right):
                first, second = self.terms_of(left), self.terms_of(right)
                everything = tuple(dict.fromkeys(factor for term in first.values() for factor in term))
                nested = self.products({frozenset(everything): everything}, second, node)
                return self.add(dict(first), nested, node)
            case Binary("**", left, right):
                return self.power(left, right, node)
        problem, advice = _diagnosis(node)
        raise complaint(self.text, node.at, problem, advice)

    def sum(self, node: Sum) -> Terms:
        """Expand a sum inside a product, where neither an intercept nor a removal has a clear meaning."""
        terms: Terms = {}
        for sign, part in node.parts:
            if sign == "-":
                raise complaint(
                    self.text, node.at, "'-' cannot stand inside a product of terms.", "Take the term away at the end."
                )
            self.add(terms, self.terms_of(part), part)
        return terms

    def add(self, terms: Terms, more: Terms, node: Node) -> Terms:
        """Add terms to a list, in place; the first way of writing a term stays."""
        for key, term in more.items():
            terms.setdefault(key, term)
        if len(terms) > FORMULA_TERMS:
            raise self.explosion(node)
        return terms

    def products(self, first: Terms, second: Terms, node: Node) -> Terms:
        """Return the product of every term of one list with every term of the other."""
        self.products_made += len(first) * len(second)
        if self.products_made > FORMULA_PRODUCTS:
            raise self.explosion(node)
        products: Terms = {}
        for left_key, left in first.items():
            for right_key, right in second.items():
                key = left_key | right_key
                if key not in products:
                    products[key] = tuple(dict.fromkeys(left + right))
        return products

    def power(self, left: Node, right: Node, node: Binary) -> Terms:
        """Expand ``(a + b + c)**2``: everything up to products of two."""
        terms = self.terms_of(left)
        if not isinstance(right, Number) or not isinstance(right.value, int) or right.value < 1:
            raise complaint(
                self.text,
                node.at,
                "The power of a sum of terms must be a positive whole number.",
                "Write (a + b)**2.",
            )
        if len(terms) == 1 and right.value > 1:
            raise complaint(
                self.text,
                node.at,
                f"A power of the single term {brief(write(left))} is the term itself, not a square.",
                f"Write I({brief(write(node))}) for the arithmetic power.",
            )
        powers = dict(terms)
        for _ in range(min(right.value, len({factor for term in terms.values() for factor in term})) - 1):
            before = len(powers)
            self.add(powers, self.products(powers, terms, node), node)
            if len(powers) == before:  # a higher power brings nothing
                break
        return powers

    def explosion(self, node: Node) -> SpecificationError:
        return complaint(
            self.text,
            node.at,
            f"This expands to more than {FORMULA_TERMS} terms, or takes more than {FORMULA_PRODUCTS} products of terms "
            "to expand.",
            "Write fewer crossings or columns.",
        )


def _diagnosis(node: Node) -> tuple[str, str]:
    """Say why a node is not a term."""
    match node:
        case Number(number):
            return f"{brief(number)} cannot be part of a term.", "For arithmetic write I(...): I(2 * x)."
        case Bar():
            return "A random-effects term cannot stand here.", "Add it to the sum: ... + (1 | g)."
        case Binary(symbol):
            return f"'{symbol}' cannot stand between terms.", "Write I(...) around it."
        case _:
            return f"{brief(write(node))} is not a term.", "Name a column of the data."


@lru_cache(maxsize=1024)
def expand_text(text: str) -> Expansion:
    """Parse and expand a sum of terms such as ``"1 + x * f"``; remembered, since models are often built anew.

    Raises
    ------
    SpecificationError
        If the text cannot be read as a sum of terms.
    """
    return expand(parse_expression(text), text)
