"""The compiled programs that evaluate a posterior at many positions, kept per model."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numpyro import infer  # noqa: F401 - loads numpyro, see the package
from numpyro.infer.util import potential_energy

from bayesmm.bayes.exploring.compiling import Program
from bayesmm.bayes.exploring.coordinates import (
    Coordinates,
    ModelFunction,
    Place,
    Position,
    constrained,
    potential_of,
    start_sites,
    straighten,
    unconstrained,
)
from bayesmm.marginal.in_jax.hosted import is_hosted

BATCH_ENTRIES = 2**20  # numbers of data and results for the positions that are computed together, 8 MB
SIDE_BY_SIDE = 128  # positions whose energies are evaluated together, at most; more fall out of the processor's cache
# Compile time is most of a first run. Measured on sleepstudy: level 0 takes a quarter to a half off it and makes loops
# run many times as long, which suits programs that run once; level 1 saves a tenth and costs nothing.
QUICK = {"xla_backend_optimization_level": 0}
BRISK = {"xla_backend_optimization_level": 1}
Generator = Callable[[Any, dict[str, Array], Any, Array], dict[str, Array]]  # (model, sites, data, key) to quantities
Describer = Callable[[Any, dict[str, Array], Any], dict[str, Array]]  # (model, sites, data) to quantities


class Probe(NamedTuple):
    """The unconstrained start, and the potential with its gradient at positions around it."""

    centre: Position
    energy: Array
    gradient: Position


class SurfacePrograms(NamedTuple):
    """Compiled programs of one model, however its posterior is explored.

    Attributes
    ----------
    probe : (data, start, scale, small, positions, seed) -> Probe
    energies : (data, place, positions, how many of them) -> energies, of the others zero
    finish : (positions, number of the first, seed, data, place) -> sites and generated quantities
    describe : (positions, data, place) -> sites and described quantities
    read : (positions, data, place) -> sites and what is read off them alone
    """

    probe: Program
    energies: Program
    finish: Program
    describe: Program
    read: Program


@lru_cache(maxsize=32)
def build_programs(
    model: ModelFunction,
    coordinates: Coordinates,
    generate: Generator | None,
    describe: Describer | None,
    read: Describer | None,
) -> SurfacePrograms:
    """Write the programs of one model; they compile when first called with data of a new shape."""
    potential = potential_of(model, coordinates)
    return SurfacePrograms(
        probe=Program(_probe(model, coordinates, potential), QUICK),
        energies=Program(_energies(model, coordinates), BRISK),
        finish=Program(_finish(model, coordinates, generate), BRISK),
        describe=Program(_describe(model, coordinates, describe), BRISK),
        read=Program(_describe(model, coordinates, read), BRISK),
    )


def key_of(seed: Array, use: int) -> Array:
    """Make the key of one of the programs; inside them, since every operation outside is a program of its own."""
    return jax.random.fold_in(jax.random.key(seed), use)


def generation_key(seed: Array, number: Array) -> Array:
    """Make the key of what is generated from one draw, by its number in the run."""
    return jax.random.fold_in(key_of(seed, 2), number)


def _probe(
    model: ModelFunction, coordinates: Coordinates, potential: Callable[[Any, Place], Any]
) -> Callable[..., Probe]:
    def probe(
        data: Any, start: dict[str, Array], scale: Position, small: dict[str, Array], positions: Position, seed: Array
    ) -> Probe:
        centre = coordinates.join(straighten(coordinates, small, start_sites(model, data, start, key_of(seed, 0))))
        at = jax.value_and_grad(potential(data, Place(centre, scale, small)))
        return Probe(centre, *jax.lax.map(at, positions))

    return probe


def _energies(model: ModelFunction, coordinates: Coordinates) -> Callable[[Any, Place, Position, Array], Array]:
    def energies(data: Any, place: Place, positions: Position, count: Array) -> Array:
        def energy(position: Position) -> Array:
            sites, log_jacobian = unconstrained(coordinates, place, position)
            return potential_energy(model, (data,), {}, sites) - log_jacobian

        n = len(jax.tree.leaves(positions)[0])
        size = min(SIDE_BY_SIDE, _at_once(n, data))

        def step(i: Array, found: Array) -> Array:
            part = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, i * size, size), positions)
            return jax.lax.dynamic_update_slice_in_dim(found, jax.vmap(energy)(part), i * size, 0)

        return jax.lax.fori_loop(0, (count + size - 1) // size, step, jnp.zeros(n))

    return energies


def _finish(
    model: ModelFunction, coordinates: Coordinates, generate: Generator | None
) -> Callable[..., dict[str, Array]]:
    """Transform draws in batches of bounded memory, adding what the model generates from each."""

    def finish(positions: Position, first: Array, seed: Array, data: Any, place: Place) -> dict[str, Array]:
        def one(draw: tuple[Position, Array], data: Any, place: Place) -> dict[str, Array]:
            position, key = draw
            sites = constrained(model, coordinates, data, place, position)
            return sites if generate is None else sites | generate(model, sites, data, key)

        number = first + jnp.arange(len(jax.tree.leaves(positions)[0]))
        keys = jax.vmap(partial(generation_key, seed))(number)
        return _map(one, (positions, keys), data, place)

    return finish


def _describe(
    model: ModelFunction, coordinates: Coordinates, describe: Describer | None
) -> Callable[..., dict[str, Array]]:
    def described(positions: Position, data: Any, place: Place) -> dict[str, Array]:
        def one(position: Position, data: Any, place: Place) -> dict[str, Array]:
            sites = constrained(model, coordinates, data, place, position)
            return sites if describe is None else sites | describe(model, sites, data)

        return _map(one, positions, data, place)

    return described


def _map(function: Callable[..., dict[str, Array]], over: Any, data: Any, place: Place) -> dict[str, Array]:
    """Map over the first axis, as many at once as bounded memory allows."""
    once = jax.jit(function)  # traced once, for the shapes and for the map
    n = len(jax.tree.leaves(over)[0])
    shapes = once.eval_shape(jax.tree.map(lambda x: x[0], over), data, place)
    return jax.lax.map(lambda one: once(one, data, place), over, batch_size=_at_once(n, (shapes, data)))


def _at_once(n: int, numbers: Any) -> int:
    """How many of n positions to compute together; intermediates are about as large as data and results, `numbers`."""
    if is_hosted(numbers):
        return 1
    entries = sum(math.prod(jnp.shape(x)) for x in jax.tree.leaves(numbers))
    return max(1, min(n, BATCH_ENTRIES // max(entries, 1)))
