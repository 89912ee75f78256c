"""Linear hypotheses by name: ``"Days = 0, Intercept = 250"`` into contrasts and their values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.errors import ArgumentError

NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
ADVICE = "Write a hypothesis such as 'Days = 0', '2*a - b = 1' or 'a = b', several with commas between them."


class Hypotheses(NamedTuple):
    """Lβ = values.

    Attributes
    ----------
    texts : tuple of str
        One a row, as it was written.
    L : array, shape (r, p)
        Combinations of the coefficients that are estimated.
    values : array, shape (r,)
        What they are if the hypotheses hold.
    """

    texts: tuple[str, ...]
    L: np.ndarray
    values: np.ndarray


def read_hypotheses(hypotheses: Any, names: Sequence[str], aliased: Sequence[str], others: Sequence[str]) -> Hypotheses:
    """Read hypotheses about fixed effects.

    Parameters
    ----------
    hypotheses : str, sequence of str, mapping of str to float, or array of shape (r, p)
        Equations with commas between them, or one a text; values by name; or the combinations that are to be zero.
    names, aliased, others : sequence of str
        Coefficients that are estimated (p,); those that are combinations of them; parameters that are no fixed effects.

    Raises
    ------
    ArgumentError
        If they cannot be read, name what is no fixed effect, say nothing, or contradict each other.
    """
    if not names:
        raise ArgumentError("The model has no fixed effects that are estimated: there is nothing to test.")
    given = hypotheses
    if isinstance(hypotheses, Mapping):
        hypotheses = [f"{name} = {value!r}" for name, value in hypotheses.items()]
    if isinstance(hypotheses, str):
        hypotheses = _split(hypotheses, ",")
    if isinstance(hypotheses, (list, tuple)) and all(isinstance(each, str) for each in hypotheses):
        texts = [text for each in hypotheses for text in _split(each, ",")]
        rows = [row for text in texts for row in _Reader(names, aliased, others).read(text)]
    else:
        rows = _read_matrix(hypotheses, len(names))
    if not rows:
        raise ArgumentError(f"There is no hypothesis in {shorten(given)}. {ADVICE}")
    L = np.array([row[1] for row in rows])
    values = np.array([row[2] for row in rows])
    for text, row in zip((row[0] for row in rows), L, strict=True):
        if not row.any():
            raise ArgumentError(f"{text!r} says nothing about a coefficient: it is true or false whatever the data.")
    _check_consistent(L, values)
    return Hypotheses(tuple(row[0] for row in rows), L, values)


type Row = tuple[str, np.ndarray, float]


def _read_matrix(given: Any, p: int) -> list[Row]:
    try:
        L = np.atleast_2d(np.asarray(given, dtype=float))
    except (TypeError, ValueError, OverflowError):
        L = np.empty((0, 0))
    if L.ndim != 2 or L.shape[1] != p or not np.isfinite(L).all():
        raise ArgumentError(
            f"The hypotheses are {shorten(given)}: give texts, values by name, or an array with one column for each of "
            f"the {p} coefficients that are estimated. {ADVICE}"
        )
    return [(f"row {i + 1} = 0", row, 0.0) for i, row in enumerate(L)]


def _check_consistent(L: np.ndarray, values: np.ndarray) -> None:
    """Refuse equations that cannot hold together."""
    scale = np.abs(L).max(axis=0)
    rows = L[:, scale > 0] / scale[scale > 0]
    lengths = np.linalg.norm(rows, axis=1)
    rows, values = rows / lengths[:, None], values / lengths
    solution = np.linalg.lstsq(rows, values, rcond=1e-10)[0]
    if np.abs(rows @ solution - values).max() > 1e-8 * max(1.0, float(np.abs(values).max())):
        raise ArgumentError("The hypotheses contradict each other: no coefficients fulfil all of them. Leave some out.")


def _split(text: str, mark: str) -> list[str]:
    """Split where a mark stands outside brackets, quotes and backquotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"`":
            quote = character
        else:
            depth += (character in "([") - (character in ")]")
        if character == mark and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]


class _Form(NamedTuple):
    """A linear form: a combination of coefficients and a constant."""

    row: np.ndarray
    constant: float


