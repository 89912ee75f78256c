"""Priors as declarations: a family, its numbers, and nothing that computes.

Which family suits which parameter is decided where priors meet the labels of a model (`bayesmm.bayes.resolution`). A
prior on a standard deviation may be stated for the variance instead, with ``on="variance"``; the density of the
standard deviation then follows by the change of variables.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, fields
from typing import ClassVar, Literal

from bayesmm.errors import PriorError

Support = Literal["real line", "positive numbers", "interval", "anything", "correlations"]
Scale = Literal["sd", "variance"]


@dataclass(frozen=True, slots=True)
class Prior:
    """The parent of all priors; its children are what a user writes."""

    support: ClassVar[Support]
    must_be_positive: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in self.numbers:
            object.__setattr__(self, name, _finite(self, name))
        if self.stated_for not in ("sd", "variance"):
            raise PriorError(f"{self.family}: on={self.stated_for!r}; write on='sd' (the default) or on='variance'.")

    @property
    def family(self) -> str:
        """Name of the family as the user writes it: "HalfNormal"."""
        return type(self).__name__

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers of the declaration, by name and in order."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "on"}

    @property
    def stated_for(self) -> Scale:
        """Whether a prior on a spread is about the standard deviation or its square."""
        return getattr(self, "on", "sd")

    def __str__(self) -> str:
        numbers = ", ".join(f"{value:.4g}" for value in self.numbers.values())
        return f"{self.family}({numbers})" + (" on the variance" if self.stated_for == "variance" else "")


def _finite(prior: Prior, name: str) -> float:
    value = getattr(prior, name)
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise PriorError(f"{prior.family}: {name} is {value!r}; give a finite number.")
    if name in prior.must_be_positive and number <= 0:
        raise PriorError(f"{prior.family}: {name} is {value!r}; give a number above zero.")
    return number


@dataclass(frozen=True, slots=True)
class Normal(Prior):
    """Normal prior for a coefficient: mean and standard deviation, in the coefficient's units."""

    mean: float
    sd: float
    support = "real line"
    must_be_positive = ("sd",)


@dataclass(frozen=True, slots=True)
class StudentT(Prior):
    """Student-t prior for a coefficient: degrees of freedom, centre and scale."""

    df: float
    mean: float
    scale: float
    support = "real line"
    must_be_positive = ("df", "scale")


@dataclass(frozen=True, slots=True)
class Cauchy(Prior):
    """Cauchy prior for a coefficient: centre and scale."""

    mean: float
    scale: float
    support = "real line"
    must_be_positive = ("scale",)


@dataclass(frozen=True, slots=True)
class Laplace(Prior):
    """Laplace (double exponential) prior for a coefficient: centre and scale."""

    mean: float
    scale: float
    support = "real line"
    must_be_positive = ("scale",)


@dataclass(frozen=True, slots=True)
class HalfNormal(Prior):
    """Normal(0, sd) cut at zero, for a spread."""

    sd: float
    _: KW_ONLY
    on: Scale = "sd"
    support = "positive numbers"
    must_be_positive = ("sd",)


@dataclass(frozen=True, slots=True)
class HalfStudentT(Prior):
    """Student-t(df, 0, scale) cut at zero, for a spread."""

    df: float
    scale: float
    _: KW_ONLY
    on: Scale = "sd"
    support = "positive numbers"
    must_be_positive = ("df", "scale")


@dataclass(frozen=True, slots=True)
class HalfCauchy(Prior):
    """Cauchy(0, scale) cut at zero, for a spread."""

    scale: float
    _: KW_ONLY
    on: Scale = "sd"
    support = "positive numbers"
    must_be_positive = ("scale",)


@dataclass(frozen=True, slots=True)
class Exponential(Prior):
    """Exponential prior for a spread; its mean is 1 / rate."""

    rate: float
    _: KW_ONLY
    on: Scale = "sd"
    support = "positive numbers"
    must_be_positive = ("rate",)


@dataclass(frozen=True, slots=True)
class Gamma(Prior):
    """Gamma prior for a spread; its mean is shape / rate."""

    shape: float
    rate: float
    _: KW_ONLY
    on: Scale = "sd"
    support = "positive numbers"
    must_be_positive = ("shape", "rate")


@dataclass(frozen=True, slots=True)
class InverseGamma(Prior):
    """Inverse gamma prior for a spread, density ∝ v^(−shape − 1) exp(−scale / v).

    The classical prior of a variance is ``InverseGamma(shape, scale, on="variance")``.
    """

    shape: float
    scale: float
    _: KW_ONLY
    on: Scale = "sd"
    support = "positive numbers"
    must_be_positive = ("shape", "scale")


@dataclass(frozen=True, slots=True)
class LogNormal(Prior):
    """Log-normal prior for a spread: mean and standard deviation of its logarithm."""

    mean: float
    sd: float
    _: KW_ONLY
    on: Scale = "sd"
    support = "positive numbers"
    must_be_positive = ("sd",)


@dataclass(frozen=True, slots=True)
class Uniform(Prior):
    """Uniform prior between two limits, for a coefficient or (lower limit at least zero) for a spread."""

    lower: float
    upper: float
    _: KW_ONLY
    on: Scale = "sd"
    support = "interval"

    def __post_init__(self) -> None:
        Prior.__post_init__(self)
        if self.lower >= self.upper:
            raise PriorError(f"Uniform: the limits are {self.lower:g} and {self.upper:g}; give the lower one first.")


@dataclass(frozen=True, slots=True)
class Flat(Prior):
    """Constant density wherever the parameter may lie: improper except for correlations, where it is LKJ(1)."""

    _: KW_ONLY
    on: Scale = "sd"
    support = "anything"


@dataclass(frozen=True, slots=True)
class LKJ(Prior):
    """Prior of a whole correlation matrix R, density ∝ det(R)^(concentration − 1); 1 is uniform.

    References
    ----------
    Lewandowski, Kurowicka & Joe (2009). J. Multivar. Anal. 100.
    """

    concentration: float
    support = "correlations"
    must_be_positive = ("concentration",)


PRIORS: tuple[type[Prior], ...] = (
    Normal,
    StudentT,
    Cauchy,
    Laplace,
    HalfNormal,
    HalfStudentT,
    HalfCauchy,
    Exponential,
    Gamma,
    InverseGamma,
    LogNormal,
    Uniform,
    Flat,
    LKJ,
)
