"""NUTS for any NumPyro model of one argument, compiled once per model and shape.

NumPyro's functional sampler is stepped by one compiled program, a scan over a fixed number of iterations. Warm-up and
sampling are calls of the same program and the data are its argument, so that a second run on data of the same shape
compiles nothing. On a processor the program is one chain's, called by several threads; elsewhere it is that of all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from bayesmm.bayes.exploring.compiling import trace_alone
from bayesmm.bayes.exploring.coordinates import ModelFunction, Place
from bayesmm.bayes.exploring.devices import beside, part_chains, place_chains
from bayesmm.bayes.exploring.kernel import Chain, Kernel, build_kernel
from bayesmm.bayes.exploring.mode import NO_DENSITY, look
from bayesmm.bayes.exploring.recorder import Progress, Recorder
from bayesmm.bayes.exploring.run import Drawn, Run, Settings, Watcher, by_chain
from bayesmm.bayes.exploring.surface import Surface, open_surface
from bayesmm.bayes.exploring.surface_programs import Generator as Quantities
from bayesmm.errors import SamplingError
from bayesmm.inside_jax import inside_jax
from bayesmm.marginal.in_jax.hosted import stoppable

CHUNK = 50  # iterations per call: often enough for a progress bar, rare enough to cost nothing


def run_nuts(
    model: ModelFunction,
    data: Any,
    *,
    settings: Settings,
    start: Mapping[str, np.ndarray] | None = None,
    scales: Mapping[str, np.ndarray] | None = None,
    diagonal: Collection[str] = (),
    small: Mapping[str, np.ndarray] | None = None,
    generate: Quantities | None = None,
    watch: Watcher | None = None,
    recorder: Recorder | None = None,
) -> Run:
    """Sample from the posterior of a NumPyro model.

    Parameters
    ----------
    model : callable
        A NumPyro model of one argument. Compiled programs are kept by it: pass the same function, or an equal callable,
        to use them again.
    data : pytree of arrays
        That argument.
    settings : Settings
        Length, chains, seed.
    start : mapping of str to array, optional
        Constrained values to start around; a site that is not named starts near zero on its unconstrained scale.
    scales : mapping of str to array, optional
        Guesses of posterior standard deviations on the unconstrained scale, of the sites' unconstrained shapes; 1 where
        there is none. Chains start dispersed by about as much.
    diagonal : collection of str
        Sites whose mass matrix is diagonal. The others share a dense one that starts from the curvature at the start.
    small : mapping of str to array, optional
        Sites of positive values that may be near zero, with sizes below which they are as good as zero.
    generate : callable, optional
        Takes the model, the sites of one draw, the data and a key to more quantities, returned with the sites; a
        function of a module (compiled programs are kept by it).
    watch : callable, optional
        Told after every chunk how many iterations are done and how many diverged after warm-up.
    recorder : Recorder, optional
        Told everything after every chunk, and asked at the start how far the run has come.

    Returns
    -------
    Run
        Shorter than asked for if the user interrupts; an interruption before there are draws goes on.

    Raises
    ------
    SamplingError
        If the posterior has no density at the start.

    References
    ----------
    Hoffman & Gelman (2014). JMLR 15.
    """
    with inside_jax():
        surface = open_surface(
            model,
            data,
            start=start,
            scales=scales,
            small=small,
            diagonal=diagonal,
            generate=generate,
            seed=settings.seed,
        )
        kernel, held = prepare_nuts(surface, settings), []
        try:
            drawn = draw_positions(surface, kernel, settings, watch=watch, recorder=recorder, hold=held.append)
        except KeyboardInterrupt:
            drawn = held[0]() if held else None
            if drawn is None:
                raise
        return Run(sites=by_chain(surface.finish(drawn.place, drawn.positions), settings.chains), stats=drawn.stats)


class Peak(NamedTuple):
    """Where a chain begins.

    Attributes
    ----------
    position : dict of str to array
        About which,
    covariance : array, shape (d, d), optional
        and how far about it, of the dense part.
    """

    position: dict[str, np.ndarray]
    covariance: np.ndarray | None = None


def locate(surface: Surface, values: Mapping[str, np.ndarray]) -> Peak:
    """Find the position of constrained values."""
    here = {part: np.zeros((1, len(scale))) for part, scale in surface.guess.scale.items()}
    origin, there = surface.probe(here).centre, surface.begun_at(values).probe(here).centre
    return Peak({part: np.asarray(there[part] - origin[part]) / scale for part, scale in surface.guess.scale.items()})


def prepare_nuts(surface: Surface, settings: Settings) -> Kernel:
    """Begin to compile everything at once: together the programs take little longer than the largest of them.

    Python traces one at a time, and compiles beside that: what is needed first, and is small, goes first.
    """
    kernel = trace_alone(
        build_kernel,
        surface.model,
        surface.coordinates,
        tune=settings.tune,
        target_accept=settings.target_accept,
        max_tree_depth=settings.max_tree_depth,
        chunk=CHUNK,
    )
    scale, chains = surface.guess.scale, settings.chains
    numbers = np.arange(chains)[part_chains(chains)[0]]
    n = len(numbers)
    positions: Any = {part: jax.ShapeDtypeStruct((n, len(values)), float) for part, values in scale.items()}
    mass = {(part,): np.ones((n,) + (len(v),) * (2 if part == "dense" else 1)) for part, v in scale.items()}
    energy = cast(Any, jax.ShapeDtypeStruct(numbers.shape, float))
    first = Chain(positions, energy, positions, mass, cast(Any, numbers))
    place = surface.place(cast(Any, scale))  # of the same shapes
    surface.prepare_probe()
    state = kernel.initialise.shapes(first, np.int64(0))
    kernel.advance.prepare(place_chains(state), surface.data, place)
    kernel.initialise.prepare(first, np.int64(0))
    surface.prepare_finish(place)
    return kernel


def draw_positions(
    surface: Surface,
    kernel: Kernel,
    settings: Settings,
    peaks: Sequence[Peak] = (),
    *,
    watch: Watcher | None = None,
    recorder: Recorder | None = None,
    hold: Callable[[Callable[[], Drawn | None]], None] | None = None,
) -> Drawn:
    """Run NUTS on a posterior, without reading anything off its positions.

    Parameters
    ----------
    surface, kernel, settings
        The posterior, the programs that `prepare_nuts` made for it, and how long to sample.
    peaks : sequence of Peak
        Where each chain begins; the surface's origin for all where there are none.
    watch, recorder : optional
        See `run_nuts`.
    hold : callable, optional
        Given, before the first iteration, what gathers the draws so far.
    """
    progress = Progress(*_begin(surface, kernel, settings, peaks), 0, [])
    if recorder is not None:
        progress = recorder.resume(progress)
    if hold is not None:
        hold(lambda: _gather(progress, settings) if progress.kept else None)
    _iterate(kernel, progress, surface.data, settings, watch, recorder)
    return _gather(progress, settings)


def _begin(surface: Surface, kernel: Kernel, settings: Settings, peaks: Sequence[Peak]) -> tuple[list[Any], Place]:
    """Place the chains about their peaks, as far apart as the posterior is thought to be wide.

    Where the curvature is known it gives the units: NumPyro draws mass matrices estimated from few draws towards one
    of 1e-3, which is harmless among variances near one only.
    """
    chains, scale = settings.chains, surface.guess.scale
    peaks = list(peaks) or [_origin(surface)] * chains
    mass = {(part,): np.ones((chains, len(v))) for part, v in scale.items()}
    about = {part: np.stack([peak.position[part] for peak in peaks]) for part in scale}
    if "dense" in scale:
        mass[("dense",)] = np.tile(np.eye(len(scale["dense"])), (chains, 1, 1))
    if peaks[0].covariance is not None:
        width = np.sqrt(np.diag(peaks[0].covariance))
        surface = surface.in_units({"dense": width})
        about["dense"] = about["dense"] / width
        mass[("dense",)] = np.stack([peak.covariance / np.outer(width, width) for peak in peaks])
    noise = _dispersion(mass, settings.seed)
    for shrink in (1.0, 0.5, 0.1, 0.0):
        positions = {part: about[part] + shrink * values for part, values in noise.items()}
        begun = surface.probe(positions)
        if np.isfinite(begun.energy).all():
            break
    else:
        raise SamplingError(NO_DENSITY)
    every = Chain(cast(Any, positions), begun.energy, begun.gradient, mass, cast(Any, np.arange(chains)))
    parts = [jax.tree.map(lambda x, part=part: np.asarray(x)[part], every) for part in part_chains(chains)]
    states = [place_chains(kernel.initialise(part, np.int64(settings.seed))) for part in parts]
    return states, surface.place(begun.centre)


def _origin(surface: Surface) -> Peak:
    """Begin at the surface's origin, with the curvature there.

    With sites of a diagonal mass matrix held fixed the others would look narrower than they are: no curvature then.
    """
    position = {part: np.zeros(len(values)) for part, values in surface.guess.scale.items()}
    return Peak(position, None if surface.coordinates.diagonal else look(surface, position["dense"]).covariance)


def _dispersion(mass: Mapping[tuple[str], np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Draw offsets of the chains from normals with the covariances that the sampler starts with."""
    rng = np.random.default_rng(seed)
    noise = {}
    for (part,), covariances in mass.items():
        z = rng.standard_normal(covariances.shape[:2])
        if covariances.ndim == 3:
            roots = [np.linalg.cholesky(covariance) for covariance in covariances]
            noise[part] = np.stack([(z @ root.T)[i] for i, root in enumerate(roots)])
        else:
            noise[part] = z * np.sqrt(covariances)
    return noise