class _Reader:
    """Reads equations between linear forms; blanks do not count."""

    def __init__(self, names: Sequence[str], aliased: Sequence[str], others: Sequence[str]) -> None:
        self.names, self.p = names, len(names)
        self.aliased, self.others = {_bare(name) for name in aliased}, {_bare(name) for name in others}
        self.places = {_bare(name): j for j, name in enumerate(names)}
        known = {*self.places, *self.aliased, *self.others}
        self.known = sorted({*known, *(f"`{name}`" for name in known)}, key=len, reverse=True)

    def read(self, text: str) -> list[Row]:
        """Read one equation, or a chain of them: ``a = b = 0``."""
        sides = [side.strip() for side in _split(text, "=")]
        if text.replace("==", "=").strip().endswith("=") or text.strip().startswith("="):
            raise self._complaint("a side of the equation is empty", text)
        forms = [self._read_side(_bare(side), text) for side in sides]
        if len(sides) == 1:
            return [(f"{text.strip()} = 0", forms[0].row, -forms[0].constant)]
        return [
            (f"{one} = {other}", left.row - right.row, right.constant - left.constant)
            for (one, left), (other, right) in pairwise(zip(sides, forms, strict=True))
        ]

    def _read_side(self, bare: str, text: str) -> _Form:
        self.text, self.bare, self.at = text.strip(), bare, 0
        form = self._sum()
        if self.at < len(bare):
            raise self._complaint(f"{bare[self.at :]!r} cannot be read")
        return form

    def _sum(self) -> _Form:
        total = self._product()
        while sign := self._take("+") or self._take("-"):
            other = self._product()
            factor = 1.0 if sign == "+" else -1.0
            total = _Form(total.row + factor * other.row, total.constant + factor * other.constant)
        return total

    def _product(self) -> _Form:
        total = self._factor()
        while mark := self._take("*") or self._take("/"):
            other = self._factor()
            if mark == "/" or not other.row.any():
                number, form = other, total
            else:
                number, form = total, other
            if number.row.any():
                raise self._complaint("coefficients are multiplied or divided by each other, which is not linear")
            if mark == "/" and number.constant == 0.0:
                raise self._complaint("it divides by zero")
            factor = 1.0 / number.constant if mark == "/" else number.constant
            total = _Form(factor * form.row, factor * form.constant)
        return total

    def _factor(self) -> _Form:
        if self._take("-"):
            inner = self._factor()
            return _Form(-inner.row, -inner.constant)
        if self._take("+"):
            return self._factor()
        name = self._name()
        if name is not None:
            return self._coefficient(name)
        if found := NUMBER.match(self.bare, self.at):
            self.at = found.end()
            return _Form(np.zeros(self.p), float(found[0]))
        if self._take("("):
            inner = self._sum()
            if not self._take(")"):
                raise self._complaint("a bracket is not closed")
            return inner
        rest = self.bare[self.at :]
        raise self._complaint(
            f"{rest!r} is no coefficient and no number" if rest else "it ends where a coefficient should be"
        )

    def _coefficient(self, name: str) -> _Form:
        name = name.strip("`") if name not in self.places else name
        if name in self.places:
            row = np.zeros(self.p)
            row[self.places[name]] = 1.0
            return _Form(row, 0.0)
        if name in self.aliased:
            raise self._complaint(f"{name!r} is a combination of other columns, and not estimated")
        raise self._complaint(
            f"{name!r} is no fixed effect: tests of standard deviations and correlations are fit.variance_tests(...)"
        )

    def _name(self) -> str | None:
        """Take the longest name that stands here, and does not go on."""
        for name in self.known:
            end = self.at + len(name)
            if self.bare.startswith(name, self.at) and not _goes_on(name, self.bare[end : end + 1]):
                self.at = end
                return name
        return None

    def _take(self, mark: str) -> str:
        if self.bare.startswith(mark, self.at):
            self.at += len(mark)
            return mark
        return ""

    def _complaint(self, what: str, text: str = "") -> ArgumentError:
        return ArgumentError(
            f"The hypothesis {text.strip() or self.text!r} cannot be tested: {what}. {ADVICE} The coefficients are "
            f"{listing(self.names, 6)}."
        )


def _bare(text: str) -> str:
    """Leave out blanks."""
    return re.sub(r"\s+", "", text)


def _goes_on(name: str, after: str) -> bool:
    """Whether the character after a name belongs to a longer one."""
    return (
        (name[-1].isalnum() or name[-1] in "_.")
        and (after.isalnum() or after in ("_", ".", "[", "(", ":"))
        and after != ""
    )
