"""Priors as declarations: a family, its numbers, and nothing that computes.

Which family suits which parameter is decided where priors meet the labels of a model
(`bayesmm.bayes.priors.resolution`). A prior on a standard deviation may be stated for the variance instead, with
``on="variance"``, or for its share of the variance, with ``on="share"``; the density of the standard deviation then
follows by the change of variables. A prior of a correlation may be stated for the range of the curve along which it
falls with distance, ``on="range"``, in the unit of the coordinates.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from bayesmm.errors import PriorError
from bayesmm.specification.prior import Prior, Scale


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
    """Uniform prior between two limits, for a coefficient or (lower limit at least zero) for a spread.

    ``Uniform(0, 1, on="share")`` is ``Beta(1, 1)``. For a correlation the limits are those of the correlation, with
    ``on="range"`` of its range, with ``on="partial"`` of the partial autocorrelation.
    """

    lower: float
    upper: float
    _: KW_ONLY
    on: Scale = "sd"
    support = "interval"
    scales = ("sd", "variance", "share", "range", "correlation", "partial")

    def __post_init__(self) -> None:
        Prior.__post_init__(self)
        if self.lower >= self.upper:
            raise PriorError(f"Uniform: the limits are {self.lower:g} and {self.upper:g}; give the lower one first.")
        if self.on == "share" and not 0.0 <= self.lower < self.upper <= 1.0:
            raise PriorError(
                f"Uniform: the limits are {self.lower:g} and {self.upper:g}; a share of the variance lies between 0 "
                "and 1."
            )


@dataclass(frozen=True, slots=True)
class Beta(Prior):
    """Beta prior for a random effect's share of the variance, sd² / (sd² + σ²), density ∝ s^(a − 1) (1 − s)^(b − 1).

    For a random intercept the share is the intraclass correlation of two rows of weight one, given the other random
    effects. That of a slope depends on the units of its column. With ``on="correlation"`` it is a prior of where a
    correlation lies between its limits, (ρ − l) / (u − l), with ``on="partial"`` of (π + 1) / 2, π the partial
    autocorrelation at a lag (Barndorff-Nielsen & Schou 1973, J. Multivar. Anal. 3).
    """

    a: float
    b: float
    _: KW_ONLY
    on: Scale = "share"
    support = "shares"
    scales = ("share", "correlation", "partial")
    must_be_positive = ("a", "b")


@dataclass(frozen=True, slots=True)
class BoxTiao(Prior):
    """Reference prior of the variance of a balanced one-way layout, density of sd² given σ² ∝ 1 / (σ² + size·sd²).

    `size` is the number of rows of a group. Together with ``Reciprocal()`` for σ it makes the prior of Box and Tiao:
    1 / (σ² (σ² + size·sd²)). Improper.

    References
    ----------
    Box & Tiao (1973). Bayesian Inference in Statistical Analysis, section 5.2.
    """

    size: float
    support = "positive numbers"
    scales = ("variance",)
    is_proper = False
    must_be_positive = ("size",)


@dataclass(frozen=True, slots=True)
class Reciprocal(Prior):
    """Density ∝ 1 / σ of the residual standard deviation: flat in log σ, and ∝ 1 / σ² in σ². Improper."""

    support = "positive numbers"
    scales = ("sd",)
    is_proper = False


@dataclass(frozen=True, slots=True)
class Flat(Prior):
    """Constant density wherever the parameter may lie: improper except for correlations, where it is LKJ(1)."""

    _: KW_ONLY
    on: Scale = "sd"
    support = "anything"
    is_proper = False


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
    Beta,
    BoxTiao,
    Reciprocal,
    Flat,
    LKJ,
)
