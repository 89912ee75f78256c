"""A covariance matrix that is known with its scale: Σ = V."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesmm.covariance.known_matrix import KnownMatrix
from bayesmm.covariance.structure import Array, Axes
from bayesmm.errors import DesignError

NONE = np.zeros(0)


@dataclass(frozen=True)
class Equal(KnownMatrix):
    """Λ = L/σ with LL' = V: there is no parameter, and θ is empty.

    Attributes
    ----------
    sigma : float
        σ, the known residual standard deviation of a row of weight one.
    """

    sigma: float = 1.0

    freedom = "with a known covariance"
    invariance = "none"

    @property
    def words(self) -> str:  # type: ignore[override]
        """What it is."""
        return f"known, {self.matrix or 'a matrix'}"

    def beside(self, sigma: float | None, term: object) -> Equal:
        """Take σ.

        Raises
        ------
        DesignError
            If it is to be estimated.
        """
        if sigma is None:
            raise DesignError(
                f"The covariance of {term} is known with its scale, so sigma has to be: give Model(..., sigma=...), a "
                f"hundredth of the smallest standard deviation in {self.matrix!r} where rows vary by nothing else. To "
                "estimate their standard deviation, write sigma=1.0, residual='het(1)'."
            )
        return replace(self, sigma=sigma)

    # -- θ and Λ ------------------------------------------------------------------------------------------------------

    def start(self, k: int) -> np.ndarray:
        """Nothing."""
        return NONE

    def factor(self, xp: Any, theta: Array, k: int) -> Array:
        """Λ = L/σ."""
        return xp.asarray(self.root(k) / self.sigma)

    def derivatives(self, xp: Any, theta: Array, k: int) -> tuple[Array, Array]:
        """None."""
        return xp.zeros((0, k, k)), xp.zeros((0, 0, k, k))

    def nearest(self, Lambda: np.ndarray) -> np.ndarray:
        """Nothing."""
        return NONE

    def sizes(self, theta: np.ndarray, k: int) -> np.ndarray:
        """None."""
        return NONE

    def moments(self, Lambda: np.ndarray, expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """Nothing moves."""
        return NONE

    def axes(self, Lambda: np.ndarray) -> Axes:
        """None: entries that grow with no axis."""
        return Axes(Lambda, np.full(Lambda.shape, -1))

    def separate(self, M: np.ndarray) -> np.ndarray:
        """Nothing of it is estimated: none can be absorbed."""
        return np.eye(len(M))

    def with_structure(self, covariance: np.ndarray) -> np.ndarray:
        """V/σ²."""
        return self.known(len(covariance)) / self.sigma**2

    def held(self, theta: np.ndarray, k: int) -> np.ndarray:
        """None."""
        return np.zeros(0, dtype=bool)

    def snapped(self, theta: np.ndarray, k: int) -> np.ndarray:
        """Nothing."""
        return NONE

    def way_down(self, theta: np.ndarray, k: int, expected: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
        """None."""
        return None

    # -- the public scale ---------------------------------------------------------------------------------------------

    def sd_names(self, effects: Sequence[str], expression: str) -> tuple[str, ...]:
        """None: they are not parameters."""
        return ()

    def n_sds(self, k: int) -> int:
        """None."""
        return 0

    def effect_sds(self, sd: Array, k: int) -> Array:
        """Roots of the variances in V."""
        return np.broadcast_to(np.sqrt(np.diag(self.known(k))), (*sd.shape[:-1], k))

    def sd_slices(self, k: int) -> list[slice]:
        """None."""
        return []

    def free_sds(self, xp: Any, sds: Array) -> Array:
        """None."""
        return sds[..., :0]

    def variance_symbol(self, i: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Write the number."""
        return f"{self.known(len(effects))[i, i]:.6g}"

    def symbol(self, i: int, j: int, effects: Sequence[str], expression: str, group: str) -> str:
        """Write the number."""
        value = self.known(len(effects))[i, j]
        return f"{value:.6g}" if value else ""

    def read(self, xp: Any, covariance: Array) -> tuple[Array, Array]:
        """Nothing."""
        return covariance[..., 0, :0], covariance[..., 0, :0]
