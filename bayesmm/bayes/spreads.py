"""Standard deviations, correlations and sigma as NumPyro sites, the same in both programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from bayesmm.bayes.sites import Numbers, Parameter, correlations


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A correlation matrix of the effects ``start:stop`` of a block, by its Cholesky factor."""

    site: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The random effects of one grouping factor; hashable.

    Attributes
    ----------
    label : str
        Dim of the levels.
    n_levels, n_effects : int
        q and k.
    sd : Parameter
        Standard deviations (k,).
    matrices : tuple of Matrix
        Correlation matrices.
    pairs : tuple of (int, int)
        Effects whose correlations are reported.
    """

    label: str
    n_levels: int
    n_effects: int
    sd: Parameter
    matrices: tuple[Matrix, ...]
    pairs: tuple[tuple[int, int], ...]


class SpreadData(NamedTuple):
    """Numbers of the priors of all spreads.

    Attributes
    ----------
    sds : tuple of tuple of mappings
        By block and site.
    concentrations : tuple of tuple of scalars
        LKJ concentrations by block and matrix.
    sigma : tuple of mappings, or scalar
        By site; the value of sigma where it is known.
    """

    sds: tuple[tuple[Numbers, ...], ...]
    concentrations: tuple[tuple[Array, ...], ...]
    sigma: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Spreads:
    """Standard deviations, correlations and sigma; sigma is None where it is known."""

    blocks: tuple[Block, ...]
    sigma: Parameter | None

    def sample(self, data: SpreadData) -> tuple[list[Float[Array, "k k"]], Float[Array, ""]]:
        """Sample the spreads: a factor F of Var(b) = FF' for each block, and sigma, which comes first."""
        sigma = self.sigma.sample(data.sigma) if self.sigma else data.sigma
        factors = [
            _sample_factor(block, sds, concentrations, sigma)
            for block, sds, concentrations in zip(self.blocks, data.sds, data.concentrations, strict=True)
        ]
        return factors, sigma

    def factors(
        self, sites: Mapping[str, Array], data: SpreadData
    ) -> tuple[list[Float[Array, "k k"]], Float[Array, ""]]:
        """Read the same off a draw."""
        factors = [sites[block.sd.name][:, None] * _correlation_factor(block, sites) for block in self.blocks]
        return factors, sites["sigma"] if self.sigma else data.sigma

    def lines(self) -> list[str]:
        """One line for each site."""
        lines = []
        for block in self.blocks:
            lines += [str(site) for site in block.sd.sites]
            lines += [f"{matrix.site} ~ LKJCholesky({matrix.stop - matrix.start})" for matrix in block.matrices]
        return lines + [str(site) for site in (self.sigma.sites if self.sigma else ())]


def _sample_factor(
    block: Block, sds: Sequence[Numbers], concentrations: Sequence[Array], sigma: Array
) -> Float[Array, "k k"]:
    sd = block.sd.sample(sds, sigma)
    cholesky = {
        matrix.site: jnp.asarray(
            numpyro.sample(matrix.site, dist.LKJCholesky(matrix.stop - matrix.start, concentration))
        )
        for matrix, concentration in zip(block.matrices, concentrations, strict=True)
    }
    factor = _correlation_factor(block, cholesky)
    if block.pairs:
        numpyro.deterministic(f"cor_{block.label}", correlations(factor, block.pairs))
    return sd[:, None] * factor


def _correlation_factor(block: Block, sites: Mapping[str, Array]) -> Float[Array, "k k"]:
    if len(block.matrices) == 1 and block.matrices[0].stop - block.matrices[0].start == block.n_effects:
        return sites[block.matrices[0].site]
    factor = jnp.eye(block.n_effects)
    for matrix in block.matrices:
        factor = factor.at[matrix.start : matrix.stop, matrix.start : matrix.stop].set(sites[matrix.site])
    return factor
