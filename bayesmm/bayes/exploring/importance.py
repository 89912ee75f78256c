"""Independent draws by importance resampling from a heavy-tailed approximation, for posteriors of few parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import gammaln, logsumexp

from bayesmm.bayes.exploring.mode import Mode
from bayesmm.bayes.exploring.modes import Modes, Partition
from bayesmm.bayes.exploring.surface import MANY, Surface

DF = 5.0  # of the Student-t approximations: heavier tails than any posterior met
# Widths of three Student-t distributions of one centre, and their shares: the wide ones cover shoulders (a standard
# deviation that may be near zero). Measured on eleven models: efficiency 0.4 (7 parameters) to 0.94, k̂ below 0.3; with
# the narrow one alone k̂ rose to 1.3.
WIDTHS = np.array([1.0, 1.8, 3.5])
SHARES = np.array([0.75, 0.2, 0.05])
LEAST_PROPOSED = 0.1  # of the proposals go to each mode at least, before shares are made to add up to one
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
        width = rng.choice(WIDTHS, size=(n, 1), p=SHARES)
        z = width * rng.standard_normal((n, len(self.mean))) * np.sqrt(DF / rng.chisquare(DF, size=(n, 1)))
        return self.mean + z @ self.root.T, self._log_density(z)

    def log_density(self, positions: np.ndarray) -> np.ndarray:
        """Log density at positions (n, d)."""
        return self._log_density((positions - self.mean) @ np.linalg.inv(self.root).T)

    def _log_density(self, z: np.ndarray) -> np.ndarray:
        d = len(self.mean)
        square = (z**2).sum(axis=1, keepdims=True)
        # over the density of width 1, which alone would underflow in many dimensions; ratios are between 1 and width²
        ratio = (1.0 + square / DF) / (1.0 + square / (DF * WIDTHS**2))
        mixture = np.log(ratio ** ((DF + d) / 2) @ (SHARES / WIDTHS**d)) - (DF + d) / 2 * np.log1p(square[:, 0] / DF)
        constant = gammaln((DF + d) / 2) - gammaln(DF / 2) - d / 2 * np.log(DF * np.pi)
        return constant - np.log(np.diag(self.root)).sum() + mixture


class Mixture(NamedTuple):
    """Approximations of several modes.

    Attributes
    ----------
    parts : tuple of Approximation
        One for each.
    shares : array, shape (modes,)
        Of the proposals.
    """

    parts: tuple[Approximation, ...]
    shares: np.ndarray

    @classmethod
    def about(cls, modes: Modes) -> Mixture:
        """Begin with the curvature at the modes."""
        parts = tuple(Approximation(mode.position, np.linalg.cholesky(mode.covariance)) for mode in modes.found)
        return cls(parts, modes.shares)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw n positions, shape (n, d), with their log densities."""
        if len(self.parts) == 1:
            return self.parts[0].draw(n, rng)
        counts = rng.multinomial(n, self.proposed)
        drawn = [part.draw(count, rng)[0] for part, count in zip(self.parts, counts, strict=True)]
        positions = rng.permutation(np.concatenate(drawn))
        return positions, np.asarray(logsumexp(self._log_terms(positions), axis=1))

    @property
    def proposed(self) -> np.ndarray:
        """Shares of the proposals: none so small that the mass of its mode could not be found out."""
        shares = np.maximum(self.shares, LEAST_PROPOSED)
        return shares / shares.sum()

    def belonging(self, positions: np.ndarray) -> np.ndarray:
        """Probabilities (n, modes) that positions were proposed by each part."""
        if len(self.parts) == 1:
            return np.ones((len(positions), 1))
        terms = self._log_terms(positions)
        return np.exp(terms - logsumexp(terms, axis=1, keepdims=True))

    def _log_terms(self, positions: np.ndarray) -> np.ndarray:
        return np.stack([part.log_density(positions) for part in self.parts], axis=1) + np.log(self.proposed)


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
    log_evidence_error : float
        Its standard error, by the delta method.
    """

    positions: np.ndarray
    energies: np.ndarray
    weights: np.ndarray
    pareto_k: float
    log_evidence: float
    log_evidence_error: float

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


def sample_importance(
    surface: Surface, modes: Modes, n: int, rng: np.random.Generator
) -> tuple[Weighted, Resampled, np.ndarray]:
    """Draw from a posterior by Pareto-smoothed importance resampling.

    Parameters
    ----------
    surface : Surface
        The posterior.
    modes : Modes
        Its peaks.
    n : int
        Draws.
    rng : Generator
        Source of randomness.

    Returns
    -------
    weighted : Weighted
        All proposals, and whether their weights can be trusted.
    resampled : Resampled
        n draws.
    shares : array, shape (modes,)
        Of the probability, about each mode.

    Notes
    -----
    The approximation is a mixture of Student-t distributions around each mode with the curvature there, then (adaptive
    importance sampling) with the weighted moments of the proposals that belong to it, as long as that makes it better.
    There are as many proposals as it takes for hardly any to be drawn twice.

    References
    ----------
    Geweke (1989), Econometrica 57. Cappé, Douc, Guillin, Marin & Robert (2008), Statistics and Computing 18. Vehtari,
    Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling, JMLR 25.
    """
    approximation = _adapt(surface, modes, rng)
    weighted = weigh(surface, modes.found[0], approximation.draw, enough=n, rng=rng)
    shares = weighted.weights @ np.exp(Partition(modes).log_shares(weighted.positions))
    return weighted, resample(weighted, n, rng), shares


def _adapt(surface: Surface, modes: Modes, rng: np.random.Generator) -> Mixture:
    """Fit the approximation to its own weighted proposals, round by round, at least once."""
    best, reached = Mixture.about(modes), 0.0
    trial = _weigh(surface, modes.found[0], *best.draw(TRIAL, rng))
    for _ in range(ROUNDS):
        belonging = trial.weights[:, None] * best.belonging(trial.positions)
        parts = [_fit(trial.positions, weights, mode) for weights, mode in zip(belonging.T, modes.found, strict=True)]
        best = Mixture(tuple(parts), belonging.sum(axis=0))
        if trial.efficiency > GOOD or trial.efficiency < BETTER * reached:
            break
        reached = trial.efficiency
        trial = _weigh(surface, modes.found[0], *best.draw(TRIAL, rng))
    return best


def _fit(positions: np.ndarray, weights: np.ndarray, mode: Mode) -> Approximation:
    """Take the weighted moments, and the curvature at the mode as far as little is known of the tails."""
    total = weights.sum()
    effective = total**2 / max(float((weights**2).sum()), np.finfo(float).tiny)
    share = effective / (effective + 2.0 * positions.shape[1])
    weights = weights / max(total, np.finfo(float).tiny)
    mean = weights @ positions if total > 0.0 else mode.position
    deviations = positions - mean
    covariance = deviations.T @ (weights[:, None] * deviations)
    covariance = share * covariance + (1.0 - share) * mode.covariance
    return Approximation(mean, np.linalg.cholesky(covariance * (DF - 2.0) / DF))


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
    raw = np.exp(log_ratios - log_ratios.max())
    return Weighted(
        positions=positions,
        energies=energies,
        weights=weights / weights.sum(),
        pareto_k=float(pareto_k),
        log_evidence=float(logsumexp(log_ratios) - np.log(len(positions)) - mode.energy),
        log_evidence_error=float(raw.std() / (raw.mean() * np.sqrt(len(raw)))),
    )


def resample(weighted: Weighted, n: int, rng: np.random.Generator) -> Resampled:
    """Draw n of the proposals, each as often as its weight says up to one (systematic resampling), in random order."""
    edges = np.cumsum(weighted.weights)
    chosen = np.searchsorted(edges / edges[-1], (rng.random() + np.arange(n)) / n)
    times = np.bincount(chosen, minlength=len(edges))
    rng.shuffle(chosen)
    effective = min(n**2 / float((times**2).sum()), weighted.efficiency * len(edges))
    return Resampled(positions=weighted.positions[chosen], energies=weighted.energies[chosen], effective=effective)
