"""A bar for what a person waits for."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Self

DELAY = 0.5  # seconds; of what takes no longer nobody wants a bar, unless it was asked for


class Bar:
    """What is told how much is done of something that takes long; this one draws nothing."""

    is_watched = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away, or leave it where it was asked for."""

    def advance(self, steps: int = 1) -> None:
        """Say that so many steps more are done."""

    def tell(self, done: int, text: str) -> None:
        """Say how many steps are done by now, and what is being done."""


SILENT = Bar()


class _DrawnBar(Bar):
    """A bar that is drawn: at once if it was asked for, and otherwise when it has taken longer than a moment."""

    is_watched = True

    def __init__(self, text: str, total: int | None, *, stays: bool) -> None:
        self._text, self._total, self._done = text, total, 0
        self._stays, self._begun, self._is_over = stays, time.monotonic(), False
        self._lock = threading.Lock()
        self._drawn: Any = None
        self._timer = threading.Timer(DELAY, self._draw)
        self._timer.daemon = True
        if stays:
            self._draw()
        else:
            self._timer.start()  # a thread, since the first step may be what takes long

    def advance(self, steps: int = 1) -> None:
        self.tell(self._done + steps, self._text)

    def tell(self, done: int, text: str) -> None:
        with self._lock:
            self._done, self._text = done, text
            if self._drawn is not None:
                self._drawn.update(self._drawn.task_ids[0], completed=done, description=text)

    def close(self) -> None:
        self._timer.cancel()
        with self._lock:
            self._is_over = True
            if self._drawn is not None:
                if self._total is None:  # what stays is full
                    self._drawn.update(self._drawn.task_ids[0], total=1, completed=1)
                self._drawn.stop()

    def _draw(self) -> None:
        with self._lock:
            if self._is_over:
                return
            state = random.getstate()  # rich draws from Python's generator, whose numbers are the user's
            from rich.console import Console
            from rich.errors import LiveError
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            count = () if self._total is None else (TextColumn("{task.completed}/{task.total}"),)
            columns = (TextColumn("{task.description}"), BarColumn(), *count)
            console = Console(stderr=True)
            drawn = Progress(*columns, TimeElapsedColumn(), console=console, transient=not self._stays)
            task = drawn.add_task(self._text, total=self._total, completed=self._done)
            drawn.tasks[task].start_time = self._begun
            try:
                drawn.start()
            except LiveError:  # older versions of rich have one display at a time: the outer one says enough
                return
            finally:
                random.setstate(state)
            self._drawn = drawn


def progress_bar(text: str, total: int | None, show: bool | None) -> Bar:
    """Show how much is done, while the block of a ``with`` lasts.

    Parameters
    ----------
    text : str
        What is being done.
    total : int, optional
        How many steps there are, where that is known; else the bar moves, and the time is shown.
    show : bool, optional
        None shows the bar in a terminal and in a notebook, and nowhere else, of what takes longer than half a second;
        it goes away with the block. One that was asked for stays.

    Returns
    -------
    Bar
        To be told of every step. An interruption takes the bar away and goes on.
    """
    if show is False or (show is None and not (sys.stderr.isatty() or "ipykernel" in sys.modules)):
        return SILENT
    return _DrawnBar(text, total, stays=show is not None)


def watched[T](items: Iterable[T], text: str, show: bool | None) -> Iterator[T]:
    """Yield items, and show beside a text how many are done.

    Parameters
    ----------
    items : iterable
        What is gone through; of known length, if the bar is to have an end.
    text : str
        What is being done.
    show : bool, optional
        As of `progress_bar`.
    """
    with progress_bar(text, len(items) if isinstance(items, Sized) else None, show) as bar:
        for item in items:
            yield item
            bar.advance()
