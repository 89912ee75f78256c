"""Numbers as text: as many decimals as the uncertainty deserves, no more than one can tell apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

DIGITS = 3  # significant digits of the standard deviation that the decimals are chosen for
VALUE_DIGITS = 5  # of a number whose spread is not known
MOST_DECIMALS = 6
TOO_LONG, TOO_SHORT = 1e7, 1e-4  # numbers beyond have a power of ten, small ones where decimals do not suffice
FAR = 100.0  # spreads from the centre on, digits of a limit say nothing
UNKNOWN = "–"
SMALLEST_P = 0.001


def decimals_for(*spreads: float) -> int | None:
    """Choose the decimals that show the smallest positive spread with three digits; None for a power of ten."""
    known = [spread for spread in spreads if math.isfinite(spread) and spread > 0]
    if not known:
        return 3
    decimals = DIGITS - 1 - math.floor(math.log10(min(known)))
    return max(decimals, 0) if decimals <= MOST_DECIMALS else None


def write_number(value: float, decimals: int | None) -> str:
    """Write a number with these decimals; what is not known is a dash."""
    if math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if abs(value) >= TOO_LONG or (decimals is None and abs(value) < TOO_SHORT):
        return _with_power(value, DIGITS)
    text = f"{value:.{MOST_DECIMALS if decimals is None else decimals}f}"
    # "-0.00" tells nothing, and a hyphen is no minus sign.
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def write_like(value: float, spread: float) -> str:
    """Write a number as precisely as its spread deserves; where that is not known, with five digits."""
    if math.isfinite(spread) and spread > 0:
        return write_number(value, decimals_for(spread))
    return write_digits(value, VALUE_DIGITS)


def write_digits(value: float, digits: int = 4) -> str:
    """Write a number with so many significant digits at most; whole numbers below ten millions keep all of theirs."""
    if value == 0 or not math.isfinite(value):
        return write_number(value, 0)
    size = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))  # 9.9996 has four digits as 10.00
    if not TOO_SHORT <= abs(value) < TOO_LONG:
        return _with_power(value, digits)
    text = write_number(value, max(digits - 1 - size, 0))
    return text.rstrip("0").removesuffix(".") if "." in text else text


def _with_power(value: float, digits: int) -> str:
    return f"{value:.{digits - 1}e}".replace("-", "−")


def write_intervals(
    lower: Iterable[float], upper: Iterable[float], centre: Iterable[float], spread: Iterable[float]
) -> list[tuple[str, str]]:
    """Write limits as precisely as the spread of each row deserves; those far off, as their distance does."""

    def write(limit: float, value: float, width: float) -> str:
        return write_like(limit, max(abs(limit - value) / FAR, width) if width > 0 else width)

    rows = zip(lower, upper, centre, spread, strict=True)
    return [(write(low, value, width), write(high, value, width)) for low, high, value, width in rows]


def write_column(values: Iterable[float], decimals: int | Sequence[int | None]) -> list[str]:
    """Write numbers below each other, with the same decimals or each with those of its row."""
    if isinstance(decimals, int):
        return [write_number(value, decimals) for value in values]
    return [write_number(value, places) for value, places in zip(values, decimals, strict=True)]


def write_p(value: float) -> str:
    """Write a p-value with three decimals, or that it is smaller."""
    return f"< {SMALLEST_P}" if value < SMALLEST_P else write_number(value, 3)
