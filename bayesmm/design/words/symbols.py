"""Sums of products of numbers and symbols, written as on a blackboard: ``σ²(a | g) + 3·6·σ²(x | g)``.

Numbers are shown, not multiplied out, so that a reader sees which rows they come from; only what says nothing is left
out: factors of one, terms of zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import pandas as pd

_LARGEST_INTEGER = 1e9  # whole numbers up to here are written with all their digits


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A number with the text that shows where it comes from; the sign is kept apart from the text.

    Attributes
    ----------
    value : float
        The number.
    text : str
        Its absolute value as written, ``"3·6"``; empty for one.
    """

    value: float
    text: str


def number_text(value: float) -> str:
    """Write the absolute value of a number: whole numbers in full, others with five significant digits."""
    size = abs(value)
    return f"{size:.0f}" if size == int(size) and size < _LARGEST_INTEGER else f"{size:.5g}"


def multiply(first: float, second: float) -> Coefficient:
    """Write the product of two numbers."""
    factors = [number_text(value) for value in (first, second) if abs(value) != 1]
    squared = len(factors) == 2 and factors[0] == factors[1]
    return Coefficient(first * second, f"{factors[0]}²" if squared else "·".join(factors))


def add(first: Coefficient, second: Coefficient) -> Coefficient:
    """Write the sum of two coefficients."""
    total = first.value + second.value
    if first.value == 0 or second.value == 0:
        return first if second.value == 0 else second
    if first.value == second.value and first.text == second.text:
        return Coefficient(total, "·".join(filter(None, ("2", first.text))))
    if first.value < 0 < second.value:
        first, second = second, first
    one, other = first.text or "1", second.text or "1"
    if first.value > 0 > second.value:
        return Coefficient(total, f"({one} − {other})") if total >= 0 else Coefficient(total, f"({other} − {one})")
    return Coefficient(total, f"({one} + {other})")


def add_all(parts: Sequence[Coefficient]) -> Coefficient:
    """Write the sum of several coefficients, equal ones of more than two counted."""
    if len(parts) <= 2:
        return reduce(add, parts)
    counts = Counter(part.value for part in parts if part.value)
    first = {part.value: part.text for part in reversed(parts)}
    merged = [
        Coefficient(n * value, "·".join(filter(None, (str(n) if n > 1 else "", first[value]))))
        for value, n in counts.items()
    ]
    if len(merged) <= 2:
        return reduce(add, merged, Coefficient(0.0, ""))
    total = sum(part.value for part in merged)
    along = [part for part in merged if (part.value < 0) == (total < 0)]
    against = [part for part in merged if part not in along]
    text = " + ".join(part.text or "1" for part in along) + "".join(f" − {part.text or '1'}" for part in against)
    return Coefficient(total, f"({text})")


def write_sum(terms: Iterable[tuple[Coefficient, str]]) -> str:
    """Write coefficients times symbols as a sum.

    Parameters
    ----------
    terms : iterable of (Coefficient, str)
        Each summand; an empty symbol stands for one.

    Returns
    -------
    str
        ``"0"`` if every coefficient is zero.
    """
    text = ""
    for coefficient, symbol in terms:
        if coefficient.value == 0:
            continue
        product = "·".join(filter(None, (coefficient.text, symbol))) or "1"
        if text:
            text += f" {'−' if coefficient.value < 0 else '+'} {product}"
        else:
            text = f"−{product}" if coefficient.value < 0 else product
    return text or "0"


class TextTable(pd.DataFrame):
    """A data frame of texts that shows them in full, where pandas would cut them at fifty characters."""

    @property
    def _constructor(self) -> type[TextTable]:
        return TextTable

    def __repr__(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return super().__repr__()

    def _repr_html_(self) -> str | None:
        with pd.option_context("display.max_colwidth", None):
            return super()._repr_html_()  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
