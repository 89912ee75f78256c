"""NUTS for any NumPyro model of one argument, compiled once per model and shape.

NumPyro's functional sampler is stepped by one compiled program, a scan over a fixed number of iterations of all chains.
Warm-up and sampling are calls of the same program and the data are its argument, so that a second run on data of the
same shape compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from bayesmm.bayes.kernel import Generator, Kernel, build_kernel
from bayesmm.bayes.layout import Layout, Model, Place, find_layout
from bayesmm.errors import BayesmmError

CHUNK = 50  # iterations per call: often enough for a progress bar, rare enough to cost nothing
MAX_DENSE = 100  # entries; beyond, a dense mass matrix learns too slowly in a warm-up of usual length
STEP = 1e-3  # of differences of the gradient, in units of the guessed posterior standard deviation
BRIEF_WORK = 2e7  # draws times numbers in the data: below, transforming draws takes less time than compiling well
LEAST_CURVATURE = 0.25  # no direction is taken to be wider than two guessed standard deviations
Watcher = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long and how carefully to sample.

    Attributes
    ----------
    draws, tune : int
        Iterations per chain that are kept, and iterations before them that adapt the sampler and are not.
    chains : int
        Number of chains, run side by side.
    seed : int
        The same seed gives the same draws.
    target_accept : float
        Acceptance probability that the step size is adapted to; nearer to 1 is slower and follows curvature better.
    max_tree_depth : int
        Trajectories stop at 2**max_tree_depth steps.
    """

    draws: int = 1000
    tune: int = 1000
    chains: int = 4
    seed: int = 0
    target_accept: float = 0.9
    max_tree_depth: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run of NUTS leaves, in NumPy arrays.

    Attributes
    ----------
    sites : dict of str to array, shape (chains, draws, ...)
        Draws by site on the sites' own scales, with deterministic and generated quantities.
    stats : dict of str to array, shape (chains, draws)
        Sampler statistics under ArviZ's names.
    """

    sites: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]


def run_nuts(
    model: Model,
    data: Any,
    *,
    settings: Settings,
    start: Mapping[str, np.ndarray] | None = None,
    scales: Mapping[str, np.ndarray] | None = None,
    diagonal: Collection[str] = (),
    small: Mapping[str, np.ndarray] | None = None,
    generate: Generator | None = None,
    watch: Watcher | None = None,
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

    Returns
    -------
    Run

    Raises
    ------
    BayesmmError
        If the posterior has no density at the start.

    References
    ----------
    Hoffman & Gelman (2014). JMLR 15.
    """
    with jax.enable_x64(True):
        start = {name: np.asarray(value, dtype=float) for name, value in (start or {}).items()}
        small = {name: np.asarray(value, dtype=float) for name, value in (small or {}).items()}
        layout = find_layout(model, data, start, diagonal=diagonal, bent=tuple(small), most=MAX_DENSE)
        kernel = build_kernel(
            model,
            layout,
            generate,
            tune=settings.tune,
            target_accept=settings.target_accept,
            max_tree_depth=settings.max_tree_depth,
            chunk=CHUNK,
        )
        guess = Guess(start, layout.spread(scales or {}), small)
        state, place = _begin(kernel, layout, data, guess, settings)
        positions, stats = _iterate(kernel, state, data, place, settings, watch)
        work = settings.chains * settings.draws * sum(np.size(leaf) for leaf in jax.tree.leaves((data, place)))
        finish = kernel.finish_briefly if work < BRIEF_WORK else kernel.finish
        sites = finish(positions, np.int64(settings.seed), data, place)
        shape = (settings.chains, settings.draws)
        return Run(sites={k: np.asarray(v).reshape(shape + v.shape[1:]) for k, v in sites.items()}, stats=stats)


class Guess(NamedTuple):
    """Constrained values to start around, the sampler's units, and sizes as good as zero."""

    start: dict[str, np.ndarray]
    scale: dict[str, np.ndarray]
    small: dict[str, np.ndarray]


