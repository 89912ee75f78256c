"""Numbers as text: as many decimals as the uncertainty deserves."""

from __future__ import annotations

import math

DIGITS = 3  # significant digits of the standard deviation that the decimals are chosen for
MOST_DECIMALS = 6  # beyond these, and from TOO_LONG on, numbers are written with a power of ten
TOO_LONG = 1e7


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
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    text = f"{value:.{DIGITS}g}" if decimals is None or abs(value) >= TOO_LONG else f"{value:.{decimals}f}"
    # "-0.00" tells nothing, and a hyphen is no minus sign.
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def write_like(value: float, spread: float) -> str:
    """Write a number as precisely as its spread deserves."""
    return write_number(value, decimals_for(spread))
