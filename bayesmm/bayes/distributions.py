"""From a declared prior to the NumPyro distribution that stands for it."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from numpyro.distributions import constraints

SUPPORTS = {"real line": constraints.real, "positive numbers": constraints.positive}


class HalfStudentT(dist.Distribution):
    """Student-t(df, 0, scale) cut at zero.

    Written out because NumPyro's ways to it evaluate the density twice (folded) or an incomplete beta function
    (truncated).

    Parameters
    ----------
    df, scale : arrays
        Degrees of freedom and scale.
    """

    arg_constraints = {"df": constraints.positive, "scale": constraints.positive}  # noqa: RUF012 - NumPyro's protocol
    support = constraints.positive  # pyright: ignore[reportAssignmentType]
    reparametrized_params = ["df", "scale"]  # noqa: RUF012 - NumPyro's protocol

    def __init__(self, df: jax.Array, scale: jax.Array, *, validate_args: bool | None = None) -> None:
        self.df, self.scale = jnp.broadcast_arrays(df, scale)
        super().__init__(batch_shape=jnp.shape(self.scale), validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw from the distribution."""
        return jnp.abs(self.scale * jax.random.t(key, self.df, sample_shape + self.batch_shape))

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Evaluate the log density."""
        z, df = value / self.scale, self.df
        normaliser = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * jnp.log(df * jnp.pi) + jnp.log(2.0)
        return normaliser - jnp.log(self.scale) - 0.5 * (df + 1) * jnp.log1p(z * z / df)


FAMILIES = {
    "Normal": lambda mean, sd: dist.Normal(mean, sd),
    "StudentT": lambda df, mean, scale: dist.StudentT(df, mean, scale),
    "Cauchy": lambda mean, scale: dist.Cauchy(mean, scale),
    "Laplace": lambda mean, scale: dist.Laplace(mean, scale),
    "HalfNormal": lambda sd: dist.HalfNormal(sd),
    "HalfStudentT": lambda df, scale: HalfStudentT(df, scale),
    "HalfCauchy": lambda scale: dist.HalfCauchy(scale),
    "Exponential": lambda rate: dist.Exponential(rate),
    "Gamma": lambda shape, rate: dist.Gamma(shape, rate),
    "InverseGamma": lambda shape, scale: dist.InverseGamma(shape, scale),
    "LogNormal": lambda mean, sd: dist.LogNormal(mean, sd),
    "Uniform": lambda lower, upper: dist.Uniform(lower, upper),
}


def distribution(
    family: str, numbers: Mapping[str, jax.Array], shape: tuple[int, ...], support: str
) -> dist.Distribution:
    """Make the distribution of one site.

    Parameters
    ----------
    family : str
        Name of the declaration's class.
    numbers : mapping of str to array
        Its numbers, each of the shape of the site.
    shape : tuple of int
        Shape of the site, all of it one event.
    support : {"real line", "positive numbers"}
        Where a flat prior is flat.

    Returns
    -------
    numpyro.distributions.Distribution
    """
    if family == "Flat":
        return dist.ImproperUniform(SUPPORTS[support], (), event_shape=shape)
    base = FAMILIES[family](**numbers)
    return base.to_event(len(shape)) if shape else base
