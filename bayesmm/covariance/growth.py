"""Standard deviations that grow with the expected response itself, a function of coefficients and random effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmm.covariance.structure import Array

NOTHING = float(np.finfo(float).tiny)  # a power of zero is that of the least number there is: densities are none there


def grown(xp: Any, kind: str, values: Array) -> Array:
    """Return what an exponent is multiplied by in the logarithm of the standard deviation.

    Parameters
    ----------
    xp : module
        NumPy or jax.numpy.
    kind : {"power", "exponential"}
        |v|^t, or exp(tv).
    values : array
        v.
    """
    return xp.log(xp.maximum(xp.abs(values), NOTHING)) if kind == "power" else values


@dataclass(frozen=True, slots=True)
class Growth:
    """What multiplies standard deviations of rows by their expected responses; hashable, false where nothing does.

    Attributes
    ----------
    terms : tuple of (int, str)
        Place of each exponent among the parameters of the residuals, and its kind.
    """

    terms: tuple[tuple[int, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    @property
    def has_pole(self) -> bool:
        """Whether there is no variance at an expected response of zero."""
        return any(kind == "power" for _, kind in self.terms)

    def log_scales(self, xp: Any, public: Array, expected: Array) -> Any:
        """Logarithms of what standard deviations are multiplied by (..., n); zero where nothing grows.

        Parameters
        ----------
        xp : module
            NumPy or jax.numpy.
        public : array, shape (..., f)
            Parameters of the residuals.
        expected : array, shape (..., n)
            Expected responses.
        """
        each = (public[..., place, None] * grown(xp, kind, expected) for place, kind in self.terms)
        return sum(each, 0.0)
