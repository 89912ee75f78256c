"""From a declared prior to the NumPyro distribution that stands for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from numpyro.distributions import constraints

from bayesmm.specification.prior import Scale
from bayesmm.specification.priors import PRIORS

SUPPORTS = {"real line": constraints.real, "positive numbers": constraints.positive}


class HalfStudentT(dist.Distribution):
    """Student-t(df, 0, scale) cut at zero.

    Written out because NumPyro's ways to it evaluate the density twice (folded) or an incomplete beta function
    (truncated), and both compile gamma functions of what is known before.

    Parameters
    ----------
    df, scale : arrays
        Degrees of freedom and scale.
    log_peak : array, optional
        Log density at zero.
    """

    arg_constraints = {"df": constraints.positive, "scale": constraints.positive}  # noqa: RUF012 - NumPyro's protocol
    support = constraints.positive  # pyright: ignore[reportAssignmentType]
    reparametrized_params = ["df", "scale"]  # noqa: RUF012 - NumPyro's protocol

    def __init__(
        self, df: jax.Array, scale: jax.Array, log_peak: jax.Array | None = None, *, validate_args: bool | None = None
    ) -> None:
        self.df, self.scale = jnp.broadcast_arrays(df, scale)
        self.log_peak = _log_peak(self.df, self.scale) if log_peak is None else log_peak
        super().__init__(batch_shape=jnp.shape(self.scale), validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw from the distribution."""
        return jnp.abs(self.scale * jax.random.t(key, self.df, sample_shape + self.batch_shape))

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Evaluate the log density."""
        z = value / self.scale
        return self.log_peak - 0.5 * (self.df + 1) * jnp.log1p(z * z / self.df)


def _log_peak(df: jax.Array, scale: jax.Array) -> jax.Array:
    return gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * jnp.log(df * jnp.pi) + jnp.log(2.0) - jnp.log(scale)


class ImproperPositive(dist.ImproperUniform):
    """An improper density on the positive numbers, known up to a constant.

    Parameters
    ----------
    log_density : callable
        Of each entry.
    event_shape : tuple of int
        Shape of the value, all of it one event.
    """

    def __init__(self, log_density: Callable[[jax.Array], jax.Array], event_shape: tuple[int, ...]) -> None:
        self.log_density = log_density
        super().__init__(constraints.positive, (), event_shape)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Evaluate the log density, up to a constant."""
        event_axes = tuple(range(-len(self.event_shape), 0))
        return jnp.sum(self.log_density(value), axis=event_axes)


LOG_PEAK = "log_peak"  # among the numbers of a site, where they were made on the host
PARAMETERS = {family.__name__: family.parameters() for family in PRIORS}


def distribution(
    family: str,
    numbers: Mapping[str, jax.Array],
    shape: tuple[int, ...],
    support: str,
    sigma: jax.Array | float | None = None,
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
    sigma : scalar, optional
        Residual standard deviation, for a family whose density depends on it.

    Returns
    -------
    numpyro.distributions.Distribution

    Notes
    -----
    Families are named as NumPyro names them, and have their numbers in its order, so that they need no list here.
    """
    match family:
        case "Flat":
            return dist.ImproperUniform(SUPPORTS[support], (), event_shape=shape)
        case "Reciprocal":
            return ImproperPositive(lambda value: -jnp.log(value), shape)
        case "BoxTiao":
            assert sigma is not None, "the prior of Box and Tiao is one given sigma"
            size, variance = numbers["size"], jnp.square(sigma)
            return ImproperPositive(lambda value: -jnp.log(variance + size * value), shape)
        case _:
            given = [numbers[name] for name in PARAMETERS[family]]  # a mapping may come sorted out of JAX
            if family == "HalfStudentT":
                base: dist.Distribution = HalfStudentT(*given, numbers.get(LOG_PEAK))
            else:
                base = getattr(dist, family)(*given)
            return base.to_event(len(shape)) if shape else base


def log_spread_density(
    family: str, scale: Scale, numbers: Mapping[str, jax.Array], sd: jax.Array, sigma: jax.Array | float
) -> jax.Array:
    """Return the log density of standard deviations, whatever the prior is stated for.

    Parameters
    ----------
    family : str
        Name of the declaration's class.
    scale : {"sd", "variance", "share"}
        What the prior is stated for.
    numbers : mapping of str to array
        Numbers of the declarations, (m,) or scalars.
    sd : array, shape (m,)
        Standard deviations.
    sigma : scalar
        Residual standard deviation.

    Returns
    -------
    array, shape (m,)
        Up to a constant where the prior is improper.

    Notes
    -----
    p(sd) = p(sd²) 2 sd; and p(sd) = p(s) 2 sd σ² / (sd² + σ²)² for the share s = sd² / (sd² + σ²).
    """
    stated, log_slope = sd, jnp.zeros_like(sd)
    if scale == "variance":
        stated, log_slope = sd**2, jnp.log(2.0 * sd)
    elif scale == "share":
        total = sd**2 + sigma**2
        stated, log_slope = sd**2 / total, jnp.log(2.0 * sd * sigma**2 / total**2)
    return jnp.asarray(distribution(family, numbers, (), "positive numbers", sigma).log_prob(stated)) + log_slope
