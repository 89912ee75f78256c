"""Correlations as functions of distance: Matérn's family, whose ends are the exponential and the Gaussian; others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import factorial, gamma, inf
from typing import Any

import numpy as np

from bayesmm.covariance.structure import Array

FAR = 1e60  # distances, in ranges, beyond which squares are no numbers
FARTHEST = 700.0  # distances, in ranges, beyond which a correlation is zero
POWER = 2.0  # of sin²φ in a correlation that is nearly zero
BEYOND = 1e300  # the distance of no correlation
NEWTON = 30  # steps at most; some six are taken from the start that is chosen
NODES = 160  # of the trapezoidal rule for Bessel functions, whose error is that of rounding from some hundred on
ROUNDING = 1e-12  # of a distance of one range
AT_ONE_PLACE = 1e-10  # distances, in ranges, below which a Bessel function is not needed to say one


class Curve:
    """f(s), the correlation of two places s ranges apart, which falls from one to zero.

    Attributes
    ----------
    words : str
        What it is called.
    rise : float
        −f'(0).
    ends : bool
        Whether it is zero from s = 1 on.
    dimensions : int
        In how many at most it is a correlation, where it ends.
    edge : bool
        Whether it has two slopes at s = 1, so that a likelihood may have its maximum on an edge.
    """

    words: str
    rise: float = 0.0
    ends: bool = False
    dimensions: int = 3
    edge: bool = False

    def value(self, xp: Any, s: Array) -> Array:
        """f(s); analytic, s may be complex in NumPy."""
        raise NotImplementedError

    def slopes(self, xp: Any, s: Array) -> tuple[Array, Array, Array]:
        """f, f' and f''."""
        raise NotImplementedError

    def distance(self, xp: Any, rho: Array) -> Array:
        """Distance s of a correlation f(s) = ρ between 0 and 1; 0 above, and all there are at ρ = 0."""
        raise NotImplementedError

    def scale(self, xp: Any, sin: Array, cos: Array, least: float) -> tuple[Array, Array, Array]:
        """Give a, a' and a'' at an angle, of its sine, not zero, and cosine: what distances are multiplied by.

        f(ah) is to be twice differentiable, as is its Cholesky factor, at both ends: where a is zero, at a right angle,
        and where f(a·least) vanishes, at zero.
        """
        raise NotImplementedError

    def angle(self, a: float, least: float) -> float:
        """Angle of a."""
        raise NotImplementedError

    def symbol(self, h: float, rho: str) -> str:
        """Write the correlation at a distance h, of that at one."""
        raise NotImplementedError


