"""Tokens into a tree: a recursive-descent parser for R's formula grammar with lme4's bars.

From loose to tight: ``~``; ``|`` and ``||`` (only in parentheses); comparisons (only inside a call); ``+ -``; ``* /``;
``:``; ``** ^``; calls. ``^`` is read as ``**``, ``{x}`` as ``I(x)``, ``factor(x)`` as ``C(x)``, and
glmmTMB's ``numFactor(x, y)`` as ``at(x, y)``.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import NoReturn

from bayesmm.console import brief, quoted
from bayesmm.covariance.residual import RESIDUAL, RESIDUAL_HOMOGENEOUS, may_have_nugget
from bayesmm.covariance.table import (
    BETWEEN,
    FIRST,
    HOMOGENEOUS,
    OPTIONS,
    SECOND,
    STRUCTURES,
    WITH_FACTORS,
    WITH_MATRIX,
    Option,
)
from bayesmm.limits import FORMULA_DEPTH, NUMBER_CHARACTERS
from bayesmm.specification.scanner import Token, complaint, scan
from bayesmm.specification.syntax import (
    CONSTANTS,
    Bar,
    Binary,
    Call,
    Constant,
    Name,
    Node,
    Number,
    Sum,
    Text,
    children,
    quote,
    write,
)

_COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
_R_FACTOR = ("factor", "as.factor")
_MAX_OPEN = 40  # of brackets, signs and powers; each costs some ten Python frames of a limit of 1000
_CLOSING = {"(": ")", "{": "}"}


def parse_sides(text: str) -> tuple[Node, Node]:
    """Parse ``response ~ terms`` into its two sides.

    Raises
    ------
    SpecificationError
        If there is no ``~``, more than one, nothing on a side of it, or something else that cannot be read.
    """
    parser = _Parser(text)
    tildes = [token.at for token in parser.tokens if token.text == "~" and token.kind == "operator"]
    if not tildes:
        equals = next((token for token in parser.tokens if token.text in ("=", "==")), None)
        if equals is not None:
            advice = "Write response ~ fixed effects + (1 | group)."
            raise complaint(text, equals.at, f"{equals.text!r} stands where '~' belongs.", advice)
        raise complaint(text, len(text.rstrip()), "There is no '~'.", "Write response ~ fixed effects + (1 | group).")
    if len(tildes) > 1:
        raise complaint(text, tildes[1], "There is more than one '~'.", _advise_on_second(parser.tokens))
    if parser.token.text == "~":
        raise complaint(text, tildes[0], "The response is missing left of '~'.", "Write response ~ terms.")
    response = parser.sum()
    parser.expect("~")
    if parser.token.kind == "end":
        raise complaint(text, tildes[0], "There is nothing right of '~'.", "Write response ~ 1 + (1 | group).")
    terms = parser.sum()
    parser.finish()
    _check_depth((response, terms), text)
    return response, terms


def _advise_on_second(tokens: Sequence[Token]) -> str:
    """Say what to do about a second ``~``: nlme's ``random = ~ x | g`` has one."""
    if any(token.text == "random" for token in tokens):
        return "Random effects are terms of the formula: write response ~ terms + (1 | group)."
    return "Write response ~ terms, with a single '~'."


@lru_cache(maxsize=1024)
def parse_expression(text: str) -> Node:
    """Parse one side of a formula, or any expression in its language, such as ``1 / se**2``.

    Raises
    ------
    SpecificationError
        If the text cannot be read.
    """
    parser = _Parser(text)
    if parser.token.kind == "end":
        raise complaint(text, 0, "The expression is empty.", "Write a column's name or an expression of columns.")
    node = parser.sum()
    parser.finish()
    _check_depth((node,), text)
    return node


def parse_residual_terms(text: str) -> Node:
    """Parse structures of residuals joined by ``*``: ``ar1(week | id) * het(arm)``.

    Raises
    ------
    SpecificationError
        If the text cannot be read.
    """
    parser = _Parser(text, RESIDUAL, RESIDUAL_HOMOGENEOUS, takes_by=True)
    node = parser.sum()
    parser.finish()
    _check_depth((node,), text)
    return node


def _check_depth(roots: tuple[Node, ...], text: str) -> None:
    """Refuse trees so deep that what walks through them would exhaust Python's stack; without recursion."""
    level, depth = list(roots), 0
    while level:
        depth += 1
        if depth > FORMULA_DEPTH:
            problem = f"The expression is nested more than {FORMULA_DEPTH} deep."
            raise complaint(text, level[0].at, problem, "Compute it as a column first.")
        level = [child for node in level for child in children(node)]


