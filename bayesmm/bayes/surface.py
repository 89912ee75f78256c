"""The posterior of a NumPyro model as a surface over its unconstrained coordinates, evaluated at many positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro.infer.util import potential_energy

from bayesmm.bayes.layout import (
    Layout,
    Model,
    Place,
    Position,
    constrained,
    find_layout,
    potential_of,
    start_sites,
    straighten,
    unconstrained,
)
from bayesmm.bayes.programs import Program, signature

BATCH_ENTRIES = 2**22  # numbers held at once while draws are transformed, 32 MB
MAX_DENSE = 100  # entries; beyond, a dense mass matrix learns too slowly in a warm-up of usual length
MANY = 1024  # positions a call of `energies`
SOME = 512  # positions a call of `describe` or `finish`
SIDE_BY_SIDE = 128  # of them evaluated together; more fall out of the processor's cache
# Compile time is most of a first run. Measured on sleepstudy: level 0 halves it and doubles run time, which suits
# programs that run once; level 1 saves a tenth and costs nothing.
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
    energies : (data, place, positions) -> energies
    finish : (positions, number of the first, seed, data, place) -> sites and generated quantities
    describe : (positions, data, place) -> sites and described quantities
    """

    probe: Program
    energies: Program
    finish: Program
    describe: Program


@lru_cache(maxsize=32)
def build_programs(
    model: Model, layout: Layout, generate: Generator | None, describe: Describer | None
) -> SurfacePrograms:
    """Write the programs of one model; they compile when first called with data of a new shape."""
    potential = potential_of(model, layout)
    return SurfacePrograms(
        probe=Program(_probe(model, layout, potential), QUICK),
        energies=Program(_energies(model, layout), BRISK),
        finish=Program(_finish(model, layout, generate), BRISK),
        describe=Program(_describe(model, layout, describe), QUICK),
    )


def key_of(seed: Array, use: int) -> Array:
    """Make the key of one of the programs; inside them, since every operation outside is a program of its own."""
    return jax.random.fold_in(jax.random.key(seed), use)


def _probe(model: Model, layout: Layout, potential: Callable[[Any, Place], Any]) -> Callable[..., Probe]:
    def probe(
        data: Any, start: dict[str, Array], scale: Position, small: dict[str, Array], positions: Position, seed: Array
    ) -> Probe:
        centre = layout.join(straighten(layout, small, start_sites(model, data, start, key_of(seed, 0))))
        at = jax.value_and_grad(potential(data, Place(centre, scale, small)))
        return Probe(centre, *jax.lax.map(at, positions))

    return probe


def _energies(model: Model, layout: Layout) -> Callable[[Any, Place, Position], Array]:
    def energies(data: Any, place: Place, positions: Position) -> Array:
        def energy(position: Position) -> Array:
            sites, log_jacobian = unconstrained(layout, place, position)
            return potential_energy(model, (data,), {}, sites) - log_jacobian

        return jax.lax.map(energy, positions, batch_size=SIDE_BY_SIDE)

    return energies


def _finish(model: Model, layout: Layout, generate: Generator | None) -> Callable[..., dict[str, Array]]:
    """Transform draws in batches of bounded memory, adding what the model generates from each."""

    def finish(positions: Position, first: Array, seed: Array, data: Any, place: Place) -> dict[str, Array]:
        def one(draw: tuple[Position, Array]) -> dict[str, Array]:
            position, key = draw
            sites = constrained(model, layout, data, place, position)
            return sites if generate is None else sites | generate(model, sites, data, key)

        number = first + jnp.arange(len(jax.tree.leaves(positions)[0]))
        return _map(one, (positions, jax.vmap(partial(jax.random.fold_in, key_of(seed, 2)))(number)))

    return finish


def _describe(model: Model, layout: Layout, describe: Describer | None) -> Callable[..., dict[str, Array]]:
    def described(positions: Position, data: Any, place: Place) -> dict[str, Array]:
        def one(position: Position) -> dict[str, Array]:
            sites = constrained(model, layout, data, place, position)
            return sites if describe is None else sites | describe(model, sites, data)

        return _map(one, positions)

    return described


