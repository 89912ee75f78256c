"""The unconstrained position of a NumPyro model as two vectors: one adapted with a dense mass matrix, one without."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro import handlers
from numpyro.infer import init_to_value
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

ModelFunction = Callable[..., Any]
Position = dict[str, Array]  # "dense" (d,) and "diagonal" (m,); a part without entries is left out
Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class Place(NamedTuple):
    """The sampler's coordinates: value = centre + scale * position, bent for sites that may be near zero.

    Attributes
    ----------
    centre, scale : Position
        Origin and unit.
    small : dict of str to array
        Sizes below which the value of a bent site is as good as zero.
    """

    centre: Position
    scale: Position
    small: dict[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinates:
    """Which sites stand where in the two vectors; hashable, so that compiled programs can be kept by it.

    Attributes
    ----------
    dense, diagonal : tuple of (name, shape)
        Sites and their unconstrained shapes, in order.
    bent : tuple of str
        Sites of positive values that may be near zero.
    """

    dense: Shapes
    diagonal: Shapes
    bent: tuple[str, ...]

    @property
    def n_dense(self) -> int:
        """Number of entries with a dense mass matrix."""
        return sum(math.prod(shape) for _, shape in self.dense)

    @property
    def size(self) -> int:
        """Number of entries in all."""
        return sum(math.prod(shape) for _, shape in self.dense + self.diagonal)

    def lay_out(self, scales: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Lay out a scale for every entry, 1 where none is given."""
        parts = {"dense": self.dense, "diagonal": self.diagonal}
        return {
            part: np.concatenate([np.broadcast_to(scales.get(name, 1.0), shape).ravel() for name, shape in shapes])
            for part, shapes in parts.items()
            if shapes
        }

    def join(self, sites: Mapping[str, Array]) -> Position:
        """Concatenate unconstrained sites."""
        parts = {"dense": self.dense, "diagonal": self.diagonal}
        return {
            part: jnp.concatenate([jnp.ravel(sites[name]) for name, _ in shapes])
            for part, shapes in parts.items()
            if shapes
        }

    def split(self, position: Position) -> dict[str, Array]:
        """Take the unconstrained sites apart again."""
        sites = {}
        for part, shapes in (("dense", self.dense), ("diagonal", self.diagonal)):
            start = 0
            for name, shape in shapes:
                stop = start + math.prod(shape)
                sites[name] = position[part][start:stop].reshape(shape)
                start = stop
        return sites


def start_sites(model: ModelFunction, data: Any, start: Mapping[str, Any], key: Array) -> dict[str, Array]:
    """Compute a model's unconstrained sites at constrained values; sites without one start near zero at random."""
    begun = handlers.substitute(handlers.seed(model, key), substitute_fn=init_to_value(values=dict(start)))
    trace = handlers.trace(begun).get_trace(data)
    values = {
        name: site["value"] for name, site in trace.items() if site["type"] == "sample" and not site["is_observed"]
    }
    return unconstrain_fn(handlers.substitute(model, data=values), (data,), {}, values)


def find_coordinates(
    model: ModelFunction,
    data: Any,
    start: Mapping[str, Any],
    *,
    diagonal: Collection[str],
    bent: Collection[str],
    most: int,
) -> Coordinates:
    """Read a model's sites and shapes without computing anything.

    Parameters
    ----------
    model : callable
        A NumPyro model of one argument.
    data : pytree
        That argument.
    start : mapping of str to array
        Constrained starting values.
    diagonal : collection of str
        Sites that get a diagonal mass matrix.
    bent : collection of str
        Sites of positive values that may be near zero.
    most : int
        If the sites without a diagonal mass matrix have more entries than this, they get one too.
    """
    sites = jax.eval_shape(lambda d, s: start_sites(model, d, s, jax.random.key(0)), data, dict(start))
    shapes = [(name, tuple(sites[name].shape)) for name in sorted(sites)]
    dense = tuple(item for item in shapes if item[0] not in diagonal)
    if sum(math.prod(shape) for _, shape in dense) > most:
        dense = ()
    others = tuple(item for item in shapes if item not in dense)
    return Coordinates(dense=dense, diagonal=others, bent=tuple(sorted(set(bent) & set(sites))))


def unconstrained(coordinates: Coordinates, place: Place, position: Position) -> tuple[dict[str, Array], Array]:
    """Take a position of the sampler to unconstrained sites, with the log Jacobian of the bends.

    Notes
    -----
    The posterior density of a standard deviation that the data cannot tell from zero is flat there, so that of its
    logarithm falls off only as exp(u): chains wander far to the left and come back seldom. With
    u = log(small) + t(x), t(x) = x − s(−x)²/2 and s the softplus, the tail in x is Gaussian, while above `small` x is
    the logarithm still. Measured: the smallest effective sample size is multiplied by 1.8 for eight schools and
    Dyestuff2, by 1.3 for Dyestuff and Pastes, and by 1 where the spread of every grouping factor is well known.
    """
    sites = coordinates.split(jax.tree.map(lambda c, s, w: c + s * w, place.centre, place.scale, position))
    log_jacobian = jnp.zeros(())
    for name in coordinates.bent:
        x = sites[name]
        s = jax.nn.softplus(-x)
        sites[name] = jnp.log(place.small[name]) + x - 0.5 * s * s
        log_jacobian += jnp.log1p(s * jax.nn.sigmoid(-x)).sum()
    return sites, log_jacobian


def straighten(coordinates: Coordinates, small: Mapping[str, Array], sites: Mapping[str, Array]) -> dict[str, Array]:
    """Undo the bends, near enough for a centre of coordinates."""
    straight = dict(sites)
    for name in coordinates.bent:
        t = sites[name] - jnp.log(small[name])
        straight[name] = jnp.where(t > 0, t, 1.0 - jnp.sqrt(1.0 - 2.0 * jnp.minimum(t, 0.0)))
    return straight


def potential_of(model: ModelFunction, coordinates: Coordinates) -> Callable[[Any, Place], Callable[[Position], Array]]:
    """Build the negative log density of a model at a position of the sampler, with its gradient traced once.

    NUTS differentiates its potential wherever it steps; a stored value-and-gradient is traced at the first.
    """

    def energy(data: Any, place: Place, position: Position) -> Array:
        sites, log_jacobian = unconstrained(coordinates, place, position)
        return potential_energy(model, (data,), {}, sites) - log_jacobian

    value_and_gradient = jax.jit(jax.value_and_grad(energy, argnums=2))

    @jax.custom_vjp
    def potential(data: Any, place: Place, position: Position) -> Array:
        return value_and_gradient(data, place, position)[0]

    def backward(gradient: Position, cotangent: Array) -> tuple[None, None, Position]:
        return None, None, jax.tree.map(lambda g: g * cotangent, gradient)

    potential.defvjp(value_and_gradient, backward)
    return lambda data, place: lambda position: potential(data, place, position)


def constrained(
    model: ModelFunction, coordinates: Coordinates, data: Any, place: Place, position: Position
) -> dict[str, Array]:
    """Sites on their own scales, deterministic ones included."""
    return constrain_fn(model, (data,), {}, unconstrained(coordinates, place, position)[0], return_deterministic=True)
