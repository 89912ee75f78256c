"""Correlations that are functions of Euclidean distance, in any number of dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from bayesmm.covariance.kernels import CURVES, Curve, Kernel
from bayesmm.covariance.one_correlation import OneCorrelation
from bayesmm.covariance.places import Frame, Place, between, frame_of, read_places
from bayesmm.covariance.scaled_correlation import RIGHT_ANGLE
from bayesmm.covariance.structure import Array, Statement, divide
from bayesmm.errors import DesignError

SAME_DISTANCE = 9  # decimals of a distance, in mean distances of neighbours, to which two are one
ON_EDGE = 1e-9  # of an angle or a distance: so near an edge of the correlations, they are on it
RANGES = 10  # at which other maxima are looked for: the likelihood of a kernel that ends bends at every distance
OWN_PART = 1e-12  # of each effect's variance, times k, that it shares with no other, so that R has a Cholesky factor


@dataclass(frozen=True)
class Isotropic(OneCorrelation):
    """R_ij = f(a·h_ij), f a `Kernel`, h distances over the mean distance of neighbours, and ρ = f(a) at that distance.

    Attributes
    ----------
    nu : float
        Smoothness ν of the kernel: ½ is exponential, ∞ Gaussian.
    curve : str
        Another kernel, of `CURVES`.
    places : tuple of tuple of float
        Coordinates of each effect, in any order; 0, 1, 2, ... if there are none.
    frame : Frame, optional
        What distances are measured by; of the places themselves by default.

    Notes
    -----
    a follows from the angle as the kernel says, so that Σ is twice differentiable at both ends. Distances of one that
    ends are over the least of them, since a range of less could not be told. Between smooth functions f and Cholesky's
    factor stands rounding: matrices of many places within a range are singular to all digits. Off-diagonal entries
    are therefore multiplied by 1 − 10⁻¹²k.
    """

    nu: float = 1.5
    curve: str = ""
    places: tuple[Place, ...] = ()
    frame: Frame | None = None

    freedom = "correlated by their distance"
    has_lkj = False

    @property
    def has_inverse(self) -> bool:  # type: ignore[override]
        """Only without smoothness."""
        return self.kernel.rise > 0.0

    @property
    def pattern(self) -> str:  # type: ignore[override]
        """Name of the function."""
        return f"{self.kernel.words} over distances"

    @property
    def kernel(self) -> Curve:
        """The function of distance, f."""
        return CURVES[self.curve] if self.curve else _kernel(self.nu)

    def bound(self, effects: Sequence[str], term: object) -> Isotropic:
        """Read the coordinates off the names of the effects, at(x, y)[1.5, 0]."""
        if len(effects) < 2:
            return self  # refused, as for every structure with one correlation
        places = read_places(effects, term)
        if self.kernel.ends and len(places[0]) > self.kernel.dimensions:
            raise DesignError(
                f"{term} has places of {len(places[0])} coordinates, and {self.kernel.words} correlations are a "
                f"covariance in up to {self.kernel.dimensions}: take exp(), mat() or gau()."
            )
        return replace(self, places=places)

    def _widened(self, effects: Sequence[str], k: int, term: str) -> Isotropic:
        """Add places, at distances that are measured as before."""
        return replace(self, places=read_places(effects, term), frame=self._distances(k)[1])

    def generic(self, k: int) -> np.ndarray:
        """θ at a correlation of neighbours of one half, where others are not yet nothing."""
        return np.append(super().generic(k)[:-1], self._angle(0.5, k))

    def elsewhere(self, theta: np.ndarray, k: int) -> list[np.ndarray]:
        """At correlations all over their range; of a kernel that ends, at ranges from next to nothing to over all."""
        if not self.kernel.ends:
            return super().elsewhere(theta, k)
        h, frame = self._distances(k)
        ranges = np.geomspace(1.2, max(2.0, 2.0 * float(h.max())), RANGES)
        return [np.append(theta[:-1], self.kernel.angle(1.0 / each, frame.least)) for each in ranges]

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Also where the range is a distance that occurs, and correlations have an edge there."""
        held, edge = super().held(theta, k), self._edge(theta, k)
        held[-1] |= edge is not None and abs(theta[-1] - edge) < ON_EDGE
        return held

    def to_edges(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Take the distance that is nearest to the range for it, where correlations have an edge."""
        edge = self._edge(theta, k)
        return theta if edge is None else np.append(theta[:-1], edge)

    def _edge(self, theta: np.ndarray, k: int) -> float | None:
        """Angle at which the range is the distance nearest to it, but not the least, which is an end."""
        angle = abs((theta[-1] + RIGHT_ANGLE) % np.pi - RIGHT_ANGLE)
        if not self.kernel.edge or angle in (0.0, RIGHT_ANGLE):
            return None
        h, frame = self._distances(k)
        a, _, _ = self.kernel.scale(np, np.sin(angle), np.cos(angle), frame.least)
        distances = np.unique(h[h > frame.least * (1.0 + ON_EDGE)])
        if not len(distances):
            return None
        return self.kernel.angle(float(1.0 / distances[np.abs(distances - 1.0 / a).argmin()]), frame.least)

    def limits(self, k: int) -> tuple[float, float]:
        """Independent effects, and one for all."""
        return 0.0, 1.0

    def unit_factor(self, xp: Any, share: Array, k: int) -> Array:
        """Cholesky factor, at ρ."""
        return self._cholesky(xp, self.correlation(xp, share, k))

    def unit_derivatives(self, xp: Any, angle: Array, k: int) -> tuple[Array, Array, Array]:
        """C, C' and C'', from those of R = CC': C' = CΦ with Φ the half of C⁻¹R'C⁻ᵀ, C'' the same of R'' − 2C'C'ᵀ."""
        h, frame = self._distances(k)
        sin, cos = xp.sin(angle), xp.sin(np.pi / 2 - angle)  # exactly zero at a right angle
        is_zero = (sin == 0.0) & (not self.kernel.ends)  # where a is infinite
        found = self.kernel.scale(xp, xp.where(is_zero, 1.0, sin), cos, frame.least)
        a, once, twice = (xp.where(is_zero, end, each) for end, each in zip((np.inf, 0.0, 0.0), found, strict=True))
        f, f1, f2 = self.kernel.slopes(xp, xp.where(h == 0.0, 0.0, a * xp.where(h == 0.0, 1.0, h)))
        moved = xp.where(is_zero, 0.0, f1 * h * once)
        bent = xp.where(is_zero, 0.0, f2 * (h * once) ** 2 + f1 * h * twice)
        is_one = cos == 0.0
        C = self._cholesky(xp, xp.where(is_one, np.eye(k), f))
        if self.kernel.rise > 0.0:  # smooth across a right angle, where columns are as cos φ
            C = C * xp.where((np.arange(k) > 0) & (cos < 0.0), -1.0, 1.0)
        part = 1.0 - OWN_PART * k
        inside = xp.linalg.solve(C, xp.linalg.solve(C, part * xp.stack([moved, bent])).swapaxes(1, 2))
        phi = _lower_half(xp, inside[0])
        psi = _lower_half(xp, inside[1] - 2.0 * phi @ phi.T)
        at_one = self._at_one(k)
        value, first, second = (xp.where(is_one, a, b) for a, b in zip(at_one, (C, C @ phi, C @ psi), strict=True))
        return value, first, second

    def _at_one(self, k: int) -> np.ndarray:
        """C, C' and C'' where all effects are one; without smoothness 1 − R_ij is as large as cos²φ."""
        found = np.zeros((3, k, k))
        found[0, :, 0] = 1.0
        if self.kernel.rise > 0.0 and k > 1:
            h, frame = self._distances(k)
            h = self.kernel.rise * h / (frame.least if self.kernel.ends else 1.0)
            found[1, 1:, 1:] = -np.linalg.cholesky(h[1:, :1] + h[:1, 1:] - h[1:, 1:])
            found[2, :, 0] = -2.0 * h[:, 0]
        return found

    def mean_correlation(self, xp: Any, covariance: Array, sd: Array) -> Array:
        """ρ of the mean correlation at a distance: the next one below the mean distance of neighbours, or above it."""
        h, _ = self._distances(covariance.shape[-1])
        apart = np.round(h, SAME_DISTANCE)
        steps = np.unique(apart[np.tril_indices(len(h), -1)])
        rho = covariance[..., 0, 0] * np.nan
        for step in (*steps[steps <= 1.0][::-1], *steps[steps > 1.0]):
            i, j = np.nonzero(np.triu(apart == step, 1))
            found = divide(xp, covariance[..., i, j].sum(axis=-1), (sd[..., i] * sd[..., j]).sum(axis=-1))
            is_next = xp.isnan(rho) & ~xp.isnan(found)
            inside = is_next & (found.real > 0.0) & (step != 1.0)
            s = self.kernel.distance(xp, xp.where(inside, found, 0.5)) / h[i[0], j[0]]
            rho = xp.where(inside, self.kernel.value(xp, s), xp.where(is_next, found, rho))
            if self.equal or xp is not np or not np.isnan(rho).any():  # other distances are for variances of zero
                break
        return rho

    def own_priors(self, k: int) -> tuple[tuple[Statement, ...], ...]:
        """Of the correlation, or of the range."""
        return (("correlation", "range"),)

    def at_range(self, xp: Any, r: Array, k: int, which: int = 0) -> Array:
        """f(d/r), d what distances are over."""
        return self.kernel.value(xp, self._distances(k)[1].unit / r)

    def range_of(self, xp: Any, cor: Array, k: int, which: int = 0) -> Array:
        """D over the distance of that correlation, in ranges."""
        return self._distances(k)[1].unit / self.kernel.distance(xp, cor)

    def lkj_shapes(self, concentration: float, k: int) -> tuple[float, float]:
        """Flat; another power of det R is no beta density."""
        if concentration != 1.0:
            raise NotImplementedError(f"no beta density of concentration {concentration}")
        return 1.0, 1.0

    def correlation(self, xp: Any, cor: Array, k: int) -> Array:
        """R; of differences that reach beyond zero that at zero, beyond one its mirror image."""
        is_beyond = cor.real > 1.0
        s = self.kernel.distance(xp, xp.where(is_beyond, 2.0 - cor, cor))[..., None]
        R = self.kernel.value(xp, s * self._distances(k)[0])
        return xp.where(is_beyond[..., None], 2.0 - R, R)

    def symbol(self, i: int, j: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Write a power of the correlation times standard deviations, or its name at a distance where it is none."""
        h = float(self._distances(len(effects))[0][i, j])
        covariance = (
            f"σ²({expression} | {group})" if self.equal else f"σ({effects[i]} | {group})·σ({effects[j]} | {group})"
        )
        return f"{self.kernel.symbol(h, f'ρ({expression} | {group})')}·{covariance}"

    # -- inside -------------------------------------------------------------------------------------------------------

    def _angle(self, rho: float, k: int) -> float:
        if rho <= 0.0:
            return 0.0
        a = float(self.kernel.distance(np, np.array(float(rho))))
        return self.kernel.angle(a, self._distances(k)[1].least)

    def _unit_at(self, xp: Any, angle: Array, k: int) -> Array:
        """C at an angle, which may have a small imaginary part: a step of a derivative."""
        if xp.iscomplexobj(angle):
            C, slope, _ = self.unit_derivatives(xp, angle.real, k)
            return C + 1j * angle.imag * slope
        return self.unit_derivatives(xp, angle, k)[0]

    def _cholesky(self, xp: Any, R: Array) -> Array:
        k = R.shape[-1]
        return xp.linalg.cholesky(xp.where(np.eye(k) == 1.0, 1.0, (1.0 - OWN_PART * k) * R))

    def _distances(self, k: int) -> tuple[np.ndarray, Frame]:
        return _distances(self.places or tuple((float(i),) for i in range(k)), self.frame, self.kernel.ends)


@lru_cache(maxsize=64)
def _kernel(nu: float) -> Curve:
    return Kernel(nu)


@lru_cache(maxsize=256)
def _distances(places: tuple[Place, ...], frame: Frame | None, ends: bool) -> tuple[np.ndarray, Frame]:
    """Distances (k, k) over the mean distance of neighbours, of a kernel that ends over the least one; the frame."""
    if frame is None:
        frame = frame_of(places)
        frame = Frame(frame.unit * frame.least, 1.0) if ends and frame.least > 0.0 else frame
    return between(places) / frame.unit, frame


def _lower_half(xp: Any, M: Array) -> Array:
    """Φ: the lower triangle, with half of the diagonal."""
    return xp.tril(M) - 0.5 * M * np.eye(M.shape[-1])
