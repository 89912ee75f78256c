"""Sites of a correlation matrix in NumPyro: sampled, read, and where chains begin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from bayesmm.bayes.priors.correlation_sites import CorrelationSite
from bayesmm.bayes.programs.distributions import distribution
from bayesmm.bayes.programs.roots import LKJRoot
from bayesmm.bayes.programs.sites import INSIDE, Numbers

FARTHEST = 1e3  # times that a range is another one's at which a chain may begin
LEAST = float(np.finfo(float).tiny)  # of a share, as in NumPyro's own transform to between 0 and 1
MOST = 1.0 - float(np.finfo(float).eps)


def sample_sites(sites: Sequence[CorrelationSite], numbers: Sequence[Numbers], size: int) -> dict[str, Array]:
    """Sample all; of a factor those of a matrix of so many rows."""
    found = {}
    for site, given in zip(sites, numbers, strict=True):
        if site.held == "factor":
            prior: dist.Distribution = LKJRoot(size, **given)
        else:
            prior = distribution(site.family, given, (len(site.positions),), site.support)
        found[site.name] = jnp.asarray(numpyro.sample(site.name, prior))
    return found


def gather_sites(
    sites: Sequence[CorrelationSite],
    values: Mapping[str, Array],
    convert: Callable[[CorrelationSite, Array, int], Array],
) -> Float[Array, " c"]:
    """Put what the sites hold together, each value converted; those of ranges stay inside their limits."""
    if len(sites) == 1 and sites[0].held == "shares":
        return values[sites[0].name]
    gathered = jnp.zeros(sum(len(site.positions) for site in sites))
    for site in sites:
        for i, which in enumerate(site.positions):
            own = convert(site, values[site.name][i], which)
            gathered = gathered.at[which].set(jnp.clip(own, LEAST, MOST) if site.held == "range" else own)
    return gathered


def start_sites(
    sites: Sequence[CorrelationSite],
    numbers: Sequence[Numbers],
    gathered: np.ndarray,
    convert: Callable[[CorrelationSite, Any, int], Any],
) -> dict[str, np.ndarray]:
    """Values of the sites at what they hold together (c,), inside their limits."""
    found = {}
    for site, given in zip(sites, numbers, strict=True):
        value = np.array([convert(site, gathered[which], which) for which in site.positions])
        if site.held == "range" and site.family != "Uniform":
            half = np.array([convert(site, np.array(0.5), which) for which in site.positions])
            found[site.name] = np.clip(value, half / FARTHEST, half * FARTHEST)
            continue
        lower, upper = (np.asarray(given.get(name, limit)) for name, limit in (("lower", 0.0), ("upper", 1.0)))
        margin = INSIDE * (upper - lower)
        found[site.name] = np.clip(value, lower + margin, upper - margin)
    return found


def site_lines(sites: Sequence[CorrelationSite], size: int) -> list[str]:
    """One line for each."""
    return [f"{site.name} ~ {f'LKJCholesky({size})' if site.held == 'factor' else site.family}" for site in sites]
