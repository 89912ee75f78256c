"""Checks and defaults of arguments that several functions take."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from bayesmm.errors import ArgumentError, SpecificationError
from bayesmm.limits import REPLICATES

TARGET_ACCEPT = 0.8  # of NUTS, as in NumPyro and Stan
REFITS = 200  # for the errors of predicted effects, if nobody says how many
SMALLEST, LARGEST = 1e-60, 1e60  # sizes whose squares and products stay numbers


def is_one_of(value: Any, choices: Collection[Any]) -> bool:
    """Say whether a value is one of some texts (or None); an array is none of them, where Python would not know."""
    return (value is None or isinstance(value, str)) and value in choices


def check_seed(seed: Any) -> int:
    """Return a seed; refuse what is no whole number from zero on.

    Raises
    ------
    ArgumentError
        With the value seen.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ArgumentError(f"seed is {shorten(seed)}: give a whole number of at least 0.")
    return int(seed)


def check_count(name: str, value: Any, least: int, most: int = REPLICATES) -> int:
    """Return how many data sets are to be drawn; refuse what is no whole number, or more than can be kept.

    Raises
    ------
    ArgumentError
        With the value seen.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise ArgumentError(f"{name} is {shorten(value)}: give a whole number from {least} to {most:,}.")
    return int(value)


def check_refits(n: Any) -> int:
    """Return a number of refits; refuse what is none.

    Raises
    ------
    ArgumentError
        With the value seen.
    """
    if isinstance(n, bool) or not isinstance(n, Integral) or not 2 <= int(n) <= REPLICATES:
        raise ArgumentError(
            f"bootstrap is {shorten(n)}: give how many refits to make, from 2 to {REPLICATES:,}, such as {REFITS}, or "
            "what fit.bootstrap() returned."
        )
    return int(n)


def check_path(name: str, path: Any) -> Path:
    """Return a path with the home folder filled in; refuse what is neither text nor path.

    Raises
    ------
    ArgumentError
        Naming the argument.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise ArgumentError(f"{name} is {shorten(path)}: give the name of a file or folder, a text or a path.")
    return Path(path).expanduser()


def shorten(value: Any) -> str:
    """Write a value that was given, in at most a line; of one whose text is a page, the type."""
    try:
        text = repr(value)
        if "\n" in text and not isinstance(value, (str, bytes, list, tuple, dict)):
            return f"of the type {type(value).__name__}"
        text = " ".join(text.split())
    except Exception:  # whatever a stranger's class does
        return f"of the type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:60]} ... (of the type {type(value).__name__})"


def check_sigma(sigma: float | None) -> float | None:
    """Return a known residual standard deviation, if one is given; refuse what cannot be one.

    Raises
    ------
    SpecificationError
        With the value seen.
    """
    if sigma is None:
        return None
    number = isinstance(sigma, Real) and not isinstance(sigma, bool)
    if not number or not 0 < sigma < math.inf:
        raise SpecificationError(
            f"sigma is {shorten(sigma)}: give the known residual standard deviation, a positive number, or leave it "
            "out to have it estimated."
        )
    if not SMALLEST <= sigma <= LARGEST:
        raise SpecificationError(
            f"sigma is {shorten(sigma)}, beyond {SMALLEST:g} to {LARGEST:g}, where its square is lost to rounding. "
            "Choose other units of the response."
        )
    return float(sigma)
