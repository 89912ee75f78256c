"""A pass over the rows by several threads, each of which takes every so manieth chunk into an account of its own."""

from __future__ import annotations

import contextvars
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache

import numpy as np

from bayesmm.errors import BayesmmError
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.passes import Account, Pass

MOST_THREADS = 8  # by default: with more, the one that reads is the last to be done
LARGEST_KEPT = 31 * 2**20  # bytes
MOST_ROWS = 2**21  # of the chunks of all threads: these are large where there are many levels, and accounts as well


def threads_for(rows: int) -> int:
    """Say how many threads take chunks of so many rows: as many as there are processors, unless memory would grow."""
    of_machine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(of_machine, MOST_THREADS, MOST_ROWS // rows))


@cache
def keep_freed_memory() -> None:
    """Have the C library keep what one chunk leaves for the next one.

    glibc gives blocks back to the system as soon as they are freed if they are larger than any that was freed before,
    32 MiB at most (mallopt(3), M_MMAP_THRESHOLD). With arrays of chunks a quarter of the time was spent on asking for
    the same pages again, one thread at a time. A block that nothing is written into takes no memory.
    """
    np.empty(LARGEST_KEPT, np.uint8)


def fold_in_lanes[A: Account](whole: Pass[A], chunks: Iterable[Chunk], threads: int, tell: Callable[[int], None]) -> A:
    """Make a pass with several threads; what comes of it depends on their number, and not on how fast they are.

    Parameters
    ----------
    whole : Pass
        What is made of the rows.
    chunks : iterable of Chunk
        Read by the thread that asks, at most two for each of the others before they are done with them.
    threads : int
        How many, two at least. Chunk i goes into account i mod `threads`; accounts are merged in their order.
    tell : callable
        Is told of each chunk that is done how many rows it has.

    Raises
    ------
    BayesmmError
        That of the first chunk in which something is wrong, as if they were taken one after another.
    """
    lanes: list[_Lane[A]] = []
    at_work: deque[Future[int]] = deque()
    with ExitStack() as ending:
        for number, chunk in enumerate(_read(chunks)):
            if len(lanes) < threads:
                lanes.append(_Lane(whole))
                ending.callback(lanes[-1].stop)
            if len(at_work) == 2 * threads:
                tell(at_work.popleft().result())
            at_work.append(chunk if isinstance(chunk, Future) else lanes[number % threads].take(chunk))
            del chunk
        for each in at_work:
            tell(each.result())
    first, *others = (lane.account for lane in lanes)
    for other in others:
        first.merge(other.packed())
    return first


def _read(chunks: Iterable[Chunk]) -> Iterator[Chunk | Future[int]]:
    """Yield chunks; an error while they are read takes its place among them, after what may be wrong before it."""
    try:
        yield from chunks
    except BayesmmError as error:
        failed: Future[int] = Future()
        failed.set_exception(error)
        yield failed


class _Lane[A: Account]:
    """A thread with its account; it sees the settings of the thread that began it, such as those of NumPy's errors."""

    def __init__(self, whole: Pass[A]) -> None:
        self.account = whole.begin()
        self._whole, self._context = whole, contextvars.copy_context()
        self._thread = ThreadPoolExecutor(1, "bayesmm-rows")

    def take(self, chunk: Chunk) -> Future[int]:
        """Take a chunk after those before it; the outcome is how many rows it has."""
        return self._thread.submit(self._context.run, self._add, chunk)

    def stop(self) -> None:
        """Leave out what waits, and end."""
        self._thread.shutdown(cancel_futures=True)

    def _add(self, chunk: Chunk) -> int:
        self._whole.add(self.account, chunk)
        return chunk.table.num_rows
