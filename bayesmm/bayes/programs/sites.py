"""Parameters as NumPyro sites: which entries share a site, and how a site becomes the parameter again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import numpyro
from jaxtyping import Array, Float

from bayesmm.bayes.priors.families import FAMILIES
from bayesmm.bayes.programs.distributions import LOG_PEAK, distribution, log_spread_density
from bayesmm.specification.prior import Prior, Scale

Numbers = Mapping[str, Array]  # the numbers of the priors of one site, each (m,), or scalars
INSIDE = 1e-3  # of an interval's width: how near to a limit a start may be
ALL = 1e-12  # of a variance: what is left where a share is all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Entries of a parameter whose priors are of one family; hashable.

    Attributes
    ----------
    name : str
        Of the NumPyro site.
    family : str
        Of the priors.
    positions : tuple of int
        Which entries of the parameter; empty for a scalar.
    scale : {"sd", "variance", "share"}
        Whether the site holds the entries, their squares, or their shares of the variance.
    support : str
        Where the values lie; for a flat prior "real line" or "positive numbers".
    """

    name: str
    family: str
    positions: tuple[int, ...]
    scale: Scale
    support: str

    def __str__(self) -> str:
        return f"{self.name}{list(self.positions) if self.positions else ''} ~ {self.family}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A scalar or vector parameter made of one site or several; hashable."""

    name: str
    size: int | None
    sites: tuple[Site, ...]

    def sample(self, numbers: Sequence[Numbers], sigma: Array | None = None) -> Float[Array, "*m"]:
        """Sample every site and put the parameter together; inside a NumPyro model."""
        values = [_sample(site, given, sigma) for site, given in zip(self.sites, numbers, strict=True)]
        if self.size is None or len(values) == 1:
            value = values[0]
        else:
            value = jnp.zeros(self.size)
            for site, part in zip(self.sites, values, strict=True):
                value = value.at[np.array(site.positions)].set(part)
        if [site.name for site in self.sites] != [self.name] and self.size != 0:
            numpyro.deterministic(self.name, value)
        return value

    def log_density(self, sd: Array, numbers: Sequence[Numbers], sigma: Array) -> Float[Array, ""]:
        """Log density of all standard deviations (m,), where they are not sampled themselves."""
        given = zip(self.sites, numbers, strict=True)
        found = [log_spread_density(s.family, s.scale, own, sd[np.array(s.positions)], sigma) for s, own in given]
        return sum((each.sum() for each in found), jnp.zeros(()))

    def limits(self, numbers: Sequence[Numbers], sigma: Array | float) -> list[tuple[np.ndarray, Array, Array]]:
        """Positions, lower and upper limits of the standard deviations that uniform priors leave."""
        found = []
        for site, given in zip(self.sites, numbers, strict=True):
            if site.family == "Uniform":
                limits = [jnp.asarray(given[name]) for name in ("lower", "upper")]
                if site.scale == "variance":
                    limits = [jnp.sqrt(limit) for limit in limits]
                elif site.scale == "share":
                    limits = [sigma * jnp.sqrt(limit / jnp.maximum(1.0 - limit, ALL)) for limit in limits]
                found.append((np.array(site.positions), *limits))
        return found

    def start(
        self, value: np.ndarray | float, numbers: Sequence[Numbers], sigma: float | None = None
    ) -> dict[str, np.ndarray]:
        """Values of the sites at a value of the parameter, moved inside the support where they are not."""
        start = {}
        for site, given in zip(self.sites, numbers, strict=True):
            part = _entries(site, value)
            if site.scale == "variance":
                part = part**2
            elif site.scale == "share":
                assert sigma is not None, "a share of the variance is one of sd² + sigma²"
                part = part**2 / (part**2 + sigma**2)
            start[site.name] = _inside(site, part, given)
        return start

    def start_at_priors(self, value: np.ndarray | float, numbers: Sequence[Numbers]) -> dict[str, np.ndarray]:
        """Values of the sites where their priors have their centres, or else at a value of the parameter."""
        start = self.start(value, numbers)
        return start | {
            site.name: np.broadcast_to(np.asarray(given["mean"], dtype=float), start[site.name].shape)
            for site, given in zip(self.sites, numbers, strict=True)
            if "mean" in given
        }

    def scales(
        self, value: np.ndarray | float, error: np.ndarray | float, numbers: Sequence[Numbers]
    ) -> dict[str, np.ndarray]:
        """Carry standard errors of the parameter over to the unconstrained scale of its sites."""
        scales = {}
        for site, given in zip(self.sites, numbers, strict=True):
            at, width = _entries(site, value), _entries(site, error)
            at = _inside(site, at, given)
            limits = _limits(site, given)
            if limits is not None:
                lower, upper = limits
                width = width * (upper - lower) / ((at - lower) * (upper - at))
            elif site.support == "positive numbers":
                width = width / at
            scales[site.name] = width if site.support == "real line" else np.clip(width, 0.01, 1.0)
        return scales