class _Parser:
    """A position in a list of tokens, and one method for each level of the grammar."""

    def __init__(
        self,
        text: str,
        structures: Collection[str] = tuple(STRUCTURES),
        forms: Mapping[str, Mapping[bool, str]] = HOMOGENEOUS,
        *,
        takes_by: bool = False,
    ):
        self.text, self.structures, self.forms, self.takes_by = text, structures, forms, takes_by
        self.tokens = scan(text)
        self.position = 0
        self.open: list[Token] = []

    @property
    def token(self) -> Token:
        return self.tokens[self.position]

    def advance(self) -> Token:
        token = self.token
        self.position += token.kind != "end"
        return token

    def sees(self, *texts: str) -> bool:
        return self.token.kind == "operator" and self.token.text in texts

    def expect(self, text: str) -> None:
        if not self.sees(text):
            self.reject()
        self.advance()

    def sum(self) -> Node:
        at = self.token.at
        first_sign = self.advance().text if self.sees("+", "-") else "+"
        parts = [(first_sign, self.product())]
        while self.sees("+", "-"):
            sign = self.advance().text
            parts.append((sign, self.product()))
        if parts[0][0] == "+" and len(parts) == 1:
            return parts[0][1]
        return Sum(tuple(parts), at)

    def product(self) -> Node:
        return self.left_to_right(("*", "/"), self.interaction)

    def interaction(self) -> Node:
        return self.left_to_right((":",), self.unary)

    def left_to_right(self, operators: tuple[str, ...], operand: Callable[[], Node]) -> Node:
        node = operand()
        while self.sees(*operators):
            operator = self.advance()
            node = Binary(operator.text, node, operand(), operator.at)
        return node

    def unary(self) -> Node:
        if not self.sees("+", "-"):
            return self.power()
        sign = self.advance()
        self.open.append(sign)
        self.limit(len(self.open))
        node = self.unary()
        self.open.pop()
        return node if sign.text == "+" else Sum((("-", node),), sign.at)

    def power(self) -> Node:
        base = self.primary()
        if not self.sees("**", "^"):
            return base
        operator = self.advance()
        self.open.append(operator)
        self.limit(len(self.open))
        node = Binary("**", base, self.unary(), operator.at)
        self.open.pop()
        return node

    def primary(self) -> Node:
        token = self.advance()
        if token.kind == "number":
            return self.number(token)
        if token.kind == "string":
            return Text(token.text[1:-1], token.at)
        if token.kind == "quoted":
            return Name(token.text[1:-1], token.at)
        if token.kind == "name":
            return self.named(token)
        if token.kind != "operator" or token.text not in _CLOSING:
            self.position -= token.kind != "end"
            self.reject()
        return self.enclosed(token)

    def number(self, token: Token) -> Node:
        if len(token.text) > NUMBER_CHARACTERS or math.isinf(float(token.text)):
            raise complaint(
                self.text,
                token.at,
                f"The number {brief(token.text)} is beyond what a double holds.",
                "Numbers have up to 17 digits that count, and are below 1.8e308.",
            )
        return Number(token.text, token.at)

    def named(self, token: Token) -> Node:
        if self.sees("("):
            opening = self.advance()
            if token.text in self.structures and (bar := self.structured(token, opening)) is not None:
                return bar
            arguments, keywords = self.arguments(opening)
            callee = "C" if token.text in _R_FACTOR and len(arguments) == 1 and not keywords else token.text
            callee = "at" if callee == "numFactor" else callee
            return Call(callee, arguments, keywords, token.at)
        if token.text in CONSTANTS:
            return Constant(CONSTANTS[token.text], token.at)
        return Name(token.text, token.at)

    def enclosed(self, opening: Token) -> Node:
        self.open.append(opening)
        self.limit(len(self.open))
        node = self.comparison() if opening.text == "{" else self.sum()
        if opening.text == "(" and self.sees("|", "||"):
            structure = "diag" if self.advance().text == "||" else "us"
            node = Bar(node, self.group(), structure, opening.at)
        self.expect(_CLOSING[opening.text])
        self.open.pop()
        return node if opening.text == "(" else Call("I", (node,), (), opening.at)

    def group(self) -> Node:
        """Read what is right of a bar."""
        node = self.sum()
        if self.sees("|", "||"):
            self.complain(
                "A term has one bar.",
                "Correlation between terms (brms's ID syntax) is not available: write (x | g) or (x || g).",
            )
        return node

    def structured(self, name: Token, opening: Token) -> Bar | None:
        """Read ``cs(x | g)`` or ``cs(x | g, hom=True)`` after its bracket; None for a call without a bar."""
        start = self.position
        self.open.append(opening)
        self.limit(len(self.open))
        if name.text in WITH_FACTORS:
            return self.product_of_two(name)
        left = None if self.sees(")") else self.sum()
        if left is None or not self.sees("|", "||"):
            self.position = start
            self.open.pop()
            return None
        if self.sees("||"):
            self.complain(
                f"'||' cannot stand inside {name.text}().",
                f"Write {name.text}(x | g), or (x || g) alone for uncorrelated effects.",
            )
        self.advance()
        right = self.group()
        structure, by = self.matrix(name) if name.text in WITH_MATRIX else name.text, None
        nugget: bool | None = None
        while self.sees(","):
            if nugget is None and self.takes_by and self.tokens[self.position + 1].text == "nugget":
                nugget = self.nugget(name)
            elif by is None and self.takes_by and self.tokens[self.position + 1].text == "by":
                by = self.by()
            elif structure == name.text:
                option = OPTIONS.get(name.text)
                structure = self.homogeneous(name) if option is None else self.option(name, option)
            else:
                break
        self.expect(")")
        self.open.pop()
        return Bar(left, right, structure, name.at, by, bool(nugget))

    def nugget(self, name: Token) -> bool:
        """Read ``, nugget=True``."""
        self.advance()
        if not may_have_nugget(name.text):
            able = ", ".join(f"{each}()" for each in RESIDUAL if may_have_nugget(each))
            self.complain(f"{name.text}() has no nugget.", f"There is one in {able}, whose correlations begin at 1.")
        self.advance()
        self.expect("=")
        value = CONSTANTS.get(self.advance().text)
        if not isinstance(value, bool):
            self.position -= 1
            self.complain("nugget= is True or False.", f"Write {name.text}(time | id, nugget=True).")
        return value

    def by(self) -> Node:
        """Read ``, by=arm``."""
        self.advance()
        self.advance()
        self.expect("=")
        return self.interaction()

    def product_of_two(self, name: Token) -> Bar:
        """Read ``kron(us(trait), ar1(C(week)) | g)`` after its bracket."""
        first = self.with_factor(name, FIRST)
        if not self.sees(","):
            self.complain(f"{name.text}() takes two structures before its bar.", self.example_of(name))
        self.advance()
        second = self.with_factor(name, SECOND)
        if not self.sees("|"):
            self.complain(f"{name.text}() lacks its bar.", self.example_of(name))
        self.advance()
        right = self.group()
        self.expect(")")
        self.open.pop()
        if first[1] == second[1]:
            raise complaint(self.text, name.at, f"{name.text}() has one factor twice.", self.example_of(name))
        columns = Sum((("+", Number("0")), ("+", Binary(":", first[1], second[1]))), name.at)
        return Bar(columns, right, f"{name.text}, {first[0]}{BETWEEN}{second[0]}", name.at)

    def with_factor(self, name: Token, structures: Collection[str]) -> tuple[str, Node]:
        """Read ``ar1(C(week))``, or ``toep(C(week), hom=True)``: as it is written, and the factor."""
        at = self.token.at
        node = self.primary()
        match node:
            case Call(callee, (Name() | Call("C", (Name(),), ()) as factor,), (("hom", Constant(bool(form))),)):
                own = self.forms.get(callee, {}).get(form)
                if own in structures:
                    return f"{own}({write(factor)})", factor
            case Call(callee, (Name() | Call("C", (Name(),), ()) as factor,), keywords) if callee in structures:
                option = OPTIONS.get(callee)
                if not keywords:
                    return f"{callee}({write(factor)})", factor
                match keywords:
                    case ((word, Number() as number),) if option is not None and word == option.name:
                        if option.low <= float(number.text) <= option.high:
                            return f"{callee}({write(factor)}, {word}={number.value:g})", factor
        raise complaint(
            self.text,
            at,
            f"{brief(write(node))!r} cannot stand in {name.text}() here: a structure of a factor, of "
            f"{', '.join(f'{each}()' for each in structures)}.",
            self.example_of(name),
        )

    def example_of(self, name: Token) -> str:
        return (
            f"Write {name.text}(us(trait), ar1(C(week)) | g): a covariance of the first factor, whose standard "
            "deviations are free, and a correlation of the second."
        )

    def homogeneous(self, name: Token) -> str:
        """Read ``, hom=True``: which of a structure's two forms is meant."""
        self.advance()
        forms = self.forms.get(name.text)
        if forms is None or self.token.text != "hom" or self.tokens[self.position + 1].text != "=":
            taken = [*(("hom=True or hom=False",) if forms else ()), *(("by= once",) if self.takes_by else ())]
            takes = " and ".join(taken) or "nothing"
            self.complain(
                f"{name.text}() takes {takes} after its bar.",
                "Write us(visit | id, by=arm) for parameters of each arm, cs(visit | id, hom=True) for one variance."
                if self.takes_by
                else "One standard deviation for all effects: homdiag(x | g), homcs(x | g) or ar1(0 + f | g).",
            )
        self.advance()
        self.advance()
        value = CONSTANTS.get(self.advance().text)
        if not isinstance(value, bool):
            self.position -= 1
            self.complain("hom= is True or False.", "Write hom=True for one standard deviation of all effects.")
        return forms[value]

    def matrix(self, name: Token) -> str:
        """Read ``, V``."""
        advice = f"Write {name.text}(0 + f | g, V) and give the matrix: Model(..., relations={{'V': V}})."
        if not self.sees(","):
            self.complain(f"{name.text}() names no matrix after its bar.", advice)
        self.advance()
        if self.token.kind not in ("name", "quoted"):
            self.complain(f"{name.text}() takes the name of a matrix after its bar.", advice)
        token = self.advance()
        return f"{name.text}, {quote(token.text.strip('`'))}"

    def option(self, name: Token, option: Option) -> str:
        """Read ``, nu=2.5``."""
        self.advance()
        if self.token.text != option.name or self.tokens[self.position + 1].text != "=":
            self.complain(f"{name.text}() takes {option.name}= after its bar.", option.example)
        self.advance()
        self.advance()
        value = float(self.token.text) if self.token.kind == "number" else math.nan
        if not option.low <= value <= option.high or (option.is_whole and not value.is_integer()):
            kind = "whole number" if option.is_whole else "number"
            problem = f"{option.name}= is a {kind} from {option.low:g} to {option.high:g}."
            self.complain(problem, option.advice)
        self.advance()
        is_usual = value == getattr(STRUCTURES[name.text], option.name)
        return name.text if is_usual else f"{name.text}, {option.name}={value:g}"

    def arguments(self, opening: Token) -> tuple[tuple[Node, ...], tuple[tuple[str, Node], ...]]:
        self.open.append(opening)
        self.limit(len(self.open))
        positional: list[Node] = []
        keywords: list[tuple[str, Node]] = []
        while not self.sees(")"):
            if self.token.kind == "name" and self.tokens[self.position + 1].text == "=":
                name = self.advance().text
                self.advance()
                keywords.append((name, self.comparison()))
            elif keywords:
                self.complain("A positional argument follows a named one.", "Put named arguments last.")
            else:
                positional.append(self.comparison())
            if not self.sees(")"):
                self.expect(",")
        self.advance()
        self.open.pop()
        return tuple(positional), tuple(keywords)

    def comparison(self) -> Node:
        node = self.sum()
        if self.sees(*_COMPARISONS):
            operator = self.advance()
            node = Binary(operator.text, node, self.sum(), operator.at)
        if self.sees("|", "||"):
            self.complain(
                "A bar cannot stand inside a function call.",
                f"Structures are {', '.join(f'{name}()' for name in self.structures)}; (x | g) is "
                "us(x | g), (x || g) is diag(x | g).",
            )
        return node

    def finish(self) -> None:
        if self.token.kind != "end":
            self.reject()

    def limit(self, depth: int) -> None:
        if depth > _MAX_OPEN:
            self.complain(f"The expression is nested more than {_MAX_OPEN} deep.", "Compute it as a column first.")

    def complain(self, problem: str, advice: str) -> NoReturn:
        raise complaint(self.text, self.token.at, problem, advice)

    def reject(self) -> NoReturn:
        """Say why the current token cannot stand where it does."""
        problem, advice = self.diagnosis()
        self.complain(problem, advice)

    def diagnosis(self) -> tuple[str, str]:
        token = self.token
        previous = self.tokens[self.position - 1] if self.position else None
        if token.kind == "end":
            brackets = [each for each in self.open if each.text in _CLOSING]
            if brackets and previous is not None and (previous.kind != "operator" or previous.text in ")}"):
                opening = brackets[-1]
                return f"'{opening.text}' at position {opening.at + 1} is never closed.", "Add the closing one here."
            return "The formula ends where a term is expected.", "Add the missing term, or remove what stands before."
        if token.text in _CLOSING.values() and not self.open:
            return f"'{token.text}' closes nothing.", "Remove it, or add the opening one."
        if token.text in ("|", "||"):
            return "A bar must stand in parentheses.", "Write the term as (x | group)."
        if token.text in _COMPARISONS:
            return f"'{token.text}' cannot stand between terms.", "For a comparison of columns write I(x > 1)."
        if token.text == "=":
            return "'=' has no meaning here.", "Separate the response from the terms by '~'."
        ends_a_term = previous is not None and (previous.kind != "operator" or previous.text in (")", "}"))
        if token.kind != "operator" and ends_a_term:
            return f"{quoted(token.text)} follows a term without an operator.", "Join terms by '+', ':' or '*'."
        return (
            f"Unexpected '{brief(token.text)}'.",
            "A column, a function call or a term in parentheses is expected here.",
        )
