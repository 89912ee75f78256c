"""Exponential decay over a coordinate: continuous-time AR(1), the Ornstein–Uhlenbeck process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from bayesmm.covariance.isotropic import SAME_DISTANCE, Isotropic
from bayesmm.covariance.one_correlation import OneCorrelation
from bayesmm.covariance.places import Frame, Neighbours, neighbours_before, read_places
from bayesmm.covariance.structure import Array, Statement, divide


@dataclass(frozen=True)
class ExponentialDecay(OneCorrelation):
    """R_ij = ρ^(|t_i − t_j| / d), 0 ≤ ρ ≤ 1, with d the mean distance of neighbours, (max t − min t)/(k − 1).

    It is exp(−|t_i − t_j| / r) of range r = −d / log ρ, and does not depend on the origin or the unit of t.

    Attributes
    ----------
    coordinates : tuple of float
        t of each effect, in any order, none twice; 0, 1, 2, ... if there are none.
    frame : Frame, optional
        What distances are measured by; of the coordinates themselves by default.

    Notes
    -----
    With c the least distance over d, and φ the angle of `OneCorrelation`,

        ρ^c = sin²φ / (sin²φ + c·cos²φ).

    All correlations are powers of ρ^c of one at least, which is twice differentiable at zero; at the other end −log ρ
    is nearly cos²φ, however near to each other two effects are.
    """

    coordinates: tuple[float, ...] = ()
    frame: Frame | None = None

    pattern = "exponential over a coordinate"
    freedom = "correlated by their distance"
    has_lkj = False

    def bound(self, effects: Sequence[str], term: object) -> OneCorrelation:
        """Read the coordinates off the names of the effects, C(Days)[1.5]; in more dimensions it is `Isotropic`."""
        if len(effects) < 2:
            return self  # refused, as for every structure with one correlation
        places = read_places(effects, term)
        if len(places[0]) > 1:
            return Isotropic(equal=self.equal, nu=0.5, places=places)
        return replace(self, coordinates=tuple(t for (t,) in places))

    def _widened(self, effects: Sequence[str], k: int, term: str) -> ExponentialDecay:
        """Add places, at distances that are measured as before."""
        coordinates = tuple(t for (t,) in read_places(effects, term))
        return replace(self, coordinates=coordinates, frame=self._frame(k))

    def limits(self, k: int) -> tuple[float, float]:
        """Independent effects, and one for all."""
        return 0.0, 1.0

    def unit(self, xp: Any, low: Array, high: Array, k: int) -> Array:
        """Cholesky factor, row by row: an effect depends on those before it through its nearest neighbours alone.

        Between neighbours at distances l and r its mean is that of a bridge, with 1 − ρ^2l = cos²φ·q(l), and so on.
        """
        places, h2 = self._places(k), high**2
        below = low**2 + places.least * h2
        rho, rest = low**2 / below, places.least * h2 / below  # ρ^c and 1 − ρ^c
        is_zero, is_near_one = rho == 0.0, rest.real < 0.5
        log = xp.where(
            is_near_one,
            _log1p(xp, -xp.where(is_near_one, rest, 0.0)),
            xp.log(xp.where(is_near_one | is_zero, 1.0, rho)),
        )
        is_one = h2 == 0.0

        def power(distance: float) -> Array:
            return xp.where(is_zero, 0.0, xp.exp(distance / places.least * log))

        def q(distance: float) -> Array:
            left = xp.where(is_zero, 1.0, -xp.expm1(2.0 * distance / places.least * log))
            return xp.where(is_one, 2.0 * distance, left / xp.where(is_one, 1.0, h2))

        zero = rho * 0.0
        axes = np.eye(k)
        rows = [zero + axes[0]]
        for i, own in enumerate(places.neighbours, start=1):
            if len(own) == 1:
                ((j, distance),) = own
                mean, scale = power(distance) * rows[j], xp.sqrt(q(distance))
            else:
                (j, one), (m, other) = own
                both = q(one + other)
                mean = (power(one) * q(other) * rows[j] + power(other) * q(one) * rows[m]) / both
                scale = xp.sqrt(q(one) * q(other) / both)
            rows.append(mean + high * scale * axes[i])
        return xp.stack(rows)

    def unit_factor(self, xp: Any, share: Array, k: int) -> Array:
        """Cholesky factor, at ρ."""
        (share,) = share
        return self.unit(xp, *self._sides(xp, share, k), k)

    def mean_correlation(self, xp: Any, covariance: Array, sd: Array) -> Array:
        """Mean over effects at the mean distance, or else a root of that at the next one: first nearer, then further.

        Powers below one would not be smooth at zero; where no correlation is positive it is what it is.
        """
        k = covariance.shape[-1]
        distances = self._places(k).distances
        apart = np.round(distances, SAME_DISTANCE)
        steps = np.unique(apart[np.tril_indices(k, -1)])
        rho = covariance[..., 0, 0] * np.nan
        for step in (*steps[steps <= 1.0][::-1], *steps[steps > 1.0]):
            i, j = np.nonzero(np.triu(apart == step, 1))
            power = divide(xp, covariance[..., i, j].sum(axis=-1), (sd[..., i] * sd[..., j]).sum(axis=-1))
            is_next = xp.isnan(rho) & ~xp.isnan(power)
            is_root = is_next & (power.real > 0.0) & (step != 1.0)
            root = xp.where(is_root, power, 1.0) ** (1.0 / distances[i[0], j[0]])
            rho = xp.where(is_root, root, xp.where(is_next, power, rho))
        return rho

    def own_priors(self, k: int) -> tuple[tuple[Statement, ...], ...]:
        """Of the correlation, or of the range."""
        return (("correlation", "range"),)

    def at_range(self, xp: Any, r: Array, k: int, which: int = 0) -> Array:
        """exp(−d/r)."""
        return xp.exp(-self._unit(k) / r)

    def range_of(self, xp: Any, cor: Array, k: int, which: int = 0) -> Array:
        """−d/log ρ; none of independent effects, and no end of one."""
        return xp.where(cor >= 1.0, np.inf, -self._unit(k) / xp.log(xp.where((cor > 0.0) & (cor < 1.0), cor, 1e-300)))

    def lkj_shapes(self, concentration: float, k: int) -> tuple[float, float]:
        """Flat; another power of det R is no beta density."""
        if concentration != 1.0:
            raise NotImplementedError(f"no beta density of concentration {concentration}")
        return 1.0, 1.0

    def power(self, i: int, j: int) -> float:
        """Their distance, in mean distances of neighbours."""
        k = len(self.coordinates) or max(i, j) + 1
        return float(self._places(k).distances[i, j])

    def correlation(self, xp: Any, cor: Array, k: int) -> Array:
        """R; of differences that reach beyond zero, that at zero."""
        return xp.where(cor.real < 0.0, 0.0, cor)[..., None] ** self._places(k).distances

    def _angle(self, rho: float, k: int) -> float:
        low, high = self._sides(np, np.clip(rho, 0.0, 1.0), k)
        return float(np.arctan2(low, high))

    def _sides(self, xp: Any, rho: Array, k: int) -> tuple[Array, Array]:
        """Sin φ and cos φ of a correlation."""
        least = self._places(k).least
        p, is_near_one = rho**least, rho > 0.5
        rest = xp.where(is_near_one, -xp.expm1(least * xp.log(xp.where(is_near_one, rho, 1.0))), 1.0 - p)
        below = rest + least * p
        return xp.sqrt(least * p / below), xp.sqrt(rest / below)

    def _places(self, k: int) -> Places:
        return _places(self.coordinates or tuple(map(float, range(k))), self.frame)

    def _frame(self, k: int) -> Frame:
        return self.frame or Frame(self._unit(k), self._places(k).least)

    def _unit(self, k: int) -> float:
        """Mean distance of neighbours, which distances are over, in the unit of the coordinates."""
        return self.frame.unit if self.frame else float(np.ptp(self.coordinates or range(k))) / (k - 1)


class Places(NamedTuple):
    """Where the effects are, in mean distances of neighbours.

    Attributes
    ----------
    distances : array, shape (k, k)
    least : float
        The least of them.
    neighbours : tuple
        As `neighbours_before` finds them.
    """

    distances: np.ndarray
    least: float
    neighbours: Neighbours


@lru_cache(maxsize=256)
def _places(coordinates: tuple[float, ...], frame: Frame | None) -> Places:
    t = np.array(coordinates)
    t = (t - t.min()) * ((len(t) - 1) / np.ptp(t) if frame is None else 1.0 / frame.unit)
    distances = np.abs(t[:, None] - t)
    least = distances[np.tril_indices(len(t), -1)].min() if frame is None else frame.least
    return Places(distances, float(least), neighbours_before(t))


def _log1p(xp: Any, z: Array) -> Array:
    """Log(1 + z), to the last digit for complex z too, where NumPy's adds the one first."""
    if not xp.iscomplexobj(z):
        return xp.log1p(z)
    x, y = z.real, z.imag
    return 0.5 * xp.log1p(x * (2.0 + x) + y * y) + 1j * xp.arctan2(y, 1.0 + x)
