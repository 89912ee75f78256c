"""What is asked of an exploration of a posterior, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr

from bayesmm.arguments import TARGET_ACCEPT, shorten
from bayesmm.bayes.exploring.coordinates import Place
from bayesmm.errors import ArgumentError
from bayesmm.limits import CHAINS, KEPT_DRAWS, TUNE

Watcher = Callable[[int, int], None]  # told how many iterations are done, and how many diverged after warm-up


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
    target_accept: float = TARGET_ACCEPT
    max_tree_depth: int = 10


def make_settings(**values: int | float) -> Settings:
    """Check the numbers of a run.

    Raises
    ------
    ArgumentError
        If one of them makes no sense, or asks for more than fits into the memory of anybody.
    """
    for name, least in (("draws", 1), ("tune", 0), ("chains", 1), ("max_tree_depth", 1), ("seed", 0)):
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise ArgumentError(f"{name} is {value!r}: give a whole number of at least {least}.")
        values[name] = int(value)
    for name, most in (("chains", CHAINS), ("tune", TUNE)):
        if values[name] > most:
            raise ArgumentError(f"{name} is {shorten(values[name])}: give at most {most:,}.")
    if values["draws"] * values["chains"] > KEPT_DRAWS:
        raise ArgumentError(
            f"draws is {shorten(values['draws'])}, from each of {values['chains']:,} chains: that is more than the "
            f"{KEPT_DRAWS:,} that are kept of all together. Give at most draws={int(KEPT_DRAWS // values['chains'])}."
        )
    if values["seed"] >= 2**63:
        raise ArgumentError(f"seed is {values['seed']}: give a whole number below 2**63.")
    accept = values["target_accept"]
    if isinstance(accept, bool) or not isinstance(accept, Real) or not 0.0 < accept < 1.0:
        raise ArgumentError(f"target_accept is {values['target_accept']!r}: give a probability between 0 and 1.")
    return Settings(**values)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What an exploration of a posterior leaves, in NumPy arrays.

    Attributes
    ----------
    sites : dict of str to array, shape (chains, draws, ...)
        Draws by site on the sites' own scales, with deterministic and generated quantities.
    stats : dict of str to array, shape (chains, draws)
        Statistics of the draws under ArviZ's names.
    notes : tuple of str
        What was decided on the way.
    attributes : dict
        How the draws were made; attributes of ``sample_stats``.
    groups : dict of str to Dataset
        Further groups of the DataTree.

    There are fewer draws than were asked for if the run was interrupted.
    """

    sites: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, xr.Dataset] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Positions drawn from a posterior, chains and draws in one axis.

    Attributes
    ----------
    place : Place
        The coordinates.
    positions : dict of str to array, shape (chains × draws, d)
        The draws.
    stats, notes, attributes
        See `Run`.
    tables : callable
        Computes further groups of the DataTree.
    """

    place: Place
    positions: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    tables: Callable[[], dict[str, xr.Dataset]] = dict


@dataclass(slots=True, kw_only=True)
class InHand:
    """What there is of a run that goes on: an interruption finds it here, at whatever moment it comes.

    Attributes
    ----------
    gather : callable
        Returns the draws so far, None if there are none.
    finish : callable, optional
        Takes draws, and whether to leave out what can be computed later, to what the run leaves.
    is_drawn : bool
        Whether drawing is over.
    """

    gather: Callable[[], Drawn | None] = lambda: None
    finish: Callable[[Drawn, bool], Run] | None = None
    is_drawn: bool = False

    def leave(self, drawn: Drawn, *, briefly: bool = False) -> Run:
        """Finish the run of these draws."""
        self.is_drawn = True
        assert self.finish is not None
        return self.finish(drawn, briefly)


def by_chain(sites: Mapping[str, np.ndarray], chains: int) -> dict[str, np.ndarray]:
    """Part the axis of all draws into chains and draws."""
    return {name: values.reshape(chains, -1, *values.shape[1:]) for name, values in sites.items()}
