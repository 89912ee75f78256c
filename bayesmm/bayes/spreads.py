"""Standard deviations, correlations and sigma as NumPyro sites, the same in both programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from bayesmm.bayes.contrasts import read_factor
from bayesmm.bayes.sites import Numbers, Parameter


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
        Standard deviations (k,) of the effects that priors are about.
    at_means : bool
        Whether these are not the effects on the columns as labelled, but those at the means of the covariates.
    matrices : tuple of Matrix
        Correlation matrices.
    pairs : tuple of (int, int)
        Effects whose correlations are reported.
    """

    label: str
    n_levels: int
    n_effects: int
    sd: Parameter
    at_means: bool
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
    to_columns : tuple of array, shape (k, k)
        T⁻¹ by block: effects on the columns as labelled from those that priors are about.
    sigma : tuple of mappings, or scalar
        By site; the value of sigma where it is known.
    """

    sds: tuple[tuple[Numbers, ...], ...]
    concentrations: tuple[tuple[Array, ...], ...]
    to_columns: tuple[Float[Array, "k k"], ...]
    sigma: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Spreads:
    """Standard deviations, correlations and sigma; sigma is None where it is known."""

    blocks: tuple[Block, ...]
    sigma: Parameter | None

    def sample(self, data: SpreadData) -> tuple[list[Float[Array, "k k"]], Float[Array, ""]]:
        """Sample the spreads: a factor F of Var(Tb) = FF' for each block, and sigma, which comes first.

        Tb are the effects that priors are about, T⁻¹F is a factor of Var(b).
        """
        sigma = self.sigma.sample(data.sigma) if self.sigma else data.sigma
        factors = [
            _sample_factor(block, sds, concentrations, back, sigma)
            for block, sds, concentrations, back in zip(
                self.blocks, data.sds, data.concentrations, data.to_columns, strict=True
            )
        ]
        return factors, sigma

    def factors(
        self, sites: Mapping[str, Array], data: SpreadData
    ) -> tuple[list[Float[Array, "k k"]], Float[Array, ""]]:
        """Read the same off a draw."""
        factors = [sites[block.sd.name][:, None] * _correlation_factor(block, sites) for block in self.blocks]
        return factors, sites["sigma"] if self.sigma else data.sigma

    def on_columns(self, factors: Sequence[Float[Array, "k k"]], data: SpreadData) -> list[Float[Array, "k k"]]:
        """Take factors of Var(Tb) to factors of Var(b), which are not triangular."""
        triples = zip(self.blocks, factors, data.to_columns, strict=True)
        return [back @ factor if block.at_means else factor for block, factor, back in triples]

    def lines(self) -> list[str]:
        """One line for each site."""
        lines = []
        for block in self.blocks:
            lines += [str(site) for site in block.sd.sites]
            lines += [f"{matrix.site} ~ LKJCholesky({matrix.stop - matrix.start})" for matrix in block.matrices]
        return lines + [str(site) for site in (self.sigma.sites if self.sigma else ())]


def _sample_factor(
    block: Block, sds: Sequence[Numbers], concentrations: Sequence[Array], back: Array, sigma: Array
) -> Float[Array, "k k"]:
    sd = block.sd.sample(sds, sigma)
    cholesky = {
        matrix.site: jnp.asarray(
            numpyro.sample(matrix.site, dist.LKJCholesky(matrix.stop - matrix.start, concentration))
        )
        for matrix, concentration in zip(block.matrices, concentrations, strict=True)
    }
    unit = _correlation_factor(block, cholesky)
    factor = sd[:, None] * unit
    on_columns, correlations = read_factor(back @ factor if block.at_means else unit, block.pairs)
    if block.at_means:
        numpyro.deterministic(f"sd_{block.label}", on_columns)
    if block.pairs:
        numpyro.deterministic(f"cor_{block.label}", correlations)
    return factor


def _correlation_factor(block: Block, sites: Mapping[str, Array]) -> Float[Array, "k k"]:
    if len(block.matrices) == 1 and block.matrices[0].stop - block.matrices[0].start == block.n_effects:
        return sites[block.matrices[0].site]
    factor = jnp.eye(block.n_effects)
    for matrix in block.matrices:
        factor = factor.at[matrix.start : matrix.stop, matrix.start : matrix.stop].set(sites[matrix.site])
    return factor
