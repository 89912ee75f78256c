"""All peaks of a posterior that were found, their shares of the probability, and what to say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bayesmm.bayes.exploring.coordinates import Place
from bayesmm.bayes.exploring.mode import Mode, find_mode
from bayesmm.bayes.exploring.surface import Surface
from bayesmm.design.blocks.labels import Labels, ParameterRow
from bayesmm.errors import BayesmmError

BARRIER = 1.5  # log density that must be lost between two peaks for them to count as two: less is crossed easily
MATTERS = 1e-5  # share of the probability below which importance sampling and quadrature leave a mode out
STARTED = 0.01  # share from which on a chain is begun in a mode
ABOUT = 200  # normal draws about a mode that tell what its parameters are, and how wide
DF = 5.0  # of the Student-t densities that say which mode a draw belongs to
ALIKE = 0.4  # of their widths, by which parameters of two modes differ at most that are one
NAMED = 2  # parameters that tell one mode from another in a note


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """The peaks of one posterior, in one place.

    Attributes
    ----------
    found : tuple of Mode
        Most mass first.
    shares : array, shape (modes,)
        Of the probability.
    """

    found: tuple[Mode, ...]
    shares: np.ndarray

    @property
    def place(self) -> Place:
        """Their coordinates."""
        return self.found[0].place

    def above(self, least: float) -> Modes:
        """Leave out modes of a lesser share; the first one stays."""
        kept = [k for k, share in enumerate(self.shares) if k == 0 or share >= least]
        shares = self.shares[kept]
        return Modes(found=tuple(self.found[k] for k in kept), shares=shares / shares.sum())

    def with_shares(self, shares: np.ndarray) -> Modes:
        """Replace the first shares by better ones, and bring the modes into their order."""
        known = len(shares)
        left = self.shares[known:]
        shares = np.concatenate([shares * (1.0 - left.sum()), left])
        order = np.argsort(-shares, kind="stable")
        return Modes(found=tuple(self.found[k] for k in order), shares=shares[order])


class Partition:
    """Smooth shares of the density, one for each mode, that add up to one everywhere.

    Notes
    -----
    The probability of belonging to each component of the mixture of normals that Laplace's method puts at the modes. A
    mode's share of the density then is nearly its own normal component, whatever is beside it.
    """

    def __init__(self, modes: Modes) -> None:
        self._centres = [mode.position for mode in modes.found]
        roots = [np.linalg.cholesky(mode.covariance) for mode in modes.found]
        self._inverses = [np.linalg.inv(root) for root in roots]
        self._constants = np.log(modes.shares) - np.array([np.log(np.diag(root)).sum() for root in roots])

    def log_shares(self, positions: np.ndarray) -> np.ndarray:
        """Log shares (n, modes) at positions (n, d)."""
        if len(self._inverses) == 1:
            return np.zeros((len(positions), 1))
        terms = [
            -0.5 * (((positions - centre) @ inverse.T) ** 2).sum(axis=1)
            for inverse, centre in zip(self._inverses, self._centres, strict=True)
        ]
        logs = np.stack(terms, axis=1) + self._constants
        return logs - np.asarray(logsumexp(logs, axis=1, keepdims=True))


def find_modes(surface: Surface, others: Sequence[Mapping[str, np.ndarray]] = ()) -> Modes:
    """Find the peaks of a posterior from several starts.

    Parameters
    ----------
    surface : Surface
        The posterior.
    others : sequence of dict
        Constrained values to search from, besides the surface's own start.

    Returns
    -------
    Modes
        Those between which the density falls; shares by Laplace's method.

    Raises
    ------
    BayesmmError
        If the density is zero at the surface's own start.

    References
    ----------
    Tierney & Kadane (1986), JASA 81.
    """
    found = [find_mode(surface)]
    for values in others:
        try:
            mode = find_mode(surface.begun_at(values), found).seen_from(found[0].place)
        except BayesmmError:  # no density there
            continue
        if not any(mode.holds(known.position, known.energy) or known.position is mode.position for known in found):
            found.append(mode)
    kept: list[Mode] = []
    for mode in sorted(found, key=lambda mode: -mode.log_mass):
        if all(_are_apart(surface, mode, other) for other in kept):
            kept.append(mode)
    masses = np.array([mode.log_mass for mode in kept])
    return Modes(found=tuple(kept), shares=np.exp(masses - np.asarray(logsumexp(masses))))


def _are_apart(surface: Surface, one: Mode, other: Mode) -> bool:
    """Whether the density falls on the way from one peak to another."""
    t = np.linspace(0.0, 1.0, 2 * surface.coordinates.n_dense + 3)[1:-1, None]  # one probe
    between = surface.probe({"dense": (1.0 - t) * one.position + t * other.position}).energy
    return bool(np.nanmax(np.where(np.isfinite(between), between, np.inf)) > max(one.energy, other.energy) + BARRIER)


def share_chains(shares: np.ndarray, chains: int) -> np.ndarray:
    """Say in which mode each chain begins: in proportion, and one at least in each that has some probability.

    Returns
    -------
    array of int, shape (chains,)
        In the order of the modes.
    """
    wanted = np.flatnonzero(shares >= STARTED)[:chains]
    counts = np.ones(len(wanted), dtype=int)
    while counts.sum() < chains:
        counts[np.argmax(shares[wanted] / (counts + 0.5))] += 1  # Sainte-Laguë
    return np.repeat(wanted, counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Portraits:
    """What the parameters are about each mode.

    Attributes
    ----------
    modes : Modes
        The peaks.
    rows : tuple of ParameterRow
        The parameters.
    values : array, shape (modes, r)
        Medians.
    centres, widths : arrays, shape (modes, r)
        Means and standard deviations on an unbounded scale.
    """

    modes: Modes
    rows: tuple[ParameterRow, ...]
    values: np.ndarray
    centres: np.ndarray
    widths: np.ndarray

    def nearest(self, sites: Mapping[str, np.ndarray]) -> np.ndarray:
        """Tell to which mode each draw belongs, shape of the axes of the draws."""
        x = _unbounded(self.rows, sites)[..., None, :]
        z = (x - self.centres) / self.widths
        kernels = -0.5 * (DF + 1.0) * np.log1p(z**2 / DF) - np.log(self.widths)
        return np.argmax(kernels.sum(axis=-1) + np.log(self.modes.shares + 1e-300), axis=-1)

    def distinct(self) -> Portraits:
        """Count modes in which the parameters are alike as one: images of each other in coordinates of another sign."""
        kept: list[int] = []
        shares = self.modes.shares.copy()
        for k in range(len(shares)):
            z = np.abs(self.centres[k] - self.centres[kept]) / np.hypot(self.widths[k], self.widths[kept])
            ratio = np.abs(np.log(self.widths[k] / self.widths[kept]))
            alike = np.flatnonzero(((z < ALIKE) & (ratio < ALIKE)).all(axis=1))
            if len(alike):
                shares[kept[alike[0]]] += shares[k]
            else:
                kept.append(k)
        return replace(
            self,
            modes=Modes(found=tuple(self.modes.found[k] for k in kept), shares=shares[kept]),
            values=self.values[kept],
            centres=self.centres[kept],
            widths=self.widths[kept],
        )

    def with_shares(self, shares: np.ndarray) -> Portraits:
        """Replace the shares."""
        return replace(self, modes=replace(self.modes, shares=shares))

    def group(self) -> xr.Dataset:
        """Store them: ``share`` (mode), ``value`` (mode, parameter)."""
        variables = {"share": (["mode"], self.modes.shares), "value": (["mode", "parameter"], self.values)}
        coordinates = {"mode": np.arange(len(self.values)), "parameter": [row.name for row in self.rows]}
        return xr.Dataset(variables, coords=coordinates)

    def note(self) -> str:
        """Say how many modes there are, where, and of which share."""
        apart = np.abs(self.centres - self.centres[0]) / np.hypot(self.widths, self.widths[0])
        covariance = np.array([row.kind != "fixed" for row in self.rows])
        chosen = np.sort(np.argsort(-(apart.max(axis=0) + 1e3 * (covariance & (apart.max(axis=0) > 3.0))))[:NAMED])
        places = [
            f"{write_share(share)} of the probability about "
            + ", ".join(f"{self.rows[j].name} {values[j]:.4g}" for j in chosen)
            for share, values in zip(self.modes.shares, self.values, strict=True)
        ]
        return f"The posterior has {len(places)} modes: {'; '.join(places)}."


def portray(surface: Surface, modes: Modes, labels: Labels) -> Portraits:
    """Draw from the normal distribution about each mode what the parameters are there."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((ABOUT, len(modes.found[0].position)))
    positions = [mode.position + noise @ np.linalg.cholesky(mode.covariance).T for mode in modes.found]
    sites = surface.finish(modes.place, {"dense": np.concatenate(positions)})
    rows = tuple(labels.parameter_rows())
    x = _unbounded(rows, sites).reshape(len(modes.found), ABOUT, len(rows))
    plain = np.stack([_values(row, sites) for row in rows], axis=-1).reshape(x.shape)
    return Portraits(
        modes=modes,
        rows=rows,
        values=np.median(plain, axis=1),
        centres=x.mean(axis=1),
        widths=np.maximum(x.std(axis=1), 1e-12),
    )


def _values(row: ParameterRow, sites: Mapping[str, np.ndarray]) -> np.ndarray:
    return sites[row.variable] if row.index is None else sites[row.variable][..., row.index]


def _unbounded(rows: Sequence[ParameterRow], sites: Mapping[str, np.ndarray]) -> np.ndarray:
    """Parameters on scales where they are nearly normal: logarithms of spreads, Fisher's z of correlations."""
    columns = []
    for row in rows:
        values = _values(row, sites)
        if row.kind in ("sd", "sigma"):
            values = np.log(np.maximum(values, np.finfo(float).tiny))
        elif row.kind == "cor":
            values = np.arctanh(np.clip(values, -1.0 + 1e-12, 1.0 - 1e-12))
        columns.append(values)
    return np.stack(columns, axis=-1)


def write_share(share: float) -> str:
    """Write a share of the probability, with no more digits than Laplace's method deserves."""
    if share > 0.999:
        return "over 99.9 %"
    if share < 0.001:
        return "less than 0.1 %"
    return f"{100.0 * share:.{1 if min(share, 1.0 - share) < 0.01 else 0}f} %"
