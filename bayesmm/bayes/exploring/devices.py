"""Chains beside each other: in threads of a processor, on an accelerator, over several devices."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
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


def part_chains(chains: int) -> list[slice]:
    """Part the chains into those that one program steps together.

    Parameters
    ----------
    chains : int
        Number of chains.

    Returns
    -------
    list of slice
        On a processor each chain is a part: its program is smaller than one for several chains, compiles sooner, and
        does not wait for the longest of their trajectories. Elsewhere, and over several devices, all are one part.
    """
    chosen = jax.config.jax_default_device or jax.local_devices()[0]
    platform = chosen if isinstance(chosen, str) else chosen.platform
    if platform == "cpu" and chain_mesh(chains) is None:
        return [slice(i, i + 1) for i in range(chains)]
    return [slice(0, chains)]


@contextmanager
def beside(parts: int) -> Iterator[Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]]:
    """Threads for the parts, as many as there are processor cores at most.

    Yields
    ------
    callable
        Takes a function and the arguments of the parts to the results. JAX does in order what it is asked for by one
        thread and returns before it is done, so that a part that is called again does not wait for the others.
    """
    with ExitStack() as stack:
        lanes = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(min(parts, os.cpu_count() or 1))]

        def each(function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
            begun = [lanes[i % len(lanes)].submit(function, argument) for i, argument in enumerate(arguments)]
            return [future.result() for future in begun]

        yield each


def place_chains(state: Any) -> Any:
    """Divide a pytree, of arrays or of shapes, over the devices along its first axis, the chains."""
    mesh = chain_mesh(_count(state))
    if mesh is None:
        return state
    along = NamedSharding(mesh, PartitionSpec(CHAINS))

    def place(leaf: Any) -> Any:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=along)
        return jax.device_put(leaf, along)

    return jax.tree.map(place, state)


def over_chains(step: Callable[..., Any]) -> Callable[..., Any]:
    """Run one chain's step for all chains of the first argument: together, on each device its own.

    Each device loops over its own chains only: the loops of a plain vmap over placed chains end when the longest of
    all chains does, and would wait for the other devices after every step.
    """

    def together(state: Any, *shared: Any) -> Any:
        if _count(state) > 1:
            return jax.vmap(step, in_axes=(0, *(None for _ in shared)))(state, *shared)
        return jax.tree.map(lambda x: x[None], step(jax.tree.map(lambda x: x[0], state), *shared))

    def run(state: Any, *shared: Any) -> Any:
        mesh = chain_mesh(_count(state))
        if mesh is None:
            return together(state, *shared)
        along = PartitionSpec(CHAINS)
        return jax.shard_map(
            together,
            mesh=mesh,
            in_specs=(along, *(PartitionSpec() for _ in shared)),
            out_specs=along,
            check_vma=False,
        )(state, *shared)

    return run


def _count(state: Any) -> int:
    return jax.tree.leaves(state)[0].shape[0]
