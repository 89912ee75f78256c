"""Priors as declarations, for ``bmm.Model(..., priors={...})``."""

from bayesmm.specification.priors import (
    LKJ,
    Beta,
    BoxTiao,
    Cauchy,
    Exponential,
    Flat,
    Gamma,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    Laplace,
    LogNormal,
    Normal,
    Prior,
    Reciprocal,
    StudentT,
    Uniform,
)

__all__ = [
    "LKJ",
    "Beta",
    "BoxTiao",
    "Cauchy",
    "Exponential",
    "Flat",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "HalfStudentT",
    "InverseGamma",
    "Laplace",
    "LogNormal",
    "Normal",
    "Prior",
    "Reciprocal",
    "StudentT",
    "Uniform",
]


def __dir__() -> list[str]:
    return __all__
