"""Estimates whose log-determinant is by probes, as many of these as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from bayesmm.covariance.layout import assemble_factors, held_theta, start_theta
from bayesmm.errors import EstimationError
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.reml.criterion import Criterion, Engine
from bayesmm.reml.estimate import Estimate, first_theta, read_off
from bayesmm.reml.monte_carlo import gradient_covariance, probed
from bayesmm.reml.optimise import Minimum
from bayesmm.reml.search import find_minima, find_minimum

if TYPE_CHECKING:  # loaded where effects are too many to be eliminated
    from bayesmm.marginal.stochastic.matrices import Matrices
    from bayesmm.marginal.stochastic.probing import Probing

PILOT = 8  # probes of the search from far away
FEWEST = 24  # probes of estimates: the spread of fewer would hardly be known
MOST = 1024
WANTED = 0.02  # Monte Carlo error over the standard error, of whatever function of the covariance parameters
RESERVE = 1.3  # times the probes that fewer ones say are enough
ROUNDS = 3
ROUGH = 1e-4  # what a further step may gain where the search with few probes ends
FINE = 1e-10  # the same with all probes
UNSOLVED = 100.0  # times the tolerances of iterations, where these came to an end


@dataclass(frozen=True, slots=True, kw_only=True)
class Determinant:
    """How log|H| is to be worked out.

    Attributes
    ----------
    kind : {"auto", "exact", "stochastic"}
        By elimination, by probes, or by elimination where that is possible.
    probes : int, optional
        How many; as many as it takes by default.
    seed : int
        Of the probes.
    """

    kind: Literal["auto", "exact", "stochastic"] = "auto"
    probes: int | None = None
    seed: int = 0


AUTO = Determinant()


def make_matrices(products: CrossProducts, engine: Engine) -> Matrices:
    """Lay out Z'WZ to be multiplied, in NumPy or on JAX's default device."""
    index = products.index
    parts = (products.shape.pairs, products.diagonal, products.pairs, index.rows, index.columns)
    if engine == "jax":
        from bayesmm.marginal.stochastic.device_matrices import DeviceMatrices

        return DeviceMatrices(*parts)
    from bayesmm.marginal.stochastic.matrices import HostMatrices

    return HostMatrices(*parts)


def place_probes(criterion: Criterion, theta: np.ndarray, n_probes: int, seed: int) -> Criterion:
    """Return the criterion with the log-determinant by fresh probes, whose fixed space suits a place θ."""
    from bayesmm.marginal.stochastic.probing import make_probing

    products = criterion.products
    matrices = make_matrices(products, criterion.engine) if products.probing is None else products.probing.matrices
    factors: Sequence[np.ndarray] = assemble_factors(np, theta, criterion.layout)
    return with_probing(criterion, make_probing(matrices, factors, n_probes, seed))


def with_probing(criterion: Criterion, probing: Probing) -> Criterion:
    """Return the criterion with the log-determinant by these probes."""
    products = replace(criterion.products, levels=None, effects=None, fill=None, probing=probing)
    return replace(criterion, products=products)


def estimate_by_probes(criterion: Criterion, n_probes: int | None = None, seed: int = 0) -> Estimate:
    """Minimise the criterion with the log-determinant by probes.

    Parameters
    ----------
    criterion : Criterion
        The objective; what it would take to evaluate it exactly is not looked at.
    n_probes : int, optional
        How many; by default as many as make the Monte Carlo error of all covariance parameters a fiftieth of their
        standard errors.
    seed : int
        Of the probes.

    Returns
    -------
    Estimate
        Its criterion has the probes.

    Raises
    ------
    AbsorbedError
        If the restricted likelihood does not depend on some variance.
    EstimationError
        If the random effects are not solved for at the minimum.

    Notes
    -----
    Few probes lead near the minimum. They say how many are needed there, and with these the search goes on.
    """
    few = PILOT if n_probes is None else min(PILOT, n_probes)
    rough = place_probes(criterion, start_theta(criterion.layout), few, seed)
    found = find_minima(rough, first_theta(rough), ROUGH).lowest
    n_evaluations = found.n_evaluations + 1
    m = FEWEST if n_probes is None else n_probes
    if n_probes is None:
        m = max(m, _needed(rough, found))
    for _ in range(ROUNDS):
        own = place_probes(rough, found.x, m, seed + 1)
        found = find_minimum(own, found.x, tolerance=FINE)
        n_evaluations += found.n_evaluations
        needed = _needed(own, found)
        if n_probes is not None or m == MOST or needed <= RESERVE * m:
            break
        m = needed
    unsolved = probed(own, found.x).unsolved
    if not unsolved <= UNSOLVED:
        from bayesmm.marginal.stochastic.krylov import MOST_STEPS

        raise EstimationError(
            f"Conjugate gradients did not solve for the random effects in {MOST_STEPS} steps: what is left is "
            f"{unsolved:.1g} times what may be. Some effects are told apart by next to nothing: drop a crossed term, "
            "or those levels that few rows connect with the others."
        )
    return read_off(own, replace(found, n_evaluations=n_evaluations), (), 0)


def _needed(criterion: Criterion, found: Minimum) -> int:
    """Count the probes that make the Monte Carlo error the share of the standard error that is wanted, and a reserve.

    The largest share of any function of θ is the root of the largest eigenvalue of ½H⁻½ΔH⁻½, Δ the covariance of the
    gradient among probes.
    """
    free = np.flatnonzero(~held_theta(found.x, criterion.layout))
    m = len(probed(criterion, found.x).shares.values)
    if not len(free) or m < 2 or not found.evaluation.hessian[np.ix_(free, free)].any():
        return 0
    curvatures, directions = np.linalg.eigh(found.evaluation.hessian[np.ix_(free, free)])
    root = directions / np.sqrt(np.maximum(curvatures, 1e-12 * curvatures.max()))
    noise = root.T @ gradient_covariance(criterion, found.x)[np.ix_(free, free)] @ root
    share = 0.5 * float(np.linalg.eigvalsh(noise).max())
    return int(min(np.ceil(RESERVE * m * share / WANTED**2), MOST))
