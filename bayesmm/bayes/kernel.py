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
    probe : (data, start, scale, small, positions, key) -> Probe
    initialise : (positions, energies, gradients, inverse_mass, keys) -> HMCState
    advance : (state, data, place) -> (HMCState, positions and statistics of a chunk of iterations)
    finish, finish_briefly : (positions, keys, data, place) -> sites and generated quantities
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
    dense_mass = [("dense",)] if layout.dense else False

    def initialise(position: Position, energy: Array, gradient: Position, mass: dict, key: Array) -> HMCState:
        return init_kernel(
            ParamInfo(position, energy, gradient),
            tune,
            step_size=layout.size**-0.25,
            inverse_mass_matrix=dict(mass) if layout.dense else mass[("diagonal",)],
            dense_mass=dense_mass,  # pyright: ignore[reportArgumentType]  a list of sites too
            target_accept_prob=target_accept,
            max_tree_depth=max_tree_depth,
            model_args=(None, None),  # the potential is not evaluated: value and gradient are given
            rng_key=key,
        )

    def advance(state: HMCState, data: Any, place: Place) -> tuple[HMCState, dict[str, Any]]:
        def step(state: HMCState, _: None) -> tuple[HMCState, dict[str, Any]]:
            state = sample_kernel(state, (data, place))
            return state, _record(state)

        return jax.lax.scan(step, state, None, length=chunk)

    finish = _finish(model, layout, generate)
    return Kernel(
        probe=jax.jit(_probe(model, layout, potential), compiler_options=QUICK),
        initialise=jax.jit(jax.vmap(initialise, in_axes=(0, 0, 0, None, 0)), compiler_options=QUICK),
        advance=jax.jit(jax.vmap(advance, in_axes=(0, None, None)), compiler_options=BRISK),
        finish=jax.jit(finish, compiler_options=BRISK),
        finish_briefly=jax.jit(finish, compiler_options=QUICK),
    )


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


def _probe(model: Model, layout: Layout, potential: Callable[[Any, Place], Any]) -> Callable[..., Probe]:
    def probe(
        data: Any, start: dict[str, Array], scale: Position, small: dict[str, Array], positions: Position, key: Array
    ) -> Probe:
        centre = layout.join(straighten(layout, small, start_sites(model, data, start, key)))
        at = jax.value_and_grad(potential(data, Place(centre, scale, small)))
        return Probe(centre, *jax.lax.map(at, positions))

    return probe


def _finish(model: Model, layout: Layout, generate: Generator | None) -> Callable[..., dict[str, Array]]:
    """Transform draws in batches of bounded memory, adding what the model generates from each."""

    def finish(positions: Position, keys: Array, data: Any, place: Place) -> dict[str, Array]:
        def one(draw: tuple[Position, Array]) -> dict[str, Array]:
            position, key = draw
            sites = constrained(model, layout, data, place, position)
            return sites if generate is None else sites | generate(model, sites, data, key)

        draws = (positions, keys)
        entries = sum(
            math.prod(x.shape) for x in jax.tree.leaves(jax.eval_shape(one, jax.tree.map(lambda x: x[0], draws)))
        )
        return jax.lax.map(one, draws, batch_size=max(1, min(len(keys), BATCH_ENTRIES // max(entries, 1))))

    return finish
