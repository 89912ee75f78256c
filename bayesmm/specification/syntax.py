"""The tree of an expression: its nodes, and the one way in which each is written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from bayesmm.covariance.table import BETWEEN, WITH_FACTORS

type Node = Number | Text | Constant | Name | Call | Sum | Binary | Bar

_PLAIN_NAME = re.compile(r"(?:[^\W\d]|\.(?=[^\W\d]))[\w.]*\Z")
_BARS = {"us": ("", "|"), "diag": ("", "||")}  # structures that a bar alone says
CONSTANTS = {"True": True, "False": False, "None": None, "TRUE": True, "FALSE": False, "NULL": None}

# Larger binds tighter. A bar always stands in its own parentheses.
_BINDING = {"==": 1, "!=": 1, "<": 1, "<=": 1, ">": 1, ">=": 1, "+": 2, "*": 3, "/": 3, ":": 4, "**": 5}


@dataclass(frozen=True, slots=True)
class Number:
    """A number, as it was written."""

    text: str
    at: int = field(default=0, compare=False)

    @property
    def value(self) -> int | float:
        """Its value: an int if it was written as one."""
        return int(self.text) if self.text.isdigit() else float(self.text)


@dataclass(frozen=True, slots=True)
class Text:
    """A text in quotation marks."""

    value: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Constant:
    """True, False or None."""

    value: bool | None
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A column of the data, or a name of the namespace; dots belong to the name."""

    text: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; ``{x}`` is the call ``I(x)``."""

    callee: str
    arguments: tuple[Node, ...]
    keywords: tuple[tuple[str, Node], ...] = ()
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Sum:
    """A chain of parts with the signs ``+`` and ``-``."""

    parts: tuple[tuple[str, Node], ...]
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """An operator between two expressions; ``^`` has become ``**``."""

    operator: str
    left: Node
    right: Node
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Bar:
    """``(left | right)``, ``(left || right)``, or with the name of a structure, ``cs(left | right, by=f)``."""

    left: Node
    right: Node
    structure: str
    at: int = field(default=0, compare=False)
    by: Node | None = None
    nugget: bool = False


def quote(name: str) -> str:
    """Write a column's name so that a formula can hold it: backquoted unless it is a plain name."""
    return name if _PLAIN_NAME.match(name) and name not in CONSTANTS else f"`{name}`"


def write(node: Node) -> str:
    """Write an expression in the one normal form, with the parentheses that it needs and no others."""
    match node:
        case Number(text):
            return text
        case Text(value):
            return f'"{value}"' if "'" in value else f"'{value}'"
        case Constant(value):
            return str(value)
        case Name(text):
            return quote(text)
        case Call(callee, arguments, keywords):
            return f"{callee}({', '.join([*map(write, arguments), *(f'{k}={write(v)}' for k, v in keywords)])})"
        case Sum(parts):
            return write_sum(parts)
        case Bar(left, right, structure):
            return write_bar(write(left), write(right), structure)
        case Binary(operator, left, right):
            return _write_binary(operator, left, right)


def write_bar(left: str, right: str, structure: str) -> str:
    """Write a random-effects term: a bar alone where it says the structure, or else its name and its option."""
    called, bar = _BARS.get(structure, (structure, "|"))
    called, comma, option = called.partition(", ")
    if called in WITH_FACTORS:
        return f"{called}({option.replace(BETWEEN, ', ')} {bar} {right})"
    return f"{called}({left} {bar} {right}{comma}{option})"


def write_sum(parts: tuple[tuple[str, Node], ...]) -> str:
    """Write a chain of signed parts: ``a - b + c``."""
    (first_sign, first), *others = parts
    text = ("-" if first_sign == "-" else "") + _inside(first, _BINDING["+"] + 1)
    return text + "".join(f" {sign} {_inside(part, _BINDING['+'] + 1)}" for sign, part in others)


def _write_binary(operator: str, left: Node, right: Node) -> str:
    """Write a binary operator; only ``**`` groups from the right, and only ``**`` and ``:`` stand without spaces."""
    binding = _BINDING[operator]
    from_right = operator == "**"
    space = "" if operator in ("**", ":") else " "
    left_text = _inside(left, binding + from_right)
    right_text = _inside(right, binding + (not from_right))
    return f"{left_text}{space}{operator}{space}{right_text}"


def _inside(node: Node, least: int) -> str:
    """Write a part of a larger expression, in parentheses if it binds more loosely than its surroundings."""
    match node:
        case Sum():
            binding = _BINDING["+"]
        case Binary(operator):
            binding = _BINDING[operator]
        case _:
            return write(node)
    return f"({write(node)})" if binding < least else write(node)


def children(node: Node) -> tuple[Node, ...]:
    """Return the direct parts of a node."""
    match node:
        case Call(_, arguments, keywords):
            return (*arguments, *(value for _, value in keywords))
        case Sum(parts):
            return tuple(part for _, part in parts)
        case Binary(_, left, right) | Bar(left, right):
            return (left, right)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and everything below it, outermost first."""
    yield node
    for child in children(node):
        yield from walk(child)
