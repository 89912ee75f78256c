"""The four compiled programs behind a run of NUTS, kept per model so that a second run compiles nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
from jaxtyping import Array
from numpyro.infer.hmc import HMCState, hmc
from numpyro.infer.util import ParamInfo

from bayesmm.bayes.layout import Layout, Model, Place, Position, constrained, potential_of, start_sites, straighten

BATCH_ENTRIES = 2**22  # numbers held at once while draws are transformed, 32 MB
# Compile time is most of a first run. Measured on sleepstudy: level 0 halves it and doubles run time, which suits
# programs that run once on little; level 1 saves a tenth and costs nothing.
QUICK = {"xla_backend_optimization_level": 0}
BRISK = {"xla_backend_optimization_level": 1}
Generator = Callable[[Any, dict[str, Array], Any, Array], dict[str, Array]]  # (model, sites, data, key) to quantities


class Probe(NamedTuple):
    """The unconstrained start, and the potential with its gradient at positions around it."""

    centre: Position
    energy: Array
    gradient: Position


class Kernel(NamedTuple):
    """Compiled programs of one model.

    Attributes
    ----------
    probe : (data, start, scale, small, positions, seed) -> Probe
    initialise : (positions, energies, gradients, inverse_mass, seed) -> HMCState
    advance : (state, data, place) -> (HMCState, positions and statistics of a chunk of iterations)
    finish, finish_briefly : (positions, seed, data, place) -> sites and generated quantities
        The same program compiled for speed, and compiled quickly.
    """

    probe: Callable[..., Probe]
    initialise: Callable[..., HMCState]
    advance: Callable[..., tuple[HMCState, dict[str, Any]]]
    finish: Callable[..., dict[str, Array]]
    finish_briefly: Callable[..., dict[str, Array]]


@lru_cache(maxsize=32)
def build_kernel(
    model: Model,
    layout: Layout,
    generate: Generator | None,
    *,
    tune: int,
    target_accept: float,
    max_tree_depth: int,
    chunk: int,
) -> Kernel:
    """Write the programs of one model; they compile when first called with data of a new shape."""
    potential = potential_of(model, layout)
    init_kernel, sample_kernel = hmc(potential_fn_gen=potential, algo="NUTS")
    settings = {
        "num_warmup": tune,
        "target_accept_prob": target_accept,
        "max_tree_depth": max_tree_depth,
        "step_size": layout.size**-0.25,
        "dense_mass": [("dense",)] if layout.dense else False,
    }
    finish = _finish(model, layout, generate)
    return Kernel(
        probe=jax.jit(_probe(model, layout, potential), compiler_options=QUICK),
        initialise=jax.jit(_initialise(init_kernel, settings), compiler_options=QUICK),
        advance=jax.jit(jax.vmap(_advance(sample_kernel, chunk), in_axes=(0, None, None)), compiler_options=BRISK),
        finish=jax.jit(finish, compiler_options=BRISK),
        finish_briefly=jax.jit(finish, compiler_options=QUICK),
    )


def _key(seed: Array, use: int) -> Array:
    """Make the key of one of the programs; inside them, since every operation outside is a program of its own."""
    return jax.random.fold_in(jax.random.key(seed), use)


def _probe(model: Model, layout: Layout, potential: Callable[[Any, Place], Any]) -> Callable[..., Probe]:
    def probe(
        data: Any, start: dict[str, Array], scale: Position, small: dict[str, Array], positions: Position, seed: Array
    ) -> Probe:
        centre = layout.join(straighten(layout, small, start_sites(model, data, start, _key(seed, 0))))
        at = jax.value_and_grad(potential(data, Place(centre, scale, small)))
        return Probe(centre, *jax.lax.map(at, positions))

    return probe


def _initialise(init_kernel: Callable[..., HMCState], settings: dict[str, Any]) -> Callable[..., HMCState]:
    def initialise(positions: Position, energy: Array, gradient: Position, mass: dict, seed: Array) -> HMCState:
        def one(position: Position, energy: Array, gradient: Position, key: Array) -> HMCState:
            return init_kernel(
                ParamInfo(position, energy, gradient),
                inverse_mass_matrix=dict(mass) if settings["dense_mass"] else mass[("diagonal",)],
                model_args=(None, None),  # the potential is not evaluated: value and gradient are given
                rng_key=key,
                **settings,
            )

        return jax.vmap(one)(positions, energy, gradient, jax.random.split(_key(seed, 1), len(energy)))

    return initialise


def _advance(
    sample_kernel: Callable[..., HMCState], chunk: int
) -> Callable[[HMCState, Any, Place], tuple[HMCState, dict[str, Any]]]:
    def advance(state: HMCState, data: Any, place: Place) -> tuple[HMCState, dict[str, Any]]:
        def step(state: HMCState, _: None) -> tuple[HMCState, dict[str, Any]]:
            state = sample_kernel(state, (data, place))
            return state, _record(state)

        return jax.lax.scan(step, state, None, length=chunk)

    return advance


def _record(state: HMCState) -> dict[str, Any]:
    return {
        "position": state.z,
        "diverging": state.diverging,
        "energy": state.energy,
        "potential_energy": state.potential_energy,
        "num_steps": state.num_steps,
        "accept_prob": state.accept_prob,
        "step_size": state.adapt_state.step_size,
    }


def _finish(model: Model, layout: Layout, generate: Generator | None) -> Callable[..., dict[str, Array]]:
    """Transform draws in batches of bounded memory, adding what the model generates from each."""

    def finish(positions: Position, seed: Array, data: Any, place: Place) -> dict[str, Array]:
        def one(draw: tuple[Position, Array]) -> dict[str, Array]:
            position, key = draw
            sites = constrained(model, layout, data, place, position)
            return sites if generate is None else sites | generate(model, sites, data, key)

        n = len(jax.tree.leaves(positions)[0])
        draws = (positions, jax.random.split(_key(seed, 2), n))
        shapes = jax.tree.leaves(jax.eval_shape(one, jax.tree.map(lambda x: x[0], draws)))
        entries = sum(math.prod(x.shape) for x in shapes)
        return jax.lax.map(one, draws, batch_size=max(1, min(n, BATCH_ENTRIES // max(entries, 1))))

    return finish