def _begin(kernel: Kernel, layout: Layout, data: Any, guess: Guess, settings: Settings) -> tuple[Any, Place]:
    """Place the chains around the start, as far apart as the posterior is thought to be wide."""
    chains, scale, seed = settings.chains, guess.scale, np.int64(settings.seed)
    # With sites of a diagonal mass matrix held fixed the others would look narrower than they are: no curvature then.
    n_curved = 0 if layout.diagonal else layout.n_dense
    offsets = {part: np.zeros((max(2 * n_curved, chains), len(values))) for part, values in scale.items()}
    mass = {(part,): np.eye(len(v)) if part == "dense" else np.ones(len(v)) for part, v in scale.items()}
    if n_curved:
        offsets["dense"][: 2 * n_curved] = np.vstack([np.eye(n_curved), -np.eye(n_curved)]) * STEP
        around = kernel.probe(data, *guess, offsets, seed)
        mass[("dense",)] = _inverse_curvature(np.asarray(around.gradient["dense"]), n_curved)
    noise = _dispersion(mass, chains, settings.seed)
    for shrink in (1.0, 0.5, 0.1, 0.0):
        for part, values in noise.items():
            offsets[part][chains:] = 0.0
            offsets[part][:chains] = shrink * values
        begun = kernel.probe(data, *guess, offsets, seed)
        if np.isfinite(np.asarray(begun.energy)).all():
            break
    else:
        raise BayesmmError(
            "The posterior has no density at the start: look for priors that rule out the REML estimate."
        )
    chosen = jax.tree.map(lambda x: np.asarray(x)[:chains], (offsets, begun.energy, begun.gradient))
    state = kernel.initialise(*chosen, mass, seed)
    return state, Place(begun.centre, cast(Any, scale), cast(Any, guess.small))


def _dispersion(mass: Mapping[tuple[str], np.ndarray], chains: int, seed: int) -> dict[str, np.ndarray]:
    """Draw offsets of the chains from normals with the covariance that the sampler starts with."""
    rng = np.random.default_rng(seed)
    noise = {}
    for (part,), inverse_mass in mass.items():
        z = rng.standard_normal((chains, len(inverse_mass)))
        noise[part] = z @ np.linalg.cholesky(inverse_mass).T if inverse_mass.ndim == 2 else z * np.sqrt(inverse_mass)
    return noise


def _inverse_curvature(gradients: np.ndarray, n: int) -> np.ndarray:
    """Inverse Hessian from central differences of gradients, directions of little or negative curvature bounded."""
    hessian = (gradients[:n] - gradients[n : 2 * n]) / (2.0 * STEP)
    hessian = np.where(np.isfinite(hessian), hessian, np.eye(n))
    values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
    return (vectors / np.maximum(np.abs(values), LEAST_CURVATURE)) @ vectors.T


def _iterate(
    kernel: Kernel, state: Any, data: Any, place: Place, settings: Settings, watch: Watcher | None
) -> tuple[Any, dict[str, np.ndarray]]:
    """Run warm-up and sampling chunk by chunk; positions come back with chains and draws in one axis."""
    total, kept, divergences = settings.tune + settings.draws, [], 0
    for done in range(0, total, CHUNK):
        state, record = kernel.advance(state, data, place)
        first, last = max(settings.tune - done, 0), min(total - done, CHUNK)
        if first < last:
            kept.append(jax.tree.map(lambda x, a=first, b=last: np.asarray(x)[:, a:b], record))
            divergences += int(kept[-1]["diverging"].sum())
        else:
            jax.block_until_ready(state.i)
        if watch is not None:
            watch(min(done + CHUNK, total), divergences)
    record = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *kept)
    positions = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), record.pop("position"))
    return positions, _statistics(record, settings.max_tree_depth)


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
