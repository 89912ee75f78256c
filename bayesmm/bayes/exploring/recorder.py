"""What a run of NUTS tells, and asks, those who keep it while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from bayesmm.bayes.exploring.coordinates import Place


class Progress(NamedTuple):
    """A run that is under way.

    Attributes
    ----------
    parts : sequence of HMCState
        The sampler after the last iteration, chains in the first axis, for each part of the chains (`part_chains`).
    place : Place
        Its coordinates.
    done : int
        Iterations so far, warm-up included.
    kept : list of mappings
        Positions and statistics (chains, some draws, ...) after warm-up, in order.
    """

    parts: Sequence[Any]
    place: Place
    done: int
    kept: list[dict[str, Any]]


class Recorder(Protocol):
    """Where a run is kept while it goes on."""

    def resume(self, fresh: Progress) -> Progress:
        """Return where the run stands: as far as it has come, or at its start."""
        ...

    def save(self, progress: Progress) -> None:
        """Take note of a chunk of iterations: of the last entry of ``kept``, if warm-up is over, and of the state."""
        ...
