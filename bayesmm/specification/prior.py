"""The parent of all priors: a family, its numbers, and the quantity that it is stated for."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from bayesmm.arguments import shorten
from bayesmm.errors import KeywordError, PriorError

Support = Literal["real line", "positive numbers", "interval", "shares", "anything", "correlations"]
Scale = Literal["sd", "variance", "share", "range", "correlation", "partial"]
SUFFIX: dict[Scale, str] = {
    "sd": "",
    "variance": " on the variance",
    "share": " on the share",
    "range": " on the range",
    "correlation": " on the correlation",
    "partial": " on the partial autocorrelation",
}


class _Families(type):
    """Let a family that is given a number by another program's name say what its own are called."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        known = [field.name for field in fields(cls)]  # pyright: ignore[reportArgumentType]
        for name in kwargs:
            if name not in known:
                own = ", ".join(each for each in known if each != "on")
                raise KeywordError(f"{cls.__name__} takes no {name}=: write {cls.__name__}({own}).")
        return super().__call__(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Prior(metaclass=_Families):
    """The parent of all priors; its children are what a user writes.

    Attributes
    ----------
    support : str
        Where the values of the family lie.
    scales : tuple of {"sd", "variance", "share", "range", "correlation", "partial"}
        What a prior may be stated for, the default first. Of a spread: the standard deviation, its square, or the share
        sd² / (sd² + σ²) of the variance. Of a correlation: the range of the curve along which it falls, the correlation
        between its limits, or the partial autocorrelation at its lag.
    is_proper : bool
        Whether the density has a finite integral. One that has not cannot be drawn from.
    """

    support: ClassVar[Support]
    scales: ClassVar[tuple[Scale, ...]] = ("sd", "variance", "range")
    is_proper: ClassVar[bool] = True
    must_be_positive: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in self.numbers:
            object.__setattr__(self, name, _finite(self, name))
        if self.stated_for not in self.scales:
            default, *others = (f"on={scale!r}" for scale in self.scales)
            allowed = " or ".join([f"{default} (the default)", *others])
            raise PriorError(f"{self.family}: on={self.stated_for!r}; write {allowed}.")

    @property
    def family(self) -> str:
        """Name of the family as the user writes it: "HalfNormal"."""
        return type(self).__name__

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers of the declaration, by name and in order."""
        return {name: getattr(self, name) for name in self.parameters()}

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Names of the numbers of the family, in order."""
        return tuple(field.name for field in fields(cls) if field.name != "on")

    @property
    def stated_for(self) -> Scale:
        """What of its parameter a prior is about: the first of `scales` is that in the tables."""
        return getattr(self, "on", self.scales[0])

    def __str__(self) -> str:
        numbers = ", ".join(f"{value:.4g}" for value in self.numbers.values())
        return f"{self.family}({numbers}){SUFFIX[self.stated_for]}"


def _finite(prior: Prior, name: str) -> float:
    value = getattr(prior, name)
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise PriorError(f"{prior.family}: {name} is {shorten(value)}; give a finite number.")
    if name in prior.must_be_positive and number <= 0:
        raise PriorError(f"{prior.family}: {name} is {value!r}; give a number above zero.")
    return number