def _iterate(
    kernel: Kernel,
    progress: Progress,
    data: Any,
    settings: Settings,
    watch: Watcher | None,
    recorder: Recorder | None,
) -> None:
    """Run warm-up and sampling; what is drawn is kept by `progress`."""
    kept, total = progress.kept, settings.tune + settings.draws
    divergences = sum(int(part["diverging"].sum()) for part in kept)
    with closing(_step(kernel, progress, data, total)) as steps:  # an interruption waits for the other threads here
        for parts, records, begun in steps:
            first, last = max(settings.tune - begun, 0), min(total - begun, CHUNK)
            if first < last:
                kept.append(jax.tree.map(lambda *x, a=first, b=last: np.concatenate(x)[:, a:b], *records))
                divergences += int(kept[-1]["diverging"].sum())
            else:
                jax.block_until_ready([part.i for part in parts])
            done = min(begun + CHUNK, total)
            if recorder is not None:
                recorder.save(Progress(parts, progress.place, done, kept))
            if watch is not None:
                watch(done, divergences)


def _gather(progress: Progress, settings: Settings) -> Drawn:
    """Put chains and draws of all positions into one axis."""
    record = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *progress.kept)
    positions = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), record.pop("position"))
    return Drawn(place=progress.place, positions=positions, stats=_statistics(record, settings.max_tree_depth))


