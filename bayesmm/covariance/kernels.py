"""Correlations as functions of distance: Matérn's family, whose ends are the exponential and the Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import factorial, gamma, inf
from typing import Any

import numpy as np

from bayesmm.covariance.structure import Array

FARTHEST = 700.0  # distances, in ranges, beyond which a correlation is zero
BEYOND = 1e300  # the distance of no correlation
NEWTON = 30  # steps at most; some six are taken from the start that is chosen
NODES = 160  # of the trapezoidal rule for Bessel functions, whose error is that of rounding from some hundred on
AT_ONE_PLACE = 1e-10  # distances, in ranges, below which a Bessel function is not needed to say one


@dataclass(frozen=True)
class Kernel:
    """f(s), the correlation of two places s ranges apart.

    With smoothness ν it is Matérn's 2^(1−ν)/Γ(ν) s^ν K_ν(s); ν = ½ is exp(−s), ν = ∞ stands for exp(−s²). Half-integer
    ν give a polynomial times exp(−s), others K_ν(s) = ∫ exp(−s cosh t) cosh νt dt by the trapezoidal rule.

    Attributes
    ----------
    nu : float
        ν, ½ at least.
    """

    nu: float

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
