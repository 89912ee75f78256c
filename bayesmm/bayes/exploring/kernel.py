"""The compiled programs behind a run of NUTS, kept per model so that a second run compiles nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
from jaxtyping import Array
from numpyro import infer  # noqa: F401 - loads numpyro, see the package
from numpyro.infer.hmc import HMCState, hmc
from numpyro.infer.util import ParamInfo

from bayesmm.bayes.exploring.compiling import Program
from bayesmm.bayes.exploring.coordinates import Coordinates, ModelFunction, Place, Position, potential_of
from bayesmm.bayes.exploring.devices import over_chains
from bayesmm.bayes.exploring.surface_programs import BRISK, QUICK, key_of


class Kernel(NamedTuple):
    """Compiled programs of NUTS for one model, each for the chains of one part.

    Attributes
    ----------
    initialise : (chains, seed) -> HMCState
    advance : (state, data, place) -> (HMCState, positions and statistics of a chunk of iterations)
    """

    initialise: Program
    advance: Program


class Chain(NamedTuple):
    """Where a chain begins.

    Attributes
    ----------
    position : Position
    energy : scalar array
        The potential there,
    gradient : Position
        and its gradient.
    inverse_mass : dict
        Inverse mass matrix to begin with, of each part of a position.
    number : scalar array of int
        Of the chain; chains of different numbers have randomness of their own.
    """

    position: Position
    energy: Array
    gradient: Position
    inverse_mass: dict
    number: Array


@lru_cache(maxsize=32)
def build_kernel(
    model: ModelFunction, coordinates: Coordinates, *, tune: int, target_accept: float, max_tree_depth: int, chunk: int
) -> Kernel:
    """Write the programs of one model; they compile when first called with data of a new shape."""
    init_kernel, sample_kernel = hmc(potential_fn_gen=potential_of(model, coordinates), algo="NUTS")
    settings = {
        "num_warmup": tune,
        "target_accept_prob": target_accept,
        "max_tree_depth": max_tree_depth,
        "step_size": coordinates.size**-0.25,
        "dense_mass": [("dense",)] if coordinates.dense else False,
    }
    return Kernel(
        initialise=Program(over_chains(_initialise(init_kernel, settings)), QUICK),
        advance=Program(over_chains(_advance(sample_kernel, chunk)), BRISK),
    )


def _initialise(init_kernel: Callable[..., HMCState], settings: dict[str, Any]) -> Callable[[Chain, Array], HMCState]:
    def initialise(chain: Chain, seed: Array) -> HMCState:
        mass = chain.inverse_mass
        state = init_kernel(
            ParamInfo(chain.position, chain.energy, chain.gradient),
            inverse_mass_matrix=dict(mass) if settings["dense_mass"] else mass[("diagonal",)],
            model_args=(None, None),  # the potential is not evaluated: value and gradient are given
            rng_key=jax.random.fold_in(key_of(seed, 1), chain.number),
            **settings,
        )
        return state._replace(energy=chain.energy)  # nobody asks for that of a momentum, which need not be drawn

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