def _entries(site: Site, values: np.ndarray | float) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    return array[list(site.positions)] if site.positions else array


def _sample(site: Site, numbers: Numbers, sigma: Array | None) -> Array:
    shape = (len(site.positions),) if site.positions else ()
    prior = distribution(site.family, numbers, shape, site.support, sigma)
    value = jnp.asarray(numpyro.sample(site.name, prior))
    match site.scale:
        case "variance":
            return jnp.sqrt(value)
        case "share":
            assert sigma is not None, "a share of the variance is one of sd² + sigma²"
            return sigma * jnp.sqrt(value / (1.0 - value))
        case _:
            return value


def _limits(site: Site, numbers: Numbers) -> tuple[np.ndarray, np.ndarray] | None:
    if site.family == "Uniform":
        return np.asarray(numbers["lower"]), np.asarray(numbers["upper"])
    return (np.zeros(()), np.ones(())) if site.support == "shares" else None


def _inside(site: Site, value: np.ndarray, numbers: Numbers) -> np.ndarray:
    limits = _limits(site, numbers)
    if limits is not None:
        lower, upper = limits
        margin = INSIDE * (upper - lower)
        return np.clip(value, lower + margin, upper - margin)
    return np.where(value > 0, value, 1.0) if site.support == "positive numbers" else value


def declare_parameter(
    name: str,
    priors: Sequence[Prior],
    *,
    support: str,
    scale_names: Mapping[Scale, str] | None = None,
    scalar: bool = False,
) -> tuple[Parameter, tuple[dict[str, np.ndarray], ...]]:
    """Lay out a parameter's sites and the numbers of their priors.

    Parameters
    ----------
    name : str
        Of the parameter; its only site has the same name, several have the family's added.
    priors : sequence of Prior
        Of the entries.
    support : {"real line", "positive numbers"}
        Where flat priors are flat.
    scale_names : mapping of {"variance", "share"} to str, optional
        Names of sites instead of `name` where the prior is about the square or the share of the variance.
    scalar : bool
        Whether the parameter is a scalar; `priors` has one member then.

    Returns
    -------
    parameter : Parameter
        Static.
    numbers : tuple of dict of str to array
        Arguments of the program.
    """
    kinds: dict[tuple[str, Scale], list[int]] = {}
    for position, prior in enumerate(priors):
        kinds.setdefault((prior.family, prior.stated_for), []).append(position)
    sites, numbers = [], []
    for (family, scale), positions in kinds.items():
        base = (scale_names or {}).get(scale, name)
        sites.append(
            Site(
                name=base if len(kinds) == 1 else f"{base}_{family}",
                family=family,
                positions=() if scalar else tuple(positions),
                scale=scale,
                support=priors[positions[0]].support if family != "Flat" else support,
            )
        )
        table = [priors[position].numbers for position in positions]
        gathered = {key: np.array([row[key] for row in table]) for key in table[0]}
        if family == "HalfStudentT":
            gathered[LOG_PEAK] = FAMILIES[family].log_density(0.0, **gathered)
        numbers.append({key: values[0] if scalar else values for key, values in gathered.items()})
    parameter = Parameter(name=name, size=None if scalar else len(priors), sites=tuple(sites))
    return parameter, tuple(numbers)