@dataclass(frozen=True)
class Kernel(Curve):
    """Matérn's family.

    With smoothness ν it is Matérn's 2^(1−ν)/Γ(ν) s^ν K_ν(s); ν = ½ is exp(−s), ν = ∞ stands for exp(−s²). Half-integer
    ν give a polynomial times exp(−s), others K_ν(s) = ∫ exp(−s cosh t) cosh νt dt by the trapezoidal rule.

    Attributes
    ----------
    nu : float
        ν, ½ at least.
    """

    nu: float

    @property
    def rise(self) -> float:  # type: ignore[override]
        """Only of the exponential 1 − f is as large as the distance."""
        return 1.0 if self.nu == 0.5 else 0.0

    @property
    def words(self) -> str:  # type: ignore[override]
        """What it is called."""
        return {0.5: "exponential", inf: "Gaussian"}.get(self.nu, f"Matérn of smoothness {self.nu:g}")

    def scale(self, xp: Any, sin: Array, cos: Array, least: float) -> tuple[Array, Array, Array]:
        """Take a = log(1 + κcot²φ)/κ, κ = c/2: correlations of neighbours c apart fall as sin⁴φ and faster."""
        kappa = least / POWER
        below = sin * (sin**2 + kappa * cos**2)
        slope = cos * (sin**2 + kappa * cos**2) + 2.0 * sin**2 * cos * (1.0 - kappa)
        a = xp.log1p(kappa * (cos / sin) ** 2) / kappa
        return a, -2.0 * cos / below, (2.0 * sin * below + 2.0 * cos * slope) / below**2

    def angle(self, a: float, least: float) -> float:
        """Angle of a."""
        kappa = least / POWER
        with np.errstate(over="ignore"):
            return float(np.arctan2(1.0, np.sqrt(np.expm1(kappa * a) / kappa)))

    def symbol(self, h: float, rho: str) -> str:
        """Write a power, or the name of the function."""
        if self.nu not in (0.5, inf):
            return f"mat({h:.6g}; {rho})"
        power = f"{h if self.nu == 0.5 else h**2:.6g}"
        return f"{rho}{f'^{power}' if power != '1' else ''}"

    @cached_property
    def polynomial(self) -> tuple[np.ndarray, ...] | None:
        """Coefficients of exp(s) times f, f' and f'', from the highest power on; None where there are none."""
        p = self.nu - 0.5
        if not p.is_integer() or p > 50:
            return None
        p = int(p)
        terms = [factorial(p + i) / (factorial(i) * factorial(p - i)) * 2.0 ** (p - i) for i in range(p + 1)]
        found = [np.poly1d(np.array(terms) * factorial(p) / factorial(2 * p))]  # of s^(p − i)
        for _ in range(2):
            found.append(found[-1].deriv() - found[-1])
        return tuple(each.coeffs for each in found)

    def value(self, xp: Any, s: Array) -> Array:
        """f(s); analytic, s may be complex in NumPy."""
        s = xp.where(s.real > FARTHEST, FARTHEST, s)
        return xp.exp(-(s**2)) if self.nu == inf else xp.exp(-s) * self._grown(xp, s)[0]

    def slopes(self, xp: Any, s: Array) -> tuple[Array, Array, Array]:
        """f, f' and f''."""
        s = xp.where(s > FARTHEST, FARTHEST, s)
        if self.nu == inf:
            f = xp.exp(-(s**2))
            return f, -2.0 * s * f, (4.0 * s**2 - 2.0) * f
        f, first, second = (xp.exp(-s) * each for each in self._grown(xp, s))
        return f, first, second

    def distance(self, xp: Any, rho: Array) -> Array:
        """Distance s of a correlation f(s) = ρ between 0 and 1; 0 above, and all there are at ρ = 0."""
        is_inside = (rho.real > 0.0) & (rho.real < 1.0)
        y = -xp.log(xp.where(is_inside, rho, 0.5))
        if self.nu == inf:
            s = xp.sqrt(y)
        elif self.nu == 0.5:
            s = y
        else:
            s = y + xp.sqrt(4.0 * max(self.nu - 1.0, 0.0) * y)
            for _ in range(NEWTON if xp is np else 12):
                g, slope, _ = self._grown(xp, s)
                step = (s - xp.log(g) - y) / (-slope / g)  # of s − log g = −log f
                s = s - step
                if xp is np and (np.abs(step) <= 1e-15 * np.abs(s)).all():
                    break
        return xp.where(is_inside, s, xp.where(rho.real <= 0.0, BEYOND, 0.0 * y))

    def _grown(self, xp: Any, s: Array) -> tuple[Array, ...]:
        """exp(s) times f, f' and f''."""
        if self.polynomial is not None:
            return tuple(_horner(s, coefficients) for coefficients in self.polynomial)
        nu = self.nu
        is_one, near = s.real < AT_ONE_PLACE, s
        s = xp.where(is_one, 1.0, s)
        end = xp.log(2.0 * (1.0 + FARTHEST / s.real))
        t = end[..., None] * np.linspace(0.0, 1.0, NODES + 1)
        weights = np.where(np.arange(NODES + 1) == 0, 0.5, 1.0) / NODES
        falling = weights * xp.exp(-s[..., None] * (xp.cosh(t) - 1.0))
        here, before, last = ((falling * xp.cosh(order * t)).sum(axis=-1) * end for order in (nu, nu - 1.0, nu - 2.0))
        c = 2.0 ** (1.0 - nu) / gamma(nu)
        power = c * s ** (nu - 1.0)
        found = (power * s * here, -power * s * before, power * (s * last - before))
        at_zero = (1.0 + near, 0.0, -0.5 / (nu - 1.0) if nu > 1.0 else 0.0)
        return tuple(xp.where(is_one, here, own) for own, here in zip(found, at_zero, strict=True))


def _horner(s: Array, coefficients: np.ndarray) -> Array:
    total = 0.0 * s + coefficients[0]
    for each in coefficients[1:]:
        total = total * s + each
    return total


