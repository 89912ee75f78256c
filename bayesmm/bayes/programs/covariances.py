"""Standard deviations, correlations and sigma as NumPyro sites, the same in both programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array, Float

from bayesmm.bayes.priors.correlation_sites import CorrelationSite
from bayesmm.bayes.programs.correlations import gather_sites, sample_sites, site_lines, start_sites
from bayesmm.bayes.programs.loadings import LoadingNumbers, Loadings
from bayesmm.bayes.programs.residuals import ResidualNumbers, Residuals
from bayesmm.bayes.programs.sites import Numbers, Parameter
from bayesmm.covariance.layout import Piece
from bayesmm.covariance.public import effect_sds, exact_signs, read_covariance
from bayesmm.covariance.residual import Correlation
from bayesmm.covariance.structure import Structure


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A correlation matrix of the effects ``start:stop`` of a block; hashable.

    Attributes
    ----------
    sites : tuple of CorrelationSite
        Of its Cholesky factor; or of the shares of its pattern, where correlations lie between limits, 0 to 1, and of
        ranges, where priors are of those.
    start, stop : int
        Which effects.
    structure : Structure
        How they covary.
    """

    sites: tuple[CorrelationSite, ...]
    start: int
    stop: int
    structure: Structure

    @property
    def size(self) -> int:
        """Number of effects."""
        return self.stop - self.start

    def sample(self, numbers: Sequence[Numbers]) -> dict[str, Array]:
        """Sample the sites."""
        return sample_sites(self.sites, numbers, self.size)

    def factor(self, values: Mapping[str, Array]) -> Float[Array, "k k"]:
        """Cholesky factor of the matrix, from the values of the sites."""
        if self.sites[0].held == "factor":
            return values[self.sites[0].name]
        return self.structure.unit_factor(jnp, gather_sites(self.sites, values, self._share), self.size)

    def start_at(self, correlation: np.ndarray, numbers: Sequence[Numbers]) -> dict[str, np.ndarray]:
        """Values of the sites at a correlation matrix (k, k), inside their limits."""
        if self.sites[0].held == "factor":
            return {self.sites[0].name: np.linalg.cholesky(correlation)}
        shares = self.structure.shares(self.structure.read(np, correlation)[1], self.size)
        return start_sites(self.sites, numbers, shares, self._value)

    def scales(self, width: float) -> dict[str, np.ndarray]:
        """Give every unconstrained value of the sites one width."""
        if self.sites[0].held == "factor":
            return {self.sites[0].name: np.full(self.structure.n_cors(self.size), width)}
        return {site.name: np.full(len(site.positions), width) for site in self.sites}

    def lines(self) -> list[str]:
        """One line for each site."""
        return site_lines(self.sites, self.size)

    def _share(self, site: CorrelationSite, value: Array, which: int) -> Array:
        return self.structure.at_range(jnp, value, self.size, which) if site.held == "range" else value

    def _value(self, site: CorrelationSite, share: np.ndarray, which: int) -> np.ndarray:
        return self.structure.range_of(np, share, self.size, which) if site.held == "range" else share


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The random effects of one grouping factor; hashable.

    Attributes
    ----------
    label : str
        Dim of the levels.
    n_levels, n_effects : int
        q and k.
    sd_name : str
        Of the free standard deviations (m,) of the effects that priors are about.
    sd : Parameter
        Those that are sampled as such: all but those of loadings.
    sd_rows : tuple of int
        Which they are.
    at_means : bool
        Whether these are not the effects on the columns as labelled, but those at the means of the covariates.
    matrices : tuple of Matrix
        Correlation matrices.
    loadings : tuple of Loadings
        Of terms whose standard deviations and correlations follow from loadings.
    pieces : tuple of Piece
        Which effects share a covariance matrix, and its structure.
    """

    label: str
    n_levels: int
    n_effects: int
    sd_name: str
    sd: Parameter
    sd_rows: tuple[int, ...]
    at_means: bool
    matrices: tuple[Matrix, ...]
    loadings: tuple[Loadings, ...]
    pieces: tuple[Piece, ...]

    @property
    def directions(self) -> np.ndarray:
        """Columns of a factor that are not zero, whatever the parameters."""
        beyond = [np.arange(each.start + each.rank, each.stop) for each in self.loadings]
        return np.setdiff1d(np.arange(self.n_effects), np.concatenate([np.zeros(0, dtype=int), *beyond]))


class CovarianceData(NamedTuple):
    """Numbers of the priors of standard deviations, correlations and sigma.

    Attributes
    ----------
    sds : tuple of tuple of mappings
        By block and site.
    correlations : tuple of tuple of tuple of mappings
        By block, matrix and site.
    loadings : tuple of tuple of LoadingNumbers
        By block and term.
    to_columns : tuple of array, shape (k, k)
        T⁻¹ by block: effects on the columns as labelled from those that priors are about.
    sigma : tuple of mappings, or scalar
        By site; the value of sigma where it is known.
    residual : ResidualNumbers or None
        Of the covariance of the residuals, where they have one.
    """

    sds: tuple[tuple[Numbers, ...], ...]
    correlations: tuple[tuple[tuple[Numbers, ...], ...], ...]
    loadings: tuple[tuple[LoadingNumbers, ...], ...]
    to_columns: tuple[Float[Array, "k k"], ...]
    sigma: Any
    residual: ResidualNumbers | None = None


class Sampled(NamedTuple):
    """What the covariance parameters of a program are made into.

    Attributes
    ----------
    factors : list of arrays, shape (k, k)
        F of Var(Tb) = FF' for each block: Tb are the effects that priors are about, T⁻¹F is a factor of Var(b).
    sigma : scalar
        Residual standard deviation.
    residual : array, shape (f,), or None
        Of the covariance of the residuals, see `bayesmm.bayes.programs.residuals.Residuals`.
    """

    factors: list[Float[Array, "k k"]]
    sigma: Float[Array, ""]
    residual: Float[Array, " f"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Covariances:
    """Standard deviations, correlations and sigma; sigma is None where it is known."""

    blocks: tuple[Block, ...]
    sigma: Parameter | None
    residual: Residuals | None = None

    @property
    def correlation(self) -> Correlation | None:
        """Structure of the residuals of a group."""
        return self.residual.correlation if self.residual else None

    def sample(self, data: CovarianceData) -> Sampled:
        """Sample them; sigma, and what else residuals have, come first."""
        sigma, residual = self.sigma.sample(data.sigma) if self.sigma else data.sigma, None
        if self.residual is not None:
            assert data.residual is not None
            sigma, residual = self.residual.sample(data.residual, sigma)
        factors = [_sample_factor(block, f, data, sigma) for f, block in enumerate(self.blocks)]
        return Sampled(factors, sigma, residual)

    def factors(self, sites: Mapping[str, Array], data: CovarianceData) -> Sampled:
        """Read the same off a draw."""
        factors = [
            effect_sds(jnp, sites.get(block.sd_name, jnp.zeros(0)), block.pieces)[:, None]
            * _unit_factor(block, sites, [each.unit_factor(sites, own) for each, own in _pair(block, loadings)])
            for block, loadings in zip(self.blocks, data.loadings, strict=True)
        ]
        sigma = sites["sigma"] if self.sigma else data.sigma
        return Sampled(factors, sigma, self.residual.read(sites, sigma) if self.residual else None)

    def on_columns(self, factors: Sequence[Float[Array, "k k"]], data: CovarianceData) -> list[Float[Array, "k k"]]:
        """Take factors of Var(Tb) to factors of Var(b), which are not triangular."""
        triples = zip(self.blocks, factors, data.to_columns, strict=True)
        return [back @ factor if block.at_means else factor for block, factor, back in triples]

    def lines(self) -> list[str]:
        """One line for each site."""
        lines = []
        for block in self.blocks:
            lines += [str(site) for site in block.sd.sites]
            lines += [line for matrix in block.matrices for line in matrix.lines()]
            lines += [line for each in block.loadings for line in each.lines()]
        lines += self.residual.lines() if self.residual else []
        return lines + [str(site) for site in (self.sigma.sites if self.sigma else ())]


def _sample_factor(block: Block, f: int, data: CovarianceData, sigma: Array) -> Float[Array, "k k"]:
    sd, back = block.sd.sample(data.sds[f], sigma), data.to_columns[f]
    given = zip(block.matrices, data.correlations[f], strict=True)
    sites: dict[str, Array] = {}
    for matrix, numbers in given:
        sites |= matrix.sample(numbers)
    loaded = [each.sample(numbers, sigma) for each, numbers in _pair(block, data.loadings[f])]
    if loaded:
        sd = _join_sds(block, sd, [own for own, _ in loaded])
    unit = _unit_factor(block, sites, [own for _, own in loaded])
    factor = effect_sds(jnp, sd, block.pieces)[:, None] * unit
    if block.at_means or block.matrices or loaded:
        labelled = back @ factor if block.at_means else unit
        on_columns, found = read_covariance(jnp, labelled @ labelled.T, block.pieces)
        if block.at_means:
            numpyro.deterministic(f"sd_{block.label}", on_columns)
        if block.matrices or loaded:
            numpyro.deterministic(f"cor_{block.label}", exact_signs(jnp, found) if loaded else found)
    return factor


def _join_sds(block: Block, others: Array, loaded: Sequence[Array]) -> Float[Array, " m"]:
    sd = jnp.zeros(len(block.sd_rows) + sum(len(each.rows) for each in block.loadings))
    sd = sd.at[np.array(block.sd_rows, dtype=int)].set(others)
    for each, own in zip(block.loadings, loaded, strict=True):
        sd = sd.at[np.array(each.rows)].set(own)
    return jnp.asarray(numpyro.deterministic(block.sd_name, sd))


def _pair(block: Block, numbers: Sequence[LoadingNumbers]) -> zip[tuple[Loadings, LoadingNumbers]]:
    return zip(block.loadings, numbers, strict=True)


def _unit_factor(block: Block, sites: Mapping[str, Array], loaded: Sequence[Array]) -> Float[Array, "k k"]:
    """Factor of the correlation matrix."""
    if len(block.matrices) == 1 and block.matrices[0].size == block.n_effects:
        return block.matrices[0].factor(sites)
    if len(loaded) == 1 and block.loadings[0].size == block.n_effects:
        return loaded[0]
    factor = jnp.eye(block.n_effects)
    for piece in block.pieces:
        if piece.structure.correlations == "known":
            factor = factor.at[piece.inside, piece.inside].set(piece.structure.unit_factor(jnp, jnp.zeros(0), piece.k))
    for matrix in block.matrices:
        inside = slice(matrix.start, matrix.stop)
        factor = factor.at[inside, inside].set(matrix.factor(sites))
    for each, own in zip(block.loadings, loaded, strict=True):
        inside = slice(each.start, each.stop)
        factor = factor.at[inside, inside].set(own)
    return factor
