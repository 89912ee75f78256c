"""The compiled programs behind a run of NUTS, kept per model so that a second run compiles nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
from jaxtyping import Array
from numpyro.infer.hmc import HMCState, hmc
from numpyro.infer.util import ParamInfo

from bayesmm.bayes.devices import over_chains
from bayesmm.bayes.layout import Layout, Model, Place, Position, potential_of
from bayesmm.bayes.programs import Program
from bayesmm.bayes.surface_programs import BRISK, QUICK, key_of


class Kernel(NamedTuple):
    """Compiled programs of NUTS for one model.

    Attributes
    ----------
    initialise : (positions, energies, gradients, inverse_mass, seed) -> HMCState
    advance : (state, data, place) -> (HMCState, positions and statistics of a chunk of iterations)
    """

    initialise: Program
    advance: Program


@lru_cache(maxsize=32)
def build_kernel(
    model: Model, layout: Layout, *, tune: int, target_accept: float, max_tree_depth: int, chunk: int
) -> Kernel:
    """Write the programs of one model; they compile when first called with data of a new shape."""
    init_kernel, sample_kernel = hmc(potential_fn_gen=potential_of(model, layout), algo="NUTS")
    settings = {
        "num_warmup": tune,
        "target_accept_prob": target_accept,
        "max_tree_depth": max_tree_depth,
        "step_size": layout.size**-0.25,
        "dense_mass": [("dense",)] if layout.dense else False,
    }
    return Kernel(
        initialise=Program(_initialise(init_kernel, settings), QUICK),
        advance=Program(over_chains(_advance(sample_kernel, chunk)), BRISK),
    )


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

        return jax.vmap(one)(positions, energy, gradient, jax.random.split(key_of(seed, 1), len(energy)))

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
