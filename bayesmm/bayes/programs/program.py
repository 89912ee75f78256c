"""The two NumPyro programs of a linear mixed model.

Both are callables of one argument, their data, and hashable: equal structure means equal programs, so that what is
compiled for one serves the other. Run one with any NumPyro kernel, ``MCMC(NUTS(program), ...).run(key, data)`` inside
``jax.enable_x64(True)``, or print it to see its sites.

Sites, for a grouping factor ``Subject`` of q levels with k effects:

- ``sd_Subject`` (k,) standard deviations, or ``at_means_sd_Subject``, those of the effects where the covariates are at
  their means, which default priors of correlated effects are about, and ``sd_Subject`` made of them;
- ``cholesky_Subject`` (k, k) Cholesky factor of the correlation matrix of the same effects (``cholesky_Subject_0``,
  ``_1`` where several terms share the grouping factor), and ``cor_Subject``, the correlations of the effects as
  labelled, deterministic;
- of effects of reduced rank neither, but ``pivots_Subject`` (d,) and ``loadings_Subject`` (m − d,), from which standard
  deviations and correlations follow, see `bayesmm.bayes.programs.loadings`;
- ``sigma``, unless it is known;
- marginal program: ``beta_sampled``, the coefficients whose prior is neither flat nor normal;
- conditional program: ``beta_at_means``, the coefficients with what carries the constant replaced by the expected
  response at the means of the predictors, and ``beta`` made of it (the site is ``beta`` where no prior is about that);
  ``z_Subject`` (q, k), or (q, d) of reduced rank, standardised random effects of a block that is not centred, or
  ``r_Subject`` (q, k) random effects with what they vary around (the intercept of each subject rather than its
  deviation from the common one), or ``t_Subject`` (q, k) something between the two, see
  `bayesmm.bayes.programs.partial`;
  ``b_Subject`` (q, k) random effects made of any of these, of related levels as a root of A times them. Beside
  ``at_means_sd_Subject``, ``z``, ``r`` and ``t`` are about the effects at the means, ``b`` about those as labelled.

Where a prior is on a variance the site is ``variance_Subject`` (``variance`` for sigma), where it is on a share of the
variance ``share_Subject``, and the standard deviation is deterministic; where priors of several families meet in one
vector, each family is a site, ``sd_Subject_HalfNormal``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from bayesmm.bayes.programs.covariances import Block, CovarianceData, Covariances
from bayesmm.bayes.programs.partial import sample_partly_centred
from bayesmm.bayes.programs.residuals import GroupNormal, GroupRows, group_covariances
from bayesmm.bayes.programs.sites import Numbers, Parameter
from bayesmm.console import visible
from bayesmm.covariance.residual import Correlation
from bayesmm.marginal.in_jax.density import FixedPrior, log_density
from bayesmm.marginal.in_jax.hosted import HostedProducts
from bayesmm.marginal.in_jax.recovery import all_coefficients, draw_effects, effect_moments
from bayesmm.marginal.residual.in_jax import StackArrays, products_at
from bayesmm.marginal.sums.crossproducts import CrossProducts
from bayesmm.marginal.sums.related import Relating

Centred = Literal["centred", "partial", "noncentred"]
PREFIXES: dict[Centred, str] = {"centred": "r", "partial": "t", "noncentred": "z"}


class MarginalData(NamedTuple):
    """Arguments of the marginal program.

    Attributes
    ----------
    products : CrossProducts or HostedProducts
        The data; of the latter what is small, the rest is asked for.
    prior : FixedPrior
        Of the coefficients that are integrated out.
    dependence : array, shape (f, s)
        How the prior means of the integrated coefficients fall with the sampled ones (a prior about the expected
        response at the means of the predictors ties them).
    covariances : CovarianceData
    coefficients : tuple of mappings
        Numbers of the priors of the sampled coefficients, by site.
    stacks : tuple of StackArrays
        Where residuals have a covariance, what `products` are summed from at each value of it.
    relating : Relating or None
        Where levels are related beside it, what brings these sums to the levels that are eliminated.
    """

    products: CrossProducts | HostedProducts
    prior: FixedPrior
    dependence: Float[Array, "f s"]
    covariances: CovarianceData
    coefficients: tuple[Numbers, ...]
    stacks: tuple[StackArrays, ...] = ()
    relating: Relating | None = None

    @property
    def arrays(self) -> CrossProducts:
        """The data where levels are independent, so that nothing is asked of the host."""
        assert isinstance(self.products, CrossProducts)
        return self.products

    def at(
        self, correlation: Correlation | None, residual: Float[Array, " f"] | None
    ) -> CrossProducts | HostedProducts:
        """Sum over the rows, at a covariance of the residuals where they have one."""
        if residual is None or isinstance(self.products, HostedProducts):
            return self.products
        return products_at(self.products, self.stacks, self.relating, correlation, residual)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginalProgram:
    """Random effects, and coefficients with flat or normal priors, integrated out; the rest sampled.

    Attributes
    ----------
    covariances : Covariances
    coefficients : Parameter or None
        The coefficients that are sampled, site ``beta_sampled``.
    """

    covariances: Covariances
    coefficients: Parameter | None

    def __call__(self, data: MarginalData) -> None:
        """Declare the model."""
        factors, sigma, residual = self.covariances.sample(data.covariances)
        factors = self.covariances.on_columns(factors, data.covariances)
        sampled = self.coefficients.sample(data.coefficients) if self.coefficients else None
        numpyro.factor("log_likelihood", self.log_likelihood(data, factors, sigma, sampled, residual))

    @property
    def correlation(self) -> Correlation | None:
        """Structure of the residuals of a group."""
        return self.covariances.correlation

    def log_likelihood(
        self,
        data: MarginalData,
        factors: Sequence[Float[Array, "k k"]],
        sigma: Float[Array, ""],
        sampled: Float[Array, " s"] | None = None,
        residual: Float[Array, " f"] | None = None,
    ) -> Float[Array, ""]:
        """Return log p(y | covariances, sampled coefficients), given factors F of Var(b); the rest integrated out."""
        return _log_likelihood(data, tuple(factors), sigma, sampled, residual, self.correlation)

    def recover(self, sites: Mapping[str, Array], data: MarginalData, key: Array) -> dict[str, Array]:
        """Draw what was integrated out from its exact conditional, given one draw of the rest."""
        effects = draw_effects(*self._given(sites, data, key))
        return self._named(effects.b, "b_{}") | ({"beta": effects.beta} if effects.beta.size else {})

    def recover_coefficients(self, sites: Mapping[str, Array], data: MarginalData, key: Array) -> dict[str, Array]:
        """Draw the coefficients alone."""
        return {name: value for name, value in self.recover(sites, data, key).items() if name == "beta"}

    def read_coefficients(self, sites: Mapping[str, Array], data: MarginalData) -> dict[str, Array]:
        """Values of the coefficients that are sampled, among all, as `moments` names them."""
        if self.coefficients is None:
            return {}
        return {
            "beta_mean": all_coefficients(data.prior, jnp.zeros_like(data.prior.mean), sites[self.coefficients.name])
        }

    def moments(self, sites: Mapping[str, Array], data: MarginalData) -> dict[str, Array]:
        """Conditional means and variances of what was integrated out, given one draw of the rest."""
        products, factors, sigma, prior, _, sampled = self._given(sites, data, None)
        found = effect_moments(products, factors, sigma, prior, sampled)
        effects = self._named(found.b_mean, "b_{}_mean") | self._named(found.b_variance, "b_{}_variance")
        if not found.beta_mean.size:
            return effects
        return {"beta_mean": found.beta_mean, "beta_variance": found.beta_variance} | effects

    def _given(self, sites: Mapping[str, Array], data: MarginalData, key: Array | None) -> tuple[Any, ...]:
        """Arguments of the functions of `bayesmm.marginal.in_jax.recovery` at one draw."""
        factors, sigma, residual = self.covariances.factors(sites, data.covariances)
        factors = self.covariances.on_columns(factors, data.covariances)
        sampled = sites[self.coefficients.name] if self.coefficients else None
        relative = [factor / sigma for factor in factors]
        return data.at(self.correlation, residual), relative, sigma, conditional_prior(data, sampled), key, sampled

    def _named(self, values: Sequence[Array], pattern: str) -> dict[str, Array]:
        """Values of each grouping factor, padded levels cut off, by name."""
        pairs = zip(self.covariances.blocks, values, strict=True)
        return {pattern.format(block.label): value[: block.n_levels] for block, value in pairs}

    def __str__(self) -> str:
        sampled = [str(site) for site in (self.coefficients.sites if self.coefficients else ())]
        lines = [
            *self.covariances.lines(),
            *sampled,
            "y ~ Normal, random effects and other coefficients integrated out",
        ]
        return "\n".join(["marginal program", *(f"  {visible(line)}" for line in lines)])


@partial(jax.jit, static_argnames="correlation")  # traced once, however often the model is
def _log_likelihood(
    data: MarginalData,
    factors: tuple[Float[Array, "k k"], ...],
    sigma: Float[Array, ""],
    sampled: Array | None,
    residual: Array | None,
    correlation: Correlation | None,
) -> Float[Array, ""]:
    relative = [factor / sigma for factor in factors]
    products = data.at(correlation, residual)
    return log_density(
        products, relative, sigma, conditional_prior(data, sampled), sampled, by_sums=residual is not None
    )


def conditional_prior(data: MarginalData, sampled: Array | None) -> FixedPrior:
    """Prior of the integrated coefficients, given those that are sampled."""
    if sampled is None:
        return data.prior
    return data.prior._replace(mean=data.prior.mean - data.prior.root @ (data.dependence @ sampled))


class ConditionalData(NamedTuple):
    """Arguments of the conditional program.

    Attributes
    ----------
    y, offset, root_weights : arrays, shape (n,)
        Response (None where it is to be drawn), offset, square roots of the prior weights.
    X, columns, means, parent_codes, links
        See `Centring`: columns of what is not the mean of something else (by block and membership), and of what centred
        effects have as means.
    codes : tuple of tuple of arrays of int, shape (n,)
        Level of each row, by block and membership.
    inverse_contrast : array, shape (p, p)
        T⁻¹: coefficients from the quantities that priors are about.
    degrees : array, shape (blocks,)
        Degrees of centring.
    references : tuple of array, shape (k, k)
        F₀ of partly centred effects, by block.
    covariances : CovarianceData
    coefficients : tuple of mappings
        Numbers of the priors of the coefficients, by site.
    groups : tuple of GroupRows
        Of rows whose residuals hang together.
    level_roots : tuple of array, shape (q, q), or None
        V of each block whose levels are related: their effects are V times independent ones.
    """

    y: Float[Array, " n"] | None
    offset: Float[Array, " n"]
    root_weights: Float[Array, " n"]
    X: Float[Array, "n p"]
    codes: tuple[tuple[Int[Array, " n"], ...], ...]
    columns: tuple[tuple[Float[Array, "n k"], ...], ...]
    means: tuple[Float[Array, "k p"], ...]
    parent_codes: tuple[Int[Array, " q"], ...]
    links: tuple[Float[Array, "k l"], ...]
    inverse_contrast: Float[Array, "p p"]
    degrees: Float[Array, " blocks"]
    references: tuple[Float[Array, "k k"], ...]
    covariances: CovarianceData
    coefficients: tuple[Numbers, ...]
    groups: tuple[GroupRows, ...] = ()
    level_roots: tuple[Float[Array, "q q"] | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionalProgram:
    """The textbook hierarchical model: every coefficient and every random effect is sampled.

    Attributes
    ----------
    covariances : Covariances
    coefficients : Parameter or None
        ``beta``, or ``beta_at_means`` where a prior is about the expected response at the means of the predictors.
    parameterisations : tuple of {"centred", "partial", "noncentred"}
        By block; how much "partial" is, is an argument.
    order, parents
        See `Centring`.
    relations : tuple of str
        By block, the matrix that relates its levels, or "".
    """

    covariances: Covariances
    coefficients: Parameter | None
    parameterisations: tuple[Centred, ...]
    order: tuple[int, ...]
    parents: tuple[int | None, ...]
    relations: tuple[str, ...] = ()

    @property
    def effect_sites(self) -> tuple[str, ...]:
        """Sites of the random effects, block by block."""
        blocks = zip(self.covariances.blocks, self.parameterisations, strict=True)
        return tuple(f"{PREFIXES[how]}_{block.label}" for block, how in blocks)

    def __call__(self, data: ConditionalData) -> None:
        """Declare the model."""
        mean, sigma, residual = self._sample_mean(data)
        if residual is None:
            numpyro.sample("y", dist.Normal(mean, sigma / data.root_weights), obs=data.y)
        else:
            covariances = group_covariances(self.covariances.correlation, residual, data.groups)
            log_scales = self._log_scales(residual, mean)
            numpyro.sample("y", GroupNormal(mean, sigma, covariances, data.groups, log_scales), obs=data.y)

    def linear_predictor(self, data: ConditionalData) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Declare everything but the response, inside a NumPyro model: what to call to give it another distribution.

        Parameters
        ----------
        data : ConditionalData
            The argument of the program.

        Returns
        -------
        mean : array, shape (n,)
            Xβ + Zb + offset.
        scale : array, shape (n,)
            σ/√w of each row; its standard deviation where residuals have a covariance.
        """
        mean, sigma, residual = self._sample_mean(data)
        if residual is None:
            return mean, sigma / data.root_weights
        scale = jnp.zeros_like(mean)
        for group, R in zip(
            data.groups, group_covariances(self.covariances.correlation, residual, data.groups), strict=True
        ):
            own = sigma * jnp.sqrt(jnp.diagonal(R, axis1=1, axis2=2))
            scale = scale.at[group.rows].set(own[group.pattern])
        return mean, scale * jnp.exp(self._log_scales(residual, mean))

    def _log_scales(self, residual: Float[Array, " f"], mean: Float[Array, " n"]) -> Float[Array, " n"] | float:
        """Logarithms of what the means multiply standard deviations by."""
        assert self.covariances.residual is not None
        return self.covariances.residual.growth.log_scales(jnp, residual, mean)

    def _sample_mean(
        self, data: ConditionalData
    ) -> tuple[Float[Array, " n"], Float[Array, ""], Float[Array, " f"] | None]:
        factors, sigma, residual = self.covariances.sample(data.covariances)
        beta = self._sample_beta(data)
        mean = data.offset + data.X @ beta
        effects: dict[int, Array] = {}
        for f in self.order:
            block, parent = self.covariances.blocks[f], self.parents[f]
            around = jnp.zeros(block.n_effects)
            if self.parameterisations[f] != "noncentred":
                around = data.means[f] @ beta
                if parent is not None:
                    around = around + effects[parent][data.parent_codes[f]] @ data.links[f].T
            deviations = self._sample_deviations(f, factors[f], around, data)
            back = data.covariances.to_columns[f]
            numpyro.deterministic(f"b_{block.label}", deviations @ back.T if block.at_means else deviations)
            effects[f] = around + deviations
            for columns, codes in zip(data.columns[f], data.codes[f], strict=True):
                mean = mean + (columns * effects[f][codes]).sum(axis=1)
        return mean, sigma, residual

    def _sample_deviations(
        self, f: int, factor: Float[Array, "k k"], around: Float[Array, "*q k"], data: ConditionalData
    ) -> Float[Array, "q k"]:
        block = self.covariances.blocks[f]
        match self.parameterisations[f]:
            case "noncentred":
                independent, V = _sample_noncentred(block, factor), data.level_roots[f] if data.level_roots else None
                return independent if V is None else V @ independent
            case "centred":
                return _sample_centred(block, factor, around)
            case "partial":
                return sample_partly_centred(block, factor, data.references[f], around, data.degrees[f])

    def _sample_beta(self, data: ConditionalData) -> Float[Array, " p"]:
        if self.coefficients is None:
            return jnp.zeros(0)
        beta = self.coefficients.sample(data.coefficients)
        if self.coefficients.name == "beta":
            return beta
        return jnp.asarray(numpyro.deterministic("beta", data.inverse_contrast @ beta))

    def __str__(self) -> str:
        lines = [
            *self.covariances.lines(),
            *(str(site) for site in (self.coefficients.sites if self.coefficients else ())),
        ]
        relations = self.relations or ("",) * len(self.parameterisations)
        each = zip(self.effect_sites, self.covariances.blocks, self.parameterisations, relations, strict=True)
        for site, block, how, relation in each:
            related = f", times a root of {relation} over the levels" if relation else ""
            lines.append(f"{site}[{block.n_levels}, {len(block.directions)}] ~ Normal ({how}{related})")
        how = [", jointly within residual groups"] if self.covariances.correlation else []
        if self.covariances.residual and self.covariances.residual.growth:
            how.append(", its standard deviation by its own mean")
        lines.append(f"y ~ Normal{''.join(how)}")
        return "\n".join(["conditional program", *(f"  {visible(line)}" for line in lines)])


def _sample_noncentred(block: Block, factor: Float[Array, "k k"]) -> Float[Array, "q k"]:
    free = block.directions
    z = numpyro.sample(f"z_{block.label}", dist.Normal(jnp.zeros((block.n_levels, len(free))), 1.0).to_event(2))
    return jnp.asarray(z @ (factor if len(free) == block.n_effects else factor[:, free]).T)


def _sample_centred(block: Block, factor: Float[Array, "k k"], around: Float[Array, "*q k"]) -> Float[Array, "q k"]:
    """Sample each level's effects together with what they vary around; return the effects."""
    mean = jnp.broadcast_to(around, (block.n_levels, block.n_effects))
    if block.matrices:
        prior = dist.MultivariateNormal(mean, scale_tril=factor).to_event(1)
    else:
        prior = dist.Normal(mean, jnp.diag(factor)).to_event(2)
    return jnp.asarray(numpyro.sample(f"r_{block.label}", prior)) - mean