def _step(
    kernel: Kernel, progress: Progress, data: Any, total: int
) -> Generator[tuple[Sequence[Any], Sequence[dict[str, Any]], int]]:
    """Step the parts of the chains chunk by chunk, telling states, records and the iterations before each chunk.

    A chunk is begun before the one before it is looked at, so that the sampler does not wait.
    """
    parts: Sequence[Any] = progress.parts
    run = kernel.advance.compiled(parts[0], data, progress.place)
    shared = jax.device_put((data, progress.place))

    def advance(part: Any) -> Any:
        with inside_jax():  # the setting is a thread's own
            return run(part, *shared)

    waiting = None
    with stoppable(data) as stop, beside(len(parts)) as each:
        try:
            for begun in range(progress.done, total, CHUNK):
                parts, records = zip(*each(advance, parts), strict=True)
                if waiting is not None:
                    yield waiting
                waiting = parts, records, begun
        except BaseException:
            stop()
            raise
    if waiting is not None:
        yield waiting


def _statistics(record: Mapping[str, np.ndarray], max_tree_depth: int) -> dict[str, np.ndarray]:
    depth = np.floor(np.log2(np.maximum(record["num_steps"], 1))).astype(int) + 1
    return {
        "diverging": record["diverging"],
        "energy": record["energy"],
        "lp": -record["potential_energy"],
        "n_steps": record["num_steps"],
        "tree_depth": depth,
        "reached_max_tree_depth": depth >= max_tree_depth,
        "acceptance_rate": record["accept_prob"],
        "step_size": record["step_size"],
    }
