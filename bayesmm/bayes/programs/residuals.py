"""Parameters of the covariance of the residuals as NumPyro sites, the same in both programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int
from numpyro.distributions import constraints

from bayesmm.bayes.priors.correlation_sites import CorrelationSite
from bayesmm.bayes.programs.correlations import gather_sites, sample_sites, site_lines, start_sites
from bayesmm.bayes.programs.sites import Numbers, Parameter
from bayesmm.covariance.growth import Growth
from bayesmm.covariance.residual import Correlation
from bayesmm.design.blocks.labels import RESIDUAL_COR, RESIDUAL_SD
from bayesmm.marginal.residual.in_jax import invert
from bayesmm.marginal.residual.layout import ResidualLayout, pattern_covariances


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualMatrix:
    """The correlation matrix of the residuals of a group; hashable.

    Attributes
    ----------
    sites : tuple of CorrelationSite
        Of its Cholesky factor, of the shares of its pattern, of its range, or of a correlation that has a prior itself.
    structure : Correlation
        How they are correlated.
    """

    sites: tuple[CorrelationSite, ...]
    structure: Correlation

    @property
    def size(self) -> int:
        """Number of correlations."""
        return len(self.structure.names)

    def sample(self, numbers: Sequence[Numbers]) -> Float[Array, " c"]:
        """Sample the sites; return the public correlations."""
        return self.public(sample_sites(self.sites, numbers, self.structure.size))

    def public(self, values: Mapping[str, Array]) -> Float[Array, " c"]:
        """Public correlations of values of the sites."""
        if self.sites[0].held == "factor":
            return self.structure.from_factor(values[self.sites[0].name])  # type: ignore[attr-defined]
        gathered = gather_sites(self.sites, values, self._public)
        return self.structure.from_shares(jnp, gathered) if self.sites[0].held == "shares" else gathered

    def start_at(self, rho: np.ndarray, numbers: Sequence[Numbers]) -> dict[str, np.ndarray]:
        """Values of the sites at public correlations, inside their limits."""
        if self.sites[0].held == "factor":
            return {self.sites[0].name: np.linalg.cholesky(self.structure.whole(np, rho))}
        gathered = self.structure.shares(rho) if self.sites[0].held == "shares" else rho
        return start_sites(self.sites, numbers, gathered, self._value)

    def _public(self, site: CorrelationSite, value: Array, which: int) -> Array:
        low, high = self.structure.limits
        match site.held:
            case "range":
                return self.structure.at_range(jnp, value)
            case "between":
                return low + (high - low) * value
            case _:
                return value

    def _value(self, site: CorrelationSite, value: np.ndarray, which: int) -> np.ndarray:
        low, high = self.structure.limits
        match site.held:
            case "range":
                return self.structure.range_of(np, value)
            case "between":
                return (value - low) / (high - low)
            case _:
                return value


class ResidualNumbers(NamedTuple):
    """Numbers of the priors of the covariance of the residuals.

    Attributes
    ----------
    spreads, exponents : tuples of mappings
        By site, of standard deviations and of exponents.
    means : array, shape (e,)
        What multiplies the exponents where priors of standard deviations are.
    matrices : tuple of tuple of mappings
        By correlation matrix and site.
    """

    spreads: tuple[Numbers, ...]
    exponents: tuple[Numbers, ...]
    means: Float[Array, " e"]
    matrices: tuple[tuple[Numbers, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Residuals:
    """Standard deviations by strata, exponents and correlations of residuals; hashable.

    Attributes
    ----------
    correlation : Correlation or None
        Of the rows of a group.
    are_sds : tuple of bool
        Which parameters of the standard deviations, in the order of the table, are standard deviations themselves.
    spreads, exponents : Parameter or None
        Those, and the others.
    moved : bool
        Whether priors of standard deviations are where something multiplies the exponents.
    matrices : tuple of ResidualMatrix
        Of the rows of a group: one, or one for each level of a factor.
    growth : Growth
        What expected responses multiply standard deviations by, in the conditional program.
    """

    correlation: Correlation | None
    are_sds: tuple[bool, ...]
    spreads: Parameter | None
    exponents: Parameter | None
    moved: bool
    matrices: tuple[ResidualMatrix, ...]
    growth: Growth

    def sample(self, numbers: ResidualNumbers, sigma: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, " f"]]:
        """Sample all of it, given σ where its prior is.

        Returns
        -------
        sigma : scalar
            σ itself.
        public : array, shape (f,)
            Logarithms of ratios of standard deviations to σ and exponents, then correlations.
        """
        spreads = self.spreads.sample(numbers.spreads) if self.spreads else jnp.zeros(0)
        exponents = self.exponents.sample(numbers.exponents) if self.exponents else jnp.zeros(0)
        ratios = jnp.log(spreads / sigma)
        if self.moved:
            down = jnp.exp(-exponents @ numbers.means)
            sigma = jnp.asarray(numpyro.deterministic("sigma", sigma * down))
            spreads = spreads * down
        if self.are_sds and RESIDUAL_SD not in [each.name for each in (self.spreads, self.exponents) if each]:
            numpyro.deterministic(RESIDUAL_SD, self._merge(spreads, exponents))
        rho = jnp.zeros(0)
        if self.matrices:
            each = zip(self.matrices, numbers.matrices, strict=True)
            rho = jnp.concatenate([matrix.sample(given) for matrix, given in each])
            numpyro.deterministic(RESIDUAL_COR, rho)
        return sigma, jnp.concatenate([self._merge(ratios, exponents), rho])

    def read(self, sites: Mapping[str, Array], sigma: Float[Array, ""]) -> Float[Array, " f"]:
        """Read the same vector off a draw."""
        s = sites[RESIDUAL_SD] if self.are_sds else jnp.zeros(0)
        s = jnp.where(np.array(self.are_sds, dtype=bool), jnp.log(jnp.abs(s) / sigma), s)
        return jnp.concatenate([s, sites[RESIDUAL_COR] if self.matrices else jnp.zeros(0)])

    def _merge(self, spreads: Array, exponents: Array) -> Float[Array, " s"]:
        are_sds = np.array(self.are_sds, dtype=bool)
        merged = jnp.zeros(len(are_sds))
        return merged.at[np.flatnonzero(are_sds)].set(spreads).at[np.flatnonzero(~are_sds)].set(exponents)

    def start(
        self, public: np.ndarray, sigma: float, numbers: ResidualNumbers, widths: np.ndarray
    ) -> tuple[float, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """σ where its prior is, values of the sites, and guesses of their posterior standard deviations.

        Parameters
        ----------
        public : array, shape (f,)
            As `sample` returns it.
        sigma : float
            Residual standard deviation.
        numbers : ResidualNumbers
            Of the priors.
        widths : array, shape (f,)
            Guesses of standard errors: of logarithms of standard deviations, exponents, and free correlations.
        """
        are_sds = np.array(self.are_sds, dtype=bool)
        s, rho = public[: len(are_sds)], public[len(are_sds) :]
        own, others = widths[: len(are_sds)], widths[len(are_sds) :]
        at = sigma * float(np.exp(s[~are_sds] @ np.asarray(numbers.means))) if self.moved else sigma
        values: dict[str, np.ndarray] = {}
        scales: dict[str, np.ndarray] = {}
        if self.spreads:
            values |= self.spreads.start(at * np.exp(s[are_sds]), numbers.spreads)
            log_widths = own[are_sds]
            scales |= {site.name: log_widths[list(site.positions)] for site in self.spreads.sites}
        if self.exponents:
            values |= self.exponents.start(s[~are_sds], numbers.exponents)
            scales |= self.exponents.scales(s[~are_sds], own[~are_sds], numbers.exponents)
        ends = np.cumsum([0, *(matrix.size for matrix in self.matrices)])
        for matrix, given, (first, last) in zip(self.matrices, numbers.matrices, pairwise(ends), strict=True):
            values |= matrix.start_at(rho[first:last], given)
            own = others[first:last]
            scales |= {site.name: own[list(site.positions)] if site.positions else own for site in matrix.sites}
        return at, values, scales

    def lines(self) -> Sequence[str]:
        """One line for each site."""
        sites = [site for each in (self.spreads, self.exponents) if each for site in each.sites]
        of_matrices = [line for each in self.matrices for line in site_lines(each.sites, each.structure.size)]
        return [*map(str, sites), *of_matrices]


class GroupRows(NamedTuple):
    """Residual groups of o rows, as `bayesmm.marginal.residual.layout.Stack` has them.

    Attributes
    ----------
    rows : int array, shape (G, o)
    pattern : int array, shape (G,)
    positions, log_weights : arrays, shape (m, o)
    spreads : array, shape (m, o, s)
    """

    rows: Int[Array, "G o"]
    pattern: Int[Array, " G"]
    positions: Float[Array, "m o"]
    log_weights: Float[Array, "m o"]
    spreads: Float[Array, "m o s"]


class GroupNormal(dist.Distribution):
    """Rows of which those of a group are jointly normal.

    Parameters
    ----------
    mean : array, shape (n,)
    sigma : scalar
    covariances : sequence of arrays, shape (m, o, o)
        R of the patterns of each stack, over σ².
    groups : sequence of GroupRows
        By size.
    log_scales : array, shape (n,), or zero
        Logarithms of what standard deviations are multiplied by.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        mean: Float[Array, " n"],
        sigma: Float[Array, ""],
        covariances: Sequence[Float[Array, "m o o"]],
        groups: Sequence[GroupRows],
        log_scales: Float[Array, " n"] | float = 0.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.mean_of_rows, self.sigma, self.covariances, self.groups = mean, sigma, covariances, groups
        self.log_scales = jnp.broadcast_to(log_scales, jnp.shape(mean))
        super().__init__(event_shape=jnp.shape(mean), validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw from the distribution."""
        noise = jax.random.normal(key, sample_shape + self.event_shape)
        found = jnp.zeros_like(noise)
        for group, R in zip(self.groups, self.covariances, strict=True):
            L = jnp.linalg.cholesky(R)[group.pattern]
            found = found.at[..., group.rows].set(jnp.einsum("gst,...gt->...gs", L, noise[..., group.rows]))
        return self.mean_of_rows + self.sigma * jnp.exp(self.log_scales) * found

    def log_prob(self, value: Array) -> Array:
        """Evaluate the log density."""
        e, n = (value - self.mean_of_rows) / (self.sigma * jnp.exp(self.log_scales)), self.event_shape[0]
        total = -n * (jnp.log(self.sigma) + 0.5 * jnp.log(2.0 * jnp.pi)) - self.log_scales.sum()
        for group, R in zip(self.groups, self.covariances, strict=True):
            W, log_det = invert(R)
            own = e[..., group.rows]
            total -= 0.5 * jnp.einsum("...gs,gst,...gt->...", own, W[group.pattern], own)
            total -= 0.5 * log_det[group.pattern].sum()
        return total


def group_covariances(
    correlation: Correlation | None, public: Float[Array, " f"], groups: Sequence[GroupRows]
) -> list[Float[Array, "m o o"]]:
    """R of the patterns of each stack, over σ²."""
    return [pattern_covariances(jnp, correlation, public, group) for group in groups]


def lay_out_groups(layout: ResidualLayout) -> tuple[GroupRows, ...]:
    """Take whole groups of a layout as arguments of a program."""
    return tuple(
        GroupRows(stack.rows, stack.pattern, stack.positions, stack.log_weights, stack.spreads)  # type: ignore[arg-type]
        for stack in layout.stacks
    )
