"""Mathematics as a line of text and as MathML, written side by side from the same pieces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from html import escape

from bayesmm.console import cells, fold, visible

LOWERED = str.maketrans("0123456789ij", "₀₁₂₃₄₅₆₇₈₉ᵢⱼ")


@dataclass(frozen=True, slots=True)
class Formula:
    """A piece of mathematics.

    Attributes
    ----------
    text : str
        As it is printed.
    mathml : str
        Elements of MathML in which every name is escaped, and what cannot be seen in it spelled out.
    """

    text: str
    mathml: str

    def __add__(self, other: Formula) -> Formula:
        return Formula(self.text + other.text, self.mathml + other.mathml)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """What stands on the left, and summands.

    Attributes
    ----------
    left : Formula
    relation : str
        Between both sides.
    summands : tuple of Formula
    note : str
        Words after it.
    """

    left: Formula
    relation: str
    summands: tuple[Formula, ...]
    note: str = ""

    def lines(self, width: int) -> list[str]:
        """Write it as text, broken before a plus sign and, where that is not enough, as words are."""
        start = f"{self.left.text} {self.relation} "
        first, *others = (summand.text for summand in self.summands)
        lines, current = [], start + first
        for summand in others:
            if len(current) + len(summand) + 3 > width:
                lines.append(current)
                current = " " * min(len(start) - 2, width // 4) + f"+ {summand}"
            else:
                current += f" + {summand}"
        whole = [*lines, current + self.note]
        return [
            part
            for line in whole
            for part in ([line] if cells(visible(line)) <= width else fold(line, width, then="    "))
        ]

    @property
    def html(self) -> str:
        """As MathML, each summand by itself, so that a narrow page breaks lines between them."""
        first, *others = self.summands
        plus = Formula("+", '<mo form="infix" lspace="0">+</mo>')  # by itself it would be a sign, without a space
        relation = Formula(self.relation, f"<mo>{self.relation.replace('~', '∼')}</mo>")
        pieces = [self.left + relation + first, *(plus + summand for summand in others)]
        return " ".join(f"<math>{piece.mathml}</math>" for piece in pieces) + escape(visible(self.note))


def symbol(letter: str) -> Formula:
    """Write a quantity of one letter."""
    return Formula(letter, f"<mi>{letter}</mi>")


def upright(letter: str) -> Formula:
    """Write a distribution or a matrix."""
    return Formula(letter, f'<mi mathvariant="normal">{letter}</mi>')


def word(name: str) -> Formula:
    """Write a name, whatever is in it."""
    return Formula(name, f"<mtext>{escape(visible(name))}</mtext>")


def number(text: object) -> Formula:
    """Write a number."""
    return Formula(str(text), f"<mn>{text}</mn>")


def operator(text: str) -> Formula:
    """Write a sign, of its own size, with what blanks it has in text."""
    return Formula(text, f'<mo stretchy="false">{escape(text.strip())}</mo>')


def below(base: Formula, index: str) -> Formula:
    """Write an index of letters or of digits: i, 12, ij."""
    kind = "mn" if index.isdigit() else "mi"
    parts = f"<{kind}>{index}</{kind}>" if index.isdigit() else "".join(f"<mi>{letter}</mi>" for letter in index)
    return Formula(base.text + index.translate(LOWERED), f"<msub>{_row(base)}<mrow>{parts}</mrow></msub>")


def squared(base: Formula) -> Formula:
    """Write a square."""
    return Formula(f"{base.text}²", f"<msup>{_row(base)}<mn>2</mn></msup>")


def joined(between: str, parts: Iterable[Formula]) -> Formula:
    """Put a sign between formulas."""
    return reduce(lambda left, right: left + operator(between) + right, parts)


def bracketed(inside: Formula, signs: str = "()") -> Formula:
    """Put brackets around a formula."""
    return operator(signs[0]) + inside + operator(signs[1])


def summed(letter: str, index: str, first: int, last: int, of: Formula) -> Formula:
    """Sum over j a coefficient of one letter times a column."""
    term = below(symbol(letter), index) + of
    limits = f"<mrow><mi>{index}</mi><mo>=</mo><mn>{first}</mn></mrow><mn>{last}</mn>"
    return Formula(
        f"Σ{index.translate(LOWERED)} {term.text}", f"<munderover><mo>∑</mo>{limits}</munderover>{term.mathml}"
    ) + Formula(f" ({index} = {first}, ..., {last})", "")


def _row(formula: Formula) -> str:
    return f"<mrow>{formula.mathml}</mrow>"
