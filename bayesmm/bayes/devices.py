"""Chains over several devices of one machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

CHAINS = "chains"


def chain_mesh(chains: int) -> Mesh | None:
    """Choose the devices that share the chains; None if all chains stay on one.

    Parameters
    ----------
    chains : int
        Number of chains.

    Returns
    -------
    jax.sharding.Mesh or None
        JAX's local devices, if there are several, the chains are a multiple of them, and the user has not chosen one
        (``jax.default_device``).
    """
    devices = jax.local_devices()
    if len(devices) == 1 or chains % len(devices) or jax.config.jax_default_device is not None:
        return None
    return Mesh(np.array(devices), (CHAINS,))


def place_chains(state: Any) -> Any:
    """Spread a pytree, of arrays or of shapes, over the devices along its first axis, the chains."""
    mesh = chain_mesh(jax.tree.leaves(state)[0].shape[0])
    if mesh is None:
        return state
    along = NamedSharding(mesh, PartitionSpec(CHAINS))

    def place(leaf: Any) -> Any:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=along)
        return jax.device_put(leaf, along)

    return jax.tree.map(place, state)


def over_chains(step: Callable[..., Any]) -> Callable[..., Any]:
    """Run one chain's step for all chains of the first argument: side by side, on each device its own.

    Each device loops over its own chains only: the loops of a plain vmap over placed chains end when the longest of
    all chains does, and would wait for the other devices after every step.
    """

    def run(state: Any, *shared: Any) -> Any:
        beside = jax.vmap(step, in_axes=(0, *(None for _ in shared)))
        mesh = chain_mesh(jax.tree.leaves(state)[0].shape[0])
        if mesh is None:
            return beside(state, *shared)
        along = PartitionSpec(CHAINS)
        return jax.shard_map(
            beside,
            mesh=mesh,
            in_specs=(along, *(PartitionSpec() for _ in shared)),
            out_specs=along,
            check_vma=False,
        )(state, *shared)

    return run
