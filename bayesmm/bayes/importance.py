"""Independent draws by importance resampling from a heavy-tailed approximation, for posteriors of few parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import gammaln, logsumexp

from bayesmm.bayes.mode import Mode, find_mode
from bayesmm.bayes.surface import MANY, Surface

DF = 5.0  # of the Student-t approximations: heavier tails than any posterior met
# Widths of three Student-t distributions of one centre, and their shares: the wide ones cover shoulders (a standard
# deviation that may be near zero). Measured on eleven models: efficiency 0.4 (7 parameters) to 0.94, k̂ below 0.3; with
# the narrow one alone k̂ rose to 1.3.
WIDTHS = np.array([1.0, 1.8, 3.5])
SHARES = np.array([0.75, 0.2, 0.05])
TRIAL = 1024  # proposals of a round of adaptation
ROUNDS = 6  # of adaptation at most
GOOD = 0.6  # share of the proposals that are effective: no further round is needed
BETTER = 1.1  # factor by which a round must raise that share for another one to follow
MOST_PROPOSALS = 64  # for each draw
MOST_REPEATED = 2.0  # times that the heaviest proposal may be drawn: few are, and the draws' worth is reduced by it
TRUSTED = 0.7  # Pareto k̂ above which importance weights are not to be used: Vehtari et al. (2024), JMLR 25
FEWEST_EFFECTIVE = 0.25  # of the draws asked for


class Approximation(NamedTuple):
    """A mixture of multivariate Student-t distributions of one centre and several widths.

    Attributes
    ----------
    mean : array, shape (d,)
        Centre.
    root : array, shape (d, d)
        Lower root of the narrowest one's scale matrix.
    """

    mean: np.ndarray
    root: np.ndarray

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw n positions, shape (n, d), with their log densities."""
        d = len(self.mean)
        width = rng.choice(WIDTHS, size=(n, 1), p=SHARES)
        z = width * rng.standard_normal((n, d)) * np.sqrt(DF / rng.chisquare(DF, size=(n, 1)))
        square = (z**2).sum(axis=1, keepdims=True)
        # over the density of width 1, which alone would underflow in many dimensions; ratios are between 1 and width²
        ratio = (1.0 + square / DF) / (1.0 + square / (DF * WIDTHS**2))
        mixture = np.log(ratio ** ((DF + d) / 2) @ (SHARES / WIDTHS**d)) - (DF + d) / 2 * np.log1p(square[:, 0] / DF)
        constant = gammaln((DF + d) / 2) - gammaln(DF / 2) - d / 2 * np.log(DF * np.pi)
        return self.mean + z @ self.root.T, constant - np.log(np.diag(self.root)).sum() + mixture


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """Positions with importance weights.

    Attributes
    ----------
    positions : array, shape (m, d)
        Proposals.
    energies : array, shape (m,)
        −log posterior density, unnormalised.
    weights : array, shape (m,)
        Pareto-smoothed, of sum 1.
    pareto_k : float
        Shape of the tail of the raw weights: below 0.7 they can be used.
    log_evidence : float
        Log of the mean raw weight: log of the integral of the unnormalised density.
    """

    positions: np.ndarray
    energies: np.ndarray
    weights: np.ndarray
    pareto_k: float
    log_evidence: float

    @property
    def efficiency(self) -> float:
        """Effective share of the proposals (Kish)."""
        return 1.0 / (len(self.weights) * float((self.weights**2).sum()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """Draws of equal weight.

    Attributes
    ----------
    positions : array, shape (n, d)
        In random order.
    energies : array, shape (n,)
        −log posterior density, unnormalised.
    effective : float
        How many independent draws they are worth.
    """

    positions: np.ndarray
    energies: np.ndarray
    effective: float


Propose = Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def sample_importance(surface: Surface, n: int, rng: np.random.Generator) -> tuple[Mode, Weighted, Resampled]:
    """Draw from a posterior by Pareto-smoothed importance resampling.

    Parameters
    ----------
    surface : Surface
        The posterior.
    n : int
        Draws.
    rng : Generator
        Source of randomness.

    Returns
    -------
    mode : Mode
        The highest point.
    weighted : Weighted
        All proposals, and whether their weights can be trusted.
    resampled : Resampled
        n draws.

    Notes
    -----
    The approximation is a mixture of Student-t distributions around the mode with the curvature there, then (adaptive
    importance sampling) with the weighted moments of its own proposals, as long as that makes it better. There are
    as many proposals as it takes for hardly any to be drawn twice.

    References
    ----------
    Geweke (1989), Econometrica 57. Vehtari, Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling,
    JMLR 25.
    """
    mode = find_mode(surface)
    approximation = _adapt(surface, mode, rng)
    weighted = weigh(surface, mode, approximation.draw, enough=n, rng=rng)
    return mode, weighted, resample(weighted, n, rng)


def _adapt(surface: Surface, mode: Mode, rng: np.random.Generator) -> Approximation:
    """Fit the approximation to its own weighted proposals, round by round, at least once."""
    best = Approximation(mode.position, np.linalg.cholesky(mode.covariance))
    trial = _weigh(surface, mode, *best.draw(TRIAL, rng))
    reached = 0.0
    for _ in range(ROUNDS):
        mean = trial.weights @ trial.positions
        deviations = trial.positions - mean
        covariance = deviations.T @ (trial.weights[:, None] * deviations)
        # little is known of the tails from few effective proposals: keep to the curvature then
        share = trial.efficiency * TRIAL / (trial.efficiency * TRIAL + 2.0 * len(mean))
        covariance = share * covariance + (1.0 - share) * mode.covariance
        best = Approximation(mean, np.linalg.cholesky(covariance * (DF - 2.0) / DF))
        if trial.efficiency > GOOD or trial.efficiency < BETTER * reached:
            break
        reached = trial.efficiency
        trial = _weigh(surface, mode, *best.draw(TRIAL, rng))
    return best


def weigh(surface: Surface, mode: Mode, propose: Propose, *, enough: int, rng: np.random.Generator) -> Weighted:
    """Propose until resampling `enough` draws would hardly repeat any.

    Parameters
    ----------
    surface, mode
        The posterior, and its highest point.
    propose : callable
        Takes a number and a generator to positions and their log densities.
    enough : int
        Draws that will be taken.
    rng : Generator
        Source of randomness.
    """
    positions, log_densities = propose(max(2 * enough, MANY), rng)
    energies = surface.energies(mode.place, positions)
    while True:
        weighted = _combine(mode, positions, log_densities, energies)
        repeated = enough * weighted.weights.max()
        if repeated <= MOST_REPEATED or len(positions) >= MOST_PROPOSALS * enough or weighted.pareto_k > TRUSTED:
            return weighted
        more, more_densities = propose(len(positions), rng)
        positions = np.concatenate([positions, more])
        log_densities = np.concatenate([log_densities, more_densities])
        energies = np.concatenate([energies, surface.energies(mode.place, more)])


def _weigh(surface: Surface, mode: Mode, positions: np.ndarray, log_densities: np.ndarray) -> Weighted:
    return _combine(mode, positions, log_densities, surface.energies(mode.place, positions))


def _combine(mode: Mode, positions: np.ndarray, log_densities: np.ndarray, energies: np.ndarray) -> Weighted:
    log_ratios = -(energies - mode.energy) - log_densities
    # ArviZ takes the logarithms of inverse ratios, as the likelihoods of leave-one-out are
    log_weights, pareto_k = array_stats.psislw(np.where(np.isfinite(log_ratios), -log_ratios, 1e300), r_eff=1)
    weights = np.exp(np.asarray(log_weights))
    return Weighted(
        positions=positions,
        energies=energies,
        weights=weights / weights.sum(),
        pareto_k=float(pareto_k),
        log_evidence=float(logsumexp(log_ratios) - np.log(len(positions)) - mode.energy),
    )


def resample(weighted: Weighted, n: int, rng: np.random.Generator) -> Resampled:
    """Draw n of the proposals, each as often as its weight says up to one (systematic resampling), in random order."""
    edges = np.cumsum(weighted.weights)
    chosen = np.searchsorted(edges / edges[-1], (rng.random() + np.arange(n)) / n)
    times = np.bincount(chosen, minlength=len(edges))
    rng.shuffle(chosen)
    effective = min(n**2 / float((times**2).sum()), weighted.efficiency * len(edges))
    return Resampled(positions=weighted.positions[chosen], energies=weighted.energies[chosen], effective=effective)
