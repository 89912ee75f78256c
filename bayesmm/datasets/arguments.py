"""Checks of what a user asks of a simulator; each error names the argument, the value seen and what is possible."""

import math
from collections.abc import Collection, Mapping
from numbers import Integral, Real

from bayesmm.arguments import shorten
from bayesmm.console import listing
from bayesmm.errors import DatasetError

MOST = 10**8  # of anything that is held in memory


def count(argument: str, value: object, *, at_least: int, at_most: int | None = None) -> int:
    """Accept a whole number of at least so many, and perhaps of no more than so many."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < at_least:
        raise DatasetError(f"{argument} is {value!r}; give a whole number of at least {at_least}.")
    if at_most is not None and int(value) > at_most:
        raise DatasetError(f"{argument} is {value!r}; give a whole number of at most {at_most}.")
    return int(value)


def counts(argument: str, value: object, *, at_least: int) -> tuple[int, int]:
    """Accept one number for all, or a pair (lowest, highest) to draw from."""
    if not isinstance(value, tuple):
        number = count(argument, value, at_least=at_least, at_most=MOST)
        return number, number
    if len(value) != 2:
        raise DatasetError(f"{argument} is {value!r}; give one whole number, or a pair (lowest, highest).")
    low, high = (count(argument, number, at_least=at_least, at_most=MOST) for number in value)
    if low > high:
        raise DatasetError(f"{argument} is {value!r}: the lowest number is above the highest; swap them.")
    return low, high


def number(argument: str, value: object) -> float:
    """Accept any finite number."""
    try:
        found = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise DatasetError(f"{argument} is {shorten(value)}; give a finite number.")
    return found


def spread(argument: str, value: object, *, positive: bool = False) -> float:
    """Accept a standard deviation: zero is allowed for random effects, not for the residuals."""
    sd = number(argument, value)
    if sd < 0 or (positive and sd == 0):
        raise DatasetError(
            f"{argument} is {value!r}; give a standard deviation {'above' if positive else 'of at least'} 0."
        )
    return sd


def fraction(argument: str, value: object, *, low: float = 0.0, high: float = 1.0) -> float:
    """Accept a number between two bounds, both included."""
    result = number(argument, value)
    if not low <= result <= high:
        raise DatasetError(f"{argument} is {value!r}; give a number from {low:g} to {high:g}.")
    return result


def name(argument: str, value: object, *, taken: Collection[str] = ()) -> str:
    """Accept a column name that a formula can use and that no other column has."""
    if not isinstance(value, str) or not value.isidentifier():
        raise DatasetError(
            f"{argument} is {value!r}; give a name of letters, digits and underscores, such as 'school'."
        )
    if value in taken:
        raise DatasetError(f"{argument} is {value!r}, which another column is called already; choose another name.")
    return value


def same_groups(
    argument: str, given: Mapping[str, object], groups: Collection[str], *, all_of_them: bool = True
) -> None:
    """Refuse a mapping that names groups that are not there, or leaves some out."""
    if not isinstance(given, Mapping):
        raise DatasetError(f"{argument} is {given!r}; give a dictionary from group to value, for {listing(groups)}.")
    unknown = [key for key in given if key not in groups]
    missing = [key for key in groups if key not in given] if all_of_them else []
    if unknown or missing:
        parts = [f"has no group {unknown[0]!r}"] if unknown else []
        parts += [f"lacks the group {missing[0]!r}"] if missing else []
        raise DatasetError(f"{argument} {' and '.join(parts)}; the groups are {listing(groups)}.")
