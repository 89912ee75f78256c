"""The posterior of a NumPyro model as a surface over its unconstrained coordinates, evaluated at many positions."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from bayesmm.bayes.exploring.compiling import signature, trace_alone
from bayesmm.bayes.exploring.coordinates import Coordinates, ModelFunction, Place, Position, find_coordinates
from bayesmm.bayes.exploring.surface_programs import Describer, Generator, Probe, SurfacePrograms, build_programs
from bayesmm.marginal.in_jax.hosted import n_hosted

MAX_DENSE = 100  # entries; beyond, a dense mass matrix learns too slowly in a warm-up of usual length
MANY = 1024  # positions a call of `energies`
FEW = 4  # positions a call of `probe` where no curvature is looked at
SOME = 512  # positions a call of `describe`, `read` or `finish`,
HELD = 2**22  # of fewer where levels are so many that the results of a call would be more numbers
AT_ONCE = 4  # calls under way,
AHEAD = 2**28  # unless their results are larger than this together, 256 MB


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
    coordinates : Coordinates
        Which sites stand where in a position.
    data : pytree of arrays
        Argument of the model, on JAX's device.
    guess : Guess
        Origin and unit of the coordinates.
    seed : int
        Of all randomness.
    """

    model: ModelFunction
    programs: SurfacePrograms
    coordinates: Coordinates
    data: Any
    guess: Guess
    seed: int

    @property
    def log_unit(self) -> float:
        """Log volume of the units of the dense part: log densities of positions less this are those of the sites."""
        return float(np.log(self.guess.scale["dense"]).sum())

    @property
    def some(self) -> int:
        """Positions a call of `describe` or `finish`."""
        return max(1, min(SOME, HELD // n_hosted(self.data)))

    @property
    def probed(self) -> int:
        """Positions a call of `probe`: one and its neighbours, the same number always for one program to serve all."""
        return FEW if self.coordinates.diagonal else self.coordinates.n_dense + 1

    def probe(self, positions: Mapping[str, np.ndarray]) -> Probe:
        """Evaluate energy and gradient at positions."""
        chunks = _chunks(positions, self.probed)
        parts = [(self.programs.probe(*self._probing(part)), m) for part, m in chunks]
        found = [jax.tree.map(lambda x, m=m: np.asarray(x)[:m], probe._replace(centre={})) for probe, m in parts]
        joined = jax.tree.map(lambda *x: np.concatenate(x), *found)
        return joined._replace(centre=jax.tree.map(np.asarray, parts[0][0].centre))

    def prepare_probe(self) -> None:
        """Begin to compile `probe`."""
        widths = {part: len(values) for part, values in self.guess.scale.items()}
        self.programs.probe.prepare(
            *self._probing({part: np.zeros((self.probed, width)) for part, width in widths.items()})
        )

    def _probing(self, positions: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
        return (self.data, *self.guess, dict(positions), np.int64(self.seed))

    def begun_at(self, values: Mapping[str, np.ndarray]) -> Surface:
        """Move the origin to other constrained values."""
        start = {name: np.asarray(values[name], dtype=float) for name in self.guess.start}
        return replace(self, guess=self.guess._replace(start=start))

    def in_units(self, widths: Mapping[str, np.ndarray]) -> Surface:
        """Measure positions in other units, widths of the present ones."""
        scale = {part: values * widths[part] for part, values in self.guess.scale.items()}
        return replace(self, guess=self.guess._replace(scale=scale))

    def generating(self, generate: Generator | None) -> Surface:
        """Let `finish` add other quantities."""
        programs = trace_alone(build_programs, self.model, self.coordinates, generate, None, None)
        return replace(self, programs=self.programs._replace(finish=programs.finish))

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
        chunks = _chunks({"dense": positions}, MANY)
        calls = ((self.programs.energies(self.data, place, part, np.int64(m)), m) for part, m in chunks)
        parts = [np.asarray(found)[:m] for found, m in _ahead(calls)]
        values = np.concatenate(parts) - self.log_unit  # so that the integral is that over the sites
        return np.where(np.isfinite(values), values, np.inf)

    def describe(self, place: Place, positions: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Read sites and described quantities off positions, part by part."""
        calls = ((self.programs.describe(part, self.data, place), m) for part, m in _chunks(positions, self.some))
        for found, m in _ahead(calls):
            yield {name: np.asarray(values)[:m] for name, values in found.items()}

    def read(self, place: Place, positions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Read sites off positions, and what follows from them without the data."""
        calls = ((self.programs.read(part, self.data, place), m) for part, m in _chunks(positions, SOME))
        return _join(_ahead(calls))

    def finish(self, place: Place, positions: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Read sites and generated quantities off positions, whose first axis is that of the draws."""
        chunks = enumerate(_chunks(positions, self.some))
        calls = ((self.programs.finish(*self._finishing(place, part, number)), m) for number, (part, m) in chunks)
        return _join(_ahead(calls))

    def prepare_finish(self, place: Place) -> None:
        """Begin to compile `finish`."""
        widths = {part: len(values) for part, values in self.guess.scale.items()}
        positions = {part: jax.ShapeDtypeStruct((self.some, width), float) for part, width in widths.items()}
        self.programs.finish.prepare(*self._finishing(place, positions, 0))

    def _finishing(self, place: Place, positions: Mapping[str, Any], number: int) -> tuple[Any, ...]:
        return dict(positions), np.int64(number * self.some), np.int64(self.seed), self.data, place


def _join(calls: Iterator[tuple[Any, int]]) -> dict[str, np.ndarray]:
    """Put the results of calls together, as many of each as are wanted."""
    parts: dict[str, list[np.ndarray]] = {}
    for found, m in calls:
        for name, values in found.items():
            parts.setdefault(name, []).append(np.asarray(values)[:m])
    return {name: np.concatenate(values) for name, values in parts.items()}


def _chunks(positions: Mapping[str, np.ndarray], size: int) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Parts of one size, so that one compiled program serves all, and how many of each are wanted."""
    n = len(next(iter(positions.values())))
    for first in range(0, n, size):
        part = {name: values[first : first + size] for name, values in positions.items()}
        m = min(size, n - first)
        if m < size:
            part = {name: np.concatenate([x, np.repeat(x[:1], size - m, axis=0)]) for name, x in part.items()}
        yield part, m


def _ahead(calls: Iterator[tuple[Any, int]]) -> Iterator[tuple[Any, int]]:
    """Ask for results a little before they are needed: JAX computes several at once, beside the caller."""
    waiting: deque[Any] = deque()
    for call in calls:
        waiting.append(call)
        size = sum(result.nbytes for result in jax.tree.leaves(call[0]))
        if len(waiting) >= max(1, min(AT_ONCE, AHEAD // max(size, 1))):
            yield waiting.popleft()
    yield from waiting


def open_surface(
    model: ModelFunction,
    data: Any,
    *,
    start: Mapping[str, np.ndarray] | None = None,
    scales: Mapping[str, np.ndarray] | None = None,
    small: Mapping[str, np.ndarray] | None = None,
    diagonal: Collection[str] = (),
    generate: Generator | None = None,
    describe: Describer | None = None,
    read: Describer | None = None,
    seed: int = 0,
) -> Surface:
    """Prepare to evaluate the posterior of a NumPyro model; in `inside_jax`.

    Parameters
    ----------
    model, data, start, scales, diagonal, small, generate
        See `bayesmm.bayes.exploring.nuts.run_nuts`.
    describe : callable, optional
        Takes the model, the sites of one draw and the data to quantities that `Surface.describe` adds to the sites; a
        function of a module.
    read : callable, optional
        Takes the same to quantities that follow from the sites alone, for `Surface.read`.
    seed : int
        Of all randomness.
    """
    start = {name: np.asarray(value, dtype=float) for name, value in (start or {}).items()}
    small = {name: np.asarray(value, dtype=float) for name, value in (small or {}).items()}
    coordinates = trace_alone(_layout_of, model, data, start, diagonal, tuple(small))
    return Surface(
        model=model,
        programs=trace_alone(build_programs, model, coordinates, generate, describe, read),
        coordinates=coordinates,
        data=jax.device_put(data),  # once: it would take as long as some of the programs that are called
        guess=Guess(start, coordinates.lay_out(scales or {}), small),
        seed=seed,
    )


_COORDINATES: dict[Hashable, Coordinates] = {}  # by model and shapes: finding one traces the model, 20 ms


def _layout_of(
    model: ModelFunction, data: Any, start: Mapping[str, np.ndarray], diagonal: Collection[str], bent: Collection[str]
) -> Coordinates:
    key = model, signature((data, dict(start))), tuple(diagonal), tuple(bent)
    if key not in _COORDINATES:
        _COORDINATES[key] = find_coordinates(model, data, start, diagonal=diagonal, bent=bent, most=MAX_DENSE)
    return _COORDINATES[key]
