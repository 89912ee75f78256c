"""Effects that vary along fewer directions than there are effects, as NumPyro sites of their loadings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int
from numpyro.distributions import constraints

from bayesmm.bayes.programs.sites import INSIDE, Numbers, Parameter
from bayesmm.covariance.structure import Structure


class LoadingNumbers(NamedTuple):
    """Numbers that a site of loadings takes.

    Attributes
    ----------
    sds : tuple of mappings
        Of the priors of the standard deviations, by family.
    places : array, shape (k,)
        Which row of the triangle each effect has.
    """

    sds: tuple[Numbers, ...]
    places: Int[Array, " k"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loadings:
    """The effects ``start:stop`` of a block, of reduced rank; hashable.

    Standard deviations and correlations follow from the same entries, since a loading changes its sign where its
    standard deviation is zero. No prior is on the entries themselves: the density is that of the standard deviations,
    as declared, and of directions that are uniform.

    Attributes
    ----------
    pivots, others : str
        Sites of the entries on the diagonal of the triangle, and of those below it.
    is_folded : bool
        Whether pivots are positive: each covariance is there once, as sums over the density want it. A chain wants them
        of both signs, since where a pivot is zero it passes into the mirror image.
    start, stop : int
        Which effects.
    rows : tuple of int
        Which of the free standard deviations of the block are theirs.
    structure : Structure
        How they covary.
    sd : Parameter
        Declares the priors of their standard deviations; it is not sampled.
    """

    pivots: str
    others: str
    start: int
    stop: int
    rows: tuple[int, ...]
    structure: Structure
    sd: Parameter
    is_folded: bool

    @property
    def size(self) -> int:
        """Number of effects."""
        return self.stop - self.start

    @property
    def rank(self) -> int:
        """Number of directions."""
        return self.structure.rank(self.size)

    @property
    def shapes(self) -> dict[str, tuple[int]]:
        """Shapes of the two sites."""
        return {self.pivots: (self.rank,), self.others: (self.structure.n_theta(self.size) - self.rank,)}

    def sample(self, numbers: LoadingNumbers, sigma: Array) -> tuple[Float[Array, " k"], Float[Array, "k k"]]:
        """Sample the sites; standard deviations, and unit rows of a factor with zeros beside them."""
        limits = (constraints.positive if self.is_folded else constraints.real, constraints.real)
        sites = {
            name: jnp.asarray(numpyro.sample(name, dist.ImproperUniform(limit, (), event_shape=shape)))
            for limit, (name, shape) in zip(limits, self.shapes.items(), strict=True)
        }
        volume, unit, log_density = self._spread(sites, numbers)
        log_density -= 0.0 if self.is_folded else self.rank * np.log(2.0)
        sd, log_slope = self._bounded(volume, numbers, sigma)
        log_density += log_slope + self.sd.log_density(sd, numbers.sds, sigma)
        numpyro.factor(f"{self.others}_prior", log_density)
        return sd, self._wide(unit)

    def unit_factor(self, sites: Mapping[str, Array], numbers: LoadingNumbers) -> Float[Array, "k k"]:
        """Read the unit rows off a draw."""
        return self._wide(self._spread(sites, numbers)[1])

    def start_at(
        self, sd: np.ndarray, unit: np.ndarray, numbers: LoadingNumbers, sigma: float
    ) -> dict[str, np.ndarray]:
        """Values of the sites at standard deviations (k,) and unit rows (k, d)."""
        volume = self._volume(sd, numbers, sigma)
        values = self.structure.gathered(volume, unit, np.asarray(numbers.places))
        return dict(zip(self.shapes, values, strict=True))

    def turn(self, factor: np.ndarray, values: Mapping[str, np.ndarray], numbers: LoadingNumbers) -> np.ndarray:
        """Give rows of a factor (k, k) the directions that values of the sites have: effects are of that sign."""
        sites = values[self.pivots], values[self.others]
        _, unit, _ = self.structure.spread(np, *sites, np.asarray(numbers.places), self.size)
        return np.linalg.norm(factor, axis=1)[:, None] * np.pad(unit, ((0, 0), (0, self.size - self.rank)))

    def scales(self, values: Mapping[str, np.ndarray], width: float) -> dict[str, np.ndarray]:
        """Carry a relative width of the loadings over to the sites; logarithms of pivots have it themselves."""
        d, rows = self.rank, self._rows_of_others
        W = np.zeros((self.size, d))
        W[np.arange(d), np.arange(d)] = values[self.pivots]
        W[rows] = values[self.others]
        size = np.linalg.norm(W, axis=1)
        own = np.ones(d) if self.is_folded else size[:d]
        return {self.pivots: width * own, self.others: width * size[rows[0]]}

    def small(self, sd: np.ndarray, errors: np.ndarray, numbers: LoadingNumbers, sigma: float) -> dict[str, np.ndarray]:
        """Say which positive pivots are as good as zero: parts of standard deviations (k,) that errors (k,) are."""
        if not self.is_folded:
            return {}
        first = np.argsort(np.asarray(numbers.places))[: self.rank]
        volume = self._volume(np.maximum(sd, errors), numbers, sigma)[first]
        part = np.minimum(errors[first] / np.maximum(sd[first], np.finfo(float).tiny), 1.0)
        return {self.pivots: part * volume ** (1.0 / (1.0 + np.arange(self.rank)))}

    def lines(self) -> list[str]:
        """Say what the sites are of."""
        families = ", ".join(dict.fromkeys(site.family for site in self.sd.sites))
        return [f"{self.pivots}, {self.others} ~ {families}, directions uniform"]

    @property
    def _rows_of_others(self) -> tuple[np.ndarray, np.ndarray]:
        return self.structure.below_pivots(self.size)

    def _spread(self, sites: Mapping[str, Array], numbers: LoadingNumbers) -> tuple[Array, Array, Array]:
        return self.structure.spread(jnp, sites[self.pivots], sites[self.others], numbers.places, self.size)

    def _wide(self, unit: Array) -> Array:
        return jnp.concatenate([unit, jnp.zeros((self.size, self.size - self.rank))], axis=1)

    def _bounded(self, volume: Array, numbers: LoadingNumbers, sigma: Array) -> tuple[Array, Array]:
        """Take volumes to standard deviations inside the limits of uniform priors, and the log of the slopes."""
        sd, log_slope = volume, jnp.zeros(())
        for at, lower, upper in self.sd.limits(numbers.sds, sigma):
            width = upper - lower
            share = width / (width + volume[at])
            sd = sd.at[at].set(lower + volume[at] * share)
            log_slope += 2.0 * jnp.log(share).sum()
        return sd, log_slope

    def _volume(self, sd: np.ndarray, numbers: LoadingNumbers, sigma: float) -> np.ndarray:
        """Take them back; what is outside the limits is moved inside."""
        volume = np.array(sd, dtype=float)
        limits: Any = self.sd.limits(numbers.sds, sigma)
        for at, lower, upper in limits:
            width = np.asarray(upper - lower)
            above = np.clip(sd[at] - np.asarray(lower), INSIDE * width, (1.0 - INSIDE) * width)
            volume[at] = above * width / (width - above)
        return volume