class Spherical(Curve):
    """1 − 3s/2 + s³/2 up to s = 1, zero from there on: the volume that two spheres share, s diameters apart.

    A correlation in up to three dimensions (Cressie 1993, Statistics for Spatial Data, section 2.3).
    """

    rise = 1.5
    ends = True
    words = "spherical"

    def value(self, xp: Any, s: Array) -> Array:
        """f(s)."""
        s = xp.where(s.real < 1.0, s, 1.0)
        return 1.0 - 1.5 * s + 0.5 * s**3

    def slopes(self, xp: Any, s: Array) -> tuple[Array, Array, Array]:
        """f, f' and f'', which is zero from s = 1 on."""
        inside = s < 1.0
        s = xp.where(inside, s, 1.0)
        return 1.0 - 1.5 * s + 0.5 * s**3, 1.5 * (s**2 - 1.0), xp.where(inside, 3.0 * s, 0.0)

    def distance(self, xp: Any, rho: Array) -> Array:
        """2 sin(arcsin(1 − ρ)/3), since 3 sin x − 4 sin³x = sin 3x."""
        is_inside = (rho.real > 0.0) & (rho.real < 1.0)
        s = 2.0 * xp.sin(xp.arcsin(1.0 - xp.where(is_inside, rho, 0.5)) / 3.0)
        return xp.where(is_inside, s, xp.where(rho.real <= 0.0, 1.0, 0.0))

    def scale(self, xp: Any, sin: Array, cos: Array, least: float) -> tuple[Array, Array, Array]:
        """Take a = cos²φ/c: from one range on, at the least distance c, all are independent."""
        return cos**2 / least, -2.0 * sin * cos / least, -2.0 * (cos**2 - sin**2) / least

    def angle(self, a: float, least: float) -> float:
        """Angle of a."""
        return float(np.arccos(np.sqrt(np.clip(a * least, 0.0, 1.0))))

    def symbol(self, h: float, rho: str) -> str:
        """Name the function."""
        return f"sph({h:.6g}; {rho})"


class Linear(Curve):
    """1 − s up to s = 1, zero from there on: the length that two intervals share. A correlation on a line alone."""

    rise = 1.0
    ends = True
    dimensions = 1
    edge = True
    words = "linear"

    def value(self, xp: Any, s: Array) -> Array:
        """f(s)."""
        return 1.0 - xp.where(s.real < 1.0, s, 1.0)

    def slopes(self, xp: Any, s: Array) -> tuple[Array, Array, Array]:
        """f, f' and f'', the last without what is at s = 1: there f' is that inside, which the least distance is."""
        inside = s < 1.0 + ROUNDING
        return 1.0 - xp.where(s < 1.0, s, 1.0), xp.where(inside, -1.0, 0.0), xp.zeros_like(s)

    def distance(self, xp: Any, rho: Array) -> Array:
        """1 − ρ."""
        return xp.where(rho.real <= 0.0, 1.0, xp.where(rho.real >= 1.0, 0.0, 1.0 - rho))

    def scale(self, xp: Any, sin: Array, cos: Array, least: float) -> tuple[Array, Array, Array]:
        """Take a = cos²φ/c: from one range on, at the least distance c, all are independent."""
        return cos**2 / least, -2.0 * sin * cos / least, -2.0 * (cos**2 - sin**2) / least

    def angle(self, a: float, least: float) -> float:
        """Angle of a."""
        return float(np.arccos(np.sqrt(np.clip(a * least, 0.0, 1.0))))

    def symbol(self, h: float, rho: str) -> str:
        """Name the function."""
        return f"lin({h:.6g}; {rho})"


class Rational(Curve):
    """1/(1 + s²)."""

    words = "rational quadratic"

    def value(self, xp: Any, s: Array) -> Array:
        """f(s)."""
        return 1.0 / (1.0 + xp.where(s.real > FAR, FAR, s) ** 2)

    def slopes(self, xp: Any, s: Array) -> tuple[Array, Array, Array]:
        """f, f' and f''."""
        s = xp.where(s > FAR, FAR, s)
        f = 1.0 / (1.0 + s**2)
        return f, -2.0 * s * f**2, (6.0 * s**2 - 2.0) * f**3

    def distance(self, xp: Any, rho: Array) -> Array:
        """√((1 − ρ)/ρ)."""
        is_inside = (rho.real > 0.0) & (rho.real < 1.0)
        rho_inside = xp.where(is_inside, rho, 0.5)
        s = xp.sqrt((1.0 - rho_inside) / rho_inside)
        return xp.where(is_inside, s, xp.where(rho.real <= 0.0, BEYOND, 0.0))

    def scale(self, xp: Any, sin: Array, cos: Array, least: float) -> tuple[Array, Array, Array]:
        """Take a = cot²φ."""
        return (cos / sin) ** 2, -2.0 * cos / sin**3, (2.0 + 4.0 * cos**2) / sin**4

    def angle(self, a: float, least: float) -> float:
        """Angle of a."""
        return float(np.arctan2(1.0, np.sqrt(a)))

    def symbol(self, h: float, rho: str) -> str:
        """Name the function."""
        return f"ratio({h:.6g}; {rho})"


CURVES: dict[str, Curve] = {"sph": Spherical(), "lin": Linear(), "ratio": Rational()}  # beside Matérn's family
