"""The observed response beside others that the fitted model draws, all treated alike.

Given the relative variances every set has its own fixed effects, modes, residuals and σ, from one elimination for all.
Under the model the observed set is one among them, so that the rank of any statistic of it is uniform: a Monte Carlo
test (Barnard 1963, JRSS-B 25; Besag & Clifford 1989, Biometrika 76).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bayesmm.arguments import check_count, check_seed
from bayesmm.marginal.residual.through_rows import AT_ONCE, Eliminated
from bayesmm.presenting.progress import watched


class Sets(NamedTuple):
    """Some sets, side by side; weighted rows, on the conditioned columns.

    Attributes
    ----------
    conditional, marginal : arrays, shape (n, c)
        y − Xβ̂ − Zb̂ and y − Xβ̂.
    fitted : array, shape (n, c)
        Xβ̂ + Zb̂, less the least-squares fit without random effects of the observed response.
    modes : list of arrays, shape (k, c, q)
        b̂ of each factor, on the user's columns.
    sigma : array, shape (c,)
        Residual standard deviation at the relative variances of the fit.
    """

    conditional: np.ndarray
    marginal: np.ndarray
    fitted: np.ndarray
    modes: list[np.ndarray]
    sigma: np.ndarray


def draw_sets(
    at: Eliminated, n: int, seed: int, known_sigma: float | None, df: float, progress: bool | None = False
) -> Iterator[Sets]:
    """Draw n sets besides the observed one, which comes first, some at a time.

    Parameters
    ----------
    at : Eliminated
        The fit.
    n : int
        How many.
    seed : int
        The same numbers whatever the machine's memory.
    known_sigma : float, optional
        σ, where it is not estimated.
    df : float
        Degrees of freedom of σ² where it is.
    progress : bool, optional
        Whether to show a progress bar; None shows it where a person can see it.
    """
    check_sets(n, seed)
    rng = np.random.default_rng(seed)
    observed = at.rows.fixed[:, -1:]
    rows = len(observed)
    size = max(AT_ONCE // (rows + sum(Z.shape[1] for Z in at.columns)), 1)
    yield treat(at, observed, known_sigma, df)
    for start in watched(range(0, n, size), "simulating sets", progress):
        yield treat(at, _draw(at, rng, min(size, n - start)), known_sigma, df)


def check_sets(n: int, seed: int) -> None:
    """Refuse a number of sets, or a seed, that cannot be one."""
    check_count("n", n, 20)
    check_seed(seed)


def _draw(at: Eliminated, rng: np.random.Generator, c: int) -> np.ndarray:
    """Draw Xβ̂ + ZΛu + ε, (n, c); every set takes its numbers one after the other."""
    n, m = len(at.rows.fixed), sum(Z.shape[1] for Z in at.columns)
    numbers = at.sigma * rng.standard_normal((c, n + m)).T
    effects, start = [], n
    for f, (incidence, L) in enumerate(zip(at.rows.incidences, at.factors, strict=True)):
        k, q = incidence.k, incidence.n_levels
        u = numbers[start : start + k * q].reshape(k, q, c)
        effects.append(at.relate(f, np.einsum("ij,jqc->icq", L, u)))
        start += k * q
    return at.rows.fixed[:, :-1] @ at.beta[:, None] + at.to_rows(effects) + numbers[:n]


def treat(at: Eliminated, K: np.ndarray, known_sigma: float | None, df: float) -> Sets:
    """Estimate from some sets, the columns of K (n, c), at the relative variances of the fit."""
    coefficients, conditional, modes = at.project(K)
    squares = np.maximum((K * conditional).sum(axis=0), 0.0)  # y'Py
    sigma = np.sqrt(squares / df) if known_sigma is None else np.full(K.shape[1], known_sigma)
    back = [np.linalg.inv(T) for T in at.products.effect_roots]
    return Sets(
        conditional=conditional,
        fitted=K - conditional,
        marginal=K - at.rows.fixed[:, :-1] @ coefficients,
        modes=[np.einsum("ij,jcq->icq", B, b) for B, b in zip(back, modes, strict=True)],
        sigma=sigma,
    )


def monte_carlo_p(statistics: np.ndarray) -> float:
    """Share of all sets, the first among them, whose statistic is as large as the first one's."""
    return float((statistics >= statistics[0] - 1e-12 * abs(statistics[0])).mean())
