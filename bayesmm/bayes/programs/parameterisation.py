"""How the conditional program samples the random effects of each grouping factor, and why so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

from bayesmm.console import listing
from bayesmm.errors import ArgumentError

Parameterisation = Literal["centred", "noncentred"] | float
Wish = Literal["auto"] | Parameterisation | Mapping[str, Literal["auto"] | Parameterisation]
DEGREES = {"centred": 1.0, "noncentred": 0.0}
CHOICES = "'auto', 'centred', 'noncentred' or a number from 0 (non-centred) to 1 (centred)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How the effects of one grouping factor are sampled.

    Attributes
    ----------
    degree : float
        Degree of centring: 1 is centred, 0 is non-centred.
    reason : str
        Why.
    is_only : bool
        Whether there is no other.
    """

    degree: float
    reason: str
    is_only: bool = False

    @property
    def name(self) -> str:
        """The degree in words."""
        return describe_degree(self.degree)


def describe_degree(degree: float) -> str:
    """Put a degree of centring into words."""
    return {1.0: "centred", 0.0: "non-centred"}.get(degree, f"centred to degree {degree:g}")


def degree_of(parameterisation: Parameterisation) -> float:
    """Turn a name into its degree of centring."""
    return DEGREES[parameterisation] if isinstance(parameterisation, str) else float(parameterisation)


def choose_degrees(wish: Wish, groups: Sequence[str], automatic: Sequence[Choice]) -> tuple[Choice, ...]:
    """Settle the degree of centring of each grouping factor.

    Parameters
    ----------
    wish : "auto", "centred", "noncentred", number in [0, 1], or mapping of str to these
        What was asked for; a mapping is by grouping factor, and those that it does not name are "auto".
    groups : sequence of str
        Grouping factors.
    automatic : sequence of Choice
        What "auto" stands for in each of them.

    Returns
    -------
    tuple of Choice

    Raises
    ------
    ArgumentError
        If the wish is none of these, names a grouping factor that is not there, or centres effects without a density.
    """
    if not isinstance(wish, Mapping):
        check_parameterisation(wish)
        return tuple(_choose(wish, own, group) for group, own in zip(groups, automatic, strict=True))
    for key, value in wish.items():
        if key not in groups:
            near = get_close_matches(str(key), groups, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ArgumentError(
                f"parameterisation[{key!r}]: the model has no such grouping factor.{hint} "
                f"Grouping factors: {listing(groups, quoted=True)}."
            )
        _check(value, f"parameterisation[{key!r}]", CHOICES)
    return tuple(_choose(wish.get(group, "auto"), own, group) for group, own in zip(groups, automatic, strict=True))


def check_parameterisation(wish: Any) -> None:
    """Refuse what is neither a name, nor a degree, nor a mapping; a mapping's content is checked with the model."""
    if not isinstance(wish, Mapping):
        _check(wish, "parameterisation", f"{CHOICES}, or a mapping from grouping factors to these")


def _check(value: Any, where: str, choices: str) -> None:
    if isinstance(value, str):
        suits = value == "auto" or value in DEGREES
    else:
        suits = not isinstance(value, bool) and isinstance(value, (int, float, np.number)) and 0.0 <= value <= 1.0
    if not suits:
        raise ArgumentError(f"{where} is {value!r}: give {choices}.")


def _choose(value: Literal["auto"] | Parameterisation, own: Choice, group: str) -> Choice:
    if value == "auto":
        return own
    degree = degree_of(value)
    if own.is_only and degree != own.degree:
        raise ArgumentError(
            f"parameterisation of {group!r} is {value!r}, and {own.reason}: they are sampled non-centred. Leave it "
            "out, or give a mapping of the other grouping factors."
        )
    return Choice(degree=degree, reason="as asked for")
