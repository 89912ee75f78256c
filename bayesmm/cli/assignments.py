"""``NAME=NUMBER`` and ``NAME=N,N`` from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from bayesmm.console import quoted
from bayesmm.errors import ArgumentError


def read_numbers(option: str, texts: Sequence[str] | None) -> dict[str, float]:
    """Read the values of an option: ``"x=0.5; sigma=2"``.

    Parameters
    ----------
    option : str
        As it is typed, ``"--parameters"``.
    texts : sequence of str, optional
        Each with one assignment, or several with semicolons between them.

    Raises
    ------
    ArgumentError
        If one of them is no assignment of a number, or a name comes twice.
    """
    values: dict[str, float] = {}
    for text in (part for each in texts or () for part in each.split(";") if part.strip()):
        name, number = _divide(option, text, "x=0.5")
        if name in values:
            raise ArgumentError(f"{option} names {quoted(name)} twice. Drop one.")
        try:
            values[name] = float(number)
        except ValueError:
            raise ArgumentError(
                f"{option} {quoted(text)} has no number after '='. Write, for example, x=0.5."
            ) from None
    return values


def read_sizes(option: str, texts: Sequence[str] | None) -> dict[str, list[int]] | None:
    """Read the values of ``--along`` and ``--within``: ``"g=10,20,40"``.

    Raises
    ------
    ArgumentError
        If one of them is no assignment of whole numbers, or a name comes twice.
    """
    sizes: dict[str, list[int]] = {}
    for text in texts or ():
        name, numbers = _divide(option, text, "g=10,20")
        if name in sizes:
            raise ArgumentError(f"{option} names {quoted(name)} twice: write its numbers together, {name}=10,20.")
        try:
            sizes[name] = [int(number) for number in numbers.split(",")]
        except ValueError:
            raise ArgumentError(
                f"{option} {quoted(text)} has no whole numbers after '='. Write, for example, {name}=10,20."
            ) from None
    return sizes or None


def read_texts(option: str, texts: Sequence[str], example: str) -> dict[str, str]:
    """Read the values of ``--relation`` and ``--pedigree``: ``"A=pedigree.csv"``.

    Raises
    ------
    ArgumentError
        If one of them is no assignment, or a name comes twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        name, value = name.strip(), value.strip()
        if not sign or not name or not value:
            raise ArgumentError(f"{option} {quoted(text)} is no assignment. Write, for example, {option} '{example}'.")
        if name in values:
            raise ArgumentError(f"{option} names {quoted(name)} twice. Drop one.")
        values[name] = value
    return values


def _divide(option: str, text: str, example: str) -> tuple[str, str]:
    """Divide at the last sign of equality: a name may hold one, ``bs(x, df=4)[0]``."""
    name, sign, value = text.rpartition("=")
    if not sign or not name.strip() or not value.strip():
        raise ArgumentError(f"{option} {quoted(text)} is no assignment. Write, for example, {option} '{example}'.")
    return name.strip(), value.strip()