def _map(function: Callable[[Any], dict[str, Array]], over: Any) -> dict[str, Array]:
    """Map over the first axis, as many at once as bounded memory allows."""
    n = len(jax.tree.leaves(over)[0])
    shapes = jax.tree.leaves(jax.eval_shape(function, jax.tree.map(lambda x: x[0], over)))
    entries = sum(math.prod(x.shape) for x in shapes)
    return jax.lax.map(function, over, batch_size=max(1, min(n, BATCH_ENTRIES // max(entries, 1))))


class Guess(NamedTuple):
    """Constrained values to start around, the sampler's units, and sizes as good as zero."""

    start: dict[str, np.ndarray]
    scale: dict[str, np.ndarray]
    small: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """The log posterior density of one model with its data.

    Attributes
    ----------
    model : callable
        The NumPyro model.
    programs : SurfacePrograms
        What evaluates it.
    layout : Layout
        Which sites stand where in a position.
    data : pytree of arrays
        Argument of the model.
    guess : Guess
        Origin and unit of the coordinates.
    seed : int
        Of all randomness.
    """

    model: Model
    programs: SurfacePrograms
    layout: Layout
    data: Any
    guess: Guess
    seed: int

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Of the probe, but for the positions and the seed."""
        return (self.data, *self.guess)

    def probe(self, positions: Mapping[str, np.ndarray]) -> Probe:
        """Evaluate energy and gradient at positions."""
        return self.programs.probe(*self.arguments, dict(positions), np.int64(self.seed))

    def place(self, centre: Position) -> Place:
        """Fix the coordinates, once a probe has told the centre."""
        return Place(centre, cast(Any, self.guess.scale), cast(Any, self.guess.small))

    def energies(self, place: Place, positions: np.ndarray) -> np.ndarray:
        """Evaluate −log density, up to nothing, at many positions.

        Parameters
        ----------
        place : Place
            The coordinates.
        positions : array, shape (m, d)
            All entries of a position belong to its dense part.

        Returns
        -------
        array, shape (m,)
            Infinite where the density is zero or cannot be evaluated.
        """
        parts = [
            np.asarray(self.programs.energies(self.data, place, part))[:m]
            for part, m in _chunks({"dense": positions}, MANY)
        ]
        unit = np.log(self.guess.scale["dense"]).sum()  # so that the integral is that over the sites
        values = np.concatenate(parts) - unit
        return np.where(np.isnan(values), np.inf, values)

    def describe(self, place: Place, positions: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Read sites and described quantities off positions, part by part."""
        for part, m in _chunks(positions, SOME):
            found = self.programs.describe(part, self.data, place)
            yield {name: np.asarray(values)[:m] for name, values in found.items()}

    def finish(self, place: Place, positions: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Read sites and generated quantities off positions, whose first axis is that of the draws."""
        parts: dict[str, list[np.ndarray]] = {}
        for number, (part, m) in enumerate(_chunks(positions, SOME)):
            found = self.programs.finish(*self._finishing(place, part, number))
            for name, values in found.items():
                parts.setdefault(name, []).append(np.asarray(values)[:m])
        return {name: np.concatenate(values) for name, values in parts.items()}

    def prepare_finish(self, place: Place) -> None:
        """Begin to compile `finish`."""
        widths = {part: len(values) for part, values in self.guess.scale.items()}
        positions = {part: jax.ShapeDtypeStruct((SOME, width), float) for part, width in widths.items()}
        self.programs.finish.prepare(*self._finishing(place, positions, 0))

    def _finishing(self, place: Place, positions: Mapping[str, Any], number: int) -> tuple[Any, ...]:
        return dict(positions), np.int64(number * SOME), np.int64(self.seed), self.data, place


def _chunks(positions: Mapping[str, np.ndarray], size: int) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Parts of one size, so that one compiled program serves all, and how many of each are wanted."""
    n = len(next(iter(positions.values())))
    for first in range(0, n, size):
        part = {name: values[first : first + size] for name, values in positions.items()}
        m = min(size, n - first)
        yield {name: np.concatenate([x, np.repeat(x[:1], size - m, axis=0)]) for name, x in part.items()}, m


def open_surface(
    model: Model,
    data: Any,
    *,
    start: Mapping[str, np.ndarray] | None = None,
    scales: Mapping[str, np.ndarray] | None = None,
    small: Mapping[str, np.ndarray] | None = None,
    diagonal: Collection[str] = (),
    generate: Generator | None = None,
    describe: Describer | None = None,
    seed: int = 0,
) -> Surface:
    """Prepare to evaluate the posterior of a NumPyro model; inside ``jax.enable_x64(True)``.

    Parameters
    ----------
    model, data, start, scales, diagonal, small, generate
        See `bayesmm.bayes.nuts.run_nuts`.
    describe : callable, optional
        Takes the model, the sites of one draw and the data to quantities that `Surface.describe` adds to the sites; a
        function of a module.
    seed : int
        Of all randomness.
    """
    start = {name: np.asarray(value, dtype=float) for name, value in (start or {}).items()}
    small = {name: np.asarray(value, dtype=float) for name, value in (small or {}).items()}
    layout = _layout_of(model, data, start, diagonal, tuple(small))
    return Surface(
        model=model,
        programs=build_programs(model, layout, generate, describe),
        layout=layout,
        data=data,
        guess=Guess(start, layout.spread(scales or {}), small),
        seed=seed,
    )


_LAYOUTS: dict[Hashable, Layout] = {}  # by model and shapes: finding one traces the model, 20 ms


def _layout_of(
    model: Model, data: Any, start: Mapping[str, np.ndarray], diagonal: Collection[str], bent: Collection[str]
) -> Layout:
    key = model, signature((data, dict(start))), tuple(diagonal), tuple(bent)
    if key not in _LAYOUTS:
        _LAYOUTS[key] = find_layout(model, data, start, diagonal=diagonal, bent=bent, most=MAX_DENSE)
    return _LAYOUTS[key]
