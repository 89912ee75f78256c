"""The structures that a formula can name."""

from dataclasses import replace
from math import inf

from bayesmm.covariance.autoregressive import Autoregressive
from bayesmm.covariance.compound_symmetry import CompoundSymmetry
from bayesmm.covariance.diagonal import Diagonal
from bayesmm.covariance.exponential import ExponentialDecay
from bayesmm.covariance.identity import Identity
from bayesmm.covariance.isotropic import Isotropic
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
}

WITH_SMOOTHNESS = ("mat",)  # those that take nu=
SMOOTHNESS = (0.5, 50.0)  # its limits: from the exponential to what is the Gaussian but for the name


def find_structure(written: str) -> Structure:
    """Return the structure of a term, "us", "cs", or with an option, "mat, nu=2.5"."""
    name, _, option = written.partition(", ")
    structure = STRUCTURES[name]
    if not option:
        return structure
    assert isinstance(structure, Isotropic)
    return replace(structure, nu=float(option.removeprefix("nu=")))


# By the name of a structure and hom=: what lme4 writes with an argument, where glmmTMB has two names.
HOMOGENEOUS = {
    "diag": {True: "homdiag", False: "diag"},
    "cs": {True: "homcs", False: "cs"},
    "ar1": {True: "ar1", False: "hetar1"},
    "exp": {True: "exp", False: "hetexp"},
    "ou": {True: "ou", False: "hetexp"},
    "toep": {True: "homtoep", False: "toep"},
}
