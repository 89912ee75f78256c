"""The structures that a formula can name."""

import re
from dataclasses import dataclass, replace
from math import inf
from typing import Any, cast

from bayesmm.covariance.autoregressive import Autoregressive
from bayesmm.covariance.compound_symmetry import CompoundSymmetry
from bayesmm.covariance.diagonal import Diagonal
from bayesmm.covariance.equal import Equal
from bayesmm.covariance.exponential import ExponentialDecay
from bayesmm.covariance.factor_analytic import FactorAnalytic
from bayesmm.covariance.identity import Identity
from bayesmm.covariance.isotropic import Isotropic
from bayesmm.covariance.kronecker import Kronecker
from bayesmm.covariance.proportional import Proportional
from bayesmm.covariance.reduced_rank import ReducedRank
from bayesmm.covariance.structure import Structure
from bayesmm.covariance.toeplitz import Toeplitz
from bayesmm.covariance.unstructured import Unstructured

STRUCTURES: dict[str, Structure] = {
    "us": Unstructured(),
    "diag": Diagonal(),
    "homdiag": Identity(),
    "cs": CompoundSymmetry(),
    "homcs": CompoundSymmetry(equal=True),
    "ar1": Autoregressive(equal=True),
    "hetar1": Autoregressive(),
    "exp": ExponentialDecay(equal=True),
    "hetexp": ExponentialDecay(),
    "ou": ExponentialDecay(equal=True),
    "toep": Toeplitz(),
    "homtoep": Toeplitz(equal=True),
    "gau": Isotropic(equal=True, nu=inf),
    "mat": Isotropic(equal=True),
    "ratio": Isotropic(equal=True, curve="ratio"),
    "sph": Isotropic(equal=True, curve="sph"),
    "lin": Isotropic(equal=True, curve="lin"),
    "rr": ReducedRank(),
    "fa": FactorAnalytic(),
    "propto": Proportional(),
    "kron": Kronecker(left=Unstructured(), right=Autoregressive(equal=True)),
    "equalto": Equal(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A number that a structure takes after its bar.

    Attributes
    ----------
    name : str
        What it is called, in the formula and in the structure.
    low, high : float
        Its limits.
    is_whole : bool
        Whether it is a whole number.
    example, advice : str
        How it is written, and what to write beyond the limits.
    """

    name: str
    low: float
    high: float
    is_whole: bool = False
    example: str
    advice: str


OPTIONS: dict[str, Option] = {
    "mat": Option(
        name="nu",
        low=0.5,
        high=50.0,  # from the exponential to what is the Gaussian but for the name
        example="Write the smoothness as mat(0 + at(x, y) | g, nu=2.5).",
        advice="Write nu=1.5 or nu=2.5; for what is smoother gau(), for what is less smooth exp().",
    ),
    "rr": Option(
        name="d",
        low=1.0,
        high=100.0,
        is_whole=True,
        example="Write the rank as rr(0 + f | g, d=1).",
        advice="Write d=1 or d=2, the number of directions in which effects vary.",
    ),
    "fa": Option(
        name="d",
        low=1.0,
        high=100.0,
        is_whole=True,
        example="Write the number of factors as fa(0 + f | g, d=1).",
        advice="Write d=1 or d=2, the number of directions in which effects vary together.",
    ),
}


WITH_MATRIX = ("propto", "equalto")  # those that take the name of a known matrix
WITH_FACTORS = ("kron",)  # those that are products of two others, each with a factor of its own
BETWEEN = " × "  # their names in the name of a product


def find_structure(written: str) -> Structure:
    """Return the structure of a term, "us", "cs", or with an option, "mat, nu=2.5", "propto, V"."""
    name, _, option = written.partition(", ")
    structure = STRUCTURES[name]
    if not option:
        return structure
    if name in WITH_FACTORS:
        (left, first), (right, second) = (_part(each) for each in option.split(BETWEEN))
        return Kronecker(left=left, right=right, first=first, second=second)
    if name in WITH_MATRIX:
        return replace(cast(Any, structure), matrix=option.strip("`"))
    own = OPTIONS[name]
    value = float(option.removeprefix(f"{own.name}="))
    changes: dict[str, Any] = {own.name: int(value) if own.is_whole else value}
    return replace(cast(Any, structure), **changes)


def _part(written: str) -> tuple[Structure, str]:
    """Structure and factor of "ar1(C(week))", "mat(C(x), nu=2.5)"."""
    found = re.fullmatch(r"(\w+)\((.*?)(, \w+=[^,()]+)?\)", written)
    assert found is not None
    return find_structure(found[1] + (found[3] or "")), found[2].strip("`")


# Which structures the factors of a product may have: the second has full rank.
FIRST = tuple(name for name in STRUCTURES if name not in (*WITH_MATRIX, *WITH_FACTORS))
SECOND = tuple(name for name in FIRST if STRUCTURES[name].correlations != "rank" and name != "homdiag")


# By the name of a structure and hom=: what lme4 writes with an argument, where glmmTMB has two names.
HOMOGENEOUS = {
    "diag": {True: "homdiag", False: "diag"},
    "cs": {True: "homcs", False: "cs"},
    "ar1": {True: "ar1", False: "hetar1"},
    "exp": {True: "exp", False: "hetexp"},
    "ou": {True: "ou", False: "hetexp"},
    "toep": {True: "homtoep", False: "toep"},
}
